/*
 * Flattened device tree to source text [DTSPEC-0.4 6].  A property does not carry its type, so it is guessed
 * from the bytes: text with a NUL behind every part is a string list, a multiple of 4 bytes is cells, anything
 * else bytes.  Whatever the guess, dtc makes the same bytes of it again.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdbool.h>

#include "arch/arm64/arm64.h"

static bool is_text(const uint8_t *p, int len)
{
	if (len == 0 || p[len - 1] != 0 || p[0] == 0)
		return false;
	for (int i = 0; i < len; i++) {
		if (p[i] ? p[i] < 0x20 || p[i] > 0x7e : i && !p[i - 1])
			return false;
	}
	return true;
}

static void print_text(const uint8_t *p, int len, FILE *f)
{
	fputc('"', f);
	for (int i = 0; i < len - 1; i++) {
		if (!p[i])
			fputs("\", \"", f);
		else if (p[i] == '"' || p[i] == '\\')
			fprintf(f, "\\%c", p[i]);
		else
			fputc(p[i], f);
	}
	fputc('"', f);
}

static void print_value(const uint8_t *p, int len, FILE *f)
{
	if (is_text(p, len)) {
		print_text(p, len, f);
	} else if (len % 4 == 0) {
		for (int i = 0; i < len; i += 4)
			fprintf(f, "%s0x%x", i ? " " : "<", fdt32_ld((const void *)(p + i)));
		fputc('>', f);
	} else {
		for (int i = 0; i < len; i++)
			fprintf(f, "%s%02x", i ? " " : "[", p[i]);
		fputc(']', f);
	}
}

static void indent(int depth, FILE *f)
{
	while (depth-- > 0)
		fputc('\t', f);
}

static void print_props(const void *fdt, int node, int depth, FILE *f)
{
	int off, len;

	fdt_for_each_property_offset(off, fdt, node) {
		const char *name;
		const uint8_t *value = fdt_getprop_by_offset(fdt, off, &name, &len);
		if (!value)
			continue;
		indent(depth, f);
		fputs(name, f);
		if (len) {
			fputs(" = ", f);
			print_value(value, len, f);
		}
		fputs(";\n", f);
	}
}

/* Closes nodes until `depth` are open. */
static void close_nodes(int *open, int depth, FILE *f)
{
	while (*open > depth) {
		indent(--*open, f);
		fputs("};\n", f);
	}
}

int arm64_dts_print(const void *fdt, FILE *f)
{
	int open = 0;

	if (fdt_check_header(fdt))
		return -EINVAL;
	fputs("/dts-v1/;\n\n", f);
	for (int depth = 0, node = 0; node >= 0 && depth >= 0; node = fdt_next_node(fdt, node, &depth)) {
		close_nodes(&open, depth, f);
		if (node)
			fputc('\n', f);
		indent(depth, f);
		fprintf(f, "%s {\n", node ? fdt_get_name(fdt, node, NULL) : "/");
		open = depth + 1;
		print_props(fdt, node, open, f);
	}
	close_nodes(&open, 0, f);
	return 0;
}
