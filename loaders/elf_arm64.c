/*
 * arm64 ELF kernels without another protocol's marks: segments at their physical addresses, entered as a Linux Image is
 * [LINUX-ARM64-BOOT 4], with the device tree in x0.
 */
#include <errno.h>

#include "common/image.h"
#include "common/log.h"
#include "loaders/kelf.h"
#include "loaders/loaders.h"

static int read_kernel(struct image *im, const struct kelf *e)
{
	uint64_t entry;
	int err;

	if (!e->wide || e->eh.e_machine != EM_AARCH64)
		return 0;
	if (e->eh.e_type != ET_EXEC && e->eh.e_type != ET_DYN)
		return err_msg(-ENOEXEC, "kernel '%s' is an arm64 object file: link it first", im->path);
	err = kelf_segments(im, e, KELF_LIMIT_64, &entry);
	if (!err && (!kelf_entry_loaded(im, entry) || entry % 4))
		err = err_msg(-ENOEXEC, "kernel '%s' has an entry point outside its segments: link it with one (ENTRY in its "
			      "linker script)", im->path);
	if (err)
		return err;
	im->entry = entry;
	im->kind = IMAGE_ELF_ARM64;
	return 1;
}

int elf_arm64_probe(struct image *im)
{
	return kelf_probe(im, read_kernel);
}
