/*
 * `skep img create`, `convert`, `compare`, `resize`: whole images.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cmd/img_cmd.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/util.h"

#define CHUNK MIB(2)
#define SPARSE_DEFAULT 4096u

/* --- Options of a new image --- */

enum field { F_BOOL, F_U32, F_TEXT };

static int set_field(const struct img_create *c, const char *name, const char *value, enum field f, void *to)
{
	static const struct opt size = { .name = "option", .type = OPT_SIZE, .max = UINT32_MAX };
	char why[80];
	uint64_t v;

	if (f == F_TEXT) {
		*(const char **)to = value;
	} else if (f == F_BOOL) {
		if (opt_parse_bool(value, to))
			return err_msg(-EINVAL, "image '%s': option %s=%s: it is on or off", c->path, name, value);
	} else {
		if (opt_parse_u64(&size, value, &v, why, sizeof(why)))
			return err_msg(-EINVAL, "image '%s': option %s=%s: %s", c->path, name, value, why);
		*(uint32_t *)to = (uint32_t)v;
	}
	return 0;
}

/* Those with values of their own. */
static int set_word(struct img_create *c, const char *name, const char *value)
{
	static const char *const modes[] = { "off", "metadata", "falloc", "full" };

	if (!strcmp(name, "force_size"))        /* vpc: the size is always as it was asked for */
		return 0;
	if (!strcmp(name, "preallocation")) {
		for (size_t i = 0; i < NELEM(modes); i++)
			if (!strcmp(value, modes[i])) {
				c->prealloc = i;
				return 0;
			}
		return err_msg(-EINVAL, "image '%s': preallocation=%s: it is off, metadata, falloc or full", c->path, value);
	}
	if (!strcmp(name, "compat")) {
		c->version = !strcmp(value, "0.10") || !strcmp(value, "v2") ? 2 : !strcmp(value, "1.1") || !strcmp(value, "v3") ? 3 : 0;
		return c->version ? 0 : err_msg(-EINVAL, "image '%s': compat=%s: it is 0.10 or 1.1", c->path, value);
	}
	if (!strcmp(name, "compression_type")) {
		c->zstd = !strcmp(value, "zstd");
		return c->zstd || !strcmp(value, "zlib") ? 0 :
		       err_msg(-EINVAL, "image '%s': compression_type=%s: it is zlib or zstd", c->path, value);
	}
	if (!strcmp(name, "size")) {
		char sign;
		const int err = img_cmd_size(value, &sign, &c->size);

		return err || !sign ? err : err_msg(-EINVAL, "image '%s': option size=%s: a new image has no size to change", c->path, value);
	}
	return err_msg(-EINVAL, "image '%s': option '%s' is not known; 'man skep-img' has those of each format", c->path, name);
}

static int set_option(struct img_create *c, const char *text)
{
	const struct { const char *name; enum field f; void *to; } known[] = {
		{ "cluster_size", F_U32, &c->cluster_size }, { "block_size", F_U32, &c->cluster_size },
		{ "refcount_bits", F_U32, &c->refcount_bits }, { "lazy_refcounts", F_BOOL, &c->lazy_refcounts },
		{ "extended_l2", F_BOOL, &c->extended_l2 }, { "subformat", F_TEXT, &c->subformat },
		{ "backing_file", F_TEXT, &c->backing }, { "backing_fmt", F_TEXT, &c->backing_format },
	};
	const char *eq = strchr(text, '=');
	char *name = eq ? strndup(text, (size_t)(eq - text)) : strdup(text);
	const char *value = eq ? eq + 1 : "on";
	size_t i = 0;
	int err;

	if (!name)
		return -ENOMEM;
	while (i < NELEM(known) && strcmp(known[i].name, name) != 0)
		i++;
	if (i < NELEM(known))
		err = set_field(c, known[i].name, value, known[i].f, known[i].to);
	else if (!strcmp(name, "static"))       /* vdi's word */
		err = set_field(c, "subformat", !strcmp(value, "on") ? "static" : "dynamic", F_TEXT, &c->subformat);
	else
		err = set_word(c, name, value);
	free(name);
	return err;
}

