/*
 * `pty`: a pseudo-terminal whose slave anybody may open, as often as they like.
 * Nothing announces the opening of a slave to the holder of the master, and an unopened one reads as hung up
 * for ever; inotify on the slave's node tells both, and where that is missing a slow timer asks.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <termios.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"
#include "devices/char/chr_int.h"

#define ASK_NS 500000000u

struct chr_pty {
	struct chardev *c;
	int master, notify;             /* notify: inotify, -1 without it */
	struct ev *ev;                  /* of notify, or the timer */
	char path[64];                  /* of the slave */
	bool attached;
	bool (*no_replay)(void *);
	void *arg;                      /* of no_replay */
};

/* Output nobody read waits on the slave's side, and the next one gets it from the history as well. */
static void drop_unread(const struct chr_pty *p)
{
	int fd = open(p->path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	tcflush(fd, TCIFLUSH);
	close(fd);
}

static void pty_gone(struct chr_client *cl)
{
	struct chr_pty *p = cl->arg;
	p->attached = false;
	drop_unread(p);
	if (p->notify < 0)
		ev_arm(p->ev, ASK_NS);
}

/* Attaches when a slave is open. */
static void pty_look(struct chr_pty *p)
{
	struct pollfd fd = { .fd = p->master, .events = POLLIN };
	if (p->attached || poll(&fd, 1, 0) < 0 || fd.revents & POLLHUP)
		return;
	int dup_fd = fcntl(p->master, F_DUPFD_CLOEXEC, 0);
	if (dup_fd < 0)
		return;
	struct chr_client proto = { .out = CHR_OUT_WRITE, .gone = pty_gone, .arg = p };
	proto.no_replay = p->no_replay && p->no_replay(p->arg);
	p->attached = chr_attach_fd(p->c, dup_fd, &proto) == 0;
}

static void pty_notified(void *arg, uint32_t events)
{
	struct chr_pty *p = arg;
	char buf[1024];
	(void)events;
	while (p->notify >= 0 && read(p->notify, buf, sizeof(buf)) > 0)
		;
	pty_look(p);
	if (p->notify < 0 && !p->attached)
		ev_arm(p->ev, ASK_NS);
}

static int pty_watch(struct chr_pty *p)
{
	p->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (p->notify >= 0 && inotify_add_watch(p->notify, p->path, IN_OPEN | IN_CLOSE) < 0) {
		close(p->notify);
		p->notify = -1;
	}
	if (p->notify >= 0)
		p->ev = ev_fd(p->c->loop, p->notify, EPOLLIN, pty_notified, p);
	else
		p->ev = ev_timer(p->c->loop, pty_notified, p);
	if (!p->ev)
		return -EMFILE;
	if (p->notify < 0)
		ev_arm(p->ev, ASK_NS);
	return 0;
}

/* A slave that was never opened does not read as hung up; opening it once makes the state certain. */
static int pty_prime(struct chr_pty *p)
{
	int fd = open(p->path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	int err = fd < 0 ? -errno : chr_tty_raw(fd);
	if (fd >= 0)
		close(fd);
	return err;
}

struct chr_pty *chr_pty_new(struct chardev *c, bool (*no_replay)(void *), void *arg)
{
	struct chr_pty *p = calloc(1, sizeof(*p));
	if (!p) {
		errno = ENOMEM;
		return NULL;
	}
	p->c = c;
	p->no_replay = no_replay;
	p->arg = arg;
	p->notify = -1;
	p->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int err;
	if (p->master < 0 || unlockpt(p->master) < 0 || ptsname_r(p->master, p->path, sizeof(p->path)) != 0)
		err = -errno;
	else
		err = pty_prime(p);
	if (err) {
		errno = -err;
		err_sys("%s: pseudo-terminal", c->name);
	} else {
		err = pty_watch(p);
	}
	if (err) {
		chr_pty_free(p);
		errno = -err;
		return NULL;
	}
	return p;
}

const char *chr_pty_path(const struct chr_pty *p)
{
	return p->path;
}

void chr_pty_free(struct chr_pty *p)
{
	if (!p)
		return;
	ev_del(p->ev);
	if (p->notify >= 0)
		close(p->notify);
	if (p->master >= 0)
		close(p->master);
	free(p);
}

/* --- the back end: the pty and a stable name for it, <rundir>/<name>.pty --- */

static void pty_link(const struct chardev *c, char *path, size_t len)
{
	snprintf(path, len, "%s/%s.pty", c->vm->rundir, c->name);
}

/* Where the operator looks for it, whatever the log level; another port may have made the terminal raw. */
static void tell_operator(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void tell_operator(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	fputs("skep: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs(isatty(STDERR_FILENO) ? "\r\n" : "\n", stderr);
	va_end(ap);
}

static int pty_open(struct chardev *c, const char *arg)
{
	char link[512];
	(void)arg;
	struct chr_pty *p = chr_pty_new(c, NULL, NULL);
	if (!p)
		return -errno;
	c->priv = p;
	log_info("char", "%s: pseudo-terminal %s", c->name, p->path);
	if (!c->vm->rundir) {
		tell_operator("%s is %s", c->name, p->path);
		return 0;
	}
	pty_link(c, link, sizeof(link));
	unlink(link);
	if (symlink(p->path, link) < 0)
		log_warn("char", "%s: link '%s': %s", c->name, link, strerror(errno));
	tell_operator("%s is %s (%s)", c->name, p->path, link);
	return 0;
}

static void pty_close(struct chardev *c)
{
	char link[512];
	chr_pty_free(c->priv);
	if (!c->vm->rundir)
		return;
	pty_link(c, link, sizeof(link));
	unlink(link);
}

const struct chr_backend chr_pty = { .prefix = "pty", .whole = true, .open = pty_open, .close = pty_close };
