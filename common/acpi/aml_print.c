/*
 * A definition block as text, one object a line.  It knows what aml.c writes and no more: scopes, devices,
 * names with their values, resource descriptors; of methods only that they are there.  Anything else ends
 * the listing with the byte it met, so that a new construct in the DSDT shows up in the golden files.
 */
#include <inttypes.h>
#include <string.h>

#include "common/acpi/acpi.h"
#include "common/util.h"

struct cursor {
	const uint8_t *p, *end;
	FILE *f;
	unsigned depth;
	bool bad;
};

static uint8_t take(struct cursor *c)
{
	if (c->p == c->end) {
		c->bad = true;
		return 0;
	}
	return *c->p++;
}

static uint64_t take_int(struct cursor *c, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (uint64_t)take(c) << (8 * i);
	return v;
}

static void indent(const struct cursor *c)
{
	fprintf(c->f, "  %*s", (int)(2 * c->depth), "");
}

/* PkgLength: the rest of the construct as a cursor of its own; c moves behind it. */
static struct cursor take_pkg(struct cursor *c)
{
	struct cursor in = *c;
	const uint8_t *start = c->p;
	uint8_t lead = take(c);
	unsigned n = lead >> 6;
	size_t len = n ? lead & 0xf : lead & 0x3f;

	for (unsigned i = 0; i < n; i++)
		len |= (size_t)take(c) << (4 + 8 * i);
	if (c->bad || len < (size_t)(c->p - start) || len > (size_t)(c->end - start)) {
		c->bad = true;
		len = (size_t)(c->p - start);
	}
	in.p = c->p;
	in.end = start + len;
	in.bad = c->bad;
	in.depth++;
	c->p = in.end;
	return in;
}

/* A name as text: root prefix and segments, trailing underscores dropped. */
static void take_path(struct cursor *c, char out[40])
{
	unsigned n = 0, segs = 1;

	if (c->p < c->end && *c->p == '\\')
		out[n++] = (char)take(c);
	if (c->p < c->end && *c->p == 0x2e) {
		take(c);
		segs = 2;
	} else if (c->p < c->end && *c->p == 0x2f) {
		take(c);
		segs = MIN(take(c), 6u);
	}
	for (unsigned s = 0; s < segs; s++) {
		if (s)
			out[n++] = '.';
		for (unsigned i = 0; i < 4; i++)
			out[n++] = (char)take(c);
		while (n > 1 && out[n - 1] == '_')
			n--;
	}
	out[n] = '\0';
}

static void print_window(const struct cursor *c, const uint8_t *d, unsigned width)
{
	static const char *const space[] = { "memory", "I/O", "bus numbers" };
	uint64_t v[5] = { 0 };

	for (unsigned i = 0; i < 5; i++)
		memcpy(&v[i], d + 3 + i * width, width);
	indent(c);
	fprintf(c->f, "%s%s 0x%" PRIx64 "-0x%" PRIx64, d[0] < NELEM(space) ? space[d[0]] : "other", d[1] & 1 ? "" : " window",
		v[1], v[2]);
	if (v[3])
		fprintf(c->f, " at 0x%" PRIx64, v[1] + v[3]);
	fputc('\n', c->f);
}

/* One descriptor; d points behind its tag (and length, when large). */
static void print_resource(const struct cursor *c, uint8_t tag, const uint8_t *d, size_t len)
{
	if (tag == 0x47 && len == 7) {
		indent(c);
		fprintf(c->f, "ports 0x%x-0x%x\n", get_le16(d + 1), get_le16(d + 1) + d[6] - 1);
	} else if (tag == 0x22 && len == 2 && get_le16(d)) {
		indent(c);
		fprintf(c->f, "IRQ %d\n", __builtin_ctz(get_le16(d)));
	} else if (tag == 0x89 && len == 6) {
		indent(c);
		fprintf(c->f, "GSI %u\n", get_le32(d + 2));
	} else if (tag == 0x8c && len > 22 && get_le16(d + 11) == 23) {
		indent(c);
		fprintf(c->f, "GPIO interrupt of pin %u\n", get_le16(d + 20));
	} else if (tag == 0x86 && len == 9) {
		indent(c);
		fprintf(c->f, "memory 0x%x-0x%x\n", get_le32(d + 1), get_le32(d + 1) + get_le32(d + 5) - 1);
	} else if (tag == 0x88 && len == 0x0d) {
		print_window(c, d, 2);
	} else if (tag == 0x87 && len == 0x17) {
		print_window(c, d, 4);
	} else if (tag == 0x8a && len == 0x2b) {
		print_window(c, d, 8);
	} else {
		indent(c);
		fprintf(c->f, "resource of type 0x%02x\n", tag);
	}
}

static void print_resources(struct cursor *c)
{
	while (c->p < c->end && !c->bad) {
		uint8_t tag = take(c);
		size_t len = tag & 0x80 ? take_int(c, 2) : tag & 7;

		if (tag == 0x79)        /* end tag */
			return;
		if (len > (size_t)(c->end - c->p)) {
			c->bad = true;
			return;
		}
		print_resource(c, tag, c->p, len);
		c->p += len;
	}
}

static void print_int(const struct cursor *c, uint64_t v)
{
	fprintf(c->f, v < 10 ? "%" PRIu64 : "0x%" PRIx64, v);
}

