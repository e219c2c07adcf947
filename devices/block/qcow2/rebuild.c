/*
 * A new metadata state for a qcow2 file, made beside the old one: for snapshots and repair [QCOW2].
 *
 * Everything new (the active L1 table, L2 tables in which a COPIED flag or an entry has to change, the snapshot table, a
 * refcount table with all its blocks) goes to clusters that nothing of the old state uses and that its refcounts
 * call free, or behind the end of the file.  After a flush, one write of the header's first sector makes it the state of the
 * file; until then the old one is in force and untouched, so there is nothing to undo.  Both have exact refcounts.
 *
 * L2 tables whose bytes are right as they are stay where they are, shared with snapshots or not.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/scan.h"

static const char *path_of(const struct qcow2_scan *s)
{
	return s->q->img.file->path;
}

static int cannot_write(const struct qcow2_scan *s, int err)
{
	return err_msg(err, "image '%s': writing new tables: %s; nothing has been changed", path_of(s), strerror(-err));
}

static int out_of_memory(const struct qcow2_scan *s)
{
	return err_msg(-ENOMEM, "image '%s': not enough memory for new tables", path_of(s));
}

/* --- Space --- */

static bool is_free(const struct qcow2_scan *s, uint64_t i)
{
	return i >= s->n || (!s->refs[i] && !(s->kind[i] & SCAN_OLD));
}

/* `count` free clusters in a row, which from now on have one reference.  Their index in *idx; 0 or -errno (reported). */
static int take(struct qcow2_scan *s, uint64_t count, uint64_t *idx)
{
	uint64_t at = count == 1 ? s->next : 1, run = 0;
	int r;

	while (run < count) {
		run = is_free(s, at) ? run + 1 : 0;
		at++;
	}
	if (s->q->img.file->block_device && at > s->file_size / s->q->cluster)
		return err_msg(-ENOSPC, "image '%s': no space for new tables on its device: enlarge the device; nothing has been "
			       "changed", path_of(s));
	r = qcow2_scan_grow(s, at - 1);
	if (r)
		return r;
	if (count == 1)
		s->next = at;
	*idx = at - count;
	for (uint64_t i = *idx; i < at; i++)
		s->refs[i] = 1;
	return 0;
}

static void untake(struct qcow2_scan *s, uint64_t idx, uint64_t count)
{
	memset(s->refs + idx, 0, count * sizeof(*s->refs));
	s->next = 1;
}

static uint64_t clusters(const struct qcow2_scan *s, uint64_t bytes)
{
	return (bytes + s->q->cluster - 1) / s->q->cluster;
}

/* Writes a table, which gets new clusters of its own and zeroes behind it.  *off: where it is; unchanged when it is empty. */
static int put_table(struct qcow2_scan *s, const void *table, uint64_t len, uint64_t *off)
{
	const uint64_t count = clusters(s, len), whole = (count - 1) * s->q->cluster;
	uint64_t idx;
	uint8_t *last;
	int r;

	if (!len)
		return 0;
	r = take(s, count, &idx);
	if (r)
		return r;
	*off = idx * s->q->cluster;
	last = calloc(1, s->q->cluster);
	if (!last)
		return out_of_memory(s);
	memcpy(last, (const uint8_t *)table + whole, len - whole);
	if (whole)
		r = bfile_write(s->q->img.file, *off, table, whole);
	if (!r)
		r = bfile_write(s->q->img.file, *off + whole, last, s->q->cluster);
	free(last);
	return r ? cannot_write(s, r) : 0;
}

/* --- L2 and L1 tables --- */

/* The table in s->l2 as it should be.  active: COPIED flags as the references say.  true: it has changed. */
static bool mend_l2(struct qcow2_scan *s, bool active)
{
	const unsigned size = s->q->l2_entry;
	struct qcow2_ref ref;
	bool changed = false;

	for (unsigned i = 0; i < s->q->l2_per; i++) {
		uint8_t *const e = s->l2 + (size_t)i * size;
		const uint64_t entry = get_be64(e), bitmap = size > 8 ? get_be64(e + 8) : 0;
		uint64_t want;

		qcow2_scan_entry(s, entry, bitmap, &ref);
		want = ref.entry;
		if (active) {
			want &= ~QCOW2_COPIED;
			if (ref.kind == QCOW2_REF_DATA && s->refs[ref.off / s->q->cluster] == 1)
				want |= QCOW2_COPIED;
		}
		if (want != entry || ref.bitmap != bitmap) {
			changed = true;
			put_be64(e, want);
			if (size > 8)
				put_be64(e + 8, ref.bitmap);
		}
	}
	return changed;
}

/* Looks at the L2 table at cluster idx once; s->moved[idx] tells where its successor is, if it needs one. */
static int renew_l2(struct qcow2_scan *s, uint64_t idx, bool active)
{
	uint64_t to;
	int r;

	if (s->kind[idx] & SCAN_SEEN)
		return 0;
	s->kind[idx] |= SCAN_SEEN;
	r = qcow2_scan_l2(s, idx);
	if (r || !mend_l2(s, active))
		return r;
	r = take(s, 1, &to);
	if (r)
		return r;
	s->refs[to] = 0;                /* counted by each L1 entry that goes there */
	s->kind[to] |= SCAN_OLD;
	s->moved[idx] = (uint32_t)to;
	r = bfile_write(s->q->img.file, to * s->q->cluster, s->l2, s->q->cluster);
	return r ? cannot_write(s, r) : 0;
}

