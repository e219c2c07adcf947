/* VHD: dynamic and fixed images, both ways with QEMU's, sizes, refusals, power cuts. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "tests/unit/devices/block/oracle.h"

START_TEST(dynamic_images)
{
	oracle_format("vpc", "force_size=on", "dynamic", 5 * 1024 * 1024 + 777, false);
	oracle_format("vpc", NULL, NULL, 7 * 1024 * 1024, false);
}
END_TEST

START_TEST(fixed_images)
{
	oracle_format("vpc", "subformat=fixed,force_size=on", "fixed", 4 * 1024 * 1024 + 1024, false);
	oracle_format("vpc", "subformat=fixed", "fixed", 3 * 1024 * 1024, false);
}
END_TEST

/* Sizes as QEMU sees them, made by either. */
START_TEST(sizes)
{
	static const uint64_t mib[] = { 1, 10, 127, 504, 1000, 10000, 130557, 200000, 2000000 };
	struct oracle o;
	oracle_init(&o, 1, 1);
	for (size_t i = 0; i < NELEM(mib) * 2; i++) {
		const uint64_t size = (mib[i / 2] << 20) + (i & 1 ? 512 : 0);
		oracle_must(&o, "qemu-img create -q -f vpc theirs %llu && qemu-img info --output=json theirs | grep virtual-size >size",
			    (unsigned long long)size);
		struct img *img = oracle_open(&o, "theirs", NULL, false);
		oracle_must(&o, "grep -q ' %llu,' size", (unsigned long long)img->size);
		img_close(img);
		const struct img_create c = { .path = oracle_path(&o, "ours"), .format = "vpc", .size = size, .overwrite = true };
		ck_assert_int_eq(img_create(&c), 0);
		oracle_must(&o, "qemu-img info --output=json ours | grep -q 'virtual-size.* %llu,'", (unsigned long long)size);
		img = oracle_open(&o, "ours", "vhd", false);
		ck_assert_uint_eq(img->size, size);
		img_close(img);
	}
	oracle_fini(&o);
}
END_TEST

