/*
 * Commands of the loader's prompt, named and spelled as FreeBSD's loader(8) has them.  All files are host0:'s, that is beneath
 * the directory of -h: the console may be a socket that others reach, and it must not open the rest of the host.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "loaders/freebsd/prompt.h"

#define HOST0 "host0:"
#define NAME_MAX_LEN 127                /* of a variable [FREEBSD sys/sys/kenv.h] */
#define ENTRIES_MAX 8192                /* of a directory */
#define MORE_MAX KIB(256)
#define INCLUDE_MAX KIB(64)

/* --- paths --- */

/* What lies behind "host0:" and its slashes; "." for the top. */
static const char *beneath(const char *path)
{
	if (strncmp(path, HOST0, strlen(HOST0)) == 0)
		path += strlen(HOST0);
	while (*path == '/')
		path++;
	return *path ? path : ".";
}

static bool has_host0(struct prompt *p)
{
	if (!conf_str(p->conf, "loader.hostdir"))
		prompt_error(p, "there is no host0: here: start skep with -h DIR");
	return !p->failed;
}

/* A descriptor beneath host0:, or -1 (said).  Never blocks: FIFOs and devices are refused unless O_PATH is asked for. */
static int open_host0(struct prompt *p, const char *path, int flags)
{
	struct stat st;
	if (!has_host0(p))
		return -1;
	int fd = hostdir_openat(p->conf, beneath(path), flags & O_PATH ? flags : flags | O_NONBLOCK);
	if (fd < 0) {
		prompt_error(p, "%s: %s", path,
			     fd == -EXDEV ? "leads through a link or '..', which this host cannot follow safely" : strerror(-fd));
		return -1;
	}
	if (fstat(fd, &st) == 0 && (flags & (O_DIRECTORY | O_PATH) || S_ISREG(st.st_mode)))
		return fd;
	close(fd);
	prompt_error(p, "%s: not a file", path);
	return -1;
}

/* A file's text, at most max bytes, with a NUL behind it; NULL (said). */
static char *read_text(struct prompt *p, const char *path, size_t max, size_t *len)
{
	int fd = open_host0(p, path, O_RDONLY);
	if (fd < 0)
		return NULL;
	char *text = malloc(max + 2);
	ssize_t n = 1;
	for (*len = 0; text && n > 0 && *len <= max; *len += (size_t)MAX(n, (ssize_t)0))
		n = read(fd, text + *len, max + 1 - *len);
	close(fd);
	if (!text || n < 0 || *len > max) {
		prompt_error(p, "%s: %s", path, !text ? "out of memory" : n < 0 ? strerror(errno) : "the file is too large");
		free(text);
		return NULL;
	}
	text[*len] = '\0';
	return text;
}

static bool exists(const struct prompt *p, const char *path)
{
	struct stat st;
	int fd = hostdir_openat(p->conf, beneath(path), O_PATH);
	bool yes = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	if (fd >= 0)
		close(fd);
	return yes;
}

/* "host0:/..." in buf; false (said) when it does not fit. */
static bool full_path(struct prompt *p, const char *path, char buf[PROMPT_LINE_MAX])
{
	if (snprintf(buf, PROMPT_LINE_MAX, HOST0 "/%s", beneath(path)) < PROMPT_LINE_MAX)
		return true;
	prompt_error(p, "the path is too long");
	return false;
}

static bool is_bare(const char *path)
{
	return !strchr(path, '/') && strncmp(path, HOST0, strlen(HOST0)) != 0;
}

/* --- files --- */

struct entry {
	char *name;
	char type;
	uint64_t size;
};

static char type_letter(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return 'd';
	case S_IFLNK: return 'l';
	case S_IFCHR: return 'c';
	case S_IFBLK: return 'b';
	case S_IFIFO: return 'f';
	case S_IFSOCK: return 's';
	default: return ' ';
	}
}

