#include "devices/block/aio.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/iov.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/util.h"
#include "devices/block/pool.h"

#define RING_ENTRIES 128
#define LEN_MAX GIB(1)                  /* of one request with one buffer; the rest follows */

struct aio {
	struct aio_owner owner;
	enum blk_aio kind;              /* AUTO until the first request has tried */
	int efd;                        /* something completed: written by the ring and the pool */
	struct ev *ev;
	struct poller *poller;
	bool quiet;                     /* it is polled: nobody writes the eventfd */
	unsigned flying;                /* submitted, done() not called */
	struct io_uring ring;
	struct blk_list backlog;        /* waiting for room in the ring */
	struct blk_list finished;       /* results known, done() not called */
	bool running;                   /* aio_run() is under way */
	struct pool pool;
};

void blk_list_init(struct blk_list *l)
{
	l->head = NULL;
	l->tail = &l->head;
}

void blk_list_add(struct blk_list *l, struct blk_req *r)
{
	r->next = NULL;
	*l->tail = r;
	l->tail = &r->next;
}

struct blk_req *blk_list_take(struct blk_list *l)
{
	struct blk_req *r = l->head;

	if (r) {
		l->head = r->next;
		if (!l->head)
			l->tail = &l->head;
	}
	return r;
}

/* --- What a transfer's result means, for both engines --- */

/* True when the request is finished, with r->ret; else the rest of it remains to be done. */
static bool transferred(struct blk_req *r, int64_t res)
{
	if (res == -EINTR || res == -EAGAIN)
		return false;
	if (res < 0 || r->op == BLK_FLUSH) {
		r->ret = res < 0 ? (int)res : 0;
		return true;
	}
	if (res == 0) {
		/* A read met the end of the file; a write that moves nothing will not next time. */
		if (r->op == BLK_READ)
			iov_zero(r->iov, r->niov, 0, SIZE_MAX);
		r->ret = r->op == BLK_READ ? 0 : -EIO;
		return true;
	}
	r->file_off += (uint64_t)res;
	r->off += (uint64_t)res;
	r->len -= (uint64_t)res;
	r->niov = iov_skip(&r->iov, r->niov, (size_t)res);
	r->ret = 0;
	return r->niov == 0;
}

/* Kernels and file systems without per-write synchronisation get a second call. */
static ssize_t write_stable(const struct blk_req *r)
{
	ssize_t n = pwritev2(r->fd, r->iov, (int)r->niov, (off_t)r->file_off, RWF_DSYNC);

	if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS))
		return n;
	n = pwritev(r->fd, r->iov, (int)r->niov, (off_t)r->file_off);
	return n > 0 && fdatasync(r->fd) < 0 ? -1 : n;
}

static int64_t transfer(const struct blk_req *r)
{
	ssize_t n;

	if (r->op == BLK_FLUSH)
		n = fdatasync(r->fd);
	else if (r->op == BLK_READ)
		n = preadv(r->fd, r->iov, (int)r->niov, (off_t)r->file_off);
	else if (r->fua)
		n = write_stable(r);
	else
		n = pwritev(r->fd, r->iov, (int)r->niov, (off_t)r->file_off);
	return n < 0 ? -errno : n;
}

int aio_sync(struct blk_req *r)
{
	while (!transferred(r, transfer(r)))
		;
	return r->ret;
}

/* --- io_uring --- */

static bool uring_wanted(enum blk_aio kind)
{
	const char *env = getenv("SKEP_AIO");

	if (kind == BLK_AIO_AUTO && env && strcmp(env, "threads") == 0)
		return false;
	return kind != BLK_AIO_THREADS;
}

static int uring_open(struct aio *a)
{
	int err = io_uring_queue_init(RING_ENTRIES, &a->ring, 0);

	if (!err) {
		err = io_uring_register_eventfd(&a->ring, a->efd);
		if (err)
			io_uring_queue_exit(&a->ring);
	}
	if (err)
		a->ring.ring_fd = -1;   /* liburing leaves 0 there */
	else
		syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);       /* for quiet_end() */
	return err;
}

