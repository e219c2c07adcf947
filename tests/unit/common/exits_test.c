/* Exit statistics: counts, histogram buckets, the ring and how its records are decoded. */
#include "common/exits.h"

#include "common/bus.h"
#include "tests/unit/unit.h"

static const struct reg regs[] = { { .off = 0, .width = 1, .name = "RBR/THR" }, { .off = 5, .width = 1, .name = "LSR" } };
static const struct bus_range com1 = { .name = "com1", .base = 0x3f8, .len = 8, .regs = regs, .nregs = NELEM(regs), .stat_id = 2 };
static struct exit_stats s;

static void start(void)
{
	ck_assert_int_eq(exits_init(&s, 4), 0);
}

static void add(enum exit_kind kind, const struct bus_range *r, uint64_t addr, bool write, uint64_t val, uint64_t t_ns, uint64_t ns)
{
	const struct exit_rec rec = { .t_ns = t_ns, .addr = addr, .val = val, .range = r, .kind = (uint8_t)kind, .size = 1, .write = write };
	exits_add(&s, &rec, ns);
}

static char *printed(void)
{
	static char text[16384];
	FILE *f = fmemopen(text, sizeof(text), "w");
	exits_print(&s, f, 3);
	fclose(f);
	return text;
}

START_TEST(test_counts)
{
	start();
	add(EXIT_PIO, &com1, 0x3f8, true, 'a', 1, 100);
	add(EXIT_PIO, &com1, 0x3f8, true, 'b', 2, 100);
	add(EXIT_PIO, &com1, 0x3fd, false, 0x60, 3, 100);
	add(EXIT_MMIO, NULL, 0xdead, false, 0xff, 4, 100);
	add(EXIT_HALT, NULL, 0, false, 0, 5, 100);
	ck_assert_uint_eq(s.kind[EXIT_PIO], 3);
	ck_assert_uint_eq(s.kind[EXIT_MMIO], 1);
	ck_assert_uint_eq(s.kind[EXIT_HALT], 1);
	ck_assert_uint_eq(s.access[2 * 2 + 1].count, 2);
	ck_assert_uint_eq(s.access[2 * 2].count, 1);
	ck_assert_uint_eq(s.access[0].count, 1);                /* unclaimed */
	ck_assert_uint_eq(s.access[1].count, 0);
	exits_fini(&s);
	exits_fini(&s);                                         /* twice is harmless */
}
END_TEST

/* A range that came after the statistics were made (a BAR that moved is none) is counted by kind, nothing else. */
START_TEST(test_unknown_range)
{
	struct bus_range late = com1;
	start();
	late.stat_id = 4;
	add(EXIT_MMIO, &late, 0x3f8, true, 0, 1, 1);
	late.stat_id = UINT32_MAX / 2;
	add(EXIT_MMIO, &late, 0x3f8, true, 0, 1, 1);
	ck_assert_uint_eq(s.kind[EXIT_MMIO], 2);
	for (unsigned i = 0; i < s.naccess; i++)
		ck_assert_uint_eq(s.access[i].count, 0);
	exits_fini(&s);
}
END_TEST

START_TEST(test_buckets)
{
	static const struct { uint64_t ns; unsigned bucket; } rows[] = {
		{ 0, 0 }, { 1, 0 }, { 2, 1 }, { 3, 1 }, { 4, 2 }, { 1023, 9 }, { 1024, 10 }, { (1ull << 31) - 1, 30 }, { 1ull << 31, 31 },
		{ 1ull << 32, 31 }, { UINT64_MAX, 31 },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		start();
		add(EXIT_PIO, &com1, 0x3f8, false, 0, 1, rows[i].ns);
		for (unsigned b = 0; b < EXIT_BUCKETS; b++)
			ck_assert_msg(s.access[4].hist[b] == (b == rows[i].bucket), "%llu ns, bucket %u", (unsigned long long)rows[i].ns, b);
		exits_fini(&s);
	}
}
END_TEST

START_TEST(test_decoding)
{
	start();
	ck_assert_str_eq(printed(), "vcpu 3: last 0 of 0 exits, oldest first:\n");
	add(EXIT_PIO, &com1, 0x3f8, true, 0x41, 1000000, 100);
	add(EXIT_PIO, &com1, 0x3fd, false, 0x60, 2500000, 100);
	add(EXIT_PIO, &com1, 0x3f9, false, 0, 2500000, 100);    /* no such register */
	add(EXIT_MMIO, NULL, 0xfee00000, false, 0xff, 3000000, 100);
	add(EXIT_SHUTDOWN, NULL, 1, false, 2, 3000000, 0);
	ck_assert_str_eq(printed(), "vcpu 3: last 5 of 5 exits, oldest first:\n"
			 "      -2.000 ms  pio          write 0x3f8/1 = 0x41  com1 RBR/THR\n"
			 "      -0.500 ms  pio          read  0x3fd/1 = 0x60  com1 LSR\n"
			 "      -0.500 ms  pio          read  0x3f9/1 = 0  com1\n"
			 "      -0.000 ms  mmio         read  0xfee00000/1 = 0xff  unclaimed\n"
			 "      -0.000 ms  shutdown     0x1 0x2\n");
	json_t *j = exits_json(&s);
	ck_assert_uint_eq(json_array_size(j), 5);
	const json_t *first = json_array_get(j, 0), *last = json_array_get(j, 4);
	ck_assert_str_eq(json_string_value(json_object_get(first, "device")), "com1");
	ck_assert_str_eq(json_string_value(json_object_get(first, "register")), "RBR/THR");
	ck_assert_str_eq(json_string_value(json_object_get(first, "kind")), "pio");
	ck_assert_int_eq(json_integer_value(json_object_get(first, "addr")), 0x3f8);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "value")), 0x41);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "t_ns")), 1000000);
	ck_assert(json_is_true(json_object_get(first, "write")));
	ck_assert_ptr_null(json_object_get(last, "device"));
	ck_assert_str_eq(json_string_value(json_object_get(last, "kind")), "shutdown");
	json_decref(j);
	exits_fini(&s);
}
END_TEST

/* One more than the ring holds: the oldest is gone, order stays. */
START_TEST(test_wrap)
{
	char line[64];
	start();
	for (unsigned i = 0; i <= EXIT_RING; i++)
		add(EXIT_PIO, &com1, 0x3f8, true, i, 1000 + i, 1);
	ck_assert_uint_eq(s.head, EXIT_RING + 1);
	snprintf(line, sizeof(line), "vcpu 3: last %u of %u exits", EXIT_RING, EXIT_RING + 1);
	ck_assert(!strncmp(printed(), line, strlen(line)));
	json_t *j = exits_json(&s);
	ck_assert_uint_eq(json_array_size(j), EXIT_RING);
	for (unsigned i = 0; i < EXIT_RING; i++)
		ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(j, i), "value")), i + 1);
	json_decref(j);
	exits_fini(&s);
}
END_TEST

START_TEST(test_names)
{
	for (unsigned i = 0; i < EXIT_KINDS; i++) {
		ck_assert_ptr_nonnull(exit_kind_names[i]);
		for (unsigned k = 0; k < i; k++)
			ck_assert_str_ne(exit_kind_names[i], exit_kind_names[k]);
	}
}
END_TEST

UNIT_MAIN("common/exits", test_counts, test_unknown_range, test_buckets, test_decoding, test_wrap, test_names)
