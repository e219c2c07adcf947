/* client: several readers, one writer, slow readers, back pressure, half-closed and vanished peers. */
#include "tests/unit/devices/char/chr.h"

START_TEST(one_writer)
{
	struct port p;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	int a = dial(&p, "com1.sock"), b = dial(&p, "com1.sock");
	port_say(&p, "both");
	ck_assert_str_eq(hear(a), "both");
	ck_assert_str_eq(hear(b), "both");
	type(&p, b, "ignored");
	ck_assert_uint_eq(p.got_len, 0);
	type(&p, a, "A");
	ck_assert_str_eq(p.got, "A");
	close(a);
	port_loop(&p);
	type(&p, b, "B");               /* takes over */
	ck_assert_str_eq(p.got, "AB");
	ck_assert_uint_eq(p.attached, 1);
	ck_assert_uint_eq(p.detached, 0);
	close(b);
	port_end(&p);
}
END_TEST

START_TEST(half_closed)
{
	struct port p;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	int a = dial(&p, "com1.sock"), b = dial(&p, "com1.sock");
	ck_assert_int_eq(write(a, "last", 4), 4);
	shutdown(a, SHUT_WR);
	port_loop(&p);
	ck_assert_str_eq(p.got, "last");
	port_say(&p, "still");
	ck_assert_str_eq(hear(a), "still");
	type(&p, b, "+");
	ck_assert_str_eq(p.got, "last+");
	close(a);
	close(b);
	port_loop(&p);
	ck_assert_uint_eq(p.detached, 1);
	port_end(&p);
}
END_TEST

/* Input written before a client vanished still arrives, piecemeal as the device has room. */
START_TEST(back_pressure)
{
	struct port p;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	p.room = 4;
	int a = dial(&p, "com1.sock");
	ck_assert_int_eq(write(a, "0123456789", 10), 10);
	close(a);
	port_loop(&p);
	ck_assert_str_eq(p.got, "0123");
	for (int i = 0; i < 3; i++) {
		p.room = 3;
		chardev_rx_ready(p.c);
		port_loop(&p);
	}
	ck_assert_str_eq(p.got, "0123456789");
	ck_assert(!chardev_attached(p.c));
	port_end(&p);
}
END_TEST

/* A reader that stalls costs nobody else anything and misses only what the history no longer holds. */
START_TEST(slow_reader)
{
	struct port p;
	static char line[64];
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	chardev_set_history(p.c, 4096);
	int slow = dial(&p, "com1.sock"), quick = dial(&p, "com1.sock");
	unsigned n = 20000, seen = 0;
	for (unsigned i = 0; i < n; i++) {
		snprintf(line, sizeof(line), "line %08u of output that goes on and on\n", i);
		port_say(&p, line);
		if (i % 50 == 0) {
			loop_step(p.vm.loop, 0);
			seen += (unsigned)strlen(hear(quick));
		}
	}
	port_loop(&p);
	seen += (unsigned)strlen(hear(quick));
	ck_assert_uint_eq(seen, n * (unsigned)strlen(line));
	const char *text = "";
	size_t total = 0, len;
	char last[65] = "";
	while ((len = strlen(text = hear(slow))) > 0) {
		total += len;
		if (len >= strlen(line))
			strcpy(last, text + len - strlen(line));
		port_loop(&p);
	}
	ck_assert_uint_lt(total, seen);
	ck_assert_str_eq(last, line);           /* the newest lines are there */
	port_say(&p, "again");
	ck_assert_str_eq(hear(slow), "again");
	close(slow);
	close(quick);
	port_end(&p);
}
END_TEST

START_TEST(crowd)
{
	struct port p;
	int fd[20];
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	for (size_t i = 0; i < NELEM(fd); i++)
		fd[i] = dial(&p, "com1.sock");
	port_say(&p, "x");
	for (size_t i = 0; i < NELEM(fd); i++)
		ck_assert_str_eq(hear(fd[i]), i < 16 ? "x" : "");
	close(fd[3]);
	port_loop(&p);
	int late = dial(&p, "com1.sock");
	ck_assert_str_eq(hear(late), "x");
	/* Everybody goes at once: in one batch of the loop. */
	for (size_t i = 0; i < NELEM(fd); i++)
		close(i == 3 ? late : fd[i]);
	port_say(&p, "y");
	port_loop(&p);
	ck_assert(!chardev_attached(p.c));
	port_end(&p);
}
END_TEST

/* A device that never takes input still notices who leaves. */
START_TEST(output_only)
{
	struct port p;
	port_start(&p);
	p.vm.rundir = p.dir;
	p.c = chardev_open(&p.vm, "com1", "null", NULL, NULL);
	int a = dial(&p, "com1.sock");
	type(&p, a, "nobody listens");
	port_say(&p, "out");
	ck_assert_str_eq(hear(a), "out");
	close(a);
	port_loop(&p);
	ck_assert(chardev_attached(p.c));       /* null always is */
	port_end(&p);
}
END_TEST

static void *vcpu(void *arg)
{
	struct port *p = arg;
	for (unsigned i = 0; i < 20000; i++) {
		port_say(p, "0123456789abcde\n");
		if (i % 16 == 0)
			chardev_rx_ready(p->c);
	}
	return NULL;
}

/* Clients come and go while a vCPU writes. */
START_TEST(threads)
{
	struct port p;
	pthread_t t;
	size_t heard = 0;
	port_start(&p);
	p.vm.rundir = p.dir;
	port_open(&p, NULL);
	int steady = dial(&p, "com1.sock");
	ck_assert_int_eq(pthread_create(&t, NULL, vcpu, &p), 0);
	for (int round = 0; round < 20; round++) {
		int fd = dial(&p, "com1.sock");
		heard += strlen(hear(steady));
		hear(fd);
		close(fd);
	}
	pthread_join(t, NULL);
	for (size_t n = 1; n > 0; heard += n) {
		port_loop(&p);
		n = strlen(hear(steady));
	}
	ck_assert_uint_gt(heard, 0);
	ck_assert_uint_le(heard, 20000 * 16);
	port_say(&p, "end");
	ck_assert_str_eq(hear(steady), "end");
	close(steady);
	port_end(&p);
}
END_TEST

UNIT_MAIN("devices/char/client", one_writer, half_closed, back_pressure, slow_reader, crowd, output_only, threads)
