/*
 * Direct boot of synthetic kernels in a dry machine: what is where in guest memory afterwards.  Covers boot.c,
 * linux.c, pvh.c, multiboot.c and raw.c of arch/x86.
 */
#include <elf.h>
#include <errno.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "loaders/multiboot.h"
#include "tests/unit/capture.h"
#include "tests/unit/arch/x86/testvm.h"
#include "tests/unit/loaders/x86image.h"

static struct image bz_image(uint8_t file[BZ_LEN])
{
	struct image im = { .path = "test", .data = file, .len = BZ_LEN };

	ck_assert_int_eq(bzimage_probe(&im), 1);
	return im;
}

static void *at(struct vm *vm, uint64_t gpa, uint64_t len)
{
	void *p = mem_at(&vm->mem, gpa, len);

	ck_assert_ptr_nonnull(p);
	return p;
}

START_TEST(bzimage)
{
	static uint8_t initrd[5000] = { 1, 2, 3 };
	struct vm *vm = TEST_VM("append", "console=ttyS0 quiet");
	uint8_t file[BZ_LEN];
	struct entry e;

	bz_make(file);
	struct image im = bz_image(file);

	im.initrd = initrd;
	im.initrd_len = sizeof(initrd);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_LONG);
	ck_assert_uint_eq(e.pc, BZ_PREF + 0x200);
	ck_assert_uint_eq(e.arg, X86_ZERO_PAGE);
	ck_assert_mem_eq(at(vm, BZ_PREF, BZ_KERNEL), file + BZ_SETUP, BZ_KERNEL);
	const uint8_t *zp = at(vm, X86_ZERO_PAGE, BP_LEN);

	ck_assert_mem_eq(zp + HDR_PREF_ADDRESS, file + HDR_PREF_ADDRESS, 8);
	ck_assert_uint_eq(zp[HDR_TYPE_OF_LOADER], 0xff);
	ck_assert_uint_eq(get_le64(zp + BP_ACPI_RSDP_ADDR), X86_RSDP);
	ck_assert_str_eq(at(vm, get_le32(zp + HDR_CMD_LINE_PTR), 32), "console=ttyS0 quiet");
	ck_assert_uint_eq(get_le32(zp + HDR_RAMDISK_SIZE), sizeof(initrd));
	ck_assert_uint_eq(get_le32(zp + HDR_RAMDISK_IMAGE), MIB(256) - 8192);
	ck_assert_mem_eq(at(vm, MIB(256) - 8192, sizeof(initrd)), initrd, sizeof(initrd));
	ck_assert_uint_eq(zp[BP_E820_ENTRIES], 5);
	ck_assert_uint_eq(get_le64(zp + BP_E820_TABLE + 3 * 20), X86_HIGH_START);
	ck_assert_uint_eq(get_le64(zp + HDR_SETUP_DATA), 0);    /* a dry machine has no seed */
	test_vm_free(vm);
}
END_TEST

START_TEST(seed_differs)
{
	struct vm *vm = TEST_VM("cpus", "1");
	uint8_t file[BZ_LEN], first[48];
	struct entry e;

	bz_make(file);
	struct image im = bz_image(file);

	vm->dry = false;
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	const uint8_t *sd = at(vm, X86_SETUP_DATA, 48);

	ck_assert_uint_eq(get_le64((uint8_t *)at(vm, X86_ZERO_PAGE, BP_LEN) + HDR_SETUP_DATA), X86_SETUP_DATA);
	ck_assert_uint_eq(get_le64(sd), 0);
	ck_assert_uint_eq(get_le32(sd + 8), SETUP_RNG_SEED);
	ck_assert_uint_eq(get_le32(sd + 12), 32);
	memcpy(first, sd, sizeof(first));
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	ck_assert_mem_ne(first + 16, sd + 16, 32);
	vm->dry = true;
	test_vm_free(vm);
}
END_TEST

