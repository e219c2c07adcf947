/* pty: attaching and leaving by opening and closing the slave, replay, raw mode. */
#include <termios.h>

#include "tests/unit/devices/char/chr.h"

START_TEST(comes_and_goes)
{
	struct port p;
	struct termios t;
	port_start(&p);
	p.vm.rundir = p.dir;
	hush();
	port_open(&p, "pty");
	ck_assert_ptr_nonnull(strstr(unhush(), "com1 is /dev/pts/"));
	port_say(&p, "early ");
	port_loop(&p);
	ck_assert(!chardev_attached(p.c));
	int fd = open(port_path(&p, "com1.pty"), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(fd, 0);
	port_until(&p, chardev_attached(p.c));
	port_say(&p, "late");
	port_until(&p, heard(fd, "early late"));
	ck_assert_str_eq(hear(fd), "early late");
	type(&p, fd, "\x03\r\x11z");    /* nothing is cooked on the way */
	port_until(&p, strlen(p.got) >= 4);
	ck_assert_str_eq(p.got, "\x03\r\x11z");
	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	ck_assert_uint_eq(t.c_lflag & (ECHO | ICANON | ISIG), 0);
	port_say(&p, " unread");
	close(fd);
	port_until(&p, !chardev_attached(p.c));
	ck_assert_uint_eq(p.detached, 1);
	fd = open(port_path(&p, "com1.pty"), O_RDWR | O_NOCTTY);
	port_until(&p, heard(fd, "early late unread"));
	ck_assert_str_eq(hear(fd), "early late unread");
	close(fd);
	port_stop(&p);
	ck_assert_int_eq(readlink(port_path(&p, "com1.pty"), (char[8]){ 0 }, 8), -1);
	port_end(&p);
}
END_TEST

UNIT_MAIN("devices/char/pty", comes_and_goes)
