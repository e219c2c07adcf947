/*
 * The controlling terminal in raw mode, and the escape keys typed there.  Shared by the stdio back end and
 * `skep console`.  A terminal belongs to the process, so its saved state is process-wide.
 */
#ifndef DEVICES_CHAR_TERM_H
#define DEVICES_CHAR_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Makes a terminal raw until term_restore(), which also runs at exit() and on fatal signals; SIGCONT makes it
 * raw again.  One terminal per process.  0, -ENOTTY (not reported), -EBUSY, -errno.  Main thread.
 */
int term_raw(int fd);
/* Async-signal-safe, any thread. */
void term_restore(void);

#define TERM_ESCAPE 0x01                /* Ctrl-A */
enum { TERM_KEY_X = 1, TERM_KEY_Q = 2, TERM_KEY_B = 4, TERM_KEY_H = 8 };
struct term_escape {
	bool pending;                   /* Ctrl-A was the last byte */
};
/*
 * Takes escape sequences out of typed input, in place: returns what is left of len, and in *keys the TERM_KEY_*
 * seen.  Ctrl-A twice, or Ctrl-A a, is one Ctrl-A; other keys after Ctrl-A are swallowed.  Input behind a key
 * named in `stop_at` is dropped.
 */
size_t term_filter(struct term_escape *, uint8_t *buf, size_t len, unsigned stop_at, unsigned *keys);

#endif
