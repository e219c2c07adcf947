#include "tests/unit/devices/block/powercut.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"

#define SECTOR 512u
#define LIMIT_DEFAULT GIB(1)
#define GARBAGE 0xdd

enum kind { K_WRITE, K_ZERO, K_DISCARD, K_TRUNCATE, K_FLUSH };

struct entry {
	enum kind kind;
	uint64_t off, len;
	uint8_t *data;                  /* K_WRITE */
};

/* Contents of a file; what lies between len and cap is zero. */
struct bytes {
	uint8_t *p;
	size_t len, cap;
};

struct powercut {
	pthread_mutex_t lock;
	struct bytes now;               /* as a reader sees it */
	/* From the first entry of the log on: */
	struct bytes medium;            /* as it was on the medium before log[medium_at] */
	size_t medium_at;
	struct bytes start;             /* ... before log[0] */
	struct entry *log;
	size_t nlog, cap;
	uint64_t limit;
	unsigned fail_kinds;
	uint64_t fail_in;
	int fail_err;
	bool fail_for_ever, failed;
};

/* --- Contents --- */

static void bytes_resize(struct bytes *b, size_t len)
{
	if (len > b->cap) {
		const size_t cap = MAX(len, b->cap * 2);

		b->p = realloc(b->p, cap);
		assert(b->p);
		memset(b->p + b->cap, 0, cap - b->cap);
		b->cap = cap;
	}
	if (len < b->len)
		memset(b->p + len, 0, b->len - len);
	b->len = len;
}

static void bytes_copy(struct bytes *to, const struct bytes *from)
{
	bytes_resize(to, 0);
	bytes_resize(to, from->len);
	if (from->len)
		memcpy(to->p, from->p, from->len);
}

/* One part of an entry, its bytes from `at` on. */
static void apply_part(struct bytes *b, const struct entry *e, uint64_t at, uint64_t len)
{
	const uint64_t off = e->off + at;

	if (e->kind == K_WRITE) {
		bytes_resize(b, MAX(b->len, off + len));
		memcpy(b->p + off, e->data + at, len);
	} else if (off < b->len) {
		memset(b->p + off, e->kind == K_ZERO ? 0 : GARBAGE, MIN(len, b->len - off));
	}
}

static void apply(struct bytes *b, const struct entry *e)
{
	if (e->kind == K_TRUNCATE)
		bytes_resize(b, e->len);
	else if (e->kind != K_FLUSH)
		apply_part(b, e, 0, e->len);
}

/* --- The file --- */

struct pc_file {
	struct bfile f;                 /* first */
	struct powercut *pc;
};

static struct powercut *pc_of(struct bfile *f)
{
	return container_of(f, struct pc_file, f)->pc;
}

/* Lock held. */
static int failing(struct powercut *pc, unsigned kind)
{
	if (!(pc->fail_kinds & kind))
		return 0;
	if (pc->fail_in) {
		pc->fail_in--;
		return 0;
	}
	pc->failed = true;
	if (!pc->fail_for_ever)
		pc->fail_kinds = 0;
	return pc->fail_err;
}

/* Lock held.  Logs and does; takes e.data. */
static void record(struct powercut *pc, struct entry e)
{
	if (pc->nlog == pc->cap) {
		pc->cap = MAX(64, pc->cap * 2);
		pc->log = realloc(pc->log, pc->cap * sizeof(*pc->log));
		assert(pc->log);
	}
	if (!pc->nlog) {
		bytes_copy(&pc->start, &pc->now);
		bytes_copy(&pc->medium, &pc->now);
	}
	pc->log[pc->nlog++] = e;
	apply(&pc->now, &e);
}

static int pc_read(struct bfile *f, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct powercut *pc = pc_of(f);
	int err;

	pthread_mutex_lock(&pc->lock);
	err = failing(pc, POWERCUT_READ);
	for (unsigned i = 0; i < niov && !err; i++) {
		const size_t n = off < pc->now.len ? MIN(v[i].iov_len, pc->now.len - off) : 0;

		if (n)
			memcpy(v[i].iov_base, pc->now.p + off, n);
		memset((uint8_t *)v[i].iov_base + n, 0, v[i].iov_len - n);
		off += v[i].iov_len;
	}
	pthread_mutex_unlock(&pc->lock);
	return err;
}

