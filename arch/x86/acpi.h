/*
 * The machine's ACPI tables [ACPI-6.4], built for a given guest-physical base.
 */
#ifndef ARCH_X86_ACPI_H
#define ARCH_X86_ACPI_H

#include <stdint.h>
#include <stdio.h>

#include "common/blob.h"

struct vm;

#define RSDP_LEN 36
#define ACPI_HDR_LEN 36
#define ACPI_TABLES_MAX 8

struct acpi_table {
	char sig[5];
	size_t off, len;                /* in acpi_set.blob */
};
struct acpi_set {
	struct blob blob;               /* to be placed at base */
	uint64_t base;
	struct acpi_table t[ACPI_TABLES_MAX];   /* in order of address; the last one is the XSDT */
	unsigned n;
	uint8_t rsdp[RSDP_LEN];
};

/* base: 64-byte aligned, below 4 GiB.  Free with acpi_free(). */
void acpi_build(const struct vm *, uint64_t base, struct acpi_set *out);
void acpi_free(struct acpi_set *);
/* A table by signature; NULL: not among them. */
const struct acpi_table *acpi_find(const struct acpi_set *, const char *sig);

/* --- For acpi.c and dsdt.c --- */
/* Writes a header with room for length and checksum; returns its offset for acpi_table_end(). */
size_t acpi_table_begin(struct blob *, const char *sig, uint8_t revision);
void acpi_table_end(struct blob *, size_t off);
/* dsdt.c: appends the complete DSDT. */
void acpi_dsdt(const struct vm *, struct blob *);

/* --- acpi_print.c: decoded text for `plan`, byte-stable --- */
void acpi_print(const struct acpi_set *, FILE *);
/* aml_print.c: objects of a definition block, one line each. */
void aml_print(const uint8_t *aml, size_t len, FILE *);

#endif
