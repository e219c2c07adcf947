/*
 * Back ends that are one open file: a host terminal by its path, `file=` and `null`.
 * A tty is set raw and put back on close; its speed is left as the operator set it.  A break the guest sends
 * is passed on; one that is received arrives as a NUL byte.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "common/log.h"
#include "devices/char/chr_int.h"

int chr_tty_raw(int fd)
{
	struct termios t;
	if (tcgetattr(fd, &t) < 0)
		return -errno;
	cfmakeraw(&t);
	t.c_cflag |= CLOCAL | CREAD;
	return tcsetattr(fd, TCSANOW, &t) < 0 ? -errno : 0;
}

int chr_tty_open(const char *name, const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_sys("%s: terminal '%s': open", name, path);
	if (!isatty(fd)) {
		close(fd);
		return err_msg(-ENOTTY, "%s: '%s' is not a terminal; for a file write file=%s, for a socket unix=%s",
			       name, path, path, path);
	}
	return fd;
}

struct tty {
	int fd;                         /* kept to restore the modes and for breaks */
	struct termios saved;
};

static void tty_close(struct chardev *c)
{
	struct tty *t = c->priv;
	tcsetattr(t->fd, TCSANOW, &t->saved);
	close(t->fd);
	free(t);
}

static void tty_gone(struct chr_client *cl)
{
	log_warn("char", "%s: its terminal hung up", cl->c->name);
}

static int tty_open(struct chardev *c, const char *path)
{
	int fd = chr_tty_open(c->name, path);
	if (fd < 0)
		return fd;
	struct tty *t = calloc(1, sizeof(*t));
	int own = t ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (own < 0 || tcgetattr(fd, &t->saved) < 0 || chr_tty_raw(fd) < 0) {
		int err = err_sys("%s: terminal '%s'", c->name, path);
		if (own >= 0)
			close(own);
		close(fd);
		free(t);
		return err;
	}
	t->fd = own;
	c->priv = t;
	struct chr_client proto = { .out = CHR_OUT_WRITE, .gone = tty_gone };
	int err = chr_attach_fd(c, fd, &proto);
	if (err)
		tty_close(c);
	return err;
}

static void tty_break(struct chardev *c, bool on)
{
	struct tty *t = c->priv;
	ioctl(t->fd, on ? TIOCSBRK : TIOCCBRK);         /* no matter when a pty refuses */
}

const struct chr_backend chr_tty = { .prefix = "/", .open = tty_open, .close = tty_close, .line_break = tty_break };

/* --- file and null --- */

static int file_open(struct chardev *c, const char *path)
{
	/* O_NONBLOCK: a FIFO without a reader is refused rather than waited for. */
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = err_sys("%s: file '%s': open", c->name, path);
		if (fd >= 0)
			close(fd);
		return err;
	}
	struct chr_client proto = { .in_fd = -1, .out_fd = fd, .out = S_ISREG(st.st_mode) ? CHR_OUT_FILE : CHR_OUT_WRITE };
	return chr_attach(c, &proto);
}

static int null_open(struct chardev *c, const char *arg)
{
	(void)arg;
	struct chr_client proto = { .in_fd = -1, .out_fd = -1, .out = CHR_OUT_NONE };
	return chr_attach(c, &proto);
}

const struct chr_backend chr_file = { .prefix = "file=", .open = file_open };
const struct chr_backend chr_null = { .prefix = "null", .whole = true, .open = null_open };
