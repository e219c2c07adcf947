/*
 * FreeBSD/amd64 kernels by their native loader's protocol, as bhyve's [FREEBSD stand/userboot/userboot/elf64_freebsd.c]
 * [FREEBSD usr.sbin/bhyveload/bhyveload.c]: everything where KERNBASE's addresses are in the first GiB of memory, page tables in
 * which every GiB of the address space is that one, 64-bit code at e_entry, the metadata's address and the end of what is loaded
 * on the stack [FREEBSD sys/amd64/amd64/locore.S].
 */
#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/acpi/acpi.h"
#include "common/log.h"
#include "common/place.h"
#include "common/smbios.h"
#include "common/vm.h"
#include "loaders/freebsd/freebsd.h"

#define PAGE KIB(4)
#define KERNBASE 0xffffffff80000000ull
#define REACH GIB(1)                    /* of the page tables below */
/* The kernel's first stack, per-CPU data and page tables follow kernend: 2 MiB on, as it adds its load address to it. */
#define HEADROOM MIB(16)
#define PTE_RW 0x3
#define PTE_RW_LARGE 0x83

struct target {
	struct vm *vm;
	const struct image *im;
};

/* --- placing --- */

static int out_of_reach(const struct image *im)
{
	return err_msg(-ENOSPC, "kernel '%s' and its modules need more than the first GiB of memory, all that a FreeBSD kernel "
		       "sees at its start: give fewer or smaller modules", im->path);
}

static int measure(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	const struct target *t = arg;

	(void)data;
	return addr >= REACH || len > REACH - addr ? out_of_reach(t->im) : 0;
}

static int put(void *arg, uint64_t addr, const void *data, uint64_t len)
{
	const struct target *t = arg;

	return fbsd_write(t->vm, t->im, addr, data, len);
}

static int take(void *arg, uint64_t addr, uint64_t len, const char *what)
{
	const struct target *t = arg;

	return x86_take(t->vm, addr, len, what);
}

/* Finds out whether it all fits before anything is written. */
static int place(struct vm *vm, const struct image *im, struct fbsd_boot *b)
{
	struct target t = { vm, im };
	struct fbsd_mem mem = { .put = measure, .arg = &t };
	int err = fbsd_place(im->fbsd, &mem, b);

	if (!err && b->kernend > REACH - HEADROOM)
		err = out_of_reach(im);
	if (!err && b->kernend + HEADROOM > vm->map.ram[0].len)
		err = err_msg(-ENOSPC, "memory.size: %" PRIu64 " MiB are too little for FreeBSD kernel '%s' and its modules: "
			      "give at least -m %" PRIu64 "M", vm->map.ram[0].len >> 20, im->path,
			      ALIGN_UP(b->kernend + HEADROOM, (uint64_t)MIB(1)) >> 20);
	if (err)
		return err;
	mem = (struct fbsd_mem){ .put = put, .take = take, .arg = &t };
	return fbsd_place(im->fbsd, &mem, b);
}

/* --- variables that FreeBSD's loaders set [FREEBSD stand/i386/libi386/biosacpi.c] [FREEBSD stand/libsa/smbios.c] --- */

#define VAR_LEN 40
struct vars {
	struct fbsd_var v[16];
	char text[16][VAR_LEN];
	unsigned n;
};

static void PRINTF_LIKE(3, 4) add_var(struct vars *l, const char *name, const char *fmt, ...)
{
	va_list ap;

	assert(l->n < NELEM(l->v));
	va_start(ap, fmt);
	vsnprintf(l->text[l->n], VAR_LEN, fmt, ap);
	va_end(ap);
	l->v[l->n] = (struct fbsd_var){ .name = (char *)name, .value = l->text[l->n] };
	l->n++;
}

/* Twice: kernels before 15 look at the hint. */
#define ADD_ACPI(l, name, ...) (add_var(l, "acpi." name, __VA_ARGS__), add_var(l, "hint.acpi.0." name, __VA_ARGS__))

