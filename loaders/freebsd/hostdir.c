/*
 * host0: paths.  Whatever a path or a link inside the directory says, nothing outside of it is opened: the kernel resolves the
 * path with the directory as its root, RESOLVE_IN_ROOT of openat2(2).  RESOLVE_BENEATH would refuse absolute links,
 * but in the directory of a FreeBSD system they mean that system's own root ("/boot/kernel -> /boot/kernel.test").  Kernels
 * without openat2 (before 5.6) get a walk that follows no link and no "..".
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/readfile.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"
#include "loaders/loaders.h"

#define TEXT_MAX MIB(1)                 /* of loader.conf and the like */
#define RACES_MAX 64                    /* openat2 gives up when a directory on the way is being renamed */
#define READ_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY)

const char *hostdir_beneath(const char *path)
{
	static const char *const names[] = { "host0:", "host:" };

	for (size_t i = 0; i < NELEM(names); i++)
		if (!strncmp(path, names[i], strlen(names[i])))
			return path + strlen(names[i]);
	return NULL;
}

/* -EXDEV for a link, which is not followed. */
static int open_component(int dir, const char *name, int flags)
{
	struct stat st;
	int fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC), err = errno;

	if (fd >= 0)
		return fd;
	if (!fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode))
		return -EXDEV;
	return -err;
}

static int walk(int root, const char *path, int flags)
{
	int dir = fcntl(root, F_DUPFD_CLOEXEC, 0), fd = dir < 0 ? -errno : -ENOENT;
	char name[NAME_MAX + 1];

	while (dir >= 0) {
		size_t n;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (n > NAME_MAX) {
			fd = -ENAMETOOLONG;
			break;
		}
		snprintf(name, sizeof(name), "%.*s", (int)n, n ? path : ".");
		path += n;
		bool last = !path[strspn(path, "/")];
		fd = strcmp(name, "..") ? open_component(dir, n ? name : ".", last ? flags : O_PATH | O_DIRECTORY) : -EXDEV;
		if (last)
			break;
		close(dir);
		dir = fd;
	}
	if (dir >= 0)
		close(dir);
	return fd;
}

static int open_in_root(int root, const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC), .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	for (unsigned i = 0; i < RACES_MAX; i++) {
		long fd = syscall(SYS_openat2, root, *path ? path : "/", &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno == ENOSYS || errno == EPERM)          /* EPERM: what some sandboxes say for calls they do not know */
			return walk(root, path, flags);
		if (errno != EAGAIN)
			return -errno;
	}
	return -EAGAIN;
}

int hostdir_check(const struct conf *conf)
{
	const char *dir = conf_str(conf, "loader.hostdir");
	struct stat st;

	if (!dir)
		return 0;
	if (stat(dir, &st))
		return err_sys("-h '%s'", dir);
	if (!S_ISDIR(st.st_mode))
		return err_msg(-ENOTDIR, "-h '%s': it is not a directory; give the top directory of a FreeBSD system", dir);
	return access(dir, R_OK | X_OK) ? err_sys("-h '%s'", dir) : 0;
}

int hostdir_openat(const struct conf *conf, const char *path, int flags)
{
	const char *dir = conf_str(conf, "loader.hostdir");
	int root = dir ? open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1, fd;

	if (!dir)
		return -ENOENT;
	if (root < 0)
		return -errno;
	fd = open_in_root(root, path, flags);
	close(root);
	return fd;
}

/* *gz: it is a NAME.gz.  Descriptor or -errno (not reported). */
static int open_any(const struct conf *conf, const char *path, bool *gz)
{
	const char *beneath = hostdir_beneath(path);
	size_t n = strlen(path);
	char with_gz[PATH_MAX];
	int fd;

	*gz = n > 3 && !strcmp(path + n - 3, ".gz");
	if (!beneath) {
		fd = open(path, READ_FLAGS | O_CLOEXEC);
		return fd < 0 ? -errno : fd;
	}
	fd = hostdir_openat(conf, beneath, READ_FLAGS);
	if (fd != -ENOENT || *gz || snprintf(with_gz, sizeof(with_gz), "%s.gz", beneath) >= (int)sizeof(with_gz))
		return fd;
	fd = hostdir_openat(conf, with_gz, READ_FLAGS);
	*gz = fd >= 0;
	return fd;
}

