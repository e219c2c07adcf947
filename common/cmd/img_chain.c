/*
 * `skep img rebase` and `commit`: images and what they are based on.  Both write and flush the contents first and change
 * names and drop copies last, so that a cut in the middle leaves an image that reads as before.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cmd/img_cmd.h"
#include "common/log.h"
#include "common/util.h"

#define CHUNK MIB(1)

/* --- rebase --- */

/* Bytes of a chain that may be NULL or shorter: zeroes there. */
static int read_or_zero(struct img *i, uint64_t off, void *buf, size_t len)
{
	if (!i) {
		memset(buf, 0, len);
		return 0;
	}
	return img_read_buf(i, off, buf, len);
}

/* What the image does not hold itself and would read differently becomes its own. */
static int rebase_part(struct img *top, struct img *below, uint64_t off, size_t len, uint8_t *buf)
{
	const size_t unit = MAX(top->granule, 512);
	int err = read_or_zero(top->backing, off, buf, len);

	if (!err)
		err = read_or_zero(below, off, buf + CHUNK, len);
	for (size_t at = 0, n; at < len && !err; at += n) {
		n = MIN(unit - ((off + at) & (unit - 1)), len - at);
		if (memcmp(buf + at, buf + CHUNK + at, n) != 0)
			err = img_write_buf(top, off + at, buf + at, n);
	}
	return err;
}

static int rebase_contents(const struct img_args *a, struct img *top, struct img *below, struct img_progress *p)
{
	uint8_t *buf = malloc(2 * CHUNK);
	int err = buf ? 0 : -ENOMEM;

	img_progress_start(p, a, "rebase", top->size);
	for (uint64_t at = 0; at < top->size && !err;) {
		struct img_seg s;

		err = top->drv->map(top, at, top->size - at, 0, &s);
		if (!err && s.kind == IMG_NONE) {
			s.len = MIN(s.len, CHUNK);
			err = rebase_part(top, below, at, s.len, buf);
		}
		at += err ? 0 : s.len;
		if (!err && !img_progress_at(p, at))
			err = -EINTR;
	}
	if (!err)
		err = img_flush(top);
	free(buf);
	return err ? err_msg(err, "image '%s': rebase: %s; it still has its old backing file", a->pos[0], strerror(-err)) : 0;
}

/* The new backing file is named by the operator: relative to the image, as it will be found from now on. */
static struct img *below_open(const struct img_args *a)
{
	struct img_args b = *a;
	const char *slash = strrchr(a->pos[0], '/');
	struct img *below;
	char *path;

	if (a->backing[0] == '/' || !slash)
		path = strdup(a->backing);
	else if (asprintf(&path, "%.*s/%s", (int)(slash - a->pos[0]), a->pos[0], a->backing) < 0)
		path = NULL;
	if (!path)
		return NULL;
	b.share = false;
	below = img_cmd_open(&b, path, a->backing_format, 0);
	free(path);
	return below;
}

static int rebase(const struct img_args *a, struct img *top, struct img_progress *p)
{
	const bool flat = !*a->backing;
	struct img *below = NULL;
	const char *format = a->backing_format;
	int err = 0;

	if (!top->drv->set_backing)
		return err_msg(-EOPNOTSUPP, "image '%s': images of the format %s have no backing file", a->pos[0], top->drv->name);
	if (!flat && !(a->unsafe && format)) {
		below = below_open(a);
		if (!below)
			return -EIO;
		if (img_cmd_in_chain(below, a->pos[0]))
			err = err_msg(-ELOOP, "image '%s' cannot be based on itself: '%s' leads back to it", a->pos[0], a->backing);
		format = format ? format : below->drv->name;
	}
	if (!err && !a->unsafe)
		err = rebase_contents(a, top, below, p);
	if (!err)
		err = top->drv->set_backing(top, flat ? NULL : a->backing, flat ? NULL : format);
	img_close(below);
	return err;
}

int img_cmd_rebase(const struct img_args *a)
{
	struct img_open o = { .path = a->pos[0], .format = a->format, .file_flags = BFILE_WRITE, .backing_dirs = a->backing_dirs,
			      .no_backing = a->unsafe };
	struct img_progress p = { 0 };
	struct img *top;
	int err, closed;

	if (!a->backing) {
		err_msg(-EINVAL, "rebase '%s': give the new backing file with -b, or -b '' for none", a->pos[0]);
		return IMG_FAILED;
	}
	top = img_open(&o, &err);
	if (!top)
		return IMG_FAILED;
	err = rebase(a, top, &p);
	closed = img_close(top);
	img_progress_end(&p);
	return err || closed ? IMG_FAILED : IMG_OK;
}