int img_cmd_create_args(const struct img_args *a, struct img_create *c)
{
	int err = 0;

	c->backing = a->backing;
	c->backing_format = a->backing_format;
	for (unsigned i = 0; i < a->noptions && !err; i++)
		err = set_option(c, a->options[i]);
	if (!err && !img_driver_find(c->format))
		err = err_msg(-EINVAL, "format '%s' is not known; 'skep img --help' lists them", c->format);
	return err;
}

/* --- create --- */

/* The backing file must be there and readable, and tells the size when nobody does. */
static int backing_check(const struct img_args *a, struct img_create *c)
{
	const char *slash = strrchr(c->path, '/');
	struct img_open o = { .format = c->backing_format, .backing_dirs = a->backing_dirs };
	struct img *b;
	char *path;
	int err;

	if (c->backing[0] == '/' || !slash)
		path = strdup(c->backing);
	else if (asprintf(&path, "%.*s/%s", (int)(slash - c->path), c->path, c->backing) < 0)
		path = NULL;
	if (!path)
		return -ENOMEM;
	o.path = path;
	b = img_open(&o, &err);
	if (b && img_cmd_in_chain(b, c->path)) {
		img_close(b);
		err = err_msg(-ELOOP, "image '%s': it would be its own backing file, and what it holds would be lost; give it another name",
			      c->path);
	} else if (b) {
		if (!c->size)
			c->size = b->size;
		if (!c->backing_format)
			c->backing_format = b->drv->name;
		err = img_close(b);
	}
	free(path);
	return err;
}

int img_cmd_create(const struct img_args *a)
{
	struct img_create c = { .path = a->pos[0], .format = a->format ? a->format : "raw", .overwrite = true };
	char sign = 0, text[32];
	int err = img_cmd_create_args(a, &c);

	if (!err && a->npos == 2)
		err = img_cmd_size(a->pos[1], &sign, &c.size);
	if (!err && sign)
		err = err_msg(-EINVAL, "size '%s': a new image has no size to change", a->pos[1]);
	if (!err && c.backing)
		err = backing_check(a, &c);
	if (!err && !c.size && a->npos < 2 && !c.backing)
		err = err_msg(-EINVAL, "image '%s': give its size, such as 10G", c.path);
	if (!err)
		err = img_create(&c);
	if (!err && !a->quiet)
		printf("%s: %s, %s%s%s\n", c.path, c.format, img_cmd_size_text(c.size, text, sizeof(text)), c.backing ? ", based on " : "",
		       c.backing ? c.backing : "");
	return err ? IMG_FAILED : IMG_OK;
}

/* --- Copying --- */

static bool is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* Writes what is no run of zeroes; those stay holes, or are written as such. */
static int put(const struct img_copy *c, uint64_t off, const uint8_t *buf, size_t len)
{
	const size_t unit = c->sparse ? c->sparse : len;
	int err = 0;

	for (size_t at = 0, n; at < len && !err; at += n) {
		const bool zero = c->sparse && is_zero(buf + at, MIN(unit, len - at));

		n = MIN(unit, len - at);
		while (at + n < len && c->sparse && is_zero(buf + at + n, MIN(unit, len - at - n)) == zero)
			n += MIN(unit, len - at - n);
		if (!zero)
			err = img_write_buf(c->to, off + at, buf + at, n);
		else if (!c->to_is_zero)
			err = img_zero(c->to, off + at, n, IMG_UNMAP);
	}
	return err;
}

