/*
 * A virtio driver inside the test: a machine without KVM, and a driver that speaks to a device only through
 * its BARs and through rings in guest memory [VIRTIO-1.2 3.1, 2.7, 2.8].
 */
#ifndef TESTS_UNIT_DEVICES_VIRTIO_DRIVER_H
#define TESTS_UNIT_DEVICES_VIRTIO_DRIVER_H

#include "common/vm.h"
#include "devices/virtio/virtio_pci.h"

#define DRV_RAM_BASE 0x100000ull
#define DRV_RAM_LEN (16ull << 20)

/* A dry machine of 16 MiB with a PCI bus and a loop, nothing on it. */
struct vm *drv_vm_new(void);
void drv_vm_free(struct vm *);
/* Sets a key of the configuration; before drv_open(). */
void drv_conf(struct vm *, const char *key, const char *value);

struct drv_queue {
	unsigned size;
	uint64_t desc, driver, device;          /* guest-physical */
	uint16_t avail_idx, used_idx;           /* packed: offsets */
	bool avail_wrap, used_wrap;
	uint16_t kicked;                        /* avail_idx at the last look at the device's wishes */
	unsigned added;                         /* ring entries since then */
	uint16_t free[VQ_SIZE_MAX];             /* free ids */
	unsigned nfree;
	uint16_t ndesc[VQ_SIZE_MAX];            /* entries of the chain with that id */
	uint16_t next[VQ_SIZE_MAX];             /* split: descriptors are handed out in chains of ids */
};

struct drv {
	struct vm *vm;
	struct virtio_dev *v;
	uint64_t features;
	uint64_t brk;                           /* next free guest byte */
	struct drv_queue q[VIRTIO_QUEUES_MAX];
};

struct drv_buf {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* Makes a device (host resources are opened), assigns its BARs.  NULL when its init refuses. */
struct drv *drv_open(struct vm *, const struct device_class *, const char *id);
void drv_close(struct drv *);                   /* the device stays the VM's */
uint64_t drv_alloc(struct drv *, uint64_t len); /* 64-byte aligned guest memory, zeroed */
void *drv_ptr(struct drv *, uint64_t gpa, uint64_t len);

uint64_t drv_pci_read(struct drv *, unsigned off, unsigned size);        /* configuration space */
void drv_pci_write(struct drv *, unsigned off, unsigned size, uint64_t val);
uint64_t drv_read(struct drv *, unsigned off, unsigned size);
void drv_write(struct drv *, unsigned off, unsigned size, uint64_t val);
uint64_t drv_cfg(struct drv *, unsigned off, unsigned size);    /* device-specific configuration */
/* Resets and negotiates what both want; the status afterwards has FEATURES_OK. */
void drv_negotiate(struct drv *, uint64_t want);
void drv_queue_setup(struct drv *, unsigned q, unsigned size);
void drv_ok(struct drv *);
/* negotiate, queues 0..n-1 of the given size, MSI-X on but masked (so the PBA shows interrupts), DRIVER_OK. */
void drv_start(struct drv *, uint64_t want, unsigned nqueues, unsigned size);
void drv_msix(struct drv *, bool enable);
bool drv_irq(struct drv *, unsigned vector);    /* tests and clears the pending bit */

/* Makes a chain available (through an indirect table if asked); returns its id. */
int drv_add(struct drv *, unsigned q, const struct drv_buf *, unsigned n, bool indirect);
bool drv_kick(struct drv *, unsigned q);        /* as far as the device wants it; true: notified */
void drv_kick_always(struct drv *, unsigned q);
/* Runs the loop until a chain is used or nothing happens for a second; its id, or -1. */
int drv_wait(struct drv *, unsigned q, uint32_t *len);
int drv_poll(struct drv *, unsigned q, uint32_t *len);          /* without running the loop */
/* Runs the loop until it has nothing to do at once. */
void drv_settle(struct drv *);
/* add, kick, wait; the length used, or -1. */
int64_t drv_do(struct drv *, unsigned q, const struct drv_buf *, unsigned n, bool indirect);

#endif
