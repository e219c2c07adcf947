/*
 * virtio-blk: a disk [VIRTIO-1.2 5.2] over devices/block/.
 *
 * Modelled: read, write, flush, discard, write zeroes, device ID; several queues (by default one a vCPU, at most
 * four: one event loop serves them all, more would only cost memory); write-back or write-through chosen by the
 * driver.  Not modelled: secure erase, lifetime, zoned disks, the legacy geometry.
 *
 * A disk whose size is no multiple of its sector size is presented rounded up (devices/block/block.h).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/blob.h"
#include "common/vm.h"
#include "devices/block/disk.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_pci.h"

#define F_SEG_MAX BIT64(2)
#define F_RO BIT64(5)
#define F_BLK_SIZE BIT64(6)
#define F_FLUSH BIT64(9)
#define F_TOPOLOGY BIT64(10)
#define F_CONFIG_WCE BIT64(11)
#define F_MQ BIT64(12)
#define F_DISCARD BIT64(13)
#define F_WRITE_ZEROES BIT64(14)

/* Request types and statuses [VIRTIO-1.2 5.2.6] */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define QUEUE_SIZE 256
#define QUEUES_MAX 16
#define QUEUES_DEFAULT_MAX 4
#define SECTOR 512u
#define HDR_LEN 16u
#define RANGE_LEN 16u                           /* a discard or write-zeroes segment */
#define RANGE_UNMAP 1u
#define DISCARD_SECTORS_MAX (1u << 22)          /* 2 GiB */
#define ZEROES_SECTORS_MAX (1u << 17)           /* 64 MiB: may have to be written out */

/* Device configuration [VIRTIO-1.2 5.2.4] */
enum {
	CFG_CAPACITY = 0, CFG_SEG_MAX = 12, CFG_BLK_SIZE = 20, CFG_PHYS_EXP = 24, CFG_MIN_IO = 26, CFG_OPT_IO = 28,
	CFG_WRITEBACK = 32, CFG_NUM_QUEUES = 34, CFG_DISCARD_MAX = 36, CFG_DISCARD_SEGS = 40, CFG_DISCARD_ALIGN = 44,
	CFG_ZEROES_MAX = 48, CFG_ZEROES_SEGS = 52, CFG_ZEROES_UNMAP = 56, CFG_LEN = 60,
};

struct vblk;
struct vblk_req {
	struct blk_req blk;             /* first */
	struct vblk *d;
	struct vblk_req *next;          /* of the free ones */
	struct vq_chain chain;
	unsigned q;
	bool busy;                      /* taken from its queue and not yet answered */
	uint8_t *status;                /* in guest memory */
	struct iovec iov[VQ_CHAIN_MAX];
};

/*
 * A request a ring entry, made at the first use.  The last freed is used first, so only as much of the
 * array is ever touched as requests were in flight at once.
 */
struct vblk_queue {
	struct vblk_req *reqs, *free;
	unsigned fresh;                 /* reqs[fresh] and above were never used */
	bool pushed;                    /* since the driver was last considered */
};

struct vblk {
	struct virtio_dev v;            /* first */
	struct blk *blk;                /* NULL in a dry VM */
	bool read_only;
	uint64_t capacity;              /* bytes, whole sectors */
	char serial[DISK_SERIAL_LEN];
	struct vblk_queue queue[QUEUES_MAX];
	uint8_t *waiting;               /* for a snapshot: requests that wait for the operator or the throttle */
	uint32_t waiting_len;
};

/* --- Requests --- */

static struct vblk_req *req_get(struct vblk *d, unsigned q)
{
	struct vblk_queue *vq = &d->queue[q];
	struct vblk_req *r = vq->free;

	if (!vq->reqs) {
		vq->reqs = calloc(QUEUE_SIZE, sizeof(*vq->reqs));
		if (!vq->reqs)
			return NULL;
	}
	if (r)
		vq->free = r->next;
	else if (vq->fresh < QUEUE_SIZE)
		r = &vq->reqs[vq->fresh++];
	if (r) {
		r->d = d;
		r->q = q;
		r->busy = true;
	}
	return r;
}

