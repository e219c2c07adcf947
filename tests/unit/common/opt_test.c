#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "tests/unit/unit.h"

static const char *const colours[] = { "red", "green", NULL };
static const struct opt number = { "n", OPT_U64, 1, 256, NULL, NULL, "", NULL };
static const struct opt any_number = { "n", OPT_U64, 0, 0, NULL, NULL, "", NULL };
static const struct opt size = { "s", OPT_SIZE, 4096, GIB(64), NULL, "bytes", "", NULL };
static const struct opt memory = { "m", OPT_SIZE, MIB(16), 0, NULL, "MiB", "", NULL };
static const struct opt text = { "t", OPT_STR, 0, 5, NULL, NULL, "", NULL };
static const struct opt flag = { "f", OPT_BOOL, 0, 0, NULL, NULL, "", NULL };
static const struct opt colour = { "c", OPT_ENUM, 0, 0, NULL, NULL, "", colours };
static const struct opt mac = { "a", OPT_MAC, 0, 0, NULL, NULL, "", NULL };
static const struct opt uuid = { "u", OPT_UUID, 0, 0, NULL, NULL, "", NULL };

START_TEST(test_numbers)
{
	static const struct { const struct opt *o; const char *text; uint64_t v; } rows[] = {
		{ &number, "1", 1 }, { &number, "256", 256 }, { &number, "0x10", 16 }, { &number, "010", 8 },
		{ &any_number, "18446744073709551615", UINT64_MAX }, { &any_number, "0", 0 },
		{ &size, "4096", 4096 }, { &size, "4k", 4096 }, { &size, "4KB", 4096 }, { &size, "4KiB", 4096 }, { &size,
			"4096b", 4096 },
		{ &size, "3M", MIB(3) }, { &size, "64G", GIB(64) }, { &size, "0x10K", 16384 },
		{ &memory, "1024", GIB(1) }, { &memory, "1048575", MIB(1048575) }, { &memory, "16777216", MIB(16) }, { &memory,
			"2T", GIB(2048) },
		{ &memory, "512m", MIB(512) },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		char why[80] = "";
		uint64_t v = 12345;

		ck_assert_msg(!opt_parse_u64(rows[i].o, rows[i].text, &v, why, sizeof(why)), "%s: %s", rows[i].text, why);
		ck_assert_msg(v == rows[i].v, "%s gave %llu", rows[i].text, (unsigned long long)v);
	}
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const struct opt *o; const char *text, *why; } rows[] = {
		{ &number, "", "not a number" }, { &number, "x", "not a number" }, { &number, "-1", "not a number" },
		{ &number, "+1", "not a number" }, { &number, " 1", "not a number" }, { &number, "1 ", "not a number" },
		{ &number, "1K", "not a number" }, { &number, "0", "below 1" }, { &number, "257", "above 256" },
		{ &number, "18446744073709551616", "too large" }, { &size, "1", "below 4K" }, { &size, "65G", "above 64G" },
		{ &size, "4X", "not a size (suffixes are K, M, G and T)" }, { &size, "4KK", "not a size (suffixes are K, M, G "
			"and T)" },
		{ &size, "G", "not a size" }, { &size, "99999999999T", "too large" }, { &memory, "4", "below 16M" },
		{ &memory, "512K", "below 16M" }, { &text, "", "empty" }, { &text, "abcdef", "longer than 5 characters" },
		{ &flag, "maybe", "neither true nor false" }, { &flag, "", "neither true nor false" },
		{ &colour, "blue", "not one of red, green" }, { &colour, "Red", "not one of red, green" },
		{ &mac, "52:54:00:12:34", "not a MAC address (six hexadecimal pairs separated by ':')" },
		{ &mac, "52:54:00:12:34:5", "not a MAC address (six hexadecimal pairs separated by ':')" },
		{ &mac, "52:54:00:12:34:56:78", "not a MAC address (six hexadecimal pairs separated by ':')" },
		{ &mac, "01:00:5e:00:00:01", "a multicast address; the first byte must be even" },
		{ &mac, "00:00:00:00:00:00", "the all-zero address" },
		{ &uuid, "1234", "not a UUID (8-4-4-4-12 hexadecimal digits)" },
		{ &uuid, "123e4567-e89b-12d3-a456-42661417400g", "not a UUID (8-4-4-4-12 hexadecimal digits)" },
		{ &uuid, "123e4567-e89b-12d3-a456-4266141740000", "not a UUID (8-4-4-4-12 hexadecimal digits)" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		char why[120] = "accepted";

		ck_assert_msg(opt_check(rows[i].o, rows[i].text, why, sizeof(why)) < 0, "'%s' was accepted", rows[i].text);
		ck_assert_str_eq(why, rows[i].why);
	}
}
END_TEST

