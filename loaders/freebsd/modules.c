/*
 * Kernels, modules and other files into the set.  Where a module is looked for follows FreeBSD's loader [FREEBSD
 * stand/common/module.c]: linker.hints of each directory of module_path, then NAME and NAME.ko in it; a module that was given
 * by its path has its neighbours searched first.
 *
 * DEVIATION: the loader appends a module's dependencies behind it; here they come first.  The kernel sorts them itself.
 */
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define DEPTH_MAX 32                    /* modules that need each other in a row */
#define HINTS "linker.hints"

struct load {
	struct fbsd_set *set;
	const struct conf *conf;
	const char *chain[DEPTH_MAX];   /* files on their way in, the first asked for by name */
	unsigned depth;
};

static int no_memory(const char *path)
{
	return err_msg(-ENOMEM, "'%s': out of memory", path);
}

/* --- where files are --- */

/* Joins "DIR/NAME"; false: too long. */
static bool join(char out[PATH_MAX], const char *dir, size_t dir_len, const char *name)
{
	int n;

	while (dir_len > 1 && dir[dir_len - 1] == '/')
		dir_len--;
	n = snprintf(out, PATH_MAX, "%.*s/%s", (int)dir_len, dir, name);
	return n > 0 && n < PATH_MAX;
}

static bool try_dir(const struct load *l, const char *dir, size_t dir_len, const char *name, char out[PATH_MAX])
{
	return join(out, dir, dir_len, name) && hostdir_has(l->conf, out);
}

/* What linker.hints of the directory says about the module. */
static bool try_hints(const struct load *l, const char *dir, size_t dir_len, const char *name,
	const struct kld_need *need, char out[PATH_MAX])
{
	char path[PATH_MAX], file[256];
	uint8_t *data;
	size_t len, map_len;
	bool found = false;

	if (!try_dir(l, dir, dir_len, HINTS, path) || hostdir_read(l->conf, HINTS, path, &data, &len, &map_len))
		return false;
	if (data && kld_hint(data, len, name, need, file) && !strchr(file, '/'))
		found = try_dir(l, dir, dir_len, file, out);
	hostdir_drop(data, map_len);
	return found;
}

static bool try_module(const struct load *l, const char *dir, size_t dir_len, const char *name,
	const struct kld_need *need, char out[PATH_MAX])
{
	char ko[PATH_MAX];

	if (try_hints(l, dir, dir_len, name, need, out) || try_dir(l, dir, dir_len, name, out))
		return true;
	return snprintf(ko, sizeof(ko), "%s.ko", name) < (int)sizeof(ko) && try_dir(l, dir, dir_len, ko, out);
}

/* need NULL: a file by its name, with .ko or without.  raw: without. */
static bool search(const struct load *l, const char *name, const struct kld_need *need, bool raw, char out[PATH_MAX])
{
	const char *path = fbsd_getenv(l->set, "module_path"), *from = l->depth ? l->chain[l->depth - 1] : NULL;
	const char *slash = from ? strrchr(from, '/') : NULL;

	if (slash && try_module(l, from, (size_t)(slash - from), name, need, out))
		return true;
	for (size_t n; path && *path; path += n + (path[n] == ';')) {
		char dir[PATH_MAX];

		n = strcspn(path, ";");
		if (!n || snprintf(dir, sizeof(dir), "host0:%.*s", (int)n, path) >= (int)sizeof(dir))
			continue;
		if (raw ? try_dir(l, dir, strlen(dir), name, out) : try_module(l, dir, strlen(dir), name, need, out))
			return true;
	}
	return false;
}

/* As the guest sees it: beneath host0: its path, of the host's own files the last part. */
static char *guest_name(const struct fbsd_set *s, const char *path)
{
	const char *beneath = hostdir_beneath(path), *dir = fbsd_getenv(s, "kernel_path"), *slash;
	size_t n;
	char *name;

	if (!beneath) {
		slash = strrchr(path, '/');
		if (asprintf(&name, "%s/%s", dir ? dir : "/boot/kernel", slash ? slash + 1 : path) < 0)
			return NULL;
	} else if (asprintf(&name, "%s%s", *beneath == '/' ? "" : "/", beneath) < 0) {
		return NULL;
	}
	n = strlen(name);
	if (n > 3 && !strcmp(name + n - 3, ".gz"))
		name[n - 3] = 0;
	return name;
}

static bool same_file(const struct fbsd_set *s, const char *path)
{
	char *name = guest_name(s, path);
	bool same = false;

	for (unsigned i = 0; name && i < s->nfiles && !same; i++)
		same = !strcmp(s->file[i].name, name);
	free(name);
	return same;
}

