#include "tests/unit/unit.h"

#include "tests/unit/devices/nvme/nvdrv.h"

#define DNR(s) ((s) | NVME_DNR)

static struct nv *n;

static void set_up(unsigned queues)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "16M");
	drv_conf(vm, NV_ID ".qsz", "1024");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, queues, 8);
}

static uint16_t admin(uint8_t op, uint32_t dw10, uint32_t dw11, uint64_t prp1)
{
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, op);
	nv_prp(cmd, prp1, 0);
	nv_dw(cmd, 10, dw10);
	nv_dw(cmd, 11, dw11);
	return nv_do(n, 0, cmd);
}

/* [NVME-1.4 5.3 to 5.6]: what creating and deleting queues may say. */
START_TEST(queue_errors)
{
	set_up(0);
	const uint64_t p = nv_page(n, 16);
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 0 | 7 << 16, 1, p), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 17 | 7 << 16, 1, p), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 0xffff | 7 << 16, 1, p), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 0 << 16, 1, p), DNR(NVME_QSIZE_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 1024 << 16, 1, p), DNR(NVME_QSIZE_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 0xffffu << 16, 1, p), DNR(NVME_QSIZE_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 0, p), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 1, p + 16), DNR(NVME_PRP_OFFSET));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 1, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 1023 << 16, 1, DRV_RAM_BASE + DRV_RAM_LEN - 4096), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 1 | 17 << 16, p), DNR(NVME_VECTOR_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 3 | 1 << 16, p), NVME_SUCCESS);
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 1 | 7 << 16, 3 | 1 << 16, p), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 0 << 16, p + 4096), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 17u << 16, p + 4096), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 2 << 16, p + 4096), DNR(NVME_CQ_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 0 | 7 << 16, 1 | 1 << 16, p + 4096), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 0 | 1 << 16, p + 4096), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 1024 << 16, 1 | 1 << 16, p + 4096), DNR(NVME_QSIZE_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 1 << 16, p + 4097), DNR(NVME_PRP_OFFSET));
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 1 << 16, p + 4096), NVME_SUCCESS);
	ck_assert_uint_eq(admin(ADM_CREATE_SQ, 1 | 7 << 16, 1 | 1 << 16, p + 4096), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_DELETE_CQ, 0, 0, 0), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_DELETE_SQ, 0, 0, 0), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_DELETE_SQ, 2, 0, 0), DNR(NVME_QID_INVALID));
	ck_assert_uint_eq(admin(ADM_DELETE_CQ, 1, 0, 0), DNR(NVME_QUEUE_DELETION));
	/* Entry sizes other than the only ones. */
	nv_wr(n, NVME_CC, CC_EN | 7u << 16 | 5u << 20);
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 2 | 7 << 16, 1, p + 8192), DNR(NVME_INVALID_FIELD));
	/* Without MSI-X there is one vector. */
	nv_wr(n, NVME_CC, CC_EN | 6u << 16 | 4u << 20);
	drv_msix(n->d, false);
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 2 | 7 << 16, 3 | 1 << 16, p + 8192), DNR(NVME_VECTOR_INVALID));
	ck_assert_uint_eq(admin(ADM_CREATE_CQ, 2 | 7 << 16, 3 | 0 << 16, p + 8192), NVME_SUCCESS);
	nv_close(n);
}
END_TEST

START_TEST(unknown_commands)
{
	static const uint8_t there[] = { 0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x7c };
	uint8_t cmd[NVME_SQE_LEN];
	set_up(0);
	for (unsigned op = 0; op < 256; op++) {
		if (memchr(there, (int)op, sizeof(there)))
			continue;
		nv_cmd(cmd, (uint8_t)op);
		ck_assert_msg(nv_do(n, 0, cmd) == DNR(NVME_INVALID_OPCODE), "opcode %#x", op);
	}
	/* Fused operations, and data pointers that are no PRPs. */
	for (unsigned bits = 0; bits < 256; bits++) {
		if (!(bits & 0xc3))
			continue;
		nv_cmd(cmd, ADM_GET_FEATURES);
		cmd[1] = (uint8_t)bits;
		nv_dw(cmd, 10, FEAT_ARBITRATION);
		ck_assert_uint_eq(nv_do(n, 0, cmd), DNR(NVME_INVALID_FIELD));
	}
	nv_close(n);
}
END_TEST

