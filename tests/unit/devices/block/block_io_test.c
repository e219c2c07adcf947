/*
 * How requests are done: over several places, through the driver, in which order, in pieces.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <unistd.h>

#include "tests/unit/devices/block/fake_disk.h"

#define G FAKE_GRANULE

static struct disk d;
static struct job job[64];

static const enum blk_aio engines[] = { BLK_AIO_URING, BLK_AIO_THREADS };

static void end(void)
{
	disk_end(&d);
	for (unsigned i = 0; i < NELEM(job); i++)
		job_free(&job[i]);
}

static void fill(struct job *j, uint64_t len, unsigned seed)
{
	if (!j->buf)
		j->buf = malloc(len);
	for (uint64_t i = 0; i < len; i++)
		j->buf[i] = (uint8_t)(seed + i / 7 + i);
}

static void check_filled(const struct job *j, uint64_t from, uint64_t len, unsigned seed)
{
	for (uint64_t i = from; i < len; i++)
		ck_assert_uint_eq(j->buf[i], (uint8_t)(seed + i / 7 + i));
}

/* Granules in reverse order in the file: a part each; 10 scatter entries that fit no granule. */
START_TEST(many_places)
{
	for (unsigned e = 0; e < NELEM(engines); e++) {
		disk_new(&d, (struct blk_conf){ .aio = engines[e] }, 64 * G, FAKE_DATA);
		for (unsigned i = 0; i < 64; i++)
			d.f->place[i] = 63 - i;
		fill(&job[0], 16 * G, 5);
		job_go(&d, &job[0], BLK_WRITE, 3 * G + 512, 15 * G, 10);
		job_wait(&d, &job[0]);
		ck_assert_int_eq(job[0].r.ret, 0);
		ck_assert_uint_eq(job[0].r.off, 3 * G + 512);           /* as submitted */
		ck_assert_uint_eq(job[0].r.len, 15 * G);
		job_go(&d, &job[1], BLK_READ, 3 * G + 512, 15 * G, 13);
		job_wait(&d, &job[1]);
		check_filled(&job[1], 0, 15 * G, 5);
		ck_assert_uint_eq(atomic_load(&d.f->writes), 0);
		ck_assert_uint_eq(atomic_load(&d.f->reads), 0);
		uint8_t b;
		bfile_read(d.f->img.file, 60 * G + 512, &b, 1);         /* granule 3 is at place 60 */
		ck_assert_uint_eq(b, job[1].buf[0]);
		end();
	}
}
END_TEST

/* More places than parts are made for: the driver's loop does it, with the same result. */
START_TEST(too_many_places)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_DATA);
	for (unsigned i = 0; i < 64; i++)
		d.f->place[i] = 63 - i;
	fill(&job[0], 60 * G, 9);
	job_go(&d, &job[0], BLK_WRITE, 512, 60 * G, 50);
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 1);
	job_go(&d, &job[1], BLK_READ, 512, 60 * G, 3);
	job_wait(&d, &job[1]);
	check_filled(&job[1], 0, 60 * G, 9);
	end();
}
END_TEST

/* Missing without a backing, zero, compressed and plain granules in one read. */
START_TEST(kinds)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_ZERO);
	d.f->state[2] = FAKE_MISSING;
	job_go(&d, &job[0], BLK_READ, 1024, 8 * G, 30);
	job_wait(&d, &job[0]);
	for (unsigned i = 0; i < 8 * G; i++)
		ck_assert_uint_eq(job[0].buf[i], 0);
	ck_assert_uint_eq(atomic_load(&d.f->reads), 0);
	d.f->state[3] = FAKE_OPAQUE;
	d.f->state[4] = FAKE_DATA;
	job_go(&d, &job[1], BLK_READ, 0, 8 * G, 30);
	job_wait(&d, &job[1]);
	for (unsigned i = 0; i < 8 * G; i++)
		ck_assert_uint_eq(job[1].buf[i], i / G == 3 ? 3 : 0);
	ck_assert_uint_ge(atomic_load(&d.f->reads), 1);
	end();
}
END_TEST

/* A write that allocates holds its granule, and only that. */
START_TEST(order)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_MISSING);
	d.f->state[5] = FAKE_DATA;
	d.f->gated = true;
	fill(&job[0], 512, 1);
	fill(&job[2], 512, 2);
	fill(&job[3], 512, 3);
	job_go(&d, &job[0], BLK_WRITE, 512, 512, 1);            /* at the gate */
	fake_entered(d.f, 1);
	job_go(&d, &job[1], BLK_READ, 0, G, 1);
	job_go(&d, &job[2], BLK_WRITE, 1024, 512, 1);
	job_go(&d, &job[3], BLK_WRITE, 5 * G, 512, 1);          /* in place */
	job_wait(&d, &job[3]);
	disk_spin(&d, 20);
	ck_assert_uint_eq(d.done, 1);
	fake_entered(d.f, 1);                                   /* the second write has not come so far */
	fake_let(d.f, 1);
	job_wait(&d, &job[0]);
	job_wait(&d, &job[1]);
	job_wait(&d, &job[2]);                                  /* in place by now: past no gate */
	ck_assert_uint_lt(job[0].seq, job[1].seq);
	check_filled(&(struct job){ .buf = job[1].buf + 512 }, 0, 512, 1);
	ck_assert_uint_eq(job[1].buf[0], 0);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 1);
	end();
}
END_TEST

