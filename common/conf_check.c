/*
 * Checks a complete configuration: every key against the table that knows it, every value against its row,
 * and the few rules between keys.  Nothing is changed; every refusal names where the key was set.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"

struct check {
	const struct conf *conf;
	const struct board *board;
	const char *arch_name;
	int err;
};

const struct conf_refusal *conf_refusal_find(const struct conf_refusal *r, const char *name)
{
	for (; r->name; r++)
		if (!strcmp(r->name, name))
			return r;
	return NULL;
}

static void check_value(struct check *k, const struct opt *o, const char *key, const char *value, const char *origin)
{
	char why[160];

	if (opt_check(o, value, why, sizeof(why)))
		k->err = err_msg(-EINVAL, "%s: %s=%s: %s", origin, key, value, why);
}

static void unknown_key(struct check *k, const struct opt *table, const char *prefix, const char *key, const char *origin)
{
	size_t n = strlen(prefix);
	const char *near = opt_nearest(table, key + n);

	if (near)
		k->err = err_msg(-EINVAL, "%s: unknown key '%s': did you mean '%s%s'?", origin, key, prefix, near);
	else if (n)
		k->err = err_msg(-EINVAL, "%s: unknown key '%s': 'skep help devices' lists what each device takes", origin, key);
	else
		k->err = err_msg(-EINVAL, "%s: unknown key '%s': 'skep help keys' lists them all", origin, key);
}

/* `prefix` is "<id>." */
static void check_class_key(struct check *k, const struct device_class *cls, const char *prefix, const char *key, const char *value,
			    const char *origin)
{
	const struct opt *o = opt_find(cls->opts, key + strlen(prefix));

	if (o)
		check_value(k, o, key, value, origin);
	else
		unknown_key(k, cls->opts, prefix, key, origin);
}

static const char *nearest_class(const char *name)
{
	const char *found = NULL;
	unsigned best = 1000;

	for (const struct device_class *const *c = device_classes; *c; c++)
		if ((*c)->pci && opt_is_near(name, (*c)->name, &best))
			found = (*c)->name;
	return found;
}

int conf_class_refuse(const char *name, const char *origin)
{
	const struct conf_refusal *r = conf_refusal_find(conf_refused_classes, name);
	const char *near = nearest_class(name);

	if (r)
		return err_msg(-EINVAL, "%s: %s: %s", origin, name, r->text);
	if (near)
		return err_msg(-EINVAL, "%s: unknown device '%s': did you mean '%s'?", origin, name, near);
	return err_msg(-EINVAL, "%s: unknown device '%s': 'skep run -s help' lists them", origin, name);
}

const struct device_class *conf_pci_class(const char *name)
{
	const struct device_class *cls = device_class_find(name);

	return cls && cls->pci ? cls : NULL;
}

/* "pci.B.S.F." at the start of a key: its length, 0 when it is not of this form, -1 when a number is too large. */
static int pci_prefix(const char *key)
{
	unsigned b, s, f;
	int n = 0;

	if (sscanf(key, "pci.%5u.%5u.%5u.%n", &b, &s, &f, &n) != 3 || !n || !key[n])
		return 0;
	return b > 0 || s > 31 || f > 7 ? -1 : n;
}

static void check_pci_key(struct check *k, const char *key, const char *value, const char *origin)
{
	int n = pci_prefix(key);
	char id[64], dev[80];
	const char *name;
	const struct device_class *cls;

	if (n <= 0) {
		k->err = err_msg(-EINVAL, n ? "%s: '%s': this machine has PCI bus 0 with slots 0 to 31 and functions 0 to 7"
					    : "%s: '%s': PCI devices are named pci.BUS.SLOT.FUNCTION", origin, key);
		return;
	}
	snprintf(id, sizeof(id), "%.*s", n, key);
	snprintf(dev, sizeof(dev), "%sdevice", id);
	name = conf_raw(k->conf, dev);
	if (!name) {
		k->err = err_msg(-EINVAL, "%s: '%s' belongs to a device whose '%s' is not set", origin, key, dev);
		return;
	}
	cls = conf_pci_class(name);
	if (!strcmp(key, dev)) {
		if (!cls && strcmp(value, CONF_LPC))
			k->err = conf_class_refuse(value, origin);
	} else if (!strcmp(name, CONF_LPC)) {
		k->err = err_msg(-EINVAL, "%s: '%s': lpc takes no options here; its ports are lpc.com1 to lpc.com4", origin, key);
	} else if (cls) {
		check_class_key(k, cls, id, key, value, origin);
	}
}

