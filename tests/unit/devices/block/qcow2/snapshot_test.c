#include <errno.h>
#include <stdlib.h>

#include "tests/unit/capture.h"
#include "tests/unit/devices/block/qcow2/lab.h"
#include "tests/unit/unit.h"

static const char *const kinds[] = {
	"cluster_size=64k", "cluster_size=512", "cluster_size=512,refcount_bits=64", "cluster_size=4k,compat=0.10",
	"cluster_size=16k,extended_l2=on", "cluster_size=1k,refcount_bits=4", "cluster_size=64k,lazy_refcounts=on",
};

static void fill_disk(const struct lab *l)
{
	ck_assert_int_eq(lab_sh(l, "qemu-io -t unsafe -c 'write -P 1 0 1M' -c 'write -P 2 2500k 100k' -c 'write -z 3M 300k' "
				   "-c 'write -P 7 7M 64k' i"), 0);
}

static void create(const struct lab *l, const char *name)
{
	struct img *img = lab_open(l, true);

	ck_assert_int_eq(qcow2_snap_create(img, name), 0);
	lab_close(img);
	lab_clean(l);
}

static void apply(const struct lab *l, const char *name)
{
	struct img *img = lab_open(l, true);

	ck_assert_int_eq(qcow2_snap_apply(img, name), 0);
	lab_close(img);
	lab_clean(l);
}

static void delete(const struct lab *l, const char *name)
{
	struct img *img = lab_open(l, true);

	ck_assert_int_eq(qcow2_snap_delete(img, name), 0);
	lab_close(img);
	lab_clean(l);
}

START_TEST(ours_and_qemus_in_turns)
{
	for (size_t k = 0; k < NELEM(kinds); k++) {
		struct lab l;

		lab_new(&l, kinds[k], "8M");
		fill_disk(&l);
		ck_assert_int_eq(lab_sh(&l, "qemu-img convert -O raw i one"), 0);
		create(&l, "one");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 9 512k 2500k' i && qemu-img convert -O raw i two"), 0);
		ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -c two i"), 0);
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 11 100k 7M' -c 'discard 2M 1M' i && "
					    "qemu-img convert -O raw i three"), 0);
		create(&l, "three");
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i three"), 0);
		apply(&l, "two");
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i two"), 0);
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 12 0 8M' i && qemu-img snapshot -a one i"), 0);
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i one"), 0);
		delete(&l, "two");
		ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -d one i"), 0);
		lab_clean(&l);
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i one"), 0);
		ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -a three i && qemu-img compare i three"), 0);
		delete(&l, "3");
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i three"), 0);
		ck_assert_uint_eq(lab_get(&l, 60, 4), 0);
		ck_assert_uint_eq(lab_get(&l, 64, 8), 0);
		lab_free(&l);
	}
}
END_TEST

START_TEST(an_image_in_use_goes_on)
{
	struct lab l;
	struct img *img;

	lab_new(&l, "cluster_size=4k", "8M");
	img = lab_open(&l, true);
	lab_write(img, 0, KIB(100), 1);
	ck_assert_int_eq(qcow2_snap_create(img, "a"), 0);
	lab_write(img, KIB(50), KIB(100), 2);
	ck_assert_int_eq(qcow2_snap_create(img, "b"), 0);
	ck_assert_int_eq(img_zero(img, 0, KIB(200), IMG_UNMAP), 0);
	ck_assert_int_eq(qcow2_snap_apply(img, "a"), 0);
	ck_assert(lab_holds(img, 0, KIB(100), 1));
	ck_assert(lab_holds(img, KIB(100), KIB(100), 0));
	lab_write(img, KIB(10), KIB(10), 3);
	ck_assert_int_eq(qcow2_snap_apply(img, "b"), 0);
	ck_assert(lab_holds(img, 0, KIB(50), 1));
	ck_assert(lab_holds(img, KIB(50), KIB(100), 2));
	ck_assert_int_eq(qcow2_snap_delete(img, "a"), 0);
	lab_write(img, 0, KIB(50), 4);
	ck_assert_int_eq(qcow2_snap_delete(img, "b"), 0);
	ck_assert(lab_holds(img, 0, KIB(50), 4));
	ck_assert(lab_holds(img, KIB(50), KIB(100), 2));
	lab_close(img);
	lab_clean(&l);
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'read -P 4 0 50k' -c 'read -P 2 50k 100k' i"), 0);
	lab_free(&l);
}
END_TEST

