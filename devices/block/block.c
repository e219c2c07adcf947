/*
 * The life of a disk's request: submitted, perhaps held back (by blk_hold(), a pause, the throttle), under way
 * (block_io.c), done or, when it failed and the policy says so, kept until the operator has the machine go on.
 */
#include "devices/block/block.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/iov.h"
#include "common/vm.h"
#include "devices/block/block_int.h"

const char *const blk_op_names[BLK_OPS] = {
	[BLK_READ] = "read", [BLK_WRITE] = "write", [BLK_FLUSH] = "flush", [BLK_DISCARD] = "discard", [BLK_WRITE_ZEROES] = "write-zeroes",
};

/* --- Starting --- */

static bool all_zero(const struct blk_req *r)
{
	static const uint8_t zero[64];

	for (unsigned i = 0; i < r->niov; i++) {
		const uint8_t *p = r->iov[i].iov_base;
		const size_t n = r->iov[i].iov_len, head = MIN(n, sizeof(zero));

		/* The beginning is zero, and every byte equals the one so many before it. */
		if (memcmp(p, zero, head) != 0 || (n > head && memcmp(p, p + head, n - head) != 0))
			return false;
	}
	return true;
}

/* What the configuration makes of a request. */
static void adjust(const struct blk *b, struct blk_req *r)
{
	r->fua0 = (r->fua || b->conf.sync) && (r->op == BLK_WRITE || r->op == BLK_WRITE_ZEROES) && !b->conf.snapshot;
	if (r->op == BLK_WRITE && b->conf.detect_zeroes && all_zero(r)) {
		r->op = BLK_WRITE_ZEROES;
		r->unmap = true;
	}
}

/* Those that need no image are done at once. */
static bool nothing_to_do(const struct blk *b, const struct blk_req *r, int *ret)
{
	*ret = 0;
	if (r->op == BLK_FLUSH)
		return b->read_only || b->conf.snapshot;
	if (r->op != BLK_READ && b->read_only) {
		*ret = -EROFS;
		return true;
	}
	return r->len == 0 || (r->op == BLK_DISCARD && b->conf.nodelete);
}

static void start(struct blk *b, struct blk_req *r)
{
	int ret;

	b->active++;
	if (nothing_to_do(b, r, &ret))
		blk_go_nowhere(b, r, ret);
	else
		blk_go(b, r);
}

/* Lets requests go as far as hold, pause and throttle allow. */
static void admit(struct blk *b)
{
	struct blk_req *r;

	while (!b->holds && !b->parked && (r = b->fresh.head)) {
		if (b->timer && r->op != BLK_FLUSH) {
			const uint64_t now = now_ns(), wait = throttle_wait_ns(&b->throttle, now);

			if (wait) {
				ev_arm(b->timer, wait);
				return;
			}
			throttle_take(&b->throttle, r->len, now);
		}
		start(b, blk_list_take(&b->fresh));
	}
}

void blk_submit(struct blk *b, struct blk_req *r)
{
	r->blk = b;
	r->parent = r->blocker = NULL;
	r->parts = r->blocks = 0;
	r->work = NULL;
	r->ret = 0;
	r->off0 = r->off;
	r->len0 = r->len;
	r->op0 = r->op;
	r->t_ns = now_ns();
	adjust(b, r);
	blk_list_add(&b->fresh, r);
	admit(b);
}

void blk_kick(struct blk *b)
{
	b->parked = false;
	admit(b);
	aio_kick(b->aio);
}

/* Loop thread: the throttle lets another one go. */
void blk_on_timer(void *arg, uint32_t events)
{
	struct blk *b = arg;

	(void)events;
	pthread_mutex_lock(b->owner.lock);
	admit(b);
	aio_kick(b->aio);
	pthread_mutex_unlock(b->owner.lock);
}

/* --- Done --- */

static void account(struct blk_req *r)
{
	struct blk_stat *s = &r->blk->stat[r->op0];
	const uint64_t ns = now_ns() - r->t_ns;

	s->ops++;
	s->errors += r->ret != 0;
	s->bytes += r->ret ? 0 : r->len;
	s->ns += ns;
	s->hist[MIN(63 - __builtin_clzll(ns | 1), BLK_BUCKETS - 1)]++;
}

static void complete(struct blk_req *r, int ret)
{
	r->ret = ret;
	r->op = r->op0;
	r->off = r->off0;
	r->len = r->len0;
	account(r);
	r->done(r);
}

static void idle_check(struct blk *b)
{
	while (b->active == 0 && b->nholders) {
		const struct blk_holder h = b->holder[--b->nholders];

		h.idle(h.arg);
	}
}

static const char *verb(const struct blk_req *r)
{
	return r->op0 == BLK_WRITE_ZEROES ? "write of zeroes" : blk_op_names[r->op0];
}

