/*
 * Internal snapshots of qcow2 images [QCOW2 "Snapshots"], as qemu-img makes and finds them: an id is one above the largest
 * there is; what the user names is an id first, then a name.  Two snapshots of one name are refused here, since the second could
 * only be reached by its id.
 *
 * create: the active L1 table becomes the snapshot's, the disk goes on with a new one.  apply: the disk goes on with a copy of
 * the snapshot's.  delete: the row goes.  COPIED flags and refcounts are the rebuild's (rebuild.c), as is the switch from
 * the old state to the new one at a single write.  Emptying an image is the same with an L1 table of nothing.
 * Rows are kept byte for byte, with whatever extra data they have.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "devices/block/qcow2/scan.h"

#define ROW_FIXED 40u
#define ROW_EXTRA 16u                   /* what version 3 wants: size of the VM state, size of the disk */
#define NAME_MAX_BYTES 255u

/* --- The table --- */

static uint32_t row_extra(const struct qcow2_snap *s)
{
	return get_be32(s->row + 36);
}

static uint32_t row_id(const struct qcow2_snap *s, const char **id)
{
	*id = (const char *)s->row + ROW_FIXED + row_extra(s);
	return get_be16(s->row + 12);
}

static uint32_t row_name(const struct qcow2_snap *s, const char **name)
{
	const char *id;

	*name = (const char *)s->row + ROW_FIXED + row_extra(s) + row_id(s, &id);
	return get_be16(s->row + 14);
}

static uint64_t row_disk_size(const struct qcow2 *q, const struct qcow2_snap *s)
{
	return row_extra(s) >= 16 ? get_be64(s->row + ROW_FIXED + 8) : q->h.size;
}

void qcow2_snaps_free(struct qcow2_snaps *snaps)
{
	for (uint32_t i = 0; i < snaps->n; i++)
		free(snaps->s[i].row);
	free(snaps->s);
	*snaps = (struct qcow2_snaps){ 0 };
}

static int table_damaged(const struct qcow2 *q, const char *why)
{
	return err_msg(-EINVAL, "image '%s': its snapshot table %s; 'qemu-img convert' saves what the disk holds now",
		       q->img.file->path, why);
}

/* The row at *at, which moves behind it. */
static int row_load(struct qcow2 *q, uint64_t *at, uint64_t file_size, struct qcow2_snap *snap)
{
	const uint64_t start = ALIGN_UP(*at, 8), left = start < file_size ? file_size - start : 0;
	uint8_t fixed[ROW_FIXED];
	uint64_t len;
	int r = left >= ROW_FIXED ? bfile_read(q->img.file, start, fixed, ROW_FIXED) : -EINVAL;

	if (r)
		return r == -EINVAL ? table_damaged(q, "reaches beyond the end of the file") :
		       err_msg(r, "image '%s': its snapshot table: %s", q->img.file->path, strerror(-r));
	len = ROW_FIXED + (uint64_t)get_be32(fixed + 36) + get_be16(fixed + 12) + get_be16(fixed + 14);
	if (start + len - q->h.snapshots_off > QCOW2_SNAPSHOT_BYTES_MAX || len > left)
		return table_damaged(q, "reaches beyond the end of the file or 64 MiB");
	*snap = (struct qcow2_snap){ .row = malloc(len), .len = (uint32_t)len, .l1_off = get_be64(fixed),
				     .l1_entries = get_be32(fixed + 8) };
	if (!snap->row)
		return err_msg(-ENOMEM, "image '%s': not enough memory for its snapshot table", q->img.file->path);
	r = bfile_read(q->img.file, start, snap->row, len);
	if (r)
		return err_msg(r, "image '%s': its snapshot table: %s", q->img.file->path, strerror(-r));
	memcpy(snap->row, fixed, ROW_FIXED);    /* the lengths that were checked */
	*at = start + len;
	return 0;
}

/* Tables cannot have more bytes together than the file: a bound on the work that they can cause. */
static void check_l1(const struct qcow2 *q, uint64_t file_size, uint64_t *total, struct qcow2_snap *s)
{
	const uint64_t len = (uint64_t)s->l1_entries * 8;

	*total += len;
	s->bad = s->l1_off & (q->cluster - 1) || len > QCOW2_L1_BYTES_MAX || *total > file_size + q->cluster ||
		 (len && (s->l1_off >= file_size || len >= file_size - s->l1_off + q->cluster || !s->l1_off));
}

