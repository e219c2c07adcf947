/* VMDK: all kinds both ways with QEMU's, parents, descriptors, refusals, power cuts. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "tests/unit/capture.h"
#include "tests/unit/devices/block/oracle.h"

static struct capture cap;
#define ODD (4 * 1024 * 1024 + 777)

START_TEST(sparse_images)
{
	oracle_format("vmdk", "subformat=monolithicSparse", "monolithicSparse", ODD, true);
	oracle_format("vmdk", "zeroed_grain=on", NULL, 3 * 1024 * 1024, true);
}
END_TEST

START_TEST(stream_images)
{
	oracle_format("vmdk", "subformat=streamOptimized", "streamOptimized", ODD, true);
}
END_TEST

START_TEST(flat_images)
{
	oracle_format("vmdk", "subformat=monolithicFlat", "monolithicFlat", ODD, false);
}
END_TEST

/* Extents of 2 GiB: contents around their borders. */
START_TEST(split_images)
{
	static const char *const kinds[] = { "twoGbMaxExtentSparse", "twoGbMaxExtentFlat" };
	const uint64_t size = (4ull << 30) + 300 * 512;
	struct oracle o;
	uint8_t buf[8192], want[8192];
	oracle_init(&o, 1, 7);
	for (unsigned k = 0; k < 2; k++) {
		const char *f = k ? "f" : "s";
		oracle_must(&o, "rm -f *.vmdk && qemu-img create -q -f vmdk -o subformat=%s theirs.vmdk %llu", kinds[k],
			    (unsigned long long)size);
		const struct img_create c = { .path = oracle_path(&o, "ours.vmdk"), .format = "vmdk", .size = size, .subformat = kinds[k] };
		ck_assert_int_eq(img_create(&c), 0);
		oracle_must(&o, "test -e ours-%s001.vmdk && test -e ours-%s003.vmdk && test ! -e ours-%s004.vmdk", f, f, f);
		for (unsigned i = 0; i < 2; i++) {
			const char *name = i ? "ours.vmdk" : "theirs.vmdk";
			oracle_must(&o, "qemu-io -f vmdk -c 'write -P 7 2147479552 8192' -c 'write -P 9 4294967296 1024' %s", name);
			struct img *img = oracle_open(&o, name, NULL, true);
			ck_assert_uint_eq(img->size, size);
			memset(want, 7, sizeof(want));
			ck_assert_int_eq(img_read_buf(img, (2ull << 30) - 4096, buf, 8192), 0);
			ck_assert_mem_eq(buf, want, 8192);
			memset(want, 5, sizeof(want));
			ck_assert_int_eq(img_write_buf(img, (4ull << 30) - 4096, want, 8192), 0);
			ck_assert_int_eq(img_zero(img, (2ull << 30) - 512, 1024, 0), 0);
			ck_assert_int_eq(img_discard(img, (2ull << 30) - 65536, 131072), 0);
			ck_assert_int_eq(img_write_buf(img, (2ull << 30) - 4096, want, 512), 0);
			ck_assert_int_eq(img_write_buf(img, (2ull << 30) + 3072, want, 512), 0);
			ck_assert_int_eq(img_close(img), 0);
			oracle_must(&o, "qemu-io -f vmdk -c 'read -P 5 4294963200 8192' -c 'read -P 5 2147479552 512' -c 'read -P 0 2147483136 1024' "
				    "-c 'read -P 5 2147486720 512' -c 'read -P 0 0 1M' %s | grep -c failed >n; test $(cat n) = 0", name);
			oracle_must(&o, "qemu-img check -f vmdk %s || test $? = 63", name);
		}
	}
	oracle_fini(&o);
}
END_TEST

/* An overlay over a VMDK, by QEMU and by skep; a changed parent is noticed. */
START_TEST(parents)
{
	struct oracle o;
	oracle_init(&o, 2 << 20, 9);
	oracle_fill(&o);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O vmdk raw base.vmdk");
	oracle_must(&o, "qemu-img create -q -f vmdk -b base.vmdk -F vmdk theirs.vmdk");
	const struct img_create c = { .path = oracle_path(&o, "ours.vmdk"), .format = "vmdk", .size = o.len, .backing = "base.vmdk" };
	ck_assert_int_eq(img_create(&c), 0);
	uint8_t *before = malloc(o.len);
	memcpy(before, o.disk, o.len);
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "ours.vmdk" : "theirs.vmdk";
		memcpy(o.disk, before, o.len);
		struct img *img = oracle_open(&o, name, NULL, true);
		ck_assert_ptr_nonnull(img->backing);
		oracle_verify(&o, img);
		oracle_work(&o, img, 80);
		ck_assert_int_eq(img_close(img), 0);
		oracle_raw(&o);
		oracle_must(&o, "qemu-img compare -f raw -F vmdk raw %s && qemu-img check -f vmdk %s", name, name);
	}
	/* A write to the parent by skep changes its CID. */
	struct img *img = oracle_open(&o, "base.vmdk", NULL, true);
	ck_assert_int_eq(img_write_buf(img, 0, before, 512), 0);
	ck_assert_int_eq(img_close(img), 0);
	oracle_refused(&o, "ours.vmdk", "vmdk", false, "was changed since");
	free(before);
	oracle_fini(&o);
}
END_TEST