/* --- what fits --- */

static const char *machine_name(uint16_t machine)
{
	return machine == EM_X86_64 ? "amd64" : machine == EM_AARCH64 ? "arm64" : "another architecture";
}

static int check_kind(const struct load *l, const char *path, const struct kld_info *k)
{
	uint16_t want = l->set->machine == EM_X86_64 ? ET_REL : ET_DYN;

	if (k->machine != l->set->machine)
		return err_msg(-ENOEXEC, "module '%s' is for %s, the kernel is for %s: give a module built for %s", path,
			       machine_name(k->machine), machine_name(l->set->machine), machine_name(l->set->machine));
	if (k->elf_type != want)
		return err_msg(-ENOEXEC, "module '%s' is no module but %s; give a .ko file of FreeBSD/%s", path,
			       k->elf_type == ET_EXEC ? "a program or kernel" : k->elf_type == ET_REL ? "an object file" :
			       k->elf_type == ET_DYN ? "a shared object" : "another kind of ELF file", machine_name(k->machine));
	return 0;
}

/* The loaded file that provides a module, whatever the version; the best version for `need` in *version, else any. */
static const struct fbsd_module *find_provider(const struct fbsd_set *s, const struct kld_need *need, bool *fits)
{
	const struct fbsd_module *any = NULL;

	*fits = false;
	for (unsigned i = 0; i < s->nmodules; i++) {
		const struct fbsd_module *m = &s->module[i];

		if (strcmp(m->name, need->name))
			continue;
		any = m;
		*fits = m->version >= need->min && m->version <= need->max;
		if (*fits)
			return m;
	}
	return any;
}

static int wrong_version(const struct load *l, const char *path, const struct kld_need *need, const struct fbsd_module *m)
{
	const char *by = l->set->file[m->file].host;

	if (!strcmp(need->name, "kernel"))
		return err_msg(-ENOEXEC, "module '%s' is for a kernel of version %d to %d, but '%s' has version %d: give the modules that were "
			       "built with this kernel", path, need->min, need->max, by, m->version);
	return err_msg(-ENOEXEC, "module '%s' needs module '%s' of version %d to %d, but '%s' has version %d: give the modules that were "
		       "built together", path, need->name, need->min, need->max, by, m->version);
}

static int load_kld(struct load *, const char *path, const char *args);

static int load_need(struct load *l, const char *path, const struct kld_info *k, const struct kld_need *need)
{
	char file[PATH_MAX];
	bool fits;
	const struct fbsd_module *m = find_provider(l->set, need, &fits);
	int err;

	if (fits || kld_provides(k, need->name, need) >= 0)
		return 0;
	if (m)
		return wrong_version(l, path, need, m);
	if (!search(l, need->name, need, false, file))
		return err_msg(-ENOENT, "module '%s' needs module '%s' (version %d to %d), which neither the kernel nor '%s' has: put %s.ko "
			       "there or leave the module out", path, need->name, need->min, need->max,
			       fbsd_getenv(l->set, "module_path") ? fbsd_getenv(l->set, "module_path") : "host0:", need->name);
	err = load_kld(l, file, "");
	if (err && err != -EEXIST)
		return err;
	m = find_provider(l->set, need, &fits);
	if (!fits && m)
		return wrong_version(l, path, need, m);
	return fits ? 0 : err_msg(-ENOEXEC, "module '%s' needs module '%s', but '%s' does not have it: linker.hints is out of date, run "
				  "kldxref on its directory", path, need->name, file);
}

static int load_needs(struct load *l, const char *path, const struct kld_info *k)
{
	int err = 0;

	for (unsigned i = 0; i < l->depth; i++)
		if (!strcmp(l->chain[i], path))
			return err_msg(-ELOOP, "modules '%s' and '%s' need each other; leave both out", path, l->chain[l->depth - 1]);
	if (l->depth == DEPTH_MAX)
		return err_msg(-ELOOP, "module '%s' is needed by '%s' over more than %d others", path, l->chain[0], DEPTH_MAX);
	l->chain[l->depth++] = path;
	for (unsigned i = 0; i < k->nneeds && !err; i++)
		err = load_need(l, path, k, &k->needs[i]);
	l->depth--;
	return err;
}

/* --- into the set --- */

