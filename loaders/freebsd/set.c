/*
 * The set of what a FreeBSD start consists of: files, variables, and the boot flags the variables stand for
 * [FREEBSD sys/kern/subr_boot.c].
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

static int no_memory(const char *what)
{
	return err_msg(-ENOMEM, "FreeBSD loader: out of memory for '%.100s'", what);
}

static int too_many(const char *what, const char *name)
{
	return err_msg(-E2BIG, "FreeBSD loader: '%.100s': there are %u %s already; leave some out", name, FBSD_VARS_MAX, what);
}

/* --- variables --- */

/* Index of the variable, or of where it belongs. */
static unsigned var_pos(const struct fbsd_set *s, const char *name, bool *found)
{
	unsigned lo = 0, hi = s->nvars;

	*found = false;
	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		int d = strcmp(s->var[mid].name, name);

		if (!d) {
			*found = true;
			return mid;
		}
		if (d < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const char *fbsd_getenv(const struct fbsd_set *s, const char *name)
{
	bool found;
	unsigned i = var_pos(s, name, &found);

	return found ? s->var[i].value : NULL;
}

int fbsd_setenv(struct fbsd_set *s, const char *name, const char *value)
{
	bool found;
	unsigned i = var_pos(s, name, &found);

	if (!found && s->nvars == FBSD_VARS_MAX)
		return too_many("variables", name);
	char *copy = strdup(value), *key = found ? NULL : strdup(name);
	struct fbsd_var *grown = found ? s->var : realloc(s->var, (s->nvars + 1) * sizeof(*s->var));

	if (grown)
		s->var = grown;
	if (!copy || !grown || (!found && !key)) {
		free(copy);
		free(key);
		return no_memory(name);
	}
	if (found) {
		free(s->var[i].value);
		s->var[i].value = copy;
		return 0;
	}
	memmove(s->var + i + 1, s->var + i, (s->nvars - i) * sizeof(*s->var));
	s->var[i] = (struct fbsd_var){ key, copy };
	s->nvars++;
	return 0;
}

void fbsd_unsetenv(struct fbsd_set *s, const char *name)
{
	bool found;
	unsigned i = var_pos(s, name, &found);

	if (!found)
		return;
	free(s->var[i].name);
	free(s->var[i].value);
	s->nvars--;
	memmove(s->var + i, s->var + i + 1, (s->nvars - i) * sizeof(*s->var));
}

/* --- modules that settings ask for --- */

static int find_wanted(struct fbsd_set *s, const char *name, size_t len, struct fbsd_wanted **out)
{
	struct fbsd_wanted *grown;
	char *key;

	for (unsigned i = 0; i < s->nwanted; i++) {
		*out = &s->wanted[i];
		if (strlen((*out)->key) == len && !memcmp((*out)->key, name, len))
			return 0;
	}
	if (s->nwanted == FBSD_VARS_MAX)
		return too_many("settings of modules", name);
	key = strndup(name, len);
	grown = key ? realloc(s->wanted, (s->nwanted + 1) * sizeof(*s->wanted)) : NULL;
	if (!grown) {
		free(key);
		return no_memory(name);
	}
	s->wanted = grown;
	*out = &s->wanted[s->nwanted++];
	**out = (struct fbsd_wanted){ .key = key };
	return 0;
}

static int replace(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return no_memory(value);
	free(*field);
	*field = copy;
	return 0;
}

static int set_wanted(struct fbsd_wanted *w, const char *suffix, const char *value)
{
	if (!strcmp(suffix, "_load")) {
		w->load = !strcasecmp(value, "yes");
		w->optional = false;
		return 0;
	}
	if (!strcmp(suffix, "_name"))
		return replace(&w->name, value);
	if (!strcmp(suffix, "_type"))
		return replace(&w->type, value);
	if (!strcmp(suffix, "_flags"))
		return replace(&w->flags, value);
	return *value ? replace(&w->unsupported, suffix + 1) : 0;
}

int fbsd_setting(struct fbsd_set *s, const char *name, const char *value)
{
	static const char *const suffixes[] = { "_load", "_name", "_type", "_flags", "_before", "_after", "_error" };
	size_t len = strlen(name);

	if (strchr(name, '.'))          /* a module's name has no dot, a tunable's has */
		return fbsd_setenv(s, name, value);
	for (size_t i = 0; i < NELEM(suffixes); i++) {
		size_t n = strlen(suffixes[i]);

		if (len > n && !strcmp(name + len - n, suffixes[i])) {
			struct fbsd_wanted *w = NULL;
			int err = find_wanted(s, name, len - n, &w);

			return err ? err : set_wanted(w, suffixes[i], value);
		}
	}
	return fbsd_setenv(s, name, value);
}

/* --- flags --- */

static const struct {
	char letter;
	const char *var;
	uint32_t howto;
} flags[] = {
	{ 'a', "boot_askname", FBSD_RB_ASKNAME }, { 'C', "boot_cdrom", FBSD_RB_CDROM }, { 'd', "boot_ddb", FBSD_RB_KDB },
	{ 'D', "boot_multicons", FBSD_RB_MULTIPLE }, { 'g', "boot_gdb", FBSD_RB_GDB }, { 'h', "boot_serial", FBSD_RB_SERIAL },
	{ 'm', "boot_mute", FBSD_RB_MUTE }, { 'p', "boot_pause", FBSD_RB_PAUSE }, { 'r', "boot_dfltroot", FBSD_RB_DFLTROOT },
	{ 's', "boot_single", FBSD_RB_SINGLE }, { 'v', "boot_verbose", FBSD_RB_VERBOSE },
};

uint32_t fbsd_howto(const struct fbsd_set *s)
{
	const char *console = fbsd_getenv(s, "console"), *value;
	uint32_t howto = 0;
	bool video = false;

	for (size_t i = 0; i < NELEM(flags); i++) {
		value = fbsd_getenv(s, flags[i].var);
		if (value && strcasecmp(value, "no"))
			howto |= flags[i].howto;
	}
	for (const char *c = console; c && *c; ) {
		size_t n = strcspn(c, " ,");

		if (n == 10 && !strncmp(c, "vidconsole", n))
			video = true;
		else if (n == 10 && !strncmp(c, "comconsole", n))
			howto |= FBSD_RB_SERIAL;
		else if (n == 11 && !strncmp(c, "nullconsole", n))
			howto |= FBSD_RB_MUTE;
		c += n + strspn(c + n, " ,");
	}
	if (video && (howto & FBSD_RB_SERIAL))
		howto |= FBSD_RB_MULTIPLE;
	return howto;
}

/* The letters behind a '-'. */
static int take_letters(struct fbsd_set *s, const char *what, const char *word)
{
	for (const char *c = word + 1; *c; c++) {
		size_t i = 0;
		int err;

		if (*c == 'S' && c[1] && !c[1 + strspn(c + 1, "0123456789")])
			return fbsd_setenv(s, "comconsole_speed", c + 1);
		while (i < NELEM(flags) && flags[i].letter != *c)
			i++;
		if (i == NELEM(flags))
			return err_msg(-EINVAL, "%s: '%.100s': FreeBSD has no boot flag '%c'; they are a, C, d, D, g, h, m, p, r, s, v "
				       "and S with a speed", what, word, *c);
		err = fbsd_setenv(s, flags[i].var, "YES");
		if (err)
			return err;
	}
	return 0;
}

static int take_word(struct fbsd_set *s, const char *what, char *word)
{
	char *eq = strchr(word, '=');

	if (word[0] == '-' && word[1])
		return take_letters(s, what, word);
	if (!eq || eq == word)
		return err_msg(-EINVAL, "%s: '%.100s' is neither a boot flag such as -s nor NAME=VALUE; FreeBSD's kernel has no command "
			       "line: give variables with -e NAME=VALUE", what, word);
	*eq = 0;
	return fbsd_setting(s, word, eq + 1);
}

int fbsd_boot_args(struct fbsd_set *s, const char *what, const char *text)
{
	char *copy = strdup(text), *save;
	int err = copy ? 0 : no_memory(what);

	for (char *w = copy ? strtok_r(copy, " \t", &save) : NULL; w && !err; w = strtok_r(NULL, " \t", &save))
		err = take_word(s, what, w);
	free(copy);
	return err;
}

/* --- files --- */

int fbsd_add_file(struct fbsd_set *s, const struct fbsd_file *f)
{
	struct fbsd_file *grown;
	uint64_t bytes = f->len;

	for (unsigned i = 0; i < s->nfiles; i++)
		bytes += s->file[i].len;
	if (bytes > FBSD_BYTES_MAX)
		return err_msg(-EFBIG, "'%s': a FreeBSD kernel takes %u MiB of files at its start, itself included, and with this one there are "
			       "%llu MiB: give it on a disk", f->host, (unsigned)(FBSD_BYTES_MAX >> 20), (unsigned long long)bytes >> 20);
	if (s->nfiles == FBSD_FILES_MAX)
		return err_msg(-E2BIG, "'%s': a FreeBSD kernel gets at most %u files; leave some modules out", f->host, FBSD_FILES_MAX);
	grown = realloc(s->file, (s->nfiles + 1) * sizeof(*s->file));
	if (!grown)
		return no_memory(f->host);
	s->file = grown;
	s->file[s->nfiles++] = *f;
	return 0;
}

int fbsd_add_module(struct fbsd_set *s, unsigned file, const char *name, int version)
{
	char *copy = strdup(name);
	struct fbsd_module *grown = copy ? realloc(s->module, (s->nmodules + 1) * sizeof(*s->module)) : NULL;

	if (!grown) {
		free(copy);
		return no_memory(name);
	}
	s->module = grown;
	s->module[s->nmodules++] = (struct fbsd_module){ copy, version, file };
	return 0;
}

static void free_file(struct fbsd_file *f)
{
	free(f->name);
	free(f->host);
	free(f->type_buf);
	free(f->args);
	if (!f->borrowed)
		hostdir_drop(f->data, f->map_len);
}

void fbsd_drop_files(struct fbsd_set *s, unsigned keep)
{
	while (s->nfiles > keep)
		free_file(&s->file[--s->nfiles]);
	while (s->nmodules && s->module[s->nmodules - 1].file >= keep)
		free(s->module[--s->nmodules].name);
}

void fbsd_unload(struct fbsd_set *s)
{
	fbsd_drop_files(s, 0);
}

void fbsd_free(struct fbsd_set *s)
{
	if (!s)
		return;
	fbsd_drop_files(s, 0);
	for (unsigned i = 0; i < s->nvars; i++) {
		free(s->var[i].name);
		free(s->var[i].value);
	}
	for (unsigned i = 0; i < s->nwanted; i++) {
		struct fbsd_wanted *w = &s->wanted[i];

		free(w->key);
		free(w->name);
		free(w->type);
		free(w->flags);
		free(w->unsupported);
	}
	free(s->file);
	free(s->var);
	free(s->module);
	free(s->wanted);
	free(s->nextboot);
	free(s);
}
