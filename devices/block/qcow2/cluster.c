/*
 * From places of the disk to places in the file: L1 and L2 tables [QCOW2 "Cluster mapping"; QCOW2 "Extended L2 Entries"].
 *
 * L2 tables are cached in slices, found by the place of the disk they describe, so that a lookup is one step in a hash.
 * A slice is checked as a whole when it is read; only slices with entries that cannot be right are looked at again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define COPY_CHUNK (64u << 10)

/* --- entries --- */

/* What is wrong with an entry; NULL: nothing.  *cut: the file is too short for it, no more. */
static const char *entry_wrong(const struct qcow2 *q, uint64_t e, uint64_t bitmap, bool *cut)
{
	const uint64_t off = e & QCOW2_OFFSET_MASK;
	uint64_t at, len;

	*cut = false;
	if (e & QCOW2_COMPRESSED) {
		qcow2_compressed_place(q, e, &at, &len);
		*cut = at >= q->state->file_end;
		return *cut ? "above the end of the file" : NULL;
	}
	if (e & QCOW2_ZERO && q->h.version < 3)
		return "a zero cluster, which version 2 does not have";
	if (qcow2_is_extended(q) && (bitmap >> 32 & bitmap & UINT32_MAX || (!off && bitmap & UINT32_MAX)))
		return "impossible subclusters";
	if (!off)
		return NULL;
	if (off & (q->cluster - 1))
		return "not at a cluster's start";
	*cut = off >= q->state->file_end && qcow2_type(q, e) == QCOW2_T_DATA && (!qcow2_is_extended(q) || bitmap & UINT32_MAX);
	return *cut ? "above the end of the file" : qcow2_table_at(q, off, q->cluster, QCOW2_SELF_NONE);
}

/* An image that is only looked at may be in use. */
static void file_grew(struct qcow2 *q)
{
	const int64_t size = q->img.read_only ? q->img.file->ops->size(q->img.file) : 0;

	if (size > 0)
		q->state->file_end = MAX(q->state->file_end, ALIGN_UP((uint64_t)size, q->cluster));
}

int qcow2_entry_check(struct qcow2 *q, uint64_t e, uint64_t bitmap, uint64_t off)
{
	const char *wrong;
	bool cut;

	file_grew(q);
	wrong = entry_wrong(q, e, bitmap, &cut);
	if (!wrong)
		return 0;
	if (!cut)
		return img_damaged(&q->img, "the cluster at 0x%" PRIx64 " of the disk is at 0x%" PRIx64 " of the file: %s", off,
				   (uint64_t)(e & QCOW2_OFFSET_MASK), wrong);
	guest_warn(&q->img.warn, q->img.file->path, "the cluster at 0x%" PRIx64 " of the disk is missing, the file has been cut off", off);
	return -EIO;
}

void qcow2_l2_put(struct qcow2 *q, struct qcow2_slice *s, unsigned i, uint64_t e, uint64_t bitmap)
{
	uint8_t *p = s->data + (size_t)i * q->l2_entry;

	put_be64(p, e);
	if (qcow2_is_extended(q))
		put_be64(p + 8, bitmap);
	qcow2_cache_dirty(q->l2, s);
	qcow2_need(q);
}

void qcow2_entry_free(struct qcow2 *q, uint64_t e, bool punch)
{
	uint64_t off = e & QCOW2_OFFSET_MASK, len = q->cluster;

	if (e & QCOW2_COMPRESSED) {
		qcow2_compressed_place(q, e, &off, &len);
		len = ALIGN_UP(off + len, q->cluster) - ALIGN_DOWN(off, q->cluster);
		off = ALIGN_DOWN(off, q->cluster);
		punch = false;
		qcow2_unz_forget(q);
	}
	if (off)
		qcow2_free_later(q, off, len, punch);
}

/* --- slices --- */

/* Marks a slice with entries that cannot be right; takes back the permission to write in place where the table is shared. */
static void slice_check(struct qcow2 *q, struct qcow2_slice *s, bool shared)
{
	bool cut;

	for (unsigned i = 0; i < q->state->slice_per; i++) {
		const uint64_t e = qcow2_l2_get(q, s, i), bitmap = qcow2_is_extended(q) ? qcow2_l2_bitmap(q, s, i) : 0;

		if (e | bitmap && entry_wrong(q, e, bitmap, &cut))
			s->bad = true;
		if (shared && e & QCOW2_COPIED)
			put_be64(s->data + (size_t)i * q->l2_entry, e & ~QCOW2_COPIED);
	}
}

