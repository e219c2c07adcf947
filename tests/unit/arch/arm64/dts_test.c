#include <errno.h>

#include "arch/arm64/tree.h"
#include "tests/unit/arch/arm64/testvm.h"

static char *dts_of(const void *fdt)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	ck_assert_int_eq(arm64_dts_print(fdt, f), 0);
	fclose(f);
	return text;
}

static void sample(struct tree *t, const void *arg)
{
	(void)arg;
	tree_strs(t, "list", "one,,two");
	tree_str(t, "quoted", "a\"b\\c");
	tree_str(t, "utf8", "\xc3\xa9");
	tree_str(t, "empty-text", "");
	TREE_CELLS(t, "cells", 0, 0xdeadbeef);
	tree_bytes(t, "bytes", "\x00\xff\x10", 3);
	tree_flag(t, "flag");
	tree_node(t, "outer");
	tree_node(t, "inner@1");
	tree_end(t);
	tree_end(t);
	tree_node(t, "last");
	tree_end(t);
}

START_TEST(values_are_guessed_by_their_bytes)
{
	static const char expected[] =
		"/dts-v1/;\n\n/ {\n"
		"\tlist = \"one\", \"two\";\n"
		"\tquoted = \"a\\\"b\\\\c\";\n"
		"\tutf8 = [c3 a9 00];\n"
		"\tempty-text = [00];\n"
		"\tcells = <0x0 0xdeadbeef>;\n"
		"\tbytes = [00 ff 10];\n"
		"\tflag;\n"
		"\n\touter {\n\n\t\tinner@1 {\n\t\t};\n\t};\n"
		"\n\tlast {\n\t};\n};\n";
	struct blob b = { 0 };
	ck_assert_int_eq(tree_build(sample, NULL, MIB(2), &b), 0);
	char *text = dts_of(b.data);
	ck_assert_str_eq(text, expected);
	free(text);
	blob_free(&b);
}
END_TEST

START_TEST(no_tree_is_refused)
{
	static const uint64_t zero[16];
	ck_assert_int_eq(arm64_dts_print(zero, stdout), -EINVAL);
}
END_TEST

START_TEST(whole_machine_closes_every_node)
{
	struct testvm *t = testvm_new("cpus=2 cores=2");
	char *text = dts_of(testvm_fdt(t, NULL));
	int depth = 0;
	for (const char *p = text; *p; p++)
		depth += *p == '{' ? 1 : *p == '}' ? -1 : 0;
	ck_assert_int_eq(depth, 0);
	ck_assert_ptr_nonnull(strstr(text, "\tpcie@4010000000 {\n"));
	ck_assert_ptr_nonnull(strstr(text, "\t\tcompatible = \"arm,psci-1.0\", \"arm,psci-0.2\";\n"));
	ck_assert_ptr_nonnull(strstr(text, "\t\tbus-range = <0x0 0xff>;\n"));
	free(text);
	testvm_free(t);
}
END_TEST

UNIT_MAIN("arch/arm64/dts", values_are_guessed_by_their_bytes, no_tree_is_refused, whole_machine_closes_every_node)
