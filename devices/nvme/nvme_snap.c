/*
 * Snapshots of an NVMe controller.  What waits for the operator (werror=stop) or the throttle when the machine pauses is
 * saved as the commands it came as, and run again from the beginning: none of them minds.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/blob.h"
#include "common/vm.h"
#include "devices/nvme/nvme.h"

/* The commands that wait for the operator, or the throttle: they run again after the load. */
void nvme_saving(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;
	struct blob all = { 0 };
	uint8_t sqid[2];

	if (c->held_len)
		blob_add(&all, c->held, c->held_len);
	for (unsigned i = 0; i < c->fresh && !c->resetting; i++) {
		if (!c->reqs[i].busy)
			continue;
		put_le16(sqid, c->reqs[i].sqid);
		blob_add(&all, sqid, sizeof(sqid));
		blob_add(&all, c->reqs[i].cmd, NVME_SQE_LEN);
	}
	free(c->saved);
	c->saved = all.data;
	c->saved_len = (uint32_t)all.len;
	c->saved_lbads = (uint8_t)c->lbads;
}

static int refuse(const struct nvme *c, const char *why)
{
	return err_msg(-EINVAL, "snapshot of %s: %s; it was made by another machine or is damaged", c->pci.dev.id, why);
}

static const char *queue_loaded(struct nvme *c, unsigned q)
{
	struct nvme_sq *sq = &c->sq[q];
	struct nvme_cq *cq = &c->cq[q];

	cq->mem = NULL;
	sq->mem = NULL;
	cq->reserved = cq->nsq = 0;
	sq->inflight = 0;
	if (cq->live) {
		if (cq->size < 2 || cq->size > 65536 || cq->head >= cq->size || cq->tail >= cq->size)
			return "a completion queue's size or place is impossible";
		cq->mem = nvme_queue_mem(c, cq->base, cq->size, NVME_CQE_LEN);
		if (!cq->mem)
			return "a completion queue is not in RAM";
	}
	if (sq->live) {
		if (sq->size < 2 || sq->size > 65536 || sq->head >= sq->size || sq->tail >= sq->size || sq->cqid >= NVME_QUEUES ||
		    !c->cq[sq->cqid].live || (q == 0) != (sq->cqid == 0))
			return "a submission queue's size, place or completion queue is impossible";
		sq->mem = nvme_queue_mem(c, sq->base, sq->size, NVME_SQE_LEN);
		if (!sq->mem)
			return "a submission queue is not in RAM";
		c->sqs |= BIT64(q);
	}
	return NULL;
}

/* What is computed from commands that are still to be run, and from queues that are about to go. */
static const char *places_loaded(struct nvme *c)
{
	for (unsigned q = 0; q < NVME_QUEUES; q++) {
		if (!c->sq[q].live)
			continue;
		c->cq[c->sq[q].cqid].nsq++;
		if (q && c->sq[q].deleting)
			c->cq[0].reserved++;
	}
	for (uint32_t at = 0; at < c->held_len; at += NVME_HELD_LEN) {
		const uint16_t q = c->held_len - at < NVME_HELD_LEN ? 0 : get_le16(c->held + at);

		if (q == 0 || q >= NVME_QUEUES || !c->sq[q].live)
			return "a command of it belongs to no queue";
		c->sq[q].inflight++;
		c->cq[c->sq[q].cqid].reserved++;
	}
	for (unsigned q = 0; q < NVME_QUEUES; q++) {
		const struct nvme_cq *cq = &c->cq[q];

		if (cq->live && cq->reserved + (cq->tail + cq->size - cq->head) % cq->size > cq->size - 1)
			return "a completion queue is fuller than it can be";
		if (q && c->sq[q].deleting && !c->sq[q].inflight)
			return "a queue that is deleted waits for nothing";
	}
	return NULL;
}

static const char *check_loaded(struct nvme *c)
{
	const char *why = NULL;

	if (c->naer > NVME_AERS || c->cc & ~(CC_ALWAYS | CC_DISABLED_ONLY) || c->nsqa == 0 || c->nsqa > c->maxq || c->ncqa == 0 ||
	    c->ncqa > c->maxq)
		return "a register's value is impossible";
	if (c->csts & CSTS_RDY && (CC_MPS(c->cc) > NVME_MPS_MAX || (c->cc & CC_EN && !(c->sq[0].live && c->cq[0].live))))
		return "it is ready without its admin queue";
	c->sqs = 0;
	for (unsigned q = 0; q < NVME_QUEUES && !why; q++)
		why = queue_loaded(c, q);
	return why ? why : places_loaded(c);
}

