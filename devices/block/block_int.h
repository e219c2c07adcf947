/*
 * Inside a disk: what block_open.c, block.c (the life of a request) and block_io.c (how it is done) share.
 */
#ifndef DEVICES_BLOCK_BLOCK_INT_H
#define DEVICES_BLOCK_BLOCK_INT_H

#include "common/log.h"
#include "common/loop.h"
#include "devices/block/aio.h"
#include "devices/block/img.h"
#include "devices/block/throttle.h"

#define BLK_PARTS_MAX 64                /* of all requests of a disk at a time */
#define BLK_PART_IOV 16
#define BLK_SEGS_MAX 16                 /* of one request; above that it goes through the image's driver */
#define BLK_HOLDERS_MAX 4

/* A part of a request whose bytes lie in several places. */
struct blk_part {
	struct blk_req r;               /* first */
	struct blk_part *next;          /* of the free ones */
	struct iovec iov[BLK_PART_IOV];
};

struct blk_holder {
	void (*idle)(void *arg);
	void *arg;
};

struct blk {
	struct blk *next;               /* of the VM's */
	struct vm *vm;
	const char *who;
	struct blk_conf conf;
	struct blk_owner owner;
	struct img *img;                /* changed only while nothing is in flight */
	struct aio *aio;
	uint32_t logical, physical;
	bool read_only;
	int flush_err;                  /* of the first flush that failed; 0: none */

	struct blk_list fresh;          /* submitted and not started: held, parked or throttled */
	struct blk_list waiting;        /* for a range somebody uses; in order */
	struct blk_list stopped;        /* failed, to be tried again */
	struct blk_req *fly;            /* in flight */
	unsigned active;                /* in flight or waiting for a range */
	unsigned nexcl;                 /* of those, with `excl` */
	bool parked;                    /* by blk_drain(): nothing starts before blk_kick() or blk_resume() */

	unsigned holds, nholders;
	struct blk_holder holder[BLK_HOLDERS_MAX];      /* not called yet */

	struct throttle throttle;
	struct ev *timer;               /* NULL: no limits */

	struct blk_part *parts;         /* free ones */
	unsigned nparts;                /* allocated */
	struct guest_warn warn;
	struct blk_stat stat[BLK_OPS];
	uint64_t told_ns;               /* when an error was last an event */
};

/* --- block_io.c, lock held --- */

/* Has a request done, from its present off and len on; blk_landed() follows from the loop. */
void blk_go(struct blk *, struct blk_req *);
/* The same for one that needs no I/O. */
void blk_go_nowhere(struct blk *, struct blk_req *, int ret);
/* What the engine calls when it is done with a request or a part of one. */
void blk_transferred(struct blk_req *);

/* --- block.c, lock held --- */

/* A request is no longer in flight; r->ret is set. */
void blk_landed(struct blk_req *);
void blk_batch(void *blk);
void blk_on_timer(void *blk, uint32_t events);

#endif
