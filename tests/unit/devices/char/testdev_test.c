/* The test device behind a port: commands in pieces, and what is none. */
#include "tests/unit/devices/char/chr.h"

START_TEST(statuses)
{
	static const struct { const char *text; int status; } rows[] = {
		{ "q", 1 }, { "0q", 1 }, { "1q", 3 }, { "3q", 7 }, { " 12 q", 25 }, { "\n\t5 \n q", 11 }, { "127q", 255 }, { "128q", 1 },
		{ "99999999999999999999q", 255 }, { "xyz1q", 3 }, { "7x1q", 3 }, { "12 34q", 9 }, { "-1q", 3 }, { "1q2q", 3 },
		{ "Q", -1 }, { "1", -1 }, { "", -1 }, { "12 3", -1 },
	};
	for (size_t i = 0; i < NELEM(rows); i++) {
		struct port p;
		port_start(&p);
		port_open(&p, "testdev");
		for (const char *s = rows[i].text; *s; s++)     /* one at a time, as a serial port sends */
			ck_assert_uint_eq(chardev_write(p.c, (const uint8_t *)s, 1), 1);
		ck_assert_int_eq(p.vm.cause, rows[i].status < 0 ? CAUSE_NONE : CAUSE_GUEST_EXIT);
		if (rows[i].status >= 0)
			ck_assert_msg(p.vm.guest_status == rows[i].status, "'%s' gave %d", rows[i].text, p.vm.guest_status);
		port_end(&p);
	}
}
END_TEST

START_TEST(whole_write)
{
	struct port p;
	port_start(&p);
	port_open(&p, "testdev");
	port_loop(&p);
	ck_assert_uint_eq(p.attached, 1);               /* the guest's port is open */
	ck_assert(chardev_attached(p.c));
	port_say(&p, "hello\n21q");
	ck_assert_int_eq(p.vm.cause, CAUSE_GUEST_EXIT);
	ck_assert_int_eq(p.vm.guest_status, 43);
	ck_assert_str_eq(p.vm.cause_text, "com1: the guest asks for exit status 43");
	port_end(&p);
}
END_TEST

START_TEST(grammar)
{
	struct vm dry = { .dry = true };
	ck_assert_int_eq(chardev_check("com1", "testdev"), 0);
	hush();
	ck_assert_int_eq(chardev_check("com1", "testdev=1"), -EINVAL);
	ck_assert_ptr_nonnull(strstr(unhush(), "testdev"));
	struct chardev *c = chardev_open(&dry, "com1", "testdev", NULL, NULL);
	ck_assert_uint_eq(chardev_write(c, (const uint8_t *)"1q", 2), 2);       /* `plan` runs no guest */
	ck_assert_int_eq(dry.cause, CAUSE_NONE);
	chardev_close(c);
}
END_TEST

UNIT_MAIN("devices/char/testdev", statuses, whole_write, grammar)
