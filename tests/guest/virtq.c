/*
 * virtq: every virtio device is set up right and then treated wrong, one case after the other, on each of its queues.  A
 * device may answer, ask for a reset or stay silent; what it must do is come out of a reset and then do its work.
 *
 * A line a case: "VIRTQ device/queue case ok", with what the device did.  "VIRTQ FAIL ..." and a reset of the machine is the
 * end at the first failure.
 */
#include "tests/guest/virtio.h"

#define SETTLE_US 50000                 /* how long a device may take to react before silence is its answer */
#define QUIET_US 20000
#define BUF_LEN 4096
#define NBUFS 32
#define DESC_AVAIL 0x80                 /* packed rings: available in the first round [VIRTIO-1.2 2.8.1] */
#define DESC_USED 0x8000

/* What a case works on. */
struct ctx {
	struct vdev *d;
	unsigned q;
	struct vring *r;                /* of q */
	bool writes;                    /* the device writes into buffers of this queue */
};

struct vcase {
	const char *name;
	void (*run)(struct ctx *);
	uint64_t mask;                  /* features to start with; 0: run() gets a device that was only reset */
	bool harmless;                  /* the device must work on without a reset */
	unsigned only;                  /* device type; 0: all */
};

static uint8_t bufs[NBUFS][BUF_LEN] __attribute__((aligned(4096)));
static struct vdesc table[256] __attribute__((aligned(16)));    /* indirect */

static void fail(const struct vdev *d, unsigned q, const char *name, const char *why)
{
	print("VIRTQ FAIL %s/%u %s: %s, status %x\n", d->name, q, name, why, vdev_status(d));
	power_reset();
}

/* --- building blocks --- */

static void desc(struct vdesc *t, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	t[i] = (struct vdesc){ .addr = addr, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next };
}

static uint64_t buf(unsigned i)
{
	return (uintptr_t)bufs[i % NBUFS];
}

static unsigned dir(const struct ctx *c)
{
	return c->writes ? DESC_WRITE : 0;
}

static void go(struct ctx *c, unsigned head)
{
	vq_add(c->d, c->q, (uint16_t)head);
	vq_kick(c->d, c->q);
}

static void blk_header(unsigned i, uint32_t type, uint64_t sector)
{
	uint8_t *h = bufs[i];

	memset(h, 0, 16);
	memcpy(h, &type, 4);
	memcpy(h + 8, &sector, 8);
}

/* A request that is right but for its data buffer. */
static void with_data(struct ctx *c, struct vdesc *t, uint64_t addr, uint32_t len)
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

static void bad_data(struct ctx *c, uint64_t addr, uint32_t len)
{
	with_data(c, c->r->desc, addr, len);
	go(c, 0);
}

static void bad_table(struct ctx *c, uint64_t addr, uint32_t len, unsigned flags)
{
	desc(c->r->desc, 0, addr, len, DESC_INDIRECT | flags, 1);
	desc(c->r->desc, 1, buf(1), 64, dir(c), 0);
	go(c, 0);
}

/* Memory that nothing lives in: the third quarter of RAM. */
static uint64_t spare(void)
{
	return machine.ram + machine.ram_len / 2;
}

/* --- chains --- */

static void next_self(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 0);
	go(c, 0);
}

static void next_cycle(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 64, dir(c) | DESC_NEXT, 0);
	go(c, 0);
}

static void next_whole_ring(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		desc(c->r->desc, i, buf(i), 64, dir(c) | DESC_NEXT, (i + 1) % c->d->len[c->q]);
	go(c, 5);
}

static void next_range(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, c->d->len[c->q]);
	go(c, 0);
}

static void next_range_max(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | DESC_NEXT, 0xffff);
	go(c, 0);
}

static void head_range(struct ctx *c)
{
	go(c, c->d->len[c->q]);
}

static void head_range_max(struct ctx *c)
{
	go(c, 0xffff);
}

