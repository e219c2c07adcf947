/*
 * Refcounts of clusters, their blocks and the table of the blocks [QCOW2 "Host cluster management"].
 *
 * A new block describes itself: it lies in the first cluster of those it counts.  Its entry in the refcount table is
 * written by the commit, after the block.  When the table is full, a larger one is built behind all that the old one
 * reaches, with the blocks that count it, and the header switched to it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

/* --- blocks and their slices --- */

/* Where block b lies; 0: there is none.  -EIO when that cannot be. */
static int block_at(struct qcow2 *q, uint64_t b, uint64_t *off)
{
	const uint64_t e = b < q->nreftable ? q->reftable[b] : 0;
	const char *table;

	*off = e;
	if (!e)
		return 0;
	if (e & (q->cluster - 1) || e >= q->state->file_end)
		return img_damaged(&q->img, "refcount block %" PRIu64 " cannot lie at 0x%" PRIx64, b, e);
	table = qcow2_table_at(q, e, q->cluster, QCOW2_SELF_REFS);
	return table ? img_damaged(&q->img, "refcount block %" PRIu64 " lies in the %s (0x%" PRIx64 ")", b, table, e) : 0;
}

int qcow2_refs_write(struct qcow2 *q)
{
	const uint32_t bytes = q->refs->bytes, per_block = q->cluster / bytes;
	struct qcow2_slice *s;

	if (q->state->flush_err)
		return q->state->flush_err;
	while ((s = qcow2_cache_take_dirty(q->refs))) {
		const uint64_t block = q->reftable[s->key / per_block];
		const int err = bfile_write(q->img.file, block + s->key % per_block * bytes, s->data, bytes);

		if (err) {
			qcow2_cache_dirty(q->refs, s);
			return err;
		}
	}
	return 0;
}

static int slice_add(struct qcow2 *q, uint64_t key, struct qcow2_slice **s)
{
	*s = qcow2_cache_add(q->refs, key);
	if (!*s && q->refs->ndirty) {
		const int err = qcow2_refs_write(q);

		if (err)
			return err;
		*s = qcow2_cache_add(q->refs, key);
	}
	return *s ? 0 : -ENOMEM;
}

int qcow2_ref_slice(struct qcow2 *q, uint64_t cluster, struct qcow2_slice **s, uint64_t *i)
{
	const uint32_t per = q->state->refs_slice_per;
	const uint64_t key = cluster / per;
	uint64_t block;
	int err;

	*i = cluster % per;
	*s = qcow2_cache_find(q->refs, key);
	if (*s)
		return 0;
	err = block_at(q, cluster / q->refs_per, &block);
	if (err || !block)
		return err;
	err = slice_add(q, key, s);
	if (err)
		return err;
	err = bfile_read(q->img.file, block + key % (q->refs_per / per) * q->refs->bytes, (*s)->data, q->refs->bytes);
	if (err) {
		qcow2_cache_drop(q->refs, *s);
		*s = NULL;
	}
	return err;
}

/* --- counting --- */

int qcow2_ref_read(struct qcow2 *q, uint64_t cluster, uint64_t *count)
{
	struct qcow2_slice *s;
	uint64_t i;
	const int err = qcow2_ref_slice(q, cluster, &s, &i);

	*count = s ? qcow2_ref_get(s->data, q->h.refcount_order, i) : 0;
	return err;
}

int qcow2_ref_inc(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	for (; n; n--, cluster++) {
		struct qcow2_slice *s;
		uint64_t i, v;
		const int err = qcow2_ref_slice(q, cluster, &s, &i);

		if (err || !s)
			return err ? err : -EIO;
		v = qcow2_ref_get(s->data, q->h.refcount_order, i);
		if (v >= q->state->ref_max)
			return -EFBIG;
		qcow2_ref_put(s->data, q->h.refcount_order, i, v + 1);
		qcow2_cache_dirty(q->refs, s);
		qcow2_need(q);
	}
	return 0;
}

