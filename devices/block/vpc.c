/*
 * VHD, the disk images of Virtual PC and older Hyper-V: fixed and dynamic, read and write.  Differencing images are
 * refused by name.  All numbers are big-endian.
 *
 * Fixed: the disk's bytes and a footer of one sector.  Dynamic: a copy of the footer, a header, the block allocation
 * table (BAT) with the sector of each block, the blocks, the footer.  A block is a bitmap of its sectors and its data
 * [VHD Dynamic Disk Header, Block Allocation Table and Data Blocks].  As in images by QEMU all bits are set when a
 * block is allocated, as it then holds zeroes; the bits of others' images are set when a block is first written.
 *
 * A new block begins where the footer was and the footer moves behind it; should the power fail in between, the copy at
 * the beginning is the footer, as the specification has it.
 *
 * DEVIATION: [VHD Hard Disk Footer Format] the size of a disk is that in the footer.  Virtual PC went by the geometry,
 * and so does everybody when the creator is one of those that did: see exact_size().
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "devices/block/blocks.h"

#define FOOTER 512u
#define HEADER 1024u
#define BAT_NONE 0xffffffffu
#define VHD_BLOCK MIB(2)
#define VHD_EPOCH 946684800             /* 2000-01-01 */
#define CHS_MAX (65535ull * 16 * 255)
#define VHD_SECTORS_MAX 0xff000000ull   /* 2040 GiB */

enum { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFF = 4 };

/* [VHD Hard Disk Footer Format] */
enum {
	F_COOKIE = 0, F_FEATURES = 8, F_VERSION = 12, F_DATA = 16, F_TIME = 24, F_CREATOR = 28, F_CREATOR_VERSION = 32,
	F_CREATOR_OS = 36, F_ORIG_SIZE = 40, F_SIZE = 48, F_CYLINDERS = 56, F_HEADS = 58, F_SPT = 59, F_TYPE = 60, F_SUM = 64,
	F_UUID = 68, F_SAVED = 84,
};
/* [VHD Dynamic Disk Header Format] */
enum { D_COOKIE = 0, D_DATA = 8, D_BAT = 16, D_VERSION = 24, D_ENTRIES = 28, D_BLOCK = 32, D_SUM = 36 };

struct vpc {
	struct img img;                 /* first */
	struct blocks b;                /* dynamic */
	bool dynamic;
	bool larger;                    /* its table leads behind its disk's end, nobody knows where to */
	uint8_t footer[FOOTER];
	uint8_t *full;                  /* a bit for every block: its bitmap is known to be all ones; b.lock */
};

static struct vpc *vpc(struct img *img)
{
	return container_of(img, struct vpc, img);
}

/* One's complement of the sum of all bytes but the sum's own. */
static uint32_t checksum(const uint8_t *p, size_t len, size_t sum_at)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		if (i < sum_at || i >= sum_at + 4)
			sum += p[i];
	return ~sum;
}

/* --- The table --- */

static enum img_kind vpc_get(const struct blocks *b, uint32_t i, uint64_t *off)
{
	const uint32_t e = get_be32(b->table + (size_t)i * 4);

	if (e == BAT_NONE)
		return IMG_NONE;
	*off = (uint64_t)e * 512 + b->before;
	return IMG_DATA;
}

static void vpc_set(struct blocks *b, uint32_t i, enum img_kind kind, uint64_t off)
{
	struct vpc *v = container_of(b, struct vpc, b);

	put_be32(b->table + (size_t)i * 4, (uint32_t)((off - b->before) / 512));
	v->full[i / 8] |= (uint8_t)BIT(i % 8);
}

static int write_bitmap(struct blocks *b, uint64_t at)
{
	uint8_t *ones = malloc(b->before);
	int err;

	if (!ones)
		return -ENOMEM;
	memset(ones, 0xff, b->before);
	err = bfile_write(b->file, at, ones, b->before);
	free(ones);
	return err;
}

/* The footer behind the new block first: where it was comes the bitmap. */
static int vpc_prepare(struct blocks *b, uint64_t start)
{
	struct vpc *v = container_of(b, struct vpc, b);
	const uint64_t end = start + b->before + (1ull << b->shift);
	const int err = bfile_write(b->file, end, v->footer, FOOTER);

	if (err)
		return err;
	b->file_size = MAX(b->file_size, end + FOOTER);
	return write_bitmap(b, start);
}

static bool vpc_claimed(const struct blocks *b, uint32_t i)
{
	return container_of(b, struct vpc, b)->full[i / 8] & BIT(i % 8);
}