START_TEST(page_tables_and_gdt)
{
	struct vm *vm = TEST_VM("cpus", "1");
	uint8_t file[BZ_LEN];
	struct entry e;

	bz_make(file);
	struct image im = bz_image(file);

	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	for (uint64_t va = 0; va < GIB(4); va += MIB(2)) {
		uint64_t pml4e = get_le64(at(vm, X86_PML4, 8));
		uint64_t pdpte = get_le64(at(vm, (pml4e & ~0xfffull) + 8 * (va >> 30), 8));
		uint64_t pde = get_le64(at(vm, (pdpte & ~0xfffull) + 8 * (va >> 21 & 511), 8));

		ck_assert_uint_eq(pml4e & pdpte & 3, 3);
		ck_assert_uint_eq(pde, va | 0x83);
	}
	ck_assert_uint_eq(get_le64(at(vm, X86_GDT + X86_SEL_CODE64, 8)) >> 53 & 3, 1);  /* L, not D */
	ck_assert_uint_eq(get_le64(at(vm, X86_GDT + X86_SEL_CODE32, 8)) >> 53 & 3, 2);
	test_vm_free(vm);
}
END_TEST

static int load(const char *key, const char *value, uint8_t *file, size_t initrd_len)
{
	struct vm *vm = TEST_VM(key, value);
	struct image im = bz_image(file);
	struct entry e;

	im.initrd = initrd_len ? malloc(initrd_len) : NULL;
	im.initrd_len = initrd_len;
	im.initrd_path = "initrd";
	if (im.initrd)
		memset(im.initrd, 0x55, initrd_len);
	int err = arch_x86.load(vm, &im, &e);

	ck_assert(err == 0 || e.mode == ENTRY_NONE);
	free(im.initrd);
	test_vm_free(vm);
	return err;
}

START_TEST(what_does_not_fit)
{
	char text[66];
	uint8_t f[BZ_LEN];

	memset(text, 'x', sizeof(text));
	text[64] = '\0';
	bz_make(f);
	ck_assert_int_eq(load("append", text, f, 0), 0);
	text[64] = 'x';
	text[65] = '\0';
	ck_assert_int_eq(load("append", text, f, 0), -E2BIG);
	ck_assert_int_eq(load("memory.size", "16M", f, 0), -ENOSPC);            /* loads at 16 MiB */
	ck_assert_int_eq(load("memory.size", "18M", f, MIB(2) - 0x8000), 0);    /* to the last page */
	ck_assert_int_eq(load("memory.size", "18M", f, MIB(2) - 0x8000 + 1), -ENOSPC);
	put_le32(f + HDR_INITRD_ADDR_MAX, BZ_PREF + 0x8fff);
	ck_assert_int_eq(load("memory.size", "64M", f, 4096), 0);
	ck_assert_int_eq(load("memory.size", "64M", f, 4097), -ENOSPC);
	put_le32(f + HDR_INITRD_ADDR_MAX, 0);
	ck_assert_int_eq(load("memory.size", "64M", f, 1), -ENOSPC);
}
END_TEST

START_TEST(odd_headers)
{
	static const uint64_t pref[] = { GIB(2), GIB(4), GIB(5), UINT64_MAX, UINT64_MAX - 0x8000, MIB(256) };
	uint8_t f[BZ_LEN];

	for (size_t i = 0; i < NELEM(pref); i++) {
		bz_make(f);
		put_le64(f + HDR_PREF_ADDRESS, pref[i]);
		ck_assert_int_lt(load("memory.size", "256M", f, 0), 0);
		f[HDR_RELOCATABLE] = 0;
		ck_assert_int_lt(load("memory.size", "256M", f, 0), 0);
	}
	/* High RAM is not within reach of the entry's page tables. */
	put_le64(f + HDR_PREF_ADDRESS, GIB(4) + MIB(16));
	ck_assert_int_eq(load("memory.size", "4G", f, 0), -ENOSPC);
	bz_make(f);
	put_le64(f + HDR_PREF_ADDRESS, 0);
	put_le32(f + HDR_KERNEL_ALIGNMENT, 0x12345);    /* no power of two */
	ck_assert_int_eq(load("memory.size", "16M", f, 0), 0);
	f[HDR_RELOCATABLE] = 0;
	ck_assert_int_eq(load("memory.size", "16M", f, 0), -ENOEXEC);
	bz_make(f);
	f[HDR_JUMP_LEN] = 0xff;                         /* header up to the next field at most */
	ck_assert_int_eq(load("memory.size", "256M", f, 0), 0);
	f[HDR_JUMP_LEN] = 0;
	ck_assert_int_eq(load("memory.size", "256M", f, 0), 0);
}
END_TEST

