#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/arch.h"
#include "common/conf.h"
#include "common/rundir.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static char top[64];

static void use_top(void)
{
	strcpy(top, "/tmp/skep-rundir-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	setenv("XDG_RUNTIME_DIR", top, 1);
}

static void drop_top(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

static char *at(const char *file)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/skep/%s", top, file);
	return path;
}

static bool exists(const char *file)
{
	return !access(at(file), F_OK);
}

static void touch(const char *file)
{
	int fd = open(at(file), O_CREAT | O_WRONLY, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static int open_quietly(const char *name, char **path, int *fd)
{
	int err;

	capture_start(&cap, 2);
	err = rundir_open(name, path, fd);
	capture_stop(&cap);
	return err;
}

START_TEST(test_names)
{
	static const char *const good[] = { "a", "vm1", "A.b_c-d", "0", "x.",
		"012345678901234567890123456789012345678901234567890123456789abc" };
	static const struct { const char *name, *why; } bad[] = {
		{ "", "a name has 1 to 63 characters" },
		{ "0123456789012345678901234567890123456789012345678901234567890123", "a name has 1 to 63 characters" },
		{ ".", "a name does not begin with '.' or '-'" }, { "..", "a name does not begin with '.' or '-'" },
		{ "-a", "a name does not begin with '.' or '-'" }, { "a/b", "a name is made of letters, digits, '.', '_' and '-'" },
		{ "a b", "a name is made of letters, digits, '.', '_' and '-'" },
		{ "a\n", "a name is made of letters, digits, '.', '_' and '-'" },
		{ "\xc3\xa4", "a name is made of letters, digits, '.', '_' and '-'" },
	};
	char why[96];

	for (size_t i = 0; i < NELEM(good); i++)
		ck_assert_msg(!rundir_name_check(good[i], why, sizeof(why)), "%s", good[i]);
	for (size_t i = 0; i < NELEM(bad); i++) {
		ck_assert_msg(rundir_name_check(bad[i].name, why, sizeof(why)) == -EINVAL, "%s", bad[i].name);
		ck_assert_str_eq(why, bad[i].why);
	}
}
END_TEST

START_TEST(test_base)
{
	char own[64], *p;

	setenv("XDG_RUNTIME_DIR", "/run/other", 1);
	p = rundir_path("vm1");
	ck_assert_str_eq(p, "/run/other/skep/vm1");
	free(p);
	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	p = rundir_base();
	ck_assert_str_eq(p, geteuid() ? "/run/user/7/skep" : "/run/skep");
	free(p);
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	p = rundir_base();
	snprintf(own, sizeof(own), geteuid() ? "/tmp/skep-%u" : "/run/skep", (unsigned)geteuid());
	ck_assert_str_eq(p, own);
	free(p);
	unsetenv("XDG_RUNTIME_DIR");
	p = rundir_base();
	ck_assert_str_eq(p, own);
	free(p);
}
END_TEST

START_TEST(test_life)
{
	struct stat st;
	char *path;
	int fd;

	use_top();
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert_str_eq(path, at("vm1"));
	ck_assert(!stat(path, &st) && (st.st_mode & 0777) == 0700);
	ck_assert(exists("vm1/lock") && exists("vm1/pid"));
	ck_assert_int_eq(rundir_owner(path), getpid());
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	touch("vm1/control");
	touch("vm1/exit.json");
	touch("vm1/log");
	rundir_close(path, fd);
	ck_assert(!exists("vm1/control") && !exists("vm1/pid"));
	ck_assert(exists("vm1/exit.json") && exists("vm1/log"));
	ck_assert_int_eq(rundir_owner(at("vm1")), 0);
	ck_assert_int_eq(rundir_owner(at("nosuch")), 0);

	touch("vm1/com1.sock");
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);            /* takes over what is left */
	ck_assert(!exists("vm1/com1.sock") && !exists("vm1/exit.json"));
	rundir_close(path, fd);
	rundir_close(NULL, -1);
	drop_top();
}
END_TEST

START_TEST(test_busy)
{
	char *path, *second, want[160];
	int fd, fd2;

	use_top();
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert_int_eq(open_quietly("vm1", &second, &fd2), -EBUSY);
	snprintf(want, sizeof(want), "skep: a VM named 'vm1' is running (pid %d): choose another name or end it first\n",
		(int)getpid());
	ck_assert_str_eq(cap.text, want);
	ck_assert(exists("vm1/pid"));
	ck_assert_int_eq(rundir_open("vm2", &second, &fd2), 0);
	rundir_close(second, fd2);
	unlink(at("vm1/pid"));
	ck_assert_int_eq(open_quietly("vm1", &second, &fd2), -EBUSY);
	ck_assert_str_eq(cap.text, "skep: a VM named 'vm1' is running: choose another name or end it first\n");
	rundir_close(path, fd);
	drop_top();
}
END_TEST

START_TEST(test_dead_owner)
{
	char *path;
	int fd, status;
	pid_t pid;

	use_top();
	pid = fork();
	if (!pid)
		_exit(rundir_open("vm1", &path, &fd) ? 1 : 0);
	ck_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
	ck_assert(exists("vm1/pid"));
	ck_assert_int_eq(rundir_owner(at("vm1")), 0);
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert_int_eq(rundir_owner(path), getpid());
	rundir_close(path, fd);
	drop_top();
}
END_TEST

/* A child that is the VM and dies without a word. */
static void die_as(const char *name)
{
	char *path;
	int fd, status;
	pid_t pid = fork();

	if (!pid)
		_exit(rundir_open(name, &path, &fd) ? 1 : 0);
	ck_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status));
}

