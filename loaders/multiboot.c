/*
 * Multiboot kernels [MULTIBOOT 3.1]: a header in the first 8192 bytes, and either a 32-bit ELF file or the header's own
 * address fields (the "a.out kludge").  Where both are there, the address fields count [MULTIBOOT 3.1.3].
 */
#include <errno.h>
#include <inttypes.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/kelf.h"
#include "loaders/loaders.h"
#include "loaders/multiboot.h"

static int refuse(const struct image *im, const char *why)
{
	return err_msg(-ENOEXEC, "kernel '%s' %s", im->path, why);
}

/* Offset of the header; false: there is none. */
static bool find_header(const struct image *im, size_t *off)
{
	const uint8_t *p = im->data;
	size_t end = MIN(im->len, (size_t)MB_SEARCH);

	for (size_t i = 0; i + MB_HEADER_LEN <= end; i += 4) {
		if (get_le32(p + i) != MB_HEADER_MAGIC)
			continue;
		if (get_le32(p + i) + get_le32(p + i + MB_FLAGS) + get_le32(p + i + MB_CHECKSUM) != 0)
			continue;
		*off = i;
		return true;
	}
	return false;
}

/* Bits 0 to 15 are demands: what is not understood must be refused. */
static int check_flags(const struct image *im, uint32_t flags)
{
	uint32_t unknown = flags & MB_REQUIRED & ~(MB_PAGE_ALIGN | MB_MEMORY_INFO | MB_VIDEO_MODE);

	if (unknown)
		return err_msg(-ENOEXEC, "kernel '%s' demands what its Multiboot flag %u stands for, and version 0.6.96 has no such "
			       "flag: build it without", im->path, (unsigned)__builtin_ctz(unknown));
	if (flags & MB_VIDEO_MODE)
		return refuse(im, "demands a video mode (Multiboot flag 2), and this machine has no display: build it "
				  "without that flag");
	return 0;
}

static int read_addresses(struct image *im, size_t off)
{
	const uint8_t *h = im->data + off;

	if (off + MB_ADDRESSES_LEN > im->len)
		return refuse(im, "is cut off inside its Multiboot header: get a complete copy");
	uint64_t header = get_le32(h + MB_HEADER_ADDR), load = get_le32(h + MB_LOAD_ADDR), entry = get_le32(h + MB_ENTRY_ADDR);
	uint64_t load_end = get_le32(h + MB_LOAD_END_ADDR), bss_end = get_le32(h + MB_BSS_END_ADDR);

	if (load > header || header - load > off)
		return refuse(im, "has a Multiboot header whose load address lies before the file's first byte: it is "
				  "damaged, build it anew");
	uint64_t skip = off - (header - load), len = load_end ? load_end - load : im->len - skip;

	if (load_end && load_end <= load)
		return refuse(im, "has a Multiboot header whose load addresses end before they begin: it is damaged, "
				  "build it anew");
	if (len > im->len - skip)
		return err_msg(-ENOEXEC, "kernel '%s' is cut off: its Multiboot header promises %" PRIu64 " bytes and the file has "
			       "%" PRIu64 "; get a complete copy", im->path, len, (uint64_t)im->len - skip);
	if (bss_end && bss_end < load + len)
		return refuse(im, "has a Multiboot header whose cleared memory ends inside the kernel: it is damaged, "
				  "build it anew");
	if (MAX(bss_end, load + len) > KELF_LIMIT_32)
		return refuse(im, "reaches beyond 4 GiB, where its 32-bit entry sees nothing: link it lower");
	im->nseg = 1;
	im->seg[0] = (struct image_seg){
		.gpa = load, .data = im->data + skip, .len = len, .mem_len = MAX(bss_end, load + len) - load,
	};
	im->entry = entry;
	return 0;
}

static int read_elf(struct image *im)
{
	struct kelf e;
	int err = kelf_begin(im, &e);

	if (err)
		return err;
	if (e.wide)
		err = refuse(im, "is a 64-bit ELF file with a Multiboot header, and Multiboot is for 32-bit ones: convert it with "
				 "'objcopy -O elf32-i386'");
	else if (im->data[EI_DATA] != ELFDATA2LSB || e.eh.e_machine != EM_386)
		err = refuse(im, "is an ELF file of another architecture with a Multiboot header: build it for i386");
	else
		err = kelf_segments(im, &e, KELF_LIMIT_32, &im->entry);
	kelf_finish(&e);
	return err;
}

int multiboot_probe(struct image *im)
{
	size_t off;
	int err;

	if (!find_header(im, &off))
		return 0;
	uint32_t flags = get_le32(im->data + off + MB_FLAGS);

	err = check_flags(im, flags);
	if (!err && (flags & MB_ADDRESSES))
		err = read_addresses(im, off);
	else if (!err && kelf_is(im))
		err = read_elf(im);
	else if (!err)
		err = refuse(im, "has a Multiboot header without address fields (flag 16) and is no ELF file: link it as "
				 "32-bit ELF");
	if (!err && !kelf_entry_loaded(im, im->entry))
		err = refuse(im, "has its Multiboot entry outside what is loaded: it is damaged, build it anew");
	if (err)
		return err;
	im->mb_flags = flags;
	im->kind = IMAGE_MULTIBOOT;
	return 1;
}