static int put_compressed(const struct img_copy *c, uint64_t off, const uint8_t *buf, size_t len)
{
	const uint32_t unit = c->to->granule;
	int err = 0;

	for (size_t at = 0, n; at < len && !err; at += n) {
		const uint32_t in = (uint32_t)(off + at) & (unit - 1);

		n = MIN(unit - in, len - at);
		if (c->to_is_zero && is_zero(buf + at, n))
			continue;
		/* A cluster that two inputs meet in is written twice, and only the last one of the image is short. */
		if (!in && (n == unit || ALIGN_UP(off + at + n, 512u) >= c->to->size))
			err = is_zero(buf + at, n) ? img_zero(c->to, off + at, n, IMG_UNMAP) :
			      c->to->drv->write_compressed(c->to, off + at, buf + at, n);
		else if (!is_zero(buf + at, n))
			err = img_write_buf(c->to, off + at, buf + at, n);
		else
			err = img_zero(c->to, off + at, n, IMG_UNMAP);
	}
	return err;
}

/* Those clusters that show something else now. */
static int put_differing(const struct img_copy *c, uint64_t off, const uint8_t *buf, size_t len)
{
	const size_t unit = MIN(MAX(c->to->granule, 512u), CHUNK);
	uint8_t *now = malloc(len);
	int err = now ? img_read_buf(c->to, off, now, len) : -ENOMEM;

	for (size_t at = 0, n; at < len && !err; at += n) {
		n = MIN(unit - ((off + at) & (unit - 1)), len - at);
		if (memcmp(buf + at, now + at, n) != 0)
			err = c->compress ? put_compressed(c, off + at, buf + at, n) : put(c, off + at, buf + at, n);
	}
	free(now);
	return err;
}

static int copy_data(const struct img_copy *c, uint64_t at, uint64_t len, uint8_t *buf)
{
	int err = img_read_buf(c->from, c->from_off + at, buf, len);

	if (err)
		return err_msg(err, "image '%s': read at byte %" PRIu64 ": %s", c->from->file->path, c->from_off + at, strerror(-err));
	if (c->differs)
		err = put_differing(c, c->to_off + at, buf, len);
	else
		err = c->compress ? put_compressed(c, c->to_off + at, buf, len) : put(c, c->to_off + at, buf, len);
	if (err)
		return err_msg(err, "image '%s': write at byte %" PRIu64 ": %s", c->to->file->path, c->to_off + at, strerror(-err));
	return 0;
}

/* Do source and target have nothing there?  *len: how far. */
static bool nothing_in_either(const struct img_copy *c, uint64_t at, uint64_t *len)
{
	struct img_seg s, t;
	const uint64_t left = c->to->size - (c->to_off + at);

	if (img_map(c->from, c->from_off + at, *len, 0, &s) || img_map(c->to, c->to_off + at, MIN(*len, left), 0, &t) ||
	    s.kind != IMG_ZERO || t.kind != IMG_ZERO)
		return false;
	*len = MIN(s.len, t.len);
	return true;
}

/* One part whose source is all of one kind. */
static int copy_part(const struct img_copy *c, uint64_t at, uint64_t *len, uint8_t *buf)
{
	struct img_seg seg;
	int err;

	if (c->wanted && !c->wanted(c->from, c->from_off + at, len, c->arg))
		return 0;
	if (c->differs && nothing_in_either(c, at, len))
		return 0;
	err = img_map(c->from, c->from_off + at, *len, 0, &seg);
	if (err)
		return err_msg(err, "image '%s': looking up byte %" PRIu64 ": %s", c->from->file->path, c->from_off + at, strerror(-err));
	/* Compressed clusters are written whole. */
	if (seg.kind == IMG_ZERO && !c->differs && !(c->compress && (seg.len & (c->to->granule - 1)) && at + seg.len < c->len)) {
		*len = seg.len;
		if (c->to_is_zero && c->sparse)
			return 0;
		err = img_zero(c->to, c->to_off + at, *len, c->sparse ? IMG_UNMAP : 0);
		return err ? err_msg(err, "image '%s': write at byte %" PRIu64 ": %s", c->to->file->path, c->to_off + at, strerror(-err)) : 0;
	}
	/* Up to a place where a cluster begins. */
	*len = MIN(*len, CHUNK - ((c->to_off + at) & (MIN(MAX(c->to->granule, 512u), CHUNK) - 1)));
	if (!c->compress && !c->differs)
		*len = MIN(*len, seg.len);
	return copy_data(c, at, *len, buf);
}

