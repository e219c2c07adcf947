/*
 * FreeBSD kernels, recognised by their marks: EI_OSABI, or the interpreter no other system's kernel has, with an entry in the
 * upper half of the address space.
 */
#include <elf.h>
#include <errno.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"
#include "loaders/loaders.h"

#define INTERP "/red/herring"

static int refuse(const struct image *im, const char *why)
{
	return err_msg(-ENOEXEC, "kernel '%s' %s", im->path, why);
}

/* Has it an interpreter of that name?  What is outside the file counts as none. */
static bool has_interp(const struct image *im, const Elf64_Ehdr *eh, const char *name)
{
	size_t len = strlen(name) + 1;

	for (unsigned i = 0; i < eh->e_phnum && eh->e_phentsize == sizeof(Elf64_Phdr); i++) {
		Elf64_Phdr ph;

		if (eh->e_phoff > im->len || (i + 1) * sizeof(ph) > im->len - eh->e_phoff)
			return false;
		memcpy(&ph, im->data + eh->e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_type == PT_INTERP && ph.p_filesz == len && ph.p_offset <= im->len && len <= im->len - ph.p_offset &&
		    memcmp(im->data + ph.p_offset, name, len) == 0)
			return true;
	}
	return false;
}

int fbsd_probe(struct image *im)
{
	uint64_t lowest, entry;
	uint16_t machine;
	Elf64_Ehdr eh;

	if (im->len < sizeof(eh) || memcmp(im->data, ELFMAG, SELFMAG) != 0)
		return 0;
	memcpy(&eh, im->data, sizeof(eh));
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != ELFDATA2LSB ||
	    (eh.e_machine != EM_X86_64 && eh.e_machine != EM_AARCH64))
		return 0;
	if (eh.e_ident[EI_OSABI] != ELFOSABI_FREEBSD && !has_interp(im, &eh, INTERP))
		return 0;
	if (eh.e_type == ET_REL || (eh.e_type == ET_DYN && eh.e_entry == 0))
		return refuse(im, "is a FreeBSD kernel module: give the kernel with --kernel and this one with --module");
	if ((eh.e_type != ET_EXEC && eh.e_type != ET_DYN) || eh.e_entry >> 63 == 0)
		return refuse(im, "is a FreeBSD program, not a kernel: give /boot/kernel/kernel");
	struct fbsd_file f = { .host = (char *)im->path, .type = FBSD_TYPE_KERNEL, .data = im->data, .len = im->len };
	int err = fbsd_kernel_span(&f, &lowest, &entry, &machine);

	if (err)
		return err;
	im->kind = machine == EM_X86_64 ? IMAGE_FREEBSD_AMD64 : IMAGE_FREEBSD_ARM64;
	return 1;
}