static void req_put(struct vblk_req *r)
{
	struct vblk_queue *vq = &r->d->queue[r->q];

	r->busy = false;
	r->next = vq->free;
	vq->free = r;
}

static void req_finish(struct vblk_req *r, uint8_t status, uint32_t data_len)
{
	struct virtio_dev *v = &r->d->v;

	*r->status = status;
	r->d->queue[r->q].pushed = true;
	virtio_push(v, r->q, &r->chain, data_len + 1);
	req_put(r);
}

/* The block layer is done with it, and has reported a failure. */
static void on_done(struct blk_req *b)
{
	struct vblk_req *r = (struct vblk_req *)b;
	const bool in = b->op == BLK_READ;

	req_finish(r, b->ret ? S_IOERR : S_OK, in && !b->ret ? (uint32_t)(r->chain.wlen - 1) : 0);
}

static void on_batch(void *arg)
{
	struct vblk *d = arg;

	for (unsigned q = 0; q < d->v.nqueues; q++) {
		if (d->queue[q].pushed)
			virtio_signal(&d->v, q);
		d->queue[q].pushed = false;
	}
}

static bool write_through(const struct vblk *d)
{
	/* [VIRTIO-1.2 5.2.5.1]: with neither feature the driver cannot flush, so writes must be stable. */
	if (virtio_has(&d->v, F_CONFIG_WCE))
		return !d->v.cfg[CFG_WRITEBACK];
	return !virtio_has(&d->v, F_FLUSH);
}

static bool in_range(const struct vblk *d, uint64_t sector, uint64_t len)
{
	return len % SECTOR == 0 && len <= d->capacity && sector <= (d->capacity - len) / SECTOR;
}

static void submit(struct vblk_req *r, enum blk_op op, uint64_t off, uint64_t len)
{
	r->blk.op = op;
	r->blk.off = off;
	r->blk.len = len;
	r->blk.done = on_done;
	r->blk.fua = write_through(r->d);
	blk_submit(r->d->blk, &r->blk);
}

/* Reads and writes: the data is what lies between header and status. */
static int do_rw(struct vblk_req *r, enum blk_op op, uint64_t sector)
{
	const uint64_t len = op == BLK_READ ? r->chain.wlen - 1 : r->chain.rlen - HDR_LEN;

	if (!in_range(r->d, sector, len)) {
		dev_warn(&r->d->v.pci.dev, "%llu bytes at sector %llu lie outside the disk or are no whole sectors",
			 (unsigned long long)len, (unsigned long long)sector);
		return S_IOERR;
	}
	if (op == BLK_READ) {
		r->blk.iov = r->iov + r->chain.nr;
		r->blk.niov = iov_trim(r->blk.iov, r->chain.nw, len);
	} else {
		r->blk.iov = r->iov;
		r->blk.niov = iov_skip(&r->blk.iov, r->chain.nr, HDR_LEN);
	}
	if (len == 0)
		return S_OK;
	submit(r, op, sector * SECTOR, len);
	return -1;
}

/* Discard and write zeroes: one segment [VIRTIO-1.2 5.2.6]. */
static int do_range(struct vblk_req *r, bool discard)
{
	uint8_t seg[RANGE_LEN];
	const uint32_t max = discard ? DISCARD_SECTORS_MAX : ZEROES_SECTORS_MAX;
	const uint64_t need = discard ? F_DISCARD : F_WRITE_ZEROES;

	if (!virtio_has(&r->d->v, need))
		return S_UNSUPP;
	if (r->chain.rlen != HDR_LEN + RANGE_LEN || iov_read(r->iov, r->chain.nr, HDR_LEN, seg, sizeof(seg)) != sizeof(seg))
		return S_IOERR;

	const uint64_t sector = get_le64(seg), len = (uint64_t)get_le32(seg + 8) * SECTOR;
	const uint32_t flags = get_le32(seg + 12);

	if (flags & (discard ? ~0u : ~RANGE_UNMAP))
		return S_UNSUPP;
	if (len == 0 || len / SECTOR > max || !in_range(r->d, sector, len))
		return S_IOERR;
	r->blk.unmap = flags & RANGE_UNMAP;
	submit(r, discard ? BLK_DISCARD : BLK_WRITE_ZEROES, sector * SECTOR, len);
	return -1;
}

