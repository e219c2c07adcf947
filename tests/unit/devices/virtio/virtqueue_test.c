#include "tests/unit/unit.h"

#include "devices/virtio/virtqueue.h"
#include "tests/unit/devices/virtio/driver.h"

/* A queue of this file's own, filled through the driver's rings: the device stays idle. */
struct bench {
	struct drv d;
	struct virtio_dev dev;
	struct virtqueue q;
	struct iovec iov[VQ_CHAIN_MAX];
};

static struct bench *bench_new(uint64_t features, unsigned size)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct drv_queue *r = &b->d.q[0];
	b->d = (struct drv){ .vm = drv_vm_new(), .v = &b->dev, .features = features, .brk = DRV_RAM_BASE };
	*r = (struct drv_queue){ .size = size, .avail_wrap = true, .used_wrap = true };
	for (unsigned i = 0; i < size; i++)
		r->free[r->nfree++] = (uint16_t)(size - 1 - i);
	r->desc = drv_alloc(&b->d, size * 16);
	r->driver = drv_alloc(&b->d, 6 + 2 * size);
	r->device = drv_alloc(&b->d, 6 + 8 * size);
	b->q = (struct virtqueue){
		.size_max = VQ_SIZE_MAX, .size = (uint16_t)size, .desc = r->desc, .driver = r->driver, .device = r->device,
		.packed = features & VIRTIO_F_RING_PACKED, .event_idx = features & VIRTIO_F_EVENT_IDX, .indirect = true,
	};
	ck_assert_ptr_null(vq_enable(&b->q, &b->d.vm->mem));
	return b;
}

static void bench_end(struct bench *b)
{
	drv_vm_free(b->d.vm);
	free(b);
}

static void chain(struct bench *b, unsigned n, bool indirect)
{
	struct drv_buf buf[8];
	for (unsigned i = 0; i < n; i++)
		buf[i] = (struct drv_buf){ DRV_RAM_BASE + (1 << 20) + i * 100, 10 + i, i >= n / 2 };
	drv_add(&b->d, 0, buf, n, indirect);
}

/* Taking and giving back, over and over past the end of the ring: the same chain every time. */
static void rewinding(uint64_t features)
{
	struct bench *b = bench_new(features, 7 + !(features & VIRTIO_F_RING_PACKED));
	struct vq_chain c[2], again;
	struct iovec iov[2][VQ_CHAIN_MAX];
	for (unsigned round = 0; round < 50; round++) {
		uint32_t len;
		chain(b, 3, false);
		chain(b, 2, round % 2);
		for (unsigned i = 0; i < 3; i++) {
			ck_assert(vq_pop(&b->q, &c[0], iov[0]));
			ck_assert(vq_pop(&b->q, &c[1], iov[1]));
			ck_assert(!vq_pop(&b->q, &again, b->iov));
			vq_unpop(&b->q, &c[1]);
			vq_unpop(&b->q, &c[0]);
			ck_assert_uint_eq(b->q.inuse, 0);
		}
		ck_assert(vq_pop(&b->q, &again, b->iov));
		ck_assert_uint_eq(again.id, c[0].id);
		ck_assert_uint_eq(again.nr, 1);
		ck_assert_uint_eq(again.nw, 2);
		ck_assert_uint_eq(again.rlen, 10);
		ck_assert_uint_eq(again.wlen, 11 + 12);
		ck_assert(vq_pop(&b->q, &c[1], iov[1]));
		const struct vq_chain both[2] = { again, c[1] };
		vq_push_many(&b->q, both, (uint32_t[]){ 5, 6 }, 2);
		ck_assert_int_eq(drv_poll(&b->d, 0, &len), again.id);
		ck_assert_uint_eq(len, 5);
		ck_assert_int_eq(drv_poll(&b->d, 0, &len), c[1].id);
		ck_assert_uint_eq(len, 6);
	}
	ck_assert_ptr_null(b->q.broken);
	bench_end(b);
}
START_TEST(rewind_split) { rewinding(0); }
END_TEST
START_TEST(rewind_packed) { rewinding(VIRTIO_F_RING_PACKED); }
END_TEST

static bool push_one(struct bench *b)
{
	struct vq_chain c;
	chain(b, 1, false);
	ck_assert(vq_pop(&b->q, &c, b->iov));
	vq_push(&b->q, &c, 1);
	const bool yes = vq_should_interrupt(&b->q);
	ck_assert(!vq_should_interrupt(&b->q));         /* nothing new */
	drv_poll(&b->d, 0, NULL);
	return yes;
}

static void driver_word(struct bench *b, unsigned off, uint16_t val)
{
	put_le16(drv_ptr(&b->d, b->d.q[0].driver + off, 2), val);
}