/* On the first request: old kernels, seccomp filters and sysctls deny io_uring in several ways. */
static void engine_choose(struct aio *a)
{
	int err = uring_wanted(a->kind) ? uring_open(a) : -ENOSYS;

	if (err && a->kind == BLK_AIO_URING)
		log_warn("block", "disk '%s': io_uring: %s; using threads instead", a->owner.name, strerror(-err));
	a->kind = err ? BLK_AIO_THREADS : BLK_AIO_URING;
	log_debug("block", "disk '%s': I/O by %s", a->owner.name, err ? "threads" : "io_uring");
}

static bool uring_queue(struct aio *a, struct blk_req *r)
{
	struct io_uring_sqe *e = io_uring_get_sqe(&a->ring);

	if (!e)
		return false;
	if (r->op == BLK_FLUSH)
		io_uring_prep_fsync(e, r->fd, IORING_FSYNC_DATASYNC);
	else if (r->op == BLK_READ && r->niov == 1)
		io_uring_prep_read(e, r->fd, r->iov->iov_base, (unsigned)MIN(r->iov->iov_len, LEN_MAX), r->file_off);
	else if (r->op == BLK_READ)
		io_uring_prep_readv(e, r->fd, r->iov, r->niov, r->file_off);
	else if (r->niov == 1)
		io_uring_prep_write(e, r->fd, r->iov->iov_base, (unsigned)MIN(r->iov->iov_len, LEN_MAX), r->file_off);
	else
		io_uring_prep_writev(e, r->fd, r->iov, r->niov, r->file_off);
	if (r->op == BLK_WRITE && r->fua)
		e->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(e, r);
	return true;
}

