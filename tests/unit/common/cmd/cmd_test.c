#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/arch.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

/* A command line of words; output and messages are in out.text and err.text. */
static int run(const char *line)
{
	return run_line("", line);
}

START_TEST(test_overview)
{
	static const char *const lines[] = { "skep", "skep help", "skep --help", "/usr/bin/skep --help" };

	for (size_t i = 0; i < NELEM(lines); i++) {
		ck_assert_int_eq(run(lines[i]), 0);
		for (const struct cmd *c = cmds; c->name; c++)
			ck_assert_msg(strstr(out.text, c->help), "%s: %s", lines[i], c->name);
	}
}
END_TEST

START_TEST(test_version)
{
	char end[32];

	snprintf(end, sizeof(end), " (%s)\n", arch_native->name);
	ck_assert_int_eq(run("skep version"), 0);
	ck_assert(!strncmp(out.text, "skep ", 5) && strstr(out.text, end));
	ck_assert_int_eq(run("skep --version"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, end));
}
END_TEST

START_TEST(test_unknown)
{
	static const struct { const char *line, *message; } rows[] = {
		{ "skep rnu", "skep: unknown command 'rnu': did you mean 'run'?\ntry 'skep help'\n" },
		{ "skep zebra", "skep: unknown command 'zebra'\ntry 'skep help'\n" },
		{ "skep -m 1G", "skep: option '-m' comes before any command: write 'skep run -m ...'\ntry 'skep help'\n" },
		{ "skep help zebra", "skep help: there is nothing about 'zebra'\ntry 'skep help help'\n" },
		{ "skep help --scdoc zebra", "skep help: --scdoc: 'zebra' is not one of run, keys, devices, ctl\ntry "
			"'skep help help'\n" },
		{ "skep list x", "skep list: 'x' is not an option: there are --json and --names\ntry 'skep help list'\n" },
		{ "skep doctor x", "skep doctor: 'x' is not an option: there is only --json\ntry 'skep help doctor'\n" },
		{ "skep config", "skep config: what to do is missing: check or dump\ntry 'skep help config'\n" },
		{ "skep config x", "skep config: 'x' is neither check nor dump\ntry 'skep help config'\n" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(run(rows[i].line), 2);
		ck_assert_str_eq(err.text, rows[i].message);
		ck_assert_str_eq(out.text, "");
	}
}
END_TEST

START_TEST(test_help_of_each)
{
	char line[64], usage[64];

	for (const struct cmd *c = cmds; c->name; c++) {
		snprintf(line, sizeof(line), "skep help %s", c->name);
		snprintf(usage, sizeof(usage), "usage: skep %s", c->name);
		ck_assert_int_eq(run(line), 0);
		ck_assert_msg(!strncmp(out.text, usage, strlen(usage)), "%s: %s", line, out.text);
	}
	ck_assert_int_eq(run("skep help keys"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "memory.size"));
	ck_assert_int_eq(run("skep help devices"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "virtio-blk: "));
	ck_assert_int_eq(run("skep help nextboot"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "--show"));
	ck_assert_int_eq(run("skep list --help"), 0);
	ck_assert_int_eq(run("skep doctor --help"), 0);
	ck_assert_int_eq(run("skep config --help"), 0);
	ck_assert_int_eq(run("skep help --scdoc"), 0);
	ck_assert_int_eq(run("skep help --scdoc keys"), 0);
	ck_assert_int_eq(run("skep help --scdoc devices"), 0);
	ck_assert_int_eq(run("skep help --scdoc ctl"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "*wait* _state_ [_timeout\\_ms_]\n\t"));
}
END_TEST

START_TEST(test_full_disk)
{
	char *argv[] = { "skep", "help", NULL };
	int saved, status;

	capture_start(&err, 2);
	fflush(stdout);
	saved = dup(1);
	ck_assert_ptr_nonnull(freopen("/dev/full", "w", stdout));
	status = cmd_dispatch(2, argv);
	fflush(stdout);
	clearerr(stdout);
	dup2(saved, 1);
	close(saved);
	capture_stop(&err);
	ck_assert_int_eq(status, 1);
	ck_assert_str_eq(err.text, "skep: standard output: write: No space left on device\n");
}
END_TEST

UNIT_MAIN("common/cmd/cmd", test_overview, test_version, test_unknown, test_help_of_each, test_full_disk)
