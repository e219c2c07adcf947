#include <errno.h>
#include <sys/mman.h>
#include <zlib.h>

#include "common/image.h"
#include "loaders/loaders.h"
#include "tests/unit/unit.h"

#define LEN 512

/* A plausible Image of LEN bytes on the heap. */
static struct image image_new(void)
{
	struct image img = { .path = "Image", .data = calloc(1, LEN), .len = LEN };
	put_le64(img.data + 8, 0x1000);
	put_le64(img.data + 16, 0x200000);
	put_le32(img.data + 56, 0x644d5241);
	return img;
}

static void image_free(struct image *img)
{
	if (img->map_len)
		munmap(img->data, img->map_len);
	else
		free(img->data);
}

START_TEST(header_fields_are_read)
{
	struct image img = image_new();
	ck_assert_int_eq(arm64_image_probe(&img), 1);
	ck_assert_int_eq(img.kind, IMAGE_ARM64);
	ck_assert_uint_eq(img.text_offset, 0x1000);
	ck_assert_uint_eq(img.image_size, 0x200000);
	ck_assert_uint_eq(img.nseg, 1);
	ck_assert_uint_eq(img.seg[0].len, LEN);
	image_free(&img);
}
END_TEST

START_TEST(image_size_zero_means_the_old_offset)
{
	struct image img = image_new();
	put_le64(img.data + 16, 0);
	ck_assert_int_eq(arm64_image_probe(&img), 1);
	ck_assert_uint_eq(img.text_offset, 0x80000);
	image_free(&img);
}
END_TEST

START_TEST(others_are_left_alone)
{
	struct image img = image_new();
	img.data[56] ^= 1;
	ck_assert_int_eq(arm64_image_probe(&img), 0);
	img.data[56] ^= 1;
	for (img.len = 0; img.len < 64; img.len++)
		ck_assert_int_eq(arm64_image_probe(&img), 0);
	img.len = 64;
	ck_assert_int_eq(arm64_image_probe(&img), 1);
	image_free(&img);
}
END_TEST

START_TEST(odd_text_offset_is_refused)
{
	struct image img = image_new();
	put_le64(img.data + 8, 0x1002);
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	image_free(&img);
}
END_TEST

/* Adds a PE header whose one section ends at byte `end`. */
static void add_pe(struct image *img, uint32_t end)
{
	memcpy(img->data, "MZ", 2);
	put_le32(img->data + 60, 64);
	memcpy(img->data + 64, "PE\0\0", 4);
	put_le16(img->data + 64 + 6, 1);
	put_le16(img->data + 64 + 20, 16);
	put_le32(img->data + 64 + 24 + 16 + 16, end - 0x100);
	put_le32(img->data + 64 + 24 + 16 + 20, 0x100);
}

START_TEST(truncation_shows_in_the_pe_header)
{
	struct image img = image_new();
	add_pe(&img, LEN);
	ck_assert_int_eq(arm64_image_probe(&img), 1);
	img.len = LEN - 1;
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	image_free(&img);
}
END_TEST

START_TEST(wild_pe_headers_are_harmless)
{
	static const uint32_t where[] = { 0, 60, LEN - 24, LEN - 23, LEN, 0x7fffffff, UINT32_MAX };
	for (size_t i = 0; i < NELEM(where); i++) {
		struct image img = image_new();
		memcpy(img.data, "MZ", 2);
		put_le32(img.data + 60, where[i]);
		if (where[i] <= LEN - 24) {
			memcpy(img.data + where[i], "PE\0\0", 4);
			put_le16(img.data + where[i] + 6, 0xffff);
		}
		arm64_image_probe(&img);
		image_free(&img);
	}
}
END_TEST

/* An EFI wrapping of an Image (or of anything else). */
static struct image zboot_new(const uint8_t *payload, size_t len, const char *comp)
{
	struct image img = { .path = "vmlinuz.efi", .data = calloc(1, 4096), .len = 4096 };
	z_stream z = { .next_in = (Bytef *)payload, .avail_in = (uInt)len, .next_out = img.data + 1024, .avail_out = 2048 };
	ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	memcpy(img.data, "MZ\0\0zimg", 8);
	put_le32(img.data + 8, 1024);
	put_le32(img.data + 12, (uint32_t)z.total_out);
	strcpy((char *)img.data + 24, comp);
	deflateEnd(&z);
	return img;
}

START_TEST(efi_wrapping_is_taken_off)
{
	struct image inner = image_new(), img = zboot_new(inner.data, inner.len, "gzip");
	ck_assert_int_eq(arm64_image_probe(&img), 1);
	ck_assert_uint_eq(img.len, LEN);
	ck_assert_uint_eq(img.text_offset, 0x1000);
	image_free(&img);

	img = zboot_new(inner.data, inner.len, "zstd");
	ck_assert_int_eq(arm64_image_probe(&img), -ENOTSUP);
	image_free(&img);
	img = zboot_new(inner.data, inner.len, "gzip");
	put_le32(img.data + 12, 4096);
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	put_le32(img.data + 12, UINT32_MAX);
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	put_le32(img.data + 8, UINT32_MAX);
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	image_free(&img);
	inner.data[56] = 0;
	img = zboot_new(inner.data, inner.len, "gzip");
	ck_assert_int_eq(arm64_image_probe(&img), -EINVAL);
	image_free(&img);
	image_free(&inner);
}
END_TEST

UNIT_MAIN("loaders/arm64_image", header_fields_are_read, image_size_zero_means_the_old_offset, others_are_left_alone,
	  odd_text_offset_is_refused, truncation_shows_in_the_pe_header, wild_pe_headers_are_harmless, efi_wrapping_is_taken_off)
