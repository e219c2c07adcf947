#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/devices/nvme/nvdrv.h"

#define STATUS(n) ((n)->last.status & 0x7ff)

static struct nv *ram(const char *key, const char *val)
{
	struct vm *vm = drv_vm_new();
	char full[64];
	drv_conf(vm, NV_ID ".ram", "16M");
	snprintf(full, sizeof(full), NV_ID ".%s", key ? key : "ro");
	drv_conf(vm, full, key ? val : "false");
	return nv_open_on(vm, NV_ID);
}

/* Many rounds through small queues: wrap-around, phases, the head the controller reports, interrupts. */
START_TEST(phases)
{
	struct nv *n = ram(NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 4, 2, 5);
	for (unsigned i = 0; i < 57; i++) {
		nv_cmd(cmd, IO_FLUSH);
		ck_assert_uint_eq(nv_do(n, 1 + i % 2, cmd), NVME_SUCCESS);
		ck_assert_uint_eq(n->last.sqhd, n->q[1 + i % 2].tail);
		ck_assert(drv_irq(n->d, 1 + i % 2));
		ck_assert(!drv_irq(n->d, 2 - i % 2));
	}
	nv_close(n);
}
END_TEST

/* The completion queue fills up: fetching stops until the driver gives places back; nothing is lost or overwritten. */
START_TEST(full_completion_queue)
{
	struct nv *n = ram(NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 1, 4);
	unsigned done = 0;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 3; i++) {
			nv_cmd(cmd, IO_FLUSH);
			nv_put(n, 1, cmd);
		}
		nv_ring(n, 1);
		for (unsigned i = 0; i < 3; i++)
			ck_assert(nv_wait(n, 1));
		drv_settle(n->d);
		ck_assert(!nv_poll(n, 1));
		/* Three more, with no room for them. */
		for (unsigned i = 0; i < 3; i++)
			nv_put(n, 1, cmd);
		nv_ring(n, 1);
		drv_settle(n->d);
		ck_assert(!nv_poll(n, 1));
		ck_assert_uint_eq(n->c->inflight, 0);
		nv_ack(n, 1);
		for (unsigned i = 0; i < 3; i++, done++)
			ck_assert(nv_wait(n, 1));
		nv_ack(n, 1);
	}
	ck_assert_uint_eq(done, 60);
	nv_close(n);
}
END_TEST

/* One completion queue for two submission queues; it cannot go before them. */
START_TEST(shared_completion_queue)
{
	struct nv *n = ram(NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 1, 8);
	n->q[2] = n->q[1];
	n->q[2].sq = nv_page(n, 1);
	n->q[2].tail = 0;
	nv_cmd(cmd, ADM_CREATE_SQ);
	nv_prp(cmd, n->q[2].sq, 0);
	nv_dw(cmd, 10, 2 | 7 << 16);
	nv_dw(cmd, 11, 1 | 1 << 16);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	nv_cmd(cmd, IO_FLUSH);
	for (unsigned i = 0; i < 3; i++) {
		nv_put(n, 1, cmd);
		nv_put(n, 2, cmd);
	}
	nv_ring(n, 1);
	nv_ring(n, 2);
	unsigned of[3] = { 0 };
	for (unsigned i = 0; i < 6; i++) {
		ck_assert(nv_wait(n, 1));
		of[n->last.sqid]++;
	}
	nv_ack(n, 1);
	ck_assert(of[1] == 3 && of[2] == 3);
	nv_cmd(cmd, ADM_DELETE_CQ);
	nv_dw(cmd, 10, 1);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_QUEUE_DELETION | NVME_DNR);
	cmd[0] = ADM_DELETE_SQ;
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	nv_dw(cmd, 10, 2);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_QID_INVALID | NVME_DNR);
	nv_dw(cmd, 10, 1);
	cmd[0] = ADM_DELETE_CQ;
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_QID_INVALID | NVME_DNR);
	nv_close(n);
}
END_TEST

/* More commands than slots to run them in. */
START_TEST(few_slots)
{
	struct nv *n = ram("ioslots", "2");
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 2, 64);
	const uint64_t buf = nv_page(n, 1);
	for (unsigned i = 0; i < 60; i++) {
		nv_cmd(cmd, IO_READ);
		nv_prp(cmd, buf, 0);
		nv_dw(cmd, 10, i);
		nv_put(n, 1, cmd);
		nv_put(n, 2, cmd);
	}
	nv_ring(n, 1);
	nv_ring(n, 2);
	for (unsigned i = 0; i < 60; i++) {
		ck_assert(nv_wait(n, 1) && STATUS(n) == 0);
		ck_assert(nv_wait(n, 2) && STATUS(n) == 0);
	}
	nv_close(n);
}
END_TEST

