#include "tests/unit/unit.h"

#include "tests/unit/devices/nvme/nvdrv.h"

#define DNR(s) ((s) | NVME_DNR)

static struct nv *n;
static uint64_t page;

static void set_up(void)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".ram", "16M");
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 1, 8);
	page = nv_page(n, 3);
}

static uint16_t get(uint32_t id, uint32_t len, uint64_t off, uint32_t nsid)
{
	uint8_t cmd[NVME_SQE_LEN];
	memset(nv_ptr(n, page, 12288), 0xee, 12288);
	nv_cmd(cmd, ADM_LOG_PAGE);
	nv_dw(cmd, 1, nsid);
	nv_dw(cmd, 10, id | (len / 4 - 1) << 16);
	nv_dw(cmd, 11, (len / 4 - 1) >> 16);
	put_le64(cmd + 48, off);
	nv_prps(n, cmd, page, len);
	return nv_do(n, 0, cmd);
}

static const uint8_t *at(unsigned off) { return nv_ptr(n, page + off, 16); }

START_TEST(smart)
{
	set_up();
	const uint64_t buf = nv_page(n, 256);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(nv_io(n, 1, IO_WRITE, i, buf, 512), NVME_SUCCESS);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(nv_io(n, 1, IO_READ, i, buf, 1 << 20), NVME_SUCCESS);
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, UINT64_MAX, buf, 512), DNR(NVME_LBA_RANGE));
	static const uint32_t nsids[] = { 0, 1, NVME_NSID_ALL };
	for (size_t i = 0; i < NELEM(nsids); i++) {
		ck_assert_uint_eq(get(LOG_SMART, 512, 0, nsids[i]), NVME_SUCCESS);
		ck_assert_uint_eq(at(0)[0], 0);
		ck_assert_uint_eq(get_le16(at(1)), NVME_KELVIN);
		ck_assert_uint_eq(at(3)[0], 100);
		ck_assert_uint_eq(get_le64(at(32)), 5);         /* 4096 sectors, in thousands, rounded up */
		ck_assert_uint_eq(get_le64(at(48)), 1);
		ck_assert_uint_eq(get_le64(at(64)), 2);
		ck_assert_uint_eq(get_le64(at(80)), 3);
		ck_assert_uint_eq(get_le64(at(112)), 1);
		ck_assert_uint_eq(get_le64(at(160)), 0);
		ck_assert_uint_eq(get_le64(at(176)), 1);
		ck_assert_uint_eq(at(512)[0], 0xee);
	}
	ck_assert_uint_eq(get(LOG_SMART, 512, 0, 2), DNR(NVME_INVALID_NAMESPACE));
	/* Counters outlive the controller's reset. */
	nv_start(n, 16, 1, 8);
	ck_assert_uint_eq(get(LOG_SMART, 512, 0, 0), NVME_SUCCESS);
	ck_assert_uint_eq(get_le64(at(80)), 3);
	nv_close(n);
}
END_TEST

START_TEST(errors)
{
	set_up();
	const uint64_t buf = nv_page(n, 1);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_uint_eq(nv_io(n, 1, IO_READ, 1000000 + i, buf, 512), DNR(NVME_LBA_RANGE));
	const uint16_t cid = n->last.cid;
	ck_assert_uint_eq(get(LOG_ERROR_INFO, 1024, 0, 0), NVME_SUCCESS);
	for (unsigned i = 0; i < NVME_ERRORS; i++) {
		ck_assert_uint_eq(get_le64(at(64 * i)), 20 - i);
		ck_assert_uint_eq(get_le64(at(64 * i + 16)), 1000000 + 19 - i);
	}
	ck_assert_uint_eq(get_le16(at(8)), 1);
	ck_assert_uint_eq(get_le16(at(10)), cid);
	ck_assert_uint_eq(get_le16(at(12)), DNR(NVME_LBA_RANGE) << 1 & 0xffff);
	ck_assert_uint_eq(get_le32(at(24)), 1);
	nv_close(n);
}
END_TEST

START_TEST(pages)
{
	set_up();
	ck_assert_uint_eq(get(LOG_FIRMWARE, 512, 0, NVME_NSID_ALL), NVME_SUCCESS);
	ck_assert(at(0)[0] == 1 && memcmp(at(8), "1.0     ", 8) == 0 && at(16)[0] == 0);
	ck_assert_uint_eq(get(LOG_CHANGED_NS, 4096, 0, NVME_NSID_ALL), NVME_SUCCESS);
	ck_assert_uint_eq(get_le32(at(0)), 0);
	ck_assert_uint_eq(get(LOG_EFFECTS, 4096, 0, NVME_NSID_ALL), NVME_SUCCESS);
	ck_assert_uint_eq(get_le32(at(4 * ADM_IDENTIFY)), 1);
	ck_assert_uint_eq(get_le32(at(4 * 0x80)), 0);
	ck_assert_uint_eq(get_le32(at(1024 + 4 * IO_WRITE)), 3);
	ck_assert_uint_eq(get_le32(at(1024 + 4 * IO_DSM)), 3);
	for (unsigned id = 0; id < 256; id++) {
		if (id >= 1 && id <= 5)
			continue;
		ck_assert_uint_eq(get(id, 512, 0, NVME_NSID_ALL), DNR(NVME_LOG_INVALID));
	}
	nv_close(n);
}
END_TEST

/* Parts of pages, more than a page has, more than a command transfers. */
START_TEST(offsets)
{
	set_up();
	ck_assert_uint_eq(get(LOG_FIRMWARE, 8, 8, 0), NVME_SUCCESS);
	ck_assert(memcmp(at(0), "1.0     ", 8) == 0 && at(8)[0] == 0xee);
	ck_assert_uint_eq(get(LOG_FIRMWARE, 8192, 0, 0), NVME_SUCCESS);
	ck_assert(at(0)[0] == 1 && at(512)[0] == 0 && at(8191 - 15)[15] == 0 && at(8192)[0] == 0xee);
	ck_assert_uint_eq(get(LOG_FIRMWARE, 4, 512, 0), NVME_SUCCESS);
	ck_assert_uint_eq(at(0)[0], 0);
	ck_assert_uint_eq(get(LOG_FIRMWARE, 4, 516, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(get(LOG_FIRMWARE, 4, 2, 0), DNR(NVME_INVALID_FIELD));
	ck_assert_uint_eq(get(LOG_FIRMWARE, 4, UINT64_MAX - 3, 0), DNR(NVME_INVALID_FIELD));
	uint8_t cmd[NVME_SQE_LEN];
	nv_cmd(cmd, ADM_LOG_PAGE);
	nv_dw(cmd, 10, LOG_SMART | 0xffffu << 16);
	nv_dw(cmd, 11, 0xffff);
	nv_prp(cmd, page, page);
	ck_assert_uint_eq(nv_do(n, 0, cmd), DNR(NVME_INVALID_FIELD));
	nv_close(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_log", smart, errors, pages, offsets)
