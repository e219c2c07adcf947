/*
 * Linux bzImage for the 64-bit boot protocol [Linux x86 boot protocol 2.15].  Header fields are read here as
 * far as recognising and refusing go; placing the kernel is arch/x86/boot.c's.
 */
#include <errno.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/bzimage.h"
#include "loaders/loaders.h"

#define SECTOR 512
#define SETUP_SECTS_DEFAULT 4           /* what 0 stands for */
#define INIT_SIZE_MAX GIB(1)            /* no kernel comes near; a larger figure is a broken file */

static int refuse_protocol(const struct image *im, unsigned version)
{
	return err_msg(-ENOEXEC, "kernel '%s' speaks boot protocol %u.%u, and 2.12 is the least with a 64-bit entry: "
		       "give a 64-bit kernel of Linux 3.8 or later", im->path, version >> 8, version & 0xff);
}

static int check_header(const struct image *im)
{
	const uint8_t *h = im->data;
	unsigned version = get_le16(h + HDR_VERSION);

	if (version < HDR_VERSION_MIN)
		return refuse_protocol(im, version);
	if (im->len < HDR_MIN_LEN)
		return err_msg(-ENOEXEC, "kernel '%s' is cut off inside its header: get a complete copy", im->path);
	if (!(get_le16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return err_msg(-ENOEXEC, "kernel '%s' has no 64-bit entry point: give a 64-bit (amd64) kernel", im->path);
	if (get_le32(h + HDR_INIT_SIZE) > INIT_SIZE_MAX)
		return err_msg(-ENOEXEC, "kernel '%s' claims to need %u MiB to start: the file is damaged, get another copy",
			       im->path, get_le32(h + HDR_INIT_SIZE) >> 20);
	return 0;
}

int bzimage_probe(struct image *im)
{
	const uint8_t *h = im->data;

	if (im->len < HDR_VERSION + 2 || get_le16(h + HDR_BOOT_FLAG) != HDR_BOOT_FLAG_VALUE ||
	    get_le32(h + HDR_MAGIC) != HDR_MAGIC_VALUE)
		return 0;
	int err = check_header(im);

	if (err)
		return err;
	unsigned sects = h[HDR_SETUP_SECTS] ? h[HDR_SETUP_SECTS] : SETUP_SECTS_DEFAULT;
	uint64_t setup = (uint64_t)(sects + 1) * SECTOR, size = (uint64_t)get_le32(h + HDR_SYSSIZE) * 16;

	/* syssize counts whole paragraphs; the file may end inside the last one. */
	if (size <= ENTRY64_OFFSET || setup + size > ALIGN_UP((uint64_t)im->len, 16))
		return err_msg(-ENOEXEC, "kernel '%s' is cut off: its header promises %llu bytes and the file has %zu; "
			       "get a complete copy", im->path, (unsigned long long)(setup + size), im->len);
	im->kind = IMAGE_BZIMAGE;
	im->nseg = 1;
	im->seg[0] = (struct image_seg){
		.gpa = get_le64(h + HDR_PREF_ADDRESS), .data = h + setup, .len = MIN(size, im->len - setup),
	};
	im->seg[0].mem_len = MAX(im->seg[0].len, (uint64_t)get_le32(h + HDR_INIT_SIZE));
	return 1;
}
