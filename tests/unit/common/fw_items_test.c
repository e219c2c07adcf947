/* The items of fw_cfg, read through the chip's registers as firmware does, on both architectures. */
#include "common/fw_items.h"

#include <errno.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/image.h"
#include "common/smbios.h"
#include "common/vm.h"
#include "devices/fw_cfg.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

/* A dry machine with fw_cfg in it. Settings: key, value ..., NULL. */
static struct vm *machine(const struct arch_info *arch, const char *const *settings)
{
	struct conf *c = conf_new();
	struct vm *vm = NULL;

	ck_assert_int_eq(conf_set(c, "name", "itemvm", "test"), 0);
	ck_assert_int_eq(conf_set(c, "arch", arch->name, "test"), 0);
	ck_assert_int_eq(conf_set(c, "memory.size", "256M", "test"), 0);
	for (; *settings; settings += 2)
		ck_assert_int_eq(conf_set(c, settings[0], settings[1], "test"), 0);
	ck_assert_int_eq(conf_check(c), 0);
	if (vm_create(c, arch, true, &vm)) {
		conf_free(c);
		return NULL;
	}
	ck_assert_ptr_nonnull(vm->fw_cfg);
	return vm;
}
#define MACHINE(arch, ...) machine(arch, (const char *const[]){ __VA_ARGS__, NULL })
#define ANY_ITEM "fwcfg.0", "opt/any,string=1"

static void end(struct vm *vm)
{
	struct conf *c = vm->conf;

	vm_free(vm);
	conf_free(c);
}

static void select_item(struct vm *vm, uint16_t key)
{
	struct device *d = vm->fw_cfg;

	if (d->io_bus == &vm->pio)
		bus_write(d->io_bus, d->io.base, 2, key);
	else
		bus_write(d->io_bus, d->io.base + 8, 2, __builtin_bswap16(key));
}

static void next(struct vm *vm, void *buf, size_t len)
{
	struct device *d = vm->fw_cfg;

	for (size_t i = 0; i < len; i++) {
		uint64_t v = 0;

		bus_read(d->io_bus, d->io.base + (d->io_bus == &vm->pio ? 1 : 0), 1, &v);
		((uint8_t *)buf)[i] = (uint8_t)v;
	}
}

static uint64_t number(struct vm *vm, uint16_t key, size_t len)
{
	uint64_t v = 0;

	select_item(vm, key);
	next(vm, &v, len);
	return v;
}

/* Content of a file, NUL-terminated; NULL: no such file. */
static char *file(struct vm *vm, const char *name, size_t *len)
{
	uint8_t entry[64];
	uint32_t n, size;
	uint16_t key;

	select_item(vm, FW_CFG_FILE_DIR);
	next(vm, &n, sizeof(n));
	for (n = __builtin_bswap32(n); n; n--) {
		next(vm, entry, sizeof(entry));
		if (strcmp((char *)entry + 8, name) != 0)
			continue;
		memcpy(&size, entry, sizeof(size));
		memcpy(&key, entry + 4, sizeof(key));
		size = __builtin_bswap32(size);
		char *text = calloc(1, size + 1u);

		select_item(vm, __builtin_bswap16(key));
		next(vm, text, size);
		*len = size;
		return text;
	}
	return NULL;
}

static void expect_file(struct vm *vm, const char *name, const char *want, size_t want_len)
{
	size_t len = 0;
	char *text = file(vm, name, &len);

	ck_assert_msg(text != NULL, "no file '%s'", name);
	ck_assert_uint_eq(len, want_len);
	ck_assert_mem_eq(text, want, len);
	free(text);
}

static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };

