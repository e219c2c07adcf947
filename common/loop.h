/*
 * The event loop: one thread waits on descriptors, timers and posts from other threads (epoll, timerfd,
 * eventfd).  Callbacks run on the loop's thread and must not block.
 */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

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

uint64_t now_ns(void);                          /* CLOCK_MONOTONIC */

#endif
