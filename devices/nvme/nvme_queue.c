/*
 * NVMe queues: doorbells, fetching in turn, completions, interrupts [NVME-1.4 3.1.24, 4.1, 4.6, 4.13, 7.2, 7.5].
 */
#include <stdlib.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/nvme/nvme.h"

#define BUDGET 256                      /* commands before the loop may do something else */

void *nvme_queue_mem(const struct nvme *c, uint64_t base, uint32_t entries, uint32_t entry_len)
{
	return base % nvme_page(c) ? NULL : mem_at(&c->pci.dev.vm->mem, base, (uint64_t)entries * entry_len);
}

/* --- Requests --- */

static struct nvme_req *req_get(struct nvme *c)
{
	struct nvme_req *r = c->free_reqs;

	if (!c->reqs)
		c->reqs = calloc(c->ioslots, sizeof(*c->reqs));
	if (r)
		c->free_reqs = r->next;
	else if (c->reqs && c->fresh < c->ioslots)
		r = &c->reqs[c->fresh++];
	if (!r) {
		c->starved = true;
		return NULL;
	}
	r->c = c;
	r->busy = true;
	return r;
}

static void req_put(struct nvme_req *r)
{
	struct nvme *c = r->c;

	free(r->buf);
	r->buf = NULL;
	r->busy = false;
	r->next = c->free_reqs;
	c->free_reqs = r;
}

/* --- Interrupts --- */

void nvme_intx_update(struct nvme *c)
{
	bool level = false;

	if (pci_msix_enabled(&c->pci))
		return;
	for (unsigned q = 0; q < NVME_QUEUES; q++)
		level |= c->cq[q].live && c->cq[q].ien && c->cq[q].head != c->cq[q].tail;
	pci_intx_set(&c->pci, level && !(c->intm & 1));
}

static void interrupt(struct nvme *c)
{
	uint64_t mask = c->post_mask;

	c->post_mask = 0;
	if (mask && !pci_msix_enabled(&c->pci)) {
		nvme_intx_update(c);
		return;
	}
	for (; mask; mask &= mask - 1) {
		const struct nvme_cq *cq = &c->cq[__builtin_ctzll(mask)];

		if (cq->live && cq->ien)
			pci_msix_fire(&c->pci, cq->iv);
	}
}

void nvme_batch_done(void *arg)
{
	struct nvme *c = arg;

	interrupt(c);
	if (c->starved) {
		c->starved = false;
		nvme_kick(c);
	}
}

/* --- Completions --- */

void nvme_post(struct nvme *c, uint16_t sqid, const uint8_t *cmd, uint16_t status, uint32_t result)
{
	const struct nvme_sq *sq = &c->sq[sqid];
	struct nvme_cq *cq = &c->cq[sq->cqid];
	uint8_t *e = cq->mem + cq->tail * NVME_CQE_LEN;

	cq->reserved--;
	put_le32(e, result);
	put_le32(e + 4, 0);
	put_le32(e + 8, sq->head | (uint32_t)sqid << 16);
	/* The phase tag makes it visible, so it goes last [NVME-1.4 4.6]. */
	__atomic_store_n((uint32_t *)(void *)(e + 12), nvme_cid(cmd) | (uint32_t)cq->phase << 16 | (uint32_t)status << 17,
			 __ATOMIC_RELEASE);
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	c->post_mask |= BIT64(sq->cqid);
}

void nvme_departs(struct nvme *c)
{
	if (c->inflight++ == 0)
		c->busy_since = now_ns();
}

void nvme_lands(struct nvme *c)
{
	if (--c->inflight == 0)
		c->count.busy_ns += now_ns() - c->busy_since;
}

void nvme_finish(struct nvme_req *r, uint16_t status)
{
	struct nvme *c = r->c;
	struct nvme_sq *sq = &c->sq[r->sqid];

	nvme_lands(c);
	if (c->dropping || c->resetting) {
		req_put(r);
		nvme_reset_check(c);
		return;
	}
	if (status && status != NVME_ABORT_REQUESTED) {
		nvme_log_error(c, r->sqid, nvme_cid(r->cmd), status, get_le64(r->cmd + 40), nvme_nsid(r->cmd));
		status |= NVME_MORE;
	}
	nvme_post(c, r->sqid, r->cmd, status, 0);
	req_put(r);
	if (--sq->inflight == 0 && sq->deleting)
		nvme_sq_deleted(c, (uint16_t)(sq - c->sq));
}

/* --- Doorbells --- */

void nvme_kick(struct nvme *c)
{
	static const uint64_t one = 1;

	if (c->efd < 0 || c->kicked)
		return;
	c->kicked = write(c->efd, &one, sizeof(one)) == sizeof(one);
}

static void bad_doorbell(struct nvme *c, unsigned q, bool value, uint32_t val)
{
	dev_warn(&c->pci.dev, "doorbell of queue %u: %u %s", q, val, value ? "is no place that can be reached" : "is for no queue");
	nvme_log_error(c, 0xffff, 0xffff, 0, 0, 0);
	nvme_event(c, EVENT_ERROR, value ? EVENT_BAD_DOORBELL_VALUE : EVENT_BAD_DOORBELL);
	nvme_kick(c);
}

void nvme_tail_set(struct nvme *c, unsigned q, uint32_t val)
{
	if (val >= c->sq[q].size)
		bad_doorbell(c, q, true, val);
	else
		c->sq[q].tail = val;
}

void nvme_head_set(struct nvme *c, unsigned q, uint32_t val)
{
	struct nvme_cq *cq = &c->cq[q];

	/* No further than what was posted. */
	if (val >= cq->size || (val + cq->size - cq->head) % cq->size > (cq->tail + cq->size - cq->head) % cq->size) {
		bad_doorbell(c, q, true, val);
		return;
	}
	cq->head = val;
	nvme_intx_update(c);
}

