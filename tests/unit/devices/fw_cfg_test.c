/* fw_cfg as firmware reads it, in the machines of both architectures. */
#include "devices/fw_cfg.h"

#include "tests/unit/devices/anyvm.h"

static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };
static struct vm *vm;
static struct device *d;
static struct capture cap;

static void start(const struct arch_info *arch)
{
	vm = any_vm(arch);
	d = device_new(vm, &fw_cfg_class, "fw", NULL);
	ck_assert_ptr_nonnull(d);
	ck_assert_int_eq(device_place(d, &vm->mmio, ANY_BASE), 0);
}

static bool x86(void)
{
	return vm->arch->has_pio;
}

static void select_item(uint16_t key)
{
	if (x86())
		any_wr(vm, 0, 2, key);
	else
		any_wr(vm, 8, 2, __builtin_bswap16(key));
}

static uint8_t next(void)
{
	return (uint8_t)any_rd(vm, x86() ? 1 : 0, 1);
}

static void read_bytes(void *buf, size_t len)
{
	for (uint8_t *p = buf; len--; p++)
		*p = next();
}

static uint32_t be32(const void *p)
{
	return __builtin_bswap32(get_le32(p));
}

/* A DMA request at the start of RAM's second MiB; its answer. */
static uint32_t dma(uint32_t control, uint32_t len, uint64_t addr, bool in_one)
{
	uint32_t *req = mem_at(&vm->mem, any_ram(vm), 16);
	uint64_t at = any_ram(vm), reg = x86() ? 4 : 16;

	req[0] = __builtin_bswap32(control);
	req[1] = __builtin_bswap32(len);
	put_le64(req + 2, __builtin_bswap64(addr));
	if (in_one) {
		any_wr(vm, reg, 8, __builtin_bswap64(at));
	} else {
		any_wr(vm, reg, 4, __builtin_bswap32((uint32_t)(at >> 32)));
		any_wr(vm, reg + 4, 4, __builtin_bswap32((uint32_t)at));
	}
	return be32(req);
}

/* Key and size of a file, as a driver finds them: a walk of the directory, which must be sorted. */
static uint16_t find(const char *name, uint32_t *size)
{
	uint8_t e[64];
	char last[56] = "";
	uint16_t key = 0;

	select_item(FW_CFG_FILE_DIR);
	read_bytes(e, 4);
	for (uint32_t n = be32(e); n--;) {
		read_bytes(e, 64);
		ck_assert_int_lt(strcmp(last, (char *)e + 8), 0);
		ck_assert_uint_eq(get_le16(e + 6), 0);
		memcpy(last, e + 8, 56);
		if (strcmp(last, name) == 0) {
			key = (uint16_t)(e[4] << 8 | e[5]);
			*size = be32(e);
		}
	}
	return key;
}

#define FOR_ARCHES for (size_t arch = 0; arch < NELEM(arches); arch++)

START_TEST(signature_and_id)
{
	FOR_ARCHES {
		char text[5] = "";
		start(arches[arch]);
		read_bytes(text, 4);                    /* the selector is 0 after a reset */
		ck_assert_str_eq(text, "QEMU");
		ck_assert_uint_eq(next(), 0);           /* behind the end */
		select_item(FW_CFG_ID);
		read_bytes(text, 4);
		ck_assert_uint_eq(get_le32(text), 3);
		uint64_t reg = x86() ? 4 : 16;
		ck_assert_uint_eq(__builtin_bswap32((uint32_t)any_rd(vm, reg, 4)), 0x51454d55);
		ck_assert_uint_eq(__builtin_bswap32((uint32_t)any_rd(vm, reg + 4, 4)), 0x20434647);
		ck_assert_uint_eq(any_rd(vm, reg + 4, 1), ' ');
		if (!x86())
			ck_assert_uint_eq(__builtin_bswap64(any_rd(vm, reg, 8)), 0x51454d5520434647);
		ck_assert_uint_eq(d->io.len, x86() ? 12 : 24);
		any_vm_free(vm);
	}
}
END_TEST

