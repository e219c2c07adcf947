/*
 * Where things are: how long the answers are, when they come at once, and what damaged tables do.
 */
#include <errno.h>

#include "devices/block/qcow2/state.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/unit.h"

#define CLUSTER 4096u

static struct powercut *new_image(const struct img_create *c)
{
	struct powercut *pc = powercut_new(NULL, 0);
	struct bfile *f = powercut_open(pc, "new", true);

	ck_assert_int_eq(qcow2_format(f, c), 0);
	bfile_close(f);
	return pc;
}

static struct img *open_image(struct powercut *pc, bool write)
{
	int err;
	struct img *img = img_open_file(powercut_open(pc, "i.qcow2", write), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	return img;
}

static struct img_seg at(struct img *img, uint64_t off, uint64_t len)
{
	struct img_seg seg;

	ck_assert_int_eq(img_map(img, off, len, 0, &seg), 0);
	return seg;
}

START_TEST(answers_are_as_long_as_can_be)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(8), .cluster_size = CLUSTER });
	struct img *img = open_image(pc, true);
	uint8_t *b = calloc(1, MIB(1));
	struct img_seg seg = at(img, 5, MIB(7));

	ck_assert(seg.kind == IMG_ZERO && seg.len == MIB(7));
	/* One write of 1 MiB on a fresh image is one piece of the file. */
	ck_assert_int_eq(img_write_buf(img, 0, b, MIB(1)), 0);
	seg = at(img, 1000, MIB(8) - 1000);
	ck_assert(seg.kind == IMG_DATA && seg.in_place && seg.len == MIB(1) - 1000 && seg.file == img->file);
	ck_assert_uint_eq((seg.file_off - 1000) % CLUSTER, 0);
	ck_assert_int_eq(img_zero(img, KIB(64), KIB(64), 0), 0);
	ck_assert_uint_eq(at(img, 0, MIB(1)).len, KIB(64));
	seg = at(img, KIB(64), MIB(1));
	ck_assert(seg.kind == IMG_ZERO && !seg.in_place && seg.len == KIB(64));
	ck_assert_int_eq(img_close(img), 0);
	img = open_image(pc, false);
	seg = at(img, 0, 10);
	ck_assert(seg.kind == IMG_DATA && !seg.in_place && seg.len == 10);
	img_close(img);
	powercut_free(pc);
	free(b);
}
END_TEST

START_TEST(subclusters_of_neighbours_are_one_answer)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 16384, .extended_l2 = true });
	struct img *img = open_image(pc, true);
	uint8_t b[32768] = { 1 };
	struct img_seg seg;

	ck_assert_int_eq(img_write_buf(img, 16384 - 512, b, 16384 + 1024), 0);
	seg = at(img, 16384 - 512, KIB(64));
	ck_assert(seg.kind == IMG_DATA && seg.len == 16384 + 1024);
	ck_assert_uint_eq(at(img, 0, KIB(64)).len, 16384 - 512);
	ck_assert(at(img, 0, KIB(64)).kind == IMG_ZERO);
	ck_assert_int_eq(img_zero(img, 16384 + 512, 512, 0), 0);
	ck_assert_uint_eq(at(img, 16384 - 512, KIB(64)).len, 1024);
	ck_assert(at(img, 16384 + 512, 512).kind == IMG_ZERO);
	img_close(img);
	powercut_free(pc);
}
END_TEST

START_TEST(nowait_answers_from_memory_only)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(8), .cluster_size = CLUSTER });
	struct img *img = open_image(pc, true);
	struct img_seg seg;

	ck_assert_int_eq(img_map(img, 0, 100, IMG_NOWAIT, &seg), 0);    /* there is no L2 table */
	ck_assert_int_eq(img_write_buf(img, 0, "x", 1), 0);
	ck_assert_int_eq(img_close(img), 0);
	img = open_image(pc, true);
	ck_assert_int_eq(img_map(img, 0, 100, IMG_NOWAIT, &seg), -EAGAIN);
	ck_assert_int_eq(img_map(img, 0, 100, 0, &seg), 0);
	ck_assert_int_eq(img_map(img, 0, 100, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.kind == IMG_DATA && seg.in_place);
	pthread_mutex_lock(&qcow2_of(img)->lock);
	ck_assert_int_eq(img_map(img, 0, 100, IMG_NOWAIT, &seg), -EAGAIN);
	pthread_mutex_unlock(&qcow2_of(img)->lock);
	img_close(img);
	powercut_free(pc);
}
END_TEST

/* --- damage --- */

