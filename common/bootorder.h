/*
 * In which order firmware tries the devices: the option bootindex of disks and network cards, and the decision between
 * installation medium and disk (keys install.iso and install.force).  Main thread.
 */
#ifndef COMMON_BOOTORDER_H
#define COMMON_BOOTORDER_H

#include <stdbool.h>

struct conf;
struct device;
struct vm;

struct boot_entry {
	const struct device *dev;
	unsigned unit;                  /* which of its disks: port, target; 0 where there is one, or none */
};

/*
 * What firmware is told to start from, the first one first; 0 when it is left to firmware.  Looks at the first
 * disk's boot sector each time it is called with an install.iso: once for each boot.  Up to max entries.
 */
unsigned boot_order(const struct vm *, struct boot_entry *out, unsigned max);
#define BOOT_ORDER_MAX 32

/* Refuses a bootindex that two devices have, and an installation without a disk.  0 or -EINVAL (reported). */
int boot_order_check(const struct conf *);
/*
 * Does this disk, a file or block device, begin with something that starts: boot code or a partition in its first
 * sector, a GPT, a BSD disklabel?  False when it cannot be read.
 */
bool boot_sector_present(const char *path);

#endif
