/* Firmware on the q35 machine: where flash goes, what fw_cfg gets, and what is refused. */
#include <errno.h>
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "devices/fw_cfg.h"
#include "devices/pci/pci.h"
#include "tests/unit/arch/x86/testvm.h"
#include "tests/unit/capture.h"

static struct capture cap;

/* A flash image of `len` bytes; every byte tells its block. */
static void flash_file(char *path, size_t len)
{
	strcpy(path, "/tmp/skep-flash-XXXXXX");
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	for (size_t off = 0; off < len; off += 4096) {
		uint8_t block[4096];

		memset(block, (int)(off / 4096) + 1, sizeof(block));
		ck_assert_int_gt(write(fd, block, MIN(len - off, sizeof(block))), 0);
	}
	close(fd);
}

static const char *refused(const char *const *settings)
{
	struct conf *c = test_conf(settings);
	struct vm *vm = NULL;

	capture_start(&cap, STDERR_FILENO);
	int err = vm_create(c, &arch_x86, true, &vm);
	const char *text = capture_stop(&cap);

	ck_assert_int_lt(err, 0);
	conf_free(c);
	return text;
}
#define REFUSED(...) refused((const char *const[]){ __VA_ARGS__, NULL })

static uint64_t mem8(struct vm *vm, uint64_t gpa)
{
	uint64_t v = 0;

	bus_read(&vm->mmio, gpa, 1, &v);
	return v;
}

START_TEST(flash_ends_at_4g)
{
	char code[32], vars[32];

	flash_file(code, 3 * 4096);
	flash_file(vars, 2 * 4096);
	struct vm *vm = TEST_VM("lpc.bootrom", code, "lpc.bootvars", vars);

	ck_assert_uint_eq(mem8(vm, 0xffffffff), 3);
	ck_assert_uint_eq(mem8(vm, 0xffffd000), 1);
	ck_assert_uint_eq(mem8(vm, 0xffffcfff), 2);     /* variables below the code */
	ck_assert_uint_eq(mem8(vm, 0xffffb000), 1);
	ck_assert_uint_eq(mem8(vm, 0xffffafff), 0xff);
	ck_assert_int_eq(vm->entry.mode, ENTRY_X86_RESET);
	test_vm_free(vm);
	vm = TEST_VM("lpc.bootrom", code);
	ck_assert_uint_eq(mem8(vm, 0xffffd000), 1);
	ck_assert_uint_eq(mem8(vm, 0xffffcfff), 0xff);
	test_vm_free(vm);
	unlink(code);
	unlink(vars);
}
END_TEST

/* Memory is as after power-on: no table, no kernel. */
START_TEST(memory_is_empty)
{
	char code[32];

	flash_file(code, 4096);
	struct vm *vm = TEST_VM("lpc.bootrom", code);
	const uint8_t *low = mem_at(&vm->mem, 0, MIB(1));

	for (size_t i = 0; i < MIB(1); i++)
		ck_assert_uint_eq(low[i], 0);
	test_vm_free(vm);
	unlink(code);
}
END_TEST

START_TEST(impossible_sizes)
{
	static const size_t bad[] = { 100, 4097 };
	char code[32], vars[32];

	for (size_t i = 0; i < NELEM(bad); i++) {
		flash_file(code, bad[i]);
		const char *text = REFUSED("lpc.bootrom", code);

		ck_assert_msg(strstr(text, "flash consists of blocks of 4096; give a flash image for x86\n"), "%s", text);
		unlink(code);
	}
	flash_file(code, MIB(16));
	flash_file(vars, 4096);
	ck_assert_ptr_nonnull(strstr(REFUSED("lpc.bootrom", code, "lpc.bootvars", vars),
				     "has 4 KiB, and the x86 machine has room for 0 KiB below 4 GiB"));
	ck_assert_int_eq(truncate(code, 64 << 20), 0);
	ck_assert_ptr_nonnull(strstr(REFUSED("lpc.bootrom", code), "has 65536 KiB, and the x86 machine has room for 16384 KiB "
				     "below 4 GiB; is it for arm64?\n"));
	unlink(code);
	unlink(vars);
}
END_TEST

START_TEST(plan_says_all)
{
	static const char *const want[] = {
		"firmware\n  flash0 0xffffe000-0xffffffff  /tmp/skep-flash-", "etc/acpi/rsdp\n", "etc/acpi/tables\n", "etc/table-loader\n",
		"40 bytes  etc/e820\n", "0x000000000000-0x00007fffffff usable\n  0x000100000000-0x00013fffffff usable\n",
		"buses 0-0 at 0xb0000000", "etc/smbios/smbios-tables\n",
	};
	char code[32], *text = NULL;
	size_t len;

	flash_file(code, 8192);
	struct vm *vm = TEST_VM("lpc.bootrom", code, "memory.size", "3G");
	FILE *f = open_memstream(&text, &len);

	ck_assert_int_eq(arch_x86.print_tables(vm, f), 0);
	fclose(f);
	for (size_t i = 0; i < NELEM(want); i++)
		ck_assert_msg(strstr(text, want[i]) != NULL, "'%s' is missing in\n%s", want[i], text);
	ck_assert_ptr_null(strstr(text, "MP table"));
	free(text);
	test_vm_free(vm);
	vm = TEST_VM("lpc.bootrom", code, "acpi_tables", "false");
	f = open_memstream(&text, &len);
	ck_assert_int_eq(arch_x86.print_tables(vm, f), 0);
	fclose(f);
	ck_assert_ptr_null(strstr(text, "etc/table-loader"));
	free(text);
	test_vm_free(vm);
	unlink(code);
}
END_TEST

