/*
 * What the files of the control server share: common/ctl.c (socket, clients, calls), common/ctl_events.c.
 */
#ifndef COMMON_CTL_INT_H
#define COMMON_CTL_INT_H

#include <pthread.h>
#include <sys/un.h>

#include "common/ctl.h"
#include "common/loop.h"

#define CTL_OUT_MAX (4u << 20)                  /* a client that does not read what it asked for is dropped */
#define CTL_EVENTS 256                          /* remembered */

struct ctl_client {
	struct ctl *ctl;
	struct ctl_client *next;
	int fd, pid;
	struct ev *ev;
	char in[CTL_LINE_MAX];
	size_t in_len;
	char *out;
	size_t out_len, out_off;
	bool leaving;                           /* says no more; goes when all is written */
	bool spoke;                             /* has sent a whole line */
	bool events;                            /* wants them */
	uint64_t seen;                          /* the last event it was sent */
};

struct ctl {
	struct vm *vm;
	int fd;
	struct ev *ev, *retry;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct ctl_client *clients;             /* the newest first */
	unsigned nclients;
	bool stopping;                          /* takes no more requests */
	struct ctl_call *calls;                 /* not answered yet */
	unsigned ncalls;
	uint64_t started_ns;                    /* CLOCK_MONOTONIC */
	unsigned states;                        /* 1 << enum vm_state: the machine has been in since `wait` looked last */

	pthread_mutex_t lock;                   /* what follows; no other is taken inside */
	char *ring[CTL_EVENTS];                 /* lines; event n is in [n % CTL_EVENTS] */
	uint64_t seq;                           /* of the last event, the first is 1 */
	bool posted;                            /* their delivery */
};

/* A line for a client, without its end; NULL: there was no memory for it.  Drops a client that does not read. */
void ctl_client_line(struct ctl_client *, const char *text);
/* False: it is gone. */
bool ctl_client_flush(struct ctl_client *);
/* Events to those who want them.  Loop thread. */
void ctl_events_deliver(struct ctl *);
void ctl_events_free(struct ctl *);
/* Methods. */
int ctl_events_method(struct ctl_call *);
int ctl_wait_method(struct ctl_call *);

#endif
