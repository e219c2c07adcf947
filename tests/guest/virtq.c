/*
 * virtq: every virtio device is set up right and then treated wrong, one case after the other, on each of its queues.  A
 * device may answer, ask for a reset or stay silent; what it must do is come out of a reset and then do its work.
 *
 * A line a case: "VIRTQ device/queue case ok", with what the device did.  "VIRTQ FAIL ..." and a reset of the machine is the
 * end at the first failure.
 */
#include "tests/guest/virtq.h"

#define SETTLE_US 50000                 /* how long a device may take to react before silence is its answer */
#define QUIET_US 20000

uint8_t bufs[NBUFS][BUF_LEN] __attribute__((aligned(4096)));

static void fail(const struct vdev *d, unsigned q, const char *name, const char *why)
{
	print("VIRTQ FAIL %s/%u %s: %s, status %x\n", d->name, q, name, why, vdev_status(d));
	power_reset();
}

/* With MULTIPORT a console's data queues rest until the port is open; without, they are in use at once. */
uint64_t features(const struct vdev *d, unsigned q, uint64_t mask)
{
	return d->type == VIRTIO_CONSOLE && q < 2 ? mask & ~CONSOLE_F_MULTIPORT : mask;
}

/* --- building blocks --- */

void desc(struct vdesc *t, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	t[i] = (struct vdesc){ .addr = addr, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next };
}

void go(struct ctx *c, unsigned head)
{
	vq_add(c->d, c->q, (uint16_t)head);
	vq_kick(c->d, c->q);
}

void blk_header(unsigned i, uint32_t type, uint64_t sector)
{
	uint8_t *h = bufs[i];

	memset(h, 0, 16);
	memcpy(h, &type, 4);
	memcpy(h + 8, &sector, 8);
}

/* A request that is right but for its data buffer. */
void with_data(struct ctx *c, struct vdesc *t, uint64_t addr, uint32_t len)
{
	if (c->d->type != VIRTIO_BLK) {
		desc(t, 0, addr, len, dir(c), 0);
		return;
	}
	blk_header(0, 0, 0);
	desc(t, 0, buf(0), 16, DESC_NEXT, 1);
	desc(t, 1, addr, len, DESC_NEXT | DESC_WRITE, 2);
	desc(t, 2, buf(1), 1, DESC_WRITE, 0);
}

/* --- a live queue --- */

/* Either the old places stay in force, or the device notices; it must not follow into the hole. */
static void rings_moved(struct ctx *c)
{
	vq_place(c->d, c->q, machine.hole, machine.hole, machine.hole, VQ_LEN);
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
}

static void rings_moved_and_enabled(struct ctx *c)
{
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
	vq_place(c->d, c->q, ~0ull << 12, ~0ull << 12, ~0ull << 12, 0xffff);
	vdev_put(c->d, C_QUEUE_ENABLE, 2, 1);
	go(c, 0);
}

static void enabled_with_0(struct ctx *c)
{
	vdev_put(c->d, C_QUEUE_SEL, 2, c->q);
	vdev_put(c->d, C_QUEUE_ENABLE, 2, 0);
	vdev_put(c->d, C_QUEUE_ENABLE, 2, 0xffff);
	go(c, 0);
}

static void notify_nobody(struct ctx *c)
{
	uint64_t queues = vdev_get(c->d, C_NUM_QUEUES, 2), beyond = c->d->notify + queues * c->d->notify_mult;

	mmio_write(beyond, 2, queues);
	mmio_write(beyond + 0x100, 4, ~0ull);
	mmio_write(c->d->notify, 2, 0xffff);
	mmio_write(c->d->notify, 1, 0);
	mmio_write(c->d->notify, 8, ~0ull);
	mmio_read(c->d->notify, 4);
}

static void select_nobody(struct ctx *c)
{
	static const uint16_t which[] = { 8, 64, 0x7fff, 0xffff };

	for (unsigned i = 0; i < NELEM(which); i++) {
		vq_place(c->d, MAX(which[i], (uint16_t)vdev_get(c->d, C_NUM_QUEUES, 2)), 0x1000, 0x2000, 0x3000, 8);
		vdev_put(c->d, C_QUEUE_VECTOR, 2, 0);
		vdev_put(c->d, C_QUEUE_RESET, 2, 1);
		vdev_put(c->d, C_QUEUE_ENABLE, 2, 1);
		for (unsigned reg = C_QUEUE_SIZE; reg < 0x3c; reg += 2)
			vdev_get(c->d, reg, 2);
	}
	vdev_put(c->d, C_CONFIG_VECTOR, 2, 0x1234);
	vdev_put(c->d, C_FEATURE_SEL, 4, 0xffffffff);
	vdev_get(c->d, C_FEATURE, 4);
	vdev_put(c->d, C_DRIVER_FEATURE_SEL, 4, 0x80000000);
	vdev_put(c->d, C_DRIVER_FEATURE, 4, 0xffffffff);
}

