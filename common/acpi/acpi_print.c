/*
 * ACPI tables as text, for `plan` and golden files: what a reader wants to compare, byte-stable.
 */
#include <inttypes.h>
#include <string.h>

#include "common/acpi/acpi.h"
#include "common/util.h"

static void print_gas(const char *name, const uint8_t *g, FILE *f)
{
	if (get_le64(g + 4))
		fprintf(f, "  %s: %s 0x%" PRIx64 ", %u bits\n", name, g[0] ? "port" : "memory", get_le64(g + 4), g[1]);
}

#define FADT_HW_REDUCED BIT(20)

static void print_fadt(const uint8_t *t, FILE *f)
{
	if (get_le32(t + 112) & FADT_HW_REDUCED) {
		fprintf(f, "  hardware-reduced, DSDT 0x%08" PRIx64 ", flags 0x%08x, ARM boot flags 0x%04x\n", get_le64(t + 140),
			get_le32(t + 112), get_le16(t + 129));
		return;
	}
	fprintf(f, "  FACS 0x%08x, DSDT 0x%08x, SCI %u\n", get_le32(t + 36), get_le32(t + 40), get_le16(t + 46));
	fprintf(f, "  boot flags 0x%04x, flags 0x%08x\n", get_le16(t + 109), get_le32(t + 112));
	print_gas("reset register", t + 116, f);
	fprintf(f, "  reset value %u\n", t[128]);
	print_gas("PM1a event", t + 148, f);
	print_gas("PM1a control", t + 172, f);
	print_gas("PM timer", t + 208, f);
	print_gas("GPE0", t + 220, f);
}

static void print_gic_entry(const uint8_t *e, FILE *f)
{
	switch (e[0]) {
	case 11:
		fprintf(f, "  processor %u: MPIDR 0x%" PRIx64 ", PMU interrupt %u", get_le32(e + 8), get_le64(e + 68),
			get_le32(e + 20));
		if (get_le64(e + 32))
			fprintf(f, ", CPU interface at 0x%" PRIx64, get_le64(e + 32));
		fprintf(f, "%s\n", get_le32(e + 12) & 1 ? "" : ", disabled");
		break;
	case 12:
		fprintf(f, "  GICv%u distributor at 0x%" PRIx64 "\n", e[20], get_le64(e + 8));
		break;
	case 13:
		fprintf(f, "  v2m frame at 0x%" PRIx64 ", interrupts %u-%u\n", get_le64(e + 8), get_le16(e + 22),
			get_le16(e + 22) + get_le16(e + 20) - 1);
		break;
	case 14:
		fprintf(f, "  redistributors at 0x%" PRIx64 ", 0x%x bytes\n", get_le64(e + 4), get_le32(e + 12));
		break;
	case 15:
		fprintf(f, "  ITS %u at 0x%" PRIx64 "\n", get_le32(e + 4), get_le64(e + 8));
		break;
	default:
		fprintf(f, "  entry of type %u\n", e[0]);
	}
}

static void print_madt_entry(const uint8_t *e, FILE *f)
{
	switch (e[0]) {
	case 0:
		fprintf(f, "  processor %u: APIC %u%s\n", e[2], e[3], get_le32(e + 4) & 1 ? "" : ", disabled");
		break;
	case 1:
		fprintf(f, "  I/O APIC %u at 0x%08x, GSI from %u\n", e[2], get_le32(e + 4), get_le32(e + 8));
		break;
	case 2:
		fprintf(f, "  ISA IRQ %u: GSI %u, flags 0x%x\n", e[3], get_le32(e + 4), get_le16(e + 8));
		break;
	case 4:
		fprintf(f, "  NMI: processor 0x%02x, LINT%u\n", e[2], e[5]);
		break;
	case 9:
		fprintf(f, "  processor %u: x2APIC %u%s\n", get_le32(e + 12), get_le32(e + 4),
			get_le32(e + 8) & 1 ? "" : ", disabled");
		break;
	case 10:
		fprintf(f, "  NMI: processor 0x%08x (x2APIC), LINT%u\n", get_le32(e + 4), e[8]);
		break;
	default:
		print_gic_entry(e, f);
	}
}

