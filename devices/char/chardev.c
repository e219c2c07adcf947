/*
 * Character back ends: the calls devices use, and the history ring.  The ring is also every client's
 * output queue: a client is a position in the stream, and one that falls behind by more than the ring loses
 * its oldest bytes, which is why nothing is allocated per byte or per client.
 */
#include "devices/char/chardev.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/vm.h"
#include "devices/char/chr_int.h"

/* In order: "/dev/nmdm" before any other path. */
static const struct chr_backend *const backends[] = {
	&chr_stdio, &chr_pty, &chr_null, &chr_testdev, &chr_unix, &chr_socket, &chr_tcp, &chr_nmdm, &chr_nmdm_dev, &chr_file, &chr_tty,
};

static const struct chr_backend *backend_find(const char *name, const char *spec, const char **arg)
{
	for (size_t i = 0; i < NELEM(backends); i++) {
		const struct chr_backend *b = backends[i];
		size_t len = strlen(b->prefix);
		if (strncmp(spec, b->prefix, len) != 0 || (b->whole && spec[len]))
			continue;
		*arg = b == &chr_tty ? spec : spec + len;
		if (b->check && b->check(name, *arg))
			return NULL;
		if (!b->check && !b->whole && !**arg)
			break;
		return b;
	}
	err_msg(-EINVAL, "%s: back end '%s' is unknown; use one of " CHARDEV_FORMS, name, spec);
	return NULL;
}

int chardev_check(const char *name, const char *spec)
{
	const char *arg;
	return !spec || !*spec || backend_find(name, spec, &arg) ? 0 : -EINVAL;
}

static void kicked(void *arg, uint32_t events)
{
	(void)events;
	chr_service(arg);
}

/* The socket of `skep console`; its absence would only show when somebody needs it, so it is an error now. */
static int open_socket(struct chardev *c)
{
	char path[512];
	if (!c->vm->rundir)
		return 0;
	snprintf(path, sizeof(path), "%s/%s.sock", c->vm->rundir, c->name);
	c->sock = chr_listen_unix(c, path);
	return c->sock ? 0 : -errno;
}

static int open_host(struct chardev *c, const char *arg)
{
	c->kick = ev_timer(c->loop, kicked, c);
	if (!c->kick)
		return -EMFILE;
	int err = open_socket(c);
	if (err)
		return err;
	err = c->be ? c->be->open(c, arg) : 0;
	if (err) {
		c->be = NULL;
		return err;
	}
	ev_arm(c->kick, 1);     /* the device hears of a back end that is always attached once the loop runs */
	return 0;
}

struct chardev *chardev_open(struct vm *vm, const char *name, const char *spec, const struct chardev_ops *ops, void *arg)
{
	const struct chr_backend *be = NULL;
	const char *be_arg = NULL;
	assert(!strchr(name, '/'));
	if (spec && *spec) {
		be = backend_find(name, spec, &be_arg);
		if (!be) {
			errno = EINVAL;
			return NULL;
		}
	}
	struct chardev *c = calloc(1, sizeof(*c));
	if (!c) {
		err_msg(-ENOMEM, "%s: out of memory", name);
		errno = ENOMEM;
		return NULL;
	}
	snprintf(c->name, sizeof(c->name), "%s", name);
	c->vm = vm;
	c->loop = vm->dry ? NULL : vm->loop;
	c->ops = ops;
	c->arg = arg;
	c->be = be;
	c->ring_len = CHARDEV_HISTORY_DEFAULT;
	pthread_mutex_init(&c->lock, NULL);
	int err = c->loop ? open_host(c, be_arg) : 0;
	if (err) {
		chardev_close(c);
		errno = -err;
		return NULL;
	}
	return c;
}

void chardev_close(struct chardev *c)
{
	if (!c)
		return;
	chr_unlisten(c->sock);
	chr_detach_all(c);
	if (c->loop && c->be && c->be->close)
		c->be->close(c);
	ev_del(c->kick);
	pthread_mutex_destroy(&c->lock);
	free(c->ring);
	free(c);
}

