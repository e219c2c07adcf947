#include "tests/unit/unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/devices/nvme/nvdrv.h"

#define DNR(s) ((s) | NVME_DNR)
#define SIZE (8u << 20)

static char path[64];
static struct nv *n;
static uint64_t buf;

static void set_up(const char *key, const char *val)
{
	snprintf(path, sizeof(path), "/tmp/skep-nvio-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert(fd >= 0 && ftruncate(fd, SIZE) == 0);
	close(fd);
	n = nv_open(path, key, val);
	ck_assert_ptr_nonnull(n);
	nv_start(n, 16, 2, 64);
	buf = nv_page(n, 513);
}

static void tear_down(void)
{
	nv_close(n);
	unlink(path);
}

static void image_read(uint64_t off, void *p, size_t len)
{
	const int fd = open(path, O_RDONLY);
	ck_assert_int_eq(pread(fd, p, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static bool image_is(uint64_t off, size_t len, uint8_t val)
{
	uint8_t *p = malloc(len);
	bool same = true;
	image_read(off, p, len);
	for (size_t i = 0; i < len; i++)
		same &= p[i] == val;
	free(p);
	return same;
}

static void fill(uint64_t gpa, size_t len, unsigned seed)
{
	uint8_t *p = nv_ptr(n, gpa, len);
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
}

/* Random places and lengths, compared with a copy of the disk. */
static void integrity(const char *key, const char *val)
{
	set_up(key, val);
	const unsigned bs = 1u << n->c->lbads;
	uint8_t *copy = calloc(1, SIZE);
	uint32_t x = 12345;
	for (unsigned i = 0; i < 300; i++) {
		x = x * 1664525 + 1013904223;
		const uint32_t len = bs * (1 + (x >> 8) % ((i % 8 ? 65536u : NVME_TRANSFER_MAX) / bs));
		const uint64_t lba = (x >> 5) % ((SIZE - len) / bs + 1), gpa = buf + (x >> 12) % 1024 * 4;
		if (i % 2) {
			fill(gpa, len, x);
			memcpy(copy + lba * bs, nv_ptr(n, gpa, len), len);
			ck_assert_uint_eq(nv_io(n, 1 + i % 4 / 2, IO_WRITE, lba, gpa, len), NVME_SUCCESS);
		} else {
			ck_assert_uint_eq(nv_io(n, 1 + i % 4 / 2, IO_READ, lba, gpa, len), NVME_SUCCESS);
			ck_assert(memcmp(copy + lba * bs, nv_ptr(n, gpa, len), len) == 0);
		}
		ck_assert_uint_eq(nv_io(n, 1, IO_COMPARE, lba, gpa, len), NVME_SUCCESS);
	}
	uint8_t *image = malloc(SIZE);
	image_read(0, image, SIZE);
	ck_assert(memcmp(image, copy, SIZE) == 0);
	free(image);
	free(copy);
	tear_down();
}
START_TEST(integrity_512) { integrity("aio", "threads"); }
END_TEST
START_TEST(integrity_4096) { integrity("sectorsize", "4096"); }
END_TEST

/* 60 commands in flight on each of two queues. */
START_TEST(deep)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up("aio", "auto");
	const uint64_t pages = nv_page(n, 120);
	for (unsigned i = 0; i < 120; i++) {
		fill(pages + i * 4096, 4096, i);
		nv_cmd(cmd, IO_WRITE);
		nv_prp(cmd, pages + i * 4096, 0);
		put_le64(cmd + 40, i * 8);
		nv_dw(cmd, 12, 7);
		nv_put(n, 1 + i % 2, cmd);
	}
	nv_ring(n, 1);
	nv_ring(n, 2);
	for (unsigned i = 0; i < 120; i++) {
		ck_assert(nv_wait(n, 1 + i % 2));
		ck_assert_uint_eq(n->last.status, 0);
	}
	uint8_t page[4096];
	for (unsigned i = 0; i < 120; i++) {
		image_read(i * 4096, page, sizeof(page));
		ck_assert_mem_eq(page, nv_ptr(n, pages + i * 4096, 4096), 4096);
	}
	tear_down();
}
END_TEST

START_TEST(limits)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up("aio", "threads");
	const uint64_t last = SIZE / 512 - 1;
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, last, buf, 512), NVME_SUCCESS);
	static const uint8_t ops[] = { IO_READ, IO_WRITE, IO_COMPARE, IO_VERIFY, IO_WRITE_ZEROES };
	for (size_t i = 0; i < sizeof(ops); i++) {
		ck_assert_uint_eq(nv_io(n, 1, ops[i], last, buf, 1024), DNR(NVME_LBA_RANGE));
		ck_assert_uint_eq(nv_io(n, 1, ops[i], UINT64_MAX, buf, 512), DNR(NVME_LBA_RANGE));
		ck_assert_uint_eq(nv_io(n, 1, ops[i], last + 1, buf, 512), DNR(NVME_LBA_RANGE));
		/* Namespaces. */
		static const uint32_t nsids[] = { 0, 2, NVME_NSID_ALL };
		for (size_t k = 0; k < NELEM(nsids); k++) {
			nv_cmd(cmd, ops[i]);
			nv_dw(cmd, 1, nsids[k]);
			nv_prp(cmd, buf, 0);
			ck_assert_uint_eq(nv_do(n, 1, cmd), DNR(NVME_INVALID_NAMESPACE));
		}
		/* Fused. */
		nv_cmd(cmd, ops[i]);
		cmd[1] = 1;
		ck_assert_uint_eq(nv_do(n, 1, cmd), DNR(NVME_INVALID_FIELD));
	}
	/* MDTS binds what transfers data. */
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 0, buf, NVME_TRANSFER_MAX), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 0, buf, NVME_TRANSFER_MAX + 512), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 0, buf, NVME_TRANSFER_MAX + 512), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(nv_io(n, 1, IO_COMPARE, 0, buf, NVME_TRANSFER_MAX + 512), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(nv_io(n, 1, IO_VERIFY, 0, buf, 2 * NVME_TRANSFER_MAX), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE_ZEROES, 0, buf, 2 * NVME_TRANSFER_MAX), NVME_SUCCESS);
	for (unsigned op = 0; op < 256; op++) {
		static const uint8_t known[] = { 0, 1, 2, 5, 8, 9, 12 };
		if (memchr(known, (int)op, sizeof(known)))
			continue;
		nv_cmd(cmd, (uint8_t)op);
		ck_assert_uint_eq(nv_do(n, 2, cmd), DNR(NVME_INVALID_OPCODE));
	}
	/* A failed I/O command is in the error log, and says so. */
	nv_put(n, 1, cmd);
	nv_ring(n, 1);
	ck_assert(nv_wait(n, 1));
	ck_assert(n->last.status & NVME_MORE);
	ck_assert_uint_eq(get_le16(n->c->errors + 8), 1);
	ck_assert_uint_eq(get_le16(n->c->errors + 10), n->last.cid);
	tear_down();
}
END_TEST

