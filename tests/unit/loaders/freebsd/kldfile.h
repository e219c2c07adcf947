/*
 * FreeBSD modules and kernels made by hand: ELF files with nothing in them but module metadata.
 */
#ifndef TESTS_UNIT_LOADERS_FREEBSD_KLDFILE_H
#define TESTS_UNIT_LOADERS_FREEBSD_KLDFILE_H

#include <elf.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

struct kld_rec {
	uint32_t type;                  /* 1 depend: v is min, preferred, max; 3 version: v[0]; 2 module, 4 PNP: neither */
	const char *name;
	int32_t v[3];
};

/* Linked files: pointers as relocations with zeroes in their places; symbols around a set in a section of another name. */
enum { KLD_RELA = 1, KLD_SYMBOLS = 2 };

#define KLD_VA 0xffffffff80200000ull    /* of the file's first byte in linked files */
#define KLD_NAME_ROOM 64
enum {
	KLD_S_NULL, KLD_S_SET, KLD_S_DATA, KLD_S_RELA_SET, KLD_S_RELA_DATA, KLD_S_SYMTAB, KLD_S_STRTAB, KLD_S_SHSTRTAB, KLD_SECTIONS
};
static const char kld_strings[] = "\0__start_set_modmetadata_set\0__stop_set_modmetadata_set\0.data\0set_modmetadata_set\0.other\0";
#define KLD_STR_START 1
#define KLD_STR_STOP 29
#define KLD_STR_DATA 56
#define KLD_STR_SET 62
#define KLD_STR_OTHER 82

/* A file taken to pieces; the pointers are into data. */
struct kld_file {
	uint8_t *data;
	size_t len;
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph;
	Elf64_Shdr *sh;
	Elf64_Rela *rela_set, *rela_data;       /* one a record; two a record: md_data, md_cval */
	Elf64_Sym *sym;                         /* 1 .data, 2 start of the set, 3 its end */
	uint64_t *set;
	uint8_t *md, *val, *names;              /* 24, 16 and KLD_NAME_ROOM bytes a record */
};

static inline void kld_section(struct kld_file *f, unsigned n, uint32_t type, const void *start, uint64_t size, uint32_t name)
{
	f->sh[n] = (Elf64_Shdr){ .sh_type = type, .sh_size = size, .sh_name = name };
	f->sh[n].sh_offset = (uint64_t)((const uint8_t *)start - f->data);
	f->sh[n].sh_flags = n <= KLD_S_RELA_DATA ? SHF_ALLOC : 0;
	if (f->eh->e_type != ET_REL)
		f->sh[n].sh_addr = KLD_VA + f->sh[n].sh_offset;
}

static inline void kld_sections(struct kld_file *f, unsigned n, unsigned flags)
{
	bool rela = f->eh->e_type == ET_REL || flags & KLD_RELA;

	kld_section(f, KLD_S_SET, SHT_PROGBITS, f->set, 8 * n, flags & KLD_SYMBOLS ? KLD_STR_OTHER : KLD_STR_SET);
	kld_section(f, KLD_S_DATA, SHT_PROGBITS, f->md, (24 + 16 + KLD_NAME_ROOM) * n, KLD_STR_DATA);
	kld_section(f, KLD_S_RELA_SET, rela ? SHT_RELA : SHT_PROGBITS, f->rela_set, n * sizeof(Elf64_Rela), KLD_STR_OTHER);
	kld_section(f, KLD_S_RELA_DATA, rela ? SHT_RELA : SHT_PROGBITS, f->rela_data, 2 * n * sizeof(Elf64_Rela), KLD_STR_OTHER);
	kld_section(f, KLD_S_SYMTAB, SHT_SYMTAB, f->sym, 4 * sizeof(Elf64_Sym), KLD_STR_OTHER);
	kld_section(f, KLD_S_STRTAB, SHT_STRTAB, f->sym + 4, sizeof(kld_strings), KLD_STR_OTHER);
	kld_section(f, KLD_S_SHSTRTAB, SHT_STRTAB, f->sym + 4, sizeof(kld_strings), KLD_STR_OTHER);
	f->sh[KLD_S_SYMTAB].sh_link = KLD_S_STRTAB;
	f->sh[KLD_S_RELA_SET].sh_link = f->sh[KLD_S_RELA_DATA].sh_link = KLD_S_SYMTAB;
	f->sh[KLD_S_RELA_SET].sh_info = KLD_S_SET;
	f->sh[KLD_S_RELA_DATA].sh_info = KLD_S_DATA;
}