static void same_head_twice(struct ctx *c)
{
	with_data(c, c->r->desc, buf(2), 512);
	vq_add(c->d, c->q, 0);
	go(c, 0);
}

/* --- addresses and lengths --- */

static void data_past_ram(struct ctx *c) { bad_data(c, machine.ram + machine.ram_len - 256, 512); }
static void data_at_ram_end(struct ctx *c) { bad_data(c, machine.ram + machine.ram_len, 512); }
static void data_len_max(struct ctx *c) { bad_data(c, buf(2), 0xffffffff); }
static void data_in_hole(struct ctx *c) { bad_data(c, machine.hole, 512); }
static void data_in_ecam(struct ctx *c) { bad_data(c, machine.ecam, 512); }
static void data_in_registers(struct ctx *c) { bad_data(c, c->d->common, 512); }
static void data_at_top(struct ctx *c) { bad_data(c, ~0ull - 255, 256); }
static void data_wraps(struct ctx *c) { bad_data(c, ~0ull << 12, 0x2000); }
static void data_high_bit(struct ctx *c) { bad_data(c, 1ull << 63 | buf(2), 512); }
static void data_empty(struct ctx *c) { bad_data(c, buf(2), 0); }
static void data_empty_nowhere(struct ctx *c) { bad_data(c, ~0ull, 0); }

/* The device writes over the ring it works on, or sends it. */
static void data_is_desc(struct ctx *c) { bad_data(c, (uintptr_t)c->r->desc, 512); }
static void data_is_avail(struct ctx *c) { bad_data(c, (uintptr_t)&c->r->avail, 512); }
static void data_is_used(struct ctx *c) { bad_data(c, (uintptr_t)&c->r->used, 512); }

static void all_empty(struct ctx *c)
{
	for (unsigned i = 0; i < 3; i++)
		desc(c->r->desc, i, 0, 0, dir(c) | (i < 2 ? DESC_NEXT : 0), i + 1);
	go(c, 0);
}

/* More than 4 GiB in one chain [VIRTIO-1.2 2.7.4]. */
static void data_too_much(struct ctx *c)
{
	unsigned n = NELEM(table);
	uint32_t len = (uint32_t)MIN(machine.ram_len / 4, 1ull << 30);

	for (unsigned i = 0; i < n; i++)
		desc(table, i, spare(), len, dir(c) | (i < n - 1 ? DESC_NEXT : 0), i + 1);
	bad_table(c, (uintptr_t)table, sizeof(table), 0);
}

/* --- kinds of buffers --- */

static void wrong_order(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_WRITE | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 64, DESC_NEXT, 2);
	desc(c->r->desc, 2, buf(2), 64, DESC_WRITE, 0);
	go(c, 0);
}

static void only_readable(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 512, 0, 0);
	go(c, 0);
}

static void only_writable(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, DESC_WRITE | DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 512, DESC_WRITE, 0);
	go(c, 0);
}

static void one_byte(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 1, dir(c), 0);
	go(c, 0);
}

static void one_byte_each(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 1, DESC_NEXT, 1);
	desc(c->r->desc, 1, buf(1), 1, DESC_WRITE, 0);
	go(c, 0);
}

static void flags_unknown(struct ctx *c)
{
	desc(c->r->desc, 0, buf(0), 64, dir(c) | 0xfff8, 0);
	go(c, 0);
}

/* --- indirect tables --- */

static void indirect_self(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_cycle(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 1);
	desc(table, 1, buf(1), 64, dir(c) | DESC_NEXT, 0);
	bad_table(c, (uintptr_t)table, 32, 0);
}

static void indirect_next_range(struct ctx *c)
{
	desc(table, 0, buf(0), 64, dir(c) | DESC_NEXT, 2);
	bad_table(c, (uintptr_t)table, 32, 0);
}

