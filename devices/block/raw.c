/*
 * Raw images: the bytes of a file or of a block device are the disk's.
 *
 * The size need not be a multiple of a sector: the missing tail of the last one reads as zeroes, and a write of it
 * completes the sector in the file, as what was written must be read back.
 *
 * Where nobody said that the image is raw, the guest must not be able to make it look like something else to those who
 * open it next, as other formats name further files.  So a probed image refuses to become one that probes differently;
 * what decides about that are its first 4 KiB and its last sector.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/iov.h"
#include "common/util.h"
#include "devices/block/img.h"

#define HEAD 4096u
#define TAIL 512u
#define ZERO_CHUNK (1u << 20)

struct raw {
	struct img img;                 /* first */
	pthread_mutex_t lock;           /* one change of the guarded bytes at a time */
};

static int raw_probe(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	return 1;
}

static int raw_open(struct img *img)
{
	const int64_t size = img->file->ops->size(img->file);

	if (size < 0)
		return err_msg((int)size, "image '%s': its size cannot be found: %s", img->file->path, strerror((int)-size));
	if (!size && img->read_only)
		return err_msg(-EINVAL, "image '%s': it is empty; give an image with something in it", img->file->path);
	if (!size)
		return err_msg(-EINVAL, "image '%s': it is empty; give it a size with 'truncate -s 10G %s'", img->file->path,
			       img->file->path);
	img->size = (uint64_t)size;
	img->granule = 0;
	pthread_mutex_init(&((struct raw *)img)->lock, NULL);
	return 0;
}

static void raw_close(struct img *img)
{
	pthread_mutex_destroy(&((struct raw *)img)->lock);
}

/* --- The guarded bytes of a probed image --- */

/* How many bytes from off on are guarded or not; true: they are. */
static bool guarded(const struct img *img, uint64_t off, uint64_t *len)
{
	const uint64_t tail = img->size > TAIL ? img->size - TAIL : 0;

	if (!img->probed || img->read_only)
		return false;
	if (off < HEAD) {
		*len = MIN(*len, HEAD - off);
		return true;
	}
	if (off >= tail)
		return true;
	*len = MIN(*len, tail - off);
	return false;
}

/* The bytes at `at` of the file as they will be; v NULL: zeroes will be written. */
static int future(struct img *img, uint64_t at, uint8_t *buf, size_t n, uint64_t off, const struct iovec *v, unsigned niov,
		  uint64_t len)
{
	const int err = bfile_read(img->file, at, buf, n);
	const uint64_t from = MAX(at, off), to = MIN(at + n, off + len);

	if (err || from >= to)
		return err;
	if (v)
		iov_read(v, niov, from - off, buf + (from - at), to - from);
	else
		memset(buf + (from - at), 0, to - from);
	return 0;
}

/* Would the image, after that change, still be taken for a raw one?  0, -EPERM (reported), -errno. */
static int stays_raw(struct img *img, uint64_t off, const struct iovec *v, unsigned niov, uint64_t len)
{
	uint8_t head[HEAD], tail[TAIL] = { 0 };
	const int64_t have = img->file->ops->size(img->file);
	const struct img_driver *d;
	uint64_t size;
	int err;

	if (have < 0)
		return (int)have;
	size = v ? MAX((uint64_t)have, off + len) : (uint64_t)have;
	err = future(img, 0, head, sizeof(head), off, v, niov, len);
	if (!err && size >= TAIL)
		err = future(img, size - TAIL, tail, sizeof(tail), off, v, niov, len);
	if (err)
		return err;
	d = img_probe_bytes(head, MIN(size, sizeof(head)), tail);
	if (d == &img_raw)
		return 0;
	guest_warn(&img->warn, img->file->path, "a write that would make the image look like %s is refused, as nobody said what "
		   "it is; give format=raw", d->name);
	return -EPERM;
}

static bool touches_guarded(const struct img *img, uint64_t off, uint64_t len)
{
	uint64_t n = len;

	return guarded(img, off, &n) || n < len;
}

/* --- Contents --- */

static int raw_map(struct img *img, uint64_t off, uint64_t len, unsigned flags, struct img_seg *seg)
{
	seg->len = len;
	seg->in_place = !guarded(img, off, &seg->len);
	seg->kind = IMG_DATA;
	seg->file = img->file;
	seg->file_off = off;
	if (!(flags & IMG_NOWAIT) && !img->file->ops->data_at(img->file, off, &seg->len))
		seg->kind = IMG_ZERO;
	return 0;
}

static int raw_write(struct img *img, uint64_t off, const struct iovec *v, unsigned niov)
{
	struct raw *r = (struct raw *)img;
	uint64_t len = 0;
	int err;

	for (unsigned i = 0; i < niov; i++)
		len += v[i].iov_len;
	if (!touches_guarded(img, off, len))
		return img->file->ops->write(img->file, off, v, niov);
	pthread_mutex_lock(&r->lock);
	err = stays_raw(img, off, v, niov, len);
	if (!err)
		err = img->file->ops->write(img->file, off, v, niov);
	pthread_mutex_unlock(&r->lock);
	return err;
}

