/*
 * The q35 machine's ACPI tables [ACPI-6.4].
 */
#ifndef ARCH_X86_ACPI_H
#define ARCH_X86_ACPI_H

#include "common/acpi/acpi.h"

struct vm;
struct memmap;

/* Every table of the machine.  Free with acpi_free(). */
void acpi_build(const struct vm *, uint64_t base, struct acpi_set *out);
/*
 * The same with PCI's ranges from `m`, as firmware has placed them.  The tables' lengths do not depend on it; with ecam_len
 * 0 a table without meaning is in the MCFG's place.
 */
void acpi_build_with(const struct vm *, const struct memmap *m, uint64_t base, struct acpi_set *out);
/* dsdt.c: appends the complete DSDT. */
void acpi_dsdt(const struct vm *, const struct memmap *, struct blob *);

#endif
