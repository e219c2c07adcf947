/*
 * Zeroes and discards: whole clusters and subclusters by their L2 entries, the rest by writing.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define FREES_BEFORE_COMMIT 4096u
#define ALL_ZERO 0xffffffff00000000ull

enum how { KEEP_SPACE, FREE_SPACE, DISCARD };

/* --- by entries --- */

/* The entry's reference is gone. */
static void put_nothing(struct qcow2 *q, struct qcow2_slice *s, unsigned i, uint64_t old)
{
	if (q->h.version < 3)
		qcow2_l2_put(q, s, i, 0, 0);
	else if (qcow2_is_extended(q))
		qcow2_l2_put(q, s, i, 0, ALL_ZERO);
	else
		qcow2_l2_put(q, s, i, QCOW2_ZERO, 0);
	qcow2_entry_free(q, old, true);
}

static void clear_standard(struct qcow2 *q, struct qcow2_slice *s, unsigned i, enum how how)
{
	const uint64_t e = qcow2_l2_get(q, s, i);
	const bool keep = how == KEEP_SPACE && e & QCOW2_COPIED && q->h.version >= 3;

	switch (qcow2_type(q, e)) {
	case QCOW2_T_NONE:
		if (how != DISCARD && qcow2_has_backing(q))
			put_nothing(q, s, i, e);
		break;
	case QCOW2_T_ZERO:
		break;
	case QCOW2_T_ZERO_ALLOC:
		if (!keep)
			put_nothing(q, s, i, e);
		break;
	case QCOW2_T_DATA:
		if (keep)
			qcow2_l2_put(q, s, i, e | QCOW2_ZERO, 0);
		else
			put_nothing(q, s, i, e);
		break;
	case QCOW2_T_COMPRESSED:
		put_nothing(q, s, i, e);
		break;
	}
}

/* subs: the subclusters of one cluster; not all of them: not compressed. */
static void clear_extended(struct qcow2 *q, struct qcow2_slice *s, unsigned i, uint64_t subs, enum how how)
{
	const uint64_t e = qcow2_l2_get(q, s, i), bitmap = qcow2_l2_bitmap(q, s, i), now = (bitmap & ~subs) | subs << 32;

	if (subs == UINT32_MAX && (how != KEEP_SPACE || !(e & QCOW2_COPIED))) {
		if (how == DISCARD && !e && !bitmap)
			return;
		if (e || bitmap != ALL_ZERO)
			put_nothing(q, s, i, e);
	} else if (now != bitmap) {
		qcow2_l2_put(q, s, i, e, now);
	}
}

/* From off, at the start of a unit, as far as the slice and whole units go; *done: bytes.  0 or -errno. */
static int clear_slice(struct qcow2 *q, uint64_t off, uint64_t end, enum how how, uint64_t *done)
{
	const uint64_t start = off, slice_end = MIN(end, ALIGN_DOWN(off, BIT64(q->state->slice_bits)) + BIT64(q->state->slice_bits));
	struct qcow2_slice *s;
	int err = qcow2_l2_slice_write(q, off, &s);

	for (; off < slice_end && !err; off = MIN(ALIGN_DOWN(off, q->cluster) + q->cluster, slice_end)) {
		const unsigned i = qcow2_l2_index(q, off), bits = q->state->sub_bits;
		const uint64_t at = ALIGN_DOWN(off, q->cluster), to = MIN(slice_end, at + q->cluster);

		if (s->bad)
			err = qcow2_entry_check(q, qcow2_l2_get(q, s, i), qcow2_is_extended(q) ? qcow2_l2_bitmap(q, s, i) : 0, off);
		if (err)
			break;
		if (qcow2_is_extended(q)) {
			const unsigned first = (unsigned)((off - at) >> bits), last = (unsigned)((to - 1 - at) >> bits);

			if (qcow2_l2_get(q, s, i) & QCOW2_COMPRESSED && last - first < 31)
				break;
			clear_extended(q, s, i, (BIT64(last - first + 1) - 1) << first, how);
		} else {
			clear_standard(q, s, i, how);
		}
	}
	*done = off - start;
	return err;
}

/* --- by writing --- */

/* Zeroes where the disk does not show them yet. */
static int write_zeroes(struct img *img, uint64_t off, uint64_t len)
{
	while (len) {
		struct img_seg seg;
		int err = img_map(img, off, MIN(len, BFILE_ZEROES), 0, &seg);

		if (!err && seg.kind != IMG_ZERO) {
			const struct iovec v = { (void *)(uintptr_t)bfile_zeroes(), seg.len };

			err = qcow2_write(img, off, &v, 1);
		}
		if (err)
			return err;
		off += seg.len;
		len -= seg.len;
	}
	return 0;
}

/* Where there is no L2 table and nothing below, all is zero already: how far? */
static uint64_t empty_for(struct qcow2 *q, uint64_t off, uint64_t end)
{
	const unsigned bits = q->state->l2_bits;
	uint64_t i = off >> bits;

	while (i < q->h.l1_entries && i << bits < end && !(q->l1[i] & QCOW2_OFFSET_MASK))
		i++;
	return i << bits > off ? MIN(end, i << bits) - off : 0;
}

/* --- */

/* One step forward: *done bytes, 0 when only writing helps. */
static int clear_step(struct qcow2 *q, uint64_t off, uint64_t end, enum how how, uint64_t *done)
{
	int err = 0;

	pthread_mutex_lock(&q->lock);
	*done = how == DISCARD || !qcow2_has_backing(q) ? empty_for(q, off, end) : 0;
	if (!*done)
		err = clear_slice(q, off, end, how, done);
	if (!err && q->state->pending.n >= FREES_BEFORE_COMMIT)
		err = qcow2_commit(q);
	pthread_mutex_unlock(&q->lock);
	return err;
}

int qcow2_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	struct qcow2 *q = qcow2_of(img);
	const uint64_t unit = BIT64(q->state->sub_bits), end = off + len;
	const bool by_entry = q->h.version >= 3 || !qcow2_has_backing(q);
	int err = 0;

	while (off < end && !err) {
		/* What lies above the disk's end belongs to its last unit. */
		const uint64_t whole_end = end == img->size ? end : ALIGN_DOWN(end, unit);
		uint64_t n = 0;

		if (by_entry && !(off & (unit - 1)) && off < whole_end)
			err = clear_step(q, off, whole_end, flags & IMG_UNMAP ? FREE_SPACE : KEEP_SPACE, &n);
		if (!err && !n) {
			n = MIN(end, ALIGN_DOWN(off, unit) + unit) - off;
			err = write_zeroes(img, off, n);
		}
		off += n;
	}
	return err;
}

int qcow2_discard(struct img *img, uint64_t off, uint64_t len)
{
	struct qcow2 *q = qcow2_of(img);
	const uint64_t end = off + len == img->size ? off + len : ALIGN_DOWN(off + len, q->cluster);
	int err = 0;

	/* Version 2 has no way of saying that a cluster hides what is below it. */
	if (q->h.version < 3 && qcow2_has_backing(q))
		return 0;
	off = ALIGN_UP(off, q->cluster);
	while (off < end && !err) {
		uint64_t n;

		err = clear_step(q, off, end, DISCARD, &n);
		off += n;
	}
	return err;
}
