#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "devices/block/qcow2/scan.h"
#include "tests/unit/devices/block/qcow2/lab.h"
#include "tests/unit/unit.h"

START_TEST(refcounts_of_every_width)
{
	for (unsigned order = 0; order <= 6; order++) {
		uint8_t block[512] = { 0 };
		const uint64_t n = 512 * 8 >> order, max = qcow2_ref_max(order);

		for (uint64_t i = 0; i < n; i++)
			qcow2_ref_put(block, order, i, (i * 0x9e3779b97f4a7c15u) & max);
		for (uint64_t i = 0; i < n; i++)
			ck_assert_uint_eq(qcow2_ref_get(block, order, i), (i * 0x9e3779b97f4a7c15u) & max);
	}
	uint8_t block[8] = { 0 };

	qcow2_ref_put(block, 0, 9, 1);          /* bit 0 of a byte comes first */
	ck_assert_uint_eq(block[1], 2);
	qcow2_ref_put(block, 2, 1, 15);
	ck_assert_uint_eq(block[0], 0xf0);
	qcow2_ref_put(block, 4, 2, 0x1234);
	ck_assert_uint_eq(block[4], 0x12);
}
END_TEST

static int64_t one_byte(struct bfile *f)
{
	return 1;
}

static const struct bfile_ops ops = { .size = one_byte };
static struct bfile file = { .ops = &ops, .path = (char *)(uintptr_t)"image" };

/* 100 clusters of 4 KiB and a bit, cluster 3 a table. */
static void some_scan(struct qcow2_scan *s, struct qcow2 *q, uint32_t incompatible)
{
	*q = (struct qcow2){ .cluster = 4096, .l2_entry = incompatible ? 16 : 8, .l2_per = 4096 / (incompatible ? 16 : 8) };
	q->h = (struct qcow2_header){ .version = 3, .cluster_bits = 12, .incompatible = incompatible, .refcount_order = 4 };
	q->img.file = &file;
	ck_assert_int_eq(qcow2_scan_init(s, q), 0);
	ck_assert_int_eq(qcow2_scan_grow(s, 99), 0);
	s->file_size = 100 * 4096 + 512;
	s->kind[3] = SCAN_META;
}

START_TEST(entries)
{
	static const struct { uint64_t entry, want; const char *wrong; } cases[] = {
		{ 0, 0, NULL }, { QCOW2_ZERO, QCOW2_ZERO, NULL }, { 4096, 4096, NULL },
		{ 4096 | QCOW2_COPIED, 4096 | QCOW2_COPIED, NULL },
		{ 4096 | QCOW2_ZERO, 4096 | QCOW2_ZERO, NULL }, { 100 * 4096, 100 * 4096, NULL }, { 101 * 4096, 0, "outside" },
		{ QCOW2_OFFSET_MASK & ~0xfffull, 0, "outside" }, { 4608, 0, "middle" }, { 3 * 4096, 0, "tables" },
		{ 4096 | 2, 4096, "reserved" }, { 4096 | BIT64(57), 4096, "reserved" }, { 8, 0, "reserved" },
		{ QCOW2_COMPRESSED | 8192, QCOW2_COMPRESSED | 8192, NULL },
		{ QCOW2_COMPRESSED | QCOW2_COPIED | 8192, QCOW2_COMPRESSED | 8192, "in place" },
		{ QCOW2_COMPRESSED | (3 * 4096 - 100) | BIT64(58), 0, "tables" }, { QCOW2_COMPRESSED | BIT64(50), 0, "outside" },
	};
	struct qcow2_scan s;
	struct qcow2_ref ref;
	struct qcow2 q;

	some_scan(&s, &q, 0);
	for (size_t i = 0; i < NELEM(cases); i++) {
		qcow2_scan_entry(&s, cases[i].entry, 0, &ref);
		ck_assert_msg(!ref.wrong == !cases[i].wrong && (!ref.wrong || strstr(ref.wrong, cases[i].wrong)), "%#llx: %s",
			      (unsigned long long)cases[i].entry, ref.wrong ? ref.wrong : "nothing wrong");
		ck_assert_uint_eq(ref.entry, cases[i].want);
	}
	qcow2_scan_fini(&s);
}
END_TEST