/* Device configuration: every offset and size that is aligned, reading and writing back, past its end too. */
static void config_everywhere(struct ctx *c)
{
	for (unsigned size = 1; c->d->cfg && size <= 8; size *= 2) {
		for (uint64_t off = 0; off < c->d->cfg_len + 16; off += size) {
			uint64_t v = mmio_read(c->d->cfg + off, size);

			mmio_write(c->d->cfg + off, size, v);
		}
	}
}

/* --- resets with requests under way --- */

static void fill_ring(struct ctx *c)
{
	unsigned per = c->d->type == VIRTIO_BLK ? 3 : 1;

	for (unsigned i = 0; i + per <= c->d->len[c->q]; i += per) {
		struct vdesc *t = &c->r->desc[i];

		if (per == 1) {
			desc(t, 0, buf(i), BUF_LEN / 2, dir(c), 0);
		} else {
			with_data(c, t, buf(2 + i), BUF_LEN);
			t[0].next = (uint16_t)(i + 1);
			t[1].next = (uint16_t)(i + 2);
		}
		vq_add(c->d, c->q, (uint16_t)i);
	}
	vq_kick(c->d, c->q);
}

/* Once the device says that the reset is done, memory is the driver's [VIRTIO-1.2 2.4.1]. */
static void check_quiet(struct ctx *c, const char *name)
{
	memset(bufs, 0xa5, sizeof(bufs));
	memory_barrier();
	delay_us(QUIET_US);
	for (unsigned i = 0; i < sizeof(bufs); i += 64) {
		if (((volatile uint8_t *)bufs)[i] != 0xa5)
			fail(c->d, c->q, name, "memory written after the reset");
	}
}

static void reset_in_flight(struct ctx *c)
{
	for (unsigned round = 0; round < 4; round++) {
		fill_ring(c);
		if (round % 2)
			delay_us(random_below(500));
		if (!vdev_reset(c->d))
			fail(c->d, c->q, "reset-in-flight", "no end of the reset");
		check_quiet(c, "reset-in-flight");
		if (!vdev_start(c->d, VIRTIO_ALL_FEATURES, 1u << c->q))
			fail(c->d, c->q, "reset-in-flight", "does not start again");
	}
}

static void queue_reset_in_flight(struct ctx *c)
{
	uint64_t start;

	if (!(c->d->features & F_RING_RESET))
		return;
	fill_ring(c);
	vdev_put(c->d, C_QUEUE_SEL, 2, c->q);
	vdev_put(c->d, C_QUEUE_RESET, 2, 1);
	start = clock_us();
	while (vdev_get(c->d, C_QUEUE_RESET, 2) || vdev_get(c->d, C_QUEUE_ENABLE, 2)) {
		if (clock_us() - start > 5000000)
			fail(c->d, c->q, "queue-reset", "no end of the queue's reset");
	}
	check_quiet(c, "queue-reset");
	vq_enable(c->d, c->q);
}

/* --- status --- */

static void status(struct ctx *c, unsigned val)
{
	vdev_put(c->d, C_STATUS, 1, val);
	vdev_status(c->d);
}

static void status_all_at_once(struct ctx *c)
{
	status(c, 0xff);
	vq_enable(c->d, c->q);
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
}

static void status_backwards(struct ctx *c)
{
	status(c, S_DRIVER_OK);
	status(c, S_FEATURES_OK);
	status(c, S_DRIVER);
	status(c, S_ACKNOWLEDGE);
	vq_enable(c->d, c->q);
	go(c, 0);
}

static void status_no_version_1(struct ctx *c)
{
	vdev_negotiate(c->d, VIRTIO_ALL_FEATURES & ~F_VERSION_1);
	status(c, 0xf);
	vq_enable(c->d, c->q);
	go(c, 0);
}

static void features_not_offered(struct ctx *c)
{
	vdev_put(c->d, C_DRIVER_FEATURE_SEL, 4, 0);
	vdev_put(c->d, C_DRIVER_FEATURE, 4, 0xffffffff);
	vdev_put(c->d, C_DRIVER_FEATURE_SEL, 4, 1);
	vdev_put(c->d, C_DRIVER_FEATURE, 4, 0xffffffff);
	status(c, 0xb);
	status(c, 0xf);
	vq_enable(c->d, c->q);
	go(c, 0);
}

