/*
 * A pool of threads that run blocking work of one disk.  Threads are started as they are needed, sleep when there is
 * nothing to do, and end when that lasts.
 */
#ifndef DEVICES_BLOCK_POOL_H
#define DEVICES_BLOCK_POOL_H

#include "devices/block/block.h"

#define POOL_THREADS_MAX 8

struct pool {
	pthread_mutex_t lock;                   /* guards all of this; taken inside the device's lock */
	pthread_cond_t work;
	struct blk_req *head, **tail;           /* waiting */
	struct blk_req *done, **done_tail;      /* finished, in order */
	struct pool_thread {
		struct pool *pool;
		pthread_t id;
		enum { POOL_NONE, POOL_RUNS, POOL_ENDED } state;        /* ENDED: still to be joined */
	} thread[POOL_THREADS_MAX];
	unsigned nthreads, idle;                /* that run; that sleep */
	uint64_t rest_ns;                       /* how long one sleeps before it ends */
	bool stop, quiet;
	int efd;                                /* written when `done` becomes non-empty; the owner's */
};

void pool_init(struct pool *, int efd);
void pool_fini(struct pool *);                  /* joins the threads; nothing may be waiting */
/* Runs req->work on a thread; the request then waits in pool_take().  0, or -errno when there is no thread. */
int pool_submit(struct pool *, struct blk_req *);
/* Is something finished?  The eventfd is not written while the pool is quiet.  Any thread. */
bool pool_ready(const struct pool *);
void pool_quiet(struct pool *, bool quiet);
struct blk_req *pool_take(struct pool *);       /* the finished requests, linked by next; NULL: none */

#endif
