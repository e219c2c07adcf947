/*
 * virtio-scsi, what is no command: task management, asynchronous events, exchange of media [VIRTIO-1.2 5.6.6.2, 5.6.6.3].
 *
 * A task management function that aborts requests is answered when the last of them has come back: what the host has
 * begun cannot be called off.  Events are kept as a mask a target, so none is ever missed.
 */
#include "devices/virtio/virtio_scsi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/block/disk.h"

#define CTRL_BUDGET 64

enum { T_TMF = 0, T_AN_QUERY = 1, T_AN_SUBSCRIBE = 2 };
enum {
	TMF_ABORT_TASK = 0, TMF_ABORT_TASK_SET, TMF_CLEAR_ACA, TMF_CLEAR_TASK_SET, TMF_NEXUS_RESET, TMF_LUN_RESET, TMF_QUERY_TASK,
	TMF_QUERY_TASK_SET,
};
#define TMF_LEN 24u                             /* type, subtype, LUN, tag */
#define AN_LEN 16u                              /* type, LUN, events */
#define AN_MEDIA 0x10u                          /* the medium changed [VIRTIO-1.2 5.6.6.2] */
#define EVENT_LEN 16u
#define EVENT_ASYNC_NOTIFY 2u
/* Qualifiers of "reset occurred" [SPC-4 "Sense key and additional sense code definitions"] */
#define UA_RESET_UNIT 3
#define UA_NEXUS_LOSS 7

/* --- Task management --- */

static void ctrl_answer(struct vscsi *d, const void *resp, size_t len)
{
	const struct vq_chain *c = &d->tmf.chain;

	virtio_push(&d->v, VSCSI_Q_CTRL, c, (uint32_t)iov_write(d->tmf.iov + c->nr, c->nw, 0, resp, len));
}

/* Requests of a target; tag NULL: all.  how 0: only counts them. */
static unsigned tasks(struct vscsi_target *t, const uint64_t *tag, uint8_t how)
{
	struct vscsi *d = t->d;
	unsigned n = 0;

	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		for (unsigned i = 0; i < d->queue[q].fresh; i++) {
			struct vscsi_req *r = &d->queue[q].reqs[i];

			if (!r->busy || r->target != t || (tag && r->tag != *tag))
				continue;
			n++;
			if (!how)
				continue;
			r->abort = how;
			r->scsi.aborted = true;
		}
	}
	return n;
}

static bool any_aborted(const struct vscsi_target *t)
{
	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		for (unsigned i = 0; i < t->d->queue[q].fresh; i++) {
			const struct vscsi_req *r = &t->d->queue[q].reqs[i];

			if (r->busy && r->target == t && r->abort)
				return true;
		}
	}
	return false;
}

/* The requests a function has aborted are back, or there were none. */
static void tmf_finish(struct vscsi *d)
{
	static const uint8_t complete = VSCSI_OK;
	struct vscsi_tmf *f = &d->tmf;

	f->active = false;
	if (f->subtype == TMF_LUN_RESET)
		scsi_lun_clear(&f->target->lun, UA_RESET_UNIT);
	else if (f->subtype == TMF_NEXUS_RESET)
		scsi_lun_clear(&f->target->lun, UA_NEXUS_LOSS);
	ctrl_answer(d, &complete, 1);
	virtio_signal(&d->v, VSCSI_Q_CTRL);
}