/* The pointer at `at` is to lead to `to`, both in the file. */
static inline void kld_pointer(struct kld_file *f, Elf64_Rela *r, void *at, const uint8_t *to, unsigned flags)
{
	bool arm = f->eh->e_machine == EM_AARCH64, obj = f->eh->e_type == ET_REL;
	uint64_t value = KLD_VA + (uint64_t)(to - f->data);

	if (!obj && !(flags & KLD_RELA)) {
		memcpy(at, &value, sizeof(value));
		return;
	}
	const uint8_t *start = (uint8_t *)at >= f->md ? f->md : (uint8_t *)f->set;
	r->r_offset = obj ? (uint64_t)((uint8_t *)at - start) : KLD_VA + (uint64_t)((uint8_t *)at - f->data);
	r->r_info = obj ? ELF64_R_INFO(1ull, arm ? R_AARCH64_ABS64 : R_X86_64_64) : (arm ? R_AARCH64_RELATIVE : R_X86_64_RELATIVE);
	r->r_addend = obj ? to - f->md : (int64_t)value;
}

static inline void kld_records(struct kld_file *f, const struct kld_rec *recs, unsigned n, unsigned flags)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *md = f->md + 24 * i, *val = f->val + 16 * i, *name = f->names + KLD_NAME_ROOM * i;

		put_le32(md, 1);
		put_le32(md + 4, recs[i].type);
		memcpy(val, recs[i].v, sizeof(recs[i].v));
		memcpy(name, recs[i].name, MIN(strlen(recs[i].name), (size_t)KLD_NAME_ROOM));
		kld_pointer(f, &f->rela_set[i], &f->set[i], md, flags);
		kld_pointer(f, &f->rela_data[2 * i], md + 8, val, flags);
		kld_pointer(f, &f->rela_data[2 * i + 1], md + 16, name, flags);
	}
}

/* n is at least 1.  data is the caller's to free; it has exactly len bytes. */
static inline void kld_make(struct kld_file *f, uint16_t machine, uint16_t type, unsigned flags, const struct kld_rec *recs,
			    unsigned n)
{
	size_t fixed = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr) + KLD_SECTIONS * sizeof(Elf64_Shdr) + 4 * sizeof(Elf64_Sym);
	size_t each = 8 + 24 + 16 + KLD_NAME_ROOM + 3 * sizeof(Elf64_Rela);

	f->len = fixed + n * each + sizeof(kld_strings);
	f->data = calloc(1, f->len);
	f->eh = (Elf64_Ehdr *)(void *)f->data;
	f->ph = (Elf64_Phdr *)(void *)(f->eh + 1);
	f->sh = (Elf64_Shdr *)(void *)(f->ph + 1);
	f->set = (uint64_t *)(void *)(f->sh + KLD_SECTIONS);
	f->md = (uint8_t *)(f->set + n);
	f->val = f->md + 24 * n;
	f->names = f->val + 16 * n;
	f->rela_set = (Elf64_Rela *)(void *)(f->names + KLD_NAME_ROOM * n);
	f->rela_data = f->rela_set + n;
	f->sym = (Elf64_Sym *)(void *)(f->rela_data + 2 * n);
	memcpy(f->sym + 4, kld_strings, sizeof(kld_strings));
	*f->eh = (Elf64_Ehdr){
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT, ELFOSABI_FREEBSD },
		.e_type = type, .e_machine = machine, .e_version = EV_CURRENT, .e_ehsize = sizeof(Elf64_Ehdr),
		.e_shoff = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = KLD_SECTIONS,
		.e_shstrndx = KLD_S_SHSTRTAB,
	};
	if (type != ET_REL) {
		f->eh->e_phoff = sizeof(Elf64_Ehdr);
		f->eh->e_phnum = 1;
		f->eh->e_phentsize = sizeof(Elf64_Phdr);
		*f->ph = (Elf64_Phdr){ .p_type = PT_LOAD, .p_vaddr = KLD_VA, .p_filesz = f->len, .p_memsz = f->len };
	}
	kld_sections(f, n, flags);
	uint64_t set = type == ET_REL ? 0 : f->sh[KLD_S_SET].sh_addr;

	f->sym[1] = (Elf64_Sym){ .st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = KLD_S_DATA };
	f->sym[2] = (Elf64_Sym){ .st_name = KLD_STR_START, .st_shndx = KLD_S_SET, .st_value = set };
	f->sym[3] = (Elf64_Sym){ .st_name = KLD_STR_STOP, .st_shndx = KLD_S_SET, .st_value = set + 8 * n };
	kld_records(f, recs, n, flags);
}

#endif
