/* A port: its registers, resets and stops with commands under way, FISes, memory that is none. */
#include <errno.h>
#include <unistd.h>

#include "common/loop.h"
#include "tests/unit/devices/ahci/hba.h"
#include "tests/unit/unit.h"

#define SIZE (4u << 20)
static struct hba h;

static void set_up(const struct device_class *cls)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	ck_assert(hba_open(&h, cls));
}

static const struct hba_cmd read_one = { .op = 0x25, .lba = 7, .count = 1, .data = HBA_DATA, .len = 512 };

START_TEST(test_power_on)
{
	set_up(&ahci_hd_class);
	ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 0x133);
	ck_assert_uint_eq(port_rd(&h, 0, P_SIG), 0x101);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0x150);
	ck_assert_uint_eq(port_rd(&h, 0, P_CMD), CMD_SUD | CMD_POD);
	port_wr(&h, 0, P_CLB, 0x123456ff);
	port_wr(&h, 0, P_FB, 0x123456ff);
	ck_assert_uint_eq(port_rd(&h, 0, P_CLB), 0x12345400);
	ck_assert_uint_eq(port_rd(&h, 0, P_FB), 0x12345600);
	port_wr(&h, 0, P_CI, ~0u);                              /* not started */
	port_wr(&h, 0, P_SACT, ~0u);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI) | port_rd(&h, 0, P_SACT), 0);
	hba_end(&h);
	set_up(&ahci_cd_class);
	ck_assert_uint_eq(port_rd(&h, 0, P_SIG), 0xeb140101);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0x100);
	hba_end(&h);
}
END_TEST

/* The signature waits for FRE, comes once, and interrupts nobody. */
START_TEST(test_signature_fis)
{
	set_up(&ahci_hd_class);
	uint8_t *fis = hba_ptr(&h, HBA_FB(0) + 0x40, 20);
	hba_start(&h, 0);
	ck_assert_uint_eq(fis[0], 0x34);
	ck_assert_uint_eq(fis[2], 0x50);
	ck_assert_uint_eq(fis[3], 1);
	ck_assert_uint_eq(get_le32(fis + 4), 1);
	ck_assert_uint_eq(port_rd(&h, 0, P_IS), 0);
	memset(fis, 0, 20);
	hba_recover(&h, 0);
	port_wr(&h, 0, P_CMD, 0);
	port_wr(&h, 0, P_CMD, CMD_FRE);
	ck_assert_uint_eq(fis[0], 0);
	hba_end(&h);
}
END_TEST

/* Two queued reads, of which the throttle lets one go. */
static void throttled(void)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	hba_vm(&h);
	drv_conf(h.vm, HBA_ID ".iops", "1");
	ck_assert(hba_open(&h, &ahci_hd_class));
	hba_start(&h, 0);
	for (unsigned s = 5; s <= 6; s++)
		hba_build(&h, 0, s, &(struct hba_cmd){ .op = 0x60, .ncq = true, .lba = s, .count = 1, .data = HBA_DATA + s * 512, .len = 512 });
	memset(hba_ptr(&h, HBA_DATA, 4096), 0xee, 4096);
	port_wr(&h, 0, P_SACT, BIT(5) | BIT(6));
	port_wr(&h, 0, P_CI, BIT(5) | BIT(6));
	hba_wait(&h, 0, BIT(5));
	ck_assert_uint_eq(h.a->port[0].busy, BIT(6));
	ck_assert_uint_eq(port_rd(&h, 0, P_SACT), BIT(6));
	port_wr(&h, 0, P_IS, ~0u);
}

START_TEST(test_start_and_stop)
{
	throttled();
	ck_assert_uint_eq(port_rd(&h, 0, P_CMD) & (CMD_ST | CMD_CR | CMD_FRE | CMD_FR), CMD_ST | CMD_CR | CMD_FRE | CMD_FR);
	port_wr(&h, 0, P_CMD, CMD_FRE);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI) | port_rd(&h, 0, P_SACT), 0);
	ck_assert_uint_eq(h.a->port[0].busy, 0);                /* what waited is not awaited */
	ck_assert(!(port_rd(&h, 0, P_CMD) & CMD_CR));
	ck_assert(!(port_rd(&h, 0, P_IS) & (IS_SDBS | IS_TFES)));
	hba_settle(&h);
	ck_assert_uint_eq(*(uint8_t *)hba_ptr(&h, HBA_DATA + 6 * 512, 1), 0xee);
	hba_end(&h);
}
END_TEST

