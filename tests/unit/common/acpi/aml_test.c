/* AML encodings against bytes worked out from [ACPI-6.4 20.2]. */
#include <stdio.h>

#include "common/acpi/acpi.h"
#include "common/acpi/aml.h"
#include "tests/unit/unit.h"

static void expect(struct blob *b, const char *bytes, size_t len)
{
	ck_assert_uint_eq(b->len, len);
	ck_assert_mem_eq(b->data, bytes, len);
	blob_free(b);
}
#define EXPECT(b, lit) expect(b, lit, sizeof(lit) - 1)

/* What the length decodes to, by the rule read the other way round. */
static size_t decode(const uint8_t *p, unsigned n)
{
	size_t v = n == 1 ? p[0] & 0x3f : p[0] & 0xf;

	ck_assert_uint_eq(p[0] >> 6, n - 1);
	for (unsigned i = 1; i < n; i++)
		v |= (size_t)p[i] << (4 + 8 * (i - 1));
	return v;
}

START_TEST(pkg_length_edges)
{
	static const struct { size_t content; unsigned bytes; } t[] = {
		{ 0, 1 }, { 1, 1 }, { 62, 1 }, { 63, 2 }, { 64, 2 }, { 4093, 2 }, { 4094, 3 }, { 4095, 3 }, { 4096, 3 },
		{ 0xfffff - 3, 3 }, { 0xfffff - 2, 4 }, { 0xffffff0, 4 },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		uint8_t out[4];
		unsigned n = aml_pkg_length(t[i].content, out);

		ck_assert_uint_eq(n, t[i].bytes);
		ck_assert_uint_eq(decode(out, n), t[i].content + n);
	}
}
END_TEST

START_TEST(close_moves_content)
{
	for (size_t content = 60; content < 70; content++) {
		struct blob b = { 0 };
		size_t mark = aml_device(&b, "DEV");

		for (size_t i = 0; i < content; i++)
			aml_op(&b, (uint8_t)i);
		aml_close(&b, mark);
		unsigned n = content + 4 + 1 > 0x3f ? 2 : 1;

		ck_assert_uint_eq(b.len, 2 + n + 4 + content);
		ck_assert_uint_eq(decode(b.data + 2, n), n + 4 + content);
		ck_assert_mem_eq(b.data + 2 + n, "DEV_", 4);
		ck_assert_uint_eq(b.data[b.len - 1], content - 1);
		blob_free(&b);
	}
}
END_TEST

START_TEST(integers)
{
	struct blob b = { 0 };

	aml_int(&b, 0);
	aml_int(&b, 1);
	aml_int(&b, 2);
	aml_int(&b, 255);
	aml_int(&b, 256);
	aml_int(&b, 0xffff);
	aml_int(&b, 0x10000);
	aml_int(&b, 0xffffffff);
	aml_int(&b, 0x100000000);
	EXPECT(&b, "\x00\x01\x0a\x02\x0a\xff\x0b\x00\x01\x0b\xff\xff\x0c\x00\x00\x01\x00\x0c\xff\xff\xff\xff"
	       "\x0e\x00\x00\x00\x00\x01\x00\x00\x00");
}
END_TEST

START_TEST(names)
{
	struct blob b = { 0 };

	aml_path(&b, "\\_SB");
	aml_path(&b, "A");
	aml_path(&b, "\\_SB.PCI0");
	aml_path(&b, "\\_SB.PCI0.LPC.COM1");
	EXPECT(&b, "\\_SB_A___\\\x2e_SB_PCI0\\\x2f\x04_SB_PCI0LPC_COM1");
}
END_TEST

START_TEST(hardware_ids)
{
	struct blob b = { 0 };

	aml_hid(&b, "PNP0A03");         /* EISAID("PNP0A03") is 0x030ad041 */
	aml_hid(&b, "ACPI0007");
	aml_hid(&b, "pnp0a03");
	EXPECT(&b, "\x0c\x41\xd0\x0a\x03\x0d" "ACPI0007\0\x0dpnp0a03\0");
}
END_TEST

