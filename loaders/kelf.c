/*
 * ELF files as boot protocols take them [ELF]: program headers only, segments at their physical addresses.  Symbols and
 * sections are for debuggers, and for protocols that ask for them.
 */
#include "loaders/kelf.h"

#include <errno.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"

#define PHDRS_MAX 128                   /* kernels have a handful */

static int refuse(const struct image *im, const char *why)
{
	return err_msg(-ENOEXEC, "kernel '%s' %s", im->path, why);
}

bool kelf_is(const struct image *im)
{
	return im->len >= EI_NIDENT && memcmp(im->data, ELFMAG, SELFMAG) == 0;
}

int kelf_begin(const struct image *im, struct kelf *e)
{
	const uint8_t *p = im->data;

	*e = (struct kelf){ .wide = im->len > EI_CLASS && p[EI_CLASS] == ELFCLASS64 };
	if (im->len < sizeof(Elf32_Ehdr) || (e->wide && im->len < sizeof(Elf64_Ehdr)))
		return refuse(im, "is cut off inside its ELF header: get a complete copy");
	elf_version(EV_CURRENT);
	e->elf = elf_memory((char *)im->data, im->len);
	if (!e->elf || elf_kind(e->elf) != ELF_K_ELF || !gelf_getehdr(e->elf, &e->eh)) {
		kelf_finish(e);
		return refuse(im, "has an ELF header libelf does not accept: get another copy");
	}
	if (e->eh.e_phnum && e->eh.e_phnum <= PHDRS_MAX &&
	    (e->eh.e_phoff > im->len || (uint64_t)e->eh.e_phnum * e->eh.e_phentsize > im->len - e->eh.e_phoff)) {
		kelf_finish(e);
		return refuse(im, "is cut off: its program headers lie beyond the end of the file; get a complete copy");
	}
	if (elf_getphdrnum(e->elf, &e->nphdrs) < 0 || e->nphdrs == 0 || e->nphdrs > PHDRS_MAX) {
		kelf_finish(e);
		return refuse(im, "has no program headers skep can use: give a linked kernel, not an object file");
	}
	return 0;
}

void kelf_finish(struct kelf *e)
{
	elf_end(e->elf);
	e->elf = NULL;
}

int kelf_probe(struct image *im, int (*read)(struct image *, const struct kelf *))
{
	struct kelf e;

	if (!kelf_is(im))
		return 0;
	int r = kelf_begin(im, &e);

	if (r)
		return r;
	if (im->data[EI_DATA] == ELFDATA2LSB)
		r = read(im, &e);
	kelf_finish(&e);
	return r;
}

int kelf_phdr(const struct image *im, const struct kelf *e, size_t i, GElf_Phdr *ph)
{
	if (!gelf_getphdr(e->elf, (int)i, ph))
		return refuse(im, "has a broken program header table: get another copy");
	if (ph->p_type != PT_LOAD && ph->p_type != PT_NOTE)
		return 0;
	if (ph->p_offset > im->len || ph->p_filesz > im->len - ph->p_offset)
		return refuse(im, "is cut off: a segment lies beyond the end of the file; get a complete copy");
	return 0;
}

static int add_segment(struct image *im, const GElf_Phdr *ph, uint64_t limit)
{
	if (ph->p_memsz == 0)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return refuse(im, "has a segment that is larger in the file than in memory: get another copy");
	if (ph->p_paddr >= limit || ph->p_memsz > limit - ph->p_paddr)
		return limit == KELF_LIMIT_32 ?
			refuse(im, "has a segment beyond 4 GiB, which its 32-bit entry cannot reach: link it lower") :
			refuse(im, "has a segment at an address no machine has, as Linux's vmlinux for arm64: give its Image, or link it "
				   "with physical addresses");
	if (im->nseg == IMAGE_SEGS_MAX)
		return refuse(im, "has more loadable segments than skep takes (16): link it with fewer");
	for (unsigned i = 0; i < im->nseg; i++) {
		if (ranges_overlap(im->seg[i].gpa, im->seg[i].mem_len, ph->p_paddr, ph->p_memsz))
			return refuse(im, "has segments that overlap in memory: the file is damaged, get another copy");
	}
	im->seg[im->nseg++] = (struct image_seg){
		.gpa = ph->p_paddr, .data = im->data + ph->p_offset, .len = ph->p_filesz, .mem_len = ph->p_memsz,
	};
	return 0;
}

/* e_entry is a virtual address where the segments have such; some linkers leave the physical one. */
static void find_entry(const GElf_Phdr *ph, uint64_t at, bool *found, uint64_t *entry)
{
	if (*found || at < ph->p_vaddr || at - ph->p_vaddr >= ph->p_filesz)
		return;
	*found = true;
	*entry = at - ph->p_vaddr + ph->p_paddr;
}

int kelf_segments(struct image *im, const struct kelf *e, uint64_t limit, uint64_t *entry)
{
	bool found = false;

	im->nseg = 0;
	*entry = e->eh.e_entry;
	for (size_t i = 0; i < e->nphdrs; i++) {
		GElf_Phdr ph;
		int err = kelf_phdr(im, e, i, &ph);

		if (!err && ph.p_type == PT_LOAD) {
			find_entry(&ph, e->eh.e_entry, &found, entry);
			err = add_segment(im, &ph, limit);
		}
		if (err)
			return err;
	}
	if (im->nseg == 0)
		return refuse(im, "has no loadable segments: give a linked kernel");
	return 0;
}

bool kelf_entry_loaded(const struct image *im, uint64_t entry)
{
	for (unsigned i = 0; i < im->nseg; i++) {
		if (entry >= im->seg[i].gpa && entry - im->seg[i].gpa < im->seg[i].len)
			return true;
	}
	return false;
}