void nvme_doorbell(struct nvme *c, uint64_t off, uint32_t val)
{
	const unsigned q = (unsigned)(off / 8);
	const bool cq = off & 4;

	if (!(c->csts & CSTS_RDY) || c->csts & CSTS_CFS || c->resetting)
		return;
	if (q >= NVME_QUEUES || !(cq ? c->cq[q].live : c->sq[q].live))
		bad_doorbell(c, q, false, val);
	else if (c->dbs && q)
		nvme_shadow_rung(c, q, cq, val);
	else if (cq)
		nvme_head_set(c, q, val);
	else
		nvme_tail_set(c, q, val);
	/* Nothing is to be done about places that were given back, unless something waits for one. */
	if (!cq || c->dbs || c->corked & BIT64(q % NVME_QUEUES))
		nvme_kick(c);
}

/* --- Fetching --- */

void nvme_run(struct nvme *c, uint16_t sqid, const uint8_t *cmd, struct nvme_req *r)
{
	r->sqid = sqid;
	memcpy(r->cmd, cmd, NVME_SQE_LEN);
	c->sq[sqid].inflight++;
	nvme_departs(c);
	nvme_io(r);
}

static bool to_abort(struct nvme *c, uint16_t sqid, uint32_t index)
{
	for (unsigned i = 0; i < NVME_ABORTS; i++) {
		struct nvme_abort *a = &c->abort[i];

		if (a->used && a->sqid == sqid && a->index == index) {
			a->used = false;
			return true;
		}
	}
	return false;
}

static bool cq_has_room(struct nvme *c, unsigned cqid)
{
	if (!nvme_cq_room(&c->cq[cqid]))
		nvme_shadow_read(c, cqid);
	if (nvme_cq_room(&c->cq[cqid]))
		return true;
	c->corked |= BIT64(cqid);
	return false;
}

/* One command of a queue; false: there is none, or none can be taken now. */
static bool fetch(struct nvme *c, uint16_t q)
{
	struct nvme_sq *sq = &c->sq[q];
	struct nvme_req *r = NULL;
	uint8_t cmd[NVME_SQE_LEN];

	if (sq->head == sq->tail || sq->deleting || !cq_has_room(c, sq->cqid) || (q && !(r = req_get(c))))
		return false;
	const uint32_t index = sq->head;

	memcpy(cmd, sq->mem + index * NVME_SQE_LEN, sizeof(cmd));
	sq->head = index + 1 == sq->size ? 0 : index + 1;
	c->cq[sq->cqid].reserved++;
	if (to_abort(c, q, index)) {
		nvme_post(c, q, cmd, NVME_ABORT_REQUESTED, 0);
		if (r)
			req_put(r);
	} else if (q) {
		nvme_run(c, q, cmd, r);
	} else {
		nvme_admin(c, cmd);
	}
	return true;
}

/* The queues in turn, each for as many commands as the arbitration burst allows [NVME-1.4 4.13.1]. */
static unsigned fetch_all(struct nvme *c)
{
	const unsigned exp = c->feat.arbitration & 7, burst = exp == 7 ? BUDGET : 1u << exp;
	unsigned budget = BUDGET, before;

	do {
		uint64_t live = c->sqs >> c->rr | c->sqs << (-c->rr % NVME_QUEUES);     /* from the one whose turn it is */

		for (before = budget; live && budget; live &= live - 1) {
			const unsigned q = (c->rr + (unsigned)__builtin_ctzll(live)) % NVME_QUEUES;

			for (unsigned n = 0; n < burst && budget && c->sqs & BIT64(q) && fetch(c, (uint16_t)q); n++)
				budget--;
		}
		c->rr = (c->rr + 1) % NVME_QUEUES;
	} while (budget && budget != before);
	return budget;
}

/* Commands a snapshot has brought; they have their places already. */
static void run_held(struct nvme *c)
{
	struct nvme_req *r;
	uint32_t done = 0;

	while (c->held_len - done >= NVME_HELD_LEN && (r = req_get(c))) {
		const uint8_t *h = c->held + done;

		done += NVME_HELD_LEN;
		c->sq[get_le16(h)].inflight--;          /* counted when it was loaded */
		nvme_run(c, get_le16(h), h + 2, r);
	}
	c->held_len -= done;
	if (done)
		memmove(c->held, c->held + done, c->held_len);
}

static bool running(const struct nvme *c)
{
	return c->csts & CSTS_RDY && !(c->csts & CSTS_CFS) && !c->resetting && !c->paused;
}

/* I/O queues whose shadow doorbells matter: those that may have commands, or completions somebody waits for. */
static uint64_t shadowed(const struct nvme *c)
{
	return c->dbs ? (pci_msix_enabled(&c->pci) ? c->sqs | c->corked : UINT64_MAX) & ~1ull : 0;
}

void nvme_process(struct nvme *c)
{
	bool more = false;

	if (!running(c))
		return;
	c->corked = 0;
	run_held(c);
	for (uint64_t m = shadowed(c); m; m &= m - 1)
		nvme_shadow_read(c, (unsigned)__builtin_ctzll(m));
	nvme_events_send(c);
	if (!c->held_len)
		more = fetch_all(c) == 0;
	for (uint64_t m = shadowed(c); m; m &= m - 1)
		more |= nvme_shadow_arm(c, (unsigned)__builtin_ctzll(m));
	if (c->blk)
		blk_kick(c->blk);
	interrupt(c);
	if (more)
		nvme_kick(c);
}