START_TEST(pvh)
{
	static uint8_t initrd[100] = { 9, 8, 7 };
	struct vm *vm = TEST_VM("append", "a=b", "memory.size", "3G");
	struct elf_file f;
	struct entry e;

	elf_make(&f);
	struct image im = {
		.path = "test", .data = (uint8_t *)&f, .len = sizeof(f), .initrd = initrd, .initrd_len = sizeof(initrd),
	};

	ck_assert_int_eq(pvh_probe(&im), 1);
	memset(at(vm, ELF_LOAD, 0x300), 0xee, 0x300);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_PROT32);
	ck_assert_uint_eq(e.pc, ELF_LOAD + 0x10);
	ck_assert_uint_eq(e.arg, X86_PVH_INFO);
	const uint8_t *loaded = at(vm, ELF_LOAD, 0x300), *si = at(vm, X86_PVH_INFO, 56);

	ck_assert_uint_eq(loaded[0xff], 0xf4);
	ck_assert_uint_eq(loaded[0x100], 0);            /* memory behind the file's part is cleared */
	ck_assert_uint_eq(loaded[0x1ff], 0);
	ck_assert_uint_eq(loaded[0x200], 0xee);
	ck_assert_uint_eq(get_le32(si), 0x336ec578);
	ck_assert_uint_eq(get_le32(si + 4), 1);
	ck_assert_uint_eq(get_le32(si + 12), 1);
	const uint8_t *mod = at(vm, get_le64(si + 16), 32);

	ck_assert_uint_eq(get_le64(mod), GIB(2) - 4096);
	ck_assert_uint_eq(get_le64(mod + 8), sizeof(initrd));
	ck_assert_mem_eq(at(vm, get_le64(mod), sizeof(initrd)), initrd, sizeof(initrd));
	ck_assert_str_eq(at(vm, get_le64(si + 24), 4), "a=b");
	ck_assert_uint_eq(get_le64(si + 32), X86_RSDP);
	ck_assert_uint_eq(get_le32(si + 48), 6);
	const uint8_t *map = at(vm, get_le64(si + 40), 6 * 24);

	ck_assert_uint_eq(get_le64(map + 5 * 24), GIB(4));
	ck_assert_uint_eq(get_le64(map + 5 * 24 + 8), GIB(1));
	test_vm_free(vm);
}
END_TEST

static int load_pvh_at(uint64_t paddr, uint64_t mem_len)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	uint8_t text[16] = { 0 };
	struct image im = { .kind = IMAGE_PVH, .path = "test", .nseg = 1, .entry = paddr };
	struct entry e;

	im.seg[0] = (struct image_seg){ .gpa = paddr, .data = text, .len = sizeof(text), .mem_len = mem_len };
	int err = arch_x86.load(vm, &im, &e);

	test_vm_free(vm);
	return err;
}

