/*
 * Limits on a disk's requests: token buckets, kept as the time at which the next request would be due if they came
 * evenly.  A pure calculation; the caller brings the clock.
 */
#ifndef DEVICES_BLOCK_THROTTLE_H
#define DEVICES_BLOCK_THROTTLE_H

#include "devices/block/block.h"

struct bucket {
	uint64_t per_s;                 /* 0: no limit */
	uint64_t ahead_ns;              /* how far requests may run ahead of the even pace */
	uint64_t due_ns, rem;           /* rem: what the division left, in 1/per_s ns */
};

struct throttle {
	struct bucket iops, bps;        /* in the long run */
	struct bucket iops_burst, bps_burst;
};

void throttle_init(struct throttle *, const struct blk_rate *iops, const struct blk_rate *bps, uint32_t burst_s);
bool throttle_on(const struct throttle *);
/* How long the next request has to wait, ns; 0: it may go now. */
uint64_t throttle_wait_ns(const struct throttle *, uint64_t now_ns);
/* A request of that many bytes goes now. */
void throttle_take(struct throttle *, uint64_t bytes, uint64_t now_ns);

#endif
