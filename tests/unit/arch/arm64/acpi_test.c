/*
 * The virt machine's ACPI tables as an operating system reads them: checksums, pointers, interrupt numbers; and iasl's
 * opinion of all of them.  iasl is part of what `make check` installs, so its absence is a failure, not a skip.
 */
#include <unistd.h>

#include "common/acpi/acpi.h"
#include "tests/unit/arch/arm64/testvm.h"

static const struct arm64_machine gicv2 = { .gic = 2, .v2m = true, .pmu = true }, bare = { .gic = 3 };

static struct acpi_set build(struct testvm *t, const struct arm64_machine *m)
{
	struct acpi_set s;

	t->vm.arch_state = (struct vm_arch *)(uintptr_t)m;
	arm64_acpi_build(&t->vm, &s);
	return s;
}

static const uint8_t *table(const struct acpi_set *s, const char *sig, size_t *len)
{
	const struct acpi_table *t = acpi_find(s, sig);

	ck_assert_msg(t != NULL, "no %s", sig);
	*len = t->len;
	return s->blob.data + t->off;
}

static void check_set(const struct acpi_set *s)
{
	size_t len;
	const uint8_t *xsdt = table(s, "XSDT", &len), *fadt;

	ck_assert_uint_eq(s->base, 0);
	ck_assert_uint_eq(byte_sum(s->rsdp, RSDP_LEN), 0);
	ck_assert_uint_eq((len - ACPI_HDR_LEN) / 8, s->n - 2);  /* all but DSDT and itself */
	for (unsigned i = 0; i < s->n; i++) {
		const uint8_t *t = s->blob.data + s->t[i].off;

		ck_assert_mem_eq(t, s->t[i].sig, 4);
		ck_assert_uint_eq(get_le32(t + 4), s->t[i].len);
		ck_assert_uint_eq(byte_sum(t, s->t[i].len), 0);
		ck_assert_uint_eq(s->t[i].off % 8, 0);
	}
	for (size_t off = ACPI_HDR_LEN; off < len; off += 8)
		ck_assert_mem_ne(s->blob.data + get_le64(xsdt + off), "DSDT", 4);
	fadt = table(s, "FACP", &len);
	ck_assert_uint_eq(len, 276);
	ck_assert_uint_eq(get_le64(fadt + 140), acpi_find(s, "DSDT")->off);
}

START_TEST(consistent)
{
	static const char *const keys[] = { "cpus=1", "cpus=8 lpc.com2.path=stdio", "cpus=123 lpc.bootrom=/fw" };
	static const struct arm64_machine *const m[] = { NULL, &gicv2, &bare };

	for (size_t i = 0; i < NELEM(keys) * NELEM(m); i++) {
		struct testvm *t = testvm_new(keys[i / NELEM(m)]);
		struct acpi_set s = build(t, m[i % NELEM(m)]);

		check_set(&s);
		acpi_free(&s);
		testvm_free(t);
	}
}
END_TEST

START_TEST(fadt_is_hardware_reduced_with_psci)
{
	struct testvm *t = testvm_new("");
	struct acpi_set s = build(t, NULL);
	size_t len;
	const uint8_t *f = table(&s, "FACP", &len);

	ck_assert_uint_eq(f[8], 6);
	ck_assert_uint_eq(f[131], 4);
	ck_assert_uint_eq(get_le32(f + 36), 0);                 /* FACS */
	ck_assert_uint_eq(get_le32(f + 40), 0);                 /* only the 64-bit pointer to the DSDT */
	ck_assert_uint_eq(get_le32(f + 112), BIT(20));
	ck_assert_uint_eq(get_le16(f + 129), 3);                /* PSCI, by HVC */
	ck_assert_ptr_null(acpi_find(&s, "FACS"));
	acpi_free(&s);
	testvm_free(t);
}
END_TEST

/* The n-th MADT structure of a type; NULL: there are fewer. */
static const uint8_t *madt_entry(const struct acpi_set *s, uint8_t type, unsigned n)
{
	size_t len;
	const uint8_t *t = table(s, "APIC", &len);

	for (size_t off = 44; off < len; off += t[off + 1]) {
		ck_assert_uint_ge(t[off + 1], 2);
		ck_assert_uint_le(off + t[off + 1], len);
		if (t[off] == type && n-- == 0)
			return t + off;
	}
	return NULL;
}

