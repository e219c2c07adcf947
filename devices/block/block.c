#include "devices/block/block.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"

static const struct blk_driver *const drivers[] = { &blk_raw };

static const struct blk_driver *driver_find(const char *name)
{
	for (size_t i = 0; i < NELEM(drivers); i++) {
		if (!name || strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	}
	return NULL;
}

static bool sector_ok(uint32_t n)
{
	return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

/* What the operator asked for, over what the image says. */
static int sectors_set(struct blk *b)
{
	if (b->conf.logical)
		b->logical = b->conf.logical;
	if (b->conf.physical)
		b->physical = b->conf.physical;
	b->physical = MAX(b->physical, b->logical);
	if (sector_ok(b->logical) && sector_ok(b->physical))
		return 0;
	return err_msg(-EINVAL, "disk '%s': sector sizes %u/%u: they must be powers of two from 512 to 65536", b->conf.path,
		       b->logical, b->physical);
}

struct blk *blk_open(struct vm *vm, const char *who, const struct blk_conf *conf, const struct blk_owner *owner, int *err)
{
	const struct blk_driver *drv = driver_find(conf->format);
	struct blk *b;

	if (!drv) {
		*err = err_msg(-EINVAL, "disk '%s': format '%s' is not known; there is 'raw'", conf->path, conf->format);
		return NULL;
	}
	b = calloc(1, drv->size);
	if (!b) {
		*err = -ENOMEM;
		return NULL;
	}
	b->drv = drv;
	b->vm = vm;
	b->who = who;
	b->conf = *conf;
	b->owner = *owner;
	*err = drv->open(b);
	if (*err) {
		free(b);
		return NULL;
	}
	*err = sectors_set(b);
	if (*err) {
		blk_close(b);
		return NULL;
	}
	return b;
}

void blk_close(struct blk *b)
{
	if (!b)
		return;
	assert(b->in_flight == 0);
	b->drv->close(b);
	free(b);
}

void blk_submit(struct blk *b, struct blk_req *r)
{
	r->blk = b;
	r->next = NULL;
	r->work = NULL;
	r->ret = 0;
	b->in_flight++;
	b->drv->submit(b, r);
}

void blk_kick(struct blk *b)
{
	b->drv->kick(b);
}

void blk_drain(struct blk *b)
{
	b->drv->kick(b);
	while (b->in_flight)
		b->drv->wait(b);
}

void blk_done(struct blk_req *r)
{
	assert(r->blk->in_flight > 0);
	r->blk->in_flight--;
	r->done(r);
}
