/*
 * Opening and closing disks, exchanging the image at the top, the list of a VM's disks.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "common/vm.h"
#include "devices/block/block_int.h"

#define TAIL_ROUND 4096u

static bool sector_ok(uint32_t n)
{
	return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

/* What the operator asked for, over what the image says; formats above raw have no sectors of their own. */
static int sectors_set(struct blk *b)
{
	const struct bfile *f = b->img->file;
	const bool raw = b->img->granule == 0 && f->fd >= 0;

	b->logical = b->conf.logical ? b->conf.logical : raw ? f->logical : 512;
	b->physical = b->conf.physical ? b->conf.physical : raw ? f->physical : 4096;
	b->physical = MAX(b->physical, b->logical);
	if (sector_ok(b->logical) && sector_ok(b->physical) && (b->img->drv == &img_raw || b->img->size % b->logical == 0))
		return 0;
	if (sector_ok(b->logical) && sector_ok(b->physical))
		return err_msg(-EINVAL, "disk '%s': its size, %" PRIu64 " bytes, is no multiple of its sector size, %u; choose sectorsize=512 or "
			       "'skep img resize' it", b->conf.path, b->img->size, b->logical);
	return err_msg(-EINVAL, "disk '%s': sector sizes %u/%u: they must be powers of two from 512 to 65536", b->conf.path,
		       b->logical, b->physical);
}

static int img_of_disk(struct blk *b)
{
	const struct blk_conf *c = &b->conf;
	const bool write = !c->read_only && !c->snapshot;
	const struct img_open o = {
		.path = c->path, .format = c->format, .backing_dirs = c->backing_dirs, .cache_max = c->cache_max,
		.file_flags = (write ? BFILE_WRITE : 0) | (c->nocache ? BFILE_DIRECT : 0),
	};
	int err = 0;

	b->img = img_open(&o, &err);
	if (b->img && c->snapshot && !c->read_only)
		b->img = img_overlay_temp(b->img, &err);
	if (!b->img)
		return err;
	b->read_only = c->read_only || b->img->read_only;
	if (b->read_only && !c->read_only)
		log_warn("block", "disk '%s': %s images can only be read here; the guest sees a read-only disk", c->path, b->img->drv->name);
	return 0;
}

static int limits_set(struct blk *b)
{
	throttle_init(&b->throttle, &b->conf.iops, &b->conf.bps, b->conf.burst_s);
	if (b->timer || !throttle_on(&b->throttle))
		return 0;
	b->timer = ev_timer(b->vm->loop, blk_on_timer, b);
	return b->timer ? 0 : -ENOMEM;
}

static int engine_open(struct blk *b)
{
	const struct aio_owner owner = {
		.name = b->conf.path, .loop = b->vm->loop, .lock = b->owner.lock, .done = blk_transferred, .batch = blk_batch, .arg = b,
	};

	b->aio = aio_new(&owner, b->conf.aio);
	if (!b->aio)
		return -ENOMEM;
	return limits_set(b);
}

static void list_in(struct blk *b)
{
	struct blk **at = &b->vm->disks;

	while (*at)
		at = &(*at)->next;
	*at = b;
}

static void list_out(struct blk *b)
{
	for (struct blk **at = &b->vm->disks; *at; at = &(*at)->next) {
		if (*at == b) {
			*at = b->next;
			return;
		}
	}
}

struct blk *blk_open(struct vm *vm, const char *who, const struct blk_conf *conf, const struct blk_owner *owner, int *err)
{
	struct blk *b = calloc(1, sizeof(*b));

	*err = -ENOMEM;
	if (!b)
		return NULL;
	b->vm = vm;
	b->who = who;
	b->conf = *conf;
	b->owner = *owner;
	blk_list_init(&b->fresh);
	blk_list_init(&b->waiting);
	blk_list_init(&b->stopped);
	*err = img_of_disk(b);
	if (!*err)
		*err = sectors_set(b);
	if (!*err)
		*err = engine_open(b);
	if (*err) {
		blk_close(b);
		return NULL;
	}
	list_in(b);
	return b;
}

void blk_close(struct blk *b)
{
	struct blk_part *p;

	if (!b)
		return;
	assert(b->active == 0 && !b->fresh.head && !b->stopped.head);
	list_out(b);
	ev_del(b->timer);
	aio_free(b->aio);
	img_close(b->img);
	while ((p = b->parts)) {
		b->parts = p->next;
		free(p);
	}
	free(b);
}

int blk_replace(struct blk *b, struct img *top, struct img **old)
{
	assert(b->holds && b->active == 0);
	/* The last sector of an image that ends in the middle of one may have become whole. */
	if (top->size < b->img->size || ALIGN_UP(top->size, TAIL_ROUND) != ALIGN_UP(b->img->size, TAIL_ROUND))
		return err_msg(-EINVAL, "disk '%s': its replacement has %" PRIu64 " bytes, it has %" PRIu64, b->conf.path, top->size,
			       b->img->size);
	*old = b->img;
	b->img = top;
	return 0;
}

uint64_t blk_size(const struct blk *b) { return b->img->size; }
uint32_t blk_logical(const struct blk *b) { return b->logical; }
uint32_t blk_physical(const struct blk *b) { return b->physical; }
bool blk_read_only(const struct blk *b) { return b->read_only; }
bool blk_scratch(const struct blk *b) { return b->conf.snapshot; }
int blk_flush_error(const struct blk *b) { return b->flush_err; }
const char *blk_who(const struct blk *b) { return b->who; }
struct img *blk_img(struct blk *b) { return b->img; }
pthread_mutex_t *blk_lock(struct blk *b) { return b->owner.lock; }
const struct blk_stat *blk_stat(const struct blk *b, enum blk_op op) { return &b->stat[op]; }

void blk_limits(const struct blk *b, struct blk_rate *iops, struct blk_rate *bps, uint32_t *burst_s)
{
	*iops = b->conf.iops;
	*bps = b->conf.bps;
	*burst_s = b->conf.burst_s;
}

int blk_limit(struct blk *b, const struct blk_rate *iops, const struct blk_rate *bps, uint32_t burst_s)
{
	int err;

	pthread_mutex_lock(b->owner.lock);
	b->conf.iops = *iops;
	b->conf.bps = *bps;
	b->conf.burst_s = burst_s;
	err = limits_set(b);
	if (b->timer)
		ev_arm(b->timer, 1);    /* what waits may go now */
	pthread_mutex_unlock(b->owner.lock);
	return err;
}

/* --- All disks of a VM --- */

struct blk *blk_first(struct vm *vm) { return vm->disks; }
struct blk *blk_next(struct blk *b) { return b->next; }

/* "4.0.port.1" names "pci.0.4.0.port.1". */
static bool ends_in(const char *who, const char *part)
{
	const size_t n = strlen(who), len = strlen(part);

	return len < n && who[n - len - 1] == '.' && strcmp(who + n - len, part) == 0;
}

struct blk *blk_find(struct vm *vm, const char *who)
{
	struct blk *found = NULL;

	for (struct blk *b = vm->disks; b; b = b->next) {
		if (strcmp(b->who, who) == 0)
			return b;
	}
	for (struct blk *b = vm->disks; b; b = b->next) {
		if (!ends_in(b->who, who))
			continue;
		if (found)
			return NULL;
		found = b;
	}
	return found;
}

void blk_resume_all(struct vm *vm)
{
	for (struct blk *b = vm->disks; b; b = b->next) {
		pthread_mutex_lock(b->owner.lock);
		blk_resume(b);
		pthread_mutex_unlock(b->owner.lock);
	}
}
