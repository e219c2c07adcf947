#include "common/iov.h"

#include "common/util.h"

enum iov_dir { IOV_READ, IOV_WRITE, IOV_ZERO };

static void iov_piece(enum iov_dir dir, uint8_t *guest, uint8_t *buf, size_t n)
{
	if (dir == IOV_READ)
		memcpy(buf, guest, n);
	else if (dir == IOV_WRITE)
		memcpy(guest, buf, n);
	else
		memset(guest, 0, n);
}

static size_t iov_move(const struct iovec *iov, unsigned n, size_t off, uint8_t *buf, size_t len, enum iov_dir dir)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		if (off >= iov[i].iov_len) {
			off -= iov[i].iov_len;
			continue;
		}
		const size_t part = MIN(iov[i].iov_len - off, len - done);

		iov_piece(dir, (uint8_t *)iov[i].iov_base + off, buf ? buf + done : NULL, part);
		done += part;
		off = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, unsigned n, size_t off, void *buf, size_t len)
{
	return iov_move(iov, n, off, buf, len, IOV_READ);
}

size_t iov_write(const struct iovec *iov, unsigned n, size_t off, const void *buf, size_t len)
{
	return iov_move(iov, n, off, (uint8_t *)(uintptr_t)buf, len, IOV_WRITE);
}

size_t iov_zero(const struct iovec *iov, unsigned n, size_t off, size_t len)
{
	return iov_move(iov, n, off, NULL, len, IOV_ZERO);
}

unsigned iov_skip(struct iovec **iov, unsigned n, size_t len)
{
	while (n && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		n--;
	}
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
	return n;
}

unsigned iov_trim(struct iovec *iov, unsigned n, size_t len)
{
	for (unsigned i = 0; i < n; i++) {
		if (len <= iov[i].iov_len) {
			iov[i].iov_len = len;
			return len ? i + 1 : i;
		}
		len -= iov[i].iov_len;
	}
	return n;
}
