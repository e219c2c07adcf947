/*
 * Inside of the virtqueue files: ring layouts, ordered access to guest memory, the builder of chains.
 */
#ifndef DEVICES_VIRTIO_RING_H
#define DEVICES_VIRTIO_RING_H

#include "common/util.h"
#include "devices/virtio/virtqueue.h"

/* Descriptor flags [VIRTIO-1.2 2.7.5, 2.8.1] */
#define DESC_F_NEXT 1u
#define DESC_F_WRITE 2u
#define DESC_F_INDIRECT 4u
#define DESC_F_AVAIL 0x80u                      /* packed only */
#define DESC_F_USED 0x8000u                     /* packed only */
#define DESC_LEN 16u

/* Both layouts agree on the first 12 bytes; the last four are flags, next (split) or id, flags (packed). */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t w0, w1;
};

/* 16-bit words of the rings are naturally aligned: vq_enable() checked the areas. */
static inline uint16_t ring_load(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED); }
static inline uint16_t ring_load_acquire(const void *p) { return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE); }
static inline void ring_store(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED); }
static inline void ring_store_release(void *p, uint16_t v) { __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELEASE); }
/*
 * Orders our stores before our loads, against the driver doing the same the other way round
 * [VIRTIO-1.2 2.7.7.1, 2.7.13.4.1]: without it both sides may decide that the other has seen enough.
 */
static inline void ring_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* True when moving from old to new passed `event` [VIRTIO-1.2 2.7.10], all modulo 2^16. */
static inline bool ring_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Marks the queue broken, keeping the first reason; always false. */
bool vq_break(struct virtqueue *, const char *why);
/* Adds one buffer to a chain; false: the queue is broken. */
bool chain_add(struct virtqueue *, struct vq_chain *, uint64_t addr, uint32_t len, bool writable);
/* Host address of an indirect table and its number of entries; NULL: the queue is broken. */
const uint8_t *chain_table(struct virtqueue *, const struct desc *, unsigned *n);

struct ring_ops {
	bool (*pop)(struct virtqueue *, struct vq_chain *);
	void (*unpop)(struct virtqueue *, const struct vq_chain *);
	void (*push_many)(struct virtqueue *, const struct vq_chain *, const uint32_t *written, unsigned n);
	bool (*ready)(struct virtqueue *);              /* a chain is available */
	void (*notify_off)(struct virtqueue *);
	bool (*notify_on)(struct virtqueue *);
	bool (*should_interrupt)(struct virtqueue *);
};
extern const struct ring_ops ring_split, ring_packed;

#endif
