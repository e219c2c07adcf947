/*
 * A kernel file recognised by its own header.  loaders/ reads it; placing it is the architecture's decision.
 */
#ifndef COMMON_IMAGE_H
#define COMMON_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct fbsd_set;

enum image_kind {
	IMAGE_NONE,
	IMAGE_BZIMAGE,                  /* x86 Linux, 64-bit boot protocol */
	IMAGE_PVH,                      /* x86 ELF with XEN_ELFNOTE_PHYS32_ENTRY */
	IMAGE_ARM64,                    /* arm64 Linux Image, plain or gzip'd */
	IMAGE_MULTIBOOT,                /* Multiboot 1, ELF or a.out kludge */
	IMAGE_ELF_ARM64,                /* arm64 ELF without FreeBSD's marks, at its physical addresses */
	IMAGE_FREEBSD_AMD64,            /* FreeBSD kernel for its own loader protocol */
	IMAGE_FREEBSD_ARM64,
	IMAGE_RAW,                      /* no header: key entry says where it starts, load.N what is where */
	IMAGE_KINDS
};

struct image_seg {
	uint64_t gpa;                   /* load address; arm64: offset from the image's base */
	const uint8_t *data;
	uint64_t len, mem_len;          /* mem_len >= len: the rest is zero */
};
#define IMAGE_SEGS_MAX 16

/* A file of the key module.N, for protocols that hand files over as they are (PVH, Multiboot). */
struct image_module {
	const char *path;
	const char *args;               /* "" when there are none */
	char *text;                     /* owner of path and args */
	uint8_t *data;
	size_t len, map_len;
};
#define IMAGE_MODULES_MAX 16

/* A file of the key load.N: copied to an address as it is, beside any kernel. */
struct image_blob {
	const char *path;
	char *text;                     /* owner of path */
	uint64_t gpa;
	uint8_t *data;
	size_t len, map_len;
};
#define IMAGE_BLOBS_MAX 16

#define IMAGE_PATH_MAX 4096
struct image {
	enum image_kind kind;
	const char *path;
	char found[IMAGE_PATH_MAX];     /* path, when no key named the kernel */
	uint8_t *data;                  /* the file as it was when it was opened, or what it inflates to */
	size_t len;
	size_t map_len;                 /* above 0: data is a mapping to munmap */
	struct image_seg seg[IMAGE_SEGS_MAX];
	unsigned nseg;
	uint64_t entry;                 /* guest-physical address; arm64 Image: 0 */
	uint64_t text_offset, image_size;       /* arm64 header fields */
	uint8_t *initrd;                /* NULL: none */
	size_t initrd_len, initrd_map_len;
	const char *initrd_path;
	struct image_module module[IMAGE_MODULES_MAX];
	unsigned nmodules;
	struct image_blob blob[IMAGE_BLOBS_MAX];
	unsigned nblobs;
	struct fbsd_set *fbsd;          /* FreeBSD kernels: modules, environment (loaders/freebsd/freebsd.h) */
	uint32_t mb_flags;              /* Multiboot: flags of its header */
	bool opened;                    /* files are in memory: image_release() gives them back */
};

/*
 * Opens and recognises the kernel and all that the keys kernel, kernel.protocol, initrd, module.N, load.N and the
 * loader's name with it.  `want` is the machine's architecture name; a kernel of the other one is refused by name.
 * 0 or -errno (reported in one sentence: what, why, remedy).
 */
int image_open(struct image *, const struct conf *, const char *want);
/*
 * Gives the files' memory back once the guest has its copy; what was recognised, names and lengths of kernel and initrd
 * stay.  Files are opened anew for the next start: a rebooting guest gets the kernel that is there now.
 */
void image_release(struct image *);
const char *image_kind_name(enum image_kind);

#endif
