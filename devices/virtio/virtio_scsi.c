/*
 * virtio-scsi, requests and life of the device [VIRTIO-1.2 5.6].
 *
 * "virtio-scsi,hd:PATH,cd:PATH..." as bhyve's ahci has it; target N has one unit, LUN 0.  Queues: control, events, then
 * by default one for requests a vCPU, at most four.
 *
 * Not modelled: bidirectional commands, protection information, task attributes and priorities (every command is
 * simple), adding and removing targets while running.
 */
#include "devices/virtio/virtio_scsi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/block/disk.h"
#include "devices/classes.h"

#define QUEUES_DEFAULT_MAX 4

/* Device configuration [VIRTIO-1.2 5.6.4] */
enum {
	CFG_NUM_QUEUES = 0, CFG_SEG_MAX = 4, CFG_MAX_SECTORS = 8, CFG_CMD_PER_LUN = 12, CFG_EVENT_INFO_SIZE = 16, CFG_SENSE_SIZE = 20,
	CFG_CDB_SIZE = 24, CFG_MAX_CHANNEL = 28, CFG_MAX_TARGET = 30, CFG_MAX_LUN = 32, CFG_LEN = 36,
};
#define CDB_SIZE_DEFAULT 32
#define SENSE_SIZE_DEFAULT 96

/* --- Requests --- */

struct vscsi_req *vscsi_req_get(struct vscsi *d, unsigned q)
{
	struct vscsi_queue *vq = &d->queue[q - VSCSI_Q_REQUEST];
	struct vscsi_req *r = vq->free;

	if (!vq->reqs) {
		vq->reqs = calloc(VSCSI_QUEUE_SIZE, sizeof(*vq->reqs));
		if (!vq->reqs)
			return NULL;
	}
	if (r)
		vq->free = r->next;
	else if (vq->fresh < VSCSI_QUEUE_SIZE)
		r = &vq->reqs[vq->fresh++];
	if (r) {
		r->d = d;
		r->q = q;
		r->target = NULL;
		r->busy = true;
		r->held = r->scsi.resumed = false;
		r->abort = 0;
	}
	return r;
}

void vscsi_req_put(struct vscsi_req *r)
{
	struct vscsi_queue *vq = &r->d->queue[r->q - VSCSI_Q_REQUEST];

	r->busy = false;
	r->next = vq->free;
	vq->free = r;
}

/* Answers, with `in` bytes of data before; the driver reads no more of the sense data than there is. */
static void respond(struct vscsi_req *r, uint8_t response, uint32_t residual, uint32_t in)
{
	struct vscsi *d = r->d;
	struct vscsi_target *t = r->target;
	const bool aborted = r->abort, ok = response == VSCSI_OK;
	const uint32_t sense_len = ok ? MIN(r->scsi.sense_len, r->sense_size) : 0;
	uint8_t resp[VSCSI_RESP_LEN + SCSI_SENSE_LEN] = { 0 };

	put_le32(resp, sense_len);
	put_le32(resp + 4, residual);
	resp[10] = ok ? (uint8_t)r->scsi.status : 0;
	resp[11] = response;
	memcpy(resp + VSCSI_RESP_LEN, r->scsi.sense, sense_len);
	iov_write(r->iov + r->chain.nr, r->chain.nw, 0, resp, VSCSI_RESP_LEN + sense_len);
	d->queue[r->q - VSCSI_Q_REQUEST].pushed = true;
	virtio_push(&d->v, r->q, &r->chain, in ? VSCSI_RESP_LEN + r->sense_size + in : VSCSI_RESP_LEN + sense_len);
	vscsi_req_put(r);
	if (t) {
		t->running--;
		vscsi_ctrl_done(d, t, aborted);
	}
}

/* The unit is done with it. */
static void on_done(struct scsi_req *s)
{
	struct vscsi_req *r = (struct vscsi_req *)s;
	const uint64_t room = s->in_len + s->out_len;
	const uint32_t residual = (uint32_t)MIN(room - s->moved, (uint64_t)UINT32_MAX);

	if (r->abort)
		respond(r, r->abort, residual, 0);
	else if (s->status == SCSI_TASK_ABORTED)
		respond(r, VSCSI_ABORTED, residual, 0);
	else if (s->wanted > room)
		respond(r, VSCSI_OVERRUN, residual, 0);
	else
		respond(r, VSCSI_OK, residual, s->in_len ? (uint32_t)s->moved : 0);
}

