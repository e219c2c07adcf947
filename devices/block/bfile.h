/*
 * Files under disk images: a regular file, a block device, or what a test puts in their place.  Calls are made on any
 * thread, several at once, and may block; they move all the bytes or fail.
 */
#ifndef DEVICES_BLOCK_BFILE_H
#define DEVICES_BLOCK_BFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct bfile;

struct bfile_ops {
	/* 0 or -errno.  Bytes beyond the end read as zeroes; writing there makes the file longer. */
	int (*read)(struct bfile *, uint64_t off, const struct iovec *, unsigned niov);
	int (*write)(struct bfile *, uint64_t off, const struct iovec *, unsigned niov);
	int (*flush)(struct bfile *);           /* all that was written before the call is on stable storage */
	int (*truncate)(struct bfile *, uint64_t size);
	/* The range reads as zeroes; `unmap`: and takes no space where the host can do that.  The file gets no longer by it. */
	int (*zero)(struct bfile *, uint64_t off, uint64_t len, bool unmap);
	/* A hint: the range's contents no longer matter. */
	int (*discard)(struct bfile *, uint64_t off, uint64_t len);
	int64_t (*size)(struct bfile *);        /* bytes, or -errno */
	/* Does the file hold data at off?  1 or 0, and in *len up to where that answer holds (at most what came in). */
	int (*data_at)(struct bfile *, uint64_t off, uint64_t *len);
	void (*close)(struct bfile *);          /* and frees it */
};

struct bfile {
	const struct bfile_ops *ops;
	char *path;                     /* for messages and for finding files beside it; never NULL */
	int fd;                         /* for asynchronous I/O; -1: only through ops */
	int direct_fd;                  /* the same, bypassing the page cache; -1: none */
	uint32_t direct_align;          /* of offsets, lengths and addresses on direct_fd */
	uint32_t logical, physical;     /* sector sizes of the medium, bytes; files: 512 and 4096 */
	bool read_only, block_device;
};

enum {
	BFILE_WRITE = 1,                /* else read-only */
	BFILE_DIRECT = 2,               /* direct_fd is wanted */
	BFILE_NO_LOCK = 4,              /* neither takes nor respects a lock: for looking at an image in use */
	BFILE_CREATE = 8,               /* makes it; -EEXIST (reported) when it is there.  Implies WRITE */
	BFILE_TRUNCATE = 16,            /* with CREATE: what is there becomes empty, after it could be locked */
};

/*
 * Opens and locks: exclusively for writing, shared for reading, by open file description locks that QEMU respects and
 * that respect QEMU's.  NULL on failure (reported, one sentence), *err gets -errno.
 */
struct bfile *bfile_open(const char *path, unsigned flags, int *err);
/* Around a descriptor, which becomes the file's (a file without a name).  NULL when out of memory. */
struct bfile *bfile_from_fd(int fd, const char *name);
/*
 * Exclusive to shared and back; a file opened for reading is opened again, under the same descriptor number.  Nothing is
 * in flight.  0, -EBUSY or what the open gave (reported); then all is as before.
 */
int bfile_set_writable(struct bfile *, bool writable);
void bfile_close(struct bfile *);       /* NULL ok */

/* That many bytes of zeroes. */
#define BFILE_ZEROES (64u << 10)
const uint8_t *bfile_zeroes(void);

/* One buffer. */
int bfile_read(struct bfile *, uint64_t off, void *buf, size_t len);
int bfile_write(struct bfile *, uint64_t off, const void *buf, size_t len);

#endif
