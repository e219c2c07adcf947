/*
 * PCI functions and the host bridge's configuration space [PCI-3.0] [PCIe-4.0 7.2].
 * One bus (0) of 32 slots by 8 functions.  The host keeps BARs on the VM's buses as the guest moves them.
 */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H

#include "common/device.h"

#define PCI_CFG_LEN 256
#define PCI_BARS 6
#define PCI_MSIX_MAX 64                 /* vectors a function may have here */

/* Type 0 header [PCI-3.0 6.1] */
enum {
	PCI_VENDOR = 0x00, PCI_DEVICE = 0x02, PCI_COMMAND = 0x04, PCI_STATUS = 0x06, PCI_REVISION = 0x08,
	PCI_PROG_IF = 0x09, PCI_SUBCLASS = 0x0a, PCI_CLASS = 0x0b, PCI_HEADER_TYPE = 0x0e, PCI_BAR0 = 0x10,
	PCI_SUBVENDOR = 0x2c, PCI_SUBDEVICE = 0x2e, PCI_ROM = 0x30, PCI_CAP_PTR = 0x34,
	PCI_IRQ_LINE = 0x3c, PCI_IRQ_PIN = 0x3d,
};
#define PCI_COMMAND_IO 0x1
#define PCI_COMMAND_MEM 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_COMMAND_INTX_DISABLE 0x400
#define PCI_STATUS_INTX 0x08
#define PCI_STATUS_CAPS 0x10

enum pci_bar_type { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_dev;
struct pci_bar {
	enum pci_bar_type type;
	uint64_t size;                  /* power of two; 64-bit BARs use two slots, the second stays NONE */
	struct bus_range range;         /* range.base: where it is mapped, while range.mapped */
};

struct msix_entry {                     /* [PCI-3.0 6.8.2.9] as the guest wrote it */
	uint64_t addr;
	uint32_t data, ctrl;            /* ctrl bit 0: masked */
};

struct pci_ops {
	/* All with dev.lock held; each may be NULL. */
	/* Configuration bytes [off, off+size) were written, after masks were applied. */
	void (*cfg_written)(struct pci_dev *, unsigned off, unsigned size);
	/* Before a configuration read: the device may refresh bytes in cfg[]. */
	void (*cfg_reading)(struct pci_dev *, unsigned off, unsigned size);
	/* A BAR appeared at range.base or went away (range.mapped tells): ioeventfds follow it. */
	void (*bar_moved)(struct pci_dev *, unsigned bar);
};

struct pci_dev {
	struct device dev;              /* first */
	const struct pci_ops *ops;      /* set in init; NULL: none */
	uint8_t bus, slot, fn;
	uint8_t cfg[PCI_CFG_LEN];
	uint8_t wmask[PCI_CFG_LEN];     /* bits the guest may write */
	uint8_t cfg_reset[PCI_CFG_LEN]; /* power-on contents, taken after init */
	unsigned cap_end;               /* next free byte for a capability */
	unsigned cap_last;              /* offset of the last one; 0: none yet */
	struct pci_bar bar[PCI_BARS];
	bool intx;                      /* level the device drives */
	unsigned msix_cap;              /* 0: none */
	uint8_t msix_bar;
	uint16_t msix_n;
	struct msix_entry msix[PCI_MSIX_MAX];
	uint64_t msix_pending;          /* PBA */
	struct msi_vector msix_vec[PCI_MSIX_MAX];
	unsigned msi_cap;               /* 0: none */
	struct msi_vector msi_vec;
};

/* --- For devices, in init --- */
/* ids and class code: (class << 16 | subclass << 8 | prog_if). */
void pci_ids(struct pci_dev *, uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision);
void pci_subsystem(struct pci_dev *, uint16_t vendor, uint16_t device);
/* Declares a BAR; its ops run under dev.lock unless the class is self_locking.  size: power of two >= 16. */
void pci_bar_init(struct pci_dev *, unsigned bar, enum pci_bar_type, uint64_t size, const struct io_ops *, void *arg);
/* Appends a capability of `len` bytes (ID and next pointer included); returns its offset.  Asserts it fits. */
unsigned pci_cap_add(struct pci_dev *, uint8_t id, unsigned len);
/* Takes INTA#. */
void pci_intx_init(struct pci_dev *);
/* MSI-X with n vectors; table and PBA get a BAR of their own. */
void pci_msix_init(struct pci_dev *, unsigned bar, unsigned n);
/* MSI with one message. */
void pci_msi_init(struct pci_dev *);

/* --- For devices, running; dev.lock held --- */
void pci_intx_set(struct pci_dev *, bool level);
bool pci_msix_enabled(const struct pci_dev *);
/* Fires vector v, or makes it pending while masked.  Out of range: ignored. */
void pci_msix_fire(struct pci_dev *, unsigned v);
bool pci_msi_enabled(const struct pci_dev *);
void pci_msi_fire(struct pci_dev *);            /* nothing while MSI is off */
bool pci_bus_master(const struct pci_dev *);
static inline uint16_t pci_bdf(const struct pci_dev *p) { return (uint16_t)(p->bus << 8 | p->slot << 3 | p->fn); }

/* Snapshot fields of the common part: SNAP_STRUCT(struct x, pci, pci_fields, 1). */
extern const struct snap_field pci_fields[];

/* --- For the VM --- */
struct pci_host;
/* The configuration mechanisms of the machine: ECAM, and CF8/CFC where ports exist.  0 or -errno. */
int pci_host_new(struct vm *);
void pci_host_free(struct pci_host *);
/*
 * Moves the ECAM range, or takes it away with len 0.  Any thread, a device's lock may be held.  Where something else is, it is
 * nowhere until it is moved again or that has left: retry after a BAR has.
 */
void pci_host_ecam_move(struct pci_host *, uint64_t base, uint64_t len);
void pci_host_ecam_retry(struct pci_host *);
/*
 * Where the guest has put things: the ECAM range (ecam_len 0: nowhere) and what is decoded above 4 GiB (high_first >
 * high_last: nothing), the chips of a board there included.  Any thread, a device's lock may be held.
 */
struct pci_windows {
	uint64_t ecam_base, ecam_len;
	uint64_t high_first, high_last;
};
void pci_host_windows(const struct pci_host *, struct pci_windows *out);
/* Connects a device just made at its place; -EEXIST (reported) when the slot is taken. */
int pci_attach(struct vm *, struct pci_dev *);
void pci_detach(struct pci_dev *);              /* BARs and vectors gone, place free */
/* Parses "pci.B.S.F" into a place; -EINVAL (reported). */
int pci_place(const char *id, uint8_t *bus, uint8_t *slot, uint8_t *fn);
struct pci_dev *pci_at(const struct pci_host *, unsigned bus, unsigned slot, unsigned fn);     /* NULL: none */
/* Gives every BAR an address, as firmware would; at start and after each reset.  0 or -ENOSPC (reported). */
int pci_assign(struct vm *);
/* Power-on configuration space: BARs off the buses, capabilities cleared.  Part of device reset. */
void pci_reset(struct pci_dev *);
/* After a snapshot load: maps BARs and vectors as cfg[] and msix[] say.  0 or -EINVAL (reported). */
int pci_loaded(struct pci_dev *);

#endif
