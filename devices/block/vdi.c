/*
 * VDI, VirtualBox's disk images, version 1.1: dynamic and static, read and write.
 *
 * A header, a map with the number of a block for every block of the disk, then the blocks.  Differencing and undo
 * images are refused by name.  VirtualBox publishes the format in its sources only; layout and meaning as QEMU states
 * them [QEMU-VDI].
 *
 * The header counts the blocks in the file, and the next one allocated is the one with that number.  So the count is
 * durable before an entry is that leads behind it.  After a cut a number may be missing; such a hole is closed when the
 * image is opened for writing, by moving the last block there: others take a hole for damage.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/blocks.h"

#define VDI_HEADER 512u
#define VDI_SIGNATURE 0xbeda107fu
#define VDI_VERSION 0x00010001u
#define VDI_NONE 0xffffffffu            /* never written */
#define VDI_ZERO 0xfffffffeu            /* discarded: zeroes */
#define VDI_BLOCK MIB(1)
#define VDI_BLOCKS_MAX 0x3fffffffu

enum { VDI_DYNAMIC = 1, VDI_STATIC = 2, VDI_UNDO = 3, VDI_DIFF = 4 };

/* Offsets in the header [QEMU-VDI VdiHeader]. */
enum {
	H_TEXT = 0, H_SIGNATURE = 0x40, H_VERSION = 0x44, H_HEADER_SIZE = 0x48, H_TYPE = 0x4c, H_FLAGS = 0x50, H_MAP = 0x154,
	H_DATA = 0x158, H_SECTOR = 0x168, H_SIZE = 0x170, H_BLOCK = 0x178, H_EXTRA = 0x17c, H_BLOCKS = 0x180,
	H_ALLOCATED = 0x184, H_UUID = 0x188, H_UUID_SNAP = 0x198, H_UUID_LINK = 0x1a8, H_UUID_PARENT = 0x1b8,
};

struct vdi {
	struct img img;                 /* first */
	struct blocks b;
	uint32_t type;
	uint64_t data_off;
	uint32_t count;                 /* blocks in the file, b.grow_lock */
	uint32_t count_file;            /* as the header says, b.flush_lock */
};

static struct vdi *vdi(struct img *img)
{
	return container_of(img, struct vdi, img);
}

static enum img_kind vdi_get(const struct blocks *b, uint32_t i, uint64_t *off)
{
	const uint32_t e = get_le32(b->table + (size_t)i * 4);

	if (e == VDI_NONE || e == VDI_ZERO)
		return e == VDI_NONE ? IMG_NONE : IMG_ZERO;
	/* No number is above the disk's blocks: such an entry leads nowhere, and blocks_validate() says so. */
	*off = e < b->n ? container_of(b, struct vdi, b)->data_off + ((uint64_t)e << b->shift) : UINT64_MAX;
	return IMG_DATA;
}

static void vdi_set(struct blocks *b, uint32_t i, enum img_kind kind, uint64_t off)
{
	put_le32(b->table + (size_t)i * 4, (uint32_t)((off - container_of(b, struct vdi, b)->data_off) >> b->shift));
}

static uint64_t vdi_place(struct blocks *b)
{
	struct vdi *v = container_of(b, struct vdi, b);

	return v->data_off + ((uint64_t)v->count << b->shift);
}

static int vdi_prepare(struct blocks *b, uint64_t start)
{
	container_of(b, struct vdi, b)->count++;
	return 0;
}

static int write_count(struct vdi *v)
{
	uint8_t buf[4];
	int err;

	pthread_mutex_lock(&v->b.grow_lock);
	const uint32_t count = v->count;
	pthread_mutex_unlock(&v->b.grow_lock);
	if (count == v->count_file)
		return 0;
	put_le32(buf, count);
	err = bfile_write(v->img.file, H_ALLOCATED, buf, sizeof(buf));
	if (!err)
		err = v->img.file->ops->flush(v->img.file);
	if (!err)
		v->count_file = count;
	return err;
}

static int vdi_before_table(struct blocks *b)
{
	return write_count(container_of(b, struct vdi, b));
}

static const struct blocks_ops vdi_ops = {
	.get = vdi_get, .set = vdi_set, .place = vdi_place, .prepare = vdi_prepare, .before_table = vdi_before_table,
};

/* --- Opening --- */

static int vdi_probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	return len >= VDI_HEADER && get_le32(head + H_SIGNATURE) == VDI_SIGNATURE ? 100 : 0;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

