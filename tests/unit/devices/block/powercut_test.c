/*
 * The power cut itself: what was flushed is there, what was not is there in every way that is allowed.
 */
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define SECTOR 512u
#define SECTORS 16u

static bool sector_is(struct powercut *pc, unsigned sector, int value)
{
	size_t len;
	const uint8_t *p = powercut_data(pc, &len);
	for (unsigned i = 0; i < SECTOR; i++)
		if (p[sector * SECTOR + i] != value)
			return false;
	return true;
}

static void fill(struct bfile *f, unsigned sector, unsigned n, int value)
{
	uint8_t b[SECTORS * SECTOR];
	memset(b, value, sizeof(b));
	ck_assert_int_eq(bfile_write(f, sector * SECTOR, b, n * SECTOR), 0);
}

/* Sectors 0-7 get 1 and a flush, then 0-3 get 2, 2-5 get 3, 8-15 are new; seeds must show every mixture. */
START_TEST(mixtures)
{
	uint8_t zero[8 * SECTOR] = { 0 };
	unsigned torn = 0, old = 0, new = 0, reordered = 0, grown = 0;
	struct powercut *pc = powercut_new(zero, sizeof(zero));
	struct bfile *f = powercut_open(pc, "p", true);
	char text[64];
	fill(f, 0, 8, 1);
	ck_assert_int_eq(f->ops->flush(f), 0);
	fill(f, 0, 4, 2);
	fill(f, 2, 4, 3);
	fill(f, 8, 8, 4);
	ck_assert_uint_eq(powercut_ops(pc), 5);
	ck_assert(powercut_is_flush(pc, 1) && !powercut_is_flush(pc, 2));
	ck_assert_str_eq(powercut_describe(pc, 4, text, sizeof(text)), "write 0x1000 4096");
	for (uint64_t seed = 0; seed < 400; seed++) {
		struct powercut *a = powercut_after(pc, 5, seed), *b = powercut_after(pc, 5, seed);
		size_t len, len_b;
		const uint8_t *p = powercut_data(a, &len), *q = powercut_data(b, &len_b);
		ck_assert_uint_eq(len, len_b);                          /* a seed says all */
		ck_assert_mem_eq(p, q, len);
		ck_assert_uint_eq(powercut_ops(a), 0);
		for (unsigned s = 0; s < 8; s++) {
			const int v = p[s * SECTOR];
			ck_assert(sector_is(a, s, v));                  /* sectors are whole */
			ck_assert(v == 1 || (v == 2 && s < 4) || (v == 3 && s >= 2 && s < 6));
		}
		for (unsigned s = 8; s * SECTOR < len; s++)
			ck_assert(sector_is(a, s, 0) || sector_is(a, s, 4));
		const unsigned first = (unsigned)p[0] + p[SECTOR];
		torn += first == 3;
		old += first == 2;
		new += first == 4;
		reordered += p[0] == 2 && p[2 * SECTOR] == 2 && p[4 * SECTOR] == 3;
		grown += len > 8 * SECTOR;
		ck_assert(seed != 0 || (sector_is(a, 0, 1) && len == 8 * SECTOR));
		ck_assert(seed != 1 || (sector_is(a, 0, 2) && sector_is(a, 5, 3) && sector_is(a, 15, 4)));
		powercut_free(a);
		powercut_free(b);
	}
	ck_assert_msg(torn > 10 && old > 10 && new > 10 && reordered > 10 && grown > 10 && grown < 400,
		      "torn %u old %u new %u reordered %u grown %u", torn, old, new, reordered, grown);
	bfile_close(f);
	powercut_free(pc);
}
END_TEST

START_TEST(cuts)
{
	struct powercut *pc = powercut_new(NULL, 0);
	struct bfile *f = powercut_open(pc, "p", true);
	for (unsigned i = 0; i < SECTORS; i++) {
		fill(f, i, 1, (int)i + 1);
		if (i % 4 == 3)
			ck_assert_int_eq(f->ops->flush(f), 0);
	}
	bfile_close(f);
	ck_assert_uint_eq(powercut_ops(pc), 20);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i <= 20; i++) {
			const size_t cut = round ? 20 - i : i, flushed = cut / 5 * 4;
			struct powercut *a = powercut_after(pc, cut, 77 + cut);
			size_t len;
			powercut_data(a, &len);
			ck_assert_uint_ge(len, flushed * SECTOR);
			ck_assert_uint_le(len, (cut - cut / 5) * SECTOR);
			for (unsigned s = 0; s < flushed; s++)
				ck_assert(sector_is(a, s, (int)s + 1));
			powercut_free(a);
		}
	}
	powercut_free(pc);
}
END_TEST

