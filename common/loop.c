#include "common/loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"

#define BATCH 32
/* Of polling: as long as a sleep and a wake-up cost, all in all, and what a descriptor may have to wait for it. */
#define POLL_MIN_NS 4000u
#define POLL_MAX_NS 64000u
#define POLL_FDS_NS 100000u

struct ev {
	struct loop *loop;
	int fd;
	bool timer, dead;
	uint32_t events;
	ev_fn *fn;
	void *arg;
	struct ev *next;                /* loop->all, or loop->dead */
};

struct post {
	ev_fn *fn;
	void *arg;
	struct post *next;
};

struct poller {
	struct loop *loop;
	const struct poller_ops *ops;
	void *arg;
	bool awake, dead;
	bool worked;                    /* since the loop slept last */
	uint64_t window;                /* ns to go on asking when there is nothing */
	uint64_t until, rested_at;      /* CLOCK_MONOTONIC */
	struct poller *next;
};

struct loop {
	int epfd, wake_fd;
	bool stop;                      /* under lock */
	pthread_mutex_t lock;           /* posts, stop, and the list of events */
	struct post *first, **last;
	struct ev *all;
	/* The loop thread's, but for additions at the head, which are under lock. */
	struct poller *pollers;
	unsigned nawake;
	pthread_t thread;               /* that of the last loop_step() */
	uint64_t woke_at;               /* when the last sleep ended; kept while there are pollers */
};

uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	pthread_mutex_init(&l->lock, NULL);
	l->last = &l->first;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
	if (l->epfd < 0 || l->wake_fd < 0 || epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->wake_fd, &e) < 0) {
		err_sys("event loop");
		loop_free(l);
		return NULL;
	}
	return l;
}

static void free_events(struct loop *l, bool only_dead)
{
	struct ev **at = &l->all;
	while (*at) {
		struct ev *ev = *at;
		if (only_dead && !ev->dead) {
			at = &ev->next;
			continue;
		}
		*at = ev->next;
		if (ev->timer && ev->fd >= 0)
			close(ev->fd);
		free(ev);
	}
}

static void free_pollers(struct loop *l, bool only_dead)
{
	struct poller **at = &l->pollers;
	while (*at) {
		struct poller *p = *at;
		if (only_dead && !p->dead) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		free(p);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	free_events(l, false);
	free_pollers(l, false);
	while (l->first) {
		struct post *p = l->first;
		l->first = p->next;
		free(p);
	}
	if (l->epfd >= 0)
		close(l->epfd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void wake(struct loop *l)
{
	uint64_t one = 1;
	ssize_t n = write(l->wake_fd, &one, sizeof(one));
	(void)n;        /* EAGAIN: a wake-up is already due */
}

void loop_stop(struct loop *l)
{
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	wake(l);
}

int ev_post(struct loop *l, ev_fn *fn, void *arg)
{
	struct post *p = malloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	*p = (struct post){ fn, arg, NULL };
	pthread_mutex_lock(&l->lock);
	*l->last = p;
	l->last = &p->next;
	pthread_mutex_unlock(&l->lock);
	wake(l);
	return 0;
}

static void run_posts(struct loop *l)
{
	uint64_t n;
	ssize_t got = read(l->wake_fd, &n, sizeof(n));
	(void)got;
	pthread_mutex_lock(&l->lock);
	struct post *p = l->first;
	l->first = NULL;
	l->last = &l->first;
	pthread_mutex_unlock(&l->lock);
	while (p) {
		struct post *next = p->next;
		p->fn(p->arg, 0);
		free(p);
		p = next;
	}
}

static struct ev *ev_new(struct loop *l, int fd, bool timer, uint32_t events, ev_fn *fn, void *arg)
{
	struct ev *ev = malloc(sizeof(*ev));
	if (!ev)
		return NULL;
	*ev = (struct ev){ .loop = l, .fd = fd, .timer = timer, .events = events, .fn = fn, .arg = arg };
	struct epoll_event e = { .events = events, .data.ptr = ev };
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, fd, &e) < 0) {
		err_sys("event loop: watching descriptor %d", fd);
		free(ev);
		return NULL;
	}
	pthread_mutex_lock(&l->lock);
	ev->next = l->all;
	l->all = ev;
	pthread_mutex_unlock(&l->lock);
	return ev;
}

struct ev *ev_fd(struct loop *l, int fd, uint32_t events, ev_fn *fn, void *arg)
{
	return ev_new(l, fd, false, events, fn, arg);
}

int ev_mod(struct ev *ev, uint32_t events)
{
	if (ev->dead || ev->events == events)
		return 0;
	/* No interest means out of the set: epoll reports EPOLLHUP and EPOLLERR even for an empty mask. */
	int op = events == 0 ? EPOLL_CTL_DEL : ev->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
	struct epoll_event e = { .events = events, .data.ptr = ev };
	ev->events = events;
	return epoll_ctl(ev->loop->epfd, op, ev->fd, &e) < 0 ? -errno : 0;
}

struct ev *ev_timer(struct loop *l, ev_fn *fn, void *arg)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0) {
		err_sys("event loop: timerfd");
		return NULL;
	}
	struct ev *ev = ev_new(l, fd, true, EPOLLIN, fn, arg);
	if (!ev)
		close(fd);
	return ev;
}

