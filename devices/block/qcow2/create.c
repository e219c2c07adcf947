/*
 * New images.  The file is laid out as header, refcount table, its blocks, L1 table; the header is written last.
 * Preallocation opens what was made and fills it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define CLUSTER_DEFAULT (64u << 10)
#define EXT_FORMAT 0xe2792acau
#define EXT_FEATURES 0x6803f857u
#define FEATURE_LEN 48u

struct layout {
	struct qcow2_header h;
	uint64_t clusters;              /* in the file */
	uint64_t blocks;
	uint64_t l1_clusters;
};

/* --- what was asked for --- */

static int refuse(const struct img_create *c, const char *what)
{
	return err_msg(-EINVAL, "image '%s': %s", c->path, what);
}

static int check_backing(const struct img_create *c)
{
	if (c->backing && (!*c->backing || strlen(c->backing) > 1023))
		return refuse(c, "the name of a backing file has 1 to 1023 bytes; give a shorter one");
	if (c->backing_format && strlen(c->backing_format) > 63)
		return refuse(c, "the name of the backing file's format is too long; give one that skep knows");
	if (c->backing && c->prealloc != IMG_PREALLOC_OFF && !c->extended_l2)
		return refuse(c, "preallocated clusters would hide the backing file; leave preallocation out, or add extended_l2=on");
	return 0;
}

static int check_request(const struct img_create *c, unsigned version, uint64_t cluster, unsigned bits)
{
	if (version != 2 && version != 3)
		return refuse(c, "qcow2 has the versions 2 (compat=0.10) and 3 (compat=1.1); give one of them");
	if (cluster < 512 || cluster > 2u << 20 || cluster & (cluster - 1))
		return refuse(c, "the cluster size is a power of two from 512 to 2M; give one of these");
	if (!bits || bits > 64 || bits & (bits - 1))
		return refuse(c, "a refcount has 1, 2, 4, 8, 16, 32 or 64 bits; give one of these");
	if (version == 2 && (bits != 16 || c->lazy_refcounts || c->extended_l2 || c->zstd))
		return refuse(c, "refcount_bits, lazy_refcounts, extended_l2 and compression_type need version 3; give compat=1.1, or leave "
				"them out");
	if (c->extended_l2 && cluster < 16384)
		return refuse(c, "extended_l2 needs clusters of at least 16K; give cluster_size=16K or more");
	if (c->size > INT64_MAX - cluster)
		return refuse(c, "a disk is smaller than 8 EiB; give a smaller size");
	return check_backing(c);
}

static int check_l1(const struct img_create *c, uint64_t entries)
{
	if (entries * 8 <= QCOW2_L1_BYTES_MAX)
		return 0;
	return refuse(c, "such a large disk needs larger clusters; give a larger cluster_size");
}

static int plan(const struct img_create *c, struct layout *l)
{
	const uint64_t cluster = c->cluster_size ? c->cluster_size : CLUSTER_DEFAULT;
	const unsigned bits = c->refcount_bits ? c->refcount_bits : 16, version = c->version ? c->version : 3;
	const uint64_t l2_bytes = cluster / (c->extended_l2 ? 16 : 8) * cluster, refs_per = cluster * 8 / MAX(bits, 1u);
	uint64_t entries, table = 1, n;
	int err = check_request(c, version, cluster, bits);

	if (err)
		return err;
	entries = MAX((c->size + l2_bytes - 1) / l2_bytes, 1u);
	err = check_l1(c, entries);
	if (err)
		return err;
	l->l1_clusters = MAX((entries * 8 + cluster - 1) / cluster, 1u);
	l->blocks = 1;
	for (;;) {
		n = 1 + table + l->blocks + l->l1_clusters;
		if (l->blocks * refs_per >= n && table * cluster / 8 >= l->blocks)
			break;
		l->blocks = (n + refs_per - 1) / refs_per;
		table = (l->blocks * 8 + cluster - 1) / cluster;
	}
	l->clusters = n;
	l->h = (struct qcow2_header){
		.version = version, .cluster_bits = (uint32_t)__builtin_ctzll(cluster), .size = ALIGN_UP(c->size, 512u),
		.l1_entries = (uint32_t)entries,
		.reftable_off = cluster, .reftable_clusters = (uint32_t)table, .l1_off = (1 + table + l->blocks) * cluster,
		.compatible = c->lazy_refcounts ? QCOW2_LAZY_REFCOUNTS : 0, .refcount_order = (uint32_t)__builtin_ctz(bits),
		.incompatible = (c->zstd ? QCOW2_COMPRESSION : 0) | (c->extended_l2 ? QCOW2_EXTENDED_L2 : 0), .compression = c->zstd,
		.header_len = version == 2 ? QCOW2_HEADER_V2 : 112,
	};
	return 0;
}

/* --- the header --- */

static void put_header(uint8_t *b, const struct qcow2_header *h)
{
	put_be32(b, QCOW2_MAGIC);
	put_be32(b + 4, h->version);
	put_be64(b + 8, h->backing_off);
	put_be32(b + 16, h->backing_len);
	put_be32(b + 20, h->cluster_bits);
	put_be64(b + 24, h->size);
	put_be32(b + 36, h->l1_entries);
	put_be64(b + 40, h->l1_off);
	put_be64(b + 48, h->reftable_off);
	put_be32(b + 56, h->reftable_clusters);
	if (h->version == 2)
		return;
	put_be64(b + 72, h->incompatible);
	put_be64(b + 80, h->compatible);
	put_be32(b + 96, h->refcount_order);
	put_be32(b + 100, h->header_len);
	b[104] = h->compression;
}

