/*
 * Guest-physical memory of a directly booted x86 guest, as the loader leaves it.  Everything below 1 MiB is
 * ours; the guest may reclaim all of it but the table area, which the memory map reserves.
 *
 *   0x00000000  unused (real-mode vectors)
 *   0x00001000  GDT: null, 32-bit code, 64-bit code, data
 *   0x00002000  zero page (struct boot_params), PVH start info or Multiboot information, and their module lists
 *               (FreeBSD: its first stack)
 *   0x00003000  memory map of PVH or Multiboot
 *   0x00004000  setup_data: random seed
 *   0x00005000  command lines of PVH's or Multiboot's modules
 *   0x00009000  page tables: PML4, PDPT, four page directories (2 MiB pages over 4 GiB)
 *               (FreeBSD: PML4, PDPT and one page directory, which every address of the upper levels leads to)
 *   0x0000f000  end of page tables
 *   0x00020000  command line, at most 64 KiB
 *   0x0009fc00  end of usable low memory (EBDA)
 *   0x000a0000  hole: VGA memory and option ROMs of a PC
 *   0x000e0000  ACPI tables                                              } reserved
 *   0x000f0000  RSDP, MP floating pointer, SMBIOS entry point (anchors)  }
 *   0x000f1000  MP table, SMBIOS structures                              }
 *   0x00100000  kernel from here up; initrd at the end of low RAM
 *
 * Files of --load go wherever nothing else is.  With no kernel beside them, what is there depends on the mode of --entry: the
 * tables from 0xe0000 on always, the GDT for protected and long, the page tables for long.
 */
#ifndef ARCH_X86_LAYOUT_H
#define ARCH_X86_LAYOUT_H

#define X86_GDT 0x1000u
#define X86_GDT_ENTRIES 4
#define X86_SEL_CODE32 0x08
#define X86_SEL_CODE64 0x10             /* __BOOT_CS [Linux x86 boot protocol 2.15, 64-bit boot protocol] */
#define X86_SEL_DATA 0x18               /* __BOOT_DS */
#define X86_ZERO_PAGE 0x2000u
#define X86_PVH_INFO 0x2000u
#define X86_PVH_MODULES 0x2100u
#define X86_PVH_MEMMAP 0x3000u
#define X86_MB_INFO 0x2000u
#define X86_MB_MODULES 0x2100u
#define X86_MB_MEMMAP 0x3000u
#define X86_FBSD_STACK 0x2000u
#define X86_SETUP_DATA 0x4000u
#define X86_MODULE_ARGS 0x5000u
#define X86_MODULE_ARGS_END 0x9000u
#define X86_PML4 0x9000u                /* CR3 in ENTRY_X86_LONG */
#define X86_PDPT 0xa000u
#define X86_PD 0xb000u                  /* four pages */
#define X86_CMDLINE 0x20000u
#define X86_CMDLINE_MAX 0x10000u        /* with its NUL */
#define X86_EBDA 0x9fc00u
#define X86_VGA 0xa0000u
#define X86_ACPI 0xe0000u
#define X86_ACPI_MAX 0x10000u
#define X86_RSDP 0xf0000u
#define X86_MPFP 0xf0030u               /* MP floating pointer */
#define X86_SM3 0xf0040u                /* SMBIOS 3 entry point */
#define X86_MPTABLE 0xf1000u
#define X86_LOW_TABLES_END 0x100000u
#define X86_HIGH_START 0x100000u

/* Fixed places of the machine: what Debian's OVMF expects of a q35. */
#define X86_ECAM 0xb0000000u
#define X86_ECAM_LEN 0x100000u          /* bus 0: a guest told of more buses probes each slot of all of them */
#define X86_PCI32 0xc0000000u
#define X86_PCI32_END 0xfec00000u
#define X86_IOAPIC 0xfec00000u
#define X86_LAPIC 0xfee00000u
#define X86_FLASH_END 0x100000000ull    /* flash ends here, so that the reset vector is in it */
#define X86_FLASH_MAX 0x1000000u        /* below are pages of KVM's */
#define X86_PM_BASE 0x600
#define X86_SCI_GSI 9
#define X86_RESET_PORT 0xcf9
#define X86_RESET_VALUE 6               /* SYS_RST | RST_CPU */
#define X86_PCI_GSI 16                  /* first of eight for PCI interrupts */
#define X86_PCI_GSIS 8

#endif
