/*
 * Files under disk images: regular files and block devices (also LVM and ZFS volumes), through the page cache.
 *
 * Locks are open file description locks, which also hold between two disks of one process.  A writer locks the whole
 * file exclusively.  A reader locks three single bytes shared and looks at two more, which is what QEMU does for a
 * reader [QEMU-LOCKS]: so skep's writers exclude everybody, everybody's writers exclude skep, and readers get along.
 */
#include "devices/block/bfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"

#define DIRECT_ALIGN_DEFAULT 4096u
#define IOV_CHUNK 1024u                 /* of one system call, as the kernel allows */
#define IO_MAX (1u << 30)               /* bytes of one system call, which may move less than 2 GiB */

/* Bytes of the file that stand for what an opener does and for what it does not let others do [QEMU-LOCKS]. */
enum { DOES = 100, FORBIDS = 200, CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3 };

struct host_file {
	struct bfile f;                 /* first */
	bool locks;                     /* takes and respects them */
	int flush_err;                  /* of the first flush that failed; sticky */
};

static struct host_file *host(struct bfile *f)
{
	return container_of(f, struct host_file, f);
}

/* --- Reading and writing --- */

static int transfer_buf(int fd, bool write, uint64_t off, uint8_t *p, size_t len)
{
	while (len) {
		const size_t want = MIN(len, (size_t)IO_MAX);
		const ssize_t n = write ? pwrite(fd, p, want, (off_t)off) : pread(fd, p, want, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 && write)
			return -EIO;
		if (n == 0) {
			memset(p, 0, len);
			return 0;
		}
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static size_t iov_bytes(const struct iovec *v, unsigned n)
{
	size_t sum = 0;

	while (n--)
		sum += v++->iov_len;
	return sum;
}

/* What one call moved of some iovecs is skipped; what it left of them goes buffer by buffer, as that is rare. */
static int finish_short(int fd, bool write, uint64_t off, const struct iovec *v, unsigned n, size_t done)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		const size_t skip = MIN(done, v[i].iov_len);

		err = transfer_buf(fd, write, off + skip, (uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
		done -= skip;
		off += v[i].iov_len;
	}
	return err;
}

static int transfer(int fd, bool write, uint64_t off, const struct iovec *v, unsigned niov)
{
	while (niov) {
		const unsigned n = MIN(niov, IOV_CHUNK);
		const size_t len = iov_bytes(v, n);
		ssize_t done;

		do
			done = write ? pwritev(fd, v, (int)n, (off_t)off) : preadv(fd, v, (int)n, (off_t)off);
		while (done < 0 && errno == EINTR);
		if (done < 0)
			return -errno;
		if ((size_t)done < len) {
			const int err = finish_short(fd, write, off, v, n, (size_t)done);

			if (err)
				return err;
		}
		off += len;
		v += n;
		niov -= n;
	}
	return 0;
}

static int file_read(struct bfile *f, uint64_t off, const struct iovec *v, unsigned niov)
{
	return transfer(f->fd, false, off, v, niov);
}

static int file_write(struct bfile *f, uint64_t off, const struct iovec *v, unsigned niov)
{
	return f->read_only ? -EROFS : transfer(f->fd, true, off, v, niov);
}

/*
 * A failed flush means that the kernel may have dropped what it could not write; a later flush would then succeed
 * without it.  So the first failure is the answer to all later flushes.
 */
static int file_flush(struct bfile *f)
{
	struct host_file *h = host(f);
	int err = __atomic_load_n(&h->flush_err, __ATOMIC_RELAXED);

	if (err)
		return err;
	while (fdatasync(f->fd) < 0) {
		if (errno == EINTR)
			continue;
		err = err_sys("image '%s': written data did not reach the medium, and no later write is trusted", f->path);
		__atomic_store_n(&h->flush_err, err, __ATOMIC_RELAXED);
		return err;
	}
	return 0;
}

/* --- Size and space --- */

static int64_t file_size(struct bfile *f)
{
	struct stat st;
	uint64_t size;

	if (f->block_device)
		return ioctl(f->fd, BLKGETSIZE64, &size) < 0 ? -errno : (int64_t)size;
	return fstat(f->fd, &st) < 0 ? -errno : st.st_size;
}

static int file_truncate(struct bfile *f, uint64_t size)
{
	if (f->read_only)
		return -EROFS;
	if (size > INT64_MAX)
		return -EFBIG;
	if (f->block_device) {
		const int64_t have = file_size(f);

		if (have < 0)
			return (int)have;
		return size > (uint64_t)have ? -ENOSPC : 0;
	}
	return ftruncate(f->fd, (off_t)size) < 0 ? -errno : 0;
}

/* Support is the file system's or the device's choice: these mean it made another one. */
static bool unsupported(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -ENOTTY || err == -EINVAL;
}

static int range_ioctl(struct bfile *f, unsigned long req, uint64_t off, uint64_t len)
{
	uint64_t range[2] = { off, len };

	return ioctl(f->fd, req, range) < 0 ? -errno : 0;
}

static int range_fallocate(struct bfile *f, int mode, uint64_t off, uint64_t len)
{
	int err;

	do
		err = fallocate(f->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) < 0 ? -errno : 0;
	while (err == -EINTR);
	return err;
}

const uint8_t *bfile_zeroes(void)
{
	/* Never written.  A constant would be as long in the program's file. */
	static uint8_t zeroes[BFILE_ZEROES];

	return zeroes;
}

static int zeroes_write(struct bfile *f, uint64_t off, uint64_t len)
{
	int err = 0;

	while (len && !err) {
		const size_t n = MIN(len, BFILE_ZEROES);

		err = transfer_buf(f->fd, true, off, (uint8_t *)(uintptr_t)bfile_zeroes(), n);
		off += n;
		len -= n;
	}
	return err;
}

/* What of a range lies in the file.  0, or -errno. */
static int clip(struct bfile *f, uint64_t off, uint64_t *len)
{
	const int64_t size = file_size(f);

	if (size < 0)
		return (int)size;
	*len = off < (uint64_t)size ? MIN(*len, (uint64_t)size - off) : 0;
	return 0;
}

static int file_zero(struct bfile *f, uint64_t off, uint64_t len, bool unmap)
{
	int err = f->read_only ? -EROFS : clip(f, off, &len);

	if (err || !len)
		return err;
	err = unmap ? range_fallocate(f, FALLOC_FL_PUNCH_HOLE, off, len) : -EOPNOTSUPP;
	if (unsupported(err))
		err = f->block_device ? range_ioctl(f, BLKZEROOUT, off, len) : range_fallocate(f, FALLOC_FL_ZERO_RANGE, off, len);
	return unsupported(err) ? zeroes_write(f, off, len) : err;
}

/* A hint: what cannot be discarded stays. */
static int file_discard(struct bfile *f, uint64_t off, uint64_t len)
{
	int err = f->read_only ? -EROFS : clip(f, off, &len);

	if (err || !len)
		return err;
	err = f->block_device ? range_ioctl(f, BLKDISCARD, off, len) : range_fallocate(f, FALLOC_FL_PUNCH_HOLE, off, len);
	return unsupported(err) ? 0 : err;
}

static int file_data_at(struct bfile *f, uint64_t off, uint64_t *len)
{
	off_t at;

	if (f->block_device || off > INT64_MAX)
		return !(off > INT64_MAX);
	at = lseek(f->fd, (off_t)off, SEEK_DATA);
	if (at < 0)
		return errno == ENXIO ? 0 : 1;  /* nothing up to the end, or the file system cannot tell */
	if ((uint64_t)at > off) {
		*len = MIN(*len, (uint64_t)at - off);
		return 0;
	}
	at = lseek(f->fd, (off_t)off, SEEK_HOLE);
	if (at > (off_t)off)
		*len = MIN(*len, (uint64_t)at - off);
	return 1;
}

static void file_close(struct bfile *f)
{
	if (f->direct_fd >= 0)
		close(f->direct_fd);
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
	free(host(f));
}

static const struct bfile_ops host_ops = {
	.read = file_read, .write = file_write, .flush = file_flush, .truncate = file_truncate, .zero = file_zero,
	.discard = file_discard, .size = file_size, .data_at = file_data_at, .close = file_close,
};

/* --- Locks --- */

static int lock_set(int fd, short type, off_t from, off_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };

	return fcntl(fd, F_OFD_SETLK, &l) == 0 ? 0 : -errno;
}

/* Does somebody hold that byte?  -EAGAIN, 0, or -errno. */
static int lock_test(int fd, off_t byte)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	if (fcntl(fd, F_OFD_GETLK, &l) < 0)
		return -errno;
	return l.l_type == F_UNLCK ? 0 : -EAGAIN;
}

