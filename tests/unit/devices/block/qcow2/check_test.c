#include <errno.h>
#include <stdlib.h>

#include "tests/unit/devices/block/qcow2/lab.h"
#include "tests/unit/unit.h"

static struct img_check check(const struct lab *l, unsigned fix)
{
	struct img_check res = { 0 };
	struct img *img = lab_open_check(l, fix != 0);

	ck_assert_int_eq(qcow2_check(img, fix, &res), 0);
	lab_close(img);
	return res;
}

static void same_figures(const struct lab *l)
{
	const struct img_check ours = check(l, 0);
	const struct lab_check theirs = lab_check(l);

	ck_assert_uint_eq(ours.corruptions, theirs.corruptions);
	ck_assert_uint_eq(ours.leaks, theirs.leaks);
	ck_assert_uint_eq(ours.clusters, theirs.clusters);
	ck_assert_uint_eq(ours.allocated, theirs.allocated);
	ck_assert_uint_eq(ours.compressed, theirs.compressed);
	ck_assert_uint_eq(ours.fragmented, theirs.fragmented);
	ck_assert_uint_eq(ours.image_end, theirs.image_end);
	ck_assert_uint_eq(ours.errors, 0);
}

static const char *const kinds[] = {
	"cluster_size=64k", "cluster_size=512", "cluster_size=512,refcount_bits=64", "cluster_size=4k,compat=0.10",
	"cluster_size=16k,extended_l2=on", "cluster_size=1k,refcount_bits=2", "cluster_size=1k,refcount_bits=8",
	"cluster_size=2M,refcount_bits=32",
};

START_TEST(figures_are_those_of_qemu_img)
{
	for (size_t k = 0; k < NELEM(kinds); k++) {
		struct lab l;

		lab_new(&l, kinds[k], "16M");
		same_figures(&l);
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write 8M 1M' -c 'write 0 3M' -c 'write 100k 9M' "
					    "-c 'write -z 2M 1M' -c 'discard 5M 1M' -c 'write 5500k 64k' i && qemu-img snapshot -c a i && "
					    "qemu-io -t unsafe -c 'write 1M 300k' i"), 0);
		same_figures(&l);
		ck_assert_int_eq(lab_sh(&l, "qemu-img convert -c -O qcow2 -o %s i j && mv j i && "
					    "qemu-io -t unsafe -c 'write 1M 300k' i",
					kinds[k]), 0);
		same_figures(&l);
		lab_free(&l);
	}
}
END_TEST

START_TEST(bitmaps_are_no_leaks_until_they_are_stale)
{
	struct lab l;

	lab_new(&l, "cluster_size=4k", "16M");
	ck_assert_int_eq(lab_sh(&l, "qemu-img bitmap --add -g 4k i one && qemu-img bitmap --add -g 512 i two"), 0);
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write 0 9M' i"), 0);
	same_figures(&l);
	ck_assert_uint_eq(check(&l, 0).leaks, 0);
	lab_close(lab_open(&l, true));          /* takes the bit that vouches for them away */
	same_figures(&l);
	ck_assert_uint_gt(check(&l, 0).leaks, 0);
	ck_assert_uint_gt(check(&l, IMG_FIX_LEAKS).leaks_fixed, 0);
	lab_clean(&l);
	ck_assert_uint_eq(check(&l, 0).leaks, 0);
	lab_free(&l);
}
END_TEST

/* --- Damage --- */

static void leak(const struct lab *l)
{
	lab_put(l, lab_refblock(l) + 10, lab_get(l, lab_refblock(l) + 10, 2) + 1, 2);
}

static void low(const struct lab *l)
{
	lab_put(l, lab_refblock(l) + 10, 0, 2);
}

static void copied(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 8, lab_get(l, lab_l2(l) + 8, 8) ^ QCOW2_COPIED, 8);
}

static void l1_copied(const struct lab *l)
{
	lab_put(l, lab_get(l, 40, 8), lab_l2(l), 8);
}

static void reserved(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, lab_get(l, lab_l2(l) + 16, 8) | 4, 8);
}

static void no_refcounts(const struct lab *l)
{
	lab_put(l, lab_get(l, 48, 8), 0, 8);
}

static void refcounts_outside(const struct lab *l)
{
	lab_put(l, lab_get(l, 48, 8), BIT64(45), 8);
}

static void refcounts_are_l2(const struct lab *l)
{
	lab_put(l, lab_get(l, 48, 8), lab_l2(l), 8);
}

static void twice(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, lab_get(l, lab_l2(l) + 8, 8), 8);
}

static void outside(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, QCOW2_COPIED | BIT64(45), 8);
}

static void crooked(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, lab_get(l, lab_l2(l) + 16, 8) + 512, 8);
}

static void l1_outside(const struct lab *l)
{
	lab_put(l, lab_get(l, 40, 8), QCOW2_COPIED | BIT64(45), 8);
}

static void on_l1(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, QCOW2_COPIED | lab_get(l, 40, 8), 8);
}

static void compressed_outside(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, QCOW2_COMPRESSED | BIT64(40), 8);
}

