/*
 * The cache of slices: its bound, what it throws out, and that dirty ones stay.
 */
#include "devices/block/qcow2/state.h"
#include "tests/unit/unit.h"

START_TEST(bounded_and_clean_ones_go)
{
	struct qcow2_cache *c = qcow2_cache_new(512, 8 * 600);
	const uint32_t max = c->max;

	ck_assert_uint_ge(max, 4);
	ck_assert_uint_le(max, 8);
	for (uint64_t k = 0; k < 1000; k++) {
		struct qcow2_slice *s = qcow2_cache_add(c, k * 64);

		ck_assert_ptr_nonnull(s);
		memset(s->data, (int)k, 512);
		ck_assert_ptr_eq(qcow2_cache_find(c, k * 64), s);
		ck_assert_uint_le(c->n, max);
	}
	ck_assert_ptr_null(qcow2_cache_find(c, 0));
	ck_assert_uint_eq(qcow2_cache_find(c, 999 * 64)->data[0], 999 & 255);
	qcow2_cache_free(c);
}
END_TEST

START_TEST(dirty_ones_stay_until_taken)
{
	struct qcow2_cache *c = qcow2_cache_new(4096, 1);
	struct qcow2_slice *s;
	uint64_t seen = 0;

	ck_assert_uint_eq(c->max, 4);
	for (uint64_t k = 0; k < 4; k++) {
		s = qcow2_cache_add(c, k);
		qcow2_cache_dirty(c, s);
		qcow2_cache_dirty(c, s);
	}
	ck_assert_uint_eq(c->ndirty, 4);
	ck_assert_ptr_null(qcow2_cache_add(c, 4));
	while ((s = qcow2_cache_take_dirty(c)))
		seen |= BIT64(s->key);
	ck_assert_uint_eq(seen, 15);
	ck_assert_uint_eq(c->ndirty, 0);
	ck_assert_ptr_nonnull(qcow2_cache_add(c, 4));
	qcow2_cache_free(c);
}
END_TEST

START_TEST(dropped_ones_are_gone)
{
	struct qcow2_cache *c = qcow2_cache_new(512, 4096);

	for (uint64_t k = 0; k < 5; k++)
		ck_assert_ptr_nonnull(qcow2_cache_add(c, k));
	qcow2_cache_drop(c, qcow2_cache_find(c, 0));
	qcow2_cache_drop(c, qcow2_cache_find(c, 4));
	ck_assert_uint_eq(c->n, 3);
	ck_assert(!qcow2_cache_find(c, 0) && !qcow2_cache_find(c, 4) && qcow2_cache_find(c, 2));
	qcow2_cache_free(c);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/cache", bounded_and_clean_ones_go, dirty_ones_stay_until_taken, dropped_ones_are_gone)
