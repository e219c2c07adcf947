/*
 * SMBIOS structures as text, for `plan` and golden files.
 */
#include <ctype.h>

#include "common/smbios.h"
#include "common/util.h"

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
