/*
 * FreeBSD/arm64 kernels as FreeBSD's EFI loader starts them [FREEBSD stand/efi/loader/bootinfo.c] [FREEBSD
 * stand/efi/loader/arch/arm64/exec.c], but with the device tree instead of EFI's memory map: the kernel's base at a multiple
 * of 2 MiB, everything else behind it at virtual addresses of the same distance, entry with the MMU off and the virtual
 * address of the metadata in x0 [FREEBSD sys/arm64/arm64/locore.S].
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>

#include "arch/arm64/arm64.h"
#include "common/blob.h"
#include "common/image.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/place.h"
#include "common/smbios.h"
#include "common/util.h"
#include "common/vm.h"
#include "loaders/freebsd/freebsd.h"

/* The kernel's first map has one table of 2 MiB blocks; up to 6 MiB of it are for what lies behind the metadata's start. */
#define REACH (GIB(1) - MIB(6))
#define HEADROOM MIB(16)                /* what it allocates before it knows its memory */

struct target {
	struct vm *vm;
	const struct image *im;
	uint64_t kernbase, ram;         /* the first is at the second */
};

static int out_of_reach(const struct image *im)
{
	return err_msg(-ENOSPC, "kernel '%s' and its modules need more than 1 GiB, all that a FreeBSD kernel maps at its start: "
		       "give fewer or smaller modules", im->path);
}

static int measure(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	const struct target *t = arg;

	(void)data;
	return addr - t->kernbase >= REACH || len > REACH - (addr - t->kernbase) ? out_of_reach(t->im) : 0;
}

static int put(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	const struct target *t = arg;

	return fbsd_write(t->vm, t->im, addr - t->kernbase + t->ram, data, len);
}

static int take(void *arg, uint64_t addr, uint64_t len, const char *what)
{
	const struct target *t = arg;

	return boot_place(t->vm, addr - t->kernbase + t->ram, len, "%s", what);
}

/* Finds out whether it all fits before anything is written. */
static int place(struct target *t, struct fbsd_boot *b)
{
	uint64_t ram_len = t->vm->map.ram[0].len;
	struct fbsd_mem mem = { .put = measure, .arg = t };
	int err = fbsd_place(t->im->fbsd, &mem, b);

	if (!err && b->kernend - t->kernbase > REACH)
		err = out_of_reach(t->im);
	if (!err && b->kernend - t->kernbase + HEADROOM > ram_len)
		err = err_msg(-ENOSPC, "memory.size: %" PRIu64 " MiB are too little for FreeBSD kernel '%s' and its modules: "
			      "give at least -m %" PRIu64 "M", ram_len >> 20, t->im->path,
			      ALIGN_UP(b->kernend - t->kernbase + HEADROOM, (uint64_t)MIB(1)) >> 20);
	if (err)
		return err;
	mem = (struct fbsd_mem){ .put = put, .take = take, .arg = t };
	return fbsd_place(t->im->fbsd, &mem, b);
}

int arm64_load_freebsd(struct vm *vm, const struct image *im, struct entry *out)
{
	struct target t = { .vm = vm, .im = im, .ram = vm->map.ram[0].base };
	const struct arm64_layout nothing = { 0 };
	char text[FBSD_UUID_LEN];
	struct fbsd_var var = { "smbios.system.uuid", text };
	struct fbsd_boot b = { .machine = EM_AARCH64, .var = &var, .nvars = 1 };
	uint64_t lowest, entry;
	uint16_t machine;
	uint8_t uuid[16];
	int err = fbsd_kernel_span(&im->fbsd->file[0], &lowest, &entry, &machine);

	if (err)
		return err;
	/* Kernels begin at KERNBASE, a multiple of much more, and are smaller than this. */
	t.kernbase = ALIGN_DOWN(lowest, GIB(1));
	vm_uuid(vm, uuid);
	fbsd_uuid(uuid, text);
	err = arm64_fdt_build(vm, &nothing, &b.fdt);
	if (!err)
		err = place(&t, &b);
	blob_free(&b.fdt);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_ARM64, .pc = entry - t.kernbase + t.ram, .arg = b.modulep };
	return err;
}
