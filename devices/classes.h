/*
 * Every device class; devices/classes.c lists them in the order `-s help` shows.
 */
#ifndef DEVICES_CLASSES_H
#define DEVICES_CLASSES_H

#include "common/device.h"

extern const struct device_class hostbridge_class, lpc_class;
extern const struct device_class virtio_blk_class, virtio_scsi_class, virtio_net_class, virtio_console_class, virtio_rnd_class,
	virtio_balloon_class;
extern const struct device_class nvme_class;
extern const struct device_class uart16550_class, pl011_class, pl031_class, pl061_class, mc146818_class, i8042_class;
extern const struct device_class acpi_pm_class, cf9_class, port92_class, debugcon_class;
extern const struct device_class fw_cfg_class, pflash_class, debugcon_class, debug_exit_class;
extern const struct device_class ahci_class, ahci_hd_class, ahci_cd_class;

#endif
