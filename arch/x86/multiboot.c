/*
 * Multiboot kernels: segments at their addresses, modules on the pages behind them, behind these the sections of an ELF file
 * that its segments leave out (symbols), and the information structure [MULTIBOOT 3.2, 3.3] in low memory.
 */
#include <elf.h>
#include <errno.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/log.h"
#include "common/vm.h"
#include "loaders/multiboot.h"

/* The name stands behind the structure. */
#define LOADER_NAME "skep"
#define NAME_AT (X86_MB_INFO + sizeof(struct mb_info))

static uint32_t fill_mmap(const struct vm *vm, struct mb_mmap out[X86_E820_MAX])
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = x86_e820(&vm->map, e);

	for (unsigned i = 0; i < n; i++)
		out[i] = (struct mb_mmap){
			.size = sizeof(*out) - sizeof(out->size), .addr = e[i].addr, .len = e[i].len, .type = e[i].type,
		};
	return n * (uint32_t)sizeof(*out);
}

/*
 * Modules as their list has them.  Every one has a string, an empty one if need be [MULTIBOOT 3.3]: the byte behind the
 * loader's name serves for that.
 */
static void fill_modules(const struct x86_module *mods, unsigned n, struct mb_module *out)
{
	for (unsigned i = 0; i < n; i++)
		out[i] = (struct mb_module){
			.start = (uint32_t)mods[i].gpa, .end = (uint32_t)(mods[i].gpa + mods[i].len),
			.string = mods[i].args ? (uint32_t)mods[i].args : (uint32_t)(NAME_AT + strlen(LOADER_NAME)),
		};
}

/* --- sections --- */

#define SECTION_ALIGN 16ull

/* Is it a section with bytes that no segment brings into memory, and are they in the file? */
static bool is_left_out(const struct image *im, const Elf32_Shdr *sh)
{
	return sh->sh_addr == 0 && sh->sh_size != 0 && sh->sh_type != SHT_NULL && sh->sh_type != SHT_NOBITS && sh->sh_offset <= im->len &&
		sh->sh_size <= im->len - sh->sh_offset;
}

/* The table of a 32-bit ELF file, which is in im->data; false: there is none, or the file's end has cut it off. */
static bool find_sections(const struct image *im, Elf32_Ehdr *eh)
{
	if (im->len < sizeof(*eh) || memcmp(im->data, ELFMAG, SELFMAG) != 0 || im->data[EI_CLASS] != ELFCLASS32)
		return false;
	memcpy(eh, im->data, sizeof(*eh));
	return eh->e_shnum && eh->e_shentsize == sizeof(Elf32_Shdr) && eh->e_shoff <= im->len &&
		eh->e_shnum * sizeof(Elf32_Shdr) <= im->len - eh->e_shoff;
}

static Elf32_Shdr section(const struct image *im, const Elf32_Ehdr *eh, unsigned i)
{
	Elf32_Shdr sh;

	memcpy(&sh, im->data + eh->e_shoff + i * sizeof(sh), sizeof(sh));
	return sh;
}

/* Section headers, with the addresses of what was left out, and that, above `floor`. */
static int put_sections(struct vm *vm, const struct image *im, uint64_t floor, struct mb_info *info)
{
	Elf32_Ehdr eh;
	uint64_t gpa;

	if ((im->mb_flags & MB_ADDRESSES) || !find_sections(im, &eh))
		return 0;
	uint64_t len = ALIGN_UP(eh.e_shnum * sizeof(Elf32_Shdr), SECTION_ALIGN), at = len;

	for (unsigned i = 0; i < eh.e_shnum; i++) {
		Elf32_Shdr sh = section(im, &eh, i);

		len += is_left_out(im, &sh) ? ALIGN_UP((uint64_t)sh.sh_size, SECTION_ALIGN) : 0;
	}
	if (!boot_find_low(vm, floor, vm->map.ram[0].len, len, KIB(4), &gpa))
		return err_msg(-ENOSPC, "kernel '%s' has %llu KiB of symbols and no memory is left for them: give more with -m, or "
			       "strip it", im->path, (unsigned long long)(len >> 10));
	int err = boot_place(vm, gpa, len, "symbols of kernel '%s'", im->path);

	if (err)
		return err;
	uint8_t *to = mem_at(&vm->mem, gpa, len);

	for (unsigned i = 0; i < eh.e_shnum; i++) {
		Elf32_Shdr sh = section(im, &eh, i);

		if (is_left_out(im, &sh)) {
			memcpy(to + at, im->data + sh.sh_offset, sh.sh_size);
			sh.sh_addr = (uint32_t)(gpa + at);
			at += ALIGN_UP((uint64_t)sh.sh_size, SECTION_ALIGN);
		}
		memcpy(to + i * sizeof(sh), &sh, sizeof(sh));
	}
	info->flags |= MB_INFO_SHDR;
	info->shdr_num = eh.e_shnum;
	info->shdr_size = sizeof(Elf32_Shdr);
	info->shdr_addr = (uint32_t)gpa;
	info->shdr_shndx = eh.e_shstrndx;
	return 0;
}

/* --- information --- */

static int put_info(struct vm *vm, const struct image *im, uint64_t floor, const struct x86_module *mods, unsigned nmods)
{
	struct mb_mmap map[X86_E820_MAX];
	struct mb_module list[X86_MODULES_MAX] = { 0 };
	struct mb_info info = {
		.flags = MB_INFO_MEM | MB_INFO_CMDLINE | MB_INFO_MODS | MB_INFO_MMAP | MB_INFO_LOADER_NAME,
		.mem_lower = X86_EBDA >> 10, .mem_upper = (uint32_t)((vm->map.ram[0].len - X86_HIGH_START) >> 10),
		.cmdline = X86_CMDLINE, .mods_count = nmods, .mods_addr = X86_MB_MODULES,
		.mmap_length = fill_mmap(vm, map), .mmap_addr = X86_MB_MEMMAP, .boot_loader_name = NAME_AT,
	};

	_Static_assert(NAME_AT + sizeof(LOADER_NAME) <= X86_MB_MODULES && X86_MB_MODULES + sizeof(list) <= X86_MB_MEMMAP,
		       "information, modules and memory map do not meet");
	fill_modules(mods, nmods, list);
	int err = put_sections(vm, im, floor, &info);

	if (!err)
		err = x86_take(vm, X86_MB_INFO, X86_MB_MEMMAP + sizeof(map) - X86_MB_INFO, "Multiboot information");

	if (err)
		return err;
	if (!mem_write(&vm->mem, X86_MB_INFO, &info, sizeof(info)) ||
	    !mem_write(&vm->mem, NAME_AT, LOADER_NAME, sizeof(LOADER_NAME)) ||
	    !mem_write(&vm->mem, X86_MB_MODULES, list, sizeof(list)) ||
	    !mem_write(&vm->mem, X86_MB_MEMMAP, map, info.mmap_length))
		return err_msg(-EFAULT, "boot: no guest memory for the Multiboot information");
	return 0;
}

int x86_load_multiboot(struct vm *vm, const struct image *im, struct entry *out)
{
	struct x86_module mods[X86_MODULES_MAX];
	uint64_t end;
	unsigned nmods;
	int err = x86_put_kernel(vm, im, false, &end, mods, &nmods);

	if (!err)
		err = put_info(vm, im, end, mods, nmods);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_X86_PROT32, .pc = im->entry, .arg = X86_MB_INFO, .arg2 = MB_BOOT_MAGIC };
	return err;
}
