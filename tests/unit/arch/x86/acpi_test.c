/*
 * The tables as a guest reads them: checksums, pointers, counts; and iasl's opinion of the DSDT.  iasl is
 * part of what `make check` installs, so its absence is a failure, not a skip.
 */
#include <unistd.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "tests/unit/arch/x86/testvm.h"

static const uint8_t *table(const struct acpi_set *s, const char *sig, size_t *len)
{
	const struct acpi_table *t = acpi_find(s, sig);

	ck_assert_ptr_nonnull(t);
	*len = t->len;
	return s->blob.data + t->off;
}

static void check_set(const struct acpi_set *s)
{
	size_t len;
	const uint8_t *xsdt = table(s, "XSDT", &len), *fadt, *facs;

	ck_assert_uint_eq(byte_sum(s->rsdp, 20), 0);
	ck_assert_uint_eq(byte_sum(s->rsdp, RSDP_LEN), 0);
	ck_assert_uint_eq(get_le64(s->rsdp + 24), s->base + acpi_find(s, "XSDT")->off);
	for (unsigned i = 0; i < s->n; i++) {
		const uint8_t *t = s->blob.data + s->t[i].off;

		ck_assert_mem_eq(t, s->t[i].sig, 4);
		ck_assert_uint_eq(get_le32(t + 4), s->t[i].len);
		if (strcmp(s->t[i].sig, "FACS"))
			ck_assert_uint_eq(byte_sum(t, s->t[i].len), 0);
	}
	/* Every pointer of the XSDT leads to a table. */
	for (size_t off = ACPI_HDR_LEN; off < len; off += 8) {
		uint64_t at = get_le64(xsdt + off) - s->base;
		bool found = false;

		for (unsigned i = 0; i < s->n; i++)
			found |= s->t[i].off == at;
		ck_assert(found);
	}
	fadt = table(s, "FACP", &len);
	ck_assert_uint_eq(len, 276);
	ck_assert_uint_eq(get_le32(fadt + 40), s->base + acpi_find(s, "DSDT")->off);
	ck_assert_uint_eq(get_le64(fadt + 140), get_le32(fadt + 40));
	facs = table(s, "FACS", &len);
	ck_assert_uint_eq(get_le32(fadt + 36), s->base + (uint64_t)(facs - s->blob.data));
	ck_assert_uint_eq(get_le32(fadt + 36) % 64, 0);
}

START_TEST(consistent)
{
	static const char *const cpus[] = { "1", "2", "255", "256", "300", "512" };

	for (size_t i = 0; i < NELEM(cpus); i++) {
		struct vm *vm = TEST_VM("cpus", cpus[i]);
		struct acpi_set s;

		acpi_build(vm, X86_ACPI, &s);
		check_set(&s);
		ck_assert_uint_le(s.blob.len, X86_ACPI_MAX);
		acpi_free(&s);
		test_vm_free(vm);
	}
}
END_TEST

/* Structures of one type in the MADT. */
static unsigned madt_count(const uint8_t *t, size_t len, uint8_t type)
{
	unsigned n = 0;
	size_t off = 44;

	while (off < len) {
		ck_assert_uint_ge(t[off + 1], 2);
		n += t[off] == type;
		off += t[off + 1];
	}
	ck_assert_uint_eq(off, len);
	return n;
}

START_TEST(madt)
{
	static const struct { const char *cpus; unsigned lapic, x2apic, x2nmi; } t[] = {
		{ "1", 1, 0, 0 }, { "2", 2, 0, 0 }, { "255", 255, 0, 0 }, { "256", 255, 1, 1 }, { "300", 255, 45, 1 },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		struct vm *vm = TEST_VM("cpus", t[i].cpus);
		struct acpi_set s;
		size_t len;

		acpi_build(vm, X86_ACPI, &s);
		const uint8_t *m = table(&s, "APIC", &len);

		ck_assert_uint_eq(madt_count(m, len, 0), t[i].lapic);
		ck_assert_uint_eq(madt_count(m, len, 9), t[i].x2apic);
		ck_assert_uint_eq(madt_count(m, len, 1), 1);
		ck_assert_uint_eq(madt_count(m, len, 2), 2);
		ck_assert_uint_eq(madt_count(m, len, 4), 1);
		ck_assert_uint_eq(madt_count(m, len, 10), t[i].x2nmi);
		acpi_free(&s);
		test_vm_free(vm);
	}
}
END_TEST

