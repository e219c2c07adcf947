/*
 * What a FreeBSD kernel starts with: the settings FreeBSD's loader would read, in its order [FREEBSD stand/lua/config.lua], the
 * operator's own above them, and the files both ask for.
 *
 * What is not done of the loader's: commands (exec=, NAME_before and the like), menus and passwords, and everything that
 * only a loader on a disk can know.
 */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/conf.h"
#include "common/image.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define DEFAULTS "/boot/defaults/loader.conf"
#define FILES_READ_MAX 64               /* configuration files of one start */
#define BLANKS " \t"

struct reader {
	struct fbsd_set *set;
	const struct conf *conf;
	char *seen[FILES_READ_MAX];
	unsigned nseen;
	bool quiet;                     /* reading boot/defaults/loader.conf, or only looking for the kernel */
};

static int no_memory(void)
{
	return err_msg(-ENOMEM, "FreeBSD loader: out of memory");
}

/* --- settings --- */

static int take_setting(void *arg, const char *where, const char *name, const char *value)
{
	struct reader *r = arg;

	if (!strcmp(name, "exec")) {
		if (!r->quiet)
			log_warn("freebsd", "%s: exec: commands are not run; '%s' is ignored", where, value);
		return 0;
	}
	return fbsd_setting(r->set, name, value);
}

static const char *get_setting(void *arg, const char *name)
{
	const struct reader *r = arg;

	return fbsd_getenv(r->set, name);
}

static int parse(struct reader *r, const char *path, const char *text, size_t len)
{
	const struct fbsd_conf_to to = { take_setting, get_setting, r };
	char where[PATH_MAX];

	snprintf(where, sizeof(where), "host0:%s", path);
	return fbsd_conf_parse(where, text, len, &to);
}

/* A file that is not there is fine. */
static int read_file(struct reader *r, const char *path)
{
	char *text;
	size_t len;
	int err;

	for (unsigned i = 0; i < r->nseen; i++)
		if (!strcmp(r->seen[i], path))
			return 0;
	if (r->nseen == FILES_READ_MAX)
		return err_msg(-E2BIG, "host0:%s: more than %d configuration files; loader_conf_files names too many", path, FILES_READ_MAX);
	r->seen[r->nseen] = strdup(path);
	if (!r->seen[r->nseen++])
		return no_memory();
	err = hostdir_text(r->conf, path, &text, &len);
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	err = parse(r, path, text, len);
	free(text);
	return err;
}

/* Calls fn for every word of a variable; the variable may change meanwhile. */
static int each_word(struct reader *r, const char *var, int (*fn)(struct reader *, const char *))
{
	const char *value = fbsd_getenv(r->set, var);
	char *copy = value ? strdup(value) : NULL, *save;
	int err = value && !copy ? no_memory() : 0;

	for (char *w = copy ? strtok_r(copy, BLANKS, &save) : NULL; w && !err; w = strtok_r(NULL, BLANKS, &save))
		err = fn(r, w);
	free(copy);
	return err;
}

/* A file may name others. */
static int read_files(struct reader *r)
{
	unsigned before;
	int err;

	do {
		before = r->nseen;
		err = each_word(r, "loader_conf_files", read_file);
	} while (!err && r->nseen != before);
	return err;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_conf(const struct dirent *e)
{
	size_t n = strlen(e->d_name);

	return e->d_name[0] != '.' && n > 5 && !strcmp(e->d_name + n - 5, ".conf");
}

static int read_dir(struct reader *r, const char *dir)
{
	int fd = hostdir_openat(r->conf, dir, O_RDONLY | O_DIRECTORY), n, err = 0;
	struct dirent **e = NULL;

	if (fd == -ENOENT)
		return 0;
	errno = fd < 0 ? -fd : 0;
	n = fd < 0 ? -1 : scandirat(fd, ".", &e, is_conf, by_name);
	if (n < 0)
		err = err_sys("host0:%s", dir);
	if (fd >= 0)
		close(fd);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];

		if (!err && snprintf(path, sizeof(path), "%s/%s", dir, e[i]->d_name) < (int)sizeof(path))
			err = read_file(r, path);
		free(e[i]);
	}
	free(e);
	return err;
}

