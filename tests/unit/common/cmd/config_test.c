#include <stdlib.h>
#include <string.h>

#include "common/cmd/cmd.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture out, err;

static int run(int argc, char **argv)
{
	int status;

	capture_start(&err, 2);
	capture_start(&out, 1);
	status = cmd_config(argc, argv);
	capture_stop(&out);
	capture_stop(&err);
	return status;
}

START_TEST(test_check)
{
	char *good[] = { "config", "check", "-c", "2", "--arch", "arm64", NULL }, *bad[] = { "config", "check", "-o",
		"memory.sise=1", NULL };

	ck_assert_int_eq(run(6, good), 0);
	ck_assert_str_eq(out.text, "");
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(run(4, bad), 2);
	ck_assert_str_eq(out.text, "");
	ck_assert_str_eq(err.text, "skep: -o: unknown key 'memory.sise': did you mean 'memory.size'?\ntry 'skep config check "
		"--help'\n");
}
END_TEST

/* What dump prints is a file that gives the same dump. */
START_TEST(test_dump_is_a_file)
{
	char path[] = "/tmp/skep-dump-XXXXXX";
	char *first[] = { "config", "dump", "-c", "2", "-s", "3,virtio-blk,/a b%%c,ro", "--append", "x=y #z", "--disk",
		"/%(name)", "vm1", NULL };
	char *second[] = { "config", "dump", "-k", path, NULL };
	char *text;
	FILE *f;

	ck_assert_int_eq(run(11, first), 0);
	text = strdup(out.text);
	ck_assert_str_eq(text, "append=x=y "
		"#z\ncpus=2\nlpc.com1.path=stdio\nname=vm1\npci.0.2.0.device=virtio-blk\npci.0.2.0.path=/%(name)\n"
			       "pci.0.3.0.device=virtio-blk\npci.0.3.0.path=/a b%%c\npci.0.3.0.ro=true\n");
	f = fdopen(mkstemp(path), "w");
	fputs(text, f);
	fclose(f);
	ck_assert_int_eq(run(4, second), 0);
	ck_assert_str_eq(out.text, text);
	unlink(path);
	free(text);
}
END_TEST

START_TEST(test_file_errors)
{
	char path[] = "/tmp/skep-conf-XXXXXX";
	char *argv[] = { "config", "check", "-k", path, NULL };
	char want[160];
	FILE *f = fdopen(mkstemp(path), "w");

	fputs("cpus=1\n\nmemory.sise=1G\n", f);
	fclose(f);
	snprintf(want, sizeof(want), "skep: %s:3: unknown key 'memory.sise': did you mean 'memory.size'?\n", path);
	ck_assert_int_eq(run(4, argv), 2);
	ck_assert(!strncmp(err.text, want, strlen(want)));
	unlink(path);
	snprintf(want, sizeof(want), "skep: configuration file '%s': open: No such file or directory\n", path);
	ck_assert_int_eq(run(4, argv), 1);
	ck_assert_str_eq(err.text, want);
}
END_TEST

UNIT_MAIN("common/cmd/config", test_check, test_dump_is_a_file, test_file_errors)
