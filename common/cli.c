/*
 * The option parser of `skep run`.  Own code instead of getopt: that keeps its state in globals, and here the
 * rows of a table are the grammar.  Options and NAME may come in any order; "--" ends the options.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"

static const struct cli_opt *find_in(const struct cli_opt *o, char letter, const char *name, size_t len)
{
	for (; o && o->help; o++)
		if (name ? o->name && !strncmp(o->name, name, len) && !o->name[len] : letter && o->letter == letter)
			return o;
	return NULL;
}

static const struct cli_opt *find_opt(const struct cli *c, char letter, const char *name, size_t len)
{
	const struct cli_opt *o = find_in(c->extra, letter, name, len);

	return o ? o : find_in(c->rows ? c->rows : cli_run_opts, letter, name, len);
}

static int apply(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	if (o->refuse)
		return err_msg(-EINVAL, "%s: %s", origin, o->refuse);
	if (o->fn)
		return o->fn(c, o, arg, origin);
	return conf_set(c->conf, o->key, arg ? arg : o->value, origin);
}

static int unknown_long(const struct cli *c, const char *name, size_t len)
{
	const struct cli_opt *lists[] = { c->extra, c->rows ? c->rows : cli_run_opts };
	const char *near = NULL;
	unsigned best = 1000;
	char wrong[64];

	snprintf(wrong, sizeof(wrong), "%.*s", (int)MIN(len, sizeof(wrong)), name);
	for (size_t i = 0; i < NELEM(lists); i++)
		for (const struct cli_opt *o = lists[i]; o && o->help; o++)
			if (o->name && opt_is_near(wrong, o->name, &best))
				near = o->name;
	if (near)
		return err_msg(-EINVAL, "unknown option '--%s': did you mean '--%s'?", wrong, near);
	return err_msg(-EINVAL, "unknown option '--%s'", wrong);
}

/* "--name", "--name=value" or "--name value"; *i moves over what was used. */
static int parse_long(struct cli *c, int argc, char **argv, int *i)
{
	const char *text = argv[*i] + 2, *eq = strchr(text, '='), *arg = eq ? eq + 1 : NULL;
	size_t len = eq ? (size_t)(eq - text) : strlen(text);
	const struct cli_opt *o = find_opt(c, 0, text, len);
	char origin[72];

	if (!o)
		return unknown_long(c, text, len);
	snprintf(origin, sizeof(origin), "--%s", o->name);
	if (!o->arg && eq)
		return err_msg(-EINVAL, "%s: takes no value", origin);
	if (o->arg && !eq) {
		if (*i + 1 >= argc)
			return err_msg(-EINVAL, "%s: needs a value: %s", origin, o->arg);
		arg = argv[++*i];
	}
	return apply(c, o, arg, origin);
}

/* A cluster of letters, the last of which may take an argument: "-AHP", "-c2", "-c 2". */
static int parse_letters(struct cli *c, int argc, char **argv, int *i)
{
	int err = 0;

	for (const char *s = argv[*i] + 1; *s && !err; s++) {
		const struct cli_opt *o = find_opt(c, *s, NULL, 0);
		const char origin[] = { '-', *s, 0 };

		if (!o)
			return err_msg(-EINVAL, "unknown option '-%c'", *s);
		if (!o->arg) {
			err = apply(c, o, NULL, origin);
			continue;
		}
		if (s[1])
			return apply(c, o, s + 1, origin);
		if (*i + 1 >= argc)
			return err_msg(-EINVAL, "%s: needs a value: %s%s", origin, o->arg, *s == 'h' ? " (help is --help)" : "");
		return apply(c, o, argv[++*i], origin);
	}
	return err;
}

static int take_name(struct cli *c, const char *arg, const char **name)
{
	char why[96];

	if (arg[strspn(arg, "0123456789:")] == ',')
		return err_msg(-EINVAL, "'%s': -S means wired memory and takes no value; write -s %s", arg, arg);
	if (*name)
		return err_msg(-EINVAL, "'%s': the VM is already called '%s'; quote a value with blanks", arg, *name);
	if (rundir_name_check(arg, why, sizeof(why)))
		return err_msg(-EINVAL, "VM name '%s': %s", arg, why);
	*name = arg;
	return conf_set(c->conf, "name", arg, "command line");
}

static int parse_args(struct cli *c, int argc, char **argv)
{
	const char *name = NULL;
	bool options = true;
	int err = 0;

	for (int i = 1; i < argc && !err; i++) {
		const char *a = argv[i];

		if (options && !strcmp(a, "--"))
			options = false;
		else if (options && a[0] == '-' && a[1] == '-')
			err = parse_long(c, argc, argv, &i);
		else if (options && a[0] == '-' && a[1])
			err = parse_letters(c, argc, argv, &i);
		else
			err = take_name(c, a, &name);
	}
	return err;
}