static int do_flush(struct vblk_req *r)
{
	submit(r, BLK_FLUSH, 0, 0);
	return -1;
}

/* A status to answer at once, or -1: the request is under way. */
static int dispatch(struct vblk_req *r, uint32_t type, uint64_t sector)
{
	struct vblk *d = r->d;

	if (!d->blk)
		return S_IOERR;
	if (d->read_only && (type == T_OUT || type == T_DISCARD || type == T_WRITE_ZEROES))
		return S_IOERR;
	switch (type) {
	case T_IN: return do_rw(r, BLK_READ, sector);
	case T_OUT: return do_rw(r, BLK_WRITE, sector);
	case T_FLUSH: return do_flush(r);
	case T_DISCARD: return do_range(r, true);
	case T_WRITE_ZEROES: return do_range(r, false);
	default: return S_UNSUPP;
	}
}

static void get_id(struct vblk_req *r)
{
	const size_t room = r->chain.wlen - 1;

	req_finish(r, S_OK, (uint32_t)iov_write(r->iov + r->chain.nr, r->chain.nw, 0, r->d->serial, MIN(room, DISK_SERIAL_LEN)));
}

/* One chain: header, data, status byte, in whatever pieces the driver likes [VIRTIO-1.2 2.7.4]. */
static void req_start(struct vblk_req *r)
{
	const struct vq_chain *c = &r->chain;
	const struct iovec *last;
	uint8_t hdr[HDR_LEN];
	int status;

	if (c->wlen == 0 || iov_read(r->iov, c->nr, 0, hdr, sizeof(hdr)) != sizeof(hdr)) {
		virtio_broken(&r->d->v, "request", "it lacks its header or status");
		virtio_push(&r->d->v, r->q, c, 0);
		req_put(r);
		return;
	}
	last = &r->iov[c->nr + c->nw - 1];
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	if (get_le32(hdr) == T_GET_ID) {
		get_id(r);
		return;
	}
	status = dispatch(r, get_le32(hdr), get_le64(hdr + 8));
	if (status >= 0)
		req_finish(r, (uint8_t)status, 0);
}

static bool vblk_kick(struct virtio_dev *v, unsigned q)
{
	struct vblk *d = (struct vblk *)v;
	struct virtqueue *vq = &v->vq[q];
	unsigned budget = QUEUE_SIZE;
	bool more;

	do {
		struct vblk_req *r;

		vq_notify_off(vq);
		while (budget && (r = req_get(d, q))) {
			if (!virtio_pop(v, q, &r->chain, r->iov)) {
				req_put(r);
				break;
			}
			budget--;
			req_start(r);
		}
		more = vq_notify_on(vq);
	} while (more && budget && virtio_running(v, q) && vq->inuse < vq->size);
	if (d->blk)
		blk_kick(d->blk);
	on_batch(d);
	return more && virtio_running(v, q) && vq->inuse < vq->size;
}

/* --- The device --- */

static void vblk_reset_type(struct virtio_dev *v)
{
	v->cfg[CFG_WRITEBACK] = 1;
}

/* Without FLUSH the driver's cache mode is write-through until it says otherwise [VIRTIO-1.2 5.2.5.2]. */
static void vblk_negotiated(struct virtio_dev *v)
{
	v->cfg[CFG_WRITEBACK] = virtio_has(v, F_FLUSH);
}

