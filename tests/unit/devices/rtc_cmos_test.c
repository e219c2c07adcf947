/* mc146818: formats, setting the time, flags and interrupts, CMOS memory and its memory-size bytes. */
#include <time.h>

#include "tests/unit/devices/chip.h"

static uint8_t get(struct chip *c, unsigned reg)
{
	wr(c, 0, 1, reg);
	return (uint8_t)rd(c, 1, 1);
}

static void set(struct chip *c, unsigned reg, unsigned val)
{
	wr(c, 0, 1, reg | 0x80);        /* the NMI mask changes nothing */
	wr(c, 1, 1, val);
}

static unsigned bcd(unsigned v)
{
	return v / 10 << 4 | v % 10;
}

START_TEST(shows_host_time)
{
	struct chip c;
	struct tm tm;
	chip_start(&c, &mc146818_class, "rtc", false);
	time_t now = time(NULL);
	unsigned sec = get(&c, 0), min = get(&c, 2);
	if (time(NULL) != now) {        /* the second turned over between the reads */
		now = time(NULL);
		sec = get(&c, 0);
		min = get(&c, 2);
	}
	gmtime_r(&now, &tm);
	ck_assert(sec == bcd((unsigned)tm.tm_sec) || sec == bcd((unsigned)(tm.tm_sec + 1) % 60));
	ck_assert(min == bcd((unsigned)tm.tm_min) || min == bcd((unsigned)(tm.tm_min + 1) % 60));
	ck_assert_uint_eq(get(&c, 0x0a) & 0x7f, 0x26);
	ck_assert_uint_eq(get(&c, 0x0b), 0x02);
	ck_assert_uint_eq(get(&c, 0x0d), 0x80);
	ck_assert_uint_eq(rd(&c, 0, 1), 0xff);
	chip_end(&c);
}
END_TEST

/* As Linux sets the time: SET, all bytes, SET off. */
static void set_time(struct chip *c, unsigned b, const uint8_t t[8])
{
	static const uint8_t reg[] = { 0, 2, 4, 6, 7, 8, 9, 0x32 };
	set(c, 0x0b, b | 0x80);
	for (unsigned i = 0; i < NELEM(reg); i++)
		set(c, reg[i], t[i]);
	set(c, 0x0b, b);
}

START_TEST(setting)
{
	struct chip c;
	chip_start(&c, &mc146818_class, "rtc", false);
	/* 2024-02-29 23:58:07, a Thursday whatever the guest says. */
	set_time(&c, 0x02, (uint8_t[]){ 0x07, 0x58, 0x23, 0x01, 0x29, 0x02, 0x24, 0x20 });
	ck_assert(get(&c, 0) == 0x07 || get(&c, 0) == 0x08);
	ck_assert_uint_eq(get(&c, 2), 0x58);
	ck_assert_uint_eq(get(&c, 4), 0x23);
	ck_assert_uint_eq(get(&c, 6), 5);
	ck_assert_uint_eq(get(&c, 7), 0x29);
	ck_assert_uint_eq(get(&c, 8), 0x02);
	ck_assert_uint_eq(get(&c, 9), 0x24);
	ck_assert_uint_eq(get(&c, 0x32), 0x20);
	set(&c, 0x0b, 0x04);            /* binary, 12 hours */
	ck_assert_uint_eq(get(&c, 2), 58);
	ck_assert_uint_eq(get(&c, 4), 0x80 | 11);
	ck_assert_uint_eq(get(&c, 0x32), 20);
	set(&c, 4, 12);                 /* one byte, without SET: midnight */
	set(&c, 0x0b, 0x02);
	ck_assert_uint_eq(get(&c, 4), 0x00);
	ck_assert_uint_eq(get(&c, 7), 0x29);
	/* While SET the bytes are memory; nonsense in them does no harm. */
	set_time(&c, 0x02, (uint8_t[]){ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff });
	get(&c, 0);
	set(&c, 0x0b, 0x82);
	set(&c, 0, 0x33);
	ck_assert_uint_eq(get(&c, 0), 0x33);
	ck_assert_uint_eq(get(&c, 0x0a) & 0x80, 0);
	chip_round_trip(&c);
	chip_end(&c);
}
END_TEST

