/*
 * `skep run`: builds the VM its command line describes and runs it to its end.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/daemon.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/vm.h"

static int check_arch(const struct conf *conf)
{
	const char *want = conf_str(conf, "arch");
	if (!want || arch_find(want) == arch_native)
		return 0;
	return err_msg(-1, "arch: KVM on this %s host runs %s guests only; 'skep plan --arch %s' shows the other machine", arch_native->name,
		       arch_native->name, want);
}

/* The VM's life in this process, and who waits at `verdict` to hear that it is there (0: nobody). */
static int live(struct conf *conf, int verdict)
{
	const char *pidfile = conf_str(conf, "pidfile");
	struct vm *vm;
	if (vm_create(conf, arch_native, false, &vm))
		return STATUS_REFUSED;
	if (pidfile && pidfile_write(pidfile)) {
		vm_free(vm);
		return STATUS_REFUSED;
	}
	vm->verdict_fd = verdict;
	int status = vm_run(vm);
	/* The next of this name may start as soon as the run directory is free. */
	if (pidfile)
		pidfile_remove(pidfile);
	vm_free(vm);
	return status;
}

/* *elsewhere: the status is that of another process, which runs the VM. */
static int run_vm(struct conf *conf, bool *elsewhere)
{
	enum log_level level;
	int verdict = 0, status;
	if (log_level_parse(conf_str(conf, "log.level"), &level) == 0)
		log_set_level(level, LOG_WARN);
	if (conf_str(conf, "log.file") && log_open(conf_str(conf, "log.file")))
		return STATUS_REFUSED;
	if (check_arch(conf))
		return STATUS_REFUSED;
	int split = conf_bool(conf, "daemon") ? daemon_split(&verdict, &status) : 0;
	*elsewhere = split > 0;
	if (split)
		return split < 0 ? STATUS_REFUSED : status;
	status = live(conf, verdict);
	log_close();
	return status;
}

int cmd_run_conf(struct conf *conf)
{
	bool elsewhere;
	return run_vm(conf, &elsewhere);
}

int cmd_run(int argc, char **argv)
{
	bool bhyve = strcmp(argv[0], "bhyve") == 0, elsewhere = false;
	struct cli cli = { .prog = bhyve ? "bhyve" : "skep run", .bhyve = bhyve };
	struct conf *conf = conf_new();
	int status = cli_parse_run(&cli, argc, argv, conf);
	if (status == 0)
		status = run_vm(conf, &elsewhere);
	conf_free(conf);
	if (status == CLI_ANSWERED)
		return 0;
	return cli.bhyve && !elsewhere ? cli_bhyve_status(status) : status;
}
