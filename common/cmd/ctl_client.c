#include "common/cmd/ctl_client.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/cmd/proc_use.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"

#define LINE_MAX_BYTES MIB(16)
#define CONNECT_S 5                     /* a machine that hangs does not hang us */

struct ctl_conn {
	int fd, id;
	char *buf;
	size_t len, cap;
	char name[64];
};

/* --- Who has it, when it is not ours --- */

/* DIR/MIDDLE/NAME with a directory of DIR that begins with `prefix`; false: none. */
static bool search(const char *dir, const char *prefix, const char *middle, const char *name, char *out, size_t len)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool found = false;

	while (!found && d && (e = readdir(d))) {
		char path[256];

		if (e->d_name[0] == '.' || strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof(path), "%.16s/%.64s%s/%s", dir, e->d_name, middle, name);
		found = rundir_owner(path) > 0;
		snprintf(out, len, "%s", path);
	}
	if (d)
		closedir(d);
	return found;
}

/* Why there is nobody of that name. */
static int absent(const char *name)
{
	char where[256];
	struct stat st;

	if (search("/run/user", "", "/skep", name, where, sizeof(where)) || search("/tmp", "skep-", "", name, where, sizeof(where)) ||
	    search("/run", "skep", "", name, where, sizeof(where)))
		return err_msg(-ENOENT, "machine '%s' is another user's (%lu), in '%s': run this as that user%s", name,
			       stat(where, &st) ? 0ul : (unsigned long)st.st_uid, where,
			       strstr(where, "/skep/") ? ", or with XDG_RUNTIME_DIR set to where 'skep' is in there" : "");
	if (geteuid() != 0)
		return err_msg(-ENOENT, "no machine '%s' of yours is running; 'skep list' shows those that are, and those of others need "
			       "their user", name);
	return err_msg(-ENOENT, "no machine '%s' is running; 'skep list' shows those that are", name);
}

static int forbidden(const char *name, const char *dir)
{
	char *base = rundir_base();
	struct stat st;
	int err;

	if (stat(dir, &st) && stat(base, &st))
		err = err_msg(-EACCES, "machine '%s': no permission for '%s': run as the user who started it, or as root", name, dir);
	else
		err = err_msg(-EACCES, "machine '%s' belongs to user %lu: run as that user, or as root", name, (unsigned long)st.st_uid);
	free(base);
	return err;
}

/* --- The connection --- */

static int connect_to(const char *dir, const struct timeval *limit)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	int fd, err = 0;

	if (n < 0 || (size_t)n >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (limit ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	/* A Unix socket's connect() and send() obey this. */
	if (limit)
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, limit, sizeof(*limit));
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = -errno;
		close(fd);
	}
	return err ? err : fd;
}

static struct ctl_conn *conn_new(const char *name, int fd)
{
	struct ctl_conn *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->fd = fd;
	snprintf(c->name, sizeof(c->name), "%s", name);
	return c;
}

int cc_try(const char *name, struct ctl_conn **out)
{
	char *dir = rundir_path(name);
	const int fd = connect_to(dir, NULL);

	free(dir);
	*out = fd < 0 ? NULL : conn_new(name, fd);
	return MIN(fd, 0);
}

int cc_open(const char *name, struct ctl_conn **out)
{
	static const struct timeval limit = { .tv_sec = CONNECT_S };
	char why[96], *dir;
	int fd, owner;

	*out = NULL;
	if (rundir_name_check(name, why, sizeof(why)))
		return err_msg(-EINVAL, "'%s' is not the name of a machine: %s", name, why);
	dir = rundir_path(name);
	owner = rundir_owner(dir);
	fd = owner == -EACCES ? owner : connect_to(dir, &limit);
	if (fd >= 0)
		*out = conn_new(name, fd);
	else if (fd == -EACCES)
		fd = forbidden(name, dir);
	else if (owner == 0)
		fd = absent(name);
	else if (fd == -EAGAIN)
		fd = err_msg(fd, "machine '%s' (pid %d) takes no connection: it hangs, or has too many clients; try again", name, owner);
	else if (fd == -ENOENT || fd == -ECONNREFUSED)
		fd = err_msg(fd, "machine '%s' (pid %d) is just starting or ending; try again", name, owner);
	else
		fd = err_msg(fd, "control socket '%s/control': %s", dir, strerror(-fd));
	free(dir);
	return MIN(fd, 0);
}