static void on_batch(void *arg)
{
	struct vscsi *d = arg;

	for (unsigned i = 0; VSCSI_Q_REQUEST + i < d->v.nqueues; i++) {
		if (d->queue[i].pushed)
			virtio_signal(&d->v, VSCSI_Q_REQUEST + i);
		d->queue[i].pushed = false;
	}
}

struct vscsi_target *vscsi_target_of(struct vscsi *d, const uint8_t lun[8], unsigned *unit)
{
	static const uint8_t none[4];
	struct vscsi_target *t = &d->target[lun[1]];
	const uint8_t method = lun[2] >> 6;

	if (lun[0] != 1 || !t->present)
		return NULL;
	/* One level, peripheral or flat addressing [SAM-5 "Logical unit number"]; anything else names a unit that is not there. */
	*unit = method > 1 || memcmp(lun + 4, none, sizeof(none)) != 0 ? UINT32_MAX : (unsigned)(lun[2] & 0x3f) << 8 | lun[3];
	return t;
}

static bool is_report_luns(const uint8_t lun[8])
{
	static const uint8_t address[8] = { 0xc1, 0x01 };

	return memcmp(lun, address, sizeof(address)) == 0;
}

static void report_luns(struct vscsi_req *r)
{
	uint8_t luns[8 * VSCSI_TARGETS_MAX] = { 0 };
	unsigned n = 0;

	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		if (!r->d->target[i].present)
			continue;
		luns[8 * n] = 1;
		luns[8 * n + 1] = (uint8_t)i;
		luns[8 * n + 2] = 0x40;
		n++;
	}
	r->scsi.lun = &r->d->report_luns;
	scsi_submit_report_luns(&r->scsi, luns, n);
}

/* Splits the chain: what follows request and response is data. */
static void data_set(struct vscsi_req *r)
{
	const uint32_t resp = VSCSI_RESP_LEN + r->sense_size;
	const struct vq_chain *c = &r->chain;
	struct scsi_req *s = &r->scsi;

	memcpy(r->work, r->iov, (c->nr + c->nw) * sizeof(r->iov[0]));
	s->out = r->work;
	s->nout = iov_skip(&s->out, c->nr, r->hdr_len);
	s->out_len = c->rlen - r->hdr_len;
	s->in = r->work + c->nr;
	s->nin = iov_skip(&s->in, c->nw, resp);
	s->in_len = c->wlen - resp;
}

void vscsi_req_run(struct vscsi_req *r)
{
	unsigned unit = 0;

	data_set(r);
	r->scsi.done = on_done;
	if (r->scsi.in_len && r->scsi.out_len) {
		respond(r, VSCSI_FAILURE, 0, 0);        /* both directions: not negotiated */
		return;
	}
	if (is_report_luns(r->lun)) {
		report_luns(r);
		return;
	}
	r->target = vscsi_target_of(r->d, r->lun, &unit);
	if (!r->target) {
		respond(r, VSCSI_BAD_TARGET, 0, 0);
		return;
	}
	r->target->running++;
	r->scsi.lun = &r->target->lun;
	if (unit)
		scsi_submit_absent(&r->scsi);
	else
		scsi_submit(&r->scsi);
}

/* One chain: request, data out, response, data in, in whatever pieces the driver likes [VIRTIO-1.2 2.7.4]. */
static void req_start(struct vscsi_req *r)
{
	struct vscsi *d = r->d;
	uint8_t hdr[VSCSI_HDR_LEN + SCSI_CDB_MAX] = { 0 };

	r->hdr_len = VSCSI_HDR_LEN + get_le32(d->v.cfg + CFG_CDB_SIZE);
	r->sense_size = get_le32(d->v.cfg + CFG_SENSE_SIZE);
	if (r->chain.rlen < r->hdr_len || r->chain.wlen < VSCSI_RESP_LEN + r->sense_size) {
		virtio_broken(&d->v, "request", "it lacks its header or response");
		virtio_push(&d->v, r->q, &r->chain, 0);
		vscsi_req_put(r);
		return;
	}
	iov_read(r->iov, r->chain.nr, 0, hdr, MIN(sizeof(hdr), r->hdr_len));
	memcpy(r->lun, hdr, sizeof(r->lun));
	r->tag = get_le64(hdr + 8);
	memcpy(r->scsi.cdb, hdr + VSCSI_HDR_LEN, sizeof(r->scsi.cdb));
	vscsi_req_run(r);
}

