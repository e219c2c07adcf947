#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "common/statedir.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static char top[64], state[96];

static void use_top(void)
{
	strcpy(top, "/tmp/skep-state-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(state, sizeof(state), "%s/not/yet", top);
	setenv("XDG_STATE_HOME", state, 1);
}

static void drop_top(void)
{
	char cmd[200];

	snprintf(cmd, sizeof(cmd), "chmod -R u+w %s; rm -rf %s", top, top);
	ck_assert_int_eq(system(cmd), 0);
}

static const char *at(const char *file)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", top, file);
	return path;
}

/* Files below top, dot files included. */
static int count_files(void)
{
	char cmd[128];
	int n = -1;

	snprintf(cmd, sizeof(cmd), "find %s -type f | wc -l", top);
	FILE *f = popen(cmd, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

START_TEST(test_path)
{
	char out[PATH_MAX], want[200];

	use_top();
	ck_assert_int_eq(statedir_path("vm1", out, sizeof(out)), 0);
	snprintf(want, sizeof(want), "%s/skep/vm1", state);
	ck_assert_str_eq(out, want);
	ck_assert_int_ne(access(state, F_OK), 0);
	setenv("XDG_STATE_HOME", "relative", 1);        /* to be ignored, says the specification */
	setenv("HOME", "/home/me", 1);
	ck_assert_int_eq(statedir_path("vm1", out, sizeof(out)), 0);
	ck_assert_str_eq(out, geteuid() ? "/home/me/.local/state/skep/vm1" : "/var/lib/skep/vm1");
	drop_top();
}

START_TEST(test_path_refusals)
{
	char out[PATH_MAX];

	use_top();
	capture_start(&cap, 2);
	int bad = statedir_path("../x", out, sizeof(out)), small = statedir_path("vm1", out, 8);
	capture_stop(&cap);
	ck_assert_int_eq(bad, -EINVAL);
	ck_assert_int_eq(small, -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(cap.text, "'../x': a name"));
	ck_assert_ptr_nonnull(strstr(cap.text, "set XDG_STATE_HOME"));
	drop_top();
}

START_TEST(test_make)
{
	char out[PATH_MAX];
	struct stat st;

	use_top();
	ck_assert_int_eq(statedir_make("vm1", out, sizeof(out)), 0);
	ck_assert_int_eq(stat(out, &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_assert_int_eq(statedir_make("vm1", out, sizeof(out)), 0);
	ck_assert_int_eq(chmod(out, 0777), 0);
	capture_start(&cap, 2);
	int err = statedir_make("vm1", out, sizeof(out));
	capture_stop(&cap);
	ck_assert_int_eq(err, -EPERM);
	ck_assert_ptr_nonnull(strstr(cap.text, "others own it or may write to it"));
	ck_assert_int_eq(rmdir(out), 0);
	ck_assert_int_eq(symlink("/tmp", out), 0);
	capture_start(&cap, 2);
	err = statedir_make("vm1", out, sizeof(out));
	capture_stop(&cap);
	ck_assert_int_eq(err, -ENOTDIR);
	drop_top();
}

START_TEST(test_write)
{
	static char data[2000000], got[2000001];
	struct stat st;

	use_top();
	data[0] = 'a';
	data[1500000] = 'b';
	data[sizeof(data) - 1] = 'c';
	for (size_t len = 0; len <= sizeof(data); len += sizeof(data) / 2) {
		ck_assert_int_eq(statedir_write(at("file"), data, len), 0);
		FILE *f = fopen(at("file"), "r");
		ck_assert_ptr_nonnull(f);
		ck_assert_uint_eq(fread(got, 1, sizeof(got), f), len);
		ck_assert_int_eq(memcmp(got, data, len), 0);
		fclose(f);
		ck_assert_int_eq(stat(at("file"), &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, 0600);
		ck_assert_int_eq(count_files(), 1);
		ck_assert_int_ge(st.st_blocks * 512, (long)MIN(len, MIB(1)));
	}
	ck_assert_int_lt(st.st_blocks * 512, (long)sizeof(data));      /* padding costs nothing */
	drop_top();
}

/* A write that fails half-way leaves the old content and no other file. */
START_TEST(test_write_fails)
{
	static char data[65536 * 4];
	struct rlimit old, low = { 65536 * 2, 65536 * 2 };
	char got[8] = "";

	use_top();
	memset(data, 'x', sizeof(data));
	ck_assert_int_eq(statedir_write(at("file"), "old", 3), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	low.rlim_max = old.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
	capture_start(&cap, 2);
	int err = statedir_write(at("file"), data, sizeof(data));
	capture_stop(&cap);
	setrlimit(RLIMIT_FSIZE, &old);
	ck_assert_int_eq(err, -EFBIG);
	ck_assert_ptr_nonnull(strstr(cap.text, "/file': 262144 bytes cannot be written, and XDG_STATE_HOME may name another place: "
				     "File too large"));
	FILE *f = fopen(at("file"), "r");
	ck_assert_uint_eq(fread(got, 1, sizeof(got), f), 3);
	fclose(f);
	ck_assert_str_eq(got, "old");
	ck_assert_int_eq(count_files(), 1);
	capture_start(&cap, 2);
	err = statedir_write(at("no/such/dir"), "x", 1);
	capture_stop(&cap);
	ck_assert_int_eq(err, -ENOENT);
	drop_top();
}

UNIT_MAIN("common/statedir", test_path, test_path_refusals, test_make, test_write, test_write_fails)
