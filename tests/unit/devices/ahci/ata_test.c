/* Commands of a disk, as drivers issue them. */
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/devices/ahci/hba.h"
#include "tests/unit/unit.h"

#define SIZE (4u << 20)
#define GOOD 0x50u
#define ABORTED 0x0441u
#define NOT_FOUND 0x1041u

static struct hba h;

static void set_up(const char *key, const char *value)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	hba_vm(&h);
	if (key)
		drv_conf(h.vm, key, value);
	ck_assert(hba_open(&h, &ahci_hd_class));
	hba_start(&h, 0);
}

static uint8_t *data(uint64_t off)
{
	return hba_ptr(&h, HBA_DATA + off, 512);
}

static void image(uint64_t off, void *buf, size_t len)
{
	const int fd = open(h.path, O_RDONLY);

	ck_assert_int_eq(pread(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static uint32_t rw(uint8_t op, uint64_t lba, uint16_t count, bool write)
{
	const uint32_t len = (count ? count : 256) * 512u;

	return hba_do(&h, 0, &(struct hba_cmd){ .op = op, .lba = lba, .count = count, .data = HBA_DATA, .len = len, .write = write,
		.device = (uint8_t)(0x40 | (lba >> 24 & 15)) });
}

START_TEST(test_reads)
{
	static const uint8_t ops[] = { 0xc8, 0x25, 0x20, 0x24 };

	set_up(NULL, NULL);
	for (unsigned i = 0; i < NELEM(ops); i++) {
		memset(data(0), 0xee, 512);
		ck_assert_uint_eq(rw(ops[i], 100 + i, 8, false), GOOD);
		for (unsigned s = 0; s < 8; s++)
			ck_assert_uint_eq(get_le64(data(512 * s)), 100 + i + s);
		ck_assert_uint_eq(hba_count(&h, 0, 0), 4096);
	}
	ck_assert_uint_eq(rw(0xc8, 0, 0, false), GOOD);         /* 0: 256 sectors */
	ck_assert_uint_eq(hba_count(&h, 0, 0), 256 * 512);
	ck_assert_uint_eq(get_le64(data(255 * 512)), 255);
	hba_end(&h);
}
END_TEST

START_TEST(test_writes)
{
	static const uint8_t ops[] = { 0xca, 0x35, 0x30, 0x34, 0x3d };
	uint8_t got[1024];

	set_up(NULL, NULL);
	for (unsigned i = 0; i < NELEM(ops); i++) {
		memset(data(0), 0x10 + (int)i, 512);
		memset(data(512), 0x80 + (int)i, 512);
		ck_assert_uint_eq(rw(ops[i], 40 + 2 * i, 2, true), GOOD);
		image((40 + 2 * i) * 512, got, sizeof(got));
		ck_assert_uint_eq(got[0], 0x10 + i);
		ck_assert_uint_eq(got[1023], 0x80 + i);
	}
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xea }), GOOD);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe7 }), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_multiple)
{
	set_up(NULL, NULL);
	ck_assert_uint_eq(rw(0xc4, 0, 4, false), ABORTED);      /* not set */
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xc6, .count = 3 }), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xc6, .count = 16 }), GOOD);
	ck_assert_uint_eq(rw(0xc4, 7, 20, false), GOOD);
	ck_assert_uint_eq(get_le64(data(19 * 512)), 26);
	ck_assert_uint_eq(rw(0x29, 9, 3, false), GOOD);
	ck_assert_uint_eq(rw(0x39, 9, 3, true), GOOD);
	ck_assert_uint_eq(rw(0xce, 9, 3, true), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_limits)
{
	set_up(NULL, NULL);
	ck_assert_uint_eq(rw(0x25, SIZE / 512 - 1, 1, false), GOOD);
	ck_assert_uint_eq(rw(0x25, SIZE / 512 - 1, 2, false), NOT_FOUND);
	hba_recover(&h, 0);
	ck_assert_uint_eq(rw(0x25, 0xffffffffffff, 1, false), NOT_FOUND);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xc8, .count = 1, .device = 0xa0,        /* CHS */
		.data = HBA_DATA, .len = 512 }), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x25, .count = 2, .data = HBA_DATA, .len = 512 }), ABORTED);
	ck_assert(port_rd(&h, 0, P_IS) & IS_OFS);               /* half of it has no place */
	hba_recover(&h, 0);
	static const uint8_t unknown[] = { 0x00, 0xb0, 0xf6, 0xa0, 0xa1, 0x27, 0x63, 0x64, 0x47, 0xb1, 0x92, 0xff };
	for (unsigned i = 0; i < NELEM(unknown); i++) {
		ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = unknown[i], .count = 1, .data = HBA_DATA, .len = 512 }), ABORTED);
		hba_recover(&h, 0);
	}
	ck_assert_uint_eq(rw(0x25, 5, 1, false), GOOD);
	hba_end(&h);
}
END_TEST

