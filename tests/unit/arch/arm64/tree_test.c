#include <errno.h>
#include <libfdt.h>

#include "arch/arm64/tree.h"
#include "common/blob.h"
#include "tests/unit/unit.h"

static void small(struct tree *t, const void *arg)
{
	(void)arg;
	tree_strs(t, "compatible", "a,b,,c,d,,e");
	tree_node(t, "child@%x", 0x10u);
	tree_flag(t, "empty");
	TREE_CELLS(t, "cells", 1, CELL64(0x123456789aull));
	tree_end(t);
}

START_TEST(properties_have_their_wire_form)
{
	struct blob b = { 0 };
	int len;
	ck_assert_int_eq(tree_build(small, NULL, MIB(2), &b), 0);
	ck_assert_uint_eq(b.len, fdt_totalsize(b.data));
	const char *s = fdt_getprop(b.data, 0, "compatible", &len);
	ck_assert_int_eq(len, 10);
	ck_assert_int_eq(memcmp(s, "a,b\0c,d\0e", 10), 0);
	int node = fdt_path_offset(b.data, "/child@10");
	ck_assert_int_ge(node, 0);
	ck_assert_ptr_nonnull(fdt_getprop(b.data, node, "empty", &len));
	ck_assert_int_eq(len, 0);
	const uint8_t *c = fdt_getprop(b.data, node, "cells", &len);
	ck_assert_int_eq(len, 12);
	ck_assert_int_eq(memcmp(c, "\0\0\0\1\0\0\0\x12\x34\x56\x78\x9a", 12), 0);
	blob_free(&b);
}
END_TEST

static void nodes(struct tree *t, const void *arg)
{
	for (unsigned i = 0; i < *(const unsigned *)arg; i++) {
		tree_node(t, "n%u", i);
		tree_bytes(t, "data", "0123456789abcdef0123456789abcdef", 32);
		tree_end(t);
	}
}

START_TEST(buffer_grows_to_its_limit_only)
{
	struct blob b = { 0 };
	unsigned n = 10000;
	ck_assert_int_eq(tree_build(nodes, &n, MIB(2), &b), 0);
	ck_assert_int_eq(fdt_check_full(b.data, b.len), 0);
	ck_assert_int_ge(fdt_path_offset(b.data, "/n9999"), 0);
	blob_free(&b);
	n = 100000;
	ck_assert_int_eq(tree_build(nodes, &n, MIB(2), &b), -E2BIG);
	ck_assert_ptr_null(b.data);
}
END_TEST

UNIT_MAIN("arch/arm64/tree", properties_have_their_wire_form, buffer_grows_to_its_limit_only)
