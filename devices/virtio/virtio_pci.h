/*
 * Virtio devices on PCI, modern transport only [VIRTIO-1.2 2, 4.1].
 *
 * A virtio device embeds struct virtio_dev first and describes itself with a const struct virtio_type.  The
 * transport owns status, features, queues and interrupts; the type owns what goes through the queues.
 * Notifications always reach the type on the loop's thread: by ioeventfd where KVM has one, else through an
 * MMIO exit that only writes the same eventfd.
 *
 * Thread: everything under dev.lock.  Register handlers run on vCPU threads, kicks on the loop's.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_PCI_H
#define DEVICES_VIRTIO_VIRTIO_PCI_H

#include "common/loop.h"
#include "devices/pci/pci.h"
#include "devices/virtio/virtqueue.h"

#define VIRTIO_QUEUES_MAX 34                    /* with one vector each and one for configuration: below PCI_MSIX_MAX */
#define VIRTIO_CFG_MAX 64                       /* bytes of device-specific configuration */

/* Features of the transport and the rings [VIRTIO-1.2 6] */
#define VIRTIO_F_INDIRECT_DESC BIT64(28)
#define VIRTIO_F_EVENT_IDX BIT64(29)
#define VIRTIO_F_VERSION_1 BIT64(32)
#define VIRTIO_F_RING_PACKED BIT64(34)
#define VIRTIO_F_RING_RESET BIT64(40)

/* Device status [VIRTIO-1.2 2.1] */
#define VIRTIO_S_ACKNOWLEDGE 1u
#define VIRTIO_S_DRIVER 2u
#define VIRTIO_S_DRIVER_OK 4u
#define VIRTIO_S_FEATURES_OK 8u
#define VIRTIO_S_NEEDS_RESET 0x40u
#define VIRTIO_S_FAILED 0x80u
#define VIRTIO_NO_VECTOR 0xffffu

/* Places in BAR 0; the notification address of queue q is VIRTIO_BAR_NOTIFY + q * VIRTIO_NOTIFY_MULT. */
#define VIRTIO_BAR_COMMON 0x0000u
#define VIRTIO_BAR_ISR 0x1000u
#define VIRTIO_BAR_DEVICE 0x2000u
#define VIRTIO_BAR_NOTIFY 0x3000u
#define VIRTIO_BAR_LEN 0x4000u
#define VIRTIO_NOTIFY_MULT 4u
#define VIRTIO_BAR_REGS 0                       /* 64-bit: takes BAR 0 and 1 */
#define VIRTIO_BAR_MSIX 2

struct virtio_dev;
struct virtio_type {
	uint16_t id;                            /* [VIRTIO-1.2 5] */
	uint32_t class_code;                    /* PCI class, subclass, interface */
	uint64_t features;                      /* always offered, besides the transport's; virtio_init adds more */
	bool polled;                            /* while at work, queues are looked at and not notified about */
	/* Each may be NULL but kick. */
	void (*negotiated)(struct virtio_dev *);                /* v->features is final */
	/* Loop thread: work may be waiting in a live queue.  True: call again soon (fairness). */
	bool (*kick)(struct virtio_dev *, unsigned q);
	/* The queue is to be reset: virtio_drop() chains that are held; those in flight may still come back. */
	void (*stop)(struct virtio_dev *, unsigned q);
	void (*reset)(struct virtio_dev *);                     /* power-on state of the type; nothing is in flight */
	/* Bytes of cfg[] that cfg_wmask[] lets through were written. */
	void (*cfg_written)(struct virtio_dev *, unsigned off, unsigned size);
};

struct virtio_kick {
	struct virtio_dev *v;
	unsigned q;
	int fd;                                 /* eventfd; -1 in a machine that never runs */
	struct ev *ev;
	struct poller *poller;                  /* NULL: it is not polled */
	bool by_kvm;                            /* an ioeventfd is set at addr */
	uint64_t addr;
};

struct virtio_dev {
	struct pci_dev pci;                     /* first */
	const struct virtio_type *type;
	uint64_t offered, features;             /* device's; driver's, final from FEATURES_OK on */
	unsigned nqueues;
	uint8_t status, isr, generation;
	bool resetting;                         /* status 0 was written, requests are still in flight */
	bool paused;
	uint32_t feature_sel, driver_feature_sel;
	uint16_t queue_sel, config_vector;
	uint16_t vector[VIRTIO_QUEUES_MAX];
	bool queue_reset[VIRTIO_QUEUES_MAX];    /* as `resetting`, for one queue */
	struct virtqueue vq[VIRTIO_QUEUES_MAX];
	struct virtio_kick kick[VIRTIO_QUEUES_MAX];
	uint8_t cfg[VIRTIO_CFG_MAX], cfg_wmask[VIRTIO_CFG_MAX];
	unsigned cfg_len, cfg_cap;
};

/*
 * In the class's init: PCI identity, BARs, capabilities, eventfds.  `features` adds to the type's and the
 * transport's own.  0 or -errno (reported).  Main thread.
 */
int virtio_init(struct virtio_dev *, const struct virtio_type *, uint64_t features, unsigned nqueues,
		uint16_t queue_size, unsigned cfg_len);
void virtio_fini(struct virtio_dev *);
/* For the class's reset: the caller has drained its requests.  Main thread, takes the lock. */
void virtio_reset(struct virtio_dev *);
/* For pause and resume: stops taking chains (before draining); starts again and kicks.  Takes the lock. */
void virtio_pause(struct virtio_dev *);
void virtio_resume(struct virtio_dev *);
/* For loaded: checks and rebuilds.  0 or -EINVAL (reported). */
int virtio_loaded(struct virtio_dev *);

static inline bool virtio_has(const struct virtio_dev *v, uint64_t feature) { return v->features & feature; }
/* May chains be taken from this queue now? */
bool virtio_running(const struct virtio_dev *, unsigned q);
/* vq_pop() and its relatives for a device's queue; a broken queue sets DEVICE_NEEDS_RESET. */
bool virtio_pop(struct virtio_dev *, unsigned q, struct vq_chain *, struct iovec *iov);
void virtio_unpop(struct virtio_dev *, unsigned q, const struct vq_chain *);
void virtio_drop(struct virtio_dev *, unsigned q, const struct vq_chain *);
void virtio_push(struct virtio_dev *, unsigned q, const struct vq_chain *, uint32_t written);
void virtio_push_many(struct virtio_dev *, unsigned q, const struct vq_chain *, const uint32_t *written, unsigned n);
/* Interrupts the driver if it wants to hear of what was pushed. */
void virtio_signal(struct virtio_dev *, unsigned q);
/* The device cannot go on with what the driver did [VIRTIO-1.2 2.1.2]. */
void virtio_broken(struct virtio_dev *, const char *what, const char *why);
/* cfg[] was changed by the device: new generation, configuration interrupt. */
void virtio_config_changed(struct virtio_dev *);
/* Has the queue looked at soon, on the loop's thread. */
void virtio_kick_self(struct virtio_dev *, unsigned q);

/* SNAP_STRUCT(struct x, v, virtio_fields, 1): the transport, its queues and the PCI part. */
extern const struct snap_field virtio_fields[];

#endif