/* What moves data already is awaited: CR, the link and HR say so. */
START_TEST(test_in_flight)
{
	unsigned late = 0;

	for (unsigned round = 0; round < 60; round++) {
		if (round % 20 == 0) {
			h = (struct hba){ 0 };
			hba_image(&h, SIZE);
			hba_vm(&h);
			drv_conf(h.vm, HBA_ID ".aio", "threads");
			ck_assert(hba_open(&h, &ahci_hd_class));
		}
		hba_start(&h, 0);
		hba_build(&h, 0, 0, &(struct hba_cmd){ .op = 0x25, .count = SIZE / 512, .data = HBA_DATA, .len = SIZE });
		port_wr(&h, 0, P_CI, 1);
		switch (round / 20) {
		case 0: port_wr(&h, 0, P_CMD, CMD_FRE); break;
		case 1: port_wr(&h, 0, P_SCTL, 1), port_wr(&h, 0, P_SCTL, 0); break;
		default: hba_wr(&h, 0x04, GHC_AE | GHC_HR); break;
		}
		if (h.a->port[0].busy) {
			const bool done[] = { !(port_rd(&h, 0, P_CMD) & CMD_CR), port_rd(&h, 0, P_SSTS) != 0, !(hba_rd(&h, 0x04) & GHC_HR) };
			late++;
			ck_assert_msg(!done[round / 20] || !h.a->port[0].busy, "round %u", round);
		}
		hba_settle(&h);
		ck_assert_uint_eq(h.a->port[0].busy, 0);
		ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 0x133);
		ck_assert(!(hba_rd(&h, 0x04) & GHC_HR));
		port_wr(&h, 0, P_CMD, 0);
		ck_assert(!(port_rd(&h, 0, P_CMD) & CMD_CR));
		if (round % 20 == 19)
			hba_end(&h);
	}
	ck_assert_uint_gt(late, 0);
}
END_TEST

static void comreset(unsigned port)
{
	port_wr(&h, port, P_CMD, CMD_FRE);
	port_wr(&h, port, P_SCTL, 0x301);
	ck_assert_uint_eq(port_rd(&h, port, P_SSTS), 0);
	ck_assert_uint_eq(port_rd(&h, port, P_TFD), 0x7f);
	port_wr(&h, port, P_SCTL, 0x300);
}

START_TEST(test_comreset)
{
	set_up(&ahci_hd_class);
	hba_start(&h, 0);
	hba_build(&h, 0, 0, &(struct hba_cmd){ .op = 0x25, .count = 64, .data = HBA_DATA, .len = 32768 });
	port_wr(&h, 0, P_CI, 1);
	comreset(0);
	hba_settle(&h);
	ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 0x133);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0x150);
	ck_assert(port_rd(&h, 0, P_IS) & IS_PCS);
	ck_assert(port_rd(&h, 0, P_SERR) & SERR_DIAG_X);
	port_wr(&h, 0, P_SERR, ~0u);
	ck_assert(!(port_rd(&h, 0, P_IS) & (IS_PCS | IS_PRCS)));
	port_wr(&h, 0, P_CMD, CMD_FRE | CMD_ST);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	/* Speed limits, and the link taken down. */
	port_wr(&h, 0, P_CMD, CMD_FRE);
	port_wr(&h, 0, P_SCTL, 0x311);
	port_wr(&h, 0, P_SCTL, 0x310);
	ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 0x113);
	port_wr(&h, 0, P_SCTL, 0x304);
	ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 4);
	port_wr(&h, 0, P_CMD, CMD_FRE | CMD_ST);
	hba_build(&h, 0, 0, &read_one);
	port_wr(&h, 0, P_CI, 1);
	hba_settle(&h);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 1);             /* nobody is there */
	port_wr(&h, 0, P_CMD, CMD_FRE);
	port_wr(&h, 0, P_SCTL, 0x300);
	ck_assert_uint_eq(port_rd(&h, 0, P_SSTS), 0x133);
	hba_end(&h);
}
END_TEST

static void control_fis(unsigned slot, uint8_t control)
{
	hba_build(&h, 0, slot, &(struct hba_cmd){ 0 });
	uint8_t *f = hba_ptr(&h, HBA_TABLE(0, slot), 20);
	f[1] = 0;
	f[15] = control;
	port_wr(&h, 0, P_CI, BIT(slot));
	hba_settle(&h);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 0);
}

