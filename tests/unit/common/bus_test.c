#include "common/bus.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

struct chip {
	uint8_t mem[16];
	unsigned reads, writes, last_size;
};

static uint64_t chip_read(void *dev, uint64_t off, unsigned size)
{
	struct chip *c = dev;
	uint64_t v = 0;
	ck_assert(off + size <= sizeof(c->mem));
	memcpy(&v, c->mem + off, size);
	c->reads++;
	c->last_size = size;
	return v;
}

static void chip_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct chip *c = dev;
	ck_assert(off + size <= sizeof(c->mem));
	memcpy(c->mem + off, &val, size);
	c->writes++;
	c->last_size = size;
}

static const struct io_ops chip_ops = { chip_read, chip_write };

static struct bus bus;
static struct chip chip;
static struct bus_range range;

static void set_up(void)
{
	memset(&chip, 0, sizeof(chip));
	range = (struct bus_range){ .name = "chip", .base = 0x100, .len = 16, .ops = &chip_ops, .dev = &chip };
	ck_assert_int_eq(bus_init(&bus, "test", 0xffff), 0);
	ck_assert_int_eq(bus_add(&bus, &range), 0);
}

START_TEST(test_sizes_and_unclaimed)
{
	uint64_t v;
	set_up();
	ck_assert_ptr_eq(bus_write(&bus, 0x104, 8, 0x1122334455667788), &range);
	for (unsigned size = 1; size <= 8; size *= 2) {
		ck_assert_ptr_eq(bus_read(&bus, 0x104, size, &v), &range);
		ck_assert_uint_eq(v, 0x1122334455667788 & size_mask(size));
	}
	ck_assert_ptr_null(bus_read(&bus, 0x110, 4, &v));
	ck_assert_uint_eq(v, 0xffffffff);
	ck_assert_ptr_null(bus_read(&bus, 0xff, 1, &v));
	ck_assert_uint_eq(v, 0xff);
	ck_assert_ptr_null(bus_write(&bus, 0x110, 4, 1));
	bus_fini(&bus);
}
END_TEST

START_TEST(test_edges_are_split)
{
	uint64_t v;
	set_up();
	memset(chip.mem, 0xaa, sizeof(chip.mem));
	bus_read(&bus, 0x10e, 4, &v);           /* two bytes inside, two beyond */
	ck_assert_uint_eq(v, 0xffffaaaa);
	ck_assert_uint_eq(chip.last_size, 1);
	bus_read(&bus, 0xfe, 4, &v);            /* begins before the range */
	ck_assert_uint_eq(v, 0xaaaaffff);
	bus_write(&bus, 0x10f, 8, 0x1234567890abcdef);
	ck_assert_uint_eq(chip.mem[15], 0xef);
	bus_read(&bus, 0x100, 3, &v);           /* no power of two */
	ck_assert_uint_eq(v, 0xaaaaaa);
	bus_fini(&bus);
}
END_TEST

START_TEST(test_end_of_address_space)
{
	struct bus b;
	struct bus_range top = { .name = "top", .base = UINT64_MAX - 15, .len = 16, .ops = &chip_ops, .dev = &chip };
	uint64_t v;
	memset(&chip, 0x55, sizeof(chip));
	ck_assert_int_eq(bus_init(&b, "mmio", UINT64_MAX), 0);
	ck_assert_int_eq(bus_add(&b, &top), 0);
	bus_read(&b, UINT64_MAX, 8, &v);
	ck_assert_uint_eq(v, 0xffffffffffffff55);
	bus_write(&b, UINT64_MAX - 1, 8, 0);
	ck_assert_uint_eq(chip.mem[14] | chip.mem[15], 0);
	bus_fini(&b);
}
END_TEST

START_TEST(test_refusals)
{
	set_up();
	struct bus_range r = { .name = "other", .base = 0x10f, .len = 1, .ops = &chip_ops };
	ck_assert_int_eq(bus_add(&bus, &r), -EEXIST);
	r.base = 0xf0, r.len = 0x11;
	ck_assert_int_eq(bus_try_add(&bus, &r), -EEXIST);
	r.base = 0x110, r.len = 0;
	ck_assert_int_eq(bus_add(&bus, &r), -EINVAL);
	r.base = 0xfff0, r.len = 0x11;
	ck_assert_int_eq(bus_add(&bus, &r), -EINVAL);
	r.len = UINT64_MAX;
	ck_assert_int_eq(bus_add(&bus, &r), -EINVAL);
	ck_assert(!r.mapped);
	bus_del(&bus, &r);                      /* was never there */
	bus_del(&bus, &range);
	ck_assert(!range.mapped);
	ck_assert_ptr_null(bus_find(&bus, 0x100));
	bus_fini(&bus);
}
END_TEST

