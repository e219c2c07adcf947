/* Device tree writer over libfdt [DTSPEC-0.4 5]. */
#include "arch/arm64/tree.h"

#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/blob.h"

#define NODE_NAME_MAX 64

static void check(struct tree *t, int err)
{
	if (!t->err)
		t->err = err;
}

void tree_node(struct tree *t, const char *fmt, ...)
{
	char name[NODE_NAME_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	if (!t->err)
		check(t, fdt_begin_node(t->buf, name));
}

void tree_end(struct tree *t)
{
	if (!t->err)
		check(t, fdt_end_node(t->buf));
}

void tree_bytes(struct tree *t, const char *name, const void *data, size_t len)
{
	if (!t->err)
		check(t, len > INT32_MAX ? -FDT_ERR_NOSPACE : fdt_property(t->buf, name, data, (int)len));
}

void tree_flag(struct tree *t, const char *name)
{
	tree_bytes(t, name, "", 0);
}

void tree_str(struct tree *t, const char *name, const char *value)
{
	tree_bytes(t, name, value, strlen(value) + 1);
}

void tree_strs(struct tree *t, const char *name, const char *list)
{
	struct blob b = { 0 };
	const char *sep;

	for (; (sep = strstr(list, ",,")); list = sep + 2) {
		blob_add(&b, list, (size_t)(sep - list));
		blob_u8(&b, 0);
	}
	blob_str(&b, list);
	tree_bytes(t, name, b.data, b.len);
	blob_free(&b);
}

void tree_cells(struct tree *t, const char *name, const uint32_t *cells, size_t n)
{
	void *p;

	if (t->err)
		return;
	check(t, fdt_property_placeholder(t->buf, name, (int)(n * 4), &p));
	for (size_t i = 0; !t->err && i < n; i++)
		fdt32_st((uint8_t *)p + i * 4, cells[i]);
}

/* One attempt with a buffer of this size; libfdt's error. */
static int try_build(struct tree *t, size_t cap, void (*fill)(struct tree *, const void *), const void *arg)
{
	check(t, fdt_create(t->buf, (int)cap));
	if (!t->err)
		check(t, fdt_finish_reservemap(t->buf));
	tree_node(t, "%s", "");
	fill(t, arg);
	tree_end(t);
	if (!t->err)
		check(t, fdt_finish(t->buf));
	return t->err;
}

int tree_build(void (*fill)(struct tree *, const void *arg), const void *arg, size_t max_len, struct blob *out)
{
	for (size_t cap = KIB(16); ; cap = MIN(cap * 2, max_len)) {
		struct tree t = { .buf = malloc(cap) };
		if (!t.buf)
			return -ENOMEM;
		int err = try_build(&t, cap, fill, arg);
		if (!err)
			blob_add(out, t.buf, fdt_totalsize(t.buf));
		free(t.buf);
		if (err != -FDT_ERR_NOSPACE)
			return err ? -EINVAL : 0;
		if (cap >= max_len)
			return -E2BIG;
	}
}
