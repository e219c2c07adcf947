/*
 * What both ring layouts share: enabling, checking, chains [VIRTIO-1.2 2.6 to 2.8].
 * IN_ORDER and NOTIFICATION_DATA are not offered and not modelled.
 */
#include "devices/virtio/virtqueue.h"

#include <assert.h>

#include "devices/virtio/ring.h"

static const struct ring_ops *ring_of(const struct virtqueue *q)
{
	return q->packed ? &ring_packed : &ring_split;
}

bool vq_break(struct virtqueue *q, const char *why)
{
	if (!q->broken)
		q->broken = why;
	return false;
}

void vq_reset(struct virtqueue *q)
{
	const uint16_t size_max = q->size_max;

	memset(q, 0, sizeof(*q));
	q->size_max = size_max;
	q->size = size_max;
}

/* --- Enabling --- */

static const char *area_map(const struct guest_mem *mem, uint64_t gpa, uint64_t len, unsigned align, uint8_t **hva)
{
	if (gpa % align)
		return "a ring is misaligned";
	*hva = mem_at(mem, gpa, len);
	return *hva ? NULL : "a ring lies outside RAM";
}

/* Sizes and alignments: [VIRTIO-1.2 2.7, 2.8.10]. */
static const char *rings_map(struct virtqueue *q, const struct guest_mem *mem)
{
	const uint32_t n = q->size;
	const char *why;

	if (n == 0 || n > q->size_max)
		return "its size is zero or too large";
	if (!q->packed && (n & (n - 1)))
		return "its size is no power of two";
	why = area_map(mem, q->desc, n * DESC_LEN, 16, &q->desc_hva);
	if (why)
		return why;
	why = area_map(mem, q->driver, q->packed ? 4 : 6 + 2 * n, q->packed ? 4 : 2, &q->driver_hva);
	if (why)
		return why;
	return area_map(mem, q->device, q->packed ? 4 : 6 + 8 * n, 4, &q->device_hva);
}

const char *vq_enable(struct virtqueue *q, const struct guest_mem *mem)
{
	q->mem = mem;
	q->enabled = true;
	q->avail_idx = q->used_idx = 0;
	q->avail_wrap = q->used_wrap = true;
	q->unsignalled = q->inuse = 0;
	q->broken = rings_map(q, mem);
	return q->broken;
}

const char *vq_loaded(struct virtqueue *q, const struct guest_mem *mem)
{
	q->mem = mem;
	q->quiet = false;
	q->broken = NULL;
	q->inuse = 0;                   /* whoever saved it had drained it */
	if (!q->enabled)
		return NULL;
	q->broken = rings_map(q, mem);
	if (q->broken)
		return NULL;            /* the guest did that before the snapshot, and still has to reset */
	if (q->packed && (q->avail_idx >= q->size || q->used_idx >= q->size))
		return "its position is outside the ring";
	return NULL;
}

/* --- Chains --- */

bool chain_add(struct virtqueue *q, struct vq_chain *c, uint64_t addr, uint32_t len, bool writable)
{
	const unsigned n = c->nr + c->nw;
	void *hva;

	if (n >= VQ_CHAIN_MAX)
		return vq_break(q, "a chain is too long or loops");
	if (!writable && c->nw)
		return vq_break(q, "a readable buffer follows a writable one");
	hva = mem_at(q->mem, addr, len);
	if (!hva)
		return vq_break(q, len ? "a buffer lies outside RAM" : "a buffer is empty");
	c->iov[n] = (struct iovec){ hva, len };
	*(writable ? &c->nw : &c->nr) += 1;
	*(writable ? &c->wlen : &c->rlen) += len;
	if (c->rlen + c->wlen > VQ_CHAIN_BYTES_MAX)
		return vq_break(q, "a chain is longer than 4 GiB");
	return true;
}

const uint8_t *chain_table(struct virtqueue *q, const struct desc *d, unsigned *n)
{
	const uint8_t *table;

	if (!q->indirect) {
		vq_break(q, "an indirect descriptor was not negotiated");
		return NULL;
	}
	if (d->len == 0 || d->len % DESC_LEN || d->len / DESC_LEN > VQ_CHAIN_MAX) {
		vq_break(q, "an indirect table has a wrong length");
		return NULL;
	}
	table = mem_at(q->mem, d->addr, d->len);
	if (!table)
		vq_break(q, "an indirect table lies outside RAM");
	*n = d->len / DESC_LEN;
	return table;
}

bool vq_pop(struct virtqueue *q, struct vq_chain *c, struct iovec *iov)
{
	if (!vq_live(q))
		return false;
	*c = (struct vq_chain){ .iov = iov, .ndesc = 1 };
	if (!ring_of(q)->pop(q, c))
		return false;
	if (q->inuse + c->ndesc > q->size)
		return vq_break(q, "more buffers are available than the ring holds");
	q->inuse += c->ndesc;
	return true;
}

void vq_drop(struct virtqueue *q, const struct vq_chain *c)
{
	assert(q->inuse >= c->ndesc);
	q->inuse -= c->ndesc;
}

void vq_unpop(struct virtqueue *q, const struct vq_chain *c)
{
	vq_drop(q, c);
	ring_of(q)->unpop(q, c);
}

void vq_push_many(struct virtqueue *q, const struct vq_chain *c, const uint32_t *written, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vq_drop(q, &c[i]);
	if (n && vq_live(q))
		ring_of(q)->push_many(q, c, written, n);
}

void vq_push(struct virtqueue *q, const struct vq_chain *c, uint32_t written)
{
	vq_push_many(q, c, &written, 1);
}

bool vq_ready(struct virtqueue *q)
{
	return ring_of(q)->ready(q);
}

void vq_notify_off(struct virtqueue *q)
{
	if (vq_live(q))
		ring_of(q)->notify_off(q);
}

bool vq_notify_on(struct virtqueue *q)
{
	if (!vq_live(q))
		return false;
	return q->quiet ? ring_of(q)->ready(q) : ring_of(q)->notify_on(q);
}

bool vq_should_interrupt(struct virtqueue *q)
{
	bool yes;

	if (!vq_live(q) || q->unsignalled == 0)
		return false;
	ring_fence();
	yes = ring_of(q)->should_interrupt(q);
	q->unsignalled = 0;
	return yes;
}

const struct snap_field virtqueue_fields[] = {
	SNAP_U16(struct virtqueue, size, 1),
	SNAP_U64(struct virtqueue, desc, 1), SNAP_U64(struct virtqueue, driver, 1), SNAP_U64(struct virtqueue, device, 1),
	SNAP_BOOL(struct virtqueue, enabled, 1), SNAP_BOOL(struct virtqueue, packed, 1),
	SNAP_BOOL(struct virtqueue, event_idx, 1), SNAP_BOOL(struct virtqueue, indirect, 1),
	SNAP_U16(struct virtqueue, avail_idx, 1), SNAP_U16(struct virtqueue, used_idx, 1),
	SNAP_BOOL(struct virtqueue, avail_wrap, 1), SNAP_BOOL(struct virtqueue, used_wrap, 1),
	SNAP_U16(struct virtqueue, unsignalled, 1),
	SNAP_END
};
