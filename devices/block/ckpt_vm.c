/*
 * Checkpoints of a running VM's disks, several at one instant: on a thread prepare all; on the loop hold all disks, and
 * when the last is idle, on a thread again flush and take all; on the loop put new images in place and let go.
 *
 * One at a time: the images must still be the disks' when they are put in place.  All disks in it can be written, and
 * their images are exchanged by nobody else; a drive's medium, which may be, is never part of it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ctl.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/vm.h"
#include "devices/block/block.h"
#include "devices/block/ckpt.h"
#include "devices/block/img.h"

struct instant;
struct part {
	struct instant *all;
	struct blk *blk;
	struct ckpt_step step;
};

struct instant {
	struct ctl_call *call;
	struct part *part;
	unsigned n, idle;               /* idle: atomic */
	const char *name, *path, *store;
};

static void finish(struct instant *in, int err)
{
	struct ctl_call *call = in->call;

	for (unsigned i = 0; i < in->n; i++) {
		if (!err)
			json_array_append_new(json_object_get(call->result, "disks"),
				json_pack("{s:s, s:s, s:o}", "disk", blk_who(in->part[i].blk), "store", in->part[i].step.store->name,
					  "where", ctl_text(in->part[i].step.where)));
		ckpt_free(&in->part[i].step);
	}
	free(in->part);
	free(in);
	ctl_answer(call, err);
}

static int work_prepare(void *arg)
{
	struct instant *in = arg;
	int err = 0;

	for (unsigned i = 0; i < in->n && !err; i++) {
		struct img *img = blk_img(in->part[i].blk);
		const struct ckpt_store *s = ckpt_store_for(img, in->store);

		err = s ? ckpt_prepare(&in->part[i].step, img, s, in->name, in->path) : -EOPNOTSUPP;
		for (unsigned j = 0; j < i && !err; j++)
			ckpt_share(&in->part[j].step, &in->part[i].step);
	}
	for (unsigned i = 0; err && i < in->n; i++)
		ckpt_undo(&in->part[i].step);
	return err;
}

static int work_take(void *arg)
{
	struct instant *in = arg;
	int err = 0;

	/* All first: one step may keep what several disks hold. */
	for (unsigned i = 0; i < in->n && !err; i++)
		err = ckpt_flush(&in->part[i].step);
	for (unsigned i = 0; i < in->n && !err; i++)
		err = ckpt_take(&in->part[i].step);
	for (unsigned i = 0; err && i < in->n; i++)
		ckpt_undo(&in->part[i].step);
	for (unsigned i = 0; !err && i < in->n; i++)
		ckpt_commit(&in->part[i].step);
	return err;
}

static void release_all(struct instant *in)
{
	for (unsigned i = 0; i < in->n; i++) {
		pthread_mutex_lock(blk_lock(in->part[i].blk));
		blk_release(in->part[i].blk);
		pthread_mutex_unlock(blk_lock(in->part[i].blk));
	}
}

static void after_take(struct ctl_call *call, void *arg, int err)
{
	struct instant *in = arg;
	int failed = 0;
	(void)call;

	for (unsigned i = 0; i < in->n && !err; i++) {
		struct part *p = &in->part[i];
		struct img *old;
		int refused;

		if (!p->step.new_top)
			continue;
		pthread_mutex_lock(blk_lock(p->blk));
		/* The old image is the new one's backing, which closes it. */
		refused = blk_replace(p->blk, p->step.new_top, &old);
		pthread_mutex_unlock(blk_lock(p->blk));
		/* The disk goes on as it was; the others have theirs. */
		if (refused)
			ckpt_undo(&p->step);
		failed = failed ? failed : refused;
	}
	err = err ? err : failed;
	release_all(in);
	finish(in, err);
}

/* What reached the medium of a disk whose flush has failed is not known. */
static int flushes_trusted(const struct instant *in)
{
	for (unsigned i = 0; i < in->n; i++) {
		const int err = blk_flush_error(in->part[i].blk);

		if (err)
			return err_msg(err, "disk '%s': an earlier flush of it failed: %s; no checkpoint was taken", blk_who(in->part[i].blk),
				       strerror(-err));
	}
	return 0;
}

static void take_all(void *arg, uint32_t events)
{
	struct instant *in = arg;
	struct ctl_call *call = in->call;
	int err;
	(void)events;

	ctl_listen(call);
	err = flushes_trusted(in);
	if (!err)
		err = ctl_work(call, work_take, after_take, in);
	ctl_listen(NULL);
	if (err) {
		for (unsigned i = 0; i < in->n; i++)
			ckpt_undo(&in->part[i].step);
		release_all(in);
		finish(in, err);
	}
}

/* Lock of that disk held: what follows takes others. */
static void on_idle(void *arg)
{
	struct part *p = arg;

	if (__atomic_add_fetch(&p->all->idle, 1, __ATOMIC_ACQ_REL) == p->all->n)
		ev_post(p->all->call->vm->loop, take_all, p->all);
}

static void after_prepare(struct ctl_call *call, void *arg, int err)
{
	struct instant *in = arg;
	(void)call;

	if (err) {
		finish(in, err);
		return;
	}
	for (unsigned i = 0; i < in->n; i++) {
		pthread_mutex_lock(blk_lock(in->part[i].blk));
		blk_hold(in->part[i].blk, on_idle, &in->part[i]);
		pthread_mutex_unlock(blk_lock(in->part[i].blk));
	}
}

/* A disk whose contents are thrown away at the end has to be named. */
static bool in_default(const struct blk *b)
{
	return !blk_read_only(b) && !blk_scratch(b);
}

int ckpt_ctl(struct ctl_call *call)
{
	const char *who = ctl_str(call, "disk");
	struct instant *in = calloc(1, sizeof(*in));
	unsigned n = 0;
	int err;

	if (!in)
		return -ENOMEM;
	*in = (struct instant){ .call = call, .name = ctl_str(call, "name"), .path = ctl_str(call, "path"), .store = ctl_str(call, "store") };
	err = ckpt_name_check(in->name);
	if (!err && ctl_busy(call, call->method->name))
		err = err_msg(-EBUSY, "checkpoint '%s': another one is being taken; try again when it is there", in->name);
	for (struct blk *b = blk_first(call->vm); b && !who; b = blk_next(b))
		n += in_default(b);
	in->part = calloc(who ? 1 : n + 1, sizeof(*in->part));
	if (!err && !in->part)
		err = -ENOMEM;
	if (!err && who) {
		in->part[0].blk = blk_find(call->vm, who);
		in->n = 1;
		if (in->part[0].blk && blk_read_only(in->part[0].blk))
			err = err_msg(-EROFS, "disk '%s' is read-only: it always holds what it holds now", who);
		else if (!in->part[0].blk)
			err = err_msg(-ENOENT, "there is no disk '%s'; 'skep ctl %s disks' lists them", who, call->vm->name);
	}
	for (struct blk *b = blk_first(call->vm); !err && b && !who; b = blk_next(b))
		if (in_default(b))
			in->part[in->n++].blk = b;
	if (!err && in->n == 0)
		err = err_msg(-ENOENT, "this machine has no disk whose contents last and can change");
	if (!err && in->path && in->n > 1)
		err = err_msg(-EINVAL, "path is for one disk; name it with disk");
	for (unsigned i = 0; i < in->n; i++)
		in->part[i].all = in;
	if (!err) {
		call->result = json_pack("{s:s, s:[]}", "checkpoint", in->name, "disks");
		err = ctl_work(call, work_prepare, after_prepare, in);
	}
	if (err) {
		free(in->part);
		free(in);
		return err;
	}
	return CTL_LATER;
}
