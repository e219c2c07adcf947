/*
 * Sparse extents of VMDKs: a header, a directory of grain tables, the tables, both perhaps twice, and the grains
 * [VMDK-5.0 Hosted Sparse Extents].  All tables are in memory as if they lay one behind the other.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/vmdk.h"

static struct vmdk_extent *extent(const struct blocks *b)
{
	return container_of(b, struct vmdk_extent, b);
}

static uint32_t gt_sectors(const struct vmdk_extent *e)
{
	return e->gtes / 128;
}

/* --- The table --- */

static enum img_kind sparse_get(const struct blocks *b, uint32_t i, uint64_t *off)
{
	const struct vmdk_extent *e = extent(b);
	const uint32_t gte = get_le32(b->table + (size_t)i * 4);

	if (!gte)
		return IMG_NONE;
	if (gte == 1 && e->zero_grain)
		return IMG_ZERO;
	*off = (uint64_t)gte * 512;
	return e->compressed ? IMG_OPAQUE : IMG_DATA;
}

static void sparse_set(struct blocks *b, uint32_t i, enum img_kind kind, uint64_t off)
{
	put_le32(b->table + (size_t)i * 4, kind == IMG_ZERO ? 1 : (uint32_t)(off / 512));
}

static uint64_t sparse_place(struct blocks *b)
{
	return ALIGN_UP(b->end, 1ull << b->shift);
}

static int sparse_prepare(struct blocks *b, uint64_t start)
{
	return start / 512 > UINT32_MAX ? -EFBIG : 0;
}

/* n sectors from `first` on, all of one table. */
static int write_gt(struct vmdk_extent *e, uint32_t first, const void *buf, uint32_t n)
{
	const uint32_t gt = first / gt_sectors(e), in = first % gt_sectors(e);
	int err = bfile_write(e->file, ((uint64_t)e->gd[gt] + in) * 512, buf, (size_t)n * 512);

	if (!err && e->rgd)
		err = bfile_write(e->file, ((uint64_t)e->rgd[gt] + in) * 512, buf, (size_t)n * 512);
	return err;
}

static int sparse_write_table(struct blocks *b, uint32_t first, const void *buf, uint32_t n)
{
	struct vmdk_extent *e = extent(b);
	int err = 0;

	while (n && !err) {
		const uint32_t k = MIN(n, gt_sectors(e) - first % gt_sectors(e));

		err = write_gt(e, first, buf, k);
		first += k;
		n -= k;
		buf = (const uint8_t *)buf + (size_t)k * 512;
	}
	return err;
}

static const struct blocks_ops sparse_ops = {
	.get = sparse_get, .set = sparse_set, .place = sparse_place, .prepare = sparse_prepare, .write_table = sparse_write_table,
};

/* --- Opening --- */

static int damaged(const struct vmdk_extent *e, const char *what)
{
	return err_msg(-EINVAL, "image '%s': %s; the file is truncated or damaged", e->file->path, what);
}

static int check_header(struct vmdk_extent *e, const uint8_t *h)
{
	const uint32_t version = get_le32(h + S_VERSION), flags = get_le32(h + S_FLAGS);
	const uint32_t unknown = flags & ~(uint32_t)(SF_NEWLINES | SF_RGD | SF_ZERO_GRAIN | SF_COMPRESSED | SF_MARKERS);
	const char *path = e->file->path;

	if (get_le32(h) == 0x44574f43)
		return err_msg(-ENOTSUP, "image '%s': a COWD sparse extent (VMDK 3, of ESX) is not read by skep; convert it with vmkfstools",
			       path);
	if (get_le64(h) == 0xcafebabe)
		return err_msg(-ENOTSUP, "image '%s': a SESPARSE extent (of ESXi) is not read by skep; convert it with vmkfstools", path);
	if (get_le32(h) != VMDK_MAGIC)
		return err_msg(-EINVAL, "image '%s': it is no sparse VMDK extent: its signature is missing", path);
	if (version < 1 || version > 3)
		return err_msg(-ENOTSUP, "image '%s': VMDK version %u; skep reads 1 to 3", path, version);
	if (unknown)
		return err_msg(-ENOTSUP, "image '%s': it needs feature bit %d, which skep does not know; convert it where it was made", path,
			       __builtin_ctz(unknown));
	if ((flags & SF_NEWLINES) && memcmp(h + S_NEWLINES, "\n \r\n", 4))
		return err_msg(-EINVAL, "image '%s': it was copied as a text, which changed its line ends; copy it again as binary data", path);
	if ((flags & SF_COMPRESSED) && get_le16(h + S_COMPRESSION) != 1)
		return err_msg(-ENOTSUP, "image '%s': compression method %u; skep knows 1 (deflate)", path, get_le16(h + S_COMPRESSION));
	return 0;
}

