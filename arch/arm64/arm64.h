/*
 * What the files of arch/arm64/ share: addresses of the "virt" board, interrupt numbers, and what the KVM half
 * found on the host that firmware tables must say.
 *
 *   0x0000_0000 flash             2 * 64 MiB, only with firmware
 *   0x0800_0000 GICD              64 KiB (GICv2: 4 KiB)
 *   0x0801_0000 GICC               8 KiB (GICv2 only)
 *   0x0802_0000 v2m                4 KiB (GICv2 only)
 *   0x0808_0000 ITS              128 KiB (GICv3 only)
 *   0x080a_0000 GICR             128 KiB a vCPU, up to 0x0900_0000 (GICv3 only)
 *   0x0900_0000 chips: board.c
 *   0x1000_0000 PCI 32-bit window
 *   0x3eff_0000 PCI I/O space     64 KiB
 *   0x3f00_0000 low ECAM          16 MiB, only where the host's guests have fewer than 39 address bits
 *   0x4000_0000 RAM, up to 255 GiB
 *  0x40_1000_0000 ECAM           256 MiB
 *  0x80_0000_0000 PCI 64-bit window, 512 GiB
 */
#ifndef ARCH_ARM64_ARM64_H
#define ARCH_ARM64_ARM64_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/arch.h"

struct acpi_set;
struct blob;
struct device;
struct image;
struct memmap;
struct vm;

enum {
	GICD_BASE = 0x08000000, GICD_LEN = 0x10000,
	GICV2_DIST_LEN = 0x1000,
	GICC_BASE = 0x08010000, GICC_LEN = 0x2000,
	V2M_BASE = 0x08020000, V2M_LEN = 0x1000,
	ITS_BASE = 0x08080000, ITS_LEN = 0x20000,
	GICR_BASE = 0x080a0000, GICR_LEN = 0x20000, GICR_END = 0x09000000,
	PCI32_BASE = 0x10000000,
	PCI_IO_MMIO = 0x3eff0000, PCI_IO_LEN = 0x10000,
	ECAM_LOW_BASE = 0x3f000000, ECAM_LOW_LEN = 0x01000000,
	RAM_BASE = 0x40000000,
};
#define ECAM_BASE 0x4010000000ull
#define ECAM_LEN 0x10000000ull
#define RAM_LEN_MAX (0x4000000000ull - RAM_BASE)
#define PCI64_BASE 0x8000000000ull
#define PCI64_LEN 0x8000000000ull
#define ARM64_IPA_BITS 40               /* the map above needs */

#define ARM64_VCPUS_MAX ((GICR_END - GICR_BASE) / GICR_LEN)
#define GICV2_VCPUS_MAX 8

/* Interrupts.  A GSI is an SPI's number from 0; its INTID is 32 more. */
enum { INTID_PPI0 = 16, INTID_SPI0 = 32, NR_INTIDS = 256 };
enum { PPI_PMU = 7, PPI_TIMER_HYP = 10, PPI_TIMER_VIRT = 11, PPI_TIMER_SEC = 13, PPI_TIMER_PHYS = 14 };
enum { SPI_PCI_INTA = 3, SPI_V2M = 48, SPI_V2M_COUNT = 64 };

/* GITS_TRANSLATER: what a device writes its event to [GICv3 IHI0069 12.18] */
#define ITS_TRANSLATER (ITS_BASE + 0x10040ull)
/* V2M_MSI_SETSPI_NS [SBSA DEN0029 appendix E.1] */
#define V2M_SETSPI 0x040

#define ARM64_CMDLINE_KEY "append"       /* the kernel's command line in the configuration */

#define POWER_BUTTON_CLASS "pl061"
#define POWER_BUTTON_PIN 3
#define FW_CFG_CLASS "fw-cfg"
#define FLASH_CLASS "pflash"

