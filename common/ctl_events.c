/*
 * Events of a VM: numbered, the last ones remembered, and sent as notifications [JSON-RPC 4.1] to the clients that asked.
 *
 * The method `wait` is here, too: it is answered when the event of a state comes.
 *
 * Whoever has something to tell puts a line into the ring and has the loop deliver it; each client knows how far it has
 * been told.  Nobody waits for a client.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/ctl_int.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

static void deliver_to(struct ctl *ctl, struct ctl_client *c)
{
	pthread_mutex_lock(&ctl->lock);
	if (ctl->seq - MIN(c->seen, ctl->seq) > CTL_EVENTS)
		c->seen = ctl->seq - CTL_EVENTS;
	while (c->seen < ctl->seq && !c->leaving) {
		const char *line = ctl->ring[++c->seen % CTL_EVENTS];

		if (line)
			ctl_client_line(c, line);
	}
	pthread_mutex_unlock(&ctl->lock);
}

/* --- wait --- */

struct wait {
	enum vm_state state;
	struct ev *timer;
};

/* Answers it late: -ETIMEDOUT, -ECANCELED or 0. */
static void wait_end(struct ctl_call *call, int err)
{
	struct wait *w = call->state;

	call->cancel = NULL;
	ev_del(w->timer);
	ctl_listen(call);
	if (err)
		err_msg(err, err == -ETIMEDOUT ? "wait: the machine is not '%s' when the time is over, it is '%s'" :
			"wait: the machine ends without having become '%s'; it is '%s'", vm_state_names[w->state],
			vm_state_names[call->vm->state]);
	else
		call->result = json_pack("{s:s}", "state", vm_state_names[w->state]);
	ctl_listen(NULL);
	free(w);
	ctl_answer(call, err);
}

static void wait_cancel(struct ctl_call *call)
{
	wait_end(call, -ECANCELED);
}

static void wait_over(void *arg, uint32_t events UNUSED)
{
	wait_end(arg, -ETIMEDOUT);
}

static void waits_check(struct ctl *ctl)
{
	struct ctl_call *call;
	unsigned states;

	pthread_mutex_lock(&ctl->lock);
	states = ctl->states;
	ctl->states = 0;
	pthread_mutex_unlock(&ctl->lock);
	/* Each answer may take clients and their calls along. */
	do {
		for (call = ctl->calls; call; call = call->next)
			if (call->cancel == wait_cancel && states & 1u << ((struct wait *)call->state)->state)
				break;
		if (call)
			wait_end(call, 0);
	} while (call);
}

static int state_of(const char *name)
{
	for (unsigned i = 0; i < VM_STATES; i++)
		if (!strcmp(vm_state_names[i], name))
			return (int)i;
	return err_msg(-EINVAL, "wait: there is no state '%s'; 'running', 'paused' and 'exited' are the usual ones", name);
}

int ctl_wait_method(struct ctl_call *call)
{
	const int state = state_of(ctl_str(call, "state"));
	struct wait *w;
	int64_t ms;

	if (state < 0 || ctl_int(call, "timeout_ms", 1, INT32_MAX, 0, &ms))
		return -EINVAL;
	waits_check(call->ctl);         /* what has been is no matter of this call */
	if (!call->client)
		return -ECANCELED;      /* it has just been found to be gone */
	if (call->vm->state == (enum vm_state)state) {
		call->result = json_pack("{s:s}", "state", vm_state_names[state]);
		return 0;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->state = (enum vm_state)state;
	if (ms) {
		w->timer = ev_timer(call->vm->loop, wait_over, call);
		if (!w->timer) {
			free(w);
			return -ENOMEM;
		}
		ev_arm(w->timer, (uint64_t)ms * 1000000);
	}
	call->state = w;
	call->cancel = wait_cancel;
	return CTL_LATER;
}

/* --- events --- */

void ctl_events_deliver(struct ctl *ctl)
{
	struct ctl_client *next;

	waits_check(ctl);
	for (struct ctl_client *c = ctl->clients; c; c = next) {
		next = c->next;
		if (!c->events || c->leaving)
			continue;
		deliver_to(ctl, c);
		ctl_client_flush(c);
	}
}

/* The server may have gone since this was posted. */
static void on_posted(void *arg, uint32_t events UNUSED)
{
	struct ctl *ctl = ((struct vm *)arg)->ctl;

	if (!ctl)
		return;
	pthread_mutex_lock(&ctl->lock);
	ctl->posted = false;
	pthread_mutex_unlock(&ctl->lock);
	ctl_events_deliver(ctl);
}

void ctl_event(struct vm *vm, const char *event, json_t *params)
{
	struct ctl *ctl = vm->ctl;
	struct timespec ts;
	char **slot;
	uint64_t seq;
	json_t *o;

	if (!ctl) {
		json_decref(params);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &ts);
	pthread_mutex_lock(&ctl->lock);
	if (!strcmp(event, "state"))
		ctl->states |= 1u << vm->state;
	seq = ++ctl->seq;
	o = json_pack("{s:s, s:s, s:{s:s, s:I, s:I}}", "jsonrpc", "2.0", "method", "event", "params", "event", event, "seq",
		      (json_int_t)seq, "time_ns", (json_int_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
	if (params)
		json_object_update(json_object_get(o, "params"), params);
	slot = &ctl->ring[seq % CTL_EVENTS];
	free(*slot);
	*slot = json_dumps(o, JSON_COMPACT);
	if (!ctl->posted)
		ctl->posted = ev_post(vm->loop, on_posted, vm) == 0;
	pthread_mutex_unlock(&ctl->lock);
	json_decref(o);
	json_decref(params);
}

void ctl_events_free(struct ctl *ctl)
{
	for (unsigned i = 0; i < CTL_EVENTS; i++)
		free(ctl->ring[i]);
	pthread_mutex_destroy(&ctl->lock);
}

/* Of what is remembered, what came after `since`; without it, only what comes from now on. */
int ctl_events_method(struct ctl_call *call)
{
	const json_t *since = json_object_get(call->params, "since");
	struct ctl_client *c = call->client;
	struct ctl *ctl = call->ctl;
	uint64_t seq, first;

	pthread_mutex_lock(&ctl->lock);
	seq = ctl->seq;
	pthread_mutex_unlock(&ctl->lock);
	first = seq > CTL_EVENTS ? seq - CTL_EVENTS + 1 : 1;
	if (since && (json_integer_value(since) < 0 || (uint64_t)json_integer_value(since) > seq))
		return err_msg(-EINVAL, "since: the last event was number %llu; give a number from 0 to that", (unsigned long long)seq);
	c->events = true;
	c->seen = since ? (uint64_t)json_integer_value(since) : seq;
	call->result = json_pack("{s:I, s:I}", "seq", (json_int_t)seq, "oldest", (json_int_t)first);
	/* They follow the answer. */
	if (since) {
		pthread_mutex_lock(&ctl->lock);
		if (!ctl->posted)
			ctl->posted = ev_post(call->vm->loop, on_posted, call->vm) == 0;
		pthread_mutex_unlock(&ctl->lock);
	}
	return 0;
}