START_TEST(list_says_what_qemu_img_says)
{
	struct img_snapshot *list;
	struct img *img;
	struct lab l;
	unsigned n;
	char out[2048];

	lab_new(&l, "cluster_size=4k", "8M");
	ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -c theirs i && qemu-img resize i 9M"), 0);
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_create(img, "unsere \xc3\xa4"), 0);
	ck_assert_int_eq(qcow2_snap_list(img, &list, &n), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_str_eq(list[0].id, "1");
	ck_assert_str_eq(list[0].name, "theirs");
	ck_assert_uint_eq(list[0].disk_size, MIB(8));
	ck_assert_uint_eq(list[0].vm_state_len, 0);
	ck_assert_str_eq(list[1].id, "2");
	ck_assert_str_eq(list[1].name, "unsere \xc3\xa4");
	ck_assert_uint_eq(list[1].disk_size, MIB(9));
	ck_assert_uint_le(list[1].date_ns - list[0].date_ns, 60000000000ull);
	free(list);
	lab_close(img);
	lab_out(&l, out, sizeof(out), "qemu-img snapshot -l i");
	ck_assert_ptr_nonnull(strstr(out, "unsere"));
	ck_assert_ptr_nonnull(strstr(out, "theirs"));
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_delete(img, "theirs"), 0);
	ck_assert_int_eq(qcow2_snap_delete(img, "unsere \xc3\xa4"), 0);
	ck_assert_int_eq(qcow2_snap_list(img, &list, &n), 0);
	ck_assert_uint_eq(n, 0);
	ck_assert_ptr_null(list);
	lab_close(img);
	lab_free(&l);
}
END_TEST

START_TEST(an_id_goes_before_a_name)
{
	struct lab l;
	struct img *img;

	lab_new(&l, "cluster_size=4k", "1M");
	img = lab_open(&l, true);
	lab_write(img, 0, 4096, 1);
	ck_assert_int_eq(qcow2_snap_create(img, "2"), 0);       /* id 1 */
	lab_write(img, 0, 4096, 2);
	ck_assert_int_eq(qcow2_snap_create(img, "1"), 0);       /* id 2 */
	ck_assert_int_eq(qcow2_snap_apply(img, "1"), 0);
	ck_assert(lab_holds(img, 0, 4096, 1));
	ck_assert_int_eq(qcow2_snap_delete(img, "2"), 0);       /* that named "1" */
	ck_assert_int_eq(qcow2_snap_apply(img, "2"), 0);
	ck_assert(lab_holds(img, 0, 4096, 1));
	ck_assert_int_eq(qcow2_snap_create(img, "x"), 0);       /* id 2 again */
	ck_assert_int_eq(qcow2_snap_delete(img, "2"), 0);
	ck_assert_int_eq(qcow2_snap_delete(img, "x"), -ENOENT);
	lab_close(img);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

static void refused(struct img *img, int (*call)(struct img *, const char *), const char *arg, int err, const char *words)
{
	struct capture c;
	int r;

	capture_start(&c, 2);
	r = call(img, arg);
	capture_stop(&c);
	ck_assert_int_eq(r, err);
	ck_assert_msg(strstr(c.text, words), "'%s' is not in '%s'", words, c.text);
	ck_assert_msg(strchr(c.text, '\n') == c.text + strlen(c.text) - 1, "not one line: '%s'", c.text);
}

START_TEST(refusals_are_one_sentence_and_change_nothing)
{
	char name[300] = { 0 };
	struct img *img;
	struct lab l;

	memset(name, 'n', 256);
	lab_new(&l, "cluster_size=4k,refcount_bits=1", "1M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 100k' i && cp i before"), 0);
	img = lab_open(&l, true);
	refused(img, qcow2_snap_create, "a", -EOVERFLOW, "refcount_bits=16");
	refused(img, qcow2_snap_create, "", -EINVAL, "1 to 255");
	refused(img, qcow2_snap_create, name, -EINVAL, "1 to 255");
	refused(img, qcow2_snap_apply, "a", -ENOENT, "'a'");
	refused(img, qcow2_snap_delete, "a", -ENOENT, "'a'");
	lab_close(img);
	lab_clean(&l);
	ck_assert_int_eq(lab_sh(&l, "qemu-img compare i before"), 0);
	img = lab_open(&l, false);
	refused(img, qcow2_snap_create, "a", -EROFS, "read-only");
	lab_close(img);
	lab_free(&l);

	lab_new(&l, "cluster_size=4k", "1M");
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_create(img, "a"), 0);
	refused(img, qcow2_snap_create, "a", -EEXIST, "'a'");
	lab_close(img);
	lab_put(&l, lab_refblock(&l), 0, 2);        /* what is free cannot be told any more */
	img = lab_open(&l, true);
	refused(img, qcow2_snap_create, "b", -EIO, "damaged");
	lab_close(img);
	lab_free(&l);
}
END_TEST

