/* Settings that wait for a VM's next start: written by one process, used once by another, and never lost on the way. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/pending.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static char top[64];

static void use_top(void)
{
	strcpy(top, "/tmp/skep-pending-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	setenv("XDG_STATE_HOME", top, 1);
}

static void drop_top(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
}

static const char *file(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/skep/vm1/%s", top, name);
	return path;
}

static bool exists(const char *name)
{
	return !access(file(name), F_OK);
}

/* Keys and values in pairs, NULL at the end. */
static struct conf *make(const char *const *settings)
{
	struct conf *c = conf_new();

	for (; *settings; settings += 2)
		ck_assert_int_eq(conf_set(c, settings[0], settings[1], "test"), 0);
	return c;
}
#define MAKE(...) make((const char *const[]){ __VA_ARGS__, NULL })

static void leave(enum pending_kind kind, struct conf *c)
{
	ck_assert_int_eq(pending_write("vm1", kind, c), 0);
	conf_free(c);
}

static void is(const struct conf *c, const char *key, const char *want)
{
	const char *got = conf_raw(c, key);

	ck_assert_msg(got && want ? !strcmp(got, want) : got == want, "%s: '%s', not '%s'", key, got ? got : "(unset)",
		want ? want : "(unset)");
}

START_TEST(test_write_read_clear)
{
	struct conf *c;

	use_top();
	ck_assert_int_eq(pending_read("vm1", PENDING_ONCE, &c), 0);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(pending_clear("vm1", PENDING_ONCE), 0);
	leave(PENDING_ONCE, MAKE("kernel", "/k%%x", "loader.env.0", "a=b c"));
	ck_assert(exists("nextboot.conf") && !exists("bhyveload.conf"));
	ck_assert_int_eq(pending_read("vm1", PENDING_ONCE, &c), 0);
	is(c, "kernel", "/k%x");
	is(c, "loader.env.0", "a=b c");
	conf_free(c);
	ck_assert_int_eq(pending_read("vm1", PENDING_LOAD, &c), 0);
	ck_assert_ptr_null(c);
	ck_assert_int_eq(pending_clear("vm1", PENDING_ONCE), 1);
	ck_assert(!exists("nextboot.conf"));
	drop_top();
}
END_TEST

START_TEST(test_nothing)
{
	struct conf *base = MAKE("kernel", "/k"), *use = base;
	struct pending p = { .base = NULL };

	use_top();
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), 0);
	ck_assert_ptr_eq(use, base);
	ck_assert(!pending_dismiss(&p, "vm1", &use));
	pending_started(&p, "vm1");
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	ck_assert_ptr_eq(use, base);
	pending_free(&p);
	conf_free(base);
	drop_top();
}
END_TEST

START_TEST(test_once)
{
	struct conf *base = MAKE("kernel", "/k", "append", "-v", "module.0", "/a", "module.1", "/b", "loader.env.0",
		"x=1", "loader.env.3", "y=1");
	struct conf *use = base;
	struct pending p = { .base = NULL };

	use_top();
	leave(PENDING_ONCE, MAKE("kernel", "/test", "module.0", "/c", "loader.env.0", "x=2", "loader.env.1", "z=100%%"));
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), 0);
	ck_assert_ptr_ne(use, base);
	is(use, "kernel", "/test");
	is(use, "append", "-v");
	is(use, "module.0", "/c");
	is(use, "module.1", NULL);
	is(use, "loader.env.0", "x=1");
	is(use, "loader.env.3", "y=1");
	is(use, "loader.env.4", "x=2");
	is(use, "loader.env.5", "z=100%");
	is(base, "kernel", "/k");
	ck_assert(exists("nextboot.conf"));     /* not before the guest runs */
	pending_started(&p, "vm1");
	ck_assert(!exists("nextboot.conf"));
	is(use, "kernel", "/test");
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	ck_assert_ptr_eq(use, base);
	/* for a later start, modules stay */
	leave(PENDING_ONCE, MAKE("loader.env.0", "x=3"));
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	is(use, "kernel", "/k");
	is(use, "module.1", "/b");
	is(use, "loader.env.4", "x=3");
	pending_free(&p);
	ck_assert(exists("nextboot.conf"));     /* never started */
	conf_free(base);
	drop_top();
}
END_TEST

