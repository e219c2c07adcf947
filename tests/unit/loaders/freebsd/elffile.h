/*
 * FreeBSD's kinds of ELF files made by hand, small and complete: kernel, shared object, relocatable file; and guest memory to
 * place them in.
 */
#ifndef TESTS_UNIT_LOADERS_FREEBSD_ELFFILE_H
#define TESTS_UNIT_LOADERS_FREEBSD_ELFFILE_H

#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define ELF_KERNBASE 0xffffffff80000000ull
#define ELF_KERNEL_AMD64 (ELF_KERNBASE + 0x200000)
#define ELF_KERNEL_ARM64 0xffff000000000000ull
#define ELF_DATA_VA 0x2000              /* from the first segment's address */
#define ELF_BSS 0x100
enum {
	ELF_S_NULL, ELF_S_TEXT, ELF_S_DATA, ELF_S_CTORS, ELF_S_SYMTAB, ELF_S_STRTAB, ELF_S_SHSTRTAB, ELF_S_RELA, ELF_S_RELA_COMMENT,
	ELF_SECTIONS
};
static const char elf_names[] = "\0.text\0.ctors\0";

struct elf_file {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[4];               /* text, data, interpreter, dynamic */
	char interp[16];
	uint8_t text[0x100];
	uint8_t data[0x40];
	Elf64_Dyn dyn[2];
	Elf64_Sym sym[3];
	char str[16];                   /* 14 are used */
	Elf64_Rela rela[2];
	Elf64_Shdr sh[ELF_SECTIONS];
};
#define ELF_OFF(m) offsetof(struct elf_file, m)

static inline void elf_section(struct elf_file *f, unsigned n, uint32_t type, uint64_t off, uint64_t size, uint64_t flags,
			       uint64_t align)
{
	f->sh[n] = (Elf64_Shdr){ .sh_type = type, .sh_offset = off, .sh_size = size, .sh_flags = flags, .sh_addralign = align };
}

static inline void elf_common(struct elf_file *f, uint16_t machine, uint16_t type)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG, SELFMAG);
	f->eh.e_ident[EI_CLASS] = ELFCLASS64;
	f->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh.e_ident[EI_VERSION] = EV_CURRENT;
	f->eh.e_ident[EI_OSABI] = ELFOSABI_FREEBSD;
	f->eh.e_machine = machine;
	f->eh.e_type = type;
	f->eh.e_version = EV_CURRENT;
	f->eh.e_ehsize = sizeof(f->eh);
	f->eh.e_shoff = ELF_OFF(sh);
	f->eh.e_shentsize = sizeof(Elf64_Shdr);
	f->eh.e_shnum = ELF_S_RELA;
	f->eh.e_shstrndx = ELF_S_SHSTRTAB;
	memcpy(f->str, elf_names, sizeof(elf_names));
	memset(f->text, 0x11, sizeof(f->text));
	memset(f->data, 0x22, sizeof(f->data));
	memset(f->sym, 0x33, sizeof(f->sym));
	elf_section(f, ELF_S_TEXT, SHT_PROGBITS, ELF_OFF(text), sizeof(f->text), SHF_ALLOC | SHF_EXECINSTR, 16);
	elf_section(f, ELF_S_DATA, SHT_PROGBITS, ELF_OFF(data), sizeof(f->data), SHF_ALLOC | SHF_WRITE, 8);
	elf_section(f, ELF_S_SYMTAB, SHT_SYMTAB, ELF_OFF(sym), sizeof(f->sym), 0, 8);
	elf_section(f, ELF_S_STRTAB, SHT_STRTAB, ELF_OFF(str), 14, 0, 1);
	elf_section(f, ELF_S_SHSTRTAB, SHT_STRTAB, ELF_OFF(str), sizeof(elf_names), 0, 1);
	f->sh[ELF_S_SYMTAB].sh_link = ELF_S_STRTAB;
}