int nvme_loaded(struct device *dev)
{
	struct nvme *c = (struct nvme *)dev;
	const uint64_t blocks = c->blocks, dbs = c->dbs, eis = c->eis;
	const uint8_t lbads = c->saved_lbads;
	const char *why;

	dev_lock(dev);
	nvme_drop_all(c);
	free(c->held);
	c->held = c->saved;
	c->held_len = c->saved_len;
	c->saved = NULL;
	c->saved_len = 0;
	c->blocks = c->blk ? ALIGN_UP(blk_size(c->blk), blk_logical(c->blk)) >> c->lbads : 0;
	why = blocks != c->blocks || lbads != c->lbads ? "its disk had another size" : check_loaded(c);
	if (!why && (dbs || eis) && nvme_shadow_set(c, dbs, eis, true))
		why = "its shadow doorbells are not in RAM";
	if (!dbs && !eis)
		nvme_shadow_set(c, 0, 0, true);
	if (why) {
		nvme_clear(c);
		c->csts = CSTS_CFS;
		dev_unlock(dev);
		return refuse(c, why);
	}
	if (!(c->cc & CC_EN))
		c->csts &= ~CSTS_RDY;   /* a reset that was under way is done now */
	c->post_mask = c->corked = 0;
	c->starved = false;
	c->rr = 0;
	dev_unlock(dev);
	return 0;
}

static const struct snap_field sq_fields[] = {
	SNAP_BOOL(struct nvme_sq, live, 1), SNAP_BOOL(struct nvme_sq, deleting, 1), SNAP_U16(struct nvme_sq, cqid, 1),
	SNAP_U16(struct nvme_sq, delete_cid, 1), SNAP_U32(struct nvme_sq, size, 1), SNAP_U32(struct nvme_sq, head, 1),
	SNAP_U32(struct nvme_sq, tail, 1), SNAP_U64(struct nvme_sq, base, 1),
	SNAP_END
};

static const struct snap_field cq_fields[] = {
	SNAP_BOOL(struct nvme_cq, live, 1), SNAP_BOOL(struct nvme_cq, ien, 1), SNAP_BOOL(struct nvme_cq, phase, 1),
	SNAP_U16(struct nvme_cq, iv, 1), SNAP_U32(struct nvme_cq, size, 1), SNAP_U32(struct nvme_cq, head, 1),
	SNAP_U32(struct nvme_cq, tail, 1), SNAP_U64(struct nvme_cq, base, 1),
	SNAP_END
};

static const struct snap_field abort_fields[] = {
	SNAP_BOOL(struct nvme_abort, used, 1), SNAP_U16(struct nvme_abort, sqid, 1), SNAP_U16(struct nvme_abort, cid, 1),
	SNAP_U32(struct nvme_abort, index, 1),
	SNAP_END
};

static const struct snap_field feat_fields[] = {
	SNAP_U32(struct nvme_features, arbitration, 1), SNAP_U32(struct nvme_features, power, 1),
	SNAP_U32(struct nvme_features, temp_over, 1), SNAP_U32(struct nvme_features, temp_under, 1),
	SNAP_U32(struct nvme_features, error_recovery, 1), SNAP_U32(struct nvme_features, write_cache, 1),
	SNAP_U32(struct nvme_features, coalescing, 1), SNAP_U32(struct nvme_features, atomicity, 1),
	SNAP_U32(struct nvme_features, async_event, 1), SNAP_ARRAY(SNAP_T_U32, struct nvme_features, vector, 1),
	SNAP_END
};

static const struct snap_field count_fields[] = {
	SNAP_U64(struct nvme_counters, reads, 1), SNAP_U64(struct nvme_counters, writes, 1),
	SNAP_U64(struct nvme_counters, sectors_read, 1), SNAP_U64(struct nvme_counters, sectors_written, 1),
	SNAP_U64(struct nvme_counters, busy_ns, 1), SNAP_U64(struct nvme_counters, media_errors, 1),
	SNAP_U64(struct nvme_counters, errors, 1),
	SNAP_END
};

const struct snap_field nvme_fields[] = {
	SNAP_STRUCT(struct nvme, pci, pci_fields, 1),
	SNAP_U64(struct nvme, blocks, 1), SNAP_U8(struct nvme, saved_lbads, 1),
	SNAP_U32(struct nvme, cc, 1), SNAP_U32(struct nvme, csts, 1), SNAP_U32(struct nvme, aqa, 1), SNAP_U32(struct nvme, intm, 1),
	SNAP_U64(struct nvme, asq, 1), SNAP_U64(struct nvme, acq, 1),
	SNAP_STRUCTS(struct nvme, sq, sq_fields, 1), SNAP_STRUCTS(struct nvme, cq, cq_fields, 1),
	SNAP_U16(struct nvme, nsqa, 1), SNAP_U16(struct nvme, ncqa, 1),
	SNAP_STRUCT(struct nvme, feat, feat_fields, 1),
	SNAP_STRUCTS(struct nvme, abort, abort_fields, 1),
	SNAP_ARRAY(SNAP_T_U16, struct nvme, aer_cid, 1), SNAP_U8(struct nvme, naer, 1),
	SNAP_BYTES(struct nvme, event_pending, 1), SNAP_BYTES(struct nvme, event_reported, 1), SNAP_U8(struct nvme, critical, 1),
	SNAP_STRUCT(struct nvme, count, count_fields, 1),
	SNAP_BYTES(struct nvme, errors, 1),
	SNAP_U64(struct nvme, dbs, 1), SNAP_U64(struct nvme, eis, 1),
	SNAP_HEAP(struct nvme, saved, saved_len, 1),
	SNAP_END
};
