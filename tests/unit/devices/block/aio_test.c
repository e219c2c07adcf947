#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/block/aio.h"

#define N 300                                           /* more than the ring has entries */

struct job {
	struct blk_req r;                               /* first */
	struct iovec iov;
	uint8_t buf[4096];
	bool done;
};

static struct vm vm;
static struct blk b;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct job job[N];
static unsigned batches;
static char path[64];

static void on_done(struct blk_req *r)
{
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
	vm.loop = loop_new();
	b = (struct blk){ .vm = &vm, .conf = { .path = "test" }, .owner = { &lock, on_batch, NULL } };
	struct aio *a = aio_new(&b, kind);
	ck_assert_ptr_nonnull(a);
	return a;
}

static void engine_end(struct aio *a, int fd)
{
	aio_free(a);
	loop_free(vm.loop);
	close(fd);
}

static void put(struct aio *a, unsigned i, enum blk_op op, int fd, uint64_t off, int (*work)(struct blk_req *))
{
	struct job *j = &job[i];
	j->iov = (struct iovec){ j->buf, sizeof(j->buf) };
	j->done = false;
	j->r = (struct blk_req){
		.op = op, .fd = fd, .off = off, .len = sizeof(j->buf), .iov = &j->iov, .niov = 1,
		.done = on_done, .blk = &b, .work = work,
	};
	b.in_flight++;
	aio_submit(a, &j->r);
}

static void drain(struct aio *a)
{
	aio_kick(a);
	while (b.in_flight)
		aio_wait(a);
}

/* Everything the loop must do is announced: no call but loop_step(). */
static void by_loop(void)
{
	const uint64_t end = now_ns() + 5000000000u;
	while (b.in_flight && now_ns() < end)
		loop_step(vm.loop, 100);
	ck_assert_uint_eq(b.in_flight, 0);
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

static int slow(struct blk_req *r)
{
	usleep(20000);
	return -ENOSPC;
}

/* The pool works in parallel and beside the ring; finished requests need no engine. */
START_TEST(work)
{
	const int fd = file_new(4096);
	struct aio *a = engine(BLK_AIO_AUTO);
	const uint64_t start = now_ns();
	for (unsigned i = 0; i < 4; i++)
		put(a, i, BLK_DISCARD, fd, 0, slow);
	put(a, 4, BLK_READ, fd, 0, NULL);
	drain(a);
	ck_assert_uint_lt(now_ns() - start, 70000000);
	ck_assert_int_eq(job[3].r.ret, -ENOSPC);
	ck_assert_int_eq(job[4].r.ret, 0);
	job[5] = (struct job){ .r = { .done = on_done, .blk = &b } };
	b.in_flight++;
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
	loop_free(vm.loop);
	unsetenv("SKEP_AIO");
	a = engine(BLK_AIO_THREADS);
	put(a, 0, BLK_READ, fd, 0, NULL);
	drain(a);
	ck_assert(!aio_is_uring(a));
	engine_end(a, fd);
}
END_TEST

UNIT_MAIN("devices/block/aio", uring_many, threads_many, ends_and_errors, work, choice)
