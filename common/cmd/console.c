/*
 * `skep console NAME [PORT]`: attaches standard input and output to a console of a running VM, through the socket
 * in its run directory.  A terminal becomes raw, and Ctrl-A x or Ctrl-A q detach.  In pipes, the end of input closes
 * only that direction: what the VM says is printed until it ends.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cmd/cmd.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/vm.h"
#include "devices/char/term.h"

#define DEFAULT_PORT "com1"
#define SUFFIX ".sock"

static const char help[] =
	"\r\n"
	"Ctrl-A x   leave the console (also Ctrl-A q); the VM goes on\r\n"
	"Ctrl-A h   this help\r\n"
	"Ctrl-A a   send Ctrl-A (also Ctrl-A Ctrl-A)\r\n";

struct console {
	int sock;
	bool raw;
	bool in_open;                   /* standard input has not ended */
	bool leave;
	struct term_escape escape;
	uint8_t out[4096];              /* towards the VM */
	size_t out_len;
};

static bool port_name(const char *file, char *port, size_t cap)
{
	size_t len = strlen(file), tail = strlen(SUFFIX);
	if (len <= tail || strcmp(file + len - tail, SUFFIX) != 0 || len - tail >= cap)
		return false;
	memcpy(port, file, len - tail);
	port[len - tail] = '\0';
	return true;
}

/*
 * The default: com1 where there is one, else the first by name.  In `all`, every port for a message.
 * -ENOENT: none.
 */
static int list_ports(const char *dir, char *first, size_t cap, char *all, size_t all_cap)
{
	struct dirent **e;
	int n = scandir(dir, &e, NULL, alphasort);
	size_t used = 0;
	if (n < 0)
		return -errno;
	first[0] = all[0] = '\0';
	for (int i = 0; i < n; i++) {
		char port[64];
		if (port_name(e[i]->d_name, port, sizeof(port))) {
			if (!first[0] || strcmp(port, DEFAULT_PORT) == 0)
				snprintf(first, cap, "%s", port);
			if (used < all_cap)
				used += (size_t)snprintf(all + used, all_cap - used, "%s%s", used ? ", " : "", port);
		}
		free(e[i]);
	}
	free(e);
	return first[0] ? 0 : -ENOENT;
}

static int connect_port(const char *vm, const char *dir, const char *port, const char *ports)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s" SUFFIX, dir, port);
	if (n < 0 || (size_t)n >= sizeof(sa.sun_path))
		return err_msg(-ENAMETOOLONG, "console of '%s': socket path '%s/%s" SUFFIX "' is too long", vm, dir, port);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys("console of '%s'", vm);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	int err = errno;
	close(fd);
	if (err == ENOENT)
		return err_msg(-err, "VM '%s' has no port '%s'; it has %s", vm, port, ports);
	if (err == ECONNREFUSED)
		return err_msg(-err, "VM '%s' is not running; `skep list` shows those that are", vm);
	if (err == EACCES)
		return err_msg(-err, "console of '%s': no permission; run as the user who started it, or as root", vm);
	return err_msg(-err, "console of '%s': %s: %s", vm, sa.sun_path, strerror(err));
}

/* Socket of the console, or -errno (reported). */
static int open_console(const char *vm, const char *port)
{
	char first[64], ports[512], why[96];
	if (rundir_name_check(vm, why, sizeof(why)))
		return err_msg(-EINVAL, "'%s' is not the name of a VM: %s", vm, why);
	char *dir = rundir_path(vm);
	int err = list_ports(dir, first, sizeof(first), ports, sizeof(ports)), fd;
	if (err == -EACCES)
		fd = err_msg(err, "console of '%s': no permission for '%s'; run as the user who started it, or as root", vm, dir);
	else if (err)
		fd = err_msg(err, "VM '%s' is not running; `skep list` shows those that are", vm);
	else
		fd = connect_port(vm, dir, port ? port : first, ports);
	free(dir);
	return fd;
}

/* --- the session --- */

static bool write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;
	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void read_input(struct console *c)
{
	unsigned keys = 0;
	ssize_t n = read(STDIN_FILENO, c->out + c->out_len, sizeof(c->out) - c->out_len);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		c->in_open = false;
		return;
	}
	size_t len = (size_t)n;
	if (c->raw)
		len = term_filter(&c->escape, c->out + c->out_len, len, TERM_KEY_X | TERM_KEY_Q, &keys);
	c->out_len += len;
	if (keys & TERM_KEY_H)
		write_all(STDOUT_FILENO, help, sizeof(help) - 1);
	c->leave = keys & (TERM_KEY_X | TERM_KEY_Q);
}

/* False when the connection is over. */
static bool send_input(struct console *c)
{
	ssize_t n = send(c->sock, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->out_len -= (size_t)n;
	memmove(c->out, c->out + n, c->out_len);
	return true;
}

/* 1: go on, 0: the VM closed the console, -errno. */
static int show_output(struct console *c)
{
	char buf[16384];
	ssize_t n = recv(c->sock, buf, sizeof(buf), MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 1 : errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	return write_all(STDOUT_FILENO, buf, (size_t)n) ? 1 : -errno;
}

static int session(struct console *c)
{
	bool half_closed = false;
	while (!c->leave) {
		struct pollfd p[2] = {
			{ .fd = c->sock, .events = (short)(POLLIN | (c->out_len ? POLLOUT : 0)) },
			{ .fd = c->in_open && c->out_len < sizeof(c->out) ? STDIN_FILENO : -1, .events = POLLIN },
		};
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			return err_sys("console: poll");
		if (p[0].revents & POLLOUT && !send_input(c))
			c->in_open = false;
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR)) {
			int more = show_output(c);
			if (more <= 0)
				return more;
		}
		if (p[1].revents)
			read_input(c);
		if (!c->in_open && !c->out_len && !half_closed) {
			shutdown(c->sock, SHUT_WR);
			half_closed = true;
		}
	}
	/* Typed before Ctrl-A x: it still counts. */
	while (c->out_len && send_input(c) && poll(&(struct pollfd){ .fd = c->sock, .events = POLLOUT }, 1, 100) > 0)
		;
	return 0;
}

int cmd_console(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		char *what[] = { "help", "console", NULL };
		return cmd_help(2, what);
	}
	if (argc < 2 || argc > 3 || argv[1][0] == '-')
		return cmd_usage("console", "write 'skep console NAME [PORT]'");
	struct console c = { .in_open = true };
	c.sock = open_console(argv[1], argv[2]);
	if (c.sock < 0)
		return c.sock == -EINVAL ? STATUS_USAGE : STATUS_REFUSED;
	signal(SIGPIPE, SIG_IGN);
	c.raw = term_raw(STDIN_FILENO) == 0;
	if (c.raw)
		fprintf(stderr, "connected to %s; Ctrl-A x leaves, Ctrl-A h helps\r\n", argv[1]);
	int err = session(&c);
	term_restore();
	close(c.sock);
	if (c.raw)
		fprintf(stderr, "\n%s %s\n", c.leave ? "detached from" : "console closed by", argv[1]);
	return err ? STATUS_FAILED : 0;
}
