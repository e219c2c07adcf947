#include <errno.h>
#include <sys/mman.h>
#include <zlib.h>

#include "common/image.h"
#include "loaders/loaders.h"
#include "tests/unit/unit.h"

/* gzip of `len` bytes of `fill`, made piece by piece; the caller frees it. */
static uint8_t *gzip_of(uint8_t fill, size_t len, size_t *out_len)
{
	static uint8_t piece[1 << 16];
	size_t cap = len / 500 + 4096;
	uint8_t *out = malloc(cap);
	z_stream z = { .next_out = out, .avail_out = (uInt)cap };
	memset(piece, fill, sizeof(piece));
	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	do {
		z.next_in = piece;
		z.avail_in = (uInt)MIN(len, sizeof(piece));
		len -= z.avail_in;
		ck_assert_int_ge(deflate(&z, len ? Z_NO_FLUSH : Z_FINISH), Z_OK);
		ck_assert_uint_gt(z.avail_out, 0);
	} while (len);
	*out_len = z.total_out;
	deflateEnd(&z);
	return out;
}

START_TEST(inflates_to_the_last_byte)
{
	size_t len, out_len;
	uint8_t *in = gzip_of('x', 100001, &len), *out;
	ck_assert_int_eq(gunzip("k", in, len, &out, &out_len), 0);
	ck_assert_uint_eq(out_len, 100001);
	for (size_t i = 0; i < out_len; i++)
		ck_assert_uint_eq(out[i], 'x');
	munmap(out, out_len);
	free(in);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	size_t len, out_len;
	uint8_t *in = gzip_of('x', 1000, &len), *out;
	for (size_t n = 0; n < len; n++)
		ck_assert_int_eq(gunzip("k", in, n, &out, &out_len), -EINVAL);
	free(in);
}
END_TEST

START_TEST(damage_is_refused_and_padding_ignored)
{
	size_t len, out_len;
	uint8_t *in = gzip_of('x', 1000, &len), *out;
	uint8_t *padded = calloc(1, len + 512);
	memcpy(padded, in, len);
	ck_assert_int_eq(gunzip("k", padded, len + 512, &out, &out_len), 0);
	ck_assert_uint_eq(out_len, 1000);
	munmap(out, out_len);
	in[len - 8] ^= 1;       /* CRC */
	ck_assert_int_eq(gunzip("k", in, len, &out, &out_len), -EINVAL);
	in[0] = 0;
	ck_assert_int_eq(gunzip("k", in, len, &out, &out_len), -EINVAL);
	free(padded);
	free(in);
}
END_TEST

START_TEST(bomb_is_refused_and_empty_file_too)
{
	size_t len, out_len;
	uint8_t *in = gzip_of(0, GUNZIP_MAX + 1, &len), *out;
	ck_assert_int_eq(gunzip("bomb", in, len, &out, &out_len), -EFBIG);
	free(in);
	in = gzip_of(0, 0, &len);
	ck_assert_int_eq(gunzip("empty", in, len, &out, &out_len), -EINVAL);
	free(in);
}
END_TEST

START_TEST(image_data_is_replaced)
{
	struct image img = { .path = "k" };
	img.data = gzip_of('k', 5000, &img.len);
	ck_assert_int_eq(image_gunzip(&img), 0);
	ck_assert_uint_eq(img.len, 5000);
	ck_assert_uint_eq(img.map_len, 5000);
	ck_assert_uint_eq(img.data[4999], 'k');
	munmap(img.data, img.map_len);
}
END_TEST

UNIT_MAIN("loaders/gzip", inflates_to_the_last_byte, every_truncation_is_refused, damage_is_refused_and_padding_ignored,
	  bomb_is_refused_and_empty_file_too, image_data_is_replaced)