/* Where the L2 table is; 0: none.  -EIO when it cannot be there. */
static int table_at(struct qcow2 *q, uint64_t off, uint64_t *table)
{
	const uint64_t i = off >> q->state->l2_bits, t = q->l1[i] & QCOW2_OFFSET_MASK;
	const char *other = NULL;

	*table = t;
	if (!t)
		return 0;
	if (t >= q->state->file_end)
		file_grew(q);
	if (!(t & (q->cluster - 1)) && t < q->state->file_end)
		other = qcow2_table_at(q, t, q->cluster, QCOW2_SELF_L2);
	if (t & (q->cluster - 1) || t >= q->state->file_end || other)
		return img_damaged(&q->img, "L2 table %" PRIu64 " cannot lie at 0x%" PRIx64 "%s%s", i, t, other ? ": there is a " : "",
				   other ? other : "");
	return 0;
}

/* Makes room by a commit when all slices are dirty; that lets go of the lock and is answered by -EAGAIN. */
static int slice_add(struct qcow2 *q, uint64_t key, struct qcow2_slice **s)
{
	int err;

	*s = qcow2_cache_add(q->l2, key);
	if (*s)
		return 0;
	if (!q->l2->ndirty)
		return -ENOMEM;
	err = qcow2_commit(q);
	return err ? err : -EAGAIN;
}

static int slice_read(struct qcow2 *q, uint64_t table, uint64_t key, struct qcow2_slice *s)
{
	const uint32_t bytes = q->state->slice_bytes, per_table = q->cluster / bytes;
	const int err = bfile_read(q->img.file, table + key % per_table * bytes, s->data, bytes);

	if (err) {
		qcow2_cache_drop(q->l2, s);
		return err;
	}
	slice_check(q, s, !(q->l1[key / per_table] & QCOW2_COPIED));
	return 0;
}

int qcow2_l2_slice(struct qcow2 *q, uint64_t off, struct qcow2_slice **s)
{
	const uint64_t key = off >> q->state->slice_bits;
	uint64_t table;
	int err;

	do {
		*s = qcow2_cache_find(q->l2, key);
		if (*s)
			return 0;
		err = table_at(q, off, &table);
		if (err || !table)
			return err;
		err = slice_add(q, key, s);
		if (!err)
			err = slice_read(q, table, key, *s);
	} while (err == -EAGAIN);
	return err;
}

/* --- tables of one's own --- */

static int table_copy(struct qcow2 *q, uint64_t from, uint64_t to)
{
	const uint32_t chunk = MIN(q->cluster, COPY_CHUNK);
	uint8_t *b = malloc(chunk);
	int err = b ? 0 : -ENOMEM;

	for (uint32_t at = 0; at < q->cluster && !err; at += chunk) {
		err = bfile_read(q->img.file, from + at, b, chunk);
		for (uint32_t i = 0; i < chunk && !err; i += q->l2_entry)
			put_be64(b + i, get_be64(b + i) & ~QCOW2_COPIED);
		if (!err)
			err = bfile_write(q->img.file, to + at, b, chunk);
	}
	free(b);
	return err;
}

/* A table for this place, with what the shared one (0: none) holds.  Slices in the cache stay right. */
static int table_new(struct qcow2 *q, uint64_t off, uint64_t shared)
{
	const uint64_t i = off >> q->state->l2_bits;
	uint64_t at, got;
	bool fresh;
	int err = qcow2_alloc(q, 1, &at, &got, &fresh);

	if (err)
		return err;
	if (shared)
		err = table_copy(q, shared, at);
	else if (!fresh)
		err = q->img.file->ops->zero(q->img.file, at, q->cluster, false);
	if (!err)
		err = qcow2_sector_dirty(&q->state->l1_dirty, i);
	if (err) {
		qcow2_ref_dec(q, at >> q->state->cbits, 1);
		return err;
	}
	q->l1[i] = at | QCOW2_COPIED;
	qcow2_filter_add(q, at);
	qcow2_need(q);
	if (shared)
		qcow2_free_later(q, shared, q->cluster, false);
	return 0;
}