static int refuse(const struct vdi *v, const char *what)
{
	return err_msg(-ENOTSUP, "image '%s': %s", v->img.file->path, what);
}

/* Is it an image of a kind skep knows? */
static int check_kind(struct vdi *v, const uint8_t *h)
{
	v->type = get_le32(h + H_TYPE);
	if (get_le32(h + H_SIGNATURE) != VDI_SIGNATURE)
		return err_msg(-EINVAL, "image '%s': it is no VDI image: its signature is missing", v->img.file->path);
	if (get_le32(h + H_VERSION) != VDI_VERSION)
		return err_msg(-ENOTSUP, "image '%s': VDI version %u.%u; skep reads 1.1, convert it with VBoxManage clonemedium",
			       v->img.file->path, get_le16(h + H_VERSION + 2), get_le16(h + H_VERSION));
	if (v->type == VDI_DIFF || v->type == VDI_UNDO || !all_zero(h + H_UUID_LINK, 32))
		return refuse(v, "a differencing VDI depends on its parent; merge them with VBoxManage clonemedium");
	if (v->type != VDI_DYNAMIC && v->type != VDI_STATIC)
		return err_msg(-ENOTSUP, "image '%s': VDI type %u is not known; skep reads dynamic (1) and static (2)",
			       v->img.file->path, v->type);
	if (get_le32(h + H_SECTOR) != 512)
		return refuse(v, "its sectors do not have 512 bytes; convert it with VBoxManage clonemedium");
	if (get_le32(h + H_EXTRA))
		return refuse(v, "its blocks carry extra data; convert it with VBoxManage clonemedium");
	return 0;
}

static int read_header(struct vdi *v, const uint8_t *h)
{
	const uint32_t block = get_le32(h + H_BLOCK);
	const uint64_t size = get_le64(h + H_SIZE);
	struct blocks *b = &v->b;

	if (block < 4096 || block > MIB(64) || (block & (block - 1)))
		return err_msg(-EINVAL, "image '%s': blocks of %u bytes; the image is damaged", v->img.file->path, block);
	b->shift = (unsigned)__builtin_ctz(block);
	b->n = get_le32(h + H_BLOCKS);
	b->table_off = get_le32(h + H_MAP);
	v->data_off = get_le32(h + H_DATA);
	v->count = v->count_file = get_le32(h + H_ALLOCATED);
	if (!size || size > UINT64_MAX - 511 || b->n > VDI_BLOCKS_MAX || ALIGN_UP(size, 512) > (uint64_t)b->n << b->shift)
		return err_msg(-EINVAL, "image '%s': a disk of %llu bytes in %u blocks; the image is damaged", v->img.file->path,
			       (unsigned long long)size, b->n);
	if (b->table_off < H_UUID_PARENT + 16 || b->table_off % 512 || v->data_off % 512 ||
	    v->data_off < b->table_off + (uint64_t)b->n * 4)
		return err_msg(-EINVAL, "image '%s': its tables lie in each other; the image is damaged", v->img.file->path);
	v->img.size = b->len = ALIGN_UP(size, 512);
	v->img.granule = block;
	return 0;
}

/* --- Holes --- */

/* Which block of the disk each block of the file belongs to, VDI_NONE: none.  NULL: no memory, or one belongs to two. */
static uint32_t *owners(struct vdi *v, uint32_t *count, uint32_t *used)
{
	uint32_t *own = NULL;
	uint64_t off;

	*count = *used = 0;
	for (uint32_t i = 0; i < v->b.n; i++)
		if (vdi_get(&v->b, i, &off) == IMG_DATA)
			*count = MAX(*count, get_le32(v->b.table + (size_t)i * 4) + 1);
	/* The table is valid: so many blocks are in the file. */
	own = malloc(((size_t)*count + 1) * sizeof(*own));
	if (!own) {
		err_msg(-ENOMEM, "image '%s': no memory to check its blocks", v->img.file->path);
		return NULL;
	}
	memset(own, 0xff, ((size_t)*count + 1) * sizeof(*own));
	for (uint32_t i = 0; i < v->b.n; i++) {
		if (vdi_get(&v->b, i, &off) != IMG_DATA)
			continue;
		const uint32_t e = get_le32(v->b.table + (size_t)i * 4);
		if (own[e] != VDI_NONE) {
			err_msg(-EINVAL, "image '%s': blocks %u and %u share their place; the image is damaged, open it read-only",
				v->img.file->path, own[e], i);
			free(own);
			return NULL;
		}
		own[e] = i;
		++*used;
	}
	return own;
}

