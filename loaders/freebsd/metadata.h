/*
 * Records of FreeBSD's preload metadata: a type, a length, data up to a multiple of 8 bytes [FREEBSD stand/common/modinfo.c]
 * [FREEBSD sys/sys/linker.h].
 */
#ifndef LOADERS_FREEBSD_METADATA_H
#define LOADERS_FREEBSD_METADATA_H

#include <stddef.h>
#include <stdint.h>

struct blob;

enum {
	MODINFO_END, MODINFO_NAME, MODINFO_TYPE, MODINFO_ADDR, MODINFO_SIZE, MODINFO_ARGS = 6,
	MODINFO_METADATA = 0x8000,
};
enum {
	MODINFOMD_ELFHDR = 0x0002, MODINFOMD_SSYM = 0x0003, MODINFOMD_ESYM = 0x0004, MODINFOMD_DYNAMIC = 0x0005,
	MODINFOMD_ENVP = 0x0006, MODINFOMD_HOWTO = 0x0007, MODINFOMD_KERNEND = 0x0008, MODINFOMD_SHDR = 0x0009,
	MODINFOMD_CTORS_ADDR = 0x000a, MODINFOMD_CTORS_SIZE = 0x000b,
	/* These differ by architecture [FREEBSD sys/x86/include/metadata.h] [FREEBSD sys/arm64/include/metadata.h]. */
	MODINFOMD_AMD64_SMAP = 0x1001, MODINFOMD_AMD64_MODULEP = 0x1006,
	MODINFOMD_ARM64_DTBP = 0x1002,
};

/* Appends a record; fbsd_md() one of MODINFO_METADATA. */
void fbsd_record(struct blob *, uint32_t type, const void *data, size_t len);
void fbsd_md(struct blob *, uint32_t type, const void *data, size_t len);
void fbsd_md_u64(struct blob *, uint32_t type, uint64_t value);

#endif
