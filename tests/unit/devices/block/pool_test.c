#include "tests/unit/unit.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/block/pool.h"

#define N 100

static int work(struct blk_req *r)
{
	return (int)r->off;
}

static int slow(struct blk_req *r)
{
	usleep(5000);
	return 0;
}

static unsigned collect(struct pool *p, unsigned want)
{
	struct pollfd fd = { .fd = p->efd, .events = POLLIN };
	unsigned n = 0;
	uint64_t v;
	while (n < want && poll(&fd, 1, 5000) > 0) {
		ck_assert_int_eq(read(p->efd, &v, sizeof(v)), sizeof(v));
		for (struct blk_req *r = pool_take(p); r; r = r->next, n++)
			ck_assert_int_eq(r->ret, r->work == work ? (int)r->off : 0);
	}
	return n;
}

START_TEST(runs_everything)
{
	static struct blk_req r[N];
	struct pool p;
	pool_init(&p, eventfd(0, EFD_NONBLOCK));
	ck_assert_uint_eq(p.nthreads, 0);               /* none before the first request */
	ck_assert_ptr_null(pool_take(&p));
	for (unsigned i = 0; i < N; i++) {
		r[i] = (struct blk_req){ .off = i, .work = i % 10 ? work : slow };
		ck_assert_int_eq(pool_submit(&p, &r[i]), 0);
	}
	ck_assert_uint_eq(collect(&p, N), N);
	ck_assert_uint_le(p.nthreads, POOL_THREADS_MAX);
	pool_fini(&p);
	close(p.efd);
}
END_TEST

/* One request after the other needs one thread. */
START_TEST(grows_as_needed)
{
	struct blk_req r = { .work = work };
	struct pool p;
	pool_init(&p, eventfd(0, EFD_NONBLOCK));
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(pool_submit(&p, &r), 0);
		ck_assert_uint_eq(collect(&p, 1), 1);
		usleep(2000);                           /* until it sleeps again */
	}
	ck_assert_uint_le(p.nthreads, 2);
	pool_fini(&p);
	close(p.efd);
}
END_TEST

static unsigned running(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	const unsigned n = p->nthreads;
	pthread_mutex_unlock(&p->lock);
	return n;
}

/* Threads that had nothing to do for long end, and others start when there is work again. */
START_TEST(shrinks)
{
	static struct blk_req r[N];
	struct pool p;
	pool_init(&p, eventfd(0, EFD_NONBLOCK));
	p.rest_ns = 2000000;
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 10; i++) {
			r[i] = (struct blk_req){ .off = i, .work = round % 4 ? work : slow };
			ck_assert_int_eq(pool_submit(&p, &r[i]), 0);
		}
		ck_assert_uint_eq(collect(&p, 10), 10);
		for (unsigned i = 0; round % 2 && i < 5000 && running(&p); i++)
			usleep(1000);
		ck_assert(round % 2 == 0 || running(&p) == 0);
	}
	pool_fini(&p);
	close(p.efd);
}
END_TEST

UNIT_MAIN("devices/block/pool", runs_everything, grows_as_needed, shrinks)
