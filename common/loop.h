/*
 * The event loop: one thread waits on descriptors, timers and posts from other threads (epoll, timerfd,
 * eventfd).  Callbacks run on the loop's thread and must not block.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct ev;
typedef void ev_fn(void *arg, uint32_t events);         /* events: EPOLLIN...; 0 for timers and posts */

struct loop *loop_new(void);                    /* NULL on failure, reported */
void loop_free(struct loop *);                  /* after loop_run returned; frees what was not deleted */
int loop_run(struct loop *);                    /* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *);                  /* any thread */
/* Dispatches what is ready, waiting at most timeout_ms (-1: no limit).  For tests. */
int loop_step(struct loop *, int timeout_ms);

/* Watches fd, which stays the caller's.  NULL on failure, reported.  Loop thread, or before loop_run. */
struct ev *ev_fd(struct loop *, int fd, uint32_t events, ev_fn *, void *arg);
int ev_mod(struct ev *, uint32_t events);       /* 0 stops watching without forgetting */
/* A one-shot timer, disarmed until ev_arm; delay_ns from now on CLOCK_MONOTONIC, 0 disarms.  Any thread. */
struct ev *ev_timer(struct loop *, ev_fn *, void *arg);
void ev_arm(struct ev *, uint64_t delay_ns);
/* Legal inside its own callback and others'; no callback follows.  Freed after the current batch.  NULL ok. */
void ev_del(struct ev *);
/* Runs fn once on the loop's thread, in order of posting.  Any thread.  0 or -ENOMEM. */
int ev_post(struct loop *, ev_fn *, void *arg);

/*
 * Polling: a source whose work comes in quick succession is asked for a few microseconds more before the loop sleeps;
 * meanwhile it need not notify, which saves both sides system calls and exits.  Only sources that were at work lately are
 * asked; the time grows for those whose sleeps turn out short, and is none for the others.  Between two rounds the
 * loop yields the CPU, and other descriptors are looked at in between.
 */
struct poller;
struct poller_ops {
	bool (*poll)(void *arg);                /* does what there is to do; false: nothing was */
	void (*rest)(void *arg);                /* notify again from now on; what came before must still be noticed */
};
struct poller *poller_new(struct loop *, const struct poller_ops *, void *arg);         /* NULL: no memory.  As ev_fd. */
void poller_free(struct poller *);              /* as ev_del */
/* The source has notified: how long one polls next time depends on how long that took.  Loop thread. */
void poller_notified(struct poller *);
/* The source is at work.  True: it is polled from now on, until rest(); false, and always on other threads: it has to notify. */
bool poller_wake(struct poller *);

uint64_t now_ns(void);                          /* CLOCK_MONOTONIC */

#endif
