/*
 * ELF kernels with a PVH entry point: a note of owner "Xen" and type XEN_ELFNOTE_PHYS32_ENTRY whose value is
 * the physical address of 32-bit code [Xen docs/misc/pvh.pandoc] [Xen public/elfnote.h].  Linux's vmlinux
 * (CONFIG_PVH), FreeBSD's kernel and small bare-metal guests have one.
 */
#include <errno.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/kelf.h"
#include "loaders/loaders.h"

#define NOTE_PHYS32_ENTRY 18

/* The entry point from one note segment; true when it is there. */
static bool note_entry(const struct kelf *e, const GElf_Phdr *ph, uint64_t *entry)
{
	Elf_Type type = ph->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
	Elf_Data *data = elf_getdata_rawchunk(e->elf, (int64_t)ph->p_offset, ph->p_filesz, type);
	size_t off = 0, name, desc;
	GElf_Nhdr nh;

	while (data && (off = gelf_getnote(data, off, &nh, &name, &desc)) > 0) {
		const uint8_t *p = data->d_buf;

		if (nh.n_type != NOTE_PHYS32_ENTRY || nh.n_namesz != 4 || memcmp(p + name, "Xen", 4) != 0)
			continue;
		if (nh.n_descsz != 4 && nh.n_descsz != 8)
			continue;
		*entry = nh.n_descsz == 8 ? get_le64(p + desc) : get_le32(p + desc);
		return true;
	}
	return false;
}

/* 1 and the entry, 0 when there is no note, or -ENOEXEC (reported). */
static int find_note(const struct image *im, const struct kelf *e, uint64_t *entry)
{
	for (size_t i = 0; i < e->nphdrs; i++) {
		GElf_Phdr ph;
		int err = kelf_phdr(im, e, i, &ph);

		if (err)
			return err;
		if (ph.p_type == PT_NOTE && note_entry(e, &ph, entry))
			return 1;
	}
	return 0;
}

static int read_kernel(struct image *im, const struct kelf *e)
{
	uint64_t entry = 0, ignored;
	bool x86 = e->eh.e_machine == EM_X86_64 || e->eh.e_machine == EM_386;
	int r = x86 ? find_note(im, e, &entry) : 0;

	if (r <= 0)
		return r;
	int err = kelf_segments(im, e, KELF_LIMIT_32, &ignored);

	if (!err && !kelf_entry_loaded(im, entry))
		err = err_msg(-ENOEXEC, "kernel '%s' has a PVH entry outside its segments: the file is damaged, get another copy",
			      im->path);
	if (err)
		return err;
	im->entry = entry;
	im->kind = IMAGE_PVH;
	return 1;
}

int pvh_probe(struct image *im)
{
	return kelf_probe(im, read_kernel);
}