/* The board's chip whose id, with a dot, begins the key. */
static const struct board_chip *chip_of(const struct board *b, const char *key)
{
	for (const struct board_chip *c = b->chips; c->cls; c++) {
		size_t n = strlen(c->id);

		if (!strncmp(c->id, key, n) && key[n] == '.')
			return c;
	}
	return NULL;
}

static void check_chip_key(struct check *k, const struct board_chip *chip, const char *key, const char *value, const char *origin)
{
	const struct device_class *cls = device_class_find(chip->cls);
	char prefix[64];

	snprintf(prefix, sizeof(prefix), "%s.", chip->id);
	if (cls)
		check_class_key(k, cls, prefix, key, value, origin);
	else
		unknown_key(k, NULL, prefix, key, origin);
}

/* com3 and com4 where the board has only two ports. */
static bool is_com_key(const char *key)
{
	return !strncmp(key, "lpc.com", 7) && key[7] >= '1' && key[7] <= '4' && key[8] == '.';
}

static void check_key(const char *key, const char *value, const char *origin, void *arg)
{
	struct check *k = arg;
	const struct conf_refusal *r = conf_refusal_find(conf_refused_keys, key);
	const struct opt *o = opt_find(conf_global_opts, key);
	const struct board_chip *chip = chip_of(k->board, key);

	if (k->err)
		return;
	k->err = conf_check_expansion(k->conf, key);
	if (k->err)
		return;
	if (r && r->harmless && !strcmp(value, r->harmless))
		return;
	if (r)
		k->err = err_msg(-EINVAL, "%s: %s", origin, r->text);
	else if (o)
		check_value(k, o, key, value, origin);
	else if (!strncmp(key, "pci.", 4))
		check_pci_key(k, key, value, origin);
	else if (chip)
		check_chip_key(k, chip, key, value, origin);
	else if (is_com_key(key))
		k->err = err_msg(-EINVAL, "%s: %.8s: the %s machine of %s has no such serial port; use com1 or com2", origin, key,
				 k->board->name, k->arch_name);
	else
		unknown_key(k, conf_global_opts, "", key, origin);
}

/* bhyve's rule: with both given, the product must be the count. */
static int check_topology(const struct conf *c)
{
	static const char *const parts[] = { "sockets", "cores", "threads" };
	uint64_t n = 1;
	const char *origin = NULL;

	for (size_t i = 0; i < NELEM(parts); i++)
		if (conf_raw(c, parts[i])) {
			n *= conf_u64(c, parts[i]);
			origin = conf_origin(c, parts[i]);
		}
	if (!origin)
		return 0;
	if (conf_raw(c, "cpus") && n != conf_u64(c, "cpus"))
		return err_msg(-EINVAL, "%s: %llu sockets of %llu cores of %llu threads are %llu CPUs, but cpus=%s: change either",
			       origin, (unsigned long long)conf_u64(c, "sockets"), (unsigned long long)conf_u64(c, "cores"),
			       (unsigned long long)conf_u64(c, "threads"), (unsigned long long)n, conf_raw(c, "cpus"));
	if (n > opt_find(conf_global_opts, "cpus")->max)
		return err_msg(-EINVAL, "%s: the topology has %llu CPUs, more than %llu", origin, (unsigned long long)n,
			       (unsigned long long)opt_find(conf_global_opts, "cpus")->max);
	return 0;
}

static bool take_cpu(const char **s, unsigned *out)
{
	size_t n = strspn(*s, "0123456789");

	if (!n || n > 5)
		return false;
	*out = (unsigned)atoi(*s);
	*s += n;
	return *out <= CONF_HOST_CPU_MAX;
}