/* EISA IDs are big-endian letters and digits in a dword. */
static bool print_eisa_id(const struct cursor *c, uint32_t raw)
{
	uint32_t v = __builtin_bswap32(raw);
	char l[4] = { (char)('@' + (v >> 26 & 31)), (char)('@' + (v >> 21 & 31)), (char)('@' + (v >> 16 & 31)), '\0' };

	for (unsigned i = 0; i < 3; i++) {
		if (l[i] < 'A' || l[i] > 'Z')
			return false;
	}
	fprintf(c->f, "%s%04X", l, v & 0xffff);
	return true;
}

static void print_value(struct cursor *c, const char *name, unsigned nest);

static void print_package(struct cursor *c, unsigned nest)
{
	struct cursor in = take_pkg(c);
	unsigned n = take(&in);

	fprintf(c->f, "{ ");
	for (unsigned i = 0; i < n && !in.bad; i++) {
		if (i)
			fprintf(c->f, ", ");
		print_value(&in, "", nest + 1);
	}
	fprintf(c->f, " }");
	c->bad |= in.bad;
}

static void print_string(struct cursor *c)
{
	fputc('"', c->f);
	for (uint8_t ch; (ch = take(c)) != 0; )
		fputc(ch, c->f);
	fputc('"', c->f);
}

static void print_value(struct cursor *c, const char *name, unsigned nest)
{
	uint8_t op = take(c);

	if (op <= 1)
		print_int(c, op);
	else if (op == 0x0a)
		print_int(c, take_int(c, 1));
	else if (op == 0x0b)
		print_int(c, take_int(c, 2));
	else if (op == 0x0e)
		print_int(c, take_int(c, 8));
	else if (op == 0x0d)
		print_string(c);
	else if (op == 0x12 && nest < 4)
		print_package(c, nest);
	else if (op == 0x0c) {
		uint32_t v = (uint32_t)take_int(c, 4);

		if ((strcmp(name, "_HID") && strcmp(name, "_CID")) || !print_eisa_id(c, v))
			print_int(c, v);
	} else
		c->bad = true;
}

static uint64_t take_const(struct cursor *c)
{
	uint8_t op = take(c);

	if (op <= 1)
		return op;
	if (op < 0x0a || op > 0x0c)
		c->bad = true;
	return take_int(c, op == 0x0a ? 1 : op == 0x0b ? 2 : 4);
}

/* _PRT: the GSIs of a slot's pins on one line. */
static void print_prt(struct cursor *c)
{
	struct cursor in = take_pkg(c);
	unsigned n = take(&in);

	for (unsigned i = 0; i < n && !in.bad; i++) {
		in.bad |= take(&in) != 0x12;
		struct cursor e = take_pkg(&in);

		take(&e);               /* number of elements: four */
		uint64_t addr = take_const(&e), pin = take_const(&e), link = take_const(&e), gsi = take_const(&e);

		if (pin == 0) {
			fputc('\n', c->f);
			indent(&in);
			fprintf(c->f, "slot %" PRIu64 ": GSI", addr >> 16);
		}
		fprintf(c->f, link ? " link %" PRIu64 : " %" PRIu64, gsi);
		in.bad |= e.bad;
	}
	c->bad |= in.bad;
}

static void print_name(struct cursor *c)
{
	char name[40];

	take_path(c, name);
	indent(c);
	fprintf(c->f, "%s =", name);
	if (c->p < c->end && *c->p == 0x11) {
		take(c);
		struct cursor in = take_pkg(c);
		uint8_t op = take(&in);         /* the buffer's size, as long as the data that follows */

		take_int(&in, op <= 1 ? 0 : op == 0x0a ? 1 : op == 0x0b ? 2 : 4);
		fputs(" resources\n", c->f);
		print_resources(&in);
		c->bad |= in.bad;
		return;
	}
	if (strcmp(name, "_PRT") == 0 && c->p < c->end && *c->p == 0x12) {
		take(c);
		print_prt(c);
	} else {
		fputc(' ', c->f);
		print_value(c, name, 0);
	}
	fputc('\n', c->f);
}

static void print_terms(struct cursor *c);

static void print_block(struct cursor *c, const char *kind)
{
	struct cursor in = take_pkg(c);
	char name[40];

	take_path(&in, name);
	indent(c);
	fprintf(c->f, "%s %s\n", kind, name);
	print_terms(&in);
	c->bad |= in.bad;
}

static void print_method(struct cursor *c)
{
	struct cursor in = take_pkg(c);
	char name[40];

	take_path(&in, name);
	indent(c);
	fprintf(c->f, "method %s, %u arguments\n", name, take(&in) & 7u);
}

static void print_terms(struct cursor *c)
{
	while (c->p < c->end && !c->bad && c->depth < 16) {
		uint8_t op = take(c);

		if (op == 0x08) {
			print_name(c);
		} else if (op == 0x10) {
			print_block(c, "scope");
		} else if (op == 0x14) {
			print_method(c);
		} else if (op == 0x5b && c->p < c->end && *c->p == 0x82) {
			take(c);
			print_block(c, "device");
		} else {
			indent(c);
			fprintf(c->f, "opcode 0x%02x\n", op);
			c->bad = true;
		}
	}
}

void aml_print(const uint8_t *aml, size_t len, FILE *f)
{
	struct cursor c = { .p = aml, .end = aml + len, .f = f };

	print_terms(&c);
	if (c.bad)
		fprintf(f, "  (cannot be listed further)\n");
}
