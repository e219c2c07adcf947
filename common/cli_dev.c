/*
 * Devices on the command line: bhyve's -s, and the long options that take the next free slot.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/cli.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"
#include "devices/block/disk.h"

#define FIRST_FREE_SLOT 2       /* 0: host bridge; 1: where bhyve's recipes have the LPC bridge */
#define LPC_SLOT 31             /* q35's own LPC bridge */

struct place {
	unsigned bus, slot, fn;
};

/* One decimal number, with nothing but ':' or the end behind it. */
static bool take(const char **s, unsigned *out)
{
	size_t n = strspn(*s, "0123456789");

	if (!n || n > 4 || ((*s)[n] && (*s)[n] != ':'))
		return false;
	*out = (unsigned)atoi(*s);
	*s += n + ((*s)[n] == ':');
	return true;
}

/* "slot", "slot:fn" or "bus:slot:fn", as bhyve reads them. */
static int parse_place(const char *text, struct place *p, const char *origin)
{
	const char *s = text;
	unsigned v[3], n = 0;

	while (n < 3 && take(&s, &v[n]))
		n++;
	if (!n || *s || text[strlen(text) - 1] == ':')
		return err_msg(-EINVAL, "%s: '%s' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION", origin, text);
	*p = n == 1 ? (struct place){ 0, v[0], 0 } : n == 2 ? (struct place){ 0, v[0], v[1] } : (struct place){ v[0], v[1], v[2] };
	if (p->bus > 0)
		return err_msg(-EINVAL, "%s: '%s': this machine has only PCI bus 0", origin, text);
	if (p->slot > 31 || p->fn > 7)
		return err_msg(-EINVAL, "%s: '%s': slots are 0 to 31 and functions 0 to 7", origin, text);
	return 0;
}

static int unknown_option(const struct device_class *cls, const char *name, const char *origin)
{
	const char *near = opt_nearest(cls->opts, name);

	if (near)
		return err_msg(-EINVAL, "%s: %s has no option '%s': did you mean '%s'?", origin, cls->name, name, near);
	return err_msg(-EINVAL, "%s: %s has no option '%s': '-s %s,help' lists them", origin, cls->name, name, cls->name);
}

/* The generic grammar: name=value, a bare flag, or the class's positional option first. */
static int set_word(struct conf *conf, const struct device_class *cls, const char *id, char *word, bool first, const char *origin)
{
	char *eq = strchr(word, '='), key[128];
	size_t n = eq ? (size_t)(eq - word) : strlen(word);
	char name[64];
	const struct opt *o;

	snprintf(name, sizeof(name), "%.*s", (int)MIN(n, sizeof(name) - 1), word);
	o = opt_find(cls->opts, name);
	if (first && cls->positional && (!o || (!eq && o->type != OPT_BOOL))) {
		snprintf(key, sizeof(key), "%s.%s", id, cls->positional);
		return conf_set(conf, key, word, origin);
	}
	if (!o)
		return unknown_option(cls, name, origin);
	if (!eq && o->type != OPT_BOOL)
		return err_msg(-EINVAL, "%s: %s: '%s' needs a value: %s=...", origin, cls->name, name, name);
	snprintf(key, sizeof(key), "%s.%s", id, name);
	return conf_set(conf, key, eq ? eq + 1 : "true", origin);
}

static int set_words(struct cli *c, const struct device_class *cls, const char *id, char *s, const char *origin)
{
	char *word;
	int err;

	for (bool first = true; (word = cli_word(&s)); first = false) {
		if (!*word)
			return err_msg(-EINVAL, "%s: %s: a word is missing between two commas (',,' is a comma in a word)", origin,
				       cls->name);
		err = cls->conf_word ? cls->conf_word(c->conf, id, word, origin) : 1;
		if (err > 0)
			err = set_word(c->conf, cls, id, word, first, origin);
		if (err)
			return err;
	}
	return 0;
}

/* bhyve's AMD flavour of the bridge differs in two identity registers no guest here depends on. */
static const char *class_name(const char *name)
{
	return !strcmp(name, "amd_hostbridge") ? "hostbridge" : name;
}

/* The x86 machine always has its bridge at slot 31, where firmware expects it; the arm64 machine needs none. */
static int accept_lpc(const struct cli *c, const char *words, const char *origin)
{
	if (words)
		return err_msg(-EINVAL, "%s: lpc takes no options here; connect its ports with -l", origin);
	log_info("cli", "%s lpc: nothing to do on %s", origin, conf_arch(c->conf)->name);
	return 0;
}

/* Names and configures a device; `words` may be NULL. */
static int add_device(struct cli *c, const struct place *p, const char *name, char *words, const char *origin)
{
	const struct device_class *cls = conf_pci_class(class_name(name));
	char id[32], key[48];
	const char *other;
	int err;

	if (!strcmp(name, CONF_LPC))
		return accept_lpc(c, words, origin);
	if (!cls)
		return conf_class_refuse(name, origin);
	snprintf(id, sizeof(id), "pci.%u.%u.%u", p->bus, p->slot, p->fn);
	snprintf(key, sizeof(key), "%s.device", id);
	other = conf_raw(c->conf, key);
	if (other)
		return err_msg(-EINVAL, "%s: slot %u:%u:%u already holds %s (%s): choose another", origin, p->bus, p->slot,
			       p->fn, other, conf_origin(c->conf, key));
	err = conf_set(c->conf, key, cls->name, origin);
	return err || !words ? err : set_words(c, cls, id, words, origin);
}