void vscsi_kick_disks(struct vscsi *d)
{
	for (unsigned i = 0; i <= get_le16(d->v.cfg + CFG_MAX_TARGET); i++) {
		if (d->target[i].lun.blk)
			blk_kick(d->target[i].lun.blk);
	}
}

static bool requests_kick(struct vscsi *d, unsigned q)
{
	struct virtqueue *vq = &d->v.vq[q];
	unsigned budget = VSCSI_QUEUE_SIZE;
	bool more;

	do {
		struct vscsi_req *r;

		vq_notify_off(vq);
		while (budget && (r = vscsi_req_get(d, q))) {
			if (!virtio_pop(&d->v, q, &r->chain, r->iov)) {
				vscsi_req_put(r);
				break;
			}
			budget--;
			req_start(r);
		}
		more = vq_notify_on(vq);
	} while (more && budget && virtio_running(&d->v, q) && vq->inuse < vq->size);
	vscsi_kick_disks(d);
	on_batch(d);
	return more && virtio_running(&d->v, q) && vq->inuse < vq->size;
}

static bool vscsi_kick(struct virtio_dev *v, unsigned q)
{
	struct vscsi *d = (struct vscsi *)v;

	if (q == VSCSI_Q_CTRL)
		return vscsi_ctrl_kick(d);
	return q == VSCSI_Q_EVENT ? vscsi_event_kick(d) : requests_kick(d, q);
}

static void vscsi_stop(struct virtio_dev *v, unsigned q)
{
	vscsi_ctrl_stop((struct vscsi *)v, q);
}

/* --- Configuration --- */

static void vscsi_reset_type(struct virtio_dev *v)
{
	struct vscsi *d = (struct vscsi *)v;

	put_le32(v->cfg + CFG_SENSE_SIZE, SENSE_SIZE_DEFAULT);
	put_le32(v->cfg + CFG_CDB_SIZE, CDB_SIZE_DEFAULT);
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		d->target[i].subscribed = d->target[i].owed = 0;
		if (d->target[i].present)
			scsi_lun_clear(&d->target[i].lun, 0);
	}
}

static void sizes_check(struct virtio_dev *v)
{
	put_le32(v->cfg + CFG_SENSE_SIZE, MIN(get_le32(v->cfg + CFG_SENSE_SIZE), VSCSI_SENSE_SIZE_MAX));
	put_le32(v->cfg + CFG_CDB_SIZE, MIN(get_le32(v->cfg + CFG_CDB_SIZE), VSCSI_CDB_SIZE_MAX));
}

static void vscsi_cfg_written(struct virtio_dev *v, unsigned off, unsigned size)
{
	(void)off;
	(void)size;
	sizes_check(v);
}

static const struct virtio_type vscsi_type = {
	.id = 8, .class_code = 0x010000,
	.kick = vscsi_kick, .stop = vscsi_stop, .reset = vscsi_reset_type, .cfg_written = vscsi_cfg_written,
};

static void cfg_fill(struct vscsi *d)
{
	uint8_t *c = d->v.cfg;
	unsigned max = 0;

	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		if (d->target[i].present)
			max = i;
	}
	put_le32(c + CFG_NUM_QUEUES, d->v.nqueues - VSCSI_Q_REQUEST);
	put_le32(c + CFG_SEG_MAX, VSCSI_QUEUE_SIZE - 2);
	put_le32(c + CFG_MAX_SECTORS, 0xffff);
	put_le32(c + CFG_CMD_PER_LUN, VSCSI_QUEUE_SIZE / 2);
	put_le32(c + CFG_EVENT_INFO_SIZE, 16);
	put_le16(c + CFG_MAX_CHANNEL, 0);
	put_le16(c + CFG_MAX_TARGET, (uint16_t)max);
	put_le32(c + CFG_MAX_LUN, 0);
	memset(d->v.cfg_wmask + CFG_SENSE_SIZE, 0xff, 8);
}

/* --- The device --- */

static void drain(struct vscsi *d, bool cancel)
{
	dev_lock(&d->v.pci.dev);
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		struct blk *blk = d->target[i].lun.blk;

		if (blk)
			blk_drain(blk);
		if (blk && cancel)
			blk_cancel(blk);
	}
	dev_unlock(&d->v.pci.dev);
}