static int open_failed(const struct conf *conf, const char *what, const char *path, int err)
{
	if (hostdir_beneath(path) && !conf_str(conf, "loader.hostdir"))
		return err_msg(-EINVAL, "%s '%s': host0: is the directory of -h, and there is none: add -h DIR", what, path);
	if (hostdir_beneath(path) && hostdir_check(conf))
		return err;
	if (err == -EXDEV)
		return err_msg(err, "%s '%s': it leads through a symbolic link or '..', which this host's kernel cannot follow safely "
			       "(Linux 5.6 can); name the file itself", what, path);
	errno = -err;
	return err_sys("%s '%s'", what, path);
}

int hostdir_open(const struct conf *conf, const char *what, const char *path)
{
	bool gz;
	int fd = open_any(conf, path, &gz);

	return fd < 0 ? open_failed(conf, what, path, fd) : fd;
}

bool hostdir_has(const struct conf *conf, const char *path)
{
	struct stat st;
	bool gz;
	int fd = open_any(conf, path, &gz);
	bool has = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode);

	if (fd >= 0)
		close(fd);
	return has;
}

static int read_fd(int fd, const char *what, const char *path, uint8_t **data, size_t *len)
{
	struct stat st;
	int err;

	if (fstat(fd, &st))
		return err_sys("%s '%s'", what, path);
	if (!S_ISREG(st.st_mode))
		return err_msg(-EINVAL, "%s '%s': this is no regular file", what, path);
	if (!st.st_size)
		return 0;
	if (st.st_size > (off_t)FBSD_BYTES_MAX)
		return err_msg(-EFBIG, "%s '%s' has %llu MiB, and a FreeBSD kernel takes %u MiB of files at its start: give it on a disk",
			       what, path, (unsigned long long)st.st_size >> 20, (unsigned)(FBSD_BYTES_MAX >> 20));
	err = readfile(fd, what, path, (size_t)st.st_size, data);
	*len = err ? 0 : (size_t)st.st_size;
	return err;
}

void hostdir_drop(uint8_t *data, size_t map_len)
{
	if (map_len)
		munmap(data, map_len);
	else
		free(data);
}

int hostdir_read(const struct conf *conf, const char *what, const char *path, uint8_t **data, size_t *len, size_t *map_len)
{
	uint8_t *inflated;
	size_t inflated_len;
	bool gz;
	int fd = open_any(conf, path, &gz), err;

	*data = NULL;
	*len = *map_len = 0;
	if (fd < 0)
		return open_failed(conf, what, path, fd);
	err = read_fd(fd, what, path, data, len);
	close(fd);
	*map_len = *len;
	if (err || !gz)
		return err;
	if (!*len)
		return err_msg(-EINVAL, "%s '%s': its .gz file is empty", what, path);
	err = gunzip(path, *data, *len, &inflated, &inflated_len);
	hostdir_drop(*data, *map_len);
	*data = err ? NULL : inflated;
	*len = *map_len = err ? 0 : inflated_len;
	return err;
}

static int read_text(int fd, const char *path, char **text, size_t *len)
{
	struct stat st;
	char *buf;
	size_t n = 0;
	ssize_t got = 1;

	if (fstat(fd, &st))
		return err_sys("host0:%s", path);
	if (!S_ISREG(st.st_mode))
		return err_msg(-EINVAL, "host0:%s: this is no regular file", path);
	if ((uint64_t)st.st_size > TEXT_MAX)
		return err_msg(-EFBIG, "host0:%s: it is larger than %u KiB, so it is no configuration file", path,
			       (unsigned)(TEXT_MAX >> 10));
	buf = malloc(TEXT_MAX + 1);
	if (!buf)
		return err_msg(-ENOMEM, "host0:%s: out of memory", path);
	while (n < TEXT_MAX && (got = read(fd, buf + n, TEXT_MAX - n)) > 0)
		n += (size_t)got;
	if (got < 0) {
		int err = err_sys("host0:%s: read", path);

		free(buf);
		return err;
	}
	buf[n] = 0;
	*text = buf;
	*len = n;
	return 0;
}

int hostdir_text(const struct conf *conf, const char *path, char **text, size_t *len)
{
	int fd = hostdir_openat(conf, path, READ_FLAGS), err;
	char full[PATH_MAX];

	if (fd == -ENOENT && (!conf_str(conf, "loader.hostdir") || !access(conf_str(conf, "loader.hostdir"), F_OK)))
		return fd;
	snprintf(full, sizeof(full), "host0:%s", path);
	if (fd < 0)
		return open_failed(conf, "settings", full, fd);
	err = read_text(fd, path, text, len);
	close(fd);
	return err;
}
