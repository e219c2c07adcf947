#include "devices/classes.h"

const struct device_class *const device_classes[] = {
	&hostbridge_class, &lpc_class,
	&virtio_blk_class, &virtio_scsi_class, &virtio_net_class, &virtio_console_class, &virtio_rnd_class,
	&virtio_balloon_class,
	&ahci_hd_class, &ahci_cd_class, &ahci_class, &nvme_class,
	&uart16550_class, &pl011_class, &pl031_class, &pl061_class, &mc146818_class, &i8042_class,
	&acpi_pm_class, &cf9_class, &port92_class, &debugcon_class, &fw_cfg_class, &pflash_class,
	&debugcon_class, &debug_exit_class,
	NULL
};
