/*
 * The two functions every machine of the family shows: "hostbridge" at 0:0.0 (its IDs are the architecture's:
 * MCH of Q35 [ICH-MCH 316966] or the generic ECAM bridge) and "lpc" at 0:31.0 (ICH9 [ICH9 316972], its PM base
 * and ACPI enable as firmware would have left them).  The chips behind them are the board's.
 */
#include <errno.h>

#include "common/vm.h"
#include "devices/classes.h"
#include "devices/pci/pci.h"

#define ICH9_PMBASE 0x40        /* I/O base | 1 */
#define ICH9_ACPI_CNTL 0x44
#define ICH9_ACPI_EN 0x80
#define PM_BASE 0x600

static int hostbridge_init(struct device *dev)
{
	struct pci_dev *p = (struct pci_dev *)dev;
	const struct arch_info *a = dev->vm->arch;
	pci_ids(p, a->host_bridge_vendor, a->host_bridge_device, 0x060000, 0);
	return 0;
}

static const struct snap_field bridge_fields[] = {
	{ "pci", SNAP_T_STRUCT, 0, sizeof(struct pci_dev), 1, 0, pci_fields, 1 }, SNAP_END
};

const struct device_class hostbridge_class = {
	.name = "hostbridge", .help = "PCI host bridge", .size = sizeof(struct pci_dev), .pci = true,
	.init = hostbridge_init, .snap = bridge_fields, .snap_version = 1,
};

static int lpc_init(struct device *dev)
{
	struct pci_dev *p = (struct pci_dev *)dev;
	pci_ids(p, 0x8086, 0x2918, 0x060100, 2);
	put_le32(&p->cfg[ICH9_PMBASE], PM_BASE | 1);
	p->cfg[ICH9_ACPI_CNTL] = ICH9_ACPI_EN;
	return 0;
}

const struct device_class lpc_class = {
	.name = "lpc", .help = "PCI-ISA bridge (ICH9); nothing to do on arm64", .size = sizeof(struct pci_dev), .pci = true,
	.init = lpc_init, .snap = bridge_fields, .snap_version = 1,
};
