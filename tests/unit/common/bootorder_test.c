#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/bootorder.h"
#include "common/conf.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };
static char dir[32], rom[48], disk[48], iso[48];
static struct conf *conf;
static struct vm *vm;

/* A dry VM, started from flash. */
static int create(const struct arch_info *arch, const char *const *kv)
{
	conf = conf_new();
	ck_assert_int_eq(conf_set(conf, "lpc.bootrom", rom, "test"), 0);
	for (; *kv; kv += 2)
		ck_assert_int_eq(conf_set(conf, kv[0], kv[1], "test"), 0);
	ck_assert_int_eq(conf_check(conf), 0);
	vm = NULL;
	capture_start(&cap, 2);
	int err = vm_create(conf, arch, true, &vm);
	capture_stop(&cap);
	return err;
}

static int make(const struct arch_info *arch, const char *const *kv)
{
	int err = create(arch, kv);

	ck_assert_msg(!err, "%s", cap.text);
	return err;
}
#define CREATE(arch, ...) make(arch, (const char *const[]){ __VA_ARGS__, NULL })
#define DEV(slot, cls, path) "pci.0." slot ".0.device", cls, "pci.0." slot ".0." path

static void destroy(void)
{
	if (vm)
		vm_free(vm);
	conf_free(conf);
}

/* The order's bus paths, a blank behind each. */
static const char *order(unsigned max)
{
	static char text[200];
	struct boot_entry d[BOOT_ORDER_MAX];
	unsigned n = boot_order(vm, d, max);

	text[0] = 0;
	for (unsigned i = 0; i < n; i++) {
		size_t len = strlen(text);
		snprintf(text + len, sizeof(text) - len, d[i].unit ? "%s/%u " : "%s ", d[i].dev->id, d[i].unit);
	}
	return text;
}

static void put(const char *path, long at, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, len, at), (ssize_t)len);
	close(fd);
}

static void blank(const char *path, long len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, len), 0);
	close(fd);
}

