/* Tables in guest memory, as text and as files. */
#include <errno.h>
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/smbios.h"
#include "tests/unit/arch/x86/testvm.h"

static char *print(struct vm *vm)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ck_assert_int_eq(arch_x86.print_tables(vm, f), 0);
	fclose(f);
	return text;
}

START_TEST(text_is_stable_and_complete)
{
	static const char *const want[] = {
		"RSDP revision 2", "checksum good", "device COM1", "_HID = PNP0501",
		"\\_S5 = { 5, 5, 0, 0 }", "slot 31: GSI 23 16 17 18",
		"memory window 0xc0000000-0xfebfffff", "MP table", "PCI slot 31", "SMBIOS 3.4", "reset register: port 0xcf9",
		"ISA IRQ 9: GSI 9, flags 0xd", "0x0000b0000000-0x0000b00fffff reserved", "16550 at port 0x3f8",
		"buses 0-0 at 0xb0000000",
	};
	struct vm *a = TEST_VM("cpus", "2"), *b = TEST_VM("cpus", "2");
	char *ta = print(a), *tb = print(b);

	ck_assert_str_eq(ta, tb);
	for (size_t i = 0; i < NELEM(want); i++)
		ck_assert_msg(strstr(ta, want[i]) != NULL, "'%s' is missing", want[i]);
	ck_assert_ptr_null(strstr(ta, "WRONG"));
	ck_assert_ptr_null(strstr(ta, "cannot be listed"));
	free(ta);
	free(tb);
	test_vm_free(a);
	test_vm_free(b);
}
END_TEST

START_TEST(most_vcpus_are_listed)
{
	struct vm *vm = TEST_VM("cpus", "512");
	char *t = print(vm);

	ck_assert_ptr_nonnull(strstr(t, "processor 511: x2APIC 511"));
	ck_assert_ptr_nonnull(strstr(t, "device C1FF"));
	ck_assert_ptr_null(strstr(t, "cannot be listed"));
	free(t);
	test_vm_free(vm);
}
END_TEST

START_TEST(placed_in_memory)
{
	struct vm *vm = TEST_VM("cpus", "512", "sockets", "64", "cores", "8");
	uint8_t rsdp[RSDP_LEN], fp[MPFP_LEN], ep[SM3_LEN], *table;

	ck_assert_int_eq(x86_place_tables(vm), 0);
	ck_assert(mem_read(&vm->mem, X86_RSDP, rsdp, sizeof(rsdp)));
	ck_assert_uint_eq(byte_sum(rsdp, sizeof(rsdp)), 0);
	table = mem_at(&vm->mem, get_le64(rsdp + 24), 36);
	ck_assert_mem_eq(table, "XSDT", 4);
	ck_assert(mem_read(&vm->mem, X86_MPFP, fp, sizeof(fp)));
	ck_assert_mem_eq(mem_at(&vm->mem, get_le32(fp + 4), 4), "PCMP", 4);
	ck_assert(mem_read(&vm->mem, X86_SM3, ep, sizeof(ep)));
	ck_assert_uint_le(get_le64(ep + 16) + get_le32(ep + 12), X86_LOW_TABLES_END);
	table = mem_at(&vm->mem, get_le64(ep + 16), 4);
	ck_assert_uint_eq(table[0], 0);
	test_vm_free(vm);
}
END_TEST

START_TEST(left_out_on_request)
{
	static const uint8_t zero[RSDP_LEN];
	struct vm *vm = TEST_VM("acpi_tables", "false", "x86.mptable", "false");
	char *t = print(vm);

	ck_assert_ptr_null(strstr(t, "RSDP"));
	ck_assert_ptr_null(strstr(t, "MP table"));
	ck_assert_int_eq(x86_place_tables(vm), 0);
	ck_assert_mem_eq(mem_at(&vm->mem, X86_RSDP, RSDP_LEN), zero, RSDP_LEN);
	ck_assert_mem_eq(mem_at(&vm->mem, X86_MPFP, MPFP_LEN), zero, MPFP_LEN);
	ck_assert_mem_eq(mem_at(&vm->mem, X86_SM3, 5), "_SM3_", 5);
	ck_assert_uint_eq(x86_rsdp(vm), 0);
	free(t);
	test_vm_free(vm);
}
END_TEST

START_TEST(files)
{
	static const char *const names[] = {
		"apic.dat", "dsdt.aml", "facp.dat", "facs.dat", "mcfg.dat", "mptable.bin", "rsdp.dat", "smbios.bin",
		"spcr.dat", "xsdt.dat",
	};
	char dir[] = "/tmp/skep-tables-XXXXXX", path[256];
	struct vm *vm = TEST_VM("cpus", "1");

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(arch_x86.write_tables(vm, dir), 0);
	for (size_t i = 0; i < NELEM(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		ck_assert_msg(unlink(path) == 0, "%s was not written", names[i]);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(arch_x86.write_tables(vm, dir), -ENOENT);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("arch/x86/tables", text_is_stable_and_complete, most_vcpus_are_listed, placed_in_memory, left_out_on_request, files)
