#include "tests/unit/unit.h"

#include <unistd.h>

#include "devices/nvme/nvme_boot.h"
#include "tests/unit/devices/nvme/nvdrv.h"

#define BAD_NS NVME_INVALID_NAMESPACE

static struct nv *n;
static uint64_t page;

static void set_up(const char *key, const char *val)
{
	struct vm *vm = drv_vm_new();
	char full[64];
	drv_conf(vm, NV_ID ".ram", "16M");
	drv_conf(vm, NV_ID ".ser", "S1");
	snprintf(full, sizeof(full), NV_ID ".%s", key);
	drv_conf(vm, full, val);
	n = nv_open_on(vm, NV_ID);
	nv_start(n, 16, 0, 0);
	page = nv_page(n, 2);
}

static uint16_t identify(uint32_t cns, uint32_t nsid)
{
	uint8_t cmd[NVME_SQE_LEN];
	memset(nv_ptr(n, page, 8192), 0xee, 8192);
	nv_cmd(cmd, ADM_IDENTIFY);
	nv_dw(cmd, 1, nsid);
	nv_dw(cmd, 10, cns);
	nv_prp(cmd, page + 2048, page + 4096);          /* over two pages */
	return nv_do(n, 0, cmd);
}

static const uint8_t *at(unsigned off) { return nv_ptr(n, page + 2048 + off, 16); }

START_TEST(controller)
{
	set_up("maxq", "3");
	ck_assert_uint_eq(identify(1, 0), NVME_SUCCESS);
	ck_assert_mem_eq(at(4), "S1                  ", 16);
	ck_assert_mem_eq(at(24), "skep NVMe Disk  ", 16);
	ck_assert_uint_eq(at(77)[0], 8);
	ck_assert_uint_eq(get_le32(at(80)), 0x10400);
	ck_assert_uint_eq(at(111)[0], 1);
	ck_assert_uint_eq(get_le16(at(256)), 0x100);            /* no format, no firmware, no security */
	ck_assert_uint_eq(at(512)[0], 0x66);
	ck_assert_uint_eq(at(513)[0], 0x44);
	ck_assert_uint_eq(get_le32(at(516)), 1);
	ck_assert_uint_eq(get_le16(at(520)), 0x9d);
	ck_assert_uint_eq(get_le16(at(522)), 0);                /* no fused operations */
	ck_assert_uint_eq(at(525)[0], 7);
	ck_assert_uint_eq(get_le32(at(536)), 0x50001);
	ck_assert_mem_eq(at(768), "nqn.2014-08.org.", 16);
	ck_assert_uint_eq(strlen((const char *)nv_ptr(n, page + 2048 + 768, 256)), 32 + 36);
	ck_assert_uint_eq(*(uint8_t *)nv_ptr(n, page + 2047, 1), 0xee);
	ck_assert_uint_eq(*(uint8_t *)nv_ptr(n, page + 2048 + 4096, 1), 0xee);
	nv_close(n);
}
END_TEST

START_TEST(namespace)
{
	set_up("sectorsize", "512/4096");
	ck_assert_uint_eq(identify(0, 1), NVME_SUCCESS);
	ck_assert_uint_eq(get_le64(at(0)), 32768);
	ck_assert_uint_eq(get_le64(at(8)), 32768);
	ck_assert_uint_eq(get_le64(at(16)), 32768);
	ck_assert_uint_eq(at(25)[0], 0);
	ck_assert_uint_eq(at(33)[0], 9);
	ck_assert_uint_eq(get_le64(at(48)), 16 << 20);
	ck_assert_uint_eq(get_le16(at(64)), 7);
	ck_assert_uint_eq(at(99)[0], 0);
	ck_assert_uint_eq(get_le32(at(128)), 9 << 16);
	ck_assert_uint_eq(at(120)[0], 2);               /* locally administered */
	uint8_t eui[8], nguid[16];
	memcpy(eui, at(120), 8);
	memcpy(nguid, at(104), 16);
	ck_assert_mem_eq(nguid + 8, eui, 8);
	ck_assert_uint_eq(identify(3, 1), NVME_SUCCESS);
	ck_assert(at(0)[0] == 1 && at(0)[1] == 8 && memcmp(at(4), eui, 8) == 0);
	ck_assert(at(12)[0] == 2 && at(12)[1] == 16 && memcmp(at(16), nguid, 16) == 0);
	ck_assert(at(32)[0] == 3 && at(32)[1] == 16 && at(42)[0] >> 4 == 8 && at(44)[0] >> 6 == 2);
	ck_assert_uint_eq(get_le32(at(52)), 0);
	nv_close(n);
}
END_TEST

