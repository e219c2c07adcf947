/*
 * Crash tests with several threads at one image.  Each writes, zeroes and discards granules of its own, all flush; the clusters
 * share L2 tables and refcount blocks, so commits, allocations and table loads meet in all ways.  What is certain after a cut: for
 * each sector the last operation that had returned before the call of a flush which had itself returned before the cut.
 * Chance decides who comes first, so a failing seed need not fail again.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/devices/block/qcow2/crash.h"

#define SECTOR 512u
#define THREADS 4u
#define OPS_MAX 400u
#define NO_CUT SIZE_MAX

struct op {
	unsigned start_seq, end_seq;    /* order in time */
	size_t start, end;              /* entries of the log */
	uint64_t first, n;              /* sectors; n 0: a flush */
	uint32_t stamp;                 /* 0: zeroes */
	bool discard;
};

struct worker {
	struct crew *crew;
	pthread_t thread;
	unsigned index, nops;
	uint64_t rng;
	struct op op[OPS_MAX];
	bool failed;
};

struct crew {
	const struct crash_conf *conf;
	const struct crash_run *run;
	struct powercut *pc;
	struct img *img;
	atomic_uint seq, stamp;
	struct worker w[THREADS];
	uint8_t *buf;
};

static uint64_t rnd(struct worker *w, uint64_t below)
{
	w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
	return (w->rng >> 33) % below;
}

static void fill(uint8_t *buf, uint64_t sector, uint64_t n, uint32_t stamp)
{
	for (uint64_t i = 0; i < n * SECTOR / 8; i++)
		put_le64(buf + i * 8, (uint64_t)stamp << 32 | (uint32_t)(sector + i / (SECTOR / 8)));
}

static uint32_t value_of(const uint8_t *buf, uint64_t sector)
{
	const uint64_t v = get_le64(buf);

	for (unsigned i = 8; i < SECTOR; i += 8)
		if (get_le64(buf + i) != v)
			return UINT32_MAX;
	return !v ? 0 : (uint32_t)v == sector && v >> 32 ? (uint32_t)(v >> 32) : UINT32_MAX;
}

/* Long enough for the others to get in between. */
static int (*plain_flush)(struct bfile *);
static int slow_flush(struct bfile *f)
{
	usleep(100);
	return plain_flush(f);
}

/* Granules go round the threads: thread i has every fourth. */
static void pick(struct worker *w, struct op *o)
{
	const struct crash_conf *const k = w->crew->conf;
	const uint64_t per = k->cluster / SECTOR, granules = k->size / k->cluster / THREADS;
	const uint64_t at = rnd(w, per), g = rnd(w, granules) * THREADS + w->index;

	o->first = g * per;
	o->n = per;
	if (rnd(w, 2)) {
		o->first += at;
		o->n = 1 + rnd(w, per - at);
	}
}

static int one_op(struct worker *w, struct op *o, uint8_t *buf)
{
	struct crew *const c = w->crew;
	const uint64_t dice = rnd(w, 100);
	int r;

	*o = (struct op){ .start = powercut_ops(c->pc), .start_seq = atomic_fetch_add(&c->seq, 1) };
	if (dice < 15) {
		r = img_flush(c->img);
	} else {
		pick(w, o);
		if (dice < 30) {
			r = img_zero(c->img, o->first * SECTOR, o->n * SECTOR, dice < 22 ? IMG_UNMAP : 0);
		} else if (dice < 36) {
			o->discard = true;
			r = img_discard(c->img, o->first * SECTOR, o->n * SECTOR);
		} else {
			o->stamp = atomic_fetch_add(&c->stamp, 1) + 1;
			fill(buf, o->first, o->n, o->stamp);
			r = img_write_buf(c->img, o->first * SECTOR, buf, o->n * SECTOR);
		}
	}
	o->end_seq = atomic_fetch_add(&c->seq, 1);
	o->end = powercut_ops(c->pc);
	return r;
}

static void *work(void *arg)
{
	struct worker *const w = arg;
	uint8_t *const buf = malloc(w->crew->conf->cluster);

	for (; w->nops < MIN(w->crew->run->ops, OPS_MAX) && !w->failed; w->nops++)
		w->failed = one_op(w, &w->op[w->nops], buf);
	free(buf);
	return NULL;
}

/* The last flush that was over at the cut makes what ended before it began certain.  Without a cut all is. */
static unsigned certain_before(const struct crew *c, size_t cut)
{
	unsigned seq = 0;

	if (cut == NO_CUT)
		return UINT32_MAX;
	for (unsigned t = 0; t < THREADS; t++)
		for (unsigned i = 0; i < c->w[t].nops; i++)
			if (!c->w[t].op[i].n && c->w[t].op[i].end <= cut)
				seq = MAX(seq, c->w[t].op[i].start_seq);
	return seq;
}

/* From newest to oldest: what may have happened, down to what is certain.  A discard leaves what was there, or zeroes. */
static bool allowed(const struct worker *w, size_t cut, unsigned certain, uint64_t s, uint32_t v)
{
	for (unsigned i = w->nops; i--;) {
		const struct op *const o = &w->op[i];

		if (s < o->first || s >= o->first + o->n || o->start >= cut)
			continue;
		if (v == o->stamp)
			return true;
		if (o->end_seq < certain && !o->discard)
			return false;
	}
	return v == 0;
}

