/*
 * `skep img COMMAND`: disk images on the host.  Options, output and exit statuses are those users of qemu-img know.
 */
#include "common/cmd/img_cmd.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/util.h"

enum { CREATE = 1, INFO = 2, CONVERT = 4, CHECK = 8, RESIZE = 16, REBASE = 32, COMMIT = 64, MAP = 128, COMPARE = 256, SNAPSHOT = 512, CKPT = 1024 };

static const struct img_cmd {
	const char *name, *synopsis, *help;
	unsigned bit;
	int min, max;                   /* words that are no options */
	int (*fn)(const struct img_args *);
} img_cmds[] = {
	{ "create", "FILE [SIZE]", "make an image; the size is the backing file's unless given", CREATE, 1, 2, img_cmd_create },
	{ "info", "FILE", "format, sizes, backing file, snapshots", INFO, 1, 1, img_cmd_info },
	{ "convert", "FILE... OUT", "copy into another format; several files follow one another", CONVERT, 2, INT_MAX, img_cmd_convert },
	{ "check", "FILE", "look for damage and lost space; repair it", CHECK, 1, 1, img_cmd_check },
	{ "resize", "FILE [+|-]SIZE", "make it larger or smaller", RESIZE, 2, 2, img_cmd_resize },
	{ "rebase", "FILE", "change the backing file; none with -b ''", REBASE, 1, 1, img_cmd_rebase },
	{ "commit", "FILE", "write what is in FILE into its backing file", COMMIT, 1, 1, img_cmd_commit },
	{ "map", "FILE", "what lies where", MAP, 1, 1, img_cmd_map },
	{ "compare", "FILE1 FILE2", "do two images hold the same?", COMPARE, 2, 2, img_cmd_compare },
	{ "snapshot", "list|create|apply|delete FILE [NAME]", "snapshots inside a qcow2 image", SNAPSHOT, 1, 3, img_cmd_snapshot },
	{ "checkpoint", "create|drop|branch FILE NAME [PATH]", "keep what the disk holds now, as its file system or volume can", CKPT, 3, 4,
	  img_cmd_checkpoint },
};

enum { OPT_JSON = 256, OPT_OUTPUT, OPT_SHRINK, OPT_DIR, OPT_CHAIN, OPT_REPAIR, OPT_STORE, OPT_HELP };

static const struct img_opt {
	int c;                          /* letter, or OPT_* */
	const char *name, *arg;
	unsigned cmds;
	const char *help;
} img_opts[] = {
	{ 'f', "format", "FMT", ~0u, "format of FILE; default: as its contents say (create: raw)" },
	{ 'F', "target-format", "FMT", COMPARE, "format of FILE2" },
	{ 'F', "backing-format", "FMT", CREATE | REBASE | CONVERT, "format of the backing file" },
	{ 'O', "output-format", "FMT", CONVERT, "format of OUT; default: raw" },
	{ 'o', "options", "NAME=VALUE,...", CREATE | CONVERT, "of the format: see skep-img(1)" },
	{ 'b', "backing", "FILE", CREATE | REBASE | COMMIT, "backing file; commit: the one of the chain to write into" },
	{ 'B', "backing", "FILE", CONVERT, "backing file of OUT, which then holds only what differs from it" },
	{ 'c', "compress", NULL, CONVERT, "compress (qcow2, streamOptimized vmdk)" },
	{ 'n', "no-create", NULL, CONVERT, "OUT is there already" },
	{ 'S', "sparse", "SIZE", CONVERT, "zeroes of this length become holes; default: 4k, 0: none" },
	{ 'r', NULL, "leaks|all", CHECK, "what to repair" },
	{ OPT_REPAIR, "repair", NULL, CHECK, "same as -r all" },
	{ OPT_SHRINK, "shrink", NULL, RESIZE, "a smaller size is meant" },
	{ 'u', "unsafe", NULL, REBASE, "only change the name: the contents are known to be the same" },
	{ 'd', "keep", NULL, COMMIT, "do not empty FILE afterwards" },
	{ 's', "strict", NULL, COMPARE, "different sizes, or zeroes here and nothing there, are a difference" },
	{ 'l', NULL, NULL, SNAPSHOT, "same as list" },
	{ 'c', NULL, "NAME", SNAPSHOT, "same as create" },
	{ 'a', NULL, "NAME", SNAPSHOT, "same as apply" },
	{ 'd', NULL, "NAME", SNAPSHOT, "same as delete" },
	{ OPT_STORE, "store", "STORE", CKPT, "qcow2, overlay, reflink, zfs or lvm; default: the best there is" },
	{ OPT_JSON, "json", NULL, INFO | CHECK | MAP | SNAPSHOT, "as JSON" },
	{ OPT_OUTPUT, "output", "human|json", INFO | CHECK | MAP, "how to print" },
	{ OPT_CHAIN, "backing-chain", NULL, INFO, "also the images it is based on" },
	{ 'U', "force-share", NULL, INFO | CHECK | MAP | COMPARE | CONVERT | SNAPSHOT, "also an image a machine writes at this moment" },
	{ OPT_DIR, "backing-dir", "DIR[:DIR...]", ~0u, "where backing files may lie beside the image's directory; / for anywhere" },
	{ 'p', "progress", NULL, CONVERT | REBASE | COMMIT | COMPARE, "show progress also where there is no terminal" },
	{ 'q', "quiet", NULL, ~0u, "no output but errors" },
	{ OPT_HELP, "help", NULL, ~0u, "this text" },
};