/* Sectors that are about to be written have to count as written. */
static int vpc_claim(struct blocks *b, uint32_t i, uint64_t off)
{
	struct vpc *v = container_of(b, struct vpc, b);
	const int err = write_bitmap(b, off - b->before);

	if (err)
		return err;
	pthread_mutex_lock(&b->lock);
	v->full[i / 8] |= (uint8_t)BIT(i % 8);
	pthread_mutex_unlock(&b->lock);
	return 0;
}

static const struct blocks_ops vpc_ops = {
	.get = vpc_get, .set = vpc_set, .claimed = vpc_claimed, .claim = vpc_claim, .prepare = vpc_prepare,
};

/* --- Opening --- */

static bool is_footer(const uint8_t *p)
{
	return !memcmp(p, "conectix", 8);
}

static int vpc_probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	/* A raw disk could hold a VHD's last sector in its own; its sum makes chance unlikely, and it has to be a fixed one. */
	if (len >= FOOTER && is_footer(head))
		return 100;
	return is_footer(tail) && get_be32(tail + F_TYPE) == VHD_FIXED && get_be32(tail + F_SUM) == checksum(tail, FOOTER, F_SUM) ? 90 : 0;
}

static bool footer_valid(const uint8_t *p)
{
	return is_footer(p) && get_be32(p + F_SUM) == checksum(p, FOOTER, F_SUM);
}

/* The footer: from the end, or its copy from the beginning. */
static int read_footer(struct vpc *v, uint64_t file_size)
{
	uint8_t head[FOOTER];
	const char *path = v->img.file->path;
	int err = file_size < FOOTER ? -EINVAL : bfile_read(v->img.file, file_size - FOOTER, v->footer, FOOTER);

	if (!err)
		err = bfile_read(v->img.file, 0, head, FOOTER);
	if (err == -EINVAL)
		return err_msg(err, "image '%s': it is too short for a VHD; the file is truncated or of another format", path);
	if (err)
		return err_msg(err, "image '%s': its footer cannot be read: %s", path, strerror(-err));
	if (footer_valid(v->footer))
		return 0;
	if (!is_footer(v->footer) && !is_footer(head))
		return err_msg(-EINVAL, "image '%s': it has no VHD footer; the file is truncated or of another format", path);
	if (!footer_valid(head))
		return err_msg(-EINVAL, "image '%s': the checksum of its footer is wrong; the image is damaged", path);
	memcpy(v->footer, head, FOOTER);
	return 0;
}

/*
 * Which size is meant, that of the footer or that of the geometry?  Virtual PC and old QEMUs used the geometry, and so
 * do others when they do not know the creator; Hyper-V and its tools use the footer's size, and everybody does where the
 * geometry is as large as it gets [QEMU-VPC vpc_open].
 */
static bool exact_size(const uint8_t *f)
{
	static const char exact[][4] = {
		{ 'w', 'i', 'n', ' ' }, { 'q', 'e', 'm', '2' }, { 'd', '2', 'v', ' ' }, { 't', 'a', 'p', 0 },
		{ 'C', 'T', 'X', 'S' }, { 'w', 'a', 0, 0 },
	};

	for (size_t i = 0; i < NELEM(exact); i++)
		if (!memcmp(f + F_CREATOR, exact[i], 4))
			return true;
	return (uint64_t)get_be16(f + F_CYLINDERS) * f[F_HEADS] * f[F_SPT] == CHS_MAX;
}

static int check_footer(struct vpc *v)
{
	const uint32_t type = get_be32(v->footer + F_TYPE), version = get_be32(v->footer + F_VERSION);
	const char *path = v->img.file->path;
	uint64_t sectors = get_be64(v->footer + F_SIZE) / 512;

	if (version >> 16 != 1)
		return err_msg(-ENOTSUP, "image '%s': VHD version %u.%u; skep reads 1.0", path, version >> 16, version & 0xffff);
	if (type == VHD_DIFF)
		return err_msg(-ENOTSUP, "image '%s': a differencing VHD depends on its parent; merge them with Hyper-V's Merge-VHD", path);
	if (type != VHD_FIXED && type != VHD_DYNAMIC)
		return err_msg(-ENOTSUP, "image '%s': VHD type %u is not known; skep reads fixed (2) and dynamic (3)", path, type);
	v->dynamic = type == VHD_DYNAMIC;
	if (!exact_size(v->footer))
		sectors = (uint64_t)get_be16(v->footer + F_CYLINDERS) * v->footer[F_HEADS] * v->footer[F_SPT];
	if (!sectors || sectors > VHD_SECTORS_MAX)
		return err_msg(-EINVAL, "image '%s': a disk of %llu sectors; VHDs have up to %llu, the image is damaged", path,
			       (unsigned long long)sectors, VHD_SECTORS_MAX);
	v->img.size = sectors * 512;
	return 0;
}

