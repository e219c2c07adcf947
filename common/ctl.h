/*
 * The control socket of a running VM: `control` in its run directory, mode 0600.  JSON-RPC 2.0 [JSON-RPC], one object a
 * line in both directions.  All on the loop thread, but for the work of ctl_work().
 */
#ifndef COMMON_CTL_H
#define COMMON_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

struct vm;
struct ctl;
struct ctl_call;

#define CTL_LATER 1                             /* a method's answer follows by ctl_answer() */
#define CTL_LINE_MAX 65536
#define CTL_CLIENTS_MAX 16
#define CTL_CALLS_MAX 64                        /* not answered yet, of all clients */

struct ctl_param {
	const char *name;
	char type;                              /* 's' string, 'p' path (absolute, made so by the client), 'i' integer, 'b' boolean */
	bool required;
	const char *help;
};

/* One table makes the server's checks, `skep ctl NAME --help`, the client's arguments and the manual page. */
struct ctl_method {
	const char *name, *help;
	const struct ctl_param *params;         /* ends with a NULL name; NULL: none */
	/* 0 with call->result (NULL: an empty object), CTL_LATER, or -errno after err_msg() or err_sys(), whose text is the answer. */
	int (*fn)(struct ctl_call *);
};
extern const struct ctl_method ctl_methods[];   /* common/ctl_methods.c; NULL name ends */
const struct ctl_method *ctl_method_find(const char *name);

struct ctl_call {
	struct vm *vm;
	json_t *params;                         /* checked against the table */
	json_t *result;                         /* a new reference */
	/* The server's. */
	struct ctl *ctl;
	const struct ctl_method *method;
	struct ctl_client *client;              /* NULL: it has gone; the call is finished all the same */
	json_t *id;
	char why[512];
	struct ctl_call *next;
	struct ctl_job *job;
	/* Of a call that waits for something that may never come: its client or the VM goes.  It has to answer. */
	void (*cancel)(struct ctl_call *);
	void *state;                            /* the method's own */
};

/* NULL: unset.  The call's. */
const char *ctl_str(const struct ctl_call *, const char *name);
/* A parameter's number from lo to hi, or `unset`.  0 or -EINVAL (reported). */
int ctl_int(const struct ctl_call *, const char *name, int64_t lo, int64_t hi, int64_t unset, int64_t *out);
/* The process at the other end, which has gone when it is 0. */
int ctl_peer(const struct ctl_call *);
uint64_t ctl_uptime_ns(const struct ctl *);     /* since the VM began to be built */
/* Is another call, of that method, under way? */
bool ctl_busy(const struct ctl_call *, const char *method);
/* A JSON string of bytes that may be no UTF-8 (paths, names in images): '?' for each that does not fit. */
json_t *ctl_text(const char *);

/* Starts to listen; 0 or -errno (reported). */
int ctl_start(struct vm *, struct ctl **out);
/* Finishes what is under way, closes.  NULL ok. */
void ctl_stop(struct ctl *);
/*
 * Something has happened: clients that asked for events get a notification, and those who come later what is remembered.  Takes
 * the object over (NULL: empty).  Any thread; nothing without a control socket.
 */
void ctl_event(struct vm *, const char *event, json_t *params);
/* The late answer: as a method's return value, 0 or -errno. */
void ctl_answer(struct ctl_call *, int err);
/* What this thread reports from now on is kept for the answer; NULL: no longer.  Only where no method or `after` runs. */
void ctl_listen(struct ctl_call *);
/*
 * For what blocks: work runs on a thread of its own, `after` on the loop with its result; the sentence that work reports is
 * kept for the answer.  0 or -errno (reported), then neither runs.
 */
int ctl_work(struct ctl_call *, int (*work)(void *arg), void (*after)(struct ctl_call *, void *arg, int err), void *arg);

#endif
