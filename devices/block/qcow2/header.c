/*
 * The header of a qcow2 image, its extensions and the name of the backing file [QCOW2 "Header"; QCOW2 "Header extensions"].
 *
 * Fields that change while the image is used lie in the first 512 bytes, and one write changes them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define SECTOR 512u
#define NAME_MAX_LEN 1023u              /* of a backing file */
#define FORMAT_MAX 63u
#define AREA_MAX (64u << 10)            /* what is read of the first cluster */
#define EXT_END 0u
#define EXT_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define FEATURE_LEN 48u

#define KNOWN (QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_DATA_FILE | QCOW2_COMPRESSION | QCOW2_EXTENDED_L2)

/* --- extensions --- */

struct ext {
	uint32_t type, len;
	const uint8_t *data;
	uint32_t end;                   /* where the next one begins, from the start of the area */
};

/* The extension at *pos.  1, 0 at the end of them, -EINVAL when it leaves the area. */
static int ext_next(const uint8_t *area, uint32_t len, uint32_t pos, struct ext *e)
{
	if (pos + 8 > len)
		return 0;
	e->type = get_be32(area + pos);
	e->len = get_be32(area + pos + 4);
	if (e->type == EXT_END)
		return 0;
	if (e->len > len - pos - 8)
		return -EINVAL;
	e->data = area + pos + 8;
	e->end = pos + 8 + ALIGN_UP(e->len, 8u);
	return 1;
}

/* Bytes of the first cluster that may hold extensions. */
static uint32_t area_len(const struct qcow2_header *h)
{
	uint32_t len = MIN(1u << h->cluster_bits, AREA_MAX);

	if (h->backing_off && h->backing_off < len)
		len = MAX((uint32_t)h->backing_off, h->header_len);
	return len;
}

static uint8_t *area_read(struct img *img, uint32_t len, int *err)
{
	uint8_t *area = calloc(1, len);

	*err = area ? bfile_read(img->file, 0, area, len) : -ENOMEM;
	if (!*err)
		return area;
	free(area);
	err_msg(*err, "image '%s': its header cannot be read: %s", img->file->path, strerror(-*err));
	return NULL;
}