static int read_nextboot(struct reader *r)
{
	const char *var = fbsd_getenv(r->set, "nextboot_conf");
	char *path = var ? strdup(var) : NULL, *text = NULL;
	size_t len;
	long at = -1;
	int err = !var ? -ENOENT : path ? hostdir_text(r->conf, path, &text, &len) : no_memory();

	if (!err)
		at = fbsd_nextboot_enabled(text, len);
	if (at >= 0) {
		err = parse(r, path, text, len);
		r->set->nextboot = path;
		r->set->nextboot_at = (size_t)at;
		path = NULL;
	}
	free(text);
	free(path);
	return err == -ENOENT ? 0 : err;
}

/* What boot/defaults/loader.conf would say. */
static int set_defaults(struct fbsd_set *s)
{
	static const char *const rows[][2] = {
		{ "kernel", "kernel" },
		{ "bootfile", "kernel" },
		{ "module_path", "/boot/modules;/boot/dtb;/boot/dtb/overlays" },
		{ "loader_conf_files", "/boot/device.hints /boot/loader.conf /boot/loader.conf.local" },
		{ "loader_conf_dirs", "/boot/loader.conf.d" },
		{ "nextboot_conf", FBSD_NEXTBOOT_CONF },
	};
	int err = 0;

	for (size_t i = 0; i < NELEM(rows) && !err; i++)
		err = fbsd_setenv(s, rows[i][0], rows[i][1]);
	return err;
}

static int read_settings(struct fbsd_set *s, const struct conf *conf, bool quiet)
{
	struct reader r = { .set = s, .conf = conf, .quiet = true };
	int err = set_defaults(s);

	if (!err && conf_str(conf, "loader.hostdir")) {
		err = read_file(&r, DEFAULTS);
		for (unsigned i = 0; i < s->nwanted; i++)
			s->wanted[i].optional = true;
		r.quiet = quiet;
		if (!err)
			err = read_files(&r);
		if (!err)
			err = each_word(&r, "loader_conf_dirs", read_dir);
		if (!err)
			err = read_files(&r);
		if (!err)
			err = read_nextboot(&r);
		if (!err)
			err = fbsd_setenv(s, "loaddev", "host0:");
		if (!err)
			err = fbsd_setenv(s, "currdev", "host0:");
	}
	while (r.nseen)
		free(r.seen[--r.nseen]);
	return err;
}

/* --- the operator's own --- */

struct walk {
	struct fbsd_set *set;
	const struct conf *conf;
	int err;
};

static void take_env(const char *key, const char *value, const char *origin, void *arg)
{
	struct walk *w = arg;
	const char *eq = strchr(value, '=');
	char *name;

	if (w->err || strncmp(key, "loader.env.", 11))
		return;
	name = eq && eq > value ? strndup(value, (size_t)(eq - value)) : NULL;
	if (!eq || eq == value)
		w->err = err_msg(-EINVAL, "%s: '%s' is not NAME=VALUE", origin, value);
	else
		w->err = name ? fbsd_setting(w->set, name, eq + 1) : no_memory();
	free(name);
}

static int take_operator(struct fbsd_set *s, const struct conf *conf)
{
	const char *append = conf_str(conf, "append"), *options = fbsd_getenv(s, "kernel_options");
	struct walk w = { s, conf, 0 };

	if (options)
		w.err = fbsd_boot_args(s, "host0: kernel_options", options);
	if (!w.err && append)
		w.err = fbsd_boot_args(s, conf_origin(conf, "append"), append);
	conf_walk(conf, take_env, &w);
	return w.err;
}

/*
 * The serial port is the console unless somebody has said otherwise.  FreeBSD/amd64 finds the port by this variable, by ACPI's
 * SPCR or by hints, and old kernels only by the first and last.  FreeBSD/arm64 takes it from the device tree; there the
 * variable would name a 16550, which is all it can name.
 */
