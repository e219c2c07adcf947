/*
 * skep by the name of `bhyveload`: looks at the guest as it would be loaded, and leaves for the run of that name what to load;
 * `bhyve NAME` or `skep run NAME` without a kernel does it.  There is no VM in between, and a disk is not read.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/image.h"
#include "common/log.h"
#include "common/pending.h"
#include "common/util.h"

#define STATUS_BHYVELOAD 1              /* whatever went wrong */

struct given {
	const char *disk;
};

static int opt_console(struct cli *c UNUSED, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	struct stat st;

	if (!strcmp(arg, "stdio"))
		return 0;
	if (stat(arg, &st))
		return err_sys("%s: '%s'", origin, arg);
	return S_ISCHR(st.st_mode) ? 0 : err_msg(-ENOTTY, "%s: '%s' is neither stdio nor a terminal", origin, arg);
}

static int opt_disk(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin UNUSED)
{
	((struct given *)c->user)->disk = arg;
	return 0;
}

static int opt_loader(struct cli *c UNUSED, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	log_info("bhyveload", "%s %s: skep loads by itself", origin, arg);
	return 0;
}

static int opt_memory(struct cli *c UNUSED, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	char why[160];

	return opt_check(opt_find(conf_global_opts, "memory.size"), arg, why, sizeof(why)) ?
		err_msg(-EINVAL, "%s: %s: %s", origin, arg, why) : 0;
}

static int opt_dir(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	char *dir = realpath(arg, NULL), *value, *v;
	int err;

	if (!dir)
		return err_sys("%s: '%s'", origin, arg);
	value = v = malloc(2 * strlen(dir) + 1);
	if (!value)
		abort();
	for (const char *s = dir; *s; s++) {            /* "%(" would be an expansion */
		if (*s == '%')
			*v++ = '%';
		*v++ = *s;
	}
	*v = 0;
	err = conf_set(c->conf, o->key, value, origin);
	free(value);
	free(dir);
	return err;
}

static const struct cli_opt rows[] = {
	{ .letter = 'h', .arg = "DIR", .key = "loader.hostdir", .fn = opt_dir, .help = "directory with the guest's /boot" },
	{ .letter = 'e', .arg = "NAME=VALUE", .key = "loader.env", .fn = cli_opt_list, .help = "loader variable; repeat for several" },
	{ .letter = 'd', .arg = "DISK", .fn = opt_disk, .help = "accepted with -h: the disk is not read" },
	{ .letter = 'm', .arg = "SIZE", .fn = opt_memory, .help = "checked; the run's own -m counts" },
	{ .letter = 'c', .arg = "TTY", .fn = opt_console, .help = "stdio or a terminal: nothing is asked on it" },
	{ .letter = 'l', .arg = "LOADER", .fn = opt_loader, .help = "accepted: skep loads by itself" },
	{ .letter = 'S', .fn = cli_opt_nothing, .help = "accepted: the run's own -S counts" },
	{ .letter = 'C', .fn = cli_opt_nothing, .help = "accepted: the run's own -C counts" },
	{ .name = "help", .fn = cli_opt_help, .help = "show this text" },
	{ .help = NULL }
};

/* Everything bhyveload would read is read, so that what is wrong is said here. */
static int try_load(const struct conf *conf)
{
	struct image im;
	int err = image_open(&im, conf, arch_native->name);

	if (!err)
		image_release(&im);
	return err;
}

static int leave(const struct conf *conf, const struct given *g)
{
	struct conf *keys = conf_copy(conf, "name");
	int err = 0;

	if (!conf_raw(conf, "loader.hostdir") && g->disk)
		err = err_msg(-ENOTSUP, "-d '%s': skep does not load from disks: give -h DIR with the guest's /boot, or leave bhyveload out "
			      "and run with --firmware uefi", g->disk);
	else if (!conf_raw(conf, "loader.hostdir"))
		err = err_msg(-EINVAL, "there is nothing to load from: give -h DIR, the directory with the guest's /boot");
	else if (g->disk)
		log_warn("bhyveload", "-d '%s': the disk is not read, -h has the guest's /boot", g->disk);
	if (!err)
		err = try_load(conf);
	if (!err)
		err = pending_write(conf_str(conf, "name"), PENDING_LOAD, keys);
	conf_free(keys);
	return err;
}

int cmd_bhyveload(int argc, char **argv)
{
	struct given g = { NULL };
	struct cli cli = { .prog = "bhyveload", .synopsis = "[options] NAME", .rows = rows, .user = &g };
	struct conf *conf = conf_new();
	int status = cli_parse_rows(&cli, argc, argv, conf);

	if (!status)
		status = leave(conf, &g) ? STATUS_BHYVELOAD : 0;
	else if (status != CLI_ANSWERED)
		status = STATUS_BHYVELOAD;
	conf_free(conf);
	return status == CLI_ANSWERED ? 0 : status;
}