static void queue_before_features(struct ctx *c)
{
	status(c, S_ACKNOWLEDGE | S_DRIVER);
	vq_enable(c->d, c->q);
	go(c, 0);
	status(c, 0xf);
	go(c, 0);
}

static void kick_without_queue(struct ctx *c)
{
	vdev_negotiate(c->d, VIRTIO_ALL_FEATURES);
	status(c, 0xf);
	vq_kick(c->d, c->q);
}

static void status_taken_back(struct ctx *c)
{
	status(c, S_ACKNOWLEDGE);
	status(c, S_ACKNOWLEDGE | S_DRIVER | S_FAILED);
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
}

static void features_changed_live(struct ctx *c)
{
	vdev_put(c->d, C_DRIVER_FEATURE_SEL, 4, 1);
	vdev_put(c->d, C_DRIVER_FEATURE, 4, 0xffffffff);
	vdev_put(c->d, C_DRIVER_FEATURE_SEL, 4, 0);
	vdev_put(c->d, C_DRIVER_FEATURE, 4, 0);
	status(c, 0xb);
	status(c, 0xf);
}

static void many_resets(struct ctx *c)
{
	for (unsigned i = 0; i < 8; i++) {
		status(c, 0);
		status(c, 0);
		vdev_start(c->d, VIRTIO_ALL_FEATURES, 1u << c->q);
		fill_ring(c);
	}
}

/* --- disks --- */

static void blk_request(struct ctx *c, uint32_t type, uint64_t sector, uint32_t len)
{
	blk_header(0, type, sector);
	desc(c->r->desc, 0, buf(0), 16, DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(2), len, DESC_NEXT | (type == 0 || type == 8 ? DESC_WRITE : 0), 2);
	desc(c->r->desc, 2, buf(1), 1, DESC_WRITE, 0);
	go(c, 0);
}

static void blk_sector_max(struct ctx *c) { blk_request(c, 0, ~0ull, 512); }
static void blk_sector_wraps(struct ctx *c) { blk_request(c, 0, 1ull << 55, 512); }
static void blk_write_past_end(struct ctx *c) { blk_request(c, 1, 1ull << 40, 512); }
static void blk_len_odd(struct ctx *c) { blk_request(c, 0, 0, 100); }
static void blk_type_unknown(struct ctx *c) { blk_request(c, 0x7fffffff, 0, 512); }
static void blk_id_long(struct ctx *c) { blk_request(c, 8, 0, 512); }
static void blk_discard_garbage(struct ctx *c)
{
	memset(bufs[2], 0xff, 512);
	blk_request(c, 11, 0, 16);
}
static void blk_zeroes_many_segments(struct ctx *c)
{
	memset(bufs[2], 0xff, 512);
	blk_request(c, 13, 0, 512);
}

static const struct vcase device_cases[] = {
	{ "rings-moved", rings_moved, ALL, false, 0 },
	{ "rings-moved-and-enabled", rings_moved_and_enabled, ALL, false, 0 },
	{ "enabled-with-0", enabled_with_0, ALL, false, 0 },
	{ "notify-nobody", notify_nobody, ALL, true, 0 },
	{ "select-nobody", select_nobody, ALL, true, 0 },
	{ "config-everywhere", config_everywhere, ALL, true, 0 },
	{ "reset-in-flight", reset_in_flight, ALL, false, 0 },
	{ "queue-reset", queue_reset_in_flight, ALL, true, 0 },
	{ "status-all-at-once", status_all_at_once, 0, false, 0 },
	{ "status-backwards", status_backwards, 0, false, 0 },
	{ "status-no-version-1", status_no_version_1, 0, false, 0 },
	{ "features-not-offered", features_not_offered, 0, false, 0 },
	{ "queue-before-features", queue_before_features, 0, false, 0 },
	{ "kick-without-queue", kick_without_queue, 0, false, 0 },
	{ "status-taken-back", status_taken_back, ALL, false, 0 },
	{ "features-changed-live", features_changed_live, ALL, true, 0 },
	{ "many-resets", many_resets, ALL, false, 0 },
	{ "blk-sector-max", blk_sector_max, ALL, true, VIRTIO_BLK },
	{ "blk-sector-wraps", blk_sector_wraps, ALL, true, VIRTIO_BLK },
	{ "blk-write-past-end", blk_write_past_end, ALL, true, VIRTIO_BLK },
	{ "blk-len-odd", blk_len_odd, ALL, true, VIRTIO_BLK },
	{ "blk-type-unknown", blk_type_unknown, ALL, true, VIRTIO_BLK },
	{ "blk-id-long", blk_id_long, ALL, true, VIRTIO_BLK },
	{ "blk-discard-garbage", blk_discard_garbage, ALL, true, VIRTIO_BLK },
	{ "blk-zeroes-many-segments", blk_zeroes_many_segments, ALL, true, VIRTIO_BLK },
};

