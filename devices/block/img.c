/*
 * Disk images as bytes: the loops over a chain of images that every format shares.
 *
 * Raw images (granule 0) may be read and written above their size, as far as their last sector goes; with all other
 * formats such bytes read as zeroes and are dropped.
 */
#include "devices/block/img.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/iov.h"
#include "common/util.h"

#define IOV_CHUNK 64u
#define SECTOR_MAX (64u << 10)          /* of any disk */

static uint64_t end_of(const struct img *img)
{
	return img->granule ? img->size : ALIGN_UP(img->size, SECTOR_MAX);
}

static bool is_broken(const struct img *img)
{
	return __atomic_load_n(&img->broken, __ATOMIC_RELAXED);
}

static size_t iov_bytes(const struct iovec *v, unsigned n)
{
	size_t sum = 0;

	while (n--)
		sum += v++->iov_len;
	return sum;
}

/* --- A walk over iovecs that stay as they are --- */

struct walk {
	const struct iovec *v;
	unsigned niov;
	size_t skip;                    /* bytes of *v that are done */
};

/* The next bytes, at most `max`, as iovecs in out[]; returns their sum. */
static size_t walk_take(struct walk *w, uint64_t max, struct iovec out[IOV_CHUNK], unsigned *n)
{
	size_t sum = 0;

	*n = 0;
	while (w->niov && *n < IOV_CHUNK && sum < max) {
		const size_t left = w->v->iov_len - w->skip, take = MIN(left, max - sum);

		if (take)
			out[(*n)++] = (struct iovec){ (char *)w->v->iov_base + w->skip, take };
		sum += take;
		w->skip += take;
		if (w->skip == w->v->iov_len) {
			w->v++;
			w->niov--;
			w->skip = 0;
		}
	}
	return sum;
}

/* --- What lies where --- */

static int map_one(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	int err;

	*seg = (struct img_seg){ .kind = IMG_ZERO, .img = img, .len = len };
	if (off >= img->size)
		return 0;
	if (is_broken(img))
		return -EIO;
	len = MIN(len, img->size - off);
	seg->len = len;
	err = img->drv->map(img, off, len, flags, seg);
	if (err)
		return err;
	assert(seg->len > 0 && seg->len <= len);
	seg->img = img;
	return 0;
}

int img_map(struct img *top, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	assert(len > 0);
	for (struct img *i = top;; i = i->backing) {
		const int err = map_one(i, off, len, flags, seg);

		if (err)
			return err;
		if (seg->kind != IMG_NONE)
			break;
		if (!i->backing) {
			seg->kind = IMG_ZERO;
			break;
		}
		len = seg->len;
	}
	seg->in_place = seg->in_place && seg->kind == IMG_DATA && seg->img == top && !top->read_only;
	return 0;
}

/* --- Reading --- */

/* Without looking for holes where that costs a system call. */
static int map_to_read(struct img *img, uint64_t off, uint64_t len, struct img_seg *seg)
{
	const int err = img_map(img, off, len, IMG_NOWAIT, seg);

	return err == -EAGAIN ? img_map(img, off, len, 0, seg) : err;
}

static int read_seg(const struct img_seg *seg, uint64_t off, const struct iovec *v, unsigned n, size_t len)
{
	switch (seg->kind) {
	case IMG_DATA:
		return seg->file->ops->read(seg->file, seg->file_off, v, n);
	case IMG_OPAQUE:
		return seg->img->drv->read(seg->img, off, v, n);
	default:
		iov_zero(v, n, 0, len);
		return 0;
	}
}

/* The odd tail of a raw image, which the file may hold. */
static int read_above(struct img *img, uint64_t off, const struct iovec *v, unsigned n, size_t len)
{
	if (!img->granule && off < end_of(img))
		return img->file->ops->read(img->file, off, v, n);
	iov_zero(v, n, 0, len);
	return 0;
}