void ev_arm(struct ev *ev, uint64_t delay_ns)
{
	struct itimerspec t = { .it_value = { (time_t)(delay_ns / 1000000000u), (long)(delay_ns % 1000000000u) } };
	timerfd_settime(ev->fd, 0, &t, NULL);
}

void ev_del(struct ev *ev)
{
	if (!ev || ev->dead)
		return;
	if (ev->events)
		epoll_ctl(ev->loop->epfd, EPOLL_CTL_DEL, ev->fd, NULL);
	pthread_mutex_lock(&ev->loop->lock);
	ev->dead = true;
	pthread_mutex_unlock(&ev->loop->lock);
}

static void ev_dispatch(struct ev *ev, uint32_t events)
{
	if (ev->timer) {
		uint64_t n;
		if (read(ev->fd, &n, sizeof(n)) != sizeof(n))
			return;         /* re-armed or disarmed since epoll saw it */
		events = 0;
	}
	ev->fn(ev->arg, events);
}

/* --- Polling --- */

struct poller *poller_new(struct loop *l, const struct poller_ops *ops, void *arg)
{
	struct poller *p = malloc(sizeof(*p));
	if (!p)
		return NULL;
	*p = (struct poller){ .ops = ops, .arg = arg };
	pthread_mutex_lock(&l->lock);
	p->loop = l;
	p->next = l->pollers;
	__atomic_store_n(&l->pollers, p, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&l->lock);
	return p;
}

void poller_free(struct poller *p)
{
	if (!p || p->dead)
		return;
	if (p->awake)
		p->loop->nawake--;
	p->awake = false;
	p->dead = true;
}

/* A sleep that was shorter than the longest time to poll would have been better polled; a longer one would not. */
void poller_notified(struct poller *p)
{
	if (p->worked || p->awake)
		return;
	if (p->loop->woke_at - p->rested_at > POLL_MAX_NS)
		p->window = 0;
	else
		p->window = p->window ? MIN(2 * p->window, POLL_MAX_NS) : POLL_MIN_NS;
}

bool poller_wake(struct poller *p)
{
	if (p->dead || __atomic_load_n(&p->loop->thread, __ATOMIC_RELAXED) != pthread_self())
		return false;
	p->worked = true;
	if (p->awake || p->window == 0)
		return p->awake;
	p->awake = true;
	p->until = 0;
	p->loop->nawake++;
	return true;
}

static bool poll_one(struct loop *l, struct poller *p, uint64_t now)
{
	if (p->ops->poll(p->arg)) {
		p->until = 0;           /* from the next look at the clock on */
		return true;
	}
	if (p->until == 0) {
		p->until = now + p->window;
	} else if (now >= p->until && p->awake) {
		p->awake = false;
		l->nawake--;
		p->ops->rest(p->arg);
	}
	return false;
}

/* Until all are at rest (false) or descriptors want to be looked at.  Who has had the CPU by a yield is asked once more. */
static bool poll_run(struct loop *l)
{
	const uint64_t start = now_ns();
	uint64_t now = start;

	while (l->nawake && now - start < POLL_FDS_NS) {
		bool any = false;

		l->woke_at = now;
		for (struct poller *p = __atomic_load_n(&l->pollers, __ATOMIC_ACQUIRE); p; p = p->next) {
			if (p->awake)
				any |= poll_one(l, p, now);
		}
		if (!any && l->nawake)
			sched_yield();
		now = now_ns();
	}
	return l->nawake;
}

/* Sleeps are only measured from here on for sources that were at work. */
static void poll_sleeping(struct loop *l)
{
	const uint64_t now = now_ns();

	for (struct poller *p = __atomic_load_n(&l->pollers, __ATOMIC_ACQUIRE); p; p = p->next) {
		if (p->worked && !p->awake) {
			p->rested_at = now;
			p->worked = false;
		}
	}
}

int loop_step(struct loop *l, int timeout_ms)
{
	struct epoll_event e[BATCH];
	const bool polls = __atomic_load_n(&l->pollers, __ATOMIC_ACQUIRE);

	__atomic_store_n(&l->thread, pthread_self(), __ATOMIC_RELAXED);
	if (l->nawake && poll_run(l))
		timeout_ms = 0;
	if (polls)
		poll_sleeping(l);
	int n = epoll_wait(l->epfd, e, BATCH, timeout_ms);
	if (n < 0 && errno != EINTR)
		return err_sys("event loop: epoll_wait");
	if (polls)
		l->woke_at = now_ns();
	for (int i = 0; i < n; i++) {
		struct ev *ev = e[i].data.ptr;
		if (!ev)
			run_posts(l);
		else if (!ev->dead && ev->events)
			ev_dispatch(ev, e[i].events);
	}
	pthread_mutex_lock(&l->lock);
	free_events(l, true);
	free_pollers(l, true);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

int loop_run(struct loop *l)
{
	for (;;) {
		pthread_mutex_lock(&l->lock);
		bool stop = l->stop;
		l->stop = false;
		pthread_mutex_unlock(&l->lock);
		if (stop)
			return 0;
		int err = loop_step(l, -1);
		if (err)
			return err;
	}
}