/* To the clients of the control socket: each stop, and once a second what the guest or nobody is told. */
static void tell(struct blk *b, const struct blk_req *r, const char *action)
{
	const uint64_t now = now_ns();

	if (b->told_ns && now - b->told_ns < 1000000000 && strcmp(action, "stop") != 0)
		return;
	b->told_ns = now;
	ctl_event(b->vm, "disk-error", json_pack("{s:s, s:s, s:s, s:I, s:s}", "disk", b->who, "operation", blk_op_names[r->op0],
						 "error", strerror(-r->ret), "offset", (json_int_t)r->off0, "action", action));
}

/* The disk failed and the machine is to wait for the operator: says so once a stop. */
static void stop(struct blk *b, struct blk_req *r)
{
	const int err = -r->ret;
	char why[160];

	if (r->op != r->op0) {
		r->off = r->off0;       /* what is kept is what the device knows */
		r->len = r->len0;
	}
	if (!b->stopped.head) {
		snprintf(why, sizeof(why), "%s: %s failed: %s", b->who, verb(r), strerror(err));
		log_error("block", "disk '%s' (%s): a %s at byte %llu failed: %s; the machine is paused: %s, then let it go on with 'kill "
			  "-CONT %d'", b->conf.path, b->who, verb(r), (unsigned long long)r->off, strerror(err),
			  err == ENOSPC || err == EDQUOT ? "free space where the image lies" : "repair the disk", (int)getpid());
		tell(b, r, "stop");
		vm_stop_for(b->vm, why);
	}
	blk_list_add(&b->stopped, r);
}

/* True: the request is kept. */
static bool failed(struct blk *b, struct blk_req *r)
{
	const enum blk_on_error how = r->op0 == BLK_READ ? b->conf.rerror : b->conf.werror;
	const bool full = r->ret == -ENOSPC || r->ret == -EDQUOT;

	if (how == BLK_STOP || (how == BLK_ENOSPC_STOP && full)) {
		stop(b, r);
		return true;
	}
	guest_warn(&b->warn, b->who, "disk '%s': a %s at byte %llu failed: %s; %s", b->conf.path, verb(r), (unsigned long long)r->off,
		   strerror(-r->ret), how == BLK_IGNORE ? "ignored, as the disk's options say" : "the guest sees an error");
	tell(b, r, how == BLK_IGNORE ? "ignore" : "report");
	if (how != BLK_IGNORE)
		return false;
	if (r->op == BLK_READ)
		iov_zero(r->iov, r->niov, 0, SIZE_MAX);
	r->ret = 0;
	return false;
}

void blk_landed(struct blk_req *r)
{
	struct blk *b = r->blk;

	assert(b->active > 0);
	b->active--;
	if (!r->ret || !failed(b, r))
		complete(r, r->ret);
	idle_check(b);
}

void blk_batch(void *arg)
{
	struct blk *b = arg;

	b->owner.batch_done(b->owner.arg);
}

/* --- Pausing, holding, going on --- */

void blk_drain(struct blk *b)
{
	b->parked = true;
	aio_kick(b->aio);
	while (b->active)
		aio_wait(b->aio);
}

void blk_cancel(struct blk *b)
{
	struct blk_list fresh = b->fresh, stopped = b->stopped;
	const bool any = fresh.head || stopped.head;
	struct blk_req *r;

	blk_list_init(&b->fresh);
	blk_list_init(&b->stopped);
	for (r = stopped.head; r; r = stopped.head) {
		stopped.head = r->next;
		complete(r, -ECANCELED);
	}
	for (r = fresh.head; r; r = fresh.head) {
		fresh.head = r->next;
		complete(r, -ECANCELED);
	}
	if (any)
		blk_batch(b);
}

void blk_resume(struct blk *b)
{
	struct blk_list again = b->stopped;
	struct blk_req *r;

	blk_list_init(&b->stopped);
	b->parked = false;
	if (b->holds) {
		/* They were first, and stay first. */
		if (again.head) {
			*again.tail = b->fresh.head;
			if (b->fresh.head)
				again.tail = b->fresh.tail;
			b->fresh = again;
		}
		return;
	}
	while ((r = again.head)) {
		again.head = r->next;
		b->active++;
		blk_go(b, r);
	}
	admit(b);
	aio_kick(b->aio);
}

void blk_hold(struct blk *b, void (*idle)(void *arg), void *arg)
{
	assert(b->nholders < BLK_HOLDERS_MAX);
	b->holds++;
	b->holder[b->nholders++] = (struct blk_holder){ idle, arg };
	idle_check(b);
}

void blk_release(struct blk *b)
{
	assert(b->holds > 0);
	if (--b->holds)
		return;
	admit(b);
	aio_kick(b->aio);
}
