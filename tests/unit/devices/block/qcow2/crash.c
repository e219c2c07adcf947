#include "tests/unit/devices/block/qcow2/crash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devices/block/qcow2/qcow2.h"
#include "tests/unit/devices/block/powercut.h"

#define SECTOR 512u
#define STAMP_BASE 1u                   /* in the backing image, and in what is compressed */
#define SNAPS_MAX 5u

const struct crash_conf crash_confs[] = {
	{ .name = "512", .size = KIB(768), .cluster = 512, .cache_max = KIB(4) },
	{ .name = "512-snap", .size = KIB(256), .cluster = 512, .cache_max = KIB(4), .snapshots = true, .resize = true },
	{ .name = "512-ref64", .size = KIB(384), .cluster = 512, .refcount_bits = 64, .cache_max = KIB(2) },
	{ .name = "1k-ref1", .size = KIB(512), .cluster = 1024, .refcount_bits = 1, .cache_max = KIB(8), .resize = true },
	{ .name = "1k-v2", .size = KIB(512), .cluster = 1024, .version = 2, .cache_max = KIB(8), .snapshots = true },
	{ .name = "1k-v2-backing", .size = KIB(512), .cluster = 1024, .version = 2, .backing = true, .cache_max = KIB(8) },
	{ .name = "2k-backing-snap", .size = KIB(768), .cluster = 2048, .backing = true, .snapshots = true, .cache_max = KIB(8) },
	{ .name = "4k", .size = MIB(2), .cluster = 4096, .cache_max = KIB(16), .resize = true },
	{ .name = "4k-lazy", .size = MIB(2), .cluster = 4096, .lazy = true, .cache_max = KIB(16), .snapshots = true },
	{ .name = "4k-compressed", .size = MIB(1), .cluster = 4096, .compressed = true, .snapshots = true, .cache_max = KIB(16) },
	{ .name = "16k-ext", .size = MIB(2), .cluster = 16384, .extended = true, .cache_max = KIB(16), .resize = true },
	{ .name = "16k-ext-backing-snap", .size = MIB(1), .cluster = 16384, .extended = true, .backing = true, .snapshots = true,
	  .cache_max = KIB(16) },
	{ .name = "64k", .size = MIB(4), .cluster = 65536, .cache_max = MIB(1) },
	{ .name = "64k-backing-lazy", .size = MIB(2), .cluster = 65536, .backing = true, .lazy = true, .cache_max = MIB(1) },
	{ .name = "64k-snap-ref8", .size = MIB(1), .cluster = 65536, .refcount_bits = 8, .snapshots = true, .cache_max = KIB(64) },
	{ .name = NULL },
};

/* --- The model: a value for each sector, 0 being zeroes --- */

enum ev_kind { EV_WRITE, EV_ZERO, EV_DISCARD, EV_FLUSH, EV_SNAP, EV_UNSNAP, EV_APPLY, EV_RESIZE };

struct ev {
	enum ev_kind kind;
	size_t start, end;              /* entries of the log */
	uint64_t first, n;              /* sectors */
	uint32_t stamp;                 /* EV_WRITE */
	uint32_t *after;                /* EV_DISCARD: first..first+n-1; EV_APPLY: all */
	unsigned snap;
	uint64_t size;                  /* EV_APPLY, EV_RESIZE */
};

struct snap {
	char name[16];
	uint32_t *values;
	uint64_t size;
	bool live, base_live;           /* at the end of the workload so far; at the base */
};

struct crash {
	const struct crash_conf *conf;
	const struct crash_run *run;
	struct crash_stats *stats;
	char dir[64], image[96], base_path[96];
	struct powercut *pc, *below;
	uint64_t rng, max_sectors, size;
	uint32_t *now, *base;
	uint64_t base_size;
	uint32_t stamp;
	struct ev *ev;
	unsigned nev, base_ev;
	struct snap *snaps;
	unsigned nsnaps;
	uint8_t *buf;
	uint64_t cut_seed;
	size_t cut;
	bool failed;
};