static void tmf_start(struct vscsi *d, const uint8_t *req)
{
	struct vscsi_tmf *f = &d->tmf;
	const uint64_t tag = get_le64(req + 16);
	unsigned unit = 0, n = 0;
	uint8_t resp = VSCSI_FUNCTION_REJECTED;

	f->subtype = get_le32(req + 4);
	f->target = vscsi_target_of(d, req + 8, &unit);
	if (!f->target || (unit && f->subtype != TMF_NEXUS_RESET)) {
		resp = f->target ? VSCSI_INCORRECT_LUN : VSCSI_BAD_TARGET;
		ctrl_answer(d, &resp, 1);
		return;
	}
	switch (f->subtype) {
	case TMF_QUERY_TASK:
	case TMF_QUERY_TASK_SET:
		n = tasks(f->target, f->subtype == TMF_QUERY_TASK ? &tag : NULL, 0);
		resp = n ? VSCSI_FUNCTION_SUCCEEDED : VSCSI_OK;
		ctrl_answer(d, &resp, 1);
		return;
	case TMF_ABORT_TASK: n = tasks(f->target, &tag, VSCSI_ABORTED); break;
	case TMF_ABORT_TASK_SET:
	case TMF_CLEAR_TASK_SET: n = tasks(f->target, NULL, VSCSI_ABORTED); break;
	case TMF_NEXUS_RESET:
	case TMF_LUN_RESET: n = tasks(f->target, NULL, VSCSI_RESET); break;
	default: ctrl_answer(d, &resp, 1); return;
	}
	f->active = true;
	if (!n)
		tmf_finish(d);
}

/* --- Asynchronous notification --- */

static void event_owe(struct vscsi_target *t, uint32_t event)
{
	if (!(t->subscribed & event))
		return;
	t->owed |= event;
	vscsi_event_kick(t->d);
}

static void an_run(struct vscsi *d, const uint8_t *req, bool subscribe)
{
	const uint32_t events = get_le32(req + 12) & AN_MEDIA;
	uint8_t resp[5] = { 0 };
	unsigned unit = 0;
	struct vscsi_target *t = vscsi_target_of(d, req + 4, &unit);

	if (!t || unit) {
		resp[4] = t ? VSCSI_INCORRECT_LUN : VSCSI_BAD_TARGET;
	} else if (t->lun.type == SCSI_CD) {
		put_le32(resp, events);
		if (subscribe) {
			t->subscribed = events;
			t->owed &= events;
		}
	}
	ctrl_answer(d, resp, sizeof(resp));
}

/* Sends the first event owed; false: no buffer. */
static bool event_send(struct vscsi_target *t)
{
	struct virtio_dev *v = &t->d->v;
	const uint32_t event = t->owed & -t->owed;
	uint8_t msg[EVENT_LEN] = { EVENT_ASYNC_NOTIFY, 0, 0, 0, 1, (uint8_t)t->n, 0x40 };
	struct iovec iov[VQ_CHAIN_MAX];
	struct vq_chain c;

	if (!virtio_pop(v, VSCSI_Q_EVENT, &c, iov))
		return false;
	put_le32(msg + 12, event);
	virtio_push(v, VSCSI_Q_EVENT, &c, (uint32_t)iov_write(iov + c.nr, c.nw, 0, msg, sizeof(msg)));
	t->owed &= ~event;
	return true;
}

static bool any_owed(const struct vscsi *d)
{
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		if (d->target[i].owed)
			return true;
	}
	return false;
}

bool vscsi_event_kick(struct vscsi *d)
{
	struct virtqueue *vq = &d->v.vq[VSCSI_Q_EVENT];

	if (!any_owed(d)) {
		vq_notify_off(vq);      /* until there is something to tell, buffers are of no interest */
		return false;
	}
	do {
		for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
			while (d->target[i].owed && event_send(&d->target[i]))
				;
		}
	} while (any_owed(d) && vq_notify_on(vq) && virtio_running(&d->v, VSCSI_Q_EVENT));
	virtio_signal(&d->v, VSCSI_Q_EVENT);
	return false;
}

/* --- The control queue --- */

void vscsi_ctrl_chain(struct vscsi *d)
{
	const struct vq_chain *c = &d->tmf.chain;
	uint8_t req[TMF_LEN] = { 0 };
	const size_t len = iov_read(d->tmf.iov, c->nr, 0, req, sizeof(req));
	const uint32_t type = get_le32(req);

	if (type == T_TMF && len >= TMF_LEN && c->wlen >= 1) {
		tmf_start(d, req);
	} else if ((type == T_AN_QUERY || type == T_AN_SUBSCRIBE) && len >= AN_LEN && c->wlen >= 5) {
		an_run(d, req, type == T_AN_SUBSCRIBE);
	} else {
		virtio_broken(&d->v, "control request", "it is of no known type or too short");
		virtio_push(&d->v, VSCSI_Q_CTRL, c, 0);
	}
}