static struct img *open_image(struct crew *c, struct powercut *pc, bool writable)
{
	struct img *img = calloc(1, img_qcow2.size);

	img->drv = &img_qcow2;
	img->file = powercut_open(pc, "image", writable);
	img->read_only = !writable;
	img->no_backing = true;
	img->check = !writable;
	img->cache_max = c->conf->cache_max;
	if (!img_qcow2.open(img))
		return img;
	bfile_close(img->file);
	free(img);
	return NULL;
}

static int fail(const struct crew *c, size_t cut, const char *what, uint64_t a, uint64_t b)
{
	char text[64];

	fprintf(stderr, "crash test with threads '%s', seed %llu, cut %zd: %s (%llu, %#llx)\n", c->conf->name,
		(unsigned long long)c->run->seed, (ssize_t)cut, what, (unsigned long long)a, (unsigned long long)b);
	for (size_t i = cut > 25 ? cut - 25 : 0; i < cut && cut != NO_CUT; i++)
		fprintf(stderr, "  log %zu: %s\n", i, powercut_describe(c->pc, i, text, sizeof(text)));
	return -1;
}

static int verify(struct crew *c, struct img *img, size_t cut, bool refcounts)
{
	const uint64_t per = c->conf->cluster / SECTOR;
	const unsigned certain = certain_before(c, cut);
	struct img_check res = { 0 };

	if (img_read_buf(img, 0, c->buf, c->conf->size))
		return fail(c, cut, "it cannot be read", 0, 0);
	for (uint64_t s = 0; s < c->conf->size / SECTOR; s++) {
		const uint32_t v = value_of(c->buf + s * SECTOR, s);

		if (!allowed(&c->w[s / per % THREADS], cut, certain, s, v))
			return fail(c, cut, "a sector holds what it cannot", s, v);
	}
	if (qcow2_check(img, 0, &res))
		return fail(c, cut, "it cannot be checked", 0, 0);
	if (refcounts && (res.corruptions || res.errors))
		return fail(c, cut, "corruptions", res.corruptions, res.errors);
	return 0;
}

static int outcome(struct crew *c, size_t cut, uint64_t chance, struct crash_stats *stats)
{
	struct powercut *const after = powercut_after(c->pc, cut, chance);
	struct img *img = open_image(c, after, false);
	int r = img ? verify(c, img, cut, !c->conf->lazy) : fail(c, cut, "it does not open", chance, 0);

	img_close(img);
	stats->outcomes++;
	if (!r && (c->conf->lazy || cut % 3 == 0)) {
		img = open_image(c, after, true);
		r = img ? verify(c, img, cut, true) : fail(c, cut, "it does not open for use", chance, 0);
		img_close(img);
		stats->repaired++;
	}
	powercut_free(after);
	return r;
}

static int run_crew(struct crew *c)
{
	struct bfile_ops slow;
	int r = 0;

	c->img = open_image(c, c->pc, true);
	if (!c->img)
		return fail(c, NO_CUT, "it does not open at first", 0, 0);
	slow = *c->img->file->ops;
	plain_flush = slow.flush;
	slow.flush = slow_flush;
	c->img->file->ops = &slow;
	for (unsigned i = 0; i < THREADS; i++) {
		c->w[i] = (struct worker){ .crew = c, .index = i, .rng = c->run->seed * THREADS + i };
		r |= pthread_create(&c->w[i].thread, NULL, work, &c->w[i]);
	}
	for (unsigned i = 0; i < THREADS && !r; i++) {
		pthread_join(c->w[i].thread, NULL);
		if (c->w[i].failed)
			r = fail(c, NO_CUT, "an operation failed", i, c->w[i].nops);
	}
	if (!r)
		r = verify(c, c->img, NO_CUT, false);
	return img_close(c->img) && !r ? fail(c, NO_CUT, "closing", 0, 0) : r;
}

static struct powercut *make(const struct crash_conf *k)
{
	char dir[64], path[96];
	struct img_create create = {
		.path = path, .format = "qcow2", .size = k->size, .cluster_size = k->cluster, .version = k->version,
		.refcount_bits = k->refcount_bits, .lazy_refcounts = k->lazy, .extended_l2 = k->extended,
	};
	struct powercut *pc = NULL;

	snprintf(dir, sizeof(dir), "%s/skep-crash-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(dir))
		return NULL;
	snprintf(path, sizeof(path), "%s/image", dir);
	if (!img_create(&create))
		pc = powercut_load(path);
	unlink(path);
	rmdir(dir);
	return pc;
}

int crash_threads(const struct crash_conf *conf, const struct crash_run *run, struct crash_stats *stats)
{
	struct crew *const c = calloc(1, sizeof(*c));
	int r;

	log_set_level(LOG_ERROR, LOG_ERROR);
	c->conf = conf;
	c->run = run;
	c->buf = malloc(conf->size);
	c->pc = make(conf);
	r = c->pc ? run_crew(c) : fail(c, NO_CUT, "the image cannot be made", 0, 0);
	for (size_t cut = 1; !r && cut <= powercut_ops(c->pc) && !crash_time_is_up(run); cut += run->step) {
		stats->points++;
		for (uint64_t chance = 0; chance < run->chances && !r; chance++)
			r = outcome(c, cut, chance < 2 ? chance : run->seed * 1000 + cut * 16 + chance, stats);
	}
	powercut_free(c->pc);
	free(c->buf);
	free(c);
	return r;
}
