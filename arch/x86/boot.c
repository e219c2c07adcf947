/*
 * Direct boot: tables, descriptor and page tables for the entry modes of layout.h, and the steps the boot protocols
 * share.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/vm.h"

#define PAGE KIB(4)
#define PTE_PRESENT 0x1
#define PTE_WRITE 0x2
#define PTE_LARGE 0x80

const char *x86_cmdline(const struct vm *vm)
{
	const char *text = vm->conf ? conf_str(vm->conf, "append") : NULL;

	return text ? text : "";
}

uint64_t x86_rsdp(const struct vm *vm)
{
	return !vm->conf || conf_bool(vm->conf, "acpi_tables") ? X86_RSDP : 0;
}

int x86_put_cmdline(struct vm *vm, const struct image *im, uint64_t max)
{
	const char *text = x86_cmdline(vm);
	size_t len = strlen(text);

	max = MIN(max, (uint64_t)X86_CMDLINE_MAX - 1);
	if (len > max)
		return err_msg(-E2BIG, "append: the command line has %zu characters, kernel '%s' takes at most %" PRIu64 "; "
			       "shorten it", len, im->path, max);
	return boot_copy(vm, X86_CMDLINE, text, len + 1, len + 1, "command line");
}

int x86_take(struct vm *vm, uint64_t gpa, uint64_t len, const char *what)
{
	return boot_place(vm, gpa, len, "%s", what);
}

static int no_room(const struct vm *vm, const char *what, const char *path, uint64_t len, uint64_t room, uint64_t ceiling)
{
	len = ALIGN_UP(len, PAGE);
	if (room >= len)
		return err_msg(-ENOSPC, "%s '%s' has %" PRIu64 " KiB and finds no room between what is in memory already: choose "
			       "other addresses for --load, or give more memory with -m", what, path, len >> 10);
	return err_msg(-ENOSPC, "%s '%s' has %" PRIu64 " KiB and finds %" PRIu64 " KiB of memory beside the kernel: %s", what, path,
		       len >> 10, room >> 10,
		       ceiling < vm->map.ram[0].len ? "this kernel takes only a smaller one" : "give more memory with -m");
}

int x86_put_initrd(struct vm *vm, const struct image *im, uint64_t floor, uint64_t ceiling, uint64_t *gpa)
{
	uint64_t top = ALIGN_DOWN(MIN(ceiling, vm->map.ram[0].len), PAGE), len = im->initrd_len;

	*gpa = 0;
	if (!im->initrd || len == 0)
		return 0;
	if (!boot_find_high(vm, floor, top, ALIGN_UP(len, PAGE), PAGE, gpa))
		return no_room(vm, "initrd", im->initrd_path, len, top > floor ? top - floor : 0, ceiling);
	return boot_copy(vm, *gpa, im->initrd, len, len, "initrd '%s'", im->initrd_path);
}

/* A command line behind the others; *at is where the next one goes. */
static int put_args(struct vm *vm, const char *path, const char *text, uint64_t *at, uint64_t *gpa)
{
	size_t len = strlen(text) + 1;

	*gpa = 0;
	if (len == 1)
		return 0;
	if (len > X86_MODULE_ARGS_END - *at)
		return err_msg(-E2BIG, "module '%s': the arguments of all modules have more than %u characters; shorten them", path,
			       X86_MODULE_ARGS_END - X86_MODULE_ARGS);
	*gpa = *at;
	*at += len;
	return mem_write(&vm->mem, *gpa, text, len) ? 0 : -EFAULT;
}

static int put_module(struct vm *vm, const char *what, const struct image_module *m, uint64_t floor, bool high,
		      struct x86_module *out)
{
	uint64_t end = ALIGN_DOWN(vm->map.ram[0].len, PAGE), size = ALIGN_UP((uint64_t)m->len, PAGE);
	bool found = high ? boot_find_high(vm, floor, end, size, PAGE, &out->gpa) :
		boot_find_low(vm, floor, end, size, PAGE, &out->gpa);

	if (!found)
		return no_room(vm, what, m->path, m->len, end > floor ? end - floor : 0, end);
	out->len = m->len;
	return boot_copy(vm, out->gpa, m->data, m->len, m->len, "%s '%s'", what, m->path);
}

static int put_modules(struct vm *vm, const struct image *im, uint64_t floor, bool pvh, struct x86_module out[], unsigned *n)
{
	struct image_module initrd = { .path = im->initrd_path, .args = "", .data = im->initrd, .len = im->initrd_len };
	uint64_t args = X86_MODULE_ARGS;
	int err = 0;

	*n = 0;
	for (unsigned i = im->initrd ? 0 : 1; i <= im->nmodules && !err; i++) {
		const struct image_module *m = i ? &im->module[i - 1] : &initrd;
		struct x86_module *o = &out[(*n)++];

		err = put_module(vm, i ? "module" : "initrd", m, floor, pvh, o);
		if (!err)
			err = put_args(vm, m->path, *m->args || pvh ? m->args : m->path, &args, &o->args);
	}
	if (!err && args > X86_MODULE_ARGS)
		err = x86_take(vm, X86_MODULE_ARGS, args - X86_MODULE_ARGS, "command lines of the modules");
	return err;
}