START_TEST(interrupt_flags)
{
	struct bench *b = bench_new(0, 4);
	ck_assert(push_one(b));
	driver_word(b, 0, 1);
	ck_assert(!push_one(b));
	driver_word(b, 0, 0);
	ck_assert(push_one(b));
	bench_end(b);
	b = bench_new(VIRTIO_F_RING_PACKED, 4);
	ck_assert(push_one(b));
	driver_word(b, 2, 1);
	ck_assert(!push_one(b));
	bench_end(b);
}
END_TEST

/* The driver asks to hear of the third entry from now on, again and again; drv_poll() moves the event, so it is set before each. */
START_TEST(interrupt_events)
{
	struct bench *b = bench_new(VIRTIO_F_EVENT_IDX, 4);
	for (unsigned i = 0; i < 40; i++) {
		driver_word(b, 4 + 2 * 4, (uint16_t)(i / 3 * 3 + 2));
		ck_assert_int_eq(push_one(b), i % 3 == 2);
	}
	bench_end(b);
	b = bench_new(VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED, 5);
	for (unsigned i = 0; i < 40; i++) {
		const unsigned at = i / 3 * 3 + 2;
		driver_word(b, 0, (uint16_t)(at % 5 | (at / 5 % 2 ? 0 : 0x8000)));
		driver_word(b, 2, 2);
		ck_assert_int_eq(push_one(b), i % 3 == 2);
	}
	bench_end(b);
}
END_TEST

/* The driver's view of what the device wants: silent after off, told once after on, and never lost. */
static void notifications(uint64_t features)
{
	struct bench *b = bench_new(features, 8);
	struct vq_chain c;
	ck_assert(!vq_notify_on(&b->q));
	for (unsigned i = 0; i < 30; i++) {
		chain(b, 1, false);
		ck_assert(drv_kick(&b->d, 0));
		vq_notify_off(&b->q);
		ck_assert(vq_pop(&b->q, &c, b->iov));
		vq_push(&b->q, &c, 0);
		chain(b, 1, false);
		ck_assert(!drv_kick(&b->d, 0));
		ck_assert(vq_notify_on(&b->q));         /* it came in between */
		ck_assert(vq_pop(&b->q, &c, b->iov));
		vq_push(&b->q, &c, 0);
		ck_assert(!vq_notify_on(&b->q));
		drv_poll(&b->d, 0, NULL);
		drv_poll(&b->d, 0, NULL);
	}
	bench_end(b);
}
START_TEST(notify)
{
	notifications(0);
	notifications(VIRTIO_F_EVENT_IDX);
	notifications(VIRTIO_F_RING_PACKED);
	notifications(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);
}
END_TEST

/* A queue that is polled does not ask for notifications, and still sees what comes. */
static void polled(uint64_t features)
{
	struct bench *b = bench_new(features, 8);
	struct vq_chain c;

	ck_assert(!vq_notify_on(&b->q));
	chain(b, 1, false);
	ck_assert(drv_kick(&b->d, 0));
	b->q.quiet = true;
	for (unsigned i = 0; i < 30; i++) {
		vq_notify_off(&b->q);
		ck_assert(vq_ready(&b->q));
		ck_assert(vq_notify_on(&b->q));
		ck_assert(vq_pop(&b->q, &c, b->iov));
		vq_push(&b->q, &c, 0);
		ck_assert(!vq_ready(&b->q));
		ck_assert(!vq_notify_on(&b->q));
		drv_poll(&b->d, 0, NULL);
		chain(b, 1, false);
		ck_assert(!drv_kick(&b->d, 0));
	}
	b->q.quiet = false;
	ck_assert(vq_notify_on(&b->q));
	bench_end(b);
}
START_TEST(poll)
{
	polled(0);
	polled(VIRTIO_F_EVENT_IDX);
	polled(VIRTIO_F_RING_PACKED);
	polled(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX);
}
END_TEST

/* A driver that makes more available than the ring holds. */
START_TEST(overcommit)
{
	struct bench *b = bench_new(0, 4);
	struct vq_chain c;
	uint8_t *avail = drv_ptr(&b->d, b->d.q[0].driver, 14);
	chain(b, 1, false);
	put_le16(avail + 2, 4);
	for (unsigned i = 0; i < 4; i++) {
		put_le16(avail + 4 + 2 * i, get_le16(avail + 4));
		ck_assert(vq_pop(&b->q, &c, b->iov));
	}
	put_le16(avail + 2, 5);
	ck_assert(!vq_pop(&b->q, &c, b->iov));
	ck_assert_ptr_nonnull(b->q.broken);
	ck_assert(!vq_notify_on(&b->q));
	vq_push(&b->q, &c, 0);                          /* what was in flight comes back without harm */
	vq_reset(&b->q);
	ck_assert(!vq_live(&b->q));
	bench_end(b);
}
END_TEST

UNIT_MAIN("devices/virtio/virtqueue", rewind_split, rewind_packed, interrupt_flags, interrupt_events, notify, poll, overcommit)