START_TEST(test_accepted)
{
	static const struct { const struct opt *o; const char *text; } rows[] = {
		{ &text, "abcde" }, { &flag, "true" }, { &flag, "OFF" }, { &flag, "1" }, { &colour, "green" },
		{ &mac, "52:54:00:aB:Cd:ef" }, { &uuid, "123e4567-e89b-12d3-a456-426614174000" },
	};
	char why[80];

	for (size_t i = 0; i < NELEM(rows); i++)
		ck_assert_msg(!opt_check(rows[i].o, rows[i].text, why, sizeof(why)), "%s: %s", rows[i].text, why);
}
END_TEST

START_TEST(test_bool)
{
	bool b = false;

	ck_assert(!opt_parse_bool("Yes", &b) && b);
	ck_assert(!opt_parse_bool("off", &b) && !b);
	ck_assert(opt_parse_bool("y", &b) < 0);
}
END_TEST

START_TEST(test_find)
{
	static const struct opt table[] = {
		{ "cpus", OPT_U64, 0, 0, NULL, NULL, "", NULL }, { "vcpu.N.cpuset", OPT_STR, 0, 0, NULL, NULL, "", NULL },
		{ "port.*", OPT_STR, 0, 0, NULL, NULL, "", NULL }, { "N", OPT_STR, 0, 0, NULL, NULL, "", NULL }, OPT_LAST
	};

	ck_assert_ptr_eq(opt_find(table, "cpus"), &table[0]);
	ck_assert_ptr_eq(opt_find(table, "vcpu.12.cpuset"), &table[1]);
	ck_assert_ptr_eq(opt_find(table, "port.a.b"), &table[2]);
	ck_assert_ptr_eq(opt_find(table, "7"), &table[3]);
	ck_assert_ptr_null(opt_find(table, "cpu"));
	ck_assert_ptr_null(opt_find(table, "cpuss"));
	ck_assert_ptr_null(opt_find(table, "vcpu.x.cpuset"));
	ck_assert_ptr_null(opt_find(table, "vcpu..cpuset"));
	ck_assert_ptr_null(opt_find(table, "port."));
	ck_assert_ptr_null(opt_find(NULL, "x"));
}
END_TEST

START_TEST(test_near)
{
	static const struct opt table[] = {
		{ "memory.size", OPT_U64, 0, 0, NULL, NULL, "", NULL }, { "memory.wired", OPT_U64, 0, 0, NULL, NULL, "", NULL },
		{ "ro", OPT_BOOL, 0, 0, NULL, NULL, "", NULL }, OPT_LAST
	};
	char longer[300];

	ck_assert_str_eq(opt_nearest(table, "memory.sise"), "memory.size");
	ck_assert_str_eq(opt_nearest(table, "memory.wierd"), "memory.wired");
	ck_assert_str_eq(opt_nearest(table, "r"), "ro");
	ck_assert_ptr_null(opt_nearest(table, "xy"));
	ck_assert_ptr_null(opt_nearest(table, ""));
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	ck_assert_ptr_null(opt_nearest(table, longer));
	ck_assert_uint_eq(opt_distance("ab", "ba"), 1);
	ck_assert_uint_eq(opt_distance("", "abc"), 3);
	ck_assert_uint_eq(opt_distance("kitten", "sitting"), 3);
}
END_TEST

UNIT_MAIN("common/opt", test_numbers, test_refusals, test_accepted, test_bool, test_find, test_near)
