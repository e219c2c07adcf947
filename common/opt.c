/*
 * Values and names of option tables: parsing, checking, "did you mean".  Pure functions.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "common/conf.h"
#include "common/util.h"

#define NAME_MAX_LEN 64         /* longer names are never near anything */

static int PRINTF_LIKE(3, 4) refuse(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* Digits of `*s` in C notation; moves *s behind them.  -EINVAL: none, -ERANGE: does not fit. */
static int take_number(const char **s, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)**s))
		return -EINVAL;         /* strtoull would take signs and blanks */
	errno = 0;
	*out = strtoull(*s, &end, 0);
	*s = end;
	return errno == ERANGE ? -ERANGE : 0;
}

/* Shift of a size suffix: K, KB, KiB and so on, either case; -1 when it is none. */
static int suffix_shift(const char *s)
{
	static const char units[] = "KMGT";
	const char *u;

	if (!*s || !strcasecmp(s, "B"))
		return 0;
	u = strchr(units, toupper((unsigned char)*s));
	if (!u || (s[1] && strcasecmp(s + 1, "B") && strcasecmp(s + 1, "iB")))
		return -1;
	return 10 * (int)(u - units + 1);
}

/* A bound as people write it: 256M rather than 268435456. */
static const char *bound_text(const struct opt *o, uint64_t v, char *buf, size_t len)
{
	static const char units[] = "KMGT";
	int u = -1;

	if (o->type == OPT_SIZE)
		for (; u < 3 && v && v % 1024 == 0; u++)
			v /= 1024;
	snprintf(buf, len, u < 0 ? "%llu" : "%llu%c", (unsigned long long)v, u < 0 ? 0 : units[u]);
	return buf;
}

static int check_range(const struct opt *o, uint64_t v, char *why, size_t len)
{
	char b[32];

	if (v < o->min)
		return refuse(why, len, "below %s", bound_text(o, o->min, b, sizeof(b)));
	if (o->max && v > o->max)
		return refuse(why, len, "above %s", bound_text(o, o->max, b, sizeof(b)));
	return 0;
}

int opt_parse_u64(const struct opt *o, const char *text, uint64_t *out, char *why, size_t why_len)
{
	const char *s = text;
	uint64_t v;
	int err = take_number(&s, &v), shift = 0;

	if (err == -EINVAL)
		return refuse(why, why_len, o->type == OPT_SIZE ? "not a size" : "not a number");
	if (err)
		return refuse(why, why_len, "too large");
	if (o->type == OPT_SIZE) {
		/* The unit "MiB" marks the one option where bhyve reads small plain numbers as MiB. */
		if (!*s && o->unit && !strcmp(o->unit, "MiB") && v < MIB(1))
			shift = 20;
		else
			shift = suffix_shift(s);
	} else if (*s) {
		shift = -1;
	}
	if (shift < 0)
		return refuse(why, why_len, o->type == OPT_SIZE ? "not a size (suffixes are K, M, G and T)" : "not a number");
	if (v > UINT64_MAX >> shift)
		return refuse(why, why_len, "too large");
	v <<= shift;
	err = check_range(o, v, why, why_len);
	if (!err)
		*out = v;
	return err;
}

int opt_parse_bool(const char *text, bool *out)
{
	static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

	for (size_t i = 0; i < NELEM(words); i++)
		if (!strcasecmp(text, words[i])) {
			*out = i & 1;
			return 0;
		}
	return -EINVAL;
}

static int check_enum(const struct opt *o, const char *text, char *why, size_t len)
{
	char list[160] = "";
	size_t n = 0;

	for (const char *const *c = o->choices; *c; c++) {
		if (!strcmp(text, *c))
			return 0;
		if (n < sizeof(list))
			n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", *c);
	}
	return refuse(why, len, "not one of %s", list);
}

/* "xx:xx..." with `n` groups of digits as `groups` says, separated by sep. */
static bool hex_groups(const char *s, const unsigned *groups, unsigned n, char sep)
{
	for (unsigned g = 0; g < n; g++) {
		for (unsigned i = 0; i < groups[g]; i++)
			if (!isxdigit((unsigned char)*s++))
				return false;
		if (*s++ != (g + 1 < n ? sep : 0))
			return false;
	}
	return true;
}

