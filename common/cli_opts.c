/*
 * Handlers of options that are more than "set this key".
 */
#include <errno.h>
#include <stdlib.h>

#include "common/cli.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

char *cli_word(char **s)
{
	char *start = *s, *in = *s, *out = *s;

	if (!start)
		return NULL;
	while (*in && (*in != ',' || in[1] == ',')) {
		in += *in == ',';
		*out++ = *in++;
	}
	*s = *in ? in + 1 : NULL;
	*out = 0;
	return start;
}

int cli_opt_help(struct cli *c, const struct cli_opt *o UNUSED, const char *arg UNUSED, const char *origin UNUSED)
{
	cli_print_help(stdout, c);
	c->status = STATUS_REFUSED;
	return cli_flush(stdout) ? -EIO : CLI_ANSWERED;
}

int cli_opt_nothing(struct cli *c UNUSED, const struct cli_opt *o UNUSED, const char *arg UNUSED, const char *origin UNUSED)
{
	return 0;
}

int cli_opt_high_mem(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin UNUSED)
{
	c->high_mem = arg;
	return 0;
}

static int set_cpu_word(struct conf *conf, char *word, bool first, const char *origin)
{
	static const char *const keys[] = { "cpus", "sockets", "cores", "threads" };
	char *eq = strchr(word, '=');

	if (!eq && first)
		return conf_set(conf, "cpus", word, origin);
	if (eq) {
		*eq = 0;
		for (size_t i = 0; i < NELEM(keys); i++)
			if (!strcmp(word, keys[i]))
				return conf_set(conf, keys[i], eq + 1, origin);
	}
	return err_msg(-EINVAL, "%s: '%s' is not one of cpus=N, sockets=N, cores=N, threads=N", origin, word);
}

int cli_opt_cpus(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	char *copy = strdup(arg), *s = copy, *word;
	int err = copy ? 0 : -ENOMEM;

	for (bool first = true; !err && (word = cli_word(&s)); first = false)
		err = set_cpu_word(c->conf, word, first, origin);
	free(copy);
	return err;
}

/* A decimal number and nothing behind it. */
static bool number(const char *s, unsigned max, unsigned *out)
{
	size_t n = strspn(s, "0123456789");

	if (!n || n > 6 || s[n])
		return false;
	*out = (unsigned)atoi(s);
	return *out <= max;
}

int cli_opt_pin(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	const char *colon = strchr(arg, ':'), *old;
	char vcpu[8] = "", key[32], set[256];
	unsigned v, h;

	if (colon)
		snprintf(vcpu, sizeof(vcpu), "%.*s", (int)(colon - arg), arg);
	if (!colon || colon - arg >= (int)sizeof(vcpu) || !number(vcpu, 511, &v) || !number(colon + 1, CONF_HOST_CPU_MAX, &h))
		return err_msg(-EINVAL, "%s: '%s' is not VCPU:HOSTCPU, two CPU numbers such as 0:4", origin, arg);
	snprintf(key, sizeof(key), "vcpu.%u.cpuset", v);
	old = conf_raw(c->conf, key);
	if (snprintf(set, sizeof(set), "%s%s%u", old ? old : "", old ? "," : "", h) >= (int)sizeof(set))
		return err_msg(-EINVAL, "%s: too many host CPUs for vCPU %u; give ranges with -o %s=0-63", origin, v, key);
	return conf_set(c->conf, key, set, origin);
}

int cli_opt_file(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin UNUSED)
{
	int err = conf_read_file(c->conf, arg);

	if (err)
		c->status = STATUS_REFUSED;
	return err;
}

int cli_opt_set(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	const char *eq = strchr(arg, '=');
	char key[160];

	if (!eq || eq - arg >= (int)sizeof(key))
		return err_msg(-EINVAL, "%s: '%.100s' is not of the form KEY=VALUE", origin, arg);
	snprintf(key, sizeof(key), "%.*s", (int)(eq - arg), arg);
	return conf_set(c->conf, key, eq + 1, origin);
}

int cli_opt_list(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	char key[64];
	unsigned n = 0;

	do
		snprintf(key, sizeof(key), "%s.%u", o->key, n++);
	while (conf_raw(c->conf, key));
	return conf_set(c->conf, key, arg, origin);
}

/* "[w][ADDR:]PORT", an IPv6 address in brackets; "[w]/PATH" or "[w]unix:PATH". */
int cli_opt_gdb(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	bool wait = arg[0] == 'w';
	const char *text = arg + wait, *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	char addr[256];
	unsigned v;
	int err = 0;

	if (text[0] == '/' || !strncmp(text, "unix:", 5)) {
		err = conf_set(c->conf, "gdb.path", text + (text[0] == '/' ? 0 : 5), origin);
		return err || !wait ? err : conf_set(c->conf, "gdb.wait", "true", origin);
	}
	if (!number(port, 65535, &v) || n >= sizeof(addr))
		return err_msg(-EINVAL, "%s: '%s' is not %s", origin, arg, o->arg);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	snprintf(addr, sizeof(addr), "%.*s", (int)n, text);
	if (n)
		err = conf_set(c->conf, "gdb.address", addr, origin);
	if (!err)
		err = conf_set(c->conf, "gdb.port", port, origin);
	if (!err && wait)
		err = conf_set(c->conf, "gdb.wait", "true", origin);
	return err;
}

