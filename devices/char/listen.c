/*
 * Listening sockets of chardevs: `unix=`, bhyve's older spelling `socket,`, `tcp=`, and the socket in the run
 * directory that `skep console` uses.  Addresses are numeric, as a static binary has no resolver; there is
 * no authentication on TCP, which a warning says when the address is not loopback.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/log.h"
#include "common/sock.h"
#include "devices/char/chr_int.h"

#define RETRY_NS 500000000u

static void listener_in(void *arg, uint32_t events)
{
	static const struct chr_client proto = { .out = CHR_OUT_SEND };
	struct chr_listener *l = arg;
	(void)events;
	for (unsigned i = 0; i < CHR_CLIENTS_MAX; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
			log_warn("char", "%s: a connection waits: %s", l->c->name, strerror(errno));
			l->paused = true;       /* the loop would spin on a connection it cannot take */
			ev_mod(l->ev, 0);
			ev_arm(l->c->kick, RETRY_NS);
		}
		if (fd < 0)
			return;
		if (!l->path) {
			int one = 1;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
		}
		chr_attach_fd(l->c, fd, &proto);
	}
}

void chr_listen_retry(struct chr_listener *l)
{
	if (!l || !l->paused)
		return;
	l->paused = false;
	ev_mod(l->ev, EPOLLIN);
}

void chr_unlisten(struct chr_listener *l)
{
	if (!l)
		return;
	ev_del(l->ev);
	if (l->fd >= 0)
		close(l->fd);
	if (l->path)
		unlink(l->path);
	free(l->path);
	free(l);
}

/* Takes over a bound socket; path: to unlink later. */
static struct chr_listener *listener_start(struct chardev *c, int fd, const char *path)
{
	struct chr_listener *l = calloc(1, sizeof(*l));
	if (!l) {
		close(fd);
		errno = ENOMEM;
		return NULL;
	}
	l->c = c;
	l->fd = fd;
	l->path = path ? strdup(path) : NULL;
	if ((path && !l->path) || listen(fd, CHR_CLIENTS_MAX) < 0) {
		err_sys("%s: listening", c->name);
		chr_unlisten(l);
		errno = EIO;
		return NULL;
	}
	l->ev = ev_fd(c->loop, fd, EPOLLIN, listener_in, l);
	if (!l->ev) {
		chr_unlisten(l);
		errno = EMFILE;
		return NULL;
	}
	return l;
}

/* --- unix --- */

struct chr_listener *chr_listen_unix(struct chardev *c, const char *path)
{
	int fd = sock_unix(c->name, path);
	if (fd < 0) {
		errno = -fd;
		return NULL;
	}
	struct chr_listener *l = listener_start(c, fd, path);
	if (!l)
		unlink(path);
	return l;
}

/* Both spellings listen; ",server" says so explicitly, and other words are refused. */
static int unix_path(const char *name, const char *arg, char *path, size_t cap)
{
	size_t len = strcspn(arg, ",");
	if (len == 0 || (arg[len] && strcmp(arg + len, ",server") != 0))
		return err_msg(-EINVAL, "%s: back end 'unix=%s' is malformed; write unix=PATH or unix=PATH,server", name, arg);
	if (len >= cap)
		return err_msg(-ENAMETOOLONG, "%s: socket path '%s' is too long", name, arg);
	memcpy(path, arg, len);
	path[len] = '\0';
	return 0;
}

static int unix_check(const char *name, const char *arg)
{
	char path[512];
	return unix_path(name, arg, path, sizeof(path));
}

static int unix_open(struct chardev *c, const char *arg)
{
	char path[512];
	int err = unix_path(c->name, arg, path, sizeof(path));
	if (err)
		return err;
	c->priv = chr_listen_unix(c, path);
	return c->priv ? 0 : -errno;
}

static void listener_close(struct chardev *c)
{
	chr_unlisten(c->priv);
}

const struct chr_backend chr_unix = { .prefix = "unix=", .check = unix_check, .open = unix_open, .close = listener_close };
const struct chr_backend chr_socket = { .prefix = "socket,", .check = unix_check, .open = unix_open, .close = listener_close };

/* --- tcp --- */

static int tcp_check(const char *name, const char *arg)
{
	struct sock_addr a;
	if (sock_parse(arg, &a))
		return 0;
	return err_msg(-EINVAL, "%s: back end 'tcp=%s' is malformed; write tcp=ADDR:PORT with a numeric address, such as "
		       "tcp=127.0.0.1:4000 or tcp=[::1]:4000", name, arg);
}

static int tcp_open(struct chardev *c, const char *arg)
{
	struct sock_addr a;
	if (!sock_parse(arg, &a))
		return -EINVAL;
	int fd = sock_tcp(&a);
	if (fd < 0) {
		errno = -fd;
		return err_sys("%s: tcp=%s", c->name, arg);
	}
	if (!a.loopback)
		log_warn("char", "%s: everyone who reaches tcp=%s has this console; use a loopback address and a tunnel",
			 c->name, arg);
	if (getsockname(fd, &a.sa, &a.len) == 0)        /* port 0 lets the host choose */
		log_info("char", "%s: listening on TCP port %u", c->name,
			 ntohs(a.sa.sa_family == AF_INET ? a.in4.sin_port : a.in6.sin6_port));
	c->priv = listener_start(c, fd, NULL);
	return c->priv ? 0 : -errno;
}

const struct chr_backend chr_tcp = { .prefix = "tcp=", .check = tcp_check, .open = tcp_open, .close = listener_close };