/* A transfer in many small pieces takes several requests; where they are cut shows nowhere. */
START_TEST(test_scattered)
{
	set_up(NULL, NULL);
	/* Entries of 2 bytes that are not adjacent; the table is larger than hba_build() has room for. */
	const uint32_t len = 5 * 512;
	hba_build(&h, 0, 0, &(struct hba_cmd){ .op = 0x25, .count = 5, .lba = 30, .data = HBA_DATA, .len = len });
	const uint64_t table = HBA_DATA + 0x100000;
	memcpy(hba_ptr(&h, table, 0x80), hba_ptr(&h, HBA_TABLE(0, 0), 0x80), 0x80);
	for (uint32_t i = 0; i < len / 2; i++) {
		uint8_t *e = hba_ptr(&h, table + 0x80 + 16 * i, 16);
		memset(e, 0, 16);
		put_le64(e, HBA_DATA + 4 * i);
		put_le32(e + 12, 1 | (i == len / 2 - 1 ? 1u << 31 : 0));
	}
	uint8_t *head = hba_ptr(&h, HBA_CLB(0), 32);
	put_le16(head + 2, (uint16_t)(len / 2));
	put_le64(head + 8, table);
	port_wr(&h, 0, P_CI, 1);
	hba_wait(&h, 0, 1);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), GOOD);
	ck_assert_uint_eq(hba_count(&h, 0, 0), len);
	ck_assert(port_rd(&h, 0, P_IS) & IS_DPS);
	for (unsigned s = 0; s < 5; s++) {
		uint8_t sector[4];
		for (unsigned i = 0; i < 4; i++)
			sector[i] = data(0)[(s * 512 + i) / 2 * 4 + i % 2];
		ck_assert_uint_eq(get_le32(sector), 30 + s);
	}
	hba_end(&h);
}
END_TEST

START_TEST(test_verify)
{
	set_up(NULL, NULL);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x42, .lba = 10, .count = 0x1000 }), GOOD);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x40, .lba = 10, .count = 3 }), GOOD);
	ck_assert_uint_eq(hba_count(&h, 0, 0), 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x42, .lba = 8190, .count = 3 }), NOT_FOUND);
	hba_recover(&h, 0);
	ck_assert_int_eq(truncate(h.path, 0), 0);               /* what is gone from the file reads as zeroes */
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x42, .lba = 10, .count = 10 }), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_queued)
{
	uint8_t got[512];

	set_up(NULL, NULL);
	for (unsigned s = 0; s < 32; s++) {
		const uint64_t buf = HBA_DATA + s * 0x2000;
		if (s % 2)
			memset(hba_ptr(&h, buf, 8192), (int)s, 8192);
		hba_build(&h, 0, s, &(struct hba_cmd){ .op = s % 2 ? 0x61 : 0x60, .ncq = true, .count = 16, .lba = s * 100, .data = buf,
			.len = 8192, .write = s % 2 });
	}
	port_wr(&h, 0, P_SACT, ~0u);
	port_wr(&h, 0, P_CI, ~0u);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 0);             /* taken, not done */
	hba_wait(&h, 0, ~0u);
	ck_assert_uint_eq(port_rd(&h, 0, P_SACT), 0);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD) & 0xff89, 0);
	ck_assert(port_rd(&h, 0, P_IS) & IS_SDBS);
	ck_assert_uint_eq(*(uint8_t *)hba_ptr(&h, HBA_FB(0) + 0x58, 1), 0xa1);
	for (unsigned s = 0; s < 32; s++) {
		image(s * 100 * 512, got, sizeof(got));
		if (s % 2)
			ck_assert_uint_eq(got[511], s);
		else
			ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + s * 0x2000 + 512, 8)), s * 100 + 1);
	}
	/* With FUA. */
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x61, .ncq = true, .count = 1, .lba = 3, .data = HBA_DATA, .len = 512,
		.write = true, .device = 0xc0 }) & 0xff89, 0);
	hba_end(&h);
}
END_TEST