START_TEST(items_and_directory)
{
	FOR_ARCHES {
		char text[8] = "";
		uint32_t size = 0;
		start(arches[arch]);
		ck_assert_int_eq(fw_cfg_u16(d, FW_CFG_NB_CPUS, 3), 0);
		ck_assert_int_eq(fw_cfg_u32(d, FW_CFG_KERNEL_SIZE, 0x01020304), 0);
		ck_assert_int_eq(fw_cfg_u32(d, FW_CFG_KERNEL_SIZE, 0x11121314), 0);     /* replaces */
		ck_assert_int_eq(fw_cfg_key(d, 0x8003, "e820", 4), 0);                  /* architecture's own */
		ck_assert_int_eq(fw_cfg_file(d, "opt/z", "last", 4), 0);
		ck_assert_int_eq(fw_cfg_file(d, "bootorder", "first", 6), 0);
		ck_assert_int_eq(fw_cfg_file(d, "etc/empty", NULL, 0), 0);
		select_item(FW_CFG_NB_CPUS);
		read_bytes(text, 2);
		ck_assert_uint_eq(get_le16(text), 3);
		select_item(FW_CFG_KERNEL_SIZE | 0x4000);                               /* the write mode changes nothing */
		read_bytes(text, 4);
		ck_assert_uint_eq(get_le32(text), 0x11121314);
		select_item(0x8003);
		read_bytes(text, 4);
		ck_assert_int_eq(memcmp(text, "e820", 4), 0);
		select_item(0x8004);
		ck_assert_uint_eq(next(), 0);
		uint16_t key = find("bootorder", &size);
		ck_assert_uint_ge(key, FW_CFG_FILE_FIRST);
		ck_assert_uint_eq(size, 6);
		select_item(key);
		read_bytes(text, 6);
		ck_assert_str_eq(text, "first");
		ck_assert_uint_ne(find("etc/empty", &size), 0);
		ck_assert_uint_eq(size, 0);
		ck_assert_int_eq(fw_cfg_replace(d, "opt/z", "longer", 6), 0);
		ck_assert_int_eq(fw_cfg_replace(d, "opt/y", "", 0), -ENOENT);
		select_item(find("opt/z", &size));
		ck_assert_uint_eq(size, 6);
		read_bytes(text, 6);
		ck_assert_int_eq(memcmp(text, "longer", 6), 0);
		fw_cfg_clear(d);
		ck_assert_uint_eq(find("opt/z", &size), 0);
		select_item(FW_CFG_SIGNATURE);
		ck_assert_uint_eq(next(), 'Q');
		any_vm_free(vm);
	}
}
END_TEST

START_TEST(wide_reads_keep_the_order)
{
	start(&arch_arm64);
	fw_cfg_file(d, "a", "123456789abcdefghijk", 20);
	select_item(FW_CFG_FILE_FIRST);
	uint64_t v = any_rd(vm, 0, 8);
	ck_assert_int_eq(memcmp(&v, "12345678", 8), 0);
	v = any_rd(vm, 0, 4);
	ck_assert_int_eq(memcmp(&v, "9abc", 4), 0);
	v = any_rd(vm, 0, 2);
	ck_assert_int_eq(memcmp(&v, "de", 2), 0);
	v = any_rd(vm, 0, 8);
	ck_assert_int_eq(memcmp(&v, "fghijk\0\0", 8), 0);
	any_wr(vm, 8, 2, 0);
	any_wr(vm, 0, 8, ~0ull);                /* data is not written */
	any_wr(vm, 8, 4, 0x2000);               /* nor is this a selector */
	ck_assert_uint_eq(next(), 'Q');
	any_vm_free(vm);
}
END_TEST

START_TEST(dma_moves_items)
{
	FOR_ARCHES {
		start(arches[arch]);
		uint64_t to = any_ram(vm) + 0x1000;
		char *ram = mem_at(&vm->mem, to, 32);
		fw_cfg_file(d, "a", "0123456789", 10);
		memset(ram, 'x', 32);
		ck_assert_uint_eq(dma(FW_CFG_FILE_FIRST << 16 | 0xa, 4, to, true), 0);          /* select and read */
		ck_assert_int_eq(memcmp(ram, "0123xx", 6), 0);
		ck_assert_uint_eq(dma(0x4, 3, 0, false), 0);                                    /* skip */
		ck_assert_uint_eq(dma(0x2, 6, to, false), 0);                                   /* read over the end */
		ck_assert_int_eq(memcmp(ram, "789\0\0\0xx", 8), 0);
		ck_assert_uint_eq(dma(0x4, 0xffffffff, 0, false), 0);
		ck_assert_uint_eq(dma(FW_CFG_SIGNATURE << 16 | 0x8, 0, 0, true), 0);            /* select alone */
		ck_assert_uint_eq(next(), 'Q');
		ck_assert_uint_eq(dma(0x1234 << 16 | 0xa, 4, to, true), 0);                     /* no such item: zeroes */
		ck_assert_uint_eq(get_le32(ram), 0);
		ck_assert_uint_eq(dma(0, 4, to, true), 0);
		any_vm_free(vm);
	}
}
END_TEST

