/*
 * `skep config check` and `skep config dump`: the options of run, without running.
 */
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/vm.h"

int cmd_config(int argc, char **argv)
{
	bool dump = argc > 1 && !strcmp(argv[1], "dump"), check = argc > 1 && !strcmp(argv[1], "check");
	struct cli cli = { .prog = dump ? "skep config dump" : "skep config check", .synopsis = "[-k FILE] [options] [NAME]",
			   .name_optional = true, .any_arch = true };
	struct conf *conf;
	int r;

	if (argc > 1 && !strcmp(argv[1], "--help")) {
		char *what[] = { "help", "config", NULL };

		return cmd_help(2, what);
	}
	if (!dump && !check)
		return argc > 1 ? cmd_usage("config", "'%s' is neither check nor dump", argv[1])
				: cmd_usage("config", "what to do is missing: check or dump");
	conf = conf_new();
	r = cli_parse_run(&cli, argc - 1, argv + 1, conf);
	if (!r && dump)
		conf_dump(conf, stdout);
	conf_free(conf);
	return r == CLI_ANSWERED ? 0 : r;
}
