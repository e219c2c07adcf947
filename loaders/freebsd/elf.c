/*
 * ELF files where FreeBSD's loader puts them: segments at their addresses and symbols behind them [FREEBSD
 * stand/common/load_elf.c], relocatable modules section by section [FREEBSD stand/common/load_elf_obj.c].  Nothing is relocated:
 * the kernel's linker does that.
 *
 * Headers go to the guest byte for byte, so they are read here as they are in the file, little-endian as both hosts are.
 */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#include "common/image.h"
#include "common/log.h"
#include "loaders/freebsd/freebsd.h"
#include "loaders/freebsd/metadata.h"

#define PHDRS_MAX 128
#define SPAN_MAX GIB(1)                 /* kernels map no more before they set up their own tables */

struct elf {
	const struct fbsd_file *f;
	Elf64_Ehdr eh;
	Elf64_Phdr *ph;
	Elf64_Shdr *sh;                 /* NULL: the file has none */
};

static bool is_kernel(const struct fbsd_file *f)
{
	return strcmp(f->type, FBSD_TYPE_KERNEL) == 0;
}

static int refuse(const struct fbsd_file *f, const char *why)
{
	return err_msg(-ENOEXEC, "%s '%s' %s", is_kernel(f) ? "kernel" : "module", f->host, why);
}

static int cut_off(const struct fbsd_file *f)
{
	return refuse(f, "is cut off, its headers point beyond the end of the file: get a complete copy");
}

/* [off, off + len) of the file, NULL when that is not all there. */
static const uint8_t *slice(const struct fbsd_file *f, uint64_t off, uint64_t len)
{
	return off <= f->len && len <= f->len - off ? f->data + off : NULL;
}

static int copy_table(const struct fbsd_file *f, uint64_t off, size_t len, void *out)
{
	const uint8_t *p = slice(f, off, len);
	void **copy = out;

	if (!p)
		return cut_off(f);
	*copy = malloc(len);
	if (!*copy)
		return err_msg(-ENOMEM, "'%s': no memory for its headers", f->host);
	memcpy(*copy, p, len);
	return 0;
}

static void elf_close(struct elf *e)
{
	free(e->ph);
	free(e->sh);
}

/* Header and tables, copied and inside the file.  On failure nothing is to be closed. */
static int elf_open(const struct fbsd_file *f, struct elf *e)
{
	int err = 0;

	*e = (struct elf){ .f = f };
	if (f->len < sizeof(e->eh))
		return refuse(f, f->len >= SELFMAG && memcmp(f->data, ELFMAG, SELFMAG) == 0 ?
			      "is cut off inside its ELF header: get a complete copy" :
			      "is no ELF file: give a kernel module (.ko), or say with type= what it is");
	memcpy(&e->eh, f->data, sizeof(e->eh));
	if (memcmp(e->eh.e_ident, ELFMAG, SELFMAG) != 0)
		return refuse(f, "is no ELF file: give a kernel module (.ko), or say with type= what it is");
	if (e->eh.e_ident[EI_CLASS] != ELFCLASS64 || e->eh.e_ident[EI_DATA] != ELFDATA2LSB)
		return refuse(f, "is not a 64-bit little-endian ELF file: give one for FreeBSD/amd64 or FreeBSD/arm64");
	if ((e->eh.e_phnum && e->eh.e_phentsize != sizeof(Elf64_Phdr)) || e->eh.e_phnum > PHDRS_MAX ||
	    (e->eh.e_shnum && e->eh.e_shentsize != sizeof(Elf64_Shdr)))
		return refuse(f, "has header tables of an impossible size: get another copy");
	if (e->eh.e_phnum)
		err = copy_table(f, e->eh.e_phoff, e->eh.e_phnum * sizeof(Elf64_Phdr), &e->ph);
	if (!err && e->eh.e_shnum && e->eh.e_shoff)
		err = copy_table(f, e->eh.e_shoff, e->eh.e_shnum * sizeof(Elf64_Shdr), &e->sh);
	if (err)
		elf_close(e);
	return err;
}

/* --- segments --- */

static bool is_load(const Elf64_Phdr *ph)
{
	return ph->p_type == PT_LOAD && ph->p_memsz;
}

