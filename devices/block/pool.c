#include "devices/block/pool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/util.h"

#define REST_NS 5000000000u             /* then the memory is worth more than the start of a thread */
/* A chain of images is read recursively (IMG_CHAIN_MAX); what is not touched costs nothing. */
#define STACK_BYTES MAX((size_t)256 << 10, (size_t)PTHREAD_STACK_MIN)

void pool_init(struct pool *p, int efd)
{
	pthread_condattr_t attr;

	*p = (struct pool){ .efd = efd, .rest_ns = REST_NS };
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->work, &attr);
	pthread_condattr_destroy(&attr);
	p->tail = &p->head;
	p->done_tail = &p->done;
}

void pool_fini(struct pool *p)
{
	bool there[POOL_THREADS_MAX];

	pthread_mutex_lock(&p->lock);
	p->stop = true;
	for (unsigned i = 0; i < POOL_THREADS_MAX; i++)
		there[i] = p->thread[i].state != POOL_NONE;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < POOL_THREADS_MAX; i++) {
		if (there[i])
			pthread_join(p->thread[i].id, NULL);
	}
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}

static void finished(struct pool *p, struct blk_req *r)
{
	static const uint64_t one = 1;
	const bool first = !p->done;

	r->next = NULL;
	__atomic_store_n(p->done_tail, r, __ATOMIC_RELAXED);
	p->done_tail = &r->next;
	if (first && !p->quiet && write(p->efd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: the counter is full, so the loop wakes anyway */
}

/* Waits for work; false: there was none for so long that the thread may end. */
static bool rest(struct pool *p)
{
	const uint64_t end = now_ns() + p->rest_ns;
	const struct timespec ts = { .tv_sec = (time_t)(end / 1000000000u), .tv_nsec = (long)(end % 1000000000u) };
	int err = 0;

	p->idle++;
	while (!p->head && !p->stop && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&p->work, &p->lock, &ts);
	p->idle--;
	return p->head || !err;
}

static void *pool_thread(void *arg)
{
	struct pool_thread *t = arg;
	struct pool *p = t->pool;

	pthread_mutex_lock(&p->lock);
	do {
		struct blk_req *r = p->head;

		if (!r)
			continue;
		p->head = r->next;
		if (!p->head)
			p->tail = &p->head;
		pthread_mutex_unlock(&p->lock);
		r->ret = r->work(r);
		pthread_mutex_lock(&p->lock);
		finished(p, r);
	} while (p->head || (!p->stop && rest(p)));
	p->nthreads--;
	t->state = POOL_ENDED;
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are the main thread's: a new thread starts with all of them blocked. */
static int thread_add(struct pool *p)
{
	struct pool_thread *t = p->thread;
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	while (t->state == POOL_RUNS)
		t++;
	if (t->state == POOL_ENDED)
		pthread_join(t->id, NULL);      /* it has let the lock go, or is about to end */
	t->state = POOL_NONE;
	t->pool = p;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	err = pthread_create(&t->id, &attr, pool_thread, t);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err) {
		t->state = POOL_RUNS;
		p->nthreads++;
	}
	return -err;
}

int pool_submit(struct pool *p, struct blk_req *r)
{
	int err = 0;

	pthread_mutex_lock(&p->lock);
	/* More waiting than sleepers: one thread more, as far as allowed. */
	if (p->nthreads < POOL_THREADS_MAX && (p->idle == 0 || p->head))
		err = thread_add(p);
	if (err == 0 || p->nthreads) {
		err = 0;
		r->next = NULL;
		*p->tail = r;
		p->tail = &r->next;
		pthread_cond_signal(&p->work);
	}
	pthread_mutex_unlock(&p->lock);
	return err;
}

bool pool_ready(const struct pool *p)
{
	return __atomic_load_n(&p->done, __ATOMIC_RELAXED);
}

void pool_quiet(struct pool *p, bool quiet)
{
	pthread_mutex_lock(&p->lock);
	p->quiet = quiet;
	pthread_mutex_unlock(&p->lock);
}

struct blk_req *pool_take(struct pool *p)
{
	struct blk_req *r;

	pthread_mutex_lock(&p->lock);
	r = p->done;
	__atomic_store_n(&p->done, NULL, __ATOMIC_RELAXED);
	p->done_tail = &p->done;
	pthread_mutex_unlock(&p->lock);
	return r;
}
