/*
 * `skep exits show` and `compare`: golden files (UPDATE_GOLDEN=1 rewrites them) from the profiles of tests/html/, orders, what files may
 * contain, and refusals.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

#define X86 "tests/html/x86.json "
#define ARM64 "tests/html/arm64.json "

static int run(const char *line)
{
	return run_line("skep exits", line);
}

static void golden(const char *path, const char *text)
{
	static char want[sizeof(out.text)];
	FILE *f = fopen(path, getenv("UPDATE_GOLDEN") ? "w" : "r");

	ck_assert_msg(f != NULL, "%s: cannot be opened", path);
	if (getenv("UPDATE_GOLDEN"))
		ck_assert_int_ge(fputs(text, f), 0);
	else
		want[fread(want, 1, sizeof(want) - 1, f)] = 0;
	fclose(f);
	ck_assert_msg(getenv("UPDATE_GOLDEN") || !strcmp(want, text), "%s differs; when that is meant, run with UPDATE_GOLDEN=1.  Now:\n%s", path, text);
}

START_TEST(test_golden)
{
	static const struct { const char *line, *file; } rows[] = {
		{ "show " X86, "tests/golden/exits-show.txt" },
		{ "compare " X86 ARM64, "tests/golden/exits-compare.txt" },
		{ "compare " X86 ARM64 "--svg -", "tests/golden/exits-compare.svg" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(run(rows[i].line), 0);
		ck_assert_str_eq(err.text, "");
		ck_assert_uint_lt(strlen(out.text), sizeof(out.text) - 1);
		golden(rows[i].file, out.text);
	}
}
END_TEST

static const char *first_kind(const char *line)
{
	static char name[32];
	json_t *o;

	ck_assert_int_eq(run(line), 0);
	o = json_loads(out.text, 0, NULL);
	snprintf(name, sizeof(name), "%s", json_string_value(json_object_get(json_array_get(json_object_get(o, "kinds"), 0), "kind")));
	json_decref(o);
	return name;
}

/* One kind, count and time each; a second. */
static void write_profile(const char *path, const char *kinds, const char *accesses, const char *label, const char *ns, const char *more)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "{\"format\":\"skep-exits\",\"version\":1,\"skep\":\"0.1\",\"name\":\"vm1\",\"arch\":\"x86\",\"vcpus\":1,\"label\":\"%s\",\"host\":{"
		"\"cpu\":\"c\",\"kernel\":\"k\",\"kvm\":\"svm\",\"irqchip\":\"apic\"},\"duration_ns\":%s,\"guest_ns\":1,\"user_ns\":1,"
		"\"kinds\":[%s],\"accesses\":[%s],\"kvm\":{},\"kvm_vm\":{},\"kvm_hist\":{}%s}", label, ns, kinds, accesses, more);
	ck_assert_int_eq(fclose(f), 0);
}

#define SECOND "1000000000"
#define KIND(name, count, ns) "{\"kind\":\"" name "\",\"count\":" #count ",\"user_ns\":" #ns ",\"hist\":[[10," #count "]]}"

START_TEST(test_order)
{
	static const char a[] = "/tmp/skep-exits-a.json", b[] = "/tmp/skep-exits-b.json";

	write_profile(a, KIND("halt", 100, 9000) "," KIND("mmio", 500, 10), "", "", SECOND, "");
	ck_assert_str_eq(first_kind("show --json /tmp/skep-exits-a.json"), "mmio");
	ck_assert_str_eq(first_kind("show --json --by time /tmp/skep-exits-a.json"), "halt");
	/* 100 to 1000 in ten times as long are the same rate; 500 to 1300 are fewer, and by count the smaller difference. */
	write_profile(b, KIND("halt", 1000, 9100) "," KIND("mmio", 1300, 5000), "", "", "10000000000", "");
	ck_assert_str_eq(first_kind("compare --json /tmp/skep-exits-a.json /tmp/skep-exits-b.json"), "halt");
	ck_assert_str_eq(first_kind("compare --json --by rate /tmp/skep-exits-a.json /tmp/skep-exits-b.json"), "mmio");
	ck_assert_str_eq(first_kind("compare --json --by time /tmp/skep-exits-a.json /tmp/skep-exits-b.json"), "mmio");
	ck_assert_int_eq(run("compare /tmp/skep-exits-a.json /tmp/skep-exits-b.json"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "  B x10\n"));
	ck_assert_int_eq(run("compare /tmp/skep-exits-a.json /tmp/skep-exits-a.json /tmp/skep-exits-b.json"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "  C x10\n"));
	ck_assert_int_eq(run("compare /tmp/skep-exits-a.json /tmp/skep-exits-a.json"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "  same\n"));
	unlink(a);
	unlink(b);
}
END_TEST

