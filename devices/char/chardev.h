/*
 * Character back ends: what stands behind a serial port or a console port.
 *
 * A chardev sends every byte the device writes to everything attached to it: the back end named by its
 * specification, and whoever connects to <rundir>/<name>.sock (`skep console`).  It keeps a bounded history
 * and replays it to whoever attaches.  All clients see the output; only the one attached first has the
 * input, and when it leaves or its input ends, the next takes over.  Chardevs outlive in-process resets.
 */
#ifndef DEVICES_CHAR_CHARDEV_H
#define DEVICES_CHAR_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;
struct chardev;

enum chardev_event {
	CHR_ATTACHED,                   /* the first client is there */
	CHR_DETACHED,                   /* the last one has left */
	CHR_BREAK,                      /* the line was held low: Ctrl-A b */
};

/*
 * Called on the loop's thread, without the device's lock: the device takes dev_lock() itself.  May call
 * chardev_write().  Each may be NULL.
 */
struct chardev_ops {
	size_t (*can_rx)(void *arg);    /* bytes the device takes now; NULL: it takes none, ever */
	void (*rx)(void *arg, const uint8_t *buf, size_t len);  /* len: at most what can_rx just said */
	void (*event)(void *arg, enum chardev_event);
};

#define CHARDEV_HISTORY_DEFAULT (64u << 10)
#define CHARDEV_HISTORY_MIN 256u
/* Option row for devices with a chardev: opts = { CHARDEV_OPT_PATH, CHARDEV_OPT_HISTORY, ..., OPT_LAST }. */
#define CHARDEV_OPT_PATH { "path", OPT_STR, 0, 4096, NULL, NULL, "back end: " CHARDEV_FORMS, NULL }
#define CHARDEV_OPT_HISTORY \
	{ "history", OPT_SIZE, CHARDEV_HISTORY_MIN, 64u << 20, "64K", "bytes", "output kept, replayed to whoever attaches", NULL }
#define CHARDEV_FORMS "stdio, pty, unix=PATH[,server], tcp=ADDR:PORT, nmdm=NAME, file=PATH, null, testdev, or a tty such as /dev/ttyS0"

/*
 * Opens a back end.  `name` ("com1") names messages and the socket; no '/' in it.  spec NULL or "": history and
 * socket only.  In a dry VM the specification is checked and nothing is opened.  `ops` stays the caller's and
 * must outlive the chardev.  NULL on failure (reported), with errno set.  Main thread, before the loop runs,
 * or loop thread.
 */
struct chardev *chardev_open(struct vm *, const char *name, const char *spec, const struct chardev_ops *ops, void *arg);
/* Detaches everyone, removes sockets and links.  No thread may still use it; same threads as open.  NULL ok. */
void chardev_close(struct chardev *);
/* The grammar only: 0, or -EINVAL (reported, listing the forms). */
int chardev_check(const char *name, const char *spec);
/* Bytes of history to keep, instead of CHARDEV_HISTORY_DEFAULT; before the first write. */
void chardev_set_history(struct chardev *, size_t len);

/*
 * Sends bytes to all clients and into the history.  Any thread, the device's lock may be held; never blocks and
 * allocates nothing after the first call.  A client that does not read fast enough loses the oldest bytes of
 * its own stream.  Returns len: a chardev takes everything.
 */
size_t chardev_write(struct chardev *, const uint8_t *buf, size_t len);
/* The device has room again after can_rx() answered less than was waiting.  Any thread; cheap when nobody waits. */
void chardev_rx_ready(struct chardev *);
/* The guest holds its line low (on) or releases it: passed on to real ttys.  Any thread. */
void chardev_break(struct chardev *, bool on);
/*
 * Another user of the same line, until chardev_return(): input and events go to `ops`, which must outlive that; the
 * device behind it hears nothing meanwhile, and may still write.  Not nested.  Main thread before the loop runs, or
 * loop thread; also from within ops->rx.
 */
void chardev_borrow(struct chardev *, const struct chardev_ops *ops, void *arg);
/* The device has its line back, and input that waits.  Same threads. */
void chardev_return(struct chardev *);
/* The other end holds the line low for a moment: the device sees a break.  Loop thread. */
void chardev_receive_break(struct chardev *);
const char *chardev_name(const struct chardev *);
size_t chardev_history_len(const struct chardev *);             /* bytes kept at most */
/* Is anyone attached?  stdio, file, null, testdev and ttys always are; others while connected.  Any thread. */
bool chardev_attached(struct chardev *);
/* Copies the newest bytes of the history, at most len; returns how many.  Any thread. */
size_t chardev_tail(struct chardev *, uint8_t *buf, size_t len);

/*
 * Puts the terminal back as it was found; nothing when it was not changed.  Async-signal-safe, any thread.
 * skep calls it by itself at exit and on fatal signals.
 */
void chardev_restore_terminal(void);

#endif
