/*
 * `skep create NAME`: writes a configuration file that names every key there is, those that were given as they were given, all
 * others as comments with their help and defaults.  All of it comes from the option tables.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/cmd/service.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

#define TEXT_LEN_MAX 8000       /* what a line of a file may hold, less a key */

struct item {
	char *key, *text;               /* text as it was written, with its %(...) */
	bool done;
};

struct text {
	FILE *f;
	struct item *items;             /* sorted as conf_dump() does */
	size_t n;
};

/* --- the given keys --- */

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* Where a path may stand in the value of a key: the whole value, or behind a word, which makes it one for sure.  NULL: nowhere. */
static char *path_in(const char *key, char *text, bool *sure)
{
	/* 'm': made by the VM, so that it need not exist; 'l': a list, numbered. */
	static const char keys[] = " kernel\0 initrd\0lmodule.\0lload.\0 loader.hostdir\0 firmware\0 lpc.bootrom\0 lpc.bootvars\0 install.iso\0"
				   "mlog.file\0mexits.file\0mgdb.path\0mpidfile\0";
	const char *last = strrchr(key, '.');
	char *file = !strncmp(key, "fwcfg.", 6) ? strstr(text, ",file=") : NULL;

	*sure = true;
	if (file)
		return file + strlen(",file=");
	for (const char *k = keys; *k; k += strlen(k) + 1) {
		*sure = *k == 'm';
		if (*k == 'l' ? !strncmp(key, k + 1, strlen(k + 1)) : !strcmp(key, k + 1))
			return text;
	}
	if (!last || strcmp(last, ".path"))
		return NULL;
	*sure = !strncmp(text, "unix=", 5) || !strncmp(text, "file=", 5);
	return *sure ? text + 5 : text;
}

/* Does it name a file, rather than a word of ours? */
static bool exists(const char *path)
{
	char *copy = must(strndup(path, strcspn(path, ",@")));
	const bool is = !access(path, F_OK) || !access(copy, F_OK);

	free(copy);
	return is;
}

/* A started VM looks from elsewhere.  "%(" is an expansion: what the directory has of '%' is doubled. */
static void make_absolute(struct item *it, const char *cwd)
{
	bool sure;
	char *path = path_in(it->key, it->text, &sure), *text = NULL;
	size_t len;
	FILE *f;

	if (!path || !path[0] || path[0] == '/' || !strncmp(path, "%(", 2) || (!sure && !exists(path)))
		return;
	f = must(open_memstream(&text, &len));
	fprintf(f, "%.*s", (int)(path - it->text), it->text);
	for (const char *s = cwd; *s; s++)
		fprintf(f, *s == '%' ? "%%%%" : "%c", *s);
	fprintf(f, "/%s", path);
	if (fclose(f))
		abort();
	free(it->text);
	it->text = text;
}

static bool fits(const struct item *it)
{
	const size_t n = strlen(it->text);

	return n <= TEXT_LEN_MAX && (!n || (!strchr(" \t", it->text[0]) && !strchr(" \t", it->text[n - 1])));
}