/* --- 32 commands at a time, each in its own part of the disk, against a copy of what must be there --- */

#define PART (SIZE / 32)
static uint8_t shadow[SIZE];

static uint32_t rnd(uint32_t *state, uint32_t below)
{
	*state = *state * 1664525 + 1013904223;
	return (*state >> 8) % below;
}

struct job {
	uint32_t off, len;
	bool write;
};

static struct job job_build(unsigned slot, uint32_t *seed)
{
	struct job j = { .len = (1 + rnd(seed, 64)) * 512, .write = rnd(seed, 2) };

	j.off = slot * PART + rnd(seed, (PART - j.len) / 512 + 1) * 512;
	const uint64_t buf = HBA_DATA + slot * 0x10000 + 2 * rnd(seed, 512);
	uint8_t *mem = hba_ptr(&h, buf, j.len);

	for (uint32_t i = 0; i < j.len; i++)
		mem[i] = (uint8_t)rnd(seed, 256);
	if (j.write)
		memcpy(shadow + j.off, mem, j.len);
	hba_build(&h, 0, slot, &(struct hba_cmd){ .op = j.write ? 0x61 : 0x60, .ncq = true, .count = (uint16_t)(j.len / 512),
		.lba = j.off / 512, .data = buf, .len = j.len, .pieces = 1 + rnd(seed, 90), .write = j.write });
	return j;
}

static void random_load(const char *aio, unsigned rounds, uint32_t seed)
{
	struct job job[32];

	set_up(HBA_ID ".aio", aio);
	image(0, shadow, SIZE);
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned s = 0; s < 32; s++)
			job[s] = job_build(s, &seed);
		port_wr(&h, 0, P_SACT, ~0u);
		port_wr(&h, 0, P_CI, ~0u);
		hba_wait(&h, 0, ~0u);
		ck_assert_uint_eq(port_rd(&h, 0, P_TFD) & ATA_ERR, 0);
		for (unsigned s = 0; s < 32; s++) {
			const uint8_t *prd = hba_ptr(&h, HBA_TABLE(0, s) + 0x80, 8);
			ck_assert_msg(job[s].write || !memcmp(hba_ptr(&h, get_le64(prd), job[s].len), shadow + job[s].off, job[s].len),
				      "%s, round %u, slot %u: read %u bytes at %u", aio, round, s, job[s].len, job[s].off);
		}
	}
	uint8_t *disk = malloc(SIZE);
	image(0, disk, SIZE);
	ck_assert_int_eq(memcmp(disk, shadow, SIZE), 0);
	free(disk);
	hba_end(&h);
}

START_TEST(test_random_load)
{
	random_load("auto", 40, 1);
	random_load("threads", 40, 2);
}
END_TEST

