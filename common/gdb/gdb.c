/*
 * The server for GDB, its remote serial protocol [GDB E]: listening, the one client, packets in and out.  What packets do is
 * in packet.c, how the guest runs and stops in run.c.
 *
 * A client is not trusted to be well: what it sends is bounded by one packet, and nothing more is taken from it while it
 * leaves much unread.  When it goes, the guest runs on as if there had never been a debugger.
 */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/gdb/gdb.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/sock.h"

#define INTERRUPT 0x03
#define RETRY_NS 500000000u

const struct gdb_ops gdb_kvm_ops = {
	.get = arch_debug_get, .set = arch_debug_set, .mmu = arch_debug_mmu, .arm = arch_debug_arm, .exit = arch_debug_exit,
	.reinject = arch_debug_reinject, .mp_state = kvm_mp_state,
};

/* --- out --- */

static size_t unread(const struct gdb *g)
{
	return g->out_len - g->out_off;
}

static void watch(struct gdb *g)
{
	const bool in = g->in_off == g->in_len && unread(g) < OUT_HIGH && !g->leaving;

	if (g->fd >= 0)
		ev_mod(g->ev, (in ? EPOLLIN : 0) | (unread(g) || g->leaving ? EPOLLOUT : 0));
}

static void client_gone(struct gdb *g)
{
	if (g->fd < 0)
		return;
	ev_del(g->ev);
	close(g->fd);
	g->fd = -1;
	g->in_len = g->in_off = g->out_len = g->out_off = g->reply_len = 0;
	log_info("gdb", "GDB has left");
	if (g->killed)
		vm_request(g->vm, CAUSE_SIGNAL, NULL, "'kill' of GDB");
	else
		gdb_detach(g);
}

/* As much as the client takes; false: it is gone. */
static bool flush(struct gdb *g)
{
	while (g->fd >= 0 && unread(g)) {
		const ssize_t n = send(g->fd, g->out + g->out_off, unread(g), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0)
			client_gone(g);
		else
			g->out_off += (size_t)n;
	}
	g->out_len = g->out_off = 0;
	if (g->leaving)
		client_gone(g);
	return g->fd >= 0;
}

static bool out_put(struct gdb *g, const void *data, size_t len)
{
	char *p;

	if (g->out_off) {
		memmove(g->out, g->out + g->out_off, unread(g));
		g->out_len = unread(g);
		g->out_off = 0;
	}
	if (g->fd < 0 || g->out_len + len > OUT_MAX)
		return false;
	if (g->out_len + len > g->out_size) {
		p = realloc(g->out, 2 * (g->out_len + len));
		if (!p)
			return false;
		g->out = p;
		g->out_size = 2 * (g->out_len + len);
	}
	memcpy(g->out + g->out_len, data, len);
	g->out_len += len;
	return true;
}

/* "$contents#checksum" [GDB E.1]. */
static void frame(struct gdb *g, const char *data, size_t len)
{
	char end[4];

	snprintf(end, sizeof(end), "#%02x", byte_sum(data, len));
	if (!out_put(g, "$", 1) || !out_put(g, data, len) || !out_put(g, end, 3))
		g->leaving = true;      /* half a packet cannot be taken back */
	watch(g);
}

void gdb_send(struct gdb *g)
{
	frame(g, g->reply, g->reply_len);
}

void gdb_text(struct gdb *g, const char *fmt, ...)
{
	const size_t room = sizeof(g->reply) - g->reply_len;
	va_list ap;

	va_start(ap, fmt);
	const int n = vsnprintf(g->reply + g->reply_len, room, fmt, ap);
	va_end(ap);
	g->reply_len += MIN((size_t)MAX(n, 0), room - 1);
}

static char *hex(char *to, const uint8_t *p, size_t len)
{
	for (; len--; p++) {
		*to++ = "0123456789abcdef"[*p >> 4];
		*to++ = "0123456789abcdef"[*p & 15];
	}
	return to;
}

void gdb_hex(struct gdb *g, const void *data, size_t len)
{
	char *to = g->reply + g->reply_len;

	len = MIN(len, (PACKET_MAX - g->reply_len) / 2);
	g->reply_len += (size_t)(hex(to, data, len) - to);
}

