/* What a FreeBSD/amd64 kernel finds beside its files: stack, page tables, memory map, the loader's variables. */
#include "tests/unit/loaders/freebsd/elffile.h"

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/place.h"
#include "loaders/freebsd/metadata.h"
#include "tests/unit/arch/x86/testvm.h"

static struct elf_file kernel;
static struct fbsd_file file[2];
static struct fbsd_var var[1];
static struct fbsd_set set;

static struct image make_image(void)
{
	elf_linked(&kernel, EM_X86_64, ELF_KERNEL_AMD64);
	file[0] = elf_as_file(&kernel, sizeof(kernel), FBSD_TYPE_KERNEL, "/boot/kernel/kernel");
	file[1] = elf_as_file("image", 6, "md_image", "/root.img");
	set = (struct fbsd_set){ .file = file, .nfiles = 1, .var = var };
	return (struct image){ .kind = IMAGE_FREEBSD_AMD64, .path = "kernel", .fbsd = &set };
}

static const uint8_t *gpa(const struct vm *vm, uint64_t at)
{
	const uint8_t *p = mem_at(&vm->mem, at, 1);

	ck_assert_msg(p, "no memory at 0x%llx", (unsigned long long)at);
	return p;
}

static const uint8_t *kernel_record(const struct vm *vm, const struct entry *e, uint32_t type, uint32_t *len)
{
	uint64_t modulep = get_le32(gpa(vm, e->sp + 4)), kernend = get_le32(gpa(vm, e->sp + 8));

	return md_find(gpa(vm, modulep), kernend - modulep, MODINFO_METADATA | type, len);
}

static const char *env(const struct vm *vm, const struct entry *e, const char *name)
{
	uint32_t len = 0;
	const char *p = (const char *)gpa(vm, get_le64(kernel_record(vm, e, MODINFOMD_ENVP, &len)));

	for (; *p; p += strlen(p) + 1) {
		if (strncmp(p, name, strlen(name)) == 0 && p[strlen(name)] == '=')
			return p + strlen(name) + 1;
	}
	return NULL;
}

START_TEST(entry)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_X86_LONG);
	ck_assert_uint_eq(e.pc, ELF_KERNEL_AMD64 + ELF_OFF(text));
	ck_assert_uint_eq(e.cr3, 0);
	ck_assert(e.sp > X86_FBSD_STACK && e.sp < X86_FBSD_STACK + 4096 - 12);
	ck_assert_uint_eq(get_le32(gpa(vm, e.sp)), 0);
	uint32_t modulep = get_le32(gpa(vm, e.sp + 4)), kernend = get_le32(gpa(vm, e.sp + 8));

	ck_assert(modulep > 0x200000 && modulep < kernend && kernend < 0x300000);
	ck_assert_uint_eq(get_le32(gpa(vm, modulep)), MODINFO_NAME);
	ck_assert_mem_eq(gpa(vm, 0x200000), &kernel, ELF_OFF(data));
	test_vm_free(vm);
}
END_TEST

START_TEST(page_tables)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	for (unsigned i = 0; i < 512; i++) {
		ck_assert_uint_eq(get_le64(gpa(vm, X86_PML4 + 8 * i)), X86_PDPT | 3);
		ck_assert_uint_eq(get_le64(gpa(vm, X86_PDPT + 8 * i)), X86_PD | 3);
		ck_assert_uint_eq(get_le64(gpa(vm, X86_PD + 8 * i)), i * MIB(2) | 0x83);
	}
	test_vm_free(vm);
}
END_TEST

START_TEST(memory_map)
{
	struct vm *vm = TEST_VM("memory.size", "3G");
	struct image im = make_image();
	struct e820_entry want[X86_E820_MAX];
	unsigned n = x86_e820(&vm->map, want);
	struct entry e;
	uint32_t len = 0;

	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	const uint8_t *smap = kernel_record(vm, &e, MODINFOMD_AMD64_SMAP, &len);

	ck_assert_uint_eq(len, n * 20);
	ck_assert_mem_eq(smap, want, len);
	test_vm_free(vm);
}
END_TEST