/* Takes over data and name when it succeeds. */
static int append(struct fbsd_set *s, char *name, const char *path, const char *type, const char *args,
	const struct fbsd_file *data)
{
	struct fbsd_file f = *data;
	int err;

	f.name = name;
	f.host = strdup(path);
	f.args = strdup(args);
	f.type = type;
	if (strcmp(type, FBSD_TYPE_KERNEL) && strcmp(type, FBSD_TYPE_MODULE) && strcmp(type, FBSD_TYPE_OBJ)) {
		f.type_buf = strdup(type);
		f.type = f.type_buf;
	}
	err = f.name && f.host && f.args && f.type ? fbsd_add_file(s, &f) : no_memory(path);
	if (err) {
		free(f.host);
		free(f.args);
		free(f.type_buf);
	}
	return err;
}

/* A kernel or module with what it provides; otherwise like append(). */
static int append_kld(struct fbsd_set *s, char *name, const char *path, const char *type, const char *args,
	const struct fbsd_file *data, const struct kld_info *k)
{
	int err = 0;

	for (unsigned i = 0; i < k->nprovides && !err; i++)
		err = fbsd_add_module(s, s->nfiles, k->provides[i].name, k->provides[i].version);
	if (!err)
		err = append(s, name, path, type, args, data);
	if (err)
		fbsd_drop_files(s, s->nfiles);
	return err;
}

/* With what it needs; leaves the set as it was when that fails. */
static int load_kld(struct load *l, const char *path, const char *args)
{
	unsigned before = l->set->nfiles;
	struct fbsd_file f = { .data = NULL };
	struct kld_info k;
	char *name;
	int err;

	if (same_file(l->set, path))
		return -EEXIST;
	err = hostdir_read(l->conf, "module", path, &f.data, &f.len, &f.map_len);
	if (err)
		return err;
	if (f.len < SELFMAG || memcmp(f.data, ELFMAG, SELFMAG)) {
		hostdir_drop(f.data, f.map_len);
		return err_msg(-ENOEXEC, "module '%s' is no ELF file; say what it is with type=TYPE, such as type=md_image", path);
	}
	err = kld_read(path, f.data, f.len, &k);
	if (err) {
		hostdir_drop(f.data, f.map_len);
		return err;
	}
	err = check_kind(l, path, &k);
	if (!err)
		err = load_needs(l, path, &k);
	name = err ? NULL : guest_name(l->set, path);
	if (!err)
		err = append_kld(l->set, name, path, k.elf_type == ET_REL ? FBSD_TYPE_OBJ : FBSD_TYPE_MODULE, args, &f, &k);
	kld_free(&k);
	if (err) {
		fbsd_drop_files(l->set, before);
		hostdir_drop(f.data, f.map_len);
		free(name);
	}
	return err;
}

static int load_raw(struct load *l, const char *path, const char *type, const char *args)
{
	struct fbsd_file f = { .data = NULL };
	char *name;
	int err;

	if (same_file(l->set, path))
		return -EEXIST;
	err = hostdir_read(l->conf, "file", path, &f.data, &f.len, &f.map_len);
	if (!err && !f.len)
		err = err_msg(-EINVAL, "file '%s' (%s) is empty: give one with something in it", path, type);
	name = err ? NULL : guest_name(l->set, path);
	if (!err)
		err = append(l->set, name, path, type, args, &f);
	if (err) {
		hostdir_drop(f.data, f.map_len);
		free(name);
	}
	return err;
}

/* The full path of what a name without a slash means; 0 or -ENOENT (not reported). */
static int find(const struct load *l, const char *name, bool raw, char out[PATH_MAX])
{
	if (hostdir_beneath(name) || strchr(name, '/'))
		return snprintf(out, PATH_MAX, "%s", name) < PATH_MAX ? 0 : -ENOENT;
	return search(l, name, NULL, raw, out) ? 0 : -ENOENT;
}

int fbsd_load_module(struct fbsd_set *s, const struct conf *conf, const char *path, const char *type, const char *args)
{
	struct load l = { .set = s, .conf = conf };
	bool kld = !type || !strcmp(type, FBSD_TYPE_MODULE) || !strcmp(type, FBSD_TYPE_OBJ);
	const char *where = fbsd_getenv(s, "module_path");
	char full[PATH_MAX];
	size_t n = strlen(path);

	if (find(&l, path, !kld, full))
		return err_msg(-ENOENT, "module '%s' is not in module_path (%s) beneath host0:; give its path, such as host0:/boot/kernel/%s%s",
			       path, where ? where : "empty", path, kld && (n < 4 || strcmp(path + n - 3, ".ko")) ? ".ko" : "");
	return kld ? load_kld(&l, full, args) : load_raw(&l, full, type, args);
}

