/*
 * Checkpoints in files: snapshots inside a qcow2 image, overlays on any image, copies that share their blocks (Btrfs, XFS).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/ckpt.h"
#include "devices/block/img.h"

static bool refuse(char *why, size_t len, const char *text)
{
	snprintf(why, len, "%s", text);
	return false;
}

/* --- qcow2: snapshots inside --- */

static bool inside_fits(const struct img *i, char *why, size_t len)
{
	if (!i->drv->snap_create)
		return refuse(why, len, "only qcow2 images keep snapshots inside");
	return !i->read_only || refuse(why, len, "it is open read-only");
}

static int inside_prepare(struct ckpt_step *s, const char *path)
{
	struct img_snapshot *list;
	unsigned n;
	int err;

	if (path)
		return err_msg(-EINVAL, "checkpoint '%s': snapshots inside a qcow2 image have no path; leave it out or give store=overlay", s->name);
	err = s->img->drv->snap_list(s->img, &list, &n);
	if (err)
		return err;
	for (unsigned i = 0; i < n && !err; i++)
		if (!strcmp(list[i].name, s->name))
			err = err_msg(-EEXIST, "image '%s' has a snapshot '%s' already; give another name", s->img->file->path, s->name);
	free(list);
	s->where = strdup(s->name);
	return err;
}

static int inside_take(struct ckpt_step *s)
{
	return s->img->drv->snap_create(s->img, s->name);
}

static void inside_undo(struct ckpt_step *s)
{
	if (s->taken)
		s->img->drv->snap_delete(s->img, s->name);
}

static int inside_drop(struct img *i, const char *name)
{
	return i->drv->snap_delete(i, name);
}

const struct ckpt_store ckpt_qcow2 = {
	.name = "qcow2", .help = "a snapshot inside the image", .fits = inside_fits, .prepare = inside_prepare, .take = inside_take,
	.undo = inside_undo, .drop = inside_drop,
};

/* --- overlay: a new qcow2 image becomes the disk, the present one its base --- */

static bool overlay_fits(const struct img *i, char *why, size_t len)
{
	if (i->file->fd < 0)
		return refuse(why, len, "it has no file of its own");
	return !i->read_only || refuse(why, len, "it is open read-only");
}

/* The directory a path names a file in, to be freed. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

/*
 * A base in the same directory is named relative to it, so that both can be moved together; a link there may lead elsewhere,
 * where no base would be looked for.
 */
static char *base_name(const struct img *i, const char *overlay)
{
	const char *path = i->file->path, *slash = strrchr(path, '/');
	char *a = directory_of(path), *b = directory_of(overlay), *name;
	struct stat x, y, file;
	const bool near = a && b && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino &&
			  lstat(path, &file) == 0 && S_ISREG(file.st_mode);

	name = near ? strdup(slash ? slash + 1 : path) : realpath(path, NULL);
	if (!name)
		err_sys("image '%s': it cannot be found for a checkpoint", path);
	free(a);
	free(b);
	return name;
}

/* The new name must survive a power cut, too, or what the guest flushes into the file would be lost with it. */
static int directory_flush(const char *path)
{
	char *dir = directory_of(path);
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, err = 0;

	/* Some file systems have no way to flush a directory. */
	if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
		err = err_sys("directory of '%s'", path);
	if (fd >= 0)
		close(fd);
	free(dir);
	return err;
}

static int overlay_prepare(struct ckpt_step *s, const char *path)
{
	char *where = path ? strdup(path) : ckpt_path(s->img, s->name, "qcow2"), *base = where ? base_name(s->img, where) : NULL;
	/* An image that ends in the middle of a sector: the guest sees that sector whole. */
	const uint64_t size = ALIGN_UP(s->img->size, s->img->size % 512 ? 4096u : 512u);
	struct img_create c = { .path = where, .format = "qcow2", .size = size, .backing = base, .backing_format = s->img->drv->name };
	int err = -ENOMEM;

	if (!path && s->img->file->block_device)
		err = err_msg(-EINVAL, "checkpoint '%s': the disk is a block device; say with path=FILE where the overlay is to be", s->name);
	else if (base)
		err = img_create(&c);
	free(base);
	if (!err) {
		err = directory_flush(where);
		if (err)
			unlink(where);
	}
	if (err)
		free(where);
	else
		s->where = where;
	return err;
}

/* From the old image's point of view: nobody writes to it any more. */
static int base_writable(struct img *i, bool writable)
{
	int err = bfile_set_writable(i->file, writable);

	if (!err)
		i->read_only = !writable;
	return err;
}

/* Only reads are left for the image, but it stays writable until it is known that all others were taken, too. */
static int overlay_take(struct ckpt_step *s)
{
	const struct img_open o = {
		.path = s->where, .format = "qcow2", .no_backing = true, .cache_max = s->img->cache_max,
		.file_flags = BFILE_WRITE | (s->img->file->direct_fd >= 0 ? BFILE_DIRECT : 0),
	};
	int err = img_rest(s->img);
	struct img *top;

	if (err)
		return err_msg(err, "image '%s': %s; no checkpoint was taken", s->img->file->path, strerror(-err));
	top = img_open(&o, &err);
	if (!top)
		return err;
	top->no_backing = false;
	top->backing = s->img;
	s->new_top = top;
	return 0;
}

