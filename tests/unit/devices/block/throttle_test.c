#include "tests/unit/unit.h"

#include "devices/block/throttle.h"

#define MS 1000000ull
#define S 1000000000ull

static struct throttle t;
static uint64_t clock_ns;

static void set(uint64_t iops, uint64_t iops_burst, uint64_t bps, uint64_t bps_burst, uint32_t burst_s)
{
	throttle_init(&t, &(struct blk_rate){ iops, iops_burst }, &(struct blk_rate){ bps, bps_burst }, burst_s);
	clock_ns = 77 * S;
}

/* Submits as fast as allowed until `until`; how many went. */
static unsigned run(uint64_t until, uint64_t bytes)
{
	unsigned n = 0;
	for (;;) {
		const uint64_t wait = throttle_wait_ns(&t, clock_ns);
		if (clock_ns + wait >= until)
			return n;
		clock_ns += wait;
		ck_assert_uint_eq(throttle_wait_ns(&t, clock_ns), 0);
		throttle_take(&t, bytes, clock_ns);
		n++;
	}
}

START_TEST(off)
{
	set(0, 0, 0, 0, 1);
	ck_assert(!throttle_on(&t));
	throttle_take(&t, UINT64_MAX, 0);
	ck_assert_uint_eq(throttle_wait_ns(&t, 0), 0);
}
END_TEST

/* A tenth of a second's worth at once, then the even pace. */
START_TEST(requests)
{
	set(100, 0, 0, 0, 1);
	ck_assert(throttle_on(&t));
	const uint64_t start = clock_ns;
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_uint_eq(throttle_wait_ns(&t, clock_ns), 0);
		throttle_take(&t, 1 << 20, clock_ns);
	}
	for (unsigned i = 0; i < 5; i++) {
		const uint64_t wait = throttle_wait_ns(&t, clock_ns);
		ck_assert_uint_gt(wait, 0);
		ck_assert_uint_le(wait, 10 * MS);
		ck_assert_uint_gt(throttle_wait_ns(&t, clock_ns + wait - 2), 0);
		clock_ns += wait;
		throttle_take(&t, 1, clock_ns);
	}
	clock_ns = start;
	set(100, 0, 0, 0, 1);
	ck_assert_uint_eq(run(start + 60 * S, 0), 6000 + 10);
}
END_TEST

START_TEST(bytes)
{
	set(0, 0, MIB(1), 0, 1);
	const uint64_t start = clock_ns;
	/* One request larger than the bucket goes, and is paid for. */
	throttle_take(&t, MIB(8), clock_ns);
	ck_assert_uint_ge(throttle_wait_ns(&t, clock_ns), 7900 * MS);
	ck_assert_uint_le(throttle_wait_ns(&t, clock_ns), 8000 * MS);
	ck_assert_uint_eq(throttle_wait_ns(&t, clock_ns + 8 * S), 0);
	const unsigned n = run(start + 108 * S, 4096);
	ck_assert_uint_ge(n, 100 * 256);
	ck_assert_uint_le(n, 100 * 256 + 26);
}
END_TEST

/* 1000 a second for 5 seconds after a rest, then 100; the credit comes back with rest, and no more than that. */
START_TEST(bursts)
{
	set(100, 1000, 0, 0, 5);
	const uint64_t start = clock_ns;
	unsigned n = run(start + 5 * S, 0);
	ck_assert_uint_ge(n, 4900);
	ck_assert_uint_le(n, 5110);
	n = run(start + 20 * S, 0);
	ck_assert_uint_ge(n, 1400);
	ck_assert_uint_le(n, 1700);
	clock_ns = start + 1000 * S;
	n = run(start + 1001 * S, 0);
	ck_assert_uint_ge(n, 1000);
	ck_assert_uint_le(n, 1101);
}
END_TEST

/* The tighter of two limits counts; odd rates lose nothing to rounding. */
START_TEST(both)
{
	set(1000, 0, MIB(1), 0, 1);
	unsigned n = run(clock_ns + 10 * S, 65536);
	ck_assert_uint_ge(n, 160);
	ck_assert_uint_le(n, 163);
	set(3, 0, 0, 0, 1);
	ck_assert_uint_eq(run(clock_ns + 20000 * S, 0), 60000 + 1);
	set(0, 0, 10 * GIB(1), 0, 1);
	const uint64_t start = clock_ns;
	const uint64_t sum = run(start + S / 100, 4096) * 4096ull;
	ck_assert_uint_ge(sum, GIB(1));
	ck_assert_uint_le(sum, GIB(1) + GIB(1) / 9);
}
END_TEST

/* Absurd values neither wrap nor divide by zero. */
START_TEST(extremes)
{
	set(1, UINT64_MAX, 1, UINT64_MAX, 3600);
	throttle_take(&t, UINT64_MAX, clock_ns);
	ck_assert_uint_gt(throttle_wait_ns(&t, clock_ns), S);
	set(UINT64_MAX, 0, UINT64_MAX, 0, 1);
	throttle_take(&t, UINT64_MAX, clock_ns);
	ck_assert_uint_eq(throttle_wait_ns(&t, clock_ns + 2 * S), 0);
}
END_TEST

UNIT_MAIN("devices/block/throttle", off, requests, bytes, bursts, both, extremes)
