#include "tests/unit/devices/nvme/nvdrv.h"

#include <check.h>
#include <stdlib.h>

#include "devices/classes.h"

#define PAGE 4096u
#define STATUS_MASK 0x7fff

struct nv *nv_open_on(struct vm *vm, const char *id)
{
	struct drv *d = drv_open(vm, &nvme_class, id);
	struct nv *n;

	if (!d)
		return NULL;
	n = calloc(1, sizeof(*n));
	n->d = d;
	n->c = (struct nvme *)(void *)d->v;
	return n;
}

struct nv *nv_open(const char *path, const char *key, const char *val)
{
	struct vm *vm = drv_vm_new();
	struct nv *n;
	char full[64];

	if (path)
		drv_conf(vm, NV_ID ".path", path);
	if (key) {
		snprintf(full, sizeof(full), NV_ID ".%s", key);
		drv_conf(vm, full, val);
	}
	n = nv_open_on(vm, NV_ID);
	if (!n)
		drv_vm_free(vm);
	return n;
}

void nv_close(struct nv *n)
{
	struct vm *vm = n->d->vm;

	drv_close(n->d);
	drv_vm_free(vm);
	free(n);
}

uint64_t nv_page(struct nv *n, unsigned count)
{
	n->d->brk = ALIGN_UP(n->d->brk, (uint64_t)PAGE << n->mps);
	return drv_alloc(n->d, (uint64_t)count * PAGE);
}

void *nv_ptr(struct nv *n, uint64_t gpa, uint64_t len)
{
	return drv_ptr(n->d, gpa, len);
}

uint32_t nv_rd(struct nv *n, unsigned off)
{
	return (uint32_t)drv_read(n->d, off, 4);
}

void nv_wr(struct nv *n, unsigned off, uint32_t val)
{
	drv_write(n->d, off, 4, val);
}

static void queue_init(struct nv *n, unsigned q, uint32_t size)
{
	struct nv_queue *nq = &n->q[q];

	nq->sq = nv_page(n, (size * NVME_SQE_LEN + PAGE - 1) / PAGE);
	nq->cq = nv_page(n, (size * NVME_CQE_LEN + PAGE - 1) / PAGE);
	nq->size = size;
	nq->head = nq->tail = 0;
	nq->phase = true;
}

void nv_disable(struct nv *n)
{
	nv_wr(n, NVME_CC, 0);
	for (int i = 0; nv_rd(n, NVME_CSTS) & CSTS_RDY && i < 1000; i++)
		loop_step(n->d->vm->loop, 1);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS) & (CSTS_RDY | CSTS_CFS), 0);
}

void nv_enable(struct nv *n, uint32_t size)
{
	nv_disable(n);
	drv_msix(n->d, true);
	queue_init(n, 0, size);
	nv_wr(n, NVME_AQA, (size - 1) * 0x10001u);
	nv_wr(n, NVME_ASQ, (uint32_t)n->q[0].sq);
	nv_wr(n, NVME_ASQ + 4, n->q[0].sq >> 32);
	drv_write(n->d, NVME_ACQ, 8, n->q[0].cq);
	nv_wr(n, NVME_CC, CC_EN | n->mps << 7 | 6u << 16 | 4u << 20);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS), CSTS_RDY);
}

uint16_t nv_create(struct nv *n, unsigned q, uint32_t size)
{
	uint8_t cmd[NVME_SQE_LEN];
	uint16_t status;

	queue_init(n, q, size);
	nv_cmd(cmd, ADM_CREATE_CQ);
	nv_prp(cmd, n->q[q].cq, 0);
	nv_dw(cmd, 10, q | (size - 1) << 16);
	nv_dw(cmd, 11, 3 | q << 16);
	status = nv_do(n, 0, cmd);
	if (status)
		return status;
	nv_cmd(cmd, ADM_CREATE_SQ);
	nv_prp(cmd, n->q[q].sq, 0);
	nv_dw(cmd, 10, q | (size - 1) << 16);
	nv_dw(cmd, 11, 1 | q << 16);
	return nv_do(n, 0, cmd);
}

void nv_start(struct nv *n, uint32_t admin_size, unsigned nqueues, uint32_t size)
{
	nv_enable(n, admin_size);
	for (unsigned q = 1; q <= nqueues; q++)
		ck_assert_uint_eq(nv_create(n, q, size), NVME_SUCCESS);
}

