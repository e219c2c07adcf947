/* What all ACPI tables share: headers, sums, the pointers to them, and the text of what is no table of ours. */
#include <stdio.h>

#include "common/acpi/acpi.h"
#include "common/arch.h"
#include "tests/unit/unit.h"

static void add(struct acpi_set *s, const char *sig, size_t content)
{
	size_t off = acpi_next(s);

	ck_assert_uint_eq(acpi_table_begin(&s->blob, sig, 3), off);
	blob_zero(&s->blob, content);
	acpi_table_end(&s->blob, off);
	acpi_note(s, sig, off);
}

START_TEST(set_of_tables)
{
	struct acpi_set s = { .base = 0x100000 };

	add(&s, "DSDT", 5);
	add(&s, "AAAA", 1);
	add(&s, "BBBB", 0);
	acpi_end(&s);
	ck_assert_uint_eq(s.n, 4);
	ck_assert_ptr_null(acpi_find(&s, "CCCC"));
	for (unsigned i = 0; i < s.n; i++) {
		const uint8_t *t = s.blob.data + s.t[i].off;

		ck_assert_uint_eq(s.t[i].off % 16, 0);
		ck_assert_uint_eq(get_le32(t + 4), s.t[i].len);
		ck_assert_uint_eq(byte_sum(t, s.t[i].len), 0);
		ck_assert_mem_eq(t + 10, "SKEP  ", 6);
	}
	const struct acpi_table *x = acpi_find(&s, "XSDT");

	ck_assert_uint_eq(x->len, ACPI_HDR_LEN + 16);           /* the DSDT is the FADT's to name */
	ck_assert_uint_eq(get_le64(s.blob.data + x->off + 36), 0x100000 + acpi_find(&s, "AAAA")->off);
	ck_assert_uint_eq(get_le64(s.blob.data + x->off + 44), 0x100000 + acpi_find(&s, "BBBB")->off);
	ck_assert_uint_eq(get_le64(s.rsdp + 24), 0x100000 + x->off);
	ck_assert_uint_eq(byte_sum(s.rsdp, 20), 0);
	ck_assert_uint_eq(byte_sum(s.rsdp, RSDP_LEN), 0);
	acpi_free(&s);
}
END_TEST

START_TEST(shared_pieces)
{
	const struct memmap m = { .ecam_base = 0x4010000000, .ecam_len = MIB(16) };
	struct blob b = { 0 };
	char name[ACPI_FILE_NAME_MAX];

	acpi_gas(&b, ACPI_SPACE_IO, 16, 2, 0x1122334455667788);
	ck_assert_uint_eq(b.len, 12);
	ck_assert_mem_eq(b.data, "\x01\x10\x00\x02\x88\x77\x66\x55\x44\x33\x22\x11", 12);
	blob_free(&b);
	acpi_mcfg(&b, &m);
	ck_assert_uint_eq(b.len, 60);
	ck_assert_uint_eq(byte_sum(b.data, b.len), 0);
	ck_assert_uint_eq(get_le64(b.data + 44), 0x4010000000);
	ck_assert_uint_eq(b.data[54], 0);
	ck_assert_uint_eq(b.data[55], 15);
	blob_free(&b);
	acpi_file_name(&(struct acpi_table){ .sig = "FACP" }, name);
	ck_assert_str_eq(name, "facp.dat");
	acpi_file_name(&(struct acpi_table){ .sig = "DSDT" }, name);
	ck_assert_str_eq(name, "dsdt.aml");
}
END_TEST

/* A table without a printer has its headline; a wrong sum is shown. */
START_TEST(printing)
{
	struct acpi_set s = { 0 };
	char *text = NULL;
	size_t len;

	add(&s, "AAAA", 4);
	add(&s, "BBBB", 4);
	s.blob.data[s.t[1].off + 36] = 1;
	acpi_end(&s);
	FILE *f = open_memstream(&text, &len);

	acpi_print(&s, f);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "AAAA at 0x00000000, 40 bytes, revision 3, checksum good\nBBBB"));
	ck_assert_ptr_nonnull(strstr(text, "BBBB at 0x00000030, 40 bytes, revision 3, checksum WRONG\n"));
	free(text);
	acpi_free(&s);
}
END_TEST

UNIT_MAIN("common/acpi/acpi", set_of_tables, shared_pieces, printing)