/* Inside the file, no larger there than in memory, apart from each other and within 1 GiB. */
static int check_segments(const struct elf *e, uint64_t *lowest, uint64_t *end)
{
	*lowest = UINT64_MAX;
	*end = 0;
	for (unsigned i = 0; i < e->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (!is_load(p))
			continue;
		if (!slice(e->f, p->p_offset, p->p_filesz))
			return cut_off(e->f);
		if (p->p_filesz > p->p_memsz || p->p_memsz > SPAN_MAX || p->p_vaddr > UINT64_MAX - p->p_memsz)
			return refuse(e->f, "has a segment of an impossible size: get another copy");
		for (unsigned j = 0; j < i; j++) {
			if (is_load(&e->ph[j]) && ranges_overlap(p->p_vaddr, p->p_memsz, e->ph[j].p_vaddr, e->ph[j].p_memsz))
				return refuse(e->f, "has segments that overlap in memory: the file is damaged, get another copy");
		}
		*lowest = MIN(*lowest, p->p_vaddr);
		*end = MAX(*end, p->p_vaddr + p->p_memsz);
	}
	if (*end == 0)
		return refuse(e->f, "has nothing to load: get another copy");
	if (*end - *lowest > SPAN_MAX)
		return refuse(e->f, "has segments more than 1 GiB apart: get another copy");
	return 0;
}

static int put_segments(const struct elf *e, const struct fbsd_mem *mem, uint64_t off)
{
	int err = 0;

	for (unsigned i = 0; i < e->eh.e_phnum && !err; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (!is_load(p))
			continue;
		if (p->p_filesz)
			err = mem->put(mem->arg, p->p_vaddr + off, slice(e->f, p->p_offset, p->p_filesz), p->p_filesz);
		if (!err && p->p_memsz > p->p_filesz)
			err = mem->put(mem->arg, p->p_vaddr + off + p->p_filesz, NULL, p->p_memsz - p->p_filesz);
	}
	return err;
}

/* --- symbols of linked files --- */

/* Is a section's part of the file loaded with a segment? */
static bool in_segment(const struct elf *e, const Elf64_Shdr *s)
{
	for (unsigned i = 0; i < e->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &e->ph[i];

		if (p->p_type == PT_LOAD && s->sh_offset >= p->p_offset && s->sh_offset - p->p_offset < p->p_filesz &&
		    s->sh_size <= p->p_filesz - (s->sh_offset - p->p_offset))
			return true;
	}
	return false;
}

/* A length word, the section, up to a multiple of 8. */
static int put_counted(const struct elf *e, const struct fbsd_mem *mem, const Elf64_Shdr *s, uint64_t *at)
{
	const uint8_t *data = slice(e->f, s->sh_offset, s->sh_size);
	uint8_t word[8];

	if (!data || s->sh_type == SHT_NOBITS)
		return cut_off(e->f);
	put_le64(word, s->sh_size);
	int err = mem->put(mem->arg, *at, word, sizeof(word));

	if (!err && s->sh_size)
		err = mem->put(mem->arg, *at + sizeof(word), data, s->sh_size);
	*at = ALIGN_UP(*at + sizeof(word) + s->sh_size, (uint64_t)8);
	return err;
}

/* The symbol table that no segment holds, and its strings, from *at on.  A stripped file has none. */
static int put_symbols(const struct elf *e, const struct fbsd_mem *mem, uint64_t *at, struct blob *md)
{
	const Elf64_Shdr *sym = NULL;
	uint64_t start = *at;

	for (unsigned i = 0; e->sh && i < e->eh.e_shnum; i++) {
		if (e->sh[i].sh_type == SHT_SYMTAB && e->sh[i].sh_size && !in_segment(e, &e->sh[i]))
			sym = &e->sh[i];
	}
	if (!sym)
		return 0;
	if (sym->sh_link == 0 || sym->sh_link >= e->eh.e_shnum)
		return refuse(e->f, "has a symbol table without strings: get another copy");
	int err = put_counted(e, mem, sym, at);

	if (!err)
		err = put_counted(e, mem, &e->sh[sym->sh_link], at);
	fbsd_md_u64(md, MODINFOMD_SSYM, start);
	fbsd_md_u64(md, MODINFOMD_ESYM, *at);
	return err;
}

