/*
 * Parts of the pure x86 half shared between its files.  No KVM: built and tested on every host.
 */
#ifndef ARCH_X86_X86_H
#define ARCH_X86_X86_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/blob.h"

struct vm;
struct conf;
struct memmap;
struct image;
struct entry;
struct device;

/* APIC ID of vCPU `i`: KVM takes the vCPU's number, so tables must too. */
static inline uint32_t x86_apic_id(unsigned i) { return i; }

/* --- e820.c: the firmware memory map [ACPI-6.4 15] --- */
enum { E820_RAM = 1, E820_RESERVED = 2 };
struct e820_entry {
	uint64_t addr, len;
	uint32_t type;
} __attribute__((packed));
_Static_assert(sizeof(struct e820_entry) == 20, "boot_params layout");
#define X86_E820_MAX 8
/* Fills out[] in rising order; returns how many. */
unsigned x86_e820(const struct memmap *, struct e820_entry out[X86_E820_MAX]);
/* What firmware is told: RAM alone, it makes its own map of it. */
unsigned x86_e820_firmware(const struct memmap *, struct e820_entry out[X86_E820_MAX]);

/* --- mptable.c [MPS-1.4] --- */
#define MPFP_LEN 16
#define MP_BUS_PCI 0                    /* the bus ID PCI interrupts name */
/* The configuration table, to be placed at `base`, and the floating pointer to it. */
void x86_mptable(const struct vm *, uint64_t base, struct blob *table, uint8_t fp[MPFP_LEN]);

/* --- mptable_print.c: decoded text for `plan`, byte-stable --- */
void mptable_print(const struct blob *table, FILE *);

/* --- tables.c --- */
/* Builds every table and copies it into guest memory.  0 or -errno (reported).  Main thread. */
int x86_place_tables(struct vm *);
/* arch_info.print_tables and .write_tables. */
int x86_print_tables(struct vm *, FILE *);
int x86_write_tables(struct vm *, const char *dir);

/* --- linux.c and pvh.c: kernel, initrd and what the boot protocol hands over.  0 or -errno (reported). --- */
int x86_load_bzimage(struct vm *, const struct image *, struct entry *);
int x86_load_pvh(struct vm *, const struct image *, struct entry *);

/* --- boot.c: arch_info.load, and what both protocols share --- */
/* The kernel command line, "" when there is none. */
const char *x86_cmdline(const struct vm *);
/* Address of the RSDP, 0 when the machine has no ACPI tables. */
uint64_t x86_rsdp(const struct vm *);
/* Copies the command line to X86_CMDLINE; `max` bytes without its NUL is what the kernel takes. */
int x86_put_cmdline(struct vm *, const struct image *, uint64_t max);
/*
 * Takes pages of low memory for what a protocol hands over, before it is written: "zero page", "start info".  0 or -errno
 * (reported).
 */
int x86_take(struct vm *, uint64_t gpa, uint64_t len, const char *what);
/* A file handed to the kernel as it is: initrd or module. */
struct x86_module {
	uint64_t gpa, len;
	uint64_t args;                  /* address of its command line; 0: none */
};
#define X86_MODULES_MAX (IMAGE_MODULES_MAX + 1)
/* Copies the initrd to the end of [floor, ceiling) within low RAM; *gpa is 0 when there is none. */
int x86_put_initrd(struct vm *, const struct image *, uint64_t floor, uint64_t ceiling, uint64_t *gpa);
/* Copies segment i to `gpa` and zeroes the rest of its memory if `zero`. */
int x86_put_segment(struct vm *, const struct image *, unsigned i, uint64_t gpa, bool zero);
/*
 * What PVH and Multiboot place alike: all segments where they say (*end is behind the highest, at least 1 MiB), the command
 * line, and the modules, the initrd being the first, on page boundaries.  PVH has them from the end of low RAM downwards, Multiboot
 * from *end upwards, and there a module without arguments gets its path for them.  *n is how many.  0 or -errno (reported).
 */
int x86_put_kernel(struct vm *, const struct image *, bool pvh, uint64_t *end, struct x86_module out[], unsigned *n);
int x86_load(struct vm *, const struct image *, struct entry *out);

/* --- firmware.c: flash and fw_cfg items --- */
/* The flash devices the keys lpc.bootrom and lpc.bootvars name.  0 or -errno (reported). */
int x86_add_flash(struct vm *);
/* arch_info.fill_fw_cfg. */
int x86_fill_fw_cfg(struct vm *, struct device *fw_cfg, const struct image *);
/* The machine's memory map with PCI's ranges where the guest has put them.  Any thread. */
void x86_placed_map(const struct vm *, struct memmap *out);
/* `plan`: flash and fw_cfg. */
void x86_print_firmware(struct vm *, FILE *);

/* --- freebsd.c, multiboot.c, raw.c --- */
int x86_load_freebsd(struct vm *, const struct image *, struct entry *);
int x86_load_multiboot(struct vm *, const struct image *, struct entry *);
int x86_load_raw(struct vm *, const struct image *, struct entry *);

/* --- debug.c --- */
extern const struct arch_debug x86_debug;
extern const struct arch_exits x86_exits;

/* --- core.c --- */

extern const struct arch_core x86_core;
/* struct debug_reg.id: which of KVM's structures, and the bytes in it; of an MSR, its number. */
enum { X86_SET_REGS, X86_SET_SREGS, X86_SET_FPU, X86_SET_TAGS, X86_SET_MSR };
#define X86_REG_ID(set, size, off) ((uint64_t)(set) << 40 | (uint64_t)(size) << 32 | (off))

#endif