START_TEST(test_dismiss)
{
	struct conf *base = MAKE("kernel", "/k"), *use = base;
	struct pending p = { .base = NULL };

	use_top();
	leave(PENDING_ONCE, MAKE("kernel", "/gone"));
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	is(use, "kernel", "/gone");
	ck_assert(pending_dismiss(&p, "vm1", &use));
	ck_assert_ptr_eq(use, base);
	ck_assert(!exists("nextboot.conf"));
	pending_free(&p);
	conf_free(base);
	drop_top();
}
END_TEST

/* What was written after the start had read its settings is for the next. */
START_TEST(test_written_meanwhile)
{
	struct conf *base = MAKE("kernel", "/k"), *use = base;
	struct pending p = { .base = NULL };

	use_top();
	leave(PENDING_ONCE, MAKE("kernel", "/one"));
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), 0);
	leave(PENDING_ONCE, MAKE("kernel", "/two"));
	pending_started(&p, "vm1");
	ck_assert(exists("nextboot.conf"));
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	is(use, "kernel", "/two");
	pending_started(&p, "vm1");
	ck_assert(!exists("nextboot.conf"));
	pending_free(&p);
	conf_free(base);
	drop_top();
}
END_TEST

/* bhyveload's is for a run that has nothing to boot, for all its starts, and for one run. */
START_TEST(test_load)
{
	struct conf *base = MAKE("kernel", "/k"), *use = base;
	struct pending p = { .base = NULL };

	use_top();
	leave(PENDING_LOAD, MAKE("loader.hostdir", "/dir", "loader.env.0", "a=b"));
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), 0);
	is(use, "loader.hostdir", NULL);
	pending_started(&p, "vm1");
	ck_assert(exists("bhyveload.conf"));
	pending_free(&p);
	conf_free(base);

	base = use = MAKE("loader.env.0", "x=y");
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, false), 0);
	ck_assert_ptr_eq(use, base);
	is(base, "loader.hostdir", "/dir");
	is(base, "loader.env.0", "x=y");
	is(base, "loader.env.1", "a=b");
	pending_started(&p, "vm1");
	ck_assert(!exists("bhyveload.conf"));
	ck_assert_int_eq(pending_again(&p, "vm1", &use), 0);
	is(use, "loader.hostdir", "/dir");
	pending_free(&p);
	conf_free(base);
	drop_top();
}
END_TEST

START_TEST(test_strange_files)
{
	struct conf *base = MAKE("kernel", "/k"), *use = base;
	struct pending p = { .base = NULL };
	char path[256];
	FILE *f;

	use_top();
	leave(PENDING_ONCE, MAKE("kernel", "/one"));
	snprintf(path, sizeof(path), "%s", file("nextboot.conf"));
	f = fopen(path, "w");
	fputs("kernel=/x\ncolour=red\n", f);
	fclose(f);
	capture_start(&cap, 2);
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), -EINVAL);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "nextboot.conf:2: unknown key 'colour'"));
	ck_assert_ptr_eq(use, base);
	pending_free(&p);
	unlink(path);
	ck_assert_int_eq(symlink("/etc/passwd", path), 0);
	capture_start(&cap, 2);
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), -ELOOP);
	capture_stop(&cap);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	capture_start(&cap, 2);
	ck_assert_int_eq(pending_begin(&p, "vm1", &use, true), -EPERM);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "this is not a file skep has written; remove it"));
	pending_free(&p);
	conf_free(base);
	drop_top();
}
END_TEST

UNIT_MAIN("common/pending", test_write_read_clear, test_nothing, test_once, test_dismiss, test_written_meanwhile,
	test_load, test_strange_files)