static int lock_reader(int fd)
{
	int err = lock_set(fd, F_RDLCK, DOES + CONSISTENT_READ, 1);

	if (!err)
		err = lock_set(fd, F_RDLCK, FORBIDS + WRITE, 1);
	if (!err)
		err = lock_set(fd, F_RDLCK, FORBIDS + RESIZE, 1);
	if (!err)
		err = lock_test(fd, DOES + WRITE);
	return err ? err : lock_test(fd, DOES + RESIZE);
}

static int lock_writer(int fd)
{
	return lock_set(fd, F_WRLCK, 0, 0);
}

/* From writer to reader without a moment in between: first the bytes that stay, then the gaps between them. */
static void lock_downgrade(int fd)
{
	lock_reader(fd);
	lock_set(fd, F_UNLCK, 0, DOES + CONSISTENT_READ);
	lock_set(fd, F_UNLCK, DOES + CONSISTENT_READ + 1, FORBIDS + WRITE - (DOES + CONSISTENT_READ + 1));
	lock_set(fd, F_UNLCK, FORBIDS + WRITE + 1, RESIZE - WRITE - 1);
	lock_set(fd, F_UNLCK, FORBIDS + RESIZE + 1, 0);
}

static int lock_busy(const struct bfile *f)
{
	return err_msg(-EBUSY, "image '%s': it is in use, by another machine (see 'skep list'), by another disk of this one, or by "
		       "a tool ('fuser %s' names it); only readers ('ro') may share an image", f->path, f->path);
}

