/*
 * A kernel file recognised by its own header.  loaders/ reads it; placing it is the architecture's decision.
 */
#ifndef COMMON_IMAGE_H
#define COMMON_IMAGE_H

#include <stddef.h>
#include <stdint.h>

enum image_kind {
	IMAGE_NONE,
	IMAGE_BZIMAGE,                  /* x86 Linux, 64-bit boot protocol */
	IMAGE_PVH,                      /* x86 ELF with XEN_ELFNOTE_PHYS32_ENTRY */
	IMAGE_ARM64,                    /* arm64 Linux Image, plain or gzip'd */
};

struct image_seg {
	uint64_t gpa;                   /* load address; arm64: offset from the image's base */
	const uint8_t *data;
	uint64_t len, mem_len;          /* mem_len >= len: the rest is zero */
};
#define IMAGE_SEGS_MAX 16

struct image {
	enum image_kind kind;
	const char *path;
	uint8_t *data;                  /* the file, mapped or decompressed */
	size_t len;
	size_t map_len;                 /* above 0: data is a mapping to munmap */
	struct image_seg seg[IMAGE_SEGS_MAX];
	unsigned nseg;
	uint64_t entry;                 /* PVH: 32-bit entry point; arm64: 0 */
	uint64_t text_offset, image_size;       /* arm64 header fields */
	uint8_t *initrd;                /* NULL: none */
	size_t initrd_len, initrd_map_len;
	const char *initrd_path;
};

/*
 * Opens and recognises a kernel (and initrd, which may be NULL).  `want` is the machine's architecture name; a
 * kernel of the other one is refused by name.  0 or -errno (reported in one sentence: what, why, remedy).
 */
int image_open(struct image *, const char *kernel, const char *initrd, const char *want);
/*
 * Gives the files' memory back once the guest has its copy; what was recognised, names and lengths stay.  Files are
 * opened anew for the next start: nothing is mapped while they may be rewritten, and a rebooting guest gets the
 * kernel that is there now.
 */
void image_release(struct image *);
const char *image_kind_name(enum image_kind);

#endif
