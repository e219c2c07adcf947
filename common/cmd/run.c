/*
 * `skep run`: builds the VM its command line describes and runs it to its end.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
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

static int run_vm(struct conf *conf)
{
	enum log_level level;
	struct vm *vm;
	if (log_level_parse(conf_str(conf, "log.level"), &level) == 0)
		log_set_level(level, LOG_WARN);
	if (conf_str(conf, "log.file") && log_open(conf_str(conf, "log.file")))
		return STATUS_REFUSED;
	if (check_arch(conf) || vm_create(conf, arch_native, false, &vm))
		return STATUS_REFUSED;
	int status = vm_run(vm);
	vm_free(vm);
	log_close();
	return status;
}

int cmd_run(int argc, char **argv)
{
	bool bhyve = strcmp(argv[0], "bhyve") == 0;
	struct cli cli = { .prog = bhyve ? "bhyve" : "skep run", .bhyve = bhyve };
	struct conf *conf = conf_new();
	int status = cli_parse_run(&cli, argc, argv, conf);
	if (status == 0)
		status = run_vm(conf);
	conf_free(conf);
	if (status == CLI_ANSWERED)
		return 0;
	return cli.bhyve ? cli_bhyve_status(status) : status;
}
