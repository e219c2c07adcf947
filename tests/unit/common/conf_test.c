#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

/* Writes a file and reads it; the message, when there is one, is in cap.text. */
static int read_text(struct conf *c, const char *text, size_t len)
{
	char path[] = "/tmp/skep-conf-XXXXXX";
	int fd = mkstemp(path), err;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
	capture_start(&cap, 2);
	err = conf_read_file(c, path);
	capture_stop(&cap);
	unlink(path);
	return err;
}

static char *dump(const struct conf *c)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	conf_dump(c, f);
	fclose(f);
	return text;
}

START_TEST(test_set_get)
{
	struct conf *c = conf_new();

	ck_assert_ptr_null(conf_raw(c, "cpus"));
	ck_assert_uint_eq(conf_u64(c, "cpus"), 1);
	ck_assert_uint_eq(conf_u64(c, "memory.size"), MIB(256));
	ck_assert_str_eq(conf_str(c, "on_reboot"), "restart");
	ck_assert_ptr_null(conf_str(c, "kernel"));
	ck_assert(!conf_bool(c, "memory.wired"));
	ck_assert_int_eq(conf_set(c, "cpus", "4", "a"), 0);
	ck_assert_int_eq(conf_set(c, "cpus", "8", "b"), 0);
	ck_assert_int_eq(conf_set(c, "memory.wired", "YES", "b"), 0);
	ck_assert_uint_eq(conf_u64(c, "cpus"), 8);
	ck_assert_str_eq(conf_origin(c, "cpus"), "b");
	ck_assert_ptr_null(conf_origin(c, "name"));
	ck_assert(conf_bool(c, "memory.wired"));
	/* a value set to itself */
	ck_assert_int_eq(conf_set(c, "cpus", conf_raw(c, "cpus"), conf_origin(c, "cpus")), 0);
	ck_assert_str_eq(conf_raw(c, "cpus"), "8");
	conf_free(c);
	conf_free(NULL);
}
END_TEST

START_TEST(test_cpus_from_topology)
{
	struct conf *c = conf_new();

	conf_set(c, "sockets", "2", "t");
	conf_set(c, "cores", "3", "t");
	ck_assert_uint_eq(conf_u64(c, "cpus"), 6);
	conf_free(c);
}
END_TEST

START_TEST(test_key_forms)
{
	static const char *const good[] = { "a", "a.b", "pci.0.3.0.path", "A_b-c", "x86.mptable", "a.0", "v2" };
	static const char *const bad[] = { "", ".", "a.", ".a", "a..b", "a b", "a=b", "a/b", "\xc3\xa4", "pci.00.1", "pci.01.1",
		"a.b\n" };
	struct conf *c = conf_new();
	char longer[200];

	for (size_t i = 0; i < NELEM(good); i++)
		ck_assert_msg(!conf_set(c, good[i], "v", "t"), "%s", good[i]);
	capture_start(&cap, 2);
	for (size_t i = 0; i < NELEM(bad); i++)
		ck_assert_msg(conf_set(c, bad[i], "v", "t") == -EINVAL, "%s", bad[i]);
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = 0;
	ck_assert_int_eq(conf_set(c, longer, "v", "t"), -EINVAL);
	ck_assert_int_eq(conf_set(c, "a", "x\ny", "t"), -EINVAL);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "skep: t: 'a b' is not a key: keys are words of letters, digits, '_' and '-' "
		"separated by dots\n"));
	ck_assert_ptr_nonnull(strstr(cap.text, "skep: t: the value of 'a' has a line break, which no key may have\n"));
	conf_free(c);
}
END_TEST

