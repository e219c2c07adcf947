/*
 * Drivers that break the rules: every malformed ring ends in DEVICE_NEEDS_RESET, never in a crash or a hang, and
 * a reset makes the device usable again.  Last, random accesses with a fixed seed.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

#define NEXT 1u
#define WRITE 2u
#define INDIRECT 4u
#define AVAIL 0x80u
#define USED 0x8000u
#define SIZE 16

static struct drv *rnd_new(void)
{
	struct drv *d = drv_open(drv_vm_new(), &virtio_rnd_class, "pci.0.5.0");
	ck_assert_ptr_nonnull(d);
	return d;
}

static void end(struct drv *d)
{
	struct vm *vm = d->vm;
	drv_close(d);
	drv_vm_free(vm);
}

static bool needs_reset(struct drv *d)
{
	return drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET;
}

/* After whatever happened: reset, negotiate, and get random bytes. */
static void works(struct drv *d, uint64_t features)
{
	d->brk = DRV_RAM_BASE;
	drv_start(d, features, 1, SIZE);
	const struct drv_buf b = { drv_alloc(d, 32), 32, true };
	ck_assert_int_eq(drv_do(d, 0, &b, 1, false), 32);
	ck_assert(!needs_reset(d));
}

/* --- Split --- */

static void desc(struct drv *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t w0, uint16_t w1)
{
	uint8_t *p = drv_ptr(d, table + 16 * i, 16);
	put_le64(p, addr);
	put_le32(p + 8, len);
	put_le16(p + 12, w0);
	put_le16(p + 14, w1);
}

static void avail(struct drv *d, uint16_t head, uint16_t idx)
{
	uint8_t *p = drv_ptr(d, d->q[0].driver, 6 + 2 * SIZE);
	put_le16(p + 4, head);
	put_le16(p + 2, idx);
}

typedef void make_fn(struct drv *d, uint64_t table, uint64_t buf, uint64_t tab2);

static void s_loop(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, buf, 8, NEXT | WRITE, 1);
	desc(d, t, 1, buf, 8, NEXT | WRITE, 0);
}
static void s_self(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, buf, 8, NEXT | WRITE, 0); }
static void s_next(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, buf, 8, NEXT | WRITE, SIZE); }
static void s_head(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { avail(d, SIZE, 1); }
static void s_head_max(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { avail(d, 0xffff, 1); }
static void s_jump(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { avail(d, 0, SIZE + 1); }
static void s_back(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { avail(d, 0, 0xffff); }
static void s_low(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, 0, 8, WRITE, 0); }
static void s_beyond(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, DRV_RAM_BASE + DRV_RAM_LEN - 8, 9, WRITE, 0);
}
static void s_wrap(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, UINT64_MAX - 3, 8, WRITE, 0); }
static void s_huge(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, buf, 0xffffffff, WRITE, 0); }
static void s_empty(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, buf, 0, WRITE, 0); }
static void s_order(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, buf, 8, NEXT | WRITE, 1);
	desc(d, t, 1, buf, 8, 0, 0);
}
static void s_ind_next(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 16, INDIRECT | NEXT, 1); }
static void s_ind_len(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 17, INDIRECT, 0); }
static void s_ind_zero(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 0, INDIRECT, 0); }
static void s_ind_big(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 16 * 257, INDIRECT, 0); }
static void s_ind_away(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, 16, 16, INDIRECT, 0); }
static void s_ind_nested(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, u, 16, INDIRECT, 0);
	desc(d, u, 0, u, 16, INDIRECT, 0);
}
static void s_ind_loop(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, u, 32, INDIRECT, 0);
	desc(d, u, 0, buf, 8, NEXT | WRITE, 1);
	desc(d, u, 1, buf, 8, NEXT | WRITE, 0);
}
static void s_ind_mid(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, buf, 8, NEXT | WRITE, 1);
	desc(d, t, 1, u, 16, INDIRECT, 0);
	desc(d, u, 0, buf, 8, WRITE, 0);
}

