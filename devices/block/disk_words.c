#include "devices/block/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/util.h"

#define KEY_LEN 128

struct words {
	struct conf *conf;
	const char *id, *unit, *origin;
};

static int set(const struct words *w, unsigned n, const char *name, const char *value)
{
	char key[KEY_LEN];

	snprintf(key, sizeof(key), "%s.%s.%u.%s", w->id, w->unit, n, name);
	return conf_set(w->conf, key, value, w->origin);
}

static bool is_set(const struct words *w, unsigned n, const char *name)
{
	char key[KEY_LEN];

	snprintf(key, sizeof(key), "%s.%s.%u.%s", w->id, w->unit, n, name);
	return conf_raw(w->conf, key);
}

static unsigned next_free(const struct words *w, unsigned max)
{
	unsigned n = 0;

	while (n < max && (is_set(w, n, "path") || is_set(w, n, "type")))
		n++;
	return n;
}

static int add(const struct words *w, unsigned n, unsigned max, const char *type, const char *path)
{
	int err;

	if (n == max)
		return err_msg(-EINVAL, "%s: '%s:%s': there are at most %u disks on one controller; add another controller", w->id, type,
			       path, max);
	if (!*path && strcmp(type, "cd") != 0)
		return err_msg(-EINVAL, "%s: '%s:' lacks its image: %s:PATH", w->id, type, type);
	err = set(w, n, "type", type);
	return err || !*path ? err : set(w, n, "path", path);
}

int disk_conf_word(struct conf *conf, const char *id, const char *unit, unsigned max, const struct opt *opts, const char *word,
		   const char *origin)
{
	const struct words w = { conf, id, unit, origin };
	const unsigned n = next_free(&w, max);
	const char *eq = strchr(word, '=');
	char name[64], of_unit[KEY_LEN];
	const struct opt *o;

	if (strncmp(word, "hd:", 3) == 0 || strncmp(word, "cd:", 3) == 0)
		return add(&w, n, max, word[0] == 'h' ? "hd" : "cd", word + 3);
	snprintf(name, sizeof(name), "%.*s", eq ? (int)MIN(eq - word, 63) : 63, word);
	snprintf(of_unit, sizeof(of_unit), "%s.0.%s", unit, name);
	o = opt_find(opts, of_unit);
	if (n == 0)
		return eq || o || opt_find(opts, name) ? 1 : add(&w, 0, max, "hd", word);
	if (!o || opt_find(opts, name) || (!eq && o->type != OPT_BOOL))
		return 1;
	return set(&w, n - 1, name, eq ? eq + 1 : "true");
}
