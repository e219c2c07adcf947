/*
 * Offsets in the zero page (struct boot_params) and, from 0x1f1 on, in a bzImage's setup header, which are the
 * same [Linux x86 boot protocol 2.15, "The Real-Mode Kernel Header" and zero-page].
 */
#ifndef LOADERS_BZIMAGE_H
#define LOADERS_BZIMAGE_H

enum {
	BP_ACPI_RSDP_ADDR = 0x070,      /* 8 bytes */
	BP_EXT_RAMDISK_IMAGE = 0x0c0,
	BP_EXT_RAMDISK_SIZE = 0x0c4,
	BP_EXT_CMD_LINE_PTR = 0x0c8,
	BP_E820_ENTRIES = 0x1e8,        /* 1 byte */
	BP_E820_TABLE = 0x2d0,
	BP_LEN = 0x1000,

	HDR_SETUP_SECTS = 0x1f1,        /* 1 byte */
	HDR_SYSSIZE = 0x1f4,            /* 4 bytes, in units of 16 */
	HDR_VID_MODE = 0x1fa,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP_LEN = 0x201,           /* the header ends this far behind HDR_MAGIC */
	HDR_END_MAX = 0x290,            /* where the zero page's next field begins */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,        /* 1 byte */
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_SETUP_DATA = 0x250,         /* 8 bytes */
	HDR_PREF_ADDRESS = 0x258,       /* 8 bytes */
	HDR_INIT_SIZE = 0x260,
	HDR_MIN_LEN = 0x264,            /* up to and with init_size: protocol 2.10 */
};
#define HDR_MAGIC_VALUE 0x53726448u     /* "HdrS" */
#define HDR_BOOT_FLAG_VALUE 0xaa55
#define HDR_VERSION_MIN 0x020c          /* 2.12: xloadflags */
#define XLF_KERNEL_64 0x0001
#define LOADER_UNDEFINED 0xff           /* type_of_loader without an assigned number */
#define VID_MODE_NORMAL 0xffff
#define ENTRY64_OFFSET 0x200            /* of the 64-bit entry in the protected-mode part */
#define SETUP_RNG_SEED 9                /* setup_data type */
#define SETUP_DATA_HDR_LEN 16

#endif
