/*
 * `skep nextboot`: settings for one start of a VM, whether it runs or not; the start they are for uses them up.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/pending.h"
#include "common/util.h"
#include "common/vm.h"
#include "loaders/freebsd/freebsd.h"

struct wishes {
	bool show, clear;
};

/* In a key's value "%(" is an expansion, and in a list of words a comma ends one: what the directory has of them is doubled. */
static char *quoted(const char *dir, const char *special)
{
	char *out = malloc(2 * strlen(dir) + 1), *o = out;

	if (!out)
		abort();
	for (; *dir; dir++) {
		if (strchr(special, *dir))
			*o++ = *dir;
		*o++ = *dir;
	}
	*o = 0;
	return out;
}

/* The file's path as the VM's process will find it, wherever that runs. */
static int set_file(struct cli *c, const char *key, const char *arg, const char *origin, const char *special)
{
	char *cwd = arg[0] == '/' || hostdir_beneath(arg) ? NULL : getcwd(NULL, 0), *dir = cwd ? quoted(cwd, special) : NULL, *value;
	int err;

	if (asprintf(&value, "%s%s%s", dir ? dir : "", dir ? "/" : "", arg) < 0)
		abort();
	err = conf_set(c->conf, key, value, origin);
	free(value);
	free(dir);
	free(cwd);
	return err;
}

static int check_readable(struct cli *c, const char *what, const char *path)
{
	struct stat st;

	if (hostdir_beneath(path))
		return 0;
	c->status = STATUS_REFUSED;
	if (access(path, R_OK) || stat(path, &st))
		return err_sys("%s '%s'", what, path);
	if (!S_ISREG(st.st_mode))
		return err_msg(-EINVAL, "%s '%s': this is no regular file; name a file", what, path);
	c->status = STATUS_USAGE;
	return 0;
}

static int opt_file(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	int err = check_readable(c, o->name, arg);

	return err ? err : set_file(c, o->key, arg, origin, "%");
}

static int opt_module(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	char *copy = strdup(arg), *s = copy, *file = cli_word(&s), key[64];
	unsigned n = 0;
	int err = copy ? 0 : -ENOMEM;

	if (!err && (strchr(file, '/') || hostdir_beneath(file)))
		err = check_readable(c, o->name, file);
	do
		snprintf(key, sizeof(key), "%s.%u", o->key, n++);
	while (conf_raw(c->conf, key));
	if (!err && (strchr(file, '/') || !access(file, F_OK)))
		err = set_file(c, key, arg, origin, "%,");
	else if (!err)
		err = conf_set(c->conf, key, arg, origin);      /* a module by its name */
	free(copy);
	return err;
}

static int opt_show(struct cli *c, const struct cli_opt *o UNUSED, const char *arg UNUSED, const char *origin UNUSED)
{
	((struct wishes *)c->user)->show = true;
	return 0;
}

static int opt_clear(struct cli *c, const struct cli_opt *o UNUSED, const char *arg UNUSED, const char *origin UNUSED)
{
	((struct wishes *)c->user)->clear = true;
	return 0;
}

static const struct cli_opt rows[] = {
	{ .name = "kernel", .arg = "FILE", .key = "kernel", .fn = opt_file, .help = "kernel to start; host0: is the "
		"directory of the run's -h" },
	{ .name = "initrd", .arg = "FILE", .key = "initrd", .fn = opt_file, .help = "initial RAM disk" },
	{ .name = "append", .arg = "STRING", .key = "append", .help = "kernel command line; for FreeBSD boot flags such as -s" },
	{ .name = "module", .arg = "FILE[,type=TYPE][,args=TEXT]", .key = "module", .fn = opt_module,
	  .help = "module for the kernel, instead of those of the run; repeat for several" },
	{ .letter = 'e', .arg = "NAME=VALUE", .key = "loader.env", .fn = cli_opt_list,
	  .help = "variable for FreeBSD's kernel environment, besides those of the run; repeat for several" },
	{ .name = "show", .fn = opt_show, .help = "show what waits for the next start" },
	{ .name = "clear", .fn = opt_clear, .help = "forget what waits" },
	{ .name = "help", .fn = cli_opt_help, .help = "show this text" },
	{ .help = NULL }
};

static int show_one(const char *name, enum pending_kind kind, const char *title, bool *any)
{
	struct conf *waits;
	int err = pending_read(name, kind, &waits);

	if (!waits)
		return err;
	printf("# %s\n", title);
	conf_dump(waits, stdout);
	conf_free(waits);
	*any = true;
	return 0;
}

static int show(const char *name)
{
	bool any = false;
	int err = show_one(name, PENDING_LOAD, "left by bhyveload, for a run without a kernel", &any);

	if (!err)
		err = show_one(name, PENDING_ONCE, "for the next start only", &any);
	if (!err && !any)
		printf("nothing waits for the next start of '%s'\n", name);
	return err;
}

static int clear(const char *name)
{
	for (int kind = 0; kind < PENDINGS; kind++) {
		int err = pending_clear(name, kind);

		if (err < 0)
			return err;
	}
	return 0;
}

static void is_setting(const char *key, const char *value, const char *origin, void *arg)
{
	(void)value;
	(void)origin;
	if (strcmp(key, "name"))
		*(bool *)arg = true;
}

static int act(struct conf *conf, const struct wishes *w)
{
	char *name = strdup(conf_str(conf, "name"));
	bool settings = false;
	struct conf *keys = conf_copy(conf, "name");
	int status;

	if (!name)
		abort();
	conf_walk(conf, is_setting, &settings);
	if (w->show + w->clear + settings != 1)
		status = cmd_usage("nextboot", settings || w->show || w->clear ?
				   "give settings, --show or --clear: one of the three" :
				   "say what the next start is to use: --kernel, --module, -e ..., or --show or --clear");
	else if (w->show)
		status = show(name) ? STATUS_REFUSED : 0;
	else if (w->clear)
		status = clear(name) ? STATUS_REFUSED : 0;
	else
		status = pending_write(name, PENDING_ONCE, keys) ? STATUS_REFUSED : 0;
	conf_free(keys);
	free(name);
	return status;
}

int cmd_nextboot(int argc, char **argv)
{
	struct wishes w = { false, false };
	struct cli cli = { .prog = "skep nextboot", .synopsis = "[options] NAME", .rows = rows, .user = &w };
	struct conf *conf = conf_new();
	int status = cli_parse_rows(&cli, argc, argv, conf);

	if (!status)
		status = act(conf, &w);
	conf_free(conf);
	return status == CLI_ANSWERED ? 0 : status;
}
