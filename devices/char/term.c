/*
 * Raw terminal with a saved state that every way out of the process restores.
 *
 * The state is one process-wide struct because a signal handler has no other way to it; `active` is the only
 * field handlers test, and it is set last and cleared first.  Signals that are ignored, blocked for a
 * signalfd, or already handled are left alone.
 */
#include "devices/char/term.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/char/chardev.h"

static struct {
	volatile sig_atomic_t active;
	int fd;
	struct termios saved, raw;
} term;

static const int fatal_signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGQUIT, SIGHUP, SIGINT, SIGTERM };

void term_restore(void)
{
	if (!term.active)
		return;
	term.active = 0;
	tcsetattr(term.fd, TCSANOW, &term.saved);
	log_set_raw_terminal(false);    /* one plain store */
}

void chardev_restore_terminal(void)
{
	term_restore();
}

/* SA_RESETHAND has put the default action back: raising the signal again ends the process as it would have. */
static void on_fatal(int sig)
{
	int err = errno;
	term_restore();
	raise(sig);
	errno = err;
}

/* The shell changed the modes while the process was stopped.  In the background they are not ours to set. */
static void on_cont(int sig)
{
	int err = errno;
	(void)sig;
	if (term.active && tcgetpgrp(term.fd) == getpgrp())
		tcsetattr(term.fd, TCSANOW, &term.raw);
	errno = err;
}

static void handle_if_default(int sig, void (*fn)(int), int flags)
{
	struct sigaction old, act = { .sa_handler = fn, .sa_flags = flags };
	sigemptyset(&act.sa_mask);
	if (sigaction(sig, NULL, &old) == 0 && !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL)
		sigaction(sig, &act, NULL);
}

int term_raw(int fd)
{
	struct termios saved;
	if (term.active)
		return -EBUSY;
	if (tcgetattr(fd, &saved) < 0)
		return -errno;
	static bool at_exit;
	if (!at_exit)
		at_exit = atexit(term_restore) == 0;
	for (size_t i = 0; i < NELEM(fatal_signals); i++)
		handle_if_default(fatal_signals[i], on_fatal, (int)SA_RESETHAND);
	handle_if_default(SIGCONT, on_cont, SA_RESTART);
	term.fd = fd;
	term.saved = term.raw = saved;
	cfmakeraw(&term.raw);
	term.active = 1;
	if (tcsetattr(fd, TCSANOW, &term.raw) < 0) {
		int err = -errno;
		term.active = 0;
		return err;
	}
	log_set_raw_terminal(true);
	return 0;
}

static unsigned key_of(uint8_t ch)
{
	switch (ch) {
	case 'x': return TERM_KEY_X;
	case 'q': return TERM_KEY_Q;
	case 'b': return TERM_KEY_B;
	case 'h': case '?': return TERM_KEY_H;
	default: return 0;
	}
}

size_t term_filter(struct term_escape *e, uint8_t *buf, size_t len, unsigned stop_at, unsigned *keys)
{
	size_t out = 0;
	*keys = 0;
	for (size_t i = 0; i < len; i++) {
		uint8_t ch = buf[i];
		if (!e->pending) {
			if (ch == TERM_ESCAPE)
				e->pending = true;
			else
				buf[out++] = ch;
			continue;
		}
		e->pending = false;
		if (ch == TERM_ESCAPE || ch == 'a')
			buf[out++] = TERM_ESCAPE;
		*keys |= key_of(ch);
		if (*keys & stop_at)
			break;
	}
	return out;
}