START_TEST(flushing)
{
	uint8_t cmd[NVME_SQE_LEN];
	set_up("aio", "threads");
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	nv_dw(cmd, 1, NVME_NSID_ALL);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	nv_dw(cmd, 1, 2);
	ck_assert_uint_eq(nv_do(n, 1, cmd), DNR(NVME_INVALID_NAMESPACE));
	/* Force unit access, and the cache off: the host is asked for stable storage. */
	nv_cmd(cmd, IO_WRITE);
	nv_prp(cmd, buf, 0);
	nv_dw(cmd, 12, 1u << 30);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert(n->c->reqs[0].blk.fua);
	nv_dw(cmd, 12, 0);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert(!n->c->reqs[0].blk.fua);
	n->c->feat.write_cache = 0;
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert(n->c->reqs[0].blk.fua);
	tear_down();
}
END_TEST

START_TEST(comparing)
{
	set_up("aio", "threads");
	fill(buf, 200000, 3);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 10, buf, 196608), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(n, 1, IO_COMPARE, 10, buf, 196608), NVME_SUCCESS);
	static const unsigned places[] = { 0, 511, 65535, 65536, 196607 };
	for (size_t i = 0; i < NELEM(places); i++) {
		((uint8_t *)nv_ptr(n, buf, 196608))[places[i]] ^= 1;
		ck_assert_uint_eq(nv_io(n, 1, IO_COMPARE, 10, buf, 196608), NVME_COMPARE_FAILURE);
		((uint8_t *)nv_ptr(n, buf, 196608))[places[i]] ^= 1;
	}
	ck_assert_uint_eq(nv_io(n, 1, IO_VERIFY, 10, buf, 196608), NVME_SUCCESS);
	tear_down();
}
END_TEST

