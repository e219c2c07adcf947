/* bzImage headers, good and spoilt.  Files are exactly as long as they claim, so that sanitizers see overruns. */
#include <errno.h>

#include "tests/unit/loaders/x86image.h"
#include "tests/unit/unit.h"

static int probe(const uint8_t *file, size_t len, struct image *im)
{
	uint8_t *copy = malloc(len ? len : 1);

	memcpy(copy, file, len);
	memset(im, 0, sizeof(*im));
	im->path = "test";
	im->data = copy;
	im->len = len;
	int r = bzimage_probe(im);

	free(copy);
	return r;
}

START_TEST(good)
{
	uint8_t f[BZ_LEN];
	struct image im;

	bz_make(f);
	ck_assert_int_eq(probe(f, sizeof(f), &im), 1);
	ck_assert_int_eq(im.kind, IMAGE_BZIMAGE);
	ck_assert_uint_eq(im.nseg, 1);
	ck_assert_uint_eq(im.seg[0].gpa, BZ_PREF);
	ck_assert_uint_eq(im.seg[0].len, BZ_KERNEL);
	ck_assert_uint_eq(im.seg[0].mem_len, 0x8000);
	ck_assert_int_eq(im.seg[0].data - im.data, BZ_SETUP);
	/* 0 setup sectors stand for 4; a signature may follow the kernel. */
	f[HDR_SETUP_SECTS] = 0;
	put_le32(f + HDR_SYSSIZE, BZ_KERNEL / 16 - 8);
	ck_assert_int_eq(probe(f, sizeof(f), &im), 1);
	ck_assert_uint_eq(im.seg[0].len, BZ_KERNEL - 128);
}
END_TEST

START_TEST(not_mine)
{
	uint8_t f[BZ_LEN];
	struct image im;

	bz_make(f);
	ck_assert_int_eq(probe(f, 0, &im), 0);
	ck_assert_int_eq(probe(f, HDR_VERSION, &im), 0);
	f[HDR_MAGIC] ^= 1;
	ck_assert_int_eq(probe(f, sizeof(f), &im), 0);
	bz_make(f);
	f[HDR_BOOT_FLAG] = 0;
	ck_assert_int_eq(probe(f, sizeof(f), &im), 0);
}
END_TEST

START_TEST(refused)
{
	uint8_t f[BZ_LEN];
	struct image im;

	bz_make(f);
	put_le16(f + HDR_VERSION, 0x20b);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	bz_make(f);
	put_le16(f + HDR_XLOADFLAGS, 0);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	bz_make(f);
	put_le32(f + HDR_INIT_SIZE, 0xffffffff);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	bz_make(f);
	put_le32(f + HDR_SYSSIZE, 0);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
	put_le32(f + HDR_SYSSIZE, 0xffffffff);
	ck_assert_int_eq(probe(f, sizeof(f), &im), -ENOEXEC);
}
END_TEST

START_TEST(every_truncation)
{
	uint8_t f[BZ_LEN];
	struct image im;

	bz_make(f);
	for (size_t len = 0; len < sizeof(f); len += len < 700 ? 1 : 13) {
		int r = probe(f, len, &im);

		/* The last paragraph may be short. */
		if (len + 16 <= sizeof(f))
			ck_assert_int_le(r, 0);
	}
}
END_TEST

UNIT_MAIN("loaders/bzimage", good, not_mine, refused, every_truncation)