static int pc_write(struct bfile *f, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct powercut *pc = pc_of(f);
	struct entry e = { .kind = K_WRITE, .off = off };
	int err;

	if (f->read_only)
		return -EROFS;
	for (unsigned i = 0; i < niov; i++)
		e.len += v[i].iov_len;
	if (!e.len)
		return 0;
	e.data = malloc(e.len);
	assert(e.data);
	for (size_t i = 0, at = 0; i < niov; at += v[i++].iov_len)
		memcpy(e.data + at, v[i].iov_base, v[i].iov_len);
	pthread_mutex_lock(&pc->lock);
	err = failing(pc, POWERCUT_WRITE);
	if (!err && (e.len > pc->limit || off > pc->limit - e.len))
		err = -ENOSPC;
	if (err)
		e.len = off < pc->limit ? MIN(e.len / 2, pc->limit - off) : 0;
	if (e.len)
		record(pc, e);
	else
		free(e.data);
	pthread_mutex_unlock(&pc->lock);
	return err;
}

static int change(struct bfile *f, unsigned fail_kind, struct entry e)
{
	struct powercut *pc = pc_of(f);
	int err;

	if (f->read_only && e.kind != K_FLUSH)
		return -EROFS;
	pthread_mutex_lock(&pc->lock);
	err = failing(pc, fail_kind);
	if (!err && e.kind == K_TRUNCATE && e.len > pc->limit)
		err = -ENOSPC;
	if (e.kind == K_ZERO || e.kind == K_DISCARD)
		e.len = e.off < pc->now.len ? MIN(e.len, pc->now.len - e.off) : 0;
	if (!err && (e.len || e.kind == K_TRUNCATE || e.kind == K_FLUSH))
		record(pc, e);
	pthread_mutex_unlock(&pc->lock);
	return err;
}

static int pc_flush(struct bfile *f)
{
	return change(f, POWERCUT_FLUSH, (struct entry){ .kind = K_FLUSH });
}

static int pc_truncate(struct bfile *f, uint64_t size)
{
	return change(f, POWERCUT_TRUNCATE, (struct entry){ .kind = K_TRUNCATE, .len = size });
}

static int pc_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap)
{
	return change(f, POWERCUT_ZERO, (struct entry){ .kind = K_ZERO, .off = off, .len = len });
}

static int pc_discard(struct bfile *f, uint64_t off, uint64_t len)
{
	return change(f, 0, (struct entry){ .kind = K_DISCARD, .off = off, .len = len });
}

static int64_t pc_size(struct bfile *f)
{
	struct powercut *pc = pc_of(f);

	pthread_mutex_lock(&pc->lock);
	const int64_t n = (int64_t)pc->now.len;
	pthread_mutex_unlock(&pc->lock);
	return n;
}

static int pc_data_at(struct bfile *f, uint64_t off, uint64_t *len)
{
	return off < (uint64_t)pc_size(f);
}

static void pc_close(struct bfile *f)
{
	free(f->path);
	free(container_of(f, struct pc_file, f));
}

static const struct bfile_ops pc_ops = {
	.read = pc_read, .write = pc_write, .flush = pc_flush, .truncate = pc_truncate, .zero = pc_zero, .discard = pc_discard,
	.size = pc_size, .data_at = pc_data_at, .close = pc_close,
};

struct bfile *powercut_open(struct powercut *pc, const char *name, bool writable)
{
	struct pc_file *f = calloc(1, sizeof(*f));

	assert(f);
	f->f = (struct bfile){
		.ops = &pc_ops, .path = strdup(name), .fd = -1, .direct_fd = -1, .direct_align = SECTOR, .logical = SECTOR,
		.physical = 4096, .read_only = !writable,
	};
	f->pc = pc;
	return &f->f;
}

/* --- Making and ending --- */

/* The contents become its own. */
static struct powercut *made_of(struct bytes b)
{
	struct powercut *pc = calloc(1, sizeof(*pc));

	assert(pc);
	pthread_mutex_init(&pc->lock, NULL);
	pc->limit = LIMIT_DEFAULT;
	pc->now = b;
	return pc;
}

struct powercut *powercut_new(const void *contents, size_t len)
{
	const struct bytes from = { (uint8_t *)(uintptr_t)contents, len, len };
	struct bytes b = { NULL, 0, 0 };

	bytes_copy(&b, &from);
	return made_of(b);
}

struct powercut *powercut_load(const char *path)
{
	const int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct bytes b = { NULL, 0, 0 };
	struct stat st;

	assert(fd >= 0 && fstat(fd, &st) == 0);
	bytes_resize(&b, (size_t)st.st_size);
	for (size_t at = 0; at < b.len;) {
		const ssize_t n = pread(fd, b.p + at, b.len - at, (off_t)at);

		assert(n > 0);
		at += (size_t)n;
	}
	close(fd);
	return made_of(b);
}

void powercut_free(struct powercut *pc)
{
	if (!pc)
		return;
	for (size_t i = 0; i < pc->nlog; i++)
		free(pc->log[i].data);
	free(pc->log);
	free(pc->now.p);
	free(pc->medium.p);
	free(pc->start.p);
	pthread_mutex_destroy(&pc->lock);
	free(pc);
}

