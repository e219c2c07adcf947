/* nmdm: two VMs, a VM and a terminal program, ends taken, and a maker that goes away. */
#include "tests/unit/devices/char/chr.h"

static void both_loop(struct port *a, struct port *b)
{
	for (int i = 0; i < 3; i++) {
		port_loop(a);
		port_loop(b);
	}
}

/* As port_until(), with both at work. */
#define both_until(a, b, so)                                    \
	do {                                                    \
		for (int j_ = 0; j_ < 1000 && !(so); j_++)      \
			both_loop(a, b);                        \
		ck_assert(so);                                  \
	} while (0)

/* b shares a's runtime directory. */
static void pair_start(struct port *a, struct port *b)
{
	port_start(b);
	port_start(a);
}

static void pair_end(struct port *a, struct port *b)
{
	char command[128];
	port_end(b);
	port_stop(a);
	snprintf(command, sizeof(command), "rm -r %s/skep", a->dir);
	ck_assert_int_eq(system(command), 0);
	port_end(a);
}

START_TEST(two_vms)
{
	struct port a, b, third;
	pair_start(&a, &b);
	port_open(&a, "nmdm=wire");
	port_say(&a, "said before anybody listened");
	port_open(&b, "nmdm=wire");
	both_until(&a, &b, chardev_attached(a.c) && chardev_attached(b.c));
	port_say(&a, "a to b");
	port_say(&b, "b to a");
	both_until(&a, &b, a.got_len >= 6 && b.got_len >= 6);
	ck_assert_str_eq(b.got, "a to b");      /* another machine gets no history for input */
	ck_assert_str_eq(a.got, "b to a");
	hush();
	third.vm = a.vm;
	ck_assert_ptr_null(chardev_open(&third.vm, "com2", "nmdm=wire", &port_ops, &third));
	ck_assert_int_eq(errno, EBUSY);
	ck_assert_ptr_null(chardev_open(&third.vm, "com2", "/dev/nmdmwireA", &port_ops, &third));
	ck_assert_int_eq(errno, EBUSY);
	/* The maker of the pair goes; b makes one, and a new a joins it. */
	port_stop(&a);
	both_until(&a, &b, !chardev_attached(b.c));
	port_open(&a, "nmdm=wire-A");
	both_until(&a, &b, chardev_attached(a.c) && chardev_attached(b.c));
	port_say(&a, "+");
	port_say(&b, "-");
	both_until(&a, &b, a.got_len >= 7 && b.got_len >= 7);
	ck_assert_str_eq(b.got, "a to b+");
	ck_assert_str_eq(a.got, "b to a-");
	pair_end(&a, &b);
	unhush();
}
END_TEST

/* GDB's protocol, kgdb's included, has bytes of all values in its answers. */
START_TEST(every_byte)
{
	struct port a, b;
	uint8_t all[512];
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i < 256 ? i : 511 - i);
	pair_start(&a, &b);
	port_open(&a, "nmdm=wire");
	port_open(&b, "nmdm=wire");
	both_until(&a, &b, chardev_attached(a.c) && chardev_attached(b.c));
	ck_assert_uint_eq(chardev_write(a.c, all, sizeof(all)), sizeof(all));
	ck_assert_uint_eq(chardev_write(b.c, all, sizeof(all)), sizeof(all));
	both_until(&a, &b, a.got_len >= sizeof(all) && b.got_len >= sizeof(all));
	ck_assert_uint_eq(a.got_len, sizeof(all));
	ck_assert_mem_eq(a.got, all, sizeof(all));
	ck_assert_uint_eq(b.got_len, sizeof(all));
	ck_assert_mem_eq(b.got, all, sizeof(all));
	ck_assert_uint_eq(a.breaks + b.breaks, 0);
	pair_end(&a, &b);
}
END_TEST

START_TEST(terminal_program)
{
	struct port a, b;
	pair_start(&a, &b);
	port_open(&a, "/dev/nmdm0A");
	port_say(&a, "history ");
	int fd = open(port_path(&a, "skep/.nmdm/0-B"), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	port_until(&a, chardev_attached(a.c));
	port_say(&a, "now");
	port_until(&a, heard(fd, "history now"));
	ck_assert_str_eq(hear(fd), "history now");
	type(&a, fd, "typed");
	port_until(&a, a.got_len >= 5);
	ck_assert_str_eq(a.got, "typed");
	close(fd);
	port_loop(&a);
	port_stop(&a);
	ck_assert_int_eq(readlink(port_path(&a, "skep/.nmdm/0-B"), (char[8]){ 0 }, 8), -1);
	pair_end(&a, &b);
}
END_TEST

UNIT_MAIN("devices/char/nmdm", two_vms, every_byte, terminal_program)