/* 0 or -EBUSY (reported). */
static int lock_take(const struct bfile *f, bool write)
{
	const int err = write ? lock_writer(f->fd) : lock_reader(f->fd);

	if (err == -EAGAIN || err == -EACCES)
		return lock_busy(f);
	if (err)
		log_warn("block", "image '%s': its file system has no locks (%s); nothing prevents a second opener", f->path,
			 strerror(-err));
	return 0;
}

/* --- Opening --- */

static int open_failed(const char *path, unsigned flags)
{
	const int err = errno;

	if (flags & BFILE_CREATE && err == EEXIST)
		return err_msg(-err, "image '%s': there is such a file already; remove it or give another name", path);
	if (flags & BFILE_CREATE)
		return err_msg(-err, "image '%s': it cannot be made: %s", path, strerror(err));
	if (flags & BFILE_WRITE && (err == EACCES || err == EROFS || err == EPERM))
		return err_msg(-err, "image '%s': it may not be written: %s; give 'ro' or change its rights", path, strerror(err));
	return err_msg(-err, "image '%s': open: %s", path, strerror(err));
}

static void device_geometry(struct bfile *f)
{
	unsigned logical = 512, physical = 512;

	f->block_device = true;
	if (ioctl(f->fd, BLKSSZGET, &logical) == 0 && ioctl(f->fd, BLKPBSZGET, &physical) == 0)
		f->direct_align = logical;
	f->logical = logical;
	f->physical = MAX(physical, logical);
}