static uint64_t rnd(struct crash *c, uint64_t below)
{
	c->rng ^= c->rng << 13;
	c->rng ^= c->rng >> 7;
	c->rng ^= c->rng << 17;
	return (c->rng >> 8) % below;
}

static int fail(struct crash *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int fail(struct crash *c, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "crash test '%s', CRASH_SEED=%llu, %u operations", c->conf->name, (unsigned long long)c->run->seed,
		c->run->ops);
	if (c->cut)
		fprintf(stderr, ", cut %zu, outcome %llu", c->cut, (unsigned long long)c->cut_seed);
	fprintf(stderr, ": ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	c->failed = true;
	return -1;
}

static void fill(uint8_t *buf, uint64_t sector, uint64_t n, uint32_t stamp)
{
	for (uint64_t i = 0; i < n * SECTOR / 8; i++)
		put_le64(buf + i * 8, stamp ? (uint64_t)stamp << 32 | (uint32_t)(sector + i / (SECTOR / 8)) : 0);
}

/* The value a sector's bytes stand for; UINT32_MAX: none. */
static uint32_t value_of(const uint8_t *buf, uint64_t sector)
{
	const uint64_t v = get_le64(buf);

	for (unsigned i = 8; i < SECTOR; i += 8)
		if (get_le64(buf + i) != v)
			return UINT32_MAX;
	if (!v)
		return 0;
	return (uint32_t)v == sector && v >> 32 ? (uint32_t)(v >> 32) : UINT32_MAX;
}

/* --- Images --- */

static struct img *open_image(struct crash *c, struct powercut *pc, bool writable, bool check)
{
	struct img *img = calloc(1, img_qcow2.size);

	img->drv = &img_qcow2;
	img->file = powercut_open(pc, c->image, writable);
	img->read_only = !writable;
	img->no_backing = true;
	img->check = check;
	img->cache_max = c->conf->cache_max;
	if (img_qcow2.open(img)) {
		bfile_close(img->file);
		free(img->backing_path);
		free(img->backing_format);
		free(img);
		return NULL;
	}
	if (c->below) {
		int err;

		img->backing = img_open_file(powercut_open(c->below, c->base_path, false), &img_raw, &err);
	}
	return img;
}

static void write_base(struct crash *c, uint64_t bytes)
{
	FILE *f = fopen(c->base_path, "w");

	for (uint64_t s = 0; s < bytes / SECTOR; s++) {
		fill(c->buf, s, 1, STAMP_BASE);
		fwrite(c->buf, 1, SECTOR, f);
		c->now[s] = STAMP_BASE;
	}
	fclose(f);
}

static int make_image(struct crash *c)
{
	const struct crash_conf *const k = c->conf;
	const struct img_create create = {
		.path = c->image, .format = "qcow2", .size = k->size, .cluster_size = k->cluster, .version = k->version,
		.refcount_bits = k->refcount_bits, .lazy_refcounts = k->lazy, .extended_l2 = k->extended,
		.backing = k->backing ? c->base_path : NULL, .backing_format = k->backing ? "raw" : NULL,
	};
	char cmd[512];

	if (k->backing || k->compressed)
		write_base(c, k->compressed ? k->size : k->size / 4 * 3);
	if (k->compressed) {
		snprintf(cmd, sizeof(cmd), "qemu-img convert -c -f raw -O qcow2 -o cluster_size=%u %s %s", k->cluster, c->base_path,
			 c->image);
		if (system(cmd))
			return fail(c, "%s", cmd);
	} else if (img_create(&create)) {
		return fail(c, "the image cannot be made");
	}
	c->pc = powercut_load(c->image);
	if (k->backing)
		c->below = powercut_load(c->base_path);
	return 0;
}

static int setup(struct crash *c, const struct crash_conf *conf, const struct crash_run *run, struct crash_stats *stats)
{
	*c = (struct crash){ .conf = conf, .run = run, .stats = stats, .stamp = STAMP_BASE, .size = conf->size,
			     .rng = run->seed * 0x9e3779b97f4a7c15u + 1, .max_sectors = conf->size * 2 / SECTOR };
	snprintf(c->dir, sizeof(c->dir), "%s/skep-crash-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	if (!mkdtemp(c->dir))
		return fail(c, "no temporary directory");
	snprintf(c->image, sizeof(c->image), "%s/image", c->dir);
	snprintf(c->base_path, sizeof(c->base_path), "%s/base", c->dir);
	c->now = calloc(c->max_sectors, sizeof(*c->now));
	c->base = calloc(c->max_sectors, sizeof(*c->base));
	c->ev = calloc(run->ops + 2u, sizeof(*c->ev));
	c->snaps = calloc(run->ops + 1u, sizeof(*c->snaps));
	c->buf = malloc(c->max_sectors * SECTOR);
	for (unsigned i = 0; i < 8; i++)
		rnd(c, 2);
	log_set_level(LOG_ERROR, LOG_ERROR);    /* what is damaged on purpose need not be listed */
	if (make_image(c))
		return -1;
	memcpy(c->base, c->now, c->max_sectors * sizeof(*c->now));
	c->base_size = c->size;
	return 0;
}

static void cleanup(struct crash *c)
{
	unlink(c->image);
	unlink(c->base_path);
	rmdir(c->dir);
	for (unsigned i = 0; i < c->nev; i++)
		free(c->ev[i].after);
	for (unsigned i = 0; i < c->nsnaps; i++)
		free(c->snaps[i].values);
	free(c->now);
	free(c->base);
	free(c->ev);
	free(c->snaps);
	free(c->buf);
	powercut_free(c->pc);
	powercut_free(c->below);
}

/* --- The workload --- */

static uint32_t *copy_values(const uint32_t *v, uint64_t n)
{
	uint32_t *const p = malloc((n + 1) * sizeof(*p));

	memcpy(p, v, n * sizeof(*p));
	return p;
}

static void set_values(uint32_t *v, uint64_t first, uint64_t n, uint32_t stamp)
{
	for (uint64_t i = first; i < first + n; i++)
		v[i] = stamp;
}

/* What an operation makes of all values. */
static void apply_ev(const struct crash *c, const struct ev *e, uint32_t *v, uint64_t *size)
{
	switch (e->kind) {
	case EV_WRITE: set_values(v, e->first, e->n, e->stamp); break;
	case EV_ZERO: set_values(v, e->first, e->n, 0); break;
	case EV_DISCARD: memcpy(v + e->first, e->after, e->n * sizeof(*v)); break;
	case EV_APPLY: memcpy(v, e->after, c->max_sectors * sizeof(*v)); *size = e->size; break;
	case EV_RESIZE:
		if (e->size < *size)
			set_values(v, e->size / SECTOR, (*size - e->size) / SECTOR, 0);
		*size = e->size;
		break;
	case EV_FLUSH:
	case EV_SNAP:
	case EV_UNSNAP: break;
	}
}

static int op_discard(struct crash *c, struct img *img, struct ev *e)
{
	const int r = img_discard(img, e->first * SECTOR, e->n * SECTOR);

	e->after = copy_values(c->now + e->first, e->n);
	if (r || img_read_buf(img, e->first * SECTOR, c->buf, e->n * SECTOR))
		return fail(c, "discarding: %d", r);
	for (uint64_t i = 0; i < e->n; i++) {
		const uint32_t v = value_of(c->buf + i * SECTOR, e->first + i);

		if (v && v != e->after[i])
			return fail(c, "sector %llu was discarded and reads as %#x", (unsigned long long)(e->first + i), v);
		e->after[i] = v;
	}
	return 0;
}

static struct snap *pick_snap(struct crash *c)
{
	unsigned live = 0, want;

	for (unsigned i = 0; i < c->nsnaps; i++)
		live += c->snaps[i].live;
	want = live ? (unsigned)rnd(c, live) : 0;
	for (unsigned i = 0; live && i < c->nsnaps; i++)
		if (c->snaps[i].live && !want--)
			return &c->snaps[i];
	return NULL;
}

static int op_snapshot(struct crash *c, struct img *img, struct ev *e)
{
	struct snap *s = pick_snap(c);
	unsigned live = 0;
	int r;

	for (unsigned i = 0; i < c->nsnaps; i++)
		live += c->snaps[i].live;
	if (!s || (live < SNAPS_MAX && rnd(c, 2))) {
		s = &c->snaps[c->nsnaps];
		snprintf(s->name, sizeof(s->name), "s%u", c->nsnaps++);
		s->values = copy_values(c->now, c->max_sectors);
		s->size = c->size;
		s->live = true;
		e->kind = EV_SNAP;
		r = qcow2_snap_create(img, s->name);
	} else if (rnd(c, 2)) {
		s->live = false;
		e->kind = EV_UNSNAP;
		r = qcow2_snap_delete(img, s->name);
	} else {
		e->kind = EV_APPLY;
		e->after = copy_values(s->values, c->max_sectors);
		e->size = s->size;
		r = qcow2_snap_apply(img, s->name);
	}
	e->snap = (unsigned)(s - c->snaps);
	return r ? fail(c, "snapshot operation %d on '%s': %d", e->kind, s->name, r) : 0;
}

static uint64_t some_length(struct crash *c)
{
	const uint64_t cluster = c->conf->cluster / SECTOR;

	switch (rnd(c, 5)) {
	case 0: return 1 + rnd(c, 4);
	case 1: return 1 + rnd(c, cluster);
	case 2: return cluster * (1 + rnd(c, 3));
	case 3: return 1 + rnd(c, cluster * 5);
	default: return 1 + rnd(c, MIN(c->size / SECTOR / 4, 256u));
	}
}

static void some_range(struct crash *c, struct ev *e)
{
	const uint64_t all = c->size / SECTOR, cluster = c->conf->cluster / SECTOR, at = rnd(c, all), n = some_length(c);

	e->first = rnd(c, 3) ? at : ALIGN_DOWN(at, cluster);
	e->n = MIN(n, all - e->first);
	if (e->kind == EV_DISCARD) {
		e->first = ALIGN_DOWN(e->first, cluster);
		e->n = MIN(ALIGN_UP(e->n, cluster), all - e->first);
	}
}

static int op_write(struct crash *c, struct img *img, struct ev *e)
{
	e->stamp = ++c->stamp;
	fill(c->buf, e->first, e->n, e->stamp);
	return img_write_buf(img, e->first * SECTOR, c->buf, e->n * SECTOR);
}

static int op_resize(struct crash *c, struct img *img, struct ev *e)
{
	bool any = false;

	e->size = (64 + rnd(c, c->max_sectors - 64)) * SECTOR;
	for (unsigned i = 0; i < c->nsnaps; i++)
		any |= c->snaps[i].live;
	if (any && e->size < c->size)
		e->size = c->size;
	return img_qcow2.resize(img, e->size);
}

static int one_op(struct crash *c, struct img *img)
{
	struct ev *const e = &c->ev[c->nev];
	const uint64_t dice = rnd(c, 100);
	int r = 0;

	e->start = powercut_ops(c->pc);
	e->kind = dice < 55 ? EV_WRITE : dice < 63 ? EV_ZERO : dice < 73 ? EV_DISCARD : dice < 91 ? EV_FLUSH :
		  dice < 97 ? EV_SNAP : EV_RESIZE;
	if ((e->kind == EV_SNAP && !c->conf->snapshots) || (e->kind == EV_RESIZE && !c->conf->resize))
		e->kind = EV_WRITE;
	some_range(c, e);
	c->nev++;
	switch (e->kind) {
	case EV_WRITE: r = op_write(c, img, e); break;
	case EV_ZERO: r = img_zero(img, e->first * SECTOR, e->n * SECTOR, rnd(c, 2) ? IMG_UNMAP : 0); break;
	case EV_DISCARD: r = op_discard(c, img, e); break;
	case EV_FLUSH: r = img_flush(img); break;
	case EV_RESIZE: r = op_resize(c, img, e); break;
	default: r = op_snapshot(c, img, e); break;
	}
	e->end = powercut_ops(c->pc);
	if (r)
		return c->failed ? r : fail(c, "operation %u (kind %d): %d", c->nev - 1, e->kind, r);
	apply_ev(c, e, c->now, &c->size);
	return 0;
}

/* All sectors, against values that are certain. */
static int compare(struct crash *c, struct img *img, const uint32_t *want, uint64_t size, const char *when)
{
	if (img->size != size)
		return fail(c, "%s: a size of %llu instead of %llu", when, (unsigned long long)img->size, (unsigned long long)size);
	if (img_read_buf(img, 0, c->buf, size))
		return fail(c, "%s: it cannot be read", when);
	for (uint64_t s = 0; s < size / SECTOR; s++)
		if (value_of(c->buf + s * SECTOR, s) != want[s])
			return fail(c, "%s: sector %llu holds %#x instead of %#x", when, (unsigned long long)s,
				    value_of(c->buf + s * SECTOR, s), want[s]);
	return 0;
}

static int work(struct crash *c)
{
	struct img *img = open_image(c, c->pc, true, false);
	struct ev *e;
	int r = 0;

	if (!img)
		return fail(c, "the image does not open");
	for (unsigned i = 0; i < c->run->ops && !r; i++) {
		r = one_op(c, img);
		if (!r && i % 16 == 15)
			r = compare(c, img, c->now, c->size, "while it is used");
	}
	if (!r)
		r = compare(c, img, c->now, c->size, "before it is closed");
	e = &c->ev[c->nev];
	*e = (struct ev){ .kind = EV_FLUSH, .start = powercut_ops(c->pc) };
	if (img_close(img) && !r)
		r = fail(c, "closing");
	e->end = powercut_ops(c->pc);
	c->nev++;
	return r;
}

/* --- After a cut --- */

static bool settles(const struct ev *e)
{
	return e->kind == EV_FLUSH || e->kind == EV_SNAP || e->kind == EV_UNSNAP || e->kind == EV_APPLY;
}

/* The base becomes the state of the last operation that had made all before it durable. */
static void fold(struct crash *c, size_t cut)
{
	unsigned upto = c->base_ev;

	for (unsigned i = c->base_ev; i < c->nev && c->ev[i].end <= cut; i++)
		if (settles(&c->ev[i]))
			upto = i + 1;
	for (; c->base_ev < upto; c->base_ev++) {
		const struct ev *const e = &c->ev[c->base_ev];

		apply_ev(c, e, c->base, &c->base_size);
		if (e->kind == EV_SNAP)
			c->snaps[e->snap].base_live = true;
		else if (e->kind == EV_UNSNAP)
			c->snaps[e->snap].base_live = false;
	}
}

static bool ev_allows(const struct ev *e, uint64_t s, uint32_t v)
{
	const bool inside = s >= e->first && s < e->first + e->n;

	switch (e->kind) {
	case EV_WRITE: return inside && v == e->stamp;
	case EV_ZERO:
	case EV_DISCARD: return inside && v == 0;
	case EV_APPLY: return v == e->after[s];
	case EV_RESIZE: return v == 0 && s >= e->size / SECTOR;
	default: return false;
	}
}

static bool allowed(const struct crash *c, uint64_t s, uint32_t v)
{
	if (v == c->base[s])
		return true;
	for (unsigned i = c->base_ev; i < c->nev && c->ev[i].start < c->cut; i++)
		if (ev_allows(&c->ev[i], s, v))
			return true;
	return false;
}

static bool size_allowed(const struct crash *c, uint64_t size)
{
	if (size == c->base_size)
		return true;
	for (unsigned i = c->base_ev; i < c->nev && c->ev[i].start < c->cut; i++)
		if ((c->ev[i].kind == EV_RESIZE || c->ev[i].kind == EV_APPLY) && c->ev[i].size == size)
			return true;
	return false;
}

static int verify_data(struct crash *c, struct img *img, const char *when)
{
	if (!size_allowed(c, img->size))
		return fail(c, "%s: a size of %llu", when, (unsigned long long)img->size);
	if (img_read_buf(img, 0, c->buf, img->size))
		return fail(c, "%s: it cannot be read", when);
	for (uint64_t s = 0; s < img->size / SECTOR; s++) {
		const uint32_t v = value_of(c->buf + s * SECTOR, s);

		if (!allowed(c, s, v))
			return fail(c, "%s: sector %llu holds %#x; flushed was %#x", when, (unsigned long long)s, v, c->base[s]);
	}
	return 0;
}

/* The snapshot that is just being made or deleted, -1: none. */
static int snap_in_progress(const struct crash *c)
{
	for (unsigned i = c->base_ev; i < c->nev && c->ev[i].start < c->cut; i++)
		if (c->ev[i].kind == EV_SNAP || c->ev[i].kind == EV_UNSNAP)
			return (int)c->ev[i].snap;
	return -1;
}

static int verify_snapshots(struct crash *c, struct img *img)
{
	const int doubtful = snap_in_progress(c);
	struct img_snapshot *list;
	unsigned n, found = 0;

	if (qcow2_snap_list(img, &list, &n))
		return fail(c, "snapshots cannot be listed");
	for (unsigned i = 0; i < c->nsnaps; i++) {
		unsigned times = 0;

		for (unsigned j = 0; j < n; j++)
			times += !strcmp(list[j].name, c->snaps[i].name);
		found += times;
		if (times != c->snaps[i].base_live && ((int)i != doubtful || times > 1)) {
			free(list);
			return fail(c, "snapshot '%s' is there %u times", c->snaps[i].name, times);
		}
	}
	free(list);
	return found == n ? 0 : fail(c, "there are %u snapshots", n);
}

static int verify_check(struct crash *c, struct img *img, bool clean, const char *when)
{
	struct img_check res = { 0 };

	if (qcow2_check(img, 0, &res))
		return fail(c, "%s: it cannot be checked", when);
	c->stats->leaky += res.leaks != 0;
	if (res.corruptions || res.errors || (clean && res.leaks))
		return fail(c, "%s: %llu corruptions, %llu errors, %llu leaks", when, (unsigned long long)res.corruptions,
			    (unsigned long long)res.errors, (unsigned long long)res.leaks);
	return 0;
}

static int qemu_check(struct crash *c, struct powercut *after)
{
	char cmd[512];
	int status;

	powercut_save(after, c->image);
	/* Lazy refcounts: they are to be made anew before the image is used, which opening for writing does. */
	snprintf(cmd, sizeof(cmd), "%s%s%s qemu-img check -q -f qcow2 %s >%s.log 2>&1",
		 c->conf->lazy ? "qemu-img check -q -r all " : "", c->conf->lazy ? c->image : "",
		 c->conf->lazy ? " >/dev/null 2>&1;" : "", c->image, c->image);
	status = system(cmd);
	c->stats->qemu++;
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || (WEXITSTATUS(status) == 3 && !c->conf->lazy))) {
		snprintf(cmd, sizeof(cmd), "%s.log", c->image);
		unlink(cmd);
		return 0;
	}
	snprintf(cmd, sizeof(cmd), "tail -n 5 %s.log >&2; rm -f %s.log", c->image, c->image);
	if (system(cmd))
		fprintf(stderr, "(no output)\n");
	return fail(c, "qemu-img check ends with %d", WEXITSTATUS(status));
}