/* What KVM and tracepoints count beyond what came to user space. */
START_TEST(test_kvm_counts)
{
	static const char path[] = "/tmp/skep-exits-a.json";
	json_t *o, *kinds;

	write_profile(path, "{\"kind\":\"halt\",\"count\":5,\"user_ns\":10,\"hist\":[[1,5]],\"kvm_count\":70}", "", "", SECOND,
		      ",\"trace\":[{\"reason\":\"npf\",\"kind\":\"memory-fault\",\"count\":40,\"ns\":1,\"hist\":[]},"
		      "{\"reason\":\"wfi\",\"kind\":\"halt\",\"count\":60,\"ns\":1,\"hist\":[]},"
		      "{\"reason\":\"wfe\",\"kind\":\"halt\",\"count\":20,\"ns\":1,\"hist\":[]}]");
	ck_assert_int_eq(run("show --json /tmp/skep-exits-a.json"), 0);
	o = json_loads(out.text, 0, NULL);
	kinds = json_object_get(o, "kinds");
	ck_assert_int_eq((int)json_integer_value(json_object_get(json_array_get(kinds, 0), "exits")), 80);
	ck_assert_int_eq((int)json_integer_value(json_object_get(json_array_get(kinds, 0), "user_count")), 5);
	ck_assert_int_eq((int)json_integer_value(json_object_get(json_array_get(kinds, 0), "kvm_count")), 80);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(kinds, 1), "kind")), "memory-fault");
	ck_assert_int_eq((int)json_integer_value(json_object_get(json_array_get(kinds, 1), "kvm_count")), 40);
	json_decref(o);
	unlink(path);
}
END_TEST

/* Strings of a file neither become markup nor steer a terminal. */
START_TEST(test_hostile_strings)
{
	static const char path[] = "/tmp/skep-exits-a.json";
	static const char access[] = "{\"space\":\"mmio\",\"device\":\"<script>&'\\\"\\u001b[2J\\u009b\\u202e\",\"register\":\"</text>"
		"\\uffff\",\"write\":true,\"count\":3,\"user_ns\":9,\"hist\":[[1,3]]}";

	write_profile(path, "", access, "]]><img src=x onerror=y>\\n", SECOND, "");
	ck_assert_int_eq(run("show /tmp/skep-exits-a.json"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "<script>&'\"?[2J??"));
	ck_assert_int_eq(run("compare --html - /tmp/skep-exits-a.json /tmp/skep-exits-a.json"), 0);
	ck_assert_ptr_null(strstr(out.text, "<script"));
	ck_assert_ptr_null(strstr(out.text, "<img"));
	ck_assert_ptr_nonnull(strstr(out.text, "&lt;script&gt;&amp;&#39;&quot;?[2J?? &lt;/text&gt;? write"));
	ck_assert_int_eq(run("compare --svg - /tmp/skep-exits-a.json /tmp/skep-exits-a.json"), 0);
	ck_assert_ptr_null(strstr(out.text, "<script"));
	ck_assert_ptr_null(strstr(out.text, "<img"));
	ck_assert_ptr_nonnull(strstr(out.text, "]]&gt;&lt;img src=x onerror=y&gt;?"));
	unlink(path);
}
END_TEST

/* Numbers as large as they come, and names as long. */
START_TEST(test_extremes)
{
	static const char path[] = "/tmp/skep-exits-a.json";
	static char kinds[16384], name[4001];

	memset(name, 'n', sizeof(name) - 1);
	snprintf(kinds, sizeof(kinds), "{\"kind\":\"%s\",\"count\":9223372036854775807,\"user_ns\":9223372036854775807,\"hist\":[[0,9223372036854775807],"
		 "[31,9223372036854775807]]},{\"kind\":\"%s\",\"count\":9223372036854775807,\"user_ns\":9223372036854775807,\"hist\":[]}", name, name);
	write_profile(path, kinds, "", "", "0", "");
	for (int i = 0; i < 3; i++) {
		static const char *const lines[] = { "compare --html - ", "compare --svg - ", "compare " };
		char line[128];

		snprintf(line, sizeof(line), "%s%s %s", lines[i], path, path);
		ck_assert_int_eq(run(line), 0);
		ck_assert_ptr_null(strstr(out.text, "nan"));
		ck_assert_ptr_null(strstr(out.text, "inf"));
		ck_assert_ptr_null(strstr(out.text, "width=\"-"));
		ck_assert_uint_lt(strlen(out.text), 20000);
	}
	ck_assert_ptr_nonnull(strstr(out.text, "9223372036854775807"));
	unlink(path);
}
END_TEST