bool vscsi_ctrl_kick(struct vscsi *d)
{
	struct virtqueue *vq = &d->v.vq[VSCSI_Q_CTRL];
	unsigned budget = CTRL_BUDGET;

	for (; budget && !d->tmf.active && virtio_pop(&d->v, VSCSI_Q_CTRL, &d->tmf.chain, d->tmf.iov); budget--)
		vscsi_ctrl_chain(d);
	virtio_signal(&d->v, VSCSI_Q_CTRL);
	return !d->tmf.active && vq_notify_on(vq) && virtio_running(&d->v, VSCSI_Q_CTRL);
}

void vscsi_ctrl_stop(struct vscsi *d, unsigned q)
{
	if (q != VSCSI_Q_CTRL || !d->tmf.active)
		return;
	d->tmf.active = false;
	virtio_drop(&d->v, q, &d->tmf.chain);
}

void vscsi_ctrl_done(struct vscsi *d, struct vscsi_target *t, bool aborted)
{
	if (aborted && d->tmf.active && d->tmf.target == t && !any_aborted(t)) {
		tmf_finish(d);
		virtio_kick_self(&d->v, VSCSI_Q_CTRL);
	}
	if (t->changing && !t->running)
		ev_arm(d->swap, 1);
}

/* --- Media --- */

/* Loop thread: from a callback of its own, as the disk that goes must not be in the middle of one. */
void vscsi_swap(void *arg, uint32_t events)
{
	struct vscsi *d = arg;

	(void)events;
	dev_lock(&d->v.pci.dev);
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		struct vscsi_target *t = &d->target[i];
		struct blk *old = t->lun.blk;
		char *old_path = t->path;

		if (!t->changing || t->running)
			continue;
		t->changing = false;
		scsi_medium(&t->lun, t->next);
		t->path = t->next_path;
		t->next = NULL;
		t->next_path = NULL;
		event_owe(t, AN_MEDIA);
		blk_close(old);
		free(old_path);
	}
	dev_unlock(&d->v.pci.dev);
}

static int medium_open(struct vscsi_target *t, char *path, struct blk **out)
{
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "target.%u.", t->n);
	return disk_open_at(&t->d->v.pci.dev, prefix, t->who, true, &t->owner, path, out);
}

/* Lock held. */
static int medium_set(struct vscsi_target *t, const char *path)
{
	struct blk *next = NULL;
	char *copy;
	int err;

	if (t->changing)
		return err_msg(-EBUSY, "%s: the medium is being exchanged already; try again", t->who);
	if (t->lun.locked && !t->lun.tray_open) {
		scsi_eject_request(&t->lun);
		return err_msg(-EBUSY, "%s: the guest has locked the drive and was asked to let go; try again, or eject the medium in the guest",
			       t->who);
	}
	copy = path ? strdup(path) : NULL;
	if (path && !copy)
		return -ENOMEM;
	err = path ? medium_open(t, copy, &next) : 0;
	if (err) {
		free(copy);
		return err;
	}
	t->changing = true;
	t->next = next;
	t->next_path = copy;
	t->lun.tray_open = true;        /* nothing new reaches the medium that goes */
	return 0;
}

int virtio_scsi_medium(struct device *dev, unsigned target, const char *path)
{
	struct vscsi *d = (struct vscsi *)dev;
	struct vscsi_target *t = target < VSCSI_TARGETS_MAX ? &d->target[target] : NULL;
	int err;

	if (!t || !t->present || t->lun.type != SCSI_CD)
		return err_msg(-EINVAL, "%s: target %u is no CD drive, whose medium could be exchanged", dev->id, target);
	dev_lock(dev);
	err = medium_set(t, path);
	dev_unlock(dev);
	if (!err)
		vscsi_swap(d, 0);
	return err;
}