START_TEST(apply_brings_back_the_size)
{
	struct img_snapshot *list;
	struct img *img;
	struct lab l;
	unsigned n;

	lab_new(&l, "cluster_size=512", "300k");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 300k' i && qemu-img snapshot -c small i && "
				    "qemu-img resize i 5M"), 0);
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 2 4M 1M' i"), 0);
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_create(img, "large"), 0);
	ck_assert_int_eq(qcow2_snap_apply(img, "small"), 0);
	ck_assert_uint_eq(img->size, KIB(300));
	ck_assert(lab_holds(img, 0, KIB(300), 1));
	ck_assert_int_eq(qcow2_snap_apply(img, "large"), 0);
	ck_assert_uint_eq(img->size, MIB(5));
	ck_assert(lab_holds(img, MIB(4), MIB(1), 2));
	ck_assert(lab_holds(img, KIB(300), MIB(4) - KIB(300), 0));
	ck_assert_int_eq(qcow2_snap_list(img, &list, &n), 0);
	ck_assert_uint_eq(list[0].disk_size, KIB(300));
	ck_assert_uint_eq(list[1].disk_size, MIB(5));
	free(list);
	lab_close(img);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

START_TEST(rows_are_kept_byte_for_byte)
{
	uint8_t before[512], after[512];
	struct img *img;
	struct lab l;
	uint64_t at;

	lab_new(&l, "cluster_size=4k", "1M");
	ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -c theirs i"), 0);
	/* More extra data than anybody knows: 200 bytes, id "77", name "x". */
	at = lab_get(&l, 64, 8);
	lab_put(&l, at + 12, 2, 2);
	lab_put(&l, at + 14, 1, 2);
	lab_put(&l, at + 36, 200, 4);
	for (unsigned i = 16; i < 200; i++)
		lab_put(&l, at + 40 + i, i, 1);
	lab_put(&l, at + 240, '7' << 16 | '7' << 8 | 'x', 3);
	for (unsigned i = 0; i < 243; i++)
		before[i] = (uint8_t)lab_get(&l, at + i, 1);
	img = lab_open(&l, true);
	ck_assert_int_eq(qcow2_snap_create(img, "ours"), 0);
	lab_close(img);
	lab_clean(&l);
	ck_assert_uint_ne(lab_get(&l, 64, 8), at);
	at = lab_get(&l, 64, 8);
	for (unsigned i = 0; i < 243; i++)
		after[i] = (uint8_t)lab_get(&l, at + i, 1);
	ck_assert_mem_eq(before, after, 243);
	ck_assert_uint_eq(lab_get(&l, at + 248 + 56, 2), '7' << 8 | '8');
	lab_free(&l);
}
END_TEST

/* VM state lies behind the disk in the same tables: here a part of the disk that becomes VM state, and back. */
START_TEST(vm_state_survives)
{
	struct img *img;
	struct lab l;
	uint64_t row;

	lab_new(&l, "cluster_size=4k", "8M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 100k' -c 'write -P 5 4M 1M' i && "
				    "qemu-img snapshot -c state i"), 0);
	row = lab_get(&l, 64, 8);
	lab_put(&l, 24, MIB(4), 8);
	lab_put(&l, row + 32, MIB(1), 4);
	lab_put(&l, row + 40, MIB(1), 8);
	lab_put(&l, row + 48, MIB(4), 8);
	img = lab_open(&l, true);
	ck_assert_uint_eq(img->size, MIB(4));
	lab_write(img, 0, KIB(100), 2);
	ck_assert_int_eq(qcow2_snap_create(img, "more"), 0);
	ck_assert_int_eq(qcow2_snap_apply(img, "state"), 0);
	ck_assert(lab_holds(img, 0, KIB(100), 1));
	ck_assert_int_eq(qcow2_snap_delete(img, "more"), 0);
	lab_write(img, 0, KIB(100), 3);
	lab_close(img);
	lab_clean(&l);
	lab_put(&l, 24, MIB(8), 8);
	lab_put(&l, lab_get(&l, 64, 8) + 48, MIB(8), 8);
	ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -a state i && "
				    "qemu-io -t unsafe -c 'read -P 1 0 100k' -c 'read -P 5 4M 1M' i"), 0);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