START_TEST(zeroes)
{
	set_up("aio", "threads");
	memset(nv_ptr(n, buf, 262144), 0xaa, 262144);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 0, buf, 262144), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE_ZEROES, 3, buf, 5 * 512), NVME_SUCCESS);
	ck_assert(image_is(0, 3 * 512, 0xaa) && image_is(3 * 512, 5 * 512, 0) && image_is(8 * 512, 512, 0xaa));
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, IO_WRITE_ZEROES);
	put_le64(cmd + 40, 128);
	nv_dw(cmd, 12, 127 | 1u << 25);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	ck_assert(n->c->reqs[0].blk.unmap);
	ck_assert(image_is(127 * 512, 512, 0xaa) && image_is(128 * 512, 65536, 0) && image_is(256 * 512, 512, 0xaa));
	tear_down();
}
END_TEST

static uint16_t dsm(unsigned ranges, uint32_t attrs)
{
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, IO_DSM);
	nv_dw(cmd, 10, ranges - 1);
	nv_dw(cmd, 11, attrs);
	nv_prps(n, cmd, buf, ranges * 16);
	return nv_do(n, 1, cmd);
}

static void range(unsigned i, uint64_t lba, uint32_t blocks)
{
	put_le64(nv_ptr(n, buf + i * 16, 8), 0x1234);
	put_le32(nv_ptr(n, buf + i * 16 + 4, 4), blocks);
	put_le64(nv_ptr(n, buf + i * 16 + 8, 8), lba);
}

START_TEST(deallocating)
{
	set_up("aio", "threads");
	memset(nv_ptr(n, buf, 1 << 20), 0xaa, 1 << 20);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 0, buf, 1 << 20), NVME_SUCCESS);
	range(0, 128, 128);
	range(1, 500, 0);
	range(2, 384, 128);
	range(3, 0, 0);
	ck_assert_uint_eq(dsm(4, 3), NVME_SUCCESS);             /* hints, no deallocation */
	ck_assert(image_is(0, 1 << 20, 0xaa));
	ck_assert_uint_eq(dsm(4, 4), NVME_SUCCESS);
	for (unsigned i = 0; i < 5; i++)
		ck_assert(image_is(i * 65536, 65536, i % 2 ? 0 : 0xaa));
	/* One range that is out of bounds, and nothing happens. */
	range(0, 512, 8);
	range(1, SIZE / 512, 1);
	ck_assert_uint_eq(dsm(2, 4), DNR(NVME_LBA_RANGE));
	range(1, UINT64_MAX, UINT32_MAX);
	ck_assert_uint_eq(dsm(2, 4), DNR(NVME_LBA_RANGE));
	ck_assert(image_is(512 * 512, 4096, 0xaa));
	for (unsigned i = 0; i < 256; i++)
		range(i, 1024 + i * 8, 8);
	ck_assert_uint_eq(dsm(256, 4), NVME_SUCCESS);
	ck_assert(image_is(1024 * 512, 256 * 4096, 0));
	ck_assert_uint_eq(n->c->inflight, 0);
	tear_down();
	set_up("nodelete", "true");
	ck_assert_uint_eq(dsm(1, 4), DNR(NVME_INVALID_OPCODE));
	tear_down();
}
END_TEST

START_TEST(read_only)
{
	set_up("ro", "true");
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 0, buf, 512), DNR(NVME_WRITE_PROTECTED));
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE_ZEROES, 0, buf, 512), DNR(NVME_WRITE_PROTECTED));
	ck_assert_uint_eq(dsm(1, 4), DNR(NVME_WRITE_PROTECTED));
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 0, buf, 512), NVME_SUCCESS);
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, IO_FLUSH);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	tear_down();
}
END_TEST

/* What cannot be reached, on the disk or in memory. */
START_TEST(unreachable)
{
	set_up("aio", "threads");
	const uint64_t list = nv_page(n, 1);
	uint8_t cmd[NVME_SQE_LEN];
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 1ull << 60, buf, 512), DNR(NVME_LBA_RANGE));
	/* Memory that is none. */
	nv_cmd(cmd, IO_READ);
	nv_prp(cmd, 0, 0);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_TRANSFER_ERROR);
	nv_prp(cmd, buf, list);
	nv_dw(cmd, 12, 100);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_TRANSFER_ERROR);
	ck_assert_uint_eq(n->c->count.errors, 3);
	tear_down();
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_io", integrity_512, integrity_4096, deep, limits, flushing, comparing, zeroes, deallocating, read_only,
	  unreachable)
