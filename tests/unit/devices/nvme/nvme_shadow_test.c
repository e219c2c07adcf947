#include "tests/unit/unit.h"

#include "tests/unit/devices/nvme/nvdrv.h"

static struct nv *n;
static uint64_t dbs, eis;

static uint32_t *shadow(unsigned q, bool cq) { return nv_ptr(n, dbs + 8 * q + (cq ? 4 : 0), 4); }
static uint32_t event(unsigned q, bool cq) { return *(uint32_t *)nv_ptr(n, eis + 8 * q + (cq ? 4 : 0), 4); }

static uint16_t config(uint64_t d, uint64_t e)
{
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, ADM_DOORBELL_BUFFER);
	nv_prp(cmd, d, e);
	return nv_do(n, 0, cmd);
}

static void set_up(void)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "16M");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 2, 8);
	dbs = nv_page(n, 1);
	eis = nv_page(n, 1);
	ck_assert_uint_eq(config(dbs, eis), NVME_SUCCESS);
}

/* As Linux does it: memory first, and the register only where the step passes the event index. */
static bool need_event(uint16_t event_idx, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event_idx - 1) < (uint16_t)(new - old);
}

static bool ring(unsigned q, bool cq)
{
	const uint32_t val = cq ? n->q[q].head : n->q[q].tail, old = *shadow(q, cq);
	__atomic_store_n(shadow(q, cq), val, __ATOMIC_SEQ_CST);
	if (!need_event((uint16_t)event(q, cq), (uint16_t)val, (uint16_t)old))
		return false;
	/* An ioeventfd has no value. */
	nvme_kick(n->c);
	return true;
}

/* Queues go round many times without a doorbell's value, and most completions are given back without any doorbell. */
START_TEST(rounds)
{
	uint8_t cmd[NVME_SQE_LEN];
	unsigned cq_rings = 0;
	set_up();
	for (unsigned i = 0; i < 400; i++) {
		const unsigned q = 1 + i % 2, burst = 1 + i % 7;
		for (unsigned k = 0; k < burst; k++) {
			nv_cmd(cmd, IO_FLUSH);
			nv_put(n, q, cmd);
		}
		ring(q, false);
		for (unsigned k = 0; k < burst; k++) {
			ck_assert(nv_wait(n, q));
			ck_assert_uint_eq(n->last.status, 0);
		}
		cq_rings += ring(q, true);
		if (i % 5 == 0)
			drv_settle(n->d);
	}
	/* Without event indexes it would be one each time. */
	ck_assert_uint_lt(cq_rings, 390);
	nv_close(n);
}
END_TEST

/* A full completion queue wants to hear of its first free place. */
START_TEST(full)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up();
	for (unsigned round = 0; round < 10; round++) {
		nv_cmd(cmd, IO_FLUSH);
		for (unsigned i = 0; i < 7; i++)
			nv_put(n, 1, cmd);
		ring(1, false);
		for (unsigned i = 0; i < 7; i++)
			ck_assert(nv_wait(n, 1));
		for (unsigned i = 0; i < 4; i++)
			nv_put(n, 1, cmd);
		ring(1, false);
		drv_settle(n->d);
		ck_assert(!nv_poll(n, 1));
		ck_assert(ring(1, true));
		for (unsigned i = 0; i < 4; i++)
			ck_assert(nv_wait(n, 1));
		ring(1, true);
		drv_settle(n->d);
	}
	nv_close(n);
}
END_TEST

/* Registers still work, the admin queue knows nothing else, and nonsense in memory does not spin. */
START_TEST(values)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up();
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert_uint_eq(*shadow(1, false), 1);
	ck_assert_uint_eq(*shadow(1, true), 1);
	*shadow(1, false) = 0x12345;
	*shadow(2, true) = 5;
	nvme_kick(n->c);
	drv_settle(n->d);
	ck_assert_uint_eq(*shadow(1, false), 1);
	ck_assert_uint_eq(*shadow(2, true), 0);
	ck_assert_uint_eq(n->c->count.errors, 2);
	ck_assert(!n->c->kicked);
	ck_assert_uint_eq(config(dbs + 8, eis), NVME_INVALID_FIELD | NVME_DNR);
	ck_assert_uint_eq(config(dbs, 1ull << 40), NVME_INVALID_FIELD | NVME_DNR);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	/* A new queue begins at 0. */
	nv_cmd(cmd, ADM_DELETE_SQ);
	nv_dw(cmd, 10, 1);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	cmd[0] = ADM_DELETE_CQ;
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	ck_assert_uint_eq(nv_create(n, 1, 8), NVME_SUCCESS);
	ck_assert_uint_eq(*shadow(1, false), 0);
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	/* The controller's reset ends it: this memory is the driver's again. */
	nv_start(n, 16, 1, 8);
	memset(nv_ptr(n, dbs, 4096), 0xee, 4096);
	memset(nv_ptr(n, eis, 4096), 0xee, 4096);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert_uint_eq(*shadow(1, false), 0xeeeeeeee);
	ck_assert_uint_eq(event(1, false), 0xeeeeeeee);
	nv_close(n);
}
END_TEST

/* A snapshot has the addresses; the values are in memory and may be ahead. */
START_TEST(snapshot)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up();
	struct device *dev = &n->c->pci.dev;
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	dev->cls->pause(dev);
	nv_put(n, 1, cmd);
	nv_put(n, 1, cmd);
	ring(1, false);
	drv_settle(n->d);
	json_t *rec = device_save(dev);
	device_reset(dev);
	ck_assert_int_eq(device_load(dev, rec), 0);
	json_decref(rec);
	dev->cls->resume(dev);
	ck_assert(nv_wait(n, 1) && nv_wait(n, 1));
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_shadow", rounds, full, values, snapshot)