START_TEST(pvh_placement)
{
	ck_assert_int_eq(load_pvh_at(MIB(1), 16), 0);
	ck_assert_int_eq(load_pvh_at(MIB(64) - 16, 16), 0);
	ck_assert_int_eq(load_pvh_at(MIB(64) - 16, 17), -ENOSPC);
	ck_assert_int_eq(load_pvh_at(MIB(64), 16), -ENOSPC);
	ck_assert_int_eq(load_pvh_at(GIB(3), GIB(1)), -ENOSPC);
	ck_assert_int_eq(load_pvh_at(MIB(1) - 1, 16), -ENOEXEC);
	ck_assert_int_eq(load_pvh_at(0, 16), -ENOEXEC);
}
END_TEST

/* A kernel of one page at 2 MiB with 4 pages of memory. */
static struct image kernel_of(enum image_kind kind)
{
	static uint8_t text[4096] = { 0xf4 };
	struct image im = { .kind = kind, .path = "test", .nseg = 1, .entry = MIB(2) };

	im.seg[0] = (struct image_seg){ .gpa = MIB(2), .data = text, .len = sizeof(text), .mem_len = 4 * sizeof(text) };
	return im;
}

static void add_module(struct image *im, const char *path, const char *args, size_t len)
{
	static uint8_t bytes[70000];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	im->module[im->nmodules++] = (struct image_module){ .path = path, .args = args, .data = bytes, .len = len };
}

START_TEST(pvh_modules)
{
	static uint8_t initrd[3] = { 1, 2, 3 };
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = kernel_of(IMAGE_PVH);
	struct entry e;

	im.initrd = initrd;
	im.initrd_len = sizeof(initrd);
	im.initrd_path = "initrd";
	add_module(&im, "one", "args of one", 70000);
	add_module(&im, "two", "", 4096);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	const uint8_t *si = at(vm, X86_PVH_INFO, 56), *list = at(vm, get_le64(si + 16), 3 * 32);
	static const struct { uint64_t gpa, len; } want[] = { { MIB(64) - 0x1000, 3 }, { MIB(64) - 0x13000, 70000 },
		{ MIB(64) - 0x14000, 4096 } };

	ck_assert_uint_eq(get_le32(si + 12), 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(get_le64(list + 32 * i), want[i].gpa);
		ck_assert_uint_eq(get_le64(list + 32 * i + 8), want[i].len);
		ck_assert_uint_eq(get_le64(list + 32 * i + 24), 0);
	}
	ck_assert_mem_eq(at(vm, want[1].gpa, 70000), im.module[0].data, 70000);
	ck_assert_uint_eq(get_le64(list + 16), 0);
	ck_assert_str_eq(at(vm, get_le64(list + 32 + 16), 12), "args of one");
	ck_assert_uint_eq(get_le64(list + 64 + 16), 0);
	im.initrd = NULL;
	im.nmodules = 0;
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	si = at(vm, X86_PVH_INFO, 56);
	ck_assert_uint_eq(get_le32(si + 12), 0);
	ck_assert_uint_eq(get_le64(si + 16), 0);
	test_vm_free(vm);
}
END_TEST