START_TEST(memory)
{
	struct chip c;
	chip_start(&c, &mc146818_class, "rtc", false);
	c.vm.map.nram = 2;
	c.vm.map.ram[0].len = MIB(2048);
	c.vm.map.ram[1].base = GIB(4);
	c.vm.map.ram[1].len = GIB(3);
	set(&c, 0x0f, 0x5a);
	set(&c, 0x7f, 0xa5);
	set(&c, 0x0d, 0);
	chip_reset(&c);
	ck_assert_uint_eq(get(&c, 0x15) | get(&c, 0x16) << 8, 640);
	ck_assert_uint_eq(get(&c, 0x17) | get(&c, 0x18) << 8, 0xffff);
	ck_assert_uint_eq(get(&c, 0x30) | get(&c, 0x31) << 8, 0xffff);
	ck_assert_uint_eq(get(&c, 0x34) | get(&c, 0x35) << 8, (2048 - 16) * 16);
	ck_assert_uint_eq(get(&c, 0x5b) | get(&c, 0x5c) << 8 | get(&c, 0x5d) << 16, 3072 * 16);
	ck_assert_uint_eq(get(&c, 0x0f), 0x5a);         /* the battery keeps the rest */
	ck_assert_uint_eq(get(&c, 0x7f), 0xa5);
	ck_assert_uint_eq(get(&c, 0x0d), 0x80);
	for (unsigned i = 0; i < 256; i++) {
		set(&c, i & 0x7f, i * 37);
		get(&c, i & 0x7f);
	}
	chip_sweep(&c);
	chip_end(&c);
}
END_TEST

START_TEST(periodic_interrupt)
{
	struct chip c;
	chip_start(&c, &mc146818_class, "rtc", true);
	set(&c, 0x0b, 0x42);            /* 1024 Hz */
	for (int i = 0; i < 200 && !chip_irq(&c); i++)
		loop_step(c.vm.loop, 5);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(get(&c, 0x0c) & 0xc0, 0xc0);
	ck_assert(!chip_irq(&c));
	for (int i = 0; i < 200 && !chip_irq(&c); i++)
		loop_step(c.vm.loop, 5);
	ck_assert(chip_irq(&c));
	set(&c, 0x0b, 0x02);
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

/* Alarm and update share the wait for one second to pass: 23:59:59 turns over to an alarm at midnight. */
START_TEST(alarm_interrupt)
{
	struct chip c;
	chip_start(&c, &mc146818_class, "rtc", true);
	set_time(&c, 0x02, (uint8_t[]){ 0x59, 0x59, 0x23, 1, 0x31, 0x12, 0x99, 0x19 });
	set(&c, 1, 0x00);
	set(&c, 3, 0xff);
	set(&c, 5, 0x00);
	get(&c, 0x0c);
	set(&c, 0x0b, 0x22);
	ck_assert(!chip_irq(&c));
	for (int i = 0; i < 300 && !chip_irq(&c); i++)
		loop_step(c.vm.loop, 10);
	ck_assert(chip_irq(&c));
	ck_assert_uint_eq(get(&c, 0x0c) & 0xb0, 0xb0);
	ck_assert_uint_eq(get(&c, 0x0c) & 0xa0, 0);     /* read clears; the periodic flag may be up again */
	ck_assert_uint_eq(get(&c, 9), 0x00);
	ck_assert_uint_eq(get(&c, 0x32), 0x20);
	set(&c, 3, 0x75);               /* no such minute: never */
	ck_assert(!chip_irq(&c));
	chip_end(&c);
}
END_TEST

UNIT_MAIN("devices/rtc_cmos", shows_host_time, setting, memory, periodic_interrupt, alarm_interrupt)
