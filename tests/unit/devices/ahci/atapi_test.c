/* PACKET commands of a CD drive, sense, and the exchange of its medium. */
#include <errno.h>
#include <unistd.h>

#include "common/loop.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/ahci/hba.h"
#include "tests/unit/unit.h"

#define SIZE (256 * 2048u)
#define GOOD 0x50u
static struct hba h;

static void set_up(bool medium)
{
	h = (struct hba){ 0 };
	if (medium)
		hba_image(&h, SIZE);
	ck_assert(hba_open(&h, &ahci_cd_class));
	hba_start(&h, 0);
}

/* A packet by DMA; after an error the port is started again. */
static uint32_t packet(const uint8_t cdb[12], uint32_t len)
{
	const struct hba_cmd c = { .op = 0xa0, .feature = 1, .cdb = cdb, .data = len ? HBA_DATA : 0, .len = len };
	const uint32_t tfd = hba_do(&h, 0, &c);

	if (tfd & ATA_ERR) {
		ck_assert(port_rd(&h, 0, P_IS) & IS_TFES);
		hba_recover(&h, 0);
	}
	return tfd;
}

#define CDB(...) ((const uint8_t[12]){ __VA_ARGS__ })
#define TEST_UNIT_READY CDB(0)
#define REQUEST_SENSE CDB(3, 0, 0, 0, 18)
#define READ10(lba, n) CDB(0x28, 0, 0, 0, (lba) >> 8, (lba) & 255, 0, (n) >> 8, (n) & 255)

static const uint8_t *data(void)
{
	return hba_ptr(&h, HBA_DATA, 4096);
}

/* Sense of the last command: key, code, qualifier. */
static uint32_t sense(void)
{
	ck_assert_uint_eq(packet(REQUEST_SENSE, 18), GOOD);
	return (uint32_t)(data()[2] & 15) << 16 | data()[12] << 8 | data()[13];
}

/* As a driver after a reset: the unit attention is fetched. */
static void attend(uint32_t want)
{
	ck_assert_uint_eq(packet(TEST_UNIT_READY, 0), 0x6441);
	ck_assert_uint_eq(sense(), want);
}

START_TEST(test_identity)
{
	set_up(true);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xa1, .data = HBA_DATA, .len = 512 }), GOOD);
	ck_assert_uint_eq(get_le16(data()), 0x85c0);
	/* To a disk's command it answers with its signature. */
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xec, .data = HBA_DATA, .len = 512 }), 0x441);
	ck_assert_uint_eq(get_le16(hba_ptr(&h, HBA_FB(0) + 0x45, 2)), 0xeb14);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x25, .count = 1, .data = HBA_DATA, .len = 512 }), 0x441);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0x08 }), 0x100);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xef, .feature = 3, .count = 0x42 }), GOOD);
	ck_assert_uint_eq(packet(CDB(0x12, 0, 0, 0, 36), 36), GOOD);
	ck_assert_uint_eq(data()[0], 5);
	ck_assert_uint_eq(data()[1], 0x80);
	hba_end(&h);
}
END_TEST

START_TEST(test_read)
{
	set_up(true);
	attend(0x062900);
	ck_assert_uint_eq(packet(CDB(0x25), 8), GOOD);
	ck_assert_uint_eq(get_be32(data()), 255);
	ck_assert_uint_eq(get_be32(data() + 4), 2048);
	ck_assert_uint_eq(packet(READ10(16, 4), 8192), GOOD);
	ck_assert_uint_eq(hba_count(&h, 0, 0), 8192);
	ck_assert_uint_eq(get_le64(data()), 64);
	ck_assert_uint_eq(get_le64(data() + 2048), 68);
	ck_assert_uint_eq(*(uint8_t *)hba_ptr(&h, HBA_FB(0) + 0x4c, 1), 3);     /* interrupt reason */
	ck_assert_uint_eq(packet(READ10(255, 2), 4096) & 0xf001, 0x5001);
	ck_assert_uint_eq(sense(), 0x052100);
	ck_assert_uint_eq(sense(), 0);                          /* it was fetched */
	hba_end(&h);
}
END_TEST

