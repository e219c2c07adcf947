/* Where a FreeBSD/arm64 kernel goes, how it is entered, and the device tree among its metadata. */
#include "tests/unit/loaders/freebsd/elffile.h"

#include <libfdt.h>

#include "arch/arm64/arm64.h"
#include "common/conf.h"
#include "common/image.h"
#include "common/place.h"
#include "common/vm.h"
#include "loaders/freebsd/metadata.h"
#include "tests/unit/unit.h"

#define KERNBASE ELF_KERNEL_ARM64

static struct elf_file kernel, module;
static struct fbsd_file file[2];
static struct fbsd_set set;

static struct vm *make_vm(const char *memory)
{
	struct conf *c = conf_new();
	struct vm *vm = NULL;

	conf_set(c, "name", "testvm", "test");
	conf_set(c, "arch", "arm64", "test");
	conf_set(c, "memory.size", memory, "test");
	ck_assert_int_eq(vm_create(c, &arch_arm64, true, &vm), 0);
	return vm;
}

static void free_vm(struct vm *vm)
{
	struct conf *c = vm->conf;

	vm_free(vm);
	conf_free(c);
}

static struct image make_image(void)
{
	elf_linked(&kernel, EM_AARCH64, KERNBASE);
	elf_linked(&module, EM_AARCH64, 0);
	file[0] = elf_as_file(&kernel, sizeof(kernel), FBSD_TYPE_KERNEL, "/boot/kernel/kernel");
	file[1] = elf_as_file(&module, sizeof(module), FBSD_TYPE_MODULE, "/boot/kernel/a.ko");
	set = (struct fbsd_set){ .file = file, .nfiles = 2 };
	return (struct image){ .kind = IMAGE_FREEBSD_ARM64, .path = "kernel", .fbsd = &set };
}

/* Memory at one of the kernel's virtual addresses. */
static const uint8_t *at(const struct vm *vm, uint64_t va)
{
	const uint8_t *p = mem_at(&vm->mem, va - KERNBASE + RAM_BASE, 1);

	ck_assert_msg(p, "no memory at 0x%llx", (unsigned long long)va);
	return p;
}

static uint64_t u64(const struct vm *vm, uint64_t modulep, uint32_t type)
{
	uint32_t len = 0;
	const uint8_t *v = md_find(at(vm, modulep), 4096, type, &len);

	ck_assert_msg(v && len == 8, "record 0x%x", type);
	return get_le64(v);
}

START_TEST(entry)
{
	struct vm *vm = make_vm("64M");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(arm64_load(vm, &im, &e), 0);
	ck_assert_int_eq(e.mode, ENTRY_ARM64);
	ck_assert_uint_eq(e.pc, RAM_BASE + ELF_OFF(text));
	ck_assert(e.arg > KERNBASE && e.arg % 4096 == 0);
	ck_assert_mem_eq(at(vm, KERNBASE), &kernel, ELF_OFF(data));
	ck_assert_uint_eq(u64(vm, e.arg, MODINFO_ADDR), KERNBASE);
	uint64_t kernend = u64(vm, e.arg, MODINFO_METADATA | MODINFOMD_KERNEND);

	ck_assert(kernend > e.arg && kernend - e.arg <= 8192);
	free_vm(vm);
}
END_TEST

START_TEST(device_tree)
{
	struct vm *vm = make_vm("64M");
	struct image im = make_image();
	struct entry e;

	ck_assert_int_eq(arm64_load(vm, &im, &e), 0);
	uint64_t dtbp = u64(vm, e.arg, MODINFO_METADATA | MODINFOMD_ARM64_DTBP);
	const void *fdt = at(vm, dtbp);

	ck_assert_int_eq(fdt_check_full(fdt, fdt_totalsize(fdt)), 0);
	ck_assert(dtbp % 4096 == 0 && dtbp + fdt_totalsize(fdt) <= e.arg);
	ck_assert_int_lt(fdt_path_offset(fdt, "/memory@40000000"), 0x10000);
	ck_assert(!fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "linux,initrd-start", NULL));
	/* `plan` reads the tree from there. */
	ck_assert_uint_eq(boot_placed(vm, PLACE_FDT)->gpa, dtbp - KERNBASE + RAM_BASE);
	free_vm(vm);
}
END_TEST

START_TEST(linked_behind_its_base)
{
	struct vm *vm = make_vm("64M");
	struct image im = make_image();
	struct entry e;

	/* Some kernels' first segment begins a page or more after KERNBASE: the distance stays. */
	elf_linked(&kernel, EM_AARCH64, KERNBASE + 0x1000);
	ck_assert_int_eq(arm64_load(vm, &im, &e), 0);
	ck_assert_uint_eq(e.pc, RAM_BASE + 0x1000 + ELF_OFF(text));
	ck_assert_mem_eq(at(vm, KERNBASE + 0x1000), &kernel, ELF_OFF(data));
	free_vm(vm);
}
END_TEST

START_TEST(refused)
{
	struct vm *vm = make_vm("64M");
	struct image im = make_image();
	struct entry e;

	file[1].type = "md_image";      /* what does not fit is not read */
	file[1].len = MIB(64);
	ck_assert_int_eq(arm64_load(vm, &im, &e), -ENOSPC);
	file[1].len = GIB(1);
	ck_assert_int_eq(arm64_load(vm, &im, &e), -ENOSPC);
	file[1].len = SIZE_MAX;
	ck_assert_int_eq(arm64_load(vm, &im, &e), -ENOSPC);
	im = make_image();
	module.eh.e_machine = EM_X86_64;
	ck_assert_int_eq(arm64_load(vm, &im, &e), -ENOEXEC);
	im = make_image();
	im.nblobs = 1;
	im.blob[0] = (struct image_blob){ .path = "x", .gpa = RAM_BASE + 0x1000, .data = (uint8_t *)"x", .len = 1 };
	ck_assert_int_eq(arm64_load(vm, &im, &e), -EEXIST);
	free_vm(vm);
}
END_TEST

UNIT_MAIN("arch/arm64/freebsd", entry, device_tree, linked_behind_its_base, refused)