/* -M of old: one total now. */
static int add_high_mem(struct cli *c)
{
	const struct opt *o = opt_find(conf_global_opts, "memory.size");
	const char *low = conf_raw(c->conf, "memory.size");
	uint64_t a, b;
	char why[80], sum[32];

	if (!c->high_mem)
		return 0;
	if (opt_parse_u64(o, c->high_mem, &b, why, sizeof(why)))
		return err_msg(-EINVAL, "-M: %s: %s", c->high_mem, why);
	if (opt_parse_u64(o, low ? low : o->def, &a, why, sizeof(why)))
		return 0;               /* conf_check() refuses it */
	snprintf(sum, sizeof(sum), "%lluK", (unsigned long long)((a + b) >> 10));
	log_warn("cli", "-M %s is added to -m: %llu MiB in all; -m alone is enough", c->high_mem,
		(unsigned long long)((a + b) >> 20));
	return conf_set(c->conf, "memory.size", sum, "-M");
}

struct stdio_use {
	bool com;
	const char *stdio;              /* where it was asked for */
};

static void find_stdio(const char *key, const char *value, const char *origin, void *arg)
{
	struct stdio_use *u = arg;
	size_t n = strlen(key);

	if (!strncmp(key, "lpc.com", 7) && n > 5 && !strcmp(key + n - 5, ".path"))
		u->com = true;
	if (!strcmp(value, "stdio") && (!strncmp(key, "pci.", 4) || !strncmp(key, "lpc.", 4)))
		u->stdio = origin;
}

/* The console is where the operator is, unless something was said about ports or stdio. */
static int add_console(struct cli *c)
{
	struct stdio_use u = { false, NULL };
	bool daemon = conf_bool(c->conf, "daemon");

	conf_walk(c->conf, find_stdio, &u);
	if (daemon && u.stdio)
		return err_msg(-EINVAL, "%s: a VM in the background has no terminal for stdio; leave it out and attach with 'skep console'",
			       u.stdio);
	if (c->bhyve || c->no_console || daemon || u.com || u.stdio)
		return 0;
	return conf_set(c->conf, "lpc.com1.path", "stdio", "default");
}

static int check_name(struct cli *c)
{
	const char *name = conf_raw(c->conf, "name");
	char why[96];

	if (!name)
		return c->name_optional ? 0 : err_msg(-EINVAL, "the VM has no name: end the command line with one, such as vm1");
	if (rundir_name_check(name, why, sizeof(why)))
		return err_msg(-EINVAL, "%s: VM name '%s': %s", conf_origin(c->conf, "name"), name, why);
	return 0;
}

static int check_arch(struct cli *c)
{
	const struct arch_info *a = conf_arch(c->conf);

	if (c->any_arch || a == arch_native)
		return 0;
	return err_msg(-EINVAL, "%s: this host runs %s guests, not %s; 'skep plan --arch %s' shows that machine",
		       conf_origin(c->conf, "arch"), arch_native->name, a->name, a->name);
}

static int finish(struct cli *c)
{
	int err = cli_place_pending(c);

	if (!err)
		err = add_high_mem(c);
	if (!err)
		err = add_console(c);
	if (!err)
		err = conf_check(c->conf);
	if (!err)
		err = check_name(c);
	return err ? err : check_arch(c);
}

static void bhyve_defaults(struct conf *conf)
{
	conf_set(conf, "rtc.use_localtime", "true", "default of bhyve");
	conf_set(conf, "on_reboot", "exit", "default of bhyve");
}

int cli_parse_run(struct cli *c, int argc, char **argv, struct conf *conf)
{
	int err;

	c->conf = conf;
	c->status = STATUS_USAGE;
	if (c->bhyve)
		bhyve_defaults(conf);
	err = parse_args(c, argc, argv);
	if (!err)
		err = finish(c);
	if (!err || err == CLI_ANSWERED)
		return err;
	if (c->status == STATUS_USAGE)
		fprintf(stderr, "try '%s --help'\n", c->prog);
	return c->status;
}

int cli_parse_rows(struct cli *c, int argc, char **argv, struct conf *conf)
{
	int err;

	c->conf = conf;
	c->status = STATUS_USAGE;
	err = parse_args(c, argc, argv);
	if (!err)
		err = conf_check(conf);
	if (!err)
		err = check_name(c);
	if (!err || err == CLI_ANSWERED)
		return err;
	if (c->status == STATUS_USAGE)
		fprintf(stderr, "try '%s --help'\n", c->prog);
	return c->status;
}

int cli_bhyve_status(int status)
{
	static const int map[] = {
		[STATUS_POWEROFF] = 1, [STATUS_REFUSED] = 4, [STATUS_USAGE] = 4, [STATUS_RESET] = 0,
		[STATUS_CRASH] = 3, [STATUS_FAILED] = 4, [6] = 5,
	};

	return status >= 0 && status < (int)NELEM(map) ? map[status] : status;
}
