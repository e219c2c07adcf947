/*
 * Disks as devices see them: an image or block device behind a format driver, and asynchronous requests.
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

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_WRITE_ZEROES };

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
	/* The engine's. */
	struct blk_req *next;
	struct blk *blk;
	int fd;
	int (*work)(struct blk_req *);  /* on a pool thread, without the lock; 0 or -errno */
};

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };

struct blk_conf {
	const char *path;
	const char *format;             /* NULL: raw */
	bool read_only;
	bool nocache;                   /* O_DIRECT where the request is aligned for it */
	bool sync;                      /* every write reaches stable storage */
	bool nodelete;                  /* DISCARD does nothing */
	enum blk_aio aio;               /* AUTO: $SKEP_AIO ("threads", "io_uring"), else io_uring if it works */
	uint32_t logical, physical;     /* sector sizes; 0: the image's own */
};

struct blk_owner {
	pthread_mutex_t *lock;
	void (*batch_done)(void *arg);  /* after a group of done() calls, lock held */
	void *arg;
};

struct blk_driver;
struct blk {
	const struct blk_driver *drv;
	struct vm *vm;
	const char *who;                /* the device's id */
	struct blk_conf conf;
	struct blk_owner owner;
	uint64_t size;                  /* bytes of the image: a multiple of nothing */
	uint32_t logical, physical;     /* powers of two, 512..64 KiB */
	unsigned in_flight;
};

/* A format.  Instances embed struct blk first. */
struct blk_driver {
	const char *name;               /* "raw" */
	size_t size;
	int (*open)(struct blk *);      /* fills size, logical, physical; 0 or -errno (reported) */
	void (*close)(struct blk *);
	void (*submit)(struct blk *, struct blk_req *);
	void (*kick)(struct blk *);     /* starts what was submitted, completes what is ready */
	void (*wait)(struct blk *);     /* blocks until something completed; completes it */
};
extern const struct blk_driver blk_raw;

/*
 * Opens and locks an image.  `who` and the strings of the configuration stay the caller's.  NULL on failure
 * (reported), *err gets the -errno.  Main thread.
 */
struct blk *blk_open(struct vm *, const char *who, const struct blk_conf *, const struct blk_owner *, int *err);
void blk_close(struct blk *);           /* nothing in flight; NULL ok */
/*
 * Starts a request; off and len lie below the size rounded up to a logical sector.  Bytes beyond the end of the
 * image read as zeroes; writing them completes the image's last sector.
 */
void blk_submit(struct blk *, struct blk_req *);
/* After a group of blk_submit(): until then nothing may have started.  May call done() and batch_done(). */
void blk_kick(struct blk *);
/* Waits for everything in flight.  Only where no guest runs: it blocks. */
void blk_drain(struct blk *);
/* For drivers: the request is finished; req->ret is set. */
void blk_done(struct blk_req *);

#endif
