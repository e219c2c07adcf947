/*
 * MP table and SMBIOS structures as text, for `plan` and golden files.
 */
#include <ctype.h>

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

	fprintf(f, "MP table %zu bytes, version 1.%u, checksum %s\n", b->len, t[6], x86_sum(t, b->len) ? "WRONG" : "good");
	for (size_t off = 44, i = 0; i < get_le16(t + 34) && off < b->len; i++) {
		print_mp_entry(t + off, f);
		off += t[off] == 0 ? 20 : 8;
	}
}

static void print_strings(const uint8_t *p, size_t len, FILE *f)
{
	bool start = true;

	for (size_t i = 0; i < len && p[i]; ) {
		fputs(start ? ":" : ",", f);
		start = false;
		fputs(" \"", f);
		for (; i < len && p[i]; i++)
			fputc(isprint(p[i]) ? p[i] : '?', f);
		fputc('"', f);
		i++;
	}
}

/* Bytes of the string set behind a structure's formatted part: up to and with its two NULs. */
static size_t strings_len(const uint8_t *p, size_t max)
{
	for (size_t i = 0; i + 1 < max; i++) {
		if (!p[i] && !p[i + 1])
			return i + 2;
	}
	return max;
}

static void print_uuid(const uint8_t *u, FILE *f)
{
	fprintf(f, " %08x-%04x-%04x-", get_le32(u), get_le16(u + 4), get_le16(u + 6));
	for (unsigned i = 8; i < 16; i++)
		fprintf(f, "%s%02x", i == 10 ? "-" : "", u[i]);
}

void smbios_print(const struct blob *b, FILE *f)
{
	const uint8_t *t = b->data;

	fprintf(f, "SMBIOS 3.4 %zu bytes\n", b->len);
	for (size_t off = 0; off + 4 <= b->len && t[off + 1] >= 4 && t[off + 1] <= b->len - off; ) {
		const uint8_t *s = t + off;
		size_t strings = strings_len(s + s[1], b->len - off - s[1]);

		fprintf(f, "  type %u, handle 0x%04x", s[0], get_le16(s + 2));
		if (s[0] == 1 && s[1] >= 24)
			print_uuid(s + 8, f);
		print_strings(s + s[1], strings, f);
		fputc('\n', f);
		off += s[1] + strings;
	}
}
