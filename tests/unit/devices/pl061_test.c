/* pl061: masked data, edges and levels, the power button. */
#include "devices/pl061.h"
#include "tests/unit/devices/chip.h"

enum { ALL = 0x3fc, DIR = 0x400, IS = 0x404, IBE = 0x408, IEV = 0x40c, IE = 0x410, RIS = 0x414, MIS = 0x418, IC = 0x41c };

START_TEST(masked_data)
{
	struct chip c;
	chip_start(&c, &pl061_class, "gpio", false);
	wr(&c, DIR, 4, 0x0f);
	wr(&c, ALL, 4, 0xff);
	ck_assert_uint_eq(rd(&c, ALL, 4), 0x0f);        /* inputs are low */
	wr(&c, 0x05 << 2, 4, 0);
	ck_assert_uint_eq(rd(&c, ALL, 4), 0x0a);
	ck_assert_uint_eq(rd(&c, 0x08 << 2, 4), 0x08);
	ck_assert_uint_eq(rd(&c, 0, 4), 0);
	ck_assert_uint_eq(rd(&c, 0xfe0, 4), 0x61);
	chip_sweep(&c);
	chip_end(&c);
}
END_TEST

START_TEST(edges_and_levels)
{
	struct chip c;
	chip_start(&c, &pl061_class, "gpio", false);
	wr(&c, IE, 4, 0x08);
	wr(&c, IEV, 4, 0x08);
	pl061_press(c.d, 3);
	ck_assert_uint_eq(rd(&c, RIS, 4), 0x08);
	ck_assert_uint_eq(rd(&c, MIS, 4), 0x08);
	ck_assert(chip_irq(&c));
	chip_round_trip(&c);
	wr(&c, IC, 4, 0x08);
	ck_assert(!chip_irq(&c));
	wr(&c, IS, 4, 0x08);            /* level high: cannot be cleared */
	ck_assert(chip_irq(&c));
	wr(&c, IC, 4, 0x08);
	ck_assert(chip_irq(&c));
	wr(&c, IEV, 4, 0);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

START_TEST(button)
{
	struct chip c;
	chip_start(&c, &pl061_class, "gpio", true);
	wr(&c, IBE, 4, 0x08);
	wr(&c, IE, 4, 0x08);
	uint64_t start = now_ns();
	pl061_press(c.d, PL061_POWER_PIN);
	ck_assert(chip_irq(&c));
	wr(&c, IC, 4, 0x08);
	ck_assert_uint_eq(rd(&c, ALL, 4), 0x08);
	for (int i = 0; i < 100 && !chip_irq(&c); i++)
		loop_step(c.vm.loop, 10);
	ck_assert(chip_irq(&c));        /* the release */
	ck_assert_uint_ge(now_ns() - start, 50000000u);
	ck_assert_uint_eq(rd(&c, ALL, 4), 0);
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/pl061", masked_data, edges_and_levels, button)
