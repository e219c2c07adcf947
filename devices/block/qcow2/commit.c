/*
 * The order in which changed metadata reaches the disk (the first way in qcow2.h).
 *
 * Refcounts in the cache only ever rise until what made them fall is durable, so blocks may be written at any time; the
 * reverse order matters: nothing may name a cluster whose refcount is not durable.  A commit is:
 *
 *   refcount blocks | flush | refcount table | flush |  L2 slices  | flush |  L1 sectors  | flush |  refcounts fall
 *
 * where empty steps fall away; most often two flushes are left.  The first one is also what makes guest data durable
 * before the L2 entries that name it.  The lock is let go during each flush: the disk is read and written in place
 * meanwhile.  Between the start and the writing of the L2 slices no L2 entry may change ("frozen"), as the first flush
 * would not cover it; after that, new changes belong to the next commit.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define SECTOR 512u
#define PER_SECTOR (SECTOR / 8)

/* --- flushing --- */

int qcow2_flush_held(struct qcow2 *q)
{
	int err = q->state->flush_err;

	if (!err) {
		err = q->img.file->ops->flush(q->img.file);
		q->state->flush_err = err;
	}
	return err;
}

static int flush_unlocked(struct qcow2 *q)
{
	int err = q->state->flush_err;

	if (err)
		return err;
	pthread_mutex_unlock(&q->lock);
	err = q->img.file->ops->flush(q->img.file);
	pthread_mutex_lock(&q->lock);
	if (err)
		q->state->flush_err = err;
	return err;
}

int qcow2_header_switch(struct qcow2 *q, const struct qcow2_header *old)
{
	int err = qcow2_header_write(q);

	if (!err)
		err = qcow2_flush_held(q);
	if (err) {
		q->h = *old;
		q->state->flush_err = err;
	}
	return err;
}

int qcow2_mark_dirty(struct qcow2 *q)
{
	int err;

	if (q->h.version < 3 || q->h.incompatible & QCOW2_DIRTY)
		return q->state->flush_err;
	q->h.incompatible |= QCOW2_DIRTY;
	err = qcow2_header_write(q);
	if (!err)
		err = qcow2_flush_held(q);
	if (err)
		q->h.incompatible &= ~QCOW2_DIRTY;
	else
		q->state->undirty = true;
	return err;
}

/* --- sectors of the tables of tables --- */

int qcow2_sector_dirty(struct qcow2_sectors *d, uint64_t entry)
{
	const uint32_t sector = (uint32_t)(entry / PER_SECTOR);

	if (d->n && d->v[d->n - 1] == sector)
		return 0;
	if (d->n == d->cap) {
		const size_t cap = d->cap ? d->cap * 2 : 16;
		uint32_t *v = realloc(d->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		d->v = v;
		d->cap = cap;
	}
	d->v[d->n++] = sector;
	return 0;
}

/* Sectors as they are to be written, while the table in memory goes on changing */
struct copies {
	uint8_t *data;
	struct qcow2_sectors which;
	uint64_t off;                   /* of the table in the file */
};

static void copies_free(struct copies *c)
{
	free(c->data);
	free(c->which.v);
	*c = (struct copies){ 0 };
}

/* Takes over what is dirty; on failure it stays as it was. */
static int copies_take(struct copies *c, struct qcow2_sectors *dirty, const uint64_t *table, uint32_t entries, uint64_t off)
{
	if (!dirty->n)
		return 0;
	c->data = calloc(dirty->n, SECTOR);
	if (!c->data)
		return -ENOMEM;
	c->which = *dirty;
	c->off = off;
	*dirty = (struct qcow2_sectors){ 0 };
	for (size_t i = 0; i < c->which.n; i++) {
		const uint32_t first = c->which.v[i] * PER_SECTOR;

		for (uint32_t k = 0; k < PER_SECTOR && first + k < entries; k++)
			put_be64(c->data + i * SECTOR + (size_t)k * 8, table[first + k]);
	}
	return 0;
}

static int copies_write(struct qcow2 *q, const struct copies *c)
{
	int err = q->state->flush_err;

	for (size_t i = 0; i < c->which.n && !err; i++)
		err = bfile_write(q->img.file, c->off + (uint64_t)c->which.v[i] * SECTOR, c->data + i * SECTOR, SECTOR);
	return err;
}

/* They were not written: they are dirty again.  Without memory for that the image can only be given up. */
static void copies_give_back(struct qcow2 *q, const struct copies *c, struct qcow2_sectors *dirty)
{
	for (size_t i = 0; i < c->which.n; i++)
		if (qcow2_sector_dirty(dirty, (uint64_t)c->which.v[i] * PER_SECTOR))
			q->state->flush_err = -ENOMEM;
}

/* --- the steps --- */

static int refs_step(struct qcow2 *q)
{
	struct copies c = { 0 };
	int err = qcow2_refs_write(q);

	if (!err)
		err = copies_take(&c, &q->state->ref_dirty, q->reftable, q->nreftable, q->h.reftable_off);
	if (!err)
		err = flush_unlocked(q);
	if (!err && c.which.n) {
		err = copies_write(q, &c);
		if (!err)
			err = flush_unlocked(q);
	}
	if (err)
		copies_give_back(q, &c, &q->state->ref_dirty);
	copies_free(&c);
	return err;
}

static int l2_write(struct qcow2 *q)
{
	const struct qcow2_state *st = q->state;
	const uint32_t per_table = q->cluster / st->slice_bytes;
	struct qcow2_slice *s;

	while ((s = qcow2_cache_take_dirty(q->l2))) {
		const uint64_t table = q->l1[s->key / per_table] & QCOW2_OFFSET_MASK;
		const int err = bfile_write(q->img.file, table + s->key % per_table * st->slice_bytes, s->data, st->slice_bytes);

		if (err) {
			qcow2_cache_dirty(q->l2, s);
			return err;
		}
	}
	return 0;
}

static int l1_step(struct qcow2 *q, const struct copies *c)
{
	int err = flush_unlocked(q);

	if (!err && c->which.n) {
		err = copies_write(q, c);
		if (!err)
			err = flush_unlocked(q);
	}
	return err;
}

static void punch(struct qcow2 *q, const struct qcow2_frees *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].punch)
			q->img.file->ops->discard(q->img.file, f->v[i].off, f->v[i].len);
}

