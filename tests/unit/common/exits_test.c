/* Exit statistics: kinds, times, accesses by register, what is crowded out; the ring and how its records are decoded. */
#include "common/exits.h"

#include "common/bus.h"
#include "common/loop.h"
#include "tests/unit/unit.h"

static const struct reg regs[] = { { .off = 0, .width = 1, .name = "RBR/THR" }, { .off = 5, .width = 1, .name = "LSR" } };
static const struct bus_range com1 = {
	.name = "com1", .base = 0x3f8, .placed_at = 0x3f8, .len = 8, .regs = regs, .nregs = NELEM(regs),
};
static const struct bus_range big = { .name = "big", .base = 0x10000, .placed_at = 0x10000, .len = MIB(1) };
static const struct bus_range ecam = {
	.name = "ecam", .base = MIB(256), .placed_at = MIB(256), .len = MIB(256), .regs = regs, .nregs = NELEM(regs),
	.stat_skip = ~0xfffull,
};
static struct exit_stats s;

static void start(unsigned ring)
{
	ck_assert_int_eq(exits_init(&s, ring), 0);
}

static struct exit_rec rec_of(enum exit_kind kind, const struct bus_range *r, uint64_t addr, bool write, uint64_t val,
			      uint64_t t_ns)
{
	return (struct exit_rec){ .t = t_ns, .addr = addr, .val = val, .range = r, .kind = (uint8_t)kind, .size = 1, .write = write };
}

static void add(enum exit_kind kind, const struct bus_range *r, uint64_t addr, bool write, uint64_t val, uint64_t t_ns, uint64_t ns)
{
	const struct exit_rec rec = rec_of(kind, r, addr, write, val, t_ns);

	if (kind == EXIT_PIO || kind == EXIT_MMIO)
		exits_one_access(&s, &rec, t_ns + ns);
	else
		exits_done(&s, &rec, t_ns + ns);
}

static uint64_t kind_count(enum exit_kind kind)
{
	return exits_kind(&s, kind, NULL, NULL);
}

static uint64_t kind_ns(enum exit_kind kind)
{
	uint64_t ns = 0;

	exits_kind(&s, kind, &ns, NULL);
	return ns;
}

static char *printed(unsigned limit)
{
	static char text[16384];
	FILE *f = fmemopen(text, sizeof(text), "w");
	exits_print(&s, f, 3, limit);
	fclose(f);
	return text;
}

struct look {
	const char *device, *reg;
	bool write;
	uint64_t count, ns;
	unsigned found, all;
};

static void look_at(const struct access_stat *a, void *arg)
{
	struct look *l = arg;
	char buf[32];

	l->all++;
	if (strcmp(exits_device(a), l->device) || strcmp(exits_register(a, buf, sizeof(buf)), l->reg) || a->write != l->write)
		return;
	l->found++;
	l->count += a->count;
	l->ns += a->ns;
}

/* Entries of this register and direction. */
static struct look look(const char *device, const char *reg, bool write)
{
	struct look l = { .device = device, .reg = reg, .write = write };

	exits_walk(&s, look_at, &l);
	return l;
}

START_TEST(test_counts)
{
	start(16);
	add(EXIT_PIO, &com1, 0x3f8, true, 'a', 1, 100);
	add(EXIT_PIO, &com1, 0x3f8, true, 'b', 2, 200);
	add(EXIT_PIO, &com1, 0x3fd, false, 0x60, 3, 100);
	add(EXIT_MMIO, NULL, 0xdead, false, 0xff, 4, 100);
	add(EXIT_HALT, NULL, 0, false, 0, 5, 7);
	ck_assert_uint_eq(kind_count(EXIT_PIO), 3);
	ck_assert_uint_eq(kind_ns(EXIT_PIO), 400);
	ck_assert_uint_eq(kind_count(EXIT_MMIO), 1);
	ck_assert_uint_eq(kind_count(EXIT_HALT), 1);
	ck_assert_uint_eq(kind_ns(EXIT_HALT), 7);
	ck_assert_uint_eq(s.kind_hist[EXIT_HALT][2], 1);
	ck_assert_uint_eq(look("com1", "RBR/THR", true).count, 2);
	ck_assert_uint_eq(look("com1", "RBR/THR", true).ns, 300);
	ck_assert_uint_eq(look("com1", "RBR/THR", false).found, 0);
	ck_assert_uint_eq(look("com1", "LSR", false).count, 1);
	ck_assert_uint_eq(look("unclaimed", "0xdead", false).count, 1);
	ck_assert_uint_eq(look("", "", false).all, 3);
	exits_fini(&s);
	exits_fini(&s);                                         /* twice is harmless */
}
END_TEST