START_TEST(variables)
{
	struct vm *vm = TEST_VM("memory.size", "64M", "uuid", "12345678-1234-5678-9abc-123456789abc");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert_str_eq(env(vm, &e, "acpi.rsdp"), "0x000f0000");
	ck_assert_str_eq(env(vm, &e, "hint.acpi.0.rsdp"), "0x000f0000");
	ck_assert_str_eq(env(vm, &e, "acpi.revision"), "2");
	ck_assert_str_eq(env(vm, &e, "acpi.xsdt_length"), "36");
	ck_assert_uint_eq(strtoull(env(vm, &e, "acpi.xsdt"), NULL, 16), get_le64(gpa(vm, X86_RSDP + 24)));
	ck_assert_str_eq(env(vm, &e, "smbios.system.uuid"), "12345678-1234-5678-9abc-123456789abc");
	ck_assert_str_eq(env(vm, &e, "kernelname"), "/boot/kernel/kernel");
	set.nvars = 1;
	var[0] = (struct fbsd_var){ (char *)"hint.acpi.0.disabled", (char *)"1" };
	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert(!env(vm, &e, "acpi.rsdp") && !env(vm, &e, "hint.acpi.0.rsdp"));
	var[0].value = (char *)"0";
	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert(env(vm, &e, "acpi.rsdp") != NULL);
	var[0] = (struct fbsd_var){ (char *)"acpi.rsdp", (char *)"0x1234" };    /* the operator's word counts */
	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert_str_eq(env(vm, &e, "acpi.rsdp"), "0x1234");
	test_vm_free(vm);
}
END_TEST

START_TEST(no_acpi_tables)
{
	struct vm *vm = TEST_VM("memory.size", "64M", "acpi_tables", "false");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert(!env(vm, &e, "acpi.rsdp"));
	test_vm_free(vm);
}
END_TEST

START_TEST(places)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = make_image();
	struct entry e;

	set.nfiles = 2;
	ck_assert_int_eq(x86_load(vm, &im, &e), 0);
	ck_assert_ptr_nonnull(boot_placed(vm, "kernel '/boot/kernel/kernel'"));
	ck_assert_ptr_nonnull(boot_placed(vm, "module '/root.img'"));
	ck_assert_uint_eq(boot_placed(vm, "kernel '/boot/kernel/kernel'")->gpa, 0x200000);
	ck_assert_str_eq((const char *)gpa(vm, boot_placed(vm, "module '/root.img'")->gpa), "image");
	im.nblobs = 1;
	im.blob[0] = (struct image_blob){ .path = "x", .gpa = 0x201000, .data = (uint8_t *)"x", .len = 1 };
	ck_assert_int_eq(x86_load(vm, &im, &e), -EEXIST);
	test_vm_free(vm);
}
END_TEST

START_TEST(too_large)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = make_image();
	struct entry e;

	set.nfiles = 2;                 /* what does not fit is not read */
	file[1].len = MIB(64);
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOSPC);
	file[1].len = GIB(1);
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOSPC);
	file[1].len = SIZE_MAX;
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOSPC);
	file[1].len = MIB(64) - MIB(16) - MIB(2);       /* its end would leave the kernel too little */
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOSPC);
	test_vm_free(vm);
}
END_TEST

START_TEST(wrong_addresses)
{
	struct vm *vm = TEST_VM("memory.size", "64M");
	struct image im = make_image();
	struct entry e;

	elf_linked(&kernel, EM_X86_64, ELF_KERNBASE);   /* over the low megabyte */
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOEXEC);
	elf_linked(&kernel, EM_X86_64, ELF_KERNBASE + GIB(1));
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOEXEC);
	elf_linked(&kernel, EM_X86_64, 0xffff800000000000);
	ck_assert_int_eq(x86_load(vm, &im, &e), -ENOEXEC);
	test_vm_free(vm);
}
END_TEST

UNIT_MAIN("arch/x86/freebsd", entry, page_tables, memory_map, variables, no_acpi_tables, places, too_large, wrong_addresses)