/* The directory at the end of a stream is found by the footer, a second header [VMDK-5.0 Stream-Optimized]. */
static int read_footer(struct vmdk_extent *e, uint8_t h[S_LEN])
{
	int err;

	if (get_le64(h + S_GD) != VMDK_GD_AT_END)
		return 0;
	if (e->b.file_size < 3 * S_LEN)
		return damaged(e, "it has no footer");
	err = bfile_read(e->file, e->b.file_size - 2 * S_LEN, h, S_LEN);
	if (err)
		return err_msg(err, "image '%s': its footer cannot be read: %s", e->file->path, strerror(-err));
	if (get_le32(h) != VMDK_MAGIC || get_le64(h + S_GD) == VMDK_GD_AT_END)
		return damaged(e, "it has no footer");
	return check_header(e, h);
}

static bool in_file(const struct vmdk_extent *e, uint64_t sector, uint64_t bytes)
{
	return sector <= e->b.file_size / 512 && bytes <= e->b.file_size - sector * 512;
}

static int read_directory(struct vmdk_extent *e, uint64_t sector, uint32_t **out)
{
	const size_t len = (size_t)e->ngd * 4;
	int err;

	if (!sector || !in_file(e, sector, len))
		return damaged(e, "its grain directory lies behind the end of the file");
	*out = malloc(len);
	err = *out ? bfile_read(e->file, sector * 512, *out, len) : -ENOMEM;
	if (err)
		return err_msg(err, "image '%s': its grain directory cannot be read: %s", e->file->path, strerror(-err));
	for (uint32_t i = 0; i < e->ngd; i++) {
		if ((*out)[i] && !in_file(e, (*out)[i], (uint64_t)MIN(gt_sectors(e), e->b.nsect - i * gt_sectors(e)) * 512))
			return damaged(e, "one of its grain tables lies behind the end of the file");
	}
	return 0;
}

/* Where the copy of table gt differs from it, it is to be written. */
static int compare_gt(struct vmdk_extent *e, uint32_t first, uint32_t n, uint64_t off)
{
	uint8_t *copy = malloc((size_t)n * 512);
	const int err = copy ? bfile_read(e->file, off, copy, (size_t)n * 512) : -ENOMEM;

	for (uint32_t i = 0; !err && i < n; i++) {
		if (memcmp(copy + (size_t)i * 512, e->b.table + (size_t)(first + i) * 512, 512)) {
			e->b.changed[first + i] = 1;
			e->b.nchanged++;
		}
	}
	free(copy);
	return err;
}

static int read_gt(struct vmdk_extent *e, uint32_t gt)
{
	const uint32_t first = gt * gt_sectors(e), n = MIN(gt_sectors(e), e->b.nsect - first);
	int err = 0;

	if (e->gd[gt])
		err = bfile_read(e->file, (uint64_t)e->gd[gt] * 512, e->b.table + (size_t)first * 512, (size_t)n * 512);
	if (!err && e->rgd)
		err = compare_gt(e, first, n, (uint64_t)e->rgd[gt] * 512);
	return err ? err_msg(err, "image '%s': its grain tables cannot be read: %s", e->file->path, strerror(-err)) : 0;
}

/* Both directories are complete, so that grains can be added. */
static int check_writable(struct vmdk_extent *e)
{
	for (uint32_t i = 0; i < e->ngd; i++)
		if (!e->gd[i] || (e->rgd && !e->rgd[i]))
			return err_msg(-ENOTSUP, "image '%s': it has no room for all its grain tables; open it read-only, or convert it with 'skep img "
				       "convert'", e->file->path);
	return 0;
}

