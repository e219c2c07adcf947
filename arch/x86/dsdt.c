/*
 * The DSDT: soft-off, processors, the PCI host bridge with its windows and interrupt routing, and the chips
 * behind the LPC bridge that have a hardware ID [ACPI-6.4 5.2.11.1, 6.2.13] [PCIFW-3.3 4.5.1].
 *
 * Left out on purpose: a power-button device (the fixed one of the FADT is used), _PR objects for throttling
 * or idle states, PCI link devices (interrupts go straight to I/O APIC inputs).
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/acpi.h"
#include "arch/x86/aml.h"
#include "arch/x86/layout.h"
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

static void add_hid_uid(struct blob *b, const char *hid, uint64_t uid)
{
	aml_name(b, "_HID");
	aml_hid(b, hid);
	aml_name(b, "_UID");
	aml_int(b, uid);
}

static void add_cpus(struct blob *b, unsigned nvcpus)
{
	for (unsigned i = 0; i < nvcpus; i++) {
		char name[8];

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		size_t dev = aml_device(b, name);

		add_hid_uid(b, "ACPI0007", i);
		aml_close(b, dev);
	}
}

static void add_pci_windows(struct blob *b, const struct memmap *m)
{
	struct blob res = { 0 };

	res_bus(&res, 0, (uint16_t)(m->ecam_len / MIB(1) - 1));
	res_io(&res, CONF1_PORT, CONF1_LEN);
	res_io_window(&res, 0, CONF1_PORT - 1);
	res_io_window(&res, CONF1_PORT + CONF1_LEN, 0xffff);
	res_mem32_window(&res, (uint32_t)m->pci32_base, (uint32_t)(m->pci32_base + m->pci32_len - 1));
	res_mem64_window(&res, m->pci64_base, m->pci64_base + m->pci64_len - 1);
	res_end(&res);
	aml_crs(b, &res);
}

/* One entry per slot and pin: { slot and any function, pin, no link device, GSI }. */
static void add_prt(struct blob *b, const struct arch_info *arch)
{
	aml_name(b, "_PRT");
	size_t all = aml_package(b, 32 * 4);

	for (unsigned i = 0; i < 32 * 4; i++) {
		unsigned slot = i / 4, pin = i % 4;
		size_t one = aml_package(b, 4);

		aml_int(b, slot << 16 | 0xffff);
		aml_int(b, pin);
		aml_int(b, 0);
		aml_int(b, arch->pci_intx_gsi(slot, pin));
		aml_close(b, one);
	}
	aml_close(b, all);
}

/*
 * _OSC: the operating system may have every feature it asks for, as no firmware keeps any; an unknown UUID
 * gets bit 2 of the first dword.
 */
static void add_osc(struct blob *b)
{
	/* 33db4d5b-1ff7-401c-9657-7441c03dd766: PCI host bridge */
	static const uint8_t uuid[16] = {
		0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66,
	};
	size_t method = aml_method(b, "_OSC", 4);
	size_t cond = aml_if(b);

	aml_op(b, AML_LEQUAL);
	aml_op(b, AML_ARG0);
	aml_buffer(b, uuid, sizeof(uuid));
	aml_op(b, AML_RETURN);
	aml_op(b, AML_ARG3);
	aml_close(b, cond);
	aml_op(b, AML_CREATE_DWORD_FIELD);
	aml_op(b, AML_ARG3);
	aml_int(b, 0);
	aml_path(b, "CDW1");
	aml_op(b, AML_OR);
	aml_path(b, "CDW1");
	aml_int(b, 4);
	aml_path(b, "CDW1");
	aml_op(b, AML_RETURN);
	aml_op(b, AML_ARG3);
	aml_close(b, method);
}

/* "lpc.com1" becomes COM1, "rtc" RTC_. */
static void chip_name(const struct device *d, char name[5])
{
	const char *p = strrchr(d->id, '.');
	unsigned n = 0;

	for (p = p ? p + 1 : d->id; *p && n < 4; p++) {
		if (isalnum((unsigned char)*p))
			name[n++] = (char)toupper((unsigned char)*p);
	}
	name[n] = '\0';
}

static unsigned trailing_number(const char *id)
{
	size_t at = strlen(id);
	unsigned n = 0;

	while (at && isdigit((unsigned char)id[at - 1]))
		at--;
	for (; id[at]; at++)
		n = n * 10 + (unsigned)(id[at] - '0');
	return n;
}

static void add_chip(struct blob *b, const struct device *d)
{
	struct blob res = { 0 };
	char name[5];

	chip_name(d, name);
	size_t dev = aml_device(b, name);

	add_hid_uid(b, d->cls->desc->hid, trailing_number(d->id));
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

static void add_pci(const struct vm *vm, struct blob *b)
{
	size_t dev = aml_device(b, "PCI0");

	add_hid_uid(b, "PNP0A08", 0);
	aml_name(b, "_CID");
	aml_hid(b, "PNP0A03");
	aml_name(b, "_SEG");
	aml_int(b, 0);
	aml_name(b, "_BBN");
	aml_int(b, 0);
	add_pci_windows(b, &vm->map);
	add_prt(b, vm->arch);
	add_osc(b);
	add_lpc(vm, b);
	aml_close(b, dev);
}

/* Motherboard resources: keeps guests from placing anything over them. */
static void add_motherboard(const struct vm *vm, struct blob *b)
{
	struct blob res = { 0 };
	size_t dev = aml_device(b, "MBRD");

	add_hid_uid(b, "PNP0C02", 0);
	res_mem32(&res, (uint32_t)vm->map.ecam_base, (uint32_t)vm->map.ecam_len);
	res_io(&res, X86_PM_BASE, ACPI_PM_LEN);
	res_end(&res);
	aml_crs(b, &res);
	aml_close(b, dev);
}

void acpi_dsdt(const struct vm *vm, struct blob *b)
{
	size_t off = acpi_table_begin(b, "DSDT", 2);    /* 2: integers have 64 bits */

	add_s5(b);
	size_t sb = aml_scope(b, "\\_SB");

	add_cpus(b, vm->nvcpus);
	add_pci(vm, b);
	add_motherboard(vm, b);
	aml_close(b, sb);
	acpi_table_end(b, off);
}