START_TEST(fadt_fields)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct acpi_set s;
	size_t len;

	acpi_build(vm, X86_ACPI, &s);
	const uint8_t *f = table(&s, "FACP", &len);

	ck_assert_uint_eq(f[8], 6);
	ck_assert_uint_eq(get_le16(f + 46), 9);
	ck_assert_uint_eq(get_le32(f + 56), 0x600);     /* PM1a event */
	ck_assert_uint_eq(get_le32(f + 64), 0x604);     /* PM1a control */
	ck_assert_uint_eq(get_le32(f + 76), 0x608);     /* timer */
	ck_assert_uint_eq(get_le32(f + 80), 0x620);     /* GPE0 */
	ck_assert_uint_eq(f[88], 4);
	ck_assert_uint_eq(f[89], 2);
	ck_assert_uint_eq(f[91], 4);
	ck_assert_uint_eq(f[92], 16);
	/* Fixed power button (bit 4 clear), 32-bit timer, reset register; not hardware-reduced. */
	ck_assert_uint_eq(get_le32(f + 112) & (BIT(4) | BIT(8) | BIT(10) | BIT(20)), BIT(8) | BIT(10));
	ck_assert_uint_eq(get_le64(f + 120), 0xcf9);
	ck_assert_uint_eq(f[128], 6);
	acpi_free(&s);
	test_vm_free(vm);
}
END_TEST

static int run(const char *dir, const char *cmd)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && %s", dir, cmd);
	return system(line);
}

/* Any word of complaint by iasl in its output fails the test. */
START_TEST(iasl_round_trip)
{
	char dir[] = "/tmp/skep-acpi-XXXXXX";
	struct vm *vm = TEST_VM("cpus", "300", "memory.size", "3G", "lpc.com2.path", "/dev/null", "lpc.com4.path", "/dev/null");

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(arch_x86.write_tables(vm, dir), 0);
	test_vm_free(vm);
	ck_assert_msg(system("iasl -v >/dev/null 2>&1") == 0, "iasl (package acpica-tools) is not installed");
	ck_assert_int_eq(run(dir, "for f in apic facp mcfg spcr facs; do iasl -d $f.dat || exit 1; done >d.log 2>&1"), 0);
	ck_assert_int_eq(run(dir, "iasl -d dsdt.aml >>d.log 2>&1"), 0);
	ck_assert_int_eq(run(dir, "! grep -iE 'error|warning|invalid|unknown|incorrect' d.log"), 0);
	ck_assert_int_eq(run(dir, "iasl -oa -p again dsdt.dsl >c.log 2>&1"), 0);
	ck_assert_int_eq(run(dir, "grep -q '0 Errors, 0 Warnings, 0 Remarks' c.log || { cat c.log; exit 1; }"), 0);
	/* Bytes behind the header, which names the compiler, are the same again. */
	ck_assert_int_eq(run(dir, "tail -c +37 dsdt.aml >a; tail -c +37 again.aml >b; cmp a b"), 0);
	ck_assert_int_eq(run(dir, "grep -q 'Device (C12B)' dsdt.dsl && grep -q 'Device (COM4)' dsdt.dsl"), 0);
	ck_assert_int_eq(run(dir, "! grep -q COM3 dsdt.dsl"), 0);
	ck_assert_int_eq(run(dir, "rm -f *.dat *.aml *.dsl *.log *.bin a b"), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

UNIT_MAIN("arch/x86/acpi", consistent, madt, fadt_fields, iasl_round_trip)
