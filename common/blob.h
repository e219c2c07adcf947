/*
 * A growable byte buffer for builders of tables.  Appending never fails: running out of memory ends the
 * process, as builders run before the guest does and build little.
 */
#ifndef COMMON_BLOB_H
#define COMMON_BLOB_H

#include <stddef.h>
#include <stdint.h>

struct blob {
	uint8_t *data;
	size_t len, cap;
};

void blob_free(struct blob *);
void blob_add(struct blob *, const void *data, size_t len);
void blob_zero(struct blob *, size_t len);
void blob_u8(struct blob *, uint8_t);
void blob_u16(struct blob *, uint16_t);
void blob_u32(struct blob *, uint32_t);
void blob_u64(struct blob *, uint64_t);
void blob_str(struct blob *, const char *);             /* with its NUL */
/* Zero bytes up to a multiple of align (a power of two). */
void blob_align(struct blob *, size_t align);

#endif
