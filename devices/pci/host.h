/*
 * Between the host bridge and the functions: only devices/pci/ includes this.
 */
#ifndef DEVICES_PCI_HOST_H
#define DEVICES_PCI_HOST_H

#include "devices/pci/pci.h"

/* Takes the function's place; -EEXIST (reported) when it is occupied. */
int pci_host_plug(struct pci_host *, struct pci_dev *);
void pci_host_unplug(struct pci_host *, struct pci_dev *);
/* One access to configuration space, dev.lock held; off + size beyond PCI_CFG_LEN reads 0 and drops writes. */
uint64_t pci_cfg_read(struct pci_dev *, unsigned off, unsigned size);
/* True when a BAR has left its address, which another device's may be waiting for. */
bool pci_cfg_write(struct pci_dev *, unsigned off, unsigned size, uint64_t val);
/* Decodes what could not be decoded because something else was there, if it now can.  dev.lock held. */
void pci_bars_retry(struct pci_dev *);
/* Writes an address into a BAR without decoding it. */
void pci_bar_set(struct pci_dev *, unsigned bar, uint64_t addr);

#endif