static int open_fixed(struct vpc *v, uint64_t file_size)
{
	if (v->img.size > file_size - FOOTER)
		return err_msg(-EINVAL, "image '%s': its disk is larger than the file; the file is truncated", v->img.file->path);
	v->img.granule = 512;           /* not 0: what is behind the disk's end is the footer */
	return 0;
}

static int open_header(struct vpc *v, uint8_t h[HEADER], uint64_t file_size)
{
	const uint64_t at = get_be64(v->footer + F_DATA);
	const char *path = v->img.file->path;
	struct blocks *b = &v->b;
	int err;

	if (file_size < HEADER || at > file_size - HEADER)
		return err_msg(-EINVAL, "image '%s': its header lies behind the end of the file; the file is truncated or damaged", path);
	err = bfile_read(v->img.file, at, h, HEADER);
	if (err)
		return err_msg(err, "image '%s': its header cannot be read: %s", path, strerror(-err));
	if (memcmp(h, "cxsparse", 8))
		return err_msg(-EINVAL, "image '%s': it is dynamic but has no dynamic header; the image is damaged", path);
	if (get_be32(h + D_SUM) != checksum(h, HEADER, D_SUM))
		return err_msg(-EINVAL, "image '%s': the checksum of its dynamic header is wrong; the image is damaged", path);
	const uint32_t block = get_be32(h + D_BLOCK), entries = get_be32(h + D_ENTRIES);
	if (block < 4096 || block > MIB(256) || (block & (block - 1)))
		return err_msg(-EINVAL, "image '%s': blocks of %u bytes; the image is damaged", path, block);
	b->shift = (unsigned)__builtin_ctz(block);
	if ((uint64_t)entries << b->shift < v->img.size)
		return err_msg(-EINVAL, "image '%s': its table has %u blocks of %u bytes, too few for its disk; the image is damaged", path,
			       entries, block);
	b->n = (uint32_t)((v->img.size + block - 1) >> b->shift);
	b->len = v->img.size;
	b->before = ALIGN_UP((block / 512 + 7) / 8, 512u);
	b->behind = FOOTER;
	b->table_off = get_be64(h + D_BAT);
	if (b->table_off % 512 || b->table_off < FOOTER ||
	    ranges_overlap(at, HEADER, MIN(b->table_off, file_size), (uint64_t)b->n * 4 + 1))
		return err_msg(-EINVAL, "image '%s': its tables lie in each other; the image is damaged", path);
	v->img.granule = block;
	return 0;
}

/* A cut may have left space nobody uses and no footer behind the last block. */
static int repair_end(struct vpc *v)
{
	struct blocks *b = &v->b;
	uint8_t tail[FOOTER] = { 0 };
	int err = bfile_read(b->file, b->end, tail, FOOTER);

	if (!err && b->file_size == b->end + FOOTER && footer_valid(tail))
		return 0;
	if (!err)
		err = bfile_write(b->file, b->end, v->footer, FOOTER);
	if (!err)
		err = b->file->ops->flush(b->file);
	if (!err && !b->file->block_device && b->file_size > b->end + FOOTER) {
		b->file_size = b->end + FOOTER;
		err = b->file->ops->truncate(b->file, b->file_size);
	}
	b->file_size = MAX(b->file_size, b->end + FOOTER);
	return err ? err_msg(err, "image '%s': its footer cannot be repaired: %s", b->path, strerror(-err)) : 0;
}

static int open_dynamic(struct vpc *v, uint64_t file_size)
{
	uint8_t h[HEADER];
	struct blocks *b = &v->b;
	int err;

	*b = (struct blocks){ .ops = &vpc_ops, .img = &v->img, .file = v->img.file, .path = v->img.file->path, .entry_len = 4,
			      .file_size = file_size };
	err = open_header(v, h, file_size);
	if (!err)
		err = blocks_init(b);
	if (err)
		return err;
	v->full = calloc(1, b->n / 8 + 1);
	err = v->full ? blocks_read_table(b) : err_msg(-ENOMEM, "image '%s': no memory", b->path);
	const uint64_t tables = MAX(get_be64(v->footer + F_DATA) + HEADER, ALIGN_UP(b->table_off + (uint64_t)b->n * 4, 512));
	if (!err)
		err = blocks_validate(b, tables);
	/* A table that is larger than the disk may lead behind what skep looks at. */
	v->larger = get_be32(h + D_ENTRIES) > b->n;
	if (!err && v->larger)
		b->end = MAX(b->end, ALIGN_UP(file_size - FOOTER, 512));
	else if (!err && !v->img.read_only && !v->img.check)
		err = repair_end(v);
	if (err) {
		free(v->full);
		blocks_fini(b);
	}
	return err;
}