static int move_block(struct vdi *v, uint32_t from, uint32_t to, uint32_t i, uint8_t *buf)
{
	const uint64_t block = 1ull << v->b.shift, used = MIN(block, v->b.len - ((uint64_t)i << v->b.shift));
	int err;

	memset(buf, 0, block);
	err = bfile_read(v->img.file, v->data_off + ((uint64_t)from << v->b.shift), buf, used);
	if (!err)
		err = bfile_write(v->img.file, v->data_off + ((uint64_t)to << v->b.shift), buf, block);
	if (err)
		return err;
	blocks_set(&v->b, i, IMG_DATA, v->data_off + ((uint64_t)to << v->b.shift));
	/* The next may go where this one was. */
	return blocks_flush(&v->b);
}

static int close_holes(struct vdi *v)
{
	uint32_t count, used, to = 0;
	uint32_t *own = owners(v, &count, &used);
	uint8_t *buf = NULL;
	int err = 0;

	if (!own)
		return -EINVAL;
	/* A header that says less than the map is believed in nothing; one that says more has lost blocks at the end. */
	v->count = MAX(v->count_file, count);
	if (used < count && !(buf = malloc(1ull << v->b.shift)))
		err = -ENOMEM;
	for (; count > used && !err; count--) {
		if (own[count - 1] == VDI_NONE)
			continue;
		while (own[to] != VDI_NONE)
			to++;
		err = move_block(v, count - 1, to, own[count - 1], buf);
		own[to] = own[count - 1];
	}
	free(buf);
	free(own);
	v->count = used;
	if (!err)
		err = write_count(v);
	return err ? err_msg(err, "image '%s': it cannot be repaired: %s", v->img.file->path, strerror(-err)) : 0;
}

static int vdi_open(struct img *img)
{
	struct vdi *v = vdi(img);
	const int64_t size = img->file->ops->size(img->file);
	uint8_t h[VDI_HEADER];
	int err = size < 0 ? (int)size : bfile_read(img->file, 0, h, sizeof(h));

	if (err)
		return err_msg(err, "image '%s': its header cannot be read: %s", img->file->path, strerror(-err));
	v->b = (struct blocks){ .ops = &vdi_ops, .img = img, .file = img->file, .path = img->file->path, .entry_len = 4,
				.file_size = (uint64_t)size };
	err = check_kind(v, h);
	if (!err)
		err = read_header(v, h);
	if (!err)
		err = blocks_init(&v->b);
	if (err)
		return err;
	err = blocks_read_table(&v->b);
	if (!err)
		err = blocks_validate(&v->b, v->data_off);
	if (!err && !img->read_only && !img->check)
		err = close_holes(v);
	if (err)
		blocks_fini(&v->b);
	return err;
}

static void vdi_close(struct img *img)
{
	blocks_fini(&vdi(img)->b);
}

/* --- Running: all of it is the table's --- */

static int vdi_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *s)
{
	return blocks_map(&vdi(img)->b, off, len, !img->read_only, s);
}

static int vdi_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	return blocks_write(&vdi(img)->b, off, v, niov);
}

static int vdi_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	return blocks_zero(&vdi(img)->b, off, len, flags);
}

static int vdi_discard(struct img *img, uint64_t off, uint64_t len)
{
	return blocks_discard(&vdi(img)->b, off, len);
}

static int vdi_flush(struct img *img)
{
	return blocks_flush(&vdi(img)->b);
}

static bool vdi_dirty(struct img *img)
{
	return blocks_dirty(&vdi(img)->b);
}

static int vdi_check(struct img *img, unsigned fix, struct img_check *c)
{
	struct vdi *v = vdi(img);
	int err = blocks_check(&v->b, c);

	if (err || c->corruptions)
		return err;
	const uint64_t leaks = v->count_file > c->allocated ? v->count_file - c->allocated : 0;
	c->leaks += leaks;
	c->corruptions += v->count_file < c->allocated;
	if (!img->read_only && (fix & IMG_FIX_LEAKS) && (leaks || c->corruptions)) {
		err = close_holes(v);
		if (!err) {
			c->leaks_fixed += leaks;
			c->corruptions_fixed += c->corruptions;
		}
	}
	return err;
}

