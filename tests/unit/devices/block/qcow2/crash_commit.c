/*
 * Crash test of folding an overlay back: what it holds is written into its base, the base is flushed, then the overlay is emptied.
 * The disk that the two show together is the same after a cut anywhere in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/devices/block/powercut.h"
#include "tests/unit/devices/block/qcow2/crash.h"

struct pair {
	const struct crash_conf *conf;
	const struct crash_run *run;
	struct powercut *top, *base;
	uint8_t *want, *buf;
};

static int fail(const struct pair *p, const char *what, size_t cut)
{
	fprintf(stderr, "crash test of commit '%s', CRASH_SEED=%llu, cut %zu: %s\n", p->conf->name,
		(unsigned long long)p->run->seed, cut, what);
	return -1;
}

static struct img *open_one(struct powercut *pc, const char *name, bool writable)
{
	int err;

	return img_open_file(powercut_open(pc, name, writable), &img_qcow2, &err);
}

static struct img *open_pair(struct powercut *top, struct powercut *base, bool writable)
{
	struct img *const b = open_one(base, "base", writable), *const t = b ? open_one(top, "top", writable) : NULL;

	if (t)
		t->backing = b;
	else
		img_close(b);
	return t;
}

static struct powercut *make(const struct crash_conf *k, bool top)
{
	char dir[64], path[96];
	struct img_create create = {
		.path = path, .format = "qcow2", .size = k->size, .cluster_size = top ? k->cluster : 4096, .version = k->version,
		.refcount_bits = k->refcount_bits, .lazy_refcounts = k->lazy, .extended_l2 = top && k->extended,
		.backing = top ? "base" : NULL, .backing_format = top ? "qcow2" : NULL,
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

/* Random writes into one of the two, zeroes among them. */
static int scribble(const struct pair *p, struct img *img, uint64_t seed)
{
	for (uint64_t i = 0, x = seed; i < p->run->ops; i++) {
		uint64_t off, len;
		int r;

		x = x * 6364136223846793005u + 1442695040888963407u;
		off = (x >> 20) % (p->conf->size / 512) * 512;
		len = MIN(512 * (1 + (x >> 44) % 40), p->conf->size - off);
		memset(p->buf, (int)(1 + i % 250), len);
		r = i % 5 == 4 ? img_zero(img, off, len, IMG_UNMAP) : img_write_buf(img, off, p->buf, len);
		if (r)
			return r;
	}
	return img_flush(img);
}

static int fold_back(const struct pair *p, struct img *top, struct img *base)
{
	int r = 0;

	for (uint64_t off = 0; off < top->size && !r;) {
		struct img_seg s;

		r = top->drv->map(top, off, top->size - off, 0, &s);
		if (!r && s.kind != IMG_NONE) {
			r = img_read_buf(top, off, p->buf, s.len);
			if (!r)
				r = img_write_buf(base, off, p->buf, s.len);
		}
		off += s.len;
	}
	if (!r)
		r = img_flush(base);
	return r ? r : top->drv->discard_all(top);
}

static int verify(const struct pair *p, struct powercut *top, struct powercut *base, size_t cut)
{
	struct img *const img = open_pair(top, base, true);
	struct img_check res = { 0 };
	int r = 0;

	if (!img)
		return fail(p, "they do not open", cut);
	if (img_read_buf(img, 0, p->buf, img->size) || memcmp(p->buf, p->want, img->size))
		r = fail(p, "the disk has changed", cut);
	for (struct img *i = img; i && !r; i = i->backing)
		if (qcow2_check(i, 0, &res) || res.corruptions || res.errors)
			r = fail(p, i == img ? "the overlay is corrupt" : "the base is corrupt", cut);
	if (img_close(img) && !r)
		r = fail(p, "closing", cut);
	return r;
}

/* While the base is written the overlay is as it was; when that begins to change the base is complete. */
static int cut_one(const struct pair *p, struct powercut *log, struct powercut *other, bool log_is_top,
		   struct crash_stats *stats)
{
	int r = 0;

	for (size_t cut = 0; !r && cut <= powercut_ops(log) && !crash_time_is_up(p->run); cut += p->run->step) {
		stats->points++;
		for (uint64_t chance = 0; chance < p->run->chances && !r; chance++) {
			const uint64_t seed = chance < 2 ? chance : p->run->seed * 100 + cut * 16 + chance;
			struct powercut *const a = powercut_after(log, cut, seed);
			struct powercut *const b = powercut_after(other, log_is_top ? powercut_ops(other) : 0, 1);

			stats->outcomes++;
			r = log_is_top ? verify(p, a, b, cut) : verify(p, b, a, cut);
			powercut_free(a);
			powercut_free(b);
		}
	}
	return r;
}

/* The log of the overlay's making is not of interest: it starts anew. */
static void begin(struct powercut **pc)
{
	struct powercut *const fresh = powercut_after(*pc, powercut_ops(*pc), 1);

	powercut_free(*pc);
	*pc = fresh;
}

static int prepare(struct pair *p)
{
	struct img *img;
	int r;

	p->top = make(p->conf, true);
	p->base = make(p->conf, false);
	img = p->top && p->base ? open_pair(p->top, p->base, true) : NULL;
	if (!img)
		return fail(p, "they cannot be made", 0);
	r = scribble(p, img->backing, p->run->seed);
	if (!r)
		r = scribble(p, img, p->run->seed + 1);
	if (!r)
		r = img_read_buf(img, 0, p->want, img->size);
	r |= img_close(img);
	begin(&p->top);
	begin(&p->base);
	return r ? fail(p, "they cannot be written", 0) : 0;
}

int crash_commit(const struct crash_conf *conf, const struct crash_run *run, struct crash_stats *stats)
{
	struct pair p = { .conf = conf, .run = run, .want = malloc(conf->size), .buf = malloc(conf->size) };
	struct img *img = NULL;
	int r;

	log_set_level(LOG_ERROR, LOG_ERROR);
	r = prepare(&p);
	if (!r) {
		img = open_pair(p.top, p.base, true);
		r = img ? fold_back(&p, img, img->backing) : -1;
		if (r)
			fail(&p, "folding it back", 0);
		img_close(img);
	}
	if (!r)
		r = cut_one(&p, p.base, p.top, false, stats);
	if (!r)
		r = cut_one(&p, p.top, p.base, true, stats);
	powercut_free(p.top);
	powercut_free(p.base);
	free(p.want);
	free(p.buf);
	return r;
}
