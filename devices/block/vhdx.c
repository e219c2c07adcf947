/*
 * VHDX, Hyper-V's disk images: fixed and dynamic, read and write.  Differencing images are refused by name.
 *
 * Two headers of which the newer one counts, two copies of the table of regions, a log, a region of metadata (sizes) and
 * one with the block allocation table (BAT) [MS-VHDX 2].  A log that is not empty is read (vhdx_log.c); such an image
 * is not opened for writing.
 *
 * DEVIATION: [MS-VHDX 2.3] changes of the BAT go straight to it and not through the log.  The log is there to make
 * changes of several sectors one step.  Here every changed entry is a step of its own: eight bytes that do not cross a
 * sector, from "not there" to a block whose data is durable already.  Any subset of them leaves a consistent image.
 */
#include "devices/block/vhdx.h"

#include <errno.h>
#include <stdlib.h>

/* Identifiers [MS-VHDX 2.2.3.2, 2.6.1.2, 2.6.2]; the first three fields of a GUID are little-endian. */
#define LE16(v) (v) & 0xff, (v) >> 8
#define GUID(a, b, c, ...) { LE16((a) & 0xffff), LE16((a) >> 16), LE16(b), LE16(c), __VA_ARGS__ }
const uint8_t vhdx_guid_bat[16] = GUID(0x2dc27766, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08);
const uint8_t vhdx_guid_meta[16] = GUID(0x8b7ca206, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e);
const uint8_t vhdx_guid_params[16] = GUID(0xcaa16737, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b);
const uint8_t vhdx_guid_size[16] = GUID(0x2fa54224, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8);
const uint8_t vhdx_guid_page83[16] = GUID(0xbeca12ab, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46);
const uint8_t vhdx_guid_logical[16] = GUID(0x8141bf1d, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f);
const uint8_t vhdx_guid_physical[16] = GUID(0xcda348c7, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56);
const uint8_t vhdx_guid_parent[16] = GUID(0xa8d35f2d, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c);

static struct vhdx *vhdx(struct img *img)
{
	return container_of(img, struct vhdx, img);
}

static int damaged(const struct vhdx *v, const char *what)
{
	return err_msg(-EINVAL, "image '%s': %s; the image is damaged", v->img.file->path, what);
}

/* --- The table --- */

static enum img_kind vhdx_get(const struct blocks *b, uint32_t i, uint64_t *off)
{
	const uint64_t e = get_le64(b->table + blocks_index(b, i) * 8);

	switch (e & 7) {
	case VB_PRESENT:
		*off = e & ~(MIB(1) - 1);
		return IMG_DATA;
	case VB_ZERO:
		return IMG_ZERO;
	default:
		return IMG_NONE;
	}
}

static void vhdx_set(struct blocks *b, uint32_t i, enum img_kind kind, uint64_t off)
{
	put_le64(b->table + blocks_index(b, i) * 8, off | VB_PRESENT);
}

static uint64_t vhdx_place(struct blocks *b)
{
	return ALIGN_UP(b->end, MIB(1));
}

static const struct blocks_ops vhdx_ops = { .get = vhdx_get, .set = vhdx_set, .place = vhdx_place };

/* --- Opening --- */

static int vhdx_probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	return len >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0;
}

/* The newer one of the headers that are whole. */
static int read_header(struct vhdx *v)
{
	uint8_t h[2][VHDX_HEADER];
	int best = -1;

	for (int i = 0; i < 2; i++) {
		const int err = bfile_read(v->img.file, VHDX_HEADER_AT(i), h[i], VHDX_HEADER);

		if (err)
			return err_msg(err, "image '%s': its header cannot be read: %s", v->img.file->path, strerror(-err));
		if (memcmp(h[i], "head", 4) || get_le32(h[i] + VH_SUM) != vhdx_crc(h[i], VHDX_HEADER, VH_SUM))
			continue;
		if (best < 0 || get_le64(h[i] + VH_SEQ) > get_le64(h[best] + VH_SEQ))
			best = i;
	}
	if (best < 0)
		return damaged(v, "none of its two headers is whole");
	memcpy(v->header, h[best], VHDX_HEADER);
	v->header_i = (unsigned)best;
	if (get_le16(v->header + VH_VERSION) != 1)
		return err_msg(-ENOTSUP, "image '%s': VHDX version %u; skep reads 1", v->img.file->path, get_le16(v->header + VH_VERSION));
	return 0;
}

