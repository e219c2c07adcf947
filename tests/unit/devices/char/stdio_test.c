/* stdio: pipes, files, end of input, one owner, and the escape keys on a terminal. */
#include <termios.h>

#include "tests/unit/devices/char/chr.h"

static int saved[2];

static void stdio_put(int in, int out)
{
	fflush(NULL);
	saved[0] = dup(STDIN_FILENO);
	saved[1] = dup(STDOUT_FILENO);
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
}

static void stdio_back(void)
{
	dup2(saved[0], STDIN_FILENO);
	dup2(saved[1], STDOUT_FILENO);
	close(saved[0]);
	close(saved[1]);
}

START_TEST(pipes)
{
	struct port p;
	int in[2], out[2];
	ck_assert_int_eq(pipe(in) | pipe(out), 0);
	port_start(&p);
	p.vm.rundir = p.dir;
	stdio_put(in[0], out[1]);
	port_open(&p, "stdio");
	hush();
	struct chardev *second = chardev_open(&p.vm, "com2", "stdio", &port_ops, &p);
	unhush();
	int second_errno = errno, flags = fcntl(STDIN_FILENO, F_GETFL) | fcntl(STDOUT_FILENO, F_GETFL);
	stdio_back();
	ck_assert_ptr_null(second);
	ck_assert_int_eq(second_errno, EBUSY);
	ck_assert_int_eq(flags & O_NONBLOCK, 0);        /* the descriptions are shared with whoever started us */
	port_say(&p, "out");
	ck_assert_str_eq(hear(out[0]), "out");
	type(&p, in[1], "\x01xin");                     /* no escape in a pipe */
	ck_assert_str_eq(p.got, "\x01xin");
	int fd = dial(&p, "com1.sock");
	type(&p, fd, "ignored");
	ck_assert_str_eq(p.got, "\x01xin");
	close(in[1]);
	port_loop(&p);
	type(&p, fd, "+");                              /* the end of input leaves it to the next */
	ck_assert_str_eq(p.got, "\x01xin+");
	port_say(&p, "!");
	ck_assert_str_eq(hear(out[0]), "!");
	/* A full pipe blocks nobody, and a reader that goes away ends only its stream. */
	for (int i = 0; i < 3000; i++)
		port_say(&p, "0123456789012345678901234567890123456789012345678901234567890123456789");
	close(out[0]);
	close(out[1]);
	port_loop(&p);
	port_say(&p, "x");
	port_loop(&p);
	ck_assert_int_eq(p.vm.cause, CAUSE_NONE);
	close(fd);
	close(in[0]);
	port_end(&p);
}
END_TEST

/* epoll takes neither regular files nor /dev/null. */
START_TEST(files)
{
	struct port p;
	char buf[16];
	port_start(&p);
	int in = open(port_path(&p, "in"), O_RDWR | O_CREAT, 0600), out = open(port_path(&p, "out"), O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(write(in, "0123456789", 10), 10);
	lseek(in, 0, SEEK_SET);
	ck_assert_int_eq(write(out, "kept ", 5), 5);
	stdio_put(in, out);
	p.room = 4;
	port_open(&p, "stdio");
	stdio_back();
	port_loop(&p);
	ck_assert_str_eq(p.got, "0123");
	p.room = 100;
	chardev_rx_ready(p.c);
	port_loop(&p);
	ck_assert_str_eq(p.got, "0123456789");
	port_say(&p, "new");
	ck_assert_int_eq(pread(out, buf, sizeof(buf), 0), 8);
	ck_assert_mem_eq(buf, "kept new", 8);
	close(in);
	close(out);
	unlink(port_path(&p, "in"));
	unlink(port_path(&p, "out"));
	port_stop(&p);
	int null = open("/dev/null", O_RDWR);
	stdio_put(null, null);
	port_open(&p, "stdio");
	stdio_back();
	port_loop(&p);
	port_say(&p, "x");
	close(null);
	port_end(&p);
}
END_TEST

START_TEST(terminal)
{
	struct port p;
	struct termios t;
	char path[64];
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_eq(unlockpt(master), 0);
	ck_assert_int_eq(ptsname_r(master, path, sizeof(path)), 0);
	int slave = open(path, O_RDWR | O_NOCTTY);
	port_start(&p);
	stdio_put(slave, slave);
	port_open(&p, "stdio");
	int flags = fcntl(slave, F_GETFL);
	ck_assert_int_eq(flags & O_NONBLOCK, 0);
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	bool raw = !(t.c_lflag & ICANON);
	port_say(&p, "a\n");
	const char *heard = hear(master);
	bool plain = strcmp(heard, "a\n") == 0;
	type(&p, master, "q\x01" "b\x01\x01\x01hz");
	bool helped = strstr(hear(master), "Ctrl-A x") != NULL;
	/* The guest has stopped reading: Ctrl-A x still gets through. */
	p.room = 0;
	type(&p, master, "stuck");
	ck_assert_int_eq(write(master, "\x01x", 2), 2);
	for (int i = 0; i < 50 && p.vm.cause == CAUSE_NONE; i++)
		loop_step(p.vm.loop, 2);
	port_stop(&p);
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	stdio_back();
	ck_assert(raw);
	ck_assert(plain);
	ck_assert(helped);
	ck_assert_str_eq(p.got, "q\x01z");
	ck_assert_uint_eq(p.breaks, 1);
	ck_assert_int_eq(p.vm.cause, CAUSE_SIGNAL);
	ck_assert_str_eq(p.vm.cause_text, "Ctrl-A x");
	ck_assert(t.c_lflag & ICANON);
	close(slave);
	close(master);
	port_end(&p);
}
END_TEST

UNIT_MAIN("devices/char/stdio", pipes, files, terminal)
