/*
 * Raw images: a regular file or a block device whose bytes are the disk's.
 *
 * The image is locked as a whole for as long as it is open: exclusively for writing, shared for reading, by
 * open file description locks, which also hold between two disks of one process.
 *
 * The size need not be a multiple of a sector: the missing tail of the last one reads as zeroes, and a write of
 * it completes the sector in the file, as what was written must be read back.  With `nocache`, requests aligned
 * for direct I/O bypass the page cache; the others (also the odd tail) go through it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/iov.h"
#include "common/log.h"
#include "common/util.h"
#include "devices/block/aio.h"

#define ZERO_CHUNK (64u << 10)
#define DIRECT_ALIGN_DEFAULT 4096u

struct raw {
	struct blk blk;                 /* first */
	struct aio *aio;
	int fd;                         /* through the page cache; holds the lock */
	int direct_fd;                  /* -1: none */
	uint32_t direct_align;
	bool block_device;
};

/* --- Opening --- */

static int image_lock(struct blk *b, int fd)
{
	struct flock l = { .l_type = b->conf.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_SETLK, &l) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_msg(-EBUSY, "disk '%s': it is in use, by another machine (see 'skep list'), by another disk of this "
			       "one, or by a tool ('fuser %s' names it); only readers ('ro') may share an image",
			       b->conf.path, b->conf.path);
	log_warn("block", "disk '%s': its file system has no locks (%s); nothing prevents a second opener", b->conf.path,
		 strerror(errno));
	return 0;
}

static int open_failed(const struct blk *b)
{
	const int err = errno;

	if (!b->conf.read_only && (err == EACCES || err == EROFS || err == EPERM))
		return err_msg(-err, "disk '%s': it may not be written: %s; give 'ro' or change its rights", b->conf.path,
			       strerror(err));
	return err_msg(-err, "disk '%s': open: %s", b->conf.path, strerror(err));
}

static int file_geometry(struct raw *r, const struct stat *st)
{
	r->blk.size = (uint64_t)st->st_size;
	r->blk.logical = 512;
	r->blk.physical = 4096;
	if (st->st_size > 0)
		return 0;
	if (r->blk.conf.read_only)
		return err_msg(-EINVAL, "disk '%s': it is empty; give an image with something in it", r->blk.conf.path);
	return err_msg(-EINVAL, "disk '%s': it is empty; give it a size with 'truncate -s 10G %s'", r->blk.conf.path,
		       r->blk.conf.path);
}

static int device_geometry(struct raw *r)
{
	unsigned logical = 512, physical = 512;

	r->block_device = true;
	if (ioctl(r->fd, BLKGETSIZE64, &r->blk.size) < 0)
		return err_sys("disk '%s': size of the block device", r->blk.conf.path);
	if (ioctl(r->fd, BLKSSZGET, &logical) == 0 && ioctl(r->fd, BLKPBSZGET, &physical) == 0)
		r->direct_align = logical;
	r->blk.logical = logical;
	r->blk.physical = MAX(physical, logical);
	return 0;
}

static int geometry(struct raw *r)
{
	struct stat st;

	if (fstat(r->fd, &st) < 0)
		return err_sys("disk '%s': stat", r->blk.conf.path);
	r->direct_align = DIRECT_ALIGN_DEFAULT;
	if (S_ISREG(st.st_mode))
		return file_geometry(r, &st);
	if (S_ISBLK(st.st_mode))
		return device_geometry(r);
	return err_msg(-EINVAL, "disk '%s': it is neither a file nor a block device", r->blk.conf.path);
}

static int direct_open(struct raw *r, int flags)
{
	r->direct_fd = open(r->blk.conf.path, flags | O_DIRECT);
	if (r->direct_fd >= 0)
		return 0;
	return err_msg(-errno, "disk '%s': its file system cannot bypass the page cache (%s); leave 'nocache' out",
		       r->blk.conf.path, strerror(errno));
}

static void raw_close(struct blk *b)
{
	struct raw *r = (struct raw *)b;

	aio_free(r->aio);
	if (r->direct_fd >= 0)
		close(r->direct_fd);
	if (r->fd >= 0)
		close(r->fd);
}