static int set_console(struct fbsd_set *s)
{
	const char *port = fbsd_getenv(s, "comconsole_port"), *speed = fbsd_getenv(s, "comconsole_speed");
	char uart[128];
	int err = 0;

	if (!fbsd_getenv(s, "console") && !fbsd_getenv(s, "boot_serial") && !fbsd_getenv(s, "boot_multicons")) {
		err = fbsd_setenv(s, "boot_serial", "YES");
		if (!err)
			err = fbsd_setenv(s, "console", "comconsole");
	}
	if (err || s->machine != EM_X86_64 || fbsd_getenv(s, "hw.uart.console") ||
	    !(fbsd_howto(s) & (FBSD_RB_SERIAL | FBSD_RB_MULTIPLE)))
		return err;
	snprintf(uart, sizeof(uart), "io:%s,br:%s", port && *port ? port : "0x3f8", speed && *speed ? speed : "115200");
	return fbsd_setenv(s, "hw.uart.console", uart);
}

/*
 * Where the console, clock and timer of a PC are, as in the device.hints that every FreeBSD/amd64 system has [FREEBSD
 * sys/amd64/conf/GENERIC.hints]: without that file and without ACPI the kernel would find none of them.  A device the
 * operator has hints for keeps only those.
 */
static int set_hints(struct fbsd_set *s)
{
	static const char *const rows[][5] = {
		{ "uart", "at=isa", "port=0x3F8", "irq=4", "flags=0x10" },
		{ "atrtc", "at=isa", "port=0x70", "irq=8", NULL },
		{ "attimer", "at=isa", "port=0x40", "irq=0", NULL },
	};
	char name[64];
	int err = 0;

	for (size_t i = 0; i < NELEM(rows) && s->machine == EM_X86_64; i++) {
		snprintf(name, sizeof(name), "hint.%s.0.at", rows[i][0]);
		if (fbsd_getenv(s, name))
			continue;
		for (size_t n = 1; n < NELEM(rows[i]) && rows[i][n] && !err; n++) {
			const char *eq = strchr(rows[i][n], '=');

			snprintf(name, sizeof(name), "hint.%s.0.%.*s", rows[i][0], (int)(eq - rows[i][n]), rows[i][n]);
			err = fbsd_setenv(s, name, eq + 1);
		}
	}
	return err;
}

/* The root file system is what DIR/etc/fstab says, as for the loader. */
static int read_fstab(struct fbsd_set *s, const struct conf *conf)
{
	char *text, *save;
	size_t len;
	int err;

	if (fbsd_getenv(s, "vfs.root.mountfrom"))
		return 0;
	err = hostdir_text(conf, "/etc/fstab", &text, &len);
	if (err)
		return err == -ENOENT ? 0 : err;
	for (char *line = strtok_r(text, "\n", &save); line && !err; line = strtok_r(NULL, "\n", &save)) {
		char dev[128], dir[8], type[32], options[128] = "", from[200];

		if (sscanf(line, "%127s %7s %31s %127s", dev, dir, type, options) < 3 || dev[0] == '#' || strcmp(dir, "/"))
			continue;
		snprintf(from, sizeof(from), "%s:%s", type, dev);
		err = fbsd_setenv(s, "vfs.root.mountfrom", from);
		if (!err && options[0] && !fbsd_getenv(s, "vfs.root.mountfrom.options"))
			err = fbsd_setenv(s, "vfs.root.mountfrom.options", options);
		break;
	}
	free(text);
	return err;
}

/* --- files --- */

/* FILE[,type=TYPE][,args=TEXT] */
static int load_key(struct walk *w, const char *value, const char *origin)
{
	char *copy = strdup(value), *s = copy, *file = cli_word(&s), *word, path[PATH_MAX];
	const char *type = NULL, *args = "";

	if (!copy)
		return no_memory();
	while ((word = cli_word(&s)) && !w->err) {
		if (!strncmp(word, "type=", 5) && word[5])
			type = word + 5;
		else if (!strncmp(word, "args=", 5))
			args = word + 5;
		else
			w->err = err_msg(-EINVAL, "%s: '%s' is not FILE[,type=TYPE][,args=TEXT]", origin, value);
	}
	/* In the present directory rather than in module_path, when it is there. */
	snprintf(path, sizeof(path), "%s%s", !strchr(file, '/') && !hostdir_beneath(file) && !access(file, F_OK) ? "./" : "", file);
	if (!w->err)
		w->err = fbsd_load_module(w->set, w->conf, path, type, args);
	if (w->err == -EEXIST)
		w->err = 0;
	free(copy);
	return w->err;
}

static void take_module(const char *key, const char *value, const char *origin, void *arg)
{
	struct walk *w = arg;

	if (!w->err && !strncmp(key, "module.", 7))
		load_key(w, value, origin);
}