START_TEST(buffers_and_packages)
{
	struct blob b = { 0 };

	aml_name(&b, "BUF");
	aml_buffer(&b, "abc", 3);
	size_t pkg = aml_package(&b, 2);

	aml_int(&b, 7);
	aml_string(&b, "x");
	aml_close(&b, pkg);
	EXPECT(&b, "\x08" "BUF_\x11\x06\x0a\x03" "abc\x12\x07\x02\x0a\x07\x0dx\0");
}
END_TEST

START_TEST(resources)
{
	struct blob b = { 0 };

	res_io(&b, 0x3f8, 8);
	res_irq(&b, 4);
	res_irq(&b, 20);
	res_mem32(&b, 0xb0000000, 0x10000000);
	res_io_window(&b, 0xd00, 0xffff);
	res_mem64_window(&b, 0x800000000, 0xfffffffff);
	res_end(&b);
	EXPECT(&b, "\x47\x01\xf8\x03\xf8\x03\x01\x08" "\x22\x10\x00" "\x89\x06\x00\x03\x01\x14\x00\x00\x00"
	       "\x86\x09\x00\x01\x00\x00\x00\xb0\x00\x00\x00\x10"
	       "\x88\x0d\x00\x01\x0c\x03\x00\x00\x00\x0d\xff\xff\x00\x00\x00\xf3"
	       "\x8a\x2b\x00\x00\x0c\x01" "\0\0\0\0\0\0\0\0" "\0\0\0\0\x08\0\0\0" "\xff\xff\xff\xff\x0f\0\0\0"
	       "\0\0\0\0\0\0\0\0" "\0\0\0\0\x08\0\0\0" "\x79\x00");
}
END_TEST

START_TEST(resources_of_reduced_hardware)
{
	struct blob b = { 0 };

	res_gsi(&b, 33);
	res_gpio_int(&b, 3, "\\_SB.X");
	res_io_window_at(&b, 0, 0xffff, 0x3eff0000);
	res_mem64(&b, 0x4010000000, 0x10000000);
	EXPECT(&b, "\x89\x06\x00\x01\x01\x21\x00\x00\x00"
	       "\x8c\x1d\x00\x01\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00\x17\x00\x00\x19\x00\x20\x00\x00\x00\x03\x00\\_SB.X\0"
	       "\x87\x17\x00\x01\x0c\x13" "\0\0\0\0" "\0\0\0\0" "\xff\xff\0\0" "\0\0\xff\x3e" "\0\0\x01\0"
	       "\x8a\x2b\x00\x00\x0d\x01" "\0\0\0\0\0\0\0\0" "\0\0\0\x10\x40\0\0\0" "\xff\xff\xff\x1f\x40\0\0\0"
	       "\0\0\0\0\0\0\0\0" "\0\0\0\x10\0\0\0\0");
}
END_TEST

/* The printer must end on any bytes at all. */
START_TEST(printer_survives_garbage)
{
	FILE *f = fopen("/dev/null", "w");
	uint8_t buf[64];
	uint32_t x = 1;

	for (unsigned round = 0; round < 20000; round++) {
		size_t len = round % sizeof(buf);

		for (size_t i = 0; i < len; i++) {
			x = x * 1664525 + 1013904223;
			/* Mostly bytes the printer takes for opcodes. */
			buf[i] = x >> 30 ? (uint8_t)(x >> 22) : "\x08\x10\x12\x5b\x82\x11\x14\x0a"[x >> 20 & 7];
		}
		aml_print(buf, len, f);
	}
	fclose(f);
}
END_TEST

UNIT_MAIN("common/acpi/aml", pkg_length_edges, close_moves_content, integers, names, hardware_ids, buffers_and_packages, resources,
	  resources_of_reduced_hardware, printer_survives_garbage)