/* Readers that keep coming do not starve a writer: first come, first served. */
START_TEST(no_starvation)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_OPAQUE);
	d.f->gated = true;
	d.f->state[9] = FAKE_DATA;
	fill(&job[1], G, 7);
	job_go(&d, &job[0], BLK_READ, 0, 512, 1);
	fake_entered(d.f, 1);
	job_go(&d, &job[1], BLK_WRITE, 0, G, 1);
	for (unsigned i = 2; i < 6; i++)
		job_go(&d, &job[i], BLK_READ, 0, 512, 1);
	job_go(&d, &job[6], BLK_READ, 9 * G, 512, 1);           /* somewhere else: not held up */
	job_wait(&d, &job[6]);
	fake_entered(d.f, 1);
	fake_let(d.f, 1);
	job_wait(&d, &job[0]);
	fake_entered(d.f, 2);                                   /* the write */
	ck_assert_uint_eq(job[1].seq, 0);
	fake_let(d.f, 1);
	for (unsigned i = 1; i < 6; i++)
		job_wait(&d, &job[i]);
	for (unsigned i = 2; i < 6; i++) {
		ck_assert_uint_lt(job[1].seq, job[i].seq);
		check_filled(&job[i], 0, 512, 7);
	}
	end();
}
END_TEST

/* 2 GiB go in pieces; what overlaps gets its turn between them. */
START_TEST(pieces)
{
	disk_new(&d, (struct blk_conf){ 0 }, GIB(4), FAKE_MISSING);
	job_go(&d, &job[0], BLK_DISCARD, 12288, GIB(2), 0);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, 0);
	ck_assert_uint_eq(job[0].r.len, GIB(2));
	ck_assert_uint_eq(atomic_load(&d.f->discards), 33);     /* cut at multiples */
	ck_assert_uint_le(d.f->longest, MIB(64));
	d.f->gated = true;
	const unsigned before = atomic_load(&d.f->entered);
	job_go(&d, &job[1], BLK_WRITE_ZEROES, 0, MIB(64), 0);
	fill(&job[2], 512, 3);
	fake_entered(d.f, before + 1);
	job_go(&d, &job[2], BLK_WRITE, 512, 512, 1);            /* in the first piece */
	fake_let(d.f, 3);
	job_wait(&d, &job[2]);
	ck_assert_uint_eq(job[1].seq, 0);
	fake_let(d.f, 64);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->zeroes), 16);
	end();
}
END_TEST

/* A flush that failed may have lost what was written: no later one says that all is well. */
START_TEST(flush_fails)
{
	disk_new(&d, (struct blk_conf){ .aio = BLK_AIO_THREADS }, 64 * G, FAKE_DATA);
	const int fd = d.f->img.file->fd;
	int p[2];
	ck_assert_int_eq(pipe(p), 0);
	d.f->img.file->fd = p[0];                               /* nothing that can be flushed */
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, -EINVAL);
	d.f->img.file->fd = fd;
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, -EINVAL);
	close(p[0]);
	close(p[1]);
	end();
	/* The driver's own can be tried again: what it could not write it still has. */
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_DATA);
	atomic_store(&d.f->is_dirty, true);
	atomic_store(&d.f->fail, -EIO);
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, -EIO);
	atomic_store(&d.f->is_dirty, true);
	atomic_store(&d.f->fail, 0);
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_int_eq(job[0].r.ret, 0);
	end();
}
END_TEST

START_TEST(flushes)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_DATA);
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 0);       /* clean: the file alone */
	atomic_store(&d.f->is_dirty, true);
	job_go(&d, &job[0], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 1);
	fill(&job[1], G, 1);
	job_go_fua(&d, &job[1], 0, G);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 1);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 0);
	atomic_store(&d.f->is_dirty, true);
	job_go_fua(&d, &job[1], 0, G);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 2);
	d.f->state[1] = FAKE_MISSING;
	job_go_fua(&d, &job[1], G, G);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->writes), 1);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 3);
	end();
}
END_TEST

