#include "tests/unit/devices/block/qcow2/lab.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

void lab_new(struct lab *l, const char *options, const char *size)
{
	/* In memory: qemu-img syncs a lot. */
	snprintf(l->dir, sizeof(l->dir), "%s/skep-lab-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
	ck_assert_ptr_nonnull(mkdtemp(l->dir));
	snprintf(l->path, sizeof(l->path), "%s/i", l->dir);
	ck_assert_int_eq(lab_sh(l, "qemu-img create -q -f qcow2 -o %s i %s", options, size), 0);
}

void lab_free(struct lab *l)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", l->dir);
	ck_assert_int_eq(system(cmd), 0);
}

int lab_sh(const struct lab *l, const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;
	int n = snprintf(cmd, sizeof(cmd), "cd %s && { ", l->dir), status;

	va_start(ap, fmt);
	n += vsnprintf(cmd + n, sizeof(cmd) - (size_t)n, fmt, ap);
	va_end(ap);
	snprintf(cmd + n, sizeof(cmd) - (size_t)n, "; } >/dev/null 2>&1");
	status = system(cmd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *lab_out(const struct lab *l, char *buf, size_t size, const char *cmd)
{
	char full[1024];
	FILE *f;
	size_t n;

	snprintf(full, sizeof(full), "cd %s && { %s; } 2>/dev/null", l->dir, cmd);
	f = popen(full, "r");
	ck_assert_ptr_nonnull(f);
	n = fread(buf, 1, size - 1, f);
	buf[n] = 0;
	pclose(f);
	return buf;
}

static uint64_t figure(json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

struct lab_check lab_check(const struct lab *l)
{
	struct lab_check c = { .status = lab_sh(l, "qemu-img check --output=json i > check.json") };
	char text[4096];
	json_t *o;

	lab_out(l, text, sizeof(text), "qemu-img check --output=json i | sed -n '/^{/,$p'");
	o = json_loads(text, 0, NULL);
	ck_assert_msg(o, "qemu-img check prints '%s'", text);
	c.corruptions = figure(o, "corruptions");
	c.leaks = figure(o, "leaks");
	c.clusters = figure(o, "total-clusters");
	c.allocated = figure(o, "allocated-clusters");
	c.compressed = figure(o, "compressed-clusters");
	c.fragmented = figure(o, "fragmented-clusters");
	c.image_end = figure(o, "image-end-offset");
	json_decref(o);
	return c;
}

void lab_clean(const struct lab *l)
{
	ck_assert_int_eq(lab_sh(l, "qemu-img check i"), 0);
}

static struct img *opened(const struct lab *l, bool writable, bool check)
{
	const struct img_open o = { .path = l->path, .format = "qcow2", .file_flags = writable ? BFILE_WRITE : 0, .check = check };
	int err;
	struct img *img = img_open(&o, &err);

	ck_assert_ptr_nonnull(img);
	return img;
}

struct img *lab_open(const struct lab *l, bool writable)
{
	return opened(l, writable, false);
}

struct img *lab_open_check(const struct lab *l, bool writable)
{
	return opened(l, writable, true);
}

void lab_close(struct img *img)
{
	ck_assert_int_eq(img_close(img), 0);
}

uint64_t lab_get(const struct lab *l, uint64_t off, unsigned bytes)
{
	const int fd = open(l->path, O_RDONLY);
	uint8_t b[8] = { 0 };

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, b + 8 - bytes, bytes, (off_t)off), bytes);
	close(fd);
	return get_be64(b);
}

void lab_put(const struct lab *l, uint64_t off, uint64_t v, unsigned bytes)
{
	const int fd = open(l->path, O_WRONLY);
	uint8_t b[8];

	put_be64(b, v);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, b + 8 - bytes, bytes, (off_t)off), bytes);
	close(fd);
}

uint64_t lab_l2(const struct lab *l)
{
	return lab_get(l, lab_get(l, 40, 8), 8) & QCOW2_OFFSET_MASK;
}

uint64_t lab_refblock(const struct lab *l)
{
	return lab_get(l, lab_get(l, 48, 8), 8);
}

bool lab_holds(struct img *img, uint64_t off, uint64_t len, uint8_t byte)
{
	uint8_t *const b = malloc(len);
	bool same = !img_read_buf(img, off, b, len);

	for (uint64_t i = 0; i < len; i++)
		same &= b[i] == byte;
	free(b);
	return same;
}

void lab_write(struct img *img, uint64_t off, uint64_t len, uint8_t byte)
{
	uint8_t *const b = malloc(len);

	memset(b, byte, len);
	ck_assert_int_eq(img_write_buf(img, off, b, len), 0);
	free(b);
}
