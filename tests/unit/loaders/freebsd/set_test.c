/* The set of a FreeBSD start: variables, module settings, boot flags, files. */
#include <errno.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture err;

static struct fbsd_set *new_set(void)
{
	return calloc(1, sizeof(struct fbsd_set));
}

START_TEST(test_variables)
{
	static const char *const names[] = { "m", "a", "z", "kern.hz", "b", "m", "a" };
	struct fbsd_set *s = new_set();

	for (size_t i = 0; i < NELEM(names); i++) {
		char value[8];

		snprintf(value, sizeof(value), "%zu", i);
		ck_assert_int_eq(fbsd_setenv(s, names[i], value), 0);
		ck_assert_str_eq(fbsd_getenv(s, names[i]), value);
	}
	ck_assert_uint_eq(s->nvars, 5);
	for (unsigned i = 1; i < s->nvars; i++)
		ck_assert_int_lt(strcmp(s->var[i - 1].name, s->var[i].name), 0);
	ck_assert_str_eq(fbsd_getenv(s, "m"), "5");
	fbsd_unsetenv(s, "m");
	fbsd_unsetenv(s, "gone");
	ck_assert_ptr_null(fbsd_getenv(s, "m"));
	ck_assert_str_eq(fbsd_getenv(s, "z"), "2");
	ck_assert_uint_eq(s->nvars, 4);
	ck_assert_int_eq(fbsd_setenv(s, "a", fbsd_getenv(s, "a")), 0);  /* of itself */
	ck_assert_str_eq(fbsd_getenv(s, "a"), "6");
	fbsd_free(s);
	fbsd_free(NULL);
}
END_TEST

START_TEST(test_module_settings)
{
	struct fbsd_set *s = new_set();

	fbsd_setting(s, "md_type", "md_image");
	fbsd_setting(s, "md_load", "yes");
	fbsd_setting(s, "if_re_load", "YES");
	fbsd_setting(s, "if_re_load", "NO");
	fbsd_setting(s, "md_name", "/boot/root");
	fbsd_setting(s, "md_flags", "-x");
	fbsd_setting(s, "md_before", "");
	fbsd_setting(s, "md_after", "echo done");
	fbsd_setting(s, "hw.a_load", "1");      /* a tunable's name has a dot */
	fbsd_setting(s, "_load", "1");
	ck_assert_uint_eq(s->nwanted, 2);
	ck_assert_uint_eq(s->nvars, 2);
	ck_assert_str_eq(s->wanted[0].key, "md");
	ck_assert(s->wanted[0].load && !s->wanted[1].load);
	ck_assert_str_eq(s->wanted[0].type, "md_image");
	ck_assert_str_eq(s->wanted[0].name, "/boot/root");
	ck_assert_str_eq(s->wanted[0].flags, "-x");
	ck_assert_str_eq(s->wanted[0].unsupported, "after");
	ck_assert_str_eq(s->wanted[1].key, "if_re");
	fbsd_free(s);
}
END_TEST

/* The values are FreeBSD's, sys/sys/reboot.h. */
START_TEST(test_flags)
{
	static const struct { const char *args; uint32_t howto; } rows[] = {
		{ "-a", 0x1 }, { "-s", 0x2 }, { "-r", 0x20 }, { "-d", 0x40 }, { "-v", 0x800 }, { "-h", 0x1000 }, { "-C", 0x2000 },
		{ "-g", 0x8000 }, { "-m", 0x10000 }, { "-p", 0x100000 }, { "-D", 0x20000000 }, { "-sv", 0x802 }, { " -s \t -v ", 0x802 },
		{ "", 0 }, { "boot_single=NO", 0 }, { "boot_single=no -v", 0x800 }, { "boot_single=", 2 }, { "boot_ddb=1", 0x40 },
		{ "console=comconsole", 0x1000 }, { "console=vidconsole", 0 }, { "console=comconsole,vidconsole", 0x20001000 },
		{ "console=vidconsole,comconsole", 0x20001000 }, { "console=nullconsole", 0x10000 }, { "console=efi", 0 },
		{ "-S9600 -v", 0x800 }, { "-vS9600", 0x800 },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		struct fbsd_set *s = new_set();

		ck_assert_int_eq(fbsd_boot_args(s, "--append", rows[i].args), 0);
		ck_assert_msg(fbsd_howto(s) == rows[i].howto, "'%s': %#x", rows[i].args, fbsd_howto(s));
		if (strstr(rows[i].args, "S9600"))
			ck_assert_str_eq(fbsd_getenv(s, "comconsole_speed"), "9600");
		fbsd_free(s);
	}
}
END_TEST

