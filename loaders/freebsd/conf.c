/*
 * The syntax of loader.conf [FREEBSD loader.conf(5)] and its relatives, device.hints and nextboot.conf: one NAME="VALUE" a line,
 * '#' for comments.  As FreeBSD's loader has it, a value without blanks may go without quotes, and ${NAME} in it is
 * the value of a variable.  A backslash takes the next character as it is.
 *
 * DEVIATION: FreeBSD's loader prints what it cannot read and goes on; here a broken line is refused, so that no setting is
 * lost unseen.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define LINE_LEN_MAX 4096               /* bytes of a line */
#define VALUE_LEN_MAX 4096              /* bytes of a value, variables replaced */

struct line {
	const char *where;
	const char *s, *end;            /* what is left of it */
	char name[LINE_LEN_MAX + 1];
	char value[VALUE_LEN_MAX + 1];
	size_t value_len;
};

static void skip_blanks(struct line *l)
{
	while (l->s < l->end && isspace((unsigned char)*l->s))
		l->s++;
}

static int broken(const struct line *l, const char *why)
{
	return err_msg(-EINVAL, "%s: %s; a line is NAME=\"VALUE\" or a comment after '#'", l->where, why);
}

static int add(struct line *l, const char *s, size_t n)
{
	if (l->value_len + n > VALUE_LEN_MAX)
		return broken(l, "the value is longer than 4096 characters");
	memcpy(l->value + l->value_len, s, n);
	l->value_len += n;
	l->value[l->value_len] = 0;
	return 0;
}

/* At "${": the variable's value. */
static int add_variable(struct line *l, const struct fbsd_conf_to *to)
{
	const char *close = memchr(l->s, '}', (size_t)(l->end - l->s)), *value;
	char name[LINE_LEN_MAX + 1];

	if (!close)
		return broken(l, "'${' has no '}'");
	snprintf(name, sizeof(name), "%.*s", (int)(close - l->s - 2), l->s + 2);
	l->s = close + 1;
	value = to->get(to->arg, name);
	return value ? add(l, value, strlen(value)) : 0;
}

/* Up to the closing quote, or, without quotes, up to a blank or comment. */
static int read_value(struct line *l, const struct fbsd_conf_to *to)
{
	bool quoted = l->s < l->end && *l->s == '"';
	int err = 0;

	l->value_len = 0;
	l->value[0] = 0;
	l->s += quoted;
	while (l->s < l->end && !err) {
		if (quoted ? *l->s == '"' : isspace((unsigned char)*l->s) || *l->s == '#')
			break;
		if (!quoted && *l->s == '"')
			return broken(l, "there is a quote inside the value");
		if (to->get && *l->s == '$' && l->end - l->s > 1 && l->s[1] == '{') {
			err = add_variable(l, to);
			continue;
		}
		if (*l->s == '\\' && ++l->s == l->end)
			return broken(l, "nothing follows the backslash");
		err = add(l, l->s++, 1);
	}
	if (err || !quoted)
		return err;
	if (l->s == l->end)
		return broken(l, "the closing quote is missing");
	l->s++;
	return 0;
}

static int read_line(struct line *l, const struct fbsd_conf_to *to)
{
	const char *start;
	int err;

	skip_blanks(l);
	if (l->s == l->end || *l->s == '#')
		return 0;
	start = l->s;
	while (l->s < l->end && isgraph((unsigned char)*l->s) && !strchr("=\"#", *l->s))
		l->s++;
	snprintf(l->name, sizeof(l->name), "%.*s", (int)(l->s - start), start);
	skip_blanks(l);
	if (!l->name[0] || l->s == l->end || *l->s != '=')
		return broken(l, "there is no NAME= in it");
	l->s++;
	skip_blanks(l);
	if (l->s == l->end || *l->s == '#')
		return broken(l, "the value is missing");
	err = read_value(l, to);
	if (err)
		return err;
	skip_blanks(l);
	if (l->s < l->end && *l->s != '#')
		return broken(l, "something follows the value");
	return to->set(to->arg, l->where, l->name, l->value);
}

int fbsd_conf_parse(const char *path, const char *text, size_t len, const struct fbsd_conf_to *to)
{
	struct line *l = malloc(sizeof(*l));
	const char *end = text + len;
	unsigned n = 0;
	int err = l ? 0 : err_msg(-ENOMEM, "%s: out of memory", path);

	while (text < end && !err) {
		const char *nl = memchr(text, '\n', (size_t)(end - text));
		char where[512];

		snprintf(where, sizeof(where), "%s:%u", path, ++n);
		l->where = where;
		l->s = text;
		l->end = nl ? nl : end;
		if (l->end - l->s > LINE_LEN_MAX)
			err = broken(l, "it is longer than 4096 characters");
		else if (memchr(l->s, 0, (size_t)(l->end - l->s)))
			err = broken(l, "it has a NUL byte");
		else
			err = read_line(l, to);
		text = nl ? nl + 1 : end;
	}
	free(l);
	return err;
}