static void vblk_cfg_written(struct virtio_dev *v, unsigned off, unsigned size)
{
	(void)off;
	(void)size;
	v->cfg[CFG_WRITEBACK] &= 1;
}

static const struct virtio_type vblk_type = {
	.id = 2, .class_code = 0x010000, .polled = true,
	.features = F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_CONFIG_WCE,
	.kick = vblk_kick, .reset = vblk_reset_type, .negotiated = vblk_negotiated, .cfg_written = vblk_cfg_written,
};

static void cfg_fill(struct vblk *d, unsigned queues)
{
	uint8_t *c = d->v.cfg;
	const uint32_t logical = d->blk ? blk_logical(d->blk) : SECTOR, physical = d->blk ? blk_physical(d->blk) : SECTOR;

	put_le64(c + CFG_CAPACITY, d->capacity / SECTOR);
	put_le32(c + CFG_SEG_MAX, QUEUE_SIZE - 2);
	put_le32(c + CFG_BLK_SIZE, logical);
	c[CFG_PHYS_EXP] = (uint8_t)__builtin_ctz(physical / logical);
	put_le16(c + CFG_MIN_IO, (uint16_t)(physical / logical));
	put_le32(c + CFG_OPT_IO, 0);
	put_le16(c + CFG_NUM_QUEUES, (uint16_t)queues);
	put_le32(c + CFG_DISCARD_MAX, DISCARD_SECTORS_MAX);
	put_le32(c + CFG_DISCARD_SEGS, 1);
	put_le32(c + CFG_DISCARD_ALIGN, physical / SECTOR);
	put_le32(c + CFG_ZEROES_MAX, ZEROES_SECTORS_MAX);
	put_le32(c + CFG_ZEROES_SEGS, 1);
	c[CFG_ZEROES_UNMAP] = 1;
	d->v.cfg_wmask[CFG_WRITEBACK] = 1;
}

static int vblk_init(struct device *dev)
{
	struct vblk *d = (struct vblk *)dev;
	unsigned queues = (unsigned)dev_opt_u64(dev, "queues");
	uint64_t features;
	const struct blk_owner owner = { &dev->lock, on_batch, d };
	int err = disk_open(dev, "", dev->id, false, &owner, &d->blk);

	if (err)
		return err;
	d->read_only = d->blk ? blk_read_only(d->blk) : dev_opt_bool(dev, "ro");
	if (d->blk)
		d->capacity = ALIGN_UP(blk_size(d->blk), (uint64_t)blk_logical(d->blk));
	if (queues == 0)
		queues = MAX(1, MIN(dev->vm->nvcpus, QUEUES_DEFAULT_MAX));
	features = d->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES;
	err = virtio_init(&d->v, &vblk_type, features | (queues > 1 ? F_MQ : 0), queues, QUEUE_SIZE, CFG_LEN);
	if (err) {
		blk_close(d->blk);
		return err;
	}
	disk_serial(dev, "", '\0', d->serial);
	cfg_fill(d, queues);
	return 0;
}

static void drain(struct vblk *d, bool cancel)
{
	dev_lock(&d->v.pci.dev);
	if (d->blk)
		blk_drain(d->blk);
	if (d->blk && cancel)
		blk_cancel(d->blk);
	dev_unlock(&d->v.pci.dev);
}

static void vblk_fini(struct device *dev)
{
	struct vblk *d = (struct vblk *)dev;

	drain(d, true);
	virtio_fini(&d->v);
	blk_close(d->blk);
	for (unsigned q = 0; q < QUEUES_MAX; q++)
		free(d->queue[q].reqs);
	free(d->waiting);
}

static void vblk_reset(struct device *dev)
{
	drain((struct vblk *)dev, true);
	virtio_reset(&((struct vblk *)dev)->v);
}

static void vblk_pause(struct device *dev)
{
	virtio_pause(&((struct vblk *)dev)->v);
	drain((struct vblk *)dev, false);
}