void cc_close(struct ctl_conn *c)
{
	if (!c)
		return;
	close(c->fd);
	free(c->buf);
	free(c);
}

int cc_fd(const struct ctl_conn *c)
{
	return c->fd;
}

int cc_send(struct ctl_conn *c, const char *method, json_t *params)
{
	json_t *o = json_pack("{s:s, s:i, s:s, s:O*}", "jsonrpc", "2.0", "id", ++c->id, "method", method, "params", params);
	char *text = json_dumps(o, JSON_COMPACT);
	const size_t len = text ? strlen(text) : 0;
	int err = text ? 0 : -ENOMEM;

	json_decref(o);
	if (text)
		text[len] = '\n';       /* in the place of its NUL */
	for (size_t off = 0; !err && off <= len;) {
		const ssize_t n = send(c->fd, text + off, len + 1 - off, MSG_NOSIGNAL);

		if (n >= 0)
			off += (size_t)n;
		else if (errno != EINTR)
			err = -errno;
	}
	free(text);
	return err ? err : c->id;
}

/* More bytes; 1, 0 at the end, -errno. */
static int fill(struct ctl_conn *c, int timeout_ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	ssize_t n;

	if (c->len == c->cap) {
		if (c->cap >= LINE_MAX_BYTES)
			return -EPROTO;
		c->cap = c->cap ? c->cap * 2 : 4096;
		c->buf = realloc(c->buf, c->cap);
		if (!c->buf)
			abort();
	}
	n = poll(&p, 1, timeout_ms);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	n = recv(c->fd, c->buf + c->len, c->cap - c->len, MSG_DONTWAIT);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	c->len += (size_t)n;
	return n > 0;
}

int cc_next(struct ctl_conn *c, int timeout_ms, json_t **out)
{
	const int64_t end = proc_now_ms() + timeout_ms;
	size_t seen = 0;
	char *nl;
	int more;

	while (!(nl = c->len > seen ? memchr(c->buf + seen, '\n', c->len - seen) : NULL)) {
		seen = c->len;
		more = fill(c, timeout_ms < 0 ? -1 : (int)MAX(end - proc_now_ms(), 0));
		if (more <= 0)
			return more;
	}
	*out = json_loadb(c->buf, (size_t)(nl - c->buf), 0, NULL);
	c->len -= (size_t)(nl + 1 - c->buf);
	memmove(c->buf, nl + 1, c->len);
	if (json_is_object(*out))
		return 1;
	json_decref(*out);
	*out = NULL;
	return -EPROTO;
}

bool cc_is_answer(const json_t *o, int id)
{
	const json_t *got = json_object_get(o, "id");

	return !json_object_get(o, "method") && (json_is_null(got) || json_integer_value(got) == id);
}

int cc_answer(struct ctl_conn *c, int id, cc_note_fn *note, void *arg, json_t **out)
{
	json_t *o = NULL;
	int more;

	while ((more = cc_next(c, -1, &o)) == -EINTR || (more == 1 && !cc_is_answer(o, id))) {
		if (o && note && json_object_get(o, "method"))
			note(arg, o);
		json_decref(o);
		o = NULL;
	}
	*out = o;
	return more;
}

json_t *cc_call(struct ctl_conn *c, const char *method, json_t *params, cc_note_fn *note, void *arg)
{
	json_t *o = NULL, *result;
	/* One that has no room for us says so and closes before it has read the call: there is an answer all the same. */
	const int more = cc_answer(c, cc_send(c, method, params), note, arg, &o);
	const char *why;

	if (more == 0)
		err_msg(-EPIPE, "machine '%s' ended before it answered", c->name);
	else if (more < 0)
		err_msg(more, "machine '%s': its answer: %s", c->name, strerror(-more));
	if (more <= 0)
		return NULL;
	result = json_incref(json_object_get(o, "result"));
	why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
	if (!result)
		err_msg(-EIO, "%s", why ? why : "the machine's answer is no JSON-RPC answer");
	json_decref(o);
	return result;
}

json_t *cc_ask(const char *name, const char *method, json_t *params)
{
	struct ctl_conn *c;
	json_t *result;

	if (cc_open(name, &c))
		return NULL;
	result = cc_call(c, method, params, NULL, NULL);
	cc_close(c);
	return result;
}
