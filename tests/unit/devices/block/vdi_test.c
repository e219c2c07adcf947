/* VDI: dynamic and static images, both ways with QEMU's, refusals, power cuts. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "tests/unit/capture.h"
#include "tests/unit/devices/block/oracle.h"

static struct capture cap;

START_TEST(dynamic_images)
{
	oracle_format("vdi", NULL, "dynamic", 5 * 1024 * 1024 + 777, true);
	oracle_format("vdi", NULL, NULL, 3 * 1024 * 1024, true);
}
END_TEST

START_TEST(static_images)
{
	oracle_format("vdi", "static=on", "static", 4 * 1024 * 1024 + 1024, true);
}
END_TEST

static void patch(struct oracle *o, long off, uint32_t value)
{
	FILE *f = fopen(oracle_path(o, "x"), "r+");
	ck_assert(f && fseek(f, off, SEEK_SET) == 0 && fwrite(&value, 4, 1, f) == 1 && fclose(f) == 0);
}

START_TEST(refusals)
{
	static const struct { long off; uint32_t value; const char *word; } bad[] = {
		{ 0x44, 0x00010000, "version 1.0" }, { 0x4c, 4, "differencing" }, { 0x4c, 3, "differencing" }, { 0x4c, 9, "type 9" },
		{ 0x1a8, 1, "differencing" }, { 0x168, 4096, "sectors" }, { 0x178, 12345, "damaged" }, { 0x17c, 16, "extra data" },
		{ 0x170, 0x40000000, "damaged" }, { 0x154, 0x100, "damaged" }, { 0x158, 0x200, "damaged" }, { 0x200, 7, "truncated" },
		{ 0x200, 0x12345, "truncated" }, { 0x180, 0x3fffffff, "damaged" },
	};
	struct oracle o;
	oracle_init(&o, 1, 1);
	for (size_t i = 0; i < NELEM(bad); i++) {
		oracle_must(&o, "qemu-img create -q -f vdi x 8M");
		patch(&o, bad[i].off, bad[i].value);
		oracle_refused(&o, "x", NULL, false, bad[i].word);
	}
	/* Two blocks in one place: may be read, not written. */
	oracle_must(&o, "qemu-img create -q -f vdi x 8M; truncate -s 2M x");
	patch(&o, 0x200, 0);
	patch(&o, 0x204, 0);
	patch(&o, 0x184, 1);
	oracle_refused(&o, "x", NULL, true, "share");
	struct img *img = oracle_open(&o, "x", NULL, false);
	struct img_check c = { 0 };
	capture_start(&cap, 2);
	ck_assert_int_eq(img->drv->check(img, 0, &c), 0);
	capture_stop(&cap);
	ck_assert_uint_eq(c.corruptions, 1);
	img_close(img);
	oracle_fini(&o);
}
END_TEST

/* Blocks nobody refers to are closed up by moving the last ones there. */
START_TEST(holes)
{
	struct oracle o;
	struct img_check c = { 0 };
	oracle_init(&o, 8 << 20, 3);
	oracle_must(&o, "qemu-img create -q -f vdi x 8M");
	for (unsigned i = 0; i < 5; i++) {
		memset(o.disk + (i << 20), (int)i + 1, 4096);
		oracle_must(&o, "qemu-io -f vdi -c 'write -P %u %u 4096' x", i + 1, i << 20);
	}
	patch(&o, 0x204, 0xffffffff);
	patch(&o, 0x208, 0xfffffffe);
	memset(o.disk + (1 << 20), 0, 2 << 20);
	ck_assert_int_ne(oracle_sh(&o, "qemu-img check -f vdi x"), 0);
	struct img_open how = { .path = oracle_path(&o, "x"), .file_flags = BFILE_WRITE, .check = true };
	int err;
	struct img *img = img_open(&how, &err);
	ck_assert_int_eq(img->drv->check(img, 0, &c), 0);
	ck_assert(c.leaks == 2 && !c.leaks_fixed && !c.corruptions);
	c = (struct img_check){ 0 };
	ck_assert_int_eq(img->drv->check(img, IMG_FIX_LEAKS, &c), 0);
	ck_assert(c.leaks == 2 && c.leaks_fixed == 2);
	oracle_verify(&o, img);
	ck_assert_int_eq(img_close(img), 0);
	oracle_must(&o, "qemu-img check -f vdi x");
	oracle_raw(&o);
	oracle_must(&o, "qemu-img compare -f raw -F vdi raw x");
	oracle_fini(&o);
}
END_TEST

START_TEST(power_cuts)
{
	oracle_powercut("vdi", 0, 4 << 20, 60, 11);
}
END_TEST

UNIT_MAIN("devices/block/vdi", dynamic_images, static_images, refusals, holes, power_cuts)