/* A kernel, or a shared object when va is 0: text with the headers at va, data and zeroes at va + ELF_DATA_VA. */
static inline void elf_linked(struct elf_file *f, uint16_t machine, uint64_t va)
{
	elf_common(f, machine, va ? ET_EXEC : ET_DYN);
	f->eh.e_entry = va ? va + ELF_OFF(text) : 0;
	f->eh.e_phoff = ELF_OFF(ph);
	f->eh.e_phentsize = sizeof(Elf64_Phdr);
	f->eh.e_phnum = NELEM(f->ph);
	f->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_vaddr = va, .p_filesz = ELF_OFF(data), .p_memsz = ELF_OFF(data) };
	f->ph[1] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_vaddr = va + ELF_DATA_VA, .p_offset = ELF_OFF(data),
				 .p_filesz = ELF_OFF(sym) - ELF_OFF(data), .p_memsz = ELF_OFF(sym) - ELF_OFF(data) + ELF_BSS };
	f->ph[2] = (Elf64_Phdr){ .p_type = PT_INTERP, .p_offset = ELF_OFF(interp), .p_filesz = sizeof("/red/herring") };
	f->ph[3] = (Elf64_Phdr){ .p_type = PT_DYNAMIC, .p_offset = ELF_OFF(dyn), .p_vaddr = va + ELF_DATA_VA + sizeof(f->data) };
	memcpy(f->interp, "/red/herring", sizeof("/red/herring"));
	elf_section(f, ELF_S_CTORS, SHT_PROGBITS, ELF_OFF(data), 16, SHF_ALLOC | SHF_WRITE, 8);
	f->sh[ELF_S_CTORS].sh_name = 7;
	f->sh[ELF_S_CTORS].sh_addr = va + ELF_DATA_VA;
}

/* .ctors' place is .bss here, the second relocation table is for a section that is not loaded. */
static inline void elf_object(struct elf_file *f)
{
	elf_common(f, EM_X86_64, ET_REL);
	f->eh.e_shnum = ELF_SECTIONS;
	elf_section(f, ELF_S_CTORS, SHT_NOBITS, ELF_OFF(data), 0x30, SHF_ALLOC | SHF_WRITE, 32);
	elf_section(f, ELF_S_RELA, SHT_RELA, ELF_OFF(rela), sizeof(f->rela[0]), 0, 8);
	elf_section(f, ELF_S_RELA_COMMENT, SHT_RELA, ELF_OFF(rela[1]), sizeof(f->rela[1]), 0, 8);
	f->sh[ELF_S_RELA].sh_info = ELF_S_TEXT;
	f->sh[ELF_S_RELA_COMMENT].sh_info = ELF_S_STRTAB;
	memset(f->rela, 0x44, sizeof(f->rela));
}

static inline struct fbsd_file elf_as_file(const void *data, size_t len, const char *type, const char *name)
{
	return (struct fbsd_file){
		.name = (char *)name, .host = (char *)name, .type = type, .args = (char *)"", .data = (uint8_t *)data, .len = len,
	};
}

/* 64 KiB of memory from `base` on; what is not written stays 0xee. */
struct fake_mem {
	uint64_t base;
	uint8_t mem[0x10000];
	unsigned puts, takes;
	char took[16][64];
};

static inline int fake_put(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	struct fake_mem *m = arg;

	if (addr < m->base || addr - m->base > sizeof(m->mem) || len > sizeof(m->mem) - (addr - m->base))
		return -ENOSPC;
	m->puts++;
	if (data)
		memcpy(m->mem + (addr - m->base), data, len);
	else
		memset(m->mem + (addr - m->base), 0, len);
	return 0;
}

static inline int fake_take(void *arg, uint64_t addr, uint64_t len, const char *what)
{
	struct fake_mem *m = arg;

	if (m->takes < NELEM(m->took))
		snprintf(m->took[m->takes], sizeof(m->took[0]), "%llx+%llx %s", (unsigned long long)(addr - m->base),
			 (unsigned long long)len, what);
	m->takes++;
	return 0;
}

static inline struct fbsd_mem fake_mem(struct fake_mem *m, uint64_t base)
{
	*m = (struct fake_mem){ .base = base };
	memset(m->mem, 0xee, sizeof(m->mem));
	return (struct fbsd_mem){ .put = fake_put, .take = fake_take, .arg = m };
}

/* Record `type` among those up to the next name; its length goes to *len. */
static inline const uint8_t *md_find(const uint8_t *md, size_t md_len, uint32_t type, uint32_t *len)
{
	for (size_t off = 0; off + 8 <= md_len; off += 8 + ALIGN_UP((size_t)get_le32(md + off + 4), (size_t)8)) {
		if (off && get_le32(md + off) <= 1)
			break;          /* the end, or the next file's name */
		if (get_le32(md + off) == type) {
			*len = get_le32(md + off + 4);
			return md + off + 8;
		}
	}
	return NULL;
}

#endif
