/*
 * Checkpoints of what disks lie on: ZFS datasets and volumes [zfs(8)], thin logical volumes [lvmthin(7)].  Done by the
 * administrator's own programs, found along PATH and called without a shell.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/ckpt.h"
#include "devices/block/img.h"

#define ZFS_MAGIC 0x2fc12fc1
#define NAME_LEN 256

/* --- Running a program --- */

/* Reads to the end; keeps the first len-1 bytes, as text. */
static void collect(int fd, char *out, size_t len)
{
	char rest[256];
	size_t have = 0;
	ssize_t n;

	while ((n = have + 1 < len ? read(fd, out + have, len - 1 - have) : read(fd, rest, sizeof(rest))) != 0) {
		if (n < 0 && errno != EINTR)
			break;
		if (n > 0 && have + 1 < len)
			have += (size_t)n;
	}
	out[have] = 0;
}

/* Standard output and error in out[].  Exit status, or -errno. */
static int run(const char *const argv[], char *out, size_t len)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t at;
	sigset_t none;
	int p[2], status = 0, err;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	sigemptyset(&none);
	posix_spawnattr_init(&at);
	posix_spawnattr_setflags(&at, POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setsigmask(&at, &none);
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, p[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&fa, p[1], STDERR_FILENO);
	err = posix_spawnp(&pid, argv[0], &fa, &at, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	posix_spawnattr_destroy(&at);
	close(p[1]);
	if (!err) {
		collect(p[0], out, len);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(p[0]);
	if (err)
		return -err;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* The same for what must succeed: 0 or -errno, reported with what the program said. */
static int tool(const struct img *i, const char *const argv[])
{
	char out[512];
	int status = run(argv, out, sizeof(out));

	if (status == 0)
		return 0;
	if (status < 0)
		return err_msg(status, "image '%s': running '%s': %s", i->file->path, argv[0], strerror(-status));
	out[strcspn(out, "\n")] = 0;
	return err_msg(-EIO, "image '%s': '%s %s' failed: %s", i->file->path, argv[0], argv[1], out[0] ? out : "it did not say why");
}

/* --- ZFS --- */

/* Which dataset a mounted file system is: the source in /proc/self/mountinfo [Linux Documentation/filesystems/proc.rst 3.5]. */
static bool dataset_of_mount(dev_t dev, char *name, size_t len)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	bool found = false;

	while (f && !found && getline(&line, &cap, f) > 0) {
		unsigned major, minor;
		char source[NAME_LEN];
		const char *tail = strstr(line, " - ");

		found = tail && sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2 && makedev(major, minor) == dev &&
			sscanf(tail, " - zfs %255s", source) == 1 && strlen(source) < len;
		if (found)
			strcpy(name, source);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

/* "/dev/zvol/POOL/VOLUME" */
static bool dataset(const struct img *i, char *name, size_t len)
{
	static const char zvol[] = "/dev/zvol/";
	struct statfs fs;
	struct stat st;

	if (i->file->fd < 0)
		return false;
	if (i->file->block_device) {
		if (strncmp(i->file->path, zvol, strlen(zvol)) || strlen(i->file->path) - strlen(zvol) >= len)
			return false;
		strcpy(name, i->file->path + strlen(zvol));
		return true;
	}
	return fstatfs(i->file->fd, &fs) == 0 && (uint32_t)fs.f_type == ZFS_MAGIC && fstat(i->file->fd, &st) == 0 &&
	       dataset_of_mount(st.st_dev, name, len);
}

static bool zfs_fits(const struct img *i, char *why, size_t len)
{
	char name[NAME_LEN];

	if (dataset(i, name, sizeof(name)))
		return true;
	snprintf(why, len, "it is neither on a ZFS file system nor a volume given as /dev/zvol/POOL/VOLUME");
	return false;
}

/* "DATASET@CHECKPOINT", to be freed; NULL (reported): none. */
static char *zfs_snapshot_name(const struct img *i, const char *name)
{
	char ds[NAME_LEN], *out;

	if (!dataset(i, ds, sizeof(ds))) {
		err_msg(-ENOENT, "image '%s' is not on ZFS", i->file->path);
		return NULL;
	}
	return asprintf(&out, "%s@%s", ds, name) < 0 ? NULL : out;
}

static int zfs_prepare(struct ckpt_step *s, const char *path)
{
	if (path)
		return err_msg(-EINVAL, "checkpoint '%s': a ZFS snapshot has no path; leave it out", s->name);
	s->where = zfs_snapshot_name(s->img, s->name);
	return s->where ? 0 : -ENOENT;
}

static int zfs_take(struct ckpt_step *s)
{
	return tool(s->img, (const char *const[]){ "zfs", "snapshot", s->where, NULL });
}

static void zfs_undo(struct ckpt_step *s)
{
	if (s->taken)
		tool(s->img, (const char *const[]){ "zfs", "destroy", s->where, NULL });
}

static int zfs_drop(struct img *i, const char *name)
{
	char *snap = zfs_snapshot_name(i, name);
	int err = snap ? tool(i, (const char *const[]){ "zfs", "destroy", snap, NULL }) : -ENOENT;

	free(snap);
	return err;
}

static int zfs_branch(struct img *i, const char *name, const char *path)
{
	char *snap = zfs_snapshot_name(i, name);
	int err = snap ? tool(i, (const char *const[]){ "zfs", "clone", snap, path, NULL }) : -ENOENT;

	free(snap);
	return err;
}

const struct ckpt_store ckpt_zfs = {
	.name = "zfs", .help = "a ZFS snapshot of the dataset or volume", .shares = true, .fits = zfs_fits, .prepare = zfs_prepare, .take = zfs_take,
	.undo = zfs_undo, .drop = zfs_drop, .branch = zfs_branch,
};

/* --- LVM: thin volumes --- */

/* True for a thin volume. */
static bool volume(const struct img *i, char vg[NAME_LEN], char lv[NAME_LEN])
{
	char out[512], pool[NAME_LEN];

	if (!i->file->block_device || run((const char *const[]){ "lvs", "--noheadings", "--separator", " ", "-o", "vg_name,lv_name,pool_lv",
							      i->file->path, NULL }, out, sizeof(out)) != 0)
		return false;
	return sscanf(out, " %255s %255s %255s", vg, lv, pool) == 3;
}

static bool lvm_fits(const struct img *i, char *why, size_t len)
{
	char vg[NAME_LEN], lv[NAME_LEN];

	if (volume(i, vg, lv))
		return true;
	snprintf(why, len, "it is no thin logical volume that 'lvs' knows");
	return false;
}

/* "VG/LV-CHECKPOINT", to be freed; NULL (reported): none. */
static char *volume_name(const struct img *i, const char *name)
{
	char vg[NAME_LEN], lv[NAME_LEN], *out;

	if (!volume(i, vg, lv)) {
		err_msg(-ENOENT, "image '%s' is no thin logical volume", i->file->path);
		return NULL;
	}
	return asprintf(&out, "%s/%s-%s", vg, lv, name) < 0 ? NULL : out;
}

static int lvm_prepare(struct ckpt_step *s, const char *path)
{
	if (path)
		return err_msg(-EINVAL, "checkpoint '%s': a snapshot of a logical volume has no path; leave it out", s->name);
	s->where = volume_name(s->img, s->name);
	return s->where ? 0 : -ENOENT;
}

static int lvm_take(struct ckpt_step *s)
{
	char *origin = strndup(s->where, strlen(s->where) - strlen(s->name) - 1);
	int err = origin ? tool(s->img, (const char *const[]){ "lvcreate", "-s", "-n", strrchr(s->where, '/') + 1, origin, NULL }) : -ENOMEM;

	free(origin);
	return err;
}

static void lvm_undo(struct ckpt_step *s)
{
	if (s->taken)
		tool(s->img, (const char *const[]){ "lvremove", "-f", s->where, NULL });
}

static int lvm_drop(struct img *i, const char *name)
{
	char *v = volume_name(i, name);
	int err = v ? tool(i, (const char *const[]){ "lvremove", "-f", v, NULL }) : -ENOENT;

	free(v);
	return err;
}

/* -k n: or the new volume would not be activated with its group. */
static int lvm_branch(struct img *i, const char *name, const char *path)
{
	char *v = volume_name(i, name);
	int err = v ? tool(i, (const char *const[]){ "lvcreate", "-k", "n", "-s", "-n", path, v, NULL }) : -ENOENT;

	free(v);
	return err;
}

const struct ckpt_store ckpt_lvm = {
	.name = "lvm", .help = "a thin snapshot of the logical volume", .fits = lvm_fits, .prepare = lvm_prepare, .take = lvm_take,
	.undo = lvm_undo, .drop = lvm_drop, .branch = lvm_branch,
};
