#include "devices/block/pool.h"

#include <limits.h>
#include <signal.h>
#include <unistd.h>

#include "common/util.h"

#define STACK_BYTES MAX((size_t)64 << 10, (size_t)PTHREAD_STACK_MIN)

void pool_init(struct pool *p, int efd)
{
	*p = (struct pool){ .efd = efd };
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	p->tail = &p->head;
	p->done_tail = &p->done;
}

void pool_fini(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
}

static void finished(struct pool *p, struct blk_req *r)
{
	static const uint64_t one = 1;
	const bool first = !p->done;

	r->next = NULL;
	*p->done_tail = r;
	p->done_tail = &r->next;
	if (first && write(p->efd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: the counter is full, so the loop wakes anyway */
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;

	pthread_mutex_lock(&p->lock);
	while (true) {
		struct blk_req *r = p->head;

		if (r) {
			p->head = r->next;
			if (!p->head)
				p->tail = &p->head;
			pthread_mutex_unlock(&p->lock);
			r->ret = r->work(r);
			pthread_mutex_lock(&p->lock);
			finished(p, r);
		} else if (p->stop) {
			break;
		} else {
			p->idle++;
			pthread_cond_wait(&p->work, &p->lock);
			p->idle--;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Signals are the main thread's: a new thread starts with all of them blocked. */
static int thread_add(struct pool *p)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	err = pthread_create(&p->thread[p->nthreads], &attr, pool_thread, p);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		p->nthreads++;
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

struct blk_req *pool_take(struct pool *p)
{
	struct blk_req *r;

	pthread_mutex_lock(&p->lock);
	r = p->done;
	p->done = NULL;
	p->done_tail = &p->done;
	pthread_mutex_unlock(&p->lock);
	return r;
}