static void cfg_write(struct vm *vm, unsigned slot, unsigned off, uint32_t val)
{
	bus_write(&vm->pio, 0xcf8, 4, 0x80000000u | slot << 11 | off);
	bus_write(&vm->pio, 0xcfc, 4, val);
}

START_TEST(tables_follow_firmware)
{
	char code[32];

	flash_file(code, 4096);
	struct vm *vm = TEST_VM("lpc.bootrom", code, "memory.size", "6G", "pci.0.3.0.device", "virtio-rnd");
	const struct pci_dev *p = pci_at(vm->pci, 0, 3, 0);
	unsigned bar = 0;
	struct memmap m;
	struct acpi_set off, on, far;

	x86_placed_map(vm, &m);
	ck_assert_uint_eq(m.ecam_len, 0);               /* PCIEXBAR is off at power-on */
	acpi_build_with(vm, &m, 0, &off);
	ck_assert_ptr_null(acpi_find(&off, "MCFG"));

	cfg_write(vm, 0, 0x60, 0xe0000001);             /* 256 MiB */
	x86_placed_map(vm, &m);
	ck_assert_uint_eq(m.ecam_base, 0xe0000000);
	ck_assert_uint_eq(m.ecam_len, MIB(256));
	ck_assert_uint_eq(m.pci32_base, 0xc0000000);    /* cut where the ECAM begins */
	ck_assert_uint_eq(m.pci32_len, 0x20000000);
	ck_assert_uint_eq(m.pci64_base, vm->map.pci64_base);
	acpi_build_with(vm, &m, 0, &on);
	ck_assert_uint_eq(get_le64(on.blob.data + acpi_find(&on, "MCFG")->off + 44), 0xe0000000);

	/* A BAR far above the default window, and the ECAM range above 4 GiB, where the tables' 32 bits do not reach. */
	while (p->bar[bar].type != PCI_BAR_MEM64)
		bar++;
	cfg_write(vm, 3, PCI_BAR0 + 4 * bar, 0);
	cfg_write(vm, 3, PCI_BAR0 + 4 * bar + 4, 0x380);
	cfg_write(vm, 3, PCI_COMMAND, PCI_COMMAND_MEM);
	cfg_write(vm, 0, 0x60, 0);
	cfg_write(vm, 0, 0x64, 8);
	cfg_write(vm, 0, 0x60, 1);
	x86_placed_map(vm, &m);
	ck_assert_uint_eq(m.ecam_len, 0);
	ck_assert_uint_eq(m.pci32_len, vm->map.pci32_len);
	ck_assert_uint_eq(m.pci64_base, 0x380ull << 32);        /* the ECAM range at 32 GiB is no BAR */
	ck_assert_uint_eq(m.pci64_len, GIB(1));
	acpi_build_with(vm, &m, 0, &far);

	/* Firmware may have read the directory before: nothing changes its length. */
	ck_assert_uint_eq(off.blob.len, on.blob.len);
	ck_assert_uint_eq(off.blob.len, far.blob.len);
	acpi_free(&off);
	acpi_free(&on);
	acpi_free(&far);
	test_vm_free(vm);
	unlink(code);
}
END_TEST

START_TEST(kernels)
{
	static const uint8_t elf[4096] = { 0x7f, 'E', 'L', 'F' };
	struct image im = { .kind = IMAGE_PVH, .path = "/k", .data = (uint8_t *)elf, .len = sizeof(elf) };
	uint8_t bz[2048] = { 0 };
	char code[32];

	flash_file(code, 4096);
	struct vm *vm = TEST_VM("lpc.bootrom", code);

	fw_cfg_clear(vm->fw_cfg);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(x86_fill_fw_cfg(vm, vm->fw_cfg, &im), -ENOEXEC);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "which firmware cannot start; give a Linux bzImage that UEFI can start"));
	im = (struct image){ .kind = IMAGE_BZIMAGE, .path = "/k", .data = bz, .len = sizeof(bz), .nseg = 1,
			     .seg[0] = { .data = bz + 3 * 512, .len = 512 } };
	fw_cfg_clear(vm->fw_cfg);
	ck_assert_int_eq(x86_fill_fw_cfg(vm, vm->fw_cfg, &im), 0);
	uint64_t v = 0;

	bus_write(&vm->pio, 0x510, 2, FW_CFG_SETUP_SIZE);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t byte = 0;

		bus_read(&vm->pio, 0x511, 1, &byte);
		v |= byte << 8 * i;
	}
	ck_assert_uint_eq(v, 3 * 512);
	test_vm_free(vm);
	unlink(code);
}
END_TEST

UNIT_MAIN("arch/x86/firmware", flash_ends_at_4g, memory_is_empty, impossible_sizes, plan_says_all, tables_follow_firmware, kernels)