/* The kernel would find the tables by itself; with ACPI off by the operator's hint it must not be told. */
static void add_acpi(const struct vm *vm, const struct fbsd_set *set, struct vars *l)
{
	const char *off = fbsd_getenv(set, "hint.acpi.0.disabled");
	const uint8_t *rsdp = x86_rsdp(vm) ? mem_at(&vm->mem, x86_rsdp(vm), RSDP_LEN) : NULL;

	if (!rsdp || (off && strcmp(off, "1") == 0))
		return;
	ADD_ACPI(l, "rsdp", "0x%08" PRIx64, x86_rsdp(vm));
	ADD_ACPI(l, "revision", "%u", rsdp[15]);
	ADD_ACPI(l, "oem", "%.6s", (const char *)rsdp + 9);
	ADD_ACPI(l, "rsdt", "0x%08x", get_le32(rsdp + 16));
	ADD_ACPI(l, "xsdt", "0x%016" PRIx64, get_le64(rsdp + 24));
	ADD_ACPI(l, "xsdt_length", "%u", get_le32(rsdp + 20));
}

/* --- entry --- */

/* Each of 512 entries of the upper levels is the same one; the processor's first GiB is all there is. */
static int put_page_tables(struct vm *vm)
{
	uint8_t *pml4 = mem_at(&vm->mem, X86_PML4, PAGE), *pdpt = mem_at(&vm->mem, X86_PDPT, PAGE);
	uint8_t *pd = mem_at(&vm->mem, X86_PD, PAGE);

	if (!pml4 || !pdpt || !pd)
		return err_msg(-EFAULT, "boot: no guest memory for the page tables");
	for (uint64_t i = 0; i < 512; i++) {
		put_le64(pml4 + 8 * i, X86_PDPT | PTE_RW);
		put_le64(pdpt + 8 * i, X86_PD | PTE_RW);
		put_le64(pd + 8 * i, i * MIB(2) | PTE_RW_LARGE);
	}
	return 0;
}

/* 32-bit words: no return address, modulep, kernend.  The kernel pushes a few more before it takes a stack of its own. */
static int put_stack(struct vm *vm, const struct fbsd_boot *b, uint64_t *sp)
{
	uint8_t words[16] = { 0 };
	int err = x86_take(vm, X86_FBSD_STACK, PAGE, "FreeBSD's first stack");

	if (err)
		return err;
	put_le32(words + 4, (uint32_t)b->modulep);
	put_le32(words + 8, (uint32_t)b->kernend);
	*sp = X86_FBSD_STACK + PAGE - sizeof(words);
	return mem_write(&vm->mem, *sp, words, sizeof(words)) ? 0 : -EFAULT;
}

static int check_link(const struct image *im, uint64_t lowest)
{
	if (lowest >= KERNBASE + X86_HIGH_START && lowest < KERNBASE + REACH)
		return 0;
	return err_msg(-ENOEXEC, "kernel '%s' is linked at 0x%" PRIx64 ", FreeBSD/amd64 kernels at 0x%llx: get another copy",
		       im->path, lowest, KERNBASE + MIB(2));
}

int x86_load_freebsd(struct vm *vm, const struct image *im, struct entry *out)
{
	struct e820_entry map[X86_E820_MAX];
	unsigned n = x86_e820(&vm->map, map);
	struct vars vars = { .n = 0 };
	struct fbsd_boot b = { .off = -KERNBASE, .machine = EM_X86_64, .var = vars.v };
	uint64_t lowest, entry, sp;
	uint16_t machine;
	uint8_t uuid[16];
	char text[FBSD_UUID_LEN];
	int err = fbsd_kernel_span(&im->fbsd->file[0], &lowest, &entry, &machine);

	if (!err)
		err = check_link(im, lowest);
	if (err)
		return err;
	add_acpi(vm, im->fbsd, &vars);
	vm_uuid(vm, uuid);
	add_var(&vars, "smbios.system.uuid", "%s", fbsd_uuid(uuid, text));
	b.nvars = vars.n;
	blob_add(&b.smap, map, n * sizeof(map[0]));     /* struct bios_smap is the same [FREEBSD sys/x86/include/pc/bios.h] */
	err = place(vm, im, &b);
	blob_free(&b.smap);
	if (!err)
		err = put_page_tables(vm);
	if (!err)
		err = put_stack(vm, &b, &sp);
	if (!err)
		*out = (struct entry){ .mode = ENTRY_X86_LONG, .pc = entry, .sp = sp };
	return err;
}