static int vpc_open(struct img *img)
{
	struct vpc *v = vpc(img);
	const int64_t size = img->file->ops->size(img->file);
	int err = size < 0 ? err_msg((int)size, "image '%s': its size cannot be found", img->file->path) : read_footer(v, (uint64_t)size);

	if (!err)
		err = check_footer(v);
	if (err)
		return err;
	return v->dynamic ? open_dynamic(v, (uint64_t)size) : open_fixed(v, (uint64_t)size);
}

static void vpc_close(struct img *img)
{
	free(vpc(img)->full);
	blocks_fini(&vpc(img)->b);
}

/* --- Running --- */

static int vpc_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *s)
{
	if (vpc(img)->dynamic)
		return blocks_map(&vpc(img)->b, off, len, !img->read_only, s);
	*s = (struct img_seg){ .kind = IMG_DATA, .in_place = !img->read_only, .img = img, .file = img->file, .file_off = off,
			       .len = MIN(len, img->size - off) };
	return 0;
}

static int vpc_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	if (vpc(img)->dynamic)
		return blocks_write(&vpc(img)->b, off, v, niov);
	return img->file->ops->write(img->file, off, v, niov);
}

static int vpc_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	if (vpc(img)->dynamic)
		return blocks_zero(&vpc(img)->b, off, len, flags);
	return img->file->ops->zero(img->file, off, len, flags & IMG_UNMAP);
}

static int vpc_discard(struct img *img, uint64_t off, uint64_t len)
{
	if (vpc(img)->dynamic)
		return blocks_discard(&vpc(img)->b, off, len);
	return img->file->block_device ? 0 : img->file->ops->zero(img->file, off, len, true);
}

static int vpc_flush(struct img *img)
{
	return vpc(img)->dynamic ? blocks_flush(&vpc(img)->b) : img->file->ops->flush(img->file);
}

static bool vpc_dirty(struct img *img)
{
	return vpc(img)->dynamic && blocks_dirty(&vpc(img)->b);
}

static int vpc_check(struct img *img, unsigned fix, struct img_check *c)
{
	struct vpc *v = vpc(img);

	if (v->dynamic) {
		const uint64_t leak = v->b.file_size > v->b.end + FOOTER ? v->b.file_size - v->b.end - FOOTER : 0;
		int err = blocks_check(&v->b, c);

		c->leaks += leak >> v->b.shift;
		if (!err && !img->read_only && (fix & IMG_FIX_LEAKS) && !v->larger)
			err = repair_end(v);
		c->leaks_fixed += !err && (fix & IMG_FIX_LEAKS) && !v->larger ? leak >> v->b.shift : 0;
		return err;
	}
	c->image_end = img->size + FOOTER;
	return 0;
}

static int vpc_info(struct img *img, json_t *o)
{
	const uint8_t *f = vpc(img)->footer;
	char creator[5] = "";

	for (unsigned i = 0; i < 4; i++)
		creator[i] = f[F_CREATOR + i] >= ' ' && f[F_CREATOR + i] < 127 ? (char)f[F_CREATOR + i] : ' ';
	json_object_set_new(o, "subformat", json_string(vpc(img)->dynamic ? "dynamic" : "fixed"));
	json_object_set_new(o, "creator", json_string(creator));
	return 0;
}

/* --- Creating --- */

/* The geometry of a disk [VHD Appendix: CHS Calculation]. */
static void geometry(uint64_t sectors, uint32_t *c, uint32_t *h, uint32_t *s)
{
	uint64_t tracks;

	sectors = MIN(sectors, CHS_MAX);
	*s = sectors >= 65535ull * 16 * 63 ? 255 : 17;
	*h = 16;
	tracks = sectors / *s;
	if (*s == 17) {
		*h = (uint32_t)MAX((tracks + 1023) / 1024, 4);
		if (tracks >= (uint64_t)*h * 1024 || *h > 16) {
			*s = 31;
			*h = 16;
			tracks = sectors / *s;
		}
		if (tracks >= (uint64_t)*h * 1024) {
			*s = 63;
			*h = 16;
			tracks = sectors / *s;
		}
	}
	*c = (uint32_t)(tracks / *h);
}

