/* IDENTIFY data of a disk and a CD drive, word by word where systems look. */
#include "tests/unit/devices/ahci/hba.h"
#include "tests/unit/unit.h"

static struct hba h;

static uint16_t word(const uint8_t *d, unsigned n)
{
	return get_le16(d + 2 * n);
}

static void text(const uint8_t *d, unsigned first, unsigned last, char *out)
{
	unsigned n = 0;

	for (unsigned i = first; i <= last; i++) {
		out[n++] = (char)d[2 * i + 1];
		out[n++] = (char)d[2 * i];
	}
	while (n && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static void open_disk(const char *key, const char *value, const char *key2, const char *value2)
{
	h = (struct hba){ 0 };
	hba_image(&h, (1 << 20) + 512);
	hba_vm(&h);
	if (key)
		drv_conf(h.vm, key, value);
	if (key2)
		drv_conf(h.vm, key2, value2);
	ck_assert(hba_open(&h, &ahci_hd_class));
}

START_TEST(test_disk)
{
	uint8_t d[512];
	char s[48];

	open_disk(HBA_ID ".ser", "A1", HBA_ID ".model", "My disk");
	ata_identify(&h.a->port[0], d);
	ck_assert_uint_eq(byte_sum(d, 512), 0);
	ck_assert_uint_eq(d[510], 0xa5);
	text(d, 10, 19, s);
	ck_assert_str_eq(s, "A1");
	text(d, 27, 46, s);
	ck_assert_str_eq(s, "My disk");
	ck_assert_uint_eq(get_le32(d + 120), 2049);
	ck_assert_uint_eq(get_le64(d + 200), 2049);
	ck_assert_uint_eq(word(d, 75), 31);
	ck_assert_uint_eq(word(d, 76) & 0x100, 0x100);
	ck_assert_uint_eq(word(d, 83) & 0xc400, 0x4400);
	ck_assert_uint_eq(word(d, 85) & 0x60, 0x60);
	ck_assert_uint_eq(word(d, 87) & 0xc060, 0x4060);
	ck_assert_uint_eq(word(d, 106), 0x6003);                /* 8 logical sectors of 512 in one of 4096 */
	ck_assert_uint_eq(word(d, 108) >> 12, 3);
	ck_assert_uint_eq(word(d, 169), 1);
	ck_assert_uint_eq(word(d, 217), 1);
	hba_end(&h);
}
END_TEST

START_TEST(test_settings)
{
	uint8_t d[512];

	open_disk(HBA_ID ".nodelete", "true", HBA_ID ".nmrr", "7200");
	h.a->port[0].write_cache = false;
	h.a->port[0].multiple = 8;
	h.a->port[0].xfer = 0x22;
	ata_identify(&h.a->port[0], d);
	ck_assert_uint_eq(word(d, 169), 0);
	ck_assert_uint_eq(word(d, 69), 0);
	ck_assert_uint_eq(word(d, 217), 7200);
	ck_assert_uint_eq(word(d, 85) & 0x60, 0x40);
	ck_assert_uint_eq(word(d, 59), 0x108);
	ck_assert_uint_eq(word(d, 63), 0x0407);
	ck_assert_uint_eq(word(d, 88), 0x007f);
	hba_end(&h);
}
END_TEST

START_TEST(test_large_sectors)
{
	uint8_t d[512];

	open_disk(HBA_ID ".sectorsize", "4096", NULL, NULL);
	ata_identify(&h.a->port[0], d);
	ck_assert_uint_eq(get_le64(d + 200), 257);              /* the last one is completed */
	ck_assert_uint_eq(word(d, 106), 0x5000);
	ck_assert_uint_eq(get_le32(d + 234), 2048);
	hba_end(&h);
}
END_TEST

START_TEST(test_cd)
{
	uint8_t d[512];
	char s[48];

	h = (struct hba){ 0 };
	ck_assert(hba_open(&h, &ahci_cd_class));
	ata_identify_packet(&h.a->port[0], d);
	ck_assert_uint_eq(byte_sum(d, 512), 0);
	ck_assert_uint_eq(word(d, 0), 0x85c0);
	text(d, 27, 46, s);
	ck_assert_str_eq(s, "SKEP CD-ROM");
	ck_assert_uint_eq(word(d, 82) & 0x10, 0x10);
	hba_end(&h);
}
END_TEST

UNIT_MAIN("devices/ahci/identify", test_disk, test_settings, test_large_sectors, test_cd)
