/*
 * The engine under the disks: reads, writes and flushes of descriptors through io_uring, or through a small pool
 * of threads where the host has no io_uring; other work always through the pool.  Ring and threads come into
 * being with the first request.  Every call but new and free is made with the owner's lock held.
 */
#ifndef DEVICES_BLOCK_AIO_H
#define DEVICES_BLOCK_AIO_H

#include "devices/block/block.h"

struct aio;

/* Requests in order, linked by next. */
struct blk_list {
	struct blk_req *head, **tail;
};
void blk_list_init(struct blk_list *);
void blk_list_add(struct blk_list *, struct blk_req *);
struct blk_req *blk_list_take(struct blk_list *);       /* NULL: empty */
struct loop;

struct aio_owner {
	const char *name;                               /* for messages: the image's path */
	struct loop *loop;
	pthread_mutex_t *lock;
	void (*done)(struct blk_req *);                 /* req->ret is set; may submit and kick */
	void (*batch)(void *arg);                       /* after a group of done() calls */
	void *arg;
};

/* kind as in a disk's configuration.  NULL on failure (reported).  Main thread. */
struct aio *aio_new(const struct aio_owner *, enum blk_aio kind);
void aio_free(struct aio *);                            /* nothing in flight; NULL ok */
/*
 * Queues a request on req->fd at req->file_off.  req->work set: that function, on a pool thread.  Else READ,
 * WRITE or FLUSH: short transfers are continued, reads beyond the end of the file give zeroes.  iov, file_off, off
 * and len move on with what was transferred.
 */
void aio_submit(struct aio *, struct blk_req *);
/* Queues a request that needs no work: done() follows from aio_kick(), not from here. */
void aio_finish(struct aio *, struct blk_req *, int ret);
/* Starts what was submitted and completes what is ready; from within done() it leaves that to the running one. */
void aio_kick(struct aio *);
/* Blocks until something may have completed, and completes it. */
void aio_wait(struct aio *);
bool aio_is_uring(const struct aio *);                  /* known from the first request on; for tests and logs */

/* The same read, write or flush, done at once on the calling thread; 0 or -errno.  For the pool. */
int aio_sync(struct blk_req *);

#endif
