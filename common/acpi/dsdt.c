/*
 * DSDT pieces of both architectures: processors, PCI interrupt routing without link devices, _OSC [ACPI-6.4 6.2.13]
 * [PCIFW-3.3 4.5.1].
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/acpi/aml.h"
#include "common/acpi/dsdt.h"
#include "common/arch.h"

void dsdt_hid_uid(struct blob *b, const char *hid, uint64_t uid)
{
	aml_name(b, "_HID");
	aml_hid(b, hid);
	aml_name(b, "_UID");
	aml_int(b, uid);
}

void dsdt_int(struct blob *b, const char *name, uint64_t value)
{
	aml_name(b, name);
	aml_int(b, value);
}

void dsdt_cpus(struct blob *b, unsigned nvcpus)
{
	for (unsigned i = 0; i < nvcpus; i++) {
		char name[8];

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		size_t dev = aml_device(b, name);

		dsdt_hid_uid(b, "ACPI0007", i);
		aml_close(b, dev);
	}
}

/* One entry per slot and pin: { slot and any function, pin, no link device, GSI }. */
void dsdt_prt(struct blob *b, const struct arch_info *arch, uint32_t gsi0)
{
	aml_name(b, "_PRT");
	size_t all = aml_package(b, 32 * 4);

	for (unsigned i = 0; i < 32 * 4; i++) {
		unsigned slot = i / 4, pin = i % 4;
		size_t one = aml_package(b, 4);

		aml_int(b, slot << 16 | 0xffff);
		aml_int(b, pin);
		aml_int(b, 0);
		aml_int(b, gsi0 + arch->pci_intx_gsi(slot, pin));
		aml_close(b, one);
	}
	aml_close(b, all);
}

/*
 * _OSC: the operating system may have every feature it asks for, as no firmware keeps any; an unknown UUID
 * gets bit 2 of the first dword.
 */
void dsdt_osc(struct blob *b)
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

void dsdt_chip_name(const char *id, char name[5])
{
	const char *p = strrchr(id, '.');
	unsigned n = 0;

	for (p = p ? p + 1 : id; *p && n < 4; p++) {
		if (isalnum((unsigned char)*p))
			name[n++] = (char)toupper((unsigned char)*p);
	}
	name[n] = '\0';
}

unsigned dsdt_chip_uid(const char *id)
{
	size_t at = strlen(id);
	unsigned n = 0;

	while (at && isdigit((unsigned char)id[at - 1]))
		at--;
	for (; id[at]; at++)
		n = n * 10 + (unsigned)(id[at] - '0');
	return n;
}
