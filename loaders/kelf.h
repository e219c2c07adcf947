/*
 * What the readers of ELF kernels share.  The file's bytes are untrusted.
 */
#ifndef LOADERS_KELF_H
#define LOADERS_KELF_H

#include <elf.h>
#include <gelf.h>
#include <libelf.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/util.h"

struct image;

struct kelf {
	Elf *elf;
	GElf_Ehdr eh;
	bool wide;                      /* 64-bit */
	size_t nphdrs;
};
#define KELF_LIMIT_32 GIB(4)             /* a 32-bit entry sees no more */
#define KELF_LIMIT_64 BIT64(48)

/* Has it ELF's magic? */
bool kelf_is(const struct image *);
/* Reads the header of a file that kelf_is().  0, then kelf_finish() is due; or -ENOEXEC (reported). */
int kelf_begin(const struct image *, struct kelf *);
void kelf_finish(struct kelf *);
/*
 * The frame of a probe: read() for an open little-endian ELF file.  What read() says, 0 when the file is not ELF or big-endian,
 * or -ENOEXEC (reported).
 */
int kelf_probe(struct image *, int (*read)(struct image *, const struct kelf *));
/* Program header i; PT_LOAD and PT_NOTE are inside the file.  0 or -ENOEXEC (reported). */
int kelf_phdr(const struct image *, const struct kelf *, size_t i, GElf_Phdr *);
/*
 * Fills im->seg from the PT_LOAD headers, which end below `limit` and do not overlap, and the physical address of
 * e_entry.  0 or -ENOEXEC (reported).
 */
int kelf_segments(struct image *, const struct kelf *, uint64_t limit, uint64_t *entry);
/* Does a segment hold bytes of the file at that address? */
bool kelf_entry_loaded(const struct image *, uint64_t entry);

#endif