int qcow2_ref_dec(struct qcow2 *q, uint64_t cluster, uint64_t n)
{
	struct qcow2_state *st = q->state;

	for (; n; n--, cluster++) {
		struct qcow2_slice *s;
		uint64_t i, v;
		const int err = qcow2_ref_slice(q, cluster, &s, &i);

		if (err)
			return err;
		v = s ? qcow2_ref_get(s->data, q->h.refcount_order, i) : 0;
		if (!v)
			return img_damaged(&q->img, "cluster 0x%" PRIx64 " was in use, but counts as free", cluster << st->cbits);
		qcow2_ref_put(s->data, q->h.refcount_order, i, v - 1);
		qcow2_cache_dirty(q->refs, s);
		qcow2_need(q);
		if (v > 1)
			continue;
		st->hint = MIN(st->hint, cluster);
		if (st->comp_next >> st->cbits == cluster)
			st->comp_next = 0;
	}
	return 0;
}

/* --- new blocks --- */

/* Puts zeroes where a block or table will be, unless the file has never reached there. */
static int clear_cluster(struct qcow2 *q, uint64_t off)
{
	if (off >= q->state->file_end)
		return 0;
	return q->img.file->ops->zero(q->img.file, off, q->cluster, false);
}

static void reached(struct qcow2 *q, uint64_t end)
{
	q->state->file_end = MAX(q->state->file_end, end);
}

/* The first slice of a block that is all new, all zeroes. */
static int first_slice(struct qcow2 *q, uint64_t block, struct qcow2_slice **s)
{
	const uint64_t key = block * (q->refs_per / q->state->refs_slice_per);
	const int err = slice_add(q, key, s);

	if (!err)
		memset((*s)->data, 0, q->refs->bytes);
	return err;
}

int qcow2_ref_block_new(struct qcow2 *q, uint64_t block)
{
	const uint64_t cluster = block * q->refs_per, off = cluster << q->state->cbits;
	const char *table = qcow2_table_at(q, off, q->cluster, QCOW2_SELF_NONE);
	struct qcow2_slice *s;
	int err;

	if (table)
		return img_damaged(&q->img, "the %s at 0x%" PRIx64 " counts as free", table, off);
	if (off & ~QCOW2_OFFSET_MASK)
		return -EFBIG;
	err = clear_cluster(q, off);
	if (!err)
		err = qcow2_sector_dirty(&q->state->ref_dirty, block);
	if (!err)
		err = first_slice(q, block, &s);
	if (err)
		return err;
	qcow2_ref_put(s->data, q->h.refcount_order, 0, 1);
	qcow2_cache_dirty(q->refs, s);
	qcow2_need(q);
	q->reftable[block] = off;
	qcow2_filter_add(q, off);
	reached(q, off + q->cluster);
	return 0;
}

/* --- a larger table --- */

struct growth {
	uint64_t first;                 /* cluster: the table, then its blocks */
	uint64_t table_clusters, blocks;
	uint64_t entries;               /* of the new table */
};

/* A table and the blocks that count it and `extra` clusters behind it; how many of each depends on the other. */
static int growth_plan(const struct qcow2 *q, uint64_t extra, struct growth *g)
{
	const uint64_t per_cluster = q->cluster / 8;

	*g = (struct growth){ .first = q->nreftable * (uint64_t)q->refs_per };
	for (;;) {
		const uint64_t blocks = (g->table_clusters + g->blocks + extra + q->refs_per - 1) / q->refs_per;
		const uint64_t want = MAX(q->nreftable + blocks, q->nreftable + (uint64_t)q->nreftable / 2);
		const uint64_t clusters = (want + per_cluster - 1) / per_cluster;

		if (clusters * q->cluster > MAX(QCOW2_REFTABLE_BYTES_MAX, q->cluster))
			return -EFBIG;
		if (blocks == g->blocks && clusters == g->table_clusters)
			break;
		g->blocks = blocks;
		g->table_clusters = clusters;
	}
	g->entries = g->table_clusters * per_cluster;
	return (g->first + g->blocks * q->refs_per) << q->state->cbits & ~QCOW2_OFFSET_MASK ? -EFBIG : 0;
}

/* Writes blocks in which the new table and these blocks have a refcount of 1. */
static int growth_blocks(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
	const uint64_t used = g->table_clusters + g->blocks;
	uint8_t *b = malloc(q->cluster);
	int err = b ? 0 : -ENOMEM;

	for (uint64_t k = 0; k < g->blocks && !err; k++) {
		const uint64_t off = (g->first + g->table_clusters + k) << q->state->cbits;

		memset(b, 0, q->cluster);
		for (uint64_t i = 0; i < q->refs_per && k * q->refs_per + i < used; i++)
			qcow2_ref_put(b, q->h.refcount_order, i, 1);
		table[q->nreftable + k] = off;
		err = bfile_write(q->img.file, off, b, q->cluster);
	}
	free(b);
	return err;
}