START_TEST(test_queued_error)
{
	uint8_t sum = 0;

	set_up(NULL, NULL);
	hba_build(&h, 0, 3, &(struct hba_cmd){ .op = 0x60, .ncq = true, .count = 1, .lba = 5, .data = HBA_DATA, .len = 512 });
	hba_build(&h, 0, 9, &(struct hba_cmd){ .op = 0x60, .ncq = true, .count = 4, .lba = SIZE / 512 - 2,
		.data = HBA_DATA, .len = 2048 });
	port_wr(&h, 0, P_SACT, BIT(3) | BIT(9));
	port_wr(&h, 0, P_CI, BIT(3) | BIT(9));
	hba_wait(&h, 0, BIT(3) | BIT(9));
	ck_assert(port_rd(&h, 0, P_IS) & IS_TFES);
	ck_assert(port_rd(&h, 0, P_SACT) & BIT(9));
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD) & 0xff01, 0x1001);
	hba_recover(&h, 0);
	ck_assert_uint_eq(port_rd(&h, 0, P_SACT), 0);
	const struct hba_cmd log = { .op = 0x2f, .lba = 0x10, .count = 1, .data = HBA_DATA, .len = 512 };
	ck_assert_uint_eq(hba_do(&h, 0, &log), GOOD);
	ck_assert_uint_eq(data(0)[0], 9);
	ck_assert_uint_eq(data(0)[2], 0x41);
	ck_assert_uint_eq(data(0)[3], 0x10);
	ck_assert_uint_eq(get_le16(data(4)), (SIZE / 512 - 2) & 0xffff);
	for (unsigned i = 0; i < 512; i++)
		sum = (uint8_t)(sum + data(0)[i]);
	ck_assert_uint_eq(sum, 0);
	/* A tag that is not the slot, and a plain command beside a queued one. */
	hba_build(&h, 0, 4, &(struct hba_cmd){ .op = 0x60, .ncq = true, .count = 1, .data = HBA_DATA, .len = 512 });
	*(uint8_t *)hba_ptr(&h, HBA_TABLE(0, 4) + 12, 1) = 5 << 3;
	port_wr(&h, 0, P_SACT, BIT(4));
	port_wr(&h, 0, P_CI, BIT(4));
	hba_wait(&h, 0, BIT(4));
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD) & 0xff01, 0x0401);
	hba_recover(&h, 0);
	hba_build(&h, 0, 1, &(struct hba_cmd){ .op = 0x60, .ncq = true, .count = 1, .data = HBA_DATA, .len = 512 });
	hba_build(&h, 0, 2, &(struct hba_cmd){ .op = 0x25, .count = 1, .data = HBA_DATA, .len = 512 });
	port_wr(&h, 0, P_SACT, BIT(1));
	port_wr(&h, 0, P_CI, BIT(1) | BIT(2));
	hba_wait(&h, 0, BIT(1) | BIT(2));
	hba_settle(&h);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(rw(0x25, 5, 1, false), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_logs)
{
	set_up(NULL, NULL);
	struct hba_cmd log = { .op = 0x2f, .lba = 0x00, .count = 1, .data = HBA_DATA, .len = 512 };
	ck_assert_uint_eq(hba_do(&h, 0, &log), GOOD);
	ck_assert_uint_eq(get_le16(data(0)), 1);
	ck_assert_uint_eq(get_le16(data(0x20)), 1);
	ck_assert_uint_eq(get_le16(data(0x60)), 0);
	log.lba = 0x10;
	ck_assert_uint_eq(hba_do(&h, 0, &log), GOOD);
	ck_assert_uint_eq(data(0)[0], 0x80);                    /* nothing has failed */
	log.lba = 0x30;
	ck_assert_uint_eq(hba_do(&h, 0, &log), ABORTED);
	hba_recover(&h, 0);
	log.lba = 0x110;
	ck_assert_uint_eq(hba_do(&h, 0, &log), ABORTED);        /* page 1 */
	hba_end(&h);
}
END_TEST

static uint32_t trim(const uint64_t *entries, unsigned n, uint16_t pages)
{
	memset(hba_ptr(&h, HBA_DATA, 4096), 0, 4096);
	for (unsigned i = 0; i < n; i++)
		put_le64(data(0) + 8 * i, entries[i]);
	return hba_do(&h, 0, &(struct hba_cmd){ .op = 0x06, .feature = 1, .count = pages, .data = HBA_DATA,
		.len = pages * 512u, .write = true });
}

#define ENTRY(lba, len) ((uint64_t)(lba) | (uint64_t)(len) << 48)
START_TEST(test_trim)
{
	uint8_t got[512];

	set_up(NULL, NULL);
	ck_assert_uint_eq(trim((uint64_t[]){ ENTRY(64, 32), ENTRY(96, 32), 0, ENTRY(256, 8) }, 4, 1), GOOD);
	image(64 * 512, got, sizeof(got));
	ck_assert_uint_eq(get_le64(got), 0);
	image(127 * 512, got, sizeof(got));
	ck_assert_uint_eq(get_le64(got), 0);
	image(128 * 512, got, sizeof(got));
	ck_assert_uint_eq(get_le64(got), 128);
	image(256 * 512, got, sizeof(got));
	ck_assert_uint_eq(get_le64(got), 0);
	/* One bad entry, and nothing happens. */
	ck_assert_uint_eq(trim((uint64_t[]){ ENTRY(512, 8), ENTRY(SIZE / 512 - 1, 2) }, 2, 1), NOT_FOUND);
	image(512 * 512, got, sizeof(got));
	ck_assert_uint_eq(get_le64(got), 512);
	hba_recover(&h, 0);
	ck_assert_uint_eq(trim(NULL, 0, 9), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(trim(NULL, 0, 8), GOOD);
	const struct hba_cmd none = { .op = 0x06, .count = 1, .data = HBA_DATA, .len = 512, .write = true };
	ck_assert_uint_eq(hba_do(&h, 0, &none), ABORTED);       /* DSM, but not TRIM */
	hba_end(&h);

	set_up(HBA_ID ".nodelete", "true");
	ck_assert_uint_eq(trim((uint64_t[]){ ENTRY(64, 32) }, 1, 1), ABORTED);
	hba_end(&h);
}
END_TEST

START_TEST(test_read_only)
{
	set_up(HBA_ID ".ro", "true");
	ck_assert_uint_eq(rw(0x25, 5, 1, false), GOOD);
	ck_assert_uint_eq(rw(0x35, 5, 1, true), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(trim((uint64_t[]){ ENTRY(64, 32) }, 1, 1), ABORTED);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xea }), GOOD);
	hba_end(&h);
}
END_TEST