static int unknown(const struct vhdx *v, const char *what, const uint8_t *g)
{
	return err_msg(-ENOTSUP, "image '%s': it needs %s %08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x, which skep does not know; "
		       "convert it where it was made", v->img.file->path, what, get_le32(g), get_le16(g + 4), get_le16(g + 6), g[8], g[9],
		       g[10], g[11], g[12], g[13], g[14], g[15]);
}

static int take_region(struct vhdx *v, const uint8_t *e)
{
	const uint64_t off = get_le64(e + VR_OFF);
	const uint32_t len = get_le32(e + VR_LEN);
	const bool bat = !memcmp(e, vhdx_guid_bat, 16), meta = !memcmp(e, vhdx_guid_meta, 16);

	if (!bat && !meta && (get_le32(e + VR_REQUIRED) & 1))
		return unknown(v, "region", e);
	if (off < MIB(1) || off % MIB(1) || off > v->file_size || len > v->file_size - off)
		return damaged(v, "one of its regions lies outside the file");
	v->used_end = MAX(v->used_end, off + len);
	if (bat) {
		v->bat_off = off;
		v->bat_len = len;
	} else if (meta) {
		v->meta_off = off;
		v->meta_len = len;
	}
	return 0;
}

static int read_regions(struct vhdx *v)
{
	uint8_t *t = malloc(VHDX_REGIONS);
	bool whole = false;
	int err = t ? 0 : -ENOMEM;

	for (unsigned i = 0; i < 2 && !err && !whole; i++) {
		err = vhdx_read(v, VHDX_REGIONS_AT(i), t, VHDX_REGIONS);
		whole = !err && !memcmp(t, "regi", 4) && get_le32(t + 4) == vhdx_crc(t, VHDX_REGIONS, 4) &&
			get_le32(t + VR_COUNT) <= VHDX_REGIONS_MAX;
	}
	if (err)
		err_msg(err, "image '%s': its table of regions cannot be read: %s", v->img.file->path, strerror(-err));
	else if (!whole)
		err = damaged(v, "none of its two tables of regions is whole");
	for (uint32_t i = 0; !err && i < get_le32(t + VR_COUNT); i++)
		err = take_region(v, t + VR_ENTRIES + (size_t)i * VX_ENTRY);
	free(t);
	if (!err && (!v->bat_len || v->meta_len < VHDX_META_TABLE))
		err = damaged(v, "its tables are missing");
	if (!err && ranges_overlap(v->bat_off, v->bat_len, v->meta_off, v->meta_len))
		err = damaged(v, "its tables lie in each other");
	return err;
}

/* The item's bytes.  0 or -errno (reported). */
static int read_item(struct vhdx *v, const uint8_t *e, void *buf, uint32_t want)
{
	const uint32_t off = get_le32(e + VM_OFF), len = get_le32(e + VM_LEN);
	int err;

	if (off < VHDX_META_TABLE || len < want || off > v->meta_len || len > v->meta_len - off)
		return damaged(v, "its metadata lies outside its region");
	err = vhdx_read(v, v->meta_off + off, buf, want);
	return err ? err_msg(err, "image '%s': its metadata cannot be read: %s", v->img.file->path, strerror(-err)) : 0;
}

static int take_item(struct vhdx *v, const uint8_t *e)
{
	uint8_t buf[8];
	int err = 0;

	if (!memcmp(e, vhdx_guid_params, 16)) {
		err = read_item(v, e, buf, 8);
		v->block = err ? 0 : get_le32(buf);
		v->flags = err ? 0 : get_le32(buf + 4);
	} else if (!memcmp(e, vhdx_guid_size, 16)) {
		err = read_item(v, e, buf, 8);
		v->img.size = err ? 0 : get_le64(buf);
	} else if (!memcmp(e, vhdx_guid_logical, 16)) {
		err = read_item(v, e, buf, 4);
		v->sector = err ? 0 : get_le32(buf);
	} else if (!memcmp(e, vhdx_guid_parent, 16)) {
		v->flags |= VP_HAS_PARENT;
	} else if (memcmp(e, vhdx_guid_page83, 16) && memcmp(e, vhdx_guid_physical, 16) &&
		   (get_le32(e + VM_FLAGS) & VM_FLAG_REQUIRED)) {
		err = unknown(v, "metadata", e);
	}
	return err;
}