/* What others name too keeps its space. */
static void punch_only_ours(struct qcow2 *q, struct qcow2_frees *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct qcow2_free *e = &f->v[i];

		for (uint64_t c = 0; e->punch && c < e->len >> q->state->cbits; c++) {
			uint64_t n;

			if (qcow2_ref_read(q, (e->off >> q->state->cbits) + c, &n) || n != 1)
				e->punch = false;
		}
	}
}

/* Nothing names these any more.  What cannot be freed has leaked. */
static void frees_step(struct qcow2 *q, struct qcow2_frees *f)
{
	if (!f->n)
		return;
	punch_only_ours(q, f);
	pthread_mutex_unlock(&q->lock);
	punch(q, f);
	pthread_mutex_lock(&q->lock);
	for (size_t i = 0; i < f->n; i++)
		if (qcow2_ref_dec(q, f->v[i].off >> q->state->cbits, f->v[i].len >> q->state->cbits))
			break;
}

static void frees_give_back(struct qcow2 *q, const struct qcow2_frees *f)
{
	for (size_t i = 0; i < f->n; i++)
		qcow2_frees_add(&q->state->pending, f->v[i].off, f->v[i].len, f->v[i].punch);
}

static void thaw(struct qcow2 *q)
{
	q->state->frozen = false;
	pthread_cond_broadcast(&q->state->cond);
}

static bool links_pending(const struct qcow2 *q)
{
	return q->l2->ndirty || q->state->l1_dirty.n || q->state->pending.n;
}

static int commit_links(struct qcow2 *q)
{
	struct qcow2_state *st = q->state;
	struct qcow2_frees frees = { 0 };
	struct copies l1 = { 0 };
	int err;

	st->frozen = true;
	err = refs_step(q);
	if (!err)
		err = l2_write(q);
	if (!err)
		err = copies_take(&l1, &st->l1_dirty, q->l1, q->h.l1_entries, q->h.l1_off);
	if (!err) {
		frees = st->pending;
		st->pending = (struct qcow2_frees){ 0 };
	}
	thaw(q);
	if (!err)
		err = l1_step(q, &l1);
	if (err) {
		copies_give_back(q, &l1, &st->l1_dirty);
		frees_give_back(q, &frees);
	} else {
		frees_step(q, &frees);
	}
	copies_free(&l1);
	free(frees.v);
	return err;
}

int qcow2_commit(struct qcow2 *q)
{
	struct qcow2_state *st = q->state;
	const uint64_t before = st->commits;
	int err;

	/* One that somebody else began since the call does as well. */
	while (st->committing) {
		pthread_cond_wait(&st->cond, &q->lock);
		if (st->commits_done > before)
			return 0;
	}
	st->committing = true;
	st->commits++;
	if (links_pending(q))
		err = commit_links(q);
	else
		err = refs_step(q);
	st->committing = false;
	if (!err)
		st->commits_done = st->commits;
	__atomic_store_n(&st->need, links_pending(q) || q->refs->ndirty || st->ref_dirty.n, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&st->cond);
	return err;
}

void qcow2_thaw_wait(struct qcow2 *q)
{
	while (q->state->frozen)
		pthread_cond_wait(&q->state->cond, &q->lock);
}

/* Twice: the first commit makes refcounts fall. */
int qcow2_write_back(struct qcow2 *q)
{
	int err = qcow2_commit(q);

	if (!err && __atomic_load_n(&q->state->need, __ATOMIC_ACQUIRE))
		err = qcow2_commit(q);
	return err;
}
