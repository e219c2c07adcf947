/* listen: unix and TCP sockets, stale and foreign paths. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "tests/unit/devices/char/chr.h"

static const char *unix_spec(struct port *p, const char *form)
{
	static char spec[160];
	snprintf(spec, sizeof(spec), form, p->dir);
	return spec;
}

START_TEST(unix_forms)
{
	static const char *const forms[] = { "unix=%s/s", "unix=%s/s,server", "socket,%s/s" };
	for (size_t i = 0; i < NELEM(forms); i++) {
		struct port p;
		port_start(&p);
		port_open(&p, unix_spec(&p, forms[i]));
		port_say(&p, "old ");
		int fd = dial(&p, "s");
		port_say(&p, "new");
		ck_assert_str_eq(hear(fd), "old new");
		close(fd);
		int again = dial(&p, "s");
		ck_assert_str_eq(hear(again), "old new");
		close(again);
		port_stop(&p);
		ck_assert_int_eq(access(port_path(&p, "s"), F_OK), -1);
		port_end(&p);
	}
}
END_TEST

START_TEST(every_byte)
{
	struct port p;
	uint8_t all[512], got[sizeof(all) + 1];
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i < 256 ? i : 511 - i);
	port_start(&p);
	port_open(&p, unix_spec(&p, "unix=%s/s"));
	int fd = dial(&p, "s");
	ck_assert_int_eq(write(fd, all, sizeof(all)), sizeof(all));
	port_loop(&p);
	ck_assert_uint_eq(p.got_len, sizeof(all));
	ck_assert_mem_eq(p.got, all, sizeof(all));
	ck_assert_uint_eq(chardev_write(p.c, all, sizeof(all)), sizeof(all));
	port_loop(&p);
	ck_assert_int_eq(recv(fd, got, sizeof(got), MSG_DONTWAIT), sizeof(all));
	ck_assert_mem_eq(got, all, sizeof(all));
	ck_assert_uint_eq(p.breaks, 0);
	close(fd);
	port_end(&p);
}
END_TEST

START_TEST(unix_paths)
{
	struct port p;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	port_start(&p);
	hush();
	/* Stale: nobody listens. */
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/s", p.dir);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	port_open(&p, unix_spec(&p, "unix=%s/s"));
	/* Alive: refused, and untouched. */
	ck_assert_ptr_null(chardev_open(&p.vm, "com2", unix_spec(&p, "unix=%s/s"), &port_ops, &p));
	ck_assert_int_eq(errno, EADDRINUSE);
	close(dial(&p, "s"));
	/* A file is not ours to remove. */
	fd = open(port_path(&p, "file"), O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_ptr_null(chardev_open(&p.vm, "com2", unix_spec(&p, "unix=%s/file"), &port_ops, &p));
	ck_assert_int_eq(access(port_path(&p, "file"), F_OK), 0);
	unlink(port_path(&p, "file"));
	ck_assert_ptr_null(chardev_open(&p.vm, "com2", unix_spec(&p, "unix=%s/no/such/dir"), &port_ops, &p));
	ck_assert_int_eq(errno, ENOENT);
	char longer[200];
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	memcpy(longer, "unix=/", 6);
	ck_assert_ptr_null(chardev_open(&p.vm, "com2", longer, &port_ops, &p));
	ck_assert_int_eq(errno, ENAMETOOLONG);
	port_end(&p);
	unhush();
}
END_TEST

/* A port nobody has: bound once and let go. */
static uint16_t free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

START_TEST(tcp)
{
	struct port p;
	char spec[64];
	uint16_t port = free_port();
	port_start(&p);
	snprintf(spec, sizeof(spec), "tcp=127.0.0.1:%u", port);
	port_open(&p, spec);
	port_say(&p, "hello");
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	port_loop(&p);
	ck_assert_str_eq(hear(fd), "hello");
	type(&p, fd, "in");
	ck_assert_str_eq(p.got, "in");
	/* A reset connection is noticed by the next output at the latest. */
	struct linger now = { .l_onoff = 1, .l_linger = 0 };
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	port_loop(&p);
	port_say(&p, "x");
	port_loop(&p);
	ck_assert(!chardev_attached(p.c));
	/* The port is taken. */
	hush();
	ck_assert_ptr_null(chardev_open(&p.vm, "com2", spec, &port_ops, &p));
	ck_assert_int_eq(errno, EADDRINUSE);
	port_end(&p);
	unhush();
}
END_TEST

UNIT_MAIN("devices/char/listen", unix_forms, every_byte, unix_paths, tcp)
