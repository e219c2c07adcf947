/*
 * What the ACPI tables of both architectures share: headers, checksums, XSDT and RSDP [ACPI-6.4 5.2].  There is no
 * RSDT: every guest these machines are for reads the XSDT.
 */
#include "common/acpi/acpi.h"

#include <assert.h>
#include <string.h>

#include "common/arch.h"
#include "common/util.h"

#define OEM_ID "SKEP  "
#define OEM_TABLE_ID "SKEPVM  "

void acpi_free(struct acpi_set *s)
{
	blob_free(&s->blob);
}

const struct acpi_table *acpi_find(const struct acpi_set *s, const char *sig)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (strcmp(s->t[i].sig, sig) == 0)
			return &s->t[i];
	}
	return NULL;
}

void acpi_file_name(const struct acpi_table *t, char name[ACPI_FILE_NAME_MAX])
{
	for (unsigned i = 0; i < 4; i++)
		name[i] = (char)(t->sig[i] | 0x20);
	strcpy(name + 4, strcmp(t->sig, "DSDT") ? ".dat" : ".aml");
}

size_t acpi_table_begin(struct blob *b, const char *sig, uint8_t revision)
{
	size_t off = b->len;

	blob_add(b, sig, 4);
	blob_u32(b, 0);                 /* length, by acpi_table_end() */
	blob_u8(b, revision);
	blob_u8(b, 0);                  /* checksum, likewise */
	blob_add(b, OEM_ID, 6);
	blob_add(b, OEM_TABLE_ID, 8);
	blob_u32(b, 1);
	blob_add(b, ACPI_VENDOR, 4);
	blob_u32(b, 1);
	return off;
}

void acpi_table_end(struct blob *b, size_t off)
{
	uint8_t *t = b->data + off;
	size_t len = b->len - off;

	put_le32(t + 4, (uint32_t)len);
	t[9] = (uint8_t)-byte_sum(t, len);
}

void acpi_gas(struct blob *b, enum acpi_space space, uint8_t bits, uint8_t access, uint64_t addr)
{
	blob_u8(b, (uint8_t)space);
	blob_u8(b, bits);
	blob_u8(b, 0);
	blob_u8(b, access);
	blob_u64(b, addr);
}

void acpi_mcfg(struct blob *b, const struct memmap *m)
{
	size_t off = acpi_table_begin(b, "MCFG", 1);

	blob_u64(b, 0);
	blob_u64(b, m->ecam_base);
	blob_u16(b, 0);                 /* segment */
	blob_u8(b, 0);
	blob_u8(b, (uint8_t)(m->ecam_len / MIB(1) - 1));
	blob_u32(b, 0);
	acpi_table_end(b, off);
}

void acpi_note(struct acpi_set *s, const char *sig, size_t off)
{
	struct acpi_table *t = &s->t[s->n++];

	assert(s->n <= ACPI_TABLES_MAX);
	memcpy(t->sig, sig, 5);
	t->off = off;
	t->len = s->blob.len - off;
}

static void add_xsdt(struct acpi_set *s)
{
	unsigned n = s->n;
	size_t off = acpi_table_begin(&s->blob, "XSDT", 1);

	for (unsigned i = 0; i < n; i++) {
		/* These two are the FADT's. */
		if (strcmp(s->t[i].sig, "FACS") && strcmp(s->t[i].sig, "DSDT"))
			blob_u64(&s->blob, s->base + s->t[i].off);
	}
	acpi_table_end(&s->blob, off);
	acpi_note(s, "XSDT", off);
}

static void fill_rsdp(uint8_t rsdp[RSDP_LEN], uint64_t xsdt)
{
	memset(rsdp, 0, RSDP_LEN);
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, OEM_ID, 6);
	rsdp[15] = 2;                   /* revision */
	put_le32(rsdp + 20, RSDP_LEN);
	put_le64(rsdp + 24, xsdt);
	rsdp[8] = (uint8_t)-byte_sum(rsdp, 20);
	rsdp[32] = (uint8_t)-byte_sum(rsdp, RSDP_LEN);
}

size_t acpi_next(struct acpi_set *s)
{
	blob_align(&s->blob, 16);
	return s->blob.len;
}

void acpi_end(struct acpi_set *s)
{
	acpi_next(s);
	add_xsdt(s);
	fill_rsdp(s->rsdp, s->base + acpi_find(s, "XSDT")->off);
}