void gdb_say(struct gdb *g, const char *text, size_t len)
{
	char line[1 + 2 * 512];

	line[0] = 'O';
	for (size_t n; len && unread(g) < OUT_MAX / 2; text += n, len -= n) {
		n = MIN(len, 512u);
		frame(g, line, (size_t)(hex(line + 1, (const uint8_t *)text, n) - line));
	}
}

/* --- in --- */

static void packet_end(struct gdb *g)
{
	if (!g->no_ack && g->sum != g->sum_said) {
		out_put(g, "-", 1);
		return;
	}
	if (!g->no_ack)
		out_put(g, "+", 1);
	if (!g->too_long) {
		gdb_packet(g);
		return;
	}
	g->reply_len = 0;
	gdb_text(g, "E%02x", EMSGSIZE);
	gdb_send(g);
}

static void idle_byte(struct gdb *g, uint8_t c)
{
	if (c == INTERRUPT)
		gdb_interrupt(g);
	else if (c == '-' && !g->no_ack && g->reply_len)
		gdb_send(g);            /* it has not understood the last one */
}

static uint8_t nibble(uint8_t c)
{
	return c <= '9' ? c & 15 : (c & 7) + 9;
}

static void in_byte(struct gdb *g, uint8_t c)
{
	if (c == '$' && g->rx <= RX_BODY) {
		g->rx = RX_BODY;
		g->body_len = 0;
		g->too_long = false;
		g->sum = 0;
	} else if (g->rx == RX_IDLE) {
		idle_byte(g, c);
	} else if (g->rx == RX_BODY && c == '#') {
		g->rx = RX_SUM1;
	} else if (g->rx == RX_BODY) {
		g->sum = (uint8_t)(g->sum + c);
		if (g->body_len < PACKET_MAX)
			g->body[g->body_len++] = (char)c;
		else
			g->too_long = true;
	} else if (g->rx == RX_SUM1) {
		g->sum_said = (uint8_t)(nibble(c) << 4);
		g->rx = RX_SUM2;
	} else {
		g->sum_said |= nibble(c) & 15;
		g->rx = RX_IDLE;
		packet_end(g);
	}
}

static void on_client(void *arg, uint32_t events)
{
	struct gdb *g = arg;
	ssize_t n = 1;

	if (events & EPOLLIN && g->in_off == g->in_len) {
		n = recv(g->fd, g->in, sizeof(g->in), MSG_DONTWAIT);
		g->in_off = 0;
		g->in_len = n > 0 ? (size_t)n : 0;
	}
	do {
		while (g->in_off < g->in_len && unread(g) < OUT_HIGH && !g->leaving)
			in_byte(g, (uint8_t)g->in[g->in_off++]);
		if (!flush(g))
			return;
	} while (g->in_off < g->in_len && unread(g) < OUT_HIGH && !g->leaving);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) || (events & (EPOLLHUP | EPOLLERR) && !(events & EPOLLIN)))
		client_gone(g);
	else
		watch(g);
}

int gdb_client(struct gdb *g, int fd)
{
	if (g->fd < 0) {
		g->ev = ev_fd(g->vm->loop, fd, EPOLLIN, on_client, g);
		if (g->ev) {
			g->fd = fd;
			g->rx = RX_IDLE;
			g->no_ack = g->leaving = g->extended = g->swbreak = g->hwbreak = g->phys = g->killed = false;
			gdb_attach(g);
			return 0;
		}
	}
	close(fd);
	return -EBUSY;
}

/* --- listening --- */

static void on_retry(void *arg, uint32_t events UNUSED)
{
	struct gdb *g = arg;

	ev_mod(g->listen_ev, EPOLLIN);
}

static void on_listen(void *arg, uint32_t events UNUSED)
{
	struct gdb *g = arg;
	const int fd = accept4(g->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;

	if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
		log_warn("gdb", "a connection waits: %s", strerror(errno));
		ev_mod(g->listen_ev, 0);        /* the loop would spin on what it cannot take */
		ev_arm(g->retry, RETRY_NS);
	}
	if (fd < 0)
		return;
	if (!g->path) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	}
	log_info("gdb", gdb_client(g, fd) ? "a second GDB is turned away" : "GDB has connected; the guest stops");
}

