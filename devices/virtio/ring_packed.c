/*
 * The packed ring [VIRTIO-1.2 2.8]: one ring of descriptors both sides write, and an event suppression
 * structure for each direction.
 */
#include "devices/virtio/ring.h"

/* Event suppression [VIRTIO-1.2 2.8.14]: off_wrap, flags. */
#define EVENT_OFF_WRAP 0
#define EVENT_FLAGS 2
#define EVENT_ENABLE 0u
#define EVENT_DISABLE 1u
#define EVENT_DESC 2u
#define EVENT_FLAGS_MASK 3u

static uint8_t *desc_at(const struct virtqueue *q, unsigned i) { return q->desc_hva + i * DESC_LEN; }

/* A descriptor is the device's when AVAIL equals our wrap counter and USED does not [VIRTIO-1.2 2.8.1]. */
static bool flags_available(uint16_t flags, bool wrap)
{
	return !!(flags & DESC_F_AVAIL) == wrap && !!(flags & DESC_F_USED) != wrap;
}

/* The copy of a ring entry: flags first, the rest only after they said it is complete. */
static bool desc_take(const struct virtqueue *q, unsigned i, bool wrap, struct desc *d)
{
	const uint8_t *p = desc_at(q, i);
	const uint16_t flags = ring_load_acquire(p + 14);

	memcpy(d, p, sizeof(*d));
	d->w1 = flags;                  /* the value that was judged, not a later one */
	return flags_available(flags, wrap);
}

static void pos_add(const struct virtqueue *q, uint16_t *idx, bool *wrap, unsigned n)
{
	const unsigned sum = *idx + n;

	if (sum >= q->size)
		*wrap = !*wrap;
	*idx = sum >= q->size ? sum - q->size : sum;
}

/* In an indirect table only addr, len and WRITE mean anything [VIRTIO-1.2 2.8.7]. */
static bool table_walk(struct virtqueue *q, struct vq_chain *c, const struct desc *d)
{
	unsigned n = 0;
	const uint8_t *table = chain_table(q, d, &n);
	struct desc e;

	if (!table)
		return false;
	for (unsigned i = 0; i < n; i++) {
		memcpy(&e, table + i * DESC_LEN, sizeof(e));
		if (!chain_add(q, c, e.addr, e.len, e.w1 & DESC_F_WRITE))
			return false;
	}
	return true;
}

static bool ring_walk(struct virtqueue *q, struct vq_chain *c, struct desc d)
{
	uint16_t idx = q->avail_idx;
	bool wrap = q->avail_wrap;

	while (chain_add(q, c, d.addr, d.len, d.w1 & DESC_F_WRITE)) {
		c->id = d.w0;           /* the last one's counts [VIRTIO-1.2 2.8.6] */
		if (!(d.w1 & DESC_F_NEXT))
			return true;
		if (c->ndesc >= q->size)
			return vq_break(q, "a chain is longer than the ring");
		c->ndesc++;
		pos_add(q, &idx, &wrap, 1);
		/* The driver makes the head available last, so the rest must be complete. */
		if (!desc_take(q, idx, wrap, &d))
			return vq_break(q, "a chain is incomplete");
		if (d.w1 & DESC_F_INDIRECT)
			return vq_break(q, "an indirect descriptor is in the middle of a chain");
	}
	return false;
}

static bool packed_pop(struct virtqueue *q, struct vq_chain *c)
{
	struct desc d;

	if (!desc_take(q, q->avail_idx, q->avail_wrap, &d))
		return false;
	if (d.w1 & DESC_F_INDIRECT) {
		if (d.w1 & DESC_F_NEXT)
			return vq_break(q, "an indirect descriptor has a next");
		c->id = d.w0;
		if (!table_walk(q, c, &d))
			return false;
	} else if (!ring_walk(q, c, d)) {
		return false;
	}
	pos_add(q, &q->avail_idx, &q->avail_wrap, c->ndesc);
	return true;
}

static void packed_unpop(struct virtqueue *q, const struct vq_chain *c)
{
	if (q->avail_idx < c->ndesc) {
		q->avail_idx += q->size;
		q->avail_wrap = !q->avail_wrap;
	}
	q->avail_idx -= c->ndesc;
}

static void desc_put(struct virtqueue *q, unsigned idx, bool wrap, uint16_t id, uint32_t written)
{
	uint8_t *p = desc_at(q, idx);
	const uint16_t flags = (wrap ? DESC_F_AVAIL | DESC_F_USED : 0) | (written ? DESC_F_WRITE : 0);

	put_le32(p + 8, written);
	put_le16(p + 12, id);
	ring_store_release(p + 14, flags);
}

/*
 * The first chain's flags are written last: the driver stops at the first entry not used, so the group
 * appears as a whole.
 */
static void packed_push_many(struct virtqueue *q, const struct vq_chain *c, const uint32_t *written, unsigned n)
{
	const uint16_t first = q->used_idx;
	const bool first_wrap = q->used_wrap;

	for (unsigned i = 0; i < n; i++) {
		if (i)
			desc_put(q, q->used_idx, q->used_wrap, c[i].id, written[i]);
		pos_add(q, &q->used_idx, &q->used_wrap, c[i].ndesc);
		q->unsignalled += c[i].ndesc;
	}
	desc_put(q, first, first_wrap, c[0].id, written[0]);
}

static bool packed_ready(struct virtqueue *q)
{
	return flags_available(ring_load(desc_at(q, q->avail_idx) + 14), q->avail_wrap);
}

static void packed_notify_off(struct virtqueue *q)
{
	ring_store(q->device_hva + EVENT_FLAGS, EVENT_DISABLE);
}

static bool packed_notify_on(struct virtqueue *q)
{
	if (q->event_idx)
		ring_store(q->device_hva + EVENT_OFF_WRAP, (uint16_t)(q->avail_idx | (q->avail_wrap ? 0x8000u : 0)));
	ring_store_release(q->device_hva + EVENT_FLAGS, q->event_idx ? EVENT_DESC : EVENT_ENABLE);
	ring_fence();
	return packed_ready(q);
}

static bool packed_should_interrupt(struct virtqueue *q)
{
	const uint16_t flags = ring_load_acquire(q->driver_hva + EVENT_FLAGS) & EVENT_FLAGS_MASK;
	const uint16_t off_wrap = ring_load(q->driver_hva + EVENT_OFF_WRAP);
	uint16_t event = off_wrap & 0x7fff;

	if (flags != EVENT_DESC || !q->event_idx)
		return flags != EVENT_DISABLE;
	if (q->unsignalled >= q->size)
		return true;
	/* The event lies in the lap before ours: count it below zero. */
	if (!!(off_wrap & 0x8000) != q->used_wrap)
		event -= q->size;
	return ring_passed(event, q->used_idx, q->used_idx - q->unsignalled);
}

const struct ring_ops ring_packed = {
	.pop = packed_pop, .unpop = packed_unpop, .push_many = packed_push_many,
	.ready = packed_ready, .notify_off = packed_notify_off, .notify_on = packed_notify_on, .should_interrupt = packed_should_interrupt,
};