START_TEST(test_clean)
{
	char *path;
	int fd;

	use_top();
	rundir_clean_dead();                    /* no directory yet */
	die_as("dead");
	touch("dead/control");
	touch("dead/com1.sock");
	touch("dead/info.json");
	touch("dead/log");
	touch("dead/exit.json");
	die_as("other");
	ck_assert_int_eq(rundir_open("alive", &path, &fd), 0);
	touch("alive/control");
	/* One that ended by itself has no pid; what somebody puts there later is none of ours. */
	ck_assert_int_eq(mkdir(at("ended"), 0700), 0);
	touch("ended/lock");
	touch("ended/notes");
	touch("stray");
	ck_assert_int_eq(symlink("alive", at("link")), 0);
	ck_assert_int_eq(chmod(at(""), 0777), 0);
	rundir_clean_dead();                    /* somebody else may have put there what looks dead */
	ck_assert(exists("dead/control"));
	ck_assert_int_eq(chmod(at(""), 0700), 0);
	rundir_clean_dead();
	ck_assert(!exists("dead/control") && !exists("dead/com1.sock") && !exists("dead/info.json") && !exists("dead/pid"));
	ck_assert(exists("dead/log") && exists("dead/exit.json") && exists("dead/lock"));
	ck_assert(!exists("other/pid"));
	ck_assert(exists("alive/control") && exists("alive/pid"));
	ck_assert(exists("ended/notes") && exists("stray"));
	rundir_close(path, fd);
	drop_top();
}
END_TEST

/* Holds the lock of who cleans until another process has come to be the VM; that one must not have touched anything by then. */
static int cleaner(int ready)
{
	struct flock files = { .l_type = F_WRLCK, .l_len = 1 }, vm = { .l_type = F_WRLCK, .l_start = 1 };
	int fd = open(at("vm1/lock"), O_RDWR);

	if (fd < 0 || fcntl(fd, F_OFD_SETLK, &files) || rundir_owner(at("vm1")) != 0 || write(ready, "", 1) != 1)
		return 1;
	do {
		vm = (struct flock){ .l_type = F_WRLCK, .l_start = 1 };
		sched_yield();
	} while (!fcntl(fd, F_OFD_GETLK, &vm) && vm.l_type == F_UNLCK);
	return exists("vm1/control") ? 0 : 2;
}

START_TEST(test_clean_meets_start)
{
	int ready[2], fd, status;
	char c, *path;
	pid_t pid;

	use_top();
	die_as("vm1");
	touch("vm1/control");
	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (!pid)
		_exit(cleaner(ready[1]));
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	rundir_clean_dead();                    /* another one cleans: nothing happens */
	ck_assert(exists("vm1/control"));
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), 0);
	ck_assert(!exists("vm1/control"));
	ck_assert_int_eq(rundir_owner(path), getpid());
	rundir_clean_dead();
	ck_assert(exists("vm1/pid"));
	rundir_close(path, fd);
	close(ready[0]);
	close(ready[1]);
	drop_top();
}
END_TEST

