#include "common/ctl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ctl_int.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/util.h"
#include "common/vm.h"

#define RETRY_NS 500000000u

/* [JSON-RPC 5.1] */
enum { RPC_PARSE = -32700, RPC_INVALID = -32600, RPC_NO_METHOD = -32601, RPC_PARAMS = -32602, RPC_FAILED = -32000 };

struct ctl_job {
	pthread_t thread;
	struct ctl_call *call;
	int (*work)(void *arg);
	void (*after)(struct ctl_call *, void *arg, int err);
	void *arg;
	int err;
};

/* --- Clients --- */

/* A call of that client, or else one that waits for what may never come. */
static struct ctl_call *call_of(const struct ctl *ctl, const struct ctl_client *c)
{
	struct ctl_call *call = ctl->calls;

	while (call && (c ? call->client != c : !call->cancel))
		call = call->next;
	return call;
}

/* Calls of a client that leaves, or all, which wait for what may never come.  Each answer may take a client and its calls along. */
static void calls_cancel(struct ctl *ctl, const struct ctl_client *c)
{
	struct ctl_call *call;

	while ((call = call_of(ctl, c))) {
		if (c)
			call->client = NULL;
		if (call->cancel)
			call->cancel(call);
	}
}

static void client_free(struct ctl_client *c)
{
	struct ctl_client **p = &c->ctl->clients;

	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	c->ctl->nclients--;
	calls_cancel(c->ctl, c);
	ev_del(c->ev);
	close(c->fd);
	free(c->out);
	free(c);
}

static uint32_t listens(const struct ctl_client *c)
{
	return c->leaving || c->ctl->stopping ? 0 : EPOLLIN;
}

bool ctl_client_flush(struct ctl_client *c)
{
	while (c->out_off < c->out_len) {
		const ssize_t n = send(c->fd, c->out + c->out_off, c->out_len - c->out_off, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			ev_mod(c->ev, listens(c) | EPOLLOUT);
			return true;
		}
		if (n < 0) {
			client_free(c);
			return false;
		}
		c->out_off += (size_t)n;
	}
	c->out_off = c->out_len = 0;
	if (c->leaving) {
		client_free(c);
		return false;
	}
	ev_mod(c->ev, listens(c));
	return true;
}

void ctl_client_line(struct ctl_client *c, const char *text)
{
	const size_t len = text ? strlen(text) : 0;
	char *out = NULL;

	if (c->leaving)
		return;
	/* What it has read counts no longer: a client that never has read all is not one that does not read. */
	if (c->out_off && c->out_len + len + 1 > CTL_OUT_MAX) {
		memmove(c->out, c->out + c->out_off, c->out_len - c->out_off);
		c->out_len -= c->out_off;
		c->out_off = 0;
	}
	if (text && c->out_len + len + 1 <= CTL_OUT_MAX)
		out = realloc(c->out, c->out_len + len + 1);
	if (!out) {
		log_warn("ctl", "a client of the control socket is dropped: it does not read what it asked for");
		c->leaving = true;
		c->out_len = c->out_off = 0;
		return;
	}
	memcpy(out + c->out_len, text, len);
	out[c->out_len + len] = '\n';
	c->out = out;
	c->out_len += len + 1;
}

/* Takes the object over. */
static void client_send(struct ctl_client *c, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	ctl_client_line(c, text);
	free(text);
}