int img_copy(const struct img_copy *c)
{
	uint8_t *buf = malloc(CHUNK);
	int err = buf ? 0 : err_msg(-ENOMEM, "out of memory");

	for (uint64_t at = 0, len; at < c->len && !err; at += len) {
		len = c->len - at;
		err = copy_part(c, at, &len, buf);
		if (!err && !img_progress_at(c->progress, c->to_off + at + len))
			err = -EINTR;
	}
	free(buf);
	return err;
}

/* --- convert --- */

static struct img **sources_open(const struct img_args *a, unsigned n, uint64_t *total)
{
	struct img **in = calloc(n, sizeof(struct img *));

	*total = 0;
	for (unsigned i = 0; in && i < n; i++) {
		in[i] = img_cmd_open(a, a->pos[i], a->format, 0);
		if (!in[i]) {
			while (i--)
				img_close(in[i]);
			free(in);
			return NULL;
		}
		/* One follows another at the beginning of a sector. */
		if (i + 1 < n)
			*total += ALIGN_UP(in[i]->size, 512u);
		else
			*total += in[i]->size;
		if (*total > INT64_MAX) {
			err_msg(-EFBIG, "image '%s': with what comes before it, it is larger than any image can be", a->pos[i]);
			do
				img_close(in[i]);
			while (i--);
			free(in);
			return NULL;
		}
	}
	return in;
}

static bool is_block_device(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISBLK(st.st_mode);
}

/* The new image, or the one that is there with -n or as a block device. */
static struct img *target_open(const struct img_args *a, struct img_create *c, bool *fresh)
{
	struct img *to;

	*fresh = !a->no_create && !is_block_device(c->path);
	if (*fresh && img_create(c))
		return NULL;
	to = img_cmd_open(a, c->path, c->format, BFILE_WRITE);
	if (to && to->size < c->size) {
		err_msg(-EINVAL, "image '%s' is smaller than what is to go into it: %" PRIu64 " bytes, not %" PRIu64, c->path, to->size, c->size);
		img_close(to);
		return NULL;
	}
	return to;
}

static int sparse_of(const struct img_args *a, uint32_t *out)
{
	uint64_t v;
	char sign;

	*out = SPARSE_DEFAULT;
	if (!a->sparse)
		return 0;
	if (img_cmd_size(a->sparse, &sign, &v) || sign || v % 512 || v > MIB(1))
		return err_msg(-EINVAL, "-S %s: it takes a multiple of 512 bytes up to 1M, or 0", a->sparse);
	*out = (uint32_t)v;
	return 0;
}

/* The gap up to the next sector, and what is behind the last image. */
static int put_gap(const struct img_copy *c, uint64_t off, uint64_t len)
{
	const int err = len && !c->to_is_zero ? img_zero(c->to, off, len, 0) : 0;

	return err ? err_msg(err, "image '%s': write at byte %" PRIu64 ": %s", c->to->file->path, off, strerror(-err)) : 0;
}

static int convert(struct img **in, unsigned n, struct img_copy *c)
{
	int err = 0;

	for (unsigned i = 0; i < n && !err; i++) {
		c->from = in[i];
		c->len = in[i]->size;
		err = img_copy(c);
		c->to_off += c->len;
		if (!err && i + 1 < n) {
			const uint64_t next = ALIGN_UP(c->to_off, 512u);

			err = put_gap(c, c->to_off, next - c->to_off);
			c->to_off = next;
		}
	}
	if (!err && (err = img_flush(c->to)))
		err_msg(err, "image '%s': flush: %s", c->to->file->path, strerror(-err));
	return err;
}

static void unheard(void *arg UNUSED, enum log_level level UNUSED, const char *text UNUSED)
{
}

