/* The controller: capabilities, interrupts, its reset, several ports, words of the command line, snapshots. */
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/loop.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/ahci/hba.h"
#include "tests/unit/unit.h"

#define SIZE (1u << 20)
static struct hba h;
static const struct hba_cmd read_one = { .op = 0x25, .lba = 7, .count = 1, .data = HBA_DATA, .len = 512 };

static void set_up(void)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	ck_assert(hba_open(&h, &ahci_hd_class));
}

/* Three ports of one controller: 0 and 5 disks, 3 an empty CD drive. */
static void set_up_ports(void)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	hba_vm(&h);
	drv_conf(h.vm, HBA_ID ".port.0.path", h.path);
	drv_conf(h.vm, HBA_ID ".port.0.ro", "true");
	drv_conf(h.vm, HBA_ID ".port.3.type", "cd");
	drv_conf(h.vm, HBA_ID ".port.5.type", "hd");
	drv_conf(h.vm, HBA_ID ".port.5.path", h.path);
	drv_conf(h.vm, HBA_ID ".port.5.ro", "true");
	ck_assert(hba_open(&h, &ahci_class));
}

START_TEST(test_capabilities)
{
	set_up();
	ck_assert_uint_eq(hba_rd(&h, 0x00), 0xc1349f00);
	ck_assert_uint_eq(hba_rd(&h, 0x04), GHC_AE);
	ck_assert_uint_eq(hba_rd(&h, 0x0c), 1);
	ck_assert_uint_eq(hba_rd(&h, 0x10), 0x10301);
	hba_wr(&h, 0x04, 0);
	ck_assert_uint_eq(hba_rd(&h, 0x04), GHC_AE);            /* AHCI is all there is */
	hba_wr(&h, 0x00, 0);
	hba_wr(&h, 0x0c, ~0u);
	ck_assert_uint_eq(hba_rd(&h, 0x0c), 1);
	ck_assert_uint_eq(hba_rd(&h, 0x180), 0);                /* no port 1 */
	hba_end(&h);
}
END_TEST

START_TEST(test_several_ports)
{
	set_up_ports();
	ck_assert_uint_eq(hba_rd(&h, 0x0c), 0x29);
	ck_assert_uint_eq(hba_rd(&h, 0x00) & 31, 5);
	ck_assert_uint_eq(port_rd(&h, 3, P_SIG), 0xeb140101);
	ck_assert_uint_eq(port_rd(&h, 5, P_SIG), 0x101);
	hba_start(&h, 0);
	hba_start(&h, 5);
	hba_build(&h, 0, 0, &read_one);
	hba_build(&h, 5, 0, &(struct hba_cmd){ .op = 0x25, .lba = 9, .count = 1, .data = HBA_DATA + 512, .len = 512 });
	port_wr(&h, 0, P_CI, 1);
	port_wr(&h, 5, P_CI, 1);
	hba_wait(&h, 0, 1);
	hba_wait(&h, 5, 1);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA, 8)), 7);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 512, 8)), 9);
	ck_assert_uint_eq(hba_rd(&h, 0x08), 0x21);
	hba_wr(&h, 0x08, 0x21);
	ck_assert_uint_eq(hba_rd(&h, 0x08), 0x21);              /* the ports still ask */
	port_wr(&h, 0, P_IS, ~0u);
	hba_wr(&h, 0x08, 0x21);
	ck_assert_uint_eq(hba_rd(&h, 0x08), 0x20);
	hba_end(&h);
}
END_TEST