/* Constructors, which the kernel calls itself. */
static void add_ctors(const struct elf *e, struct blob *md)
{
	const Elf64_Shdr *names = e->sh && e->eh.e_shstrndx < e->eh.e_shnum ? &e->sh[e->eh.e_shstrndx] : NULL;
	const uint8_t *text = names && names->sh_type == SHT_STRTAB ? slice(e->f, names->sh_offset, names->sh_size) : NULL;

	for (unsigned i = 0; text && i < e->eh.e_shnum; i++) {
		const Elf64_Shdr *s = &e->sh[i];

		if (s->sh_name >= names->sh_size || names->sh_size - s->sh_name < sizeof(".ctors") ||
		    memcmp(text + s->sh_name, ".ctors", sizeof(".ctors")) != 0)
			continue;
		fbsd_md_u64(md, MODINFOMD_CTORS_ADDR, s->sh_addr);
		fbsd_md_u64(md, MODINFOMD_CTORS_SIZE, s->sh_size);
		return;
	}
}

/* What kernels and shared objects have in common. */
static int place_linked(const struct elf *e, const struct fbsd_mem *mem, uint64_t off, struct fbsd_placed *out)
{
	uint64_t lowest, end, at;
	int err = check_segments(e, &lowest, &end);

	if (!err)
		err = put_segments(e, mem, off);
	if (err)
		return err;
	at = ALIGN_UP(end + off, (uint64_t)8);
	out->addr = lowest + off;
	fbsd_md(&out->md, MODINFOMD_ELFHDR, &e->eh, sizeof(e->eh));
	if (e->sh)
		fbsd_md(&out->md, MODINFOMD_SHDR, e->sh, e->eh.e_shnum * sizeof(Elf64_Shdr));
	add_ctors(e, &out->md);
	err = put_symbols(e, mem, &at, &out->md);
	out->size = at - out->addr;
	for (unsigned i = 0; i < e->eh.e_phnum; i++) {
		if (e->ph[i].p_type == PT_DYNAMIC) {
			fbsd_md_u64(&out->md, MODINFOMD_DYNAMIC, e->ph[i].p_vaddr);
			break;
		}
	}
	return err;
}

int fbsd_kernel_span(const struct fbsd_file *f, uint64_t *lowest, uint64_t *entry, uint16_t *machine)
{
	struct elf e;
	uint64_t end;
	int err = elf_open(f, &e);

	if (err)
		return err;
	err = check_segments(&e, lowest, &end);
	*entry = e.eh.e_entry;
	*machine = e.eh.e_machine;
	if (!err && (e.eh.e_entry < *lowest || e.eh.e_entry >= end))
		err = refuse(f, "starts outside its segments: the file is damaged, get another copy");
	elf_close(&e);
	return err;
}

int fbsd_place_kernel(const struct fbsd_file *f, const struct fbsd_mem *mem, uint64_t off, struct fbsd_placed *out)
{
	struct elf e;
	int err = elf_open(f, &e);

	*out = (struct fbsd_placed){ 0 };
	if (err)
		return err;
	err = place_linked(&e, mem, off, out);
	elf_close(&e);
	return err;
}

/* --- relocatable modules --- */

/* Gives section s the next place; *at goes behind it. */
static int assign(const struct elf *e, Elf64_Shdr *s, uint64_t start, uint64_t *at)
{
	uint64_t align = s->sh_addralign ? s->sh_addralign : 1;

	if ((align & (align - 1)) != 0 || align > MIB(2))
		return refuse(e->f, "has a section with an impossible alignment: get another copy");
	*at = ALIGN_UP(*at, align);
	if (s->sh_size > SPAN_MAX || *at - start > SPAN_MAX - s->sh_size)
		return refuse(e->f, "would take more than 1 GiB of memory: get another copy");
	s->sh_addr = *at;
	*at += s->sh_size;
	return 0;
}

static bool is_string_table(const struct elf *e, unsigned i)
{
	return i && i < e->eh.e_shnum && e->sh[i].sh_type == SHT_STRTAB;
}

/* The section headers' addresses become where the loader puts each, 0 where it leaves it out. */
static int assign_content(struct elf *e, uint64_t start, uint64_t *at)
{
	int err = 0;

	for (unsigned i = 0; i < e->eh.e_shnum; i++)
		e->sh[i].sh_addr = 0;
	for (unsigned i = 0; i < e->eh.e_shnum && !err; i++) {
		Elf64_Shdr *s = &e->sh[i];

		if (s->sh_size == 0 || !(s->sh_flags & SHF_ALLOC))
			continue;
		if (s->sh_type == SHT_PROGBITS || s->sh_type == SHT_NOBITS || s->sh_type == SHT_INIT_ARRAY ||
		    s->sh_type == SHT_FINI_ARRAY || (s->sh_type == SHT_X86_64_UNWIND && e->eh.e_machine == EM_X86_64))
			err = assign(e, s, start, at);
	}
	return err;
}