int img_read(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct walk w = { v, niov, 0 };
	struct iovec part[IOV_CHUNK];
	struct img_seg seg;
	uint64_t left = iov_bytes(v, niov);
	unsigned n;
	int err = 0;

	while (left && !err) {
		size_t got;

		if (off < img->size) {
			err = map_to_read(img, off, left, &seg);
			if (err)
				return err;
			for (uint64_t rest = seg.len; rest && !err; rest -= got) {
				got = walk_take(&w, rest, part, &n);
				err = read_seg(&seg, off, part, n, got);
				seg.file_off += got;
				off += got;
				left -= got;
			}
		} else {
			got = walk_take(&w, left, part, &n);
			err = read_above(img, off, part, n, got);
			off += got;
			left -= got;
		}
	}
	return err;
}

int img_read_buf(struct img *img, uint64_t off, void *buf, size_t len)
{
	const struct iovec v = { buf, len };

	return img_read(img, off, &v, 1);
}

int img_read_below(struct img *img, uint64_t off, void *buf, size_t len)
{
	size_t n = 0;

	if (img->backing) {
		if (off < img->backing->size)
			n = MIN(len, img->backing->size - off);
		const int err = n ? img_read_buf(img->backing, off, buf, n) : 0;

		if (err)
			return err;
	}
	memset((uint8_t *)buf + n, 0, len - n);
	return 0;
}

/* --- Changing --- */

static int may_change(const struct img *img)
{
	if (is_broken(img))
		return -EIO;
	return img->read_only || !img->drv->write ? -EROFS : 0;
}

int img_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	const size_t len = iov_bytes(v, niov);
	const uint64_t end = end_of(img);
	struct walk w = { v, niov, 0 };
	struct iovec part[IOV_CHUNK];
	uint64_t left;
	unsigned n;
	int err = may_change(img);

	if (err || !len || off >= end)
		return err;
	if (len <= end - off)
		return img->drv->write(img, off, v, niov);
	for (left = end - off; left && !err;) {
		const size_t got = walk_take(&w, left, part, &n);

		err = img->drv->write(img, off, part, n);
		off += got;
		left -= got;
	}
	return err;
}

int img_write_buf(struct img *img, uint64_t off, const void *buf, size_t len)
{
	const struct iovec v = { (void *)(uintptr_t)buf, len };

	return img_write(img, off, &v, 1);
}

static int zeroes_write(struct img *img, uint64_t off, uint64_t len)
{
	int err = 0;

	while (len && !err) {
		const size_t n = MIN(len, BFILE_ZEROES);

		err = img_write_buf(img, off, bfile_zeroes(), n);
		off += n;
		len -= n;
	}
	return err;
}

int img_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	const uint64_t end = end_of(img);
	const int err = may_change(img);

	if (err || !len || off >= end)
		return err;
	len = MIN(len, end - off);
	return img->drv->zero ? img->drv->zero(img, off, len, flags) : zeroes_write(img, off, len);
}

int img_discard(struct img *img, uint64_t off, uint64_t len)
{
	const int err = may_change(img);

	if (err || !len || off >= img->size || !img->drv->discard)
		return err;
	return img->drv->discard(img, off, MIN(len, img->size - off));
}

int img_flush(struct img *img)
{
	if (img->read_only)
		return 0;
	if (is_broken(img))
		return -EIO;
	return img->drv->flush ? img->drv->flush(img) : img->file->ops->flush(img->file);
}

int img_rest(struct img *img)
{
	const int err = img_flush(img);

	return err || img->read_only || !img->drv->rest ? err : img->drv->rest(img);
}

bool img_dirty(struct img *img)
{
	return !img->read_only && img->drv->dirty && img->drv->dirty(img);
}

/* --- Damage --- */

int img_damaged(struct img *img, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	if (__atomic_exchange_n(&img->broken, true, __ATOMIC_RELAXED))
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_msg(-EIO, "image '%s': %s; it is damaged and gives only errors from now on; switch the machine off and try "
		       "'skep img check --repair %s'", img->file->path, what, img->file->path);
}
