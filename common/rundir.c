/*
 * Run directories.  The lock is an open file description's lock on NAME/lock: no other descriptor of the process
 * can drop it by accident, the kernel drops it with the process, and others can ask about it without taking it.
 *
 * Byte 0 of the file is who may change the directory, all behind it who the VM is.  A VM takes the second, then the first; one
 * that cleans up after a dead VM takes the first alone, so that a VM that starts meanwhile waits for it and is not refused.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"

#define NAME_LEN_MAX 63

int rundir_name_check(const char *name, char *why, size_t why_len)
{
	static const char ok[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
	size_t n = strlen(name);
	const char *text = NULL;

	if (!n || n > NAME_LEN_MAX)
		text = "a name has 1 to 63 characters";
	else if (name[0] == '.' || name[0] == '-')
		text = "a name does not begin with '.' or '-'";
	else if (name[strspn(name, ok)])
		text = "a name is made of letters, digits, '.', '_' and '-'";
	if (text)
		snprintf(why, why_len, "%s", text);
	return text ? -EINVAL : 0;
}

static char *format(const char *fmt, ...) PRINTF_LIKE(1, 2);
static char *format(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		abort();
	va_end(ap);
	return s;
}

char *rundir_base(void)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");

	/* A login's own directory is no place for root's: services have none, and should be found by whoever is root. */
	if (xdg && xdg[0] == '/' && (geteuid() || strncmp(xdg, "/run/user/", 10)))
		return format("%s/skep", xdg);
	if (geteuid() == 0)
		return format("/run/skep");
	return format("/tmp/skep-%u", (unsigned)geteuid());
}

char *rundir_path(const char *name)
{
	char *base = rundir_base(), *path = format("%s/%s", base, name);

	free(base);
	return path;
}

/* In /tmp anybody may have made what has our name. */
static bool is_ours(const struct stat *st)
{
	return st->st_uid == geteuid() && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

/* A directory of our own that nobody else can write, made when absent. */
static int own_dir(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return err_sys("run directory '%s': create", path);
	if (lstat(path, &st))
		return err_sys("run directory '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return err_msg(-ENOTDIR, "run directory '%s': something else has this name; remove it", path);
	if (!is_ours(&st))
		return err_msg(-EPERM, "run directory '%s': others own it or may write to it; remove it or set XDG_RUNTIME_DIR",
			path);
	return 0;
}

static int write_pid(const char *path)
{
	char *name = format("%s/pid", path);
	FILE *f = fopen(name, "we");
	int err = 0;

	if (!f || fprintf(f, "%ld\n", (long)getpid()) < 0 || fflush(f))
		err = err_sys("'%s': write", name);
	if (f)
		fclose(f);
	free(name);
	return err;
}

static int read_pid(const char *path)
{
	char *name = format("%s/pid", path);
	FILE *f = fopen(name, "re");
	int pid = 0;

	if (f && fscanf(f, "%d", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	free(name);
	return pid;
}

/* Removes the directory's files, except what `keep` names. */
static void sweep(const char *path, const char *const *keep)
{
	DIR *d = opendir(path);
	const struct dirent *e;

	while (d && (e = readdir(d))) {
		bool kept = !strcmp(e->d_name, ".") || !strcmp(e->d_name, "..");

		for (const char *const *k = keep; *k && !kept; k++)
			kept = !strcmp(e->d_name, *k);
		if (!kept)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d)
		closedir(d);
}

static int busy(const char *name, const char *path)
{
	int pid = read_pid(path);

	if (pid > 0)
		return err_msg(-EBUSY, "a VM named '%s' is running (pid %d): choose another name or end it first", name, pid);
	return err_msg(-EBUSY, "a VM named '%s' is running: choose another name or end it first", name);
}

static struct flock lock_of_vm(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1 };
}

static struct flock lock_of_files(void)
{
	return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
}

/*
 * Takes the lock.  A closing owner removes nothing it would have to lock again, so the file locked is the file
 * that stays.
 */
static int take_lock(const char *name, const char *path, int *fd)
{
	struct flock vm = lock_of_vm(), files = lock_of_files();
	char *lock = format("%s/lock", path);
	int err = 0;

	*fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0) {
		err = err_sys("'%s': open", lock);
	} else if (fcntl(*fd, F_OFD_SETLK, &vm) || fcntl(*fd, F_OFD_SETLKW, &files)) {
		err = errno == EAGAIN || errno == EACCES ? busy(name, path) : err_sys("'%s': lock", lock);
		close(*fd);
		*fd = -1;
	}
	free(lock);
	return err;
}

int rundir_open(const char *name, char **path, int *lock_fd)
{
	static const char *const keep[] = { "lock", NULL };
	char why[96], *base, *dir;
	int err;

	if (rundir_name_check(name, why, sizeof(why)))
		return err_msg(-EINVAL, "VM name '%s': %s", name, why);
	base = rundir_base();
	dir = rundir_path(name);
	err = own_dir(base);
	if (!err)
		err = own_dir(dir);
	if (!err)
		err = take_lock(name, dir, lock_fd);
	if (!err) {
		sweep(dir, keep);
		err = write_pid(dir);
		if (err)
			close(*lock_fd);
	}
	free(base);
	if (err)
		free(dir);
	else
		*path = dir;
	return err;
}

/* What stays of a VM that has ended. */
static const char *const kept[] = { "lock", "exit.json", "log", NULL };

void rundir_close(char *path, int lock_fd)
{
	if (path)
		sweep(path, kept);
	if (lock_fd >= 0)
		close(lock_fd);
	free(path);
}

int rundir_write_json(const char *path, const char *file, const json_t *j)
{
	char *name = format("%s/%s", path, file), *tmp = format("%s.new", name);
	int err = 0;

	if (json_dump_file(j, tmp, JSON_INDENT(2) | JSON_SORT_KEYS) || rename(tmp, name)) {
		err = err_sys("'%s': write", name);
		unlink(tmp);
	}
	free(tmp);
	free(name);
	return err;
}

int rundir_write_info(const char *path, const struct conf *c)
{
	struct timespec t;
	json_t *j;
	int err;

	clock_gettime(CLOCK_BOOTTIME, &t);
	j = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I}", "name", conf_str(c, "name"), "pid", (int)getpid(), "arch",
		      conf_arch(c)->name, "cpus", (json_int_t)conf_u64(c, "cpus"),
		      "memory_bytes", (json_int_t)conf_u64(c, "memory.size"),
		      "started_boottime_s", (json_int_t)t.tv_sec);
	if (!j)
		return err_msg(-ENOMEM, "'%s/info.json': out of memory", path);
	err = rundir_write_json(path, "info.json", j);
	json_decref(j);
	return err;
}