static int growth_table(struct qcow2 *q, const struct growth *g, const uint64_t *table)
{
	const size_t bytes = g->table_clusters << q->state->cbits;
	uint8_t *b = malloc(bytes);
	int err = b ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < g->entries && !err; i++)
		put_be64(b + i * 8, table[i]);
	if (!err)
		err = bfile_write(q->img.file, g->first << q->state->cbits, b, bytes);
	free(b);
	return err;
}

/* The header is written in one sector: a failure of that leaves one of both tables in force, and nobody knows which. */
static int growth_switch(struct qcow2 *q, const struct growth *g, uint64_t *table)
{
	const struct qcow2_header old = q->h;
	int err = qcow2_flush_held(q);

	if (err)
		return err;
	q->h.reftable_off = g->first << q->state->cbits;
	q->h.reftable_clusters = (uint32_t)g->table_clusters;
	err = qcow2_header_switch(q, &old);
	if (err)
		return err;
	for (uint64_t i = 0; i < g->blocks; i++)
		qcow2_filter_add(q, table[q->nreftable + i]);
	free(q->reftable);
	q->reftable = table;
	q->nreftable = (uint32_t)g->entries;
	q->state->ref_dirty.n = 0;
	reached(q, (g->first + g->table_clusters + g->blocks) << q->state->cbits);
	/* A commit under way may still write sectors of the old table: it stays reserved until the next one. */
	qcow2_free_later(q, old.reftable_off, (uint64_t)old.reftable_clusters << q->state->cbits, false);
	return 0;
}

/* Blocks that the old table does not name in the file become reachable with the new one: they are written first. */
static int table_grow(struct qcow2 *q, uint64_t extra, uint64_t *first)
{
	struct growth g;
	uint64_t *table;
	int err = growth_plan(q, extra, &g);

	if (err)
		return err;
	table = calloc(g.entries, sizeof(*table));
	if (!table)
		return -ENOMEM;
	memcpy(table, q->reftable, (size_t)q->nreftable * 8);
	*first = g.first + g.table_clusters + g.blocks;
	err = qcow2_refs_write(q);
	if (!err)
		err = growth_blocks(q, &g, table);
	if (!err)
		err = growth_table(q, &g, table);
	if (!err)
		err = growth_switch(q, &g, table);
	if (err)
		free(table);
	return err;
}

/* Half of a change of several blocks in memory cannot be taken back: nothing more is written. */
static int extend_failed(struct qcow2 *q, int err)
{
	if (err && !q->state->flush_err)
		q->state->flush_err = err;
	return err;
}

static int extend_one(struct qcow2 *q, uint64_t block, uint64_t off)
{
	struct qcow2_slice *s;
	int err = qcow2_table_at(q, off, q->cluster, QCOW2_SELF_NONE) ? -EIO : clear_cluster(q, off);

	if (!err)
		err = qcow2_sector_dirty(&q->state->ref_dirty, block);
	if (!err)
		err = first_slice(q, block, &s);
	if (err)
		return err;
	qcow2_cache_dirty(q->refs, s);
	q->reftable[block] = off;
	qcow2_filter_add(q, off);
	reached(q, off + q->cluster);
	return 0;
}

/* Blocks at the start of what they count, one behind the other, for n clusters behind them. */
static int blocks_extend(struct qcow2 *q, uint64_t block, uint64_t blocks, uint64_t *first)
{
	const uint64_t at = block * q->refs_per;
	int err = (at + blocks * q->refs_per) << q->state->cbits & ~QCOW2_OFFSET_MASK ? -EFBIG : 0;

	if (err)
		return err;
	for (uint64_t k = 0; k < blocks && !err; k++)
		err = extend_one(q, block + k, (at + k) << q->state->cbits);
	if (!err)
		err = qcow2_ref_inc(q, at, blocks);
	*first = at + blocks;
	return extend_failed(q, err);
}

int qcow2_refs_extend(struct qcow2 *q, uint64_t n, uint64_t *first)
{
	uint64_t block = q->nreftable, blocks = 1;

	while (block && !q->reftable[block - 1])
		block--;
	while (blocks * q->refs_per < blocks + n)
		blocks = (blocks + n + q->refs_per - 1) / q->refs_per;
	if (block + blocks > q->nreftable)
		return table_grow(q, n, first);
	return blocks_extend(q, block, blocks, first);
}