size_t powercut_ops(struct powercut *pc)
{
	pthread_mutex_lock(&pc->lock);
	const size_t n = pc->nlog;
	pthread_mutex_unlock(&pc->lock);
	return n;
}

bool powercut_is_flush(struct powercut *pc, size_t entry)
{
	assert(entry < pc->nlog);
	return pc->log[entry].kind == K_FLUSH;
}

const char *powercut_describe(struct powercut *pc, size_t entry, char *buf, size_t size)
{
	static const char *const names[] = { "write", "zero", "discard", "truncate", "flush" };
	const struct entry *e = &pc->log[entry];

	assert(entry < pc->nlog);
	snprintf(buf, size, "%s 0x%" PRIx64 " %" PRIu64, names[e->kind], e->off, e->len);
	return buf;
}

/* --- The cut --- */

static uint64_t next_random(uint64_t *s)
{
	uint64_t z = (*s += 0x9e3779b97f4a7c15u);       /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static bool chance(uint64_t *s, unsigned percent)
{
	return next_random(s) % 100 < percent;
}

static void apply_torn(struct bytes *b, const struct entry *e, uint64_t *s)
{
	const unsigned percent = 10 + next_random(s) % 81;

	for (uint64_t at = 0, n; at < e->len; at += n) {
		n = MIN(e->len - at, SECTOR - ((e->off + at) & (SECTOR - 1)));
		if (chance(s, percent))
			apply_part(b, e, at, n);
	}
}

/* The entries from..to-1, none of which a flush has made sure of. */
static void apply_some(struct bytes *b, const struct powercut *pc, size_t from, size_t to, uint64_t seed)
{
	const size_t n = to - from;
	size_t *order = malloc((n + 1) * sizeof(*order));
	uint64_t s = seed;
	const unsigned keep = 10 + next_random(&s) % 81, torn = next_random(&s) % 81;
	const bool shuffled = seed > 1 && chance(&s, 70);

	assert(order);
	for (size_t i = 0; i < n; i++)
		order[i] = from + i;
	for (size_t i = n; shuffled && i > 1; i--) {
		const size_t j = next_random(&s) % i, t = order[j];

		order[j] = order[i - 1];
		order[i - 1] = t;
	}
	for (size_t i = 0; i < n; i++) {
		const struct entry *e = &pc->log[order[i]];

		if (seed == 1)
			apply(b, e);
		else if (seed == 0 || !chance(&s, keep))
			continue;
		else if (e->kind != K_TRUNCATE && chance(&s, torn))
			apply_torn(b, e, &s);
		else
			apply(b, e);
	}
	free(order);
}

/* The medium as it was after the last flush before the cut. */
static void medium_to(struct powercut *pc, size_t cut)
{
	size_t flushed = cut;

	while (flushed && pc->log[flushed - 1].kind != K_FLUSH)
		flushed--;
	if (flushed < pc->medium_at) {
		bytes_copy(&pc->medium, &pc->start);
		pc->medium_at = 0;
	}
	while (pc->medium_at < flushed)
		apply(&pc->medium, &pc->log[pc->medium_at++]);
}

struct powercut *powercut_after(struct powercut *pc, size_t cut, uint64_t seed)
{
	struct bytes b = { NULL, 0, 0 };

	assert(cut <= pc->nlog);
	medium_to(pc, cut);
	bytes_copy(&b, pc->nlog ? &pc->medium : &pc->now);
	apply_some(&b, pc, pc->medium_at, cut, seed);
	return made_of(b);
}

/* --- Contents and errors --- */

const uint8_t *powercut_data(struct powercut *pc, size_t *len)
{
	*len = pc->now.len;
	return pc->now.p;
}

void powercut_save(struct powercut *pc, const char *path)
{
	const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert(fd >= 0);
	for (size_t at = 0; at < pc->now.len;) {
		const ssize_t n = pwrite(fd, pc->now.p + at, pc->now.len - at, (off_t)at);

		assert(n > 0);
		at += (size_t)n;
	}
	close(fd);
}

void powercut_fail(struct powercut *pc, unsigned kinds, uint64_t nth, int err, bool for_ever)
{
	pthread_mutex_lock(&pc->lock);
	pc->fail_kinds = kinds;
	pc->fail_in = nth;
	pc->fail_err = err;
	pc->fail_for_ever = for_ever;
	pc->failed = false;
	pthread_mutex_unlock(&pc->lock);
}

bool powercut_failed(struct powercut *pc)
{
	return pc->failed;
}

void powercut_limit(struct powercut *pc, uint64_t bytes)
{
	pc->limit = bytes;
}
