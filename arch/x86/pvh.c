/*
 * ELF kernels by the PVH start protocol [Xen docs/misc/pvh.pandoc] [Xen public/arch-x86/hvm/start_info.h]:
 * segments at their physical addresses, start info version 1 in EBX.
 */
#include <errno.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/log.h"
#include "common/vm.h"

#define START_MAGIC 0x336ec578u

struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
	uint32_t memmap_entries, reserved;
};
struct start_module {
	uint64_t paddr, size, cmdline_paddr, reserved;
};
struct start_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;        /* types are e820's */
};
_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct start_memmap) == 24 && sizeof(struct start_module) == 32,
	       "wire layout");

static unsigned fill_memmap(const struct vm *vm, struct start_memmap out[X86_E820_MAX])
{
	struct e820_entry e[X86_E820_MAX];
	unsigned n = x86_e820(&vm->map, e);

	for (unsigned i = 0; i < n; i++)
		out[i] = (struct start_memmap){ .addr = e[i].addr, .size = e[i].len, .type = e[i].type };
	return n;
}

static int put_start_info(struct vm *vm, const struct x86_module *mods, unsigned nmods)
{
	struct start_memmap map[X86_E820_MAX];
	struct start_module list[X86_MODULES_MAX] = { 0 };
	struct start_info info = {
		.magic = START_MAGIC, .version = 1, .nr_modules = nmods, .modlist_paddr = nmods ? X86_PVH_MODULES : 0,
		.cmdline_paddr = X86_CMDLINE, .rsdp_paddr = x86_rsdp(vm), .memmap_paddr = X86_PVH_MEMMAP,
		.memmap_entries = fill_memmap(vm, map),
	};

	for (unsigned i = 0; i < nmods; i++)
		list[i] = (struct start_module){ .paddr = mods[i].gpa, .size = mods[i].len, .cmdline_paddr = mods[i].args };
	_Static_assert(X86_PVH_MODULES + sizeof(list) <= X86_PVH_MEMMAP, "module list and memory map do not meet");
	int err = x86_take(vm, X86_PVH_INFO, X86_PVH_MEMMAP + sizeof(map) - X86_PVH_INFO, "PVH start info");

	if (err)
		return err;
	if (!mem_write(&vm->mem, X86_PVH_MEMMAP, map, info.memmap_entries * sizeof(map[0])) ||
	    !mem_write(&vm->mem, X86_PVH_MODULES, list, sizeof(list)) || !mem_write(&vm->mem, X86_PVH_INFO, &info, sizeof(info)))
		return err_msg(-EFAULT, "boot: no guest memory for the start info");
	return 0;
}

int x86_load_pvh(struct vm *vm, const struct image *im, struct entry *out)
{
	struct x86_module mods[X86_MODULES_MAX];
	uint64_t end;
	unsigned nmods;
	int err = x86_put_kernel(vm, im, true, &end, mods, &nmods);

	if (!err)
		err = put_start_info(vm, mods, nmods);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_X86_PROT32, .pc = im->entry, .arg = X86_PVH_INFO };
	return err;
}