/* String I/O: many accesses, each with its own time, one exit. */
START_TEST(test_string_io)
{
	const struct exit_rec a = rec_of(EXIT_PIO, &com1, 0x3f8, true, 1, 1000), b = rec_of(EXIT_PIO, &com1, 0x3f8, true, 2, 1010);

	start(16);
	exits_enter(&s, 400);
	exits_access(&s, &a, 1010);
	exits_access(&s, &b, 1030);
	exits_done(&s, &a, 1030);
	add(EXIT_HALT, NULL, 0, false, 0, 1100, 5);
	ck_assert_uint_eq(kind_count(EXIT_PIO), 1);
	ck_assert_uint_eq(kind_ns(EXIT_PIO), 30);
	ck_assert_uint_eq(look("com1", "RBR/THR", true).count, 2);
	ck_assert_uint_eq(look("com1", "RBR/THR", true).ns, 30);
	ck_assert_uint_eq(s.head, 3);
	ck_assert_uint_eq(exits_guest_ns(&s), 600 + 70);
	exits_fini(&s);
}
END_TEST

/* exits.count=false */
START_TEST(test_off)
{
	start(0);
	ck_assert(!s.on);
	ck_assert_str_eq(printed(64), "vcpu 3: last 0 of 0 exits, oldest first:\n");
	json_t *j = exits_json(&s, 64);
	ck_assert_uint_eq(json_array_size(j), 0);
	json_decref(j);
	ck_assert_uint_eq(look("", "", false).all, 0);
	exits_fini(&s);
}
END_TEST

/* A guest that reads everything everywhere: nothing is lost from the sums, and the table does not overflow. */
START_TEST(test_crowd)
{
	static struct bus_range many[700];
	static char names[700][8];
	uint64_t sum = 0;

	start(16);
	for (unsigned i = 0; i < 5000; i++)
		add(EXIT_MMIO, &big, 0x10000 + i * 4, false, 0, i, 1);
	ck_assert_uint_eq(look("big", "others", false).count, 5000 - EXIT_REGS_RANGE);
	ck_assert_uint_eq(look("big", "+0x4", false).count, 1);
	ck_assert_uint_eq(look("", "", false).all, EXIT_REGS_RANGE + 1);
	/* Unclaimed addresses are as many as there are. */
	for (unsigned i = 0; i < 5000; i++)
		add(EXIT_PIO, NULL, UINT64_MAX - i, true, 0, i, 1);
	ck_assert_uint_eq(look("unclaimed", "others", true).count, 5000 - EXIT_REGS_RANGE);
	for (unsigned i = 0; i < NELEM(many); i++) {
		snprintf(names[i], sizeof(names[i]), "r%u", i);
		many[i] = (struct bus_range){ .name = names[i], .base = i * 16, .placed_at = i * 16, .len = 16 };
		add(EXIT_MMIO, &many[i], i * 16, false, 0, i, 1);
		add(EXIT_MMIO, &many[i], i * 16 + 8, true, 0, i, 1);
		add(EXIT_MMIO, &many[i], i * 16 + 8, true, 0, i, 1);
	}
	for (unsigned i = 0; i < s.naccess; i++)
		sum += s.access[i].count;
	ck_assert_uint_eq(sum, 5000 + 5000 + 3 * NELEM(many));
	ck_assert_uint_eq(look("r0", "+0x8", true).count, 2);
	ck_assert_uint_gt(look("others", "others", false).count, 0);
	ck_assert_uint_le(s.naccess, 1024);
	/* What found no place is in the ring all the same. */
	ck_assert_ptr_nonnull(strstr(printed(1), "mmio         write 0x2bb8/1 = 0  others\n"));
	exits_fini(&s);
}
END_TEST