static void vblk_resume(struct device *dev)
{
	struct vblk *d = (struct vblk *)dev;

	dev_lock(dev);
	if (d->blk)
		blk_kick(d->blk);
	dev_unlock(dev);
	virtio_resume(&d->v);
}

/* --- Snapshots of what still waits --- */

/*
 * A paused device may hold requests: a disk that failed has them wait for the operator.  A record each:
 * le16 queue, ID, ring entries, iovecs; u8 operation, unmap; le32 zero; le64 offset, length, writable bytes, address of the
 * status; then le64 address and le64 length of every iovec.  A request may be part done, so these are not the chain's.
 */
enum {
	W_QUEUE = 0, W_ID = 2, W_NDESC = 4, W_NIOV = 6, W_OP = 8, W_UNMAP = 9, W_OFF = 16, W_LEN = 24, W_WLEN = 32, W_STATUS = 40, W_IOV = 48,
};
#define W_IOV_LEN 16u

static void waiting_put(const struct vblk_req *r, struct blob *out)
{
	const struct guest_mem *mem = &r->d->v.pci.dev.vm->mem;
	const bool data = r->blk.op0 == BLK_READ || r->blk.op0 == BLK_WRITE;
	const unsigned niov = data ? r->blk.niov : 0;
	uint8_t head[W_IOV] = { 0 }, v[W_IOV_LEN];
	uint64_t gpa = 0;

	mem_gpa_of(mem, r->status, &gpa);
	put_le16(head + W_QUEUE, (uint16_t)r->q);
	put_le16(head + W_ID, r->chain.id);
	put_le16(head + W_NDESC, r->chain.ndesc);
	put_le16(head + W_NIOV, (uint16_t)niov);
	head[W_OP] = (uint8_t)r->blk.op0;
	head[W_UNMAP] = r->blk.unmap;
	put_le64(head + W_OFF, r->blk.off);
	put_le64(head + W_LEN, r->blk.len);
	put_le64(head + W_WLEN, r->chain.wlen);
	put_le64(head + W_STATUS, gpa);
	blob_add(out, head, sizeof(head));
	for (unsigned i = 0; i < niov; i++) {
		mem_gpa_of(mem, r->blk.iov[i].iov_base, &gpa);
		put_le64(v, gpa);
		put_le64(v + 8, r->blk.iov[i].iov_len);
		blob_add(out, v, sizeof(v));
	}
}

static void vblk_saving(struct device *dev)
{
	struct vblk *d = (struct vblk *)dev;
	struct blob out = { 0 };

	for (unsigned q = 0; q < d->v.nqueues; q++) {
		for (unsigned i = 0; i < d->queue[q].fresh; i++) {
			if (d->queue[q].reqs[i].busy)
				waiting_put(&d->queue[q].reqs[i], &out);
		}
	}
	free(d->waiting);
	d->waiting = out.data;
	d->waiting_len = (uint32_t)out.len;
}

static bool waiting_iov(struct vblk_req *r, const uint8_t *p, unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++, p += W_IOV_LEN) {
		const uint64_t len = get_le64(p + 8);

		r->iov[i] = (struct iovec){ mem_at(&r->d->v.pci.dev.vm->mem, get_le64(p), len), len };
		if (!r->iov[i].iov_base)
			return false;
		sum += len;
	}
	r->blk.iov = r->iov;
	r->blk.niov = n;
	return sum == r->blk.len;
}

static bool waiting_op_ok(const struct vblk *d, const struct vblk_req *r)
{
	const enum blk_op op = r->blk.op;

	if (op != BLK_READ && op != BLK_FLUSH && (op > BLK_WRITE_ZEROES || d->read_only))
		return false;
	return r->blk.len <= d->capacity && r->blk.off <= d->capacity - r->blk.len;
}