START_TEST(subclusters)
{
	struct qcow2_scan s;
	struct qcow2_ref ref;
	struct qcow2 q;

	some_scan(&s, &q, QCOW2_EXTENDED_L2);
	qcow2_scan_entry(&s, 4096, 0xf0ull << 32 | 0x0f, &ref);
	ck_assert_ptr_null(ref.wrong);
	qcow2_scan_entry(&s, 4096, 0xffull << 32 | 0x0f, &ref);
	ck_assert_ptr_nonnull(ref.wrong);
	ck_assert_uint_eq(ref.bitmap, 0xf0ull << 32 | 0x0f);
	qcow2_scan_entry(&s, 0, 0xf0ull << 32 | 0x0f, &ref);
	ck_assert_ptr_nonnull(ref.wrong);
	ck_assert_uint_eq(ref.bitmap, 0xf0ull << 32);
	qcow2_scan_entry(&s, 0, 0xf0ull << 32, &ref);
	ck_assert_ptr_null(ref.wrong);
	qcow2_scan_entry(&s, QCOW2_COMPRESSED | 8192, 1, &ref);
	ck_assert_ptr_nonnull(ref.wrong);
	ck_assert_uint_eq(ref.bitmap, 0);
	qcow2_scan_fini(&s);
}
END_TEST

START_TEST(references_saturate_and_stay_in_the_file)
{
	struct qcow2_scan s;
	struct qcow2 q;

	some_scan(&s, &q, 0);
	ck_assert(qcow2_scan_add(&s, 4096, 4096, UINT32_MAX - 1));
	ck_assert(qcow2_scan_add(&s, 4096 + 5, 1, 7));
	ck_assert_uint_eq(s.refs[1], UINT32_MAX);
	ck_assert_uint_eq(s.refs[2], 0);
	ck_assert(qcow2_scan_add(&s, 2 * 4096 + 4000, 200, 1));
	ck_assert_uint_eq(s.refs[2] + s.refs[3], 2);
	ck_assert(qcow2_scan_add(&s, 100 * 4096, 4096, 1));             /* the last one is incomplete */
	ck_assert(!qcow2_scan_add(&s, 100 * 4096, 8192, 1));
	ck_assert(!qcow2_scan_add(&s, 101 * 4096, 1, 1));
	ck_assert(!qcow2_scan_add(&s, UINT64_MAX - 10, 4096, 1));
	ck_assert(!qcow2_scan_add(&s, 0, UINT64_MAX, 1));
	ck_assert(qcow2_scan_add(&s, UINT64_MAX, 0, 1));                /* nothing is everywhere */
	qcow2_scan_fini(&s);
}
END_TEST

/* Files that make room for more clusters than memory has for counters. */
START_TEST(absurd_sizes_are_refused)
{
	struct qcow2_scan s;
	struct qcow2 q;

	log_set_level(LOG_ERROR, LOG_ERROR);
	some_scan(&s, &q, 0);
	ck_assert_int_eq(qcow2_scan_grow(&s, QCOW2_SCAN_MAX), -EFBIG);
	ck_assert_int_eq(qcow2_scan_grow(&s, 5000), 0);
	ck_assert_uint_eq(s.n, 5001);
	ck_assert_uint_eq(s.refs[5000] + s.l2refs[5000] + s.moved[5000] + s.kind[5000], 0);
	qcow2_scan_fini(&s);
}
END_TEST

/*
 * Many snapshots whose L1 tables are one table of many entries that lead to one L2 table: read once, whatever the count of
 * roads to it.
 */
START_TEST(time_is_bounded_by_the_file)
{
	struct timespec t[2];
	struct img_check res;
	struct img *img;
	struct lab l;
	uint64_t table = MIB(1), l1 = KIB(512), l2;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=512", "512k");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write 0 512k' i && truncate -s 4M i"), 0);
	l2 = lab_l2(&l);
	for (unsigned i = 0; i < 60000 / 8; i++)
		lab_put(&l, l1 + 8 * i, l2, 8);
	for (unsigned i = 0; i < 5000; i++) {
		lab_put(&l, table + i * 56, l1, 8);
		lab_put(&l, table + i * 56 + 8, 60000 / 8, 4);
		lab_put(&l, table + i * 56 + 36, 16, 4);
	}
	lab_put(&l, 60, 5000, 4);
	lab_put(&l, 64, table, 8);
	img = lab_open_check(&l, true);
	clock_gettime(CLOCK_MONOTONIC, &t[0]);
	ck_assert_int_eq(qcow2_check(img, 0, &res), 0);
	clock_gettime(CLOCK_MONOTONIC, &t[1]);
	ck_assert_uint_gt(res.corruptions, 4900);       /* snapshots beyond what the file can hold count as damaged */
	ck_assert_int_lt(t[1].tv_sec - t[0].tv_sec, 20);
	lab_close(img);
	lab_free(&l);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/scan", refcounts_of_every_width, entries, subclusters, references_saturate_and_stay_in_the_file,
	  absurd_sizes_are_refused, time_is_bounded_by_the_file)