START_TEST(multiboot)
{
	static uint8_t initrd[3] = { 1, 2, 3 };
	struct vm *vm = TEST_VM("memory.size", "3G", "append", "a=b c");
	struct image im = kernel_of(IMAGE_MULTIBOOT);
	const struct mb_info *info;
	struct entry e;

	im.initrd = initrd;
	im.initrd_len = sizeof(initrd);
	im.initrd_path = "initrd";
	add_module(&im, "one", "args of one", 70000);
	memset(at(vm, MIB(2), 0x5000), 0xee, 0x5000);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_PROT32);
	ck_assert_uint_eq(e.pc, MIB(2));
	ck_assert_uint_eq(e.arg2, 0x2badb002);
	const uint8_t *k = at(vm, MIB(2), 0x4000);

	ck_assert_uint_eq(k[0], 0xf4);
	ck_assert_uint_eq(k[0x1000], 0);
	ck_assert_uint_eq(k[0x3fff], 0);
	info = at(vm, e.arg, sizeof(*info));
	ck_assert_uint_eq(info->flags, 0x24d);
	ck_assert_uint_eq(info->mem_lower, 639);
	ck_assert_uint_eq(info->mem_upper, (GIB(2) - MIB(1)) / 1024);
	ck_assert_str_eq(at(vm, info->cmdline, 6), "a=b c");
	ck_assert_str_eq(at(vm, info->boot_loader_name, 5), "skep");
	ck_assert_uint_eq(info->mods_count, 2);
	const struct mb_module *m = at(vm, info->mods_addr, 2 * sizeof(*m));

	ck_assert_uint_eq(m[0].start, MIB(2) + 0x4000);
	ck_assert_uint_eq(m[0].end, MIB(2) + 0x4003);
	ck_assert_str_eq(at(vm, m[0].string, 7), "initrd");
	ck_assert_uint_eq(m[1].start, MIB(2) + 0x5000);
	ck_assert_uint_eq(m[1].end, MIB(2) + 0x5000 + 70000);
	ck_assert_str_eq(at(vm, m[1].string, 12), "args of one");
	ck_assert_uint_eq(m[0].reserved | m[1].reserved, 0);
	ck_assert_mem_eq(at(vm, m[1].start, 70000), im.module[0].data, 70000);
	ck_assert_uint_eq(info->mmap_length, 6 * 24);
	const struct mb_mmap *map = at(vm, info->mmap_addr, info->mmap_length);

	for (unsigned i = 0; i < 6; i++)
		ck_assert_uint_eq(map[i].size, 20);
	ck_assert_uint_eq(map[3].addr, MIB(1));
	ck_assert_uint_eq(map[3].len, GIB(2) - MIB(1));
	ck_assert_uint_eq(map[3].type, 1);
	ck_assert_uint_eq(map[5].addr, GIB(4));
	test_vm_free(vm);
}
END_TEST

/* A 32-bit ELF file's sections: none, one in a segment, two left out, one cleared memory, one beyond the file. */
static void add_sections(struct image *im, uint8_t *f, size_t len)
{
	static const Elf32_Shdr sh[6] = {
		{ 0 },
		{ .sh_type = SHT_PROGBITS, .sh_addr = 0x200000, .sh_offset = 0x100, .sh_size = 8 },
		{ .sh_type = SHT_SYMTAB, .sh_offset = 0x110, .sh_size = 3, .sh_link = 3 },
		{ .sh_type = SHT_STRTAB, .sh_offset = 0x120, .sh_size = 20 },
		{ .sh_type = SHT_NOBITS, .sh_offset = 0x100, .sh_size = 0x10000000 },
		{ .sh_type = SHT_PROGBITS, .sh_offset = 0x100, .sh_size = 0x10000000 },
	};
	Elf32_Ehdr eh = { .e_shoff = 0x180, .e_shnum = 6, .e_shentsize = sizeof(sh[0]), .e_shstrndx = 3 };

	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS32;
	for (size_t i = 0; i < len; i++)
		f[i] = (uint8_t)i;
	memcpy(f, &eh, sizeof(eh));
	memcpy(f + 0x180, sh, sizeof(sh));
	im->data = f;
	im->len = len;
}

static const struct mb_info *load_multiboot(struct vm *vm, const struct image *im)
{
	struct entry e;

	ck_assert_int_eq(arch_x86.load(vm, im, &e), 0);
	return at(vm, e.arg, sizeof(struct mb_info));
}