START_TEST(machine_items)
{
	for (size_t i = 0; i < NELEM(arches); i++) {
		struct vm *vm = MACHINE(arches[i], ANY_ITEM, "cpus", "3", "uuid", "00112233-4455-6677-8899-aabbccddeeff");
		uint8_t uuid[16];
		size_t len;

		select_item(vm, FW_CFG_UUID);
		next(vm, uuid, sizeof(uuid));
		for (unsigned b = 0; b < 16; b++)
			ck_assert_uint_eq(uuid[b], b * 0x11);
		ck_assert_uint_eq(number(vm, FW_CFG_RAM_SIZE, 8), MIB(256));
		ck_assert_uint_eq(number(vm, FW_CFG_NOGRAPHIC, 2), 1);
		ck_assert_uint_eq(number(vm, FW_CFG_NB_CPUS, 2), 3);
		ck_assert_uint_eq(number(vm, FW_CFG_MAX_CPUS, 2), 3);
		expect_file(vm, "etc/system-states", "\x80\0\0\0\0\x80", 6);
		char *anchor = file(vm, "etc/smbios/smbios-anchor", &len);

		ck_assert_uint_eq(len, SM3_LEN);
		ck_assert_mem_eq(anchor, "_SM3_", 5);
		ck_assert_uint_eq(byte_sum(anchor, SM3_LEN), 0);
		free(anchor);
		ck_assert_ptr_nonnull(anchor = file(vm, "etc/smbios/smbios-tables", &len));
		ck_assert_uint_eq(anchor[0], 0);        /* BIOS information */
		ck_assert_uint_eq((uint8_t)anchor[len - 6], 127);       /* the end: header of four bytes, two NULs */
		free(anchor);
		ck_assert_ptr_null(file(vm, "bootorder", &len));
		end(vm);
	}
}
END_TEST

START_TEST(boot_order)
{
	static const char want[] = "/pci@i0cf8/ethernet@5/ethernet-phy@0\n/pci@i0cf8/scsi@c/channel@0/disk@2,0\n"
		"/pci@i0cf8/scsi@1f,2/disk@0,0\n/pci@i0cf8/scsi@3/disk@0,0\n/pci@i0cf8/pci8086,2922@a/drive@1/disk@0\n"
		"/pci@i0cf8/pci8086,2922@9/drive@0/disk@0\n/pci@i0cf8/pci8086,5845@b/namespace@1,cdab000000000002\n"
		"/pci@i0cf8/scsi@c/channel@0/disk@12,0";

	for (size_t i = 0; i < NELEM(arches); i++) {
		struct vm *vm = MACHINE(arches[i], ANY_ITEM, "pci.0.3.0.device", "virtio-blk", "pci.0.3.0.path", "/dev/null",
					"pci.0.3.0.bootindex", "7", "pci.0.5.0.device", "virtio-net", "pci.0.5.0.backend", "null", "pci.0.5.0.bootindex", "0",
					"pci.0.31.2.device", "virtio-blk", "pci.0.31.2.path", "/dev/null", "pci.0.31.2.bootindex", "2",
					"pci.0.6.0.device", "virtio-blk", "pci.0.6.0.path", "/dev/null", "pci.0.8.0.device", "virtio-rnd",
					"pci.0.9.0.device", "ahci-cd", "pci.0.9.0.path", "/dev/null", "pci.0.9.0.bootindex", "12",
					"pci.0.10.0.device", "ahci", "pci.0.10.0.port.0.type", "cd", "pci.0.10.0.port.1.path", "/dev/null",
					"pci.0.10.0.port.1.bootindex", "9", "pci.0.11.0.device", "nvme", "pci.0.11.0.path", "/dev/null",
					"pci.0.11.0.eui64", "0x020000000000abcd", "pci.0.11.0.bootindex", "30",
					"pci.0.12.0.device", "virtio-scsi", "pci.0.12.0.target.18.path", "/dev/null",
					"pci.0.12.0.target.18.bootindex", "31", "pci.0.12.0.target.2.type", "cd", "pci.0.12.0.target.2.path",
					"/dev/null", "pci.0.12.0.target.2.bootindex", "1");

		ck_assert_ptr_nonnull(vm);
		expect_file(vm, "bootorder", want, sizeof(want));       /* with its NUL */
		end(vm);
	}
	capture_start(&cap, STDERR_FILENO);
	ck_assert_ptr_null(MACHINE(&arch_x86, ANY_ITEM, "pci.0.3.0.device", "virtio-blk", "pci.0.3.0.path", "/dev/null",
				   "pci.0.3.0.bootindex", "1", "pci.0.4.0.device", "virtio-net", "pci.0.4.0.backend", "null",
				   "pci.0.4.0.bootindex", "1"));
	ck_assert_str_eq(capture_stop(&cap), "skep: bootindex 1 is given to both pci.0.3.0 and pci.0.4.0; give each its own\n");
}
END_TEST