/* What the tables say of the host's interrupt chip; a dry VM describes a host that has everything. */
struct arm64_machine {
	unsigned gic;                   /* 2 or 3 */
	bool its;                       /* with gic 3: MSIs through an ITS */
	bool v2m;                       /* with gic 2: MSIs through a v2m frame */
	bool pmu;
};
/* The machine of a VM: from its KVM half, or the default one where there is none. */
const struct arm64_machine *arm64_machine(const struct vm *);

/* MPIDR affinity fields of a vCPU, as KVM numbers them for either GIC version: 16 vCPUs a cluster. */
static inline uint64_t arm64_mpidr(unsigned id)
{
	return (id & 0xf) | ((uint64_t)(id >> 4) & 0xff) << 8 | ((uint64_t)(id >> 12) & 0xff) << 16;
}

/* --- board.c --- */

/*
 * Moves what lies above 2^ipa_bits of a map made by memmap(): ECAM below RAM (16 buses) and the 64-bit window
 * behind RAM, as large as fits, perhaps gone.  Before anything else uses the map.  0, or -EINVAL (reported)
 * when RAM itself does not fit.
 */
int arm64_map_limit(struct memmap *, unsigned ipa_bits);
/* Address bits a map needs. */
unsigned arm64_map_bits(const struct memmap *);

/* --- load.c --- */

/* Where the loader puts things; zero: not there. */
struct arm64_layout {
	uint64_t kernel, kernel_len;    /* length in memory, zero-initialised data included */
	uint64_t initrd, initrd_len;
	uint64_t fdt;                   /* slot of ARM64_FDT_MAX bytes */
};
#define ARM64_FDT_MAX MIB(2)            /* Linux maps no more [LINUX-ARM64-BOOT 3] */
/* Pure.  0, or -ENOSPC (reported) when RAM is too small. */
int arm64_place(const struct memmap *, const struct image *, struct arm64_layout *);
int arm64_load(struct vm *, const struct image *, struct entry *out);
int arm64_print_tables(struct vm *, FILE *);
int arm64_write_tables(struct vm *, const char *dir);

/* --- firmware.c: flash, fw_cfg items and the entry of firmware --- */

/* Two banks of flash: the firmware's code and its variables. */
#define FLASH_BASE 0ull
#define FLASH_BANK_LEN MIB(64)
#define FLASH_BLOCK KIB(256)
#define FLASH_WIDTH 4u                  /* bytes: two chips of 16 bits side by side */
/* Main thread.  0 or -errno (reported). */
int arm64_fill_fw_cfg(struct vm *, struct device *fw_cfg, const struct image *);
int arm64_add_flash(struct vm *);
int arm64_load_firmware(struct vm *, struct entry *out);
/* Does the machine hand ACPI tables to its firmware? */
bool arm64_has_acpi(const struct vm *);
/* What is in fw_cfg: files, ACPI, SMBIOS; byte-stable. */
void arm64_print_firmware(struct vm *, FILE *);

/* --- acpi.c, dsdt.c --- */

/* The tables for the firmware's loader, at base 0. */
void arm64_acpi_build(const struct vm *, struct acpi_set *);
void arm64_dsdt(const struct vm *, struct blob *);

/* --- freebsd.c --- */

int arm64_load_freebsd(struct vm *, const struct image *, struct entry *out);

/* --- fdt.c --- */

/* The flattened device tree of a VM with its devices.  Random seeds only when the VM is not dry.  0 or -errno (reported). */
int arm64_fdt_build(struct vm *, const struct arm64_layout *, struct blob *out);

/* --- dts.c --- */

/* Prints a device tree as source text that dtc reads back to the same properties.  0; -EINVAL when `fdt` is none. */
int arm64_dts_print(const void *fdt, FILE *);

/* --- debug.c --- */

/* struct debug_reg.id is KVM's, but for the stack pointer in use. */
#define ARM64_REG_SP 0
extern const struct arch_debug arm64_debug;
extern const struct arch_exits arm64_exits;

/* --- core.c --- */

extern const struct arch_core arm64_core;

#endif
