/*
 * Linking preloaded modules: relocatable files (amd64) as [FREEBSD sys/kern/link_elf_obj.c], shared objects (arm64) as
 * [FREEBSD sys/kern/link_elf.c], relocations as in each architecture's elf_machdep.c.
 */
#include "tests/guest/fbsd.h"

uint64_t sym_find(const struct file *f, const char *name)
{
	uint64_t base = f->eh && f->eh->e_type == ET_DYN ? f->addr : 0;

	for (unsigned i = 1; i < f->nsyms; i++) {
		const Elf64_Sym *s = &f->sym[i];

		if (s->st_shndx != SHN_UNDEF && s->st_shndx < SHN_LORESERVE && s->st_name < f->str_len &&
		    str_same(f->str + s->st_name, name))
			return base + s->st_value;
	}
	return 0;
}

/* What a symbol stands for: its own value, or what a file before this one defines. */
static uint64_t resolve(const struct file *f, const Elf64_Sym *syms, const char *str, unsigned i)
{
	const Elf64_Sym *s = &syms[i];

	if (s->st_shndx != SHN_UNDEF)
		return s->st_value + (f->eh->e_type == ET_DYN ? f->addr : 0);
	for (const struct file *o = files; o < f; o++) {
		uint64_t v = sym_find(o, str + s->st_name);

		if (v)
			return v;
	}
	DIE("%s needs '%s', which nothing before it has", f->name, str + s->st_name);
}

static void apply(uint64_t at, unsigned type, uint64_t value, uint64_t base, int64_t addend)
{
	switch (type) {
#if defined(__x86_64__)
	case R_X86_64_64: *(uint64_t *)at = value + (uint64_t)addend; break;
	case R_X86_64_32S: *(int32_t *)at = (int32_t)(value + (uint64_t)addend); break;
	case R_X86_64_PC32:
	case R_X86_64_PLT32: *(int32_t *)at = (int32_t)(value + (uint64_t)addend - at); break;
#else
	case R_AARCH64_RELATIVE: *(uint64_t *)at = base + (uint64_t)addend; break;
	case R_AARCH64_ABS64:
	case R_AARCH64_GLOB_DAT:
	case R_AARCH64_JUMP_SLOT: *(uint64_t *)at = value + (uint64_t)addend; break;
#endif
	default: DIE("relocation type %u", type);
	}
	(void)base;
}

/* --- ET_REL --- */

/* Where the loader put each section; symbols get addresses. */
static void read_sections(struct file *f)
{
	const Elf64_Shdr *names = &f->sh[f->eh->e_shstrndx];
	uint64_t lowest = 0, end = 0;

	for (unsigned i = 0; i < f->eh->e_shnum; i++) {
		Elf64_Shdr *s = &f->sh[i];

		if (s->sh_addr && (!lowest || s->sh_addr < lowest))
			lowest = s->sh_addr;
	}
	for (unsigned i = 0; i < f->eh->e_shnum; i++) {
		Elf64_Shdr *s = &f->sh[i];

		if (!s->sh_addr)
			continue;
		s->sh_addr += f->addr - lowest;
		MUST(!s->sh_addralign || s->sh_addr % s->sh_addralign == 0);
		end = MAX(end, s->sh_addr + s->sh_size);
		if (s->sh_type == SHT_SYMTAB) {
			f->sym = (const void *)s->sh_addr;
			f->nsyms = (unsigned)(s->sh_size / sizeof(Elf64_Sym));
			f->str_len = f->sh[s->sh_link].sh_size;
		}
	}
	MUST(f->sym && end == f->addr + f->size && names->sh_addr && *(const char *)names->sh_addr == '\0');
	for (unsigned i = 0; i < f->eh->e_shnum; i++) {
		if (f->sh[i].sh_type == SHT_SYMTAB)
			f->str = (const char *)f->sh[f->sh[i].sh_link].sh_addr;
		if (f->sh[i].sh_type == SHT_PROGBITS && (f->sh[i].sh_flags & SHF_ALLOC) && f->sh[i].sh_size)
			MUST(f->sh[i].sh_addr);
	}
	for (unsigned i = 0; i < f->nsyms; i++) {
		Elf64_Sym *s = (Elf64_Sym *)&f->sym[i];

		if (s->st_shndx != SHN_UNDEF && s->st_shndx < f->eh->e_shnum)
			s->st_value += f->sh[s->st_shndx].sh_addr;
	}
}

static void link_rel(struct file *f)
{
	unsigned done = 0;

	read_sections(f);
	for (unsigned i = 0; i < f->eh->e_shnum; i++) {
		const Elf64_Shdr *s = &f->sh[i];
		const Elf64_Rela *r = (const void *)s->sh_addr;

		if (s->sh_type != SHT_RELA || !s->sh_addr)
			continue;
		for (unsigned j = 0; j < s->sh_size / sizeof(*r); j++, done++)
			apply(f->sh[s->sh_info].sh_addr + r[j].r_offset, (unsigned)ELF64_R_TYPE(r[j].r_info),
			      resolve(f, f->sym, f->str, (unsigned)ELF64_R_SYM(r[j].r_info)), f->addr, r[j].r_addend);
	}
	MUST(done);
}

/* --- ET_DYN --- */

static uint64_t dyn(const struct file *f, int64_t tag)
{
	for (const Elf64_Dyn *d = f->dynamic; d->d_tag != DT_NULL; d++) {
		if (d->d_tag == tag)
			return d->d_un.d_val;
	}
	return 0;
}

static void link_dyn(struct file *f)
{
	const Elf64_Sym *syms = (const void *)(f->addr + dyn(f, DT_SYMTAB));
	const char *str = (const char *)(f->addr + dyn(f, DT_STRTAB));
	const int64_t tables[2][2] = { { DT_RELA, DT_RELASZ }, { DT_JMPREL, DT_PLTRELSZ } };
	unsigned done = 0;

	MUST(dyn(f, DT_SYMTAB) && dyn(f, DT_STRTAB) && dyn(f, DT_HASH));
	MUST(memcmp((const void *)f->addr, f->eh, sizeof(*f->eh)) == 0);
	for (unsigned t = 0; t < 2; t++) {
		const Elf64_Rela *r = (const void *)(f->addr + dyn(f, tables[t][0]));

		for (unsigned j = 0; j < dyn(f, tables[t][1]) / sizeof(*r); j++, done++)
			apply(f->addr + r[j].r_offset, (unsigned)ELF64_R_TYPE(r[j].r_info),
			      resolve(f, syms, str, (unsigned)ELF64_R_SYM(r[j].r_info)), f->addr, r[j].r_addend);
	}
	MUST(done);
}

void link_module(struct file *f)
{
	if (str_same(f->type, "elf obj module")) {
		MUST(f->eh->e_type == ET_REL);
		link_rel(f);
	} else if (str_same(f->type, "elf module")) {
		MUST(f->eh->e_type == ET_DYN);
		link_dyn(f);
	} else {
		DIE("%s: an ELF header, and type '%s'", f->name, f->type);
	}
	memory_barrier();
}