START_TEST(test_intx)
{
	set_up();
	hba_start(&h, 0);
	ck_assert(!h.a->pci.intx);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	ck_assert(h.a->pci.intx);
	hba_wr(&h, 0x04, GHC_AE);
	ck_assert(!h.a->pci.intx);
	hba_wr(&h, 0x04, GHC_AE | GHC_IE);
	ck_assert(h.a->pci.intx);
	port_wr(&h, 0, P_IS, ~0u);
	ck_assert(h.a->pci.intx);                               /* IS has it still */
	hba_wr(&h, 0x08, 1);
	ck_assert(!h.a->pci.intx);
	port_wr(&h, 0, P_IE, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	ck_assert(!h.a->pci.intx);
	port_wr(&h, 0, P_IE, IS_DHRS);
	ck_assert(h.a->pci.intx);
	hba_end(&h);
}
END_TEST

static uint64_t messages(void)
{
	uint64_t n = 0;

	if (read(h.a->pci.msi_vec.fd, &n, sizeof(n)) != sizeof(n))
		ck_assert_int_eq(errno, EAGAIN);
	return n;
}

static void msi_on(void)
{
	const unsigned cap = h.a->pci.msi_cap;

	hba_cfg_wr(&h, cap + 4, 4, 0xfee00000);
	hba_cfg_wr(&h, cap + 8, 4, 0);
	hba_cfg_wr(&h, cap + 12, 2, 0x4041);
	hba_cfg_wr(&h, cap + 2, 2, 1);
	ck_assert(pci_msi_enabled(&h.a->pci));
	ck_assert_uint_eq(h.a->pci.msi_vec.data, 0x4041);
}

START_TEST(test_msi)
{
	set_up();
	hba_start(&h, 0);
	msi_on();
	ck_assert_uint_eq(messages(), 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	ck_assert_uint_eq(messages(), 1);
	ck_assert(!h.a->pci.intx);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);      /* not acknowledged: no second message */
	ck_assert_uint_eq(messages(), 0);
	hba_wr(&h, 0x08, 1);                                    /* acknowledged, but the port still asks */
	ck_assert_uint_eq(messages(), 1);
	port_wr(&h, 0, P_IS, ~0u);
	hba_wr(&h, 0x08, 1);
	ck_assert_uint_eq(messages(), 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	ck_assert_uint_eq(messages(), 1);
	/* Off: the line takes over; and back. */
	hba_cfg_wr(&h, h.a->pci.msi_cap + 2, 2, 0);
	ck_assert(h.a->pci.intx);
	ck_assert(!h.a->pci.msi_vec.set);
	msi_on();
	ck_assert(!h.a->pci.intx);
	ck_assert_uint_eq(messages(), 1);
	hba_end(&h);
}
END_TEST

/* Queued commands that end together are told together. */
START_TEST(test_one_message_for_many)
{
	set_up();
	hba_start(&h, 0);
	msi_on();
	for (unsigned s = 0; s < 16; s++)
		hba_build(&h, 0, s, &(struct hba_cmd){ .op = 0x60, .ncq = true, .lba = s, .count = 1, .data = HBA_DATA + 512 * s, .len = 512 });
	port_wr(&h, 0, P_SACT, 0xffff);
	port_wr(&h, 0, P_CI, 0xffff);
	hba_wait(&h, 0, 0xffff);
	ck_assert_uint_eq(messages(), 1);
	hba_end(&h);
}
END_TEST

START_TEST(test_reset)
{
	set_up();
	hba_start(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &(struct hba_cmd){ .op = 0xef, .feature = 0x82 }), 0x50);
	hba_wr(&h, 0x04, GHC_AE | GHC_HR);
	ck_assert_uint_eq(hba_rd(&h, 0x04), GHC_AE);
	ck_assert_uint_eq(hba_rd(&h, 0x08), 0);
	ck_assert_uint_eq(port_rd(&h, 0, P_IE) | port_rd(&h, 0, P_IS), 0);
	ck_assert_uint_eq(port_rd(&h, 0, P_CLB), HBA_CLB(0));   /* stay */
	ck_assert_uint_eq(port_rd(&h, 0, P_FB), HBA_FB(0));
	ck_assert_uint_eq(port_rd(&h, 0, P_SIG), 0x101);
	ck_assert(!h.a->pci.intx);
	ck_assert(!h.a->port[0].write_cache);                   /* the device keeps its settings */
	hba_start(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	device_reset(&h.a->pci.dev);
	ck_assert(h.a->port[0].write_cache);
	ck_assert_uint_eq(h.a->port[0].clb, 0);
	hba_end(&h);
}
END_TEST

START_TEST(test_narrow_and_wide)
{
	uint64_t v;

	set_up();
	const uint64_t bar = h.a->pci.bar[5].range.base;
	bus_write(&h.vm->mmio, bar + 0x100, 8, 0x1234567800);
	ck_assert_uint_eq(port_rd(&h, 0, P_CLB), 0x34567800);
	ck_assert_uint_eq(port_rd(&h, 0, P_CLB + 4), 0x12);
	bus_read(&h.vm->mmio, bar + 0x100, 8, &v);
	ck_assert_uint_eq(v, 0x1234567800);
	bus_read(&h.vm->mmio, bar + 0x101, 1, &v);
	ck_assert_uint_eq(v, 0x78);
	bus_read(&h.vm->mmio, bar + 0x102, 2, &v);
	ck_assert_uint_eq(v, 0x3456);
	hba_end(&h);
}
END_TEST

static void word(struct conf *c, const char *w, int want)
{
	ck_assert_int_eq(ahci_class.conf_word(c, HBA_ID, w, "test"), want);
}

START_TEST(test_words)
{
	struct conf *c = conf_new();

	word(c, "hd:/a,b", 0);
	word(c, "ro", 0);
	word(c, "ser=one", 0);
	word(c, "cd:", 0);
	word(c, "hd:/c", 0);
	word(c, "nmrr=0", 0);
	word(c, "nonsense=1", 1);
	ck_assert_str_eq(conf_raw(c, HBA_ID ".port.0.path"), "/a,b");
	ck_assert_str_eq(conf_raw(c, HBA_ID ".port.0.ro"), "true");
	ck_assert_str_eq(conf_raw(c, HBA_ID ".port.0.ser"), "one");
	ck_assert_str_eq(conf_raw(c, HBA_ID ".port.1.type"), "cd");
	ck_assert_ptr_null(conf_raw(c, HBA_ID ".port.1.path"));
	ck_assert_str_eq(conf_raw(c, HBA_ID ".port.2.nmrr"), "0");
	conf_free(c);
}
END_TEST

static void refused(const char *key, const char *value, const char *says)
{
	struct capture cap;

	h = (struct hba){ 0 };
	hba_vm(&h);
	if (key)
		drv_conf(h.vm, key, value);
	capture_start(&cap, STDERR_FILENO);
	const bool opened = hba_open(&h, &ahci_class);
	const char *text = capture_stop(&cap);

	ck_assert(!opened);
	ck_assert_msg(strstr(text, says) != NULL, "'%s' lacks '%s'", text, says);
	hba_end(&h);
}

START_TEST(test_refusals)
{
	refused(NULL, NULL, "no drive; name at least one: ahci,hd:PATH");
	refused(HBA_ID ".port.32.path", "/x", "ports 0 to 31");
	refused(HBA_ID ".port.1.type", "hd", "needs a disk image");
	refused(HBA_ID ".port.1.path", "/nonexistent/x", "/nonexistent/x");
}
END_TEST

START_TEST(test_two_controllers)
{
	set_up();
	drv_conf(h.vm, "pci.0.4.0.path", h.path);
	drv_conf(h.vm, HBA_ID ".x", "1");
	h.vm->dry = true;
	struct device *second = device_new(h.vm, &ahci_cd_class, "pci.0.4.0", NULL);
	ck_assert_ptr_nonnull(second);
	ck_assert_uint_eq(((struct ahci *)second)->pi, 1);
	hba_start(&h, 0);
	ck_assert_uint_eq(hba_do(&h, 0, &read_one), 0x50);
	hba_end(&h);
}
END_TEST

static void set_up_throttled(void)
{
	h = (struct hba){ 0 };
	hba_image(&h, SIZE);
	hba_vm(&h);
	drv_conf(h.vm, HBA_ID ".iops", "1");
	ck_assert(hba_open(&h, &ahci_hd_class));
}

/* Commands that wait at the pause are saved as they are, and done after the load. */
START_TEST(test_snapshot)
{
	set_up_throttled();
	hba_start(&h, 0);
	for (unsigned s = 5; s <= 7; s++)
		hba_build(&h, 0, s, &(struct hba_cmd){ .op = 0x60, .ncq = true, .lba = s, .count = 1, .data = HBA_DATA + s * 512, .len = 512 });
	port_wr(&h, 0, P_SACT, 0xe0);
	port_wr(&h, 0, P_CI, 0xe0);
	hba_wait(&h, 0, BIT(5));
	ck_assert_uint_eq(port_rd(&h, 0, P_SACT), 0xc0);
	h.a->pci.dev.cls->pause(&h.a->pci.dev);
	json_t *rec = device_save(&h.a->pci.dev);
	memset(hba_ptr(&h, HBA_DATA, 4096), 0xee, 4096);
	device_reset(&h.a->pci.dev);
	ck_assert_uint_eq(h.a->port[0].busy, 0);
	ck_assert_int_eq(device_load(&h.a->pci.dev, rec), 0);
	json_t *again = device_save(&h.a->pci.dev);
	ck_assert(json_equal(rec, again));
	h.a->pci.dev.cls->resume(&h.a->pci.dev);
	ck_assert_uint_eq(h.a->port[0].busy, 0xc0);
	for (int i = 0; i < 400 && port_rd(&h, 0, P_SACT); i++)
		loop_step(h.vm->loop, 10);
	ck_assert_uint_eq(port_rd(&h, 0, P_SACT), 0);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 6 * 512, 8)), 6);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 7 * 512, 8)), 7);
	/* Of another disk, and of registers that cannot be. */
	json_t *ports = json_object_get(json_object_get(again, "state"), "port$struct[]"), *port = json_array_get(ports, 0);
	json_object_set_new(port, "multiple$uint8", json_integer(3));
	ck_assert_int_eq(device_load(&h.a->pci.dev, again), -EINVAL);
	json_object_set_new(port, "multiple$uint8", json_integer(0));
	json_object_set_new(port, "saved_size$uint64", json_integer(512));
	ck_assert_int_eq(device_load(&h.a->pci.dev, again), -EINVAL);
	json_object_set_new(port, "saved_type$uint8", json_integer(2));
	ck_assert_int_eq(device_load(&h.a->pci.dev, again), -EINVAL);
	json_decref(rec);
	json_decref(again);
	hba_end(&h);
}
END_TEST