/* The kernel's directory first; where the last kernel came from no longer counts. */
static int set_kernel_path(struct fbsd_set *s, const char *dir)
{
	const char *old = fbsd_getenv(s, "kernel_path"), *paths = fbsd_getenv(s, "module_path");
	size_t n = old ? strlen(old) : 0;
	char *joined;
	int err;

	paths = paths ? paths : "";
	if (n && !strncmp(paths, old, n) && (!paths[n] || paths[n] == ';'))
		paths += n + (paths[n] == ';');
	if (asprintf(&joined, "%s%s%s", dir, *paths ? ";" : "", paths) < 0)
		return no_memory(dir);
	err = fbsd_setenv(s, "module_path", joined);
	free(joined);
	return err ? err : fbsd_setenv(s, "kernel_path", dir);
}

int fbsd_add_kernel(struct fbsd_set *s, const char *path, const char *args, const struct fbsd_file *f)
{
	const char *beneath = hostdir_beneath(path);
	char *name = beneath ? guest_name(s, path) : strdup("/boot/kernel/kernel"), *slash = name ? strrchr(name, '/') : NULL;
	char dir[PATH_MAX];
	struct kld_info k;
	int err = name ? kld_read(path, f->data, f->len, &k) : no_memory(path);

	if (err) {
		free(name);
		return err;
	}
	if (k.machine != s->machine)
		err = err_msg(-ENOEXEC, "kernel '%s' is for %s, this machine is %s: give a kernel for %s", path, machine_name(k.machine),
			      machine_name(s->machine), machine_name(s->machine));
	snprintf(dir, sizeof(dir), "%.*s", slash > name ? (int)(slash - name) : 1, name);
	if (!err)
		err = fbsd_setenv(s, "kernelname", name);
	if (!err)
		err = set_kernel_path(s, dir);
	if (!err)
		err = append_kld(s, name, path, FBSD_TYPE_KERNEL, args, f, &k);
	if (err)
		free(name);
	kld_free(&k);
	return err;
}

int fbsd_load_kernel(struct fbsd_set *s, const struct conf *conf, const char *path, const char *args)
{
	struct fbsd_file f = { .data = NULL };
	int err = hostdir_read(conf, "kernel", path, &f.data, &f.len, &f.map_len);

	if (!err && !f.len)
		err = err_msg(-EINVAL, "kernel '%s': the file is empty; give a FreeBSD kernel", path);
	if (!err)
		err = fbsd_add_kernel(s, path, args, &f);
	if (err)
		hostdir_drop(f.data, f.map_len);
	return err;
}

/* --- what loader.conf wants --- */

static bool blacklisted(const struct fbsd_set *s, const char *name)
{
	const char *list = fbsd_getenv(s, "module_blacklist");

	for (size_t n; list && *list; list += n + strspn(list + n, ";, ")) {
		n = strcspn(list, ";, ");
		if (n && strlen(name) == n && !memcmp(list, name, n))
			return true;
	}
	return false;
}

static int load_wanted(struct load *l, const struct fbsd_wanted *w)
{
	const char *name = w->name && *w->name ? w->name : w->key, *args = w->flags ? w->flags : "";
	bool kld = !w->type || !*w->type || !strcmp(w->type, FBSD_TYPE_MODULE) || !strcmp(w->type, FBSD_TYPE_OBJ);
	char full[PATH_MAX], path[PATH_MAX];
	int err;

	if (blacklisted(l->set, name)) {
		log_info("freebsd", "%s_load: module '%s' is in module_blacklist", w->key, name);
		return 0;
	}
	if (w->unsupported)
		log_warn("freebsd", "%s_%s: commands around loading are not run; %s_load is", w->key, w->unsupported, w->key);
	snprintf(path, sizeof(path), "%s%s", strchr(name, '/') && !hostdir_beneath(name) ? "host0:" : "", name);
	if (find(l, path, !kld, full) || !hostdir_has(l->conf, full)) {
		if (w->optional)
			log_info("freebsd", "%s_load: no file '%s'", w->key, name);
		else
			log_warn("freebsd", "%s_load: there is no '%s' in module_path beneath host0:; starting without it", w->key, name);
		return 0;
	}
	err = kld ? load_kld(l, full, args) : load_raw(l, full, w->type, args);
	return err == -EEXIST ? 0 : err;
}

int fbsd_load_configured(struct fbsd_set *s, const struct conf *conf)
{
	struct load l = { .set = s, .conf = conf };
	int err = 0;

	for (unsigned i = 0; i < s->nwanted && !err; i++)
		if (s->wanted[i].load)
			err = load_wanted(&l, &s->wanted[i]);
	return err;
}
