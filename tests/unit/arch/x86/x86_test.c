/* The q35 board: memory map and firmware memory map at their edges, interrupt numbers, chips. */
#include <errno.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "tests/unit/arch/x86/testvm.h"

static int map_of(const char *size, struct memmap *m)
{
	struct conf *c = test_conf((const char *const[]){ "memory.size", size, NULL });
	int err = arch_x86.memmap(c, m);

	conf_free(c);
	return err;
}

/* Entries rise, do not overlap, and RAM adds up to the machine's less the hole below 1 MiB. */
static void check_e820(const struct memmap *m)
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = x86_e820(m, e);
	uint64_t ram = 0, total = 0, end = 0;
	bool ecam = false;

	for (unsigned i = 0; i < n; i++) {
		ck_assert_uint_gt(e[i].len, 0);
		ck_assert_uint_ge(e[i].addr, end);
		end = e[i].addr + e[i].len;
		ram += e[i].type == E820_RAM ? e[i].len : 0;
		ecam |= e[i].type == E820_RESERVED && e[i].addr == m->ecam_base && e[i].len == m->ecam_len;
	}
	for (unsigned i = 0; i < m->nram; i++)
		total += m->ram[i].len;
	ck_assert_uint_eq(ram, total - (X86_HIGH_START - X86_EBDA));
	ck_assert(ecam);
}

START_TEST(memory_edges)
{
	static const struct { const char *size; uint64_t low, high; } t[] = {
		{ "16M", MIB(16), 0 },
		{ "256M", MIB(256), 0 },
		{ "2147479552", GIB(2) - 4096, 0 },
		{ "2G", GIB(2), 0 },
		{ "2816M", MIB(2816), 0 },
		{ "2952794112", GIB(2), MIB(768) + 4096 },
		{ "3G", GIB(2), GIB(1) },
		{ "4G", GIB(2), GIB(2) },
		{ "64G", GIB(2), GIB(62) },
		{ "1T", GIB(2), GIB(1022) },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct memmap m;

		ck_assert_int_eq(map_of(t[i].size, &m), 0);
		ck_assert_uint_eq(m.nram, t[i].high ? 2 : 1);
		ck_assert_uint_eq(m.ram[0].base, 0);
		ck_assert_uint_eq(m.ram[0].len, t[i].low);
		if (t[i].high) {
			ck_assert_uint_eq(m.ram[1].base, GIB(4));
			ck_assert_uint_eq(m.ram[1].len, t[i].high);
		}
		check_e820(&m);
	}
}
END_TEST

START_TEST(windows)
{
	static const struct { const char *size; uint64_t base; } t[] = {
		{ "256M", GIB(32) }, { "16G", GIB(32) }, { "30G", GIB(32) }, { "32212258816", GIB(64) }, { "64G", GIB(96) },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct memmap m;

		ck_assert_int_eq(map_of(t[i].size, &m), 0);
		ck_assert_uint_eq(m.pci64_base, t[i].base);
		ck_assert_uint_eq(m.pci64_len, GIB(32));
		ck_assert_uint_le(m.ecam_base + m.ecam_len, m.pci32_base);
		ck_assert_uint_eq(m.pci32_base + m.pci32_len, X86_IOAPIC);
		ck_assert_uint_ge(m.pci_io_base, 0xd00);
		ck_assert_uint_le(m.pci_io_base + m.pci_io_len, 0x10000);
		ck_assert_uint_eq(m.pci_io_mmio, 0);
	}
}
END_TEST

START_TEST(refused_sizes)
{
	struct memmap m;

	ck_assert_int_eq(map_of("64T", &m), -EINVAL);
	ck_assert_int_eq(map_of("16777217", &m), -EINVAL);
	ck_assert_int_eq(map_of("60T", &m), 0);
	ck_assert_uint_le(m.pci64_base + m.pci64_len, BIT64(46));
}
END_TEST

START_TEST(pci_interrupts)
{
	ck_assert_uint_eq(arch_x86.pci_intx_gsi(0, 0), 16);
	ck_assert_uint_eq(arch_x86.pci_intx_gsi(3, 2), 21);
	ck_assert_uint_eq(arch_x86.pci_intx_gsi(31, 3), 18);
}
END_TEST

static void expect_chip(const struct vm *vm, const char *id, uint64_t base, uint32_t gsi)
{
	const struct device *d = vm_device(vm, id);

	ck_assert_ptr_nonnull(d);
	ck_assert_uint_eq(d->io.base, base);
	ck_assert_uint_eq(d->gsi, gsi);
	ck_assert_ptr_eq(d->io_bus, &vm->pio);
}

START_TEST(chips)
{
	struct vm *vm = TEST_VM("lpc.com3.path", "/dev/null");

	expect_chip(vm, "lpc.com1", 0x3f8, 4);
	expect_chip(vm, "lpc.com3", 0x3e8, 4);
	expect_chip(vm, "rtc", 0x70, 8);
	expect_chip(vm, "i8042", 0x60, 1);
	expect_chip(vm, "pm", 0x600, 9);
	expect_chip(vm, "cf9", 0xcf9, DEV_NO_GSI);
	expect_chip(vm, "port92", 0x92, DEV_NO_GSI);
	ck_assert_ptr_null(vm_device(vm, "lpc.com2"));
	ck_assert_ptr_null(vm_device(vm, "lpc.com4"));
	ck_assert_ptr_nonnull(vm_device(vm, "pci.0.0.0"));
	ck_assert_ptr_nonnull(vm_device(vm, "pci.0.31.0"));
	test_vm_free(vm);
}
END_TEST

START_TEST(fixed_functions_once)
{
	struct vm *vm = TEST_VM("pci.0.0.0.device", "hostbridge", "pci.0.31.0.device", "lpc");

	ck_assert_ptr_nonnull(vm_device(vm, "pci.0.0.0"));
	ck_assert_int_eq(arch_x86.add_fixed(vm), 0);
	unsigned n = 0;

	for (unsigned i = 0; i < vm->ndevs; i++)
		n += vm->devs[i]->cls->pci;
	ck_assert_uint_eq(n, 2);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("arch/x86/x86", memory_edges, windows, refused_sizes, pci_interrupts, chips, fixed_functions_once)
