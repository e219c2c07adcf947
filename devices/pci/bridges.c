/*
 * The two functions every machine of the family shows: "hostbridge" at 0:0.0 (its IDs are the architecture's:
 * MCH of Q35 [ICH-MCH 316966] or the generic ECAM bridge) and "lpc" at 0:31.0 (ICH9 [ICH9 316972]).  The chips behind
 * them are the board's.
 *
 * Modelled for firmware: PCIEXBAR places the ECAM range.  Registers whose effect is fixed here keep what is written:
 * PAM (all memory below 1 MiB is RAM always), PIRQ routes (PCI interrupts go to the I/O APIC), ACPI base and enable (the
 * block stays at 0x600), RCBA, SMRAM (there is no SMM).
 */
#include <errno.h>

#include "common/vm.h"
#include "devices/classes.h"
#include "devices/pci/host.h"

/* --- host bridge --- */

#define MCH_PCIEXBAR 0x60               /* 64 bits [ICH-MCH 316966 PCIEXBAR] */
#define PCIEXBAR_EN 1ull
#define PCIEXBAR_LENGTH_SHIFT 1         /* 2 bits: 256, 128, 64 MiB, reserved */
#define PCIEXBAR_END BIT64(36)          /* base bits 35:28, with a smaller length down to 26 */
#define MCH_PAM0 0x90                   /* PAM0 to PAM6 */
#define MCH_PAMS 7
#define MCH_SMRAM 0x9d
#define SMRAM_BASE_SEG 0x02             /* read-only: memory at 0xa0000 */
#define MCH_DEVICE_Q35 0x29c0

/* The one at 0:0.0: further bridges that a user adds place nothing. */
static bool is_mch(const struct pci_dev *p)
{
	return pci_bdf(p) == 0 && get_le16(&p->cfg[PCI_DEVICE]) == MCH_DEVICE_Q35;
}

/*
 * The ECAM range is where PCIEXBAR says.  While that is off, as at power-on, a machine without firmware has the range its
 * tables tell of, as if firmware had placed it.
 */
static void ecam_update(struct pci_dev *p)
{
	struct vm *vm = p->dev.vm;
	uint64_t v = is_mch(p) ? get_le64(&p->cfg[MCH_PCIEXBAR]) : 0;
	unsigned code = v >> PCIEXBAR_LENGTH_SHIFT & 3;

	if (pci_bdf(p) != 0)
		return;
	if (v & PCIEXBAR_EN && code < 3) {
		uint64_t len = MIB(256) >> code;
		pci_host_ecam_move(vm->pci, ALIGN_DOWN(v & (PCIEXBAR_END - 1), len), len);
	} else if (is_mch(p) && (vm->firmware || v & PCIEXBAR_EN)) {
		pci_host_ecam_move(vm->pci, 0, 0);
	} else {
		pci_host_ecam_move(vm->pci, vm->map.ecam_base, vm->map.ecam_len);
	}
}

static void hostbridge_written(struct pci_dev *p, unsigned off, unsigned size)
{
	if (is_mch(p) && ranges_overlap(off, size, MCH_PCIEXBAR, 8))
		ecam_update(p);
}

static const struct pci_ops hostbridge_ops = { .cfg_written = hostbridge_written };

static int hostbridge_init(struct device *dev)
{
	struct pci_dev *p = (struct pci_dev *)dev;
	const struct arch_info *a = dev->vm->arch;
	pci_ids(p, a->host_bridge_vendor, a->host_bridge_device, 0x060000, 0);
	p->ops = &hostbridge_ops;
	if (!is_mch(p))
		return 0;
	put_le64(&p->wmask[MCH_PCIEXBAR], (PCIEXBAR_END - MIB(64)) | 3 << PCIEXBAR_LENGTH_SHIFT | PCIEXBAR_EN);
	p->wmask[MCH_PAM0] = 0x30;              /* its low half is reserved */
	memset(&p->wmask[MCH_PAM0 + 1], 0x33, MCH_PAMS - 1);
	p->cfg[MCH_SMRAM] = SMRAM_BASE_SEG;
	p->wmask[MCH_SMRAM] = 0x78;
	return 0;
}

/* pci_reset() has put the registers back. */
static void hostbridge_reset(struct device *dev)
{
	ecam_update((struct pci_dev *)dev);
}

static int hostbridge_loaded(struct device *dev)
{
	ecam_update((struct pci_dev *)dev);
	return 0;
}

static const struct snap_field bridge_fields[] = {
	{ "pci", SNAP_T_STRUCT, 0, sizeof(struct pci_dev), 1, 0, pci_fields, 1 }, SNAP_END
};

const struct device_class hostbridge_class = {
	.name = "hostbridge", .help = "PCI host bridge", .size = sizeof(struct pci_dev), .pci = true,
	.init = hostbridge_init, .reset = hostbridge_reset, .snap = bridge_fields, .snap_version = 1, .loaded = hostbridge_loaded,
};

/* --- ISA bridge [ICH9 316972 13.1] --- */

#define ICH9_PMBASE 0x40        /* I/O base | 1 */
#define ICH9_ACPI_CNTL 0x44
#define ICH9_ACPI_EN 0x80
#define ICH9_PIRQ_A 0x60        /* PIRQA to D; E to H are at 0x68 */
#define ICH9_PIRQ_E 0x68
#define PIRQ_OFF 0x80           /* not routed to an ISA interrupt */
#define ICH9_RCBA 0xf0
#define PM_BASE 0x600

static int lpc_init(struct device *dev)
{
	struct pci_dev *p = (struct pci_dev *)dev;
	pci_ids(p, 0x8086, 0x2918, 0x060100, 2);
	/* Decoding cannot be turned off [ICH9 316972 PCICMD]; EDK2 asks whether it is on before it looks for what is behind. */
	put_le16(&p->cfg[PCI_COMMAND], PCI_COMMAND_IO | PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	put_le16(&p->wmask[PCI_COMMAND], 0);
	put_le32(&p->cfg[ICH9_PMBASE], PM_BASE | 1);
	put_le32(&p->wmask[ICH9_PMBASE], 0xff80);
	p->cfg[ICH9_ACPI_CNTL] = ICH9_ACPI_EN;
	p->wmask[ICH9_ACPI_CNTL] = 0x87;
	for (unsigned i = 0; i < 4; i++) {
		p->cfg[ICH9_PIRQ_A + i] = p->cfg[ICH9_PIRQ_E + i] = PIRQ_OFF;
		p->wmask[ICH9_PIRQ_A + i] = p->wmask[ICH9_PIRQ_E + i] = 0x8f;
	}
	put_le32(&p->wmask[ICH9_RCBA], 0xffffc001);
	return 0;
}

const struct device_class lpc_class = {
	.name = "lpc", .help = "PCI-ISA bridge (ICH9); nothing to do on arm64", .size = sizeof(struct pci_dev), .pci = true,
	.init = lpc_init, .snap = bridge_fields, .snap_version = 1,
};
