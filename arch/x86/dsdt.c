/*
 * The DSDT: soft-off, processors, the PCI host bridge with its windows and interrupt routing, and the chips
 * behind the LPC bridge that have a hardware ID [ACPI-6.4 5.2.11.1, 6.2.13] [PCIFW-3.3 4.5.1].
 *
 * Left out on purpose: a power-button device (the fixed one of the FADT is used), _PR objects for throttling
 * or idle states, PCI link devices (interrupts go straight to I/O APIC inputs).
 */
#include <string.h>

#include "arch/x86/acpi.h"
#include "arch/x86/layout.h"
#include "common/acpi/aml.h"
#include "common/acpi/dsdt.h"
#include "common/vm.h"
#include "devices/acpi_pm.h"

#define CONF1_PORT 0xcf8                /* CONFIG_ADDRESS and CONFIG_DATA */
#define CONF1_LEN 8

static void add_s5(struct blob *b)
{
	aml_name(b, "\\_S5");
	size_t pkg = aml_package(b, 4);

	aml_int(b, ACPI_S5_TYPE);       /* PM1a SLP_TYP */
	aml_int(b, ACPI_S5_TYPE);
	aml_int(b, 0);
	aml_int(b, 0);
	aml_close(b, pkg);
}

static void add_pci_windows(struct blob *b, const struct memmap *m)
{
	struct blob res = { 0 };

	res_bus(&res, 0, 0);
	res_io(&res, CONF1_PORT, CONF1_LEN);
	res_io_window(&res, 0, CONF1_PORT - 1);
	res_io_window(&res, CONF1_PORT + CONF1_LEN, 0xffff);
	res_mem32_window(&res, (uint32_t)m->pci32_base, (uint32_t)(m->pci32_base + m->pci32_len - 1));
	res_mem64_window(&res, m->pci64_base, m->pci64_base + m->pci64_len - 1);
	res_end(&res);
	aml_crs(b, &res);
}

static void add_chip(struct blob *b, const struct device *d)
{
	struct blob res = { 0 };
	char name[5];

	dsdt_chip_name(d->id, name);
	size_t dev = aml_device(b, name);

	dsdt_hid_uid(b, d->cls->desc->hid, dsdt_chip_uid(d->id));
	res_io(&res, (uint16_t)d->io.base, (uint8_t)d->io.len);
	if (d->gsi != DEV_NO_GSI)
		res_irq(&res, d->gsi);
	res_end(&res);
	aml_crs(b, &res);
	aml_close(b, dev);
}

static bool has_hid(const struct vm *vm, const struct device *d)
{
	return d->cls->desc && d->cls->desc->hid && d->io.mapped && d->io_bus == &vm->pio;
}

static void add_lpc(const struct vm *vm, struct blob *b)
{
	size_t dev = aml_device(b, "LPC");

	aml_name(b, "_ADR");
	aml_int(b, 31u << 16);
	for (unsigned i = 0; i < vm->ndevs; i++) {
		if (has_hid(vm, vm->devs[i]))
			add_chip(b, vm->devs[i]);
	}
	aml_close(b, dev);
}

static void add_pci(const struct vm *vm, const struct memmap *m, struct blob *b)
{
	size_t dev = aml_device(b, "PCI0");

	dsdt_hid_uid(b, "PNP0A08", 0);
	aml_name(b, "_CID");
	aml_hid(b, "PNP0A03");
	aml_name(b, "_SEG");
	aml_int(b, 0);
	aml_name(b, "_BBN");
	aml_int(b, 0);
	add_pci_windows(b, m);
	dsdt_prt(b, vm->arch, 0);
	dsdt_osc(b);
	add_lpc(vm, b);
	aml_close(b, dev);
}

/* Motherboard resources: keeps guests from placing anything over them. */
static void add_motherboard(const struct memmap *m, struct blob *b)
{
	struct blob res = { 0 };
	size_t dev = aml_device(b, "MBRD");

	dsdt_hid_uid(b, "PNP0C02", 0);
	res_mem32(&res, (uint32_t)m->ecam_base, (uint32_t)m->ecam_len);
	res_io(&res, X86_PM_BASE, ACPI_PM_LEN);
	res_end(&res);
	aml_crs(b, &res);
	aml_close(b, dev);
}

void acpi_dsdt(const struct vm *vm, const struct memmap *m, struct blob *b)
{
	size_t off = acpi_table_begin(b, "DSDT", 2);    /* 2: integers have 64 bits */

	add_s5(b);
	size_t sb = aml_scope(b, "\\_SB");

	dsdt_cpus(b, vm->nvcpus);
	add_pci(vm, m, b);
	add_motherboard(m, b);
	aml_close(b, sb);
	acpi_table_end(b, off);
}
