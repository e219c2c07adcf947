/*
 * Which clusters of the file are free, and making sure that none of them is a table, whatever its refcount says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define FREES_MAX (1u << 20)

/* --- where the tables are --- */

#define FILTER_BITS_MIN (1u << 12)
#define FILTER_BITS_MAX (1u << 26)

static uint64_t filter_hash(const struct qcow2 *q, uint64_t off)
{
	return ((off >> q->state->cbits) * 0x9e3779b97f4a7c15ull) >> 20;
}

void qcow2_filter_add(struct qcow2 *q, uint64_t off)
{
	const uint64_t a = filter_hash(q, off) & q->state->filter_mask;

	q->state->filter[a / 64] |= BIT64(a % 64);
}

static bool filter_has(const struct qcow2 *q, uint64_t off)
{
	const uint64_t a = filter_hash(q, off) & q->state->filter_mask;

	return q->state->filter[a / 64] & BIT64(a % 64);
}

int qcow2_filter_new(struct qcow2 *q)
{
	const uint64_t want = MIN(32 * ((uint64_t)q->h.l1_entries + q->nreftable), FILTER_BITS_MAX);
	uint64_t bits = FILTER_BITS_MIN;

	while (bits < want)
		bits *= 2;
	free(q->state->filter);
	q->state->filter = calloc(bits / 64, 8);
	q->state->filter_mask = bits - 1;
	if (!q->state->filter)
		return -ENOMEM;
	for (uint32_t i = 0; i < q->h.l1_entries; i++)
		if (q->l1[i] & QCOW2_OFFSET_MASK)
			qcow2_filter_add(q, q->l1[i] & QCOW2_OFFSET_MASK);
	for (uint32_t i = 0; i < q->nreftable; i++)
		if (q->reftable[i])
			qcow2_filter_add(q, q->reftable[i]);
	return 0;
}

static const char *fixed_table_at(const struct qcow2 *q, uint64_t off, uint64_t len)
{
	const struct qcow2_header *h = &q->h;

	if (off < q->cluster)
		return "header";
	if (h->l1_entries && ranges_overlap(off, len, h->l1_off, ALIGN_UP((uint64_t)h->l1_entries * 8, q->cluster)))
		return "L1 table";
	if (ranges_overlap(off, len, h->reftable_off, (uint64_t)h->reftable_clusters << q->state->cbits))
		return "refcount table";
	if (h->nsnapshots && ranges_overlap(off, len, h->snapshots_off, q->cluster))
		return "snapshot table";
	return NULL;
}

/* What the filter holds for possible, looked up. */
static const char *listed_table_at(const struct qcow2 *q, uint64_t off, enum qcow2_self self)
{
	for (uint32_t i = 0; i < q->nreftable && self != QCOW2_SELF_REFS; i++)
		if (q->reftable[i] == off)
			return "refcount block";
	for (uint32_t i = 0; i < q->h.l1_entries && self != QCOW2_SELF_L2; i++)
		if ((q->l1[i] & QCOW2_OFFSET_MASK) == off)
			return "L2 table";
	return NULL;
}

const char *qcow2_table_at(const struct qcow2 *q, uint64_t off, uint64_t len, enum qcow2_self self)
{
	const char *table = fixed_table_at(q, off, len);

	for (uint64_t o = off; o < off + len && !table; o += q->cluster)
		if (filter_has(q, o))
			table = listed_table_at(q, o, self);
	return table;
}

/* --- taking --- */

static int take(struct qcow2 *q, uint64_t cluster, uint64_t n, uint64_t *off)
{
	const unsigned bits = q->state->cbits;
	const char *table;

	*off = cluster << bits;
	if ((cluster + n) << bits & ~(QCOW2_OFFSET_MASK | (BIT64(bits) - 1)))
		return -EFBIG;
	table = qcow2_table_at(q, *off, n << bits, QCOW2_SELF_NONE);
	if (table)
		return img_damaged(&q->img, "the %s at or above 0x%" PRIx64 " counts as free", table, *off);
	return qcow2_ref_inc(q, cluster, n);
}

/* The first free cluster at or above *c, in a block that is there or is made. */
static int find_free(struct qcow2 *q, uint64_t *c)
{
	for (;;) {
		const uint64_t block = *c / q->refs_per;
		struct qcow2_slice *s;
		uint64_t i;
		int err;

		if (block >= q->nreftable)
			return qcow2_refs_extend(q, 1, c);
		if (!q->reftable[block]) {
			err = qcow2_ref_block_new(q, block);
			*c = block * q->refs_per + 1;
			return err;
		}
		err = qcow2_ref_slice(q, *c, &s, &i);
		if (err)
			return err;
		for (; i < q->state->refs_slice_per; i++, ++*c)
			if (!qcow2_ref_get(s->data, q->h.refcount_order, i))
				return 0;
	}
}

int qcow2_alloc(struct qcow2 *q, uint64_t want, uint64_t *off, uint64_t *got, bool *fresh)
{
	struct qcow2_state *st = q->state;
	uint64_t c = st->hint, n = 1, count;
	int err = st->flush_err;

	if (!err)
		err = find_free(q, &c);
	if (err)
		return err;
	for (; n < want && (c + n) % q->refs_per; n++) {
		err = qcow2_ref_read(q, c + n, &count);
		if (err)
			return err;
		if (count)
			break;
	}
	err = take(q, c, n, off);
	if (err)
		return err;
	*got = n;
	*fresh = *off >= st->file_end;
	st->hint = c + n;
	st->file_end = MAX(st->file_end, *off + (n << st->cbits));
	return 0;
}

/* n free clusters in a row in blocks that are there.  1 when found. */
static int find_row(struct qcow2 *q, uint64_t n, uint64_t *first)
{
	const uint64_t end = (uint64_t)q->nreftable * q->refs_per;
	uint64_t run = 0, count;

	for (uint64_t c = q->state->hint; c < end; c++) {
		if (!q->reftable[c / q->refs_per]) {
			run = 0;
			c = (c / q->refs_per + 1) * q->refs_per - 1;
			continue;
		}
		const int err = qcow2_ref_read(q, c, &count);

		if (err)
			return err;
		run = count ? 0 : run + 1;
		if (run == n) {
			*first = c + 1 - n;
			return 1;
		}
	}
	return 0;
}

int qcow2_alloc_exactly(struct qcow2 *q, uint64_t n, uint64_t *off)
{
	struct qcow2_state *st = q->state;
	uint64_t first;
	int err = st->flush_err;

	if (!err)
		err = find_row(q, n, &first);
	if (!err)
		err = qcow2_refs_extend(q, n, &first);
	if (err < 0)
		return err;
	err = take(q, first, n, off);
	if (!err)
		st->file_end = MAX(st->file_end, *off + (n << st->cbits));
	return err;
}

/* --- giving back --- */

void qcow2_frees_add(struct qcow2_frees *f, uint64_t off, uint64_t len, bool punch)
{
	struct qcow2_free *last = f->n ? &f->v[f->n - 1] : NULL;

	if (last && last->off + last->len == off && last->punch == punch) {
		last->len += len;
		return;
	}
	if (f->n == f->cap) {
		const size_t cap = f->cap ? f->cap * 2 : 64;
		struct qcow2_free *v = cap <= FREES_MAX ? realloc(f->v, cap * sizeof(*v)) : NULL;

		if (!v)
			return;
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = (struct qcow2_free){ off, len, punch };
}

void qcow2_free_later(struct qcow2 *q, uint64_t off, uint64_t len, bool punch)
{
	qcow2_frees_add(&q->state->pending, off, len, punch);
	qcow2_need(q);
}