/* Opened for use: repaired if need be, every snapshot as it was, written, closed. */
static int verify_use(struct crash *c, struct powercut *after)
{
	struct img *img = open_image(c, after, true, false);
	const int doubtful = snap_in_progress(c);
	uint32_t *v;
	int r;

	if (!img)
		return fail(c, "it does not open for use");
	c->stats->repaired++;
	r = verify_data(c, img, "opened for use");
	if (!r) /* version 2 has no dirty bit that would tell that space has leaked */
		r = verify_check(c, img, c->conf->version != 2, "opened for use");
	for (unsigned i = 0; i < c->nsnaps && !r; i++)
		if (c->snaps[i].base_live && (int)i != doubtful && c->cut_seed % 4 == i % 4) {
			r = qcow2_snap_apply(img, c->snaps[i].name) ? fail(c, "snapshot '%s' cannot be applied", c->snaps[i].name) :
			    compare(c, img, c->snaps[i].values, c->snaps[i].size, c->snaps[i].name);
		}
	v = calloc(c->max_sectors, sizeof(*v));
	fill(c->buf, 0, img->size / SECTOR, 0xabcdef);
	set_values(v, 0, img->size / SECTOR, 0xabcdef);
	if (!r && (img_write_buf(img, 0, c->buf, img->size) || img_flush(img)))
		r = fail(c, "it cannot be written any more");
	if (!r)
		r = compare(c, img, v, img->size, "after all was written");
	free(v);
	if (img_close(img) && !r)
		r = fail(c, "closing it");
	img = r ? NULL : open_image(c, after, false, true);
	if (!r)
		r = img ? verify_check(c, img, false, "after use") : fail(c, "it does not open after use");
	img_close(img);
	return r;
}