int qcow2_snaps_load(struct qcow2 *q, struct qcow2_snaps *snaps)
{
	const int64_t file_size = q->img.file->ops->size(q->img.file);
	uint64_t at = q->h.snapshots_off, l1_total = 0;

	*snaps = (struct qcow2_snaps){ 0 };
	if (!q->h.nsnapshots)
		return 0;
	if (file_size < 0)
		return err_msg((int)file_size, "image '%s': its file's size: %s", q->img.file->path, strerror((int)-file_size));
	if (q->h.nsnapshots > QCOW2_SNAPSHOTS_MAX || !at || at & (q->cluster - 1))
		return table_damaged(q, "cannot be where its header says");
	snaps->s = calloc(q->h.nsnapshots, sizeof(*snaps->s));
	if (!snaps->s)
		return err_msg(-ENOMEM, "image '%s': not enough memory for its snapshot table", q->img.file->path);
	while (snaps->n < q->h.nsnapshots) {
		struct qcow2_snap *const s = &snaps->s[snaps->n];
		const int r = row_load(q, &at, (uint64_t)file_size, s);

		if (r) {
			free(s->row);
			qcow2_snaps_free(snaps);
			return r;
		}
		check_l1(q, (uint64_t)file_size, &l1_total, s);
		snaps->n++;
	}
	snaps->table_bytes = at - q->h.snapshots_off;
	return 0;
}

/* Version 3 wants at least 16 bytes of extra data: older rows get them. */
static uint32_t row_pack(const struct qcow2 *q, const struct qcow2_snap *s, uint8_t *out)
{
	const uint32_t extra = row_extra(s), new_extra = q->h.version >= 3 ? MAX(extra, ROW_EXTRA) : extra;

	if (out) {
		memcpy(out, s->row, ROW_FIXED + extra);
		memcpy(out + ROW_FIXED + new_extra, s->row + ROW_FIXED + extra, s->len - ROW_FIXED - extra);
		put_be64(out, s->l1_off);
		put_be32(out + 36, new_extra);
		if (extra < 8 && new_extra >= 8)
			put_be64(out + ROW_FIXED, get_be32(s->row + 32));
		if (extra < 16 && new_extra >= 16)
			put_be64(out + ROW_FIXED + 8, q->h.size);
	}
	return s->len - extra + new_extra;
}

uint8_t *qcow2_snaps_pack(const struct qcow2 *q, const struct qcow2_snaps *snaps, uint64_t *len)
{
	uint64_t at = 0;
	uint8_t *table;

	for (uint32_t i = 0; i < snaps->n; i++)
		at = ALIGN_UP(at, 8) + row_pack(q, &snaps->s[i], NULL);
	*len = at;
	table = calloc(1, at + 1);
	at = 0;
	for (uint32_t i = 0; table && i < snaps->n; i++) {
		at = ALIGN_UP(at, 8);
		at += row_pack(q, &snaps->s[i], table + at);
	}
	return table;
}

/* --- Finding --- */

static bool same(const char *s, uint32_t len, const char *want)
{
	return strlen(want) == len && !memcmp(s, want, len);
}

/* Index, or -1. */
static int64_t find(const struct qcow2_snaps *snaps, const char *want, uint32_t (*part)(const struct qcow2_snap *, const char **))
{
	const char *s;

	for (uint32_t i = 0; i < snaps->n; i++) {
		const uint32_t len = part(&snaps->s[i], &s);

		if (same(s, len, want))
			return i;
	}
	return -1;
}

static int64_t find_any(const struct qcow2 *q, const struct qcow2_snaps *snaps, const char *want)
{
	int64_t i = find(snaps, want, row_id);

	if (i < 0)
		i = find(snaps, want, row_name);
	if (i >= 0)
		return i;
	return err_msg(-ENOENT, "image '%s': it has no snapshot with id or name '%s'; 'skep img snapshot list' shows what it has",
		       q->img.file->path, want);
}

static void text(char *out, size_t room, const char *s, uint32_t len)
{
	len = MIN(len, (uint32_t)room - 1);
	memcpy(out, s, len);
	out[len] = 0;
}

static void describe(const struct qcow2 *q, const struct qcow2_snap *s, struct img_snapshot *out)
{
	const uint8_t *const row = s->row;
	const char *id, *name;
	const uint32_t id_len = row_id(s, &id), name_len = row_name(s, &name);

	*out = (struct img_snapshot){
		.date_ns = get_be32(row + 16) * 1000000000ull + get_be32(row + 20),
		.vm_clock_ns = get_be64(row + 24),
		.vm_state_len = row_extra(s) >= 8 ? get_be64(row + ROW_FIXED) : get_be32(row + 32),
		.disk_size = row_disk_size(q, s),
	};
	text(out->id, sizeof(out->id), id, id_len);
	text(out->name, sizeof(out->name), name, name_len);
}

