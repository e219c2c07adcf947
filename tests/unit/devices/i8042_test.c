/* i8042: probing by drivers, nobody on the wire, reset lines. */
#include "tests/unit/devices/chip.h"

START_TEST(probing)
{
	struct chip c;
	chip_start(&c, &i8042_class, "i8042", false);
	ck_assert_uint_eq(rd(&c, 4, 1) & 0x03, 0);
	wr(&c, 4, 1, 0xaa);
	ck_assert_uint_eq(rd(&c, 4, 1) & 0x01, 1);
	ck_assert_uint_eq(rd(&c, 0, 1), 0x55);
	ck_assert_uint_eq(rd(&c, 4, 1) & 0x01, 0);
	wr(&c, 4, 1, 0x20);
	ck_assert_uint_eq(rd(&c, 0, 1), 0x74);
	wr(&c, 4, 1, 0x60);
	wr(&c, 0, 1, 0x65);
	wr(&c, 4, 1, 0x20);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(rd(&c, 0, 1), 0x65);
	ck_assert(!chip_irq(&c));
	wr(&c, 4, 1, 0xab);
	ck_assert_uint_eq(rd(&c, 0, 1), 0);
	/* Loop-back that does not come from the second port, whose test fails: no mouse port. */
	wr(&c, 4, 1, 0xd3);
	wr(&c, 0, 1, 0x5a);
	ck_assert_uint_eq(rd(&c, 4, 1) & 0x21, 0x01);
	ck_assert_uint_eq(rd(&c, 0, 1), 0x5a);
	wr(&c, 4, 1, 0xa9);
	ck_assert_uint_eq(rd(&c, 0, 1), 0x01);
	/* A keyboard would acknowledge; nobody does, at once. */
	wr(&c, 0, 1, 0xf2);
	ck_assert_uint_eq(rd(&c, 4, 1) & 0x41, 0x41);
	ck_assert_uint_eq(rd(&c, 0, 1), 0xfe);
	ck_assert_uint_eq(rd(&c, 1, 1), 0xff);
	ck_assert_int_eq(c.vm.cause, CAUSE_NONE);
	chip_round_trip(&c);
	chip_end(&c);
}
END_TEST

static enum vm_cause cause_after(const uint8_t *cmds, size_t n)
{
	struct chip c;
	chip_start(&c, &i8042_class, "i8042", true);
	pthread_mutex_init(&c.vm.req_lock, NULL);
	wr(&c, 4, 1, cmds[0]);
	if (n > 1)
		wr(&c, 0, 1, cmds[1]);
	enum vm_cause cause = c.vm.cause;
	if (cause != CAUSE_NONE)
		ck_assert_str_eq(c.vm.cause_text, "i8042 reset");
	chip_end(&c);
	return cause;
}

START_TEST(reset_lines)
{
	ck_assert_int_eq(cause_after((uint8_t[]){ 0xfe }, 1), CAUSE_RESET);
	ck_assert_int_eq(cause_after((uint8_t[]){ 0xff }, 1), CAUSE_NONE);
	ck_assert_int_eq(cause_after((uint8_t[]){ 0xd1, 0xfe }, 2), CAUSE_RESET);
	ck_assert_int_eq(cause_after((uint8_t[]){ 0xd1, 0xdf }, 2), CAUSE_NONE);
	ck_assert_int_eq(cause_after((uint8_t[]){ 0xd2, 0xfe }, 2), CAUSE_NONE);
}
END_TEST

START_TEST(sweep)
{
	struct chip c;
	chip_start(&c, &i8042_class, "i8042", true);
	pthread_mutex_init(&c.vm.req_lock, NULL);
	chip_sweep(&c);
	for (unsigned cmd = 0; cmd < 256; cmd++) {
		wr(&c, 4, 1, cmd);
		wr(&c, 0, 1, 0xff);
		rd(&c, 0, 8);
	}
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/i8042", probing, reset_lines, sweep)