static int check_mac(const char *text, char *why, size_t len)
{
	static const unsigned groups[] = { 2, 2, 2, 2, 2, 2 };

	if (!hex_groups(text, groups, NELEM(groups), ':'))
		return refuse(why, len, "not a MAC address (six hexadecimal pairs separated by ':')");
	if (strtoul(text, NULL, 16) & 1)
		return refuse(why, len, "a multicast address; the first byte must be even");
	if (!strcmp(text, "00:00:00:00:00:00"))
		return refuse(why, len, "the all-zero address");
	return 0;
}

static int check_uuid(const char *text, char *why, size_t len)
{
	static const unsigned groups[] = { 8, 4, 4, 4, 12 };

	if (!hex_groups(text, groups, NELEM(groups), '-'))
		return refuse(why, len, "not a UUID (8-4-4-4-12 hexadecimal digits)");
	return 0;
}

static int check_str(const struct opt *o, const char *text, char *why, size_t len)
{
	if (!*text)
		return refuse(why, len, "empty");
	if (o->max && strlen(text) > o->max)
		return refuse(why, len, "longer than %llu characters", (unsigned long long)o->max);
	return 0;
}

int opt_check(const struct opt *o, const char *text, char *why, size_t why_len)
{
	uint64_t v;
	bool b;

	switch (o->type) {
	case OPT_BOOL:
		return opt_parse_bool(text, &b) ? refuse(why, why_len, "neither true nor false") : 0;
	case OPT_U64:
	case OPT_SIZE:
		return opt_parse_u64(o, text, &v, why, why_len);
	case OPT_STR:
		return check_str(o, text, why, why_len);
	case OPT_ENUM:
		return check_enum(o, text, why, why_len);
	case OPT_MAC:
		return check_mac(text, why, why_len);
	case OPT_UUID:
		return check_uuid(text, why, why_len);
	}
	return refuse(why, why_len, "of an unknown type");
}

/* Does a table's name fit?  A part "N" in it stands for a number, a last part "*" for whatever follows. */
static bool name_fits(const char *pat, const char *name)
{
	while (*pat) {
		if (!strcmp(pat, "*"))
			return *name;
		if (pat[0] == 'N' && (pat[1] == '.' || !pat[1])) {
			if (!isdigit((unsigned char)*name))
				return false;
			name += strspn(name, "0123456789");
			pat++;
			continue;
		}
		if (*pat++ != *name++)
			return false;
	}
	return !*name;
}

const struct opt *opt_find(const struct opt *table, const char *name)
{
	for (const struct opt *o = table; o && o->name; o++)
		if (name_fits(o->name, name))
			return o;
	return NULL;
}

/* Edits (insert, delete, replace, swap neighbours) that turn a into b; NAME_MAX_LEN for long names. */
unsigned opt_distance(const char *a, const char *b)
{
	size_t la = strlen(a), lb = strlen(b);
	unsigned row[3][NAME_MAX_LEN + 1], *r0 = row[0], *r1 = row[1], *r2 = row[2], *t;

	if (la > NAME_MAX_LEN || lb > NAME_MAX_LEN)
		return NAME_MAX_LEN;
	for (size_t j = 0; j <= lb; j++)
		r1[j] = (unsigned)j;
	for (size_t i = 1; i <= la; i++) {
		r2[0] = (unsigned)i;
		for (size_t j = 1; j <= lb; j++) {
			r2[j] = MIN(MIN(r1[j] + 1, r2[j - 1] + 1), r1[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				r2[j] = MIN(r2[j], r0[j - 2] + 1);
		}
		t = r0, r0 = r1, r1 = r2, r2 = t;
	}
	return r1[lb];
}

bool opt_is_near(const char *wrong, const char *name, unsigned *best)
{
	unsigned limit = MIN((unsigned)strlen(wrong) / 4 + 1, 3u), d = opt_distance(wrong, name);

	if (d > limit || d >= *best)
		return false;
	*best = d;
	return true;
}

const char *opt_nearest(const struct opt *table, const char *name)
{
	const char *found = NULL;
	unsigned best = NAME_MAX_LEN;

	for (const struct opt *o = table; o && o->name; o++)
		if (opt_is_near(name, o->name, &best))
			found = o->name;
	return found;
}