START_TEST(test_many_ranges_stay_sorted)
{
	struct bus_range r[64];
	set_up();
	for (unsigned i = 0; i < 64; i++) {
		unsigned place = (i * 37) % 64;         /* a permutation */
		r[place] = (struct bus_range){ .name = "r", .base = 0x1000 + place * 4, .len = 4, .ops = &chip_ops, .dev = &chip };
		ck_assert_int_eq(bus_add(&bus, &r[place]), 0);
	}
	for (unsigned i = 0; i < 256; i++)
		ck_assert_ptr_eq(bus_find(&bus, 0x1000 + i), &r[i / 4]);
	for (unsigned i = 0; i < 64; i += 2)
		bus_del(&bus, &r[i]);
	for (unsigned i = 0; i < 64; i++)
		ck_assert_ptr_eq(bus_find(&bus, 0x1000 + i * 4), i % 2 ? &r[i] : NULL);
	bus_fini(&bus);
}
END_TEST

START_TEST(test_wide_base)
{
	set_up();
	struct chip inner_chip = { .mem = { 0 } };
	struct bus_range addr = { .name = "cf8", .base = 0x200, .len = 1, .wide = 4, .ops = &chip_ops, .dev = &chip };
	struct bus_range inner = { .name = "cf9", .base = 0x201, .len = 1, .ops = &chip_ops, .dev = &inner_chip };
	ck_assert_int_eq(bus_add(&bus, &addr), 0);
	ck_assert_int_eq(bus_add(&bus, &inner), 0);
	ck_assert_ptr_eq(bus_write(&bus, 0x200, 4, 0x80001234), &addr);
	ck_assert_uint_eq(chip.last_size, 4);
	ck_assert_ptr_eq(bus_write(&bus, 0x201, 1, 6), &inner);
	ck_assert_uint_eq(inner_chip.mem[0], 6);
	bus_fini(&bus);
}
END_TEST

/* --- register tables --- */

static uint64_t seen[4];
static unsigned order[8], norder;

static uint64_t rd(void *dev, const struct reg *r)
{
	(void)dev;
	order[norder++ % 8] = r->off;
	return 0x1111111111111111ull * (r->arg + 1);
}

static void wr(void *dev, const struct reg *r, uint64_t v)
{
	(void)dev;
	order[norder++ % 8] = r->off;
	seen[r->arg] = v;
}

static const struct reg regs[] = {
	{ 0, 1, "A", rd, wr, 0 }, { 1, 1, "B", rd, wr, 1 }, { 4, 4, "C", rd, wr, 2 }, { 8, 8, "D", rd, NULL, 3 },
};

START_TEST(test_regs_split_and_merge)
{
	norder = 0;
	ck_assert_uint_eq(regs_read(regs, 4, NULL, 0, 4), 0x00002211);         /* two registers and a hole */
	ck_assert_uint_eq(regs_read(regs, 4, NULL, 6, 2), 0x3333);
	ck_assert_uint_eq(regs_read(regs, 4, NULL, 4, 8), 0x4444444433333333);
	regs_write(regs, 4, NULL, 0, 2, 0xbbaa);
	ck_assert_uint_eq(seen[0], 0xaa);
	ck_assert_uint_eq(seen[1], 0xbb);
	regs_write(regs, 4, NULL, 4, 1, 0x7f);          /* narrower, at the first byte: as it is */
	ck_assert_uint_eq(seen[2], 0x7f);
	regs_write(regs, 4, NULL, 5, 1, 0x7f);          /* in its lane */
	ck_assert_uint_eq(seen[2], 0x7f00);
	regs_write(regs, 4, NULL, 8, 8, 1);             /* read-only: dropped */
	ck_assert_uint_eq(regs_read(regs, 4, NULL, 100, 8), 0);
	ck_assert_ptr_eq(regs_find(regs, 4, 7), &regs[2]);
	ck_assert_ptr_null(regs_find(regs, 4, 2));
}
END_TEST

UNIT_MAIN("common/bus", test_sizes_and_unclaimed, test_edges_are_split, test_end_of_address_space, test_refusals,
	  test_many_ranges_stay_sorted, test_wide_base, test_regs_split_and_merge)
