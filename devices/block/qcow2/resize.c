/*
 * Another size of the disk, and allocating all of it in advance.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/qcow2/state.h"

#define CHUNK (1u << 20)

/* --- the L1 table --- */

static int l1_write(struct qcow2 *q, uint64_t off, const uint64_t *l1, uint32_t n)
{
	const size_t bytes = ALIGN_UP((size_t)n * 8, q->cluster);
	uint8_t *b = calloc(1, bytes);
	int err = b ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && b; i++)
		put_be64(b + (size_t)i * 8, l1[i]);
	if (!err)
		err = bfile_write(q->img.file, off, b, bytes);
	free(b);
	return err;
}

/* Builds a longer one, switches the header to it.  Everything is written back before; lock held, image quiet. */
static int l1_grow(struct qcow2 *q, uint32_t entries)
{
	const struct qcow2_header old = q->h;
	uint64_t *l1 = calloc(entries, sizeof(*l1)), off;
	int err = l1 ? qcow2_mark_dirty(q) : -ENOMEM;

	if (!err)
		err = qcow2_alloc_exactly(q, ALIGN_UP((uint64_t)entries * 8, q->cluster) >> q->state->cbits, &off);
	if (!err) {
		memcpy(l1, q->l1, (size_t)old.l1_entries * 8);
		err = l1_write(q, off, l1, entries);
	}
	if (!err)
		err = qcow2_write_back(q);      /* refcounts of the new table are durable before it is named */
	if (err) {
		free(l1);
		return err;
	}
	q->h.l1_off = off;
	q->h.l1_entries = entries;
	err = qcow2_header_switch(q, &old);
	if (err) {
		free(l1);
		return err;
	}
	free(q->l1);
	q->l1 = l1;
	if (old.l1_entries)
		qcow2_free_later(q, old.l1_off, ALIGN_UP((uint64_t)old.l1_entries * 8, q->cluster), false);
	return qcow2_write_back(q);
}

static int size_write(struct qcow2 *q, uint64_t size)
{
	const struct qcow2_header old = q->h;
	int err;

	q->h.size = size;
	err = qcow2_header_switch(q, &old);
	if (!err)
		q->img.size = size;
	return err;
}

/* --- */

static int refuse(struct qcow2 *q, uint64_t size)
{
	const char *path = q->img.file->path;
	const uint64_t entries = (size + BIT64(q->state->l2_bits) - 1) >> q->state->l2_bits;

	if (size > INT64_MAX - BIT64(q->state->l2_bits) || entries * 8 > QCOW2_L1_BYTES_MAX)
		return err_msg(-EFBIG, "image '%s': with clusters of %u bytes it cannot become that large; convert it to larger clusters", path,
			       q->cluster);
	if (size < q->img.size && q->h.nsnapshots)
		return err_msg(-ENOTSUP, "image '%s': it cannot become smaller while it has snapshots; delete them first", path);
	if (q->h.version < 3 && q->h.nsnapshots)
		return err_msg(-ENOTSUP, "image '%s': snapshots of version 2 do not know the disk's size; delete them first", path);
	return 0;
}

/*
 * What comes into view reads as zeroes: also the rest of the last cluster, what a larger image below would show, and what
 * a shrinking that was cut short has left.  The disk is already large here, but not yet in the file.
 */
static int grow_clean(struct qcow2 *q, uint64_t from, uint64_t to)
{
	const uint64_t below = q->img.backing ? q->img.backing->size : q->img.backing_path ? to : 0;
	uint64_t edge = MIN(to, ALIGN_UP(from, q->cluster)), off;
	int err = from < edge ? qcow2_zero(&q->img, from, edge - from, 0) : 0;

	if (!err && below > edge) {
		const uint64_t end = MIN(to, ALIGN_UP(MIN(below, to), q->cluster));

		err = qcow2_zero(&q->img, edge, end - edge, IMG_UNMAP);
		edge = end;
	}
	for (off = edge; off < to && !err; off = ALIGN_DOWN(off, BIT64(q->state->l2_bits)) + BIT64(q->state->l2_bits))
		if (q->l1[off >> q->state->l2_bits] & QCOW2_OFFSET_MASK) {
			const uint64_t end = MIN(to, ALIGN_DOWN(off, BIT64(q->state->l2_bits)) + BIT64(q->state->l2_bits));

			err = qcow2_zero(&q->img, off, end - off, IMG_UNMAP);
		}
	return err;
}