static void indirect_nested(struct ctx *c)
{
	desc(table, 0, (uintptr_t)(table + 2), 16, DESC_INDIRECT, 0);
	desc(table, 2, buf(0), 64, dir(c), 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_of_itself(struct ctx *c)
{
	desc(table, 0, (uintptr_t)table, 16, DESC_INDIRECT, 0);
	bad_table(c, (uintptr_t)table, 16, 0);
}

static void indirect_good_table(struct ctx *c)
{
	with_data(c, table, buf(2), 512);
}

static void indirect_with_next(struct ctx *c)
{
	indirect_good_table(c);
	bad_table(c, (uintptr_t)table, 48, DESC_NEXT);
}

static void indirect_in_chain(struct ctx *c)
{
	indirect_good_table(c);
	desc(c->r->desc, 0, buf(0), 16, dir(c) | DESC_NEXT, 1);
	desc(c->r->desc, 1, (uintptr_t)table, 48, DESC_INDIRECT, 0);
	go(c, 0);
}

static void indirect_writable(struct ctx *c)
{
	indirect_good_table(c);
	bad_table(c, (uintptr_t)table, 48, DESC_WRITE);
}

static void indirect_len_0(struct ctx *c) { bad_table(c, (uintptr_t)table, 0, 0); }
static void indirect_len_1(struct ctx *c) { bad_table(c, (uintptr_t)table, 1, 0); }
static void indirect_len_odd(struct ctx *c) { bad_table(c, (uintptr_t)table, 17, 0); }
static void indirect_len_max(struct ctx *c) { bad_table(c, (uintptr_t)table, 0xfffffff0, 0); }
static void indirect_unaligned(struct ctx *c) { bad_table(c, (uintptr_t)table + 1, 32, 0); }
static void indirect_in_hole(struct ctx *c) { bad_table(c, machine.hole, 32, 0); }
static void indirect_past_ram(struct ctx *c) { bad_table(c, machine.ram + machine.ram_len - 16, 32, 0); }
static void indirect_wraps(struct ctx *c) { bad_table(c, ~0ull - 15, 64, 0); }
static void indirect_is_ring(struct ctx *c) { bad_table(c, (uintptr_t)c->r->desc, 16, 0); }

/* --- the available ring --- */

static void avail_to(struct ctx *c, uint16_t idx)
{
	with_data(c, c->r->desc, buf(2), 512);
	*(volatile uint16_t *)&c->r->avail.idx = idx;
	vq_kick(c->d, c->q);
}

static void avail_jump(struct ctx *c) { avail_to(c, (uint16_t)(c->d->len[c->q] + 1)); }
static void avail_jump_half(struct ctx *c) { avail_to(c, 0x8000); }
static void avail_back(struct ctx *c) { avail_to(c, 0xffff); }

/* --- garbage --- */

static void garbage_desc(struct vdesc *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t kind = random_below(8), addr = kind ? spare() + random_below(machine.ram_len / 4) : random_get();
		uint32_t len = random_below(4) ? (uint32_t)random_below(BUF_LEN) : (uint32_t)random_get();

		desc(t, i, addr, len, (unsigned)random_below(kind > 3 ? 4 : 0x10000), (unsigned)random_below(n + (kind == 1)));
	}
}

static void garbage(struct ctx *c)
{
	unsigned n = c->d->len[c->q];

	for (unsigned round = 0; round < 8; round++) {
		garbage_desc(c->r->desc, n);
		garbage_desc(table, NELEM(table));
		for (unsigned i = 0; i < n; i++)
			c->r->avail.ring[i] = (uint16_t)random_below(n + (i == 60));
		*(volatile uint16_t *)&c->r->avail.idx += (uint16_t)(1 + random_below(8));
		vq_kick(c->d, c->q);
	}
}

static void ones(struct ctx *c)
{
	memset(c->r->desc, 0xff, sizeof(c->r->desc));
	go(c, 0);
}

/* Right in form, nonsense in content: request headers, packets, control messages. */
static void nonsense(struct ctx *c)
{
	for (unsigned round = 0; round < 16; round++) {
		for (unsigned i = 0; i < 64; i++)
			bufs[3][i] = (uint8_t)random_get();
		/* Not a write that would change what the proof reads. */
		if (c->d->type == VIRTIO_BLK && bufs[3][0] == 1)
			bufs[3][0] = 2;
		unsigned n = (round % (VQ_LEN / 2)) * 2;

		desc(c->r->desc, n, buf(3), 64, c->writes ? DESC_WRITE : DESC_NEXT, n + 1);
		desc(c->r->desc, n + 1, buf(4), 64, DESC_WRITE, 0);
		go(c, n);
	}
}

/* --- packed rings --- */

static void packed_go(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		c->r->desc[i].next = (uint16_t)((c->r->desc[i].next | DESC_AVAIL) & ~DESC_USED);
	vq_kick(c->d, c->q);
}

/* In a packed ring the last two fields change places: id, then flags. */
static void packed(struct ctx *c, unsigned i, uint64_t addr, uint32_t len, unsigned flags)
{
	desc(c->r->desc, i, addr, len, i, flags);
}

static void packed_endless(struct ctx *c)
{
	for (unsigned i = 0; i < c->d->len[c->q]; i++)
		packed(c, i, buf(i), 64, dir(c) | DESC_NEXT);
	packed_go(c);
}

static void packed_bad_data(struct ctx *c)
{
	packed(c, 0, machine.hole, 512, dir(c));
	packed(c, 1, buf(1), 0xffffffff, dir(c));
	packed(c, 2, ~0ull << 12, 0x2000, dir(c));
	packed_go(c);
}

static void packed_bad_table(struct ctx *c)
{
	packed(c, 0, (uintptr_t)table, 17, DESC_INDIRECT);
	packed_go(c);
}

static void packed_nested(struct ctx *c)
{
	table[0] = (struct vdesc){ .addr = (uintptr_t)table, .len = 16, .flags = 0, .next = DESC_INDIRECT };
	packed(c, 0, (uintptr_t)table, 16, DESC_INDIRECT);
	packed_go(c);
}

static void packed_garbage(struct ctx *c)
{
	for (unsigned round = 0; round < 4; round++) {
		garbage_desc(c->r->desc, c->d->len[c->q]);
		for (unsigned i = 0; i < c->d->len[c->q]; i++)
			c->r->desc[i].next = (uint16_t)random_get() & (random_below(8) ? 7 : 0xffff);
		packed_go(c);
	}
}

/* --- setting up --- */

static void setup(struct ctx *c, uint64_t desc_at, uint64_t driver, uint64_t device, unsigned len)
{
	vdev_negotiate(c->d, VIRTIO_ALL_FEATURES);
	c->d->len[c->q] = VQ_LEN;
	vq_place(c->d, c->q, desc_at, driver, device, len);
	vdev_put(c->d, C_QUEUE_ENABLE, 2, 1);
	vdev_put(c->d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	with_data(c, c->r->desc, buf(2), 512);
	go(c, 0);
}

static uint64_t d_at(const struct ctx *c) { return (uintptr_t)c->r->desc; }
static uint64_t a_at(const struct ctx *c) { return (uintptr_t)&c->r->avail; }
static uint64_t u_at(const struct ctx *c) { return (uintptr_t)&c->r->used; }

static void size_0(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 0); }
static void size_3(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 3); }
static void size_double(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 1024); }
static void size_max(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c), 0xffff); }
static void desc_in_hole(struct ctx *c) { setup(c, machine.hole, a_at(c), u_at(c), VQ_LEN); }
static void avail_in_hole(struct ctx *c) { setup(c, d_at(c), machine.hole, u_at(c), VQ_LEN); }
static void used_in_hole(struct ctx *c) { setup(c, d_at(c), a_at(c), machine.hole, VQ_LEN); }
static void desc_past_ram(struct ctx *c) { setup(c, machine.ram + machine.ram_len - 512, a_at(c), u_at(c), VQ_LEN); }
static void avail_past_ram(struct ctx *c) { setup(c, d_at(c), machine.ram + machine.ram_len - 64, u_at(c), VQ_LEN); }
static void used_past_ram(struct ctx *c) { setup(c, d_at(c), a_at(c), machine.ram + machine.ram_len - 64, VQ_LEN); }
static void desc_wraps(struct ctx *c) { setup(c, ~0ull - 511, a_at(c), u_at(c), VQ_LEN); }
static void used_wraps(struct ctx *c) { setup(c, d_at(c), a_at(c), ~0ull - 63, VQ_LEN); }
static void desc_unaligned(struct ctx *c) { setup(c, d_at(c) + 1, a_at(c), u_at(c), VQ_LEN); }
static void avail_unaligned(struct ctx *c) { setup(c, d_at(c), a_at(c) + 1, u_at(c), VQ_LEN); }
static void used_unaligned(struct ctx *c) { setup(c, d_at(c), a_at(c), u_at(c) + 1, VQ_LEN); }
static void rings_on_each_other(struct ctx *c) { setup(c, d_at(c), d_at(c), d_at(c), VQ_LEN); }
static void rings_nowhere(struct ctx *c) { setup(c, 0, 0, 0, VQ_LEN); }

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