static int read_meta(struct vhdx *v)
{
	uint8_t *t = malloc(VHDX_META_TABLE);
	int err = t ? vhdx_read(v, v->meta_off, t, VHDX_META_TABLE) : -ENOMEM;

	if (err)
		err_msg(err, "image '%s': its metadata cannot be read: %s", v->img.file->path, strerror(-err));
	else if (memcmp(t, "metadata", 8) || get_le16(t + VM_COUNT) > VHDX_REGIONS_MAX)
		err = damaged(v, "its table of metadata is missing");
	for (unsigned i = 0; !err && i < get_le16(t + VM_COUNT); i++)
		err = take_item(v, t + VM_ENTRIES + (size_t)i * VX_ENTRY);
	free(t);
	if (err)
		return err;
	if (v->flags & VP_HAS_PARENT)
		return err_msg(-ENOTSUP, "image '%s': a differencing VHDX depends on its parent; merge them with Hyper-V's Merge-VHD",
			       v->img.file->path);
	if ((v->sector != 512 && v->sector != 4096) || v->block < MIB(1) || v->block > MIB(256) || (v->block & (v->block - 1)))
		return damaged(v, "its sector or block size is none a VHDX may have");
	if (!v->img.size || v->img.size % v->sector || v->img.size > VHDX_SIZE_MAX)
		return damaged(v, "its disk has a size none may have");
	return 0;
}

/* The log may change only what was read already with its help. */
static int check_patches(const struct vhdx *v)
{
	for (uint32_t i = 0; i < v->npatch; i++) {
		const struct vhdx_patch *p = &v->patch[i];

		if (p->off >= v->bat_off && p->len <= v->bat_len && p->off - v->bat_off <= v->bat_len - p->len)
			continue;
		if (p->off >= v->meta_off && p->len <= v->meta_len && p->off - v->meta_off <= v->meta_len - p->len)
			continue;
		if (p->len && (p->off >= MIB(1) || p->len > MIB(1) - p->off))
			return err_msg(-ENOTSUP, "image '%s': its log changes more than tables; replay it with 'qemu-img check -r all %s'",
				       v->img.file->path, v->img.file->path);
	}
	return 0;
}

static int read_bat(struct vhdx *v)
{
	struct blocks *b = &v->b;
	int err;

	b->shift = (unsigned)__builtin_ctz(v->block);
	b->n = (uint32_t)((v->img.size + v->block - 1) >> b->shift);
	/* A sector bitmap, whose entry is in the table whether it is there or not, has a bit for 2^23 sectors. */
	b->chunk = (uint32_t)(((uint64_t)v->sector << 23) >> b->shift);
	b->len = v->img.size;
	b->table_off = v->bat_off;
	if ((blocks_index(b, b->n - 1) + 1) * 8 > v->bat_len)
		return damaged(v, "its block allocation table is too small for its disk");
	err = blocks_init(b);
	if (err)
		return err;
	err = vhdx_read(v, v->bat_off, b->table, (size_t)b->nsect * BLOCKS_SECTOR);
	if (err)
		return err_msg(err, "image '%s': its block allocation table cannot be read: %s", b->path, strerror(-err));
	for (uint32_t i = 0; i < b->n; i++) {
		const unsigned state = get_le64(b->table + blocks_index(b, i) * 8) & 7;

		if (state == VB_PARTIAL || state == 4)
			return err_msg(-EINVAL, "image '%s': block %u has state %u, which it cannot have without a parent; the image is damaged",
				       b->path, i, state);
	}
	return blocks_validate(b, MIB(1));
}

/* No block lies in a table, which would change with it. */
static int check_blocks(struct vhdx *v)
{
	const uint64_t log_off = get_le64(v->header + VH_LOG_OFF), log_len = get_le32(v->header + VH_LOG_LEN);
	uint64_t off;

	for (uint32_t i = 0; i < v->b.n; i++) {
		if (vhdx_get(&v->b, i, &off) != IMG_DATA)
			continue;
		if (ranges_overlap(off, v->block, v->bat_off, v->bat_len) || ranges_overlap(off, v->block, v->meta_off, v->meta_len) ||
		    (log_off <= VHDX_SIZE_MAX && ranges_overlap(off, v->block, log_off, log_len)))
			return damaged(v, "blocks lie in its tables");
	}
	v->b.end = MAX(v->b.end, v->used_end);
	return 0;
}

static void vhdx_close(struct img *img)
{
	struct vhdx *v = vhdx(img);

	pthread_mutex_destroy(&v->begin_lock);
	free(v->patch);
	free(v->patch_data);
	blocks_fini(&v->b);
}