static int raw_start(struct raw *r, int flags)
{
	struct blk *b = &r->blk;
	int err = geometry(r);

	if (!err)
		err = image_lock(b, r->fd);
	if (!err && b->conf.nocache)
		err = direct_open(r, flags);
	if (!err) {
		r->aio = aio_new(b, b->conf.aio);
		err = r->aio ? 0 : -ENOMEM;
	}
	return err;
}

static int raw_open(struct blk *b)
{
	struct raw *r = (struct raw *)b;
	const int flags = (b->conf.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int err;

	r->direct_fd = -1;
	/* O_NONBLOCK: a fifo given by mistake must be refused, not waited for. */
	r->fd = open(b->conf.path, flags);
	if (r->fd < 0)
		return open_failed(b);
	err = raw_start(r, flags);
	if (err)
		raw_close(b);
	return err;
}

/* --- Work for the pool --- */

/* Support is the file system's or the device's choice: these mean it made another one. */
static bool unsupported(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -ENOTTY || err == -EINVAL;
}

static int range_ioctl(const struct blk_req *q, unsigned long req)
{
	uint64_t range[2] = { q->off, q->len };

	return ioctl(q->fd, req, range) < 0 ? -errno : 0;
}

static int range_fallocate(const struct blk_req *q, int mode)
{
	return fallocate(q->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)q->off, (off_t)q->len) < 0 ? -errno : 0;
}

static int zeroes_write(const struct blk_req *q)
{
	static const uint8_t zeroes[ZERO_CHUNK];
	uint64_t done = 0;

	while (done < q->len) {
		const ssize_t n = pwrite(q->fd, zeroes, MIN(q->len - done, sizeof(zeroes)), (off_t)(q->off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static int zeroes_try(const struct blk_req *q, bool block_device)
{
	int err = -EOPNOTSUPP;

	if (q->unmap)
		err = range_fallocate(q, FALLOC_FL_PUNCH_HOLE);
	if (unsupported(err))
		err = block_device ? range_ioctl(q, BLKZEROOUT) : range_fallocate(q, FALLOC_FL_ZERO_RANGE);
	return unsupported(err) ? zeroes_write(q) : err;
}

static int work_zeroes(struct blk_req *q)
{
	int err = zeroes_try(q, ((const struct raw *)q->blk)->block_device);

	if (!err && q->fua && fdatasync(q->fd) < 0)
		err = -errno;
	return err;
}

/* A hint: what cannot be discarded stays. */
static int work_discard(struct blk_req *q)
{
	const bool block_device = ((const struct raw *)q->blk)->block_device;
	const int err = block_device ? range_ioctl(q, BLKDISCARD) : range_fallocate(q, FALLOC_FL_PUNCH_HOLE);

	return unsupported(err) ? 0 : err;
}

/* --- Requests --- */

static bool aligned(const struct raw *r, const struct blk_req *q)
{
	uint64_t bits = q->off;

	for (unsigned i = 0; i < q->niov; i++)
		bits |= (uintptr_t)q->iov[i].iov_base | q->iov[i].iov_len;
	return (bits & (r->direct_align - 1)) == 0;
}

static void raw_submit(struct blk *b, struct blk_req *q)
{
	struct raw *r = (struct raw *)b;

	assert(!b->conf.read_only || q->op == BLK_READ || q->op == BLK_FLUSH);
	if (q->op == BLK_DISCARD && b->conf.nodelete) {
		aio_finish(r->aio, q, 0);
		return;
	}
	q->fd = r->fd;
	q->fua |= b->conf.sync;
	if (q->op == BLK_DISCARD)
		q->work = work_discard;
	else if (q->op == BLK_WRITE_ZEROES)
		q->work = work_zeroes;
	else if (q->op != BLK_FLUSH && r->direct_fd >= 0 && aligned(r, q))
		q->fd = r->direct_fd;
	aio_submit(r->aio, q);
}

static void raw_kick(struct blk *b) { aio_kick(((struct raw *)b)->aio); }
static void raw_wait(struct blk *b) { aio_wait(((struct raw *)b)->aio); }

const struct blk_driver blk_raw = {
	.name = "raw", .size = sizeof(struct raw),
	.open = raw_open, .close = raw_close, .submit = raw_submit, .kick = raw_kick, .wait = raw_wait,
};
