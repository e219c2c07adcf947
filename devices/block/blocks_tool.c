/*
 * What `img create` and `img check` need of formats with block tables: files, identifiers, overlaps.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "devices/block/blocks.h"

struct place {
	uint64_t off;
	uint32_t i;
};

static int by_offset(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

int blocks_check(struct blocks *b, struct img_check *c)
{
	struct place *p = malloc((b->n ? b->n : 1) * sizeof(*p));
	const uint64_t bytes = 1ull << b->shift;
	uint64_t last = 0;
	uint32_t n = 0;

	if (!p)
		return err_msg(-ENOMEM, "image '%s': no memory to check it", b->path);
	c->clusters += b->n;
	for (uint32_t i = 0; i < b->n; i++) {
		uint64_t off = 0;
		const enum img_kind kind = blocks_get(b, i, &off);

		c->allocated += kind == IMG_DATA || kind == IMG_OPAQUE;
		c->compressed += kind == IMG_OPAQUE;
		if (kind != IMG_DATA)
			continue;
		c->fragmented += n > 0 && off != last;
		last = off + bytes;
		p[n++] = (struct place){ off, i };
	}
	qsort(p, n, sizeof(*p), by_offset);
	for (uint32_t k = 1; k < n; k++) {
		if (p[k].off - p[k - 1].off >= bytes + b->before)
			continue;
		c->corruptions++;
		log_msg(LOG_ERROR, "img", "image '%s': blocks %u and %u lie in the same place of the file", b->path, p[k - 1].i, p[k].i);
	}
	c->image_end = MAX(c->image_end, b->end);
	free(p);
	return 0;
}

void blocks_noise(void *buf, size_t n)
{
	const ssize_t got = getrandom(buf, n, GRND_NONBLOCK);
	struct timespec now;

	if (got == (ssize_t)n)
		return;
	/* An early start, before the kernel has gathered any: the time is as unique as it gets. */
	clock_gettime(CLOCK_REALTIME, &now);
	for (size_t i = 0; i < n; i++)
		((uint8_t *)buf)[i] = (uint8_t)((now.tv_nsec >> (i % 4 * 8)) ^ (now.tv_sec >> (i / 4 % 4 * 8)) ^ (getpid() + (int)i));
}

void blocks_uuid(uint8_t out[16])
{
	blocks_noise(out, 16);
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

struct bfile *blocks_create_file(const struct img_create *c, const char *path, bool device, int *err)
{
	struct bfile *f = bfile_open(path, BFILE_WRITE | BFILE_CREATE | (c->overwrite ? BFILE_TRUNCATE : 0), err);

	if (!f || device || !f->block_device)
		return f;
	*err = err_msg(-ENOTSUP, "image '%s': a %s image of this kind cannot be made on a block device; use raw or qcow2", path, c->format);
	bfile_close(f);
	return NULL;
}

int blocks_create_done(struct bfile *f, int ret)
{
	if (!ret)
		ret = f->ops->flush(f);
	if (ret) {
		err_msg(ret, "image '%s': it cannot be created: %s", f->path, strerror(-ret));
		if (!f->block_device)
			unlink(f->path);
	}
	bfile_close(f);
	return ret;
}

int blocks_preallocate(struct bfile *f, const struct img_create *c, uint64_t from, uint64_t size)
{
	int err = f->block_device ? 0 : f->ops->truncate(f, size);

	if (!err && size > from && (f->block_device || c->prealloc == IMG_PREALLOC_FALLOC || c->prealloc == IMG_PREALLOC_FULL))
		err = f->ops->zero(f, from, size - from, false);
	return err;
}

int blocks_create_size(const struct img_create *c, uint64_t max, uint64_t *size)
{
	if (!c->size)
		return err_msg(-EINVAL, "image '%s': it needs a size", c->path);
	if (c->size > max)
		return err_msg(-EFBIG, "image '%s': %s images hold at most %llu GiB; use qcow2 or raw", c->path, c->format,
			       (unsigned long long)(max >> 30));
	*size = ALIGN_UP(c->size, 512);
	return 0;
}
