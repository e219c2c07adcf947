/*
 * Inside of the character back ends: chardev.c (history, API), client.c (who is attached), one file per
 * back end.  Threads: a client list changes on the loop's thread only, under c->lock; chardev_write() walks it
 * on any thread under c->lock.  The device's lock is taken before c->lock, so ops are called without c->lock.
 */
#ifndef DEVICES_CHAR_CHR_INT_H
#define DEVICES_CHAR_CHR_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "common/loop.h"
#include "devices/char/chardev.h"

#define CHR_CLIENTS_MAX 16
#define CHR_STAGE 1024

/*
 * A form of specification.  Rows are tried in order; `prefix` is compared exactly when `whole` is set.
 * check: grammar of what follows the prefix, 0 or -EINVAL (reported); NULL: anything but nothing.
 * open: 0 or -errno (reported).  close: everything open made except its clients; priv may be NULL.
 */
struct chr_backend {
	const char *prefix;
	bool whole;
	int (*check)(const char *name, const char *arg);
	int (*open)(struct chardev *, const char *arg);
	void (*close)(struct chardev *);
	void (*line_break)(struct chardev *, bool on);
	/* Every byte the device sends, c->lock held, on any thread; NULL: the clients are all there is. */
	void (*written)(struct chardev *, const uint8_t *buf, size_t len);
};
extern const struct chr_backend chr_stdio, chr_pty, chr_unix, chr_socket, chr_tcp, chr_nmdm, chr_nmdm_dev;
extern const struct chr_backend chr_file, chr_null, chr_testdev, chr_tty;

/* How bytes leave a client without ever blocking. */
enum chr_out {
	CHR_OUT_NONE,
	CHR_OUT_SEND,                   /* socket */
	CHR_OUT_WRITE,                  /* O_NONBLOCK on a description of our own */
	CHR_OUT_POLL,                   /* a shared description that must not get O_NONBLOCK: asked before each write */
	CHR_OUT_FILE,                   /* regular file: takes everything */
};

struct chr_client {
	struct chardev *c;
	struct chr_client *next;        /* in order of arrival */
	int in_fd, out_fd;              /* its own; -1: none */
	enum chr_out out;
	bool duplex;                    /* a hang-up of in_fd is the end of the client: sockets and ttys */
	bool in_poll;                   /* in_fd may block: ask before each read */
	bool no_replay;                 /* not a reader but another machine: what was said before is not for it */
	/* Takes escapes out of input, in place; returns what is left of len.  NULL: none. */
	size_t (*filter)(struct chr_client *, uint8_t *buf, size_t len);
	void (*gone)(struct chr_client *);      /* told before the client is freed by a hang-up; NULL: nobody */
	void *arg;                      /* for filter and gone */

	/* client.c */
	struct ev *in_ev, *out_ev;
	uint64_t pos;                   /* next byte to send, counted as c->head is; under c->lock */
	bool out_dead;                  /* under c->lock */
	bool in_dead, blocked, told_readonly;
	bool lossy, told_lossy;         /* under c->lock */
	int file_err;                   /* under c->lock */
	uint8_t stage[CHR_STAGE];       /* read and filtered, waiting for room in the device */
	size_t staged;
};

struct chr_listener {
	struct chardev *c;
	int fd;
	struct ev *ev;
	char *path;                     /* to unlink; NULL for TCP */
	bool paused;                    /* out of descriptors: tries again at the next kick */
};

struct chardev {
	struct vm *vm;
	struct loop *loop;              /* NULL: dry, history only */
	char name[48];
	const struct chardev_ops *ops;
	void *arg;
	const struct chardev_ops *own_ops;      /* while borrowed: the device's */
	void *own_arg;
	bool borrowed;
	const struct chr_backend *be;
	void *priv;                     /* the back end's */
	struct chr_listener *sock;      /* <rundir>/<name>.sock */
	struct ev *kick;                /* brings work from other threads to the loop's */
	pthread_mutex_t lock;
	uint8_t *ring;
	size_t ring_len;
	uint64_t head;                  /* bytes ever written; byte n is at ring[n % ring_len] */
	struct chr_client *clients;
	unsigned nclients, generation;  /* generation: counts departures */
	atomic_bool rx_blocked;         /* input waits for chardev_rx_ready() */
	bool told_attached;
};

/* --- chardev.c; c->lock held --- */
uint64_t chr_oldest(const struct chardev *);
/* The longest run of history from `pos` on that lies in one piece. */
const uint8_t *chr_run(const struct chardev *, uint64_t pos, size_t *len);

/* --- client.c --- */
/*
 * Attaches what *proto describes (descriptors, out, duplex, filter, gone, arg); the descriptors become the
 * client's, also on failure.  Replays the history.  0 or -errno (reported).  Loop thread or before the loop.
 */
int chr_attach(struct chardev *, const struct chr_client *proto);
/* As chr_attach for one bidirectional non-blocking descriptor; proto says the rest. */
int chr_attach_fd(struct chardev *, int fd, const struct chr_client *proto);
void chr_detach_all(struct chardev *);
/* c->lock held: sends new output, which begins at stream position `at`; true when the loop has to look after the client. */
bool chr_client_send(struct chr_client *, uint64_t at, const uint8_t *buf, size_t len);
/* The kick: attends to every client. */
void chr_service(struct chardev *);

/* --- listen.c --- */
/* Listening sockets whose connections become clients.  NULL on failure (reported), errno set. */
struct chr_listener *chr_listen_unix(struct chardev *, const char *path);
void chr_unlisten(struct chr_listener *);       /* NULL ok */
void chr_listen_retry(struct chr_listener *);   /* NULL ok; after a pause */

/* --- pty.c --- */
struct chr_pty;
/*
 * A pty whose slave others open; clients come and go with it.  no_replay (NULL: never) is asked whether the one
 * that just came wants no history.  NULL on failure (reported), errno set.
 */
struct chr_pty *chr_pty_new(struct chardev *, bool (*no_replay)(void *), void *arg);
const char *chr_pty_path(const struct chr_pty *);
void chr_pty_free(struct chr_pty *);            /* NULL ok */

/* --- tty.c --- */
/* Raw, 8 bits, no modem control; speed unchanged.  0 or -errno (not reported). */
int chr_tty_raw(int fd);
/* Opens a terminal for non-blocking use.  Descriptor or -errno (reported). */
int chr_tty_open(const char *name, const char *path);

#endif
