/*
 * Making VMDKs: a descriptor, and extents for it.
 *
 * A sparse extent: header, descriptor (monolithic ones), the second grain directory with its tables, the first one with
 * its tables, grains [VMDK-5.0 Hosted Sparse Extents].  The same for streamOptimized, whose directory then is not at its
 * end: so it can be filled in any order.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/block/vmdk.h"

#define DESC_SECTORS 20u
#define SPLIT GIB(2)                    /* of twoGbMaxExtent..., bytes */

struct plan {
	const struct img_create *c;
	uint64_t size;                  /* bytes */
	bool flat, split, stream;
	const char *type;
	uint32_t parent_cid;
	char *text;                     /* the descriptor */
};

static const struct { const char *name; bool flat, split, stream; } types[] = {
	{ "monolithicSparse", false, false, false }, { "monolithicFlat", true, false, false },
	{ "twoGbMaxExtentSparse", false, true, false }, { "twoGbMaxExtentFlat", true, true, false },
	{ "streamOptimized", false, false, true },
};

/* --- Extents --- */

/* The header's numbers follow from the size: sectors. */
static void make_header(uint8_t h[S_LEN], const struct plan *p, uint64_t bytes, bool desc)
{
	const uint32_t grains = (uint32_t)((bytes + VMDK_GRAIN - 1) / VMDK_GRAIN), gts = (grains + VMDK_GTES - 1) / VMDK_GTES;
	const uint64_t dir = ((uint64_t)gts * 4 + 511) / 512, tables = dir + (uint64_t)gts * (VMDK_GTES / 128);
	const uint64_t rgd = 1 + DESC_SECTORS;

	memset(h, 0, S_LEN);
	put_le32(h, VMDK_MAGIC);
	put_le32(h + S_VERSION, p->stream ? 3 : 1);
	put_le32(h + S_FLAGS, SF_NEWLINES | SF_RGD | (p->stream ? SF_COMPRESSED | SF_MARKERS : 0));
	put_le64(h + S_CAPACITY, bytes / 512);
	put_le64(h + S_GRAIN, VMDK_GRAIN / 512);
	put_le64(h + S_DESC, desc ? 1 : 0);
	put_le64(h + S_DESC_LEN, desc ? DESC_SECTORS : 0);
	put_le32(h + S_GTES, VMDK_GTES);
	put_le64(h + S_RGD, rgd);
	put_le64(h + S_GD, rgd + tables);
	put_le64(h + S_OVERHEAD, ALIGN_UP(rgd + 2 * tables, VMDK_GRAIN / 512));
	memcpy(h + S_NEWLINES, "\n \r\n", 4);
	put_le16(h + S_COMPRESSION, p->stream ? 1 : 0);
}

