/*
 * `skep exits record|show|compare`: exit profiles of running VMs and of files.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cmd/cmd.h"
#include "common/cmd/exits_cmd.h"
#include "common/log.h"
#include "common/profile.h"
#include "common/util.h"
#include "common/vm.h"

static const char help_text[] =
	"usage: skep exits record NAME [-o FILE] [-t SECONDS] [--label TEXT] [--trace]\n"
	"       skep exits show FILE|NAME [--by count|rate|time] [--json]\n"
	"       skep exits compare A B [C [D]] [--by count|rate|time] [--json] [--svg FILE] [--html FILE]\n"
	"\n"
	"record: what the exits of a running virtual machine are until Ctrl-C, its end, or for some time\n"
	"  -o FILE       NAME-exits.json when not given; '-' is standard output\n"
	"  -t SECONDS    how long\n"
	"  --label TEXT  what ran, for the reports\n"
	"  --trace       with KVM's tracepoints, for root on the host\n"
	"show: the exits by kind, by device and by register; of a running machine, those since its start\n"
	"compare: profiles side by side, the largest differences first; A, B, ... are files or running machines\n"
	"  --by WHAT     count: exits of the whole recording (default); rate: exits per second; time: time in user space\n"
	"  --svg FILE    bars, as a picture\n"
	"  --html FILE   a page with bars, distributions and explanations, which needs nothing else\n"
	"  --json        the same for programs\n";

/* --- Output --- */

/* What is no regular file, such as /dev/stdout, is written to as it is. */
static int write_through(const char *path, const char *text, size_t len)
{
	FILE *f = fopen(path, "w");
	bool bad = !f || fwrite(text, 1, len, f) != len;
	int err = bad ? err_sys("'%s': write", path) : 0;

	if (f && fclose(f) && !err)
		err = err_sys("'%s': write", path);
	return err;
}

int exits_write(const char *path, const char *text, size_t len)
{
	struct stat st;
	char *tmp;
	int err;

	if (!strcmp(path, "-"))
		return fwrite(text, 1, len, stdout) == len ? 0 : err_sys("standard output");
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return write_through(path, text, len);
	if (asprintf(&tmp, "%s.%d.new", path, (int)getpid()) < 0)
		abort();
	err = write_through(tmp, text, len);
	if (!err && rename(tmp, path))
		err = err_sys("'%s': write", path);
	if (err)
		unlink(tmp);
	free(tmp);
	return err;
}

static int write_made(const char *path, const struct exits_report *r, void (*make)(FILE *, const struct exits_report *))
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = path ? open_memstream(&text, &len) : NULL;
	int err;

	if (!path)
		return 0;
	if (!f)
		return err_sys("'%s'", path);
	make(f, r);
	fclose(f);
	err = exits_write(path, text, len);
	free(text);
	return err;
}

/* --- Input --- */

/* A file, or a running VM where there is no file of that name. */
static json_t *load(const char *what)
{
	const char *dot = strrchr(what, '.');
	struct stat st;

	if (strchr(what, '/') || (dot && !strcmp(dot, ".json")) || (stat(what, &st) == 0 && S_ISREG(st.st_mode)))
		return profile_load(what);
	return exits_of_vm(what);
}

static int report(const struct exits_args *a)
{
	const bool to_stdout = (a->svg && !strcmp(a->svg, "-")) || (a->html && !strcmp(a->html, "-"));
	struct exits_report r = { .by = a->by };
	json_t *o;
	int err = 0;

	while (!err && r.n < a->npos) {
		r.doc[r.n] = load(a->pos[r.n]);
		if (r.doc[r.n])
			r.n++;
		else
			err = -EINVAL;
	}
	if (!err)
		exits_report_make(&r);
	if (!err)
		err = write_made(a->svg, &r, report_svg);
	if (!err)
		err = write_made(a->html, &r, report_html);
	if (!err && a->json) {
		o = exits_report_json(&r);
		json_dumpf(o, stdout, JSON_INDENT(2));
		printf("\n");
		json_decref(o);
	} else if (!err && !to_stdout) {
		report_print(stdout, &r);
	}
	exits_report_free(&r);
	return err;
}