static int raw_zero(struct img *img, uint64_t off, uint64_t len, unsigned flags)
{
	struct raw *r = (struct raw *)img;
	const bool unmap = flags & IMG_UNMAP;
	int err;

	if (!touches_guarded(img, off, len))
		return img->file->ops->zero(img->file, off, len, unmap);
	pthread_mutex_lock(&r->lock);
	err = stays_raw(img, off, NULL, 0, len);
	if (!err)
		err = img->file->ops->zero(img->file, off, len, unmap);
	pthread_mutex_unlock(&r->lock);
	return err;
}

/* What a device leaves after a discard nobody knows; the guarded bytes stay. */
static int raw_discard(struct img *img, uint64_t off, uint64_t len)
{
	int err = 0;

	while (len && !err) {
		uint64_t n = len;

		if (!guarded(img, off, &n))
			err = img->file->ops->discard(img->file, off, n);
		off += n;
		len -= n;
	}
	return err;
}

/* --- Making and resizing --- */

static int raw_resize(struct img *img, uint64_t size)
{
	const bool shrink = img->file->block_device && size < img->size;
	const int err = shrink ? -ENOSPC : img->file->ops->truncate(img->file, size);

	if (shrink)
		return err_msg(-EINVAL, "image '%s': a block device does not shrink; resize the volume", img->file->path);
	if (err == -ENOSPC && img->file->block_device)
		return err_msg(err, "image '%s': a block device does not grow by itself; resize the volume first", img->file->path);
	if (err)
		return err_msg(err, "image '%s': it cannot become %" PRIu64 " bytes long: %s", img->file->path, size,
			       strerror(-err));
	img->size = size;
	return 0;
}

static int fill(struct bfile *f, uint64_t size)
{
	uint8_t *zeroes = calloc(1, ZERO_CHUNK);
	int err = zeroes ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < size && !err; at += ZERO_CHUNK)
		err = bfile_write(f, at, zeroes, MIN(size - at, ZERO_CHUNK));
	free(zeroes);
	return err;
}

static int allocate(struct bfile *f, const struct img_create *c)
{
	int err = 0;

	if (c->prealloc == IMG_PREALLOC_OFF || f->block_device || !c->size)
		return 0;
	/* Also before all is written: a full disk then says so at once. */
	if (fallocate(f->fd, 0, 0, (off_t)c->size) < 0)
		err = -errno;
	if (err == -EOPNOTSUPP && c->prealloc == IMG_PREALLOC_FALLOC)
		return err_msg(err, "image '%s': its file system cannot set space aside; use preallocation 'full'", c->path);
	if (err == -EOPNOTSUPP)
		err = 0;
	if (!err && c->prealloc == IMG_PREALLOC_FULL)
		err = fill(f, c->size);
	if (!err)
		return 0;
	return err_msg(err, "image '%s': no room for its %" PRIu64 " bytes: %s", c->path, c->size, strerror(-err));
}

static int raw_create(const struct img_create *c)
{
	struct bfile *f;
	int err = 0;

	if (c->backing)
		return err_msg(-EINVAL, "image '%s': raw images have no backing file; use qcow2", c->path);
	if (c->size > INT64_MAX)
		return err_msg(-EFBIG, "image '%s': no file can have %" PRIu64 " bytes; give a smaller size", c->path, c->size);
	if (c->prealloc == IMG_PREALLOC_METADATA)
		return err_msg(-EINVAL, "image '%s': raw images have no metadata; preallocation is 'off', 'falloc' or 'full'",
			       c->path);
	f = bfile_open(c->path, BFILE_CREATE | (c->overwrite ? BFILE_TRUNCATE : 0), &err);
	if (!f)
		return err;
	err = f->ops->truncate(f, c->size);
	if (err == -ENOSPC && f->block_device)
		err = err_msg(err, "image '%s': the block device is smaller than %" PRIu64 " bytes", c->path, c->size);
	else if (err)
		err = err_msg(err, "image '%s': it cannot become %" PRIu64 " bytes long: %s", c->path, c->size, strerror(-err));
	if (!err)
		err = allocate(f, c);
	if (!err)
		err = f->ops->flush(f);
	if (err && !c->overwrite)
		unlink(c->path);
	bfile_close(f);
	return err;
}

const struct img_driver img_raw = {
	.name = "raw", .help = "the disk's bytes, nothing else", .size = sizeof(struct raw), .writes = true, .safe = true,
	.probe = raw_probe, .open = raw_open, .close = raw_close, .map = raw_map, .write = raw_write, .zero = raw_zero,
	.discard = raw_discard, .resize = raw_resize, .create = raw_create,
};
