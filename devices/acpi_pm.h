/*
 * What the machine asks of the ACPI power-management block.
 */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include <stdbool.h>

struct device;

/* Register offsets inside the block and their lengths in bytes; FADT and this chip must agree. */
#define ACPI_PM1_EVT 0x00
#define ACPI_PM1_EVT_LEN 4
#define ACPI_PM1_CNT 0x04
#define ACPI_PM1_CNT_LEN 2
#define ACPI_PM_TMR 0x08
#define ACPI_PM_TMR_LEN 4
#define ACPI_GPE0 0x20
#define ACPI_GPE0_LEN 16
#define ACPI_PM_LEN 0x40
#define ACPI_S5_TYPE 5                  /* SLP_TYP of soft-off, as \_S5 says */

/*
 * Presses the fixed-hardware power button of an "acpi-pm" device and raises SCI when the guest has enabled
 * it.  True when it has (PWRBTN_EN), so that somebody listens.  Any thread but a handler of this device.
 */
bool acpi_pm_power_button(struct device *);

#endif
