/*
 * What firmware's boot order has to know of an NVMe controller.
 */
#ifndef DEVICES_NVME_NVME_BOOT_H
#define DEVICES_NVME_NVME_BOOT_H

#include <stdint.h>

struct device;

/*
 * The EUI-64 of namespace 1 as the boot order has it for EDK2: the first byte in the lowest bits.  EDK2 finds the
 * device by the text of its path, and writes these bytes in reverse there.  Any thread.
 */
uint64_t nvme_boot_eui64(const struct device *);

#endif
