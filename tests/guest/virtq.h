/*
 * Between virtq.c (running the cases, and those on the life of a device) and virtq_rings.c (what can be wrong in a ring).
 */
#ifndef TESTS_GUEST_VIRTQ_H
#define TESTS_GUEST_VIRTQ_H

#include "tests/guest/virtio.h"

#define ALL VIRTIO_ALL_FEATURES
#define PACKED_TOO (~F_EVENT_IDX)
#define BUF_LEN 4096
#define NBUFS 32

/* What a case works on. */
struct ctx {
	struct vdev *d;
	unsigned q;
	struct vring *r;                /* of q */
	bool writes;                    /* the device writes into buffers of this queue */
};

struct vcase {
	const char *name;
	void (*run)(struct ctx *);
	uint64_t mask;                  /* features to start with; 0: run() gets a device that was only reset */
	bool harmless;                  /* the device must work on without a reset */
	unsigned only;                  /* device type; 0: all */
};

extern const struct vcase ring_cases[];
extern const unsigned nring_cases;

extern uint8_t bufs[NBUFS][BUF_LEN];
static inline uint64_t buf(unsigned i) { return (uintptr_t)bufs[i % NBUFS]; }
/* Fills in descriptor i of a table. */
void desc(struct vdesc *table, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next);
/* DESC_WRITE where the device writes. */
static inline unsigned dir(const struct ctx *c) { return c->writes ? DESC_WRITE : 0; }
/* Makes the chain available, and notifies. */
void go(struct ctx *c, unsigned head);
/* The header of a disk request, in buffer i. */
void blk_header(unsigned i, uint32_t type, uint64_t sector);
/* A request in `table` that is right but for its data buffer. */
void with_data(struct ctx *c, struct vdesc *table, uint64_t addr, uint32_t len);
/* Of `mask`, what to negotiate for a case on queue q. */
uint64_t features(const struct vdev *d, unsigned q, uint64_t mask);

#endif