/* Every key as a text.  0 or -EINVAL (reported): a file cannot hold it. */
static int take_items(struct text *t, const struct conf *conf)
{
	char *dump = NULL, *save, *cwd = getcwd(NULL, 0);
	size_t len;
	FILE *f = must(open_memstream(&dump, &len));
	int err = 0;

	conf_dump(conf, f);
	if (fclose(f))
		abort();
	for (char *line = strtok_r(dump, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');
		struct item it = { .key = must(strndup(line, (size_t)(eq - line))), .text = must(strdup(eq + 1)) };

		if (cwd)
			make_absolute(&it, cwd);
		/* Whose file it is says its name, and how it is started who starts it. */
		it.done = !strcmp(it.key, "name") || !strcmp(it.key, "daemon");
		t->items = must(realloc(t->items, (t->n + 1) * sizeof(it)));
		t->items[t->n++] = it;
		if (!err && !fits(&it))
			err = err_msg(-EINVAL, "%s: the value of '%s' begins or ends with a blank, or is longer than %d characters: no file can hold it",
				      conf_origin(conf, it.key), it.key, TEXT_LEN_MAX);
	}
	free(cwd);
	free(dump);
	return err;
}

/* --- the text --- */

static void given(struct text *t, struct item *it)
{
	fprintf(t->f, "%s=%s\n", it->key, it->text);
	it->done = true;
}

/* The rows of a table, each with what was given of it; `prefix` is "pci.0.3.0." or "". */
static void put_table(struct text *t, const struct opt *table, const char *prefix)
{
	const size_t n = strlen(prefix);

	for (const struct opt *o = table; o && o->name; o++) {
		char limits[160];
		bool any = false;

		if (!n && (!strcmp(o->name, "name") || !strcmp(o->name, "daemon")))
			continue;
		cli_opt_limits(o, limits, sizeof(limits));
		fprintf(t->f, limits[0] ? "\n# %s (%s)\n" : "\n# %s\n", o->help, limits);
		for (size_t i = 0; i < t->n; i++) {
			struct item *it = &t->items[i];

			if (!it->done && !strncmp(it->key, prefix, n) && opt_find(table, it->key + n) == o) {
				given(t, it);
				any = true;
			}
		}
		if (!any)
			fprintf(t->f, "#%s%s=%s\n", prefix, o->name, o->def ? o->def : "");
	}
}

static void put_ports(struct text *t, const struct conf *conf)
{
	const struct arch_info *a = conf_arch(conf);
	const struct device_class *cls = device_class_find(a->serial_class);
	char prefix[32];

	for (const struct board_chip *c = a->boards[0]->chips; cls && c->cls; c++) {
		if (strncmp(c->id, "lpc.com", 7))
			continue;
		fprintf(t->f, "\n# --- serial port %s ---\n", c->id + 4);
		snprintf(prefix, sizeof(prefix), "%s.", c->id);
		put_table(t, cls->opts, prefix);
	}
}

static void put_devices(struct text *t)
{
	fprintf(t->f, "\n# --- PCI devices: 'skep help devices' lists them ---\n\n#pci.0.3.0.device=virtio-blk\n#pci.0.3.0.path=FILE\n");
	for (size_t i = 0; i < t->n; i++) {
		struct item *it = &t->items[i];
		const char *last = strrchr(it->key, '.');
		const struct device_class *cls = last && !strcmp(last, ".device") ? conf_pci_class(it->text) : NULL;
		char prefix[64];

		if (!cls)
			continue;
		fprintf(t->f, "\n# --- %s ---\n", cls->help);
		given(t, it);
		snprintf(prefix, sizeof(prefix), "%.*s", (int)(last - it->key) + 1, it->key);
		put_table(t, cls->opts, prefix);
	}
}

static void put_text(struct text *t, const char *name, const struct conf *conf)
{
	fprintf(t->f, "# Virtual machine %s, see skep-config(5).  Lines that begin with '#' are comments: keys with their\n"
		"# defaults, which take effect without the '#' when 'skep start %s' reads this file.\n", name, name);
	put_table(t, conf_global_opts, "");
	put_ports(t, conf);
	put_devices(t);
	for (size_t i = 0; i < t->n; i++)
		if (!t->items[i].done)
			given(t, &t->items[i]);
}

/* --- the file --- */

/* Makes each missing directory on the way to path. */
static int make_dirs(char *path)
{
	for (char *p = path + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		const int err = mkdir(path, 0755) && errno != EEXIST ? err_sys("directory '%s': create", path) : 0;
		*p = '/';
		if (err)
			return err;
	}
	return 0;
}

static int write_text(struct text *t, const char *tmp, const char *name, const struct conf *conf)
{
	int err;

	unlink(tmp);                    /* of a process that had our number and died */
	t->f = fopen(tmp, "wxe");
	if (!t->f)
		return -errno;
	put_text(t, name, conf);
	err = fflush(t->f) || fsync(fileno(t->f)) ? -errno : 0;
	if (fclose(t->f) && !err)
		err = -errno;
	return err;
}

/* All of it under another name first; link() takes no name that is in use. */
static int write_file(struct text *t, const char *name, const struct conf *conf, char *path, bool force)
{
	char tmp[PATH_MAX + 16];
	int err = make_dirs(path);

	if (err)
		return err;
	if (!force && !access(path, F_OK))
		return err_msg(-EEXIST, "'%s' exists already: edit it, or replace it with --force", path);
	snprintf(tmp, sizeof(tmp), "%s.%ld", path, (long)getpid());
	err = write_text(t, tmp, name, conf);
	if (!err && (force ? rename(tmp, path) : link(tmp, path)))
		err = -errno;
	unlink(tmp);
	if (err == -EEXIST)
		return err_msg(err, "'%s' exists already: edit it, or replace it with --force", path);
	errno = -err;
	return err ? err_sys("configuration file '%s': write", path) : 0;
}

static int opt_force(struct cli *c, const struct cli_opt *o UNUSED, const char *arg UNUSED, const char *origin UNUSED)
{
	*(bool *)c->user = true;
	return 0;
}

static int create(const struct conf *conf, bool force)
{
	const char *name = conf_raw(conf, "name");
	char path[PATH_MAX];
	struct text t = { 0 };
	int err = service_own_conf(name, path, sizeof(path));

	if (!err)
		err = take_items(&t, conf);
	if (!err)
		err = write_file(&t, name, conf, path, force);
	for (size_t i = 0; i < t.n; i++) {
		free(t.items[i].key);
		free(t.items[i].text);
	}
	free(t.items);
	if (!err)
		printf("'%s' is written: edit it, or start the VM with 'skep start %s'\n", path, name);
	return err ? STATUS_REFUSED : 0;
}

int cmd_create_vm(int argc, char **argv)
{
	static const struct cli_opt rows[] = {
		{ .name = "force", .fn = opt_force, .help = "replace the file that is there" },
		{ .help = NULL }
	};
	bool force = false;
	struct cli cli = { .prog = "skep create", .synopsis = "NAME [options]", .extra = rows, .user = &force, .no_console = true };
	struct conf *conf = conf_new();
	int status = cli_parse_run(&cli, argc, argv, conf);

	if (!status)
		status = create(conf, force);
	conf_free(conf);
	return status == CLI_ANSWERED ? 0 : status;
}
