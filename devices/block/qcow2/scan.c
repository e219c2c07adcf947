/*
 * Who refers to which cluster of a qcow2 file [QCOW2 "Host cluster management"; "Cluster mapping"; "Snapshots"; "Bitmaps"].
 *
 * Every L2 table is read once, however many L1 entries lead to it; so the time is bounded by the size of the file, whatever
 * is in it.  An entry that cannot be right (it points outside the file, into the middle of a cluster, or to the header, an L1
 * table or the snapshot table) counts as a corruption and not as a reference.  Data and L2 tables that overlap are not
 * an error as such: with the right refcounts and without COPIED both are copied before they are written.
 *
 * Bitmaps count only while the autoclear bit vouches for them.  Opening an image for writing clears it, because nothing here
 * keeps bitmaps up to date; from then on they are leaked clusters to every program, and the next rebuild frees them.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/qcow2/scan.h"

#define SAY_MAX 20u
#define L1_RESERVED 0x7f000000000001ffull
#define L2_RESERVED 0x3f000000000001feull       /* bit 0 is not looked at: it means nothing where it is not the zero flag */
#define EXT_BITMAPS 0x23852875u
#define BITMAP_ROW 24u
#define BITMAPS_MAX 65535u

void qcow2_scan_say(struct qcow2_scan *s, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (!s->tell || s->said > SAY_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (s->said++ == SAY_MAX)
		log_warn("img", "image '%s': more of this is not listed", s->q->img.file->path);
	else
		log_warn("img", "image '%s': %s", s->q->img.file->path, text);
}

/* --- Refcounts of 1 to 64 bits --- */

uint64_t qcow2_ref_max(unsigned order)
{
	return order >= 6 ? UINT64_MAX : (1ull << (1u << order)) - 1;
}

uint64_t qcow2_ref_get(const void *block, unsigned order, uint64_t i)
{
	const uint8_t *b = block;
	const unsigned bits = 1u << order;

	switch (order) {
	case 3: return b[i];
	case 4: return get_be16(b + i * 2);
	case 5: return get_be32(b + i * 4);
	case 6: return get_be64(b + i * 8);
	default: return b[i * bits / 8] >> (i * bits % 8) & (BIT(bits) - 1);
	}
}

void qcow2_ref_put(void *block, unsigned order, uint64_t i, uint64_t v)
{
	uint8_t *b = block;
	const unsigned bits = 1u << order, shift = (unsigned)(i * bits % 8);

	switch (order) {
	case 3: b[i] = (uint8_t)v; break;
	case 4: put_be16(b + i * 2, (uint16_t)v); break;
	case 5: put_be32(b + i * 4, (uint32_t)v); break;
	case 6: put_be64(b + i * 8, v); break;
	default:
		b += i * bits / 8;
		*b = (uint8_t)((*b & ~((BIT(bits) - 1) << shift)) | (unsigned)v << shift);
	}
}

/* --- The arrays --- */

static int too_big(const struct qcow2_scan *s, uint64_t clusters)
{
	return err_msg(-EFBIG, "image '%s': the file has room for %llu clusters, more than the %llu whose references can be "
		       "counted: convert it to an image with larger clusters", s->q->img.file->path,
		       (unsigned long long)clusters, QCOW2_SCAN_MAX);
}

static int no_memory(const struct qcow2_scan *s)
{
	return err_msg(-ENOMEM, "image '%s': not enough memory to count the references to %llu clusters",
		       s->q->img.file->path, (unsigned long long)s->cap);
}

int qcow2_scan_init(struct qcow2_scan *s, struct qcow2 *q)
{
	const int64_t size = q->img.file->ops->size(q->img.file);

	*s = (struct qcow2_scan){ .q = q, .next = 1 };
	if (size < 0)
		return err_msg((int)size, "image '%s': its file's size: %s", q->img.file->path, strerror((int)-size));
	s->file_size = (uint64_t)size;
	s->n = s->file_size / q->cluster + (s->file_size % q->cluster ? 1 : 0);
	if (s->n > QCOW2_SCAN_MAX)
		return too_big(s, s->n);
	s->cap = s->n + 1024;
	s->refs = calloc(s->cap, sizeof(*s->refs));
	s->l2refs = calloc(s->cap, sizeof(*s->l2refs));
	s->moved = calloc(s->cap, sizeof(*s->moved));
	s->kind = calloc(s->cap, 1);
	s->l2 = malloc(q->cluster);
	return s->refs && s->l2refs && s->moved && s->kind && s->l2 ? 0 : no_memory(s);
}

void qcow2_scan_fini(struct qcow2_scan *s)
{
	free(s->refs);
	free(s->l2refs);
	free(s->moved);
	free(s->kind);
	free(s->l2);
}

static int enlarge(void *array, size_t size, uint64_t old, uint64_t now)
{
	uint8_t **const p = array, *const bigger = realloc(*p, now * size);

	if (!bigger)
		return -ENOMEM;
	memset(bigger + old * size, 0, (now - old) * size);
	*p = bigger;
	return 0;
}

int qcow2_scan_grow(struct qcow2_scan *s, uint64_t idx)
{
	const uint64_t cap = idx + idx / 8 + 1024;

	if (idx >= QCOW2_SCAN_MAX)
		return too_big(s, idx + 1);
	if (idx >= s->cap) {
		if (enlarge(&s->refs, sizeof(*s->refs), s->cap, cap) || enlarge(&s->l2refs, sizeof(*s->l2refs), s->cap, cap) ||
		    enlarge(&s->moved, sizeof(*s->moved), s->cap, cap) || enlarge(&s->kind, 1, s->cap, cap))
			return no_memory(s);
		s->cap = cap;
	}
	s->n = MAX(s->n, idx + 1);
	return 0;
}

bool qcow2_scan_inside(const struct qcow2_scan *s, uint64_t off, uint64_t len)
{
	return off < s->file_size && len < s->file_size - off + s->q->cluster;
}

static uint32_t sum(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

bool qcow2_scan_add(struct qcow2_scan *s, uint64_t off, uint64_t len, uint32_t times)
{
	const uint64_t first = off / s->q->cluster;
	uint64_t last;

	if (!len)
		return true;
	if (!qcow2_scan_inside(s, off, len))
		return false;
	last = (off + len - 1) / s->q->cluster;
	if (last >= s->n)
		s->n = last + 1;        /* at most one more: what follows the end of the file; there is room */
	for (uint64_t i = first; i <= last; i++)
		s->refs[i] = sum(s->refs[i], times);
	return true;
}

static void mark(struct qcow2_scan *s, uint64_t off, uint64_t len, uint8_t kind)
{
	if (len && qcow2_scan_inside(s, off, len))
		for (uint64_t i = off / s->q->cluster; i <= (off + len - 1) / s->q->cluster; i++)
			s->kind[i] |= kind;
}

/* --- Entries --- */

static bool on_meta(const struct qcow2_scan *s, uint64_t off, uint64_t len)
{
	for (uint64_t i = off / s->q->cluster; i <= (off + len - 1) / s->q->cluster; i++)
		if (s->kind[i] & SCAN_META)
			return true;
	return false;
}

/* NULL: an entry may point here. */
static const char *misplaced(const struct qcow2_scan *s, uint64_t off, uint64_t len)
{
	if (!qcow2_scan_inside(s, off, len))
		return "points outside the file";
	return on_meta(s, off, len) ? "points to the image's own tables" : NULL;
}

static void none(struct qcow2_ref *r, const char *wrong)
{
	*r = (struct qcow2_ref){ .kind = QCOW2_REF_NONE, .wrong = wrong };
}

static void compressed_entry(const struct qcow2_scan *s, uint64_t entry, uint64_t bitmap, struct qcow2_ref *r)
{
	const char *wrong;

	*r = (struct qcow2_ref){ .kind = QCOW2_REF_COMPRESSED, .entry = entry & ~QCOW2_COPIED };
	qcow2_compressed_place(s->q, entry, &r->off, &r->len);
	wrong = misplaced(s, r->off, r->len);
	if (wrong)
		none(r, wrong);
	else if (entry & QCOW2_COPIED)
		r->wrong = "is compressed and marked as writable in place";
	else if (bitmap)
		r->wrong = "is compressed and has subclusters";
}

/* Subclusters: allocated ones need a place, and none is both allocated and zero [QCOW2 "Extended L2 Entries"]. */
static uint64_t bitmap_mended(uint64_t bitmap, bool placed)
{
	return placed ? bitmap & ~(bitmap << 32) : bitmap & ~0xffffffffull;
}

void qcow2_scan_entry(const struct qcow2_scan *s, uint64_t entry, uint64_t bitmap, struct qcow2_ref *r)
{
	const uint64_t off = entry & QCOW2_OFFSET_MASK;
	const char *wrong;

	if (entry & QCOW2_COMPRESSED) {
		compressed_entry(s, entry, bitmap, r);
		return;
	}
	if (off & (s->q->cluster - 1)) {
		none(r, "points into the middle of a cluster");
		return;
	}
	wrong = off ? misplaced(s, off, s->q->cluster) : NULL;
	if (wrong) {
		none(r, wrong);
		return;
	}
	*r = (struct qcow2_ref){ .kind = off ? QCOW2_REF_DATA : QCOW2_REF_NONE, .off = off, .len = off ? s->q->cluster : 0,
				 .entry = entry & ~L2_RESERVED, .bitmap = bitmap_mended(bitmap, off) };
	if (r->entry != entry)
		r->wrong = "has reserved bits set";
	else if (r->bitmap != bitmap)
		r->wrong = "has impossible subclusters";
}

uint64_t qcow2_scan_l1_entry(const struct qcow2_scan *s, uint64_t entry, const char **wrong)
{
	const uint64_t off = entry & QCOW2_OFFSET_MASK;

	*wrong = NULL;
	if (off & (s->q->cluster - 1))
		*wrong = "points into the middle of a cluster";
	else if (off)
		*wrong = misplaced(s, off, s->q->cluster);
	if (*wrong)
		return 0;
	if (entry & L1_RESERVED)
		*wrong = "has reserved bits set";
	return off;
}

/* --- Reading tables --- */

int qcow2_scan_l2(struct qcow2_scan *s, uint64_t idx)
{
	const int r = bfile_read(s->q->img.file, idx * s->q->cluster, s->l2, s->q->cluster);

	if (!r)
		return 0;
	s->res.errors++;
	return err_msg(r, "image '%s': the L2 table at %#llx cannot be read: %s", s->q->img.file->path,
		       (unsigned long long)(idx * s->q->cluster), strerror(-r));
}

int qcow2_scan_snap_l1(struct qcow2_scan *s, const struct qcow2_snap *snap, uint64_t **l1)
{
	const size_t len = (size_t)snap->l1_entries * 8;
	uint64_t *const t = malloc(len + 1);
	int r;

	if (!t)
		return err_msg(-ENOMEM, "image '%s': not enough memory for a snapshot's L1 table", s->q->img.file->path);
	r = bfile_read(s->q->img.file, snap->l1_off, t, len);
	if (r) {
		free(t);
		s->res.errors++;
		return err_msg(r, "image '%s': a snapshot's L1 table at %#llx cannot be read: %s", s->q->img.file->path,
			       (unsigned long long)snap->l1_off, strerror(-r));
	}
	for (uint32_t i = 0; i < snap->l1_entries; i++)
		t[i] = get_be64(t + i);
	*l1 = t;
	return 0;
}

/* --- Counting --- */

static void add_l1(struct qcow2_scan *s, const uint64_t *l1, uint32_t n, bool first)
{
	const char *wrong;

	for (uint32_t i = 0; i < n; i++) {
		const uint64_t off = qcow2_scan_l1_entry(s, l1[i], &wrong), idx = off / s->q->cluster;

		if (wrong && first) {
			s->res.corruptions++;
			qcow2_scan_say(s, "L1 entry %u (%#llx) %s%s", i, (unsigned long long)l1[i], wrong,
				       !s->mending ? "" : off ? ": corrected" : ": cleared, its part of the disk is lost");
		}
		if (!off)
			continue;
		qcow2_scan_add(s, off, s->q->cluster, 1);
		s->l2refs[idx] = sum(s->l2refs[idx], 1);
	}
}

static int add_l2(struct qcow2_scan *s, uint64_t idx, bool first)
{
	const unsigned words = s->q->l2_entry / 8;
	struct qcow2_ref ref;
	const int r = qcow2_scan_l2(s, idx);

	if (r)
		return r;
	for (unsigned i = 0; i < s->q->l2_per; i++) {
		const uint8_t *const e = s->l2 + (size_t)i * words * 8;
		const uint64_t entry = get_be64(e);

		qcow2_scan_entry(s, entry, words > 1 ? get_be64(e + 8) : 0, &ref);
		if (ref.wrong) {
			s->kind[idx] |= SCAN_MENDED;
			if (first) {
				s->res.corruptions++;
				qcow2_scan_say(s, "entry %u (%#llx) of the L2 table at %#llx %s%s", i, (unsigned long long)entry,
					       (unsigned long long)(idx * s->q->cluster), ref.wrong, !s->mending ? "" :
					       ref.kind == QCOW2_REF_NONE ? ": cleared, its data is lost" : ": corrected");
			}
		}
		qcow2_scan_add(s, ref.off, ref.len, s->l2refs[idx]);
	}
	return 0;
}

/* One bitmap: its table, and what that points to. */
static void add_bitmap(struct qcow2_scan *s, uint64_t off, uint32_t entries)
{
	const uint64_t len = (uint64_t)entries * 8;
	uint8_t *table;

	if (off & (s->q->cluster - 1) || !qcow2_scan_add(s, off, len, 1) || !(table = malloc(len + 1))) {
		s->res.corruptions++;
		return;
	}
	if (bfile_read(s->q->img.file, off, table, len))
		s->res.errors++;
	else
		for (uint32_t i = 0; i < entries; i++) {
			const uint64_t data = get_be64(table + (size_t)i * 8) & QCOW2_OFFSET_MASK;

			if (data && (data & (s->q->cluster - 1) || !qcow2_scan_add(s, data, s->q->cluster, 1)))
				s->res.corruptions++;
		}
	free(table);
}

static void add_bitmap_directory(struct qcow2_scan *s, uint32_t n, uint64_t off, uint64_t len)
{
	uint8_t *dir = NULL;
	uint64_t at = 0, tables = 0;

	/* Tables that share their clusters would be read again and again: together they cannot be larger than the file. */
	if (n > BITMAPS_MAX || len > QCOW2_SNAPSHOT_BYTES_MAX || off & (s->q->cluster - 1) || !qcow2_scan_add(s, off, len, 1) ||
	    !(dir = malloc(len + 1)) || bfile_read(s->q->img.file, off, dir, len)) {
		s->res.corruptions++;
		free(dir);
		return;
	}
	for (uint32_t i = 0; i < n && len - at >= BITMAP_ROW; i++) {
		const uint8_t *const row = dir + at;
		const uint64_t row_len = ALIGN_UP(BITMAP_ROW + (uint64_t)get_be16(row + 18) + get_be32(row + 20), 8);

		tables += (uint64_t)get_be32(row + 8) * 8;
		if (row_len > len - at || tables > s->file_size)
			break;
		add_bitmap(s, get_be64(row), get_be32(row + 8));
		at += row_len;
	}
	if (at != len)
		s->res.corruptions++;
	free(dir);
}

/* The header extension [QCOW2 "Header extensions"; "Bitmaps extension"]. */
static void add_bitmaps(struct qcow2_scan *s)
{
	struct qcow2 *const q = s->q;
	uint64_t at = q->h.header_len;

	if (q->h.version < 3 || !(q->h.autoclear & QCOW2_BITMAPS) || bfile_read(q->img.file, 0, s->l2, q->cluster))
		return;
	while (at + 8 <= q->cluster) {
		const uint32_t type = get_be32(s->l2 + at), len = get_be32(s->l2 + at + 4);

		if (!type || len > q->cluster - at - 8)
			return;
		if (type == EXT_BITMAPS && len >= 24) {
			add_bitmap_directory(s, get_be32(s->l2 + at + 8), get_be64(s->l2 + at + 24), get_be64(s->l2 + at + 16));
			return;
		}
		at += 8 + ALIGN_UP((uint64_t)len, 8);
	}
}

int qcow2_scan_state(struct qcow2_scan *s, const uint64_t *l1, uint32_t l1_entries, const struct qcow2_snaps *snaps, bool first)
{
	int r = 0;

	if (!first) {
		memset(s->refs, 0, s->n * sizeof(*s->refs));
		memset(s->l2refs, 0, s->n * sizeof(*s->l2refs));
	}
	qcow2_scan_add(s, 0, s->q->cluster, 1);
	add_bitmaps(s);
	add_l1(s, l1, l1_entries, first);
	for (uint32_t i = 0; i < snaps->n && !r; i++) {
		const struct qcow2_snap *const snap = &snaps->s[i];
		uint64_t *snap_l1;

		if (snap->bad)
			continue;
		r = qcow2_scan_snap_l1(s, snap, &snap_l1);
		if (r)
			break;
		qcow2_scan_add(s, snap->l1_off, (uint64_t)snap->l1_entries * 8, 1);
		add_l1(s, snap_l1, snap->l1_entries, first);
		free(snap_l1);
	}
	for (uint64_t i = 0; i < s->n && !r; i++)
		if (s->l2refs[i])
			r = add_l2(s, i, first);
	return r;
}

/* --- The file as it is --- */

static void add_table(struct qcow2_scan *s, const char *what, uint64_t off, uint64_t len)
{
	if (off & (s->q->cluster - 1) || !qcow2_scan_add(s, off, len, 1)) {
		s->res.corruptions++;
		qcow2_scan_say(s, "the %s at %#llx is not inside the file", what, (unsigned long long)off);
	}
}

static void mark_meta(struct qcow2_scan *s, const struct qcow2_snaps *snaps)
{
	const struct qcow2_header *const h = &s->q->h;

	mark(s, 0, s->q->cluster, SCAN_META);
	mark(s, h->l1_off, (uint64_t)h->l1_entries * 8, SCAN_META);
	mark(s, h->snapshots_off, snaps->table_bytes, SCAN_META);
	for (uint32_t i = 0; i < snaps->n; i++)
		if (!snaps->s[i].bad)
			mark(s, snaps->s[i].l1_off, (uint64_t)snaps->s[i].l1_entries * 8, SCAN_META);
}

static void compare_one(struct qcow2_scan *s, uint64_t i, uint64_t on_disk)
{
	const uint64_t refs = s->refs[i];

	if (on_disk || refs) {
		s->kind[i] |= SCAN_OLD | (on_disk == 1 ? SCAN_ONE : 0);
		s->res.image_end = (i + 1) * s->q->cluster;
	}
	if (on_disk == refs)
		return;
	if (on_disk < refs)
		s->res.corruptions++;
	else
		s->res.leaks++;
	if (s->q->h.incompatible & QCOW2_DIRTY)
		return;
	qcow2_scan_say(s, "%s cluster %llu: refcount %llu, references %llu", on_disk < refs ? "damaged" : "leaked",
		       (unsigned long long)i, (unsigned long long)on_disk, (unsigned long long)refs);
}

/* The refcount table in host order, from malloc(); what is not in the file reads as zeroes. */
static int read_reftable(struct qcow2_scan *s, uint64_t **table, uint64_t *n)
{
	const struct qcow2_header *const h = &s->q->h;
	const uint64_t len = MIN((uint64_t)h->reftable_clusters * s->q->cluster, (uint64_t)QCOW2_REFTABLE_BYTES_MAX);
	uint64_t *const t = calloc(1, len + 8);

	*n = len / 8;
	if (!t)
		return no_memory(s);
	*table = t;
	if (!qcow2_scan_inside(s, h->reftable_off, len))
		return 0;
	if (bfile_read(s->q->img.file, h->reftable_off, t, len)) {
		s->res.errors++;
		memset(t, 0, len);
	}
	for (uint64_t i = 0; i < *n; i++)
		t[i] = get_be64(t + i);
	return 0;
}

/* Counts the refcount blocks; entries that lead nowhere become 0. */
static void add_blocks(struct qcow2_scan *s, uint64_t *table, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		if (!table[i])
			continue;
		if (table[i] & (s->q->cluster - 1) || !qcow2_scan_add(s, table[i], s->q->cluster, 1)) {
			s->res.corruptions++;
			qcow2_scan_say(s, "entry %llu (%#llx) of the refcount table does not point to a cluster of the file",
				       (unsigned long long)i, (unsigned long long)table[i]);
			table[i] = 0;
		} else if (s->refs[table[i] / s->q->cluster] != 1) {
			s->res.corruptions++;
			qcow2_scan_say(s, "refcount block %llu at %#llx overlaps something else", (unsigned long long)i,
				       (unsigned long long)table[i]);
		}
	}
}

static void compare(struct qcow2_scan *s, const uint64_t *table, uint64_t n)
{
	const struct qcow2 *const q = s->q;
	uint64_t i = 0;

	for (uint64_t t = 0; i < s->n; t++) {
		const uint64_t end = MIN((t + 1) * q->refs_per, s->n);
		bool there = t < n && table[t];

		if (there && bfile_read(q->img.file, table[t], s->l2, q->cluster)) {
			s->res.errors++;
			there = false;
		}
		for (; i < end; i++)
			compare_one(s, i, there ? qcow2_ref_get(s->l2, q->h.refcount_order, i % q->refs_per) : 0);
	}
}

int qcow2_scan_file(struct qcow2_scan *s, const struct qcow2_snaps *snaps)
{
	struct qcow2 *const q = s->q;
	uint64_t *table = NULL, n;
	int r;

	mark_meta(s, snaps);
	r = qcow2_scan_state(s, q->l1, q->h.l1_entries, snaps, true);
	if (r)
		return r;
	r = read_reftable(s, &table, &n);
	if (r)
		return r;
	add_table(s, "active L1 table", q->h.l1_off, (uint64_t)q->h.l1_entries * 8);
	add_table(s, "snapshot table", q->h.snapshots_off, snaps->table_bytes);
	add_table(s, "refcount table", q->h.reftable_off, (uint64_t)q->h.reftable_clusters * q->cluster);
	for (uint32_t i = 0; i < snaps->n; i++)
		if (snaps->s[i].bad) {
			s->res.corruptions++;
			qcow2_scan_say(s, "snapshot %u has no L1 table inside the file: it can only be deleted", i + 1);
		}
	add_blocks(s, table, n);
	compare(s, table, n);
	free(table);
	return 0;
}
