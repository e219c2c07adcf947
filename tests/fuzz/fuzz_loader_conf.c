/*
 * loader.conf and nextboot.conf.  The text is parsed as FreeBSD's loader would, into a set; what came out is written as a
 * loader.conf of its own and must give the same variables.
 */
#include "tests/fuzz/fuzz.h"

#include "loaders/freebsd/freebsd.h"

struct count {
	struct fbsd_set *set;
};

static int set(void *arg, const char *where, const char *name, const char *value)
{
	struct count *c = arg;

	MUST(*where && *name && !strpbrk(name, "=\"# \t\n"));
	MUST(strlen(value) <= 4096);
	return fbsd_setting(c->set, name, value);
}

static const char *get(void *arg, const char *name)
{
	return fbsd_getenv(((struct count *)arg)->set, name);
}

/* NAME="VALUE" with every character that means something escaped; false: longer than a line may be. */
static bool write_var(FILE *f, const struct fbsd_var *v)
{
	size_t n = strlen(v->name) + 3;

	fprintf(f, "%s=\"", v->name);
	for (const char *s = v->value; *s; s++, n++) {
		if (strchr("\\\"$", *s)) {
			fputc('\\', f);
			n++;
		}
		fputc(*s, f);
	}
	fprintf(f, "\"\n");
	return n <= 4096;
}

static void again(const struct fbsd_set *s)
{
	struct count c = { calloc(1, sizeof(struct fbsd_set)) };
	const struct fbsd_conf_to to = { set, get, &c };
	char *text = NULL;
	size_t len;
	bool fits = true;
	FILE *f = open_memstream(&text, &len);

	for (unsigned i = 0; i < s->nvars; i++)
		fits &= write_var(f, &s->var[i]);
	fclose(f);
	if (fits && s->nvars) {
		MUST(fbsd_conf_parse("again", text, len, &to) == 0);
		MUST(c.set->nvars == s->nvars);
		for (unsigned i = 0; i < s->nvars; i++)
			MUST(!strcmp(s->var[i].name, c.set->var[i].name) && !strcmp(s->var[i].value, c.set->var[i].value));
	}
	free(text);
	fbsd_free(c.set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct count c = { calloc(1, sizeof(struct fbsd_set)) };
	const struct fbsd_conf_to to = { set, get, &c };
	char *text = fuzz_copy(data, len);
	long at = fbsd_nextboot_enabled(text, len);

	MUST(at == -1 || (at >= 16 && (size_t)at + 3 <= len && (text[at] == 'y' || text[at] == 'Y')));
	if (fbsd_conf_parse("fuzz", text, len, &to) == 0)
		again(c.set);
	for (unsigned i = 1; i < c.set->nvars; i++)
		MUST(strcmp(c.set->var[i - 1].name, c.set->var[i].name) < 0);
	fbsd_howto(c.set);
	const char *args = fbsd_getenv(c.set, "kernel_options");
	char *copy = args ? strdup(args) : NULL;        /* the flags become variables of the set */
	if (copy)
		fbsd_boot_args(c.set, "kernel_options", copy);
	free(copy);
	fbsd_free(c.set);
	free(text);
	return 0;
}