static int geometry(struct bfile *f)
{
	struct stat st;

	if (fstat(f->fd, &st) < 0)
		return err_sys("image '%s': stat", f->path);
	if (S_ISBLK(st.st_mode)) {
		device_geometry(f);
		if (file_size(f) < 0)
			return err_sys("image '%s': size of the block device", f->path);
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return err_msg(-EINVAL, "image '%s': it is neither a file nor a block device", f->path);
	return 0;
}

static int direct_open(struct bfile *f, int oflags)
{
	f->direct_fd = open(f->path, oflags | O_DIRECT);
	if (f->direct_fd >= 0)
		return 0;
	return err_msg(-errno, "image '%s': its file system cannot bypass the page cache (%s); leave 'nocache' out", f->path,
		       strerror(errno));
}

struct bfile *bfile_from_fd(int fd, const char *name)
{
	struct host_file *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->f = (struct bfile){
		.ops = &host_ops, .path = strdup(name), .fd = fd, .direct_fd = -1, .direct_align = DIRECT_ALIGN_DEFAULT,
		.logical = 512, .physical = 4096, .read_only = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY,
	};
	if (!h->f.path) {
		free(h);
		return NULL;
	}
	return &h->f;
}

static int file_start(struct bfile *f, unsigned flags, int oflags)
{
	int err = geometry(f);

	host(f)->locks = !(flags & BFILE_NO_LOCK);
	if (!err && host(f)->locks)
		err = lock_take(f, !f->read_only);
	if (!err && flags & BFILE_TRUNCATE && !f->block_device && ftruncate(f->fd, 0) < 0)
		err = err_sys("image '%s': truncate", f->path);
	if (!err && flags & BFILE_DIRECT)
		err = direct_open(f, oflags);
	return err;
}

static int open_flags(unsigned flags)
{
	/* O_NONBLOCK: a fifo given by mistake must be refused, not waited for. */
	int o = O_CLOEXEC | O_NOCTTY | O_NONBLOCK | (flags & BFILE_WRITE ? O_RDWR : O_RDONLY);

	if (flags & BFILE_CREATE)
		o |= O_CREAT | (flags & BFILE_TRUNCATE ? 0 : O_EXCL);
	return o;
}

struct bfile *bfile_open(const char *path, unsigned flags, int *err)
{
	struct bfile *f;
	int fd, oflags;

	if (flags & BFILE_CREATE)
		flags |= BFILE_WRITE;
	oflags = open_flags(flags);
	fd = open(path, oflags, 0666);
	if (fd < 0) {
		*err = open_failed(path, flags);
		return NULL;
	}
	f = bfile_from_fd(fd, path);
	if (!f) {
		close(fd);
		*err = err_msg(-ENOMEM, "image '%s': out of memory", path);
		return NULL;
	}
	*err = file_start(f, flags, oflags & ~(O_CREAT | O_EXCL));
	if (*err) {
		file_close(f);
		return NULL;
	}
	return f;
}

/* --- Reader to writer and back --- */

/* The same file under the same number, opened for writing. */
static int reopen(int fd, int oflags)
{
	char link[32];
	int n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = open(link, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | oflags);
	return n < 0 ? -errno : n;
}

static int replace_fd(int fd, int with)
{
	const int err = dup3(with, fd, O_CLOEXEC) < 0 ? -errno : 0;

	close(with);
	return err;
}

/* A lock belongs to the open file description: the new one gets a reader's before the old one goes with its own. */
static int reopen_writable(struct host_file *h)
{
	struct bfile *f = &h->f;
	const int fd = reopen(f->fd, 0), direct = f->direct_fd >= 0 && fd >= 0 ? reopen(f->direct_fd, O_DIRECT) : -1;
	int err = fd < 0 ? fd : f->direct_fd >= 0 && direct < 0 ? direct : 0;

	if (err) {
		if (fd >= 0)
			close(fd);
		return err_msg(err, "image '%s': it may not be written: %s", f->path, strerror(-err));
	}
	if (h->locks)
		lock_reader(fd);
	if (direct >= 0)
		err = replace_fd(f->direct_fd, direct);
	if (err)
		close(fd);
	else
		err = replace_fd(f->fd, fd);
	return err ? err_msg(err, "image '%s': it cannot be opened again for writing: %s", f->path, strerror(-err)) : 0;
}

int bfile_set_writable(struct bfile *f, bool writable)
{
	struct host_file *h;
	int err = 0;

	if (f->read_only == !writable)
		return 0;
	if (f->ops == &host_ops) {
		h = host(f);
		if (writable && (fcntl(f->fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
			err = reopen_writable(h);
		if (!err && writable && h->locks)
			err = lock_take(f, true);
		else if (!writable && h->locks)
			lock_downgrade(f->fd);
	}
	if (!err)
		f->read_only = !writable;
	return err;
}

/* --- For everybody --- */

void bfile_close(struct bfile *f)
{
	if (f)
		f->ops->close(f);
}

int bfile_read(struct bfile *f, uint64_t off, void *buf, size_t len)
{
	const struct iovec v = { buf, len };

	return f->ops->read(f, off, &v, 1);
}

int bfile_write(struct bfile *f, uint64_t off, const void *buf, size_t len)
{
	const struct iovec v = { (void *)(uintptr_t)buf, len };

	return f->ops->write(f, off, &v, 1);
}