static int vhdx_open(struct img *img)
{
	struct vhdx *v = vhdx(img);
	const int64_t size = img->file->ops->size(img->file);
	uint8_t sig[8];
	int err = size < 0 ? (int)size : bfile_read(img->file, 0, sig, sizeof(sig));

	if (err)
		return err_msg(err, "image '%s': it cannot be read: %s", img->file->path, strerror(-err));
	if (memcmp(sig, "vhdxfile", 8))
		return err_msg(-EINVAL, "image '%s': it is no VHDX: its signature is missing", img->file->path);
	v->file_size = (uint64_t)size;
	v->used_end = MIB(1);
	v->b = (struct blocks){ .ops = &vhdx_ops, .img = img, .file = img->file, .path = img->file->path, .entry_len = 8 };
	pthread_mutex_init(&v->begin_lock, NULL);
	err = read_header(v);
	if (!err)
		err = vhdx_log_read(v);
	if (!err)
		err = read_regions(v);
	if (!err)
		err = read_meta(v);
	if (!err)
		err = check_patches(v);
	v->b.file_size = v->file_size;
	if (!err)
		err = read_bat(v);
	if (!err)
		err = check_blocks(v);
	img->granule = v->block;
	if (err)
		vhdx_close(img);
	return err;
}

/* --- Running --- */

/*
 * Before anything is changed the header says so: new identifiers, no log [MS-VHDX 2.2.2.1].  It goes to where the older
 * header is, with a higher number.
 */
static int vhdx_begin(struct vhdx *v)
{
	uint8_t h[VHDX_HEADER];
	int err = 0;

	if (__atomic_load_n(&v->begun, __ATOMIC_ACQUIRE))
		return 0;
	pthread_mutex_lock(&v->begin_lock);
	if (!v->begun) {
		memcpy(h, v->header, sizeof(h));
		put_le64(h + VH_SEQ, get_le64(h + VH_SEQ) + 1);
		blocks_uuid(h + VH_FILE_GUID);
		blocks_uuid(h + VH_DATA_GUID);
		memset(h + VH_LOG_GUID, 0, 16);
		put_le32(h + VH_SUM, vhdx_crc(h, sizeof(h), VH_SUM));
		err = bfile_write(v->img.file, VHDX_HEADER_AT(!v->header_i), h, sizeof(h));
		if (!err)
			err = v->img.file->ops->flush(v->img.file);
		if (!err) {
			memcpy(v->header, h, sizeof(h));
			v->header_i = !v->header_i;
			__atomic_store_n(&v->begun, true, __ATOMIC_RELEASE);
		}
	}
	pthread_mutex_unlock(&v->begin_lock);
	return err;
}

static int vhdx_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *s)
{
	return blocks_map(&vhdx(img)->b, off, len, __atomic_load_n(&vhdx(img)->begun, __ATOMIC_ACQUIRE), s);
}

static int vhdx_write(struct img *img, uint64_t off, const struct iovec *iov, unsigned niov)
{
	const int err = vhdx_begin(vhdx(img));

	return err ? err : blocks_write(&vhdx(img)->b, off, iov, niov);
}

static int vhdx_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	const int err = vhdx_begin(vhdx(img));

	return err ? err : blocks_zero(&vhdx(img)->b, off, len, flags);
}

static int vhdx_discard(struct img *img, uint64_t off, uint64_t len)
{
	const int err = vhdx_begin(vhdx(img));

	return err ? err : blocks_discard(&vhdx(img)->b, off, len);
}

static int vhdx_flush(struct img *img)
{
	return blocks_flush(&vhdx(img)->b);
}

static bool vhdx_dirty(struct img *img)
{
	return blocks_dirty(&vhdx(img)->b);
}

static int vhdx_check(struct img *img, unsigned fix, struct img_check *c)
{
	return blocks_check(&vhdx(img)->b, c);
}

static int vhdx_info(struct img *img, json_t *o)
{
	const struct vhdx *v = vhdx(img);

	json_object_set_new(o, "subformat", json_string(v->flags & VP_LEAVE_ALLOCATED ? "fixed" : "dynamic"));
	json_object_set_new(o, "block-size", json_integer(v->block));
	json_object_set_new(o, "logical-sector-size", json_integer(v->sector));
	return 0;
}

const struct img_driver img_vhdx = {
	.name = "vhdx", .help = "VHDX (Hyper-V) disk image, dynamic or fixed", .size = sizeof(struct vhdx), .writes = true, .safe = true,
	.probe = vhdx_probe, .open = vhdx_open, .close = vhdx_close, .map = vhdx_map, .write = vhdx_write, .zero = vhdx_zero,
	.discard = vhdx_discard, .flush = vhdx_flush, .dirty = vhdx_dirty, .create = vhdx_create, .check = vhdx_check, .info = vhdx_info,
};
