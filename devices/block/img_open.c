/*
 * Opening images: the table of formats, finding out which one a file has, and the chain of images one is based on.
 *
 * An image may have been written by a guest, and with it the name of its backing file.  That file must lie, all
 * symbolic links followed, in the directory of the image that names it or below, or where the operator allowed it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/util.h"
#include "devices/block/img.h"

#define HEAD 4096u
#define TAIL 512u
#define SECTOR 512u
#define CACHE_DEFAULT MIB(32)
#define CACHE_MIN MIB(1)                /* of an image deep in the chain */

/* --- Formats --- */

const struct img_driver *const img_drivers[] = {
	&img_qcow2, &img_vmdk, &img_vdi, &img_vpc, &img_vhdx, &img_raw, NULL
};

const struct img_driver *img_driver_find(const char *name)
{
	if (strcmp(name, "vhd") == 0)
		name = "vpc";
	for (const struct img_driver *const *d = img_drivers; *d; d++)
		if (strcmp((*d)->name, name) == 0)
			return *d;
	return NULL;
}

const struct img_driver *img_probe_bytes(const uint8_t *head, size_t len, const uint8_t tail[512])
{
	const struct img_driver *best = &img_raw;
	int score = 0;

	for (const struct img_driver *const *d = img_drivers; *d; d++) {
		const int s = (*d)->probe ? (*d)->probe(head, len, tail) : 0;

		if (s > score) {
			score = s;
			best = *d;
		}
	}
	return best;
}

const struct img_driver *img_probe(struct bfile *f, int *err)
{
	uint8_t head[HEAD] = { 0 }, tail[TAIL] = { 0 };
	const int64_t size = f->ops->size(f);
	const size_t len = size > 0 ? MIN((uint64_t)size, HEAD) : 0;

	*err = size < 0 ? (int)size : 0;
	if (!*err && len)
		*err = bfile_read(f, 0, head, len);
	if (!*err && size >= (int64_t)TAIL)
		*err = bfile_read(f, (uint64_t)size - TAIL, tail, TAIL);
	if (!*err)
		return img_probe_bytes(head, len, tail);
	err_msg(*err, "image '%s': it cannot be read: %s", f->path, strerror(-*err));
	return NULL;
}

/* "raw, qcow2 and vmdk", for messages. */
static void format_names(char *out, size_t size)
{
	size_t n = 0;

	out[0] = '\0';
	for (const struct img_driver *const *d = img_drivers; *d && n < size; d++)
		n += (size_t)snprintf(out + n, size - n, "%s%s", d == img_drivers ? "" : d[1] ? ", " : " and ", (*d)->name);
}

static const struct img_driver *named_driver(const char *path, const char *format, int *err)
{
	const struct img_driver *d = img_driver_find(format);
	char names[128];

	if (d)
		return d;
	format_names(names, sizeof(names));
	*err = err_msg(-EINVAL, "image '%s': there is no format '%s'; there are %s", path, format, names);
	return NULL;
}

int img_create(const struct img_create *c)
{
	const struct img_driver *d;
	char names[128];
	int err = 0;

	d = named_driver(c->path, c->format, &err);
	if (!d)
		return err;
	if (d->create)
		return d->create(c);
	format_names(names, sizeof(names));
	return err_msg(-ENOTSUP, "image '%s': %s images can be read but not made; use another format (there are %s)", c->path,
		       d->name, names);
}

/* --- One image --- */

struct opening {
	const struct img_driver *drv;   /* NULL: by probe */
	bool probed, no_backing, check;
	unsigned file_flags;
	uint64_t cache_max;
};

static void img_free(struct img *img)
{
	bfile_close(img->file);
	free(img->backing_path);
	free(img->backing_format);
	free(img);
}

/* The file is the image's, also on failure. */
static struct img *start(struct bfile *f, const struct opening *o, int *err)
{
	const struct img_driver *drv = o->drv ? o->drv : img_probe(f, err);
	struct img *img;

	if (!drv) {
		bfile_close(f);
		return NULL;
	}
	assert(drv->size >= sizeof(struct img));
	img = calloc(1, drv->size);
	if (!img) {
		*err = err_msg(-ENOMEM, "image '%s': out of memory", f->path);
		bfile_close(f);
		return NULL;
	}
	img->drv = drv;
	img->file = f;
	img->read_only = f->read_only || !drv->writes;
	img->probed = o->probed || !o->drv;
	img->no_backing = o->no_backing;
	img->check = o->check;
	img->file_flags = o->file_flags;
	img->cache_max = o->cache_max;
	*err = drv->open(img);
	if (*err) {
		img_free(img);
		return NULL;
	}
	if (img->read_only && !f->read_only)
		bfile_set_writable(f, false);
	return img;
}

struct img *img_open_file(struct bfile *f, const struct img_driver *drv, int *err)
{
	const struct opening o = { .drv = drv, .no_backing = true, .file_flags = f->read_only ? 0 : BFILE_WRITE,
				   .cache_max = CACHE_DEFAULT };

	return start(f, &o, err);
}