static void on_header(const struct lab *l)
{
	lab_put(l, lab_l2(l) + 16, QCOW2_COMPRESSED | 200, 8);
}


static const struct damage {
	const char *name;
	void (*do_it)(const struct lab *);
	bool same;                      /* qemu-img counts the same */
	bool loses;                     /* the cluster at 64 KiB, or all that the table named */
} damages[] = {
	{ "leak", leak, true, false }, { "low", low, true, false }, { "copied", copied, true, false },
	{ "L1 copied", l1_copied, true, false }, { "reserved", reserved, true, false },
	{ "no refcounts", no_refcounts, true, false },
	{ "refcounts outside", refcounts_outside, true, false }, { "refcounts are L2", refcounts_are_l2, true, false },
	{ "twice", twice, true, true },
	/* Here qemu-img counts the COPIED flag of the bad entry as well. */
	{ "outside", outside, false, true }, { "crooked", crooked, false, true }, { "L1 outside", l1_outside, false, true },
	{ "on L1", on_l1, false, true }, { "compressed outside", compressed_outside, false, true },
	{ "on header", on_header, false, true },
};

static void damaged_lab(struct lab *l, const struct damage *d)
{
	lab_new(l, "cluster_size=32k", "16M");
	ck_assert_int_eq(lab_sh(l, "qemu-io -t unsafe -c 'write -P 1 0 1M' -c 'write -P 2 12M 300k' i && "
				   "qemu-img snapshot -c a i && qemu-io -t unsafe -c 'write -P 3 512k 600k' -c 'write -P 4 32k 64k' i"), 0);
	d->do_it(l);
}

START_TEST(damage_is_found_and_repaired)
{
	log_set_level(LOG_ERROR, LOG_ERROR);
	for (size_t i = 0; i < NELEM(damages); i++) {
		const struct damage *const d = &damages[i];
		struct img_check res;
		struct img *img;
		struct lab l;

		damaged_lab(&l, d);
		res = check(&l, 0);
		if (d->same)
			same_figures(&l);
		else
			ck_assert_msg(res.corruptions, "%s: not found", d->name);
		if (res.corruptions) {
			const struct img_check leaks = check(&l, IMG_FIX_LEAKS);

			ck_assert_uint_eq(leaks.corruptions, res.corruptions);
			ck_assert_uint_eq(leaks.corruptions_fixed + leaks.leaks_fixed, 0);
		}
		res = check(&l, IMG_FIX_ALL);
		ck_assert_uint_eq(res.corruptions_fixed, res.corruptions);
		ck_assert_uint_eq(res.leaks_fixed, res.leaks);
		lab_clean(&l);
		same_figures(&l);
		img = lab_open(&l, true);
		ck_assert_msg(d->loses || lab_holds(img, KIB(32), KIB(64), 4), "%s: data is lost", d->name);
		ck_assert_msg(lab_holds(img, MIB(12), KIB(300), d->do_it == l1_outside ? 0 : 2), "%s: data is lost", d->name);
		if (d->do_it == outside || d->do_it == crooked)
			ck_assert_msg(lab_holds(img, KIB(64), KIB(32), 0), "%s: not zeroes", d->name);
		lab_write(img, 0, MIB(2), 7);
		ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
		ck_assert_msg(lab_holds(img, 0, MIB(1), 1), "%s: the snapshot is lost", d->name);
		lab_close(img);
		lab_clean(&l);
		lab_free(&l);
	}
}
END_TEST

/* Entries of a snapshot's tables: the snapshot gets tables of its own. */
START_TEST(snapshots_are_repaired_too)
{
	struct img_check res;
	struct img *img;
	struct lab l;
	uint64_t l1, l2;

	log_set_level(LOG_ERROR, LOG_ERROR);
	for (unsigned both = 0; both < 2; both++) {
		lab_new(&l, "cluster_size=4k", "8M");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 8M' i && qemu-img snapshot -c a i"), 0);
		ck_assert_int_eq(lab_sh(&l, both ? "true" : "qemu-io -t unsafe -c 'write -P 2 0 8M' i"), 0);
		l1 = lab_get(&l, lab_get(&l, 64, 8), 8);
		l2 = lab_get(&l, l1, 8) & QCOW2_OFFSET_MASK;
		lab_put(&l, l2 + 24, BIT64(45), 8);
		lab_put(&l, l1 + 16, BIT64(46), 8);
		ck_assert_uint_eq(check(&l, 0).corruptions, 2);
		res = check(&l, IMG_FIX_ALL);
		ck_assert_uint_eq(res.corruptions_fixed, res.corruptions);
		lab_clean(&l);
		img = lab_open(&l, true);
		ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
		ck_assert(lab_holds(img, 0, KIB(12), 1));
		ck_assert(lab_holds(img, KIB(12), KIB(4), 0));
		ck_assert(lab_holds(img, KIB(16), MIB(4) - KIB(16), 1));
		ck_assert(lab_holds(img, MIB(4), MIB(2), 0));
		ck_assert(lab_holds(img, MIB(6), MIB(2), 1));
		lab_close(img);
		lab_clean(&l);
		lab_free(&l);
	}
}
END_TEST