json_t *ctl_text(const char *text)
{
	json_t *o = json_string(text);
	char *copy = o ? NULL : strdup(text);

	/* What lies outside ASCII may be cut off or wrong anywhere. */
	for (char *p = copy; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	if (copy)
		o = json_string(copy);
	free(copy);
	return o;
}

static json_t *failure(const json_t *id, int code, const char *text)
{
	return json_pack("{s:s, s:o, s:{s:i, s:o}}", "jsonrpc", "2.0", "id", id ? json_incref((json_t *)id) : json_null(),
			 "error", "code", code, "message", ctl_text(text));
}

/* [JSON-RPC 4.1]: a notification, which has no id, is not answered. */
static void refuse(struct ctl_client *c, const json_t *id, int code, const char *text)
{
	if (id)
		client_send(c, failure(id, code, text));
}

/* --- Calls --- */

static void call_free(struct ctl_call *call)
{
	json_decref(call->params);
	json_decref(call->result);
	json_decref(call->id);
	free(call);
}

/* The last sentence reported is the answer. */
static void keep_text(void *arg, enum log_level level, const char *text)
{
	struct ctl_call *call = arg;

	if (level == LOG_ERROR || !call->why[0])
		snprintf(call->why, sizeof(call->why), "%s", text);
}

void ctl_listen(struct ctl_call *call)
{
	log_divert(call ? keep_text : NULL, call);
}

void ctl_answer(struct ctl_call *call, int err)
{
	struct ctl_call **p = &call->ctl->calls;
	struct ctl_client *c = call->client;

	while (*p && *p != call)
		p = &(*p)->next;
	if (*p) {
		*p = call->next;
		call->ctl->ncalls--;
	}
	if (c && call->id) {
		if (err)
			client_send(c, failure(call->id, RPC_FAILED, call->why[0] ? call->why : strerror(-err)));
		else
			client_send(c, json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id", call->id, "result",
						 call->result ? json_incref(call->result) : json_object()));
		ctl_client_flush(c);
	}
	call_free(call);
}

const char *ctl_str(const struct ctl_call *call, const char *name)
{
	return json_string_value(json_object_get(call->params, name));
}

int ctl_int(const struct ctl_call *call, const char *name, int64_t lo, int64_t hi, int64_t unset, int64_t *out)
{
	const json_t *v = json_object_get(call->params, name);

	*out = v ? json_integer_value(v) : unset;
	if (!v || (*out >= lo && *out <= hi))
		return 0;
	return err_msg(-EINVAL, "%s: %s is %lld, it can be %lld to %lld", call->method->name, name, (long long)*out, (long long)lo,
		       (long long)hi);
}

int ctl_peer(const struct ctl_call *call)
{
	return call->client ? call->client->pid : 0;
}

uint64_t ctl_uptime_ns(const struct ctl *ctl)
{
	return now_ns() - ctl->started_ns;
}

bool ctl_busy(const struct ctl_call *call, const char *method)
{
	for (const struct ctl_call *c = call->ctl->calls; c; c = c->next)
		if (c != call && !strcmp(c->method->name, method))
			return true;
	return false;
}

const struct ctl_method *ctl_method_find(const char *name)
{
	for (const struct ctl_method *m = ctl_methods; m->name; m++)
		if (!strcmp(m->name, name))
			return m;
	return NULL;
}

static bool type_ok(char type, const json_t *v)
{
	return type == 's' || type == 'p' ? json_is_string(v) : type == 'i' ? json_is_integer(v) : json_is_boolean(v);
}

/* True when they fit the table; else why[]. */
static bool params_check(const struct ctl_method *m, const json_t *params, char *why, size_t len)
{
	const char *key;
	json_t *v;

	for (const struct ctl_param *p = m->params; p && p->name; p++) {
		v = json_object_get(params, p->name);
		if (!v && !p->required)
			continue;
		if (!v || !type_ok(p->type, v)) {
			snprintf(why, len, v ? "%s: parameter '%s' is of the wrong type" : "%s: parameter '%s' is missing", m->name, p->name);
			return false;
		}
	}
	json_object_foreach((json_t *)params, key, v) {
		const struct ctl_param *p = m->params;

		while (p && p->name && strcmp(p->name, key) != 0)
			p++;
		if (!p || !p->name) {
			snprintf(why, len, "%s: there is no parameter '%s'", m->name, key);
			return false;
		}
	}
	return true;
}

static void call_run(struct ctl_client *c, const struct ctl_method *m, json_t *params, json_t *id)
{
	struct ctl_call *call = c->ctl->ncalls < CTL_CALLS_MAX ? calloc(1, sizeof(*call)) : NULL;
	int err;

	if (!call) {
		refuse(c, id, RPC_FAILED, "too many requests are being carried out; try again when one is done");
		return;
	}
	call->ctl = c->ctl;
	call->method = m;
	call->vm = c->ctl->vm;
	call->client = c;
	call->params = params ? json_incref(params) : json_object();
	call->id = json_incref(id);
	call->next = c->ctl->calls;
	c->ctl->calls = call;
	c->ctl->ncalls++;
	ctl_listen(call);
	err = m->fn(call);
	ctl_listen(NULL);
	if (err != CTL_LATER)
		ctl_answer(call, err);
}