static int target_open(struct vscsi *d, unsigned n)
{
	struct device *dev = &d->v.pci.dev;
	struct vscsi_target *t = &d->target[n];
	char prefix[32], key[64];
	const char *type;
	bool cd;
	struct blk *blk = NULL;
	int err = 0;

	snprintf(prefix, sizeof(prefix), "target.%u.", n);
	t->owner = (struct blk_owner){ &dev->lock, on_batch, d };
	snprintf(t->who, sizeof(t->who), "%s.target.%u", dev->id, n);
	snprintf(key, sizeof(key), "%stype", prefix);
	type = dev_opt_str(dev, key);
	cd = type && strcmp(type, "cd") == 0;
	snprintf(key, sizeof(key), "%spath", prefix);
	if (dev_opt_str(dev, key) || !cd)
		err = disk_open(dev, prefix, t->who, cd, &t->owner, &blk);
	if (err)
		return err;
	t->d = d;
	t->n = n;
	t->present = true;
	scsi_lun_init(&t->lun, cd ? SCSI_CD : SCSI_DISK, dev, blk);
	disk_serial(dev, prefix, ' ', t->lun.serial);
	snprintf(key, sizeof(key), "%snodelete", prefix);
	t->lun.nodelete = dev_opt_bool(dev, key);
	return 0;
}

struct number_check {
	const char *id;
	int err;
};

/* "pci.0.3.0.target.256.path" fits the table of options, and would be no target. */
static void number_check(const char *key, const char *value UNUSED, const char *origin, void *arg)
{
	struct number_check *c = arg;
	const size_t n = strlen(c->id);

	if (strncmp(key, c->id, n) || strncmp(key + n, ".target.", 8) || strtoul(key + n + 8, NULL, 10) < VSCSI_TARGETS_MAX)
		return;
	c->err = err_msg(-EINVAL, "%s: %s: targets are 0 to %u; use another number, or another controller", origin, key, VSCSI_TARGETS_MAX - 1);
}

/* A target is there when it has a medium or says what it is. */
static int targets_open(struct vscsi *d)
{
	const struct device *dev = &d->v.pci.dev;
	struct number_check numbers = { .id = dev->id };
	unsigned present = 0;

	conf_walk(dev->vm->conf, number_check, &numbers);
	if (numbers.err)
		return numbers.err;

	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		char path[64], type[64];
		int err;

		snprintf(path, sizeof(path), "%s.target.%u.path", dev->id, i);
		snprintf(type, sizeof(type), "%s.target.%u.type", dev->id, i);
		if (!conf_raw(dev->vm->conf, path) && !conf_raw(dev->vm->conf, type))
			continue;
		err = target_open(d, i);
		if (err)
			return err;
		present++;
	}
	return present ? 0 : err_msg(-EINVAL, "%s: virtio-scsi needs a disk: virtio-scsi,hd:PATH or virtio-scsi,cd:PATH", dev->id);
}

static void targets_close(struct vscsi *d)
{
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		blk_close(d->target[i].lun.blk);
		blk_close(d->target[i].next);
		free(d->target[i].path);
		free(d->target[i].next_path);
	}
}

static int vscsi_init(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;
	unsigned queues = (unsigned)dev_opt_u64(dev, "queues");
	int err = targets_open(d);

	if (queues == 0)
		queues = MAX(1, MIN(dev->vm->nvcpus, QUEUES_DEFAULT_MAX));
	if (!err && dev->vm->loop) {
		d->swap = ev_timer(dev->vm->loop, vscsi_swap, d);
		err = d->swap ? 0 : -ENOMEM;
	}
	if (!err)
		err = virtio_init(&d->v, &vscsi_type, 0, VSCSI_Q_REQUEST + queues, VSCSI_QUEUE_SIZE, CFG_LEN);
	if (err) {
		ev_del(d->swap);
		targets_close(d);
		return err;
	}
	cfg_fill(d);
	return 0;
}

static void vscsi_fini(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;

	drain(d, true);
	ev_del(d->swap);
	virtio_fini(&d->v);
	targets_close(d);
	for (unsigned i = 0; i < VSCSI_QUEUES_MAX; i++)
		free(d->queue[i].reqs);
	free(d->waiting);
}