/* --- The command line --- */

enum { RECORD = 1, SHOW = 2, COMPARE = 4 };
static const struct { const char *name; unsigned what; char how; size_t off; } options[] = {
	{ "-o", RECORD, 's', offsetof(struct exits_args, out) },
	{ "-t", RECORD, 't', offsetof(struct exits_args, seconds) },
	{ "--label", RECORD, 's', offsetof(struct exits_args, label) },
	{ "--trace", RECORD, 'b', offsetof(struct exits_args, trace) },
	{ "--by", SHOW | COMPARE, 'y', offsetof(struct exits_args, by) },
	{ "--json", SHOW | COMPARE, 'b', offsetof(struct exits_args, json) },
	{ "--svg", COMPARE, 's', offsetof(struct exits_args, svg) },
	{ "--html", COMPARE, 's', offsetof(struct exits_args, html) },
};

static bool set_by(unsigned *by, const char *text)
{
	for (*by = 0; exits_by_names[*by]; (*by)++)
		if (!strcmp(text, exits_by_names[*by]))
			return true;
	return false;
}

/* How many words were used; 0 after a message. */
static int take_option(struct exits_args *a, unsigned what, char **argv)
{
	char *end;

	for (unsigned i = 0; i < NELEM(options); i++) {
		char *at = (char *)a + options[i].off;

		if (strcmp(argv[0], options[i].name) != 0 || !(options[i].what & what))
			continue;
		if (options[i].how == 'b') {
			*(bool *)at = true;
			return 1;
		}
		if (!argv[1]) {
			cmd_usage("exits", "%s: its value is missing", argv[0]);
			return 0;
		}
		if (options[i].how == 's') {
			*(const char **)(void *)at = argv[1];
		} else if (options[i].how == 't') {
			a->seconds = strtod(argv[1], &end);
			if (*end || !(a->seconds > 0 && a->seconds <= 1e9)) {
				cmd_usage("exits", "-t: '%s' is not a number of seconds above 0", argv[1]);
				return 0;
			}
		} else if (!set_by(&a->by, argv[1])) {
			cmd_usage("exits", "--by: '%s' is not one of count, rate, time", argv[1]);
			return 0;
		}
		return 2;
	}
	cmd_usage("exits", "'%s' is not an option of this command", argv[0]);
	return 0;
}

int cmd_exits(int argc, char **argv)
{
	static const struct {
		const char *name, *missing;
		unsigned what, min, max;
		int (*fn)(const struct exits_args *);
	} commands[] = {
		{ "record", "the machine's name is missing", RECORD, 1, 1, exits_record },
		{ "show", "a file, or the name of a running machine, is missing", SHOW, 1, 1, report },
		{ "compare", "two files or names of running machines are needed", COMPARE, 2, EXITS_DOCS, report },
	};
	struct exits_args a = { 0 };
	unsigned c = 0;
	int used;

	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--help")) {
			fputs(help_text, stdout);
			return 0;
		}
	if (argc < 2)
		return cmd_usage("exits", "what to do is missing: record, show or compare");
	while (c < NELEM(commands) && strcmp(argv[1], commands[c].name) != 0)
		c++;
	if (c == NELEM(commands))
		return cmd_usage("exits", "'%s' is not one of record, show, compare", argv[1]);
	for (int i = 2; i < argc; i += used) {
		used = 1;
		if (argv[i][0] == '-')
			used = take_option(&a, commands[c].what, argv + i);
		else if (a.npos == commands[c].max)
			return cmd_usage("exits", "%s: '%s' is too much", commands[c].name, argv[i]);
		else
			a.pos[a.npos++] = argv[i];
		if (!used)
			return STATUS_USAGE;
	}
	if (a.npos < commands[c].min)
		return cmd_usage("exits", "%s: %s", commands[c].name, commands[c].missing);
	return commands[c].fn(&a) ? STATUS_REFUSED : 0;
}