static const struct img_cmd *cmd_find(const char *name)
{
	for (size_t i = 0; i < NELEM(img_cmds); i++)
		if (!strcmp(img_cmds[i].name, name))
			return &img_cmds[i];
	return NULL;
}

static int print_commands(void)
{
	printf("usage: skep img COMMAND [options] FILE...\n\n");
	for (size_t i = 0; i < NELEM(img_cmds); i++)
		printf("  %-10s %-42s %s\n", img_cmds[i].name, img_cmds[i].synopsis, img_cmds[i].help);
	printf("\nformats:");
	for (const struct img_driver *const *d = img_drivers; *d; d++)
		printf(" %s", (*d)->name);
	printf("\n'skep img COMMAND --help' shows its options.\n");
	return IMG_OK;
}

static int print_options(const struct img_cmd *c)
{
	printf("usage: skep img %s [options] %s\n%s\n\n", c->name, c->synopsis, c->help);
	for (size_t i = 0; i < NELEM(img_opts); i++) {
		const struct img_opt *o = &img_opts[i];
		char letter[4] = "  ", text[64];

		if (!(o->cmds & c->bit))
			continue;
		if (o->c < 256)
			snprintf(letter, sizeof(letter), "-%c", o->c);
		snprintf(text, sizeof(text), "%s%s%s%s%s%s", letter, o->c < 256 && o->name ? ", " : "", o->c < 256 ? "" : "  ",
			 o->name ? "--" : "", o->name ? o->name : "", o->arg ? " " : "");
		printf("  %s%-*s %s\n", text, (int)(36 - MIN(strlen(text), 35)), o->arg ? o->arg : "", o->help);
	}
	return IMG_OK;
}

static int usage(const struct img_cmd *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
static int usage(const struct img_cmd *c, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "skep img%s%s: ", c ? " " : "", c ? c->name : "");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\ntry 'skep img %s%s--help'\n", c ? c->name : "", c ? " " : "");
	/* compare's 1 means "different" */
	return c && c->bit == COMPARE ? IMG_ERROR : IMG_FAILED;
}

/* "a=b,c=d": cut at the commas, where ",," is one. */
static int take_options(struct img_args *a, char *text)
{
	for (char *w = text, *r = text, *s = text;; r++) {
		if (*r == ',' && r[1] == ',') {
			*w++ = *r++;
		} else if (*r == ',' || !*r) {
			const bool end = !*r;

			*w++ = 0;
			if (a->noptions == IMG_OPTIONS_MAX)
				return -E2BIG;
			a->options[a->noptions++] = s;
			s = w;
			if (end)
				return 0;
		} else {
			*w++ = *r;
		}
	}
}

