#include "common/blob.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"

void blob_free(struct blob *b)
{
	free(b->data);
	memset(b, 0, sizeof(*b));
}

static void blob_reserve(struct blob *b, size_t more)
{
	if (b->cap - b->len >= more)
		return;
	size_t cap = MAX(b->cap * 2, ALIGN_UP(b->len + more, (size_t)256));
	uint8_t *data = realloc(b->data, cap);
	if (!data) {
		fputs("skep: out of memory while building tables\n", stderr);
		abort();
	}
	b->data = data;
	b->cap = cap;
}

void blob_add(struct blob *b, const void *data, size_t len)
{
	if (len == 0)
		return;
	blob_reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void blob_zero(struct blob *b, size_t len)
{
	blob_reserve(b, len);
	if (len)
		memset(b->data + b->len, 0, len);
	b->len += len;
}

void blob_u8(struct blob *b, uint8_t v)
{
	blob_add(b, &v, sizeof(v));
}

void blob_u16(struct blob *b, uint16_t v)
{
	blob_add(b, &v, sizeof(v));
}

void blob_u32(struct blob *b, uint32_t v)
{
	blob_add(b, &v, sizeof(v));
}

void blob_u64(struct blob *b, uint64_t v)
{
	blob_add(b, &v, sizeof(v));
}

void blob_str(struct blob *b, const char *s)
{
	blob_add(b, s, strlen(s) + 1);
}

void blob_align(struct blob *b, size_t align)
{
	blob_zero(b, ALIGN_UP(b->len, align) - b->len);
}