START_TEST(user_items)
{
	char path[] = "/tmp/skep-items-XXXXXX", item[128];
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq((int)write(fd, "a\0b,c", 5), 5);
	close(fd);
	snprintf(item, sizeof(item), "name=opt/org.test/file,file=%s", path);
	for (size_t i = 0; i < NELEM(arches); i++) {
		struct vm *vm = MACHINE(arches[i], "fwcfg.0", "opt/text,string=one, two=2", "fwcfg.1", item, "fwcfg.2", "opt/empty,string=");

		expect_file(vm, "opt/text", "one, two=2", 10);
		expect_file(vm, "opt/org.test/file", "a\0b,c", 5);
		expect_file(vm, "opt/empty", "", 0);
		end(vm);
	}
	ck_assert_int_eq(unlink(path), 0);
	capture_start(&cap, STDERR_FILENO);
	struct vm *vm = MACHINE(&arch_x86, "fwcfg.0", "etc/mine,string=x");

	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "fwcfg.0: names of your own should begin with 'opt/'"));
	end(vm);
}
END_TEST

START_TEST(user_mistakes)
{
	static const struct { const char *item, *text; } t[] = {
		{ "opt/x,file=/nonexistent/f", "fwcfg.0: file '/nonexistent/f': No such file or directory" },
		{ "opt/x,file=/dev/null", "fwcfg.0: '/dev/null' is no regular file" },
		{ "opt/56789012345678901234567890123456789012345678901234567,string=", "has 57 characters; give at most 55" },
		{ "etc/system-states,string=x", "etc/system-states" },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		capture_start(&cap, STDERR_FILENO);
		struct vm *vm = MACHINE(&arch_x86, "fwcfg.0", t[i].item);
		const char *text = capture_stop(&cap);

		ck_assert_msg(vm == NULL, "accepted: %s", t[i].item);
		ck_assert_msg(strstr(text, t[i].text) != NULL, "%s: %s", t[i].item, text);
	}
}
END_TEST

START_TEST(kernel_items)
{
	uint8_t kernel[1000], initrd[] = "initrd";
	struct image im = { .kind = IMAGE_BZIMAGE, .path = "k", .data = kernel, .len = sizeof(kernel), .initrd = initrd, .initrd_len = 6 };
	struct vm *vm = MACHINE(&arch_x86, ANY_ITEM);
	char text[1000];

	for (size_t i = 0; i < sizeof(kernel); i++)
		kernel[i] = (uint8_t)(i * 7);
	ck_assert_int_eq(fw_items_kernel(vm->fw_cfg, &im, "console=x", 400), 0);
	ck_assert_uint_eq(number(vm, FW_CFG_SETUP_SIZE, 4), 400);
	ck_assert_uint_eq(number(vm, FW_CFG_KERNEL_SIZE, 4), 600);
	ck_assert_uint_eq(number(vm, FW_CFG_INITRD_SIZE, 4), 6);
	ck_assert_uint_eq(number(vm, FW_CFG_CMDLINE_SIZE, 4), 10);
	select_item(vm, FW_CFG_SETUP_DATA);
	next(vm, text, 400);
	ck_assert_mem_eq(text, kernel, 400);
	select_item(vm, FW_CFG_KERNEL_DATA);
	next(vm, text, 600);
	ck_assert_mem_eq(text, kernel + 400, 600);
	select_item(vm, FW_CFG_INITRD_DATA);
	next(vm, text, 6);
	ck_assert_mem_eq(text, initrd, 6);
	select_item(vm, FW_CFG_CMDLINE_DATA);
	next(vm, text, 10);
	ck_assert_str_eq(text, "console=x");
	/* Without set-up code and initrd. */
	im.initrd = NULL;
	im.initrd_len = 0;
	ck_assert_int_eq(fw_items_kernel(vm->fw_cfg, &im, "", 0), 0);
	ck_assert_uint_eq(number(vm, FW_CFG_SETUP_SIZE, 4), 0);
	ck_assert_uint_eq(number(vm, FW_CFG_KERNEL_SIZE, 4), 1000);
	ck_assert_uint_eq(number(vm, FW_CFG_INITRD_SIZE, 4), 0);
	ck_assert_uint_eq(number(vm, FW_CFG_CMDLINE_SIZE, 4), 1);
	end(vm);
}
END_TEST

START_TEST(printed)
{
	for (size_t i = 0; i < NELEM(arches); i++) {
		struct vm *vm = MACHINE(arches[i], "fwcfg.0", "opt/text,string=hello");
		char *text = NULL;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		fw_items_print(vm, f);
		fclose(f);
		ck_assert_ptr_nonnull(strstr(text, "        5 bytes  opt/text\n"));
		ck_assert_ptr_nonnull(strstr(text, "       24 bytes  etc/smbios/smbios-anchor\n"));
		free(text);
		end(vm);
	}
}
END_TEST

UNIT_MAIN("common/fw_items", machine_items, boot_order, user_items, user_mistakes, kernel_items, printed)
