/*
 * The configuration tree, kept as an array of keys sorted part by part, numbers by value.  Values keep the
 * text they were given; %(key) is expanded when a value is asked for, so that order does not matter.
 * The file syntax is bhyve_config(5)'s.
 */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/util.h"

#define KEY_MAX 128             /* characters in a key */
#define LINE_MAX_LEN 8192       /* bytes in a line of a file */
#define VALUE_MAX 65536         /* characters in an expanded value */
#define EXPAND_DEPTH 8

struct entry {
	char *key, *text, *origin;
	char *expanded;                 /* cache; NULL: not asked for yet */
};

struct conf {
	struct entry **e;
	size_t n, cap;
};

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static char *dup_str(const char *s)
{
	return must(strdup(s));
}

struct conf *conf_new(void)
{
	return must(calloc(1, sizeof(struct conf)));
}

static void entry_clear(struct entry *e)
{
	free(e->text);
	free(e->origin);
	free(e->expanded);
	e->expanded = NULL;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++) {
		entry_clear(c->e[i]);
		free(c->e[i]->key);
		free(c->e[i]);
	}
	free(c->e);
	free(c);
}

/* The end sorts first and a dot next, so that a node's keys stay together. */
static int char_rank(char ch)
{
	return !ch ? 0 : ch == '.' ? 1 : 2 + (unsigned char)ch;
}

/* Runs of digits compare as numbers, so that pci.0.10 follows pci.0.9. */
static int key_cmp(const char *a, const char *b)
{
	while (*a && *b) {
		size_t la = strspn(a, "0123456789"), lb = strspn(b, "0123456789");
		int d;

		if (!la || !lb) {
			if (*a != *b)
				break;
			la = lb = 1;
		}
		d = la != lb ? (la < lb ? -1 : 1) : memcmp(a, b, la);
		if (d)
			return d;
		a += la;
		b += lb;
	}
	return char_rank(*a) - char_rank(*b);
}

