/*
 * The split ring [VIRTIO-1.2 2.7]: descriptor table, available ring (the driver's), used ring (ours).
 */
#include "devices/virtio/ring.h"

/* Both rings: flags, idx, entries, then the other side's event index. */
#define RING_FLAGS 0
#define RING_IDX 2
#define RING_ENTRIES 4
#define AVAIL_NO_INTERRUPT 1u
#define USED_NO_NOTIFY 1u

static uint8_t *used_event(const struct virtqueue *q) { return q->driver_hva + RING_ENTRIES + 2u * q->size; }
static uint8_t *avail_event(const struct virtqueue *q) { return q->device_hva + RING_ENTRIES + 8u * q->size; }

static struct desc desc_copy(const uint8_t *table, unsigned i)
{
	struct desc d;

	memcpy(&d, table + i * DESC_LEN, sizeof(d));
	return d;
}

/* Follows the chain from `d` on; w0 is flags and w1 next. */
static bool chain_walk(struct virtqueue *q, struct vq_chain *c, const uint8_t *table, unsigned n, struct desc d)
{
	for (unsigned seen = 1; ; seen++) {
		if (d.w0 & DESC_F_INDIRECT)
			return vq_break(q, "an indirect descriptor is nested or in the middle of a chain");
		if (!chain_add(q, c, d.addr, d.len, d.w0 & DESC_F_WRITE))
			return false;
		if (!(d.w0 & DESC_F_NEXT))
			return true;
		if (d.w1 >= n)
			return vq_break(q, "a descriptor's next is out of range");
		if (seen >= n)
			return vq_break(q, "a chain loops");
		d = desc_copy(table, d.w1);
	}
}

static bool split_pop(struct virtqueue *q, struct vq_chain *c)
{
	const uint8_t *table = q->desc_hva;
	unsigned n = q->size;
	const uint16_t ready = ring_load_acquire(q->driver_hva + RING_IDX) - q->avail_idx;
	struct desc d;

	if (ready == 0)
		return false;
	if (ready > n)
		return vq_break(q, "the available index jumped");
	c->id = ring_load(q->driver_hva + RING_ENTRIES + 2u * (q->avail_idx & (n - 1)));
	if (c->id >= n)
		return vq_break(q, "an available entry is out of range");
	d = desc_copy(table, c->id);
	if (d.w0 & DESC_F_INDIRECT) {
		if (d.w0 & DESC_F_NEXT)
			return vq_break(q, "an indirect descriptor has a next");
		table = chain_table(q, &d, &n);
		if (!table)
			return false;
		d = desc_copy(table, 0);
	}
	if (!chain_walk(q, c, table, n, d))
		return false;
	q->avail_idx++;
	return true;
}

static void split_unpop(struct virtqueue *q, const struct vq_chain *c)
{
	q->avail_idx -= c->ndesc;
}

static void split_push_many(struct virtqueue *q, const struct vq_chain *c, const uint32_t *written, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *e = q->device_hva + RING_ENTRIES + 8u * (q->used_idx++ & (q->size - 1u));

		put_le32(e, c[i].id);
		put_le32(e + 4, written[i]);
	}
	ring_store_release(q->device_hva + RING_IDX, q->used_idx);
	q->unsignalled += n;
}

static bool split_ready(struct virtqueue *q)
{
	return ring_load(q->driver_hva + RING_IDX) != q->avail_idx;
}

static void split_notify_off(struct virtqueue *q)
{
	/* With the event index, silence is the driver's default: an old avail_event asks for nothing. */
	if (!q->event_idx)
		ring_store(q->device_hva + RING_FLAGS, USED_NO_NOTIFY);
}

static bool split_notify_on(struct virtqueue *q)
{
	if (q->event_idx)
		ring_store(avail_event(q), q->avail_idx);
	else
		ring_store(q->device_hva + RING_FLAGS, 0);
	ring_fence();
	return split_ready(q);
}

static bool split_should_interrupt(struct virtqueue *q)
{
	if (!q->event_idx)
		return !(ring_load(q->driver_hva + RING_FLAGS) & AVAIL_NO_INTERRUPT);
	return ring_passed(ring_load(used_event(q)), q->used_idx, q->used_idx - q->unsignalled);
}

const struct ring_ops ring_split = {
	.pop = split_pop, .unpop = split_unpop, .push_many = split_push_many,
	.ready = split_ready, .notify_off = split_notify_off, .notify_on = split_notify_on, .should_interrupt = split_should_interrupt,
};