/* A directory at `at` of n tables, which follow it. */
static int write_directory(struct bfile *f, uint64_t at, uint32_t n)
{
	const uint32_t dir = (n + 127) / 128;
	uint8_t *buf = calloc(dir, 512);
	int err;

	if (!buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		put_le32(buf + (size_t)i * 4, (uint32_t)(at + dir + (uint64_t)i * (VMDK_GTES / 128)));
	err = bfile_write(f, at * 512, buf, (size_t)dir * 512);
	free(buf);
	return err;
}

static int create_sparse(const struct plan *p, const char *path, uint64_t bytes, bool desc)
{
	uint8_t h[S_LEN];
	struct bfile *f;
	int err;

	make_header(h, p, bytes, desc);
	f = blocks_create_file(p->c, path, false, &err);
	if (!f)
		return err;
	const uint32_t gts = (uint32_t)((bytes + VMDK_GRAIN * VMDK_GTES - 1) / (VMDK_GRAIN * VMDK_GTES));
	err = f->ops->truncate(f, get_le64(h + S_OVERHEAD) * 512);
	if (!err)
		err = write_directory(f, get_le64(h + S_RGD), gts);
	if (!err)
		err = write_directory(f, get_le64(h + S_GD), gts);
	if (!err && desc && strlen(p->text) > DESC_SECTORS * 512)
		err = -ENAMETOOLONG;
	if (!err && desc)
		err = bfile_write(f, 512, p->text, strlen(p->text));
	if (!err)
		err = bfile_write(f, 0, h, sizeof(h));
	return blocks_create_done(f, err);
}

static int create_flat(const struct plan *p, const char *path, uint64_t bytes)
{
	struct bfile *f;
	int err;

	f = blocks_create_file(p->c, path, false, &err);
	if (!f)
		return err;
	return blocks_create_done(f, blocks_preallocate(f, p->c, 0, bytes));
}

/* --- The descriptor --- */

/* The path without ".vmdk". */
static int base_len(const char *path)
{
	const size_t n = strlen(path);

	return (int)(n > 5 && !strcmp(path + n - 5, ".vmdk") ? n - 5 : n);
}

/* Of extent i, as a path; NULL: no memory. */
static char *extent_name(const struct plan *p, unsigned i)
{
	const char *path = p->c->path;
	char *out;
	int n;

	if (!p->flat && !p->split)
		return strdup(path);
	if (!p->split)
		n = asprintf(&out, "%.*s-flat.vmdk", base_len(path), path);
	else
		n = asprintf(&out, "%.*s-%c%03u.vmdk", base_len(path), path, p->flat ? 'f' : 's', i + 1);
	return n < 0 ? NULL : out;
}

static uint64_t extent_bytes(const struct plan *p, unsigned i)
{
	return p->split ? MIN(SPLIT, p->size - i * SPLIT) : p->size;
}

static unsigned extent_count(const struct plan *p)
{
	return p->split ? (unsigned)((p->size + SPLIT - 1) / SPLIT) : 1;
}

static int print_extents(const struct plan *p, FILE *out)
{
	for (unsigned i = 0; i < extent_count(p); i++) {
		char *name = extent_name(p, i);
		const char *slash = name ? strrchr(name, '/') : NULL, *base = slash ? slash + 1 : name;

		if (!name)
			return -ENOMEM;
		if (strchr(base, '"') || strchr(base, '\n') || strlen(base) > 255) {
			free(name);
			return err_msg(-EINVAL, "image '%s': a VMDK cannot have this name; use one without quotes, shorter than 240 bytes", p->c->path);
		}
		fprintf(out, "RW %llu %s \"%s\"%s\n", (unsigned long long)(extent_bytes(p, i) / 512), p->flat ? "FLAT" : "SPARSE", base,
			p->flat ? " 0" : "");
		free(name);
	}
	return 0;
}

static int make_text(struct plan *p)
{
	const uint64_t cylinders = p->size / 512 / (16 * 63);
	uint8_t noise[4];
	size_t len = 0;
	FILE *out = open_memstream(&p->text, &len);
	int err;

	if (!out)
		return err_msg(-ENOMEM, "image '%s': out of memory", p->c->path);
	blocks_noise(noise, sizeof(noise));
	fprintf(out, "# Disk DescriptorFile\nversion=1\nCID=%08x\nparentCID=%08x\ncreateType=\"%s\"\n", get_le32(noise) & 0x7fffffffu,
		p->parent_cid, p->type);
	if (p->c->backing)
		fprintf(out, "parentFileNameHint=\"%s\"\n", p->c->backing);
	fprintf(out, "\n# Extent description\n");
	err = print_extents(p, out);
	fprintf(out, "\n# The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"%llu\"\n"
		"ddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n",
		(unsigned long long)MIN(cylinders, 16383));
	if (fclose(out) && !err)
		err = -ENOMEM;
	return err;
}

/* The CID an image based on `backing` has to know. */
static int find_parent(struct plan *p)
{
	const char *slash = strrchr(p->c->path, '/'), *backing = p->c->backing;
	struct img_open o = { .format = "vmdk", .no_backing = true, .share_lock = true };
	struct img *img;
	char *path;
	int err;

	if (p->flat || p->stream)
		return err_msg(-EINVAL, "image '%s': only a sparse VMDK can have a backing file; say subformat=monolithicSparse", p->c->path);
	if (strchr(backing, '"') || strchr(backing, '\n') || (p->c->backing_format && strcmp(p->c->backing_format, "vmdk")))
		return err_msg(-EINVAL, "image '%s': the backing file of a VMDK is a VMDK; use qcow2", p->c->path);
	if (asprintf(&path, "%.*s%s", *backing == '/' || !slash ? 0 : (int)(slash + 1 - p->c->path), p->c->path, backing) < 0)
		return err_msg(-ENOMEM, "image '%s': out of memory", p->c->path);
	o.path = path;
	img = img_open(&o, &err);
	free(path);
	if (!img)
		return err;
	p->parent_cid = container_of(img, struct vmdk, img)->desc.cid;
	img_close(img);
	if (p->parent_cid == VMDK_NO_CID)
		return err_msg(-EINVAL, "image '%s': its backing file has no CID, so it cannot be one", p->c->path);
	return 0;
}

static int write_descriptor(const struct plan *p)
{
	struct bfile *f;
	int err;

	f = blocks_create_file(p->c, p->c->path, false, &err);
	if (!f)
		return err;
	return blocks_create_done(f, bfile_write(f, 0, p->text, strlen(p->text)));
}

static int make_plan(struct plan *p)
{
	const char *type = p->c->subformat ? p->c->subformat : types[0].name;
	const struct img_create *c = p->c;
	size_t i;

	for (i = 0; i < NELEM(types) && strcmp(types[i].name, type); i++)
		;
	if (i == NELEM(types))
		return err_msg(-EINVAL, "image '%s': subformat=%s: a VMDK is monolithicSparse, monolithicFlat, twoGbMaxExtentSparse, "
			       "twoGbMaxExtentFlat or streamOptimized", c->path, type);
	p->type = types[i].name;
	p->flat = types[i].flat;
	p->split = types[i].split;
	p->stream = types[i].stream;
	p->parent_cid = VMDK_NO_CID;
	if (c->cluster_size && c->cluster_size != VMDK_GRAIN)
		return err_msg(-EINVAL, "image '%s': a VMDK is made with grains of 64 KiB", c->path);
	if (!p->flat && c->prealloc)
		return err_msg(-EINVAL, "image '%s': a sparse VMDK is not preallocated; say subformat=monolithicFlat", c->path);
	return blocks_create_size(c, p->split ? 1024 * SPLIT : p->flat ? 1ull << 46 : (BLOCKS_TABLE_MAX / 4) * VMDK_GRAIN, &p->size);
}

int vmdk_create(const struct img_create *c)
{
	struct plan p = { .c = c };
	int err = make_plan(&p);

	if (!err && c->backing)
		err = find_parent(&p);
	if (!err)
		err = make_text(&p);
	for (unsigned i = 0; !err && i < extent_count(&p); i++) {
		char *name = extent_name(&p, i);

		if (!name)
			err = err_msg(-ENOMEM, "image '%s': out of memory", c->path);
		else if (p.flat)
			err = create_flat(&p, name, extent_bytes(&p, i));
		else
			err = create_sparse(&p, name, extent_bytes(&p, i), !p.split);
		free(name);
	}
	if (!err && (p.flat || p.split))
		err = write_descriptor(&p);
	free(p.text);
	return err;
}