static void print_entry(struct prompt *p, const struct entry *e, bool details)
{
	if (details)
		prompt_printf(p, " %c %8" PRIu64 " ", e->type, e->size);
	else
		prompt_printf(p, " %c  ", e->type);
	prompt_print_foreign(p, e->name, strlen(e->name));
	prompt_printf(p, "\n");
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* Up to ENTRIES_MAX of a directory, unsorted; how many. */
static size_t read_entries(DIR *dir, struct entry *list)
{
	size_t n = 0;
	for (struct dirent *d; n < ENTRIES_MAX && (d = readdir(dir));) {
		struct stat st;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		list[n] = (struct entry){ strdup(d->d_name), type_letter(st.st_mode), (uint64_t)st.st_size };
		if (list[n].name)
			n++;
	}
	return n;
}

static int list_directory(struct prompt *p, const char *path, bool details)
{
	int fd = open_host0(p, path, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct entry *list = dir ? calloc(ENTRIES_MAX, sizeof(*list)) : NULL;
	size_t n = list ? read_entries(dir, list) : 0;
	if (fd >= 0 && !list)
		prompt_error(p, "%s: out of memory", path);
	else if (list)
		prompt_printf(p, "%s\n", *path ? path : "/");
	if (n)
		qsort(list, n, sizeof(*list), by_name);
	for (size_t i = 0; i < n; i++) {
		print_entry(p, &list[i], details);
		free(list[i].name);
	}
	free(list);
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	if (n == ENTRIES_MAX)
		prompt_error(p, "%s has more entries than are listed here", path);
	return 0;
}

static int cmd_ls(struct prompt *p, unsigned n, const char *const *w)
{
	bool details = n && strcmp(w[0], "-l") == 0;
	struct stat st;
	w += details;
	n -= details;
	if (n > 1)
		return prompt_error(p, "ls: one path at a time: ls [-l] [PATH]");
	const char *path = n ? w[0] : "";
	int fd = open_host0(p, path, O_PATH);
	if (fd < 0)
		return 0;
	int err = fstat(fd, &st);
	close(fd);
	if (!err && S_ISDIR(st.st_mode))
		return list_directory(p, path, details);
	struct entry e = { (char *)(uintptr_t)path, type_letter(st.st_mode), (uint64_t)st.st_size };
	print_entry(p, &e, details);
	return 0;
}

static int cmd_more(struct prompt *p, unsigned n, const char *const *w)
{
	for (unsigned i = 0; i < n && !p->failed; i++) {
		size_t len;
		char *text = read_text(p, w[i], MORE_MAX, &len);
		if (!text)
			break;
		prompt_print_foreign(p, text, len);
		if (len && text[len - 1] != '\n')
			prompt_printf(p, "\n");
		free(text);
	}
	return 0;
}

static int cmd_include(struct prompt *p, unsigned n, const char *const *w)
{
	size_t len;
	int end = 0;
	(void)n;
	if (p->depth == PROMPT_DEPTH_MAX)
		return prompt_error(p, "include: files include each other more than %d deep", PROMPT_DEPTH_MAX);
	char *text = read_text(p, w[0], INCLUDE_MAX, &len);
	if (!text)
		return 0;
	if (strlen(text) != len) {
		free(text);
		return prompt_error(p, "include: %s is no text file", w[0]);
	}
	if (p->depth++ == 0)
		p->lines = 0;
	unsigned number = 1;
	for (char *line = text, *next; line && !end && !p->failed; line = next, number++) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (*line && *line != '#' && p->lines++ == PROMPT_LINES_MAX)
			prompt_error(p, "include: that is more than %d lines", PROMPT_LINES_MAX);
		else if (*line && *line != '#')
			end = prompt_line(p, line);
		if (p->failed)
			prompt_error(p, "include: stopped at line %u of %s", number, w[0]);
	}
	p->depth--;
	free(text);
	return end;
}

/* --- variables --- */

static int set_variable(struct prompt *p, const char *name, const char *value)
{
	size_t len = strlen(name);
	if (len == 0 || len > NAME_MAX_LEN)
		return prompt_error(p, "set: a variable's name has 1 to %d characters", NAME_MAX_LEN);
	for (const char *c = name; *c; c++) {
		if (*c <= ' ' || *c == 0x7f)
			return prompt_error(p, "set: a variable's name has no spaces");
	}
	if (p->set->nvars + p->set->nwanted >= PROMPT_VARS_MAX && !fbsd_getenv(p->set, name))
		return prompt_error(p, "set: there are %d variables already, no more fit", PROMPT_VARS_MAX);
	if (fbsd_setting(p->set, name, value) && !p->failed)
		prompt_error(p, "set: out of memory");
	return 0;
}

static int cmd_set(struct prompt *p, unsigned n, const char *const *w)
{
	char name[PROMPT_LINE_MAX];
	const char *eq = strchr(w[0], '=');
	(void)n;
	snprintf(name, sizeof(name), "%.*s", (int)(eq ? (size_t)(eq - w[0]) : strlen(w[0])), w[0]);
	return set_variable(p, name, eq ? eq + 1 : "");
}

static int cmd_unset(struct prompt *p, unsigned n, const char *const *w)
{
	(void)n;
	if (!fbsd_getenv(p->set, w[0]))
		return prompt_error(p, "variable '%s' not found", w[0]);
	fbsd_unsetenv(p->set, w[0]);
	return 0;
}

static int cmd_show(struct prompt *p, unsigned n, const char *const *w)
{
	for (unsigned i = 0; n == 0 && i < p->set->nvars; i++) {
		const struct fbsd_var *v = &p->set->var[i];
		prompt_print_foreign(p, v->name, strlen(v->name));
		prompt_printf(p, "=");
		prompt_print_foreign(p, v->value, strlen(v->value));
		prompt_printf(p, "\n");
	}
	if (n == 0)
		return 0;
	const char *value = fbsd_getenv(p->set, w[0]);
	if (!value)
		return prompt_error(p, "variable '%s' not found", w[0]);
	prompt_print_foreign(p, value, strlen(value));
	prompt_printf(p, "\n");
	return 0;
}

static int cmd_echo(struct prompt *p, unsigned n, const char *const *w)
{
	bool newline = !(n && strcmp(w[0], "-n") == 0);
	for (unsigned i = !newline; i < n; i++) {
		prompt_print_foreign(p, w[i], strlen(w[i]));
		if (i + 1 < n)
			prompt_printf(p, " ");
	}
	if (newline)
		prompt_printf(p, "\n");
	return 0;
}

/* --- kernel and modules --- */

static void print_file(struct prompt *p, const struct fbsd_file *f)
{
	prompt_print_foreign(p, f->name, strlen(f->name));
	prompt_printf(p, " (");
	prompt_print_foreign(p, f->type, strlen(f->type));
	prompt_printf(p, ", 0x%zx)\n", f->len);
}

static void print_new_files(struct prompt *p, unsigned before)
{
	for (unsigned i = before; i < p->set->nfiles; i++)
		print_file(p, &p->set->file[i]);
}

/* Words put together again; they came out of a line of PROMPT_LINE_MAX. */
static void join(char out[PROMPT_LINE_MAX], unsigned n, const char *const *w)
{
	size_t len = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < n && len < PROMPT_LINE_MAX - 1; i++)
		len += (size_t)snprintf(out + len, PROMPT_LINE_MAX - len, "%s%s", i ? " " : "", w[i]);
}