/* Half an image is worse than none, and what else is wrong with it is of no interest. */
static void discard_target(struct img *to, const char *path)
{
	log_divert(unheard, NULL);
	unlink(path);
	img_close(to);
	log_divert(NULL, NULL);
}

static int convert_new(const struct img_args *a, struct img **in, unsigned n, struct img_create *c)
{
	struct img_progress p;
	struct img_copy how = { .compress = a->compress, .progress = &p };
	struct img *to;
	bool fresh;
	int err = sparse_of(a, &how.sparse);

	/* Before anything is made or emptied. */
	if (!err && a->compress && !img_driver_find(c->format)->write_compressed)
		err = err_msg(-EINVAL, "format '%s' has no compression; leave -c out", c->format);
	if (err)
		return err;
	img_progress_start(&p, a, "convert", c->size);
	to = target_open(a, c, &fresh);
	how.to = to;
	how.to_is_zero = fresh && !c->backing;
	how.differs = fresh && c->backing;
	err = to ? convert(in, n, &how) : -EIO;
	if (to && err && fresh)
		discard_target(to, c->path);
	else if (to && img_close(to))
		err = -EIO;
	img_progress_end(&p);
	return err;
}

static int convert_to(const struct img_args *a, struct img **in, unsigned n, uint64_t total)
{
	struct img_create c = { .path = a->pos[n], .format = a->out_format ? a->out_format : "raw", .size = total, .overwrite = true };
	int err = img_cmd_create_args(a, &c);

	for (unsigned i = 0; i < n && !err; i++)
		if (!strcmp(a->pos[i], c.path) || img_cmd_in_chain(in[i], c.path))
			err = err_msg(-EINVAL, "image '%s' cannot be converted onto itself or onto what it is based on; give OUT another name", c.path);
	if (!err && c.backing)
		err = backing_check(a, &c);
	c.size = total;
	return err ? err : convert_new(a, in, n, &c);
}

int img_cmd_convert(const struct img_args *a)
{
	const unsigned n = (unsigned)a->npos - 1;
	uint64_t total;
	struct img **in = sources_open(a, n, &total);
	int err;

	if (!in)
		return IMG_FAILED;
	err = convert_to(a, in, n, total);
	for (unsigned i = 0; i < n; i++)
		img_close(in[i]);
	free(in);
	return err ? IMG_FAILED : IMG_OK;
}

/* --- compare --- */

static bool stored(const struct img_seg *s)
{
	return s->kind != IMG_ZERO;
}

/* 0 the same up to *len, 1 different at *at, or -errno (reported). */
static int compare_part(const struct img_args *a, struct img *x, struct img *y, uint64_t *at, uint64_t *len, uint8_t *buf)
{
	struct img *in[2] = { x, y };
	struct img_seg s[2];
	uint8_t *b[2] = { buf, buf + CHUNK };

	for (unsigned i = 0; i < 2; i++) {
		int err = img_map(in[i], *at, *len, 0, &s[i]);

		if (err)
			return err_msg(err, "image '%s': looking up byte %" PRIu64 ": %s", in[i]->file->path, *at, strerror(-err));
		*len = MIN(*len, s[i].len);
	}
	if (!stored(&s[0]) && !stored(&s[1]))
		return 0;
	if (a->strict && stored(&s[0]) != stored(&s[1]))
		return 1;
	*len = MIN(*len, CHUNK);
	for (unsigned i = 0; i < 2; i++) {
		int err = img_read_buf(in[i], *at, b[i], *len);

		if (err)
			return err_msg(err, "image '%s': read at byte %" PRIu64 ": %s", in[i]->file->path, *at, strerror(-err));
	}
	if (!memcmp(b[0], b[1], *len))
		return 0;
	for (uint64_t i = 0; i < *len; i++)
		if (b[0][i] != b[1][i]) {
			*at += i;
			break;
		}
	return 1;
}