START_TEST(compressed_clusters_and_backing_files)
{
	static const char *const how[] = { "compression_type=zlib", "compression_type=zstd,cluster_size=16k,extended_l2=on",
					   "compression_type=zlib,cluster_size=512" };

	for (size_t k = 0; k < NELEM(how); k++) {
		struct img *img;
		struct lab l;

		lab_new(&l, "cluster_size=64k", "2M");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 5 0 1M' -c 'write -P 9 1100k 300k' i"), 0);
		ck_assert_int_eq(lab_sh(&l, "mv i base && qemu-img convert -c -O qcow2 -o %s base z && "
					"qemu-img create -f qcow2 -b z -F qcow2 i 3M && mv z zz && cp zz z", how[k]), 0);
		create(&l, "a");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 10k 2M' i"), 0);
		apply(&l, "a");
		ck_assert_int_eq(lab_sh(&l, "qemu-img resize i 2M || qemu-img compare i base"), 0);
		ck_assert_int_eq(lab_sh(&l, "rm i && cp zz i"), 0);
		create(&l, "a");
		img = lab_open(&l, true);
		lab_write(img, KIB(5), MIB(1), 6);
		ck_assert_int_eq(qcow2_snap_create(img, "b"), 0);
		lab_close(img);
		lab_clean(&l);
		apply(&l, "a");
		ck_assert_int_eq(lab_sh(&l, "qemu-img compare i base"), 0);
		apply(&l, "b");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'read -P 5 0 5k' -c 'read -P 6 5k 1M' i"), 0);
		delete(&l, "a");
		ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'read -P 5 0 5k' -c 'read -P 6 5k 1M' i"), 0);
		lab_free(&l);
	}
}
END_TEST

/* The table of a hostile image: whatever it says, a refusal. */
START_TEST(damaged_tables_are_refused)
{
	static const struct { unsigned off, bytes; uint64_t v; } bad[] = {
		{ 36, 4, 0xffffffff }, { 36, 4, 0x4000000 }, { 12, 2, 0xffff }, { 14, 2, 0xffff },
	};
	struct img_snapshot *list;
	struct img *img;
	struct lab l;
	unsigned n;

	for (size_t i = 0; i < NELEM(bad); i++) {
		lab_new(&l, "cluster_size=512", "1M");
		ck_assert_int_eq(lab_sh(&l, "qemu-img snapshot -c theirs i"), 0);
		lab_put(&l, lab_get(&l, 64, 8) + bad[i].off, bad[i].v, bad[i].bytes);
		img = lab_open_check(&l, true);
		ck_assert_int_eq(qcow2_snap_list(img, &list, &n), -EINVAL);
		ck_assert_ptr_null(list);
		ck_assert_int_eq(qcow2_snap_create(img, "x"), -EINVAL);
		lab_close(img);
		lab_free(&l);
	}
	/* An L1 table outside the file: the rest of the image works, the snapshot can only go. */
	lab_new(&l, "cluster_size=512", "1M");
	ck_assert_int_eq(lab_sh(&l, "qemu-io -t unsafe -c 'write -P 1 0 1M' i && qemu-img snapshot -c theirs i"), 0);
	lab_put(&l, lab_get(&l, 64, 8), GIB(1), 8);
	img = lab_open_check(&l, true);
	ck_assert_int_eq(qcow2_snap_apply(img, "theirs"), -EIO);
	ck_assert_int_eq(qcow2_snap_create(img, "x"), -EIO);
	ck_assert(lab_holds(img, 0, MIB(1), 1));
	ck_assert_int_eq(qcow2_snap_delete(img, "theirs"), 0);
	ck_assert(lab_holds(img, 0, MIB(1), 1));
	ck_assert_int_eq(qcow2_snap_create(img, "x"), 0);
	lab_close(img);
	lab_clean(&l);
	lab_free(&l);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/snapshot", ours_and_qemus_in_turns, an_image_in_use_goes_on, list_says_what_qemu_img_says,
	  an_id_goes_before_a_name, refusals_are_one_sentence_and_change_nothing, apply_brings_back_the_size,
	  rows_are_kept_byte_for_byte, vm_state_survives, compressed_clusters_and_backing_files, damaged_tables_are_refused)
