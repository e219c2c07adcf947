/*
 * `stdio`: the terminal, pipes or files skep was started with.
 *
 * O_NONBLOCK is a property of the open file description, which the shell and other programs share, so it is never
 * set on the inherited descriptors.  Where the host allows, they are opened anew through /proc (ttys, pipes and
 * FIFOs give a description of their own); sockets are written with MSG_DONTWAIT; what remains is asked with
 * poll() before each access.  A regular file on standard output is written as it is, since a second
 * description would have an offset of its own.
 *
 * On a terminal, keys behind Ctrl-A are skep's: x ends the VM, b sends a break, h helps.  In pipes every byte
 * is the guest's, and the end of input only ends the input.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"
#include "devices/char/chr_int.h"
#include "devices/char/term.h"

struct stdio {
	struct term_escape escape;
};

/* Two VMs of one process, or two ports of one VM, cannot share the one standard input. */
static struct { _Atomic(struct chardev *) c; } owner;

static const char help[] =
	"\r\n"
	"Ctrl-A x   end the VM\r\n"
	"Ctrl-A b   send a break\r\n"
	"Ctrl-A h   this help\r\n"
	"Ctrl-A a   send Ctrl-A (also Ctrl-A Ctrl-A)\r\n";

static size_t stdio_filter(struct chr_client *cl, uint8_t *buf, size_t len)
{
	struct chardev *c = cl->c;
	struct stdio *s = cl->arg;
	unsigned keys;
	len = term_filter(&s->escape, buf, len, TERM_KEY_X, &keys);
	if (keys & TERM_KEY_H) {
		/* To this client alone: help is no part of the guest's output. */
		ssize_t n = write(cl->out_fd, help, sizeof(help) - 1);
		(void)n;
	}
	if (keys & TERM_KEY_B && c->ops && c->ops->event)
		c->ops->event(c->arg, CHR_BREAK);
	if (keys & TERM_KEY_X)
		vm_request(c->vm, CAUSE_SIGNAL, NULL, "Ctrl-A x");
	return len;
}

/* A non-blocking description of our own; -1 where there is none to be had. */
static int reopen(int fd, int flags)
{
	char path[32];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static bool can_reopen(const struct stat *st)
{
	return S_ISCHR(st->st_mode) || S_ISFIFO(st->st_mode);
}

/* -1 when standard input is closed: the port then has no input. */
static void open_input(struct chr_client *cl)
{
	struct stat st;
	if (fstat(STDIN_FILENO, &st) < 0)
		return;
	cl->in_fd = can_reopen(&st) ? reopen(STDIN_FILENO, O_RDONLY) : -1;
	if (cl->in_fd < 0) {
		cl->in_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
		cl->in_poll = true;
	}
}

static void open_output(struct chr_client *cl)
{
	struct stat st;
	if (fstat(STDOUT_FILENO, &st) < 0)
		return;
	cl->out = CHR_OUT_WRITE;
	cl->out_fd = can_reopen(&st) ? reopen(STDOUT_FILENO, O_WRONLY) : -1;
	if (cl->out_fd >= 0)
		return;
	cl->out_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
	if (cl->out_fd < 0)
		cl->out = CHR_OUT_NONE;
	else if (S_ISREG(st.st_mode))
		cl->out = CHR_OUT_FILE;
	else
		cl->out = S_ISSOCK(st.st_mode) ? CHR_OUT_SEND : CHR_OUT_POLL;
}

static int stdio_open(struct chardev *c, const char *arg)
{
	struct chardev *nobody = NULL;
	(void)arg;
	if (!atomic_compare_exchange_strong(&owner.c, &nobody, c))
		return err_msg(-EBUSY, "%s: stdio already belongs to %s; give one of them pty or unix=PATH", c->name, nobody->name);
	struct stdio *s = calloc(1, sizeof(*s));
	if (!s) {
		atomic_store(&owner.c, NULL);
		return -ENOMEM;
	}
	signal(SIGPIPE, SIG_IGN);       /* a reader that goes away ends a stream, not the VM */
	struct chr_client proto = { .in_fd = -1, .out_fd = -1, .out = CHR_OUT_NONE, .arg = s };
	open_input(&proto);
	open_output(&proto);
	if (term_raw(STDIN_FILENO) == 0)
		proto.filter = stdio_filter;
	int err = chr_attach(c, &proto);
	if (err) {
		term_restore();
		free(s);
		atomic_store(&owner.c, NULL);
		return err;
	}
	c->priv = s;
	return 0;
}

static void stdio_close(struct chardev *c)
{
	term_restore();
	free(c->priv);
	atomic_store(&owner.c, NULL);
}

const struct chr_backend chr_stdio = { .prefix = "stdio", .whole = true, .open = stdio_open, .close = stdio_close };