/* With a burst of 1, two queues are served in turn although one was rung first. */
START_TEST(arbitration)
{
	struct nv *n = ram(NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 2, 32);
	nv_cmd(cmd, ADM_SET_FEATURES);
	nv_dw(cmd, 1, 0);
	nv_dw(cmd, 10, FEAT_ARBITRATION);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	nv_cmd(cmd, 0xff);              /* done when it is fetched */
	for (unsigned i = 0; i < 10; i++) {
		nv_put(n, 1, cmd);
		nv_put(n, 2, cmd);
	}
	nv_ring(n, 1);
	nv_ring(n, 2);
	drv_settle(n->d);
	ck_assert_uint_eq(n->c->count.errors, 20);
	/* The error log has the newest first: numbers of queues alternate. */
	for (unsigned i = 0; i + 1 < NVME_ERRORS; i++)
		ck_assert_uint_ne(n->c->errors[i * NVME_ERROR_LEN + 8], n->c->errors[(i + 1) * NVME_ERROR_LEN + 8]);
	nv_close(n);
}
END_TEST

/* Impossible doorbells: an event, an entry of the error log, no effect. */
START_TEST(bad_doorbells)
{
	struct nv *n = ram(NULL, NULL);
	uint8_t cmd[NVME_SQE_LEN];
	static const struct { unsigned off; uint32_t val, info; } bad[] = {
		{ 8 * 1, 8, 1 }, { 8 * 1 + 4, 8, 1 }, { 8 * 1 + 4, 1, 1 }, { 8 * 1, ~0u, 1 }, { 8 * 2, 0, 0 }, { 8 * 63 + 4, 0, 0 },
		{ 8 * 64, 1, 0 }, { 0x2ff8, 1, 0 }, { 4, 15, 1 },
	};
	nv_start(n, 16, 1, 8);
	const uint64_t page = nv_page(n, 1);
	for (unsigned i = 0; i < NELEM(bad); i++) {
		nv_cmd(cmd, ADM_AER);
		const uint16_t cid = nv_put(n, 0, cmd);
		nv_ring(n, 0);
		drv_settle(n->d);
		ck_assert(!nv_poll(n, 0));
		nv_wr(n, NVME_DOORBELLS + bad[i].off, bad[i].val);
		ck_assert_msg(nv_wait(n, 0), "case %u", i);
		ck_assert_uint_eq(n->last.cid, cid);
		ck_assert_uint_eq(n->last.result, bad[i].info << 8 | LOG_ERROR_INFO << 16);
		nv_ack(n, 0);
		/* One event until the log was read. */
		nv_wr(n, NVME_DOORBELLS + bad[i].off, bad[i].val);
		nv_cmd(cmd, ADM_AER);
		const uint16_t next = nv_put(n, 0, cmd);
		nv_ring(n, 0);
		drv_settle(n->d);
		ck_assert(!nv_poll(n, 0));
		ck_assert_uint_eq(n->c->count.errors, 2 * i + 2);
		nv_cmd(cmd, ADM_LOG_PAGE);
		nv_prp(cmd, page, 0);
		nv_dw(cmd, 10, LOG_ERROR_INFO | 15 << 16 | 1 << 15);    /* a look that changes nothing */
		ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
		nv_dw(cmd, 10, LOG_ERROR_INFO | 15 << 16);
		const uint16_t log = nv_put(n, 0, cmd);
		nv_ring(n, 0);
		ck_assert(nv_wait(n, 0) && nv_poll(n, 0));
		nv_ack(n, 0);
		ck_assert(n->last.cid == log || n->last.cid == next);
		ck_assert_uint_eq(get_le64(nv_ptr(n, page, 8)), 2 * i + 2);
		ck_assert_uint_eq(get_le16(nv_ptr(n, page + 8, 2)), 0xffff);
		nv_cmd(cmd, ADM_LOG_PAGE);
		nv_prp(cmd, page, 0);
		nv_dw(cmd, 10, LOG_ERROR_INFO | 15 << 16);
		ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	}
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_queue", phases, full_completion_queue, shared_completion_queue, few_slots, arbitration, bad_doorbells)