static void overlay_commit(struct ckpt_step *s)
{
	base_writable(s->img, false);
}

static void overlay_undo(struct ckpt_step *s)
{
	if (s->new_top) {
		s->new_top->backing = NULL;
		img_close(s->new_top);
		base_writable(s->img, true);
	}
	unlink(s->where);
}

static int overlay_drop(struct img *i, const char *name)
{
	char *where = ckpt_path(i, name, "qcow2");

	err_msg(-EOPNOTSUPP, "checkpoint '%s' is an image with overlays on it: 'skep img commit' folds an overlay such as '%s' into it", name,
		where ? where : name);
	free(where);
	return -EOPNOTSUPP;
}

/* Another overlay on the same base. */
static int overlay_branch(struct img *i, const char *name UNUSED, const char *path)
{
	char *base = i->backing_path ? img_backing_file(i, "/") : NULL, *abs = base ? realpath(base, NULL) : NULL;
	const struct img_create c = { .path = path, .format = "qcow2", .size = i->size, .backing = abs, .backing_format = i->backing_format };
	int err;

	if (!i->backing_path)
		err = err_msg(-EINVAL, "image '%s' is no overlay: it has no checkpoint below it", i->file->path);
	else
		err = abs ? img_create(&c) : -ENOENT;
	free(abs);
	free(base);
	return err;
}

const struct ckpt_store ckpt_overlay = {
	.name = "overlay", .help = "a new qcow2 overlay becomes the disk, the old file its base", .fits = overlay_fits, .prepare = overlay_prepare,
	.take = overlay_take, .commit = overlay_commit, .undo = overlay_undo, .drop = overlay_drop, .branch = overlay_branch,
};

/* --- reflink: a copy that shares its blocks --- */

#define XFS_MAGIC 0x58465342
#define BCACHEFS_MAGIC 0xca451a4e

static bool reflink_fits(const struct img *i, char *why, size_t len)
{
	struct statfs fs;

	if (i->file->fd < 0 || i->file->block_device)
		return refuse(why, len, "it is no regular file");
	if (fstatfs(i->file->fd, &fs) < 0)
		return refuse(why, len, strerror(errno));
	if ((uint32_t)fs.f_type == BTRFS_SUPER_MAGIC || (uint32_t)fs.f_type == XFS_MAGIC || (uint32_t)fs.f_type == BCACHEFS_MAGIC)
		return true;
	return refuse(why, len, "its file system cannot share blocks between files, as Btrfs and XFS can");
}

static int clone_file(int from, const char *to)
{
	int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return err_sys("checkpoint file '%s'", to);
	if (ioctl(fd, FICLONE, from) < 0)
		err = err_sys("checkpoint file '%s': sharing the blocks of the image", to);
	else if (fsync(fd) < 0)
		err = err_sys("checkpoint file '%s'", to);
	if (!err)
		err = directory_flush(to);
	close(fd);
	if (err)
		unlink(to);
	return err;
}

static int reflink_prepare(struct ckpt_step *s, const char *path)
{
	struct stat st;

	s->where = path ? strdup(path) : ckpt_path(s->img, s->name, NULL);
	if (!s->where)
		return -ENOMEM;
	if (lstat(s->where, &st) == 0)
		return err_msg(-EEXIST, "checkpoint file '%s' exists already; give the checkpoint another name", s->where);
	return 0;
}

static int reflink_take(struct ckpt_step *s)
{
	return clone_file(s->img->file->fd, s->where);
}

static void reflink_undo(struct ckpt_step *s)
{
	if (s->taken)
		unlink(s->where);
}

static int reflink_drop(struct img *i, const char *name)
{
	char *where = ckpt_path(i, name, NULL);
	int err = where ? 0 : -ENOMEM;

	if (!err && unlink(where) < 0)
		err = err_sys("checkpoint file '%s'", where);
	free(where);
	return err;
}

static int reflink_branch(struct img *i, const char *name, const char *path)
{
	char *where = ckpt_path(i, name, NULL);
	int fd = where ? open(where, O_RDONLY | O_CLOEXEC) : -1, err;

	err = fd < 0 ? err_sys("checkpoint file '%s'", where ? where : name) : clone_file(fd, path);
	if (fd >= 0)
		close(fd);
	free(where);
	return err;
}

const struct ckpt_store ckpt_reflink = {
	.name = "reflink", .help = "a copy that shares its blocks with the image (Btrfs, XFS)", .fits = reflink_fits, .prepare = reflink_prepare,
	.take = reflink_take, .undo = reflink_undo, .drop = reflink_drop, .branch = reflink_branch,
};