static int assign_symbols(struct elf *e, uint64_t start, uint64_t *at)
{
	unsigned n = 0, sym = 0;

	for (unsigned i = 0; i < e->eh.e_shnum; i++) {
		if (e->sh[i].sh_type == SHT_SYMTAB) {
			sym = i;
			n++;
		}
	}
	if (n != 1 || !is_string_table(e, e->sh[sym].sh_link) || !is_string_table(e, e->eh.e_shstrndx))
		return refuse(e->f, "has no symbols to link it by: give a module that is not stripped");
	int err = assign(e, &e->sh[sym], start, at);

	if (!err)
		err = assign(e, &e->sh[e->sh[sym].sh_link], start, at);
	/* The same table may serve both. */
	if (!err && e->eh.e_shstrndx != e->sh[sym].sh_link)
		err = assign(e, &e->sh[e->eh.e_shstrndx], start, at);
	return err;
}

static int assign_relocations(struct elf *e, uint64_t start, uint64_t *at)
{
	int err = 0;

	for (unsigned i = 0; i < e->eh.e_shnum && !err; i++) {
		Elf64_Shdr *s = &e->sh[i];

		if (s->sh_type != SHT_REL && s->sh_type != SHT_RELA)
			continue;
		if (s->sh_info >= e->eh.e_shnum)
			return refuse(e->f, "has relocations for a section it does not have: get another copy");
		if (e->sh[s->sh_info].sh_flags & SHF_ALLOC)
			err = assign(e, s, start, at);
	}
	return err;
}

static int put_sections(const struct elf *e, const struct fbsd_mem *mem, uint64_t start, uint64_t end)
{
	int err = end > start ? mem->put(mem->arg, start, NULL, end - start) : 0;

	for (unsigned i = 0; i < e->eh.e_shnum && !err; i++) {
		const Elf64_Shdr *s = &e->sh[i];

		if (s->sh_addr == 0 || s->sh_type == SHT_NOBITS || s->sh_size == 0)
			continue;
		const uint8_t *data = slice(e->f, s->sh_offset, s->sh_size);

		err = data ? mem->put(mem->arg, s->sh_addr, data, s->sh_size) : cut_off(e->f);
	}
	return err;
}

static int place_relocatable(struct elf *e, const struct fbsd_mem *mem, uint64_t start, struct fbsd_placed *out)
{
	uint64_t at = start;

	if (!e->sh)
		return refuse(e->f, "has no sections: get another copy");
	int err = assign_content(e, start, &at);

	if (!err)
		err = assign_symbols(e, start, &at);
	if (!err)
		err = assign_relocations(e, start, &at);
	if (!err)
		err = put_sections(e, mem, start, at);
	if (err)
		return err;
	out->addr = start;
	out->size = at - start;
	fbsd_md(&out->md, MODINFOMD_ELFHDR, &e->eh, sizeof(e->eh));
	fbsd_md(&out->md, MODINFOMD_SHDR, e->sh, e->eh.e_shnum * sizeof(Elf64_Shdr));
	return 0;
}

/* --- modules of any kind --- */

/* The kernel takes its base for address 0 of the file. */
static int place_shared(const struct elf *e, const struct fbsd_mem *mem, uint64_t at, struct fbsd_placed *out)
{
	uint64_t lowest, end;
	int err = check_segments(e, &lowest, &end);

	if (!err && lowest != 0)
		err = refuse(e->f, "is not linked at address 0: get another copy");
	return err ? err : place_linked(e, mem, at, out);
}

int fbsd_place_module(const struct fbsd_file *f, const struct fbsd_mem *mem, uint64_t at, struct fbsd_placed *out)
{
	bool obj = strcmp(f->type, FBSD_TYPE_OBJ) == 0;
	struct elf e;

	*out = (struct fbsd_placed){ .addr = at, .size = f->len };
	if (!obj && strcmp(f->type, FBSD_TYPE_MODULE) != 0)
		return f->len ? mem->put(mem->arg, at, f->data, f->len) : 0;
	int err = elf_open(f, &e);

	if (err)
		return err;
	if (e.eh.e_type != (obj ? ET_REL : ET_DYN))
		err = refuse(f, obj ? "is not a relocatable file, as FreeBSD/amd64's modules are: get the one beside this kernel" :
			     "is not a shared object, as FreeBSD/arm64's modules are: get the one beside this kernel");
	else
		err = obj ? place_relocatable(&e, mem, at, out) : place_shared(&e, mem, at, out);
	elf_close(&e);
	return err;
}
