/*
 * Direct boot: tables, descriptor and page tables for the entry modes of layout.h, and the steps the Linux and
 * PVH protocols share.
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
	if (!mem_write(&vm->mem, X86_CMDLINE, text, len + 1))
		return err_msg(-EFAULT, "append: no guest memory for the command line");
	return 0;
}

int x86_put_initrd(struct vm *vm, const struct image *im, uint64_t floor, uint64_t ceiling, uint64_t *gpa)
{
	uint64_t top = ALIGN_DOWN(MIN(ceiling, vm->map.ram[0].len), PAGE), len = im->initrd_len;

	*gpa = 0;
	if (!im->initrd || len == 0)
		return 0;
	uint64_t room = top > floor ? top - floor : 0;

	if (ALIGN_UP(len, PAGE) > room)
		return err_msg(-ENOSPC, "initrd '%s' has %" PRIu64 " KiB and finds %" PRIu64 " KiB of memory beside the kernel: %s",
			       im->initrd_path, len >> 10, room >> 10,
			       ceiling < vm->map.ram[0].len ? "this kernel takes only a smaller one" : "give more memory with -m");
	*gpa = top - ALIGN_UP(len, PAGE);
	memcpy(mem_at(&vm->mem, *gpa, len), im->initrd, len);
	return 0;
}

int x86_put_segment(struct vm *vm, const struct image *im, unsigned i, uint64_t gpa, bool zero)
{
	const struct image_seg *seg = &im->seg[i];
	uint64_t low_end = vm->map.ram[0].len;

	if (gpa < X86_HIGH_START)
		return err_msg(-ENOEXEC, "kernel '%s' wants to be loaded at 0x%" PRIx64 ", below 1 MiB, where the machine keeps "
			       "its tables: link it at 1 MiB or above", im->path, gpa);
	/* Only low RAM: the page tables and 32-bit entries reach no further. */
	uint8_t *to = gpa < low_end && seg->mem_len <= low_end - gpa ? mem_at(&vm->mem, gpa, seg->mem_len) : NULL;

	if (!to)
		return err_msg(-ENOSPC, "kernel '%s' needs memory up to %" PRIu64 " MiB, the machine's ends at %" PRIu64 " MiB: "
			       "give more with -m", im->path, (gpa + seg->mem_len + MIB(1) - 1) >> 20, low_end >> 20);
	memcpy(to, seg->data, seg->len);
	if (zero)
		memset(to + seg->len, 0, seg->mem_len - seg->len);
	return 0;
}

static int put_gdt(struct vm *vm)
{
	static const uint64_t gdt[X86_GDT_ENTRIES] = {
		[X86_SEL_CODE32 / 8] = 0x00cf9b000000ffff,
		[X86_SEL_CODE64 / 8] = 0x00af9b000000ffff,
		[X86_SEL_DATA / 8] = 0x00cf93000000ffff,
	};

	return mem_write(&vm->mem, X86_GDT, gdt, sizeof(gdt)) ? 0 : -EFAULT;
}

/* Virtual = physical for the first 4 GiB, in 2 MiB pages, which every 64-bit processor has. */
static int put_page_tables(struct vm *vm)
{
	uint8_t *pml4 = mem_at(&vm->mem, X86_PML4, PAGE), *pdpt = mem_at(&vm->mem, X86_PDPT, PAGE);
	uint8_t *pd = mem_at(&vm->mem, X86_PD, 4 * PAGE);

	if (!pml4 || !pdpt || !pd)
		return -EFAULT;
	memset(pml4, 0, PAGE);
	memset(pdpt, 0, PAGE);
	put_le64(pml4, X86_PDPT | PTE_WRITE | PTE_PRESENT);
	for (uint64_t i = 0; i < 4; i++)
		put_le64(pdpt + 8 * i, (X86_PD + i * PAGE) | PTE_WRITE | PTE_PRESENT);
	for (uint64_t i = 0; i < 2048; i++)
		put_le64(pd + 8 * i, i * MIB(2) | PTE_LARGE | PTE_WRITE | PTE_PRESENT);
	return 0;
}

int x86_load(struct vm *vm, const struct image *im, struct entry *out)
{
	*out = (struct entry){ .mode = ENTRY_NONE };
	if (im->kind == IMAGE_NONE)
		return 0;
	int err = x86_place_tables(vm);

	if (!err && (put_gdt(vm) || put_page_tables(vm)))
		err = err_msg(-EFAULT, "boot: no guest memory for the page tables");
	if (err)
		return err;
	if (im->kind == IMAGE_BZIMAGE)
		return x86_load_bzimage(vm, im, out);
	if (im->kind == IMAGE_PVH)
		return x86_load_pvh(vm, im, out);
	return err_msg(-ENOEXEC, "kernel '%s' is no x86 kernel: give a bzImage or an ELF file with a PVH entry", im->path);
}
