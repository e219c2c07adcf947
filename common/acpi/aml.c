/*
 * AML encoding [ACPI-6.4 20.2] and resource descriptors [ACPI-6.4 6.4].
 */
#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "common/acpi/aml.h"
#include "common/util.h"

enum {
	OP_ZERO = 0x00, OP_ONE = 0x01, OP_NAME = 0x08, OP_BYTE = 0x0a, OP_WORD = 0x0b, OP_DWORD = 0x0c, OP_STRING = 0x0d,
	OP_QWORD = 0x0e, OP_SCOPE = 0x10, OP_BUFFER = 0x11, OP_PACKAGE = 0x12, OP_METHOD = 0x14, OP_DUAL_NAME = 0x2e,
	OP_MULTI_NAME = 0x2f, OP_EXT = 0x5b, OP_EXT_DEVICE = 0x82, OP_IF = 0xa0,
};
#define METHOD_SERIALIZED 0x08

unsigned aml_pkg_length(size_t content_len, uint8_t out[4])
{
	/* The length counts its own bytes: one holds 6 bits, each further one 8 above the first one's 4. */
	static const size_t limit[] = { 0x3f, 0xfff, 0xfffff, 0xfffffff };
	unsigned n = 1;

	while (content_len + n > limit[n - 1]) {
		n++;
		assert(n <= 4);
	}
	size_t total = content_len + n;

	if (n == 1) {
		out[0] = (uint8_t)total;
		return 1;
	}
	out[0] = (uint8_t)((n - 1) << 6 | (total & 0xf));
	for (unsigned i = 1; i < n; i++)
		out[i] = (uint8_t)(total >> (4 + 8 * (i - 1)));
	return n;
}

void aml_close(struct blob *b, size_t mark)
{
	uint8_t pkg[4];
	size_t content = b->len - mark;
	unsigned n = aml_pkg_length(content, pkg);

	blob_zero(b, n);
	memmove(b->data + mark + n, b->data + mark, content);
	memcpy(b->data + mark, pkg, n);
}

void aml_op(struct blob *b, uint8_t opcode)
{
	blob_u8(b, opcode);
}

static void name_seg(struct blob *b, const char *s, size_t len)
{
	assert(len >= 1 && len <= 4);
	for (size_t i = 0; i < 4; i++)
		blob_u8(b, i < len ? (uint8_t)s[i] : '_');
}

void aml_path(struct blob *b, const char *path)
{
	unsigned segs = 1;

	if (*path == '\\') {
		blob_u8(b, '\\');
		path++;
	}
	for (const char *p = path; *p; p++)
		segs += *p == '.';
	if (segs == 2) {
		blob_u8(b, OP_DUAL_NAME);
	} else if (segs > 2) {
		blob_u8(b, OP_MULTI_NAME);
		blob_u8(b, (uint8_t)segs);
	}
	while (segs--) {
		size_t len = strcspn(path, ".");

		name_seg(b, path, len);
		path += len + 1;
	}
}

size_t aml_scope(struct blob *b, const char *path)
{
	blob_u8(b, OP_SCOPE);
	size_t mark = b->len;

	aml_path(b, path);
	return mark;
}

size_t aml_device(struct blob *b, const char *name)
{
	blob_u8(b, OP_EXT);
	blob_u8(b, OP_EXT_DEVICE);
	size_t mark = b->len;

	aml_path(b, name);
	return mark;
}

size_t aml_method(struct blob *b, const char *name, unsigned nargs)
{
	assert(nargs <= 7);
	blob_u8(b, OP_METHOD);
	size_t mark = b->len;

	aml_path(b, name);
	blob_u8(b, (uint8_t)(METHOD_SERIALIZED | nargs));
	return mark;
}

size_t aml_package(struct blob *b, unsigned nelements)
{
	assert(nelements <= 255);
	blob_u8(b, OP_PACKAGE);
	size_t mark = b->len;

	blob_u8(b, (uint8_t)nelements);
	return mark;
}

size_t aml_if(struct blob *b)
{
	blob_u8(b, OP_IF);
	return b->len;
}

void aml_name(struct blob *b, const char *name)
{
	blob_u8(b, OP_NAME);
	aml_path(b, name);
}

