/*
 * `skep exits record`: a profile of a running VM at the start and one at the end, and their difference.  One a second in between, so
 * that a machine that ends takes little with it; its last words come from exit.json, or as an event, where they have a profile.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/cmd/ctl_client.h"
#include "common/cmd/exits_cmd.h"
#include "common/cmd/proc_use.h"
#include "common/log.h"
#include "common/profile.h"
#include "common/rundir.h"
#include "common/util.h"

#define POLL_MS 1000

struct recording {
	const struct exits_args *args;
	const char *name;
	double seconds;                 /* 0: until something ends it */
	struct ctl_conn *conn;
	int sig_fd, call;               /* call: the id of the one under way, 0: none */
	unsigned signals;
	bool ended;                     /* the machine */
	json_t *first, *last;
};

static bool is_profile(const json_t *o)
{
	return !strcmp(exits_str(o, "format"), "skep-exits");
}

json_t *exits_of_vm(const char *name)
{
	json_t *o = cc_ask(name, "exits", NULL);

	if (o && !is_profile(o)) {
		err_msg(-EPROTO, "machine '%s' has answered with no exit profile: it may be run by another version of skep", name);
		json_decref(o);
		o = NULL;
	}
	return o;
}

static void take(struct recording *r, json_t *doc)
{
	if (!is_profile(doc))
		return;
	json_decref(r->last);
	r->last = json_incref(doc);
	if (!r->first)
		r->first = json_incref(doc);
}

/* Tracepoints are switched on by the first question and off by the last. */
static void ask(struct recording *r, bool last)
{
	json_t *params = r->args->trace && (last || !r->first) ? json_pack("{s:b}", "trace", !last) : NULL;

	if (!r->call)
		r->call = cc_send(r->conn, "exits", params);
	json_decref(params);
	if (r->call < 0) {
		r->call = 0;
		r->ended = true;
	}
}

/* 0 or -errno (reported). */
static int on_object(struct recording *r, const json_t *o)
{
	const char *why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
	const json_t *event = json_object_get(o, "params");

	if (json_object_get(o, "method")) {
		/* What ends is asked at once; it may say it unasked. */
		take(r, json_object_get(event, "profile"));
		if (!strcmp(exits_str(event, "event"), "state"))
			ask(r, false);
		return 0;
	}
	if (!r->call || !cc_is_answer(o, r->call))
		return 0;
	r->call = 0;
	if (why)
		return err_msg(-EIO, "%s", why);
	take(r, json_object_get(o, "result"));
	return r->first ? 0 : err_msg(-EPROTO, "machine '%s' has answered with no exit profile", r->name);
}

/* All that has arrived. */
static int read_all(struct recording *r)
{
	int more, err = 0;
	json_t *o;

	while (!err && (more = cc_next(r->conn, 0, &o)) != -ETIMEDOUT) {
		if (more == 1) {
			err = on_object(r, o);
			json_decref(o);
		} else if (more != -EINTR) {
			r->ended = true;
			return 0;
		}
	}
	return err;
}

/* Until the end of the recording: time, a signal, the machine's end.  0 or -errno (reported). */
static int wait_end(struct recording *r)
{
	const int64_t end = r->seconds > 0 ? proc_now_ms() + (int64_t)(r->seconds * 1000) : INT64_MAX;
	struct pollfd p[] = { { .fd = cc_fd(r->conn), .events = POLLIN }, { .fd = r->sig_fd, .events = POLLIN } };
	struct signalfd_siginfo info;
	int64_t next = proc_now_ms();
	bool last = false;
	int err = 0;

	while (!err && !r->ended && r->signals < 2) {
		const int64_t now = proc_now_ms();
		const bool closing = now >= end || r->signals;

		if (closing && !r->call) {
			if (last)
				break;
			last = true;
			ask(r, true);
		} else if (now >= next) {
			ask(r, false);
			next = now + POLL_MS;
		}
		poll(p, 2, (int)MAX(MIN(next, closing ? INT64_MAX : end) - now, 0));
		if ((p[1].revents & POLLIN) && read(r->sig_fd, &info, sizeof(info)) == sizeof(info))
			r->signals++;
		err = read_all(r);
	}
	return err;
}

/* What the machine left when it ended, if that has a profile and is of this run. */
static void take_exit_json(struct recording *r)
{
	char *dir = rundir_path(r->name), path[256];
	json_t *o, *doc;

	snprintf(path, sizeof(path), "%s/exit.json", dir);
	free(dir);
	o = json_load_file(path, 0, NULL);
	doc = json_object_get(o, "profile");
	if (exits_u64(doc, "started") == exits_u64(r->last, "started") &&
	    exits_u64(doc, "duration_ns") >= exits_u64(r->last, "duration_ns"))
		take(r, doc);
	json_decref(o);
}

static int save(const struct recording *r)
{
	json_t *doc = profile_delta(r->first, r->last);
	char *text, *path = NULL;
	int err;

	if (!doc)
		return -EINVAL;
	if (r->args->label)
		json_object_set_new(doc, "label", json_string(r->args->label));
	text = json_dumps(doc, JSON_INDENT(1));
	if (!r->args->out && asprintf(&path, "%s-exits.json", r->name) < 0)
		abort();
	err = text ? exits_write(r->args->out ? r->args->out : path, text, strlen(text)) : err_msg(-ENOMEM, "the profile: out of memory");
	free(path);
	free(text);
	json_decref(doc);
	return err;
}

static int run(struct recording *r)
{
	const json_t *before;
	sigset_t ends, old;
	int err = cc_open(r->name, &r->conn);

	if (err)
		return err;
	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGHUP);
	sigprocmask(SIG_BLOCK, &ends, &old);
	r->sig_fd = signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
	if (r->sig_fd < 0)
		err = err_sys("signalfd");
	cc_send(r->conn, "events", NULL);
	if (!err && r->seconds <= 0 && isatty(STDERR_FILENO))
		fprintf(stderr, "skep: recording the exits of '%s'; Ctrl-C ends it\n", r->name);
	if (!err)
		err = wait_end(r);
	before = r->last;
	if (!err && r->ended)
		take_exit_json(r);
	if (!err && !r->first)
		err = err_msg(-EPIPE, "machine '%s' ended before it told anything", r->name);
	if (!err && r->ended)
		fprintf(stderr, "skep: machine '%s' has ended%s\n", r->name,
			r->last == before ? ": its last second may be missing from the profile" : "");
	if (!err)
		err = save(r);
	if (r->sig_fd >= 0)
		close(r->sig_fd);
	sigprocmask(SIG_SETMASK, &old, NULL);
	cc_close(r->conn);
	json_decref(r->first);
	json_decref(r->last);
	return err;
}

int exits_record(const struct exits_args *a)
{
	struct recording r = { .args = a, .name = a->pos[0], .sig_fd = -1, .seconds = a->seconds };

	return run(&r);
}