static void begin(void)
{
	strcpy(dir, "/tmp/skep-order-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(rom, sizeof(rom), "%s/rom", dir);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
	snprintf(iso, sizeof(iso), "%s/iso", dir);
	blank(rom, 65536);
	put(rom, 0, "\0\0\0\x14", 4);         /* arm64: a branch */
	blank(disk, 65536);
	blank(iso, 65536);
}

static void end(void)
{
	unlink(rom);
	unlink(disk);
	unlink(iso);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(test_boot_sector)
{
	static const uint8_t magic[2] = { 0x55, 0xaa };
	uint8_t b = 0xeb;

	begin();
	ck_assert(!boot_sector_present(disk));
	ck_assert(!boot_sector_present("/nonexistent"));
	put(disk, 0, &b, 1);            /* code without the mark: a file system's first sector, or anything */
	ck_assert(!boot_sector_present(disk));
	put(disk, 510, magic, 2);
	ck_assert(boot_sector_present(disk));
	blank(disk, 65536);
	put(disk, 510, magic, 2);       /* a table without partitions, and a disk's signature */
	put(disk, 440, "abcd", 4);
	ck_assert(!boot_sector_present(disk));
	b = 0xa5;
	put(disk, 446 + 3 * 16 + 4, &b, 1);
	ck_assert(boot_sector_present(disk));
	for (unsigned at = 512; at <= 4096; at *= 8) {
		blank(disk, 65536);
		put(disk, at, "EFI PART", 8);
		ck_assert(boot_sector_present(disk));
	}
	blank(disk, 65536);
	put(disk, 512, "\x57\x45\x56\x82", 4);
	ck_assert(boot_sector_present(disk));
	blank(disk, 100);
	ck_assert(!boot_sector_present(disk));
	end();
}

START_TEST(test_bootindex)
{
	begin();
	for (size_t i = 0; i < NELEM(arches); i++) {
		ck_assert_int_eq(CREATE(arches[i], DEV("3", "virtio-blk", "path"), disk), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "");
		destroy();
		ck_assert_int_eq(CREATE(arches[i], DEV("3", "virtio-blk", "path"), disk, "pci.0.3.0.bootindex", "7",
					DEV("4", "virtio-blk", "path"), iso, "pci.0.4.0.ro", "true", "pci.0.4.0.bootindex", "0x2",
					DEV("5", "virtio-net", "backend"), "null", "pci.0.5.0.bootindex", "255",
					DEV("6", "virtio-blk", "path"), disk), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.4.0 pci.0.3.0 pci.0.5.0 ");
		ck_assert_str_eq(order(1), "pci.0.3.0 ");
		ck_assert_str_eq(order(0), "");
		destroy();
	}
	end();
}

/* Controllers with several disks: each disk has its own place. */
START_TEST(test_units)
{
	begin();
	for (size_t i = 0; i < NELEM(arches); i++) {
		ck_assert_int_eq(CREATE(arches[i], DEV("3", "virtio-scsi", "target.0.path"), disk, "pci.0.3.0.target.7.path", rom,
					"pci.0.3.0.target.9.type", "cd", "pci.0.3.0.target.0.bootindex", "5",
					"pci.0.3.0.target.7.bootindex", "1", "pci.0.3.0.target.9.bootindex", "3",
					DEV("4", "virtio-blk", "path"), iso, "pci.0.4.0.ro", "true", "pci.0.4.0.bootindex", "2"), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.3.0/7 pci.0.4.0 pci.0.3.0/9 pci.0.3.0 ");
		destroy();
		blank(disk, 65536);
		ck_assert_int_eq(CREATE(arches[i], "install.iso", iso, DEV("3", "virtio-scsi", "target.2.path"), iso,
					"pci.0.3.0.target.2.type", "cd", "pci.0.3.0.target.4.path", disk), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.3.0/2 pci.0.3.0/4 ");
		destroy();
	}
	end();
}

START_TEST(test_install)
{
	begin();
	for (size_t i = 0; i < NELEM(arches); i++) {
		blank(disk, 65536);
		ck_assert_int_eq(CREATE(arches[i], "install.iso", iso, DEV("2", "virtio-blk", "path"), iso, "pci.0.2.0.ro", "on",
					DEV("3", "virtio-blk", "path"), disk, DEV("4", "virtio-blk", "path"), rom,
					"pci.0.4.0.bootindex", "0"), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.2.0 pci.0.3.0 pci.0.4.0 ");
		ck_assert_str_eq(order(1), "pci.0.2.0 ");
		/* Decided anew at each boot: the installer has written the disk. */
		put(disk, 512, "EFI PART", 8);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.3.0 pci.0.4.0 ");
		destroy();
		ck_assert_int_eq(CREATE(arches[i], "install.iso", iso, "install.force", "true", DEV("2", "virtio-blk", "path"), disk,
					DEV("3", "virtio-blk", "path"), iso, "pci.0.3.0.ro", "true"), 0);
		ck_assert_str_eq(order(BOOT_ORDER_MAX), "pci.0.3.0 pci.0.2.0 ");
		destroy();
	}
	end();
}

static void refused(const struct arch_info *arch, const char *text, const char *const *kv)
{
	char want[200];

	ck_assert_int_eq(create(arch, kv), -EINVAL);
	snprintf(want, sizeof(want), "skep: %s\n", text);
	ck_assert_str_eq(cap.text, want);
	destroy();
}
#define REFUSED(text, ...) refused(arches[i], text, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(test_refusals)
{
	begin();
	for (size_t i = 0; i < NELEM(arches); i++) {
		REFUSED("bootindex 1 is given to both pci.0.3.0 and pci.0.4.0; give each its own", DEV("3", "virtio-blk", "path"), disk,
			"pci.0.3.0.bootindex", "1", DEV("4", "virtio-net", "backend"), "null", "pci.0.4.0.bootindex", "0x1");
		REFUSED("install.iso: there is no disk to install on: give --disk FILE as well", "install.iso", iso,
			DEV("3", "virtio-blk", "path"), iso, "pci.0.3.0.ro", "yes", DEV("4", "virtio-scsi", "target.2.path"), iso,
			"pci.0.4.0.target.2.type", "cd");
		REFUSED("install.force: there is no installation medium: give --install ISO as well", "install.force", "true");
	}
	end();
}

UNIT_MAIN("common/bootorder", test_boot_sector, test_bootindex, test_units, test_install, test_refusals)