static void one_sentence(const char *line)
{
	size_t len;

	ck_assert_msg(run(line) == 1, "%s", line);
	len = strlen(err.text);
	ck_assert_msg(!strncmp(err.text, "skep: ", 6) && strchr(err.text, '\n') == err.text + len - 1, "%s: %s", line, err.text);
	ck_assert_str_eq(out.text, "");
}

START_TEST(test_bad_files)
{
	static const char path[] = "/tmp/skep-exits-a.json";
	static const char *const texts[] = { "", "not JSON", "[]", "{}", "{\"format\":\"skep-exits\"", "{\"format\":\"other\",\"version\":1}",
		"{\"format\":\"skep-exits\",\"version\":99}", "{\"format\":\"skep-exits\",\"version\":1}" };
	static const char *const kinds[] = { "1", "{}", "{\"kind\":1,\"count\":1,\"user_ns\":1,\"hist\":[]}",
		"{\"kind\":\"pio\",\"count\":-1,\"user_ns\":1,\"hist\":[]}", "{\"kind\":\"pio\",\"count\":1.5,\"user_ns\":1,\"hist\":[]}",
		"{\"kind\":\"pio\",\"count\":99999999999999999999,\"user_ns\":1,\"hist\":[]}", "{\"kind\":\"pio\",\"count\":1,\"user_ns\":1,\"hist\":[[99,1]]}",
		"{\"kind\":\"pio\",\"count\":1,\"user_ns\":1,\"hist\":[[1]]}" };

	for (size_t i = 0; i < NELEM(texts); i++) {
		FILE *f = fopen(path, "w");

		ck_assert(f && fputs(texts[i], f) >= 0 && !fclose(f));
		one_sentence("show /tmp/skep-exits-a.json");
		one_sentence("compare " X86 "/tmp/skep-exits-a.json");
	}
	for (size_t i = 0; i < NELEM(kinds); i++) {
		write_profile(path, kinds[i], "", "", SECOND, "");
		one_sentence("show /tmp/skep-exits-a.json");
	}
	unlink(path);
	one_sentence("show /tmp/skep-exits-a.json");
	one_sentence("compare " X86 ARM64 "--html /nonexistent/a.html");
}
END_TEST

START_TEST(test_usage)
{
	static const char *const lines[] = { "", "zebra", "show", "show a b", "compare a", "compare a b c d e", "show a --svg x", "compare a b --svg",
		"compare a b --by weight", "record", "record vm1 -t 0", "record vm1 -t abc", "record vm1 -t nan", "record vm1 --json" };

	for (size_t i = 0; i < NELEM(lines); i++) {
		ck_assert_msg(run(lines[i]) == 2, "%s", lines[i]);
		ck_assert_ptr_nonnull(strstr(err.text, "skep help exits"));
		ck_assert_str_eq(out.text, "");
	}
	ck_assert_int_eq(run("--help"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "--html FILE"));
}
END_TEST

/* Files are written beside the table, whole. */
START_TEST(test_files)
{
	ck_assert_int_eq(run("compare " X86 ARM64 "--svg /tmp/skep-exits-a.svg --html /tmp/skep-exits-a.html"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "DIFFERENCE"));
	ck_assert_int_eq(run("compare " X86 ARM64 "--json --svg /dev/null"), 0);
	ck_assert_int_eq(access("/tmp/skep-exits-a.svg", R_OK), 0);
	ck_assert_int_eq(unlink("/tmp/skep-exits-a.svg"), 0);
	ck_assert_int_eq(unlink("/tmp/skep-exits-a.html"), 0);
}
END_TEST

UNIT_MAIN("common/cmd/exits", test_golden, test_order, test_kvm_counts, test_hostile_strings, test_extremes, test_bad_files, test_usage, test_files)