static uint32_t feature(uint8_t code, uint8_t count)
{
	const uint32_t tfd = hba_do(&h, 0, &(struct hba_cmd){ .op = 0xef, .feature = code, .count = count });

	if (tfd != GOOD)
		hba_recover(&h, 0);
	return tfd;
}

START_TEST(test_features)
{
	set_up(NULL, NULL);
	ck_assert_uint_eq(feature(0x82, 0), GOOD);
	ck_assert(!h.a->port[0].write_cache);
	ck_assert_uint_eq(rw(0x35, 5, 1, true), GOOD);
	ck_assert_uint_eq(feature(0x02, 0), GOOD);
	ck_assert(h.a->port[0].write_cache);
	ck_assert_uint_eq(feature(0x55, 0), GOOD);
	ck_assert(!h.a->port[0].look_ahead);
	ck_assert_uint_eq(feature(0xaa, 0), GOOD);
	ck_assert_uint_eq(feature(0x03, 0x45), GOOD);
	ck_assert_uint_eq(h.a->port[0].xfer, 0x45);
	ck_assert_uint_eq(feature(0x03, 0x47), ABORTED);
	ck_assert_uint_eq(feature(0x03, 0x10), ABORTED);
	ck_assert_uint_eq(feature(0x10, 0x05), ABORTED);
	ck_assert_uint_eq(feature(0x66, 0), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_power)
{
	const uint8_t *d2h;

	set_up(NULL, NULL);
	d2h = hba_ptr(&h, HBA_FB(0) + 0x40, 20);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe5 }), GOOD);
	ck_assert_uint_eq(d2h[12], 0xff);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe0 }), GOOD);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe5 }), GOOD);
	ck_assert_uint_eq(d2h[12], 0x00);
	ck_assert_uint_eq(rw(0x25, 5, 1, false), GOOD);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe5 }), GOOD);
	ck_assert_uint_eq(d2h[12], 0xff);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xe6 }), GOOD);
	ck_assert_uint_eq(rw(0x25, 5, 1, false), ABORTED);      /* asleep until a reset */
	port_wr(&h, 0, P_CMD, CMD_FRE);
	port_wr(&h, 0, P_SCTL, 1);
	port_wr(&h, 0, P_SCTL, 0);
	hba_recover(&h, 0);
	ck_assert_uint_eq(rw(0x25, 5, 1, false), GOOD);
	hba_end(&h);
}
END_TEST

START_TEST(test_identify_and_diagnostic)
{
	const uint8_t *pio, *d2h;

	set_up(NULL, NULL);
	pio = hba_ptr(&h, HBA_FB(0) + 0x20, 20);
	d2h = hba_ptr(&h, HBA_FB(0) + 0x40, 20);
	port_wr(&h, 0, P_IS, ~0u);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xec, .data = HBA_DATA, .len = 512 }), GOOD);
	ck_assert_uint_eq(get_le16(data(150)), 31);
	ck_assert_uint_eq(pio[0], 0x5f);
	ck_assert_uint_eq(pio[15], 0x50);
	ck_assert_uint_eq(port_rd(&h, 0, P_IS), IS_PSS);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x90 }), 0x150);
	ck_assert_uint_eq(get_le32(d2h + 4), 1);
	ck_assert_uint_eq(d2h[12], 1);
	hba_end(&h);
}
END_TEST

UNIT_MAIN("devices/ahci/ata", test_reads, test_writes, test_multiple, test_limits, test_scattered, test_verify, test_queued, test_random_load,
	  test_queued_error, test_logs, test_trim, test_read_only, test_features, test_power, test_identify_and_diagnostic)
