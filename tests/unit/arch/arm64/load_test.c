#include <errno.h>
#include <unistd.h>

#include "tests/unit/arch/arm64/testvm.h"

static uint8_t byte;

/* An image of these sizes; its bytes are not read by placement. */
static struct image image_of(uint64_t offset, uint64_t size, size_t len, size_t initrd)
{
	return (struct image){
		.kind = IMAGE_ARM64, .path = "Image", .data = &byte, .len = len, .text_offset = offset, .image_size = size,
		.initrd = initrd ? &byte : NULL, .initrd_len = initrd, .initrd_path = "initrd",
	};
}

static int place(uint64_t ram, uint64_t offset, uint64_t size, size_t len, size_t initrd, struct arm64_layout *l)
{
	struct memmap map = { .nram = 1, .ram = { { RAM_BASE, ram } } };
	struct image img = image_of(offset, size, len, initrd);
	int err = arm64_place(&map, &img, l);
	if (err)
		return err;
	/* What must hold of every placement */
	uint64_t end = RAM_BASE + ram, kernel_end = l->kernel + l->kernel_len, low = ALIGN_DOWN(l->kernel, GIB(1));
	ck_assert_uint_eq(l->kernel, RAM_BASE + offset);
	ck_assert_uint_ge(l->kernel_len, MAX(size, (uint64_t)len));
	ck_assert_uint_eq(l->fdt % ARM64_FDT_MAX, 0);
	ck_assert_uint_le(l->fdt + ARM64_FDT_MAX, end);
	ck_assert_uint_le(kernel_end, l->fdt);
	if (initrd) {
		ck_assert_uint_ge(l->initrd, kernel_end);
		ck_assert_uint_le(l->initrd + l->initrd_len, l->fdt);
		ck_assert_uint_le(l->initrd + l->initrd_len, low + GIB(32));
		ck_assert_uint_eq(l->initrd % KIB(64), 0);
	}
	return 0;
}

START_TEST(usual_kernel_with_initrd)
{
	struct arm64_layout l;
	ck_assert_int_eq(place(MIB(256), 0, MIB(27), MIB(26), MIB(1) + 1, &l), 0);
	ck_assert_uint_eq(l.fdt, RAM_BASE + MIB(254));
	ck_assert_int_eq(place(GIB(200), 0, MIB(27), MIB(26), MIB(1), &l), 0);
	ck_assert_uint_eq(l.fdt, RAM_BASE + MIB(510));
}
END_TEST

