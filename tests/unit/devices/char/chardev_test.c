/* chardev: grammar, dry operation, history. */
#include "tests/unit/devices/char/chr.h"

START_TEST(grammar)
{
	static const char *const good[] = {
		"", "stdio", "pty", "null", "unix=/a/b", "unix=x,server", "socket,/a",
		"tcp=127.0.0.1:4000", "tcp=[::1]:4000", "tcp=:1",
		"tcp=4000", "tcp=0.0.0.0:65535", "nmdm=pair", "nmdm=pair-A", "/dev/nmdm0B", "file=/x",
		"/dev/ttyS0", "/dev/pts/3",
	};
	static const char *const bad[] = {
		"stdi", "stdio2", "ptyx", "unix=", "unix=x,client", "unix=,server", "socket,",
		"tcp=", "tcp=host:1", "tcp=127.0.0.1:65536",
		"tcp=127.0.0.1:", "tcp=[::1:1", "tcp=[::1]x:1", "tcp=1.2.3:1", "nmdm=", "nmdm=a/b", "nmdm=..", "/dev/nmdm",
		"/dev/nmdmA", "/dev/nmdm0C", "file=", "mouse", " stdio",
	};
	hush();
	for (size_t i = 0; i < NELEM(good); i++)
		ck_assert_msg(chardev_check("com1", good[i]) == 0, "%s", good[i]);
	for (size_t i = 0; i < NELEM(bad); i++)
		ck_assert_msg(chardev_check("com1", bad[i]) == -EINVAL, "%s", bad[i]);
	ck_assert_int_eq(chardev_check("com1", NULL), 0);
	unhush();
}
END_TEST

START_TEST(dry)
{
	struct vm vm = { .dry = true };
	uint8_t buf[16];
	struct chardev *c = chardev_open(&vm, "com1", "file=/nonexistent/x", &port_ops, NULL);
	ck_assert_ptr_nonnull(c);
	ck_assert_uint_eq(chardev_write(c, (const uint8_t *)"hello", 5), 5);
	ck_assert_uint_eq(chardev_tail(c, buf, sizeof(buf)), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert(!chardev_attached(c));
	chardev_rx_ready(c);
	chardev_break(c, true);
	chardev_close(c);
	chardev_close(NULL);
	hush();
	errno = 0;
	ck_assert_ptr_null(chardev_open(&vm, "com1", "nothing", &port_ops, NULL));
	ck_assert_int_eq(errno, EINVAL);
	unhush();
}
END_TEST

START_TEST(history_wraps)
{
	struct vm vm = { .dry = true };
	uint8_t buf[512], text[700];
	struct chardev *c = chardev_open(&vm, "com1", NULL, NULL, NULL);
	chardev_set_history(c, 256);
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < 300; i++)
		chardev_write(c, &text[i], 1);
	ck_assert_uint_eq(chardev_tail(c, buf, sizeof(buf)), 256);
	ck_assert_mem_eq(buf, text + 44, 256);
	ck_assert_uint_eq(chardev_tail(c, buf, 3), 3);
	ck_assert_mem_eq(buf, text + 297, 3);
	chardev_write(c, text, 700);            /* more than the ring in one call */
	ck_assert_uint_eq(chardev_tail(c, buf, sizeof(buf)), 256);
	ck_assert_mem_eq(buf, text + 444, 256);
	chardev_write(c, text, 0);
	ck_assert_uint_eq(chardev_tail(c, buf, 1), 1);
	ck_assert_uint_eq(buf[0], text[699]);
	chardev_close(c);
}
END_TEST

/* Without a back end there is still the socket of the run directory, for its owner alone. */
START_TEST(rundir_socket)
{
	struct port p;
	struct stat st;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	ck_assert_int_eq(stat(port_path(&p, "com1.sock"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert(!chardev_attached(p.c));
	port_say(&p, "before ");
	int fd = dial(&p, "com1.sock");
	port_say(&p, "after");
	ck_assert_str_eq(hear(fd), "before after");
	ck_assert(chardev_attached(p.c));
	ck_assert_uint_eq(p.attached, 1);
	type(&p, fd, "typed");
	ck_assert_str_eq(p.got, "typed");
	close(fd);
	port_loop(&p);
	ck_assert(!chardev_attached(p.c));
	ck_assert_uint_eq(p.detached, 1);
	port_stop(&p);
	ck_assert_int_eq(stat(port_path(&p, "com1.sock"), &st), -1);
	port_end(&p);
}
END_TEST

/* Another user of the line takes a few bytes, then hands it back in the middle of the input. */
struct borrower {
	struct chardev *c;
	char got[16];
	size_t len;
};

static size_t borrower_can_rx(void *arg)
{
	return ((struct borrower *)arg)->len < 4 ? 1 : 0;
}

static void borrower_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct borrower *b = arg;
	ck_assert_uint_eq(len, 1);
	b->got[b->len++] = (char)*buf;
	if (*buf == '!')
		chardev_return(b->c);
}

static const struct chardev_ops borrower_ops = { borrower_can_rx, borrower_rx, NULL };

START_TEST(borrowed)
{
	struct port p;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	p.room = 0;
	struct borrower b = { .c = p.c };
	int fd = dial(&p, "com1.sock");
	ck_assert_int_eq(write(fd, "a", 1), 1);
	port_loop(&p);
	chardev_borrow(p.c, &borrower_ops, &b);         /* gets what the device had no room for */
	ck_assert_int_eq(write(fd, "b!xy", 4), 4);
	port_loop(&p);
	ck_assert_str_eq(b.got, "ab!");
	ck_assert_str_eq(p.got, "");
	p.room = 10;
	chardev_rx_ready(p.c);
	port_loop(&p);
	ck_assert_str_eq(p.got, "xy");
	b.len = 4;                                      /* no room: the input waits, until the line is given back */
	chardev_borrow(p.c, &borrower_ops, &b);
	ck_assert_int_eq(write(fd, "late", 4), 4);
	port_loop(&p);
	ck_assert_str_eq(p.got, "xy");
	chardev_return(p.c);
	port_loop(&p);
	ck_assert_str_eq(p.got, "xylate");
	ck_assert_str_eq(b.got, "ab!");
	port_say(&p, "out");
	ck_assert_str_eq(hear(fd), "out");
	close(fd);
	port_end(&p);
}
END_TEST

UNIT_MAIN("devices/char/chardev", grammar, dry, history_wraps, rundir_socket, borrowed)