/* What another user has put where our machines are names one of our processes, which nobody must end for it. */
START_TEST(test_foreign)
{
	char *path;
	int fd, status;
	pid_t pid;

	use_top();
	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert_int_eq(chmod(at("vm1/lock"), 0666), 0);       /* root is told all the same */
	ck_assert_int_eq(rundir_owner(path), geteuid() ? -EACCES : getpid());
	ck_assert_int_eq(chmod(at("vm1/lock"), 0644) || chmod(path, 0755) || chmod(at(""), 0755) || chmod(top, 0755), 0);
	pid = geteuid() ? 0 : fork();
	if (!pid && !geteuid())
		_exit(seteuid(65534) || rundir_owner(path) != -EACCES);
	ck_assert(!pid || (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status)));
	ck_assert_int_eq(rundir_owner(path), getpid());
	rundir_close(path, fd);
	drop_top();
}
END_TEST

START_TEST(test_refusals)
{
	char *path, want[400];
	int fd;

	use_top();
	ck_assert_int_eq(open_quietly("../x", &path, &fd), -EINVAL);
	ck_assert_str_eq(cap.text, "skep: VM name '../x': a name does not begin with '.' or '-'\n");
	ck_assert_int_eq(mkdir(at(""), 0700), 0);
	touch("vm1");
	ck_assert_int_eq(open_quietly("vm1", &path, &fd), -ENOTDIR);
	snprintf(want, sizeof(want), "skep: run directory '%s': something else has this name; remove it\n", at("vm1"));
	ck_assert_str_eq(cap.text, want);
	ck_assert_int_eq(mkdir(at("vm2"), 0700) || chmod(at("vm2"), 0770), 0);
	ck_assert_int_eq(open_quietly("vm2", &path, &fd), -EPERM);
	snprintf(want, sizeof(want), "skep: run directory '%s': others own it or may write to it; remove it or set "
		"XDG_RUNTIME_DIR\n", at("vm2"));
	ck_assert_str_eq(cap.text, want);
	ck_assert_int_eq(symlink("/tmp", at("vm3")), 0);
	ck_assert_int_eq(open_quietly("vm3", &path, &fd), -ENOTDIR);
	drop_top();
	ck_assert_int_eq(open_quietly("vm1", &path, &fd), -ENOENT);
	snprintf(want, sizeof(want), "skep: run directory '%s/skep': create: No such file or directory\n", top);
	ck_assert_str_eq(cap.text, want);
}
END_TEST

static void collect(const char *name, int pid, const json_t *info, void *arg)
{
	ck_assert_int_eq(pid, getpid());
	snprintf((char *)arg + strlen(arg), 128, "%s:%s ", name, info ? json_string_value(json_object_get(info, "arch")) : "-");
}

START_TEST(test_info_and_walk)
{
	struct conf *c = conf_new();
	char *path[2], seen[512] = "";
	int fd[2];

	use_top();
	ck_assert_int_eq(rundir_walk(collect, seen), 0);
	ck_assert_str_eq(seen, "");
	ck_assert_int_eq(rundir_open("b", &path[0], &fd[0]), 0);
	ck_assert_int_eq(rundir_open("a", &path[1], &fd[1]), 0);
	touch("stray");
	ck_assert_int_eq(mkdir(at("dead"), 0700), 0);
	ck_assert_int_eq(mkdir(at(".nmdm"), 0700), 0);
	conf_set(c, "name", "b", "t");
	conf_set(c, "arch", "arm64", "t");
	ck_assert_int_eq(rundir_write_info(path[0], c), 0);
	ck_assert_int_eq(rundir_walk(collect, seen), 0);
	ck_assert_str_eq(seen, "a:- b:arm64 ");
	rundir_close(path[0], fd[0]);
	seen[0] = 0;
	ck_assert_int_eq(rundir_walk(collect, seen), 0);
	ck_assert_str_eq(seen, "a:- ");
	rundir_close(path[1], fd[1]);
	conf_free(c);
	drop_top();
}
END_TEST

START_TEST(test_write_json_fails_whole)
{
	json_t *j = json_object();

	capture_start(&cap, 2);
	ck_assert_int_lt(rundir_write_json("/nonexistent", "exit.json", j), 0);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: '/nonexistent/exit.json': write: No such file or directory\n");
	json_decref(j);
}
END_TEST

UNIT_MAIN("common/rundir", test_names, test_base, test_life, test_busy, test_dead_owner, test_clean, test_clean_meets_start, test_foreign, test_refusals, test_info_and_walk,
	  test_write_json_fails_whole)