START_TEST(small_ram_is_used_to_the_last_slot)
{
	struct arm64_layout l;
	ck_assert_int_eq(place(MIB(4), 0, MIB(2), 100, 0, &l), 0);
	ck_assert_int_eq(place(MIB(4), 0, MIB(2) + 1, 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(6), 0, MIB(2), 100, MIB(2), &l), 0);
	ck_assert_int_eq(place(MIB(6), 0, MIB(2), 100, MIB(2) + 1, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(6) + KIB(64), 0, MIB(2), 100, MIB(2) - 1, &l), 0);
	ck_assert_int_eq(place(MIB(2), 0, 4096, 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(KIB(64), 0, 4096, 100, 0, &l), -ENOSPC);
}
END_TEST

START_TEST(text_offset_moves_the_kernel)
{
	struct arm64_layout l;
	ck_assert_int_eq(place(MIB(16), 0x80000, 0, MIB(4), 0, &l), 0);
	ck_assert_uint_eq(l.kernel_len, MIB(4));
	ck_assert_int_eq(place(MIB(8), MIB(6), MIB(1), 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(8), MIB(8), 1, 1, 0, &l), -ENOSPC);
}
END_TEST

START_TEST(big_initrds_go_beyond_the_first_512_mib)
{
	struct arm64_layout l;
	ck_assert_int_eq(place(GIB(2), 0, MIB(30), MIB(26), MIB(600), &l), 0);
	ck_assert_uint_eq(l.fdt, RAM_BASE + GIB(2) - MIB(2));
	ck_assert_int_eq(place(GIB(64), 0, MIB(30), MIB(26), GIB(20), &l), 0);
	ck_assert_int_eq(place(GIB(64), 0, MIB(30), MIB(26), GIB(33), &l), -ENOSPC);
}
END_TEST

START_TEST(absurd_headers_are_refused)
{
	struct arm64_layout l;
	ck_assert_int_eq(place(MIB(256), UINT64_MAX, UINT64_MAX, 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(256), 0, UINT64_MAX, 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(256), UINT64_MAX - 3, 100, 100, 0, &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(256), 0, UINT64_MAX - MIB(1), 100, MIB(1), &l), -ENOSPC);
	ck_assert_int_eq(place(MIB(256), 0, MIB(1), 100, SIZE_MAX, &l), -ENOSPC);
}
END_TEST

START_TEST(load_copies_kernel_initrd_and_tree)
{
	struct testvm *t = testvm_new("memory.size=16M append=quiet");
	uint8_t kernel[300], initrd[70000];
	struct entry e;
	memset(kernel, 0x5a, sizeof(kernel));
	memset(initrd, 0xa5, sizeof(initrd));
	struct image img = image_of(0x1000, 4096, sizeof(kernel), sizeof(initrd));
	img.data = kernel;
	img.initrd = initrd;
	ck_assert_int_eq(mem_add(&t->vm.mem, "ram", t->vm.map.ram[0].base, t->vm.map.ram[0].len, MEM_AUTO), 0);
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_ARM64);
	ck_assert_uint_eq(e.pc, RAM_BASE + 0x1000);
	ck_assert_int_eq(memcmp(mem_at(&t->vm.mem, e.pc, sizeof(kernel)), kernel, sizeof(kernel)), 0);
	const void *fdt = mem_at(&t->vm.mem, e.arg, ARM64_FDT_MAX);
	ck_assert_ptr_nonnull(fdt);
	ck_assert_int_eq(fdt_check_full(fdt, ARM64_FDT_MAX), 0);
	ck_assert_str_eq(text(fdt, "/chosen", "bootargs"), "quiet");
	uint64_t start = cell64(fdt, "/chosen", "linux,initrd-start", 0);
	ck_assert_uint_eq(cell64(fdt, "/chosen", "linux,initrd-end", 0) - start, sizeof(initrd));
	ck_assert_int_eq(memcmp(mem_at(&t->vm.mem, start, sizeof(initrd)), initrd, sizeof(initrd)), 0);
	img.kind = IMAGE_PVH;
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -EINVAL);
	boot_places_clear(&t->vm);
	mem_fini(&t->vm.mem);
	testvm_free(t);
}
END_TEST

static struct testvm *ram_vm(void)
{
	struct testvm *t = testvm_new("memory.size=16M");

	ck_assert_int_eq(mem_add(&t->vm.mem, "ram", t->vm.map.ram[0].base, t->vm.map.ram[0].len, MEM_AUTO), 0);
	return t;
}

static void ram_vm_free(struct testvm *t)
{
	boot_places_clear(&t->vm);
	mem_fini(&t->vm.mem);
	testvm_free(t);
}

START_TEST(elf_goes_where_it_says)
{
	struct testvm *t = ram_vm();
	uint8_t text[100], initrd[70000];
	struct image img = { .kind = IMAGE_ELF_ARM64, .path = "kernel", .nseg = 1, .entry = RAM_BASE + MIB(14) + 4, .initrd = initrd,
			     .initrd_len = sizeof(initrd), .initrd_path = "initrd" };
	struct entry e;

	memset(text, 0x5a, sizeof(text));
	memset(initrd, 0xa5, sizeof(initrd));
	/* Where the tree would be: it goes below. */
	img.seg[0] = (struct image_seg){ .gpa = RAM_BASE + MIB(14), .data = text, .len = sizeof(text), .mem_len = 4096 };
	memset(mem_at(&t->vm.mem, img.seg[0].gpa, 4097), 0xee, 4097);
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_ARM64);
	ck_assert_uint_eq(e.pc, img.entry);
	ck_assert_uint_eq(e.arg, RAM_BASE + MIB(12));
	const uint8_t *k = mem_at(&t->vm.mem, img.seg[0].gpa, 4097);
	ck_assert_mem_eq(k, text, sizeof(text));
	ck_assert_uint_eq(k[sizeof(text)], 0);
	ck_assert_uint_eq(k[4095], 0);
	ck_assert_uint_eq(k[4096], 0xee);
	const void *fdt = mem_at(&t->vm.mem, e.arg, ARM64_FDT_MAX);
	uint64_t start = cell64(fdt, "/chosen", "linux,initrd-start", 0);
	ck_assert_uint_lt(start, e.arg);
	ck_assert_mem_eq(mem_at(&t->vm.mem, start, sizeof(initrd)), initrd, sizeof(initrd));
	/* Outside RAM, and too large for a tree beside it */
	img.seg[0].gpa = 0x200000;
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -ENOSPC);
	img.seg[0].gpa = RAM_BASE;
	img.seg[0].mem_len = MIB(15);
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -ENOSPC);
	ck_assert_int_eq(e.mode, ENTRY_NONE);
	ram_vm_free(t);
}
END_TEST

