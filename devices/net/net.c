#include "devices/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vm.h"

/* The tap comes last: it takes any word that can be an interface's name. */
static const struct net_driver *const drivers[] = { &net_null, &net_fd, &net_tap };

static const struct net_driver *driver_find(const char *who, const char *spec, const char **arg)
{
	for (size_t i = 0; i < NELEM(drivers); i++) {
		if (drivers[i]->match(spec, arg))
			return drivers[i];
	}
	err_msg(-EINVAL, "%s: network '%s' is not known; give %s", who, spec, NET_FORMS);
	return NULL;
}

int net_check(const char *who, const char *backend)
{
	const char *arg;

	return driver_find(who, backend, &arg) ? 0 : -EINVAL;
}

/* --- Watching --- */

static void on_event(void *arg, uint32_t events)
{
	struct net_queue *q = arg;
	struct net *n = q->net;

	if (q->rx && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		n->ops->readable(n->arg, q->pair);
	if (q->tx && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		n->ops->writable(n->arg, q->pair);
}

static void watch(struct net_queue *q)
{
	if (q->ev)
		ev_mod(q->ev, q->failed ? 0 : (q->rx ? EPOLLIN : 0u) | (q->tx ? EPOLLOUT : 0u));
}

void net_watch_rx(struct net *n, unsigned pair, bool on)
{
	n->q[pair].rx = on;
	watch(&n->q[pair]);
}

void net_watch_tx(struct net *n, unsigned pair, bool on)
{
	n->q[pair].tx = on;
	watch(&n->q[pair]);
}

/* --- Packets --- */

ssize_t net_readv(struct net *n, unsigned pair, const struct iovec *iov, unsigned niov)
{
	struct net_queue *q = &n->q[pair];
	ssize_t got;

	if (q->fd < 0 || q->failed)
		return -EAGAIN;
	got = readv(q->fd, iov, (int)niov);
	if (got > 0)
		return got;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	/* The interface was removed, or the peer has gone. */
	q->failed = true;
	watch(q);
	if (got < 0)
		return err_sys("%s: network '%s'", n->who, n->name);
	return err_msg(-EPIPE, "%s: network '%s': the other side has closed it", n->who, n->name);
}

ssize_t net_writev(struct net *n, unsigned pair, const struct iovec *iov, unsigned niov)
{
	const struct net_queue *q = &n->q[pair];
	ssize_t done;

	if (q->fd < 0 || q->failed)
		return -EIO;
	done = writev(q->fd, iov, (int)niov);
	return done < 0 ? -errno : done;
}

int net_offload(struct net *n, unsigned off)
{
	return n->drv->offload ? n->drv->offload(n, off) : off ? -EOPNOTSUPP : 0;
}

int net_pairs_set(struct net *n, unsigned active)
{
	return n->drv->pairs_set ? n->drv->pairs_set(n, active) : 0;
}

/* --- Opening --- */

static int queues_watch(struct net *n)
{
	for (unsigned i = 0; i < n->conf.pairs; i++) {
		struct net_queue *q = &n->q[i];

		if (q->fd < 0)
			continue;
		q->ev = ev_fd(n->vm->loop, q->fd, EPOLLIN, on_event, q);
		if (!q->ev)
			return -ENOMEM;
		ev_mod(q->ev, 0);
	}
	return 0;
}

struct net *net_open(struct vm *vm, const char *who, const struct net_conf *conf, const struct net_ops *ops, void *arg, int *err)
{
	const char *drv_arg;
	struct net *n = calloc(1, sizeof(*n));

	if (!n) {
		*err = -ENOMEM;
		return NULL;
	}
	*n = (struct net){ .vm = vm, .who = who, .conf = *conf, .ops = ops, .arg = arg };
	for (unsigned i = 0; i < NET_PAIRS_MAX; i++)
		n->q[i] = (struct net_queue){ .net = n, .pair = i, .fd = -1 };
	n->drv = driver_find(who, conf->backend, &drv_arg);
	*err = n->drv ? n->drv->open(n, drv_arg) : -EINVAL;
	if (!*err)
		*err = queues_watch(n);
	if (*err) {
		net_close(n);
		return NULL;
	}
	return n;
}

void net_close(struct net *n)
{
	if (!n)
		return;
	for (unsigned i = 0; i < NET_PAIRS_MAX; i++) {
		ev_del(n->q[i].ev);
		if (n->q[i].fd >= 0)
			close(n->q[i].fd);
	}
	free(n);
}

/* --- null: nothing arrives, everything sent is dropped --- */

static bool null_match(const char *spec, const char **arg)
{
	*arg = spec;
	return strcmp(spec, "null") == 0;
}

static int null_open(struct net *n, const char *arg)
{
	snprintf(n->name, sizeof(n->name), "%s", arg);
	return 0;
}

const struct net_driver net_null = { .name = "null", .match = null_match, .open = null_open };

/*
 * --- fd: descriptors skep was started with, one a pair: a packet (with its header) a read or write, as a
 * SOCK_SEQPACKET or SOCK_DGRAM socket gives.  skep owns them from then on.
 */

static bool fd_match(const char *spec, const char **arg)
{
	*arg = spec + 3;
	return strncmp(spec, "fd=", 3) == 0;
}

static int fd_take(struct net *n, unsigned pair, int fd)
{
	const int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_sys("%s: network descriptor %d", n->who, fd);
	n->q[pair].fd = fd;
	return 0;
}

static int fd_open(struct net *n, const char *arg)
{
	const char *p = arg;
	int err = 0;

	snprintf(n->name, sizeof(n->name), "fd=%.20s", arg);
	for (unsigned i = 0; i < n->conf.pairs && !err; i++) {
		char *end;
		const long fd = strtol(p, &end, 10);

		if (end == p || fd < 0 || fd > INT32_MAX || (*end && *end != ':'))
			return err_msg(-EINVAL, "%s: network 'fd=%s': %u descriptors, separated by ':', are needed", n->who, arg,
				       n->conf.pairs);
		err = fd_take(n, i, (int)fd);
		p = *end ? end + 1 : end;
	}
	return err;
}

const struct net_driver net_fd = { .name = "fd", .match = fd_match, .open = fd_open };
