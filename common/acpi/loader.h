/*
 * The tables of a machine that starts firmware: two files and the script by which firmware places them in memory,
 * sets their pointers and sums them up [QEMU-FWCFG "etc/table-loader"].  Pure.
 */
#ifndef COMMON_ACPI_LOADER_H
#define COMMON_ACPI_LOADER_H

#include <stdbool.h>

#include "common/acpi/acpi.h"

struct device;

/* Names of the files in fw_cfg. */
#define ACPI_FILE_RSDP "etc/acpi/rsdp"
#define ACPI_FILE_TABLES "etc/acpi/tables"
#define ACPI_FILE_SCRIPT "etc/table-loader"
#define ACPI_SCRIPT_ENTRY 128            /* bytes of an entry of the script */
#define ACPI_TABLES_ALIGN 64            /* of the tables' file: the FACS' */

struct acpi_loader {
	uint8_t rsdp[RSDP_LEN];
	struct blob tables, script;
};

/* From a set built at base 0.  Free with acpi_loader_free(). */
void acpi_loader_build(const struct acpi_set *, struct acpi_loader *out);
void acpi_loader_free(struct acpi_loader *);
/*
 * Both steps, and the files into fw_cfg: new, or in place of those of the same names, which must then have the same lengths.
 * Replacing is allowed inside fw_cfg_on_tables().  0 or -errno (reported).
 */
int acpi_loader_put(struct device *fw_cfg, const struct acpi_set *, bool replace);

#endif
