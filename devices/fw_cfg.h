/*
 * QEMU's firmware configuration device [QEMU-FWCFG]: what firmware learns of the machine, and kernels it starts.
 * On x86 ports 0x510 (selector), 0x511 (data) and 0x514 (DMA); on arm64 24 bytes of MMIO.  Class "fw-cfg".
 */
#ifndef DEVICES_FW_CFG_H
#define DEVICES_FW_CFG_H

#include <stddef.h>
#include <stdint.h>

struct device;
struct vm;

/* Fixed selector keys [QEMU-FWCFG "Selector (Control) Register", "Firmware Configuration Items"]. */
enum {
	FW_CFG_SIGNATURE = 0x00, FW_CFG_ID = 0x01, FW_CFG_UUID = 0x02, FW_CFG_RAM_SIZE = 0x03, FW_CFG_NOGRAPHIC = 0x04,
	FW_CFG_NB_CPUS = 0x05, FW_CFG_KERNEL_ADDR = 0x07, FW_CFG_KERNEL_SIZE = 0x08, FW_CFG_KERNEL_CMDLINE = 0x09,
	FW_CFG_INITRD_ADDR = 0x0a, FW_CFG_INITRD_SIZE = 0x0b, FW_CFG_BOOT_DEVICE = 0x0c, FW_CFG_BOOT_MENU = 0x0e,
	FW_CFG_MAX_CPUS = 0x0f, FW_CFG_KERNEL_ENTRY = 0x10, FW_CFG_KERNEL_DATA = 0x11, FW_CFG_INITRD_DATA = 0x12,
	FW_CFG_CMDLINE_ADDR = 0x13, FW_CFG_CMDLINE_SIZE = 0x14, FW_CFG_CMDLINE_DATA = 0x15, FW_CFG_SETUP_ADDR = 0x16,
	FW_CFG_SETUP_SIZE = 0x17, FW_CFG_SETUP_DATA = 0x18, FW_CFG_FILE_DIR = 0x19, FW_CFG_FILE_FIRST = 0x20,
};
#define FW_CFG_FILES_MAX 64
#define FW_CFG_NAME_MAX 55              /* bytes of a file's name without its NUL */

/*
 * The items.  All copy their data.  Main thread, no vCPU runs.  0; -EEXIST (a name twice), -ENAMETOOLONG,
 * -ENOSPC (directory full), -EFBIG (4 GiB or more) or -ENOMEM, reported.
 */
int fw_cfg_key(struct device *, uint16_t key, const void *data, size_t len);    /* replaces */
int fw_cfg_u16(struct device *, uint16_t key, uint16_t);
int fw_cfg_u32(struct device *, uint16_t key, uint32_t);
int fw_cfg_file(struct device *, const char *name, const void *data, size_t len);       /* the directory stays sorted by name */
/*
 * Replaces a file's content; -ENOENT (not reported).  Also allowed inside fw_cfg_on_tables(), where the length should
 * stay: the guest may have read the directory before.
 */
int fw_cfg_replace(struct device *, const char *name, const void *data, size_t len);
/* Forgets every item but signature and ID: before they are filled anew at each boot. */
void fw_cfg_clear(struct device *);
/*
 * fn is called once after each fw_cfg_clear(), when the guest first selects a file below "etc/acpi/" or
 * "etc/table-loader": by then firmware has placed PCI.  On the vCPU's thread, the device's lock held.  fn stays over
 * fw_cfg_clear(); NULL: nothing is called.
 */
void fw_cfg_on_tables(struct device *, void (*fn)(struct vm *, struct device *));

#endif
