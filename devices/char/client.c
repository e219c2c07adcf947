/*
 * Clients of a chardev: whoever sees its output and may type into it.  Output goes out at once when the client
 * has kept up, and otherwise from the history on the loop's thread as the descriptor takes it.  Input is read
 * only as far as the device has room, so a sender is held back by its own pipe; a terminal with escapes is
 * read ahead a little, so that Ctrl-A x works while the guest hangs.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/log.h"
#include "devices/char/chr_int.h"

/* A shared terminal that polls writable takes this much without blocking: n_tty wants 256 bytes of room. */
#define POLL_CHUNK 256
/* Bytes sent or rounds read before others get their turn. */
#define DRAIN_MAX (256u << 10)
#define READ_ROUNDS 16
/* Reports EPOLLHUP and EPOLLERR, once each, and nothing else. */
#define EV_HANGUP_ONLY ((uint32_t)EPOLLET)

static bool fd_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	return poll(&p, 1, 0) > 0;
}

/* --- output; c->lock held --- */

static ssize_t write_polled(int fd, const uint8_t *buf, size_t len)
{
	size_t done = 0;
	while (done < len && fd_ready(fd, POLLOUT)) {
		ssize_t n = write(fd, buf + done, MIN(len - done, (size_t)POLL_CHUNK));
		if (n <= 0)
			return done ? (ssize_t)done : n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* A full disk must not stop the guest: what does not fit is dropped and reported once. */
static ssize_t write_file(struct chr_client *cl, const uint8_t *buf, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(cl->out_fd, buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			if (!cl->file_err)
				cl->file_err = n < 0 ? errno : EIO;
			break;
		}
		done += (size_t)n;
	}
	return (ssize_t)len;
}

/* Bytes taken; 0 when it would block; -1 when the client is dead. */
static ssize_t out_write(struct chr_client *cl, const uint8_t *buf, size_t len)
{
	ssize_t n = -1;
	switch (cl->out) {
	case CHR_OUT_NONE: return (ssize_t)len;
	case CHR_OUT_FILE: return write_file(cl, buf, len);
	case CHR_OUT_SEND: n = send(cl->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL); break;
	case CHR_OUT_WRITE: n = write(cl->out_fd, buf, len); break;
	case CHR_OUT_POLL: n = write_polled(cl->out_fd, buf, len); break;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n;
}

bool chr_client_send(struct chr_client *cl, uint64_t at, const uint8_t *buf, size_t len)
{
	if (cl->out_dead || cl->pos != at)      /* behind: the loop is at it */
		return false;
	bool failed_before = cl->file_err;
	ssize_t n = out_write(cl, buf, len);
	if (n < 0)
		cl->out_dead = true;
	else
		cl->pos += (uint64_t)n;
	return n != (ssize_t)len || failed_before != (cl->file_err != 0);
}

/* Sends history until the client has caught up or takes no more; true when it has. */
static bool client_drain(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	for (size_t sent = 0; cl->pos < c->head && !cl->out_dead && sent < DRAIN_MAX;) {
		if (cl->pos < chr_oldest(c)) {
			cl->pos = chr_oldest(c);
			cl->lossy = true;
		}
		size_t len;
		const uint8_t *p = chr_run(c, cl->pos, &len);
		ssize_t n = out_write(cl, p, len);
		if (n < 0)
			cl->out_dead = true;
		if (n <= 0)
			break;
		cl->pos += (uint64_t)n;
		sent += (size_t)n;
	}
	return cl->pos == c->head;
}

/* --- coming and going; loop thread --- */

static void tell_attached(struct chardev *c)
{
	bool now = chardev_attached(c);
	if (now == c->told_attached)
		return;
	c->told_attached = now;
	if (c->ops && c->ops->event)
		c->ops->event(c->arg, now ? CHR_ATTACHED : CHR_DETACHED);
}

/* To the clients of the control socket. */
static void tell_client(struct chardev *c, const char *event)
{
	ctl_event(c->vm, event, json_pack("{s:s, s:i}", "port", c->name, "clients", (int)c->nclients));
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void client_free(struct chr_client *cl)
{
	ev_del(cl->in_ev);
	ev_del(cl->out_ev);
	close_fd(&cl->in_fd);
	close_fd(&cl->out_fd);
	free(cl);
}

static void client_unlink(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	pthread_mutex_lock(&c->lock);
	struct chr_client **at = &c->clients;
	while (*at != cl)
		at = &(*at)->next;
	*at = cl->next;
	c->nclients--;
	c->generation++;
	pthread_mutex_unlock(&c->lock);
}

static void client_gone(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	client_unlink(cl);
	if (cl->gone)
		cl->gone(cl);
	client_free(cl);
	tell_client(c, "console-detached");
	tell_attached(c);
}

void chr_detach_all(struct chardev *c)
{
	while (c->clients) {
		struct chr_client *cl = c->clients;
		client_unlink(cl);
		client_free(cl);
	}
}

static void client_in(void *arg, uint32_t events);

/* Full house: connections that only linger half-closed make room. */
static bool make_room(struct chardev *c)
{
	for (struct chr_client *cl = c->clients; cl && c->nclients >= CHR_CLIENTS_MAX; cl = cl->next) {
		if (cl->duplex && cl->in_dead) {
			client_gone(cl);
			break;
		}
	}
	return c->nclients < CHR_CLIENTS_MAX;
}

static void client_link(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	pthread_mutex_lock(&c->lock);
	struct chr_client **at = &c->clients;
	while (*at)
		at = &(*at)->next;
	*at = cl;
	c->nclients++;
	cl->pos = cl->no_replay ? c->head : chr_oldest(c);
	pthread_mutex_unlock(&c->lock);
}

/* Regular files and /dev/null are always ready, and epoll refuses them. */
static bool fd_pollable(int fd)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e = { .events = EPOLLIN };
	bool yes = ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0;
	if (ep >= 0)
		close(ep);
	return yes;
}

int chr_attach(struct chardev *c, const struct chr_client *proto)
{
	struct chr_client *cl = make_room(c) ? malloc(sizeof(*cl)) : NULL;
	if (!cl) {
		int in_fd = proto->in_fd, out_fd = proto->out_fd;
		close_fd(&in_fd);
		close_fd(&out_fd);
		log_info("char", "%s: a connection was refused, %u are open already", c->name, c->nclients);
		return -EBUSY;
	}
	*cl = *proto;
	cl->c = c;
	cl->in_dead = cl->in_fd < 0;
	if (cl->in_fd >= 0 && fd_pollable(cl->in_fd)) {
		cl->in_ev = ev_fd(c->loop, cl->in_fd, EPOLLIN, client_in, cl);
		if (!cl->in_ev) {
			client_free(cl);
			return -EMFILE;
		}
	}
	client_link(cl);
	tell_client(c, "console-attached");
	/* History, input that epoll does not announce, and the device's news are the kick's. */
	ev_arm(c->kick, 1);
	return 0;
}

int chr_attach_fd(struct chardev *c, int fd, const struct chr_client *like)
{
	/* epoll knows a descriptor only once, and input and output are watched separately. */
	int out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (out_fd < 0) {
		int err = err_sys("%s: connection", c->name);
		close(fd);
		return err;
	}
	struct chr_client proto = *like;
	proto.in_fd = fd;
	proto.out_fd = out_fd;
	proto.duplex = true;
	return chr_attach(c, &proto);
}

/* --- input; loop thread --- */

static size_t device_room(struct chardev *c)
{
	return c->ops && c->ops->can_rx ? c->ops->can_rx(c->arg) : 0;
}

static bool is_writer(const struct chr_client *cl)
{
	const struct chr_client *first = cl->c->clients;
	while (first && first->in_dead && !first->staged)
		first = first->next;
	return first == cl && cl->c->ops && cl->c->ops->can_rx;
}

/* Hands staged input to the device; what is left waits for chardev_rx_ready(). */
static void stage_deliver(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	while (cl->staged) {
		size_t n = device_room(c);
		if (n == 0) {
			atomic_store(&c->rx_blocked, true);
			n = device_room(c);     /* it may have made room before it could see the flag */
			if (n == 0)
				return;
			atomic_store(&c->rx_blocked, false);
		}
		n = MIN(n, cl->staged);
		c->ops->rx(c->arg, cl->stage, n);
		cl->staged -= n;
		memmove(cl->stage, cl->stage + n, cl->staged);
	}
}

/* Bytes to read now.  0: the device has no room, and the client waits. */
static size_t read_room(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	size_t space = sizeof(cl->stage) - cl->staged;
	if (cl->filter || !is_writer(cl))
		return space;
	if (cl->staged)
		return 0;
	size_t n = device_room(c);
	if (n == 0) {
		atomic_store(&c->rx_blocked, true);
		n = device_room(c);
		if (n)
			atomic_store(&c->rx_blocked, false);
	}
	return MIN(n, space);
}

static void client_took(struct chr_client *cl, size_t n)
{
	uint8_t *fresh = cl->stage + cl->staged;
	if (cl->filter)
		n = cl->filter(cl, fresh, n);
	if (is_writer(cl)) {
		cl->staged += n;
		stage_deliver(cl);
	} else if (n && !cl->told_readonly) {
		cl->told_readonly = true;
		log_info("char", "%s: input of a second client is ignored while the first one is attached", cl->c->name);
	}
}

/* End of input.  False when that was the end of the client. */
static bool input_end(struct chr_client *cl, bool hangup)
{
	cl->in_dead = true;
	if (cl->duplex && hangup) {
		client_gone(cl);
		return false;
	}
	if (cl->duplex && cl->in_ev) {
		ev_mod(cl->in_ev, EV_HANGUP_ONLY);      /* half-closed: it still reads */
	} else {
		ev_del(cl->in_ev);
		cl->in_ev = NULL;
		close_fd(&cl->in_fd);
	}
	/* The next client may type now; if it was held back, it was not by the device. */
	ev_arm(cl->c->kick, 1);
	return true;
}

static void client_block(struct chr_client *cl)
{
	cl->blocked = true;
	if (cl->in_ev)
		ev_mod(cl->in_ev, EV_HANGUP_ONLY);
}

/* Reads as long as there is input and room.  False when the client is gone. */
static bool client_pump(struct chr_client *cl)
{
	for (unsigned i = 0; i < READ_ROUNDS && !cl->in_dead; i++) {
		size_t room = read_room(cl);
		if (room == 0) {
			client_block(cl);
			return true;
		}
		if (cl->in_poll && !fd_ready(cl->in_fd, POLLIN))
			return true;
		ssize_t n = read(cl->in_fd, cl->stage + cl->staged, room);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return true;
		if (n <= 0)
			return input_end(cl, n < 0 || cl->out == CHR_OUT_WRITE);
		client_took(cl, (size_t)n);
	}
	if (!cl->in_ev && !cl->in_dead)
		ev_arm(cl->c->kick, 1);         /* nothing else announces the rest */
	return true;
}

static void client_in(void *arg, uint32_t events)
{
	struct chr_client *cl = arg;
	if (!cl->in_dead)
		client_pump(cl);
	else if (events & (EPOLLHUP | EPOLLERR))
		client_gone(cl);
}

static bool client_unblock(struct chr_client *cl)
{
	if (cl->staged && is_writer(cl))
		stage_deliver(cl);
	if (!cl->blocked)
		return cl->in_ev || cl->in_dead || client_pump(cl);
	if (cl->in_dead || (is_writer(cl) && read_room(cl) == 0))
		return true;
	cl->blocked = false;
	if (cl->in_ev)
		ev_mod(cl->in_ev, EPOLLIN);
	return client_pump(cl);
}

/* --- looking after everyone; loop thread --- */

static void client_report(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	pthread_mutex_lock(&c->lock);
	bool lossy = cl->lossy && !cl->told_lossy;
	int file_err = cl->file_err;
	cl->told_lossy |= lossy;
	if (file_err)
		cl->file_err = -1;      /* said once */
	pthread_mutex_unlock(&c->lock);
	if (lossy)
		log_info("char", "%s: a client reads too slowly and misses output", c->name);
	if (file_err > 0)
		log_warn("char", "%s: its file takes no more output: %s", c->name, strerror(file_err));
}

static void client_out(void *arg, uint32_t events);

/* False when the client is gone. */
static bool client_flush(struct chr_client *cl)
{
	struct chardev *c = cl->c;
	pthread_mutex_lock(&c->lock);
	bool done = client_drain(cl), dead = cl->out_dead;
	pthread_mutex_unlock(&c->lock);
	client_report(cl);
	if (dead && (cl->duplex || cl->in_dead)) {
		client_gone(cl);
		return false;
	}
	if (!done && !dead && !cl->out_ev)
		cl->out_ev = ev_fd(c->loop, cl->out_fd, EPOLLOUT, client_out, cl);
	else if (cl->out_ev)
		ev_mod(cl->out_ev, done || dead ? 0 : EPOLLOUT);
	return true;
}

static void client_out(void *arg, uint32_t events)
{
	(void)events;
	client_flush(arg);
}

void chr_service(struct chardev *c)
{
	/* Whenever somebody has left, `next` may have been the one: the walk starts over. */
	for (struct chr_client *cl = c->clients, *next; cl; cl = next) {
		unsigned generation = c->generation;
		next = cl->next;
		if (client_flush(cl))
			client_unblock(cl);
		if (c->generation != generation)
			next = c->clients;
	}
	chr_listen_retry(c->sock);
	tell_attached(c);
}