/* --- commit --- */

/* Opens the chain as far as the image to write into, that one for writing; *base gets it. */
static struct img *commit_open(const struct img_args *a, const char *path, const char *format, unsigned depth, struct img **base)
{
	struct img_open o = { .path = path, .format = format, .no_backing = true, .backing_dirs = a->backing_dirs,
			      .file_flags = depth == 0 ? BFILE_WRITE : 0 };
	struct img *i;
	char *below;
	int err;

	i = img_open(&o, &err);
	if (!i)
		return NULL;
	below = img_backing_file(i, a->backing_dirs);
	if (!below) {
		if (!i->backing_path)
			err_msg(-EINVAL, a->backing ? "image '%s' is not based on '%s': its chain ends at '%s'" :
				"image '%s' has no backing file to commit to%s%s", a->pos[0], a->backing ? a->backing : "", path);
		img_close(i);
		return NULL;
	}
	if (depth + 1 >= IMG_CHAIN_MAX) {
		err_msg(-ELOOP, "image '%s': its chain of backing files is a loop or longer than %d", a->pos[0], IMG_CHAIN_MAX);
	} else if (!a->backing || !strcmp(i->backing_path, a->backing) || img_cmd_same_file(below, a->backing)) {
		o = (struct img_open){ .path = below, .format = i->backing_format, .file_flags = BFILE_WRITE, .backing_dirs = a->backing_dirs };
		*base = i->backing = img_open(&o, &err);
	} else {
		i->backing = commit_open(a, below, i->backing_format, depth + 1, base);
	}
	free(below);
	if (!i->backing) {
		img_close(i);
		return NULL;
	}
	return i;
}

/* Only what the images above the base hold. */
static bool above_base(struct img *top, uint64_t off, uint64_t *len, void *base)
{
	struct img_seg s;

	for (struct img *i = top; i != base; i = i->backing) {
		/* Zeroes, whatever those below would show. */
		if (off >= i->size)
			return true;
		*len = MIN(*len, i->size - off);
		/* What cannot be looked up is read, and the read says why. */
		if (i->drv->map(i, off, *len, 0, &s))
			return true;
		*len = MIN(*len, s.len);
		if (s.kind != IMG_NONE)
			return true;
	}
	return false;
}

/* The image without contents of its own: a new one of the same kind in its place, or nothing is changed. */
static int empty(const struct img_args *a, struct img *top)
{
	struct img_snapshot *s = NULL;
	unsigned n = 0;
	int err;

	if (top->drv->snap_list && top->drv->snap_list(top, &s, &n) == 0)
		free(s);
	if (n || !top->drv->discard_all) {
		log_info("img", "image '%s' keeps its contents%s; they are the same in the backing file now", a->pos[0], n ? ", as it has snapshots" : "");
		return 0;
	}
	err = top->drv->discard_all(top);
	return err ? err_msg(err, "image '%s': it could not be emptied: %s; its contents are in the backing file", a->pos[0], strerror(-err)) : 0;
}

static int commit(const struct img_args *a, struct img *top, struct img *base, struct img_progress *p)
{
	struct img_copy c = { .from = top, .to = base, .len = top->size, .sparse = 4096, .wanted = above_base, .arg = base, .progress = p };
	int err = 0;

	if (base->read_only)
		return err_msg(-EROFS, "image '%s': the format %s cannot be written", base->file->path, base->drv->name);
	if (base->size < top->size)
		err = base->drv->resize ? base->drv->resize(base, top->size) :
		      err_msg(-EINVAL, "image '%s' is smaller than '%s', and its format cannot grow", base->file->path, a->pos[0]);
	img_progress_start(p, a, "commit", top->size);
	if (!err)
		err = img_copy(&c);
	if (!err && (err = img_flush(base)))
		err_msg(err, "image '%s': flush: %s; '%s' keeps its contents", base->file->path, strerror(-err), a->pos[0]);
	if (!err && !a->keep && top->backing == base)
		err = empty(a, top);
	return err;
}

int img_cmd_commit(const struct img_args *a)
{
	struct img *base = NULL, *top = commit_open(a, a->pos[0], a->format, 0, &base);
	struct img_progress p = { 0 };
	int err, closed;

	if (!top)
		return IMG_FAILED;
	err = commit(a, top, base, &p);
	closed = img_close(top);
	img_progress_end(&p);
	if (!err && !closed && !a->quiet)
		printf("Image committed.\n");
	return err || closed ? IMG_FAILED : IMG_OK;
}
