/* Where kernels and modules go, and what their metadata say; broken files of every length. */
#include "tests/unit/loaders/freebsd/elffile.h"

#include "loaders/freebsd/metadata.h"
#include "tests/unit/unit.h"

static struct fake_mem m;
static struct fbsd_placed p;

static uint64_t md_u64(uint32_t type)
{
	uint32_t len = 0;
	const uint8_t *v = md_find(p.md.data, p.md.len, MODINFO_METADATA | type, &len);

	ck_assert_msg(v && len == 8, "record 0x%x", type);
	return get_le64(v);
}

static void md_is(uint32_t type, const void *want, size_t want_len)
{
	uint32_t len = 0;
	const uint8_t *v = md_find(p.md.data, p.md.len, MODINFO_METADATA | type, &len);

	ck_assert_msg(v && len == want_len && memcmp(v, want, len) == 0, "record 0x%x", type);
}

static bool md_has(uint32_t type)
{
	uint32_t len;

	return md_find(p.md.data, p.md.len, MODINFO_METADATA | type, &len) != NULL;
}

static int place(const struct elf_file *f, size_t len, const char *type, uint64_t at)
{
	uint8_t *copy = malloc(len ? len : 1);          /* of exactly its size, for sanitizers */
	struct fbsd_file file = elf_as_file(copy, len, type, "test");
	struct fbsd_mem mem = fake_mem(&m, at);
	int err;

	memcpy(copy, f, len);
	blob_free(&p.md);
	if (strcmp(type, FBSD_TYPE_KERNEL) == 0)
		err = fbsd_place_kernel(&file, &mem, at - f->ph[0].p_vaddr, &p);
	else
		err = fbsd_place_module(&file, &mem, at, &p);
	free(copy);
	return err;
}

static int place_all(const struct elf_file *f, const char *type)
{
	return place(f, sizeof(*f), type, 0x200000);
}

static bool all(const uint8_t *mem, size_t len, uint8_t byte)
{
	for (size_t i = 0; i < len; i++) {
		if (mem[i] != byte)
			return false;
	}
	return true;
}

START_TEST(kernel)
{
	const size_t data_len = ELF_OFF(sym) - ELF_OFF(data);
	struct elf_file f;
	size_t sym;

	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_KERNEL), 0);
	ck_assert_uint_eq(p.addr, 0x200000);
	ck_assert_mem_eq(m.mem, &f, ELF_OFF(data));
	ck_assert(all(m.mem + ELF_OFF(data), ELF_DATA_VA - ELF_OFF(data), 0xee));
	ck_assert_mem_eq(m.mem + ELF_DATA_VA, f.data, data_len);
	ck_assert(all(m.mem + ELF_DATA_VA + data_len, ELF_BSS, 0));
	sym = ALIGN_UP(ELF_DATA_VA + data_len + ELF_BSS, (size_t)8);
	ck_assert_uint_eq(get_le64(m.mem + sym), sizeof(f.sym));
	ck_assert_mem_eq(m.mem + sym + 8, f.sym, sizeof(f.sym));
	ck_assert_uint_eq(get_le64(m.mem + sym + 8 + sizeof(f.sym)), 14);
	ck_assert_mem_eq(m.mem + sym + 16 + sizeof(f.sym), f.str, 14);
	ck_assert_uint_eq(p.size, sym + 16 + sizeof(f.sym) + 16);
	md_is(MODINFOMD_ELFHDR, &f.eh, sizeof(f.eh));
	md_is(MODINFOMD_SHDR, f.sh, ELF_S_RELA * sizeof(f.sh[0]));
	ck_assert_uint_eq(md_u64(MODINFOMD_SSYM), 0x200000 + sym);
	ck_assert_uint_eq(md_u64(MODINFOMD_ESYM), 0x200000 + p.size);
	ck_assert_uint_eq(md_u64(MODINFOMD_DYNAMIC), ELF_KERNEL_AMD64 + ELF_DATA_VA + sizeof(f.data));
	ck_assert_uint_eq(md_u64(MODINFOMD_CTORS_ADDR), ELF_KERNEL_AMD64 + ELF_DATA_VA);
	ck_assert_uint_eq(md_u64(MODINFOMD_CTORS_SIZE), 16);
}
END_TEST

START_TEST(kernel_without_symbols)
{
	struct elf_file f;

	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.sh[ELF_S_SYMTAB].sh_type = SHT_PROGBITS;
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_KERNEL), 0);
	ck_assert(!md_has(MODINFOMD_SSYM) && !md_has(MODINFOMD_ESYM) && md_has(MODINFOMD_SHDR));
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.sh[ELF_S_SYMTAB].sh_offset = 64;      /* loaded with a segment: not again */
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_KERNEL), 0);
	ck_assert(!md_has(MODINFOMD_SSYM));
	elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
	f.eh.e_shnum = 0;
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_KERNEL), 0);
	ck_assert(!md_has(MODINFOMD_SSYM) && !md_has(MODINFOMD_SHDR) && md_has(MODINFOMD_DYNAMIC));
}
END_TEST

