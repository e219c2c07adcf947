/*
 * virtio-scsi: requests that wait while the machine is saved: for the operator after the host has failed, or for the
 * throttle.  A command is run again from its beginning: all that may wait (transfers, zeroes, discards, flushes) do the same
 * twice.  A task management function that waits for such requests is carried out again as well.
 *
 * A record: le16 ring, ID, ring entries, readable and writable iovecs; le16 length of the header; le32 room for sense data;
 * LUN field, le64 tag, command block; then le64 address and le32 length of every iovec.
 */
#include "devices/virtio/virtio_scsi.h"

#include <errno.h>
#include <stdlib.h>

#include "common/blob.h"
#include "common/vm.h"

enum {
	W_Q = 0, W_ID = 2, W_NDESC = 4, W_NR = 6, W_NW = 8, W_HDR = 10, W_SENSE = 12, W_LUN = 16, W_TAG = 24, W_CDB = 32, W_IOV = 64,
};
#define W_IOV_LEN 12u

_Static_assert(W_IOV - W_CDB == SCSI_CDB_MAX, "room for a command block");

static void chain_put(const struct vscsi *d, uint8_t head[W_IOV], const struct vq_chain *c, const struct iovec *iov,
		      struct blob *out)
{
	put_le16(head + W_ID, c->id);
	put_le16(head + W_NDESC, c->ndesc);
	put_le16(head + W_NR, c->nr);
	put_le16(head + W_NW, c->nw);
	blob_add(out, head, W_IOV);
	for (unsigned i = 0; i < (unsigned)c->nr + c->nw; i++) {
		uint64_t gpa = 0;

		mem_gpa_of(&d->v.pci.dev.vm->mem, iov[i].iov_base, &gpa);
		blob_u64(out, gpa);
		blob_u32(out, (uint32_t)iov[i].iov_len);
	}
}

static void req_put(const struct vscsi_req *r, struct blob *out)
{
	uint8_t head[W_IOV] = { 0 };

	put_le16(head + W_Q, (uint16_t)r->q);
	put_le16(head + W_HDR, (uint16_t)r->hdr_len);
	put_le32(head + W_SENSE, r->sense_size);
	memcpy(head + W_LUN, r->lun, sizeof(r->lun));
	put_le64(head + W_TAG, r->tag);
	memcpy(head + W_CDB, r->scsi.cdb, SCSI_CDB_MAX);
	chain_put(r->d, head, &r->chain, r->iov, out);
}

void vscsi_saving(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;
	struct blob out = { 0 };

	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		for (unsigned i = 0; i < d->queue[q].fresh; i++) {
			if (d->queue[q].reqs[i].busy)
				req_put(&d->queue[q].reqs[i], &out);
		}
	}
	if (d->tmf.active) {
		uint8_t head[W_IOV] = { VSCSI_Q_CTRL };

		chain_put(d, head, &d->tmf.chain, d->tmf.iov, &out);
	}
	free(d->waiting);
	d->waiting = out.data;
	d->waiting_len = (uint32_t)out.len;
}

/* The chain of a record, checked like one from a ring. */
static bool chain_get(struct vscsi *d, const uint8_t *p, struct vq_chain *c, struct iovec *iov)
{
	*c = (struct vq_chain){
		.id = get_le16(p + W_ID), .ndesc = get_le16(p + W_NDESC), .nr = get_le16(p + W_NR), .nw = get_le16(p + W_NW), .iov = iov,
	};
	for (unsigned i = 0; i < (unsigned)c->nr + c->nw; i++) {
		const uint8_t *v = p + W_IOV + i * W_IOV_LEN;
		const uint32_t len = get_le32(v + 8);

		iov[i] = (struct iovec){ mem_at(&d->v.pci.dev.vm->mem, get_le64(v), len), len };
		if (!iov[i].iov_base)
			return false;
		*(i < c->nr ? &c->rlen : &c->wlen) += len;
	}
	return c->rlen + c->wlen <= VQ_CHAIN_BYTES_MAX;
}

static bool req_get(struct vscsi *d, const uint8_t *p, unsigned q)
{
	struct vscsi_req *r = vscsi_req_get(d, q);
	unsigned unit;

	if (!r)
		return false;
	r->hdr_len = get_le16(p + W_HDR);
	r->sense_size = get_le32(p + W_SENSE);
	memcpy(r->lun, p + W_LUN, sizeof(r->lun));
	r->tag = get_le64(p + W_TAG);
	memcpy(r->scsi.cdb, p + W_CDB, SCSI_CDB_MAX);
	if (!chain_get(d, p, &r->chain, r->iov) || r->hdr_len < VSCSI_HDR_LEN || r->hdr_len > r->chain.rlen ||
	    r->sense_size > VSCSI_SENSE_SIZE_MAX || r->chain.wlen < VSCSI_RESP_LEN + r->sense_size || !vscsi_target_of(d, r->lun, &unit)) {
		vscsi_req_put(r);
		return false;
	}
	r->held = r->scsi.resumed = true;
	return true;
}

static bool ctrl_get(struct vscsi *d, const uint8_t *p)
{
	if (d->tmf.active || !chain_get(d, p, &d->tmf.chain, d->tmf.iov))
		return false;
	d->tmf.active = true;
	d->tmf.target = NULL;
	return true;
}

/* One record at p, of at least W_IOV bytes; its length, or 0: it cannot be true. */
static size_t record_get(struct vscsi *d, const uint8_t *p, size_t left)
{
	const unsigned q = get_le16(p + W_Q), niov = get_le16(p + W_NR) + get_le16(p + W_NW), ndesc = get_le16(p + W_NDESC);
	const size_t len = W_IOV + niov * W_IOV_LEN;
	struct virtqueue *vq;

	if (q >= d->v.nqueues || q == VSCSI_Q_EVENT || niov > VQ_CHAIN_MAX || len > left)
		return 0;
	vq = &d->v.vq[q];
	if (!vq_live(vq) || ndesc == 0 || ndesc + vq->inuse > vq->size)
		return 0;
	if (!(q == VSCSI_Q_CTRL ? ctrl_get(d, p) : req_get(d, p, q)))
		return 0;
	vq->inuse = (uint16_t)(vq->inuse + ndesc);
	return len;
}

int vscsi_waiting_load(struct vscsi *d)
{
	const uint8_t *p = d->waiting;
	size_t left = d->waiting_len, len;

	/* Nothing is in flight: the device was reset. */
	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		d->queue[q].free = NULL;
		d->queue[q].fresh = 0;
	}
	for (; left; p += len, left -= len) {
		len = left >= W_IOV ? record_get(d, p, left) : 0;
		if (len == 0)
			return err_msg(-EINVAL, "snapshot of %s: a request that waited is not one; it was made by another machine or is damaged",
				       d->v.pci.dev.id);
	}
	return 0;
}

void vscsi_waiting_run(struct vscsi *d)
{
	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		for (unsigned i = 0; i < d->queue[q].fresh; i++) {
			struct vscsi_req *r = &d->queue[q].reqs[i];

			if (!r->busy || !r->held)
				continue;
			r->held = false;
			vscsi_req_run(r);
		}
	}
	if (d->tmf.active && !d->tmf.target) {
		d->tmf.active = false;
		vscsi_ctrl_chain(d);
	}
}
