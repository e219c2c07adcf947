/*
 * Virtqueues: split and packed rings [VIRTIO-1.2 2.7, 2.8] as the device sees them.
 *
 * A chain of descriptors becomes an array of iovecs over guest memory, readable ones first.  Everything the
 * guest writes is read once and checked; what cannot be true marks the queue broken, after which it gives no
 * more chains and takes no results until it is reset.  Ring addresses are translated when the queue is
 * enabled and not looked at again, so moving a live ring has no effect.
 *
 * Thread: every call under the device's lock.
 */
#ifndef DEVICES_VIRTIO_VIRTQUEUE_H
#define DEVICES_VIRTIO_VIRTQUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/iov.h"
#include "common/mem.h"
#include "common/snap.h"

#define VQ_SIZE_MAX 256                         /* entries of the largest ring any device here offers */
/*
 * Descriptors of one chain, indirect ones included.
 * DEVIATION: [VIRTIO-1.2 2.7.5.3.1] bounds a chain by the ring's size; drivers that had to take a smaller ring
 * still build indirect tables as long as the device's own limits allow, so the bound is the largest ring.
 */
#define VQ_CHAIN_MAX VQ_SIZE_MAX
#define VQ_CHAIN_BYTES_MAX (1ull << 32)         /* [VIRTIO-1.2 2.7.4]: no chain above 4 GiB */

struct virtqueue {
	/* As the driver set it up, while `enabled` is false. */
	uint16_t size_max, size;
	uint64_t desc, driver, device;          /* guest-physical addresses of the three areas */
	bool enabled;
	bool packed, event_idx, indirect;       /* negotiated; fixed at enabling */
	bool quiet;                             /* it is polled: the driver need not notify */
	/* Position in the ring.  Split: free-running indices.  Packed: offsets with their wrap counters. */
	uint16_t avail_idx, used_idx;
	bool avail_wrap, used_wrap;
	uint16_t unsignalled;                   /* entries used since the driver was last considered */
	/* Computed at enabling. */
	uint16_t inuse;                         /* ring entries taken and not yet returned */
	const struct guest_mem *mem;
	uint8_t *desc_hva, *driver_hva, *device_hva;
	const char *broken;                     /* NULL, or the reason */
};

struct vq_chain {
	uint16_t id;                            /* split: head index; packed: buffer ID */
	uint16_t ndesc;                         /* ring entries it occupies; split: 1 */
	uint16_t nr, nw;                        /* readable iovecs, then writable ones */
	struct iovec *iov;                      /* the caller's, nr + nw entries */
	uint64_t rlen, wlen;                    /* bytes of each kind */
};

/* Forgets everything but size_max; size returns to it. */
void vq_reset(struct virtqueue *);
/* Translates the rings by size, addresses and flags.  NULL, or why it cannot be; then the queue is broken. */
const char *vq_enable(struct virtqueue *, const struct guest_mem *);
/* After a snapshot load: as vq_enable, keeping the position, which is checked too. */
const char *vq_loaded(struct virtqueue *, const struct guest_mem *);
static inline bool vq_live(const struct virtqueue *q) { return q->enabled && !q->broken; }

/*
 * Takes the next chain, its iovecs into iov[VQ_CHAIN_MAX].  False when there is none or the queue is broken.
 * Each chain taken is given back by vq_push() or vq_unpop().
 */
bool vq_pop(struct virtqueue *, struct vq_chain *, struct iovec *iov);
/* Gives back the chain taken last, as if never taken; several in the reverse order of vq_pop(). */
void vq_unpop(struct virtqueue *, const struct vq_chain *);
/* Returns a chain with `written` bytes in its writable part; in any order. */
void vq_push(struct virtqueue *, const struct vq_chain *, uint32_t written);
/* Forgets a chain that was taken, without telling the driver: its queue is being reset. */
void vq_drop(struct virtqueue *, const struct vq_chain *);
/*
 * Packed rings and MRG_RXBUF: as vq_push for `n` chains the driver must see at once; written[i] bytes each.
 */
void vq_push_many(struct virtqueue *, const struct vq_chain *, const uint32_t *written, unsigned n);

/* Is a chain available in a live queue?  What the driver has written may still be wrong. */
bool vq_ready(struct virtqueue *);
/* Asks the driver not to notify; a hint. */
void vq_notify_off(struct virtqueue *);
/* Asks for a notification of the next chain, unless `quiet`; true when one is there already and none may follow. */
bool vq_notify_on(struct virtqueue *);
/* True when the driver wants an interrupt for what was pushed since the last call. */
bool vq_should_interrupt(struct virtqueue *);

extern const struct snap_field virtqueue_fields[];

#endif