struct places {
	uint64_t l1, l2, data, refblock, reftable;
};

static struct powercut *used_image(unsigned version, struct places *p)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = CLUSTER, .version = version });
	struct img *img = open_image(pc, true);
	const struct qcow2 *q = qcow2_of(img);

	ck_assert_int_eq(img_write_buf(img, 0, "data", 4), 0);
	ck_assert_int_eq(img_write_buf(img, CLUSTER, "more", 4), 0);
	*p = (struct places){ q->h.l1_off, q->l1[0] & QCOW2_OFFSET_MASK, at(img, 0, 1).file_off, q->reftable[0], q->h.reftable_off };
	ck_assert_int_eq(img_close(img), 0);
	return pc;
}

/* With v at `where` a read and then a write give -EIO, and something is said; the second cluster reads if `rest`. */
static void damaged(unsigned version, uint64_t (*where)(const struct places *), uint64_t (*v)(const struct places *), bool
		reads, bool rest,
		    const char *words)
{
	struct places p;
	struct powercut *pc = used_image(version, &p);
	struct bfile *f = powercut_open(pc, "put", true);
	struct capture *c = calloc(1, sizeof(*c));
	uint8_t b[8];

	put_be64(b, v(&p));
	ck_assert_int_eq(bfile_write(f, where(&p), b, 8), 0);
	bfile_close(f);
	struct img *img = open_image(pc, true);

	capture_start(c, STDERR_FILENO);
	const int r = img_read_buf(img, 0, b, 4), r2 = img_read_buf(img, CLUSTER, b, 4);
	const int w = img_write_buf(img, KIB(512), "new", 3), w0 = img_write_buf(img, 0, "new", 3);

	ck_assert_int_eq(img_close(img) == 0, w == 0);
	const char *text = capture_stop(c);

	ck_assert_msg(r == (reads ? 0 : -EIO), "%s: %d %s", words, r, text);
	ck_assert_int_eq(r2, rest ? 0 : -EIO);
	ck_assert_int_eq(w0, -EIO);
	ck_assert_msg(strstr(text, words) && strstr(text, "i.qcow2"), "'%s' is not in: %s", words, text);
	powercut_free(pc);
	free(c);
}

static uint64_t l1_entry(const struct places *p) { return p->l1; }
static uint64_t l2_entry(const struct places *p) { return p->l2; }
static uint64_t ref_entry(const struct places *p) { return p->reftable; }
static uint64_t refcounts(const struct places *p) { return p->refblock; }
static uint64_t odd(const struct places *p) { return QCOW2_COPIED | 512; }
static uint64_t far_away(const struct places *p) { return QCOW2_COPIED | GIB(64); }
static uint64_t far_block(const struct places *p) { return GIB(64); }
static uint64_t header(const struct places *p) { return p->l1 | QCOW2_COPIED; }
static uint64_t is_l2(const struct places *p) { return p->l2 | QCOW2_COPIED; }
static uint64_t is_refblock(const struct places *p) { return p->refblock | QCOW2_COPIED; }
static uint64_t is_l1(const struct places *p) { return p->l1; }
static uint64_t zero_bit(const struct places *p) { return p->data | QCOW2_COPIED | QCOW2_ZERO; }
static uint64_t nothing(const struct places *p) { return 0; }

START_TEST(damaged_tables_are_errors)
{
	damaged(3, l2_entry, odd, false, false, "not at a cluster's start");
	damaged(3, l2_entry, header, false, false, "L1 table");
	damaged(3, l2_entry, is_l2, false, false, "L2 table");
	damaged(3, l2_entry, is_refblock, false, false, "refcount block");
	damaged(2, l2_entry, zero_bit, false, false, "version 2 does not have");
	damaged(3, l2_entry, far_away, false, true, "has been cut off");
	damaged(3, l1_entry, odd, false, false, "L2 table 0 cannot lie at");
	damaged(3, l1_entry, far_away, false, false, "L2 table 0 cannot lie at");
	damaged(3, l1_entry, is_refblock, false, false, "L2 table 0 cannot lie at");
	damaged(3, ref_entry, far_block, true, true, "refcount block 0 cannot lie at");
	damaged(3, ref_entry, is_l1, true, true, "refcount block 0 lies in the L1 table");
	damaged(3, refcounts, nothing, true, true, "counts as free");
}
END_TEST

UNIT_MAIN("devices/block/qcow2/cluster", answers_are_as_long_as_can_be, subclusters_of_neighbours_are_one_answer,
	  nowait_answers_from_memory_only, damaged_tables_are_errors)