START_TEST(raw_files)
{
	struct testvm *t = ram_vm();
	uint8_t code[64] = { 1, 2, 3 }, more[4096] = { 4 };
	struct image img = { .kind = IMAGE_RAW, .entry = RAM_BASE + 0x1000, .nblobs = 2 };
	struct entry e;

	img.blob[0] = (struct image_blob){ .path = "code", .gpa = RAM_BASE + 0x1000, .data = code, .len = sizeof(code) };
	img.blob[1] = (struct image_blob){ .path = "more", .gpa = RAM_BASE + MIB(16) - 4096, .data = more, .len = sizeof(more) };
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), 0);
	ck_assert_uint_eq(e.pc, img.entry);
	ck_assert_uint_eq(e.arg, RAM_BASE + MIB(12));
	ck_assert_mem_eq(mem_at(&t->vm.mem, img.entry, sizeof(code)), code, sizeof(code));
	ck_assert_mem_eq(mem_at(&t->vm.mem, img.blob[1].gpa, sizeof(more)), more, sizeof(more));
	ck_assert_int_eq(fdt_check_full(mem_at(&t->vm.mem, e.arg, ARM64_FDT_MAX), ARM64_FDT_MAX), 0);
	ck_assert_uint_eq(boot_placed(&t->vm, PLACE_FDT)->gpa, e.arg);
	img.blob[1].gpa = RAM_BASE + 0x1000;
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -EEXIST);
	img.blob[1].gpa = 0;
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -ENOSPC);
	ram_vm_free(t);
}
END_TEST

START_TEST(a_load_inside_the_kernel_is_refused)
{
	struct testvm *t = ram_vm();
	uint8_t kernel[300] = { 0 };
	struct image img = image_of(0, MIB(2), sizeof(kernel), 0);
	struct entry e;

	img.data = kernel;
	img.nblobs = 1;
	img.blob[0] = (struct image_blob){ .path = "file", .gpa = RAM_BASE + MIB(2) - 1, .data = kernel, .len = 1 };
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), -EEXIST);
	img.blob[0].gpa++;
	ck_assert_int_eq(arm64_load(&t->vm, &img, &e), 0);
	ram_vm_free(t);
}
END_TEST

START_TEST(tables_are_printed_and_written)
{
	struct testvm *t = testvm_new("memory.size=64M");
	char dir[] = "/tmp/skep-load-test-XXXXXX", path[64], *a, *b;
	size_t len;
	t->vm.image = image_of(0, MIB(8), 100, 1000);
	FILE *f = open_memstream(&a, &len);
	ck_assert_int_eq(arch_arm64.print_tables(&t->vm, f), 0);
	fclose(f);
	f = open_memstream(&b, &len);
	ck_assert_int_eq(arch_arm64.print_tables(&t->vm, f), 0);
	fclose(f);
	ck_assert_str_eq(a, b);
	ck_assert_ptr_nonnull(strstr(a, "linux,initrd-start"));
	free(a);
	free(b);

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(arch_arm64.write_tables(&t->vm, dir), 0);
	snprintf(path, sizeof(path), "%s/virt.dtb", dir);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	uint8_t head[40];
	ck_assert_uint_eq(fread(head, 1, sizeof(head), f), sizeof(head));
	ck_assert_int_eq(fdt_check_header(head), 0);
	fclose(f);
	unlink(path);
	rmdir(dir);
	ck_assert_int_eq(arch_arm64.write_tables(&t->vm, dir), -ENOENT);
	testvm_free(t);
}
END_TEST

UNIT_MAIN("arch/arm64/load", usual_kernel_with_initrd, small_ram_is_used_to_the_last_slot, text_offset_moves_the_kernel,
	  big_initrds_go_beyond_the_first_512_mib, absurd_headers_are_refused, load_copies_kernel_initrd_and_tree,
	  elf_goes_where_it_says, raw_files, a_load_inside_the_kernel_is_refused, tables_are_printed_and_written)
