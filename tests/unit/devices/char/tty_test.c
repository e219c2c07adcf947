/* tty: a host terminal (a pty here), restored on close; files and null. */
#include <termios.h>

#include "tests/unit/devices/char/chr.h"

START_TEST(terminal)
{
	struct port p;
	struct termios before, during, after;
	char path[64];
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(unlockpt(master), 0);
	ck_assert_int_eq(ptsname_r(master, path, sizeof(path)), 0);
	int slave = open(path, O_RDWR | O_NOCTTY);      /* keeps the modes observable */
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	port_start(&p);
	port_open(&p, path);
	port_loop(&p);
	ck_assert_uint_eq(p.attached, 1);
	ck_assert_int_eq(tcgetattr(slave, &during), 0);
	ck_assert_uint_eq(during.c_lflag & (ECHO | ICANON | ISIG), 0);
	port_say(&p, "out\n");
	ck_assert_str_eq(hear(master), "out\n");
	type(&p, master, "in\r");
	ck_assert_str_eq(p.got, "in\r");
	chardev_break(p.c, true);
	chardev_break(p.c, false);
	port_stop(&p);
	ck_assert_int_eq(tcgetattr(slave, &after), 0);
	ck_assert_uint_eq(after.c_lflag, before.c_lflag);
	ck_assert_uint_eq(after.c_oflag, before.c_oflag);
	close(slave);
	close(master);
	port_end(&p);
}
END_TEST

START_TEST(not_a_terminal)
{
	struct port p;
	port_start(&p);
	hush();
	ck_assert_ptr_null(chardev_open(&p.vm, "com1", "/dev/null", &port_ops, &p));
	ck_assert_int_eq(errno, ENOTTY);
	ck_assert_ptr_null(chardev_open(&p.vm, "com1", "/nonexistent/tty", &port_ops, &p));
	ck_assert_int_eq(errno, ENOENT);
	port_end(&p);
	unhush();
}
END_TEST

START_TEST(file_appends)
{
	struct port p;
	char spec[128], buf[64];
	port_start(&p);
	snprintf(spec, sizeof(spec), "file=%s", port_path(&p, "log"));
	for (int i = 0; i < 2; i++) {
		port_open(&p, spec);
		port_loop(&p);
		port_say(&p, "line\n");
		ck_assert(chardev_attached(p.c));
		port_stop(&p);
	}
	int fd = open(port_path(&p, "log"), O_RDONLY);
	ck_assert_int_eq(read(fd, buf, sizeof(buf)), 10);
	ck_assert_mem_eq(buf, "line\nline\n", 10);
	close(fd);
	unlink(port_path(&p, "log"));
	port_end(&p);
}
END_TEST

/* A full device is reported once and stops nothing. */
START_TEST(file_full)
{
	struct port p;
	port_start(&p);
	hush();
	port_open(&p, "file=/dev/full");
	port_loop(&p);
	port_say(&p, "lost");
	port_loop(&p);
	port_say(&p, "too");
	port_loop(&p);
	port_end(&p);
	unhush();
}
END_TEST

UNIT_MAIN("devices/char/tty", terminal, not_a_terminal, file_appends, file_full)