START_TEST(kernel_refused)
{
	struct elf_file f;

#define REFUSED(change)                                                                 \
	do {                                                                            \
		elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);                            \
		change;                                                                 \
		ck_assert_int_eq(place_all(&f, FBSD_TYPE_KERNEL), -ENOEXEC);            \
	} while (0)
	REFUSED(f.eh.e_ident[0] = 0);
	REFUSED(f.eh.e_ident[EI_CLASS] = ELFCLASS32);
	REFUSED(f.eh.e_ident[EI_DATA] = ELFDATA2MSB);
	REFUSED(f.eh.e_phentsize = 8);
	REFUSED(f.eh.e_phnum = 500);
	REFUSED(f.eh.e_phoff = UINT64_MAX);
	REFUSED(f.eh.e_shentsize = 63);
	REFUSED(f.eh.e_shoff = sizeof(f));
	REFUSED(f.ph[0].p_type = f.ph[1].p_type = PT_NOTE);
	REFUSED(f.ph[0].p_filesz = f.ph[0].p_memsz + 1);
	REFUSED(f.ph[1].p_offset = UINT64_MAX);
	REFUSED(f.ph[1].p_vaddr = f.ph[0].p_vaddr + 8);
	REFUSED(f.ph[1].p_vaddr = UINT64_MAX);
	REFUSED(f.ph[1].p_vaddr = f.ph[0].p_vaddr + GIB(1));
	REFUSED(f.ph[1].p_memsz = GIB(2));
	REFUSED(f.sh[ELF_S_SYMTAB].sh_link = 0);
	REFUSED(f.sh[ELF_S_SYMTAB].sh_link = 1000);
	REFUSED(f.sh[ELF_S_SYMTAB].sh_size = sizeof(f));
	REFUSED(f.sh[ELF_S_STRTAB].sh_offset = sizeof(f));
	REFUSED(f.sh[ELF_S_STRTAB].sh_type = SHT_NOBITS);
	for (size_t len = 0; len < ELF_OFF(sh) + ELF_S_RELA * sizeof(f.sh[0]); len++) {
		elf_linked(&f, EM_X86_64, ELF_KERNEL_AMD64);
		ck_assert_int_eq(place(&f, len, FBSD_TYPE_KERNEL, 0x200000), -ENOEXEC);
	}
}
END_TEST

START_TEST(span)
{
	struct elf_file f;
	struct fbsd_file file = elf_as_file(&f, sizeof(f), FBSD_TYPE_KERNEL, "test");
	uint64_t lowest, entry;
	uint16_t machine;

	elf_linked(&f, EM_AARCH64, ELF_KERNEL_ARM64);
	ck_assert_int_eq(fbsd_kernel_span(&file, &lowest, &entry, &machine), 0);
	ck_assert_uint_eq(lowest, ELF_KERNEL_ARM64);
	ck_assert_uint_eq(entry, ELF_KERNEL_ARM64 + ELF_OFF(text));
	ck_assert_uint_eq(machine, EM_AARCH64);
	f.eh.e_entry += 0x10000;
	ck_assert_int_eq(fbsd_kernel_span(&file, &lowest, &entry, &machine), -ENOEXEC);
	f.eh.e_entry = ELF_KERNEL_ARM64 - 1;
	ck_assert_int_eq(fbsd_kernel_span(&file, &lowest, &entry, &machine), -ENOEXEC);
}
END_TEST

START_TEST(object)
{
	struct elf_file f;
	Elf64_Shdr sh[ELF_SECTIONS];
	uint32_t len = 0;

	elf_object(&f);
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_OBJ), 0);
	ck_assert_uint_eq(p.addr, 0x200000);
	md_is(MODINFOMD_ELFHDR, &f.eh, sizeof(f.eh));
	const uint8_t *md = md_find(p.md.data, p.md.len, MODINFO_METADATA | MODINFOMD_SHDR, &len);

	ck_assert(md && len == sizeof(sh));
	memcpy(sh, md, sizeof(sh));
	/* Content in the order of the sections, then symbols, their strings, names, relocations of loaded sections. */
	ck_assert_uint_eq(sh[ELF_S_TEXT].sh_addr, 0x200000);
	ck_assert_uint_eq(sh[ELF_S_DATA].sh_addr, 0x200100);
	ck_assert_uint_eq(sh[ELF_S_CTORS].sh_addr, 0x200140);
	ck_assert_uint_eq(sh[ELF_S_SYMTAB].sh_addr, 0x200170);
	ck_assert_uint_eq(sh[ELF_S_STRTAB].sh_addr, 0x200170 + sizeof(f.sym));
	ck_assert_uint_eq(sh[ELF_S_SHSTRTAB].sh_addr, 0x20017e + sizeof(f.sym));
	ck_assert_uint_eq(sh[ELF_S_RELA].sh_addr, ALIGN_UP(0x20017e + sizeof(f.sym) + sizeof(elf_names), (size_t)8));
	ck_assert_uint_eq(sh[ELF_S_RELA_COMMENT].sh_addr, 0);
	ck_assert_uint_eq(p.size, sh[ELF_S_RELA].sh_addr + sizeof(f.rela[0]) - 0x200000);
	ck_assert(all(m.mem, sizeof(f.text), 0x11));
	ck_assert(all(m.mem + 0x100, sizeof(f.data), 0x22));
	ck_assert(all(m.mem + 0x140, 0x30, 0));
	ck_assert(all(m.mem + 0x170, sizeof(f.sym), 0x33));
	ck_assert(all(m.mem + (sh[ELF_S_RELA].sh_addr - 0x200000), sizeof(f.rela[0]), 0x44));
	ck_assert(all(m.mem + p.size, 0x100, 0xee));
	ck_assert(!md_has(MODINFOMD_SSYM) && !md_has(MODINFOMD_DYNAMIC));
}
END_TEST

