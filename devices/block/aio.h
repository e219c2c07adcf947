/*
 * The engine under the format drivers: reads, writes and flushes of descriptors through io_uring, or through a
 * small pool of threads where the host has no io_uring; other work always through the pool.  Ring and threads
 * come into being with the first request.  Locking as in block.h.
 */
#ifndef DEVICES_BLOCK_AIO_H
#define DEVICES_BLOCK_AIO_H

#include "devices/block/block.h"

struct aio;

/* For a disk; kind as in its configuration.  NULL on failure (reported).  Main thread. */
struct aio *aio_new(struct blk *, enum blk_aio kind);
void aio_free(struct aio *);                            /* nothing in flight; NULL ok */
/*
 * Queues a request on req->fd.  req->work set: that function, on a pool thread.  Else READ, WRITE or FLUSH:
 * short transfers are continued, reads beyond the end of the file give zeroes.
 */
void aio_submit(struct aio *, struct blk_req *);
/* Queues a request that needs no work: done() follows from aio_kick(), not from here. */
void aio_finish(struct aio *, struct blk_req *, int ret);
void aio_kick(struct aio *);
void aio_wait(struct aio *);
bool aio_is_uring(const struct aio *);                  /* known from the first request on; for tests and logs */

/* The same read, write or flush, done at once on the calling thread; 0 or -errno.  For the pool. */
int aio_sync(struct blk_req *);

#endif