START_TEST(multiboot_symbols)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = kernel_of(IMAGE_MULTIBOOT);
	uint8_t f[0x180 + 6 * 40];

	add_module(&im, "one", "", 5000);
	add_sections(&im, f, sizeof(f));
	const struct mb_info *info = load_multiboot(vm, &im);

	ck_assert_uint_eq(info->flags, 0x24d | MB_INFO_SHDR);
	ck_assert_uint_eq(info->shdr_num, 6);
	ck_assert_uint_eq(info->shdr_size, 40);
	ck_assert_uint_eq(info->shdr_shndx, 3);
	ck_assert_uint_eq(info->shdr_addr, MIB(2) + 0x6000);    /* behind the module's pages */
	const Elf32_Shdr *sh = at(vm, info->shdr_addr, 6 * sizeof(*sh));

	ck_assert_uint_eq(sh[1].sh_addr, 0x200000);
	ck_assert_uint_eq(sh[2].sh_addr, info->shdr_addr + 240);
	ck_assert_mem_eq(at(vm, sh[2].sh_addr, 3), f + 0x110, 3);
	ck_assert_uint_eq(sh[2].sh_link, 3);
	ck_assert_uint_eq(sh[3].sh_addr, info->shdr_addr + 256);
	ck_assert_mem_eq(at(vm, sh[3].sh_addr, 20), f + 0x120, 20);
	ck_assert_uint_eq(sh[0].sh_addr | sh[4].sh_addr | sh[5].sh_addr, 0);
	im.len--;                                               /* the table is cut off */
	ck_assert_uint_eq(load_multiboot(vm, &im)->flags, 0x24d);
	im.len++;
	im.mb_flags = MB_ADDRESSES;                             /* not loaded as ELF */
	ck_assert_uint_eq(load_multiboot(vm, &im)->flags, 0x24d);
	test_vm_free(vm);
}
END_TEST

static struct capture err;

static int load_raw(const char *mode, uint64_t gpa, uint64_t entry, struct entry *e)
{
	struct vm *vm = TEST_VM("memory.size", "64M", "entry.mode", mode);
	struct image im = { .kind = IMAGE_RAW, .entry = entry, .nblobs = 1 };
	uint8_t code[16] = { 1 };

	im.blob[0] = (struct image_blob){ .path = "code", .gpa = gpa, .data = code, .len = sizeof(code) };
	capture_start(&err, 2);
	int r = arch_x86.load(vm, &im, e);
	capture_stop(&err);
	if (r == 0)
		ck_assert_mem_eq(at(vm, gpa, sizeof(code)), code, sizeof(code));
	test_vm_free(vm);
	return r;
}

