/* pl031: time of day, setting it, matches. */
#include <time.h>

#include "tests/unit/devices/chip.h"

enum { DR = 0, MR = 4, LR = 8, CR = 0xc, IMSC = 0x10, RIS = 0x14, MIS = 0x18, ICR = 0x1c };

START_TEST(time_of_day)
{
	struct chip c;
	chip_start(&c, &pl031_class, "rtc", false);
	uint64_t now = (uint64_t)time(NULL), dr = rd(&c, DR, 4);
	ck_assert(dr >= now && dr <= now + 1);
	ck_assert_uint_eq(rd(&c, CR, 4), 1);
	ck_assert_uint_eq(rd(&c, 0xfe0, 4), 0x31);
	ck_assert_uint_eq(rd(&c, 0xff0, 4), 0x0d);
	wr(&c, LR, 4, 1000);
	ck_assert_uint_eq(rd(&c, LR, 4), 1000);
	dr = rd(&c, DR, 4);
	ck_assert(dr == 1000 || dr == 1001);
	chip_reset(&c);                 /* the time that was set stays */
	dr = rd(&c, DR, 4);
	ck_assert(dr >= 1000 && dr <= 1002);
	chip_end(&c);
}
END_TEST

START_TEST(match_dry)
{
	struct chip c;
	chip_start(&c, &pl031_class, "rtc", false);
	wr(&c, IMSC, 4, 1);
	ck_assert_uint_eq(rd(&c, RIS, 4), 0);
	wr(&c, MR, 4, rd(&c, DR, 4) - 5);       /* past: not in this century */
	ck_assert_uint_eq(rd(&c, RIS, 4), 0);
	wr(&c, MR, 4, rd(&c, DR, 4));
	ck_assert_uint_eq(rd(&c, MIS, 4), 1);
	ck_assert(chip_irq(&c));
	wr(&c, ICR, 4, 1);
	ck_assert_uint_eq(rd(&c, RIS, 4), 0);
	ck_assert(!chip_irq(&c));
	wr(&c, IMSC, 4, 0);
	wr(&c, MR, 4, rd(&c, DR, 4));
	ck_assert_uint_eq(rd(&c, RIS, 4), 1);
	ck_assert_uint_eq(rd(&c, MIS, 4), 0);
	chip_round_trip(&c);
	chip_sweep(&c);
	chip_end(&c);
}
END_TEST

/* The timer, without waiting for it: the match is at the next second's beginning at the latest. */
START_TEST(match_timer)
{
	struct chip c;
	chip_start(&c, &pl031_class, "rtc", true);
	wr(&c, IMSC, 4, 1);
	wr(&c, MR, 4, rd(&c, DR, 4) + 1);
	for (int i = 0; i < 150 && !chip_irq(&c); i++)
		loop_step(c.vm.loop, 10);
	ck_assert(chip_irq(&c));
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/pl031", time_of_day, match_dry, match_timer)
