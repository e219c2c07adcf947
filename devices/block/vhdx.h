/*
 * VHDX: layout [MS-VHDX 2], and what its source files share.
 */
#ifndef DEVICES_BLOCK_VHDX_H
#define DEVICES_BLOCK_VHDX_H

#include "devices/block/blocks.h"

#define VHDX_HEADER KIB(4)
#define VHDX_HEADER_AT(i) KIB(64 * ((i) + 1))
#define VHDX_REGIONS KIB(64)
#define VHDX_REGIONS_AT(i) KIB(192 + 64 * (i))
#define VHDX_REGIONS_MAX 2047u
#define VHDX_META_TABLE KIB(64)
#define VHDX_SIZE_MAX (1ull << 46)      /* 64 TiB */
#define VHDX_LOG_MAX MIB(64)            /* larger logs are not read */

/* Header [MS-VHDX 2.2.2], region table [2.2.3], their entries, metadata table [2.6.1]: offsets. */
enum {
	VH_SUM = 4, VH_SEQ = 8, VH_FILE_GUID = 16, VH_DATA_GUID = 32, VH_LOG_GUID = 48, VH_LOG_VERSION = 64, VH_VERSION = 66,
	VH_LOG_LEN = 68, VH_LOG_OFF = 72,
	VR_COUNT = 8, VR_ENTRIES = 16, VR_OFF = 16, VR_LEN = 24, VR_REQUIRED = 28,
	VM_COUNT = 10, VM_ENTRIES = 32, VM_OFF = 16, VM_LEN = 20, VM_FLAGS = 24,
	VX_ENTRY = 32,                  /* bytes, of all three tables */
};
enum { VM_FLAG_VIRTUAL_DISK = 2, VM_FLAG_REQUIRED = 4 };
enum { VP_LEAVE_ALLOCATED = 1, VP_HAS_PARENT = 2 };
/* Of payload blocks [MS-VHDX 2.5.1.1]; 5: unmapped, in files older than the specification's first edition. */
enum { VB_NOT_PRESENT, VB_UNDEFINED, VB_ZERO, VB_UNMAPPED, VB_UNMAPPED_OLD = 5, VB_PRESENT, VB_PARTIAL };

extern const uint8_t vhdx_guid_bat[16], vhdx_guid_meta[16], vhdx_guid_params[16], vhdx_guid_size[16], vhdx_guid_page83[16],
	vhdx_guid_logical[16], vhdx_guid_physical[16], vhdx_guid_parent[16];

/* What the log says is in the file. */
struct vhdx_patch {
	uint64_t off, len;
	const uint8_t *data;            /* NULL: zeroes */
};

struct vhdx {
	struct img img;                 /* first */
	struct blocks b;
	uint64_t file_size;             /* as it will be when the log has been replayed */
	uint8_t header[VHDX_HEADER];    /* the current one */
	unsigned header_i;              /* 0 or 1: which that is */
	bool begun;                     /* the file says that it is being changed; atomic */
	pthread_mutex_t begin_lock;
	struct vhdx_patch *patch;
	uint32_t npatch;
	uint8_t *patch_data;
	uint64_t bat_off, meta_off, used_end;   /* of regions and log */
	uint32_t bat_len, meta_len, block, sector, flags;
};

/* CRC-32C [MS-VHDX 2.2.2 Checksum] of len bytes, those of the sum at sum_at counting as zeroes. */
uint32_t vhdx_crc(const uint8_t *, size_t len, size_t sum_at);
/* Reads the log; *patches are what it holds.  0 or -errno (reported). */
int vhdx_log_read(struct vhdx *);
/* File contents with what the log adds. */
int vhdx_read(struct vhdx *, uint64_t off, void *buf, size_t len);
int vhdx_create(const struct img_create *);

#endif