static int option(const struct img_cmd *c, struct img_args *a, int opt, char *arg)
{
	switch (opt) {
	case 'f': a->format = arg; break;
	case 'F': a->backing_format = arg; break;
	case 'O': a->out_format = arg; break;
	case 'b':
	case 'B': a->backing = arg; break;
	case 'n': a->no_create = true; break;
	case 'S': a->sparse = arg; break;
	case 'u': a->unsafe = true; break;
	case 's': a->strict = true; break;
	case 'U': a->share = true; break;
	case 'p': a->progress = true; break;
	case 'q': a->quiet = true; break;
	case OPT_JSON: a->json = true; break;
	case OPT_STORE: a->store = arg; break;
	case OPT_SHRINK: a->shrink = true; break;
	case OPT_DIR: a->backing_dirs = arg; break;
	case OPT_CHAIN: a->chain = true; break;
	case OPT_REPAIR: a->fix = IMG_FIX_ALL; break;
	case 'o':
		if (take_options(a, arg))
			return usage(c, "there are more than %d options behind -o", IMG_OPTIONS_MAX);
		break;
	case 'r':
		if (strcmp(arg, "leaks") && strcmp(arg, "all"))
			return usage(c, "-r '%s': it takes leaks or all", arg);
		a->fix = strcmp(arg, "all") ? IMG_FIX_LEAKS : IMG_FIX_ALL;
		break;
	case OPT_OUTPUT:
		if (strcmp(arg, "human") && strcmp(arg, "json"))
			return usage(c, "--output '%s': it takes human or json", arg);
		a->json = !strcmp(arg, "json");
		break;
	case 'c':
	case 'd':
		if (c->bit == CONVERT)
			a->compress = true;
		else if (c->bit == COMMIT)
			a->keep = true;
		/* fallthrough */
	case 'a':
	case 'l':
		if (c->bit == SNAPSHOT && a->action)
			return usage(c, "one of list, create, apply and delete at a time");
		if (c->bit == SNAPSHOT) {
			a->action = (char)opt;
			a->snapshot = arg;
		}
		break;
	}
	return IMG_OK;
}

/* getopt's tables for one command. */
static void tables(const struct img_cmd *c, char *letters, struct option *longs)
{
	*letters++ = ':';		/* a missing argument is told from an unknown option */
	for (size_t i = 0; i < NELEM(img_opts); i++) {
		const struct img_opt *o = &img_opts[i];

		if (!(o->cmds & c->bit))
			continue;
		if (o->c < 256) {
			*letters++ = (char)o->c;
			if (o->arg)
				*letters++ = ':';
		}
		if (o->name)
			*longs++ = (struct option){ o->name, o->arg ? required_argument : no_argument, NULL, o->c };
	}
	*letters = 0;
	*longs = (struct option){ 0 };
}

static int parse(const struct img_cmd *c, int argc, char **argv, struct img_args *a)
{
	char letters[2 * NELEM(img_opts) + 2];
	struct option longs[NELEM(img_opts) + 1];
	char *smaller = NULL;
	int opt, err;

	/* "-1G" is no option. */
	if (c->bit == RESIZE && argc > 2 && argv[argc - 1][0] == '-' && strspn(argv[argc - 1] + 1, "0123456789"))
		smaller = argv[--argc];
	tables(c, letters, longs);
	optind = 0;
	while ((opt = getopt_long(argc, argv, letters, longs, NULL)) != -1) {
		if (opt == OPT_HELP)
			return -1;
		if (opt == ':')
			return usage(c, "option '%s' needs an argument", argv[optind - 1]);
		if (opt == '?')
			return usage(c, "unknown option '%s'", argv[optind - 1]);
		err = option(c, a, opt, optarg);
		if (err)
			return err;
	}
	if (smaller)
		argv[argc++] = smaller;         /* options may have moved behind it; it is the last word again */
	a->pos = argv + optind;
	a->npos = argc - optind;
	/* qemu-img's letters, or a word of ours */
	if (c->bit == SNAPSHOT && !a->action && a->npos) {
		static const char *const words[] = { "list", "create", "apply", "delete" };

		for (size_t i = 0; i < NELEM(words); i++)
			if (!strcmp(a->pos[0], words[i]))
				a->action = words[i][0];
		if (!a->action)
			return usage(c, "'%s' is none of list, create, apply and delete", a->pos[0]);
		a->pos++;
		a->npos--;
		if (a->action != 'l' && a->npos == 2)
			a->snapshot = a->pos[1], a->npos--;
		if (a->action != 'l' && !a->snapshot)
			return usage(c, "the snapshot's name is missing");
		if (a->npos != 1)
			return usage(c, a->npos ? "'%s' is too much" : "the image's name is missing", a->npos ? a->pos[a->npos - 1] : "");
	}
	if (a->npos < c->min || a->npos > c->max)
		return usage(c, "it takes %s", c->synopsis);
	/* The machine that writes it would not know. */
	if (a->share && (a->fix || (c->bit == SNAPSHOT && a->action && a->action != 'l')))
		return usage(c, "-U is for looking only; switch the machine off to change its image");
	return IMG_OK;
}