/* The slice of a table that is new and empty. */
static int slice_empty(struct qcow2 *q, uint64_t off, struct qcow2_slice **s)
{
	int err = slice_add(q, off >> q->state->slice_bits, s);

	if (err)
		return err;
	memset((*s)->data, 0, q->state->slice_bytes);
	err = table_new(q, off, 0);
	if (err) {
		qcow2_cache_drop(q->l2, *s);
		return err;
	}
	qcow2_cache_dirty(q->l2, *s);   /* also makes the file reach there */
	return 0;
}

static int slice_write_once(struct qcow2 *q, uint64_t off, struct qcow2_slice **s)
{
	const uint64_t i = off >> q->state->l2_bits;
	uint64_t table = q->l1[i] & QCOW2_OFFSET_MASK;
	int err = 0;

	if (!table)
		return slice_empty(q, off, s);
	*s = qcow2_cache_find(q->l2, off >> q->state->slice_bits);
	if (!*s) {
		err = table_at(q, off, &table);         /* for what is in the cache, that has been done */
		if (!err)
			err = slice_add(q, off >> q->state->slice_bits, s);
		if (!err)
			err = slice_read(q, table, off >> q->state->slice_bits, *s);
	}
	if (!err && !(q->l1[i] & QCOW2_COPIED))
		err = table_new(q, off, table);
	return err;
}

int qcow2_l2_slice_write(struct qcow2 *q, uint64_t off, struct qcow2_slice **s)
{
	int err = qcow2_mark_dirty(q);

	while (!err) {
		qcow2_thaw_wait(q);
		err = slice_write_once(q, off, s);
		if (err != -EAGAIN)
			break;
		err = 0;
	}
	return err;
}

/* --- what lies where --- */

/* No L2 table, here and in the tables that follow. */
static void map_no_table(const struct qcow2 *q, uint64_t off, uint64_t len, struct img_seg *seg)
{
	const unsigned bits = q->state->l2_bits;
	uint64_t i = off >> bits;

	while (i < q->h.l1_entries && !(q->l1[i] & QCOW2_OFFSET_MASK) && (i << bits) - MIN(off, i << bits) < len)
		i++;
	seg->kind = IMG_NONE;
	seg->len = MIN(len, (i << bits) - off);
}

static void seg_data(const struct qcow2 *q, uint64_t e, uint64_t in, struct img_seg *seg)
{
	seg->kind = IMG_DATA;
	seg->file = q->img.file;
	seg->file_off = (e & QCOW2_OFFSET_MASK) + in;
	seg->in_place = e & QCOW2_COPIED && !q->img.read_only;
}

/* How many entries from i on, at most max, go on as the first one began. */
static unsigned run_of(const struct qcow2 *q, const struct qcow2_slice *s, unsigned i, unsigned max)
{
	const uint64_t first = qcow2_l2_get(q, s, i);
	const enum qcow2_type type = qcow2_type(q, first);
	unsigned n = 1;

	if (type == QCOW2_T_DATA)
		while (n < max && qcow2_l2_get(q, s, i + n) == first + (uint64_t)n * q->cluster)
			n++;
	else if (type == QCOW2_T_ZERO || type == QCOW2_T_ZERO_ALLOC)
		for (; n < max; n++) {
			const enum qcow2_type t = qcow2_type(q, qcow2_l2_get(q, s, i + n));

			if (t != QCOW2_T_ZERO && t != QCOW2_T_ZERO_ALLOC)
				break;
		}
	else
		while (n < max && qcow2_type(q, qcow2_l2_get(q, s, i + n)) == type)
			n++;
	return n;
}

/* Entries from that of off to that of off + len - 1, within the slice. */
static unsigned entries_of(const struct qcow2 *q, uint64_t off, uint64_t len)
{
	const unsigned i = qcow2_l2_index(q, off);
	const uint64_t n = (((off & (q->cluster - 1)) + len - 1) >> q->state->cbits) + 1;

	return (unsigned)MIN(n, q->state->slice_per - i);
}

static void map_standard(const struct qcow2 *q, const struct qcow2_slice *s, uint64_t off, uint64_t len, struct img_seg *seg)
{
	const unsigned i = qcow2_l2_index(q, off);
	const uint64_t e = qcow2_l2_get(q, s, i), in = off & (q->cluster - 1);
	const unsigned n = run_of(q, s, i, s->bad ? 1 : entries_of(q, off, len));

	seg->len = MIN(len, ((uint64_t)n << q->state->cbits) - in);
	switch (qcow2_type(q, e)) {
	case QCOW2_T_NONE:
		seg->kind = IMG_NONE;
		break;
	case QCOW2_T_ZERO:
	case QCOW2_T_ZERO_ALLOC:
		seg->kind = IMG_ZERO;
		break;
	case QCOW2_T_DATA:
		seg_data(q, e, in, seg);
		break;
	case QCOW2_T_COMPRESSED:
		seg->kind = IMG_OPAQUE;
		break;
	}
}