static void request(struct ctl_client *c, json_t *o)
{
	json_t *id = json_object_get(o, "id"), *params = json_object_get(o, "params");
	const char *version = json_string_value(json_object_get(o, "jsonrpc")), *name = json_string_value(json_object_get(o, "method"));
	const struct ctl_method *m = name ? ctl_method_find(name) : NULL;
	char why[256];

	if (!version || strcmp(version, "2.0") != 0 || !name || (params && !json_is_object(params)) ||
	    (id && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))) {
		client_send(c, failure(NULL, RPC_INVALID, "this is no JSON-RPC 2.0 request with parameters by name"));
	} else if (!m) {
		snprintf(why, sizeof(why), "there is no method '%.100s'", name);
		refuse(c, id, RPC_NO_METHOD, why);
	} else if (!params_check(m, params, why, sizeof(why))) {
		refuse(c, id, RPC_PARAMS, why);
	} else {
		call_run(c, m, params, id);
	}
}

/* What came in, as far as it is whole lines.  False: the client is gone. */
static bool lines(struct ctl_client *c)
{
	struct ctl *ctl = c->ctl;
	char *nl;

	while ((nl = memchr(c->in, '\n', c->in_len))) {
		const size_t len = (size_t)(nl - c->in);
		json_t *o = json_loadb(c->in, len, JSON_REJECT_DUPLICATES, NULL);
		const struct ctl_client *still;

		c->spoke = true;
		if (json_is_object(o))
			request(c, o);
		else
			client_send(c, failure(NULL, o ? RPC_INVALID : RPC_PARSE, "a line that is no JSON object"));
		json_decref(o);
		/* An answer may have met a client that hung up. */
		for (still = ctl->clients; still && still != c; still = still->next)
			;
		if (!still)
			return false;
		memmove(c->in, nl + 1, c->in_len - len - 1);
		c->in_len -= len + 1;
	}
	if (c->in_len == sizeof(c->in)) {
		client_send(c, failure(NULL, RPC_INVALID, "a line of more than 65536 bytes"));
		c->leaving = true;
	}
	return true;
}

static void on_client(void *arg, uint32_t events)
{
	struct ctl_client *c = arg;
	ssize_t n = 1;

	if (events & ~EPOLLOUT && !c->ctl->stopping) {
		n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
		if (n > 0) {
			c->in_len += (size_t)n;
			if (!lines(c))
				return;
		}
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		client_free(c);
		return;
	}
	ctl_client_flush(c);
}

/* Says why, if that can be said at once. */
static void shut_out(int fd, const char *why)
{
	json_t *o = failure(NULL, RPC_FAILED, why);
	char *text = json_dumps(o, JSON_COMPACT);

	if (text && send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	free(text);
	json_decref(o);
	close(fd);
}

/* The file's mode lets nobody else in, but a directory's owner may change it, and descriptors travel. */
static bool may_enter(int fd, int *pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	*pid = (int)peer.pid;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	log_warn("ctl", "process %d of user %u was refused at the control socket", (int)peer.pid, (unsigned)peer.uid);
	return false;
}

/* Where all places are taken: who has been there longest without ever sending a line goes. */
static void make_room(struct ctl *ctl)
{
	struct ctl_client *idle = NULL;

	if (ctl->nclients < CTL_CLIENTS_MAX)
		return;
	for (struct ctl_client *c = ctl->clients; c; c = c->next)
		if (!c->spoke)
			idle = c;
	if (idle)
		client_free(idle);
}

static void on_retry(void *arg, uint32_t events UNUSED)
{
	ev_mod(((struct ctl *)arg)->ev, EPOLLIN);
}

static void on_listen(void *arg, uint32_t events UNUSED)
{
	struct ctl *ctl = arg;
	const int fd = accept4(ctl->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct ctl_client *c;
	int pid;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
		log_warn("ctl", "control socket: a connection waits: %s", strerror(errno));
		ev_mod(ctl->ev, 0);     /* the loop would spin on a connection it cannot take */
		ev_arm(ctl->retry, RETRY_NS);
	}
	if (fd < 0)
		return;
	if (!may_enter(fd, &pid)) {
		shut_out(fd, "this machine is another user's: only its owner and root may control it");
		return;
	}
	make_room(ctl);
	c = ctl->nclients < CTL_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (c) {
		c->ctl = ctl;
		c->fd = fd;
		c->pid = pid;
		c->ev = ev_fd(ctl->vm->loop, fd, EPOLLIN, on_client, c);
	}
	if (!c || !c->ev) {
		free(c);
		shut_out(fd, "the machine has as many clients as its control socket takes; try again when one has left");
		return;
	}
	c->next = ctl->clients;
	ctl->clients = c;
	ctl->nclients++;
}

/* --- Work off the loop --- */

static void job_after(struct ctl_job *job)
{
	struct ctl_call *call = job->call;

	pthread_join(job->thread, NULL);
	call->job = NULL;
	ctl_listen(call);
	job->after(call, job->arg, job->err);
	ctl_listen(NULL);
	free(job);
}

static void on_job_done(void *arg, uint32_t events UNUSED)
{
	job_after(arg);
}

static void *job_thread(void *arg)
{
	struct ctl_job *job = arg;

	ctl_listen(job->call);
	job->err = job->work(job->arg);
	ctl_listen(NULL);
	ev_post(job->call->vm->loop, on_job_done, job);
	return NULL;
}

int ctl_work(struct ctl_call *call, int (*work)(void *arg), void (*after)(struct ctl_call *, void *arg, int err), void *arg)
{
	struct ctl_job *job = calloc(1, sizeof(*job));
	sigset_t all, old;
	int err;

	if (!job)
		return -ENOMEM;
	*job = (struct ctl_job){ .call = call, .work = work, .after = after, .arg = arg };
	call->job = job;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	err = pthread_create(&job->thread, NULL, job_thread, job);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		call->job = NULL;
		free(job);
		return err_msg(-err, "a thread for the work: %s", strerror(err));
	}
	return 0;
}