static int vdi_info(struct img *img, json_t *o)
{
	struct vdi *v = vdi(img);

	json_object_set_new(o, "subformat", json_string(v->type == VDI_STATIC ? "static" : "dynamic"));
	json_object_set_new(o, "allocated-blocks", json_integer(v->count));
	return 0;
}

/* --- Creating --- */

static int create_header(const struct img_create *c, uint8_t h[VDI_HEADER], bool fixed, uint64_t size)
{
	const uint32_t n = (uint32_t)((size + VDI_BLOCK - 1) / VDI_BLOCK);

	memset(h, 0, VDI_HEADER);
	memcpy(h + H_TEXT, "<<< skep Virtual Disk Image >>>\n", 32);
	put_le32(h + H_SIGNATURE, VDI_SIGNATURE);
	put_le32(h + H_VERSION, VDI_VERSION);
	put_le32(h + H_HEADER_SIZE, 0x180);
	put_le32(h + H_TYPE, fixed ? VDI_STATIC : VDI_DYNAMIC);
	put_le32(h + H_MAP, VDI_HEADER);
	put_le32(h + H_DATA, (uint32_t)ALIGN_UP(VDI_HEADER + (uint64_t)n * 4, VDI_BLOCK));
	put_le32(h + H_SECTOR, 512);
	put_le64(h + H_SIZE, size);
	put_le32(h + H_BLOCK, VDI_BLOCK);
	put_le32(h + H_BLOCKS, n);
	put_le32(h + H_ALLOCATED, fixed ? n : 0);
	blocks_uuid(h + H_UUID);
	blocks_uuid(h + H_UUID_SNAP);
	return 0;
}

static int vdi_create(const struct img_create *c)
{
	const bool fixed = c->subformat && (!strcmp(c->subformat, "static") || !strcmp(c->subformat, "fixed"));
	uint8_t h[VDI_HEADER], *map;
	uint64_t size, data;
	struct bfile *f;
	int err;

	if (c->subformat && !fixed && strcmp(c->subformat, "dynamic"))
		return err_msg(-EINVAL, "image '%s': subformat=%s: a VDI is dynamic or static", c->path, c->subformat);
	if (c->backing)
		return err_msg(-ENOTSUP, "image '%s': a VDI has no backing file here; use qcow2", c->path);
	if (c->cluster_size && c->cluster_size != VDI_BLOCK)
		return err_msg(-EINVAL, "image '%s': a VDI has blocks of 1 MiB", c->path);
	if (!fixed && c->prealloc)
		return err_msg(-EINVAL, "image '%s': a dynamic VDI is not preallocated; say subformat=static", c->path);
	err = blocks_create_size(c, (BLOCKS_TABLE_MAX / 4) * VDI_BLOCK, &size);
	if (err)
		return err;
	create_header(c, h, fixed, size);
	const uint32_t n = get_le32(h + H_BLOCKS);
	const size_t map_len = ALIGN_UP((size_t)n * 4, 512);
	data = get_le32(h + H_DATA);
	map = malloc(map_len);
	if (!map)
		return err_msg(-ENOMEM, "image '%s': no memory for its map", c->path);
	memset(map, 0xff, map_len);
	for (uint32_t i = 0; fixed && i < n; i++)
		put_le32(map + (size_t)i * 4, i);
	f = blocks_create_file(c, c->path, true, &err);
	if (!f) {
		free(map);
		return err;
	}
	err = bfile_write(f, VDI_HEADER, map, map_len);
	if (!err && fixed)
		err = blocks_preallocate(f, c, data, data + (uint64_t)n * VDI_BLOCK);
	else if (!err && !f->block_device)
		err = f->ops->truncate(f, data);
	if (!err)
		err = bfile_write(f, 0, h, sizeof(h));
	free(map);
	return blocks_create_done(f, err);
}

const struct img_driver img_vdi = {
	.name = "vdi", .help = "VirtualBox disk image, dynamic or static", .size = sizeof(struct vdi), .writes = true, .safe = true,
	.probe = vdi_probe, .open = vdi_open, .close = vdi_close, .map = vdi_map, .write = vdi_write, .zero = vdi_zero,
	.discard = vdi_discard, .flush = vdi_flush, .dirty = vdi_dirty, .create = vdi_create, .check = vdi_check, .info = vdi_info,
};