static uint64_t follow(struct qcow2_scan *s, uint64_t idx)
{
	const uint64_t to = s->moved[idx];

	s->refs[idx]--;
	s->refs[to]++;
	return to * s->q->cluster;
}

static int renew_active(struct qcow2_scan *s, struct qcow2_next *next)
{
	const char *wrong;

	for (uint32_t i = 0; i < next->l1_entries; i++) {
		uint64_t off = qcow2_scan_l1_entry(s, next->l1[i], &wrong);
		const uint64_t idx = off / s->q->cluster;
		const int r = off ? renew_l2(s, idx, true) : 0;

		if (r)
			return r;
		if (off && s->moved[idx])
			off = follow(s, idx);
		next->l1[i] = off;
	}
	return 0;
}

/* Entries of a snapshot that could not be right: new L2 tables, then a new L1 table. */
static int mend_snapshot(struct qcow2_scan *s, struct qcow2_snap *snap)
{
	const uint64_t len = (uint64_t)snap->l1_entries * 8, count = clusters(s, len), old = snap->l1_off / s->q->cluster;
	bool changed = false;
	uint64_t *l1;
	const char *wrong;
	int r = qcow2_scan_snap_l1(s, snap, &l1);

	for (uint32_t i = 0; i < snap->l1_entries && !r; i++) {
		uint64_t off = qcow2_scan_l1_entry(s, l1[i], &wrong);
		const uint64_t idx = off / s->q->cluster;

		if (off && s->kind[idx] & SCAN_MENDED) {
			r = renew_l2(s, idx, false);
			if (!r && s->moved[idx]) {
				off = follow(s, idx);
				wrong = "moved";
			}
		}
		changed |= wrong != NULL;
		put_be64(l1 + i, wrong ? off : l1[i]);
	}
	if (!r && changed) {
		r = put_table(s, l1, len, &snap->l1_off);
		for (uint64_t i = 0; i < count && !r; i++)
			s->refs[old + i]--;
		put_be64(snap->row, snap->l1_off);
	}
	free(l1);
	return r;
}

static int renew_snapshots(struct qcow2_scan *s, struct qcow2_next *next)
{
	int r = 0;

	for (uint32_t i = 0; next->mend && i < next->snaps->n && !r; i++)
		if (!next->snaps->s[i].bad)
			r = mend_snapshot(s, &next->snaps->s[i]);
	return r;
}

static int put_l1(struct qcow2_scan *s, const struct qcow2_next *next, uint64_t *off)
{
	const uint64_t len = (uint64_t)next->l1_entries * 8;
	uint64_t *const table = malloc(len + 1);
	int r;

	if (!table)
		return out_of_memory(s);
	for (uint32_t i = 0; i < next->l1_entries; i++) {
		const uint64_t l2 = next->l1[i];

		put_be64(table + i, l2 && s->refs[l2 / s->q->cluster] == 1 ? l2 | QCOW2_COPIED : l2);
	}
	r = put_table(s, table, len, off);
	free(table);
	return r;
}

static int put_snapshots(struct qcow2_scan *s, const struct qcow2_next *next, struct qcow2_header *h)
{
	uint64_t len;
	uint8_t *const table = qcow2_snaps_pack(s->q, next->snaps, &len);
	int r;

	if (!table)
		return out_of_memory(s);
	h->nsnapshots = next->snaps->n;
	h->snapshots_off = 0;
	r = put_table(s, table, len, &h->snapshots_off);
	free(table);
	return r;
}

/* --- Refcounts --- */

static bool group_used(const struct qcow2_scan *s, uint64_t group)
{
	const uint64_t end = MIN((group + 1) * s->q->refs_per, s->n);

	for (uint64_t i = group * s->q->refs_per; i < end; i++)
		if (s->refs[i])
			return true;
	return false;
}

static uint64_t groups(const struct qcow2_scan *s)
{
	return (s->n + s->q->refs_per - 1) / s->q->refs_per;
}

/* A block for every group of clusters that needs one; blocks may bring more groups into use.  1: `room` entries are not enough. */
static int place_blocks(struct qcow2_scan *s, uint64_t *table, uint64_t room)
{
	bool more;
	uint64_t idx;
	int r;

	do {
		more = false;
		for (uint64_t g = 0; g < groups(s); g++) {
			if (g >= room)
				return 1;
			if (table[g] || !group_used(s, g))
				continue;
			r = take(s, 1, &idx);
			if (r)
				return r;
			table[g] = idx * s->q->cluster;
			more = true;
		}
	} while (more);
	return 0;
}

static int table_too_large(const struct qcow2_scan *s)
{
	return err_msg(-EFBIG, "image '%s': its refcount table would be larger than %u MiB: convert it to an image with larger "
		       "clusters", path_of(s), QCOW2_REFTABLE_BYTES_MAX >> 20);
}