/* --- The socket --- */

int ctl_start(struct vm *vm, struct ctl **out)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct ctl *ctl = calloc(1, sizeof(*ctl));
	const int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", vm->rundir);

	*out = NULL;
	if (!ctl)
		return -ENOMEM;
	ctl->vm = vm;
	ctl->fd = -1;
	ctl->started_ns = now_ns();
	pthread_mutex_init(&ctl->lock, NULL);
	if (n < 0 || (size_t)n >= sizeof(sa.sun_path)) {
		ctl_stop(ctl);
		return err_msg(-ENAMETOOLONG, "control socket '%s/control': the path is longer than %zu bytes; give the VM a shorter name",
			       vm->rundir, sizeof(sa.sun_path) - 1);
	}
	memcpy(ctl->path, sa.sun_path, sizeof(ctl->path));
	/* The directory's lock is ours: what is there is a dead owner's.  The descriptor's mode becomes the file's. */
	unlink(sa.sun_path);
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ctl->fd < 0 || fchmod(ctl->fd, 0600) < 0 || bind(ctl->fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(ctl->fd, CTL_CLIENTS_MAX) < 0) {
		const int err = err_sys("control socket '%s'", sa.sun_path);

		ctl_stop(ctl);
		return err;
	}
	ctl->retry = ev_timer(vm->loop, on_retry, ctl);
	ctl->ev = ev_fd(vm->loop, ctl->fd, EPOLLIN, on_listen, ctl);
	if (!ctl->ev || !ctl->retry) {
		ctl_stop(ctl);
		return -ENOMEM;
	}
	*out = ctl;
	return 0;
}

void ctl_stop(struct ctl *ctl)
{
	if (!ctl)
		return;
	ev_del(ctl->ev);
	ev_del(ctl->retry);
	ctl->stopping = true;
	ctl_events_deliver(ctl);
	for (struct ctl_client *c = ctl->clients; c; c = c->next)
		ev_mod(c->ev, c->out_off < c->out_len ? EPOLLOUT : 0);
	calls_cancel(ctl, NULL);
	/* What is under way ends by itself, and the disks it needs are still open. */
	while (ctl->calls && loop_step(ctl->vm->loop, -1) >= 0)
		;
	ctl_events_deliver(ctl);
	if (ctl->vm->ctl == ctl)
		ctl->vm->ctl = NULL;
	while (ctl->clients)
		client_free(ctl->clients);
	if (ctl->fd >= 0) {
		close(ctl->fd);
		unlink(ctl->path);
	}
	ctl_events_free(ctl);
	free(ctl);
}