static int answer(struct cli *c, const char *name, const char *origin)
{
	const struct device_class *cls = name ? conf_pci_class(class_name(name)) : NULL;

	if (!name)
		cli_print_classes(stdout);
	else if (!strcmp(name, CONF_LPC))
		printf("lpc: takes no options; connect its ports with -l\n");
	else if (cls)
		cli_print_class(stdout, cls);
	else
		return conf_class_refuse(name, origin);
	c->status = STATUS_REFUSED;
	return cli_flush(stdout) ? -EIO : CLI_ANSWERED;
}

static int parse_slot(struct cli *c, char *s, const char *origin)
{
	char *where = cli_word(&s), *name, *rest;
	struct place p;
	int err;

	if (!strcmp(where, "help"))
		return answer(c, NULL, origin);
	if (s && !strcmp(s, "help"))
		return answer(c, where, origin);
	err = parse_place(where, &p, origin);
	if (err)
		return err;
	name = cli_word(&s);
	if (!name || !*name)
		return err_msg(-EINVAL, "%s: slot %s: the device's name is missing: '-s help' lists them", origin, where);
	rest = s;
	if (rest && !strcmp(rest, "help"))
		return answer(c, name, origin);
	return add_device(c, &p, name, rest, origin);
}

int cli_opt_slot(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	char *copy = strdup(arg);
	int err = copy ? parse_slot(c, copy, origin) : -ENOMEM;

	free(copy);
	return err;
}

/* The class of an option that takes the next free slot; a CD is another one where firmware knows no other. */
static const char *auto_class(const struct cli *c, const struct cli_opt *o)
{
	return o->key ? o->key : conf_arch(c->conf)->cdrom_class;
}

/* Placed at the end, when every slot named on the line or in a file is known. */
int cli_opt_auto(struct cli *c, const struct cli_opt *o, const char *arg, const char *origin)
{
	if (!strcmp(arg, "help"))
		return answer(c, auto_class(c, o), origin);
	if (c->npending == CLI_PENDING_MAX)
		return err_msg(-EINVAL, "%s: more than %d devices without a slot: name slots with -s", origin, CLI_PENDING_MAX);
	c->pending[c->npending].opt = o;
	c->pending[c->npending++].arg = arg;
	return 0;
}

static bool slot_free(const struct conf *conf, unsigned slot)
{
	char key[32];

	for (unsigned fn = 0; fn < 8; fn++) {
		snprintf(key, sizeof(key), "pci.0.%u.%u.device", slot, fn);
		if (conf_raw(conf, key))
			return false;
	}
	return true;
}

/* The next free slot, from *slot on. */
static int next_slot(struct cli *c, const char *origin, unsigned *slot)
{
	while (*slot < LPC_SLOT && !slot_free(c->conf, *slot))
		++*slot;
	if (*slot == LPC_SLOT)
		return err_msg(-EINVAL, "%s: no slot from %d to %d is free", origin, FIRST_FREE_SLOT, LPC_SLOT - 1);
	return 0;
}

static int place_one(struct cli *c, const struct cli_opt *o, const char *arg, unsigned *slot)
{
	struct place p = { 0, 0, 0 };
	char *words, origin[48];

	snprintf(origin, sizeof(origin), "--%s", o->name);
	int err = next_slot(c, origin, slot);
	if (err)
		return err;
	p.slot = *slot;
	if (asprintf(&words, "%s%s%s", arg, o->value ? "," : "", o->value ? o->value : "") < 0)
		return -ENOMEM;
	err = add_device(c, &p, auto_class(c, o), words, origin);
	free(words);
	return err;
}

struct find_medium {
	const struct conf *conf;
	const char *path;
	bool found;
};

static void find_medium(const char *key, const char *value, const char *origin UNUSED, void *arg)
{
	struct find_medium *f = arg;
	bool writable;

	f->found |= !strcmp(value, f->path) && disk_of_key(f->conf, key, &writable) && !writable;
}

/* The key install.iso brings its own read-only disk, unless the medium is attached as one already. */
static int place_install(struct cli *c, unsigned *slot)
{
	static const struct { const char *name, *value; } opts[] = {
		{ "device", "virtio-blk" }, { "path", "%(install.iso)" }, { "ro", "true" },
	};
	struct find_medium f = { c->conf, conf_raw(c->conf, "install.iso"), false };
	char key[48];

	if (!f.path)
		return 0;
	conf_walk(c->conf, find_medium, &f);
	if (f.found)
		return 0;
	int err = next_slot(c, "install.iso", slot);
	for (size_t i = 0; i < NELEM(opts) && !err; i++) {
		snprintf(key, sizeof(key), "pci.0.%u.0.%s", *slot, opts[i].name);
		err = conf_set(c->conf, key, opts[i].value, "install.iso");
	}
	return err;
}

int cli_place_pending(struct cli *c)
{
	unsigned slot = FIRST_FREE_SLOT;
	int err = 0;

	for (unsigned i = 0; i < c->npending && !err; i++)
		err = place_one(c, c->pending[i].opt, c->pending[i].arg, &slot);
	return err ? err : place_install(c, &slot);
}