static void uring_submit(struct aio *a)
{
	static const uint64_t one = 1;

	while (a->backlog.head && uring_queue(a, a->backlog.head))
		blk_list_take(&a->backlog);
	if (io_uring_sq_ready(&a->ring))
		io_uring_submit(&a->ring);
	/* The kernel was short of something, or there is more than a ring full: again, soon. */
	if ((io_uring_sq_ready(&a->ring) || a->backlog.head) && write(a->efd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: the counter is full, so a wake-up is pending */
}

static void uring_reap(struct aio *a)
{
	struct io_uring_cqe *c;

	while (io_uring_peek_cqe(&a->ring, &c) == 0) {
		struct blk_req *r = io_uring_cqe_get_data(c);
		const int res = c->res;

		io_uring_cqe_seen(&a->ring, c);
		blk_list_add(transferred(r, res) ? &a->finished : &a->backlog, r);
	}
}

/* --- Both --- */

bool aio_is_uring(const struct aio *a)
{
	return a->kind == BLK_AIO_URING;
}

void aio_finish(struct aio *a, struct blk_req *r, int ret)
{
	a->flying++;
	r->ret = ret;
	blk_list_add(&a->finished, r);
}

void aio_submit(struct aio *a, struct blk_req *r)
{
	int err;

	if (a->kind != BLK_AIO_THREADS && a->ring.ring_fd < 0)
		engine_choose(a);
	if (!r->work && aio_is_uring(a)) {
		a->flying++;
		blk_list_add(&a->backlog, r);
		return;
	}
	if (!r->work)
		r->work = aio_sync;
	err = pool_submit(&a->pool, r);
	if (err)
		aio_finish(a, r, err);
	else
		a->flying++;
}

static void pool_reap(struct aio *a)
{
	struct blk_req *r = pool_take(&a->pool), *next;

	for (; r; r = next) {
		next = r->next;
		blk_list_add(&a->finished, r);
	}
}

/* --- Being polled --- */

static void quiet_start(struct aio *a)
{
	a->quiet = poller_wake(a->poller);
	if (!a->quiet)
		return;
	pool_quiet(&a->pool, true);
	if (a->ring.ring_fd >= 0)
		io_uring_cq_eventfd_toggle(&a->ring, false);
}

static bool is_ready(struct aio *a)
{
	return pool_ready(&a->pool) || (a->ring.ring_fd >= 0 && io_uring_cq_ready(&a->ring));
}

/*
 * Who posts a completion stores the queue's tail and then looks whether the eventfd is enabled, without a barrier between:
 * so all threads of this process, the ring's workers among them, are made to pass one (membarrier(2)) before the tail is looked
 * at.  Without it, on kernels older than 4.14, a system call's time has to do.
 */
static void quiet_end(struct aio *a)
{
	static const uint64_t one = 1;

	if (!a->quiet)
		return;
	a->quiet = false;
	pool_quiet(&a->pool, false);
	if (a->ring.ring_fd >= 0) {
		io_uring_cq_eventfd_toggle(&a->ring, true);
		if (a->flying && syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
			sched_yield();
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (is_ready(a) && write(a->efd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: the counter is full, so a wake-up is pending */
}

static bool aio_run(struct aio *a);

static bool on_poll(void *arg)
{
	struct aio *a = arg;
	bool any = false;

	if (!is_ready(a))
		return false;
	pthread_mutex_lock(a->owner.lock);
	any = aio_run(a);
	pthread_mutex_unlock(a->owner.lock);
	return any;
}

static void on_rest(void *arg)
{
	struct aio *a = arg;

	pthread_mutex_lock(a->owner.lock);
	quiet_end(a);
	pthread_mutex_unlock(a->owner.lock);
}

static const struct poller_ops aio_poller = { on_poll, on_rest };

/* Calls done() for everything that is finished; requests submitted from there are started, too. */
static bool aio_run(struct aio *a)
{
	struct blk_req *r;
	bool any = false;

	if (a->running)
		return false;
	a->running = true;
	do {
		pool_reap(a);
		if (a->ring.ring_fd >= 0) {
			if (a->backlog.head || io_uring_sq_ready(&a->ring))
				uring_submit(a);
			uring_reap(a);
		}
		any |= a->finished.head != NULL;
		while ((r = blk_list_take(&a->finished))) {
			a->flying--;
			a->owner.done(r);
		}
	} while (a->backlog.head && a->ring.ring_fd >= 0 && io_uring_sq_space_left(&a->ring));
	a->running = false;
	if (a->flying && !a->quiet)
		quiet_start(a);
	if (any)
		a->owner.batch(a->owner.arg);
	return any;
}

void aio_kick(struct aio *a)
{
	aio_run(a);
}

static void efd_clear(struct aio *a)
{
	uint64_t n;

	if (read(a->efd, &n, sizeof(n)) != sizeof(n))
		return;         /* EAGAIN: already clear */
}

/* Loop thread. */
static void on_event(void *arg, uint32_t events)
{
	struct aio *a = arg;

	(void)events;
	efd_clear(a);
	poller_notified(a->poller);
	pthread_mutex_lock(a->owner.lock);
	aio_run(a);
	pthread_mutex_unlock(a->owner.lock);
}

void aio_wait(struct aio *a)
{
	struct pollfd p = { .fd = a->efd, .events = POLLIN };

	quiet_end(a);
	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	efd_clear(a);
	aio_run(a);
}

struct aio *aio_new(const struct aio_owner *owner, enum blk_aio kind)
{
	struct aio *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->owner = *owner;
	a->kind = kind;
	a->ring.ring_fd = -1;
	blk_list_init(&a->backlog);
	blk_list_init(&a->finished);
	a->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->efd < 0) {
		err_sys("disk '%s': eventfd", owner->name);
		free(a);
		return NULL;
	}
	pool_init(&a->pool, a->efd);
	a->ev = ev_fd(owner->loop, a->efd, EPOLLIN, on_event, a);
	a->poller = poller_new(owner->loop, &aio_poller, a);
	if (!a->ev || !a->poller) {
		aio_free(a);
		return NULL;
	}
	return a;
}

void aio_free(struct aio *a)
{
	if (!a)
		return;
	ev_del(a->ev);
	poller_free(a->poller);
	pool_fini(&a->pool);
	if (a->ring.ring_fd >= 0)
		io_uring_queue_exit(&a->ring);
	close(a->efd);
	free(a);
}