static int read_tables(struct vmdk_extent *e, const uint8_t *h)
{
	const bool writable = !e->v->img.read_only;
	int err = read_directory(e, get_le64(h + S_GD), &e->gd);

	if (!err && writable && (get_le32(h + S_FLAGS) & SF_RGD) && get_le64(h + S_RGD))
		err = read_directory(e, get_le64(h + S_RGD), &e->rgd);
	if (!err && writable)
		err = check_writable(e);
	for (uint32_t i = 0; !err && i < e->ngd; i++)
		err = read_gt(e, i);
	return err;
}

static int take_geometry(struct vmdk_extent *e, const uint8_t *h, uint64_t sectors)
{
	const uint64_t grain = get_le64(h + S_GRAIN), capacity = get_le64(h + S_CAPACITY);
	struct blocks *b = &e->b;

	e->gtes = get_le32(h + S_GTES);
	if (!grain || grain > 8192 || (grain & (grain - 1)))
		return damaged(e, "its grains have no valid size");
	if (!e->gtes || e->gtes % 128 || e->gtes > 65536)
		return damaged(e, "its grain tables have no valid size");
	if (!capacity || capacity > VMDK_EXTENT_MAX / 512 * 8)
		return damaged(e, "its disk has no valid size");
	if (sectors > capacity)
		return err_msg(-EINVAL, "image '%s': it has fewer sectors than the descriptor says; file and descriptor do not belong together",
			       e->file->path);
	e->len = b->len = (sectors ? sectors : capacity) * 512;
	b->shift = (unsigned)__builtin_ctzll(grain * 512);
	const uint64_t n = (b->len + grain * 512 - 1) >> b->shift;
	if (n > BLOCKS_TABLE_MAX)
		return damaged(e, "it has more grains than any image");
	b->n = (uint32_t)n;
	e->ngd = (b->n + e->gtes - 1) / e->gtes;
	return 0;
}

int vmdk_sparse_open(struct vmdk_extent *e, uint64_t sectors, uint64_t *desc_at, uint64_t *desc_len)
{
	const int64_t size = e->file->ops->size(e->file);
	uint8_t h[S_LEN];
	int err = size < 0 ? (int)size : bfile_read(e->file, 0, h, sizeof(h));

	if (err)
		return err_msg(err, "image '%s': its header cannot be read: %s", e->file->path, strerror(-err));
	e->b = (struct blocks){ .ops = &sparse_ops, .img = &e->v->img, .file = e->file, .path = e->file->path, .entry_len = 4,
				.whole = true, .file_size = (uint64_t)size };
	err = check_header(e, h);
	if (err)
		return err;
	*desc_at = get_le64(h + S_DESC) > UINT64_MAX / 1024 ? UINT64_MAX : get_le64(h + S_DESC) * 512;
	*desc_len = MIN(get_le64(h + S_DESC_LEN), UINT64_MAX / 1024) * 512;
	const bool at_end = get_le64(h + S_GD) == VMDK_GD_AT_END;
	err = read_footer(e, h);
	if (err)
		return err;
	e->compressed = get_le32(h + S_FLAGS) & SF_COMPRESSED;
	e->markers = get_le32(h + S_FLAGS) & SF_MARKERS;
	e->zero_grain = e->b.has_zero = get_le32(h + S_FLAGS) & SF_ZERO_GRAIN;
	if (at_end && !e->v->img.read_only)
		return err_msg(-EROFS, "image '%s': it is a stream, which is complete; open it read-only, or convert it with 'skep img convert'",
			       e->file->path);
	err = take_geometry(e, h, sectors);
	if (!err)
		err = blocks_init(&e->b);
	if (!err)
		err = read_tables(e, h);
	if (!err)
		err = blocks_validate(&e->b, 512);
	/* What else is in the file is not known: new grains go behind all of it. */
	e->b.end = MAX(e->b.end, ALIGN_UP(e->b.file_size, 512));
	return err;
}

void vmdk_sparse_close(struct vmdk_extent *e)
{
	blocks_fini(&e->b);
	free(e->gd);
	free(e->rgd);
	e->gd = e->rgd = NULL;
}