static void make_footer(uint8_t f[FOOTER], bool fixed, uint64_t size)
{
	uint32_t c, h, s;

	memset(f, 0, FOOTER);
	memcpy(f, "conectix", 8);
	put_be32(f + F_FEATURES, 2);
	put_be32(f + F_VERSION, 0x10000);
	put_be64(f + F_DATA, fixed ? UINT64_MAX : FOOTER);
	put_be32(f + F_TIME, (uint32_t)(time(NULL) - VHD_EPOCH));
	memcpy(f + F_CREATOR, "skep", 4);
	put_be32(f + F_CREATOR_VERSION, 1);
	memcpy(f + F_CREATOR_OS, "Wi2k", 4);            /* the other one there is, is the Macintosh */
	put_be64(f + F_ORIG_SIZE, size);
	put_be64(f + F_SIZE, size);
	/* A disk that is not its geometry's size says so by the largest geometry: see exact_size(). */
	geometry(size / 512, &c, &h, &s);
	const bool exact = (uint64_t)c * h * s == size / 512;
	put_be16(f + F_CYLINDERS, (uint16_t)(exact ? c : 65535));
	f[F_HEADS] = (uint8_t)(exact ? h : 16);
	f[F_SPT] = (uint8_t)(exact ? s : 255);
	put_be32(f + F_TYPE, fixed ? VHD_FIXED : VHD_DYNAMIC);
	blocks_uuid(f + F_UUID);
	put_be32(f + F_SUM, checksum(f, FOOTER, F_SUM));
}

static int create_dynamic(struct bfile *f, const uint8_t footer[FOOTER], uint64_t size)
{
	const uint32_t n = (uint32_t)((size + VHD_BLOCK - 1) / VHD_BLOCK);
	const size_t bat = ALIGN_UP((size_t)n * 4, 512), len = FOOTER + HEADER + bat + FOOTER;
	uint8_t *buf = calloc(1, len), *h = buf + FOOTER;
	int err;

	if (!buf)
		return -ENOMEM;
	memcpy(buf, footer, FOOTER);
	memcpy(h, "cxsparse", 8);
	put_be64(h + D_DATA, UINT64_MAX);
	put_be64(h + D_BAT, FOOTER + HEADER);
	put_be32(h + D_VERSION, 0x10000);
	put_be32(h + D_ENTRIES, n);
	put_be32(h + D_BLOCK, (uint32_t)VHD_BLOCK);
	put_be32(h + D_SUM, checksum(h, HEADER, D_SUM));
	memset(h + HEADER, 0xff, bat);
	memcpy(h + HEADER + bat, footer, FOOTER);
	err = bfile_write(f, 0, buf, len);
	free(buf);
	return err;
}

static int vpc_create(const struct img_create *c)
{
	const bool fixed = c->subformat && !strcmp(c->subformat, "fixed");
	uint8_t footer[FOOTER];
	struct bfile *f;
	uint64_t size;
	int err;

	if (c->subformat && !fixed && strcmp(c->subformat, "dynamic"))
		return err_msg(-EINVAL, "image '%s': subformat=%s: a VHD is dynamic or fixed", c->path, c->subformat);
	if (c->backing)
		return err_msg(-ENOTSUP, "image '%s': a VHD has no backing file here; use qcow2", c->path);
	if (c->cluster_size && c->cluster_size != VHD_BLOCK)
		return err_msg(-EINVAL, "image '%s': a VHD is made with blocks of 2 MiB", c->path);
	if (!fixed && c->prealloc)
		return err_msg(-EINVAL, "image '%s': a dynamic VHD is not preallocated; say subformat=fixed", c->path);
	err = blocks_create_size(c, VHD_SECTORS_MAX * 512, &size);
	if (err)
		return err;
	f = blocks_create_file(c, c->path, false, &err);
	if (!f)
		return err;
	make_footer(footer, fixed, size);
	if (fixed) {
		err = blocks_preallocate(f, c, 0, size);
		if (!err)
			err = bfile_write(f, size, footer, FOOTER);
	} else {
		err = create_dynamic(f, footer, size);
	}
	return blocks_create_done(f, err);
}

const struct img_driver img_vpc = {
	.name = "vpc", .help = "VHD (Virtual PC, Hyper-V) disk image, dynamic or fixed", .size = sizeof(struct vpc), .writes = true,
	.safe = true, .probe = vpc_probe, .open = vpc_open, .close = vpc_close, .map = vpc_map, .write = vpc_write, .zero = vpc_zero,
	.discard = vpc_discard, .flush = vpc_flush, .dirty = vpc_dirty, .create = vpc_create, .check = vpc_check, .info = vpc_info,
};
