/*
 * Synthetic x86 kernels: a bzImage of 4 setup sectors, and ELF files with a PVH note, to be spoilt by tests.
 */
#ifndef TESTS_UNIT_LOADERS_X86IMAGE_H
#define TESTS_UNIT_LOADERS_X86IMAGE_H

#include <elf.h>
#include <string.h>

#include "common/image.h"
#include "common/util.h"
#include "loaders/bzimage.h"
#include "loaders/loaders.h"

#define BZ_SETUP (5 * 512)
#define BZ_KERNEL 4096
#define BZ_LEN (BZ_SETUP + BZ_KERNEL)
#define BZ_PREF 0x1000000

static inline void bz_make(uint8_t f[BZ_LEN])
{
	memset(f, 0, BZ_LEN);
	memset(f + BZ_SETUP, 0x90, BZ_KERNEL);
	f[HDR_SETUP_SECTS] = 4;
	put_le32(f + HDR_SYSSIZE, BZ_KERNEL / 16);
	put_le16(f + HDR_BOOT_FLAG, HDR_BOOT_FLAG_VALUE);
	f[HDR_JUMP_LEN] = 0x66;
	put_le32(f + HDR_MAGIC, HDR_MAGIC_VALUE);
	put_le16(f + HDR_VERSION, 0x20f);
	f[HDR_LOADFLAGS] = 1;
	put_le32(f + HDR_INITRD_ADDR_MAX, 0x7fffffff);
	put_le32(f + HDR_KERNEL_ALIGNMENT, 0x200000);
	f[HDR_RELOCATABLE] = 1;
	put_le16(f + HDR_XLOADFLAGS, XLF_KERNEL_64);
	put_le32(f + HDR_CMDLINE_SIZE, 64);
	put_le64(f + HDR_PREF_ADDRESS, BZ_PREF);
	put_le32(f + HDR_INIT_SIZE, 0x8000);
}

/* One PT_LOAD of 0x100 bytes (0x200 in memory) at 2 MiB, one PT_NOTE. */
struct elf_file {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[2];
	struct {
		Elf64_Nhdr h;
		char name[4];
		uint64_t value;
	} __attribute__((packed)) note;
	uint8_t text[0x100];
} __attribute__((packed));
#define ELF_LOAD 0x200000u

static inline void elf_make(struct elf_file *f)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->eh.e_ident, ELFMAG, SELFMAG);
	f->eh.e_ident[EI_CLASS] = ELFCLASS64;
	f->eh.e_ident[EI_DATA] = ELFDATA2LSB;
	f->eh.e_ident[EI_VERSION] = EV_CURRENT;
	f->eh.e_type = ET_EXEC;
	f->eh.e_machine = EM_X86_64;
	f->eh.e_version = EV_CURRENT;
	f->eh.e_phoff = offsetof(struct elf_file, ph);
	f->eh.e_ehsize = sizeof(f->eh);
	f->eh.e_phentsize = sizeof(f->ph[0]);
	f->eh.e_phnum = 2;
	f->ph[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = offsetof(struct elf_file, text), .p_vaddr = ELF_LOAD,
				 .p_paddr = ELF_LOAD, .p_filesz = sizeof(f->text), .p_memsz = 0x200, .p_align = 1 };
	f->ph[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = offsetof(struct elf_file, note), .p_filesz = sizeof(f->note),
				 .p_memsz = sizeof(f->note), .p_align = 4 };
	f->note.h = (Elf64_Nhdr){ .n_namesz = 4, .n_descsz = 8, .n_type = 18 };
	memcpy(f->note.name, "Xen", 4);
	f->note.value = ELF_LOAD + 0x10;
	memset(f->text, 0xf4, sizeof(f->text));
}

#endif