START_TEST(madt_gicv3)
{
	struct testvm *t = testvm_new("cpus=18");
	struct acpi_set s = build(t, NULL);
	const uint8_t *e;

	for (unsigned i = 0; i < 18; i++) {
		e = madt_entry(&s, 11, i);
		ck_assert_ptr_nonnull(e);
		ck_assert_uint_eq(e[1], 80);
		ck_assert_uint_eq(get_le32(e + 4), i);
		ck_assert_uint_eq(get_le32(e + 8), i);
		ck_assert_uint_eq(get_le32(e + 12), 1);
		ck_assert_uint_eq(get_le32(e + 20), 23);
		ck_assert_uint_eq(get_le64(e + 32), 0);
		ck_assert_uint_eq(get_le64(e + 68), i / 16 << 8 | i % 16);
	}
	ck_assert_ptr_null(madt_entry(&s, 11, 18));
	e = madt_entry(&s, 12, 0);
	ck_assert_uint_eq(get_le64(e + 8), 0x08000000);
	ck_assert_uint_eq(e[20], 3);
	e = madt_entry(&s, 14, 0);
	ck_assert_uint_eq(get_le64(e + 4), 0x080a0000);
	ck_assert_uint_eq(get_le32(e + 12), 18 * 0x20000);
	e = madt_entry(&s, 15, 0);
	ck_assert_uint_eq(get_le64(e + 8), 0x08080000);
	ck_assert_ptr_null(madt_entry(&s, 13, 0));
	acpi_free(&s);

	s = build(t, &bare);
	ck_assert_ptr_null(madt_entry(&s, 15, 0));
	ck_assert_ptr_null(acpi_find(&s, "IORT"));
	ck_assert_uint_eq(get_le32(madt_entry(&s, 11, 0) + 20), 0);     /* no PMU */
	acpi_free(&s);
	testvm_free(t);
}
END_TEST

START_TEST(madt_gicv2)
{
	struct testvm *t = testvm_new("cpus=3");
	struct acpi_set s = build(t, &gicv2);
	const uint8_t *e = madt_entry(&s, 11, 2);

	ck_assert_uint_eq(get_le64(e + 32), 0x08010000);
	ck_assert_uint_eq(get_le64(e + 68), 2);
	ck_assert_uint_eq(madt_entry(&s, 12, 0)[20], 2);
	ck_assert_ptr_null(madt_entry(&s, 14, 0));
	ck_assert_ptr_null(madt_entry(&s, 15, 0));
	e = madt_entry(&s, 13, 0);
	ck_assert_uint_eq(get_le64(e + 8), 0x08020000);
	ck_assert_uint_eq(get_le32(e + 16), 1);
	ck_assert_uint_eq(get_le16(e + 20), 64);
	ck_assert_uint_eq(get_le16(e + 22), 80);
	ck_assert_ptr_null(acpi_find(&s, "IORT"));
	acpi_free(&s);
	testvm_free(t);
}
END_TEST

START_TEST(timers_console_and_ecam)
{
	struct testvm *t = testvm_new("lpc.com2.path=stdio");
	struct acpi_set s = build(t, NULL);
	size_t len;
	const uint8_t *p = table(&s, "GTDT", &len);

	ck_assert_uint_eq(len, 104);
	ck_assert_uint_eq(get_le32(p + 48), 29);
	ck_assert_uint_eq(get_le32(p + 56), 30);
	ck_assert_uint_eq(get_le32(p + 64), 27);
	ck_assert_uint_eq(get_le32(p + 72), 26);
	for (unsigned off = 52; off <= 76; off += 8)
		ck_assert_uint_eq(get_le32(p + off), 4);                /* level, high, always on */
	p = table(&s, "SPCR", &len);
	ck_assert_uint_eq(len, 80);
	ck_assert_uint_eq(p[36], 3);
	ck_assert_uint_eq(p[40], 0);
	ck_assert_uint_eq(get_le64(p + 44), 0x09000000);        /* the first port */
	ck_assert_uint_eq(p[52], 8);
	ck_assert_uint_eq(get_le32(p + 54), 33);
	p = table(&s, "MCFG", &len);
	ck_assert_uint_eq(len, 60);
	ck_assert_uint_eq(get_le64(p + 44), 0x4010000000);
	ck_assert_uint_eq(p[55], 255);
	acpi_free(&s);
	testvm_free(t);
}
END_TEST

