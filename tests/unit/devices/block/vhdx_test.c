/* VHDX: dynamic and fixed images, both ways with QEMU's, headers, refusals, power cuts. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "devices/block/vhdx.h"
#include "tests/unit/devices/block/oracle.h"

START_TEST(dynamic_images)
{
	oracle_format("vhdx", "block_size=1048576", NULL, 5 * 1024 * 1024 + 777, true);
	oracle_format("vhdx", NULL, "dynamic", 3 * 1024 * 1024, true);
}
END_TEST

START_TEST(fixed_images)
{
	oracle_format("vhdx", "subformat=fixed,block_size=2097152", "fixed", 4 * 1024 * 1024 + 1024, true);
}
END_TEST

/* Large enough that entries of sector bitmaps lie between those of blocks. */
START_TEST(sector_bitmap_entries)
{
	const uint64_t size = (12ull << 30) + (5 << 20);
	struct oracle o;
	uint8_t buf[4096], want[4096];
	oracle_init(&o, 1, 3);
	oracle_must(&o, "qemu-img create -q -f vhdx -o block_size=1M theirs %llu", (unsigned long long)size);
	const struct img_create c = { .path = oracle_path(&o, "ours"), .format = "vhdx", .size = size, .cluster_size = 1 << 20 };
	ck_assert_int_eq(img_create(&c), 0);
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "ours" : "theirs";
		oracle_must(&o, "qemu-io -f vhdx -c 'write -P 7 4294967296 4096' -c 'write -P 9 12888000000 512' %s", name);
		struct img *img = oracle_open(&o, name, NULL, true);
		memset(want, 7, sizeof(want));
		ck_assert_int_eq(img_read_buf(img, 4ull << 30, buf, 4096), 0);
		ck_assert_mem_eq(buf, want, 4096);
		for (uint64_t g = 1; g < 12; g += 2) {
			memset(want, (int)g, sizeof(want));
			ck_assert_int_eq(img_write_buf(img, (g << 30) - 2048, want, 4096), 0);
		}
		ck_assert_int_eq(img_close(img), 0);
		for (uint64_t g = 1; g < 12; g += 2)
			oracle_must(&o, "qemu-io -f vhdx -c 'read -P %u %llu 4096' %s | grep -c failed >n; test $(cat n) = 0", (unsigned)g,
				    (unsigned long long)((g << 30) - 2048), name);
		oracle_must(&o, "qemu-img check -f vhdx %s", name);
	}
	oracle_fini(&o);
}
END_TEST

static void get(struct oracle *o, uint64_t off, void *buf, size_t len)
{
	FILE *f = fopen(oracle_path(o, "x"), "r");
	ck_assert(f && fseek(f, (long)off, SEEK_SET) == 0 && fread(buf, 1, len, f) == len && fclose(f) == 0);
}

static void put(struct oracle *o, uint64_t off, const void *buf, size_t len)
{
	FILE *f = fopen(oracle_path(o, "x"), "r+");
	ck_assert(f && fseek(f, (long)off, SEEK_SET) == 0 && fwrite(buf, 1, len, f) == len && fclose(f) == 0);
}

static void put32(struct oracle *o, uint64_t off, uint32_t v)
{
	put(o, off, &v, 4);
}

/* Changes both copies of the region table, whose sums stay right. */
static void region(struct oracle *o, unsigned at, uint32_t v)
{
	static uint8_t t[VHDX_REGIONS];
	for (unsigned i = 0; i < 2; i++) {
		get(o, VHDX_REGIONS_AT(i), t, sizeof(t));
		put_le32(t + at, v);
		put_le32(t + 4, vhdx_crc(t, sizeof(t), 4));
		put(o, VHDX_REGIONS_AT(i), t, sizeof(t));
	}
}

static uint8_t header[VHDX_HEADER];

/* The newer header of "x"; where it is. */
static uint64_t get_header(struct oracle *o)
{
	uint8_t other[VHDX_HEADER];
	get(o, VHDX_HEADER_AT(0), header, sizeof(header));
	get(o, VHDX_HEADER_AT(1), other, sizeof(other));
	if (get_le64(header + VH_SEQ) >= get_le64(other + VH_SEQ))
		return VHDX_HEADER_AT(0);
	memcpy(header, other, sizeof(header));
	return VHDX_HEADER_AT(1);
}

static void put_header(struct oracle *o, uint64_t at)
{
	put_le32(header + VH_SUM, vhdx_crc(header, sizeof(header), VH_SUM));
	put(o, at, header, sizeof(header));
}

START_TEST(crc)
{
	/* The check value of CRC-32C. */
	ck_assert_uint_eq(vhdx_crc((const uint8_t *)"123456789", 9, 100), 0xe3069283);
}
END_TEST