/* What the longer one has behind the other's end must be zeroes. */
static int compare_tail(struct img *longer, uint64_t *at, uint64_t *len, uint8_t *buf)
{
	struct img_seg s;
	int err = img_map(longer, *at, *len, 0, &s);

	if (err)
		return err_msg(err, "image '%s': looking up byte %" PRIu64 ": %s", longer->file->path, *at, strerror(-err));
	*len = s.len;
	if (!stored(&s))
		return 0;
	*len = MIN(*len, CHUNK);
	err = img_read_buf(longer, *at, buf, *len);
	if (err)
		return err_msg(err, "image '%s': read at byte %" PRIu64 ": %s", longer->file->path, *at, strerror(-err));
	for (uint64_t i = 0; i < *len; i++)
		if (buf[i]) {
			*at += i;
			return 1;
		}
	return 0;
}

static int compare(const struct img_args *a, struct img *x, struct img *y, uint64_t *at)
{
	const uint64_t common = MIN(x->size, y->size), all = MAX(x->size, y->size);
	struct img_progress p;
	uint8_t *buf = malloc(2 * CHUNK);
	int ret = buf ? 0 : err_msg(-ENOMEM, "out of memory");

	*at = 0;
	img_progress_start(&p, a, "compare", all);
	while (*at < all && !ret) {
		uint64_t len = (*at < common ? common : all) - *at;

		ret = *at < common ? compare_part(a, x, y, at, &len, buf) : compare_tail(x->size > y->size ? x : y, at, &len, buf);
		if (!ret)
			*at += len;
		if (!ret && !img_progress_at(&p, *at))
			ret = -EINTR;
	}
	img_progress_end(&p);
	free(buf);
	return ret;
}

int img_cmd_compare(const struct img_args *a)
{
	struct img *x = img_cmd_open(a, a->pos[0], a->format, 0);
	struct img *y = x ? img_cmd_open(a, a->pos[1], a->backing_format, 0) : NULL;
	uint64_t at = 0;
	int ret = -EIO;

	if (y && a->strict && x->size != y->size) {
		ret = 1;
		if (!a->quiet)
			printf("Strict mode: Image size mismatch!\n");
	} else if (y) {
		ret = compare(a, x, y, &at);
		if (!a->quiet && ret == 1)
			printf("Content mismatch at offset %" PRIu64 "!\n", at);
		if (!a->quiet && ret == 0)
			printf("Images are identical.\n");
	}
	img_close(y);
	img_close(x);
	return ret < 0 ? IMG_ERROR : ret;
}

/* --- resize --- */

static int resize(const struct img_args *a, struct img *i, uint64_t size)
{
	char text[32];
	int err;

	if (!i->drv->resize)
		return err_msg(-EOPNOTSUPP, "image '%s': the format %s cannot be resized; convert it to qcow2 or raw", a->pos[0], i->drv->name);
	if (size < i->size && !a->shrink)
		return err_msg(-EINVAL, "image '%s' would become smaller, and what lies behind the new end would be lost; give --shrink if "
			       "that is meant", a->pos[0]);
	err = i->drv->resize(i, size);
	if (!err && !a->quiet)
		printf("%s: %s\n", a->pos[0], img_cmd_size_text(size, text, sizeof(text)));
	return err;
}

int img_cmd_resize(const struct img_args *a)
{
	struct img *i;
	uint64_t n, size, old;
	char sign;
	int err = img_cmd_size(a->pos[1], &sign, &n), closed;

	if (err)
		return IMG_FAILED;
	i = img_cmd_open(a, a->pos[0], a->format, BFILE_WRITE);
	if (!i)
		return IMG_FAILED;
	old = i->size;
	size = sign == '+' ? old + n : sign == '-' ? old - MIN(n, old) : n;
	if ((sign == '+' && size < old) || size > INT64_MAX)
		err = err_msg(-EINVAL, "size '%s' is too large", a->pos[1]);
	else if (size == 0)
		err = err_msg(-EINVAL, "image '%s': nothing would be left of its %" PRIu64 " bytes", a->pos[0], old);
	else
		err = resize(a, i, size);
	closed = img_close(i);
	return err || closed ? IMG_FAILED : IMG_OK;
}
