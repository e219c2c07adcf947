#include "tests/unit/unit.h"

#include "tests/unit/devices/nvme/nvdrv.h"

#define DNR(s) ((s) | NVME_DNR)
#define END (DRV_RAM_BASE + DRV_RAM_LEN)

static struct nv *n;
static struct iovec iov[NVME_IOV_MAX];
static unsigned niov;
static uint8_t cmd[NVME_SQE_LEN];

static void set_up(unsigned mps)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "16M");
	n = nv_open_on(vm, NV_ID);
	n->mps = mps;
	nv_start(n, 16, 1, 8);
	nv_cmd(cmd, IO_READ);
}

static uint16_t map(uint32_t len)
{
	return nvme_map(n->c, cmd, len, true, false, iov, &niov);
}

static size_t total(void)
{
	size_t sum = 0;
	for (unsigned i = 0; i < niov; i++)
		sum += iov[i].iov_len;
	return sum;
}

START_TEST(two_prps)
{
	set_up(0);
	const uint64_t a = nv_page(n, 1), gap = nv_page(n, 1), b = nv_page(n, 1);
	nv_prp(cmd, a + 256, 0);
	ck_assert_uint_eq(map(512), 0);
	ck_assert(niov == 1 && iov[0].iov_base == nv_ptr(n, a + 256, 1) && iov[0].iov_len == 512);
	ck_assert_uint_eq(map(4096 - 256), 0);          /* PRP2 is not looked at */
	nv_prp(cmd, a + 256, b);
	ck_assert_uint_eq(map(4096), 0);
	ck_assert(niov == 2 && iov[1].iov_base == nv_ptr(n, b, 1) && iov[1].iov_len == 256);
	nv_prp(cmd, a, gap);                            /* neighbours become one piece */
	ck_assert_uint_eq(map(8192), 0);
	ck_assert(niov == 1 && iov[0].iov_len == 8192);
	static const uint32_t offs[] = { 1, 2, 3, 5, 4095 };
	for (size_t i = 0; i < NELEM(offs); i++) {
		nv_prp(cmd, a + offs[i], b);
		ck_assert_uint_eq(map(512), DNR(NVME_PRP_OFFSET));
		nv_prp(cmd, a, b + offs[i]);
		ck_assert_uint_eq(map(8192), DNR(NVME_PRP_OFFSET));
	}
	nv_prp(cmd, 0, 0);
	ck_assert_uint_eq(map(512), NVME_TRANSFER_ERROR);
	nv_prp(cmd, a, 0);
	ck_assert_uint_eq(map(8192), NVME_TRANSFER_ERROR);
	nv_prp(cmd, END - 4096, END);
	ck_assert_uint_eq(map(8192), NVME_TRANSFER_ERROR);
	nv_prp(cmd, UINT64_MAX & ~3ull, 0);
	ck_assert_uint_eq(map(512), NVME_TRANSFER_ERROR);
	ck_assert_uint_eq(map(0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(map(NVME_TRANSFER_MAX + 1), DNR(NVME_INVALID_FIELD));
	nv_close(n);
}
END_TEST

/* Lists from every place of a page, continued in a second one; every other page, so that no two pieces meet. */
START_TEST(lists)
{
	set_up(0);
	const uint64_t data = nv_page(n, 520), list = nv_page(n, 2);
	for (unsigned pages = 2; pages <= 256; pages += 2 + pages / 4) {
		for (unsigned place = 0; place < 512; place++) {
			unsigned at = place;
			nv_prp(cmd, data, list + 8 * place);
			for (unsigned i = 1; i < pages; i++) {
				if (at == 511 && i + 1 < pages) {
					put_le64(nv_ptr(n, list + 8 * at, 8), list + 4096);
					at = 512;
				}
				put_le64(nv_ptr(n, list + 8 * at++, 8), data + i * 8192);
			}
			if (pages == 2)
				nv_prp(cmd, data, data + 8192);
			ck_assert_uint_eq(map(pages * 4096), 0);
			ck_assert_uint_eq(niov, pages);
			for (unsigned i = 0; i < pages; i++)
				ck_assert(iov[i].iov_base == nv_ptr(n, data + i * 8192, 1) && iov[i].iov_len == 4096);
		}
	}
	/* An offset in PRP1 takes one page more. */
	for (unsigned i = 0; i < 256; i++)
		put_le64(nv_ptr(n, list + 8 * i, 8), data + (i + 1) * 8192);
	nv_prp(cmd, data + 512, list);
	ck_assert_uint_eq(map(NVME_TRANSFER_MAX), 0);
	ck_assert_uint_eq(niov, 257);
	ck_assert_uint_eq(iov[256].iov_len, 512);
	ck_assert_uint_eq(total(), NVME_TRANSFER_MAX);
	/* What a list may not say. */
	nv_prp(cmd, data, list + 4);
	ck_assert_uint_eq(map(65536), DNR(NVME_PRP_OFFSET));
	nv_prp(cmd, data, list);
	put_le64(nv_ptr(n, list + 8, 8), data + 8);
	ck_assert_uint_eq(map(65536), DNR(NVME_PRP_OFFSET));
	put_le64(nv_ptr(n, list + 8, 8), END);
	ck_assert_uint_eq(map(65536), NVME_TRANSFER_ERROR);
	put_le64(nv_ptr(n, list + 4088, 8), list + 8);
	nv_prp(cmd, data, list + 4088);
	ck_assert_uint_eq(map(65536), DNR(NVME_PRP_OFFSET));
	nv_prp(cmd, data, END);
	ck_assert_uint_eq(map(65536), NVME_TRANSFER_ERROR);
	nv_prp(cmd, data, 0);
	ck_assert_uint_eq(map(65536), NVME_TRANSFER_ERROR);
	nv_close(n);
}
END_TEST

START_TEST(large_pages)
{
	set_up(4);
	const uint64_t data = nv_page(n, 80);
	nv_prp(cmd, data + 4096, data + 131072);
	ck_assert_uint_eq(map(65536), 0);
	ck_assert(niov == 2 && iov[0].iov_len == 61440 && iov[1].iov_len == 4096);
	nv_prp(cmd, data, data + 4096);
	ck_assert_uint_eq(map(65536 + 512), DNR(NVME_PRP_OFFSET));
	nv_close(n);
}
END_TEST

/* --- SGLs --- */

static void desc(uint8_t *d, uint64_t at, uint32_t len, uint8_t type)
{
	put_le64(d, at);
	put_le32(d + 8, len);
	put_le32(d + 12, (uint32_t)type << 24);
}

static void sgl1(uint64_t at, uint32_t len, uint8_t type)
{
	desc(cmd + 24, at, len, type);
	cmd[1] = 0x40;
}

static void put_desc(uint64_t list, unsigned i, uint64_t at, uint32_t len, uint8_t type)
{
	desc(nv_ptr(n, list + 16 * i, 16), at, len, type);
}

START_TEST(sgl)
{
	set_up(0);
	const uint64_t data = nv_page(n, 20), list = nv_page(n, 4);
	sgl1(data + 3, 4096, 0x00);
	ck_assert_uint_eq(map(4096), 0);
	ck_assert(niov == 1 && iov[0].iov_base == nv_ptr(n, data + 3, 1));
	ck_assert_uint_eq(map(512), 0);                 /* longer than the data */
	ck_assert_uint_eq(total(), 512);
	ck_assert_uint_eq(map(8192), DNR(NVME_SGL_LENGTH));
	sgl1(0, 4096, 0x00);
	ck_assert_uint_eq(map(4096), NVME_TRANSFER_ERROR);
	sgl1(data, 4096, 0x01);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_TYPE));
	for (unsigned type = 4; type < 16; type++) {
		sgl1(data, 4096, (uint8_t)(type << 4));
		ck_assert_uint_eq(map(4096), DNR(NVME_SGL_TYPE));
	}
	/* A segment that goes on in a last one; empty blocks in between. */
	put_desc(list, 0, data, 100, 0x00);
	put_desc(list, 1, data, 0, 0x00);
	put_desc(list, 2, data + 200, 412, 0x00);
	put_desc(list, 3, list + 4096, 32, 0x30);
	put_desc(list + 4096, 0, data + 4096, 1000, 0x00);
	put_desc(list + 4096, 1, data + 8192, 2584, 0x00);
	sgl1(list, 64, 0x20);
	ck_assert_uint_eq(map(4096), 0);
	ck_assert_uint_eq(niov, 4);
	ck_assert(iov[3].iov_base == nv_ptr(n, data + 8192, 1) && iov[3].iov_len == 2584);
	/* A last segment that has a segment, one in the middle, odd lengths, too little data. */
	sgl1(list, 64, 0x30);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_LAST_SEGMENT));
	sgl1(list, 80, 0x20);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_COUNT));
	sgl1(list, 63, 0x20);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_COUNT));
	sgl1(list, 0, 0x30);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_LAST_SEGMENT));
	sgl1(list, 48, 0x30);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_LENGTH));
	sgl1(list, 64, 0x20);
	ck_assert_uint_eq(map(4097), DNR(NVME_SGL_LENGTH));
	sgl1(END, 64, 0x20);
	ck_assert_uint_eq(map(4096), NVME_TRANSFER_ERROR);
	/* PSDT 2 and 3: metadata in a segment, reserved; admin commands have no SGLs. */
	sgl1(data, 4096, 0);
	cmd[1] = 0x80;
	ck_assert_uint_eq(map(4096), DNR(NVME_INVALID_FIELD));
	cmd[1] = 0xc0;
	ck_assert_uint_eq(map(4096), DNR(NVME_INVALID_FIELD));
	cmd[1] = 0x40;
	ck_assert_uint_eq(nvme_map(n->c, cmd, 4096, true, true, iov, &niov), DNR(NVME_INVALID_FIELD));
	nv_close(n);
}
END_TEST