static const struct { uint8_t type, bit; const char *name; } features[] = {
	{ 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" }, { 0, 3, "compression type" },
	{ 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" },
};

static uint32_t put_ext(uint8_t *b, uint32_t at, uint32_t type, const void *data, uint32_t len)
{
	put_be32(b + at, type);
	put_be32(b + at + 4, len);
	memcpy(b + at + 8, data, len);
	return at + 8 + ALIGN_UP(len, 8u);
}

static uint32_t put_features(uint8_t *b, uint32_t at)
{
	uint8_t rows[NELEM(features) * FEATURE_LEN] = { 0 };

	for (size_t i = 0; i < NELEM(features); i++) {
		rows[i * FEATURE_LEN] = features[i].type;
		rows[i * FEATURE_LEN + 1] = features[i].bit;
		memcpy(rows + i * FEATURE_LEN + 2, features[i].name, strlen(features[i].name));
	}
	return put_ext(b, at, EXT_FEATURES, rows, sizeof(rows));
}

/* The names of features are left out where they would not leave room for the backing file's. */
static int header_cluster(const struct img_create *c, struct layout *l, uint8_t *b)
{
	const uint32_t cluster = 1u << l->h.cluster_bits, name = c->backing ? (uint32_t)strlen(c->backing) : 0;
	const uint32_t features_len = 8 + NELEM(features) * FEATURE_LEN;
	const char *format = c->backing ? c->backing_format : NULL;
	const uint32_t format_len = format ? 8 + ALIGN_UP((uint32_t)strlen(format), 8u) : 0;
	uint32_t at = l->h.header_len;

	if (at + format_len + 8 + name > cluster)
		return refuse(c, "the name of the backing file does not fit into the first cluster; give a shorter one, or larger clusters");
	if (format)
		at = put_ext(b, at, EXT_FORMAT, format, (uint32_t)strlen(format));
	if (l->h.version == 3 && at + features_len + 8 + name <= cluster)
		at = put_features(b, at);
	at += 8;
	if (name) {
		memcpy(b + at, c->backing, name);
		l->h.backing_off = at;
		l->h.backing_len = name;
	}
	put_header(b, &l->h);
	return 0;
}

/* --- the file --- */

static int write_refs(struct bfile *f, const struct layout *l, uint8_t *b, uint64_t cluster)
{
	const uint64_t refs_per = cluster * 8 >> l->h.refcount_order, first = 1 + l->h.reftable_clusters;
	int err = 0;

	for (uint64_t t = 0; t < l->h.reftable_clusters && !err; t++) {
		memset(b, 0, cluster);
		for (uint64_t i = 0; i < cluster / 8 && t * cluster / 8 + i < l->blocks; i++)
			put_be64(b + i * 8, (first + t * cluster / 8 + i) * cluster);
		err = bfile_write(f, (1 + t) * cluster, b, cluster);
	}
	for (uint64_t k = 0; k < l->blocks && !err; k++) {
		memset(b, 0, cluster);
		for (uint64_t i = 0; i < refs_per && k * refs_per + i < l->clusters; i++)
			qcow2_ref_put(b, l->h.refcount_order, i, 1);
		err = bfile_write(f, (first + k) * cluster, b, cluster);
	}
	return err;
}

static int write_file(struct bfile *f, const struct img_create *c, struct layout *l, uint8_t *b)
{
	const uint64_t cluster = 1ull << l->h.cluster_bits;
	int err = header_cluster(c, l, b);
	uint8_t *header;

	if (err)
		return err;
	header = malloc(cluster);
	err = header ? 0 : -ENOMEM;
	if (!err)
		memcpy(header, b, cluster);
	if (!err)
		err = f->ops->truncate(f, l->clusters * cluster);
	if (!err)
		err = write_refs(f, l, b, cluster);
	if (!err)
		err = f->ops->zero(f, l->h.l1_off, l->l1_clusters * cluster, false);
	if (!err)
		err = f->ops->flush(f);
	if (!err)
		err = bfile_write(f, 0, header, cluster);
	if (!err)
		err = f->ops->flush(f);
	free(header);
	return err ? err_msg(err, "image '%s': it cannot be written: %s", c->path, strerror(-err)) : 0;
}

/* Opens what was made, whose file is then the image's. */
static int preallocate(struct bfile *f, const struct img_create *c)
{
	int err, end;
	struct img *img = img_open_file(f, &img_qcow2, &err);

	if (!img)
		return err;
	err = qcow2_prealloc(qcow2_of(img), c->prealloc == IMG_PREALLOC_FULL, c->prealloc != IMG_PREALLOC_METADATA);
	if (err)
		err_msg(err, "image '%s': its space cannot be allocated: %s", c->path, strerror(-err));
	end = img_close(img);
	return err ? err : end;
}

int qcow2_format(struct bfile *f, const struct img_create *c)
{
	struct layout l;
	int err = plan(c, &l);
	uint8_t *b = err ? NULL : calloc(1, 1u << l.h.cluster_bits);

	if (!err && !b)
		err = err_msg(-ENOMEM, "image '%s': out of memory", c->path);
	if (!err)
		err = write_file(f, c, &l, b);
	free(b);
	return err;
}

int qcow2_create(const struct img_create *c)
{
	struct layout l;
	int err = plan(c, &l);
	struct bfile *f;

	if (err)
		return err;
	f = bfile_open(c->path, BFILE_CREATE | (c->overwrite ? BFILE_TRUNCATE : 0), &err);
	if (!f)
		return err;
	err = qcow2_format(f, c);
	if (!err && c->prealloc != IMG_PREALLOC_OFF)
		return preallocate(f, c);
	bfile_close(f);
	return err;
}