START_TEST(raw)
{
	struct entry e;

	ck_assert_int_eq(load_raw("real", 0x7c00, 0x7c04, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_REAL);
	ck_assert_uint_eq(e.pc, 0x7c04);
	ck_assert_int_eq(load_raw("real", 0x1000, 0x1000, &e), 0);              /* no GDT there */
	ck_assert_int_eq(load_raw("protected", 0x9000, 0x9000, &e), 0);         /* no page tables there */
	ck_assert_int_eq(e.mode, ENTRY_X86_PROT32);
	ck_assert_int_eq(load_raw("long", MIB(32), MIB(32), &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_LONG);
	ck_assert_int_eq(load_raw("long", 0xeff8, 0xeff8, &e), -EEXIST);
	ck_assert_str_eq(err.text, "skep: load.0 'code' (0xeff8-0xf007) and page tables (0x9000-0xefff) overlap in guest memory: "
		"choose another "
			 "address for --load\n");
	ck_assert_int_eq(e.mode, ENTRY_NONE);
	ck_assert_int_eq(load_raw("protected", 0x1010, 0x1010, &e), -EEXIST);
	ck_assert_int_eq(load_raw("real", 0xf0000, 0xf0000, &e), -EEXIST);
	ck_assert_int_eq(load_raw("real", MIB(1), MIB(1), &e), -EINVAL);
	ck_assert_str_eq(err.text, "skep: --entry 0x100000: the processor in real mode reaches 1 MiB; choose a lower address, or "
		"another mode "
			 "with -o entry.mode\n");
	ck_assert_int_eq(load_raw("protected", MIB(64) - 15, MIB(64) - 15, &e), -ENOSPC);
	ck_assert_int_eq(load_raw("protected", GIB(5), GIB(5), &e), -ENOSPC);
}
END_TEST

/* What is placed automatically goes around what the operator has placed; what is not is refused. */
START_TEST(loads_beside_a_kernel)
{
	static uint8_t initrd[5000], file[4096];
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = kernel_of(IMAGE_PVH);
	struct entry e;

	im.initrd = initrd;
	im.initrd_len = sizeof(initrd);
	im.initrd_path = "initrd";
	im.nblobs = 1;
	im.blob[0] = (struct image_blob){ .path = "file", .gpa = MIB(64) - 0x2000, .data = file, .len = sizeof(file) };
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	const struct placement *p = boot_placed(vm, "initrd 'initrd'");

	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(p->gpa, MIB(64) - 0x4000);
	ck_assert_ptr_nonnull(boot_placed(vm, "load.0 'file'"));
	ck_assert_ptr_nonnull(boot_placed(vm, "kernel 'test'"));
	im.blob[0].gpa = MIB(2) + 0x3fff;               /* memory the file does not fill */
	capture_start(&err, 2);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), -EEXIST);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: kernel 'test' (0x200000-0x203fff) and load.0 'file' (0x203fff-0x204ffe) overlap in guest "
		"memory: "
			 "choose another address for --load\n");
	im.initrd_len = MIB(40);
	im.blob[0].gpa = MIB(32);
	capture_start(&err, 2);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), -ENOSPC);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: initrd 'initrd' has 40960 KiB and finds no room between what is in memory already: "
		"choose other "
			 "addresses for --load, or give more memory with -m\n");
	im.initrd_len = sizeof(initrd);
	for (uint64_t gpa = 0; gpa < MIB(1); gpa += 0x1000) {  /* low memory: in use, or free, but never both */
		im.blob[0].gpa = gpa;
		capture_start(&err, 2);
		int r = arch_x86.load(vm, &im, &e);
		capture_stop(&err);
		if (r == 0)
			ck_assert_mem_eq(at(vm, gpa, sizeof(file)), file, sizeof(file));
		else
			ck_assert_int_eq(r, -EEXIST);
	}
	test_vm_free(vm);
}
END_TEST

START_TEST(modules_that_do_not_fit)
{
	static char args[20000];
	struct vm *vm = TEST_VM("memory.size", "16M");
	struct image im = kernel_of(IMAGE_MULTIBOOT);
	struct entry e;

	add_module(&im, "one", "", MIB(14));
	im.module[0].data = calloc(1, MIB(14));
	capture_start(&err, 2);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), -ENOSPC);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: module 'one' has 14336 KiB and finds 14320 KiB of memory beside the kernel: give more "
		"memory with -m\n");
	im.module[0].len = MIB(14) - 0x4000;
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), 0);
	memset(args, 'x', sizeof(args) - 1);
	im.module[0].args = args;
	capture_start(&err, 2);
	ck_assert_int_eq(arch_x86.load(vm, &im, &e), -E2BIG);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: module 'one': the arguments of all modules have more than 16384 characters; shorten "
		"them\n");
	free(im.module[0].data);
	test_vm_free(vm);
}
END_TEST

START_TEST(other_kinds)
{
	struct vm *vm = TEST_VM("cpus", "1");
	struct image none = { .kind = IMAGE_NONE }, arm = { .kind = IMAGE_ARM64, .path = "test" };
	struct entry e;

	ck_assert_int_eq(arch_x86.load(vm, &none, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_NONE);
	ck_assert_int_eq(arch_x86.load(vm, &arm, &e), -ENOEXEC);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("arch/x86/boot", bzimage, seed_differs, page_tables_and_gdt, what_does_not_fit, odd_headers, pvh, pvh_placement,
	pvh_modules,
	  multiboot, multiboot_symbols, raw, loads_beside_a_kernel, modules_that_do_not_fit, other_kinds)
