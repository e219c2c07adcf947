/*
 * Direct boot of synthetic kernels in a dry machine: what is where in guest memory afterwards.  Covers boot.c,
 * linux.c and pvh.c of arch/x86.
 */
#include <errno.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
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
	  other_kinds)
