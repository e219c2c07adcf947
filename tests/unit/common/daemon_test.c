#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static char top[64], pidfile[96];

static void use_top(void)
{
	strcpy(top, "/tmp/skep-daemon-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(pidfile, sizeof(pidfile), "%s/pid", top);
}

static void drop_top(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

static void put(const char *text)
{
	FILE *f = fopen(pidfile, "w");

	fputs(text, f);
	fclose(f);
}

static int held(void)
{
	FILE *f = fopen(pidfile, "r");
	int pid = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%d\n", &pid), 1);
	fclose(f);
	return pid;
}

static int write_quietly(void)
{
	int err;

	capture_start(&cap, 2);
	err = pidfile_write(pidfile);
	capture_stop(&cap);
	return err;
}

START_TEST(test_pidfile)
{
	char text[32];
	struct stat st;
	pid_t dead;

	use_top();
	ck_assert_int_eq(pidfile_write(pidfile), 0);
	ck_assert_int_eq(held(), getpid());
	ck_assert(!stat(pidfile, &st) && (st.st_mode & 07777) == 0644);
	ck_assert_int_eq(pidfile_write(pidfile), 0);            /* our own */
	put("");
	ck_assert_int_eq(pidfile_write(pidfile), 0);
	dead = fork();
	if (!dead)
		_exit(0);
	ck_assert_int_eq(waitpid(dead, NULL, 0), dead);
	snprintf(text, sizeof(text), "%d\n", (int)dead);
	put(text);
	pidfile_remove(pidfile);                                /* not ours */
	ck_assert_int_eq(held(), dead);
	ck_assert_int_eq(pidfile_write(pidfile), 0);
	ck_assert_int_eq(held(), getpid());
	pidfile_remove(pidfile);
	ck_assert_int_eq(access(pidfile, F_OK), -1);
	pidfile_remove(pidfile);
	drop_top();
}
END_TEST

START_TEST(test_pidfile_refusals)
{
	static const char *const no_number[] = { "x\n", "0\n", "-1\n", "12 13\n", "1\nmore\n", "99999999999999\n", " 1\n" };
	char text[32], want[256];

	use_top();
	snprintf(text, sizeof(text), "%d\n", (int)getppid());
	put(text);
	ck_assert_int_eq(write_quietly(), -EBUSY);
	snprintf(want, sizeof(want), "skep: pidfile '%s': process %d, which it names, is alive; end that, or name another file\n",
		 pidfile, (int)getppid());
	ck_assert_str_eq(cap.text, want);
	snprintf(want, sizeof(want), "skep: pidfile '%s': there is something else of that name; remove it, or name another file\n", pidfile);
	for (size_t i = 0; i < NELEM(no_number); i++) {
		put(no_number[i]);
		ck_assert_msg(write_quietly() == -EINVAL, "%s", no_number[i]);
		ck_assert_str_eq(cap.text, want);
	}
	unlink(pidfile);
	ck_assert_int_eq(mkdir(pidfile, 0700), 0);
	ck_assert_int_eq(write_quietly(), -EINVAL);
	ck_assert_str_eq(cap.text, want);
	ck_assert_int_eq(rmdir(pidfile), 0);
	ck_assert_int_eq(mkfifo(pidfile, 0600), 0);             /* and nobody waits for a writer */
	ck_assert_int_eq(write_quietly(), -EINVAL);
	snprintf(pidfile, sizeof(pidfile), "%s/no/pid", top);
	ck_assert_int_eq(write_quietly(), -ENOENT);
	snprintf(want, sizeof(want), "skep: pidfile '%s': create: No such file or directory\n", pidfile);
	ck_assert_str_eq(cap.text, want);
	drop_top();
}
END_TEST

/* What the parent hears of a child that ends before it is ready. */
static int status_of(int code, int sig)
{
	int fd, status = -1, r;

	capture_start(&cap, 2);
	r = daemon_split(&fd, &status);
	if (!r) {
		if (sig)
			raise(sig);
		_exit(code);
	}
	capture_stop(&cap);
	ck_assert_int_eq(r, 1);
	return status;
}

START_TEST(test_refused)
{
	ck_assert_int_eq(status_of(1, 0), 1);
	ck_assert_int_eq(status_of(0, 0), 0);
	ck_assert_str_eq(cap.text, "");
	ck_assert_int_eq(status_of(0, SIGKILL), STATUS_FAILED);
	ck_assert_str_eq(cap.text, "skep: the VM's process was ended by signal 9 before the VM was there\n");
}
END_TEST

static bool is_null(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

static void background(int fd, int tell, const char *log)
{
	struct stat a, b;
	char ok = 'y';

	if (log_open(log) || daemon_ready(fd) || getsid(0) != getpid() || !is_null(0) || !is_null(1))
		ok = 'n';
	if (stat(log, &a) || fstat(2, &b) || a.st_ino != b.st_ino || a.st_dev != b.st_dev)
		ok = 'f';
	err_msg(-EIO, "said once");
	fprintf(stderr, "no message\n");
	if (write(tell, &ok, 1) != 1)
		_exit(1);
	_exit(0);
}

START_TEST(test_ready)
{
	char log[96], text[256] = "", c;
	int fd, status = -1, tell[2], r;

	use_top();
	snprintf(log, sizeof(log), "%s/log", top);
	ck_assert_int_eq(pipe(tell), 0);
	capture_start(&cap, 2);
	r = daemon_split(&fd, &status);
	if (!r)
		background(fd, tell[1], log);
	ck_assert_int_eq(read(tell[0], &c, 1), 1);
	capture_stop(&cap);
	ck_assert_int_eq(r, 1);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(c, 'y');
	ck_assert_str_eq(cap.text, "");
	fd = open(log, O_RDONLY);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	ck_assert_ptr_nonnull(strstr(text, " error skep: said once\nno message\n"));
	ck_assert_ptr_null(strstr(strstr(text, "said once") + 1, "said once"));
	close(fd);
	close(tell[0]);
	close(tell[1]);
	while (waitpid(-1, NULL, 0) > 0)
		;
	drop_top();
}
END_TEST

/* Whoever asked is gone: there is nobody to be in the background of. */
START_TEST(test_caller_gone)
{
	int p[2], status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGPIPE, SIG_IGN);
		if (pipe(p))
			_exit(2);
		close(p[0]);
		_exit(daemon_ready(p[1]) == -EPIPE ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
}
END_TEST

UNIT_MAIN("common/daemon", test_pidfile, test_pidfile_refusals, test_refused, test_ready, test_caller_gone)