/* What came with a snapshot and was never started. */
static void held_drop(struct vscsi *d)
{
	dev_lock(&d->v.pci.dev);
	for (unsigned q = 0; q < VSCSI_QUEUES_MAX; q++) {
		for (unsigned i = 0; i < d->queue[q].fresh; i++) {
			struct vscsi_req *r = &d->queue[q].reqs[i];

			if (!r->busy || !r->held)
				continue;
			virtio_drop(&d->v, r->q, &r->chain);
			vscsi_req_put(r);
		}
	}
	dev_unlock(&d->v.pci.dev);
}

static void vscsi_reset(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;

	dev_lock(dev);
	d->v.resetting = true;          /* what is cancelled does not go to the driver any more */
	dev_unlock(dev);
	drain(d, true);
	held_drop(d);
	virtio_reset(&d->v);
	dev_lock(dev);
	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		if (d->target[i].present)
			scsi_lun_reset(&d->target[i].lun);
	}
	dev_unlock(dev);
}

static void vscsi_pause(struct device *dev)
{
	virtio_pause(&((struct vscsi *)dev)->v);
	drain((struct vscsi *)dev, false);
}

static void vscsi_resume(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;

	dev_lock(dev);
	vscsi_waiting_run(d);
	vscsi_kick_disks(d);
	dev_unlock(dev);
	virtio_resume(&d->v);
}

static int vscsi_loaded(struct device *dev)
{
	struct vscsi *d = (struct vscsi *)dev;
	int err;

	for (unsigned i = 0; i < VSCSI_TARGETS_MAX; i++) {
		if (d->target[i].present && scsi_lun_loaded(&d->target[i].lun))
			return err_msg(-EINVAL, "snapshot of %s: target %u was another kind of drive", dev->id, i);
	}
	cfg_fill(d);
	sizes_check(&d->v);
	err = virtio_loaded(&d->v);
	dev_lock(dev);
	if (!err)
		err = vscsi_waiting_load(d);
	dev_unlock(dev);
	return err;
}

static const struct snap_field target_fields[] = {
	SNAP_STRUCT(struct vscsi_target, lun, scsi_lun_fields, 1),
	SNAP_U32(struct vscsi_target, subscribed, 1), SNAP_U32(struct vscsi_target, owed, 1),
	SNAP_END
};
static const struct snap_field vscsi_fields[] = {
	SNAP_STRUCT(struct vscsi, v, virtio_fields, 1),
	SNAP_STRUCTS(struct vscsi, target, target_fields, 1),
	SNAP_HEAP(struct vscsi, waiting, waiting_len, 1),
	SNAP_END
};

static const char *const type_choices[] = { "hd", "cd", NULL };
static const struct opt vscsi_opts[] = {
	{ "target.N.type", OPT_ENUM, 0, 0, "hd", NULL, "disk or CD drive; N is the target, 0 to 255", type_choices },
	DISK_OPTS("target.N."),
	{ "queues", OPT_U64, 0, VSCSI_QUEUES_MAX, "0", NULL, "request queues; 0: one a vCPU, at most 4", NULL },
	OPT_LAST
};

/* bhyve's virtio-scsi is a door to the host's CTL, which only FreeBSD has. */
static bool is_ctl(const char *word)
{
	return strncmp(word, "/dev/cam/ctl", 12) == 0 || strncmp(word, "dev=", 4) == 0 || strncmp(word, "iid=", 4) == 0 ||
	       strncmp(word, "hd:/dev/cam/ctl", 15) == 0;
}

static int vscsi_conf_word(struct conf *conf, const char *id, const char *word, const char *origin)
{
	if (is_ctl(word))
		return err_msg(-EINVAL, "%s: '%s': the CAM Target Layer is FreeBSD's own; give the image or block device: virtio-scsi,hd:PATH",
			       origin, word);
	return disk_conf_word(conf, id, "target", VSCSI_TARGETS_MAX, vscsi_opts, word, origin);
}

const struct device_class virtio_scsi_class = {
	.name = "virtio-scsi", .help = "SCSI disks and CD drives", .size = sizeof(struct vscsi),
	.opts = vscsi_opts, .positional = "target.0.path", .conf_word = vscsi_conf_word,
	.init = vscsi_init, .fini = vscsi_fini, .reset = vscsi_reset, .pause = vscsi_pause, .resume = vscsi_resume,
	.snap = vscsi_fields, .snap_version = 1, .saving = vscsi_saving, .loaded = vscsi_loaded,
	.medium = virtio_scsi_medium, .pci = true,
};