int cmd_img(int argc, char **argv)
{
	const struct img_cmd *c;
	struct img_args a = { 0 };
	int status;

	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))
		return argc < 2 ? usage(NULL, "a command is missing") : print_commands();
	c = cmd_find(argv[1]);
	if (!c) {
		const char *near = NULL;
		unsigned best = UINT_MAX;

		for (size_t i = 0; i < NELEM(img_cmds); i++)
			if (opt_is_near(argv[1], img_cmds[i].name, &best))
				near = img_cmds[i].name;
		return usage(NULL, "unknown command '%s'%s%s%s", argv[1], near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
	}
	a.cmd = c->name;
	status = parse(c, argc - 1, argv + 1, &a);
	if (status < 0)
		return print_options(c);
	return status ? status : c->fn(&a);
}

/* --- What the commands share --- */

struct img *img_cmd_open(const struct img_args *a, const char *path, const char *format, unsigned file_flags)
{
	const bool share = a->share && !(file_flags & BFILE_WRITE);
	const struct img_open o = {
		.path = path, .format = format, .file_flags = file_flags | (share ? BFILE_NO_LOCK : 0),
		.backing_dirs = a->backing_dirs, .share_lock = share,
	};
	int err;

	if (format && !img_driver_find(format)) {
		err_msg(-EINVAL, "format '%s' is not known; 'skep img --help' lists them", format);
		return NULL;
	}
	return img_open(&o, &err);
}

static bool same_node(const struct stat *a, const struct stat *b)
{
	if (S_ISBLK(a->st_mode) && S_ISBLK(b->st_mode))
		return a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

bool img_cmd_same_file(const char *x, const char *y)
{
	struct stat a, b;

	return stat(x, &a) == 0 && stat(y, &b) == 0 && same_node(&a, &b);
}

bool img_cmd_in_chain(const struct img *chain, const char *path)
{
	struct stat a, b;

	if (stat(path, &a) < 0)
		return false;
	for (; chain; chain = chain->backing)
		if (chain->file->fd >= 0 && fstat(chain->file->fd, &b) == 0 && same_node(&a, &b))
			return true;
	return false;
}

int img_cmd_size(const char *text, char *sign, uint64_t *out)
{
	static const struct opt row = { .name = "size", .type = OPT_SIZE };
	char why[80];

	*sign = 0;
	if (*text == '+' || *text == '-')
		*sign = *text++;
	if (opt_parse_u64(&row, text, out, why, sizeof(why)))
		return err_msg(-EINVAL, "size '%s': %s", text, why);
	return 0;
}

const char *img_cmd_size_text(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes;
	unsigned u = 0;

	while (v >= 1000 && u + 1 < NELEM(units)) {
		v /= 1024;
		u++;
	}
	snprintf(buf, len, "%.3g %s", v, units[u]);
	return buf;
}

/* --- Progress --- */

static void end_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
}

static bool interrupted(void)
{
	sigset_t pending, ends;

	sigpending(&pending);
	end_signals(&ends);
	sigandset(&pending, &pending, &ends);
	return !sigisemptyset(&pending);
}

void img_progress_start(struct img_progress *p, const struct img_args *a, const char *what, uint64_t total)
{
	sigset_t ends;

	*p = (struct img_progress){ .what = what, .total = total, .shown = UINT64_MAX };
	/* They stay pending: the work looks for them, cleans up, and img_progress_end() lets them end the process. */
	end_signals(&ends);
	sigprocmask(SIG_BLOCK, &ends, &p->old_mask);
	p->bar = isatty(STDERR_FILENO) && !a->quiet;
	p->lines = a->progress && !a->quiet && !p->bar;
	img_progress_at(p, 0);
}

bool img_progress_at(struct img_progress *p, uint64_t done)
{
	const uint64_t permille = p->total ? (uint64_t)((double)done / (double)p->total * 1000) : 1000;
	char have[32], all[32];

	p->done = done;
	if (p->bar && permille != p->shown) {
		const int filled = (int)(permille * 40 / 1000);

		fprintf(stderr, "\r%s [%.*s%*s] %3u%% %s of %s ", p->what, filled, "########################################", 40 - filled, "",
			(unsigned)(permille / 10), img_cmd_size_text(done, have, sizeof(have)), img_cmd_size_text(p->total, all, sizeof(all)));
		fflush(stderr);
		p->shown = permille;
	} else if (p->lines && permille / 10 != p->shown) {
		printf("%s %u%%\n", p->what, (unsigned)(permille / 10));
		fflush(stdout);
		p->shown = permille / 10;
	}
	return !interrupted();
}

void img_progress_end(struct img_progress *p)
{
	if (p->bar)
		fprintf(stderr, "\r\033[K");
	p->bar = p->lines = false;
	if (p->what)
		sigprocmask(SIG_SETMASK, &p->old_mask, NULL);
}
