/*
 * Several threads on one image, flushes that fail, and what the dirty bit and the cache's bound do.  What a power failure
 * leaves is in crash_test.c.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "devices/block/qcow2/state.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/unit.h"

#define THREADS 4u
#define AREA MIB(2)                     /* of each thread */

static struct powercut *new_image(const struct img_create *c)
{
	struct powercut *pc = powercut_new(NULL, 0);
	struct bfile *f = powercut_open(pc, "new", true);

	ck_assert_int_eq(qcow2_format(f, c), 0);
	bfile_close(f);
	return pc;
}

static struct img *open_image(struct powercut *pc, bool write)
{
	int err = 0;
	struct img *img = img_open_file(powercut_open(pc, "image", write), &img_qcow2, &err);

	ck_assert_ptr_nonnull(img);
	return img;
}

/* --- threads --- */

struct worker {
	pthread_t thread;
	struct img *img;
	uint64_t base, rng;
	uint8_t *shadow;
	int err;
};

static uint64_t rnd(struct worker *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng;
}

static int worker_step(struct worker *w)
{
	const uint64_t off = rnd(w) % AREA, want = 1 + rnd(w) % 9000, len = MIN(want, AREA - off);
	struct img_seg seg;
	uint8_t b[9000];
	int err;

	switch (rnd(w) % 12) {
	case 0:
		return img_flush(w->img);
	case 1:
		memset(w->shadow + off, 0, len);
		return img_zero(w->img, w->base + off, len, rnd(w) % 2 ? IMG_UNMAP : 0);
	case 2:
	case 3:
	case 4:
		err = img_read_buf(w->img, w->base + off, b, len);
		return err ? err : memcmp(b, w->shadow + off, len) ? -EILSEQ : 0;
	case 5:
		err = img_map(w->img, w->base + off, len, IMG_NOWAIT, &seg);
		return err == -EAGAIN ? 0 : err;
	default:
		memset(w->shadow + off, (int)(1 + rnd(w) % 255), len);
		return img_write_buf(w->img, w->base + off, w->shadow + off, len);
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < 1500 && !w->err; i++)
		w->err = worker_step(w);
	return NULL;
}

static void threads_on(const struct img_create *c)
{
	struct powercut *pc = new_image(c);
	struct img *img = open_image(pc, true);
	struct worker w[THREADS] = { 0 };
	struct img_check res = { 0 };
	uint8_t *b = malloc(AREA);

	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct worker){ .img = img, .base = i * AREA, .rng = i + 77, .shadow = calloc(1, AREA) };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].err, 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		ck_assert_int_eq(img_read_buf(img, w[i].base, b, AREA), 0);
		ck_assert_int_eq(memcmp(b, w[i].shadow, AREA), 0);
		free(w[i].shadow);
	}
	ck_assert_int_eq(img_close(img), 0);
	img = open_image(pc, false);
	ck_assert_int_eq(img->drv->check(img, 0, &res), 0);
	ck_assert_uint_eq(res.corruptions + res.leaks + res.errors, 0);
	img_close(img);
	powercut_free(pc);
	free(b);
}

START_TEST(several_threads_share_an_image)
{
	threads_on(&(struct img_create){ .path = "p", .size = THREADS * AREA, .cluster_size = 4096 });
	threads_on(&(struct img_create){ .path = "p", .size = THREADS * AREA, .cluster_size = 512, .refcount_bits = 64 });
	threads_on(&(struct img_create){ .path = "p", .size = THREADS * AREA, .extended_l2 = true });
}
END_TEST

/* --- threads and power failures --- */

#define SECTORS 512u                    /* of each thread */
#define OPS 160u

struct op {
	unsigned first, n;              /* sectors */
	bool zero;
};

struct writer {
	pthread_t thread;
	struct img *img;
	struct powercut *pc;
	unsigned id;
	struct worker w;
	struct op op[OPS + 1];          /* number n writes the stamp n; 0: what was there at first */
	struct { size_t entry; unsigned op; } flushed[OPS];
	unsigned ops, flushes;
	int err;
};

static void stamp(uint64_t *sector, unsigned id, unsigned number, unsigned op)
{
	for (unsigned i = 0; i < 64; i++)
		sector[i] = (uint64_t)id << 48 | (uint64_t)number << 24 | op;
}