static int grow(struct qcow2 *q, uint64_t size)
{
	const uint64_t old = q->img.size;
	const uint32_t entries = (uint32_t)((size + BIT64(q->state->l2_bits) - 1) >> q->state->l2_bits);
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_write_back(q);
	if (!err && entries > q->h.l1_entries)
		err = l1_grow(q, entries);
	pthread_mutex_unlock(&q->lock);
	if (err)
		return err;
	q->img.size = size;
	err = grow_clean(q, old, size);
	pthread_mutex_lock(&q->lock);
	if (!err)
		err = qcow2_write_back(q);
	if (!err)
		err = size_write(q, size);
	pthread_mutex_unlock(&q->lock);
	if (err)
		q->img.size = old;
	return err;
}

/* First the size, so that what is cut off is out of sight when its clusters go. */
static int shrink(struct qcow2 *q, uint64_t size)
{
	const uint64_t old = q->img.size, cut = ALIGN_UP(size, q->cluster);
	int err;

	pthread_mutex_lock(&q->lock);
	err = qcow2_write_back(q);
	if (!err)
		err = size_write(q, size);
	pthread_mutex_unlock(&q->lock);
	if (err || cut >= old)
		return err;
	q->img.size = old;
	err = qcow2_zero(&q->img, cut, old - cut, IMG_UNMAP);
	q->img.size = size;
	pthread_mutex_lock(&q->lock);
	if (!err)
		err = qcow2_write_back(q);
	pthread_mutex_unlock(&q->lock);
	return err;
}

int qcow2_resize(struct img *img, uint64_t size)
{
	struct qcow2 *q = qcow2_of(img);
	int err;

	size = ALIGN_UP(size, 512u);
	err = refuse(q, size);
	if (err || size == img->size)
		return err;
	err = size > img->size ? grow(q, size) : shrink(q, size);
	return err ? err_msg(err, "image '%s': its size cannot be changed: %s", img->file->path, strerror(-err)) : 0;
}

/* --- allocating in advance --- */

static int fill(struct qcow2 *q, uint64_t off, uint64_t len)
{
	uint8_t *b = calloc(1, CHUNK);
	int err = b ? 0 : -ENOMEM;

	for (uint64_t n; len && !err; off += n, len -= n) {
		n = MIN(len, CHUNK);
		err = bfile_write(q->img.file, off, b, n);
	}
	free(b);
	return err;
}

/* Clusters for the disk from off on, as many as come in a row in one slice; they read as zeroes.  Lock held. */
static int prealloc_some(struct qcow2 *q, uint64_t *off, uint64_t *host, uint64_t *len)
{
	const uint64_t end = ALIGN_UP(q->img.size, q->cluster), bitmap = qcow2_has_backing(q) ? 0 : UINT32_MAX;
	const unsigned i = qcow2_l2_index(q, *off);
	struct qcow2_slice *s;
	uint64_t n;
	bool fresh;
	int err = qcow2_l2_slice_write(q, *off, &s);

	if (!err)
		err = qcow2_alloc(q, MIN((end - *off) >> q->state->cbits, q->state->slice_per - i), host, &n, &fresh);
	if (err)
		return err;
	for (uint64_t k = 0; k < n; k++)
		qcow2_l2_put(q, s, i + (unsigned)k, (*host + (k << q->state->cbits)) | QCOW2_COPIED, bitmap);
	*len = n << q->state->cbits;
	*off += *len;
	return 0;
}

/* A new image.  full: zeroes are written; space: the host is asked to reserve it. */
int qcow2_prealloc(struct qcow2 *q, bool full, bool space)
{
	int err = 0;

	for (uint64_t off = 0, host, len; off < q->img.size && !err;) {
		pthread_mutex_lock(&q->lock);
		err = prealloc_some(q, &off, &host, &len);
		if (!err && !q->img.file->block_device)
			err = q->img.file->ops->truncate(q->img.file, q->state->file_end);
		pthread_mutex_unlock(&q->lock);
		if (!err && full)
			err = fill(q, host, len);
		else if (!err && space)
			err = q->img.file->ops->zero(q->img.file, host, len, false);
	}
	return err;
}
