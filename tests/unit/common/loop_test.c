#include "common/loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static unsigned calls;
static struct ev *other;

static void count(void *arg, uint32_t events)
{
	(void)arg, (void)events;
	calls++;
}

static void count_and_drain(void *arg, uint32_t events)
{
	char c;
	ck_assert(events & EPOLLIN);
	ck_assert_int_eq(read(*(int *)arg, &c, 1), 1);
	calls++;
}

static void delete_other(void *arg, uint32_t events)
{
	(void)arg, (void)events;
	calls++;
	ev_del(other);
	other = NULL;
}

START_TEST(test_fd_and_mod)
{
	int p[2];
	struct loop *l = loop_new();
	ck_assert_int_eq(pipe(p), 0);
	struct ev *ev = ev_fd(l, p[0], EPOLLIN, count_and_drain, &p[0]);
	calls = 0;
	ck_assert_int_eq(write(p[1], "ab", 2), 2);
	loop_step(l, 0);
	ck_assert_uint_eq(calls, 1);
	ev_mod(ev, 0);
	loop_step(l, 0);
	ck_assert_uint_eq(calls, 1);            /* not watched */
	ev_mod(ev, EPOLLIN);
	loop_step(l, 0);
	ck_assert_uint_eq(calls, 2);
	ev_del(ev);
	ck_assert_int_eq(write(p[1], "c", 1), 1);
	loop_step(l, 0);
	ck_assert_uint_eq(calls, 2);
	loop_free(l);
	close(p[0]);
	close(p[1]);
}
END_TEST

START_TEST(test_delete_inside_batch)
{
	int p[2];
	struct loop *l = loop_new();
	ck_assert_int_eq(pipe(p), 0);
	/* Two watches of ready descriptors: whichever runs first deletes the other, so exactly one runs. */
	int q = dup(p[1]);
	calls = 0;
	struct ev *a = ev_fd(l, p[1], EPOLLOUT, delete_other, NULL);
	other = ev_fd(l, q, EPOLLOUT, count, NULL);
	loop_step(l, 0);
	loop_step(l, 0);
	ck_assert_ptr_null(other);
	ck_assert_uint_ge(calls, 2);
	ev_del(a);
	ev_del(NULL);
	loop_free(l);
	close(p[0]);
	close(p[1]);
	close(q);
}
END_TEST

START_TEST(test_timer)
{
	struct loop *l = loop_new();
	struct ev *t = ev_timer(l, count, NULL);
	calls = 0;
	ev_arm(t, 1000000);
	ev_arm(t, 0);
	loop_step(l, 20);
	ck_assert_uint_eq(calls, 0);            /* disarmed */
	uint64_t before = now_ns();
	ev_arm(t, 2000000);
	loop_step(l, 5000);
	ck_assert_uint_eq(calls, 1);
	ck_assert_uint_ge(now_ns() - before, 2000000);
	loop_step(l, 10);
	ck_assert_uint_eq(calls, 1);            /* one-shot */
	loop_free(l);
}
END_TEST

static void *post_many(void *arg)
{
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(ev_post(arg, count, NULL), 0);
	loop_stop(arg);
	return NULL;
}

START_TEST(test_posts_from_a_thread)
{
	struct loop *l = loop_new();
	pthread_t th;
	calls = 0;
	pthread_create(&th, NULL, post_many, l);
	ck_assert_int_eq(loop_run(l), 0);
	pthread_join(th, NULL);
	loop_step(l, 0);
	ck_assert_uint_eq(calls, 1000);
	ck_assert_int_eq(ev_post(l, count, NULL), 0);
	loop_free(l);                           /* with a post still queued */
}
END_TEST

/* --- Polling --- */

static unsigned asked, rests;
static bool busy;

static bool ask(void *arg)
{
	(void)arg;
	asked++;
	return busy;
}

static void rest(void *arg)
{
	(void)arg;
	rests++;
}

static const struct poller_ops ops = { ask, rest };

/* Sleeps that are short enough come sooner or later, however busy the machine is. */
static struct poller *quick_source(struct loop *l)
{
	struct poller *p = poller_new(l, &ops, NULL);

	do {
		ck_assert(!poller_wake(p));
		loop_step(l, 0);
		poller_notified(p);
	} while (!poller_wake(p));
	return p;
}

static void *wake_elsewhere(void *arg)
{
	return poller_wake(arg) ? arg : NULL;
}

START_TEST(test_polling)
{
	struct loop *l = loop_new();
	pthread_t t;
	void *got;

	loop_step(l, 0);
	asked = rests = 0;
	busy = false;
	struct poller *p = quick_source(l);
	ck_assert_uint_eq(asked, 0);
	ck_assert_int_eq(pthread_create(&t, NULL, wake_elsewhere, p), 0);
	pthread_join(t, &got);
	ck_assert_ptr_null(got);
	/* Nothing comes: it rests, once. */
	while (!rests)
		loop_step(l, 0);
	ck_assert_uint_ge(asked, 2);
	asked = 0;
	loop_step(l, 0);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(rests, 1);
	/* A source that always has work lets others have their turn. */
	ck_assert(poller_wake(p));
	busy = true;
	calls = 0;
	ev_post(l, count, NULL);
	loop_step(l, -1);
	ck_assert_uint_eq(calls, 1);
	ck_assert_uint_gt(asked, 0);
	busy = false;
	while (rests == 1)
		loop_step(l, 0);
	/* One that lets the loop sleep is not polled the next time. */
	loop_step(l, 5);
	poller_notified(p);
	ck_assert(!poller_wake(p));
	poller_free(p);
	loop_free(l);
}
END_TEST

START_TEST(test_polling_deleted)
{
	struct loop *l = loop_new();

	loop_step(l, 0);
	rests = 0;
	struct poller *p = quick_source(l);
	poller_free(p);
	ck_assert(!poller_wake(p));
	asked = 0;
	loop_step(l, 0);
	ck_assert_uint_eq(asked, 0);
	ck_assert_uint_eq(rests, 0);
	poller_free(NULL);
	loop_free(l);
}
END_TEST

UNIT_MAIN("common/loop", test_fd_and_mod, test_delete_inside_batch, test_timer, test_posts_from_a_thread, test_polling, test_polling_deleted)