/* A kernel by its path; by its name alone it is in /boot/kernel, or in a directory of its own in /boot. */
static bool kernel_path(struct prompt *p, const char *name, char path[PROMPT_LINE_MAX])
{
	if (!is_bare(name))
		return full_path(p, name, path);
	if (snprintf(path, PROMPT_LINE_MAX, HOST0 "/boot/kernel/%s", name) < PROMPT_LINE_MAX && exists(p, path))
		return true;
	if (snprintf(path, PROMPT_LINE_MAX, HOST0 "/boot/%s/kernel", name) < PROMPT_LINE_MAX && exists(p, path))
		return true;
	prompt_error(p, "can't find '%s'", name);
	return false;
}

static void load_kernel(struct prompt *p, const char *name, const char *args)
{
	char path[PROMPT_LINE_MAX];
	if (!has_host0(p) || !kernel_path(p, name, path))
		return;
	int err = fbsd_load_kernel(p->set, p->conf, path, args);
	if (err && !p->failed)
		prompt_error(p, "can't load '%s': %s", name, strerror(-err));
	if (!err)
		print_new_files(p, 0);
}

static int cmd_load(struct prompt *p, unsigned n, const char *const *w)
{
	const char *type = NULL;
	char path[PROMPT_LINE_MAX], args[PROMPT_LINE_MAX];
	unsigned before = p->set->nfiles;
	if (strcmp(w[0], "-t") == 0) {
		if (n < 3 || !*w[1])
			return prompt_error(p, "load: -t takes a type and a file: load -t TYPE FILE");
		type = w[1];
		w += 2;
		n -= 2;
	}
	if (!*w[0] || w[0][0] == '-')
		return prompt_error(p, "load: unknown option '%s': load [-t TYPE] FILE [ARGUMENTS]", w[0]);
	join(args, n - 1, w + 1);
	if (before == 0 && type)
		return prompt_error(p, "can't load a file before the kernel");
	if (before == 0) {
		load_kernel(p, w[0], args);
		return 0;
	}
	if (!has_host0(p) || !full_path(p, w[0], path))
		return 0;
	int err = fbsd_load_module(p->set, p->conf, is_bare(w[0]) && !type ? w[0] : path, type, args);
	if (err == -EEXIST)
		return prompt_error(p, "warning: '%s' is loaded already", w[0]);
	if (err && !p->failed)
		prompt_error(p, "can't load '%s': %s", w[0], strerror(-err));
	print_new_files(p, before);
	return 0;
}