/* Lists without end, or with more pieces than the host takes at once. */
START_TEST(sgl_bounds)
{
	set_up(0);
	const uint64_t data = nv_page(n, 1), list = nv_page(n, 8), empty = nv_page(n, 20);
	put_desc(list, 0, list, 16, 0x20);
	sgl1(list, 16, 0x20);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_COUNT));
	for (unsigned i = 0; i < 255; i++)
		put_desc(list, i, data, 0, 0x00);
	put_desc(list, 255, list, 4096, 0x20);
	sgl1(list, 4096, 0x20);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_COUNT));
	for (unsigned i = 0; i < 1100; i++)
		put_desc(list, i, data + 8 * (i % 2), 4, 0x00);
	sgl1(list, 1100 * 16, 0x30);
	ck_assert_uint_eq(map(4096), 0);
	ck_assert_uint_eq(niov, 1024);
	ck_assert_uint_eq(map(4100), DNR(NVME_SGL_COUNT));
	sgl1(list, 0xfffffff0, 0x30);
	ck_assert_uint_eq(map(4096), 0);
	sgl1(empty, 0xfffffff0, 0x30);
	ck_assert_uint_eq(map(4096), DNR(NVME_SGL_COUNT));
	nv_close(n);
}
END_TEST

/* A read may throw parts away; for a write a bucket is empty. */
START_TEST(bit_bucket)
{
	set_up(0);
	const uint64_t data = nv_page(n, 3), list = nv_page(n, 1);
	memset(nv_ptr(n, data, 4096), 0x11, 2048);
	memset(nv_ptr(n, data + 2048, 2048), 0x22, 2048);
	ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, 0, data, 4096), NVME_SUCCESS);
	memset(nv_ptr(n, data, 4096), 0xee, 4096);
	nv_cmd(cmd, IO_READ);
	nv_dw(cmd, 12, 7);
	put_desc(list, 0, 0, 2048, 0x10);
	put_desc(list, 1, data, 2048, 0x00);
	sgl1(list, 32, 0x30);
	ck_assert_uint_eq(nv_do(n, 1, cmd), NVME_SUCCESS);
	const uint8_t *p = nv_ptr(n, data, 4096);
	ck_assert(p[0] == 0x22 && p[2047] == 0x22 && p[2048] == 0xee);
	cmd[0] = IO_WRITE;
	ck_assert_uint_eq(nv_do(n, 1, cmd), DNR(NVME_SGL_LENGTH));
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_prp", two_prps, lists, large_pages, sgl, sgl_bounds, bit_bucket)
