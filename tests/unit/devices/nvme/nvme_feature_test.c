#include "tests/unit/unit.h"

#include "tests/unit/devices/nvme/nvdrv.h"

#define DNR(s) ((s) | NVME_DNR)

static struct nv *n;

static void set_up(void)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "16M");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 0, 0);
}

static uint16_t set(uint32_t dw10, uint32_t dw11, uint32_t nsid)
{
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, ADM_SET_FEATURES);
	nv_dw(cmd, 1, nsid);
	nv_dw(cmd, 10, dw10);
	nv_dw(cmd, 11, dw11);
	return nv_do(n, 0, cmd);
}

static uint16_t get(uint32_t fid, unsigned sel, uint32_t dw11)
{
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, ADM_GET_FEATURES);
	nv_dw(cmd, 10, fid | sel << 8);
	nv_dw(cmd, 11, dw11);
	return nv_do(n, 0, cmd);
}

/* Set, read back, default, saved (which is the default), capabilities. */
START_TEST(values)
{
	static const struct { uint32_t fid, set, now, def, caps, nsid; } cases[] = {
		{ FEAT_ARBITRATION, 0xff050403, 0xff050403, 7, 4, 0 }, { FEAT_POWER, 0x20, 0x20, 0, 4, 0 },
		{ FEAT_TEMPERATURE, 400, 400, 343, 4, 0 }, { FEAT_ERROR_RECOVERY, 100, 100, 0, 6, 1 },
		{ FEAT_WRITE_CACHE, 0, 0, 1, 4, 0 },
		{ FEAT_COALESCING, 0x1234, 0x1234, 0, 4, 0 }, { FEAT_VECTOR, 0x10000, 0x10000, 0, 4, 0 },
		{ FEAT_ATOMICITY, 1, 1, 0, 4, 0 },
		{ FEAT_ASYNC_EVENT, 0x3, 0x3, 0xff, 4, NVME_NSID_ALL }, { FEAT_QUEUES, 0x30003, 0x30003, 0xf000f, 4, 0 },
	};
	set_up();
	for (size_t i = 0; i < NELEM(cases); i++) {
		const uint32_t fid = cases[i].fid;
		ck_assert_uint_eq(get(fid, 0, 0), NVME_SUCCESS);
		ck_assert_msg(n->last.result == cases[i].def, "feature %#x: %#x", fid, n->last.result);
		ck_assert_uint_eq(set(fid, cases[i].set, cases[i].nsid), NVME_SUCCESS);
		ck_assert_uint_eq(get(fid, 0, 0), NVME_SUCCESS);
		ck_assert_msg(n->last.result == cases[i].now, "feature %#x: %#x", fid, n->last.result);
		for (unsigned sel = 1; sel <= 2; sel++) {
			ck_assert_uint_eq(get(fid, sel, 0), NVME_SUCCESS);
			ck_assert_uint_eq(n->last.result, cases[i].def);
		}
		ck_assert_uint_eq(get(fid, 3, 0), NVME_SUCCESS);
		ck_assert_uint_eq(n->last.result, cases[i].caps);
		ck_assert_uint_eq(get(fid, 4, 0), DNR(NVME_INVALID_FIELD));
		ck_assert_uint_eq(set(fid | 0x80000000, cases[i].set, cases[i].nsid), DNR(NVME_NOT_SAVEABLE));
		if (cases[i].caps == 4) {
			ck_assert_uint_eq(set(fid, cases[i].set, 1), DNR(NVME_NOT_NAMESPACE));
			ck_assert_uint_eq(set(fid, cases[i].set, 2), DNR(NVME_INVALID_NAMESPACE));
		}
	}
	nv_start(n, 16, 0, 0);          /* a reset brings the defaults back */
	for (size_t i = 0; i < NELEM(cases); i++) {
		ck_assert_uint_eq(get(cases[i].fid, 0, 0), NVME_SUCCESS);
		ck_assert_uint_eq(n->last.result, cases[i].def);
	}
	nv_close(n);
}
END_TEST

START_TEST(refusals)
{
	set_up();
	for (unsigned fid = 0; fid < 256; fid++) {
		if ((fid >= 1 && fid <= 0x0b && fid != 3))
			continue;
		ck_assert_uint_eq(set(fid, 0, 0), DNR(NVME_INVALID_FIELD));
		ck_assert_uint_eq(get(fid, 0, 0), DNR(NVME_INVALID_FIELD));
	}
	ck_assert_uint_eq(set(FEAT_POWER, 1, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_TEMPERATURE, 1 << 16, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_TEMPERATURE, 2 << 20, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(get(FEAT_TEMPERATURE, 0, 3 << 16), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_ERROR_RECOVERY, 0x10000, 1), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_ERROR_RECOVERY, 0, 0), DNR(NVME_INVALID_NAMESPACE));
	ck_assert_uint_eq(set(FEAT_ERROR_RECOVERY, 5, NVME_NSID_ALL), NVME_SUCCESS);
	ck_assert_uint_eq(set(FEAT_VECTOR, 17, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(get(FEAT_VECTOR, 0, 17), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(get(FEAT_VECTOR, 0, 16), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 16);
	nv_close(n);
}
END_TEST

START_TEST(queues)
{
	set_up();
	ck_assert_uint_eq(set(FEAT_QUEUES, 0xffff, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_QUEUES, 0xffff0000, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(set(FEAT_QUEUES, 0xfffefffe, 0), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 0x000f000f);
	ck_assert_uint_eq(set(FEAT_QUEUES, 0x00010000, 0), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 0x00010000);
	ck_assert_uint_eq(nv_create(n, 1, 8), NVME_SUCCESS);
	ck_assert_uint_eq(nv_create(n, 2, 8), DNR(NVME_QID_INVALID));   /* the submission queue: one was asked for */
	ck_assert_uint_eq(set(FEAT_QUEUES, 0, 0), DNR(NVME_SEQUENCE_ERROR));
	nv_close(n);
}
END_TEST

/* A threshold below the temperature is an event, once, and not while masked. */
START_TEST(temperature)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up();
	ck_assert_uint_eq(set(FEAT_ASYNC_EVENT, 0, 0), NVME_SUCCESS);
	nv_cmd(cmd, ADM_AER);
	const uint16_t cid = nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert_uint_eq(set(FEAT_TEMPERATURE, NVME_KELVIN - 20, 0), NVME_SUCCESS);
	drv_settle(n->d);
	ck_assert(!nv_poll(n, 0));
	nv_cmd(cmd, ADM_SET_FEATURES);
	nv_dw(cmd, 1, 0);
	nv_dw(cmd, 10, FEAT_ASYNC_EVENT);
	nv_dw(cmd, 11, 2);
	nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, cid);
	ck_assert_uint_eq(n->last.result, EVENT_SMART | EVENT_TEMPERATURE << 8 | LOG_SMART << 16);
	ck_assert(nv_wait(n, 0));
	nv_ack(n, 0);
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_feature", values, refusals, queues, temperature)
