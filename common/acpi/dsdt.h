/*
 * Pieces of a DSDT that do not differ between architectures.  Pure; everything is appended to the blob.
 */
#ifndef COMMON_ACPI_DSDT_H
#define COMMON_ACPI_DSDT_H

#include <stdint.h>

#include "common/blob.h"

struct arch_info;

/* Name (_HID, ...), Name (_UID, ...) */
void dsdt_hid_uid(struct blob *, const char *hid, uint64_t uid);
/* Name (NAME, value) with an integer */
void dsdt_int(struct blob *, const char *name, uint64_t value);
/* A processor device for each vCPU; its _UID is the MADT's. */
void dsdt_cpus(struct blob *, unsigned nvcpus);
/* _PRT of the host bridge: every slot's pins by the architecture's rule; gsi0 is the ACPI number of the board's GSI 0. */
void dsdt_prt(struct blob *, const struct arch_info *, uint32_t gsi0);
/* _OSC of the host bridge. */
void dsdt_osc(struct blob *);
/* Object name and _UID of a chip from its bus path: "lpc.com1" becomes COM1 and 1, "rtc" RTC and 0. */
void dsdt_chip_name(const char *id, char name[5]);
unsigned dsdt_chip_uid(const char *id);

#endif
