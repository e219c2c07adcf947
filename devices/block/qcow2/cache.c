/*
 * A bounded cache of table slices: a hash for finding them, a clock for replacing clean ones, a list of the dirty ones.
 * Replacing never writes: that has an order, which the caller knows.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define SLICES_MIN 4u

struct qcow2_cache *qcow2_cache_new(uint32_t slice_bytes, uint64_t max_bytes)
{
	const uint64_t each = slice_bytes + sizeof(struct qcow2_slice) + 2 * sizeof(void *);
	struct qcow2_cache *c = calloc(1, sizeof(*c));
	uint64_t buckets = 64;

	if (!c)
		return NULL;
	c->bytes = slice_bytes;
	c->max = (uint32_t)MIN(MAX(max_bytes / each, SLICES_MIN), 1u << 24);
	while (buckets < c->max)
		buckets *= 2;
	c->mask = buckets - 1;
	c->hash = calloc(buckets, sizeof(*c->hash));
	c->all = calloc(c->max, sizeof(*c->all));
	if (!c->hash || !c->all) {
		qcow2_cache_free(c);
		return NULL;
	}
	return c;
}

void qcow2_cache_free(struct qcow2_cache *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->n; i++)
		free(c->all[i]);
	free(c->hash);
	free(c->all);
	free(c);
}

static void unhash(struct qcow2_cache *c, struct qcow2_slice *s)
{
	struct qcow2_slice **p = &c->hash[s->key & c->mask];

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
}

/* The clock: what was used since the hand last came by gets another round. */
static struct qcow2_slice *evict(struct qcow2_cache *c)
{
	if (c->ndirty == c->n)
		return NULL;
	for (;;) {
		struct qcow2_slice *s = c->all[c->hand];

		c->hand = (c->hand + 1) % c->n;
		if (s->dirty)
			continue;
		if (!s->used)
			return s;
		s->used = false;
	}
}

struct qcow2_slice *qcow2_cache_add(struct qcow2_cache *c, uint64_t key)
{
	struct qcow2_slice *s = NULL;

	if (c->n < c->max) {
		s = malloc(sizeof(*s) + c->bytes);
		if (s)
			c->all[c->n++] = s;
	}
	if (!s) {
		s = c->n ? evict(c) : NULL;
		if (!s)
			return NULL;
		unhash(c, s);
	}
	s->key = key;
	s->used = true;
	s->dirty = s->bad = false;
	s->next = c->hash[key & c->mask];
	c->hash[key & c->mask] = s;
	return s;
}

void qcow2_cache_drop(struct qcow2_cache *c, struct qcow2_slice *s)
{
	unhash(c, s);
	for (uint32_t i = 0; i < c->n; i++)
		if (c->all[i] == s) {
			c->all[i] = c->all[--c->n];
			break;
		}
	if (c->hand >= c->n)
		c->hand = 0;
	free(s);
}

void qcow2_cache_dirty(struct qcow2_cache *c, struct qcow2_slice *s)
{
	if (s->dirty)
		return;
	s->dirty = true;
	s->next_dirty = c->dirty;
	c->dirty = s;
	c->ndirty++;
}

struct qcow2_slice *qcow2_cache_take_dirty(struct qcow2_cache *c)
{
	struct qcow2_slice *s = c->dirty;

	if (s) {
		c->dirty = s->next_dirty;
		s->dirty = false;
		c->ndirty--;
	}
	return s;
}
