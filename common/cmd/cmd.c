/*
 * The table of subcommands and the way from main() to one of them.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/util.h"
#include "common/vm.h"

const struct cmd cmds[] = {
	{ "run", "[options] NAME", "start a virtual machine", cmd_run },
	{ "create", "NAME [--force] [options of run]", "write the configuration file of a virtual machine", cmd_create_vm },
	{ "start", "NAME [--foreground] [options of run]", "start a virtual machine that has a configuration file", cmd_start_vm },
	{ "stop", "NAME [--timeout SECONDS] [--force]", "press the power button and wait for the end", cmd_stop_vm },
	{ "restart", "NAME [--timeout SECONDS] [--force]", "stop and start", cmd_restart_vm },
	{ "plan", "[--arch ARCH] [--tables DIR] [options of run]", "show the machine run would build, without KVM", cmd_plan },
	{ "doctor", "[--json]", "what this host can do, and what to change", cmd_doctor },
	{ "list", "[--json|--names]", "running virtual machines", cmd_list },
	{ "top", "[-b] [-n COUNT] [-d SECONDS] [NAME...]", "what running virtual machines and their devices do, live", cmd_top },
	{ "console", "NAME [PORT]", "attach to a console of a running virtual machine", cmd_console },
	{ "ctl", "NAME METHOD [VALUE...]", "ask or steer a running virtual machine", cmd_ctl },
	{ "exits", "record|show|compare ...", "exit profiles: record, show, compare across architectures", cmd_exits },
	{ "nextboot", "[options] NAME", "settings for the next start of a virtual machine, and only that", cmd_nextboot },
	{ "img", "COMMAND [options] FILE...", "disk images: create, convert, check, snapshots and more", cmd_img },
	{ "config", "check|dump [options of run]", "check a configuration, or print it as a file", cmd_config },
	{ "help", "[COMMAND|keys|devices]", "this text, a command's options, all keys, all devices", cmd_help },
	{ "completion", "bash", "completion of this command line, for a shell", cmd_completion },
	{ "version", "", "version and architecture", cmd_version },
	{ NULL, NULL, NULL, NULL }
};

int cmd_usage(const char *name, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "skep%s%s: ", name ? " " : "", name ? name : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\ntry 'skep help%s%s'\n", name ? " " : "", name ? name : "");
	return STATUS_USAGE;
}

static int unknown_command(const char *name)
{
	const char *near = NULL;
	unsigned best = UINT_MAX;

	for (const struct cmd *c = cmds; c->name; c++)
		if (opt_is_near(name, c->name, &best))
			near = c->name;
	if (near)
		return cmd_usage(NULL, "unknown command '%s': did you mean '%s'?", name, near);
	if (name[0] == '-')
		return cmd_usage(NULL, "option '%s' comes before any command: write 'skep run %s ...'", name, name);
	return cmd_usage(NULL, "unknown command '%s'", name);
}

static int dispatch_command(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "--help";

	if (!strcmp(name, "--help"))
		name = "help";
	else if (!strcmp(name, "--version"))
		name = "version";
	for (const struct cmd *c = cmds; c->name; c++)
		if (!strcmp(c->name, name)) {
			char *own[] = { (char *)c->name, NULL };

			if (argc < 2)
				return c->fn(1, own);
			argv[1] = own[0];
			return c->fn(argc - 1, argv + 1);
		}
	return unknown_command(name);
}

int cmd_dispatch(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL, *base = slash ? slash + 1 : argc > 0 ? argv[0] : "skep";
	int status;

	if (!strcmp(base, "bhyve")) {
		argv[0] = (char *)base;
		status = cmd_run(argc, argv);   /* knows the name, and bhyve's exit statuses */
	} else if (!strcmp(base, "bhyveload")) {
		argv[0] = (char *)base;
		status = cmd_bhyveload(argc, argv);
	} else if (!strcmp(base, "bhyvectl")) {
		argv[0] = (char *)base;
		status = cmd_bhyvectl(argc, argv);
	} else {
		status = dispatch_command(argc, argv);
	}
	/* A refusal has been reported; a second sentence about the output would not help. */
	if (!status && cli_flush(stdout))
		status = STATUS_REFUSED;
	return status;
}

/*
 * A descriptor 0, 1 or 2 that was closed by whoever started us would be given to the first file we open.  The
 * placeholder is open the wrong way round, so that using it still fails.
 */
static void hold_std_fds(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
			return;
}

int cmd_main(int argc, char **argv)
{
	hold_std_fds();
	signal(SIGPIPE, SIG_IGN);       /* a peer that went away is an error of that write */
	return cmd_dispatch(argc, argv);
}