static void run(struct drv *d, uint64_t features, make_fn *make, bool packed_ring)
{
	d->brk = DRV_RAM_BASE;
	drv_start(d, features, 1, SIZE);
	const uint64_t buf = drv_alloc(d, 64), tab2 = drv_alloc(d, 16 * 300);
	if (!packed_ring)
		avail(d, 0, 1);
	make(d, d->q[0].desc, buf, tab2);
	drv_kick_always(d, 0);
	drv_settle(d);
	ck_assert(needs_reset(d));
	ck_assert(drv_irq(d, 0));
	drv_kick_always(d, 0);
	drv_settle(d);
	works(d, features);
}

START_TEST(split_rings)
{
	static make_fn *const cases[] = {
		s_loop, s_self, s_next, s_head, s_head_max, s_jump, s_back, s_low, s_beyond, s_wrap, s_huge, s_empty, s_order,
		s_ind_next, s_ind_len, s_ind_zero, s_ind_big, s_ind_away, s_ind_nested, s_ind_loop, s_ind_mid,
	};
	struct drv *d = rnd_new();
	for (size_t i = 0; i < NELEM(cases); i++) {
		run(d, VIRTIO_F_INDIRECT_DESC, cases[i], false);
		run(d, VIRTIO_F_EVENT_IDX, cases[i], false);
	}
	end(d);
}
END_TEST

/* --- Packed --- */

static void p_chain(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	for (unsigned i = 0; i < SIZE; i++)
		desc(d, t, i, buf, 8, 0, NEXT | WRITE | AVAIL);
}
static void p_incomplete(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 0, buf, 8, 0, NEXT | WRITE | AVAIL);
}
static void p_beyond(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, UINT64_MAX, 8, 0, WRITE | AVAIL); }
static void p_empty(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, buf, 0, 0, WRITE | AVAIL); }
static void p_order(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 1, buf, 8, 0, AVAIL);
	desc(d, t, 0, buf, 8, 0, NEXT | WRITE | AVAIL);
}
static void p_ind_next(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 16, 0, INDIRECT | NEXT | AVAIL); }
static void p_ind_len(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 15, 0, INDIRECT | AVAIL); }
static void p_ind_big(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, u, 16 * 257, 0, INDIRECT | AVAIL); }
static void p_ind_away(struct drv *d, uint64_t t, uint64_t buf, uint64_t u) { desc(d, t, 0, 1, 16, 0, INDIRECT | AVAIL); }
static void p_ind_mid(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, t, 1, u, 16, 0, INDIRECT | AVAIL);
	desc(d, t, 0, buf, 8, 0, NEXT | WRITE | AVAIL);
}
static void p_ind_empty(struct drv *d, uint64_t t, uint64_t buf, uint64_t u)
{
	desc(d, u, 0, buf, 0, 0, WRITE);
	desc(d, t, 0, u, 16, 0, INDIRECT | AVAIL);
}

START_TEST(packed_rings)
{
	static make_fn *const cases[] = {
		p_chain, p_incomplete, p_beyond, p_empty, p_order, p_ind_next, p_ind_len, p_ind_big, p_ind_away, p_ind_mid,
		p_ind_empty,
	};
	struct drv *d = rnd_new();
	for (size_t i = 0; i < NELEM(cases); i++) {
		run(d, VIRTIO_F_RING_PACKED | VIRTIO_F_INDIRECT_DESC, cases[i], true);
		run(d, VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX, cases[i], true);
	}
	end(d);
}
END_TEST

/* --- Set-up --- */

static void setup(struct drv *d, uint16_t size, uint64_t at, uint64_t driver, uint64_t device)
{
	drv_write(d, 0x16, 2, 0);
	drv_write(d, 0x18, 2, size);
	drv_write(d, 0x20, 8, at);
	drv_write(d, 0x28, 8, driver);
	drv_write(d, 0x30, 8, device);
	drv_write(d, 0x1c, 2, 1);
}

