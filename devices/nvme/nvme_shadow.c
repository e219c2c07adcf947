/*
 * Shadow doorbells [NVME-1.4 5.7, 7.13]: the driver writes its queues' doorbells to memory, and to the registers only
 * where it passes the event index the controller has put beside it.  Registers are ioeventfds then: a write to one
 * does not stop the vCPU, and its value is in memory.
 *
 * The admin queue keeps its registers, as Linux does not shadow it; its event indexes ask for every write.
 */
#include "common/kvm.h"
#include "common/vm.h"
#include "devices/nvme/nvme.h"

/* Place of a queue's value in either buffer: like the doorbells with a stride of 0. */
static uint32_t *slot(uint8_t *buf, unsigned q, bool cq)
{
	return (uint32_t *)(void *)(buf + 8 * q + (cq ? 4 : 0));
}

static uint32_t load(uint8_t *buf, unsigned q, bool cq)
{
	return __atomic_load_n(slot(buf, q, cq), __ATOMIC_ACQUIRE);
}

static void store(uint8_t *buf, unsigned q, bool cq, uint32_t val)
{
	__atomic_store_n(slot(buf, q, cq), val, __ATOMIC_RELAXED);
}

uint16_t nvme_shadow_set(struct nvme *c, uint64_t dbs, uint64_t eis, bool loaded)
{
	uint8_t *d = nvme_queue_mem(c, dbs, 1, nvme_page(c)), *e = nvme_queue_mem(c, eis, 1, nvme_page(c));

	if ((dbs || eis) && (!d || !e))
		return NVME_INVALID_FIELD | NVME_DNR;
	c->dbs = dbs || eis ? dbs : 0;
	c->eis = eis;
	c->dbs_mem = c->dbs ? d : NULL;
	c->eis_mem = c->dbs ? e : NULL;
	/* What is in the registers now, so that nothing is lost between the two. */
	for (unsigned q = 0; c->dbs && !loaded && q < NVME_QUEUES; q++) {
		if (c->sq[q].live)
			store(d, q, false, c->sq[q].tail);
		if (c->cq[q].live)
			store(d, q, true, c->cq[q].head);
		store(e, q, false, c->sq[q].live ? c->sq[q].tail : 0);
		store(e, q, true, c->cq[q].live ? c->cq[q].head : 0);
	}
	nvme_shadow_follow(c);
	return NVME_SUCCESS;
}

void nvme_shadow_clear(struct nvme *c, unsigned q, bool cq)
{
	if (!c->dbs)
		return;
	store(c->dbs_mem, q, cq, 0);
	store(c->eis_mem, q, cq, 0);
}

/* Both doorbells of a queue share the controller's eventfd. */
static bool ioeventfd(struct nvme *c, unsigned q, bool on)
{
	const uint64_t at = c->kvm_base + 8 * q;
	bool ok = kvm_ioeventfd(c->pci.dev.vm, c->efd, at, 4, false, on) == 0;

	if (ok && kvm_ioeventfd(c->pci.dev.vm, c->efd, at + 4, 4, false, on) && on) {
		kvm_ioeventfd(c->pci.dev.vm, c->efd, at, 4, false, false);
		ok = false;
	}
	return ok;
}

void nvme_shadow_follow(struct nvme *c)
{
	const struct bus_range *bar = &c->pci.bar[0].range;
	const uint64_t base = bar->base + NVME_DOORBELLS;
	uint64_t want = c->dbs && bar->mapped && c->efd >= 0 ? c->sqs & ~1ull : 0;

	for (unsigned q = 1; q < NVME_QUEUES; q++) {
		if (c->by_kvm & BIT64(q) && (!(want & BIT64(q)) || base != c->kvm_base)) {
			ioeventfd(c, q, false);
			c->by_kvm &= ~BIT64(q);
		}
	}
	c->kvm_base = base;
	for (unsigned q = 1; q < NVME_QUEUES; q++) {
		if (want & ~c->by_kvm & BIT64(q) && ioeventfd(c, q, true))
			c->by_kvm |= BIT64(q);
	}
}

void nvme_shadow_rung(struct nvme *c, unsigned q, bool cq, uint32_t val)
{
	store(c->dbs_mem, q, cq, val);
}

void nvme_shadow_read(struct nvme *c, unsigned q)
{
	uint32_t val;

	if (!c->dbs || !q)
		return;
	if (c->sq[q].live && (val = load(c->dbs_mem, q, false)) != c->sq[q].tail) {
		nvme_tail_set(c, q, val);
		if (c->sq[q].tail != val)       /* an impossible value is reported once */
			store(c->dbs_mem, q, false, c->sq[q].tail);
	}
	if (c->cq[q].live && (val = load(c->dbs_mem, q, true)) != c->cq[q].head) {
		nvme_head_set(c, q, val);
		if (c->cq[q].head != val)
			store(c->dbs_mem, q, true, c->cq[q].head);
	}
}

/*
 * Submissions ring from here on.  Of completions one hears only where something waits for room, or the level of a
 * pin depends on it; else the index lies where the driver passes it once a round.
 */
bool nvme_shadow_arm(struct nvme *c, unsigned q)
{
	const struct nvme_sq *sq = &c->sq[q];
	const struct nvme_cq *cq = &c->cq[q];
	bool news = false;

	if (cq->live)
		store(c->eis_mem, q, true, nvme_cq_room(cq) == 0 || !pci_msix_enabled(&c->pci) ? cq->head : 0xffff);
	if (sq->live)
		store(c->eis_mem, q, false, sq->tail);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (sq->live && !sq->deleting)
		news = load(c->dbs_mem, q, false) != sq->tail;
	if (cq->live && nvme_cq_room(cq) == 0)
		news |= load(c->dbs_mem, q, true) != cq->head;
	return news;
}
