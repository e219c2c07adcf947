/*
 * Numbers of the Multiboot Specification, version 0.6.96: the kernel's header [MULTIBOOT 3.1], and what the kernel is
 * handed [MULTIBOOT 3.2 and 3.3].
 */
#ifndef LOADERS_MULTIBOOT_H
#define LOADERS_MULTIBOOT_H

#include <stdint.h>

#define MB_SEARCH 8192                  /* the header is within so many bytes, aligned to 4 */
#define MB_HEADER_MAGIC 0x1badb002u
#define MB_BOOT_MAGIC 0x2badb002u       /* in EAX */
/* Offsets in the header. */
enum {
	MB_FLAGS = 4, MB_CHECKSUM = 8, MB_HEADER_LEN = 12,
	MB_HEADER_ADDR = 12, MB_LOAD_ADDR = 16, MB_LOAD_END_ADDR = 20, MB_BSS_END_ADDR = 24, MB_ENTRY_ADDR = 28,
	MB_ADDRESSES_LEN = 32,
};
/* Flags of the header. */
#define MB_PAGE_ALIGN 0x1u              /* modules on page boundaries */
#define MB_MEMORY_INFO 0x2u
#define MB_VIDEO_MODE 0x4u
#define MB_REQUIRED 0xffffu
#define MB_ADDRESSES 0x10000u

/* Flags of the information. */
enum {
	MB_INFO_MEM = 1 << 0, MB_INFO_CMDLINE = 1 << 2, MB_INFO_MODS = 1 << 3, MB_INFO_SHDR = 1 << 5, MB_INFO_MMAP = 1 << 6,
	MB_INFO_LOADER_NAME = 1 << 9,
};
struct mb_info {
	uint32_t flags, mem_lower, mem_upper;   /* KiB below 1 MiB, and from there to the first hole */
	uint32_t boot_device, cmdline, mods_count, mods_addr;
	uint32_t shdr_num, shdr_size, shdr_addr, shdr_shndx;
	uint32_t mmap_length, mmap_addr;
	uint32_t drives_length, drives_addr, config_table, boot_loader_name, apm_table;
	uint32_t vbe_control_info, vbe_mode_info;
	uint16_t vbe_mode, vbe_interface_seg, vbe_interface_off, vbe_interface_len;
};
struct mb_module {
	uint32_t start, end, string, reserved;
};
struct mb_mmap {
	uint32_t size;                          /* of what follows */
	uint64_t addr, len;
	uint32_t type;                          /* e820's */
} __attribute__((packed));
_Static_assert(sizeof(struct mb_info) == 88 && sizeof(struct mb_mmap) == 24, "wire layout");

#endif