/* What the feature name table calls an incompatible bit; "" when it does not say. */
static void feature_name(const uint8_t *area, uint32_t len, uint32_t pos, unsigned bit, char name[FEATURE_LEN])
{
	struct ext e;

	name[0] = '\0';
	for (; ext_next(area, len, pos, &e) > 0; pos = e.end) {
		if (e.type != EXT_FEATURES)
			continue;
		for (uint32_t i = 0; i + FEATURE_LEN <= e.len; i += FEATURE_LEN)
			if (e.data[i] == 0 && e.data[i + 1] == bit)
				snprintf(name, FEATURE_LEN, "%.46s", (const char *)e.data + i + 2);
	}
	for (char *c = name; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static int refuse_bits(struct img *img, const struct qcow2_header *h)
{
	const unsigned bit = (unsigned)__builtin_ctzll(h->incompatible & ~KNOWN);
	const uint32_t len = area_len(h);
	char name[FEATURE_LEN];
	int err;
	uint8_t *area = area_read(img, len, &err);

	if (!area)
		return err;
	feature_name(area, len, h->header_len, bit, name);
	free(area);
	return err_msg(-ENOTSUP, "image '%s': it uses a feature that skep does not know (incompatible feature bit %u%s%s); convert it "
			"with the "
		       "program that made it", img->file->path, bit, name[0] ? ": " : "", name);
}

/* --- reading --- */

static void parse(const uint8_t *b, struct qcow2_header *h)
{
	*h = (struct qcow2_header){
		.version = get_be32(b + 4), .backing_off = get_be64(b + 8), .backing_len = get_be32(b + 16),
		.cluster_bits = get_be32(b + 20), .size = get_be64(b + 24), .crypt = get_be32(b + 32), .l1_entries = get_be32(b + 36),
		.l1_off = get_be64(b + 40), .reftable_off = get_be64(b + 48), .reftable_clusters = get_be32(b + 56),
		.nsnapshots = get_be32(b + 60), .snapshots_off = get_be64(b + 64), .refcount_order = 4, .header_len = QCOW2_HEADER_V2,
	};
	if (h->version < 3)
		return;
	h->incompatible = get_be64(b + 72);
	h->compatible = get_be64(b + 80);
	h->autoclear = get_be64(b + 88);
	h->refcount_order = get_be32(b + 96);
	h->header_len = get_be32(b + 100);
	if (h->header_len > 104)
		h->compression = b[104];
}

static int bad(struct img *img, const char *what)
{
	return err_msg(-EINVAL, "image '%s': its qcow2 header is damaged: %s; 'skep img check' cannot mend that, restore it from a copy",
		       img->file->path, what);
}

static int check_shape(struct img *img, const struct qcow2_header *h)
{
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return bad(img, "clusters must be 512 bytes to 2 MiB");
	if (h->version == 3 && (h->header_len < QCOW2_HEADER_V3 || h->header_len % 8 ||
				h->header_len > MIN(1u << h->cluster_bits, AREA_MAX)))
		return bad(img, "its own length is impossible");
	if (h->refcount_order > 6)
		return bad(img, "refcounts must have 1 to 64 bits");
	if (h->backing_off && (h->backing_len > NAME_MAX_LEN || h->backing_off < h->header_len || h->backing_off > 1u << h->cluster_bits ||
			       h->backing_len > (1u << h->cluster_bits) - h->backing_off))
		return bad(img, "the backing file's name does not fit");
	return 0;
}

static int check_features(struct img *img, const struct qcow2_header *h)
{
	const char *path = img->file->path;

	if (h->incompatible & ~KNOWN)
		return refuse_bits(img, h);
	if (h->incompatible & QCOW2_DATA_FILE)
		return err_msg(-ENOTSUP, "image '%s': it keeps its data in a second file (feature 'external data file'), which skep does not "
				"open; "
			       "'qemu-img convert -O qcow2' makes one file of it", path);
	if (h->crypt)
		return err_msg(-ENOTSUP, "image '%s': it is encrypted (%s), which skep does not read; decrypt it with 'qemu-img convert'", path,
			       h->crypt == 1 ? "AES" : h->crypt == 2 ? "LUKS" : "an unknown method");
	if (!(h->incompatible & QCOW2_COMPRESSION) != !h->compression)
		return bad(img, "compression type and its feature bit disagree");
	if (h->compression > 1)
		return err_msg(-ENOTSUP, "image '%s': its compression type %u is unknown to skep (known: 0 zlib, 1 zstd); convert it with the "
				"program "
			       "that made it", path, h->compression);
	if (h->incompatible & QCOW2_EXTENDED_L2 && h->cluster_bits < 14)
		return bad(img, "extended L2 entries need clusters of at least 16 KiB");
	if (h->incompatible & QCOW2_CORRUPT && !img->read_only && !img->check)
		return err_msg(-EROFS, "image '%s': it is marked as corrupt and may only be read; repair it with 'skep img check --repair "
				"all'", path);
	return 0;
}

/* Where the tables are.  file_end: bytes, the last cluster counted as whole. */
static int check_tables(struct img *img, const struct qcow2_header *h, uint64_t file_end)
{
	const uint64_t cluster = 1u << h->cluster_bits, entry = h->incompatible & QCOW2_EXTENDED_L2 ? 16 : 8;
	const uint64_t l2_bytes = cluster / entry << h->cluster_bits, l1 = (uint64_t)h->l1_entries * 8;
	const uint64_t reftable = (uint64_t)h->reftable_clusters << h->cluster_bits;

	if (h->size > INT64_MAX || (h->size + l2_bytes - 1) / l2_bytes > h->l1_entries)
		return bad(img, "the L1 table is too small for the disk");
	if (l1 > QCOW2_L1_BYTES_MAX)
		return bad(img, "the L1 table is larger than 32 MiB");
	if (l1 && (h->l1_off % cluster || h->l1_off < cluster || h->l1_off > file_end || l1 > file_end - h->l1_off))
		return bad(img, "the L1 table does not lie in the file, which may have been cut off");
	if (!reftable || reftable > MAX(QCOW2_REFTABLE_BYTES_MAX, cluster))
		return bad(img, "the size of the refcount table is impossible");
	/* A check makes a new one. */
	if (!img->check && (h->reftable_off % cluster || h->reftable_off < cluster || h->reftable_off > file_end ||
			    reftable > file_end - h->reftable_off))
		return bad(img, "the refcount table does not lie in the file, which may have been cut off");
	if (h->nsnapshots > QCOW2_SNAPSHOTS_MAX)
		return bad(img, "there are more than 65536 snapshots");
	if (h->nsnapshots && (h->snapshots_off % cluster || h->snapshots_off < cluster || h->snapshots_off >= file_end))
		return bad(img, "the snapshot table does not lie in the file, which may have been cut off");
	return 0;
}

int qcow2_header_read(struct img *img, struct qcow2_header *h)
{
	const int64_t size = img->file->ops->size(img->file);
	uint8_t b[112] = { 0 };
	int err = size < 0 ? (int)size : bfile_read(img->file, 0, b, sizeof(b));

	if (err)
		return err_msg(err, "image '%s': its header cannot be read: %s", img->file->path, strerror(-err));
	parse(b, h);
	if (get_be32(b) != QCOW2_MAGIC || size < (int64_t)QCOW2_HEADER_V2)
		return err_msg(-EINVAL, "image '%s': it is not a qcow2 image; give the right format=, or none", img->file->path);
	if (h->version != 2 && h->version != 3)
		return err_msg(-ENOTSUP, "image '%s': it is qcow version %u, skep knows 2 and 3; convert it with 'qemu-img convert -O qcow2'",
			       img->file->path, h->version);
	err = check_shape(img, h);
	if (!err)
		err = check_features(img, h);
	return err ? err : check_tables(img, h, ALIGN_UP((uint64_t)size, 1ull << h->cluster_bits));
}

int qcow2_header_backing(struct img *img, const struct qcow2_header *h)
{
	const uint32_t len = area_len(h);
	struct ext e;
	int err, more;
	uint8_t *area;

	if (!h->backing_off || !h->backing_len)
		return 0;
	img->backing_path = calloc(1, h->backing_len + 1);
	err = img->backing_path ? bfile_read(img->file, h->backing_off, img->backing_path, h->backing_len) : -ENOMEM;
	if (err)
		return err_msg(err, "image '%s': the name of its backing file cannot be read: %s", img->file->path, strerror(-err));
	area = area_read(img, len, &err);
	if (!area)
		return err;
	for (uint32_t pos = h->header_len; (more = ext_next(area, len, pos, &e)) > 0; pos = e.end)
		if (e.type == EXT_FORMAT && e.len <= FORMAT_MAX && !img->backing_format)
			img->backing_format = strndup((const char *)e.data, e.len);
	free(area);
	return more < 0 ? bad(img, "an extension leaves the first cluster") : 0;
}

/* --- writing --- */

static void put_fields(const struct qcow2_header *h, uint8_t *b)
{
	put_be64(b + 8, h->backing_off);
	put_be32(b + 16, h->backing_len);
	put_be64(b + 24, h->size);
	put_be32(b + 36, h->l1_entries);
	put_be64(b + 40, h->l1_off);
	put_be64(b + 48, h->reftable_off);
	put_be32(b + 56, h->reftable_clusters);
	put_be32(b + 60, h->nsnapshots);
	put_be64(b + 64, h->snapshots_off);
	if (h->version < 3)
		return;
	put_be64(b + 72, h->incompatible);
	put_be64(b + 80, h->compatible);
	put_be64(b + 88, h->autoclear);
	put_be32(b + 96, h->refcount_order);
}

int qcow2_header_write(struct qcow2 *q)
{
	struct bfile *f = q->img.file;
	uint8_t b[SECTOR];
	int err = bfile_read(f, 0, b, sizeof(b));

	if (err)
		return err;
	put_fields(&q->h, b);
	return bfile_write(f, 0, b, sizeof(b));
}

/* --- another backing file --- */

/* A first cluster being put together */
struct area {
	uint8_t *b;
	uint32_t len, pos;
	bool full;
};

static void area_ext(struct area *a, uint32_t type, const void *data, uint32_t len)
{
	const uint32_t all = 8 + ALIGN_UP(len, 8u);

	if (a->full || all > a->len - a->pos) {
		a->full = true;
		return;
	}
	put_be32(a->b + a->pos, type);
	put_be32(a->b + a->pos + 4, len);
	if (len)
		memcpy(a->b + a->pos + 8, data, len);
	a->pos += all;
}

/* Header, the backing's format, the other extensions of `old` as far as they end before `limit`, an end mark. */
static void area_build(struct area *a, const uint8_t *old, uint32_t old_len, const struct qcow2_header *h, const char *format,
		uint32_t limit)
{
	struct ext e;

	memset(a->b, 0, a->len);
	memcpy(a->b, old, h->header_len);
	a->pos = h->header_len;
	a->full = a->len < h->header_len;
	if (format)
		area_ext(a, EXT_FORMAT, format, (uint32_t)strlen(format));
	for (uint32_t pos = h->header_len; ext_next(old, old_len, pos, &e) > 0; pos = e.end)
		if (e.type != EXT_FORMAT && a->pos + 8 + ALIGN_UP(e.len, 8u) + 8 <= limit)
			area_ext(a, e.type, e.data, e.len);
	area_ext(a, EXT_END, NULL, 0);
}

/* The name goes behind the extensions. */
static int name_place(struct area *a, const char *name, struct qcow2_header *h)
{
	const uint32_t len = name ? (uint32_t)strlen(name) : 0;

	if (a->full || len > a->len - a->pos)
		return -ENAMETOOLONG;
	h->backing_off = name ? a->pos : 0;
	h->backing_len = len;
	if (name)
		memcpy(a->b + a->pos, name, len);
	a->pos += len;
	return 0;
}

/* Where the old name stays while the rest changes: behind the first sector and all that is new.  0: there is no such place. */
static uint64_t keep_place(const struct area *a, const struct qcow2_header *old)
{
	const uint64_t from = MAX(a->pos, SECTOR), len = ALIGN_UP(old->backing_len, 8u);

	if (!old->backing_off || !old->backing_len)
		return 0;
	if (old->backing_off >= from && old->backing_off + old->backing_len <= a->len)
		return old->backing_off;
	if (a->len < from + len || ranges_overlap(a->len - len, len, old->backing_off, old->backing_len))
		return 0;
	return a->len - len;
}

static int write_flushed(struct qcow2 *q, uint64_t off, const void *b, size_t len)
{
	const int err = bfile_write(q->img.file, off, b, len);

	return err ? err : qcow2_flush_held(q);
}

/* The first sector with the old header, the old name in `keep`, and those extensions that end in the sector. */
static int write_middle(struct qcow2 *q, const uint8_t *old, uint32_t old_len, uint32_t len, uint64_t keep)
{
	struct area mid = { .b = calloc(1, len), .len = len };
	struct qcow2_header h = q->h;
	int err;

	if (!mid.b)
		return -ENOMEM;
	area_build(&mid, old, old_len, &q->h, q->img.backing_format, SECTOR);
	if (keep)
		h.backing_off = keep;
	put_fields(&h, mid.b);
	err = write_flushed(q, 0, mid.b, SECTOR);
	free(mid.b);
	return err;
}

/*
 * In steps, each of which leaves a valid header: the old name where it can stay; the first sector, with the extensions that
 * end in it; the rest of the cluster; the first sector; what was kept of the old name.
 * DEVIATION: in clusters too small for both names and the extensions a power failure between these may lose the old name.
 */
static int area_switch(struct qcow2 *q, struct area *a, const uint8_t *old, uint32_t old_len, const struct qcow2_header *h)
{
	const uint64_t keep = keep_place(a, &q->h), keep_len = keep ? q->h.backing_len : 0;
	int err = 0;

	if (a->len > SECTOR) {
		if (keep) {
			memcpy(a->b + keep, q->img.backing_path, keep_len);
			err = write_flushed(q, keep, q->img.backing_path, keep_len);
		}
		if (!err)
			err = write_middle(q, old, old_len, a->len, keep);
		if (!err)
			err = write_flushed(q, SECTOR, a->b + SECTOR, a->len - SECTOR);
		if (err)
			return err;
	}
	put_fields(h, a->b);
	err = write_flushed(q, 0, a->b, SECTOR);
	if (err)
		return err;
	q->h = *h;
	memset(a->b, 0, keep_len);
	return keep && a->len > SECTOR ? write_flushed(q, keep, a->b, keep_len) : 0;
}

static int backing_change(struct qcow2 *q, const char *name, const char *format)
{
	const uint32_t len = MIN(q->cluster, AREA_MAX), old_len = area_len(&q->h);
	struct area a = { .b = calloc(1, len), .len = len };
	struct qcow2_header h = q->h;
	int err = a.b ? 0 : -ENOMEM;
	uint8_t *old = a.b ? area_read(&q->img, len, &err) : NULL;

	if (old) {
		area_build(&a, old, old_len, &q->h, format, len);
		err = name_place(&a, name, &h);
	}
	if (!err)
		err = area_switch(q, &a, old, old_len, &h);
	free(old);
	free(a.b);
	return err;
}

/* NULL stays NULL. */
static int copy_string(const char *s, char **out)
{
	*out = s ? strdup(s) : NULL;
	return s && !*out ? -ENOMEM : 0;
}

int qcow2_set_backing(struct img *img, const char *name, const char *format)
{
	struct qcow2 *q = qcow2_of(img);
	char *path = NULL, *fmt = NULL;
	int err;

	if (!name)
		format = NULL;
	err = copy_string(name, &path);
	if (!err)
		err = copy_string(format, &fmt);
	if (!err && ((name && (strlen(name) > NAME_MAX_LEN || !*name)) || (format && strlen(format) > FORMAT_MAX)))
		err = -ENAMETOOLONG;
	if (!err) {
		pthread_mutex_lock(&q->lock);
		err = backing_change(q, name, format);
		pthread_mutex_unlock(&q->lock);
	}
	if (err) {
		free(path);
		free(fmt);
	}
	if (err == -ENAMETOOLONG)
		return err_msg(err, "image '%s': the name of the backing file does not fit into its first %u bytes (and 1 to 1023 bytes is the "
				"limit); "
			       "give a shorter one", img->file->path, q->cluster);
	if (err)
		return err_msg(err, "image '%s': the backing file's name cannot be written: %s", img->file->path, strerror(-err));
	free(img->backing_path);
	free(img->backing_format);
	img->backing_path = path;
	img->backing_format = fmt;
	return 0;
}