int x86_put_segment(struct vm *vm, const struct image *im, unsigned i, uint64_t gpa, bool zero)
{
	const struct image_seg *seg = &im->seg[i];
	uint64_t low_end = vm->map.ram[0].len, end = seg->mem_len > UINT64_MAX - gpa ? UINT64_MAX : gpa + seg->mem_len;

	if (gpa < X86_HIGH_START)
		return err_msg(-ENOEXEC, "kernel '%s' wants to be loaded at 0x%" PRIx64 ", below 1 MiB, where the machine keeps "
			       "its tables: link it at 1 MiB or above", im->path, gpa);
	/* Only low RAM: the page tables and 32-bit entries reach no further. */
	if (gpa >= low_end || seg->mem_len > low_end - gpa)
		return err_msg(-ENOSPC, "kernel '%s' needs memory up to %" PRIu64 " MiB, the machine's ends at %" PRIu64 " MiB: "
			       "give more with -m", im->path, (end - 1) / MIB(1) + 1, low_end >> 20);
	int err = boot_place(vm, gpa, seg->mem_len, "kernel '%s'", im->path);

	if (err)
		return err;
	uint8_t *to = mem_at(&vm->mem, gpa, seg->mem_len);

	memcpy(to, seg->data, seg->len);
	if (zero)
		memset(to + seg->len, 0, seg->mem_len - seg->len);
	return 0;
}

int x86_put_kernel(struct vm *vm, const struct image *im, bool pvh, uint64_t *end, struct x86_module out[], unsigned *n)
{
	int err = 0;

	*n = 0;
	*end = X86_HIGH_START;
	for (unsigned i = 0; i < im->nseg && !err; i++) {
		err = x86_put_segment(vm, im, i, im->seg[i].gpa, true);
		*end = MAX(*end, im->seg[i].gpa + im->seg[i].mem_len);
	}
	if (!err)
		err = x86_put_cmdline(vm, im, X86_CMDLINE_MAX - 1);
	return err ? err : put_modules(vm, im, *end, pvh, out, n);
}

static int put_gdt(struct vm *vm)
{
	static const uint64_t gdt[X86_GDT_ENTRIES] = {
		[X86_SEL_CODE32 / 8] = 0x00cf9b000000ffff,
		[X86_SEL_CODE64 / 8] = 0x00af9b000000ffff,
		[X86_SEL_DATA / 8] = 0x00cf93000000ffff,
	};

	return boot_copy(vm, X86_GDT, gdt, sizeof(gdt), sizeof(gdt), "descriptor table");
}

/* Virtual = physical for the first 4 GiB, in 2 MiB pages, which every 64-bit processor has. */
static int put_page_tables(struct vm *vm)
{
	int err = boot_place(vm, X86_PML4, X86_PD + 4 * PAGE - X86_PML4, "page tables");

	if (err)
		return err;
	uint8_t *pml4 = mem_at(&vm->mem, X86_PML4, PAGE), *pdpt = mem_at(&vm->mem, X86_PDPT, PAGE);
	uint8_t *pd = mem_at(&vm->mem, X86_PD, 4 * PAGE);

	memset(pml4, 0, PAGE);
	memset(pdpt, 0, PAGE);
	put_le64(pml4, X86_PDPT | PTE_WRITE | PTE_PRESENT);
	for (uint64_t i = 0; i < 4; i++)
		put_le64(pdpt + 8 * i, (X86_PD + i * PAGE) | PTE_WRITE | PTE_PRESENT);
	for (uint64_t i = 0; i < 2048; i++)
		put_le64(pd + 8 * i, i * MIB(2) | PTE_LARGE | PTE_WRITE | PTE_PRESENT);
	return 0;
}

/* What the mode of entry relies on: descriptors, page tables. */
static int put_cpu_tables(struct vm *vm, const struct image *im)
{
	const char *mode = im->kind == IMAGE_RAW ? conf_str(vm->conf, "entry.mode") : "long";
	int err = strcmp(mode, "real") == 0 ? 0 : put_gdt(vm);

	return err || strcmp(mode, "long") != 0 ? err : put_page_tables(vm);
}

int x86_load(struct vm *vm, const struct image *im, struct entry *out)
{
	static int (*const loaders[IMAGE_KINDS])(struct vm *, const struct image *, struct entry *) = {
		[IMAGE_BZIMAGE] = x86_load_bzimage, [IMAGE_PVH] = x86_load_pvh, [IMAGE_MULTIBOOT] = x86_load_multiboot,
		[IMAGE_FREEBSD_AMD64] = x86_load_freebsd, [IMAGE_RAW] = x86_load_raw,
	};

	boot_places_clear(vm);
	*out = (struct entry){ .mode = ENTRY_NONE };
	if (vm->firmware)
		out->mode = ENTRY_X86_RESET;
	if (vm->firmware || im->kind == IMAGE_NONE)
		return 0;
	if (!loaders[im->kind])
		return err_msg(-ENOEXEC, "kernel '%s' is no x86 kernel: give a bzImage, a FreeBSD kernel, an ELF file with a PVH "
			       "entry, or a Multiboot kernel", im->path);
	int err = boot_place(vm, X86_ACPI, X86_LOW_TABLES_END - X86_ACPI, "ACPI, MP and SMBIOS tables");

	if (!err)
		err = x86_place_tables(vm);
	if (!err)
		err = put_cpu_tables(vm, im);
	if (!err)
		err = boot_blobs(vm, im);
	return err ? err : loaders[im->kind](vm, im, out);
}