/*
 * Where refcount table and blocks go.  The table gets room for half as many entries again, so that growing the disk does
 * not need a larger one at once.
 */
static int place_refcounts(struct qcow2_scan *s, uint64_t **table, uint64_t *count, uint64_t *at)
{
	const uint64_t max = QCOW2_REFTABLE_BYTES_MAX / s->q->cluster;

	for (uint64_t want = MIN(clusters(s, (groups(s) * 3 / 2 + 1) * 8), max);; want += want / 2 + 1) {
		const uint64_t room = want * s->q->cluster / 8;
		int r;

		if (want > max)
			return table_too_large(s);
		r = take(s, want, at);
		if (r)
			return r;
		free(*table);
		*count = want;
		*table = calloc(room, 8);
		if (!*table)
			return out_of_memory(s);
		r = place_blocks(s, *table, room);
		if (r <= 0)
			return r;
		for (uint64_t g = 0; g < room; g++)
			if ((*table)[g])
				untake(s, (*table)[g] / s->q->cluster, 1);
		untake(s, *at, want);
	}
}

static int put_blocks(struct qcow2_scan *s, const uint64_t *table)
{
	const struct qcow2 *const q = s->q;

	for (uint64_t g = 0; g < groups(s); g++) {
		const uint64_t end = MIN((g + 1) * q->refs_per, s->n);
		int r;

		if (!table[g])
			continue;
		memset(s->l2, 0, q->cluster);
		for (uint64_t i = g * q->refs_per; i < end; i++)
			qcow2_ref_put(s->l2, q->h.refcount_order, i % q->refs_per, s->refs[i]);
		r = bfile_write(q->img.file, table[g], s->l2, q->cluster);
		if (r)
			return cannot_write(s, r);
	}
	return 0;
}

static int put_refcounts(struct qcow2_scan *s, struct qcow2_header *h)
{
	uint64_t *table = NULL, count, at;
	int r = place_refcounts(s, &table, &count, &at);

	if (!r)
		r = put_blocks(s, table);
	if (!r) {
		for (uint64_t g = 0; g < count * s->q->cluster / 8; g++)
			put_be64(table + g, table[g]);
		h->reftable_off = at * s->q->cluster;
		h->reftable_clusters = (uint32_t)count;
		r = bfile_write(s->q->img.file, h->reftable_off, table, count * s->q->cluster);
		if (r)
			r = cannot_write(s, r);
	}
	free(table);
	return r;
}

static int check_limits(const struct qcow2_scan *s)
{
	const uint64_t max = MIN(qcow2_ref_max(s->q->h.refcount_order), (uint64_t)UINT32_MAX - 1);

	for (uint64_t i = 0; i < s->n; i++)
		if (s->refs[i] > max)
			return err_msg(-EOVERFLOW, "image '%s': clusters would have more references than its refcounts of %u bits "
				       "can hold: convert it to an image with refcount_bits=16, or delete snapshots", path_of(s),
				       1u << s->q->h.refcount_order);
	return 0;
}

/* --- The switch --- */

/* What the old state used and the new one does not: a hint, without consequences when it fails. */
static void give_back(const struct qcow2_scan *s)
{
	struct bfile *const f = s->q->img.file;
	uint64_t i = 0, from;

	while (i < s->n && f->ops->discard) {
		for (from = i; i < s->n && s->kind[i] & SCAN_OLD && !s->refs[i]; i++)
			;
		if (i > from && f->ops->discard(f, from * s->q->cluster, (i - from) * s->q->cluster))
			return;
		if (i == from)
			i++;
	}
}

static int switch_over(struct qcow2_scan *s, const struct qcow2_header *h)
{
	struct qcow2 *const q = s->q;
	const struct qcow2_header old = q->h;
	int r = qcow2_flush_held(q);

	if (r)
		return cannot_write(s, r);
	q->h = *h;
	r = qcow2_header_write(q);
	if (!r)
		r = qcow2_flush_held(q);
	if (r) {
		q->h = old;
		img_damaged(&q->img, "writing its header: %s; which state is in force will show when it is opened again",
			    strerror(-r));
		return r;
	}
	give_back(s);
	r = qcow2_reload(q);
	if (r)
		img_damaged(&q->img, "reading its new tables: %s", strerror(-r));
	return r;
}

int qcow2_rebuild(struct qcow2_scan *s, struct qcow2_next *next)
{
	struct qcow2_header h = s->q->h;
	int r = qcow2_scan_state(s, next->l1, next->l1_entries, next->snaps, false);

	if (!r)
		r = check_limits(s);
	if (!r)
		r = renew_active(s, next);
	if (!r)
		r = renew_snapshots(s, next);
	h.l1_entries = next->l1_entries;
	h.size = next->size;
	h.incompatible = next->incompatible;
	if (!r)
		r = put_l1(s, next, &h.l1_off);
	if (!r)
		r = put_snapshots(s, next, &h);
	if (!r)
		r = put_refcounts(s, &h);
	if (!r)
		r = switch_over(s, &h);
	return r;
}
