#include "common/readfile.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"

#define PIECE MIB(64)                   /* one read; the system takes less than 2 GiB */

/* [at, end) of the file; 0, -errno, or -EIO where it has none. */
static int read_piece(int fd, uint8_t *to, off_t at, off_t end)
{
	while (at < end) {
		ssize_t n = pread(fd, to + at, MIN((size_t)(end - at), (size_t)PIECE), at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO;
		at += MAX(n, (ssize_t)0);
	}
	return 0;
}

/* Only what is there; the memory is zero already.  File systems without holes say that all is data, or EINVAL. */
static int read_data(int fd, uint8_t *to, off_t len)
{
	off_t at = 0;

	while (at < len) {
		off_t data = lseek(fd, at, SEEK_DATA), hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);

		if (data < 0 && errno == ENXIO)
			return 0;               /* nothing but a hole up to the end, wherever that is now */
		if (data < 0)
			data = at;
		if (hole <= data || hole > len)
			hole = len;
		int err = data < len ? read_piece(fd, to, data, hole) : 0;

		if (err)
			return err;
		at = MAX(data, hole);
	}
	return 0;
}

int readfile(int fd, const char *what, const char *path, size_t len, uint8_t **data)
{
	struct stat st;
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*data = NULL;
	if (p == MAP_FAILED)
		return err_sys("%s '%s': %zu KiB of memory for it", what, path, len >> 10);
	madvise(p, len, MADV_HUGEPAGE);         /* advice: fewer faults on the way in */
	int err = read_data(fd, p, (off_t)len);

	if (!err && (fstat(fd, &st) || (uint64_t)st.st_size < len))
		err = -EIO;
	if (!err) {
		*data = p;
		return 0;
	}
	munmap(p, len);
	if (err == -EIO)
		return err_msg(err, "%s '%s': it has become shorter while it was read; try again when it is complete", what, path);
	errno = -err;
	return err_sys("%s '%s': read", what, path);
}