static int writer_step(struct writer *w)
{
	struct op *o = &w->op[w->ops + 1];
	const uint64_t base = (uint64_t)w->id * SECTORS * 512;
	uint64_t b[24 * 64];
	int err;

	if (rnd(&w->w) % 8 == 0) {
		err = img_flush(w->img);
		w->flushed[w->flushes].entry = powercut_ops(w->pc);
		w->flushed[w->flushes].op = w->ops;
		w->flushes += !err;
		return err;
	}
	o->first = (unsigned)(rnd(&w->w) % SECTORS);
	o->n = (unsigned)(1 + rnd(&w->w) % 24);
	o->n = MIN(o->n, SECTORS - o->first);
	o->zero = rnd(&w->w) % 4 == 0;
	w->ops++;
	if (o->zero)
		return img_zero(w->img, base + o->first * 512u, o->n * 512u, rnd(&w->w) % 2 ? IMG_UNMAP : 0);
	for (unsigned i = 0; i < o->n; i++)
		stamp(b + i * 64, w->id, o->first + i, w->ops);
	return img_write_buf(w->img, base + o->first * 512u, b, o->n * 512u);
}

static void *write_work(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < OPS && !w->err; i++)
		w->err = writer_step(w);
	return NULL;
}

static bool covers(const struct op *o, unsigned sector)
{
	return sector >= o->first && sector < o->first + o->n;
}

/* Of a sector after a cut: what the last flush made durable, or a later operation on it. */
static void check_sector(const struct writer *w, unsigned number, const uint64_t *sector, size_t cut)
{
	unsigned durable = 0, last = 0;
	uint64_t want[64] = { 0 };
	bool found;

	for (unsigned i = 0; i < w->flushes; i++)
		if (w->flushed[i].entry <= cut)
			durable = w->flushed[i].op;
	for (unsigned i = 1; i <= durable; i++)
		if (covers(&w->op[i], number))
			last = i;
	found = last == 0 && !memcmp(sector, want, 512);
	for (unsigned i = MAX(last, 1u); i <= w->ops && !found; i++) {
		if (!covers(&w->op[i], number))
			continue;
		memset(want, 0, sizeof(want));
		if (!w->op[i].zero)
			stamp(want, w->id, number, i);
		found = !memcmp(sector, want, 512);
	}
	ck_assert_msg(found, "thread %u, sector %u after cut %zu: %llx, at least %u", w->id, number, cut, (unsigned long
			long)sector[0], last);
}

static void check_cut(const struct writer w[THREADS], struct powercut *pc, size_t cut, uint64_t seed)
{
	struct powercut *after = powercut_after(pc, cut, seed);
	struct img_check res = { 0 };
	struct img *img;
	uint64_t *b = malloc(SECTORS * 512);

	img = open_image(after, false);
	ck_assert_int_eq(img->drv->check(img, 0, &res), 0);
	ck_assert_msg(!res.corruptions, "cut %zu seed %llu: %llu corruptions", cut, (unsigned long long)seed,
		      (unsigned long long)res.corruptions);
	for (unsigned t = 0; t < THREADS; t++) {
		ck_assert_int_eq(img_read_buf(img, (uint64_t)t * SECTORS * 512, b, SECTORS * 512), 0);
		for (unsigned i = 0; i < SECTORS; i++)
			check_sector(&w[t], i, b + i * 64, cut);
	}
	img_close(img);
	powercut_free(after);
	free(b);
}

static const struct bfile_ops *fast_ops;

/* Gives the other threads time between a flush and what is done then. */
static int slow_flush(struct bfile *f)
{
	const int err = fast_ops->flush(f);

	for (unsigned i = 0; i < 20; i++)
		sched_yield();
	return err;
}

/* slices: as many as the cache of L2 tables may have, 0: the default */
static void power_fails_on(const struct img_create *c, unsigned slices, uint64_t seed)
{
	struct powercut *pc = new_image(c);
	struct img *img = open_image(pc, true);
	struct writer *w = calloc(THREADS, sizeof(*w));
	struct qcow2 *q = qcow2_of(img);
	struct bfile_ops ops = *img->file->ops;

	fast_ops = img->file->ops;
	ops.flush = slow_flush;
	img->file->ops = &ops;
	if (slices) {
		qcow2_cache_free(q->l2);
		q->l2 = qcow2_cache_new(q->state->slice_bytes, slices * (q->state->slice_bytes + 100));
		qcow2_cache_free(q->refs);
		q->refs = qcow2_cache_new(q->state->slice_bytes, 1);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		w[i] = (struct writer){ .img = img, .pc = pc, .id = i, .w.rng = seed * 31 + i + 1 };
		ck_assert_int_eq(pthread_create(&w[i].thread, NULL, write_work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		ck_assert_int_eq(w[i].err, 0);
	}
	ck_assert_int_eq(img_close(img), 0);
	size_t first = 0;

	for (; !powercut_is_flush(pc, first); first++)
		;
	const size_t n = powercut_ops(pc), step = n / 25 + 1;

	for (size_t cut = first + 4 + seed % step; cut <= n; cut += step) {
		check_cut(w, pc, cut, 0);
		check_cut(w, pc, cut, 1);
		check_cut(w, pc, cut, seed + cut + 2);
	}
	powercut_free(pc);
	free(w);
}

START_TEST(power_fails_under_several_threads)
{
	const char *env = getenv("COMMIT_SEED");
	const uint64_t seed = env ? strtoull(env, NULL, 0) : 1;

	power_fails_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 4096 }, 0, seed);
	power_fails_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512, .refcount_bits = 64 }, 0, seed);
	power_fails_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512 }, 4, seed);
	power_fails_on(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 16384, .extended_l2 = true }, 0, seed);
	power_fails_on(&(struct img_create){ .path = "p", .size = MIB(1), .version = 2, .cluster_size = 1024 }, 4, seed);
}
END_TEST