static int bind_tcp(const struct conf *conf)
{
	const unsigned port = (unsigned)conf_u64(conf, "gdb.port");
	const char *addr = conf_str(conf, "gdb.address");
	struct sock_addr a;
	char text[280];
	int fd;

	snprintf(text, sizeof(text), strchr(addr, ':') ? "[%s]:%u" : "%s:%u", strcmp(addr, "localhost") ? addr : "", port);
	if (!sock_parse(text, &a))
		return err_msg(-EINVAL, "gdb.address: '%s' is no address; write localhost, or one in numbers such as 127.0.0.1 or ::1", addr);
	fd = sock_tcp(&a);
	if (fd < 0)
		return err_msg(fd, "gdb: listening at port %u of '%s': %s; %s", port, addr, strerror(-fd),
			       fd == -EACCES ? "a port from 1024 on needs no privilege" : "give -G another [ADDR:]PORT");
	if (!a.loopback)
		log_warn("gdb", "gdb.address: whoever reaches port %u of '%s' has the guest in his hands; use a loopback address and a tunnel",
			 port, addr);
	return fd;
}

static int listen_at(struct gdb *g, const struct conf *conf)
{
	const char *path = conf_str(conf, "gdb.path");

	if (path && *path) {
		g->listen_fd = sock_unix("gdb", path);
		if (g->listen_fd >= 0)
			g->path = strdup(path);
	} else {
		g->listen_fd = bind_tcp(conf);
	}
	if (g->listen_fd < 0)
		return g->listen_fd;
	if (listen(g->listen_fd, 2) < 0)
		return err_sys("gdb: listening");
	g->listen_ev = ev_fd(g->vm->loop, g->listen_fd, EPOLLIN, on_listen, g);
	return g->listen_ev ? 0 : -ENOMEM;
}

struct gdb *gdb_new(struct vm *vm, const struct gdb_ops *ops)
{
	struct gdb *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	pthread_mutex_init(&g->lock, NULL);
	g->vm = vm;
	g->ops = ops;
	g->arch = vm->arch->debug;
	g->fd = g->listen_fd = g->over = -1;
	g->vcpus = calloc(vm->nvcpus, sizeof(*g->vcpus));
	g->kick = ev_timer(vm->loop, gdb_on_kick, g);
	g->retry = ev_timer(vm->loop, on_retry, g);
	if (g->vcpus && g->kick && g->retry)
		return g;
	gdb_stop(g);
	return NULL;
}

int gdb_start(struct vm *vm, struct gdb **out)
{
	const char *path = conf_str(vm->conf, "gdb.path");
	const bool wanted = (path && *path) || conf_u64(vm->conf, "gdb.port"), wait = conf_bool(vm->conf, "gdb.wait");
	struct gdb *g;
	int err;

	*out = NULL;
	if (!wanted)
		return wait ? err_msg(-EINVAL, "gdb.wait: there is no debug server to wait for; give -G w[ADDR:]PORT") : 0;
	g = gdb_new(vm, &gdb_kvm_ops);
	err = g ? listen_at(g, vm->conf) : -ENOMEM;
	if (err) {
		gdb_stop(g);
		return err;
	}
	if (wait) {
		vm_hold(vm, HOLD_DEBUG);
		vm_state_set(vm, VM_PAUSED, VM_PAUSED);
		log_info("gdb", "the guest waits for GDB");
	}
	*out = g;
	return 0;
}

void gdb_stop(struct gdb *g)
{
	if (!g)
		return;
	if (g->fd >= 0) {
		ev_del(g->ev);
		close(g->fd);
	}
	ev_del(g->listen_ev);
	if (g->listen_fd >= 0)
		close(g->listen_fd);
	if (g->path)
		unlink(g->path);
	ev_del(g->kick);
	ev_del(g->retry);
	pthread_mutex_destroy(&g->lock);
	free(g->path);
	free(g->out);
	free(g->target);
	free(g->threads);
	free(g->vcpus);
	free(g);
}

/* W and X are answers to what has let the guest run [GDB E.3]; GDB sees the connection end in either case. */
void gdb_vm_ended(struct gdb *g, int status)
{
	if (!g || g->fd < 0)
		return;
	g->reply_len = 0;
	gdb_text(g, status > STATUS_SIGNAL ? "X%02x" : "W%02x", (status > STATUS_SIGNAL ? status - STATUS_SIGNAL : status) & 0xff);
	if (g->running || g->run_wanted)
		gdb_send(g);
	g->killed = g->attached = false;        /* there is nothing left to let go */
	g->leaving = true;
	if (flush(g))
		client_gone(g);
}