START_TEST(bad_setup)
{
	static const struct { uint16_t size; uint64_t at, driver, device; } cases[] = {
		{ 0, 0x100000, 0x101000, 0x102000 }, { 3, 0x100000, 0x101000, 0x102000 }, { 128, 0x100000, 0x101000, 0x102000 },
		{ 0xffff, 0x100000, 0x101000, 0x102000 }, { 16, 0x100008, 0x101000, 0x102000 },
		{ 16, 0x100000, 0x101001, 0x102000 },
		{ 16, 0x100000, 0x101000, 0x102002 }, { 16, 0, 0x101000, 0x102000 }, { 16, 0x100000, 0x10fffff0, 0x102000 },
		{ 16, 0x100000, 0x101000, 0x10ffff0 }, { 16, UINT64_MAX - 15, 0x101000, 0x102000 },
		{ 16, 0x10fff10, 0x101000, 0x102000 },
	};
	struct drv *d = rnd_new();
	for (size_t i = 0; i < NELEM(cases); i++) {
		drv_msix(d, true);
		drv_negotiate(d, 0);
		setup(d, cases[i].size, cases[i].at, cases[i].driver, cases[i].device);
		drv_ok(d);
		drv_kick_always(d, 0);
		drv_settle(d);
		ck_assert_msg(needs_reset(d), "case %zu", i);
		works(d, 0);
	}
	/* A packed ring of 3 entries is legal, of 65 here not. */
	drv_negotiate(d, VIRTIO_F_RING_PACKED);
	setup(d, 3, 0x100000, 0x101000, 0x102000);
	ck_assert(!needs_reset(d));
	drv_negotiate(d, VIRTIO_F_RING_PACKED);
	setup(d, 65, 0x100000, 0x101000, 0x102000);
	ck_assert(needs_reset(d));
	end(d);
}
END_TEST

START_TEST(moved_while_live)
{
	struct drv *d = rnd_new();
	drv_start(d, 0, 1, SIZE);
	drv_write(d, 0x20, 8, 0);
	drv_write(d, 0x28, 8, 0);
	drv_write(d, 0x30, 8, UINT64_MAX);
	drv_write(d, 0x18, 2, 7);
	drv_write(d, 0x1c, 2, 1);
	drv_write(d, 0x1c, 2, 0);
	const struct drv_buf b = { drv_alloc(d, 32), 32, true };
	ck_assert_int_eq(drv_do(d, 0, &b, 1, false), 32);
	ck_assert_uint_eq(drv_read(d, 0x20, 8), d->q[0].desc);
	ck_assert_uint_eq(drv_read(d, 0x18, 2), SIZE);
	end(d);
}
END_TEST

/* --- Requests that make no sense to a disk --- */

static char path[64];