/* The same by PIO, and into many pieces. */
START_TEST(test_pieces)
{
	set_up(true);
	attend(0x062900);
	const struct hba_cmd c = { .op = 0xa0, .cdb = READ10(0, 8), .data = HBA_DATA, .len = 16384, .pieces = 100 };
	ck_assert_uint_eq(hba_do(&h, 0, &c), GOOD);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 16384 - 512, 8)), 31);
	/* Room for less than it asks: nothing is read. */
	ck_assert_uint_eq(packet(READ10(0, 8), 2048) & 1, 1);
	hba_end(&h);
}
END_TEST

START_TEST(test_empty)
{
	set_up(false);
	attend(0x062900);
	ck_assert_uint_eq(packet(TEST_UNIT_READY, 0), 0x2441);
	ck_assert_uint_eq(sense() >> 8, 0x023a);
	ck_assert_uint_eq(packet(READ10(0, 1), 2048), 0x2441);
	hba_end(&h);
}
END_TEST

START_TEST(test_exchange)
{
	struct capture cap;

	set_up(false);
	hba_image(&h, SIZE);
	attend(0x062900);
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 1, NULL), -EINVAL);
	h.vm->dry = false;
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 0, "/nonexistent/cd.iso"), -ENOENT);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "/nonexistent/cd.iso"));
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 0, h.path), 0);
	h.vm->dry = true;
	attend(0x062800);
	ck_assert_uint_eq(packet(READ10(2, 1), 2048), GOOD);
	ck_assert_uint_eq(get_le64(data()), 8);
	/* The guest locks the drive. */
	ck_assert_uint_eq(packet(CDB(0x1e, 0, 0, 0, 1), 0), GOOD);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 0, NULL), -EBUSY);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "the guest has locked the drive"));
	ck_assert_uint_eq(packet(CDB(0x1e), 0), GOOD);
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 0, NULL), 0);
	ck_assert_ptr_null(h.a->port[0].blk);
	ck_assert_uint_eq(packet(READ10(2, 1), 2048) & 1, 1);
	hba_end(&h);
}
END_TEST

/* The new medium waits for what reads the old one. */
START_TEST(test_exchange_under_way)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	hba_vm(&h);
	drv_conf(h.vm, HBA_ID ".iops", "1");
	ck_assert(hba_open(&h, &ahci_cd_class));
	hba_start(&h, 0);
	attend(0x062900);
	ck_assert_uint_eq(packet(READ10(1, 1), 2048), GOOD);
	hba_build(&h, 0, 1, &(struct hba_cmd){ .op = 0xa0, .feature = 1, .cdb = READ10(3, 1), .data = HBA_DATA, .len = 2048 });
	port_wr(&h, 0, P_CI, 2);
	ck_assert_uint_eq(h.a->port[0].busy, 2);
	struct blk *old = h.a->port[0].blk;
	ck_assert_int_eq(ahci_medium(&h.a->pci.dev, 0, NULL), 0);
	ck_assert_ptr_eq(h.a->port[0].blk, old);
	for (int i = 0; i < 400 && h.a->port[0].blk; i++)
		loop_step(h.vm->loop, 10);
	ck_assert_ptr_null(h.a->port[0].blk);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 0);
	ck_assert_uint_eq(get_le64(data()), 12);
	hba_end(&h);
}
END_TEST

START_TEST(test_snapshot)
{
	set_up(true);
	ck_assert_uint_eq(packet(TEST_UNIT_READY, 0), 0x6441);  /* its sense is kept */
	json_t *rec = device_save(&h.a->pci.dev);
	device_reset(&h.a->pci.dev);
	ck_assert_int_eq(device_load(&h.a->pci.dev, rec), 0);
	ck_assert_uint_eq(sense(), 0x062900);
	json_decref(rec);
	hba_end(&h);
}
END_TEST

UNIT_MAIN("devices/ahci/atapi", test_identity, test_read, test_pieces, test_empty, test_exchange, test_exchange_under_way,
	  test_snapshot)