static int outcome(struct crash *c, uint64_t chance)
{
	struct powercut *const after = powercut_after(c->pc, c->cut, chance);
	struct img *img;
	int r;

	c->cut_seed = chance;
	img = open_image(c, after, false, true);
	r = img ? verify_data(c, img, "after the cut") : fail(c, "it does not open");
	if (!r)
		r = verify_snapshots(c, img);
	if (!r && !c->conf->lazy)
		r = verify_check(c, img, false, "after the cut");
	img_close(img);
	if (!r && c->run->qemu_every && ++c->stats->outcomes % c->run->qemu_every == 0)
		r = qemu_check(c, after);
	else if (!c->run->qemu_every)
		c->stats->outcomes++;
	if (!r && (c->conf->lazy || chance % 3 == c->cut % 3))
		r = verify_use(c, after);
	if (r && getenv("CRASH_KEEP")) {
		struct powercut *const again = powercut_after(c->pc, c->cut, chance);

		powercut_save(again, getenv("CRASH_KEEP"));
		powercut_free(again);
	}
	powercut_free(after);
	return r;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void show_log(struct crash *c)
{
	char text[64];

	for (size_t i = c->cut > 25 ? c->cut - 25 : 0; i < c->cut; i++)
		fprintf(stderr, "  log %zu: %s\n", i, powercut_describe(c->pc, i, text, sizeof(text)));
	for (unsigned i = 0; i < c->nev; i++)
		if (c->ev[i].end + 30 > c->cut && c->ev[i].start < c->cut)
			fprintf(stderr, "  operation %u, kind %d, log %zu to %zu: sectors %llu+%llu, stamp %#x, size %llu\n", i,
				c->ev[i].kind, c->ev[i].start, c->ev[i].end, (unsigned long long)c->ev[i].first,
				(unsigned long long)c->ev[i].n, c->ev[i].stamp, (unsigned long long)c->ev[i].size);
}

bool crash_time_is_up(const struct crash_run *run)
{
	return run->until > 0 && seconds() > run->until;
}

static int finish(struct crash *c, int r)
{
	if (r && c->pc)
		show_log(c);
	cleanup(c);
	return r;
}

int crash_workload(const struct crash_conf *conf, const struct crash_run *run, struct crash_stats *stats)
{
	struct crash c;
	int r = setup(&c, conf, run, stats);

	if (!r)
		r = work(&c);
	for (size_t cut = 1; !r && cut <= powercut_ops(c.pc) && !crash_time_is_up(run); cut += run->step) {
		c.cut = cut;
		fold(&c, cut);
		stats->points++;
		for (uint64_t chance = 0; chance < run->chances && !r; chance++)
			r = outcome(&c, chance < 2 ? chance : run->seed * 1000 + cut * 16 + chance);
	}
	return finish(&c, r);
}

/* --- Power failures while an image is repaired --- */

/* The first entry of the refcount table becomes 0: no refcounts for the first clusters. */
static int damage(struct powercut *pc)
{
	struct bfile *f = powercut_open(pc, "damage", true);
	uint8_t buf[8];
	int r = bfile_read(f, 48, buf, 8);

	if (!r)
		r = bfile_write(f, get_be64(buf), "\0\0\0\0\0\0\0", 8);
	if (!r)
		r = f->ops->flush(f);
	bfile_close(f);
	return r;
}

/* Opens what is there, repairs it; all data must be there, and nothing may be wrong afterwards. */
static int repair(struct crash *c, struct powercut *pc)
{
	struct img *img = open_image(c, pc, true, true);
	struct img_check res;
	int r = img ? verify_data(c, img, "before the repair") : fail(c, "it does not open for repair");

	if (!r && qcow2_check(img, IMG_FIX_ALL, &res))
		r = fail(c, "it cannot be repaired");
	if (!r && (res.corruptions != res.corruptions_fixed || res.leaks != res.leaks_fixed))
		r = fail(c, "not all of it was repaired");
	if (!r)
		r = verify_check(c, img, true, "after the repair");
	if (!r)
		r = verify_data(c, img, "after the repair");
	if (!r)
		r = verify_snapshots(c, img);
	img_close(img);
	return r;
}

static int repair_cut(struct crash *c, struct powercut *pc)
{
	int r = repair(c, pc);

	for (size_t cut = 1; !r && cut <= powercut_ops(pc) && !crash_time_is_up(c->run); cut += c->run->step) {
		c->stats->points++;
		for (uint64_t chance = 0; chance < c->run->chances && !r; chance++) {
			const uint64_t seed = chance < 2 ? chance : c->run->seed + cut * 16 + chance;
			struct powercut *const again = powercut_after(pc, cut, seed);

			c->stats->outcomes++;
			r = repair(c, again);
			if (r)
				fprintf(stderr, "(that was in the repair, its cut %zu, outcome %llu)\n", cut,
					(unsigned long long)chance);
			powercut_free(again);
		}
	}
	return r;
}

int crash_repair(const struct crash_conf *conf, const struct crash_run *run, struct crash_stats *stats)
{
	struct crash c;
	int r = setup(&c, conf, run, stats);

	if (!r)
		r = work(&c);
	for (unsigned part = 1; part <= 4 && !r; part++) {
		struct powercut *pc;

		c.cut = powercut_ops(c.pc) * part / 4;
		fold(&c, c.cut);
		pc = powercut_after(c.pc, c.cut, run->seed + part);
		if (part % 2 == 0 && damage(pc))
			r = fail(&c, "it cannot be damaged");
		if (!r)
			r = repair_cut(&c, pc);
		powercut_free(pc);
	}
	return finish(&c, r);
}

uint64_t crash_seed(uint64_t given)
{
	const char *const s = getenv("CRASH_SEED");

	return s ? strtoull(s, NULL, 0) : given;
}