/* Changes a byte of the file; the sum of `len` bytes at `at`, which is at sum_at, is made right again. */
static void patch(struct oracle *o, long off, uint8_t value, long at, unsigned len, long sum_at)
{
	uint8_t b[1024];
	uint32_t sum = 0;
	FILE *f = fopen(oracle_path(o, "x"), "r+");
	ck_assert(f && fseek(f, off, SEEK_SET) == 0 && fwrite(&value, 1, 1, f) == 1);
	if (len) {
		ck_assert(fseek(f, at, SEEK_SET) == 0 && fread(b, 1, len, f) == len);
		put_be32(b + sum_at, 0);
		for (unsigned i = 0; i < len; i++)
			sum += b[i];
		put_be32(b + sum_at, ~sum);
		ck_assert(fseek(f, at, SEEK_SET) == 0 && fwrite(b, 1, len, f) == len);
	}
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(refusals)
{
	struct oracle o;
	long end = 0;
	oracle_init(&o, 1, 1);
	for (unsigned i = 0; i < 12; i++) {
		oracle_must(&o, "qemu-img create -q -f vpc -o force_size=on x 10M");
		end = 512 * 4;                          /* footer, header 2, BAT */
		switch (i) {
		case 0:
			patch(&o, end + 63, 4, end, 512, 64);
			oracle_refused(&o, "x", "vpc", false, "differencing");
			break;
		case 1:
			patch(&o, end + 63, 9, end, 512, 64);
			oracle_refused(&o, "x", "vpc", false, "type 9");
			break;
		case 2:
			patch(&o, end + 13, 2, end, 512, 64);
			oracle_refused(&o, "x", "vpc", false, "version 2");
			break;
		case 3:
			patch(&o, 512 + 34, 3, 512, 1024, 36);
			oracle_refused(&o, "x", "vpc", false, "damaged");         /* a block size */
			break;
		case 4:
			patch(&o, 512 + 31, 2, 512, 1024, 36);
			oracle_refused(&o, "x", "vpc", false, "too few");
			break;
		case 5:
			patch(&o, 512 + 100, 2, 0, 0, 0);
			oracle_refused(&o, "x", "vpc", false, "checksum");
			break;
		case 6:
			patch(&o, 512, 'x', 512, 1024, 36);
			oracle_refused(&o, "x", "vpc", false, "no dynamic header");
			break;
		case 7:
			patch(&o, 1536, 0, 0, 0, 0);
			oracle_refused(&o, "x", "vpc", false, "truncated");
			break;
		case 8:
			patch(&o, end + 200, 1, 0, 0, 0);
			patch(&o, 200, 1, 0, 0, 0);
			oracle_refused(&o, "x", "vpc", false, "checksum");
			break;
		case 9:
			oracle_must(&o, "truncate -s 300 x");
			oracle_refused(&o, "x", "vpc", false, "too short");
			break;
		case 10:
			patch(&o, 512 + 23, 0, 512, 1024, 36);
			patch(&o, 512 + 22, 2, 512, 1024, 36);
			oracle_refused(&o, "x", "vpc", false, "lie in each other");
			break;
		default:
			oracle_must(&o, "qemu-img create -q -f vpc -o subformat=fixed,force_size=on x 10M");
			oracle_must(&o, "tail -c 512 x >y && truncate -s 1M x && cat y >>x");
			oracle_refused(&o, "x", "vpc", false, "larger than the file");
		}
	}
	oracle_fini(&o);
}
END_TEST

/* The footer at the end is lost: its copy counts, and the next writer puts it back. */
START_TEST(lost_footer)
{
	struct oracle o;
	oracle_init(&o, 8 << 20, 5);
	oracle_fill(&o);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O vpc -o force_size=on raw x && truncate -s -512 x && truncate -s +700000 x");
	struct img *img = oracle_open(&o, "x", NULL, false);
	oracle_verify(&o, img);
	img_close(img);
	oracle_must(&o, "! tail -c 512 x | grep -q conectix");
	img = oracle_open(&o, "x", NULL, true);
	oracle_verify(&o, img);
	ck_assert_int_eq(img_close(img), 0);
	oracle_must(&o, "tail -c 512 x | grep -q conectix");
	oracle_must(&o, "qemu-img compare -f raw -F vpc raw x");
	oracle_fini(&o);
}
END_TEST

/* Blocks of which only some sectors are marked as written: the first write marks all. */
START_TEST(sector_bitmaps)
{
	struct oracle o;
	struct img_seg seg;
	oracle_init(&o, 4 << 20, 5);
	memset(o.disk, 3, 1024);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O vpc -o force_size=on raw x");
	patch(&o, 2048, 0xc0, 0, 0, 0);                 /* of 16 sectors two are */
	patch(&o, 2049, 0, 0, 0, 0);
	struct img *img = oracle_open(&o, "x", NULL, true);
	ck_assert_int_eq(img_map(img, 0, 4096, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.kind == IMG_DATA && !seg.in_place);
	ck_assert_int_eq(img_write_buf(img, 4096, o.disk, 512), 0);
	memcpy(o.disk + 4096, o.disk, 512);
	ck_assert_int_eq(img_map(img, 0, 4096, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.kind == IMG_DATA && seg.in_place && seg.file_off == 2048 + 512);
	oracle_verify(&o, img);
	img_close(img);
	oracle_must(&o, "test $(head -c 2050 x | tail -c 2 | od -An -tx1 | tr -d ' ') = ffff");
	oracle_fini(&o);
}
END_TEST

START_TEST(power_cuts)
{
	oracle_powercut("vpc", 0, 6 << 20, 50, 12);
}
END_TEST

UNIT_MAIN("devices/block/vpc", dynamic_images, fixed_images, sizes, refusals, lost_footer, sector_bitmaps, power_cuts)