/* The bits of an offset that say which device it is are not part of the register; a range that moves keeps its registers. */
START_TEST(test_offsets)
{
	struct bus_range bar = com1;

	start(16);
	add(EXIT_MMIO, &ecam, MIB(256) + 0x1000, false, 0, 1, 1);
	add(EXIT_MMIO, &ecam, MIB(256) + 0x802000, false, 0, 1, 1);
	add(EXIT_MMIO, &ecam, MIB(256) + 0x2ff0, false, 0, 1, 1);
	ck_assert_uint_eq(look("ecam", "RBR/THR", false).count, 2);
	ck_assert_uint_eq(look("ecam", "RBR/THR", false).found, 1);
	ck_assert_uint_eq(look("ecam", "+0xff0", false).count, 1);
	add(EXIT_MMIO, &bar, 0x3fd, false, 0, 1, 1);
	bar.base = bar.placed_at = 0x8000;
	add(EXIT_MMIO, &bar, 0x8005, false, 0, 1, 1);
	ck_assert_uint_eq(look("com1", "LSR", false).count, 2);
	exits_fini(&s);
}
END_TEST

START_TEST(test_buckets)
{
	static const struct { uint64_t ns; unsigned bucket; } rows[] = {
		{ 0, 0 }, { 1, 0 }, { 2, 1 }, { 3, 1 }, { 4, 2 }, { 1023, 9 }, { 1024, 10 }, { (1ull << 31) - 1, 30 }, { 1ull << 31, 31 },
		{ 1ull << 32, 31 }, { 1ull << 62, 31 },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		char want[32];

		start(16);
		add(EXIT_PIO, &com1, 0x3f8, false, 0, 1, rows[i].ns);
		snprintf(want, sizeof(want), "[[%u, 1]]", rows[i].bucket);
		uint64_t hist[EXIT_BUCKETS] = { 0 };

		ck_assert_uint_eq(exits_kind(&s, EXIT_PIO, NULL, hist), 1);
		json_t *j = exits_hist_json(hist), *k = exits_hist_json(s.access[s.naccess - 1].hist);
		char *text = json_dumps(j, 0);
		ck_assert_str_eq(text, want);
		ck_assert(json_equal(j, k));
		free(text);
		json_decref(j);
		json_decref(k);
		exits_fini(&s);
	}
}
END_TEST

START_TEST(test_decoding)
{
	start(16);
	ck_assert_str_eq(printed(64), "vcpu 3: last 0 of 0 exits, oldest first:\n");
	add(EXIT_PIO, &com1, 0x3f8, true, 0x41, 1000000, 100);
	add(EXIT_PIO, &com1, 0x3fd, false, 0x60, 2500000, 100);
	add(EXIT_PIO, &com1, 0x3f9, false, 0, 2500000, 100);    /* no such register */
	add(EXIT_MMIO, NULL, 0xfee00000, false, 0xff, 3000000, 1ull << 40);
	add(EXIT_SHUTDOWN, NULL, 1, false, 2, 3000000, 0);
	ck_assert_str_eq(printed(64), "vcpu 3: last 5 of 5 exits, oldest first:\n"
			 "      -2.000 ms  pio          write 0x3f8/1 = 0x41  com1 RBR/THR\n"
			 "      -0.500 ms  pio          read  0x3fd/1 = 0x60  com1 LSR\n"
			 "      -0.500 ms  pio          read  0x3f9/1 = 0  com1\n"
			 "      -0.000 ms  mmio         read  0xfee00000/1 = 0xff  unclaimed\n"
			 "      -0.000 ms  shutdown     0x1 0x2\n");
	ck_assert_str_eq(printed(1), "vcpu 3: last 1 of 5 exits, oldest first:\n"
			 "      -0.000 ms  shutdown     0x1 0x2\n");
	json_t *j = exits_json(&s, 64);
	ck_assert_uint_eq(json_array_size(j), 5);
	const json_t *first = json_array_get(j, 0), *last = json_array_get(j, 4);
	ck_assert_str_eq(json_string_value(json_object_get(first, "device")), "com1");
	ck_assert_str_eq(json_string_value(json_object_get(first, "register")), "RBR/THR");
	ck_assert_str_eq(json_string_value(json_object_get(first, "kind")), "pio");
	ck_assert_int_eq(json_integer_value(json_object_get(first, "addr")), 0x3f8);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "value")), 0x41);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "t_ns")), 1000000);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "ns")), 100);
	ck_assert_int_eq(json_integer_value(json_object_get(first, "size")), 1);
	ck_assert(json_is_true(json_object_get(first, "write")));
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(j, 3), "ns")), UINT32_MAX);
	ck_assert_ptr_null(json_object_get(last, "device"));
	ck_assert_str_eq(json_string_value(json_object_get(last, "kind")), "shutdown");
	json_decref(j);
	exits_fini(&s);
}
END_TEST

