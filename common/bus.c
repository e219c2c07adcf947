#include "common/bus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"

int bus_init(struct bus *b, const char *name, uint64_t limit)
{
	memset(b, 0, sizeof(*b));
	b->name = name;
	b->limit = limit;
	int err = pthread_rwlock_init(&b->lock, NULL);
	return -err;
}

void bus_fini(struct bus *b)
{
	if (!b->name)
		return;
	free(b->r);
	pthread_rwlock_destroy(&b->lock);
	memset(b, 0, sizeof(*b));
}

/* Index of the first range whose end lies beyond addr; b->n when there is none. */
static unsigned first_ending_after(const struct bus *b, uint64_t addr)
{
	unsigned lo = 0, hi = b->n;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;
		const struct bus_range *r = b->r[mid];
		if (r->base + (r->len - 1) < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int bus_insert(struct bus *b, struct bus_range *r, const struct bus_range **clash)
{
	*clash = NULL;
	unsigned at = first_ending_after(b, r->base);
	if (at < b->n && b->r[at]->base <= r->base + (r->len - 1)) {
		*clash = b->r[at];
		return -EEXIST;
	}
	if (b->n == b->cap) {
		unsigned cap = b->cap ? b->cap * 2 : 16;
		struct bus_range **grown = realloc(b->r, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		b->r = grown;
		b->cap = cap;
	}
	memmove(&b->r[at + 1], &b->r[at], (b->n - at) * sizeof(b->r[0]));
	b->r[at] = r;
	b->n++;
	__atomic_store_n(&r->placed_at, r->base, __ATOMIC_RELAXED);
	r->mapped = true;
	return 0;
}

int bus_try_add(struct bus *b, struct bus_range *r)
{
	const struct bus_range *clash;
	if (r->len == 0 || r->base > b->limit || r->len - 1 > b->limit - r->base)
		return -EINVAL;
	pthread_rwlock_wrlock(&b->lock);
	int err = bus_insert(b, r, &clash);
	pthread_rwlock_unlock(&b->lock);
	return err;
}

int bus_add(struct bus *b, struct bus_range *r)
{
	const struct bus_range *clash = NULL;
	if (r->len == 0 || r->base > b->limit || r->len - 1 > b->limit - r->base)
		return err_msg(-EINVAL, "%s: %#" PRIx64 " bytes at %#" PRIx64 " do not fit the %s bus", r->name, r->len, r->base, b->name);
	pthread_rwlock_wrlock(&b->lock);
	int err = bus_insert(b, r, &clash);
	pthread_rwlock_unlock(&b->lock);
	if (err == -EEXIST)
		return err_msg(err, "%s at %#" PRIx64 " overlaps %s at %#" PRIx64 " on the %s bus", r->name, r->base, clash->name,
			       clash->base, b->name);
	if (err)
		return err_msg(err, "%s: out of memory", r->name);
	return 0;
}

void bus_del(struct bus *b, struct bus_range *r)
{
	pthread_rwlock_wrlock(&b->lock);
	for (unsigned i = 0; i < b->n; i++) {
		if (b->r[i] != r)
			continue;
		memmove(&b->r[i], &b->r[i + 1], (b->n - i - 1) * sizeof(b->r[0]));
		b->n--;
		r->mapped = false;
		break;
	}
	pthread_rwlock_unlock(&b->lock);
}

/* What a lookup copies out, so that a BAR moved meanwhile does not change the offset under the handler. */
struct hit {
	const struct bus_range *range;
	uint64_t off, left;
};

static struct hit bus_lookup(struct bus *b, uint64_t addr)
{
	struct hit h = { 0 };
	pthread_rwlock_rdlock(&b->lock);
	unsigned at = first_ending_after(b, addr);
	if (at < b->n && b->r[at]->base <= addr) {
		h.range = b->r[at];
		h.off = addr - h.range->base;
		h.left = h.range->len - h.off;
	}
	pthread_rwlock_unlock(&b->lock);
	return h;
}

const struct bus_range *bus_find(struct bus *b, uint64_t addr)
{
	return bus_lookup(b, addr).range;
}

static uint64_t hit_read(const struct hit *h, unsigned size)
{
	const struct bus_range *r = h->range;
	if (!r->ops->read)
		return size_mask(size);
	if (r->lock)
		pthread_mutex_lock(r->lock);
	uint64_t val = r->ops->read(r->dev, h->off, size);
	if (r->lock)
		pthread_mutex_unlock(r->lock);
	return val & size_mask(size);
}

static void hit_write(const struct hit *h, unsigned size, uint64_t val)
{
	const struct bus_range *r = h->range;
	if (!r->ops->write)
		return;
	if (r->lock)
		pthread_mutex_lock(r->lock);
	r->ops->write(r->dev, h->off, size, val & size_mask(size));
	if (r->lock)
		pthread_mutex_unlock(r->lock);
}

/* Sizes the models accept as they are; others (3, 5, 6, 7) and accesses across an edge go byte by byte. */
static bool whole(const struct hit *h, unsigned size)
{
	return (size & (size - 1)) == 0 && (size <= h->left || (h->off == 0 && size <= h->range->wide));
}

const struct bus_range *bus_read(struct bus *b, uint64_t addr, unsigned size, uint64_t *val)
{
	struct hit h = bus_lookup(b, addr);
	if (h.range && whole(&h, size)) {
		*val = hit_read(&h, size);
		return h.range;
	}
	*val = 0;
	for (unsigned i = 0; i < size; i++) {
		struct hit byte = addr + i < addr ? (struct hit){ 0 } : bus_lookup(b, addr + i);
		*val |= (byte.range ? hit_read(&byte, 1) : 0xff) << (8 * i);
	}
	return h.range;
}

const struct bus_range *bus_write(struct bus *b, uint64_t addr, unsigned size, uint64_t val)
{
	struct hit h = bus_lookup(b, addr);
	if (h.range && whole(&h, size)) {
		hit_write(&h, size, val);
		return h.range;
	}
	for (unsigned i = 0; i < size && addr + i >= addr; i++) {
		struct hit byte = bus_lookup(b, addr + i);
		if (byte.range)
			hit_write(&byte, 1, val >> (8 * i) & 0xff);
	}
	return h.range;
}

void bus_walk(struct bus *b, void (*fn)(const struct bus_range *, void *), void *arg)
{
	pthread_rwlock_rdlock(&b->lock);
	for (unsigned i = 0; i < b->n; i++)
		fn(b->r[i], arg);
	pthread_rwlock_unlock(&b->lock);
}

const struct reg *regs_find(const struct reg *regs, unsigned nregs, uint64_t off)
{
	for (unsigned i = 0; i < nregs && regs[i].off <= off; i++) {
		if (off < (uint64_t)regs[i].off + regs[i].width)
			return &regs[i];
	}
	return NULL;
}

uint64_t regs_read(const struct reg *regs, unsigned nregs, void *dev, uint64_t off, unsigned size)
{
	uint64_t val = 0;
	unsigned done = 0;
	while (done < size) {
		const struct reg *r = regs_find(regs, nregs, off + done);
		if (!r) {
			done++;
			continue;
		}
		unsigned skip = (unsigned)(off + done - r->off);
		unsigned take = MIN(r->width - skip, size - done);
		uint64_t whole_reg = r->rd ? r->rd(dev, r) : 0;
		val |= (whole_reg >> (8 * skip) & size_mask(take)) << (8 * done);
		done += take;
	}
	return val;
}

void regs_write(const struct reg *regs, unsigned nregs, void *dev, uint64_t off, unsigned size, uint64_t val)
{
	unsigned done = 0;
	while (done < size) {
		const struct reg *r = regs_find(regs, nregs, off + done);
		if (!r) {
			done++;
			continue;
		}
		unsigned skip = (unsigned)(off + done - r->off);
		unsigned take = MIN(r->width - skip, size - done);
		if (r->wr)
			r->wr(dev, r, (val >> (8 * done) & size_mask(take)) << (8 * skip));
		done += take;
	}
}
