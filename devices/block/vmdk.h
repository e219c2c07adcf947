/*
 * VMDK: what its source files share.  Layout of sparse extents [VMDK-5.0 Hosted Sparse Extents], of the text that
 * describes a disk [VMDK-5.0 The Descriptor File].
 */
#ifndef DEVICES_BLOCK_VMDK_H
#define DEVICES_BLOCK_VMDK_H

#include "devices/block/blocks.h"

#define VMDK_MAGIC 0x564d444bu          /* "KDMV" */
#define VMDK_DESC_MAX MIB(1)
#define VMDK_EXTENTS_MAX 4096u
#define VMDK_GTES 512u                  /* entries of a grain table, for new images */
#define VMDK_GRAIN KIB(64)              /* of new images */
#define VMDK_NO_CID 0xffffffffu
#define VMDK_GD_AT_END UINT64_MAX
#define VMDK_EXTENT_MAX (1ull << 41)    /* bytes a sparse extent can have: sector numbers have 32 bits */

/* Sparse extent header: offsets. */
enum {
	S_VERSION = 4, S_FLAGS = 8, S_CAPACITY = 12, S_GRAIN = 20, S_DESC = 28, S_DESC_LEN = 36, S_GTES = 44, S_RGD = 48, S_GD = 56,
	S_OVERHEAD = 64, S_UNCLEAN = 72, S_NEWLINES = 73, S_COMPRESSION = 77, S_LEN = 512,
};
enum { SF_NEWLINES = 1, SF_RGD = 2, SF_ZERO_GRAIN = 4, SF_COMPRESSED = 0x10000, SF_MARKERS = 0x20000 };

enum vmdk_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO };

/* A line of the descriptor. */
struct vmdk_line {
	enum vmdk_kind kind;
	bool writable;
	uint64_t sectors, offset;       /* offset: FLAT, sectors */
	char name[256];
};

struct vmdk_desc {
	char *text;                     /* with a NUL behind */
	uint64_t at;                    /* where in the file, bytes */
	uint32_t cid, parent_cid;       /* VMDK_NO_CID: none */
	uint64_t cid_at;                /* of its digits in the file; 0: none */
	unsigned cid_digits;
	char type[64];
	char parent[1024];
	bool tracked;                   /* changes are tracked in another file */
	struct vmdk_line *line;
	unsigned n;
};

struct vmdk;

struct vmdk_extent {
	struct vmdk *v;
	enum vmdk_kind kind;
	struct bfile *file;             /* NULL: ZERO */
	uint64_t start, len;            /* of the disk, bytes */
	uint64_t file_off;              /* FLAT */
	struct blocks b;                /* SPARSE, from here */
	uint32_t *gd, *rgd;             /* sectors of grain tables, host order; rgd NULL: there is none */
	uint32_t ngd, gtes;
	bool compressed, markers, zero_grain;
};

struct vmdk {
	struct img img;                 /* first */
	struct vmdk_extent *ext;        /* in the order of the disk, without gaps */
	unsigned n;
	struct vmdk_desc desc;
	bool has_desc;
	bool begun;                     /* the file has a new CID; atomic */
	pthread_mutex_t begin_lock, z_lock;
	uint8_t *z_grain;               /* the grain decompressed last; z_lock, as the next two */
	const struct vmdk_extent *z_ext;
	uint32_t z_i;
};

/* --- vmdk_desc.c --- */

/* Reads and parses `len` bytes at `at`.  0 or -errno (reported). */
int vmdk_desc_read(struct vmdk_desc *, struct bfile *, uint64_t at, uint64_t len);
void vmdk_desc_free(struct vmdk_desc *);
/* Does it look like one? */
bool vmdk_desc_probe(const uint8_t *head, size_t len);
/* Another CID in the file, durable.  0 or -errno. */
int vmdk_desc_new_cid(struct vmdk_desc *, struct bfile *);

/* --- vmdk_sparse.c --- */

/* e->file's header; fills all of e but start.  sectors 0: as many as the header says.  0 or -errno (reported). */
int vmdk_sparse_open(struct vmdk_extent *, uint64_t sectors, uint64_t *desc_at, uint64_t *desc_len);
void vmdk_sparse_close(struct vmdk_extent *);

/* --- vmdk_stream.c: compressed extents --- */

int vmdk_stream_read(struct vmdk_extent *, uint64_t off, const struct iovec *, unsigned niov);
int vmdk_stream_write(struct vmdk_extent *, uint64_t off, const struct iovec *, unsigned niov);
int vmdk_stream_zero(struct vmdk_extent *, uint64_t off, uint64_t len);

/* --- vmdk_create.c --- */

int vmdk_create(const struct img_create *);

#endif