void nv_cmd(uint8_t cmd[NVME_SQE_LEN], uint8_t opcode)
{
	memset(cmd, 0, NVME_SQE_LEN);
	cmd[0] = opcode;
	cmd[4] = 1;
}

void nv_dw(uint8_t *cmd, unsigned i, uint32_t val)
{
	put_le32(cmd + 4 * i, val);
}

void nv_prp(uint8_t *cmd, uint64_t prp1, uint64_t prp2)
{
	put_le64(cmd + 24, prp1);
	put_le64(cmd + 32, prp2);
}

uint16_t nv_put(struct nv *n, unsigned q, const uint8_t *cmd)
{
	struct nv_queue *nq = &n->q[q];
	uint8_t *e = nv_ptr(n, nq->sq + nq->tail * NVME_SQE_LEN, NVME_SQE_LEN);

	memcpy(e, cmd, NVME_SQE_LEN);
	put_le16(e + 2, n->next_cid);
	nq->tail = (nq->tail + 1) % nq->size;
	return n->next_cid++;
}

void nv_ring(struct nv *n, unsigned q)
{
	nv_wr(n, NVME_DOORBELLS + 8 * q, n->q[q].tail);
}

bool nv_poll(struct nv *n, unsigned q)
{
	struct nv_queue *nq = &n->q[q];
	const uint8_t *e = nv_ptr(n, nq->cq + nq->head * NVME_CQE_LEN, NVME_CQE_LEN);
	const uint32_t dw3 = get_le32(e + 12);

	if ((dw3 >> 16 & 1) != nq->phase)
		return false;
	n->last = (struct nv_cqe){ get_le32(e), get_le16(e + 8), get_le16(e + 10), (uint16_t)dw3, (uint16_t)(dw3 >> 17) };
	if (++nq->head == nq->size) {
		nq->head = 0;
		nq->phase = !nq->phase;
	}
	return true;
}

void nv_ack(struct nv *n, unsigned q)
{
	nv_wr(n, NVME_DOORBELLS + 8 * q + 4, n->q[q].head);
}

bool nv_wait(struct nv *n, unsigned q)
{
	const uint64_t end = now_ns() + 1000000000u;

	while (!nv_poll(n, q)) {
		if (now_ns() > end)
			return false;
		loop_step(n->d->vm->loop, 10);
	}
	return true;
}

uint16_t nv_do(struct nv *n, unsigned q, const uint8_t *cmd)
{
	const uint16_t cid = nv_put(n, q, cmd);

	nv_ring(n, q);
	if (!nv_wait(n, q))
		return NV_NONE;
	ck_assert_uint_eq(n->last.cid, cid);
	ck_assert_uint_eq(n->last.sqid, q);
	nv_ack(n, q);
	return n->last.status & STATUS_MASK & ~NVME_MORE;
}

void nv_prps(struct nv *n, uint8_t *cmd, uint64_t gpa, uint32_t len)
{
	const uint32_t first = PAGE - (uint32_t)(gpa % PAGE);
	uint64_t list, at;
	uint32_t left;

	nv_prp(cmd, gpa, 0);
	if (len <= first)
		return;
	left = len - first;
	at = gpa + first;
	if (left <= PAGE) {
		nv_prp(cmd, gpa, at);
		return;
	}
	list = nv_page(n, 1);
	nv_prp(cmd, gpa, list);
	for (unsigned i = 0; left; i++, at += PAGE) {
		put_le64(nv_ptr(n, list + 8 * i, 8), at);
		left -= MIN(left, PAGE);
	}
}

uint16_t nv_io(struct nv *n, unsigned q, uint8_t opcode, uint64_t lba, uint64_t gpa, uint32_t len)
{
	const uint64_t mark = n->d->brk;
	uint8_t cmd[NVME_SQE_LEN];
	uint16_t status;

	nv_cmd(cmd, opcode);
	put_le64(cmd + 40, lba);
	nv_dw(cmd, 12, (len >> n->c->lbads) - 1);
	nv_prps(n, cmd, gpa, len);
	status = nv_do(n, q, cmd);
	n->d->brk = mark;
	return status;
}