START_TEST(test_dump_is_sorted)
{
	static const char *const keys[] = { "pci.0.10.0.device", "pci.0.9.0.device", "pci.0.10.0.path", "cpus", "pci.0.2.0.b-c",
		"pci.0.2.0.b",
					    "pci.0.2.0.b.c", "lpc.com1.path" };
	struct conf *c = conf_new();
	char *text;

	for (size_t i = 0; i < NELEM(keys); i++)
		conf_set(c, keys[i], "v", "t");
	text = dump(c);
	ck_assert_str_eq(text, "cpus=v\nlpc.com1.path=v\npci.0.2.0.b=v\npci.0.2.0.b.c=v\npci.0.2.0.b-c=v\npci.0.9.0.device=v\n"
			       "pci.0.10.0.device=v\npci.0.10.0.path=v\n");
	free(text);
	conf_free(c);
}
END_TEST

START_TEST(test_read_file)
{
	static const char text[] = "# a comment\n\n  \t\n name = vm1 \r\n\tmemory.size=1G\nappend=a=b # c,  "
		"\n#cpus=9\nkernel=%(name).img";
	struct conf *c = conf_new();
	char *out, *again;

	ck_assert_int_eq(read_text(c, text, strlen(text)), 0);
	ck_assert_str_eq(cap.text, "");
	ck_assert_str_eq(conf_str(c, "name"), "vm1");
	ck_assert_str_eq(conf_str(c, "append"), "a=b # c,");
	ck_assert_str_eq(conf_str(c, "kernel"), "vm1.img");
	ck_assert_uint_eq(conf_u64(c, "memory.size"), GIB(1));
	ck_assert_uint_eq(conf_u64(c, "cpus"), 1);
	ck_assert_ptr_nonnull(strstr(conf_origin(c, "name"), ":4"));
	out = dump(c);
	conf_free(c);

	c = conf_new();
	ck_assert_int_eq(read_text(c, out, strlen(out)), 0);
	again = dump(c);
	ck_assert_str_eq(out, again);
	free(out);
	free(again);
	conf_free(c);
}
END_TEST

START_TEST(test_bad_files)
{
	static const struct { const char *text; size_t len; const char *message; } rows[] = {
		{ "cpus=1\nnonsense\n", 16, ":2: 'nonsense' is not of the form key=value\n" },
		{ "=1\n", 3, ":1: '' is not a key" },
		{ "a b=1\n", 6, ":1: 'a b' is not a key" },
		{ "cpus=\0001\nmemory.size=1\n", 22, ":1: has a NUL byte, so this is not a configuration file\n" },
		{ "\0\n", 2, ":1: has a NUL byte, so this is not a configuration file\n" },
	};
	struct conf *c = conf_new();
	char *line = malloc(20000);

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(read_text(c, rows[i].text, rows[i].len), -EINVAL);
		ck_assert_msg(strstr(cap.text, rows[i].message), "%zu: %s", i, cap.text);
	}
	memset(line, 'x', 20000);
	ck_assert_int_eq(read_text(c, line, 20000), -EINVAL);
	ck_assert_ptr_nonnull(strstr(cap.text, ":1: the line is longer than 8192 bytes\n"));
	free(line);
	capture_start(&cap, 2);
	ck_assert_int_eq(conf_read_file(c, "/nonexistent/vm.conf"), -ENOENT);
	ck_assert_int_eq(conf_read_file(c, "/"), -EISDIR);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: configuration file '/nonexistent/vm.conf': open: No such file or directory\n"
				   "skep: configuration file '/': read: Is a directory\n");
	conf_free(c);
}
END_TEST

START_TEST(test_expansion)
{
	struct conf *c = conf_new();

	conf_set(c, "append", "%(name)-%(memory.size)-%%(name)-100%-%%%%", "t");
	conf_set(c, "name", "vm1", "t");
	ck_assert_str_eq(conf_raw(c, "append"), "vm1-256M-%(name)-100%-%%");
	conf_set(c, "name", "vm2", "t");
	ck_assert_str_eq(conf_raw(c, "append"), "vm2-256M-%(name)-100%-%%");
	conf_set(c, "kernel", "%(append)!", "t");
	ck_assert_str_eq(conf_raw(c, "kernel"), "vm2-256M-%(name)-100%-%%!");
	ck_assert_int_eq(conf_check_expansion(c, "kernel"), 0);
	ck_assert_int_eq(conf_check_expansion(c, "not.set"), 0);
	conf_free(c);
}
END_TEST

