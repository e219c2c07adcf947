/*
 * A set of ACPI tables [ACPI-6.4 5.2], built for a given guest-physical base.  The tables themselves are
 * arch/<a>/acpi.c's.
 */
#ifndef COMMON_ACPI_ACPI_H
#define COMMON_ACPI_ACPI_H

#include <stdint.h>
#include <stdio.h>

#include "common/blob.h"

struct memmap;

#define RSDP_LEN 36
#define ACPI_HDR_LEN 36
#define ACPI_TABLES_MAX 12
#define ACPI_VENDOR "SKEP"               /* creator of the tables and the hypervisor of the FADT */

struct acpi_table {
	char sig[5];
	size_t off, len;                /* in acpi_set.blob */
};
struct acpi_set {
	struct blob blob;               /* to be placed at base */
	uint64_t base;                  /* 64-byte aligned, below 4 GiB; 0: for the table loader, pointers are offsets */
	struct acpi_table t[ACPI_TABLES_MAX];   /* in order of address; the last one is the XSDT */
	unsigned n;
	uint8_t rsdp[RSDP_LEN];
};

void acpi_free(struct acpi_set *);
/* A table by signature; NULL: not among them. */
const struct acpi_table *acpi_find(const struct acpi_set *, const char *sig);
/* "FACP" to facp.dat: the names acpidump -b and iasl use. */
#define ACPI_FILE_NAME_MAX 16
void acpi_file_name(const struct acpi_table *, char name[ACPI_FILE_NAME_MAX]);

/* --- For builders --- */
/* Aligns and returns the offset at which the next table begins. */
size_t acpi_next(struct acpi_set *);
/* Writes a header with room for length and checksum; returns its offset for acpi_table_end(). */
size_t acpi_table_begin(struct blob *, const char *sig, uint8_t revision);
void acpi_table_end(struct blob *, size_t off);
/* Generic address structure [ACPI-6.4 5.2.3.2]; address 0: there is no such register; access 0: legacy, not defined. */
enum acpi_space { ACPI_SPACE_MEMORY = 0, ACPI_SPACE_IO = 1 };
void acpi_gas(struct blob *, enum acpi_space, uint8_t bits, uint8_t access, uint64_t addr);
/* The whole table [PCIFW-3.3 4.1.2]. */
void acpi_mcfg(struct blob *, const struct memmap *);
/* The table that begins at off and ends with the blob is part of the set. */
void acpi_note(struct acpi_set *, const char *sig, size_t off);
/* After the last table: XSDT and RSDP. */
void acpi_end(struct acpi_set *);

/* --- acpi_print.c: decoded text for `plan`, byte-stable --- */
void acpi_print(const struct acpi_set *, FILE *);
/* aml_print.c: objects of a definition block, one line each. */
void aml_print(const uint8_t *aml, size_t len, FILE *);

#endif