START_TEST(other_changes)
{
	struct powercut *pc = powercut_new(NULL, 0), *a;
	struct bfile *f = powercut_open(pc, "p", true);
	unsigned discarded = 0, kept = 0;
	size_t len;
	fill(f, 0, 8, 1);
	ck_assert_int_eq(f->ops->zero(f, 3 * SECTOR, 100 * SECTOR, true), 0);
	ck_assert_int_eq(f->ops->size(f), 8 * SECTOR);
	ck_assert(sector_is(pc, 2, 1) && sector_is(pc, 3, 0) && sector_is(pc, 7, 0));
	ck_assert_int_eq(f->ops->truncate(f, 2 * SECTOR), 0);
	ck_assert_int_eq(f->ops->truncate(f, 4 * SECTOR), 0);
	ck_assert(sector_is(pc, 1, 1) && sector_is(pc, 2, 0));
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_int_eq(f->ops->discard(f, 0, SECTOR), 0);
	ck_assert(sector_is(pc, 0, 0xdd));
	for (uint64_t seed = 0; seed < 50; seed++) {
		a = powercut_after(pc, powercut_ops(pc), seed);
		powercut_data(a, &len);
		ck_assert_uint_eq(len, 4 * SECTOR);
		discarded += sector_is(a, 0, 0xdd);
		kept += sector_is(a, 0, 1);
		powercut_free(a);
	}
	ck_assert(discarded > 0 && kept > 0 && discarded + kept == 50);
	/* files can be looked at by others */
	powercut_save(pc, "/var/tmp/skep-powercut-test");
	a = powercut_load("/var/tmp/skep-powercut-test");
	unlink("/var/tmp/skep-powercut-test");
	powercut_data(a, &len);
	ck_assert_uint_eq(len, 4 * SECTOR);
	ck_assert(sector_is(a, 1, 1));
	powercut_free(a);
	bfile_close(f);
	f = powercut_open(pc, "p", false);
	ck_assert_int_eq(bfile_write(f, 0, "a", 1), -EROFS);
	ck_assert_int_eq(f->ops->truncate(f, 0), -EROFS);
	bfile_close(f);
	powercut_free(pc);
	powercut_free(NULL);
}
END_TEST

START_TEST(errors)
{
	uint8_t b[4 * SECTOR] = { 0 };
	struct powercut *pc = powercut_new(b, sizeof(b));
	struct bfile *f = powercut_open(pc, "p", true);
	powercut_fail(pc, POWERCUT_WRITE | POWERCUT_FLUSH, 1, -EIO, false);
	ck_assert_int_eq(f->ops->flush(f), 0);
	memset(b, 1, sizeof(b));
	ck_assert(!powercut_failed(pc));
	ck_assert_int_eq(bfile_write(f, 0, b, sizeof(b)), -EIO);
	ck_assert(powercut_failed(pc));
	ck_assert(sector_is(pc, 1, 1) && sector_is(pc, 2, 0));          /* half of it */
	ck_assert_int_eq(bfile_write(f, 0, b, sizeof(b)), 0);
	powercut_fail(pc, POWERCUT_FLUSH, 0, -EIO, true);
	const size_t ops = powercut_ops(pc);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	ck_assert_int_eq(f->ops->flush(f), -EIO);
	ck_assert_uint_eq(powercut_ops(pc), ops);
	powercut_fail(pc, 0, 0, 0, false);
	ck_assert_int_eq(f->ops->flush(f), 0);
	powercut_limit(pc, 5 * SECTOR);
	ck_assert_int_eq(bfile_write(f, 2 * SECTOR, b, sizeof(b)), -ENOSPC);
	ck_assert_int_eq(f->ops->size(f), 4 * SECTOR);
	ck_assert_int_eq(bfile_write(f, 4 * SECTOR, b, SECTOR), 0);
	ck_assert_int_eq(f->ops->truncate(f, 6 * SECTOR), -ENOSPC);
	ck_assert_int_eq(bfile_write(f, UINT64_MAX - 10, b, SECTOR), -ENOSPC);
	bfile_close(f);
	powercut_free(pc);
}
END_TEST

UNIT_MAIN("devices/block/powercut", mixtures, cuts, other_changes, errors)