/* A plain command that waits keeps BSY, over save and load too; the rest of CI follows it. */
START_TEST(test_snapshot_plain)
{
	set_up_throttled();
	hba_start(&h, 0);
	for (unsigned s = 1; s <= 3; s++)
		hba_build(&h, 0, s, &(struct hba_cmd){ .op = 0x25, .lba = s, .count = 1, .data = HBA_DATA + s * 512, .len = 512 });
	port_wr(&h, 0, P_CI, 0xe);
	hba_wait(&h, 0, BIT(1));
	h.a->pci.dev.cls->pause(&h.a->pci.dev);
	json_t *rec = device_save(&h.a->pci.dev);
	device_reset(&h.a->pci.dev);
	ck_assert_int_eq(device_load(&h.a->pci.dev, rec), 0);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 0xc);
	ck_assert(port_rd(&h, 0, P_TFD) & ATA_BSY);
	h.a->pci.dev.cls->resume(&h.a->pci.dev);
	for (int i = 0; i < 400 && port_rd(&h, 0, P_CI); i++)
		loop_step(h.vm->loop, 10);
	ck_assert_uint_eq(port_rd(&h, 0, P_CI), 0);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 2 * 512, 8)), 2);
	ck_assert_uint_eq(get_le64(hba_ptr(&h, HBA_DATA + 3 * 512, 8)), 3);
	json_decref(rec);
	hba_end(&h);
}
END_TEST

UNIT_MAIN("devices/ahci", test_capabilities, test_several_ports, test_intx, test_msi, test_one_message_for_many,
	  test_reset, test_narrow_and_wide, test_words, test_refusals, test_two_controllers, test_snapshot, test_snapshot_plain)
