/*
 * A small virtio-pci driver for bare-metal guests [VIRTIO-1.2 2.7, 3.1, 4.1]: modern devices, split rings, polled.
 * Everything a test may want to break is a public field.
 */
#ifndef TESTS_GUEST_VIRTIO_H
#define TESTS_GUEST_VIRTIO_H

#include "tests/guest/guest.h"

enum { VIRTIO_NET = 1, VIRTIO_BLK = 2, VIRTIO_CONSOLE = 3, VIRTIO_RND = 4 };
enum { S_ACKNOWLEDGE = 1, S_DRIVER = 2, S_DRIVER_OK = 4, S_FEATURES_OK = 8, S_NEEDS_RESET = 0x40, S_FAILED = 0x80 };
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };
#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED (1ull << 34)
#define F_RING_RESET (1ull << 40)
#define CONSOLE_F_MULTIPORT (1ull << 1)
/* What vdev_start() takes of what is offered, unless a test asks for something else. */
#define VIRTIO_ALL_FEATURES (~(F_PACKED | F_EVENT_IDX))

/* Common configuration [VIRTIO-1.2 4.1.4.3] */
enum {
	C_FEATURE_SEL = 0x00, C_FEATURE = 0x04, C_DRIVER_FEATURE_SEL = 0x08, C_DRIVER_FEATURE = 0x0c, C_CONFIG_VECTOR = 0x10,
	C_NUM_QUEUES = 0x12, C_STATUS = 0x14, C_QUEUE_SEL = 0x16, C_QUEUE_SIZE = 0x18, C_QUEUE_VECTOR = 0x1a, C_QUEUE_ENABLE = 0x1c,
	C_QUEUE_NOTIFY_OFF = 0x1e, C_QUEUE_DESC = 0x20, C_QUEUE_DRIVER = 0x28, C_QUEUE_DEVICE = 0x30, C_QUEUE_RESET = 0x3a,
};

#define VDEVS_MAX 16
#define VQS_MAX 8
#define VQ_LEN 64                       /* entries of every ring, unless the device has fewer */

struct vdesc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
struct vavail {
	uint16_t flags, idx, ring[VQ_LEN], used_event;
};
struct vused {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[VQ_LEN];
	uint16_t avail_event;
};

/* A ring in memory; each part has its own page, so that none can run into the other. */
struct vring {
	struct vdesc desc[VQ_LEN] __attribute__((aligned(4096)));
	struct vavail avail __attribute__((aligned(4096)));
	struct vused used __attribute__((aligned(4096)));
};

struct vdev {
	struct pci_fn pci;
	unsigned type;                          /* VIRTIO_NET... */
	const char *name;
	uint64_t common, notify, isr, cfg;      /* addresses; cfg 0: none */
	uint32_t notify_mult, cfg_len;
	unsigned nqueues;
	uint64_t features;                      /* negotiated */
	unsigned len[VQS_MAX];                  /* entries of each ring */
	uint16_t seen[VQS_MAX];                 /* used entries taken note of */
	bool msix;
};

/* All virtio devices of bus 0; how many. */
unsigned vdev_find(struct vdev devs[VDEVS_MAX]);

uint64_t vdev_get(const struct vdev *, unsigned reg, unsigned size);
void vdev_put(const struct vdev *, unsigned reg, unsigned size, uint64_t val);
unsigned vdev_status(const struct vdev *);

/* Status 0, and waits for the device to say so; false: it does not within five seconds. */
bool vdev_reset(struct vdev *);
uint64_t vdev_offered(const struct vdev *);
/* ACKNOWLEDGE to FEATURES_OK with what is offered of `mask`; false: the device refuses. */
bool vdev_negotiate(struct vdev *, uint64_t mask);
/* The ring of queue q (rings belong to one device at a time), emptied. */
struct vring *vq_ring(struct vdev *, unsigned q);
/* Tells the device where the ring is, without enabling. */
void vq_place(struct vdev *, unsigned q, uint64_t desc, uint64_t driver, uint64_t device, unsigned len);
/* An empty ring, enabled. */
struct vring *vq_enable(struct vdev *, unsigned q);
/* Negotiates, enables the queues in the bit set `queues`, and DRIVER_OK. */
bool vdev_start(struct vdev *, uint64_t mask, unsigned queues);
/* All queues that vdev_prove() needs. */
unsigned vdev_proof_queues(const struct vdev *);

/* Makes the chain at `head` available (no notification). */
void vq_add(struct vdev *, unsigned q, uint16_t head);
void vq_kick(const struct vdev *, unsigned q);
/* True when a used entry came that vq_wait() has not counted yet. */
bool vq_wait(struct vdev *, unsigned q, uint64_t us);

/*
 * Does something right on a started device, and checks the result: blk reads sector 0, which must begin like
 * pattern() of tests/host/lib.sh with seed 1; rnd gives bytes that differ from the last ones; net and console send; a
 * console with several ports answers on its control queue.
 */
bool vdev_prove(struct vdev *);
/* All queues' interrupts by the first MSI-X vector; before vdev_start().  False: there is none. */
bool vdev_msix(struct vdev *, uint64_t addr, uint32_t data);

#endif