START_TEST(given_identifier)
{
	set_up("eui64", "0x589cfc0102030405");
	ck_assert_uint_eq(identify(0, 1), NVME_SUCCESS);
	ck_assert_uint_eq(get_be64(at(120)), 0x589cfc0102030405);
	ck_assert_uint_eq(nvme_boot_eui64(&n->c->pci.dev), 0x0504030201fc9c58);
	nv_close(n);
}
END_TEST

START_TEST(lists)
{
	static const struct { uint32_t cns, nsid; uint16_t status; uint32_t first; } cases[] = {
		{ 0, 0, BAD_NS, 0 }, { 0, 2, BAD_NS, 0 }, { 0, NVME_NSID_ALL, BAD_NS, 0 },
		{ 2, 0, 0, 1 }, { 2, 1, 0, 0 }, { 2, 0xfffffffd, 0, 0 }, { 2, 0xfffffffe, BAD_NS, 0 },
		{ 2, NVME_NSID_ALL, BAD_NS, 0 }, { 3, 0, BAD_NS, 0 }, { 3, 2, BAD_NS, 0 },
		{ 0x10, 0, 0, 1 }, { 0x11, 1, 0, 32768 }, { 0x11, 2, BAD_NS, 0 }, { 0x12, 1, 0, 1 }, { 0x12 | 1 << 16, 1, 0, 0 },
		{ 0x12, 2, BAD_NS, 0 }, { 0x13, 0, 0, 1 }, { 0x13 | 5 << 16, 0, 0, 0 }, { 4, 1, NVME_INVALID_FIELD, 0 },
		{ 0x14, 0, NVME_INVALID_FIELD, 0 }, { 0xff, 1, NVME_INVALID_FIELD, 0 },
	};
	set_up("maxq", "1");
	for (size_t i = 0; i < NELEM(cases); i++) {
		const uint16_t status = identify(cases[i].cns, cases[i].nsid);
		ck_assert_msg(status == (cases[i].status ? cases[i].status | NVME_DNR : 0), "case %zu: %#x", i, status);
		if (!status)
			ck_assert_msg(get_le32(at(0)) == cases[i].first, "case %zu: %u", i, get_le32(at(0)));
		else
			ck_assert_uint_eq(at(0)[0], 0xee);
	}
	nv_close(n);
}
END_TEST

/* Dataset Management is offered where discarding does something, unless told otherwise. */
START_TEST(dsm)
{
	static const struct { const char *key, *val; bool there; } cases[] = {
		{ "dsm", "auto", true }, { "dsm", "disable", false }, { "dsm", "enable", true }, { "nodelete", "true", false },
		{ "ro", "true", false },
	};
	for (size_t i = 0; i < NELEM(cases); i++) {
		set_up(cases[i].key, cases[i].val);
		ck_assert_uint_eq(identify(1, 0), NVME_SUCCESS);
		ck_assert_msg((get_le16(at(520)) >> 2 & 1) == cases[i].there, "case %zu", i);
		ck_assert_uint_eq(identify(0, 1), NVME_SUCCESS);
		ck_assert_uint_eq(at(99)[0], strcmp(cases[i].key, "ro") == 0);
		nv_close(n);
	}
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_identify", controller, namespace, given_identifier, lists, dsm)