static int load_files(struct fbsd_set *s, const struct conf *conf, const struct image *kernel)
{
	const struct fbsd_file data = { .data = kernel->data, .len = kernel->len, .borrowed = true };
	const char *append = conf_str(conf, "append"), *options = fbsd_getenv(s, "kernel_options");
	struct walk w = { s, conf, 0 };
	char *args;
	int err;

	if (asprintf(&args, "%s%s%s", options ? options : "", options && *options && append ? " " : "", append ? append : "") < 0)
		return no_memory();
	err = fbsd_add_kernel(s, kernel->path, args, &data);
	free(args);
	if (!err)
		err = fbsd_load_configured(s, conf);
	w.err = err;
	conf_walk(conf, take_module, &w);
	return w.err;
}

static int new_set(const struct conf *conf, bool quiet, struct fbsd_set **out)
{
	struct fbsd_set *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return no_memory();
	s->machine = conf_arch(conf) == &arch_arm64 ? EM_AARCH64 : EM_X86_64;
	err = read_settings(s, conf, quiet);
	if (!err)
		err = take_operator(s, conf);
	if (err)
		fbsd_free(s);
	else
		*out = s;
	return err;
}

int fbsd_collect(const struct conf *conf, const struct image *kernel, struct fbsd_set **out)
{
	struct fbsd_set *s;
	int err = new_set(conf, false, &s);

	if (err)
		return err;
	if (kernel && kernel->kind == IMAGE_FREEBSD_ARM64)
		s->machine = EM_AARCH64;
	else if (kernel)
		s->machine = EM_X86_64;
	err = set_console(s);
	if (!err)
		err = set_hints(s);
	if (!err)
		err = read_fstab(s, conf);
	if (!err && kernel)
		err = load_files(s, conf, kernel);
	s->howto = fbsd_howto(s);
	if (err)
		fbsd_free(s);
	else
		*out = s;
	return err;
}

/* --- the kernel nobody named --- */

/* The first of bootfile's names, or "kernel", in the directory. */
static bool try_bootfiles(const struct conf *conf, const char *dir, const char *bootfile, char out[PATH_MAX])
{
	char *names, *save;
	bool found = false;

	if (asprintf(&names, "%s;kernel", bootfile ? bootfile : "kernel") < 0)
		return false;
	for (char *n = strtok_r(names, ";", &save); n && !found; n = strtok_r(NULL, ";", &save)) {
		int len = n[0] == '/' ? snprintf(out, PATH_MAX, "host0:%s", n) : snprintf(out, PATH_MAX, "host0:%s/%s", dir, n);

		found = len < PATH_MAX && hostdir_has(conf, out);
	}
	free(names);
	return found;
}

static bool find_kernel(const struct conf *conf, const struct fbsd_set *s, char out[PATH_MAX])
{
	const char *kernel = fbsd_getenv(s, "kernel"), *bootfile = fbsd_getenv(s, "bootfile");
	char dir[PATH_MAX];

	kernel = kernel && *kernel ? kernel : "kernel";
	if (kernel[0] != '/') {
		snprintf(dir, sizeof(dir), "/boot/%s", kernel);
		if (try_bootfiles(conf, dir, bootfile, out))
			return true;
	}
	if (try_bootfiles(conf, kernel, bootfile, out))
		return true;
	return snprintf(out, PATH_MAX, "host0:%s%s", kernel[0] == '/' ? "" : "/boot/", kernel) < PATH_MAX && hostdir_has(conf, out);
}

int fbsd_find_kernel(const struct conf *conf, char *path, size_t cap)
{
	char found[PATH_MAX];
	struct fbsd_set *s;
	int err = new_set(conf, true, &s);

	if (err)
		return err;
	if (find_kernel(conf, s, found)) {
		err = snprintf(path, cap, "%s", found) < (int)cap ? 0 : -ENAMETOOLONG;
	} else {
		const char *kernel = fbsd_getenv(s, "kernel");

		err = err_msg(-ENOENT, "-h '%s': there is no kernel in it (/boot/%s/kernel); give --kernel host0:/PATH",
			      conf_str(conf, "loader.hostdir"), kernel && *kernel ? kernel : "kernel");
	}
	fbsd_free(s);
	return err;
}
