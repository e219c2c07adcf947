/*
 * Between virtio_pci.c (life of the device) and virtio_regs.c (its registers).
 */
#ifndef DEVICES_VIRTIO_VIRTIO_REGS_H
#define DEVICES_VIRTIO_VIRTIO_REGS_H

#include "devices/virtio/virtio_pci.h"

extern const struct io_ops virtio_bar_ops;      /* BAR 0; dev is the struct virtio_dev */
extern const struct reg virtio_regs[];          /* common configuration and ISR, for decoding too */
extern const unsigned virtio_nregs;
/* Appends the five capabilities [VIRTIO-1.2 4.1.4]. */
void virtio_caps_add(struct virtio_dev *);
/* The PCI configuration access capability [VIRTIO-1.2 4.1.4.9]. */
void virtio_cfg_reading(struct pci_dev *, unsigned off, unsigned size);
void virtio_cfg_written(struct pci_dev *, unsigned off, unsigned size);

/* What registers do, in virtio_pci.c. */
void virtio_set_status(struct virtio_dev *, uint8_t);
void virtio_enable_queue(struct virtio_dev *, unsigned q);
void virtio_reset_queue(struct virtio_dev *, unsigned q);

#endif
