/*
 * ELF kernels with a PVH entry point: a note of owner "Xen" and type XEN_ELFNOTE_PHYS32_ENTRY whose value is
 * the physical address of 32-bit code [Xen docs/misc/pvh.pandoc] [Xen public/elfnote.h].  Linux's vmlinux
 * (CONFIG_PVH), FreeBSD's kernel and small bare-metal guests have one.
 */
#include <elf.h>
#include <errno.h>
#include <gelf.h>
#include <libelf.h>

#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/loaders.h"

#define NOTE_PHYS32_ENTRY 18
#define PHDRS_MAX 128                   /* kernels have a handful */
#define LOAD_END GIB(4)                 /* a 32-bit entry sees no more */

static int refuse(const struct image *im, const char *why)
{
	return err_msg(-ENOEXEC, "kernel '%s' %s", im->path, why);
}

/* The entry point from one note segment; true when it is there. */
static bool find_entry(Elf *elf, const GElf_Phdr *ph, uint64_t *entry)
{
	Elf_Type type = ph->p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR;
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)ph->p_offset, ph->p_filesz, type);
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

static int add_segment(struct image *im, const GElf_Phdr *ph)
{
	if (ph->p_memsz == 0)
		return 0;
	if (ph->p_filesz > ph->p_memsz || ph->p_paddr >= LOAD_END || ph->p_memsz > LOAD_END - ph->p_paddr)
		return refuse(im, "has a segment beyond 4 GiB, or larger in the file than in memory: get another copy");
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

static int read_phdrs(struct image *im, Elf *elf, size_t n, bool *has_entry)
{
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;
		int err = 0;

		if (!gelf_getphdr(elf, (int)i, &ph))
			return refuse(im, "has a broken program header table: get another copy");
		if (ph.p_type != PT_LOAD && ph.p_type != PT_NOTE)
			continue;
		if (ph.p_offset > im->len || ph.p_filesz > im->len - ph.p_offset)
			return refuse(im, "is cut off: a segment lies beyond the end of the file; get a complete copy");
		if (ph.p_type == PT_LOAD)
			err = add_segment(im, &ph);
		else if (!*has_entry)
			*has_entry = find_entry(elf, &ph, &im->entry);
		if (err)
			return err;
	}
	return 0;
}

static bool entry_is_loaded(const struct image *im)
{
	for (unsigned i = 0; i < im->nseg; i++) {
		if (im->entry - im->seg[i].gpa < im->seg[i].len)
			return true;
	}
	return false;
}

static int read_elf(struct image *im, Elf *elf)
{
	bool has_entry = false;
	size_t n;

	if (elf_getphdrnum(elf, &n) < 0 || n == 0 || n > PHDRS_MAX)
		return refuse(im, "has no program headers skep can use: give a linked kernel, not an object file");
	int err = read_phdrs(im, elf, n, &has_entry);

	if (err)
		return err;
	if (!has_entry)
		return refuse(im, "is an ELF file without a PVH entry note: give a bzImage, or a kernel built with CONFIG_PVH");
	if (!entry_is_loaded(im))
		return refuse(im, "has a PVH entry outside its segments: the file is damaged, get another copy");
	return 0;
}

int pvh_probe(struct image *im)
{
	const uint8_t *e = im->data;

	if (im->len < EI_NIDENT || memcmp(e, ELFMAG, SELFMAG) != 0)
		return 0;
	if (im->len < sizeof(Elf32_Ehdr) || (e[EI_CLASS] == ELFCLASS64 && im->len < sizeof(Elf64_Ehdr)))
		return refuse(im, "is cut off inside its ELF header: get a complete copy");
	uint16_t machine = get_le16(e + offsetof(Elf64_Ehdr, e_machine));

	if (e[EI_DATA] == ELFDATA2LSB && machine == EM_AARCH64)
		return refuse(im, "is an arm64 ELF file: give that kernel's Image on arm64, or an x86 kernel on x86");
	if (e[EI_DATA] != ELFDATA2LSB || (machine != EM_X86_64 && machine != EM_386))
		return refuse(im, "is an ELF file of another architecture: give a kernel for x86 or arm64");
	elf_version(EV_CURRENT);
	Elf *elf = elf_memory((char *)im->data, im->len);

	if (!elf || elf_kind(elf) != ELF_K_ELF) {
		elf_end(elf);
		return refuse(im, "has an ELF header libelf does not accept: get another copy");
	}
	im->nseg = 0;
	int err = read_elf(im, elf);

	elf_end(elf);
	if (err)
		return err;
	im->kind = IMAGE_PVH;
	return 1;
}
