#include "devices/block/throttle.h"

#include "common/util.h"

#define NS_PER_S 1000000000u
#define FAR_NS ((uint64_t)1 << 62)      /* never, in practice */
#define SLICE_NS (NS_PER_S / 10)        /* without a burst, a tenth of a second's worth may go at once */

static uint64_t ahead_ns(const struct blk_rate *r, uint32_t burst_s)
{
	/* From a full bucket, at the burst's rate, it takes burst_s seconds to empty it. */
	unsigned __int128 ns;

	if (r->burst_per_s <= r->per_s)
		return SLICE_NS;
	ns = (unsigned __int128)(r->burst_per_s - r->per_s) * burst_s * NS_PER_S / r->per_s;
	return MAX((uint64_t)SLICE_NS, (uint64_t)MIN(ns, (unsigned __int128)1 << 60));
}

static void pair_init(struct bucket *mean, struct bucket *burst, const struct blk_rate *r, uint32_t burst_s)
{
	*mean = *burst = (struct bucket){ 0 };
	if (!r->per_s)
		return;
	mean->per_s = r->per_s;
	mean->ahead_ns = ahead_ns(r, burst_s);
	if (r->burst_per_s <= r->per_s)
		return;
	burst->per_s = r->burst_per_s;
	burst->ahead_ns = SLICE_NS;
}

void throttle_init(struct throttle *t, const struct blk_rate *iops, const struct blk_rate *bps, uint32_t burst_s)
{
	pair_init(&t->iops, &t->iops_burst, iops, MAX(burst_s, 1u));
	pair_init(&t->bps, &t->bps_burst, bps, MAX(burst_s, 1u));
}

bool throttle_on(const struct throttle *t)
{
	return t->iops.per_s || t->bps.per_s;
}

/* The last request may have been any size: it is let through when the bucket was not empty, and paid for afterwards. */
static uint64_t bucket_wait(const struct bucket *b, uint64_t now_ns)
{
	if (!b->per_s || b->due_ns < now_ns + b->ahead_ns)
		return 0;
	return b->due_ns - now_ns - b->ahead_ns + 1;
}

static void bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns)
{
	unsigned __int128 cost;

	if (!b->per_s)
		return;
	if (b->due_ns < now_ns) {
		b->due_ns = now_ns;
		b->rem = 0;
	}
	cost = (unsigned __int128)n * NS_PER_S + b->rem;
	b->due_ns = (uint64_t)MIN(b->due_ns + cost / b->per_s, (unsigned __int128)FAR_NS);
	b->rem = (uint64_t)(cost % b->per_s);
}

uint64_t throttle_wait_ns(const struct throttle *t, uint64_t now_ns)
{
	const uint64_t a = MAX(bucket_wait(&t->iops, now_ns), bucket_wait(&t->iops_burst, now_ns));
	const uint64_t b = MAX(bucket_wait(&t->bps, now_ns), bucket_wait(&t->bps_burst, now_ns));

	return MAX(a, b);
}

void throttle_take(struct throttle *t, uint64_t bytes, uint64_t now_ns)
{
	bucket_take(&t->iops, 1, now_ns);
	bucket_take(&t->iops_burst, 1, now_ns);
	bucket_take(&t->bps, bytes, now_ns);
	bucket_take(&t->bps_burst, bytes, now_ns);
}