START_TEST(test_flags_wrong)
{
	static const struct { const char *args, *want; } rows[] = {
		{ "-z", "--append: '-z': FreeBSD has no boot flag 'z'" },
		{ "-s -vx", "--append: '-vx': FreeBSD has no boot flag 'x'" },
		{ "-S", "FreeBSD has no boot flag 'S'" },
		{ "-S96x", "FreeBSD has no boot flag 'S'" },
		{ "quiet", "--append: 'quiet' is neither a boot flag such as -s nor NAME=VALUE; FreeBSD's kernel has no command line: give "
			   "variables with -e NAME=VALUE" },
		{ "=x", "is neither" },
		{ "-", "is neither" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		struct fbsd_set *s = new_set();

		capture_start(&err, 2);
		ck_assert_int_eq(fbsd_boot_args(s, "--append", rows[i].args), -EINVAL);
		capture_stop(&err);
		ck_assert_msg(strstr(err.text, rows[i].want), "'%s': %s", rows[i].args, err.text);
		fbsd_free(s);
	}
}
END_TEST

static int add_file(struct fbsd_set *s, const char *name)
{
	struct fbsd_file f = { .name = strdup(name), .host = strdup(name), .args = strdup(""), .type = FBSD_TYPE_OBJ,
		.data = malloc(1), .len = 1 };
	int e = fbsd_add_file(s, &f);

	if (e) {
		free(f.name);
		free(f.host);
		free(f.args);
		free(f.data);
	}
	return e;
}

START_TEST(test_files)
{
	struct fbsd_set *s = new_set();
	uint8_t kernel[4];
	struct fbsd_file k = { .name = strdup("k"), .host = strdup("k"), .args = strdup(""), .type = FBSD_TYPE_KERNEL,
		.data = kernel, .len = 4,
			       .borrowed = true };

	ck_assert_int_eq(fbsd_add_file(s, &k), 0);      /* the sanitizer would see kernel[] being freed */
	fbsd_add_module(s, 0, "kernel", 1500000);
	for (unsigned i = 1; i < FBSD_FILES_MAX; i++) {
		ck_assert_int_eq(add_file(s, "m"), 0);
		ck_assert_int_eq(fbsd_add_module(s, i, "m", 1), 0);
	}
	capture_start(&err, 2);
	ck_assert_int_eq(add_file(s, "too-many"), -E2BIG);
	capture_stop(&err);
	ck_assert_ptr_nonnull(strstr(err.text, "'too-many': a FreeBSD kernel gets at most 128 files"));
	fbsd_drop_files(s, 3);
	ck_assert_uint_eq(s->nfiles, 3);
	ck_assert_uint_eq(s->nmodules, 3);
	fbsd_setenv(s, "a", "b");
	fbsd_unload(s);
	ck_assert_uint_eq(s->nfiles + s->nmodules, 0);
	ck_assert_str_eq(fbsd_getenv(s, "a"), "b");
	fbsd_free(s);
}
END_TEST

/* A configuration file of nothing but names must not keep skep busy. */
START_TEST(test_bounds)
{
	struct fbsd_set *s = calloc(1, sizeof(*s));
	struct fbsd_file f = { .host = (char *)"host0:/big", .len = FBSD_BYTES_MAX - 1, .borrowed = true };
	char name[32];

	for (unsigned i = 0; i < FBSD_VARS_MAX; i++) {
		snprintf(name, sizeof(name), "v%u", i);
		ck_assert_int_eq(fbsd_setting(s, name, "1"), 0);
		snprintf(name, sizeof(name), "m%u_load", i);
		ck_assert_int_eq(fbsd_setting(s, name, "NO"), 0);
	}
	capture_start(&err, 2);
	ck_assert_int_eq(fbsd_setting(s, "more", "1"), -E2BIG);
	ck_assert_int_eq(fbsd_setting(s, "more_load", "NO"), -E2BIG);
	ck_assert_int_eq(fbsd_setting(s, "v1", "2"), 0);
	ck_assert_int_eq(fbsd_setting(s, "m1_name", "x"), 0);
	ck_assert_int_eq(fbsd_add_file(s, &f), 0);
	f.len = 2;
	ck_assert_int_eq(fbsd_add_file(s, &f), -EFBIG);
	capture_stop(&err);
	ck_assert_ptr_nonnull(strstr(err.text, "skep: FreeBSD loader: 'more': there are 8192 variables already; leave some out\n"));
	ck_assert_ptr_nonnull(strstr(err.text, "'more_load': there are 8192 settings of modules already; leave some out\n"));
	ck_assert_ptr_nonnull(strstr(err.text, "'host0:/big': a FreeBSD kernel takes 1024 MiB of files at its start"));
	s->nfiles = 0;                  /* nothing in it is the set's */
	fbsd_free(s);
}
END_TEST

UNIT_MAIN("loaders/freebsd/set", test_variables, test_module_settings, test_flags, test_flags_wrong, test_files, test_bounds)