START_TEST(test_bad_expansion)
{
	static const struct { const char *value, *message; } rows[] = {
		{ "%(uuid)", "skep: t: kernel=%(uuid): '%(uuid)' names a key that is not set\n" },
		{ "%(nosuch.key)", "skep: t: kernel=%(nosuch.key): '%(nosuch.key)' names a key that is not set\n" },
		{ "%(name", "skep: t: kernel=%(name: '%(' without ')' ('%%(' is a literal one)\n" },
		{ "%(kernel)", "skep: t: kernel=%(kernel): refers to itself\n" },
	};
	struct conf *c = conf_new();

	for (size_t i = 0; i < NELEM(rows); i++) {
		conf_set(c, "kernel", rows[i].value, "t");
		capture_start(&cap, 2);
		ck_assert_int_eq(conf_check_expansion(c, "kernel"), -EINVAL);
		capture_stop(&cap);
		ck_assert_str_eq(cap.text, rows[i].message);
		ck_assert_str_eq(conf_raw(c, "kernel"), rows[i].value);
	}
	conf_free(c);
}
END_TEST

/* Eight levels of eight references each would be 16 MiB. */
START_TEST(test_expansion_is_bounded)
{
	struct conf *c = conf_new();
	char key[16], value[128];

	conf_set(c, "k0", "xxxxxxxx", "t");
	for (int i = 1; i <= 7; i++) {
		value[0] = 0;
		for (int j = 0; j < 8; j++)
			snprintf(value + strlen(value), 16, "%%(k%d)", i - 1);
		snprintf(key, sizeof(key), "k%d", i);
		conf_set(c, key, value, "t");
	}
	capture_start(&cap, 2);
	ck_assert_int_eq(conf_check_expansion(c, "k7"), -EINVAL);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "longer than 65536 characters when expanded"));
	conf_free(c);
}
END_TEST

static void count(const char *key, const char *value, const char *origin, void *arg)
{
	ck_assert_str_eq(key, "append");
	ck_assert_str_eq(value, "a%b");
	ck_assert_str_eq(origin, "here");
	++*(int *)arg;
}

START_TEST(test_walk)
{
	struct conf *c = conf_new();
	int n = 0;

	conf_set(c, "append", "a%%b", "here");
	conf_walk(c, count, &n);
	ck_assert_int_eq(n, 1);
	conf_free(c);
}
END_TEST

START_TEST(test_copy)
{
	struct conf *c = conf_new(), *all, *some;

	conf_set(c, "kernel", "%(name)/k%%", "here");
	conf_set(c, "module.0", "a", "here");
	conf_set(c, "name", "n", "here");
	all = conf_copy(c, NULL);
	some = conf_copy(c, "module.");
	conf_set(c, "name", "other", "there");
	ck_assert_str_eq(conf_raw(all, "kernel"), "n/k%");
	ck_assert_str_eq(conf_raw(all, "module.0"), "a");
	ck_assert_str_eq(conf_origin(all, "kernel"), "here");
	ck_assert_ptr_null(conf_raw(some, "module.0"));
	conf_merge(some, c);
	ck_assert_str_eq(conf_raw(some, "kernel"), "other/k%");
	ck_assert_str_eq(conf_raw(some, "module.0"), "a");
	conf_free(c);
	conf_free(all);
	conf_free(some);
}
END_TEST

UNIT_MAIN("common/conf", test_set_get, test_cpus_from_topology, test_key_forms, test_dump_is_sorted, test_read_file, test_bad_files,
	  test_expansion, test_bad_expansion, test_expansion_is_bounded, test_walk, test_copy)