/* Deleting a queue waits for what runs from it, here as long as the throttle takes. */
START_TEST(delete_waits)
{
	struct vm *vm = drv_vm_new();
	uint8_t cmd[NVME_SQE_LEN];
	drv_conf(vm, NV_ID ".ram", "16M");
	drv_conf(vm, NV_ID ".iops", "4");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 1, 16);
	nv_cmd(cmd, IO_READ);
	nv_prp(cmd, nv_page(n, 1), 0);
	for (unsigned i = 0; i < 6; i++)
		nv_put(n, 1, cmd);
	nv_ring(n, 1);
	loop_step(vm->loop, 1);
	nv_cmd(cmd, ADM_DELETE_SQ);
	nv_dw(cmd, 10, 1);
	const uint16_t cid = nv_put(n, 0, cmd);
	nv_ring(n, 0);
	loop_step(vm->loop, 1);
	ck_assert(!nv_poll(n, 0));
	ck_assert(n->c->sq[1].live && n->c->sq[1].inflight);
	/* It cannot be deleted twice, and takes no commands. */
	nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.status, DNR(NVME_QID_INVALID));
	for (unsigned i = 0; i < 6; i++) {
		while (!nv_poll(n, 1)) {
			ck_assert(!nv_poll(n, 0));
			loop_step(vm->loop, 100);
		}
	}
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, cid);
	ck_assert_uint_eq(n->last.status, 0);
	ck_assert(!n->c->sq[1].live);
	nv_close(n);
}
END_TEST

/* Two slots, four commands: those that wait in their queue can be aborted, those that run cannot. */
START_TEST(aborting)
{
	struct vm *vm = drv_vm_new();
	uint8_t cmd[NVME_SQE_LEN];
	uint16_t cid[7];
	drv_conf(vm, NV_ID ".ram", "16M");
	drv_conf(vm, NV_ID ".ioslots", "1");
	drv_conf(vm, NV_ID ".iops", "2");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 1, 16);
	nv_cmd(cmd, IO_READ);
	nv_prp(cmd, nv_page(n, 1), 0);
	for (unsigned i = 0; i < 7; i++)
		cid[i] = nv_put(n, 1, cmd);
	nv_ring(n, 1);
	drv_settle(n->d);
	while (nv_poll(n, 1))
		;
	ck_assert_uint_eq(n->c->inflight, 1);
	const unsigned first = n->c->sq[1].head;                /* the oldest that waits */
	ck_assert_uint_lt(first, 4);
	ck_assert_uint_eq(admin(ADM_ABORT, 1 | (uint32_t)cid[first - 1] << 16, 0, 0), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 1);
	ck_assert_uint_eq(admin(ADM_ABORT, 1 | (uint32_t)cid[6] << 16, 0, 0), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 0);
	ck_assert_uint_eq(admin(ADM_ABORT, 1 | 0xeeeeu << 16, 0, 0), NVME_SUCCESS);
	ck_assert_uint_eq(n->last.result, 1);
	ck_assert_uint_eq(admin(ADM_ABORT, 9, 0, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(admin(ADM_ABORT, 0xffff, 0, 0), DNR(NVME_INVALID_FIELD));
	do
		ck_assert(nv_wait(n, 1));
	while (n->last.cid != cid[6]);
	ck_assert_uint_eq(n->last.status, NVME_ABORT_REQUESTED);
	nv_close(n);
}
END_TEST

START_TEST(event_requests)
{
	uint8_t cmd[NVME_SQE_LEN];
	uint16_t cid[NVME_AERS];
	set_up(0);
	nv_cmd(cmd, ADM_AER);
	for (unsigned i = 0; i < NVME_AERS; i++)
		cid[i] = nv_put(n, 0, cmd);
	nv_ring(n, 0);
	drv_settle(n->d);
	ck_assert(!nv_poll(n, 0));
	ck_assert_uint_eq(nv_do(n, 0, cmd), DNR(NVME_AER_LIMIT));
	/* Aborted: it comes back, then the abort. */
	nv_cmd(cmd, ADM_ABORT);
	nv_dw(cmd, 10, (uint32_t)cid[1] << 16);
	const uint16_t abort = nv_put(n, 0, cmd);
	nv_ring(n, 0);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, cid[1]);
	ck_assert_uint_eq(n->last.status, NVME_ABORT_REQUESTED);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, abort);
	ck_assert_uint_eq(n->last.result, 0);
	nv_ack(n, 0);
	ck_assert_uint_eq(n->c->naer, NVME_AERS - 1);
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_admin", queue_errors, unknown_commands, delete_waits, aborting, event_requests)