static void print_madt(const uint8_t *t, size_t len, FILE *f)
{
	if (get_le32(t + 36))
		fprintf(f, "  local APICs at 0x%08x, flags %u\n", get_le32(t + 36), get_le32(t + 40));
	for (size_t off = 44; off + 2 <= len && t[off + 1] >= 2; off += t[off + 1])
		print_madt_entry(t + off, f);
}

static void print_mcfg(const uint8_t *t, size_t len, FILE *f)
{
	for (size_t off = 44; off + 16 <= len; off += 16)
		fprintf(f, "  segment %u, buses %u-%u at 0x%" PRIx64 "\n", get_le16(t + off + 8), t[off + 10], t[off + 11],
			get_le64(t + off));
}

static void print_spcr(const uint8_t *t, FILE *f)
{
	if (t[36] == 3) {
		fprintf(f, "  PL011 at 0x%" PRIx64 ", interrupt %u, 115200 baud\n", get_le64(t + 44), get_le32(t + 54));
		return;
	}
	fprintf(f, "  16550 at port 0x%" PRIx64 ", IRQ %u, GSI %u, 115200 baud\n", get_le64(t + 44), t[53], get_le32(t + 54));
}

static void print_gtdt(const uint8_t *t, FILE *f)
{
	fprintf(f, "  secure timer: interrupt %u; physical %u; virtual %u; hypervisor %u\n", get_le32(t + 48), get_le32(t + 56),
		get_le32(t + 64), get_le32(t + 72));
}

static void print_iort_mapping(const uint8_t *m, FILE *f)
{
	fprintf(f, "    IDs 0x%x-0x%x from 0x%x of the node at %u\n", get_le32(m), get_le32(m) + get_le32(m + 4), get_le32(m + 8),
		get_le32(m + 12));
}

static void print_iort(const uint8_t *t, size_t len, FILE *f)
{
	size_t off = get_le32(t + 40);

	for (unsigned i = 0; i < get_le32(t + 36) && off + 16 <= len; i++) {
		const uint8_t *n = t + off;

		fprintf(f, "  node at %zu: %s\n", off, n[0] == 0 ? "ITS group" : n[0] == 2 ? "PCI root complex" : "other");
		for (unsigned m = 0; m < get_le32(n + 8) && off + get_le32(n + 12) + (m + 1) * 20 <= len; m++)
			print_iort_mapping(n + get_le32(n + 12) + m * 20, f);
		off += get_le16(n + 1);
	}
}

static void print_xsdt(const uint8_t *t, size_t len, FILE *f)
{
	for (size_t off = ACPI_HDR_LEN; off + 8 <= len; off += 8)
		fprintf(f, "  0x%08" PRIx64 "\n", get_le64(t + off));
}

static void print_table(const struct acpi_set *s, const struct acpi_table *t, FILE *f)
{
	const uint8_t *p = s->blob.data + t->off;

	if (strcmp(t->sig, "FACS") == 0) {
		fprintf(f, "FACS at 0x%08" PRIx64 ", %zu bytes\n", s->base + t->off, t->len);
		return;
	}
	fprintf(f, "%s at 0x%08" PRIx64 ", %zu bytes, revision %u, checksum %s\n", t->sig, s->base + t->off, t->len, p[8],
		byte_sum(p, t->len) ? "WRONG" : "good");
	if (strcmp(t->sig, "FACP") == 0)
		print_fadt(p, f);
	else if (strcmp(t->sig, "APIC") == 0)
		print_madt(p, t->len, f);
	else if (strcmp(t->sig, "MCFG") == 0)
		print_mcfg(p, t->len, f);
	else if (strcmp(t->sig, "SPCR") == 0)
		print_spcr(p, f);
	else if (strcmp(t->sig, "GTDT") == 0)
		print_gtdt(p, f);
	else if (strcmp(t->sig, "IORT") == 0)
		print_iort(p, t->len, f);
	else if (strcmp(t->sig, "XSDT") == 0)
		print_xsdt(p, t->len, f);
	else if (strcmp(t->sig, "DSDT") == 0)
		aml_print(p + ACPI_HDR_LEN, t->len - ACPI_HDR_LEN, f);
}

void acpi_print(const struct acpi_set *s, FILE *f)
{
	fprintf(f, "RSDP revision %u, XSDT at 0x%08" PRIx64 "\n", s->rsdp[15], get_le64(s->rsdp + 24));
	for (unsigned i = 0; i < s->n; i++)
		print_table(s, &s->t[i], f);
}
