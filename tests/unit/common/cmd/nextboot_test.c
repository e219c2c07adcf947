/* `skep nextboot`: what it takes, what it leaves, what it refuses. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/conf.h"
#include "common/pending.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

static char top[64], cwd[512];

static void start(void)
{
	strcpy(top, "/tmp/skep-nextboot-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	setenv("XDG_STATE_HOME", top, 1);
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
}

static void stop(void)
{
	char cmd[128];

	ck_assert_int_eq(chdir(cwd), 0);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

/* Words separated by blanks. */
static int run(const char *line)
{
	return run_line("skep nextboot", line);
}

static void touch(const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void waits(const char *key, const char *want)
{
	struct conf *c;
	const char *got;

	ck_assert_int_eq(pending_read("vm1", PENDING_ONCE, &c), 0);
	got = c ? conf_raw(c, key) : NULL;
	ck_assert_msg(got && want ? !strcmp(got, want) : got == want, "%s: '%s', not '%s'", key, got ? got : "(unset)",
		want ? want : "(unset)");
	conf_free(c);
}

START_TEST(test_leaves)
{
	char want[1200], dir[600];

	start();
	ck_assert_msg(!run("--kernel host0:/boot/kernel.test/kernel -e a=b -e c=d=e --module host0:/boot/x,type=md_image --module if_re "
			   "--append -s vm1"), "%s", err.text);
	ck_assert_str_eq(out.text, "");
	waits("kernel", "host0:/boot/kernel.test/kernel");
	waits("loader.env.1", "c=d=e");
	waits("module.0", "host0:/boot/x,type=md_image");
	waits("module.1", "if_re");
	waits("append", "-s");
	waits("name", NULL);
	/* files are found from any directory, whatever that is called */
	snprintf(dir, sizeof(dir), "%s/od%%(d,dir", top);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(chdir(dir), 0);
	touch("od%(d,dir/k");
	ck_assert_msg(!run("vm1 --kernel k --initrd ./k --module k"), "%s", err.text);
	snprintf(want, sizeof(want), "%s/k", dir);
	waits("kernel", want);
	snprintf(want, sizeof(want), "%s/./k", dir);
	waits("initrd", want);
	snprintf(want, sizeof(want), "%s/od%%(d,,dir/k", top);
	waits("module.0", want);
	waits("append", NULL);          /* the whole of it is replaced */
	stop();
}
END_TEST

START_TEST(test_show_clear)
{
	struct conf *c = conf_new();

	start();
	ck_assert_int_eq(run("--show vm1"), 0);
	ck_assert_str_eq(out.text, "nothing waits for the next start of 'vm1'\n");
	ck_assert_int_eq(run("-e a=b vm1"), 0);
	conf_set(c, "loader.hostdir", "/dir", "test");
	ck_assert_int_eq(pending_write("vm1", PENDING_LOAD, c), 0);
	conf_free(c);
	ck_assert_int_eq(run("vm1 --show"), 0);
	ck_assert_str_eq(out.text, "# left by bhyveload, for a run without a kernel\nloader.hostdir=/dir\n# for the "
		"next start only\nloader.env.0=a=b\n");
	ck_assert_int_eq(run("--show vm2"), 0);
	ck_assert_str_eq(out.text, "nothing waits for the next start of 'vm2'\n");
	ck_assert_int_eq(run("--clear vm1"), 0);
	ck_assert_int_eq(run("--show vm1"), 0);
	ck_assert_str_eq(out.text, "nothing waits for the next start of 'vm1'\n");
	ck_assert_int_eq(run("--help"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "--module FILE[,type=TYPE][,args=TEXT]"));
	ck_assert_ptr_null(strstr(out.text, "--disk"));
	stop();
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *line; int status; const char *text; } rows[] = {
		{ "--kernel /tmp vm1", 1, "skep: kernel '/tmp': this is no regular file; name a file" },
		{ "vm1", 2, "skep nextboot: say what the next start is to use" },
		{ "--show --clear vm1", 2, "skep nextboot: give settings, --show or --clear: one of the three" },
		{ "--show -e a=b vm1", 2, "one of the three" },
		{ "-e a=b", 2, "the VM has no name" },
		{ "-e a=b .vm", 2, "VM name '.vm'" },
		{ "-e ab vm1", 2, "-e: loader.env.0=ab: not NAME=VALUE" },
		{ "-e =b vm1", 2, "not NAME=VALUE" },
		{ "--disk x vm1", 2, "unknown option '--disk'" },
		{ "--kernl x vm1", 2, "did you mean '--kernel'?" },
		{ "--kernel /nowhere/k vm1", 1, "kernel '/nowhere/k': No such file or directory" },
		{ "--module /nowhere/m,args=x vm1", 1, "module '/nowhere/m': No such file or directory" },
	};

	start();
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run(rows[i].line) == rows[i].status, "%s: %s", rows[i].line, err.text);
		ck_assert_msg(strstr(err.text, rows[i].text), "%s: %s", rows[i].line, err.text);
		waits("loader.env.0", NULL);
	}
	stop();
}
END_TEST

UNIT_MAIN("common/cmd/nextboot", test_leaves, test_show_clear, test_refusals)