START_TEST(refusals)
{
	struct oracle o;
	uint64_t at;
	oracle_init(&o, 1, 1);
	/* By QEMU: BAT at 2 MiB, metadata at 3 MiB; items from 64 KiB on: parameters, size, page 83, sectors. */
	for (unsigned i = 0; i < 16; i++) {
		oracle_must(&o, "qemu-img create -q -f vhdx -o block_size=1M x 8M");
		at = get_header(&o);
		switch (i) {
		case 0:
			put32(&o, 0, 1);
			oracle_refused(&o, "x", "vhdx", false, "signature");
			break;
		case 1:
			put32(&o, VHDX_HEADER_AT(0) + 100, 1);
			put32(&o, VHDX_HEADER_AT(1) + 100, 1);
			oracle_refused(&o, "x", "vhdx", false, "none of its two headers");
			break;
		case 2:
			put_le16(header + VH_VERSION, 2);
			put_header(&o, at);
			oracle_refused(&o, "x", "vhdx", false, "version 2");
			break;
		case 3:
			put32(&o, VHDX_REGIONS_AT(0) + 200, 1);
			put32(&o, VHDX_REGIONS_AT(1) + 200, 1);
			oracle_refused(&o, "x", "vhdx", false, "none of its two tables of regions");
			break;
		case 4:
			region(&o, 16 + VR_REQUIRED, 1);
			region(&o, 16, 0x12345678);
			oracle_refused(&o, "x", "vhdx", false, "region 12345678-");
			break;
		case 5:
			region(&o, 16 + VR_OFF, 0x7ff00000);
			oracle_refused(&o, "x", "vhdx", false, "outside the file");
			break;
		case 6:
			region(&o, 16 + VR_OFF, 3 << 20);
			oracle_refused(&o, "x", "vhdx", false, "lie in each other");
			break;
		case 7:
			put32(&o, MIB(3), 0);
			oracle_refused(&o, "x", "vhdx", false, "table of metadata");
			break;
		case 8:
			put32(&o, MIB(3) + KIB(64) + 4, 2);
			oracle_refused(&o, "x", "vhdx", false, "differencing");
			break;
		case 9:
			put32(&o, MIB(3) + KIB(64), 3 << 20);
			oracle_refused(&o, "x", "vhdx", false, "block size");
			break;
		case 10:
			put32(&o, MIB(3) + 32 + VM_LEN, 4);
			oracle_refused(&o, "x", "vhdx", false, "outside its region");
			break;
		case 11:
			put32(&o, MIB(3) + 32 + VX_ENTRY, 0xdeadbeef);
			oracle_refused(&o, "x", "vhdx", false, "metadata deadbeef-");
			break;
		case 12:
			put32(&o, MIB(2), 7);
			oracle_refused(&o, "x", "vhdx", false, "state 7");
			break;
		case 13:
			put32(&o, MIB(2), 0x7ff00006);
			oracle_refused(&o, "x", "vhdx", false, "truncated");
			break;
		case 14:
			put32(&o, MIB(2), (3 << 20) | 6);
			oracle_refused(&o, "x", "vhdx", false, "blocks lie in its tables");
			break;
		default:
			put32(&o, MIB(3) + KIB(64) + 8, 1000);
			oracle_refused(&o, "x", "vhdx", false, "size none may have");
		}
	}
	oracle_fini(&o);
}
END_TEST

/* One header and one region table are enough; a writer makes a new header in the place of the older one. */
START_TEST(second_copies)
{
	struct oracle o;
	oracle_init(&o, 8 << 20, 8);
	oracle_fill(&o);
	oracle_raw(&o);
	oracle_must(&o, "qemu-img convert -f raw -O vhdx -o block_size=1M raw x");
	const uint64_t at = get_header(&o), seq = get_le64(header + VH_SEQ), older = VHDX_HEADER_AT(0) + VHDX_HEADER_AT(1) - at;
	put32(&o, older, 0);
	put32(&o, VHDX_REGIONS_AT(0), 0);               /* "regi" */
	struct img *img = oracle_open(&o, "x", NULL, true);
	oracle_verify(&o, img);
	ck_assert_uint_eq(get_header(&o), at);          /* nothing was written yet */
	oracle_work(&o, img, 10);
	ck_assert_int_eq(img_close(img), 0);
	ck_assert_uint_eq(get_header(&o), older);
	ck_assert_uint_eq(get_le64(header + VH_SEQ), seq + 1);
	oracle_raw(&o);
	put(&o, VHDX_REGIONS_AT(0), "regi", 4);         /* QEMU knows only that one */
	oracle_must(&o, "qemu-img compare -f raw -F vhdx raw x");
	oracle_fini(&o);
}
END_TEST

static const uint8_t log_guid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };

/* An entry at `at` of the log (1 MiB at 1 MiB): a sector of the file becomes `data`, and another zeroes. */
static void log_entry(struct oracle *o, uint32_t at, uint32_t tail, uint64_t seq, uint64_t where, const uint8_t data[4096],
		      uint64_t zeroes)
{
	static uint8_t e[8192];
	FILE *f = fopen(oracle_path(o, "x"), "r");
	memset(e, 0, sizeof(e));
	ck_assert(f && fseek(f, 0, SEEK_END) == 0);
	memcpy(e, "loge", 4);
	put_le32(e + 8, sizeof(e));
	put_le32(e + 12, tail);
	put_le64(e + 16, seq);
	put_le32(e + 24, 2);
	memcpy(e + 32, log_guid, 16);
	put_le64(e + 48, (uint64_t)ftell(f));
	put_le64(e + 56, (uint64_t)ftell(f));
	fclose(f);
	memcpy(e + 64, "desc", 4);
	memcpy(e + 68, data + 4092, 4);
	memcpy(e + 72, data, 8);
	put_le64(e + 80, where);
	put_le64(e + 88, seq);
	memcpy(e + 96, "zero", 4);
	put_le64(e + 104, 4096);
	put_le64(e + 112, zeroes);
	put_le64(e + 120, seq);
	memcpy(e + 4096, "data", 4);
	put_le32(e + 4100, (uint32_t)(seq >> 32));
	memcpy(e + 4104, data + 8, 4084);
	put_le32(e + 8188, (uint32_t)seq);
	put_le32(e + 4, vhdx_crc(e, sizeof(e), 4));
	put(o, MIB(1) + at, e, MIN(sizeof(e), MIB(1) - at));
	if (at > MIB(1) - sizeof(e))
		put(o, MIB(1), e + (MIB(1) - at), sizeof(e) - (MIB(1) - at));
}

/* The table of blocks is only in the log, in two entries of which one goes around its end; older and torn ones are beside. */
START_TEST(log_replay)
{
	const uint32_t end = (uint32_t)MIB(1);
	struct oracle o;
	static uint8_t bat[4096], none[4096], b[512];
	oracle_init(&o, 6 << 20, 8);
	for (unsigned turn = 0; turn < 2; turn++) {
		const uint32_t at = turn ? end - 12288 : 40960;
		memset(o.disk, 0, o.len);
		oracle_fill(&o);
		oracle_raw(&o);
		oracle_must(&o, "qemu-img convert -f raw -O vhdx -o block_size=1M raw x");
		const uint64_t h = get_header(&o);
		get(&o, MIB(2), bat, sizeof(bat));
		memcpy(header + VH_LOG_GUID, log_guid, 16);
		put_header(&o, h);
		log_entry(&o, at, at, 0x100000005, MIB(2), none, MIB(2) + 4096);
		log_entry(&o, (at + 8192) % end, at, 0x100000006, MIB(2), bat, MIB(2) + 8192);
		log_entry(&o, 81920, 81920, 4, MIB(2), none, MIB(2) + 4096);
		log_entry(&o, (at + 16384) % end, at, 0x100000007, MIB(2), none, MIB(2) + 4096);
		put32(&o, MIB(1) + (at + 16384) % end + 4096 + 100, 0x1111);
		put(&o, MIB(2), none, sizeof(none));
		struct img *img = oracle_open(&o, "x", NULL, false);
		oracle_verify(&o, img);
		img_close(img);
		oracle_refused(&o, "x", "vhdx", true, "its log is not empty");
		oracle_must(&o, "cp x y && qemu-img check -r all -f vhdx y && qemu-img compare -f raw -F vhdx raw y");
	}
	/* What the log changes is not a table; the file is shorter than the log says. */
	log_entry(&o, 8192, 8192, 0x200000000, MIB(4), none, MIB(2) + 4096);
	oracle_refused(&o, "x", "vhdx", false, "more than tables");
	log_entry(&o, 8192, 8192, 0x300000000, MIB(2), bat, MIB(2) + 4096);
	oracle_must(&o, "truncate -s -1M x");
	oracle_refused(&o, "x", "vhdx", false, "truncated");
	/* An entry with a tail that is not there: not a sequence, as if it were not there. */
	oracle_must(&o, "qemu-img convert -f raw -O vhdx -o block_size=1M raw x");
	const uint64_t h = get_header(&o);
	memcpy(header + VH_LOG_GUID, log_guid, 16);
	put_header(&o, h);
	log_entry(&o, 8192, 4096, 9, MIB(2), none, MIB(2) + 4096);
	struct img *img = oracle_open(&o, "x", NULL, true);
	oracle_verify(&o, img);
	ck_assert_int_eq(img_read_buf(img, 0, b, 512), 0);
	ck_assert_int_eq(img_write_buf(img, 0, b, 512), 0);
	img_close(img);
	get_header(&o);
	ck_assert_mem_eq(header + VH_LOG_GUID, none, 16);
	oracle_must(&o, "qemu-img compare -f raw -F vhdx raw x");
	oracle_fini(&o);
}
END_TEST

START_TEST(power_cuts)
{
	oracle_powercut("vhdx", 1 << 20, 5 << 20, 50, 14);
}
END_TEST

UNIT_MAIN("devices/block/vhdx", crc, dynamic_images, fixed_images, sector_bitmap_entries, refusals, second_copies,
	  log_replay, power_cuts)
