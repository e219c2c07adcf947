/*
 * qcow2, versions 2 and 3 [QCOW2].
 *
 * Two ways of changing metadata:
 *
 * 1. While the disk is used, cached tables are written back in an order that keeps the file consistent at any instant,
 *    also when the host reorders what was not flushed:
 *      data and refcounts (of what was allocated)  | flush |  new L2 tables, L2 entries  | flush |  L1 entries  | flush |
 *      refcounts of what was freed.
 *    A cluster that was freed is used again only after the entry that named it is gone from the disk.  The dirty bit
 *    (version 3) is set before the first allocation and cleared when the image is closed, so that leaks are found.
 *
 * 2. Snapshots and repair build new tables beside the old ones (a new L1 and L2 tables, a new refcount table with all its
 *    blocks, a new snapshot table), flush, and switch to all of them with one write of the header's sector.
 */
#ifndef DEVICES_BLOCK_QCOW2_QCOW2_H
#define DEVICES_BLOCK_QCOW2_QCOW2_H

#include "devices/block/img.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_HEADER_V2 72u
#define QCOW2_HEADER_V3 104u            /* 112 with the compression type */
#define QCOW2_L1_BYTES_MAX (32u << 20)
#define QCOW2_REFTABLE_BYTES_MAX (8u << 20)
#define QCOW2_SNAPSHOTS_MAX 65536u

/* Incompatible features */
#define QCOW2_DIRTY BIT64(0)
#define QCOW2_CORRUPT BIT64(1)
#define QCOW2_DATA_FILE BIT64(2)
#define QCOW2_COMPRESSION BIT64(3)
#define QCOW2_EXTENDED_L2 BIT64(4)
/* Compatible and autoclear */
#define QCOW2_LAZY_REFCOUNTS BIT64(0)
#define QCOW2_BITMAPS BIT64(0)

/* L1 and L2 entries */
#define QCOW2_COPIED BIT64(63)
#define QCOW2_COMPRESSED BIT64(62)
#define QCOW2_ZERO BIT64(0)             /* standard L2 entries of version 3 */
#define QCOW2_OFFSET_MASK 0x00fffffffffffe00ull

/* The header, in host order; offsets in bytes. */
struct qcow2_header {
	uint32_t version, cluster_bits, crypt, l1_entries;
	uint64_t backing_off;
	uint32_t backing_len;
	uint64_t size, l1_off, reftable_off;
	uint32_t reftable_clusters, nsnapshots;
	uint64_t snapshots_off;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_len;
	uint8_t compression;            /* 0 zlib, 1 zstd */
};

struct qcow2_cache;
struct qcow2 {
	struct img img;                 /* first */
	pthread_mutex_t lock;           /* guards all below */
	struct qcow2_header h;
	uint32_t cluster;               /* bytes */
	unsigned l2_entry;              /* bytes: 8 or 16 */
	unsigned l2_per;                /* entries of an L2 table */
	unsigned refs_per;              /* refcounts of a refcount block */
	uint64_t *l1;                   /* host order, h.l1_entries of them */
	uint64_t *reftable;             /* host order */
	uint32_t nreftable;
	struct qcow2_cache *l2, *refs;
	struct qcow2_state *state;      /* qcow2.c's, allocation and freeing */
};

/* --- header.c --- */
/* Parses and checks a header; -EINVAL (reported) naming what is wrong, an unknown incompatible bit by its number or name. */
int qcow2_header_read(struct img *, struct qcow2_header *);
/* Writes only the fields that can change, in one write of the first sector. */
int qcow2_header_write(struct qcow2 *);

/* --- create.c --- */
/* Makes an open, empty file an image, without preallocation.  0 or -errno (reported); the file stays the caller's. */
int qcow2_format(struct bfile *, const struct img_create *);

/* --- qcow2.c; lock held, image quiet --- */
/* Writes back everything cached, flushes. */
int qcow2_write_back(struct qcow2 *);
/* Forgets caches, L1 and refcount table, reads them again as q->h says. */
int qcow2_reload(struct qcow2 *);
/* Compressed clusters: where they lie [QCOW2 "Compressed Clusters Descriptor"]. */
void qcow2_compressed_place(const struct qcow2 *, uint64_t entry, uint64_t *off, uint64_t *len);

/* --- rebuild.c: the second way --- */
/* snapshot.c, check.c: see the driver's table in qcow2.c. */
int qcow2_snap_list(struct img *, struct img_snapshot **, unsigned *n);
int qcow2_snap_create(struct img *, const char *name);
int qcow2_snap_apply(struct img *, const char *id_or_name);
int qcow2_snap_delete(struct img *, const char *id_or_name);
int qcow2_discard_all(struct img *);
int qcow2_check(struct img *, unsigned fix, struct img_check *);

#endif
