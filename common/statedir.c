/*
 * State directories.  Where they are follows the XDG base directories [XDG-BASEDIR 3].
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/rundir.h"
#include "common/statedir.h"
#include "common/util.h"

int statedir_path(const char *name, char *out, size_t len)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	char why[96];
	int n;

	if (rundir_name_check(name, why, sizeof(why)))
		return err_msg(-EINVAL, "VM name '%s': %s", name, why);
	if (xdg && xdg[0] == '/')
		n = snprintf(out, len, "%s/skep/%s", xdg, name);
	else if (geteuid() == 0)
		n = snprintf(out, len, "/var/lib/skep/%s", name);
	else if (home && home[0] == '/')
		n = snprintf(out, len, "%s/.local/state/skep/%s", home, name);
	else
		return err_msg(-ENOENT, "VM '%s': no place to keep its state: set HOME or XDG_STATE_HOME", name);
	if (n < 0 || (size_t)n >= len)
		return err_msg(-ENAMETOOLONG, "VM '%s': the path of its state directory is too long: set XDG_STATE_HOME", name);
	return 0;
}

static int make_dir(const char *path)
{
	if (!mkdir(path, 0700) || errno == EEXIST)
		return 0;
	return err_sys("state directory '%s' cannot be made, and XDG_STATE_HOME may name another place", path);
}

/* Makes each missing directory on the way to path. */
static int make_dirs(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		int err = make_dir(path);
		*p = '/';
		if (err)
			return err;
	}
	return make_dir(path);
}

int statedir_make(const char *name, char *out, size_t len)
{
	struct stat st;
	int err = statedir_path(name, out, len);

	if (!err)
		err = make_dirs(out);
	if (err)
		return err;
	if (lstat(out, &st))
		return err_sys("state directory '%s'", out);
	if (!S_ISDIR(st.st_mode))
		return err_msg(-ENOTDIR, "state directory '%s': something else has this name; remove it", out);
	if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return err_msg(-EPERM, "state directory '%s': others own it or may write to it; remove it or set XDG_STATE_HOME", out);
	return 0;
}

/* The name of a file is on stable storage once its directory is. */
static int sync_dir_of(const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)MAX(slash - path, 1) : 1, slash ? path : ".");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err = 0;
	if (fd < 0)
		return -errno;
	if (fsync(fd) && errno != EINVAL)       /* some file systems have nothing to sync there */
		err = -errno;
	close(fd);
	return err;
}

static bool all_zero(const char *p, size_t len)
{
	return !len || (!p[0] && !memcmp(p, p + 1, len - 1));
}

static int write_at(int fd, const char *p, size_t len, off_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/*
 * Runs of zeros behind the first MiB become holes: firmware's templates are mostly padding.  Before, where the guest will write,
 * all is allocated, so that a full disk is found out now.
 */
static int write_all(int fd, const char *p, size_t len)
{
	enum { CHUNK = 65536, HOLES_FROM = 1 << 20 };
	int err = ftruncate(fd, (off_t)len) ? -errno : 0;

	for (size_t at = 0; at < len && !err; at += CHUNK) {
		size_t n = MIN(len - at, CHUNK);
		if (at < HOLES_FROM || !all_zero(p + at, n))
			err = write_at(fd, p + at, n, (off_t)at);
	}
	return err ? err : fsync(fd) ? -errno : 0;
}

int statedir_write(const char *path, const void *data, size_t len)
{
	char tmp[PATH_MAX];

	if (snprintf(tmp, sizeof(tmp), "%s.XXXXXX", path) >= (int)sizeof(tmp))
		return err_msg(-ENAMETOOLONG, "'%.200s...': the path is too long", path);
	int fd = mkostemp(tmp, O_CLOEXEC), err;
	if (fd < 0)
		return err_sys("'%s': create", path);
	err = write_all(fd, data, len);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
	else
		err = sync_dir_of(path);
	if (err) {
		errno = -err;
		return err_sys("'%s': %zu bytes cannot be written, and XDG_STATE_HOME may name another place", path, len);
	}
	return 0;
}