/* --- running them --- */

static bool device_writes(const struct vdev *d, unsigned q)
{
	switch (d->type) {
	case VIRTIO_NET: return q % 2 == 0 && q != d->nqueues - 1;
	case VIRTIO_CONSOLE: return q % 2 == 0;
	case VIRTIO_RND: return true;
	default: return false;
	}
}

/* A console fills its control queue only when it has something to say: the answer to DEVICE_READY. */
static void make_it_look(struct ctx *c)
{
	static const uint8_t ready[8] = { [6] = 1 };

	if (c->d->type != VIRTIO_CONSOLE || c->q != 2 || c->d->nqueues < 4)
		return;
	struct vring *r = vq_enable(c->d, 3);

	desc(r->desc, 0, (uintptr_t)ready, sizeof(ready), 0, 0);
	vq_add(c->d, 3, 0);
	vq_kick(c->d, 3);
	vq_wait(c->d, 3, SETTLE_US);
}

/* What the device makes of it. */
static const char *settle(struct ctx *c)
{
	uint64_t start = clock_us();
	const char *what = "silent";

	do {
		if (vdev_status(c->d) & S_NEEDS_RESET)
			return "needs-reset";
		if (*(volatile uint16_t *)&c->r->used.idx != c->d->seen[c->q])
			what = "used";
	} while (clock_us() - start < SETTLE_US && what[0] == 's');
	return what;
}

/* Harmless cases: what the case left in the queue is taken note of, and the device goes on. */
static void prove_going_on(struct ctx *c, const struct vcase *k)
{
	struct vdev *d = c->d;

	settle(c);
	if (!(vdev_status(d) & S_DRIVER_OK) || vdev_status(d) & S_NEEDS_RESET)
		fail(d, c->q, k->name, "a harmless thing broke the device");
	d->seen[c->q] = *(volatile uint16_t *)&c->r->used.idx;
	if (!vdev_prove(d))
		fail(d, c->q, k->name, "does not go on working");
}

static void run_case(struct vdev *d, unsigned q, const struct vcase *k)
{
	unsigned proof = vdev_proof_queues(d);
	struct ctx c = { .d = d, .q = q, .writes = device_writes(d, q) };

	if (!vdev_reset(d))
		fail(d, q, k->name, "does not reset before the case");
	c.r = vq_ring(d, q);
	d->len[q] = VQ_LEN;
	if (k->mask && !vdev_start(d, features(d, q, k->mask), 1u << q | (k->harmless ? proof : 0)))
		fail(d, q, k->name, "does not start");
	k->run(&c);
	if (!k->harmless)
		make_it_look(&c);
	const char *what = settle(&c);

	if (k->harmless)
		prove_going_on(&c, k);
	if (!vdev_reset(d))
		fail(d, q, k->name, "does not reset");
	if (!vdev_start(d, VIRTIO_ALL_FEATURES, proof))
		fail(d, q, k->name, "does not start after the reset");
	if (!vdev_prove(d))
		fail(d, q, k->name, "does not work after the reset");
	print("VIRTQ %s/%u %s ok %s\n", d->name, q, k->name, what);
}

static unsigned run_cases(struct vdev *d, unsigned q, const struct vcase *k, unsigned n)
{
	unsigned ran = 0;

	for (unsigned i = 0; i < n; i++) {
		if (k[i].only && k[i].only != d->type)
			continue;
		run_case(d, q, &k[i]);
		ran++;
	}
	return ran;
}

static unsigned run_device(struct vdev *d)
{
	unsigned n = 0;

	for (unsigned q = 0; q < d->nqueues; q++)
		n += run_cases(d, q, ring_cases, nring_cases) + run_cases(d, q, device_cases, NELEM(device_cases));
	vdev_reset(d);
	return n;
}

void guest_main(void)
{
	static struct vdev devs[VDEVS_MAX];
	unsigned ndevs = vdev_find(devs), n = 0;

	random_seed(arg_u64("seed", 1));
	print("VIRTQ %u devices\n", ndevs);
	for (unsigned i = 0; i < ndevs; i++) {
		if (!vdev_reset(&devs[i]) || !vdev_start(&devs[i], VIRTIO_ALL_FEATURES, vdev_proof_queues(&devs[i])) || !vdev_prove(&devs[i]))
			fail(&devs[i], 0, "first", "does not work");
	}
	for (unsigned i = 0; i < ndevs; i++)
		n += run_device(&devs[i]);
	print("VIRTQ done %u cases\n", n);
}