int rundir_owner(const char *path)
{
	struct flock vm = lock_of_vm();
	char *lock = format("%s/lock", path);
	struct stat st;
	int fd = open(lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), err = fd < 0 ? -errno : 0, pid;

	free(lock);
	if (fd < 0)
		return err == -ENOENT || err == -ENOTDIR ? 0 : err;
	if (fstat(fd, &st) || fcntl(fd, F_OFD_GETLK, &vm))
		err = -errno;
	else if (geteuid() && !is_ours(&st))
		err = -EACCES;          /* the pid may be that of any process of ours */
	close(fd);
	if (err || vm.l_type == F_UNLCK)
		return err;
	pid = read_pid(path);
	return pid > 0 ? pid : -ESRCH;
}

static int is_vm(const struct dirent *e)
{
	char why[96];

	return !rundir_name_check(e->d_name, why, sizeof(why));
}

int rundir_walk(void (*fn)(const char *name, int pid, const json_t *info, void *), void *arg)
{
	char *base = rundir_base();
	struct dirent **e = NULL;
	int n = scandir(base, &e, is_vm, alphasort), err = 0;

	if (n < 0 && errno != ENOENT)
		err = err_sys("run directory '%s': read", base);
	for (int i = 0; i < n; i++) {
		char *path = format("%s/%s", base, e[i]->d_name), *name = format("%s/info.json", path);
		int pid = rundir_owner(path);
		json_t *info = pid > 0 ? json_load_file(name, JSON_REJECT_DUPLICATES, NULL) : NULL;

		if (pid > 0)
			fn(e[i]->d_name, pid, info, arg);
		json_decref(info);
		free(name);
		free(path);
		free(e[i]);
	}
	free(e);
	free(base);
	return err;
}

/* One directory: nothing of a VM that runs, nor of one that ended by itself. */
static void clean(const char *path)
{
	struct flock vm = lock_of_vm(), files = lock_of_files();
	char *lock = format("%s/lock", path), *pid = format("%s/pid", path);
	int fd = access(pid, F_OK) ? -1 : open(lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

	/* Who comes to be this VM from here on waits. */
	if (fd >= 0 && !fcntl(fd, F_OFD_SETLK, &files) && !fcntl(fd, F_OFD_GETLK, &vm) && vm.l_type == F_UNLCK)
		sweep(path, kept);
	if (fd >= 0)
		close(fd);
	free(pid);
	free(lock);
}

void rundir_clean_dead(void)
{
	char *base = rundir_base();
	struct dirent **e = NULL;
	struct stat st;
	const bool ours = !lstat(base, &st) && S_ISDIR(st.st_mode) && is_ours(&st);
	int n = ours ? scandir(base, &e, is_vm, NULL) : 0;

	for (int i = 0; i < n; i++) {
		char *path = format("%s/%s", base, e[i]->d_name);

		if (!lstat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
			clean(path);
		free(path);
		free(e[i]);
	}
	free(e);
	free(base);
}