/* Is "name=value" (or a bare flag) an option of the port's class, rather than part of the back end? */
static bool port_option(const struct device_class *cls, const char *word, size_t name_len)
{
	char name[32];

	if (!cls || name_len >= sizeof(name) || !name_len)
		return false;
	snprintf(name, sizeof(name), "%.*s", (int)name_len, word);
	return opt_find(cls->opts, name) && strcmp(name, "path");
}

/* BACKEND[,option=value...].  A back end's own words stay with it: "unix=PATH,server". */
static int set_port(struct cli *c, const char *port, const char *text, const char *origin)
{
	const struct device_class *cls = device_class_find(conf_arch(c->conf)->serial_class);
	char *copy = strdup(text), *s = copy, *word, *path = calloc(1, strlen(text) + 1), key[64];
	int err = copy && path ? 0 : -ENOMEM;

	for (bool first = true; !err && (word = cli_word(&s)); ) {
		size_t n = strcspn(word, "=");

		if (!first && word[n] && port_option(cls, word, n)) {
			snprintf(key, sizeof(key), "lpc.%s.%.*s", port, (int)n, word);
			err = conf_set(c->conf, key, word + n + 1, origin);
			continue;
		}
		if (!first)
			strcat(path, ",");
		strcat(path, word);
		first = false;
	}
	snprintf(key, sizeof(key), "lpc.%s.path", port);
	if (!err)
		err = conf_set(c->conf, key, path, origin);
	free(path);
	free(copy);
	return err;
}

int cli_opt_console(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	return set_port(c, "com1", arg, origin);
}

static int set_bootrom(struct cli *c, const char *files, const char *origin)
{
	char *copy = strdup(files), *s = copy, *word = copy ? cli_word(&s) : NULL;
	int err = word ? conf_set(c->conf, "lpc.bootrom", word, origin) : -ENOMEM;

	for (bool vars = false; !err && (word = cli_word(&s)); ) {
		if (!strncmp(word, "fwcfg=", 6)) {
			err = conf_set(c->conf, "lpc.fwcfg", word + 6, origin);
		} else if (vars) {
			err = err_msg(-EINVAL, "%s: '%s' is too much: bootrom,CODE[,VARS]; write ',,' for a comma in a path", origin, word);
		} else {
			err = conf_set(c->conf, "lpc.bootvars", word, origin);
			vars = true;
		}
	}
	free(copy);
	return err;
}

/* The port of QEMU's isa-debug-exit is 0x501 unless told otherwise.  arm64 has no ports. */
static int set_debug_exit(struct cli *c, const char *port, const char *origin)
{
	const struct arch_info *a = conf_arch(c->conf);

	if (!a->has_pio)
		log_info("cli", "%s debugexit: nothing to do on %s; for an exit status of the guest's use -s SLOT,virtio-console,port1=testdev",
			 origin, a->name);
	return conf_set(c->conf, "lpc.debugexit.port", port && *port ? port : "0x501", origin);
}

int cli_opt_port(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	char port[16];
	size_t n = strcspn(arg, ",");

	if (!strcmp(arg, "help")) {
		cli_print_ports(stdout, c->conf);
		c->status = STATUS_REFUSED;
		return cli_flush(stdout) ? -EIO : CLI_ANSWERED;
	}
	snprintf(port, sizeof(port), "%.*s", (int)n, arg);
	if (!strcmp(port, "tpm"))
		return err_msg(-EINVAL, "%s: a TPM is not in this version; leave it out", origin);
	if (!strcmp(port, "pc-testdev"))
		return err_msg(-EINVAL, "%s: the test device is not in this version; leave it out", origin);
	if (!strcmp(port, "debugexit"))
		return set_debug_exit(c, arg[n] ? arg + n + 1 : NULL, origin);
	if (strcmp(port, "bootrom") && (strncmp(port, "com", 3) || port[3] < '1' || port[3] > '4' || port[4]))
		return err_msg(-EINVAL, "%s: '%s' is not a port: they are com1, com2, com3, com4, bootrom and debugexit", origin, port);
	if (!arg[n] || !arg[n + 1])
		return err_msg(-EINVAL, "%s: %s: what to connect it to is missing: %s", origin, port,
			       strcmp(port, "bootrom") ? o->arg : "bootrom,CODE[,VARS]");
	if (!strcmp(port, "bootrom"))
		return set_bootrom(c, arg + n + 1, origin);
	return set_port(c, port, arg + n + 1, origin);
}
