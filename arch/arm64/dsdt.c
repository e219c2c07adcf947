/*
 * The virt machine's DSDT: processors, the PCI host bridge with its windows and interrupts, the chips that have a
 * hardware ID, and the power button, a pin of the GPIO whose edge is an ACPI event [ACPI-6.4 5.6.5, 6.2] [PCIFW-3.3 4].
 *
 * Left out: the clock chip, which is the firmware's; PCI link devices (a GIC's inputs are all alike).
 */
#include <stdio.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "common/acpi/acpi.h"
#include "common/acpi/aml.h"
#include "common/acpi/dsdt.h"
#include "common/device.h"
#include "common/vm.h"

#define BUTTON "\\_SB.PWRB"
enum { NOTIFY_BUTTON_PRESSED = 0x80 };
/* _STA of a device that is there and works but is nothing to show to users [ACPI-6.4 6.3.7] */
enum { STA_HIDDEN = 0x0b };

static void add_pci_windows(struct blob *b, const struct memmap *m)
{
	struct blob res = { 0 };

	res_bus(&res, 0, (uint16_t)(m->ecam_len / MIB(1) - 1));
	res_mem32_window(&res, (uint32_t)m->pci32_base, (uint32_t)(m->pci32_base + m->pci32_len - 1));
	res_io_window_at(&res, (uint32_t)m->pci_io_base, (uint32_t)(m->pci_io_base + m->pci_io_len - 1), (uint32_t)m->pci_io_mmio);
	/* Hosts with few address bits may have no 64-bit window. */
	if (m->pci64_len)
		res_mem64_window(&res, m->pci64_base, m->pci64_base + m->pci64_len - 1);
	res_end(&res);
	aml_crs(b, &res);
}

/* Configuration space is the property of a motherboard device below the bridge [PCIFW-3.3 4.1.2]. */
static void add_ecam(struct blob *b, const struct memmap *m)
{
	struct blob res = { 0 };
	size_t dev = aml_device(b, "RES0");

	dsdt_hid_uid(b, "PNP0C02", 0);
	res_mem64(&res, m->ecam_base, m->ecam_len);
	res_end(&res);
	aml_crs(b, &res);
	aml_close(b, dev);
}

static void add_pci(const struct vm *vm, struct blob *b)
{
	size_t dev = aml_device(b, "PCI0");

	dsdt_hid_uid(b, "PNP0A08", 0);
	aml_name(b, "_CID");
	aml_hid(b, "PNP0A03");
	dsdt_int(b, "_SEG", 0);
	dsdt_int(b, "_BBN", 0);
	dsdt_int(b, "_CCA", 1);
	add_pci_windows(b, &vm->map);
	dsdt_prt(b, vm->arch, INTID_SPI0);
	dsdt_osc(b);
	add_ecam(b, &vm->map);
	aml_close(b, dev);
}

/* The pin's rising edge runs _E03, in the scope that is open. */
static void add_button_event(struct blob *b, const char *gpio)
{
	struct blob res = { 0 };
	char path[16], name[8];

	snprintf(path, sizeof(path), "\\_SB.%s", gpio);
	res_gpio_int(&res, POWER_BUTTON_PIN, path);
	res_end(&res);
	aml_resources(b, "_AEI", &res);
	snprintf(name, sizeof(name), "_E%02X", POWER_BUTTON_PIN);
	size_t method = aml_method(b, name, 0);

	aml_op(b, AML_NOTIFY);
	aml_path(b, BUTTON);
	aml_int(b, NOTIFY_BUTTON_PRESSED);
	aml_close(b, method);
}

static void add_button(struct blob *b)
{
	size_t dev = aml_device(b, "PWRB");

	dsdt_hid_uid(b, "PNP0C0C", 0);
	aml_close(b, dev);
}

static void add_chip(struct blob *b, const struct device *d)
{
	struct blob res = { 0 };
	char name[5];

	dsdt_chip_name(d->id, name);
	size_t dev = aml_device(b, name);

	dsdt_hid_uid(b, d->cls->desc->hid, dsdt_chip_uid(d->id));
	res_mem32(&res, (uint32_t)d->io.base, (uint32_t)d->io.len);
	if (d->gsi != DEV_NO_GSI)
		res_gsi(&res, INTID_SPI0 + d->gsi);
	res_end(&res);
	aml_crs(b, &res);
	if (strcmp(d->cls->name, POWER_BUTTON_CLASS) == 0)
		add_button_event(b, name);
	if (strcmp(d->cls->name, FW_CFG_CLASS) == 0) {
		dsdt_int(b, "_STA", STA_HIDDEN);
		dsdt_int(b, "_CCA", 1);
	}
	aml_close(b, dev);
}

/* A bank of flash, which the firmware keeps to itself. */
static void add_flash(struct blob *b, const struct device *d, unsigned n)
{
	struct blob res = { 0 };
	char name[8];

	snprintf(name, sizeof(name), "FLS%u", n % 10);
	size_t dev = aml_device(b, name);

	dsdt_hid_uid(b, "LNRO0015", n);
	res_mem32(&res, (uint32_t)d->io.base, (uint32_t)d->io.len);
	res_end(&res);
	aml_crs(b, &res);
	aml_close(b, dev);
}

static void add_chips(const struct vm *vm, struct blob *b)
{
	unsigned banks = 0;

	for (unsigned i = 0; i < vm->ndevs; i++) {
		const struct device *d = vm->devs[i];

		if (d->io_bus != &vm->mmio)
			continue;
		if (strcmp(d->cls->name, FLASH_CLASS) == 0)
			add_flash(b, d, banks++);
		else if (d->cls->desc && d->cls->desc->hid)
			add_chip(b, d);
	}
}

void arm64_dsdt(const struct vm *vm, struct blob *b)
{
	size_t off = acpi_table_begin(b, "DSDT", 2);    /* 2: integers have 64 bits */
	size_t sb = aml_scope(b, "\\_SB");

	dsdt_cpus(b, vm->nvcpus);
	add_pci(vm, b);
	add_button(b);
	add_chips(vm, b);
	aml_close(b, sb);
	acpi_table_end(b, off);
}