int img_close(struct img *img)
{
	int err = 0;

	if (img && !img->read_only) {
		err = img_flush(img);
		if (err)
			err_msg(err, "image '%s': what was written last is not all in it: %s", img->file->path, strerror(-err));
	}
	while (img) {
		struct img *below = img->backing;

		if (img->drv->close)
			img->drv->close(img);
		img_free(img);
		img = below;
	}
	return err;
}

/* --- The chain --- */

struct chain {
	const struct img_open *o;
	struct { dev_t dev; ino_t ino; } seen[IMG_CHAIN_MAX];
	unsigned n;
};

/* A block device is the same by its number, whatever the node. */
static bool seen(struct chain *c, const struct stat *st)
{
	const dev_t dev = S_ISBLK(st->st_mode) ? st->st_rdev : st->st_dev;
	const ino_t ino = S_ISBLK(st->st_mode) ? 0 : st->st_ino;

	for (unsigned i = 0; i < c->n; i++)
		if (c->seen[i].dev == dev && c->seen[i].ino == ino)
			return true;
	c->seen[c->n].dev = dev;
	c->seen[c->n++].ino = ino;
	return false;
}

/* A name such as "nbd://host/disk" or "json:{...}": what is before the first colon, if no slash comes earlier. */
static bool is_protocol(const char *name)
{
	const size_t n = strcspn(name, ":/");

	return n > 0 && name[n] == ':';
}

/* The directory of a path, as realpath() gives it. */
static char *real_dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup("."), *real;

	if (!dir)
		return NULL;
	real = realpath(dir, NULL);
	free(dir);
	return real;
}

