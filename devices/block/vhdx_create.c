/*
 * Making VHDX images: dynamic ones are empty, fixed ones have all their blocks.
 *
 *   0 identifier, 64K and 128K headers, 192K and 256K regions · 1M log · 2M metadata · 3M BAT · blocks
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/block/vhdx.h"

#define LOG_AT MIB(1)
#define META_AT MIB(2)
#define BAT_AT MIB(3)
#define ITEMS VHDX_META_TABLE           /* within the metadata region */

struct layout {
	uint64_t size;                  /* of the disk, bytes */
	uint32_t block, n;
	uint64_t entries;               /* of the BAT */
	uint64_t data_at;
	bool fixed;
};

/* A sequence of two headers of which the second counts. */
static void make_header(uint8_t h[VHDX_HEADER], uint64_t seq)
{
	memset(h, 0, VHDX_HEADER);
	memcpy(h, "head", 4);
	put_le64(h + VH_SEQ, seq);
	blocks_uuid(h + VH_FILE_GUID);
	blocks_uuid(h + VH_DATA_GUID);
	put_le16(h + VH_VERSION, 1);
	put_le32(h + VH_LOG_LEN, (uint32_t)MIB(1));
	put_le64(h + VH_LOG_OFF, LOG_AT);
	put_le32(h + VH_SUM, vhdx_crc(h, VHDX_HEADER, VH_SUM));
}

static void put_region(uint8_t *e, const uint8_t guid[16], uint64_t off, uint64_t len)
{
	memcpy(e, guid, 16);
	put_le64(e + VR_OFF, off);
	put_le32(e + VR_LEN, (uint32_t)len);
	put_le32(e + VR_REQUIRED, 1);
}

static void make_regions(uint8_t *t, const struct layout *l)
{
	memset(t, 0, VHDX_REGIONS);
	memcpy(t, "regi", 4);
	put_le32(t + VR_COUNT, 2);
	put_region(t + VR_ENTRIES, vhdx_guid_bat, BAT_AT, ALIGN_UP(l->entries * 8, MIB(1)));
	put_region(t + VR_ENTRIES + VX_ENTRY, vhdx_guid_meta, META_AT, MIB(1));
	put_le32(t + 4, vhdx_crc(t, VHDX_REGIONS, 4));
}

static uint8_t *put_item(uint8_t *meta, const uint8_t guid[16], uint32_t len, uint32_t flags)
{
	const unsigned i = get_le16(meta + VM_COUNT);
	uint8_t *e = meta + VM_ENTRIES + (size_t)i * VX_ENTRY;

	memcpy(e, guid, 16);
	put_le32(e + VM_OFF, (uint32_t)(ITEMS + i * 32));
	put_le32(e + VM_LEN, len);
	put_le32(e + VM_FLAGS, flags | VM_FLAG_REQUIRED);
	put_le16(meta + VM_COUNT, (uint16_t)(i + 1));
	return meta + ITEMS + i * 32;
}

/* meta: ITEMS + 4096 zeroes. */
static void make_meta(uint8_t *meta, const struct layout *l)
{
	uint8_t *p;

	memcpy(meta, "metadata", 8);
	p = put_item(meta, vhdx_guid_params, 8, 0);
	put_le32(p, l->block);
	put_le32(p + 4, l->fixed ? VP_LEAVE_ALLOCATED : 0);
	put_le64(put_item(meta, vhdx_guid_size, 8, VM_FLAG_VIRTUAL_DISK), l->size);
	blocks_uuid(put_item(meta, vhdx_guid_page83, 16, VM_FLAG_VIRTUAL_DISK));
	put_le32(put_item(meta, vhdx_guid_logical, 4, VM_FLAG_VIRTUAL_DISK), 512);
	put_le32(put_item(meta, vhdx_guid_physical, 4, VM_FLAG_VIRTUAL_DISK), 4096);
}