static struct drv *blk_new(void)
{
	struct vm *vm = drv_vm_new();
	snprintf(path, sizeof(path), "/tmp/skep-hostile-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	close(fd);
	drv_conf(vm, "pci.0.3.0.path", path);
	return drv_open(vm, &virtio_blk_class, "pci.0.3.0");
}

START_TEST(blk_requests)
{
	struct drv *d = blk_new();
	for (unsigned kind = 0; kind < 4; kind++) {
		d->brk = DRV_RAM_BASE;
		drv_start(d, VIRTIO_F_INDIRECT_DESC, 1, SIZE);
		const uint64_t hdr = drv_alloc(d, 16), data = drv_alloc(d, 4096);
		const struct drv_buf cases[4][2] = {
			{ { hdr, 16, false }, { data, 512, false } },   /* no status */
			{ { hdr, 15, false }, { data, 512, true } },    /* short header */
			{ { data, 1, true }, { data, 1, true } },       /* no header */
			{ { hdr, 1, false }, { hdr, 1, false } },
		};
		drv_do(d, 0, cases[kind], 2, false);
		ck_assert(needs_reset(d));
	}
	end(d);
	unlink(path);
}
END_TEST

/* --- Noise --- */

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* A value that gets far more often than a random one would. */
static uint64_t value(uint64_t *s, struct drv *d)
{
	switch (next(s) % 6) {
	case 0: return next(s) % 32;
	case 1: return DRV_RAM_BASE + (next(s) % 64) * 4096;
	case 2: return 1ull << next(s) % 64;
	case 3: return 0xf;
	case 4: return d->v->offered >> (next(s) % 2 * 32);
	default: return next(s);
	}
}

static void scribble(struct drv *d, uint64_t *s)
{
	uint8_t *p = drv_ptr(d, DRV_RAM_BASE + (next(s) % 64) * 4096, 4096);
	for (unsigned i = 0; i < 32; i++, p += 16) {
		put_le64(p, DRV_RAM_BASE + next(s) % (DRV_RAM_LEN + 4096));
		put_le32(p + 8, (uint32_t)(next(s) % 600));
		put_le16(p + 12, (uint16_t)(next(s) % 8));
		put_le16(p + 14, (uint16_t)(next(s) % 2 ? next(s) % 32 : next(s)));
	}
}

static void poke(struct drv *d, uint64_t *s)
{
	static const unsigned regs[] = {
		0, 4, 8, 12, 0x10, 0x14, 0x14, 0x16, 0x18, 0x1a, 0x1c, 0x1c, 0x20, 0x28, 0x30, 0x3a, 0x3000, 0x3004,
	};
	const unsigned size = 1u << next(s) % 4;
	unsigned off = next(s) % 2 ? regs[next(s) % NELEM(regs)] : (unsigned)(next(s) % (VIRTIO_BAR_LEN + 64));
	if (next(s) % 16 == 0) {
		off = 0x40 + (unsigned)(next(s) % 0xc0);
		if (next(s) % 2)
			drv_pci_write(d, off, MIN(size, 4), value(s, d));
		else
			drv_pci_read(d, off, MIN(size, 4));
	} else if (next(s) % 2) {
		drv_write(d, off, size, value(s, d));
	} else {
		drv_read(d, off, size);
	}
}

/* A driver that behaves up to DRIVER_OK, with rings full of nonsense. */
static void almost_good(struct drv *d, uint64_t *s)
{
	d->brk = DRV_RAM_BASE;
	drv_start(d, next(s), MIN(d->v->nqueues, 4), 16);
	for (unsigned q = 0; q < MIN(d->v->nqueues, 4); q++) {
		uint8_t *t = drv_ptr(d, d->q[q].desc, 256), *a = drv_ptr(d, d->q[q].driver, 38);
		for (unsigned i = 0; i < 16; i++) {
			put_le64(t + 16 * i, DRV_RAM_BASE + 65536 + next(s) % 65536);
			put_le32(t + 16 * i + 8, 1 + (uint32_t)(next(s) % 64));
			put_le16(t + 16 * i + 12, (uint16_t)(next(s) % 8));
			put_le16(t + 16 * i + 14, (uint16_t)(next(s) % 2 ? AVAIL | next(s) % 4 : next(s) % 17));
			put_le16(a + 4 + 2 * i, (uint16_t)(next(s) % 16));
		}
		put_le16(a + 2, (uint16_t)(next(s) % 17));
		drv_kick_always(d, q);
	}
	drv_settle(d);
}

static void noise(struct drv *d, uint64_t seed, unsigned n)
{
	uint64_t s = seed;
	for (unsigned i = 0; i < n; i++) {
		poke(d, &s);
		if (i % 64 == 0)
			scribble(d, &s);
		if (i % 128 == 0)
			loop_step(d->vm->loop, 0);
		if (i % 500 == 0)
			almost_good(d, &s);
	}
	drv_settle(d);
	drv_write(d, 0x14, 1, 0);
	drv_settle(d);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 0);
	drv_negotiate(d, VIRTIO_F_RING_PACKED);
}

START_TEST(noise_rnd)
{
	struct drv *d = rnd_new();
	noise(d, 0x1234567, 50000);
	works(d, 0);
	end(d);
}
END_TEST

START_TEST(noise_blk)
{
	struct drv *d = blk_new();
	noise(d, 0x89abcdef, 50000);
	end(d);
	unlink(path);
}
END_TEST

START_TEST(noise_net)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, "pci.0.4.0.backend", "null");
	drv_conf(vm, "pci.0.4.0.queues", "2");
	struct drv *d = drv_open(vm, &virtio_net_class, "pci.0.4.0");
	noise(d, 0x777, 50000);
	end(d);
}
END_TEST

START_TEST(noise_console)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, "pci.0.6.0.port.0.name", "console");
	drv_conf(vm, "pci.0.6.0.port.0.path", "null");
	drv_conf(vm, "pci.0.6.0.port.1.name", "agent");
	drv_conf(vm, "pci.0.6.0.port.1.path", "null");
	struct drv *d = drv_open(vm, &virtio_console_class, "pci.0.6.0");
	noise(d, 0x4242, 50000);
	end(d);
}
END_TEST

UNIT_MAIN("devices/virtio/hostile", split_rings, packed_rings, bad_setup, moved_while_live, blk_requests, noise_rnd, noise_blk,
	noise_net, noise_console)