static int cmd_unload(struct prompt *p, unsigned n, const char *const *w)
{
	(void)n;
	(void)w;
	fbsd_unload(p->set);
	fbsd_unsetenv(p->set, "kernelname");
	return 0;
}

static void print_modules(struct prompt *p, const struct fbsd_file *f, bool verbose)
{
	struct kld_info info;
	if (strncmp(f->type, "elf", 3) != 0 || kld_read(f->name, f->data, f->len, &info))
		return;
	prompt_printf(p, "  modules:");
	for (unsigned i = 0; i < info.nprovides; i++)
		prompt_printf(p, " %s.%d", info.provides[i].name, info.provides[i].version);
	prompt_printf(p, "\n");
	if (verbose && f != p->set->file) {
		for (unsigned i = 0; i < info.nneeds; i++) {
			const struct kld_need *d = &info.needs[i];
			prompt_printf(p, "  depends on %s.%d (%d,%d)\n", d->name, d->preferred, d->min, d->max);
		}
	}
	kld_free(&info);
}

static int cmd_lsmod(struct prompt *p, unsigned n, const char *const *w)
{
	bool verbose = n && strcmp(w[0], "-v") == 0;
	if (n && !verbose)
		return prompt_error(p, "lsmod: unknown option '%s': lsmod [-v]", w[0]);
	for (unsigned i = 0; i < p->set->nfiles; i++) {
		const struct fbsd_file *f = &p->set->file[i];
		prompt_printf(p, " ");
		print_file(p, f);
		if (f->args && *f->args) {
			prompt_printf(p, "    args: ");
			prompt_print_foreign(p, f->args, strlen(f->args));
			prompt_printf(p, "\n");
		}
		print_modules(p, f, verbose);
	}
	return 0;
}

/* --- leaving --- */

/* The one word that is no option; false (said): there are two, or what it names cannot be loaded now. */
static bool find_boot_kernel(struct prompt *p, unsigned n, const char *const *w, const char **kernel)
{
	*kernel = NULL;
	for (unsigned i = 0; i < n; i++) {
		if (w[i][0] != '-' && *kernel) {
			prompt_error(p, "boot: one kernel at a time: boot [-asv...] [KERNEL]");
			return false;
		}
		if (w[i][0] != '-')
			*kernel = w[i];
	}
	if (*kernel && p->set->nfiles) {
		prompt_error(p, "can't boot '%s', a kernel is loaded already: 'unload' first", *kernel);
		return false;
	}
	return true;
}

