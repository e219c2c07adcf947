#include <errno.h>
#include <stdlib.h>

#include "tests/unit/devices/block/qcow2/lab.h"
#include "tests/unit/unit.h"

static struct img *open_on(struct powercut *pc, bool writable)
{
	int err;
	struct img *const img = img_open_file(powercut_open(pc, "image", writable), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	return img;
}

static struct powercut *load(const char *options, const char *size, const char *writes)
{
	struct powercut *pc;
	struct lab l;

	lab_new(&l, options, size);
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe %s i", writes), 0);
	pc = powercut_load(l.path);
	lab_free(&l);
	return pc;
}

static struct img_check checked(struct img *img)
{
	struct img_check res;

	ck_assert_int_eq(qcow2_check(img, 0, &res), 0);
	return res;
}

static void sound(struct img *img)
{
	const struct img_check res = checked(img);

	ck_assert_uint_eq(res.corruptions + res.leaks + res.errors, 0);
}

/* Without changes between two snapshots no L2 table is written: all of them are shared. */
START_TEST(l2_tables_are_shared)
{
	struct powercut *pc = load("cluster_size=4k", "64M", "-c 'write -P 1 0 64M'");
	struct img *img = open_on(pc, true);
	uint64_t end[3];
	char name[2] = "a";

	for (unsigned i = 0; i < 3; i++, name[0]++) {
		ck_assert_int_eq(qcow2_snap_create(img, name), 0);
		end[i] = checked(img).image_end;
	}
	ck_assert_uint_gt(end[0], MIB(64) + 32 * 4096);         /* 32 of them without COPIED */
	ck_assert_uint_le(end[2], end[0] + 8 * 4096);           /* L1 tables, snapshot table */
	sound(img);
	ck_assert(lab_holds(img, 0, MIB(64), 1));
	lab_close(img);
	powercut_free(pc);
}
END_TEST

/* Space that snapshots gave back is used by the next ones: the file does not grow for ever. */
START_TEST(freed_space_is_used_again)
{
	struct powercut *pc = load("cluster_size=4k", "16M", "-c 'write -P 1 0 8M'");
	struct img *img = open_on(pc, true);
	uint64_t size = 0;

	for (unsigned i = 0; i < 20; i++) {
		ck_assert_int_eq(qcow2_snap_create(img, "a"), 0);
		lab_write(img, 0, MIB(1), (uint8_t)i);
		ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
		ck_assert_int_eq(qcow2_snap_delete(img, "a"), 0);
		if (i == 2)
			size = (uint64_t)img->file->ops->size(img->file);
	}
	ck_assert_uint_le((uint64_t)img->file->ops->size(img->file), size + KIB(64));
	ck_assert(lab_holds(img, 0, MIB(8), 1));
	sound(img);
	lab_close(img);
	powercut_free(pc);
}
END_TEST

/* One refcount of 64 bits a 512th: 64 entries of the refcount table make 2 MiB of file, so the table has to grow. */
START_TEST(refcount_tables_grow)
{
	struct powercut *pc = load("cluster_size=512,refcount_bits=64", "24M", "-c 'write -P 1 0 12M'");
	struct img *img = open_on(pc, true);
	char name[2] = "a";

	for (unsigned i = 0; i < 6; i++, name[0]++) {
		ck_assert_int_eq(qcow2_snap_create(img, name), 0);
		lab_write(img, i * MIB(3), MIB(4), (uint8_t)(10 + i));
		sound(img);
	}
	ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
	ck_assert(lab_holds(img, 0, MIB(12), 1));
	for (name[0] = 'a'; name[0] < 'g'; name[0]++)
		ck_assert_int_eq(qcow2_snap_delete(img, name), 0);
	sound(img);
	ck_assert(lab_holds(img, 0, MIB(12), 1));
	lab_close(img);
	powercut_free(pc);
}
END_TEST

/* No space, or a write that fails, before the switch: the old state is in force and stays usable. */
START_TEST(failures_before_the_switch_change_nothing)
{
	log_set_level(LOG_ERROR, LOG_ERROR);
	for (unsigned nth = 0; nth < 40; nth++) {
		struct powercut *pc = load("cluster_size=4k", "8M", "-c 'write -P 1 0 2M' -c 'write -P 1 5M 1M'");
		struct img *img = open_on(pc, true);
		struct img_snapshot *list;
		unsigned n;
		int r;

		powercut_fail(pc, POWERCUT_WRITE, nth, -ENOSPC, false);
		r = qcow2_snap_create(img, "a");
		if (!powercut_failed(pc)) {
			ck_assert_int_eq(r, 0);
			ck_assert_uint_gt(nth, 4);
			lab_close(img);
			powercut_free(pc);
			return;
		}
		ck_assert_int_eq(r, -ENOSPC);
		if (img->broken) {      /* the header's own write: nobody knows */
			ck_assert_int_eq(qcow2_snap_create(img, "b"), -EIO);
			img_close(img);
			img = open_on(pc, true);
			sound(img);
		} else {
			powercut_fail(pc, 0, 0, 0, false);
			ck_assert_int_eq(qcow2_snap_list(img, &list, &n), 0);
			ck_assert_uint_eq(n, 0);
			sound(img);
			lab_write(img, 0, KIB(8), 1);
			ck_assert_int_eq(qcow2_snap_create(img, "a"), 0);
		}
		ck_assert(lab_holds(img, 0, MIB(2), 1));
		ck_assert(lab_holds(img, MIB(5), MIB(1), 1));
		sound(img);
		lab_close(img);
		powercut_free(pc);
	}
	ck_abort_msg("a snapshot of a small image takes more than 40 writes");
}
END_TEST

START_TEST(a_full_disk_refuses)
{
	struct powercut *pc = load("cluster_size=4k", "8M", "-c 'write -P 1 0 2M'");
	struct img *img = open_on(pc, true);
	size_t len;

	log_set_level(LOG_ERROR, LOG_ERROR);
	powercut_data(pc, &len);
	powercut_limit(pc, len);
	ck_assert_int_eq(qcow2_snap_create(img, "a"), -ENOSPC);
	ck_assert(!img->broken);
	ck_assert(lab_holds(img, 0, MIB(2), 1));
	lab_write(img, 0, MIB(2), 2);
	sound(img);
	lab_close(img);
	powercut_free(pc);
}
END_TEST

/* Two L1 entries that lead to one L2 table, tables that are their own data: bounded work, and sound afterwards. */
START_TEST(knots_are_untied)
{
	struct img_check res;
	struct img *img;
	struct lab l;
	uint64_t l1, l2;

	log_set_level(LOG_ERROR, LOG_ERROR);
	lab_new(&l, "cluster_size=512", "1M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 1M' i && qemu-img snapshot -c a i"), 0);
	l1 = lab_get(&l, 40, 8);
	l2 = lab_l2(&l);
	for (unsigned i = 1; i < 32; i++)
		lab_put(&l, l1 + 8 * i, l2 | QCOW2_COPIED, 8);
	for (unsigned i = 0; i < 64; i++)
		lab_put(&l, l2 + 8 * i, (i % 2 ? l2 : l2 + 512) | QCOW2_COPIED, 8);
	img = lab_open_check(&l, true);
	ck_assert_int_eq(qcow2_check(img, IMG_FIX_ALL, &res), 0);
	ck_assert_uint_gt(res.corruptions, 0);
	sound(img);
	lab_close(img);
	lab_clean(&l);
	img = lab_open(&l, true);
	lab_write(img, 0, MIB(1), 5);
	ck_assert(lab_holds(img, 0, MIB(1), 5));
	ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
	ck_assert_int_eq(qcow2_snap_delete(img, "a"), 0);
	lab_close(img);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

START_TEST(refcount_widths)
{
	static const unsigned bits[] = { 2, 4, 8, 16, 32, 64 };

	log_set_level(LOG_ERROR, LOG_ERROR);
	for (size_t i = 0; i < NELEM(bits); i++) {
		struct img *img;
		char options[64], name[8];
		struct lab l;
		unsigned n;

		snprintf(options, sizeof(options), "cluster_size=4k,refcount_bits=%u", bits[i]);
		lab_new(&l, options, "4M");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 1M' i"), 0);
		img = lab_open(&l, true);
		for (n = 0; n < 20; n++) {
			snprintf(name, sizeof(name), "s%u", n);
			if (qcow2_snap_create(img, name))
				break;
		}
		ck_assert_uint_eq(n, bits[i] < 5 ? (1u << bits[i]) - 2 : 20);
		lab_close(img);
		lab_clean(&l);
		lab_free(&l);
	}
}
END_TEST

START_TEST(emptying_keeps_snapshots)
{
	struct powercut *pc = load("cluster_size=4k", "8M", "-c 'write -P 1 0 8M'");
	struct img *img = open_on(pc, true);

	ck_assert_int_eq(qcow2_snap_create(img, "a"), 0);
	ck_assert_int_eq(qcow2_discard_all(img), 0);
	ck_assert(lab_holds(img, 0, MIB(8), 0));
	sound(img);
	lab_write(img, KIB(10), MIB(1), 3);
	ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
	ck_assert(lab_holds(img, 0, MIB(8), 1));
	ck_assert_int_eq(qcow2_snap_delete(img, "a"), 0);
	ck_assert_int_eq(qcow2_discard_all(img), 0);
	ck_assert(lab_holds(img, 0, MIB(8), 0));
	ck_assert_uint_eq(checked(img).allocated, 0);
	sound(img);
	lab_close(img);
	powercut_free(pc);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/rebuild", l2_tables_are_shared, freed_space_is_used_again, refcount_tables_grow,
	  failures_before_the_switch_change_nothing, a_full_disk_refuses, knots_are_untied, refcount_widths,
	  emptying_keeps_snapshots)