/* One record at p, of at least W_IOV bytes; its length, or 0: it cannot be true. */
static size_t waiting_get(struct vblk *d, const uint8_t *p, size_t left)
{
	const unsigned q = get_le16(p + W_QUEUE), niov = get_le16(p + W_NIOV), ndesc = get_le16(p + W_NDESC);
	const size_t len = W_IOV + niov * W_IOV_LEN;
	struct virtqueue *vq = &d->v.vq[MIN(q, QUEUES_MAX - 1)];
	struct vblk_req *r;
	bool data;

	if (q >= d->v.nqueues || len > left || niov > VQ_CHAIN_MAX || !vq_live(vq) || ndesc == 0 || ndesc + vq->inuse > vq->size)
		return 0;
	r = req_get(d, q);
	if (!r)
		return 0;
	r->blk = (struct blk_req){ .op = p[W_OP], .off = get_le64(p + W_OFF), .len = get_le64(p + W_LEN), .unmap = p[W_UNMAP] };
	r->chain = (struct vq_chain){ .id = get_le16(p + W_ID), .ndesc = (uint16_t)ndesc, .iov = r->iov, .wlen = get_le64(p + W_WLEN) };
	r->status = mem_at(&d->v.pci.dev.vm->mem, get_le64(p + W_STATUS), 1);
	data = r->blk.op == BLK_READ || r->blk.op == BLK_WRITE;
	if (!r->status || !waiting_op_ok(d, r) || (niov && !data) || (data && !waiting_iov(r, p + W_IOV, niov))) {
		req_put(r);
		return 0;
	}
	vq->inuse = (uint16_t)(vq->inuse + ndesc);
	submit(r, r->blk.op, r->blk.off, r->blk.len);
	return len;
}

/* They are started by the resume, as the disk was drained when the device was reset. */
static int waiting_load(struct vblk *d)
{
	const uint8_t *p = d->waiting;
	size_t left = d->waiting_len, len;

	for (; left; p += len, left -= len) {
		len = d->blk && left >= W_IOV ? waiting_get(d, p, left) : 0;
		if (len == 0)
			return err_msg(-EINVAL, "snapshot of %s: a request that waited is not one; it was made by another machine or is "
				       "damaged", d->v.pci.dev.id);
	}
	return 0;
}

static int vblk_loaded(struct device *dev)
{
	struct vblk *d = (struct vblk *)dev;

	if (get_le64(d->v.cfg + CFG_CAPACITY) != d->capacity / SECTOR)
		return err_msg(-EINVAL, "snapshot of %s: its disk had %llu sectors, the image here has %llu", dev->id,
			       (unsigned long long)get_le64(d->v.cfg + CFG_CAPACITY), (unsigned long long)(d->capacity / SECTOR));
	/* Everything else is this machine's own, but for the one byte the driver sets. */
	const uint8_t writeback = d->v.cfg[CFG_WRITEBACK] & 1;

	cfg_fill(d, d->v.nqueues);
	d->v.cfg[CFG_WRITEBACK] = writeback;
	int err = virtio_loaded(&d->v);

	dev_lock(dev);
	if (!err)
		err = waiting_load(d);
	dev_unlock(dev);
	return err;
}

static const struct snap_field vblk_fields[] = {
	SNAP_STRUCT(struct vblk, v, virtio_fields, 1),
	SNAP_HEAP(struct vblk, waiting, waiting_len, 2),
	SNAP_END
};

static const struct opt vblk_opts[] = {
	DISK_OPTS(""),
	{ "queues", OPT_U64, 0, QUEUES_MAX, "0", NULL, "request queues; 0: one a vCPU, at most 4", NULL },
	OPT_LAST
};

const struct device_class virtio_blk_class = {
	.name = "virtio-blk", .help = "disk", .size = sizeof(struct vblk),
	.opts = vblk_opts, .positional = "path",
	.init = vblk_init, .fini = vblk_fini, .reset = vblk_reset, .pause = vblk_pause, .resume = vblk_resume,
	.snap = vblk_fields, .snap_version = 2, .saving = vblk_saving, .loaded = vblk_loaded, .pci = true,
};
