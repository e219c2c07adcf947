/*
 * Private to scan.c, rebuild.c, snapshot.c and check.c: counting the references to every cluster of the file, and
 * building new metadata from the result.  All with the lock held and the image quiet, caches written back.
 *
 * Memory: QCOW2_SCAN_BYTES a cluster of the file, most of it never touched in sparse files; QCOW2_SCAN_MAX bounds it.
 */
#ifndef DEVICES_BLOCK_QCOW2_SCAN_H
#define DEVICES_BLOCK_QCOW2_SCAN_H

#include "devices/block/qcow2/state.h"

#define QCOW2_SCAN_MAX (1ull << 28)     /* clusters of the file: 16 TiB with clusters of 64 KiB */
#define QCOW2_SNAPSHOT_BYTES_MAX (64u << 20)

/* A row of the snapshot table, as it is in the file; only its L1 table may be moved. */
struct qcow2_snap {
	uint8_t *row;                   /* without the padding */
	uint32_t len;                   /* bytes */
	uint64_t l1_off;
	uint32_t l1_entries;
	bool bad;                       /* its L1 table cannot be where the row says */
};

struct qcow2_snaps {
	struct qcow2_snap *s;
	uint32_t n;
	uint64_t table_bytes;           /* in the file */
};

/* What is known of a cluster */
enum {
	SCAN_META = 1,                  /* header, L1 tables, snapshot table: nothing else may lie here */
	SCAN_OLD = 2,                   /* the state in the file uses it, or its refcounts say so: not to be written */
	SCAN_ONE = 4,                   /* its refcount in the file is 1 */
	SCAN_SEEN = 8,                  /* an L2 table that has been dealt with */
	SCAN_MENDED = 16,               /* an L2 table with entries that were cleared or corrected */
};

struct qcow2_scan {
	struct qcow2 *q;
	uint64_t file_size;             /* bytes */
	uint64_t n, cap;                /* clusters: of file and new tables; that the arrays have room for */
	uint32_t *refs;                 /* references found; UINT32_MAX: at least as many */
	uint32_t *l2refs;               /* of these, as an L2 table */
	uint32_t *moved;                /* an L2 table's new cluster; 0: stays */
	uint8_t *kind;
	uint64_t next;                  /* where to look for a free cluster */
	struct img_check res;           /* what was found wrong */
	unsigned said;                  /* sentences about it */
	bool tell, mending;             /* say it; and that it is being put right */
	uint8_t *l2;                    /* a cluster's buffer */
};

/* One L2 entry, taken apart */
struct qcow2_ref {
	enum { QCOW2_REF_NONE, QCOW2_REF_DATA, QCOW2_REF_COMPRESSED } kind;
	uint64_t off, len;              /* bytes in the file */
	uint64_t entry, bitmap;         /* what should be there instead, COPIED aside: the same when nothing is wrong */
	const char *wrong;              /* NULL: nothing */
};

/* --- scan.c --- */
/* 0 or -errno (reported); the arrays are to be freed with qcow2_scan_fini() in any case. */
int qcow2_scan_init(struct qcow2_scan *, struct qcow2 *);
void qcow2_scan_fini(struct qcow2_scan *);
/* Room for cluster idx.  0, -EFBIG or -ENOMEM (reported). */
int qcow2_scan_grow(struct qcow2_scan *, uint64_t idx);
/* Counts one more reference to each cluster of the range; false: it is not in the file. */
bool qcow2_scan_add(struct qcow2_scan *, uint64_t off, uint64_t len, uint32_t times);
/* Bytes the file may hold at off, len being what is wanted there: the last cluster may be incomplete. */
bool qcow2_scan_inside(const struct qcow2_scan *, uint64_t off, uint64_t len);
void qcow2_scan_entry(const struct qcow2_scan *, uint64_t entry, uint64_t bitmap, struct qcow2_ref *);
/* The L2 table's offset, 0 when there is none or it cannot be one (then *wrong says why). */
uint64_t qcow2_scan_l1_entry(const struct qcow2_scan *, uint64_t entry, const char **wrong);
/*
 * Counts, from nothing, references of the header, the snapshots' L1 tables, all L2 tables, data and bitmaps; not those
 * of what a rebuild makes anew.  l1: the active table in host order.  first: counts what is wrong in ->res.
 */
int qcow2_scan_state(struct qcow2_scan *, const uint64_t *l1, uint32_t l1_entries, const struct qcow2_snaps *, bool first);
/* The whole state in the file, refcount structures included, compared with its refcounts. */
int qcow2_scan_file(struct qcow2_scan *, const struct qcow2_snaps *);
/* A snapshot's L1 table in host order, from malloc(). */
int qcow2_scan_snap_l1(struct qcow2_scan *, const struct qcow2_snap *, uint64_t **l1);
int qcow2_scan_l2(struct qcow2_scan *, uint64_t idx);    /* reads the table into ->l2 */
void qcow2_scan_say(struct qcow2_scan *, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* --- snapshot.c --- */
int qcow2_snaps_load(struct qcow2 *, struct qcow2_snaps *);
void qcow2_snaps_free(struct qcow2_snaps *);
/* The table's bytes from malloc(). */
uint8_t *qcow2_snaps_pack(const struct qcow2 *, const struct qcow2_snaps *, uint64_t *len);

/* --- rebuild.c --- */
struct qcow2_next {
	uint64_t *l1;                   /* the new active L1 table: L2 offsets; changed while it is worked on */
	uint32_t l1_entries;
	uint64_t size;                  /* of the disk, bytes */
	struct qcow2_snaps *snaps;
	uint64_t incompatible;
	bool mend;                      /* L1 and L2 entries may have to be corrected, in snapshots too */
};
/*
 * Makes `next` the state of the file: the scan has seen the old one.  0 or -errno (reported): the old state is in force,
 * or the image is broken when that cannot be told.
 */
int qcow2_rebuild(struct qcow2_scan *, struct qcow2_next *);

#endif