START_TEST(dma_refuses)
{
	FOR_ARCHES {
		start(arches[arch]);
		uint64_t ram = any_ram(vm), end = vm->map.ram[0].base + vm->map.ram[0].len, reg = x86() ? 4 : 16;
		fw_cfg_file(d, "a", "0123456789", 10);
		capture_start(&cap, STDERR_FILENO);
		ck_assert_uint_eq(dma(FW_CFG_FILE_FIRST << 16 | 0x18, 4, ram, true), 1);        /* write */
		ck_assert_uint_eq(dma(0x2, 4, end - 3, true), 1);                               /* half outside */
		ck_assert_uint_eq(dma(0x2, 0xffffffff, ram + 0x1000, true), 1);                 /* more than there is of RAM */
		ck_assert_uint_eq(dma(0x2, 4, ~0ull - 1, true), 1);
		any_wr(vm, reg, 8, __builtin_bswap64(end - 8));                                 /* the request itself */
		any_wr(vm, reg, 8, ~0ull);
		any_wr(vm, reg + 4, 2, 0);                                                      /* starts nothing */
		any_wr(vm, reg + 2, 4, 0);
		const char *text = capture_stop(&cap);
		ck_assert_ptr_nonnull(strstr(text, "fw: DMA write refused: 4 bytes"));
		ck_assert_ptr_nonnull(strstr(text, "which is not RAM"));
		ck_assert_uint_eq(dma(0x2, 4, ram + 0x1000, true), 0);                          /* the refused reads moved nothing */
		ck_assert_int_eq(memcmp(mem_at(&vm->mem, ram + 0x1000, 4), "0123", 4), 0);
		any_vm_free(vm);
	}
}
END_TEST

static unsigned hooked;

static void on_tables(struct vm *v, struct device *dev)
{
	ck_assert_ptr_eq(v, vm);
	ck_assert_ptr_eq(dev, d);
	hooked++;
	ck_assert_int_eq(fw_cfg_replace(dev, "etc/acpi/tables", "new", 3), 0);
}

START_TEST(tables_are_built_when_asked_for)
{
	FOR_ARCHES {
		char text[4] = "";
		uint32_t size;
		start(arches[arch]);
		hooked = 0;
		fw_cfg_on_tables(d, on_tables);
		for (unsigned boot = 1; boot <= 2; boot++) {
			fw_cfg_clear(d);
			fw_cfg_file(d, "etc/acpi/tables", "old", 3);
			fw_cfg_file(d, "etc/table-loader", "load", 4);
			fw_cfg_file(d, "etc/e820", "", 0);
			select_item(find("etc/e820", &size));
			ck_assert_uint_eq(hooked, boot - 1);
			uint16_t key = find("etc/acpi/tables", &size);
			select_item(boot == 1 ? find("etc/table-loader", &size) : key);
			ck_assert_uint_eq(hooked, boot);
			select_item(key);
			read_bytes(text, 3);
			ck_assert_str_eq(text, "new");
			ck_assert_uint_eq(hooked, boot);
		}
		any_vm_free(vm);
	}
}
END_TEST

START_TEST(limits)
{
	char name[64];

	start(&arch_x86);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(fw_cfg_file(d, "a", "1", 1), 0);
	ck_assert_int_eq(fw_cfg_file(d, "a", "2", 1), -EEXIST);
	memset(name, 'n', sizeof(name));
	name[56] = 0;
	ck_assert_int_eq(fw_cfg_file(d, name, "", 0), -ENAMETOOLONG);
	ck_assert_int_eq(fw_cfg_file(d, "", "", 0), -ENAMETOOLONG);
	name[55] = 0;
	ck_assert_int_eq(fw_cfg_file(d, name, "", 0), 0);
	for (int i = 2; i < FW_CFG_FILES_MAX; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(fw_cfg_file(d, name, name, strlen(name)), 0);
	}
	ck_assert_int_eq(fw_cfg_file(d, "one-more", "", 0), -ENOSPC);
	ck_assert_int_eq(fw_cfg_key(d, 0x100, d, (size_t)UINT32_MAX + 1), -EFBIG);
	int err = 0;
	for (uint16_t key = 0x200; !err; key++)
		err = fw_cfg_u16(d, key, 0);
	ck_assert_int_eq(err, -ENOSPC);
	const char *text = capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(text, "fw: there are two items named 'a'; rename one"));
	ck_assert_ptr_nonnull(strstr(text, "no room for item 'one-more': 64 files are the limit"));
	uint32_t size = 0;
	select_item(find("f63", &size));
	ck_assert_uint_eq(size, 3);
	ck_assert_uint_eq(next(), 'f');
	any_vm_free(vm);
}
END_TEST

START_TEST(snapshot)
{
	FOR_ARCHES {
		start(arches[arch]);
		fw_cfg_file(d, "a", "0123456789", 10);
		select_item(FW_CFG_FILE_FIRST);
		next();
		any_wr(vm, x86() ? 4 : 16, 4, 0x12345678);
		any_round_trip(d);
		ck_assert_uint_eq(next(), '1');
		device_reset(d);
		ck_assert_uint_eq(next(), 'Q');
		any_vm_free(vm);
	}
}
END_TEST

UNIT_MAIN("devices/fw_cfg", signature_and_id, items_and_directory, wide_reads_keep_the_order, dma_moves_items, dma_refuses,
	  tables_are_built_when_asked_for, limits, snapshot)
