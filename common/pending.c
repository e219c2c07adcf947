/*
 * Pending settings, each in a file of the VM's state directory with the syntax of skep-config(5).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/pending.h"
#include "common/statedir.h"
#include "common/util.h"

#define TEXT_MAX MIB(1)

static const char *const files[PENDINGS] = { [PENDING_LOAD] = "bhyveload.conf", [PENDING_ONCE] = "nextboot.conf" };

static int path_of(const char *name, enum pending_kind kind, bool make, char path[PATH_MAX])
{
	char dir[PATH_MAX];
	int err = make ? statedir_make(name, dir, sizeof(dir)) : statedir_path(name, dir, sizeof(dir));

	if (!err && snprintf(path, PATH_MAX, "%s/%s", dir, files[kind]) >= PATH_MAX)
		err = err_msg(-ENAMETOOLONG, "VM '%s': the path of its state directory is too long: set XDG_STATE_HOME", name);
	return err;
}

int pending_write(const char *name, enum pending_kind kind, const struct conf *conf)
{
	char path[PATH_MAX], *text = NULL;
	size_t len = 0;
	int err = path_of(name, kind, true, path);
	FILE *f = err ? NULL : open_memstream(&text, &len);

	if (err)
		return err;
	if (!f)
		return err_sys("'%s'", path);
	conf_dump(conf, f);
	if (fclose(f))
		err = err_sys("'%s'", path);
	else
		err = statedir_write(path, text, len);
	free(text);
	return err;
}

/* Somebody without a home has no state either. */
static bool has_state(void)
{
	return getenv("XDG_STATE_HOME") || getenv("HOME") || geteuid() == 0;
}

static int read_fd(int fd, const char *path, char **text)
{
	struct stat st;
	char *buf;
	size_t n = 0;
	ssize_t got = 1;

	if (fstat(fd, &st))
		return err_sys("'%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_size > (off_t)TEXT_MAX)
		return err_msg(-EPERM, "'%s': this is not a file skep has written; remove it", path);
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return err_msg(-ENOMEM, "'%s': out of memory", path);
	while (n < (size_t)st.st_size && (got = read(fd, buf + n, (size_t)st.st_size - n)) > 0)
		n += (size_t)got;
	buf[n] = 0;
	if (got < 0) {
		int err = err_sys("'%s': read", path);

		free(buf);
		return err;
	}
	*text = buf;
	return 0;
}

/* *text NULL: there is no such file. */
static int read_file(const char *path, char **text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), err;

	*text = NULL;
	if (fd < 0)
		return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys("'%s'", path);
	err = read_fd(fd, path, text);
	close(fd);
	return err;
}

/* Both NULL: nothing waits. */
static int load(const char *name, enum pending_kind kind, struct conf **out, char **text)
{
	char path[PATH_MAX];
	int err = has_state() ? path_of(name, kind, false, path) : -ENOENT;

	*out = NULL;
	*text = NULL;
	if (err == -ENOENT)
		return 0;
	if (!err)
		err = read_file(path, text);
	if (err || !*text)
		return err;
	*out = conf_new();
	err = conf_read_file(*out, path);
	if (!err)
		err = conf_check(*out);
	if (err) {
		conf_free(*out);
		free(*text);
		*out = NULL;
		*text = NULL;
	}
	return err;
}

int pending_read(const char *name, enum pending_kind kind, struct conf **out)
{
	char *text;
	int err = load(name, kind, out, &text);

	free(text);
	return err;
}

int pending_clear(const char *name, enum pending_kind kind)
{
	char path[PATH_MAX];
	int err = path_of(name, kind, false, path);

	if (err)
		return err;
	if (!unlink(path))
		return 1;
	return errno == ENOENT || errno == ENOTDIR ? 0 : err_sys("'%s': remove", path);
}

/* --- the VM's side --- */

struct renumber {
	struct conf *to;
	unsigned next;
};

static void after_env(const char *key, const char *value, const char *origin, void *arg)
{
	struct renumber *r = arg;
	unsigned n;

	(void)value;
	(void)origin;
	if (sscanf(key, "loader.env.%9u", &n) == 1)
		r->next = MAX(r->next, n + 1);
}

static void copy_env(const char *key, const char *value, const char *origin, void *arg)
{
	struct renumber *r = arg;
	char to[64], *text, *out;

	if (strncmp(key, "loader.env.", 11))
		return;
	snprintf(to, sizeof(to), "loader.env.%u", r->next++);
	text = out = malloc(2 * strlen(value) + 1);
	if (!text)
		abort();
	for (const char *s = value; *s; s++) {          /* the value is expanded already */
		if (*s == '%')
			*out++ = '%';
		*out++ = *s;
	}
	*out = 0;
	conf_set(r->to, to, text, origin);
	free(text);
}

/* Adds settings to a configuration: variables behind those it has, everything else instead of what it has. */
static void add(struct conf *to, const struct conf *from)
{
	struct conf *rest = conf_copy(from, "loader.env.");
	struct renumber r = { to, 0 };

	conf_merge(to, rest);
	conf_free(rest);
	conf_walk(to, after_env, &r);
	conf_walk(from, copy_env, &r);
}

static void forget_once(struct pending *p)
{
	conf_free(p->once);
	free(p->text[PENDING_ONCE]);
	p->once = NULL;
	p->text[PENDING_ONCE] = NULL;
}

static int begin_once(struct pending *p, const char *name, struct conf **conf)
{
	struct conf *waits;
	int err;

	forget_once(p);
	*conf = p->base;
	err = load(name, PENDING_ONCE, &waits, &p->text[PENDING_ONCE]);
	if (err || !waits)
		return err;
	p->once = conf_copy(p->base, conf_raw(waits, "module.0") ? "module." : NULL);
	add(p->once, waits);
	conf_free(waits);
	*conf = p->once;
	return 0;
}

int pending_begin(struct pending *p, const char *name, struct conf **conf, bool boots)
{
	struct conf *waits = NULL;
	int err = 0;

	p->base = *conf;
	if (!boots)
		err = load(name, PENDING_LOAD, &waits, &p->text[PENDING_LOAD]);
	if (waits)
		add(p->base, waits);
	conf_free(waits);
	return err ? err : begin_once(p, name, conf);
}

int pending_again(struct pending *p, const char *name, struct conf **conf)
{
	if (!p->base)
		p->base = *conf;
	return begin_once(p, name, conf);
}

static void used(struct pending *p, const char *name, enum pending_kind kind)
{
	char path[PATH_MAX], *now;

	if (!p->text[kind] || path_of(name, kind, false, path) || read_file(path, &now))
		return;
	if (now && !strcmp(now, p->text[kind]) && unlink(path))
		log_warn("pending", "'%s' cannot be removed (%s): the next start uses it again", path, strerror(errno));
	free(now);
	free(p->text[kind]);
	p->text[kind] = NULL;
}

bool pending_dismiss(struct pending *p, const char *name, struct conf **conf)
{
	if (!p->once)
		return false;
	used(p, name, PENDING_ONCE);
	forget_once(p);
	*conf = p->base;
	return true;
}

void pending_started(struct pending *p, const char *name)
{
	for (int kind = 0; kind < PENDINGS; kind++)
		used(p, name, kind);
}

void pending_free(struct pending *p)
{
	conf_free(p->once);
	for (int kind = 0; kind < PENDINGS; kind++)
		free(p->text[kind]);
	memset(p, 0, sizeof(*p));
}
