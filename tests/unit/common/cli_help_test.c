/*
 * Generated texts against tests/golden/; UPDATE_GOLDEN=1 rewrites the golden files.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

static void golden(const char *path, const char *text)
{
	char want[65536];
	size_t n;
	FILE *f;

	if (getenv("UPDATE_GOLDEN")) {
		f = fopen(path, "w");
		ck_assert_msg(f && fputs(text, f) >= 0 && !fclose(f), "%s: cannot be written", path);
		return;
	}
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "%s is missing: run with UPDATE_GOLDEN=1", path);
	n = fread(want, 1, sizeof(want) - 1, f);
	want[n] = 0;
	fclose(f);
	ck_assert_msg(!strcmp(want, text), "%s differs; when that is meant, run with UPDATE_GOLDEN=1.  Now:\n%s", path, text);
}

START_TEST(test_help_run)
{
	const struct cli cli = { .prog = "skep run" };

	capture_start(&cap, 1);
	cli_print_help(stdout, &cli);
	capture_stop(&cap);
	golden("tests/golden/help-run.txt", cap.text);
}
END_TEST

START_TEST(test_help_keys)
{
	capture_start(&cap, 1);
	cli_print_keys(stdout, false);
	capture_stop(&cap);
	golden("tests/golden/help-keys.txt", cap.text);
}
END_TEST

START_TEST(test_help_option_is_the_same)
{
	struct cli cli = { .prog = "skep run" };
	char *argv[] = { "run", "--help", NULL }, *help[] = { "help", "run", NULL };
	struct conf *c = conf_new();
	struct capture other;

	capture_start(&cap, 1);
	ck_assert_int_eq(cli_parse_run(&cli, 2, argv, c), CLI_ANSWERED);
	capture_stop(&cap);
	capture_start(&other, 1);
	ck_assert_int_eq(cmd_help(2, help), 0);
	capture_stop(&other);
	ck_assert_str_eq(cap.text, other.text);
	conf_free(c);
}
END_TEST

START_TEST(test_every_option_is_shown)
{
	const struct cli cli = { .prog = "skep run" };
	char flag[80];

	capture_start(&cap, 1);
	cli_print_help(stdout, &cli);
	capture_stop(&cap);
	for (const struct cli_opt *o = cli_run_opts; o->help; o++) {
		snprintf(flag, sizeof(flag), o->name ? "--%s" : "%s-%c", o->name ? o->name : "  ", o->letter);
		ck_assert_msg(strstr(cap.text, flag), "%s", flag);
	}
}
END_TEST

START_TEST(test_lines_are_short)
{
	char *save;

	capture_start(&cap, 1);
	cli_print_help(stdout, &(struct cli){ .prog = "skep run" });
	cli_print_keys(stdout, false);
	cli_print_devices(stdout, false);
	capture_stop(&cap);
	for (char *l = strtok_r(cap.text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		ck_assert_msg(strlen(l) <= 100, "%s", l);
		ck_assert_msg(l[strlen(l) - 1] != ' ', "'%s'", l);
	}
}
END_TEST

START_TEST(test_extra_rows)
{
	static const struct cli_opt extra[] = { { .name = "tables", .arg = "DIR", .help = "write tables" }, { .help = NULL } };

	capture_start(&cap, 1);
	cli_print_help(stdout, &(struct cli){ .prog = "skep plan", .extra = extra, .synopsis = "[options]" });
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "usage: skep plan [options]\n"));
	ck_assert_ptr_nonnull(strstr(cap.text, "\nOf this command:\n      --tables DIR        write tables\n"));
}
END_TEST

START_TEST(test_scdoc)
{
	capture_start(&cap, 1);
	cli_print_scdoc(stdout);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "## Machine\n\n*-c*, *--cpus* _\\[cpus=\\]N\\[,sockets=S\\]"));
	ck_assert_ptr_nonnull(strstr(cap.text, "*-r*, *--restore* _CHECKPOINT_\n\tstart from a checkpoint. Not in this "
		"version.\n"));
	capture_start(&cap, 1);
	cli_print_keys(stdout, true);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "*memory.guest\\_in\\_core*\n\tinclude guest memory in a core file of skep (true "
		"or false; default "
					       "false).\n"));
	capture_start(&cap, 1);
	cli_print_devices(stdout, true);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "## virtio-blk\n\n"));
	ck_assert_ptr_null(strstr(cap.text, "## uart16550\n"));
}
END_TEST

START_TEST(test_write_error)
{
	FILE *f = fopen("/dev/full", "w");

	ck_assert_ptr_nonnull(f);
	cli_print_keys(f, false);
	capture_start(&cap, 2);
	ck_assert_int_eq(cli_flush(f), -ENOSPC);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: standard output: write: No space left on device\n");
	fclose(f);
}
END_TEST

UNIT_MAIN("common/cli_help", test_help_run, test_help_keys, test_help_option_is_the_same, test_every_option_is_shown,
	test_lines_are_short,
	  test_extra_rows, test_scdoc, test_write_error)
