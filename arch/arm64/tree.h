/*
 * Writing a device tree front to back over libfdt's sequential interface.  The first error sticks and
 * everything after it does nothing, so builders check once, at the end.
 */
#ifndef ARCH_ARM64_TREE_H
#define ARCH_ARM64_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "common/util.h"

struct blob;

struct tree {
	void *buf;
	int err;                        /* libfdt's, 0: none so far */
};

/*
 * Runs fill() on an empty tree whose root node is open, growing the buffer until it fits, at most to
 * max_len bytes; the finished tree goes to `out`.  0 or -errno (not reported): -E2BIG, -ENOMEM.
 */
int tree_build(void (*fill)(struct tree *, const void *arg), const void *arg, size_t max_len, struct blob *out);

/* A node from here to its tree_end(). */
void tree_node(struct tree *, const char *fmt, ...) PRINTF_LIKE(2, 3);
void tree_end(struct tree *);
void tree_flag(struct tree *, const char *name);                        /* a property without value */
void tree_str(struct tree *, const char *name, const char *value);
/* Entries separated by ",,", as in struct dev_desc; written as a string list. */
void tree_strs(struct tree *, const char *name, const char *list);
void tree_bytes(struct tree *, const char *name, const void *, size_t len);
void tree_cells(struct tree *, const char *name, const uint32_t *cells, size_t n);
#define TREE_CELLS(t, name, ...)                                                                        \
	tree_cells(t, name, (const uint32_t[]){ __VA_ARGS__ }, sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)
/* A 64-bit number as the two cells the macro above takes. */
#define CELL64(v) (uint32_t)((uint64_t)(v) >> 32), (uint32_t)(v)

#endif