/* Does a path lie in a directory or below?  Both are as realpath() gives them. */
static bool lies_in(const char *path, const char *dir)
{
	const size_t n = strlen(dir);

	if (strcmp(dir, "/") == 0)
		return true;
	return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static bool allowed_by_list(const char *real, const char *dirs)
{
	bool in = false;

	while (dirs && *dirs && !in) {
		const size_t n = strcspn(dirs, ":");
		char *dir = n ? strndup(dirs, n) : NULL, *real_dir = dir ? realpath(dir, NULL) : NULL;

		in = real_dir && lies_in(real, real_dir);
		free(real_dir);
		free(dir);
		dirs += n + (dirs[n] == ':');
	}
	return in;
}

static bool allowed(const struct chain *c, const struct img *by, const char *real)
{
	char *dir = real_dir_of(by->file->path);
	const bool in = dir && lies_in(real, dir);

	free(dir);
	return in || allowed_by_list(real, c->o->backing_dirs);
}

/* The backing file's name as seen from where skep runs. */
static char *backing_place(const struct img *by)
{
	const char *name = by->backing_path, *slash = strrchr(by->file->path, '/');
	char *out;

	if (*name == '/' || !slash)
		return strdup(name);
	if (asprintf(&out, "%.*s%s", (int)(slash + 1 - by->file->path), by->file->path, name) < 0)
		return NULL;
	return out;
}

static int backing_missing(const struct img *by, const char *place, int err)
{
	if (err == ENOENT || err == ENOTDIR)
		return err_msg(-err, "image '%s': its backing file '%s' is not there; put it back or name the right one with "
			       "'skep img rebase -u'", by->file->path, place);
	return err_msg(-err, "image '%s': its backing file '%s' cannot be reached: %s", by->file->path, place, strerror(err));
}

/* Where a backing file really is, once it may be opened.  NULL: it may not (reported). */
static char *backing_check(struct chain *c, const struct img *by, const char *place, int *err)
{
	char *real = realpath(place, NULL);
	struct stat st;

	if (!real || stat(real, &st) < 0) {
		*err = backing_missing(by, place, errno);
		free(real);
		return NULL;
	}
	if (!allowed(c, by, real))
		*err = err_msg(-EPERM, "image '%s': its backing file '%s' lies outside its own directory, and the image may have "
			       "been written by a guest; if it is the right file, allow its directory with backing=DIR (tools: "
			       "--backing-dir DIR)", by->file->path, real);
	else if (c->n == IMG_CHAIN_MAX)
		*err = err_msg(-ELOOP, "image '%s': more than %d images are based on each other; shorten the chain with "
			       "'skep img commit' or 'skep img convert'", c->o->path, IMG_CHAIN_MAX);
	else if (seen(c, &st))
		*err = err_msg(-ELOOP, "image '%s': its backing file '%s' is an image that is based on it; name the right one with "
			       "'skep img rebase -u'", by->file->path, place);
	else
		return real;
	free(real);
	return NULL;
}

static const struct img_driver *backing_driver(const struct img *by, const char *place, int *err)
{
	const struct img_driver *d = img_driver_find(by->backing_format);

	if (!d)
		*err = err_msg(-EINVAL, "image '%s': it says that its backing file '%s' has the format '%s', which skep does "
			       "not know", by->file->path, place, by->backing_format);
	return d;
}

/* Opened where it was checked, called what the image calls it. */
static struct bfile *backing_file(unsigned flags, const char *place, const char *real, int *err)
{
	struct bfile *f = bfile_open(real, flags, err);
	char *path;

	if (!f)
		return NULL;
	path = strdup(place);
	if (path) {
		free(f->path);
		f->path = path;
	}
	return f;
}

static struct img *backing_open_at(struct chain *c, const struct img *by, const char *place, int *err)
{
	struct opening o = {
		.file_flags = (c->o->file_flags & BFILE_DIRECT) | (c->o->share_lock ? BFILE_NO_LOCK : 0),
		.cache_max = MAX(by->cache_max / 2, CACHE_MIN),
	};
	char *real = backing_check(c, by, place, err);
	struct bfile *f = NULL;

	if (!real)
		return NULL;
	if (by->backing_format)
		o.drv = backing_driver(by, place, err);
	if (!by->backing_format || o.drv)
		f = backing_file(o.file_flags, place, real, err);
	free(real);
	return f ? start(f, &o, err) : NULL;
}

/* The same with what is no file name refused.  NULL: reported. */
static char *backing_named(const struct img *by, int *err)
{
	char *place;

	if (is_protocol(by->backing_path)) {
		*err = err_msg(-ENOTSUP, "image '%s': its backing file '%s' is not a plain file name, and skep opens only files (a "
			       "file with a colon in its name is written './NAME')", by->file->path, by->backing_path);
		return NULL;
	}
	place = backing_place(by);
	if (!place)
		*err = err_msg(-ENOMEM, "image '%s': out of memory", by->file->path);
	return place;
}

static struct img *backing_open(struct chain *c, const struct img *by, int *err)
{
	char *place = backing_named(by, err);
	struct img *img = place ? backing_open_at(c, by, place, err) : NULL;

	free(place);
	return img;
}

char *img_backing_file(const struct img *img, const char *backing_dirs)
{
	const struct img_open o = { .path = img->file->path, .backing_dirs = backing_dirs };
	struct chain c = { .o = &o };
	int err = 0;
	char *place = img->backing_path ? backing_named(img, &err) : NULL;
	char *real = place ? backing_check(&c, img, place, &err) : NULL;

	if (!real) {
		free(place);
		place = NULL;
	}
	free(real);
	return place;
}

static struct img *top_open(struct chain *c, int *err)
{
	const struct img_open *o = c->o;
	struct opening how = {
		.no_backing = o->no_backing, .check = o->check, .file_flags = o->file_flags,
		.cache_max = o->cache_max ? o->cache_max : CACHE_DEFAULT,
	};
	struct bfile *f;
	struct stat st;

	if (o->format) {
		how.drv = named_driver(o->path, o->format, err);
		if (!how.drv)
			return NULL;
	}
	f = bfile_open(o->path, o->file_flags, err);
	if (!f)
		return NULL;
	if (f->fd >= 0 && fstat(f->fd, &st) == 0)
		seen(c, &st);
	return start(f, &how, err);
}

struct img *img_open(const struct img_open *o, int *err)
{
	struct chain c = { .o = o };
	struct img *top = top_open(&c, err);

	if (!top || o->no_backing)
		return top;
	for (struct img *i = top; i->backing_path; i = i->backing) {
		i->backing = backing_open(&c, i, err);
		if (i->backing && i->drv->attach)
			*err = i->drv->attach(i);
		if (i->backing && !*err)
			continue;
		/* Nothing was written: no flush, no second message. */
		top->read_only = true;
		img_close(top);
		return NULL;
	}
	return top;
}

/* --- A nameless overlay --- */

static int nameless_make(const struct img_driver *drv, char *path, uint64_t size)
{
	const struct img_create c = { .path = path, .format = drv->name, .size = size, .overwrite = true };
	const int fd = mkostemp(path, O_CLOEXEC);
	int err;

	if (fd < 0)
		return err_sys("overlay '%s': it cannot be made", path);
	err = drv->create(&c);
	unlink(path);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static struct img *overlay_over(const struct img_driver *drv, struct img *base, int *err)
{
	const char *dir = getenv("TMPDIR");
	char *path, *name;
	struct bfile *f = NULL;
	int fd;

	if (asprintf(&path, "%s/skep-overlay-XXXXXX", dir && *dir ? dir : "/var/tmp") < 0)
		path = NULL;
	if (asprintf(&name, "overlay of %s", base->file->path) < 0)
		name = NULL;
	fd = path && name ? nameless_make(drv, path, ALIGN_UP(base->size, SECTOR)) : -ENOMEM;
	if (fd >= 0)
		f = bfile_from_fd(fd, name);
	if (fd >= 0 && !f)
		close(fd);
	*err = fd < 0 ? fd : f ? 0 : -ENOMEM;
	free(path);
	free(name);
	return f ? img_open_file(f, drv, err) : NULL;
}

struct img *img_overlay_temp(struct img *base, int *err)
{
	const struct img_driver *drv = img_driver_find("qcow2");
	struct img *top = NULL;

	if (drv && drv->create)
		top = overlay_over(drv, base, err);
	else
		*err = err_msg(-ENOTSUP, "image '%s': no overlay can be laid over it without qcow2", base->file->path);
	if (top) {
		top->backing = base;
		return top;
	}
	img_close(base);
	return NULL;
}
