/*
 * Scatter lists: copying, skipping, trimming.  The memory behind them may be the guest's.  Any thread.
 */
#ifndef COMMON_IOV_H
#define COMMON_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/* Copies between a scatter list and a buffer from byte `off` on; the bytes copied, less than len at its end. */
size_t iov_read(const struct iovec *, unsigned n, size_t off, void *buf, size_t len);
size_t iov_write(const struct iovec *, unsigned n, size_t off, const void *buf, size_t len);
size_t iov_zero(const struct iovec *, unsigned n, size_t off, size_t len);
/* Drops the first `len` bytes in place; returns the new count, *iov moves on. */
unsigned iov_skip(struct iovec **, unsigned n, size_t len);
/* Keeps the first `len` bytes in place; returns the new count. */
unsigned iov_trim(struct iovec *, unsigned n, size_t len);

#endif
