/*
 * qcow2_check(): what `qemu-img check` finds, and its repair [QCOW2].
 *
 * A cluster whose refcount is above its references is leaked space; below, it is a corruption, as are entries that cannot be
 * right, COPIED flags that do not say "refcount 1" in the active tables, and snapshots without what version 3 wants.  With the
 * dirty bit set refcounts are expected to be off, so they are counted but not listed.
 *
 * Repair makes all refcounts and flags anew beside the old ones (rebuild.c), so a refcount table that is gone does not
 * matter.  IMG_FIX_LEAKS touches nothing when there is a corruption: what looks leaked may be what a lost entry named.
 * IMG_FIX_ALL clears entries that cannot be right: what they named then reads as the backing image does, or as zeroes.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/scan.h"

static void copied_flag(struct qcow2_scan *s, const char *what, uint64_t entry, uint64_t off)
{
	if (!(s->kind[off / s->q->cluster] & SCAN_ONE) == !(entry & QCOW2_COPIED))
		return;
	s->res.corruptions++;
	if (!(s->q->h.incompatible & QCOW2_DIRTY))
		qcow2_scan_say(s, "%s entry %#llx %s marked as writable in place, against its refcount", what,
			       (unsigned long long)entry, entry & QCOW2_COPIED ? "is" : "is not");
}

/* One active L2 table: flags, and how far its clusters lie in a row. */
static int check_l2(struct qcow2_scan *s, uint64_t idx)
{
	const unsigned size = s->q->l2_entry;
	struct qcow2_ref ref;
	uint64_t expect = 0;
	const int r = qcow2_scan_l2(s, idx);

	for (unsigned i = 0; i < s->q->l2_per && !r; i++) {
		const uint8_t *const e = s->l2 + (size_t)i * size;
		const uint64_t entry = get_be64(e);

		qcow2_scan_entry(s, entry, size > 8 ? get_be64(e + 8) : 0, &ref);
		if (ref.kind == QCOW2_REF_NONE)
			continue;
		s->res.allocated++;
		if (ref.kind == QCOW2_REF_COMPRESSED) {
			s->res.compressed++;
			s->res.fragmented++;
			continue;
		}
		copied_flag(s, "L2", entry, ref.off);
		if (expect && ref.off != expect)
			s->res.fragmented++;
		expect = ref.off + s->q->cluster;
	}
	return r;
}

static int check_active(struct qcow2_scan *s)
{
	const struct qcow2 *const q = s->q;
	const char *wrong;
	int r = 0;

	for (uint32_t i = 0; i < q->h.l1_entries && !r; i++) {
		const uint64_t off = qcow2_scan_l1_entry(s, q->l1[i], &wrong), idx = off / q->cluster;

		if (!off)
			continue;
		copied_flag(s, "L1", q->l1[i], off);
		if (s->kind[idx] & SCAN_SEEN)
			continue;
		s->kind[idx] |= SCAN_SEEN;
		r = check_l2(s, idx);
	}
	for (uint64_t i = 0; i < s->n; i++)
		s->kind[i] &= (uint8_t)~SCAN_SEEN;
	return r;
}

/* Returns how many rows cannot be put right. */
static uint64_t check_rows(struct qcow2_scan *s, const struct qcow2_snaps *snaps)
{
	uint64_t bad = 0;

	for (uint32_t i = 0; i < snaps->n; i++) {
		bad += snaps->s[i].bad;
		if (s->q->h.version >= 3 && get_be32(snaps->s[i].row + 36) < 16) {
			s->res.corruptions++;
			qcow2_scan_say(s, "snapshot %u lacks the size of its disk%s", i + 1,
				       s->mending ? ": the size of now is put in" : "");
		}
	}
	return bad;
}

static int repair(struct qcow2_scan *s, struct qcow2_snaps *snaps, uint64_t hopeless)
{
	struct qcow2 *const q = s->q;
	struct qcow2_next next = {
		.l1_entries = q->h.l1_entries, .size = q->h.size, .snaps = snaps,
		.incompatible = q->h.incompatible & ~(QCOW2_DIRTY | QCOW2_CORRUPT), .mend = s->res.corruptions,
	};
	int r;

	next.l1 = malloc((size_t)next.l1_entries * 8 + 1);
	if (!next.l1)
		return err_msg(-ENOMEM, "image '%s': not enough memory to repair it", q->img.file->path);
	if (next.l1_entries)
		memcpy(next.l1, q->l1, (size_t)next.l1_entries * 8);
	r = qcow2_rebuild(s, &next);
	free(next.l1);
	if (r)
		return r;
	s->res.corruptions_fixed = s->res.corruptions - hopeless;
	s->res.leaks_fixed = s->res.leaks;
	return 0;
}

/* All is well: neither dirty nor corrupt any more. */
static int clear_bits(struct qcow2 *q)
{
	const uint64_t old = q->h.incompatible;
	int r;

	if (!(old & (QCOW2_DIRTY | QCOW2_CORRUPT)))
		return 0;
	q->h.incompatible &= ~(QCOW2_DIRTY | QCOW2_CORRUPT);
	r = qcow2_header_write(q);
	if (!r)
		r = qcow2_flush_held(q);
	if (!r)
		return 0;
	q->h.incompatible = old;
	return err_msg(r, "image '%s': writing its header: %s", q->img.file->path, strerror(-r));
}

static int mend(struct qcow2_scan *s, struct qcow2_snaps *snaps, unsigned fix, uint64_t hopeless)
{
	const struct img_check *const res = &s->res;
	const char *const path = s->q->img.file->path;

	if (s->q->img.read_only)
		return err_msg(-EROFS, "image '%s': it is open read-only and cannot be repaired", path);
	if (res->errors)
		return err_msg(-EIO, "image '%s': parts of it cannot be read, so it is not repaired: copy the file to a sound disk "
			       "first", path);
	if (res->corruptions && fix != IMG_FIX_ALL) {
		log_warn("img", "image '%s': it has more than leaks wrong, so nothing is repaired; repairing all does", path);
		return 0;
	}
	return res->corruptions || res->leaks ? repair(s, snaps, hopeless) : clear_bits(s->q);
}

static int check_all(struct qcow2 *q, unsigned fix, struct qcow2_scan *s, struct qcow2_snaps *snaps)
{
	uint64_t hopeless;
	int r = q->img.read_only ? 0 : qcow2_write_back(q);

	if (!r)
		r = qcow2_snaps_load(q, snaps);
	if (!r)
		r = qcow2_scan_init(s, q);
	if (r)
		return r;
	s->tell = true;
	s->mending = fix == IMG_FIX_ALL;
	r = qcow2_scan_file(s, snaps);
	if (!r)
		r = check_active(s);
	if (r)
		return r;
	hopeless = check_rows(s, snaps);
	s->res.clusters = q->h.size / q->cluster + (q->h.size % q->cluster ? 1 : 0);
	return fix ? mend(s, snaps, fix, hopeless) : 0;
}

int qcow2_check(struct img *img, unsigned fix, struct img_check *res)
{
	struct qcow2 *const q = (struct qcow2 *)img;
	struct qcow2_snaps snaps = { 0 };
	struct qcow2_scan scan = { 0 };
	int r;

	pthread_mutex_lock(&q->lock);
	r = check_all(q, fix, &scan, &snaps);
	*res = scan.res;
	qcow2_scan_fini(&scan);
	qcow2_snaps_free(&snaps);
	pthread_mutex_unlock(&q->lock);
	return r;
}
