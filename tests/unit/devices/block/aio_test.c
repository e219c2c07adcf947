#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "common/loop.h"
#include "devices/block/aio.h"

#define N 300                                           /* more than the ring has entries */

struct job {
	struct blk_req r;                               /* first */
	struct iovec iov;
	uint8_t buf[4096];
	bool done;
};

static struct loop *loop;
static unsigned in_flight;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct job job[N];
static unsigned batches;
static char path[64];

static void on_done(struct blk_req *r)
{
	in_flight--;
	((struct job *)r)->done = true;
}

static void on_batch(void *arg)
{
	batches++;
}

static int file_new(off_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-aio-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, size), 0);
	unlink(path);
	return fd;
}

static struct aio *engine(enum blk_aio kind)
{
	loop = loop_new();
	const struct aio_owner owner = { .name = "test", .loop = loop, .lock = &lock, .done = on_done, .batch = on_batch };
	struct aio *a = aio_new(&owner, kind);
	ck_assert_ptr_nonnull(a);
	return a;
}

static void engine_end(struct aio *a, int fd)
{
	aio_free(a);
	loop_free(loop);
	close(fd);
}

static void put(struct aio *a, unsigned i, enum blk_op op, int fd, uint64_t off, int (*work)(struct blk_req *))
{
	struct job *j = &job[i];
	j->iov = (struct iovec){ j->buf, sizeof(j->buf) };
	j->done = false;
	j->r = (struct blk_req){
		.op = op, .fd = fd, .off = off, .file_off = off, .len = sizeof(j->buf), .iov = &j->iov, .niov = 1,
		.work = work,
	};
	in_flight++;
	aio_submit(a, &j->r);
}

static void drain(struct aio *a)
{
	aio_kick(a);
	while (in_flight)
		aio_wait(a);
}

/*
 * Everything the loop must do is announced: no call but loop_step().  Where it has polled it may wait for the time given
 * with nothing left to come; what was lost would not come by waiting, however often.
 */
static void by_loop(void)
{
	const uint64_t end = now_ns() + 5000000000u;
	while (in_flight && now_ns() < end)
		loop_step(loop, 1);
	ck_assert_uint_eq(in_flight, 0);
}

static void many(enum blk_aio kind, bool by_drain)
{
	const int fd = file_new(N * 4096);
	struct aio *a = engine(kind);
	for (unsigned i = 0; i < N; i++) {
		memset(job[i].buf, (int)i, sizeof(job[i].buf));
		put(a, i, BLK_WRITE, fd, i * 4096, NULL);
	}
	aio_kick(a);
	by_drain ? drain(a) : by_loop();
	put(a, 0, BLK_FLUSH, fd, 0, NULL);
	drain(a);
	for (unsigned i = 0; i < N; i++) {
		memset(job[i].buf, 0xee, sizeof(job[i].buf));
		put(a, i, BLK_READ, fd, i * 4096, NULL);
	}
	aio_kick(a);
	by_drain ? drain(a) : by_loop();
	for (unsigned i = 0; i < N; i++) {
		ck_assert(job[i].done);
		ck_assert_int_eq(job[i].r.ret, 0);
		ck_assert_uint_eq(job[i].r.len, 0);
		ck_assert_uint_eq(job[i].buf[0], i & 0xff);
		ck_assert_uint_eq(job[i].buf[4095], i & 0xff);
	}
	ck_assert_uint_gt(batches, 0);
	engine_end(a, fd);
}
START_TEST(uring_many) { many(BLK_AIO_URING, false); many(BLK_AIO_URING, true); }
END_TEST
START_TEST(threads_many) { many(BLK_AIO_THREADS, false); many(BLK_AIO_THREADS, true); }
END_TEST

static void edges(enum blk_aio kind)
{
	const int fd = file_new(6000);
	struct aio *a = engine(kind);
	memset(job[0].buf, 0xee, 4096);
	put(a, 0, BLK_READ, fd, 4096, NULL);            /* 1904 bytes there, the rest zeroes */
	memset(job[1].buf, 0xee, 4096);
	put(a, 1, BLK_READ, fd, 1 << 20, NULL);
	put(a, 2, BLK_READ, -1, 0, NULL);
	aio_kick(a);
	by_loop();
	ck_assert_int_eq(job[0].r.ret, 0);
	ck_assert_uint_eq(job[0].buf[4095], 0);
	ck_assert_int_eq(job[1].r.ret, 0);
	ck_assert_uint_eq(job[1].buf[0], 0);
	ck_assert_int_eq(job[2].r.ret, -EBADF);
	engine_end(a, fd);
}
START_TEST(ends_and_errors) { edges(BLK_AIO_URING); edges(BLK_AIO_THREADS); }
END_TEST

static pthread_barrier_t together;

/* Ends only when four of them run at the same time. */
static int meet(struct blk_req *r)
{
	pthread_barrier_wait(&together);
	return -ENOSPC;
}

/* The pool works in parallel and beside the ring; finished requests need no engine. */
START_TEST(work)
{
	const int fd = file_new(4096);
	struct aio *a = engine(BLK_AIO_AUTO);
	pthread_barrier_init(&together, NULL, 4);
	for (unsigned i = 0; i < 4; i++)
		put(a, i, BLK_DISCARD, fd, 0, meet);
	put(a, 4, BLK_READ, fd, 0, NULL);
	drain(a);
	pthread_barrier_destroy(&together);
	ck_assert_int_eq(job[3].r.ret, -ENOSPC);
	ck_assert_int_eq(job[4].r.ret, 0);
	job[5] = (struct job){ .done = false };
	in_flight++;
	aio_finish(a, &job[5].r, -EROFS);
	ck_assert(!job[5].done);
	aio_kick(a);
	ck_assert(job[5].done);
	ck_assert_int_eq(job[5].r.ret, -EROFS);
	engine_end(a, fd);
}
END_TEST

START_TEST(choice)
{
	const int fd = file_new(4096);
	setenv("SKEP_AIO", "threads", 1);
	struct aio *a = engine(BLK_AIO_AUTO);
	put(a, 0, BLK_READ, fd, 0, NULL);
	drain(a);
	ck_assert(!aio_is_uring(a));
	aio_free(a);
	loop_free(loop);
	unsetenv("SKEP_AIO");
	a = engine(BLK_AIO_THREADS);
	put(a, 0, BLK_READ, fd, 0, NULL);
	drain(a);
	ck_assert(!aio_is_uring(a));
	engine_end(a, fd);
}
END_TEST

static int quick(struct blk_req *r)
{
	return 0;
}

/* So quick that the loop polls, with pauses that let it rest: no completion may go unnoticed. */
static void succession(enum blk_aio kind)
{
	const int fd = file_new(64 * 4096);
	struct aio *a = engine(kind);

	for (unsigned round = 0; round < 3000; round++) {
		for (unsigned i = 0; i <= round % 3; i++)
			put(a, i, (round + i) % 2 ? BLK_WRITE : BLK_READ, fd, (round + i) % 64 * 4096, round % 5 == i ? quick : NULL);
		aio_kick(a);
		if (round % 97 == 0)
			drain(a);
		by_loop();
		for (uint64_t end = now_ns() + round % 50 * 1000; now_ns() < end; )
			loop_step(loop, 0);
	}
	engine_end(a, fd);
}
START_TEST(uring_succession) { succession(BLK_AIO_URING); }
END_TEST
START_TEST(threads_succession) { succession(BLK_AIO_THREADS); }
END_TEST

UNIT_MAIN("devices/block/aio", uring_many, threads_many, ends_and_errors, work, choice, uring_succession, threads_succession)