static void descriptor(struct oracle *o, const char *parent, const char *extents)
{
	FILE *f = fopen(oracle_path(o, "d.vmdk"), "w");
	fprintf(f, "# Disk DescriptorFile\r\nversion=1\r\nCID=1234\r\n%screateType=\"custom\"\r\n\r\n%s\n", parent, extents);
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(descriptors)
{
	struct oracle o;
	struct img_seg seg;
	oracle_init(&o, 30 * 512, 4);
	oracle_fill(&o);
	oracle_must(&o, "mkdir sub");
	oracle_raw(&o);
	oracle_must(&o, "mv raw sub/flat && cp sub/flat flat && dd if=/dev/zero bs=512 seek=20 count=10 conv=notrunc of=sub/flat");
	memset(o.disk + 20 * 512, 0, 10 * 512);
	/* Parts of a file, zeroes, a file in a directory below. */
	descriptor(&o, "", "RW 10 FLAT \"flat\" 0\nRW 10 FLAT \"sub/flat\" 10\nRDONLY 10 ZERO\n");
	struct img *img = oracle_open(&o, "d.vmdk", NULL, false);
	oracle_verify(&o, img);
	ck_assert_int_eq(img_map(img, 20 * 512, 5120, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.kind == IMG_ZERO && seg.len == 5120);
	ck_assert_int_eq(img_map(img, 11 * 512, 5120, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.kind == IMG_DATA && !seg.in_place && seg.len == 9 * 512 && seg.file_off == 11 * 512);
	img_close(img);
	oracle_refused(&o, "d.vmdk", "vmdk", true, "cannot be written");
	/* Writing: in place once the CID has been changed, in as many digits. */
	descriptor(&o, "", "RW 10 FLAT \"flat\" 0\n");
	img = oracle_open(&o, "d.vmdk", NULL, true);
	ck_assert_int_eq(img_map(img, 0, 512, IMG_NOWAIT, &seg), 0);
	ck_assert(!seg.in_place);
	ck_assert_int_eq(img_write_buf(img, 0, o.disk + 512, 512), 0);
	ck_assert_int_eq(img_map(img, 0, 512, IMG_NOWAIT, &seg), 0);
	ck_assert(seg.in_place);
	img_close(img);
	oracle_must(&o, "! grep -q CID=1234 d.vmdk && grep -qE '^CID=[0-9a-f]{4}.$' d.vmdk && test $(wc -l <d.vmdk) = 7");
	static const struct { const char *parent, *extents, *word; } bad[] = {
		{ "", "RW 10 FLAT \"sub/../../../etc/passwd\" 0", "outside its own directory" },
		{ "", "RW 10 FLAT \"/etc/passwd\" 0", "outside its own directory" },
		{ "", "RW 10 FLAT \"..\" 0", "is no file" }, { "", "RW 10 FLAT \"sub/none\" 0", "cannot be reached" },
		{ "", "RW 10 FLAT \"none\" 0", "none" }, { "", "RW 31 FLAT \"flat\" 0", "truncated" },
		{ "", "RW 10 FLAT \"flat\" 21", "truncated" },
		{ "", "RW 10 FLAT \"flat\" 99999999999999999", "begins nowhere" }, { "", "RW 99999999999999999 FLAT \"flat\" 0", "is no extent" },
		{ "", "RW 10 VMFSSPARSE \"flat\"", "VMFSSPARSE" }, { "", "RW 10 SESPARSE \"flat\"", "SESPARSE" },
		{ "", "RW 10 VMFSRDM \"flat\"", "VMFSRDM" },
		{ "", "NOACCESS 10 FLAT \"flat\" 0", "forbids" }, { "", "RW 10 FLAT flat 0", "names no file" },
		{ "", "RW 10 SPARSE \"flat\"", "signature" },
		{ "", "RW x FLAT \"flat\"", "is no extent" }, { "", "", "names no extents" },
		{ "parentCID=1\n", "RW 10 FLAT \"flat\" 0", "does not name it" },
		{ "parentCID=1\nparentFileNameHint=\"p\"\n", "RW 10 FLAT \"flat\" 0", "not sparse" },
		{ "parentCID=zz\n", "RW 10 ZERO", "parentCID" },
		{ "CID=123456789\n", "RW 10 ZERO", "CID" },
	};
	for (size_t i = 0; i < NELEM(bad); i++) {
		descriptor(&o, bad[i].parent, bad[i].extents);
		oracle_refused(&o, "d.vmdk", "vmdk", false, bad[i].word);
	}
	oracle_fini(&o);
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
		{ 0, 0x44574f43, "COWD" }, { 0, 0x12345678, "signature" }, { 4, 4, "version 4" }, { 8, 0x103, "feature bit 8" },
		{ 73, 0x0a0a0d0a, "as a text" }, { 20, 3, "grains" }, { 44, 5, "grain tables" },
		{ 12, 0, "size" }, { 56, 0x00ffffff, "grain directory" },
		{ 28, 0x00ffffff, "descriptor" }, { 0x1a * 512, 0x00ffffff, "grain tables" }, { 16, 0xffffffff, "size" },
	};
	struct oracle o;
	oracle_init(&o, 1, 1);
	for (size_t i = 0; i < NELEM(bad); i++) {
		oracle_must(&o, "qemu-img create -q -f vmdk x 8M");
		patch(&o, bad[i].off, bad[i].value);
		oracle_refused(&o, "x", "vmdk", false, bad[i].word);
	}
	/* The first grain's entry. */
	oracle_must(&o, "qemu-img create -q -f vmdk x 8M");
	patch(&o, 0x1b * 512, 0x00ffffff);
	oracle_refused(&o, "x", "vmdk", false, "behind the end");
	/* As SESPARSE begins. */
	oracle_must(&o, "qemu-img create -q -f vmdk x 8M");
	patch(&o, 0, 0xcafebabe);
	patch(&o, 4, 0);
	oracle_refused(&o, "x", "vmdk", false, "SESPARSE");
	oracle_fini(&o);
}
END_TEST

/* A table whose copy was cut off is brought back in step. */
START_TEST(redundant_tables)
{
	struct oracle o;
	oracle_init(&o, 8 << 20, 4);
	oracle_fill(&o);
	oracle_raw(&o);
	/* Directory copy: sector 21, its table: 22-25; directory 26, table 27-30. */
	oracle_must(&o, "qemu-img convert -f raw -O vmdk raw x");
	oracle_must(&o, "dd if=/dev/zero of=x bs=512 seek=22 count=4 conv=notrunc");
	struct img *img = oracle_open(&o, "x", NULL, true);
	ck_assert(img_dirty(img));
	oracle_work(&o, img, 20);
	ck_assert_int_eq(img_close(img), 0);
	oracle_must(&o, "dd if=x bs=512 skip=22 count=4 of=a && dd if=x bs=512 skip=27 count=4 of=b && cmp a b");
	oracle_raw(&o);
	oracle_must(&o, "qemu-img compare -f raw -F vmdk raw x");
	oracle_fini(&o);
}
END_TEST

/* A stream as VMware writes it: the directory at the end, found by a footer; built from one by QEMU. */
START_TEST(directory_at_end)
{
	struct oracle o;
	uint8_t sector[512], old[512];
	oracle_init(&o, 8 << 20, 6);
	oracle_fill(&o);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw x");
	FILE *f = fopen(oracle_path(&o, "x"), "r+");
	ck_assert(f && fread(old, 1, 512, f) == 512);
	memcpy(sector, old, 512);
	put_le64(sector + 56, UINT64_MAX);
	ck_assert(fseek(f, 0, SEEK_SET) == 0 && fwrite(sector, 1, 512, f) == 512 && fseek(f, 0, SEEK_END) == 0);
	/* Footer marker, footer, end-of-stream marker. */
	const long end = ftell(f);
	memset(sector, 0, sizeof(sector));
	ck_assert(fseek(f, ALIGN_UP(end, 512L), SEEK_SET) == 0);
	put_le64(sector, 1);
	put_le32(sector + 12, 3);
	ck_assert_uint_eq(fwrite(sector, 1, 512, f), 512);
	ck_assert_uint_eq(fwrite(old, 1, 512, f), 512);
	memset(sector, 0, sizeof(sector));
	ck_assert_uint_eq(fwrite(sector, 1, 512, f), 512);
	ck_assert_int_eq(fclose(f), 0);
	struct img *img = oracle_open(&o, "x", NULL, false);
	oracle_verify(&o, img);
	img_close(img);
	oracle_refused(&o, "x", "vmdk", true, "is a stream");
	oracle_must(&o, "qemu-img compare -f raw -F vmdk raw x");
	oracle_must(&o, "truncate -s -512 x");
	oracle_refused(&o, "x", "vmdk", false, "footer");
	/* A damaged grain is an error, not other data. */
	oracle_must(&o, "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized raw x");
	f = fopen(oracle_path(&o, "x"), "r+");
	ck_assert(f && fseek(f, 128 * 512, SEEK_SET) == 0 && fread(sector, 1, 512, f) == 512);
	memset(sector + 12, 0x55, 500);
	ck_assert(get_le64(sector) == 0 && fseek(f, 128 * 512, SEEK_SET) == 0 && fwrite(sector, 1, 512, f) == 512 && fclose(f) == 0);
	img = oracle_open(&o, "x", NULL, false);
	capture_start(&cap, 2);
	ck_assert_int_eq(img_read_buf(img, 0, sector, 512), -EIO);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "damaged"));
	img_close(img);
	oracle_fini(&o);
}
END_TEST

START_TEST(power_cuts)
{
	oracle_powercut("vmdk", 0, 3 << 20, 80, 13);
}
END_TEST

UNIT_MAIN("devices/block/vmdk", sparse_images, stream_images, flat_images, split_images, parents, descriptors, refusals,
	  redundant_tables, directory_at_end, power_cuts)