START_TEST(impossible_subclusters_are_repaired)
{
	struct img *img;
	struct lab l;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=16k,extended_l2=on", "4M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 64k' i"), 0);
	lab_put(&l, lab_l2(&l) + 8, 0xffffffffull | BIT64(35), 8);      /* allocated and zero */
	lab_put(&l, lab_l2(&l) + 16 * 8 + 8, 5, 8);                     /* allocated nowhere */
	ck_assert_uint_eq(check(&l, 0).corruptions, 2);
	ck_assert_uint_eq(check(&l, IMG_FIX_ALL).corruptions_fixed, 2);
	ck_assert_uint_eq(check(&l, 0).corruptions, 0);
	lab_clean(&l);
	img = lab_open(&l, false);
	ck_assert(lab_holds(img, 0, KIB(64), 1));
	ck_assert(lab_holds(img, KIB(64), MIB(4) - KIB(64), 0));
	lab_close(img);
	lab_free(&l);
}
END_TEST

START_TEST(marks_are_cleared_when_all_is_well)
{
	struct lab l;

	lab_new(&l, "cluster_size=4k", "8M");
	lab_put(&l, 72, QCOW2_DIRTY | QCOW2_CORRUPT, 8);
	ck_assert_uint_eq(check(&l, 0).corruptions, 0);
	ck_assert_uint_eq(lab_get(&l, 72, 8), QCOW2_DIRTY | QCOW2_CORRUPT);
	ck_assert_uint_eq(check(&l, IMG_FIX_ALL).corruptions, 0);
	ck_assert_uint_eq(lab_get(&l, 72, 8), 0);
	lab_put(&l, 72, QCOW2_DIRTY, 8);
	lab_put(&l, lab_refblock(&l) + 6, 0, 2);
	lab_close(lab_open(&l, true));          /* repairs */
	ck_assert_uint_eq(lab_get(&l, 72, 8), 0);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

/* Version 3 wants the disk's size in every snapshot; what version 2 has left gets it. */
START_TEST(short_rows_are_completed)
{
	struct img_snapshot *list;
	struct img *img;
	struct lab l;
	uint64_t row;
	unsigned n;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=4k", "8M");
	ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -c a i"), 0);
	row = lab_get(&l, 64, 8);
	lab_put(&l, row + 36, 0, 4);
	lab_put(&l, row + 40, '1' << 8 | 'a', 2);
	ck_assert_uint_eq(check(&l, 0).corruptions, 1);
	ck_assert_uint_eq(check(&l, IMG_FIX_ALL).corruptions_fixed, 1);
	lab_clean(&l);
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_list(img, &list, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(list->name, "a");
	ck_assert_uint_eq(list->disk_size, MIB(8));
	free(list);
	lab_close(img);
	lab_free(&l);
}
END_TEST

/* What cannot be read is an error, and then nothing is repaired. */
START_TEST(unreadable_parts_are_errors)
{
	struct powercut *pc;
	struct img_check res;
	struct img *img;
	struct lab l;
	int err;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=4k", "8M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 3M' i"), 0);
	pc = powercut_load(l.path);
	img = img_open_file(powercut_open(pc, "image", true), &img_qcow2, &err);
	ck_assert_ptr_nonnull(img);
	for (unsigned nth = 0; nth < 6; nth++) {
		size_t before;
		int r;

		ck_assert_int_eq(img_flush(img), 0);
		before = powercut_ops(pc);
		powercut_fail(pc, POWERCUT_READ, nth, -EIO, false);
		r = qcow2_check(img, IMG_FIX_ALL, &res);
		if (powercut_failed(pc))
			ck_assert_msg(r == -EIO && (res.errors || !res.clusters), "read %u: %d, %llu errors", nth, r,
				      (unsigned long long)res.errors);
		powercut_fail(pc, 0, 0, 0, false);
		ck_assert_uint_le(powercut_ops(pc), before + 2);        /* flushes */
	}
	ck_assert_int_eq(qcow2_check(img, 0, &res), 0);
	ck_assert_uint_eq(res.errors + res.corruptions + res.leaks, 0);
	lab_close(img);
	powercut_free(pc);
	lab_free(&l);
}
END_TEST

START_TEST(read_only_images_are_checked_not_repaired)
{
	struct img_check res;
	struct img *img;
	struct lab l;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=4k", "8M");
	lab_put(&l, lab_refblock(&l) + 6, 2, 2);
	img = lab_open_check(&l, false);
	ck_assert_int_eq(qcow2_check(img, 0, &res), 0);
	ck_assert_uint_eq(res.leaks, 1);
	ck_assert_int_eq(qcow2_check(img, IMG_FIX_ALL, &res), -EROFS);
	lab_close(img);
	lab_free(&l);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/check", figures_are_those_of_qemu_img, bitmaps_are_no_leaks_until_they_are_stale,
	  damage_is_found_and_repaired, snapshots_are_repaired_too, impossible_subclusters_are_repaired,
	  marks_are_cleared_when_all_is_well, short_rows_are_completed, unreadable_parts_are_errors,
	  read_only_images_are_checked_not_repaired)