int qcow2_snap_list(struct img *img, struct img_snapshot **list, unsigned *n)
{
	struct qcow2 *const q = (struct qcow2 *)img;
	struct qcow2_snaps snaps;
	int r;

	*list = NULL;
	*n = 0;
	pthread_mutex_lock(&q->lock);
	r = qcow2_snaps_load(q, &snaps);
	if (!r && snaps.n) {
		*list = calloc(snaps.n, sizeof(**list));
		if (!*list)
			r = err_msg(-ENOMEM, "image '%s': not enough memory to list its snapshots", img->file->path);
	}
	for (uint32_t i = 0; !r && i < snaps.n; i++)
		describe(q, &snaps.s[i], &(*list)[i]);
	if (!r)
		*n = snaps.n;
	qcow2_snaps_free(&snaps);
	pthread_mutex_unlock(&q->lock);
	return r;
}

/* --- Changing --- */

static uint64_t l1_needed(const struct qcow2 *q, uint64_t size)
{
	const uint64_t covers = (uint64_t)q->l2_per * q->cluster;

	return size / covers + (size % covers ? 1 : 0);
}

/*
 * An image whose refcounts are wrong is left alone: "free" means nothing in it.  known: what is wrong with the row that is
 * about to be deleted.
 */
static int sound(const struct qcow2_scan *s, unsigned known)
{
	if (s->res.corruptions <= known && !s->res.errors)
		return 0;
	return err_msg(-EIO, "image '%s': it is damaged, so nothing is changed in it: see 'skep img check'",
		       s->q->img.file->path);
}

/* Writes back, loads the snapshot table, lets `change` make the new state of the old one and goes there. */
static int change_state(struct img *img, int (*change)(struct qcow2_scan *, struct qcow2_next *, const char *), const char *arg)
{
	struct qcow2 *const q = (struct qcow2 *)img;
	struct qcow2_scan scan = { 0 };
	struct qcow2_snaps snaps = { 0 };
	struct qcow2_next next = { .snaps = &snaps };
	int r;

	if (img->read_only)
		return err_msg(-EROFS, "image '%s': it is open read-only and cannot be changed", img->file->path);
	if (img->broken)
		return -EIO;
	pthread_mutex_lock(&q->lock);
	r = qcow2_write_back(q);
	if (!r)
		r = qcow2_snaps_load(q, &snaps);
	if (!r)
		r = qcow2_scan_init(&scan, q);
	if (!r)
		r = qcow2_scan_file(&scan, &snaps);
	if (!r) {
		next.size = q->h.size;
		next.incompatible = q->h.incompatible;
		next.l1_entries = q->h.l1_entries;
		r = change(&scan, &next, arg);
	}
	if (!r)
		r = qcow2_rebuild(&scan, &next);
	free(next.l1);
	qcow2_scan_fini(&scan);
	qcow2_snaps_free(&snaps);
	pthread_mutex_unlock(&q->lock);
	return r;
}

static int new_l1(struct qcow2_scan *s, struct qcow2_next *next, const uint64_t *from, uint32_t entries)
{
	next->l1 = calloc((size_t)next->l1_entries + 1, 8);
	if (!next->l1)
		return err_msg(-ENOMEM, "image '%s': not enough memory for an L1 table", s->q->img.file->path);
	if (entries)
		memcpy(next->l1, from, (size_t)entries * 8);
	return 0;
}

/* One above the largest number among the ids; 20 digits. */
static void next_id(const struct qcow2_snaps *snaps, char out[32])
{
	unsigned long long max = 0;
	char id[32];
	const char *s;

	for (uint32_t i = 0; i < snaps->n; i++) {
		const uint32_t len = row_id(&snaps->s[i], &s);

		text(id, sizeof(id), s, len);
		max = MAX(max, strtoull(id, NULL, 10));
	}
	snprintf(out, 32, "%llu", max + 1);
}

