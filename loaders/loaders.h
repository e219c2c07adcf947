/*
 * What image.c and the readers of kernel formats share.
 */
#ifndef LOADERS_LOADERS_H
#define LOADERS_LOADERS_H

#include <stddef.h>
#include <stdint.h>

#include "common/util.h"

struct image;

/*
 * Probes: img->data, img->len and img->path are set; on recognition they fill kind, segments and the fields their
 * kind has.  1 recognised, 0 not mine, -errno refused (reported).  The file's bytes are untrusted.
 */
int bzimage_probe(struct image *);
int pvh_probe(struct image *);
int multiboot_probe(struct image *);
int elf_arm64_probe(struct image *);
int fbsd_probe(struct image *);                 /* loaders/freebsd/probe.c: kernels of either architecture */
int arm64_image_probe(struct image *);          /* plain, or wrapped for EFI with gzip ("zboot") */

/*
 * Finds what the file at im->data is for and reads it: `protocol` is a value of key kernel.protocol.  Inflates it first where
 * it is gzip'd.  0 or -errno (reported).
 */
int image_recognise(struct image *, const char *protocol);

/* Replaces gzip'd data by what it inflates to.  Call before the probes.  0 or -errno (reported). */
int image_gunzip(struct image *);

#define GUNZIP_MAX MIB(512)
/* Inflates one gzip member; *out is a mapping of *out_len bytes, the caller's to munmap.  0 or -errno (reported). */
int gunzip(const char *path, const uint8_t *in, size_t in_len, uint8_t **out, size_t *out_len);
/* Gives up the image's data for a mapping of len bytes. */
void image_replace(struct image *, uint8_t *data, size_t len);

#endif
