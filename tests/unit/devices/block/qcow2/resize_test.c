/*
 * Larger and smaller disks: what comes into view is zeroes, at any cut the image is sound.
 */
#include <errno.h>

#include "devices/block/qcow2/state.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/devices/block/qcow2/oracle.h"

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
	struct img *img = img_open_file(powercut_open(pc, "image", write), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	return img;
}

static bool all(struct img *img, uint64_t from, uint64_t to, uint8_t what)
{
	uint8_t b[4096];

	for (; from < to; from += sizeof(b)) {
		const size_t n = MIN(to - from, sizeof(b));

		ck_assert_int_eq(img_read_buf(img, from, b, n), 0);
		for (size_t i = 0; i < n; i++)
			if (b[i] != what)
				return false;
	}
	return true;
}

static void sound(struct img *img)
{
	struct img_check res = { 0 };

	ck_assert_int_eq(img->drv->check(img, 0, &res), 0);
	ck_assert_uint_eq(res.corruptions + res.errors, 0);
}

/* 64 KiB of data, cut to 10 KiB, then far larger: only the first 10 KiB are left. */
static void shrink_and_grow(const struct img_create *c)
{
	struct powercut *pc = new_image(c);
	struct img *img = open_image(pc, true);
	uint8_t *b = malloc(KIB(64));
	size_t from;

	memset(b, 7, KIB(64));
	ck_assert_int_eq(img_write_buf(img, 0, b, KIB(64)), 0);
	ck_assert_int_eq(img_flush(img), 0);
	from = powercut_ops(pc);
	ck_assert_int_eq(img->drv->resize(img, KIB(10)), 0);
	ck_assert_uint_eq(img->size, KIB(10));
	ck_assert_int_eq(img->drv->resize(img, MIB(20)), 0);
	ck_assert(all(img, 0, KIB(10), 7) && all(img, KIB(10), KIB(300), 0));
	sound(img);
	ck_assert_int_eq(img_write_buf(img, MIB(20) - 1000, b, 1000), 0);
	ck_assert_int_eq(img_close(img), 0);
	for (size_t cut = from; cut <= powercut_ops(pc); cut++)
		for (uint64_t seed = 0; seed < 4; seed++) {
			struct powercut *after = powercut_after(pc, cut, seed);

			img = open_image(after, false);
			sound(img);
			ck_assert(all(img, 0, KIB(10), 7));
			if (img->size > KIB(64))
				ck_assert(all(img, KIB(10), KIB(300), 0));
			else
				ck_assert(img->size == KIB(10) || img->size == KIB(64));
			img_close(img);
			powercut_free(after);
		}
	powercut_free(pc);
	free(b);
}

START_TEST(shrunk_and_grown_at_any_cut)
{
	shrink_and_grow(&(struct img_create){ .path = "p", .size = KIB(64), .cluster_size = 512 });
	shrink_and_grow(&(struct img_create){ .path = "p", .size = KIB(64), .cluster_size = 1024, .refcount_bits = 64 });
	shrink_and_grow(&(struct img_create){ .path = "p", .size = KIB(64), .cluster_size = 4096, .version = 2 });
	shrink_and_grow(&(struct img_create){ .path = "p", .size = KIB(64), .cluster_size = 16384, .extended_l2 = true });
}
END_TEST

START_TEST(growing_hides_what_a_longer_backing_file_holds)
{
	static const char *const how[] = { "compat=1.1", "compat=0.10", "extended_l2=on", "cluster_size=512" };
	struct oracle o;

	if (!oracle_there())
		return;
	oracle_start(&o);
	oracle_run(&o, "qemu-img create -q -f raw base 300k && qemu-io -f raw -c 'write -P 7 0 300k' base");
	for (unsigned i = 0; i < NELEM(how); i++) {
		oracle_run(&o, "qemu-img create -q -f qcow2 -F raw -b base -o %s a 100k", how[i]);
		struct img *img = oracle_open(&o, "a", true, 0);

		ck_assert_int_eq(img->drv->resize(img, MIB(1)), 0);
		ck_assert(all(img, 0, KIB(100), 7) && all(img, KIB(100), MIB(1), 0));
		ck_assert_int_eq(img_close(img), 0);
		oracle_run(&o, "qemu-img check -q a && qemu-io -c 'read -P 7 0 100k' -c 'read -P 0 100k 924k' a && qemu-img info a | grep "
				"'1048576 bytes'");
	}
	oracle_end(&o);
}
END_TEST

START_TEST(refusals)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512 });
	struct img *img = open_image(pc, true);
	struct capture *c = calloc(1, sizeof(*c));

	capture_start(c, STDERR_FILENO);
	ck_assert_int_eq(img->drv->resize(img, GIB(1024)), -EFBIG);
	ck_assert_int_eq(img->drv->snap_create(img, "s"), 0);
	ck_assert_int_eq(img->drv->resize(img, KIB(512)), -ENOTSUP);
	const char *text = capture_stop(c);

	ck_assert_ptr_nonnull(strstr(text, "convert it to larger clusters"));
	ck_assert_ptr_nonnull(strstr(text, "delete them first"));
	ck_assert_uint_eq(img->size, MIB(1));
	ck_assert_int_eq(img->drv->resize(img, MIB(2)), 0);
	sound(img);
	ck_assert_int_eq(img_close(img), 0);
	powercut_free(pc);
	free(c);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/resize", shrunk_and_grown_at_any_cut, growing_hides_what_a_longer_backing_file_holds, refusals)