static int row_make(const struct qcow2 *q, const struct qcow2_snaps *snaps, const char *name, struct qcow2_snap *out)
{
	struct timespec now;
	char id[32];
	uint32_t id_len, name_len = (uint32_t)strlen(name);
	uint8_t *row;

	next_id(snaps, id);
	id_len = (uint32_t)strlen(id);
	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct qcow2_snap){ .len = ROW_FIXED + ROW_EXTRA + id_len + name_len, .l1_off = q->h.l1_off,
				    .l1_entries = q->h.l1_entries };
	out->row = row = calloc(1, out->len);
	if (!row)
		return err_msg(-ENOMEM, "image '%s': not enough memory for another snapshot", q->img.file->path);
	put_be64(row, out->l1_off);
	put_be32(row + 8, out->l1_entries);
	put_be16(row + 12, (uint16_t)id_len);
	put_be16(row + 14, (uint16_t)name_len);
	put_be32(row + 16, (uint32_t)now.tv_sec);
	put_be32(row + 20, (uint32_t)now.tv_nsec);
	put_be32(row + 36, ROW_EXTRA);
	put_be64(row + ROW_FIXED + 8, q->h.size);
	memcpy(row + ROW_FIXED + ROW_EXTRA, id, id_len);
	memcpy(row + ROW_FIXED + ROW_EXTRA + id_len, name, name_len);
	return 0;
}

static int create(struct qcow2_scan *s, struct qcow2_next *next, const char *name)
{
	struct qcow2_snaps *const snaps = next->snaps;
	struct qcow2_snap *more;
	int r = sound(s, 0);

	if (r)
		return r;
	if (!*name || strlen(name) > NAME_MAX_BYTES)
		return err_msg(-EINVAL, "image '%s': a snapshot's name has 1 to %u bytes", s->q->img.file->path, NAME_MAX_BYTES);
	if (find(snaps, name, row_name) >= 0)
		return err_msg(-EEXIST, "image '%s': it has a snapshot named '%s' already: choose another name or delete that one",
			       s->q->img.file->path, name);
	if (snaps->n >= QCOW2_SNAPSHOTS_MAX)
		return err_msg(-ENOSPC, "image '%s': it has %u snapshots, which is the most a qcow2 image can have: delete some",
			       s->q->img.file->path, snaps->n);
	more = realloc(snaps->s, (snaps->n + 1) * sizeof(*more));
	if (!more)
		return err_msg(-ENOMEM, "image '%s': not enough memory for another snapshot", s->q->img.file->path);
	snaps->s = more;
	r = row_make(s->q, snaps, name, &more[snaps->n]);
	if (r)
		return r;
	snaps->n++;
	return new_l1(s, next, s->q->l1, next->l1_entries);
}

int qcow2_snap_create(struct img *img, const char *name)
{
	return change_state(img, create, name);
}

static int apply(struct qcow2_scan *s, struct qcow2_next *next, const char *want)
{
	struct qcow2 *const q = s->q;
	const int64_t i = find_any(q, next->snaps, want);
	const struct qcow2_snap *snap;
	uint64_t *l1, entries;
	int r = i < 0 ? (int)i : sound(s, 0);

	if (r)
		return r;
	snap = &next->snaps->s[i];
	next->size = row_disk_size(q, snap);
	entries = MAX(l1_needed(q, next->size), (uint64_t)snap->l1_entries);
	if (snap->bad || entries * 8 > QCOW2_L1_BYTES_MAX || next->size > INT64_MAX)
		return err_msg(-EINVAL, "image '%s': snapshot '%s' is damaged and cannot be applied", q->img.file->path, want);
	r = qcow2_scan_snap_l1(s, snap, &l1);
	if (r)
		return r;
	next->l1_entries = (uint32_t)entries;
	r = new_l1(s, next, l1, snap->l1_entries);
	free(l1);
	return r;
}

int qcow2_snap_apply(struct img *img, const char *id_or_name)
{
	return change_state(img, apply, id_or_name);
}

static int delete(struct qcow2_scan *s, struct qcow2_next *next, const char *want)
{
	struct qcow2_snaps *const snaps = next->snaps;
	const int64_t i = find_any(s->q, snaps, want);
	const int r = i < 0 ? (int)i : sound(s, snaps->s[i].bad);

	if (r)
		return r;
	free(snaps->s[i].row);
	memmove(&snaps->s[i], &snaps->s[i + 1], (snaps->n - (size_t)i - 1) * sizeof(*snaps->s));
	snaps->n--;
	return new_l1(s, next, s->q->l1, next->l1_entries);
}

int qcow2_snap_delete(struct img *img, const char *id_or_name)
{
	return change_state(img, delete, id_or_name);
}

/* --- Emptying: a new L1 table without entries --- */

static int empty(struct qcow2_scan *s, struct qcow2_next *next, const char *unused)
{
	const int r = sound(s, 0);

	return r ? r : new_l1(s, next, NULL, 0);
}

int qcow2_discard_all(struct img *img)
{
	return change_state(img, empty, NULL);
}