/* One more than the ring holds: the oldest is gone, order stays; a length that is no power of two. */
START_TEST(test_wrap)
{
	enum { LEN = 100 };

	start(LEN);
	for (unsigned i = 0; i <= LEN; i++)
		add(EXIT_PIO, &com1, 0x3f8, true, i, 1000 + i, 1);
	ck_assert_uint_eq(s.head, LEN + 1);
	ck_assert_ptr_nonnull(strstr(printed(UINT32_MAX), "vcpu 3: last 100 of 101 exits"));
	for (unsigned limit = LEN; limit; limit -= LEN - 1) {
		json_t *j = exits_json(&s, limit);
		ck_assert_uint_eq(json_array_size(j), limit);
		for (unsigned i = 0; i < limit; i++)
			ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(j, i), "value")), LEN + 1 - limit + i);
		json_decref(j);
		if (limit == 1)
			break;
	}
	exits_fini(&s);
}
END_TEST

static uint64_t ticks;

static uint64_t read_ticks(void)
{
	return ticks;
}

/* A counter of 2.5 GHz: what is counted is in ns, and the ring's times are CLOCK_MONOTONIC's; one that goes back stands still. */
START_TEST(test_clock)
{
	start(16);
	exits_clock(&s, read_ticks, 2500000000u);
	exits_enter(&s, 1000);
	add(EXIT_PIO, &com1, 0x3f8, true, 1, 1000 + 250000, 2500);
	add(EXIT_PIO, &com1, 0x3f8, true, 1, 1000 + 252500, 25);
	add(EXIT_PIO, &com1, 0x3f8, true, 1, 1000 + 252525, (uint64_t)-50);
	ck_assert_uint_ge(kind_ns(EXIT_PIO), 1007);             /* rounded down */
	ck_assert_uint_le(kind_ns(EXIT_PIO), 1010);
	ck_assert_uint_ge(exits_guest_ns(&s), 99999);
	ck_assert_uint_le(exits_guest_ns(&s), 100000);
	ticks = 1000 + 250000 + 2500000000u;
	const uint64_t before = now_ns();
	json_t *j = exits_json(&s, 3);
	const uint64_t after = now_ns(), t = (uint64_t)json_integer_value(json_object_get(json_array_get(j, 0), "t_ns"));
	ck_assert_uint_ge(t, before - 1000000000u);
	ck_assert_uint_le(t, after - 999999999u);
	json_decref(j);
	exits_fini(&s);
}
END_TEST

START_TEST(test_names)
{
	for (unsigned i = 0; i < EXIT_KINDS; i++) {
		const char *help = exit_kind_help[i];

		ck_assert_ptr_nonnull(exit_kind_names[i]);
		ck_assert_ptr_nonnull(help);
		ck_assert_msg(help[0] >= 'A' && help[0] <= 'Z' && help[strlen(help) - 1] == '.', "%s: no sentence", exit_kind_names[i]);
		for (unsigned k = 0; k < i; k++) {
			ck_assert_str_ne(exit_kind_names[i], exit_kind_names[k]);
			ck_assert_str_ne(help, exit_kind_help[k]);
		}
	}
}
END_TEST

UNIT_MAIN("common/exits", test_counts, test_string_io, test_off, test_crowd, test_offsets, test_buckets, test_decoding,
	  test_wrap, test_clock, test_names)
