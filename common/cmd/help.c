/*
 * `skep help` and `skep version`.  "help --scdoc WHAT" prints the generated sections of the man pages.
 */
#include <stdio.h>
#include <string.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/util.h"
#include "common/vm.h"

#ifndef SKEP_VERSION
#define SKEP_VERSION "0.1"
#endif

static void print_overview(FILE *f)
{
	fprintf(f, "usage: skep COMMAND [...]\n\nskep runs virtual machines on KVM, with bhyve's command language.\n\n");
	for (const struct cmd *c = cmds; c->name; c++)
		fprintf(f, "  %-10s %s\n", c->name, c->help);
	fprintf(f, "\n'skep help COMMAND' shows a command's options.  A first guest:\n\n"
		"  skep run -c 2 -m 512M --kernel vmlinuz --initrd initrd.img --append console=%s vm1\n",
		arch_native == &arch_arm64 ? "ttyAMA0" : "ttyS0");
}

static int print_scdoc(const char *what)
{
	if (!what || !strcmp(what, "run"))
		cli_print_scdoc(stdout);
	else if (!strcmp(what, "keys"))
		cli_print_keys(stdout, true);
	else if (!strcmp(what, "devices"))
		cli_print_devices(stdout, true);
	else if (!strcmp(what, "ctl"))
		cmd_ctl_scdoc();
	else
		return cmd_usage("help", "--scdoc: '%s' is not one of run, keys, devices, ctl", what);
	return 0;
}

static int print_command(const char *name)
{
	const struct cli run = { .prog = "skep run" };

	for (const struct cmd *c = cmds; c->name; c++) {
		if (strcmp(c->name, name))
			continue;
		if (!strcmp(name, "run")) {
			cli_print_help(stdout, &run);
			return 0;
		}
		/* These have texts of their own. */
		if (!strcmp(name, "nextboot") || !strcmp(name, "img") || !strcmp(name, "ctl") || !strcmp(name, "exits")) {
			char *argv[] = { (char *)c->name, "--help", NULL };

			return c->fn(2, argv);
		}
		printf("usage: skep %s%s%s\n\n%s\n", c->name, *c->synopsis ? " " : "", c->synopsis, c->help);
		if (strstr(c->synopsis, "options of run"))
			printf("\n'skep help run' lists the options of run.\n");
		return 0;
	}
	return cmd_usage("help", "there is nothing about '%s'", name);
}

int cmd_help(int argc, char **argv)
{
	if (argc < 2)
		print_overview(stdout);
	else if (!strcmp(argv[1], "--scdoc"))
		return print_scdoc(argc > 2 ? argv[2] : NULL);
	else if (!strcmp(argv[1], "keys"))
		cli_print_keys(stdout, false);
	else if (!strcmp(argv[1], "devices"))
		cli_print_devices(stdout, false);
	else
		return print_command(argv[1]);
	return 0;
}

int cmd_version(int argc UNUSED, char **argv UNUSED)
{
	printf("skep %s (%s)\n", SKEP_VERSION, arch_native->name);
	return 0;
}