START_TEST(iort_leads_requester_ids_to_the_its)
{
	struct testvm *t = testvm_new("");
	struct acpi_set s = build(t, NULL);
	size_t len;
	const uint8_t *p = table(&s, "IORT", &len), *its, *rc, *map;

	ck_assert_uint_eq(get_le32(p + 36), 2);
	its = p + get_le32(p + 40);
	ck_assert_uint_eq(its[0], 0);
	ck_assert_uint_eq(get_le32(its + 16), 1);
	ck_assert_uint_eq(get_le32(its + 20), get_le32(madt_entry(&s, 15, 0) + 4));
	rc = its + get_le16(its + 1);
	ck_assert_uint_eq(rc[0], 2);
	ck_assert_uint_eq((size_t)(rc - p) + get_le16(rc + 1), len);
	ck_assert_uint_eq(get_le32(rc + 16), 1);                /* coherent */
	ck_assert_uint_eq(get_le32(rc + 28), 0);                /* segment, as MCFG's */
	ck_assert_uint_eq(get_le32(rc + 8), 1);
	map = rc + get_le32(rc + 12);
	ck_assert_uint_eq(get_le32(map), 0);
	ck_assert_uint_eq(get_le32(map + 4), 0xffff);
	ck_assert_uint_eq(get_le32(map + 12), (uint32_t)(its - p));
	ck_assert_ptr_eq(map + 20, p + len);
	acpi_free(&s);
	testvm_free(t);
}
END_TEST

static int run(const char *dir, const char *cmd)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && %s", dir, cmd);
	return system(line);
}

static void write_set(const char *dir, const struct acpi_set *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		char name[ACPI_FILE_NAME_MAX], path[64];

		acpi_file_name(&s->t[i], name);
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		FILE *f = fopen(path, "w");

		ck_assert_ptr_nonnull(f);
		ck_assert_uint_eq(fwrite(s->blob.data + s->t[i].off, 1, s->t[i].len, f), s->t[i].len);
		fclose(f);
	}
}

/* Any word of complaint by iasl in its output fails the test. */
static void check_with_iasl(const char *keys, const struct arm64_machine *m)
{
	char dir[] = "/tmp/skep-acpi-XXXXXX";
	struct testvm *t = testvm_new(keys);
	struct acpi_set s = build(t, m);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	write_set(dir, &s);
	acpi_free(&s);
	testvm_free(t);
	ck_assert_msg(system("iasl -v >/dev/null 2>&1") == 0, "iasl (package acpica-tools) is not installed");
	ck_assert_int_eq(run(dir, "for f in *.dat dsdt.aml; do iasl -d $f || exit 1; done >d.log 2>&1"), 0);
	ck_assert_int_eq(run(dir, "! grep -iE 'error|warning|invalid|unknown|incorrect' d.log *.dsl"), 0);
	ck_assert_int_eq(run(dir, "iasl -oa -p again dsdt.dsl >c.log 2>&1"), 0);
	ck_assert_int_eq(run(dir, "grep -q '0 Errors, 0 Warnings, 0 Remarks' c.log || { cat c.log; exit 1; }"), 0);
	/* Bytes behind the header, which names the compiler, are the same again. */
	ck_assert_int_eq(run(dir, "tail -c +37 dsdt.aml >a; tail -c +37 again.aml >b; cmp a b"), 0);
	ck_assert_int_eq(run(dir, "grep -q 'Notify (.*PWRB, 0x80)' dsdt.dsl && grep -q 'Method (_E03' dsdt.dsl"), 0);
	ck_assert_int_eq(run(dir, "rm -f *.dat *.aml *.dsl *.log a b"), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}

START_TEST(iasl_round_trip)
{
	check_with_iasl("cpus=123 lpc.bootrom=/fw lpc.com2.path=stdio", NULL);
	check_with_iasl("cpus=2 lpc.bootrom=/fw", &gicv2);
}
END_TEST

UNIT_MAIN("arch/arm64/acpi", consistent, fadt_is_hardware_reduced_with_psci, madt_gicv3, madt_gicv2, timers_console_and_ecam,
	  iort_leads_requester_ids_to_the_its, iasl_round_trip)
