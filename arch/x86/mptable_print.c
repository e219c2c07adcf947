/*
 * The MP table as text, for `plan` and golden files.
 */
#include "arch/x86/x86.h"
#include "common/util.h"

static void print_mp_entry(const uint8_t *e, FILE *f)
{
	static const char *const int_types[] = { "INT", "NMI", "SMI", "ExtINT" };

	switch (e[0]) {
	case 0:
		fprintf(f, "  processor: APIC %u%s\n", e[1], e[3] & 2 ? ", boot" : "");
		break;
	case 1:
		fprintf(f, "  bus %u: %.3s\n", e[1], (const char *)e + 2);
		break;
	case 2:
		fprintf(f, "  I/O APIC %u at 0x%08x\n", e[1], get_le32(e + 4));
		break;
	case 3:
		if (e[4] == MP_BUS_PCI) {
			/* INTA# to INTD# of a slot follow each other: one line. */
			if (e[5] % 4 == 0)
				fprintf(f, "  PCI slot %u, flags 0x%x, to I/O APIC %u pins", e[5] / 4, get_le16(e + 2), e[6]);
			fprintf(f, e[5] % 4 == 3 ? " %u\n" : " %u", e[7]);
		} else {
			fprintf(f, "  ISA IRQ %u, flags 0x%x, to I/O APIC %u pin %u\n", e[5], get_le16(e + 2), e[6], e[7]);
		}
		break;
	default:
		fprintf(f, "  local %s: APIC 0x%02x LINT%u\n", int_types[e[1] & 3], e[6], e[7]);
	}
}

void mptable_print(const struct blob *b, FILE *f)
{
	const uint8_t *t = b->data;

	fprintf(f, "MP table %zu bytes, version 1.%u, checksum %s\n", b->len, t[6], byte_sum(t, b->len) ? "WRONG" : "good");
	for (size_t off = 44, i = 0; i < get_le16(t + 34) && off < b->len; i++) {
		print_mp_entry(t + off, f);
		off += t[off] == 0 ? 20 : 8;
	}
}
