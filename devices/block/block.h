/*
 * Disks as devices see them: asynchronous requests on an image (devices/block/img.h), with throttling, error policy and
 * a top image that can be exchanged.
 *
 * A request whose bytes already lie somewhere in a file goes there by io_uring; all else (metadata to read or write)
 * runs on a pool thread through img_*().  Requests that change what lies where wait for those that overlap them.
 *
 * Locking: a disk belongs to one device and uses that device's lock.  Every call but open and close is made
 * with it held; the disk's own loop callback takes it before it completes requests.
 */
#ifndef DEVICES_BLOCK_BLOCK_H
#define DEVICES_BLOCK_BLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct vm;
struct blk;
struct img;

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES, BLK_OPS };
extern const char *const blk_op_names[BLK_OPS];         /* "read", "write", "flush", "discard", "write-zeroes" */

#define BLK_BUCKETS 32                  /* bucket b: done within [2^b, 2^(b+1)) ns; the last is open */
struct blk_stat {
	uint64_t ops, bytes, errors;    /* ops: those that failed as well */
	uint64_t ns;                    /* from blk_submit() to done(), of all together */
	uint64_t hist[BLK_BUCKETS];
};

/* Allocated by the device, in place until done() is called. */
struct blk_req {
	enum blk_op op;
	uint64_t off, len;              /* bytes; for READ and WRITE len is the sum of the iovecs */
	struct iovec *iov;              /* changed while the request runs */
	unsigned niov;
	bool fua;                       /* WRITE, WRITE_ZEROES: on stable storage before done() */
	bool unmap;                     /* WRITE_ZEROES: may give the space back */
	/* Loop thread, lock held.  ret: 0 or -errno.  May submit further requests. */
	void (*done)(struct blk_req *);
	int ret;
	/* The engine's; op, off and len are what they were when done() is called. */
	struct blk_req *next;
	struct blk *blk;
	struct blk_req *parent;         /* it is a part of that one */
	struct blk_req *fly_next, **fly_prev;           /* in flight */
	struct blk_req *blocker;        /* waits for that one, whose range overlaps */
	unsigned blocks, parts;         /* requests that wait for it; parts in flight */
	uint64_t lo, hi;                /* range in use, bytes */
	uint64_t off0, len0;            /* as submitted */
	uint64_t t_ns;                  /* when */
	uint64_t piece;                 /* bytes under way, of a request that goes piece by piece */
	uint64_t file_off;
	int fd;
	enum blk_op op0;
	bool fua0;
	bool excl;                      /* nothing else may use the range */
	bool then_flush;                /* the image is to be flushed when it is done */
	int (*work)(struct blk_req *);  /* on a pool thread, without the lock; 0 or -errno */
};

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };
/* What a failed write or read does: the guest gets the error, or the VM stops and the request waits to be tried again. */
enum blk_on_error { BLK_REPORT, BLK_STOP, BLK_ENOSPC_STOP, BLK_IGNORE };

struct blk_rate { uint64_t per_s, burst_per_s; };       /* 0: no limit; burst: for up to burst_s seconds after a rest */

struct blk_conf {
	const char *path;
	const char *format;             /* NULL: by probe */
	const char *backing_dirs;       /* as in struct img_open */
	bool read_only;
	bool snapshot;                  /* writes go to a nameless overlay and are lost at the end */
	bool nocache;                   /* O_DIRECT where the request is aligned for it */
	bool sync;                      /* every write reaches stable storage */
	bool nodelete;                  /* DISCARD does nothing */
	bool detect_zeroes;             /* a WRITE of nothing but zeroes becomes WRITE_ZEROES */
	enum blk_aio aio;               /* AUTO: $SKEP_AIO ("threads", "io_uring"), else io_uring if it works */
	uint32_t logical, physical;     /* sector sizes; 0: the image's own */
	uint64_t cache_max;             /* bytes of image metadata in memory; 0: default */
	struct blk_rate iops, bps;
	uint32_t burst_s;
	enum blk_on_error werror, rerror;
};

struct blk_owner {
	pthread_mutex_t *lock;
	void (*batch_done)(void *arg);  /* after a group of done() calls, lock held */
	void *arg;
};

/*
 * Opens and locks an image.  `who` ("pci.0.3.0", "pci.0.4.0.port.1") and the strings of the configuration stay the
 * caller's.  NULL on failure (reported), *err gets the -errno.  Main thread.
 */
struct blk *blk_open(struct vm *, const char *who, const struct blk_conf *, const struct blk_owner *, int *err);
/* Nothing in flight; NULL ok.  Flushes what the image's metadata cache holds; reports what fails. */
void blk_close(struct blk *);
uint64_t blk_size(const struct blk *);          /* bytes of the image: a multiple of nothing */
uint32_t blk_logical(const struct blk *);       /* powers of two, 512..64 KiB */
uint32_t blk_physical(const struct blk *);
bool blk_read_only(const struct blk *);         /* asked for, or the format cannot be written */
bool blk_scratch(const struct blk *);           /* what is written is lost at the end (snapshot) */
int blk_flush_error(const struct blk *);        /* 0, or -errno: a flush failed, and no later one is trusted */
const char *blk_who(const struct blk *);
pthread_mutex_t *blk_lock(struct blk *);        /* its owner's, for who comes from elsewhere */
struct img *blk_img(struct blk *);              /* the top image; stays the disk's */
/*
 * Starts a request; off and len lie below the size rounded up to a logical sector.  Bytes beyond the end of the
 * image read as zeroes; writing them completes the image's last sector.
 */
void blk_submit(struct blk *, struct blk_req *);
/* After a group of blk_submit(): until then nothing may have started.  May call done() and batch_done(). */
void blk_kick(struct blk *);
/*
 * Waits for everything in flight; requests that wait for the operator (BLK_STOP) or for the throttle stay and run after
 * the next blk_kick() or blk_resume().  Only where no guest runs: it blocks.
 */
void blk_drain(struct blk *);
/* Completes what blk_drain() left behind with -ECANCELED: before reset and close. */
void blk_cancel(struct blk *);

/*
 * Holds new requests back from now on (nested); what is in flight goes on, and `idle` is called (lock held, loop thread
 * or at once) when the last one is done.  blk_release() lets them go.
 */
void blk_hold(struct blk *, void (*idle)(void *arg), void *arg);
void blk_release(struct blk *);
/* Another top image, while held and idle: same size or -EINVAL (reported).  The old one is the caller's. */
int blk_replace(struct blk *, struct img *top, struct img **old);
/* Loop thread: tries again what waits for the operator.  The VM calls it for every disk when it resumes. */
void blk_resume(struct blk *);

/* What has been done since it was opened; under the lock. */
const struct blk_stat *blk_stat(const struct blk *, enum blk_op);
/* Other limits from now on, as in struct blk_conf.  0 or -errno (reported).  Loop thread, without the lock. */
int blk_limit(struct blk *, const struct blk_rate *iops, const struct blk_rate *bps, uint32_t burst_s);
void blk_limits(const struct blk *, struct blk_rate *iops, struct blk_rate *bps, uint32_t *burst_s);

/* All disks of a VM, in order of opening.  Main or loop thread. */
struct blk *blk_first(struct vm *);
struct blk *blk_next(struct blk *);
struct blk *blk_find(struct vm *, const char *who);     /* also by a unique last part; NULL: none */
/* blk_resume() for every disk, taking their locks.  Loop thread; the devices have resumed. */
void blk_resume_all(struct vm *);

#endif