static int cmd_boot(struct prompt *p, unsigned n, const char *const *w)
{
	const char *kernel;
	if (!find_boot_kernel(p, n, w, &kernel))
		return 0;
	for (unsigned i = 0; i < n; i++) {
		if (w[i][0] == '-' && fbsd_boot_args(p->set, "boot", w[i]))
			return 0;
	}
	if (p->set->nfiles == 0) {
		const char *named = fbsd_getenv(p->set, "kernel");
		load_kernel(p, kernel ? kernel : named && *named ? named : "kernel", "");
		if (!p->failed && fbsd_load_configured(p->set, p->conf))
			prompt_error(p, "boot: not all modules of loader.conf are loaded: 'boot' starts without the others");
	}
	if (p->failed)
		return 0;
	p->set->howto = fbsd_howto(p->set);
	prompt_printf(p, "Booting %s\n", p->set->file[0].name);
	return PROMPT_BOOT;
}

static int cmd_reboot(struct prompt *p, unsigned n, const char *const *w)
{
	(void)p;
	(void)n;
	(void)w;
	return PROMPT_REBOOT;
}

static int cmd_quit(struct prompt *p, unsigned n, const char *const *w)
{
	(void)p;
	(void)n;
	(void)w;
	return PROMPT_QUIT;
}

/* --- help --- */

static int cmd_list(struct prompt *p, unsigned n, const char *const *w)
{
	(void)n;
	(void)w;
	prompt_printf(p, "Available commands:\n");
	for (const struct prompt_cmd *c = prompt_cmds; c->name; c++)
		prompt_printf(p, "  %-8s %-30s %s\n", c->name, c->usage, c->help);
	return 0;
}

static int cmd_help(struct prompt *p, unsigned n, const char *const *w)
{
	if (n == 0 || strcmp(w[0], "index") == 0)
		return cmd_list(p, 0, NULL);
	for (const struct prompt_cmd *c = prompt_cmds; c->name; c++) {
		if (strcmp(c->name, w[0]) != 0)
			continue;
		prompt_printf(p, "%s %s\n    %s\n", c->name, c->usage, c->help);
		if (c->fn == cmd_boot)
			prompt_printf(p, "    -a ask for the root file system   -d enter the debugger   -h serial console\n"
				      "    -s single user   -v verbose   -C -D -g -m -p -r: see boot(8)\n");
		return 0;
	}
	return prompt_error(p, "no help available for '%s'", w[0]);
}

#define ANY (PROMPT_WORDS_MAX - 1)
const struct prompt_cmd prompt_cmds[] = {
	{ "boot", 0, ANY, cmd_boot, "[-asv...] [KERNEL]", "start what is loaded, or KERNEL and loader.conf's modules" },
	{ "echo", 0, ANY, cmd_echo, "[-n] [TEXT]", "print TEXT" },
	{ "help", 0, 1, cmd_help, "[COMMAND]", "explain a command" },
	{ "include", 1, 1, cmd_include, "FILE", "execute the lines of a file" },
	{ "load", 1, ANY, cmd_load, "[-t TYPE] FILE [ARGUMENTS]", "load the kernel, then modules or files of a type" },
	{ "ls", 0, 2, cmd_ls, "[-l] [PATH]", "list a directory of host0:" },
	{ "lsmod", 0, 1, cmd_lsmod, "[-v]", "list what is loaded" },
	{ "more", 1, ANY, cmd_more, "FILE", "show a text file" },
	{ "quit", 0, 0, cmd_quit, "", "end this virtual machine" },
	{ "reboot", 0, 0, cmd_reboot, "", "start over as at power-on" },
	{ "set", 1, 1, cmd_set, "NAME=VALUE", "set a variable of the kernel's environment" },
	{ "show", 0, 1, cmd_show, "[NAME]", "show one variable or all" },
	{ "unload", 0, 0, cmd_unload, "", "forget all that is loaded" },
	{ "unset", 1, 1, cmd_unset, "NAME", "remove a variable" },
	{ "?", 0, 0, cmd_list, "", "list the commands" },
	{ NULL, 0, 0, NULL, NULL, NULL },
};