void chardev_set_history(struct chardev *c, size_t len)
{
	assert(!c->ring);
	c->ring_len = MAX(len, (size_t)CHARDEV_HISTORY_MIN);
}

uint64_t chr_oldest(const struct chardev *c)
{
	return c->head > c->ring_len ? c->head - c->ring_len : 0;
}

const uint8_t *chr_run(const struct chardev *c, uint64_t pos, size_t *len)
{
	size_t at = (size_t)(pos % c->ring_len);
	*len = (size_t)MIN(c->head - pos, (uint64_t)(c->ring_len - at));
	return c->ring + at;
}

static void ring_put(struct chardev *c, const uint8_t *buf, size_t len)
{
	if (!c->ring)
		c->ring = malloc(c->ring_len);
	if (!c->ring) {
		/* Without memory there is no history; clients that keep up still see everything. */
		c->ring_len = 1;
		c->ring = calloc(1, 1);
		assert(c->ring);
	}
	size_t skip = len > c->ring_len ? len - c->ring_len : 0;
	c->head += skip;
	while (skip < len) {
		size_t at = (size_t)(c->head % c->ring_len), n = MIN(len - skip, c->ring_len - at);
		memcpy(c->ring + at, buf + skip, n);
		c->head += n;
		skip += n;
	}
}

size_t chardev_write(struct chardev *c, const uint8_t *buf, size_t len)
{
	bool kick = false;
	if (len == 0)
		return 0;
	pthread_mutex_lock(&c->lock);
	uint64_t at = c->head;
	ring_put(c, buf, len);
	for (struct chr_client *cl = c->clients; cl; cl = cl->next)
		kick |= chr_client_send(cl, at, buf, len);
	if (c->loop && c->be && c->be->written)
		c->be->written(c, buf, len);
	pthread_mutex_unlock(&c->lock);
	if (kick)
		ev_arm(c->kick, 1);
	return len;
}

void chardev_rx_ready(struct chardev *c)
{
	if (atomic_load(&c->rx_blocked) && atomic_exchange(&c->rx_blocked, false))
		ev_arm(c->kick, 1);
}

void chardev_borrow(struct chardev *c, const struct chardev_ops *ops, void *arg)
{
	assert(!c->borrowed);
	c->borrowed = true;
	c->own_ops = c->ops;
	c->own_arg = c->arg;
	c->ops = ops;
	c->arg = arg;
	if (c->kick)
		ev_arm(c->kick, 1);     /* the device may have had no room */
}

void chardev_return(struct chardev *c)
{
	assert(c->borrowed);
	c->borrowed = false;
	c->ops = c->own_ops;
	c->arg = c->own_arg;
	if (c->kick)
		ev_arm(c->kick, 1);
}

void chardev_break(struct chardev *c, bool on)
{
	if (c->loop && c->be && c->be->line_break)
		c->be->line_break(c, on);
}

void chardev_receive_break(struct chardev *c)
{
	if (c->ops && c->ops->event)
		c->ops->event(c->arg, CHR_BREAK);
}

const char *chardev_name(const struct chardev *c) { return c->name; }
size_t chardev_history_len(const struct chardev *c) { return c->ring_len; }

bool chardev_attached(struct chardev *c)
{
	bool yes = false;
	pthread_mutex_lock(&c->lock);
	for (struct chr_client *cl = c->clients; cl && !yes; cl = cl->next)
		yes = !cl->out_dead;
	pthread_mutex_unlock(&c->lock);
	return yes;
}

size_t chardev_tail(struct chardev *c, uint8_t *buf, size_t len)
{
	pthread_mutex_lock(&c->lock);
	uint64_t have = c->head - chr_oldest(c), pos = c->head - MIN(have, (uint64_t)len);
	size_t total = (size_t)(c->head - pos), n;
	while (pos < c->head) {
		const uint8_t *p = chr_run(c, pos, &n);
		memcpy(buf, p, n);
		buf += n;
		pos += n;
	}
	pthread_mutex_unlock(&c->lock);
	return total;
}