START_TEST(test_software_reset)
{
	set_up(&ahci_hd_class);
	hba_start(&h, 0);
	uint8_t *fis = hba_ptr(&h, HBA_FB(0) + 0x40, 20);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xc6, .count = 8 }), 0x50);
	memset(fis, 0, 20);
	control_fis(0, 4);
	ck_assert_uint_eq(fis[0], 0);
	hba_build(&h, 0, 2, &read_one);                         /* a device in reset takes nothing */
	memset(hba_ptr(&h, HBA_DATA, 512), 0xee, 512);
	port_wr(&h, 0, P_CI, BIT(2));
	hba_settle(&h);
	ck_assert_uint_eq(*(uint8_t *)hba_ptr(&h, HBA_DATA, 1), 0xee);
	control_fis(1, 0);
	ck_assert_uint_eq(fis[0], 0x34);
	ck_assert_uint_eq(fis[12], 1);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0x150);
	ck_assert_uint_eq(h.a->port[0].multiple, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	hba_end(&h);
}
END_TEST

START_TEST(test_clo)
{
	set_up(&ahci_hd_class);
	h.a->port[0].tfd = 0x88;
	port_wr(&h, 0, P_CMD, CMD_CLO);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0);
	ck_assert(!(port_rd(&h, 0, P_CMD) & CMD_CLO));
	hba_end(&h);
}
END_TEST

static void fatal(uint32_t bit)
{
	hba_settle(&h);
	ck_assert(port_rd(&h, 0, P_IS) & bit);
	ck_assert(h.a->port[0].halted);
	hba_recover(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
}

START_TEST(test_memory_that_is_none)
{
	set_up(&ahci_hd_class);
	hba_start(&h, 0);
	port_wr(&h, 0, P_CLB + 4, 0x77);                        /* the list */
	port_wr(&h, 0, P_CI, 1);
	hba_settle(&h);
	ck_assert(port_rd(&h, 0, P_IS) & IS_HBFS);
	port_wr(&h, 0, P_CLB + 4, 0);
	hba_recover(&h, 0);
	hba_build(&h, 0, 0, &read_one);                         /* the table */
	put_le64(hba_ptr(&h, HBA_CLB(0) + 8, 8), ~0ull);
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_HBFS);
	hba_build(&h, 0, 0, &read_one);                         /* the buffer */
	put_le64(hba_ptr(&h, HBA_TABLE(0, 0) + 0x80, 8), 0xfffffffffffff000);
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_HBFS);
	hba_build(&h, 0, 0, &(struct hba_cmd){ .op = 0xec, .data = 1ull << 40, .len = 512 });
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_HBFS);
	hba_build(&h, 0, 0, &read_one);                         /* no such FIS */
	*(uint8_t *)hba_ptr(&h, HBA_TABLE(0, 0), 1) = 0x46;
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_IFS);
	hba_build(&h, 0, 0, &read_one);                         /* too short a one */
	*(uint8_t *)hba_ptr(&h, HBA_CLB(0), 1) = 2;
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_IFS);
	port_wr(&h, 0, P_FB + 4, 0x77);                         /* the FISes go nowhere */
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	hba_end(&h);
}
END_TEST

/* Entries reach 4 MiB; a buffer that ends where memory ends is one. */
START_TEST(test_long_entries)
{
	set_up(&ahci_hd_class);
	hba_start(&h, 0);
	struct hba_cmd c = { .op = 0x25, .count = SIZE / 512, .data = HBA_DATA, .len = SIZE };
	ck_assert_uint_eq(hba_do(&h, 0, &c), 0x50);
	ck_assert_uint_eq(hba_count(&h, 0, 0), SIZE);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + SIZE - 512, 8)), SIZE / 512 - 1);
	c.data = DRV_RAM_BASE + DRV_RAM_LEN - SIZE;
	ck_assert_uint_eq(hba_do(&h, 0, &c), 0x50);
	c.data += 512;
	hba_build(&h, 0, 0, &c);
	port_wr(&h, 0, P_CI, 1);
	fatal(IS_HBFS);
	hba_end(&h);
}
END_TEST

START_TEST(test_bus_master)
{
	set_up(&ahci_hd_class);
	hba_start(&h, 0);
	hba_cfg_wr(&h, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	hba_build(&h, 0, 0, &read_one);
	port_wr(&h, 0, P_CI, 1);
	hba_settle(&h);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 1);
	hba_cfg_wr(&h, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	hba_wait(&h, 0, 1);
	ck_assert_uint_eq(port_rd(&h, 0, P_TFD), 0x50);
	hba_end(&h);
}
END_TEST

UNIT_MAIN("devices/ahci/port", test_power_on, test_signature_fis, test_start_and_stop, test_in_flight, test_comreset,
	  test_software_reset, test_clo, test_memory_that_is_none, test_long_entries, test_bus_master)