#define ALL VIRTIO_ALL_FEATURES
#define PACKED_TOO (~F_EVENT_IDX)

static const struct vcase cases[] = {
	{ "next-self", next_self, ALL, false, 0 },
	{ "next-cycle", next_cycle, ALL, false, 0 },
	{ "next-whole-ring", next_whole_ring, ALL, false, 0 },
	{ "next-range", next_range, ALL, false, 0 },
	{ "next-range-max", next_range_max, ALL, false, 0 },
	{ "head-range", head_range, ALL, false, 0 },
	{ "head-range-max", head_range_max, ALL, false, 0 },
	{ "same-head-twice", same_head_twice, ALL, false, 0 },
	{ "data-past-ram", data_past_ram, ALL, false, 0 },
	{ "data-at-ram-end", data_at_ram_end, ALL, false, 0 },
	{ "data-len-max", data_len_max, ALL, false, 0 },
	{ "data-in-hole", data_in_hole, ALL, false, 0 },
	{ "data-in-ecam", data_in_ecam, ALL, false, 0 },
	{ "data-in-registers", data_in_registers, ALL, false, 0 },
	{ "data-at-top", data_at_top, ALL, false, 0 },
	{ "data-wraps", data_wraps, ALL, false, 0 },
	{ "data-high-bit", data_high_bit, ALL, false, 0 },
	{ "data-empty", data_empty, ALL, false, 0 },
	{ "data-empty-nowhere", data_empty_nowhere, ALL, false, 0 },
	{ "data-is-desc", data_is_desc, ALL, false, 0 },
	{ "data-is-avail", data_is_avail, ALL, false, 0 },
	{ "data-is-used", data_is_used, ALL, false, 0 },
	{ "data-too-much", data_too_much, ALL, false, 0 },
	{ "all-empty", all_empty, ALL, false, 0 },
	{ "wrong-order", wrong_order, ALL, false, 0 },
	{ "only-readable", only_readable, ALL, false, 0 },
	{ "only-writable", only_writable, ALL, false, 0 },
	{ "one-byte", one_byte, ALL, false, 0 },
	{ "one-byte-each", one_byte_each, ALL, false, 0 },
	{ "flags-unknown", flags_unknown, ALL, false, 0 },
	{ "indirect-self", indirect_self, ALL, false, 0 },
	{ "indirect-cycle", indirect_cycle, ALL, false, 0 },
	{ "indirect-next-range", indirect_next_range, ALL, false, 0 },
	{ "indirect-nested", indirect_nested, ALL, false, 0 },
	{ "indirect-of-itself", indirect_of_itself, ALL, false, 0 },
	{ "indirect-with-next", indirect_with_next, ALL, false, 0 },
	{ "indirect-in-chain", indirect_in_chain, ALL, false, 0 },
	{ "indirect-writable", indirect_writable, ALL, false, 0 },
	{ "indirect-len-0", indirect_len_0, ALL, false, 0 },
	{ "indirect-len-1", indirect_len_1, ALL, false, 0 },
	{ "indirect-len-odd", indirect_len_odd, ALL, false, 0 },
	{ "indirect-len-max", indirect_len_max, ALL, false, 0 },
	{ "indirect-unaligned", indirect_unaligned, ALL, false, 0 },
	{ "indirect-in-hole", indirect_in_hole, ALL, false, 0 },
	{ "indirect-past-ram", indirect_past_ram, ALL, false, 0 },
	{ "indirect-wraps", indirect_wraps, ALL, false, 0 },
	{ "indirect-is-ring", indirect_is_ring, ALL, false, 0 },
	{ "indirect-refused", indirect_cycle, ALL & ~F_INDIRECT, false, 0 },
	{ "avail-jump", avail_jump, ALL, false, 0 },
	{ "avail-jump-half", avail_jump_half, ALL, false, 0 },
	{ "avail-back", avail_back, ALL, false, 0 },
	{ "garbage", garbage, ALL, false, 0 },
	{ "garbage-event-idx", garbage, ALL | F_EVENT_IDX, false, 0 },
	{ "ones", ones, ALL, false, 0 },
	{ "nonsense", nonsense, ALL, false, 0 },
	{ "packed-endless", packed_endless, PACKED_TOO, false, 0 },
	{ "packed-bad-data", packed_bad_data, PACKED_TOO, false, 0 },
	{ "packed-bad-table", packed_bad_table, PACKED_TOO, false, 0 },
	{ "packed-nested", packed_nested, PACKED_TOO, false, 0 },
	{ "packed-garbage", packed_garbage, PACKED_TOO, false, 0 },
	{ "packed-garbage-event-idx", packed_garbage, ~0ull, false, 0 },
	{ "size-0", size_0, 0, false, 0 },
	{ "size-3", size_3, 0, false, 0 },
	{ "size-double", size_double, 0, false, 0 },
	{ "size-max", size_max, 0, false, 0 },
	{ "desc-in-hole", desc_in_hole, 0, false, 0 },
	{ "avail-in-hole", avail_in_hole, 0, false, 0 },
	{ "used-in-hole", used_in_hole, 0, false, 0 },
	{ "desc-past-ram", desc_past_ram, 0, false, 0 },
	{ "avail-past-ram", avail_past_ram, 0, false, 0 },
	{ "used-past-ram", used_past_ram, 0, false, 0 },
	{ "desc-wraps", desc_wraps, 0, false, 0 },
	{ "used-wraps", used_wraps, 0, false, 0 },
	{ "desc-unaligned", desc_unaligned, 0, false, 0 },
	{ "avail-unaligned", avail_unaligned, 0, false, 0 },
	{ "used-unaligned", used_unaligned, 0, false, 0 },
	{ "rings-on-each-other", rings_on_each_other, 0, false, 0 },
	{ "rings-nowhere", rings_nowhere, 0, false, 0 },
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
	if (k->mask && !vdev_start(d, k->mask, 1u << q | (k->harmless ? proof : 0)))
		fail(d, q, k->name, "does not start");
	k->run(&c);
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

static unsigned run_device(struct vdev *d)
{
	unsigned n = 0;

	for (unsigned q = 0; q < d->nqueues; q++) {
		for (unsigned i = 0; i < NELEM(cases); i++) {
			if (cases[i].only && cases[i].only != d->type)
				continue;
			run_case(d, q, &cases[i]);
			n++;
		}
	}
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