static int write_head(struct bfile *f)
{
	static const char creator[] = "skep";
	uint8_t buf[VHDX_HEADER] = "vhdxfile";
	int err;

	for (unsigned i = 0; i < sizeof(creator) - 1; i++)
		buf[8 + 2 * i] = (uint8_t)creator[i];   /* UTF-16 */
	err = bfile_write(f, 0, buf, sizeof(buf));
	for (unsigned i = 0; i < 2 && !err; i++) {
		make_header(buf, i + 1);
		err = bfile_write(f, VHDX_HEADER_AT(i), buf, sizeof(buf));
	}
	return err;
}

static int write_tables(struct bfile *f, const struct layout *l)
{
	const size_t bat_len = l->entries * 8, meta_len = ITEMS + 4096;
	uint8_t *buf = calloc(1, MAX(MAX(bat_len, meta_len), VHDX_REGIONS));
	const struct blocks b = { .chunk = (uint32_t)((512ull << 23) / l->block) };
	int err = 0;

	if (!buf)
		return -ENOMEM;
	make_regions(buf, l);
	for (unsigned i = 0; i < 2 && !err; i++)
		err = bfile_write(f, VHDX_REGIONS_AT(i), buf, VHDX_REGIONS);
	memset(buf, 0, VHDX_REGIONS);
	make_meta(buf, l);
	if (!err)
		err = bfile_write(f, META_AT, buf, meta_len);
	memset(buf, 0, meta_len);
	for (uint32_t i = 0; l->fixed && i < l->n; i++)
		put_le64(buf + blocks_index(&b, i) * 8, (l->data_at + (uint64_t)i * l->block) | VB_PRESENT);
	if (!err && l->fixed)
		err = bfile_write(f, BAT_AT, buf, bat_len);
	free(buf);
	return err;
}

static int make_layout(const struct img_create *c, struct layout *l)
{
	int err = blocks_create_size(c, VHDX_SIZE_MAX, &l->size);

	if (err)
		return err;
	l->block = c->cluster_size ? c->cluster_size : (uint32_t)(l->size > MIB(1) << 20 ? MIB(32) : MIB(8));
	if (l->block < MIB(1) || l->block > MIB(256) || (l->block & (l->block - 1)))
		return err_msg(-EINVAL, "image '%s': a VHDX has blocks of 1 MiB to 256 MiB, a power of two", c->path);
	const uint64_t n = (l->size + l->block - 1) / l->block;
	l->entries = n + (n - 1) / ((512ull << 23) / l->block);
	if (l->entries * 8 > BLOCKS_TABLE_MAX)
		return err_msg(-EINVAL, "image '%s': with blocks of %u MiB its table were larger than 64 MiB; make them larger", c->path,
			       l->block >> 20);
	l->n = (uint32_t)n;
	l->data_at = BAT_AT + ALIGN_UP(l->entries * 8, MIB(1));
	return 0;
}

int vhdx_create(const struct img_create *c)
{
	struct layout l = { .fixed = c->subformat && !strcmp(c->subformat, "fixed") };
	struct bfile *f;
	int err;

	if (c->subformat && !l.fixed && strcmp(c->subformat, "dynamic"))
		return err_msg(-EINVAL, "image '%s': subformat=%s: a VHDX is dynamic or fixed", c->path, c->subformat);
	if (c->backing)
		return err_msg(-ENOTSUP, "image '%s': a VHDX has no backing file here; use qcow2", c->path);
	if (!l.fixed && c->prealloc)
		return err_msg(-EINVAL, "image '%s': a dynamic VHDX is not preallocated; say subformat=fixed", c->path);
	err = make_layout(c, &l);
	if (err)
		return err;
	f = blocks_create_file(c, c->path, true, &err);
	if (!f)
		return err;
	/* A device may hold an older image: its log and table read as zeroes first. */
	err = f->block_device ? f->ops->zero(f, 0, l.data_at, false) : 0;
	if (!err)
		err = blocks_preallocate(f, c, l.data_at, l.fixed ? l.data_at + (uint64_t)l.n * l.block : l.data_at);
	if (!err)
		err = write_tables(f, &l);
	if (!err)
		err = write_head(f);
	return blocks_create_done(f, err);
}