/* --- failures --- */

static bool dirty_bit(struct powercut *pc)
{
	size_t len;

	return powercut_data(pc, &len)[79] & 1;
}

START_TEST(dirty_bit_from_the_first_change_to_the_end)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1) });
	struct img *img = open_image(pc, true);

	ck_assert(!dirty_bit(pc));
	ck_assert(!img_dirty(img));
	ck_assert_int_eq(img_write_buf(img, 4096, "x", 1), 0);
	ck_assert(dirty_bit(pc));
	ck_assert(img_dirty(img));
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert(!img_dirty(img));
	ck_assert_int_eq(img_write_buf(img, 4097, "y", 1), 0);
	ck_assert(!img_dirty(img));             /* in place */
	ck_assert(dirty_bit(pc));
	ck_assert_int_eq(img_close(img), 0);
	ck_assert(!dirty_bit(pc));
	powercut_free(pc);
}
END_TEST

/* After a flush that failed, no metadata is written any more: the image stays as it was. */
START_TEST(failed_flush_is_final)
{
	struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .version = 2 }), *after;
	struct img *img = open_image(pc, true);
	struct img_check res = { 0 };
	uint8_t b[3];

	ck_assert_int_eq(img_write_buf(img, 0, "old", 3), 0);
	ck_assert_int_eq(img_flush(img), 0);
	ck_assert_int_eq(img_write_buf(img, KIB(128), "new", 3), 0);
	powercut_fail(pc, POWERCUT_FLUSH, 0, -EIO, false);
	ck_assert_int_eq(img_flush(img), -EIO);
	ck_assert(powercut_failed(pc));
	ck_assert_int_eq(img_flush(img), -EIO);
	ck_assert_int_ne(img_write_buf(img, KIB(256), "new", 3), 0);
	ck_assert_int_ne(img_close(img), 0);
	after = powercut_after(pc, powercut_ops(pc), 1);
	img = open_image(after, false);
	ck_assert_int_eq(img_read_buf(img, KIB(128), b, 3), 0);
	ck_assert_int_eq(memcmp(b, "\0\0\0", 3), 0);
	ck_assert_int_eq(img_read_buf(img, 0, b, 3), 0);
	ck_assert_int_eq(memcmp(b, "old", 3), 0);
	ck_assert_int_eq(img->drv->check(img, 0, &res), 0);
	ck_assert_uint_eq(res.corruptions, 0);
	img_close(img);
	powercut_free(after);
	powercut_free(pc);
}
END_TEST

/* Every write that can fail does once: the next flush, when it is possible again, makes all durable that was acknowledged. */
START_TEST(write_errors_lose_nothing)
{
	for (uint64_t nth = 0, failed = 1; failed; nth++) {
		struct powercut *pc = new_image(&(struct img_create){ .path = "p", .size = MIB(1), .cluster_size = 512, .refcount_bits = 64 });
		struct img *img = open_image(pc, true);
		struct img_check res = { 0 };
		uint8_t ok[64] = { 0 }, b;

		powercut_fail(pc, POWERCUT_WRITE | POWERCUT_ZERO, nth, -ENOSPC, false);
		for (unsigned i = 0; i < 64; i++) {
			ok[i] = img_write_buf(img, i * KIB(5), "x", 1) == 0;
			if (i % 8 == 7)
				img_flush(img);
		}
		failed = powercut_failed(pc);
		/* A header that may or may not have been written ends everything. */
		bool fine = img_flush(img) == 0;
		fine = img_close(img) == 0 && fine;
		ck_assert(fine || failed);
		if (fine) {
			img = open_image(pc, false);
			for (unsigned i = 0; i < 64; i++) {
				ck_assert_int_eq(img_read_buf(img, i * KIB(5), &b, 1), 0);
				ck_assert_int_eq(b, ok[i] ? 'x' : 0);
			}
			ck_assert_int_eq(img->drv->check(img, 0, &res), 0);
			ck_assert_uint_eq(res.corruptions, 0);
			img_close(img);
		}
		powercut_free(pc);
		ck_assert_uint_lt(nth, 2000);
	}
}
END_TEST

UNIT_MAIN("devices/block/qcow2/commit", several_threads_share_an_image, power_fails_under_several_threads,
		dirty_bit_from_the_first_change_to_the_end,
	  failed_flush_is_final, write_errors_lose_nothing)