/* A file without a descriptor: everything through the driver. */
START_TEST(no_descriptor)
{
	disk_new(&d, (struct blk_conf){ 0 }, 64 * G, FAKE_DATA);
	const int fd = d.f->img.file->fd;
	fill(&job[0], 3 * G, 8);
	job_go(&d, &job[0], BLK_WRITE, 0, 3 * G, 3);
	job_wait(&d, &job[0]);
	d.f->img.file->fd = -1;
	d.f->state[1] = FAKE_OPAQUE;
	job_go(&d, &job[1], BLK_READ, G, G, 1);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(job[1].buf[100], 1);
	ck_assert_uint_eq(atomic_load(&d.f->reads), 1);
	job_go(&d, &job[2], BLK_FLUSH, 0, 0, 0);
	job_wait(&d, &job[2]);
	ck_assert_uint_eq(atomic_load(&d.f->flushes), 1);
	d.f->img.file->fd = fd;
	end();
}
END_TEST

START_TEST(zeroes_seen)
{
	disk_new(&d, (struct blk_conf){ .detect_zeroes = true }, 64 * G, FAKE_DATA);
	job[0].buf = calloc(1, 2 * G);
	job_go(&d, &job[0], BLK_WRITE, 0, 2 * G, 7);
	job_wait(&d, &job[0]);
	ck_assert_uint_eq(atomic_load(&d.f->zeroes), 1);
	ck_assert_int_eq(job[0].r.op, BLK_WRITE);
	ck_assert_uint_eq(d.f->state[1], FAKE_ZERO);
	job[0].buf[2 * G - 1] = 1;
	job_go(&d, &job[0], BLK_WRITE, 8 * G, 2 * G, 7);
	job[1].buf = calloc(1, 2 * G);
	job[1].buf[3] = 1;
	job_go(&d, &job[1], BLK_WRITE, 16 * G, 2 * G, 1);
	job_wait(&d, &job[0]);
	job_wait(&d, &job[1]);
	ck_assert_uint_eq(atomic_load(&d.f->zeroes), 1);
	end();
}
END_TEST

/* --- Everything at once, against a shadow --- */

#define S_GRANULES 24u
#define S_SECTORS (S_GRANULES * G / 512)

static uint8_t shadow[S_SECTORS * 512];
static bool taken[S_SECTORS];
static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* Requests of the guest never overlap, as what would be right is undefined then; their granules do. */
static bool claim(uint32_t from, uint32_t n, bool take)
{
	for (uint32_t i = from; i < from + n; i++) {
		if (take && taken[i])
			return false;
	}
	for (uint32_t i = from; i < from + n; i++)
		taken[i] = take;
	return true;
}

static void stress_done(struct job *j)
{
	const uint64_t off = j->r.off, len = j->r.len;

	ck_assert_int_eq(j->r.ret, 0);
	if (j->r.op == BLK_READ)
		ck_assert_mem_eq(j->buf, shadow + off, len);
	else if (j->r.op == BLK_WRITE)
		memcpy(shadow + off, j->buf, len);
	else
		memset(shadow + off, 0, len);
	claim((uint32_t)(off / 512), (uint32_t)(len / 512), false);
}

static void stress(enum blk_aio aio)
{
	static bool used[32];
	disk_new(&d, (struct blk_conf){ .aio = aio }, S_SECTORS * 512, FAKE_MISSING);
	d.f->linger_us = 50;
	for (unsigned g = 0; g < S_GRANULES; g++)
		d.f->place[g] = (g * 7) % S_GRANULES;
	memset(shadow, 0, sizeof(shadow));
	for (unsigned round = 0; round < 4000; round++) {
		const unsigned i = rnd(32);
		struct job *j = &job[i];
		if (used[i]) {
			job_wait(&d, j);
			stress_done(j);
			job_free(j);
			used[i] = false;
		}
		const uint32_t from = rnd(S_SECTORS), n = 1 + rnd(MIN(S_SECTORS - from, 40u)), kind = rnd(10);
		if (!claim(from, n, true))
			continue;
		const enum blk_op op = kind < 4 ? BLK_READ : kind < 9 ? BLK_WRITE : BLK_WRITE_ZEROES;
		if (op == BLK_WRITE)
			fill(j, n * 512, round);
		job_go(&d, j, op, from * 512, n * 512, 1 + rnd(9));
		used[i] = true;
	}
	for (unsigned i = 0; i < 32; i++) {
		if (!used[i])
			continue;
		job_wait(&d, &job[i]);
		stress_done(&job[i]);
		used[i] = false;
	}
	end();
}
START_TEST(shadowed)
{
	for (seed = 1; seed < 4; ) {
		const uint32_t first = seed;
		stress(BLK_AIO_URING);
		stress(BLK_AIO_THREADS);
		seed = first + 1;
	}
}
END_TEST

UNIT_MAIN("devices/block/block_io", many_places, too_many_places, kinds, order, no_starvation, pieces, flush_fails, flushes, no_descriptor,
	  zeroes_seen, shadowed)