void aml_int(struct blob *b, uint64_t v)
{
	if (v <= 1) {
		blob_u8(b, v ? OP_ONE : OP_ZERO);
	} else if (v <= UINT8_MAX) {
		blob_u8(b, OP_BYTE);
		blob_u8(b, (uint8_t)v);
	} else if (v <= UINT16_MAX) {
		blob_u8(b, OP_WORD);
		blob_u16(b, (uint16_t)v);
	} else if (v <= UINT32_MAX) {
		blob_u8(b, OP_DWORD);
		blob_u32(b, (uint32_t)v);
	} else {
		blob_u8(b, OP_QWORD);
		blob_u64(b, v);
	}
}

void aml_string(struct blob *b, const char *s)
{
	blob_u8(b, OP_STRING);
	blob_str(b, s);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Compressed EISA ID: three letters of 5 bits, four hex digits, big-endian [ACPI-6.4 19.3.4, EISAID]. */
static bool eisa_id(const char *id, uint32_t *out)
{
	uint32_t v = 0;

	if (strlen(id) != 7)
		return false;
	for (int i = 0; i < 3; i++) {
		if (!isupper((unsigned char)id[i]))
			return false;
		v = v << 5 | (uint32_t)(id[i] - '@');
	}
	for (int i = 3; i < 7; i++) {
		int d = hex_digit(id[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint32_t)d;
	}
	*out = __builtin_bswap32(v);
	return true;
}

void aml_hid(struct blob *b, const char *id)
{
	uint32_t v;

	if (!eisa_id(id, &v)) {
		aml_string(b, id);
		return;
	}
	blob_u8(b, OP_DWORD);
	blob_u32(b, v);
}

void aml_buffer(struct blob *b, const void *data, size_t len)
{
	blob_u8(b, OP_BUFFER);
	size_t mark = b->len;

	aml_int(b, len);
	blob_add(b, data, len);
	aml_close(b, mark);
}

void aml_resources(struct blob *b, const char *name, struct blob *res)
{
	aml_name(b, name);
	aml_buffer(b, res->data, res->len);
	blob_free(res);
}

void aml_crs(struct blob *b, struct blob *res)
{
	aml_resources(b, "_CRS", res);
}

/* Small descriptors: tag byte (type << 3 | length). */
void res_io(struct blob *b, uint16_t base, uint8_t len)
{
	blob_u8(b, 0x47);
	blob_u8(b, 1);                  /* decodes 16 bits */
	blob_u16(b, base);
	blob_u16(b, base);
	blob_u8(b, 1);                  /* alignment */
	blob_u8(b, len);
}

/* Extended Interrupt Descriptor [ACPI-6.4 6.4.3.6]. */
static void extended_irq(struct blob *b, uint8_t flags, uint32_t gsi)
{
	blob_u8(b, 0x89);
	blob_u16(b, 6);
	blob_u8(b, flags);
	blob_u8(b, 1);
	blob_u32(b, gsi);
}

void res_irq(struct blob *b, uint32_t gsi)
{
	if (gsi < 16) {
		blob_u8(b, 0x22);
		blob_u16(b, (uint16_t)(1u << gsi));
		return;
	}
	extended_irq(b, 0x03, gsi);     /* consumer, edge, active high, exclusive */
}

void res_gsi(struct blob *b, uint32_t gsi)
{
	extended_irq(b, 0x01, gsi);     /* consumer, level, active high, exclusive */
}

void res_gpio_int(struct blob *b, uint16_t pin, const char *path)
{
	enum { HEAD = 23, PINS = 2 };
	size_t source = strlen(path) + 1;

	blob_u8(b, 0x8c);
	blob_u16(b, (uint16_t)(HEAD - 3 + PINS + source));
	blob_u8(b, 1);                  /* revision */
	blob_u8(b, 0);                  /* interrupt connection */
	blob_u16(b, 1);                 /* consumer */
	blob_u16(b, 1);                 /* edge, active high, exclusive */
	blob_u8(b, 0);                  /* default pin configuration */
	blob_u16(b, 0);                 /* drive strength, debounce time: the controller's default */
	blob_u16(b, 0);
	blob_u16(b, HEAD);              /* offsets from the descriptor's start: pins, source, vendor data (none) */
	blob_u8(b, 0);
	blob_u16(b, HEAD + PINS);
	blob_u16(b, (uint16_t)(HEAD + PINS + source));
	blob_u16(b, 0);
	blob_u16(b, pin);
	blob_add(b, path, source);
}

void res_end(struct blob *b)
{
	blob_u8(b, 0x79);
	blob_u8(b, 0);                  /* checksum 0: treat as correct [ACPI-6.4 6.4.2.9] */
}

void res_mem32(struct blob *b, uint32_t base, uint32_t len)
{
	blob_u8(b, 0x86);
	blob_u16(b, 9);
	blob_u8(b, 1);                  /* writable */
	blob_u32(b, base);
	blob_u32(b, len);
}

/* Address space descriptors [ACPI-6.4 6.4.3.5]: type, flags and five numbers of one width. */
enum { SPACE_MEM = 0, SPACE_IO = 1, SPACE_BUS = 2 };
#define WINDOW_FLAGS 0x0c               /* producer, positive decode, minimum and maximum fixed */
#define CONSUMER 0x01
#define WINDOW_MEM_RW 0x01
#define WINDOW_IO_ENTIRE 0x03
#define WINDOW_IO_IN_MEMORY 0x10       /* _TTP: type translation */

static void space_head(struct blob *b, uint8_t tag, uint16_t len, uint8_t space, uint8_t flags, uint8_t type_flags)
{
	blob_u8(b, tag);
	blob_u16(b, len);
	blob_u8(b, space);
	blob_u8(b, flags);
	blob_u8(b, type_flags);
}

static void window_head(struct blob *b, uint8_t tag, uint16_t len, uint8_t space, uint8_t type_flags)
{
	space_head(b, tag, len, space, WINDOW_FLAGS, type_flags);
}

static void window16(struct blob *b, uint8_t space, uint8_t type_flags, uint16_t min, uint16_t max)
{
	window_head(b, 0x88, 0x0d, space, type_flags);
	blob_u16(b, 0);                 /* granularity */
	blob_u16(b, min);
	blob_u16(b, max);
	blob_u16(b, 0);                 /* translation */
	/* A whole 16-bit space has no length in 16 bits; none of ours is. */
	assert(max - min < UINT16_MAX);
	blob_u16(b, (uint16_t)(max - min + 1));
}

void res_bus(struct blob *b, uint16_t min, uint16_t max)
{
	window16(b, SPACE_BUS, 0, min, max);
}

void res_io_window(struct blob *b, uint16_t min, uint16_t max)
{
	window16(b, SPACE_IO, WINDOW_IO_ENTIRE, min, max);
}

static void window32(struct blob *b, uint8_t space, uint8_t type_flags, uint32_t min, uint32_t max, uint32_t translation)
{
	window_head(b, 0x87, 0x17, space, type_flags);
	blob_u32(b, 0);
	blob_u32(b, min);
	blob_u32(b, max);
	blob_u32(b, translation);
	blob_u32(b, max - min + 1);
}

void res_io_window_at(struct blob *b, uint32_t min, uint32_t max, uint32_t mmio)
{
	window32(b, SPACE_IO, WINDOW_IO_ENTIRE | WINDOW_IO_IN_MEMORY, min, max, mmio);
}

void res_mem32_window(struct blob *b, uint32_t min, uint32_t max)
{
	window32(b, SPACE_MEM, WINDOW_MEM_RW, min, max, 0);
}

static void mem64(struct blob *b, uint8_t flags, uint64_t min, uint64_t max)
{
	space_head(b, 0x8a, 0x2b, SPACE_MEM, flags, WINDOW_MEM_RW);
	blob_u64(b, 0);
	blob_u64(b, min);
	blob_u64(b, max);
	blob_u64(b, 0);
	blob_u64(b, max - min + 1);
}

void res_mem64_window(struct blob *b, uint64_t min, uint64_t max)
{
	mem64(b, WINDOW_FLAGS, min, max);
}

void res_mem64(struct blob *b, uint64_t base, uint64_t len)
{
	mem64(b, WINDOW_FLAGS | CONSUMER, base, base + len - 1);
}
