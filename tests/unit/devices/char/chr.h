/* A VM with nothing but a loop and a run directory, and a device that remembers what its chardev told it. */
#ifndef TESTS_UNIT_DEVICES_CHAR_CHR_H
#define TESTS_UNIT_DEVICES_CHAR_CHR_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"
#include "devices/char/chardev.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

struct port {
	struct vm vm;
	struct chardev *c;
	char dir[64];
	size_t room;                    /* what can_rx answers */
	char got[8192];
	size_t got_len;
	unsigned attached, detached, breaks;
};

/* Messages of expected failures; unhush() gives them for inspection. */
static struct capture hushed;

static inline void hush(void)
{
	capture_start(&hushed, STDERR_FILENO);
}

static inline const char *unhush(void)
{
	return capture_stop(&hushed);
}

static inline size_t port_can_rx(void *arg)
{
	return ((struct port *)arg)->room;
}

static inline void port_rx(void *arg, const uint8_t *buf, size_t len)
{
	struct port *p = arg;
	ck_assert_uint_le(len, p->room);
	ck_assert_uint_lt(p->got_len + len, sizeof(p->got));
	memcpy(p->got + p->got_len, buf, len);
	p->got_len += len;
	p->got[p->got_len] = '\0';
	p->room -= len;
}

static inline void port_event(void *arg, enum chardev_event ev)
{
	struct port *p = arg;
	p->attached += ev == CHR_ATTACHED;
	p->detached += ev == CHR_DETACHED;
	p->breaks += ev == CHR_BREAK;
}

static const struct chardev_ops port_ops = { port_can_rx, port_rx, port_event };

static inline void port_start(struct port *p)
{
	memset(p, 0, sizeof(*p));
	p->room = sizeof(p->got) - 1;
	strcpy(p->dir, "/tmp/skep-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(p->dir));
	setenv("XDG_RUNTIME_DIR", p->dir, 1);
	strcpy(p->vm.name, "unit");
	pthread_mutex_init(&p->vm.req_lock, NULL);
	p->vm.loop = loop_new();
	ck_assert_ptr_nonnull(p->vm.loop);
}

static inline void port_open(struct port *p, const char *spec)
{
	p->c = chardev_open(&p->vm, "com1", spec, &port_ops, p);
	ck_assert_ptr_nonnull(p->c);
}

static inline void port_stop(struct port *p)
{
	chardev_close(p->c);
	p->c = NULL;
}

static inline void port_end(struct port *p)
{
	port_stop(p);
	loop_free(p->vm.loop);
	rmdir(p->dir);
}

static inline void port_loop(struct port *p)
{
	for (int i = 0; i < 12; i++)
		loop_step(p->vm.loop, 1);
}

/* Until it is so, for up to five seconds: a pty hands bytes over in a thread of the kernel's. */
#define port_until(p, so)                                       \
	do {                                                    \
		for (int i_ = 0; i_ < 5000 && !(so); i_++)      \
			loop_step((p)->vm.loop, 1);             \
		ck_assert(so);                                  \
	} while (0)

static inline void port_say(struct port *p, const char *text)
{
	ck_assert_uint_eq(chardev_write(p->c, (const uint8_t *)text, strlen(text)), strlen(text));
}

static inline const char *port_path(struct port *p, const char *file)
{
	static char path[4][128];
	static unsigned n;
	n = (n + 1) % NELEM(path);
	snprintf(path[n], sizeof(path[n]), "%s/%s", p->dir, file);
	return path[n];
}

static inline int dial(struct port *p, const char *file)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", port_path(p, file));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	port_loop(p);
	return fd;
}

/* The next bytes that can be read are these. */
static inline bool heard(int fd, const char *text)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = 0;

	return poll(&p, 1, 0) > 0 && ioctl(fd, FIONREAD, &n) == 0 && (size_t)n >= strlen(text);
}

/* What can be read now, as a string. */
static inline const char *hear(int fd)
{
	static char buf[65536 * 2];
	size_t len = 0;
	while (len < sizeof(buf) - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (poll(&p, 1, 0) <= 0)
			break;
		ssize_t n = read(fd, buf + len, sizeof(buf) - 1 - len);
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	buf[len] = '\0';
	return buf;
}

static inline void type(struct port *p, int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	port_loop(p);
}

#endif