/* Index of the key, or of where it belongs. */
static size_t key_pos(const struct conf *c, const char *key, bool *found)
{
	size_t lo = 0, hi = c->n;

	*found = false;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int d = key_cmp(c->e[mid]->key, key);

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

static struct entry *entry_find(const struct conf *c, const char *key)
{
	bool found;
	size_t i = key_pos(c, key, &found);

	return found ? c->e[i] : NULL;
}

/* Parts of letters, digits, '_' and '-', separated by single dots; numbers without leading zeros. */
static bool key_form_ok(const char *key)
{
	bool start = true;

	if (!*key || strlen(key) > KEY_MAX)
		return false;
	for (const char *s = key; *s; s++) {
		if (*s == '.') {
			if (start)
				return false;
			start = true;
			continue;
		}
		if (!isalnum((unsigned char)*s) && *s != '_' && *s != '-')
			return false;
		if (start && *s == '0' && isdigit((unsigned char)s[1]))
			return false;
		start = false;
	}
	return !start;
}

static struct entry *entry_make(struct conf *c, const char *key)
{
	bool found;
	size_t i = key_pos(c, key, &found);

	if (found)
		return c->e[i];
	if (c->n == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 32;
		c->e = must(realloc(c->e, c->cap * sizeof(struct entry *)));
	}
	memmove(c->e + i + 1, c->e + i, (c->n - i) * sizeof(struct entry *));
	c->e[i] = must(calloc(1, sizeof(struct entry)));
	c->e[i]->key = dup_str(key);
	c->n++;
	return c->e[i];
}

int conf_set(struct conf *c, const char *key, const char *value, const char *origin)
{
	struct entry *e;
	char *text, *from;

	if (!key_form_ok(key))
		return err_msg(-EINVAL, "%s: '%.*s' is not a key: keys are words of letters, digits, '_' and '-' separated by dots",
			       origin, KEY_MAX, key);
	for (const char *s = value; *s; s++)
		if (*s == '\n' || *s == '\r')
			return err_msg(-EINVAL, "%s: the value of '%s' has a line break, which no key may have", origin, key);
	if (strlen(value) > VALUE_MAX)
		return err_msg(-EINVAL, "%s: the value of '%s' is longer than %d characters", origin, key, VALUE_MAX);
	e = entry_make(c, key);
	text = dup_str(value);          /* both may be what is about to be freed */
	from = dup_str(origin);
	entry_clear(e);
	e->text = text;
	e->origin = from;
	for (size_t i = 0; i < c->n; i++) {
		free(c->e[i]->expanded);
		c->e[i]->expanded = NULL;
	}
	return 0;
}

void conf_merge(struct conf *c, const struct conf *from)
{
	for (size_t i = 0; i < from->n; i++)
		conf_set(c, from->e[i]->key, from->e[i]->text, from->e[i]->origin);
}

struct conf *conf_copy(const struct conf *from, const char *skip)
{
	struct conf *c = conf_new();

	for (size_t i = 0; i < from->n; i++)
		if (!skip || strncmp(from->e[i]->key, skip, strlen(skip)))
			conf_set(c, from->e[i]->key, from->e[i]->text, from->e[i]->origin);
	return c;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = 0;
	return s;
}

static int read_line(struct conf *c, char *line, const char *origin)
{
	char *key = trim(line), *eq;

	if (!*key || *key == '#')
		return 0;
	eq = strchr(key, '=');
	if (!eq)
		return err_msg(-EINVAL, "%s: '%.60s' is not of the form key=value", origin, key);
	*eq = 0;
	return conf_set(c, trim(key), trim(eq + 1), origin);
}

static int read_lines(struct conf *c, FILE *f, const char *path)
{
	char line[LINE_MAX_LEN + 2], origin[512];

	for (unsigned n = 1; fgets(line, sizeof(line), f); n++) {
		size_t len = strlen(line);
		int err;

		snprintf(origin, sizeof(origin), "%s:%u", path, n);
		if (len && line[len - 1] != '\n' && len > LINE_MAX_LEN)
			return err_msg(-EINVAL, "%s: the line is longer than %d bytes", origin, LINE_MAX_LEN);
		if ((!len || line[len - 1] != '\n') && !feof(f))
			return err_msg(-EINVAL, "%s: has a NUL byte, so this is not a configuration file", origin);
		err = read_line(c, line, origin);
		if (err)
			return err;
	}
	return ferror(f) ? err_sys("configuration file '%s': read", path) : 0;
}

int conf_read_file(struct conf *c, const char *path)
{
	FILE *f = fopen(path, "re");
	int err;

	if (!f)
		return err_sys("configuration file '%s': open", path);
	err = read_lines(c, f, path);
	fclose(f);
	return err;
}

/* A growing string for expansion; NULL s after it became longer than VALUE_MAX. */
struct text {
	char *s;
	size_t len;
	bool too_long;
};

static void text_add(struct text *t, const char *s, size_t n)
{
	if (t->len + n > VALUE_MAX) {
		t->too_long = true;
		return;
	}
	t->s = must(realloc(t->s, t->len + n + 1));
	memcpy(t->s + t->len, s, n);
	t->len += n;
	t->s[t->len] = 0;
}

static bool expand(const struct conf *c, const char *s, struct text *t, unsigned depth, char *why, size_t why_len);

/* The key named at s, behind "%("; s ends up behind the ')'. */
static bool expand_key(const struct conf *c, const char **s, struct text *t, unsigned depth, char *why, size_t why_len)
{
	char key[KEY_MAX + 1];
	size_t n = strcspn(*s, ")");
	const struct entry *e;
	const struct opt *o;

	if (!(*s)[n] || n > KEY_MAX) {
		snprintf(why, why_len, "'%%(' without ')' ('%%%%(' is a literal one)");
		return false;
	}
	snprintf(key, sizeof(key), "%.*s", (int)n, *s);
	*s += n + 1;
	e = entry_find(c, key);
	if (e)
		return expand(c, e->text, t, depth + 1, why, why_len);
	o = opt_find(conf_global_opts, key);
	if (o && o->def) {
		text_add(t, o->def, strlen(o->def));
		return true;
	}
	snprintf(why, why_len, "'%%(%s)' names a key that is not set", key);
	return false;
}

static bool expand(const struct conf *c, const char *s, struct text *t, unsigned depth, char *why, size_t why_len)
{
	text_add(t, "", 0);
	if (depth > EXPAND_DEPTH) {
		snprintf(why, why_len, "refers to itself");
		return false;
	}
	while (*s && !t->too_long) {
		if (s[0] == '%' && s[1] == '(') {
			s += 2;
			if (!expand_key(c, &s, t, depth, why, why_len))
				return false;
		} else {
			s += s[0] == '%' && s[1] == '%';
			text_add(t, s++, 1);
		}
	}
	if (t->too_long)
		snprintf(why, why_len, "longer than %d characters when expanded", VALUE_MAX);
	return !t->too_long;
}

/* What cannot be expanded stands as it is written; conf_check() has refused it. */
static const char *entry_value(const struct conf *c, struct entry *e)
{
	struct text t = { NULL, 0, false };
	char why[96 + KEY_MAX];

	if (!strchr(e->text, '%'))
		return e->text;
	if (e->expanded)
		return e->expanded;
	if (!expand(c, e->text, &t, 0, why, sizeof(why))) {
		free(t.s);
		t.s = dup_str(e->text);
	}
	e->expanded = t.s;
	return e->expanded;
}

const char *conf_raw(const struct conf *c, const char *key)
{
	struct entry *e = entry_find(c, key);

	return e ? entry_value(c, e) : NULL;
}

int conf_check_expansion(const struct conf *c, const char *key)
{
	const struct entry *e = entry_find(c, key);
	struct text t = { NULL, 0, false };
	char why[96 + KEY_MAX];
	bool ok = !e || expand(c, e->text, &t, 0, why, sizeof(why));

	free(t.s);
	return ok ? 0 : err_msg(-EINVAL, "%s: %s=%s: %s", e->origin, key, e->text, why);
}

const char *conf_origin(const struct conf *c, const char *key)
{
	const struct entry *e = entry_find(c, key);

	return e ? e->origin : NULL;
}

/* A global key's value or default. */
static const char *value_or_default(const struct conf *c, const char *key, const struct opt **row)
{
	const char *v = conf_raw(c, key);

	*row = opt_find(conf_global_opts, key);
	assert(*row);
	return v ? v : (*row)->def;
}

const char *conf_str(const struct conf *c, const char *key)
{
	const struct opt *o;

	return value_or_default(c, key, &o);
}

uint64_t conf_u64(const struct conf *c, const char *key)
{
	const struct opt *o;
	const char *v = value_or_default(c, key, &o);
	uint64_t n = 0;
	char why[80];

	assert(o->type == OPT_U64 || o->type == OPT_SIZE);
	if (!strcmp(key, "cpus") && !conf_raw(c, key))
		return conf_u64(c, "sockets") * conf_u64(c, "cores") * conf_u64(c, "threads");
	if (v)
		opt_parse_u64(o, v, &n, why, sizeof(why));
	return n;
}

bool conf_bool(const struct conf *c, const char *key)
{
	const struct opt *o;
	const char *v = value_or_default(c, key, &o);
	bool b = false;

	assert(o->type == OPT_BOOL);
	if (v)
		opt_parse_bool(v, &b);
	return b;
}

void conf_walk(const struct conf *c, void (*fn)(const char *key, const char *value, const char *origin, void *), void *arg)
{
	for (size_t i = 0; i < c->n; i++)
		fn(c->e[i]->key, entry_value(c, c->e[i]), c->e[i]->origin, arg);
}

void conf_dump(const struct conf *c, FILE *f)
{
	for (size_t i = 0; i < c->n; i++)
		fprintf(f, "%s=%s\n", c->e[i]->key, c->e[i]->text);
}