START_TEST(object_refused)
{
	struct elf_file f;

#define OBJ_REFUSED(change)                                                             \
	do {                                                                            \
		elf_object(&f);                                                         \
		change;                                                                 \
		ck_assert_int_eq(place_all(&f, FBSD_TYPE_OBJ), -ENOEXEC);               \
	} while (0)
	OBJ_REFUSED(f.eh.e_type = ET_DYN);
	OBJ_REFUSED(f.eh.e_shnum = 0);
	OBJ_REFUSED(f.sh[ELF_S_DATA].sh_type = SHT_SYMTAB);     /* two symbol tables */
	OBJ_REFUSED(f.sh[ELF_S_SYMTAB].sh_type = SHT_PROGBITS);
	OBJ_REFUSED(f.sh[ELF_S_SYMTAB].sh_link = 99);
	OBJ_REFUSED(f.sh[ELF_S_STRTAB].sh_type = SHT_PROGBITS);
	OBJ_REFUSED(f.eh.e_shstrndx = 0);
	OBJ_REFUSED(f.sh[ELF_S_TEXT].sh_addralign = 3);
	OBJ_REFUSED(f.sh[ELF_S_TEXT].sh_addralign = 1ull << 63);
	OBJ_REFUSED(f.sh[ELF_S_CTORS].sh_size = UINT64_MAX);
	OBJ_REFUSED(f.sh[ELF_S_CTORS].sh_size = GIB(1));
	OBJ_REFUSED(f.sh[ELF_S_TEXT].sh_offset = sizeof(f));
	OBJ_REFUSED(f.sh[ELF_S_RELA].sh_info = 99);
	for (size_t len = 0; len < sizeof(f); len++) {
		elf_object(&f);
		ck_assert_int_eq(place(&f, len, FBSD_TYPE_OBJ, 0x200000), -ENOEXEC);
	}
}
END_TEST

START_TEST(shared)
{
	struct elf_file f;

	elf_linked(&f, EM_AARCH64, 0);
	ck_assert_int_eq(place(&f, sizeof(f), FBSD_TYPE_MODULE, ELF_KERNEL_ARM64 + 0x5000), 0);
	ck_assert_uint_eq(p.addr, ELF_KERNEL_ARM64 + 0x5000);
	ck_assert_mem_eq(m.mem, &f, ELF_OFF(data));
	ck_assert_uint_eq(md_u64(MODINFOMD_DYNAMIC), ELF_DATA_VA + sizeof(f.data));     /* as in the file */
	ck_assert_uint_eq(md_u64(MODINFOMD_ESYM), p.addr + p.size);
	elf_linked(&f, EM_AARCH64, 0);
	f.ph[0].p_vaddr = 0x100;
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_MODULE), -ENOEXEC);
	elf_object(&f);
	ck_assert_int_eq(place_all(&f, FBSD_TYPE_MODULE), -ENOEXEC);
}
END_TEST

START_TEST(other_files)
{
	struct elf_file f;

	memset(&f, 0x55, sizeof(f));
	ck_assert_int_eq(place(&f, 100, "md_image", 0x200000), 0);
	ck_assert(p.addr == 0x200000 && p.size == 100 && p.md.len == 0);
	ck_assert(all(m.mem, 100, 0x55) && all(m.mem + 100, 100, 0xee));
	ck_assert_int_eq(place(&f, 0, "md_image", 0x200000), 0);
	ck_assert_uint_eq(p.size, 0);
	ck_assert_int_eq(place(&f, 100, FBSD_TYPE_OBJ, 0x200000), -ENOEXEC);
	blob_free(&p.md);
}
END_TEST

UNIT_MAIN("loaders/freebsd/elf", kernel, kernel_without_symbols, kernel_refused, span, object, object_refused, shared, other_files)