int conf_cpuset_next(const char **s, unsigned *lo, unsigned *hi)
{
	if (!**s)
		return 0;
	if (!take_cpu(s, lo))
		return -EINVAL;
	*hi = *lo;
	if (**s == '-') {
		++*s;
		if (!take_cpu(s, hi))
			return -EINVAL;
	}
	if (**s == ',' && (*s)[1])
		++*s;
	else if (**s)
		return -EINVAL;
	return *hi >= *lo ? 1 : -EINVAL;
}

static bool cpuset_ok(const char *s)
{
	unsigned lo, hi;
	int more;

	if (!*s)
		return false;
	do
		more = conf_cpuset_next(&s, &lo, &hi);
	while (more > 0);
	return !more;
}

static void check_cpuset(const char *key, const char *value, const char *origin, void *arg)
{
	struct check *k = arg;
	unsigned vcpu;

	if (k->err || sscanf(key, "vcpu.%5u.cpuset", &vcpu) != 1)
		return;
	if (vcpu >= conf_u64(k->conf, "cpus"))
		k->err = err_msg(-EINVAL, "%s: vCPU %u does not exist: this VM has %llu, numbered from 0", origin, vcpu,
				 (unsigned long long)conf_u64(k->conf, "cpus"));
	else if (!cpuset_ok(value))
		k->err = err_msg(-EINVAL, "%s: '%s' is not a list of host CPUs, such as 2 or 0,4-7", origin, value);
}

/* --- the form of what listed keys hold; what it names is looked at by those who use it --- */

static bool env_ok(const char *value)
{
	size_t n = strcspn(value, "=");

	return n && value[n] && strcspn(value, " \t\"") >= n;
}

static bool load_ok(const char *value)
{
	static const struct opt addr = { .name = "ADDR", .type = OPT_SIZE };
	const char *at = strrchr(value, '@');
	char why[80];
	uint64_t gpa;

	return at && at != value && !opt_parse_u64(&addr, at + 1, &gpa, why, sizeof(why));
}

static bool module_ok(const char *value)
{
	char *copy = strdup(value), *s = copy, *word = copy ? cli_word(&s) : NULL;
	bool ok = word && *word;

	while (ok && (word = cli_word(&s)))
		ok = !strncmp(word, "args=", 5) || (!strncmp(word, "type=", 5) && word[5]);
	free(copy);
	return ok;
}

static bool fwcfg_ok(const char *value)
{
	const char *name = strncmp(value, "name=", 5) ? value : value + 5, *what = strchr(name, ',');

	return what && what != name && (!strncmp(what, ",string=", 8) || (!strncmp(what, ",file=", 6) && what[6]));
}

static void check_form(const char *key, const char *value, const char *origin, void *arg)
{
	static const struct { const char *prefix; bool (*ok)(const char *); const char *form; } rows[] = {
		{ "loader.env.", env_ok, "NAME=VALUE, a variable and its value" },
		{ "load.", load_ok, "FILE@ADDR, such as data.bin@0x200000 or data.bin@2M" },
		{ "module.", module_ok, "FILE[,type=TYPE][,args=TEXT]; write ',,' for a comma in one" },
		{ "fwcfg.", fwcfg_ok, "NAME,string=TEXT or NAME,file=PATH" },
	};
	struct check *k = arg;

	for (size_t i = 0; i < NELEM(rows) && !k->err; i++)
		if (!strncmp(key, rows[i].prefix, strlen(rows[i].prefix)) && !rows[i].ok(value))
			k->err = err_msg(-EINVAL, "%s: %s=%s: not %s", origin, key, value, rows[i].form);
}

const struct arch_info *conf_arch(const struct conf *c)
{
	const char *name = conf_raw(c, "arch");
	const struct arch_info *a = name ? arch_find(name) : NULL;

	return a ? a : arch_native;
}

int conf_check(const struct conf *c)
{
	const struct arch_info *a = conf_arch(c);
	struct check k = { c, a->boards[0], a->name, 0 };

	conf_walk(c, check_key, &k);
	if (!k.err)
		k.err = check_topology(c);
	if (!k.err)
		conf_walk(c, check_cpuset, &k);
	if (!k.err)
		conf_walk(c, check_form, &k);
	return k.err;
}