/* Subclusters, from one on, in the same state: how many. */
static unsigned sub_run(uint64_t bitmap, unsigned sub, enum img_kind *kind)
{
	const uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);
	const uint32_t same = alloc & BIT(sub) ? alloc : zero & BIT(sub) ? zero : ~(alloc | zero);

	*kind = alloc & BIT(sub) ? IMG_DATA : zero & BIT(sub) ? IMG_ZERO : IMG_NONE;
	return (unsigned)__builtin_ctzll(~((uint64_t)same >> sub));
}

/* One cluster's part of the answer; false: it is of another kind than what came before (seg->len is not 0). */
static bool map_extended_one(const struct qcow2 *q, const struct qcow2_slice *s, uint64_t off, uint64_t len,
			     struct img_seg *seg, bool *whole)
{
	const unsigned i = qcow2_l2_index(q, off), sub = (unsigned)((off & (q->cluster - 1)) >> q->state->sub_bits);
	const uint64_t e = qcow2_l2_get(q, s, i), in = off & (q->cluster - 1);
	struct img_seg part = { .kind = IMG_OPAQUE };
	unsigned n = 32 - sub;

	if (!(e & QCOW2_COMPRESSED))
		n = sub_run(qcow2_l2_bitmap(q, s, i), sub, &part.kind);
	if (part.kind == IMG_DATA)
		seg_data(q, e, in, &part);
	if (seg->len && (part.kind != seg->kind || part.in_place != seg->in_place ||
			 (part.kind == IMG_DATA && part.file_off != seg->file_off + seg->len)))
		return false;
	*whole = sub + n == 32;
	part.len = MIN(len, ((uint64_t)(sub + n) << q->state->sub_bits) - in);
	if (seg->len) {
		seg->len += part.len;
	} else {
		seg->kind = part.kind;
		seg->in_place = part.in_place;
		seg->file = part.file;
		seg->file_off = part.file_off;
		seg->len = part.len;
	}
	return true;
}

static void map_extended(const struct qcow2 *q, const struct qcow2_slice *s, uint64_t off, uint64_t len, struct img_seg *seg)
{
	const uint64_t end = MIN(off + len, ALIGN_DOWN(off, BIT64(q->state->slice_bits)) + BIT64(q->state->slice_bits));
	bool whole = true;

	seg->len = 0;
	while (whole && off + seg->len < end && map_extended_one(q, s, off + seg->len, end - off - seg->len, seg, &whole))
		if (s->bad)
			break;
}

static int map_locked(struct qcow2 *q, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	struct qcow2_slice *s = qcow2_cache_find(q->l2, off >> q->state->slice_bits);

	if (!s) {
		int err = 0;

		if (!(q->l1[off >> q->state->l2_bits] & QCOW2_OFFSET_MASK)) {
			map_no_table(q, off, len, seg);
			return 0;
		}
		err = flags & IMG_NOWAIT ? -EAGAIN : qcow2_l2_slice(q, off, &s);
		if (err)
			return err;
		if (!s) {
			map_no_table(q, off, len, seg);
			return 0;
		}
	}
	if (s->bad) {
		const unsigned i = qcow2_l2_index(q, off);
		const int err = qcow2_entry_check(q, qcow2_l2_get(q, s, i), qcow2_is_extended(q) ? qcow2_l2_bitmap(q, s, i) : 0, off);

		if (err)
			return err;
	}
	if (qcow2_is_extended(q))
		map_extended(q, s, off, len, seg);
	else
		map_standard(q, s, off, len, seg);
	return 0;
}

int qcow2_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	struct qcow2 *q = qcow2_of(img);
	int err;

	seg->in_place = false;
	if (flags & IMG_NOWAIT) {
		if (pthread_mutex_trylock(&q->lock))
			return -EAGAIN;
	} else {
		pthread_mutex_lock(&q->lock);
	}
	err = map_locked(q, off, len, flags, seg);
	pthread_mutex_unlock(&q->lock);
	return err;
}
