/*
 * Life of a virtio PCI device [VIRTIO-1.2 2, 3, 4.1]: features, status, queues, notifications, interrupts.
 * Modern only: no legacy interface.  Bus-master enable is not looked at: some firmware drivers leave it off.
 *
 * Resets are asynchronous where they have to be: after writing 0 the driver reads the old status until the
 * last request in flight has come back [VIRTIO-1.2 4.1.4.3.2 has it wait], so its memory is its own again
 * and no vCPU thread ever waits for a disk.
 */
#include "devices/virtio/virtio_pci.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/kvm.h"
#include "common/vm.h"
#include "devices/virtio/virtio_regs.h"

#define PCI_VENDOR_VIRTIO 0x1af4
#define PCI_DEVICE_VIRTIO 0x1040                /* plus the device type [VIRTIO-1.2 4.1.2] */
#define ISR_QUEUE 1u
#define ISR_CONFIG 2u

static const uint64_t transport_features = VIRTIO_F_VERSION_1 | VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET |
	VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;

/* --- Interrupts --- */

static void interrupt(struct virtio_dev *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&v->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_fire(&v->pci, vector);
		return;
	}
	v->isr |= isr;
	pci_intx_set(&v->pci, true);
}

void virtio_signal(struct virtio_dev *v, unsigned q)
{
	if (!v->resetting && vq_should_interrupt(&v->vq[q]))
		interrupt(v, v->vector[q], ISR_QUEUE);
}

void virtio_config_changed(struct virtio_dev *v)
{
	v->generation++;
	if (v->status & VIRTIO_S_DRIVER_OK && !v->resetting)
		interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_broken(struct virtio_dev *v, const char *what, const char *why)
{
	dev_warn(&v->pci.dev, "%s: %s; the device needs a reset", what, why);
	if (v->status & VIRTIO_S_NEEDS_RESET || v->resetting)
		return;
	v->status |= VIRTIO_S_NEEDS_RESET;
	if (v->status & VIRTIO_S_DRIVER_OK)
		interrupt(v, v->config_vector, ISR_CONFIG);
}

static void queue_broken(struct virtio_dev *v, unsigned q)
{
	char what[16];

	snprintf(what, sizeof(what), "queue %u", q);
	virtio_broken(v, what, v->vq[q].broken);
}

/* --- Notifications --- */

void virtio_kick_self(struct virtio_dev *v, unsigned q)
{
	static const uint64_t one = 1;

	if (v->kick[q].fd >= 0 && write(v->kick[q].fd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: the counter is full, so a kick is pending anyway */
}

static void kick_all(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->nqueues; q++) {
		if (virtio_running(v, q))
			virtio_kick_self(v, q);
	}
}

/* Loop thread: the queue's eventfd fired. */
static void on_kick(void *arg, uint32_t events)
{
	struct virtio_kick *k = arg;
	struct virtio_dev *v = k->v;
	uint64_t n;

	(void)events;
	if (read(k->fd, &n, sizeof(n)) != sizeof(n))
		return;
	dev_lock(&v->pci.dev);
	if (virtio_running(v, k->q)) {
		if (k->poller) {
			poller_notified(k->poller);
			v->vq[k->q].quiet = poller_wake(k->poller);
		}
		if (v->type->kick(v, k->q))
			virtio_kick_self(v, k->q);
	}
	dev_unlock(&v->pci.dev);
}

/* What the type leaves in the queue for want of room does not count: it is told when there is some. */
static bool on_poll(void *arg)
{
	struct virtio_kick *k = arg;
	struct virtio_dev *v = k->v;
	struct virtqueue *q = &v->vq[k->q];
	bool any = false;

	dev_lock(&v->pci.dev);
	if (virtio_running(v, k->q) && vq_ready(q)) {
		const uint16_t before = q->avail_idx;

		if (v->type->kick(v, k->q))
			virtio_kick_self(v, k->q);
		any = q->avail_idx != before;
	}
	dev_unlock(&v->pci.dev);
	return any;
}

static void on_rest(void *arg)
{
	struct virtio_kick *k = arg;
	struct virtio_dev *v = k->v;
	struct virtqueue *q = &v->vq[k->q];

	dev_lock(&v->pci.dev);
	q->quiet = false;
	/* What is there although the ring is full was never the driver's to add. */
	if (virtio_running(v, k->q) && vq_notify_on(q) && q->inuse < q->size)
		virtio_kick_self(v, k->q);
	dev_unlock(&v->pci.dev);
}

static const struct poller_ops kick_poller = { on_poll, on_rest };

static void ioeventfd_del(struct virtio_kick *k)
{
	if (k->by_kvm)
		kvm_ioeventfd(k->v->pci.dev.vm, k->fd, k->addr, 0, false, false);
	k->by_kvm = false;
}

/*
 * Only live queues have one: registering costs KVM a grace period, and firmware moves BARs before any
 * driver runs.  Failure is no error: the write then exits to us.
 */
static void ioeventfd_add(struct virtio_dev *v, unsigned q)
{
	const struct pci_bar *bar = &v->pci.bar[VIRTIO_BAR_REGS];
	struct virtio_kick *k = &v->kick[q];

	if (k->by_kvm || k->fd < 0 || !bar->range.mapped || !(v->status & VIRTIO_S_DRIVER_OK) || !vq_live(&v->vq[q]))
		return;
	k->addr = bar->range.base + VIRTIO_BAR_NOTIFY + q * VIRTIO_NOTIFY_MULT;
	k->by_kvm = kvm_ioeventfd(v->pci.dev.vm, k->fd, k->addr, 0, false, true) == 0;
}

static void ioeventfds_follow(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->nqueues; q++) {
		ioeventfd_del(&v->kick[q]);
		ioeventfd_add(v, q);
	}
}

static void bar_moved(struct pci_dev *p, unsigned bar)
{
	if (bar == VIRTIO_BAR_REGS)
		ioeventfds_follow((struct virtio_dev *)p);
}

static const struct pci_ops virtio_pci_ops = {
	.cfg_reading = virtio_cfg_reading, .cfg_written = virtio_cfg_written, .bar_moved = bar_moved,
};

/* --- Queues --- */

bool virtio_running(const struct virtio_dev *v, unsigned q)
{
	return v->status & VIRTIO_S_DRIVER_OK && !v->resetting && !v->paused && !v->queue_reset[q] && vq_live(&v->vq[q]);
}

void virtio_enable_queue(struct virtio_dev *v, unsigned q)
{
	struct virtqueue *vq = &v->vq[q];

	if (!(v->status & VIRTIO_S_FEATURES_OK)) {
		dev_warn(&v->pci.dev, "queue %u enabled before FEATURES_OK: ignored", q);
		return;
	}
	vq->packed = virtio_has(v, VIRTIO_F_RING_PACKED);
	vq->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
	vq->indirect = virtio_has(v, VIRTIO_F_INDIRECT_DESC);
	if (vq_enable(vq, &v->pci.dev.vm->mem)) {
		queue_broken(v, q);
		return;
	}
	ioeventfd_add(v, q);
	if (virtio_running(v, q))
		virtio_kick_self(v, q);
}

static void queue_clear(struct virtio_dev *v, unsigned q)
{
	ioeventfd_del(&v->kick[q]);
	vq_reset(&v->vq[q]);
	v->queue_reset[q] = false;
}

void virtio_reset_queue(struct virtio_dev *v, unsigned q)
{
	v->queue_reset[q] = true;
	if (v->type->stop)
		v->type->stop(v, q);
	if (v->vq[q].inuse == 0)
		queue_clear(v, q);
}

static bool in_flight(const struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->nqueues; q++) {
		if (v->vq[q].inuse)
			return true;
	}
	return false;
}

static void reset_finish(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->nqueues; q++) {
		queue_clear(v, q);
		v->vector[q] = VIRTIO_NO_VECTOR;
	}
	v->config_vector = VIRTIO_NO_VECTOR;
	v->resetting = false;
	v->status = v->isr = v->generation = 0;
	v->features = 0;
	v->feature_sel = v->driver_feature_sel = v->queue_sel = 0;
	pci_intx_set(&v->pci, false);
	if (v->type->reset)
		v->type->reset(v);
}

static void reset_start(struct virtio_dev *v)
{
	v->resetting = true;
	for (unsigned q = 0; q < v->nqueues; q++) {
		ioeventfd_del(&v->kick[q]);
		if (v->type->stop)
			v->type->stop(v, q);
	}
	if (!in_flight(v))
		reset_finish(v);
}

/* A chain left a queue that is being reset: was it the last? */
static void reset_check(struct virtio_dev *v, unsigned q)
{
	if (v->resetting && !in_flight(v))
		reset_finish(v);
	else if (v->queue_reset[q] && v->vq[q].inuse == 0)
		queue_clear(v, q);
}

bool virtio_pop(struct virtio_dev *v, unsigned q, struct vq_chain *c, struct iovec *iov)
{
	if (!virtio_running(v, q))
		return false;
	if (vq_pop(&v->vq[q], c, iov))
		return true;
	if (v->vq[q].broken)
		queue_broken(v, q);
	return false;
}

void virtio_unpop(struct virtio_dev *v, unsigned q, const struct vq_chain *c)
{
	vq_unpop(&v->vq[q], c);
}

/* Only from the type's stop: reset_start() and virtio_reset_queue() look at what is left themselves. */
void virtio_drop(struct virtio_dev *v, unsigned q, const struct vq_chain *c)
{
	vq_drop(&v->vq[q], c);
}

void virtio_push_many(struct virtio_dev *v, unsigned q, const struct vq_chain *c, const uint32_t *written, unsigned n)
{
	if (!v->resetting && !v->queue_reset[q]) {
		vq_push_many(&v->vq[q], c, written, n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		vq_drop(&v->vq[q], &c[i]);
	reset_check(v, q);
}

void virtio_push(struct virtio_dev *v, unsigned q, const struct vq_chain *c, uint32_t written)
{
	virtio_push_many(v, q, c, &written, 1);
}

/* --- Status [VIRTIO-1.2 2.1, 3.1] --- */

static bool features_acceptable(struct virtio_dev *v)
{
	const uint64_t extra = v->features & ~v->offered;

	if (extra)
		dev_warn(&v->pci.dev, "features %#llx were not offered: refused", (unsigned long long)extra);
	else if (!virtio_has(v, VIRTIO_F_VERSION_1))
		dev_warn(&v->pci.dev, "VERSION_1 was not accepted: refused");
	else
		return true;
	return false;
}

static void driver_ok(struct virtio_dev *v)
{
	if (!(v->status & VIRTIO_S_FEATURES_OK)) {
		dev_warn(&v->pci.dev, "DRIVER_OK before FEATURES_OK: ignored");
		return;
	}
	v->status |= VIRTIO_S_DRIVER_OK;
	ioeventfds_follow(v);
	kick_all(v);            /* buffers may have been made available before */
}

void virtio_set_status(struct virtio_dev *v, uint8_t val)
{
	if (v->resetting)
		return;
	if (val == 0) {
		reset_start(v);
		return;
	}
	/* Bits are only ever added; clearing one is the driver's error [VIRTIO-1.2 2.1.1]. */
	v->status |= val & (VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FAILED);
	if (val & VIRTIO_S_FEATURES_OK && !(v->status & VIRTIO_S_FEATURES_OK) && features_acceptable(v)) {
		v->status |= VIRTIO_S_FEATURES_OK;
		if (v->type->negotiated)
			v->type->negotiated(v);
	}
	if (val & VIRTIO_S_DRIVER_OK && !(v->status & VIRTIO_S_DRIVER_OK))
		driver_ok(v);
}

/* --- Life --- */

void virtio_reset(struct virtio_dev *v)
{
	dev_lock(&v->pci.dev);
	v->paused = false;
	reset_start(v);
	assert(!v->resetting);          /* the class has drained its requests */
	dev_unlock(&v->pci.dev);
}

void virtio_pause(struct virtio_dev *v)
{
	dev_lock(&v->pci.dev);
	v->paused = true;
	dev_unlock(&v->pci.dev);
}

void virtio_resume(struct virtio_dev *v)
{
	dev_lock(&v->pci.dev);
	v->paused = false;
	kick_all(v);
	dev_unlock(&v->pci.dev);
}

static int kick_init(struct virtio_dev *v, unsigned q)
{
	struct virtio_kick *k = &v->kick[q];
	struct loop *loop = v->pci.dev.vm->loop;

	*k = (struct virtio_kick){ .v = v, .q = q, .fd = -1 };
	if (!loop)
		return 0;
	k->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->fd < 0)
		return err_sys("%s: eventfd of queue %u", v->pci.dev.id, q);
	k->ev = ev_fd(loop, k->fd, EPOLLIN, on_kick, k);
	if (k->ev && v->type->polled)
		k->poller = poller_new(loop, &kick_poller, k);
	return k->ev ? 0 : -ENOMEM;
}

static void kicks_free(struct virtio_dev *v)
{
	for (unsigned q = 0; q < v->nqueues; q++) {
		ioeventfd_del(&v->kick[q]);
		ev_del(v->kick[q].ev);
		poller_free(v->kick[q].poller);
		if (v->kick[q].fd >= 0)
			close(v->kick[q].fd);
	}
	v->nqueues = 0;
}

int virtio_init(struct virtio_dev *v, const struct virtio_type *type, uint64_t features, unsigned nqueues,
		uint16_t queue_size, unsigned cfg_len)
{
	struct pci_dev *p = &v->pci;
	int err;

	assert(nqueues <= VIRTIO_QUEUES_MAX && queue_size <= VQ_SIZE_MAX && cfg_len <= VIRTIO_CFG_MAX);
	v->type = type;
	v->offered = transport_features | type->features | features;
	v->cfg_len = cfg_len;
	for (v->nqueues = 0; v->nqueues < nqueues; ) {
		v->vq[v->nqueues].size_max = queue_size;
		err = kick_init(v, v->nqueues++);
		if (err) {
			kicks_free(v);
			return err;
		}
	}
	p->ops = &virtio_pci_ops;
	pci_ids(p, PCI_VENDOR_VIRTIO, PCI_DEVICE_VIRTIO + type->id, type->class_code, 1);
	pci_subsystem(p, PCI_VENDOR_VIRTIO, PCI_DEVICE_VIRTIO + type->id);
	pci_bar_init(p, VIRTIO_BAR_REGS, PCI_BAR_MEM64, VIRTIO_BAR_LEN, &virtio_bar_ops, v);
	p->bar[VIRTIO_BAR_REGS].range.regs = virtio_regs;
	p->bar[VIRTIO_BAR_REGS].range.nregs = virtio_nregs;
	pci_intx_init(p);
	pci_msix_init(p, VIRTIO_BAR_MSIX, nqueues + 1);
	virtio_caps_add(v);
	return 0;
}

void virtio_fini(struct virtio_dev *v)
{
	kicks_free(v);
	v->pci.ops = NULL;
}

/* --- Snapshots --- */

static int refuse(const struct virtio_dev *v, const char *why)
{
	return err_msg(-EINVAL, "snapshot of %s: %s; it was made by another machine or is damaged", v->pci.dev.id, why);
}

int virtio_loaded(struct virtio_dev *v)
{
	if (v->features & ~v->offered && v->status & VIRTIO_S_FEATURES_OK)
		return refuse(v, "a feature in use is not offered here");
	for (unsigned q = 0; q < v->nqueues; q++) {
		const char *why = vq_loaded(&v->vq[q], &v->pci.dev.vm->mem);

		if (why)
			return refuse(v, why);
		if (v->vector[q] != VIRTIO_NO_VECTOR && v->vector[q] >= v->pci.msix_n)
			return refuse(v, "a queue's interrupt vector is out of range");
	}
	if (v->config_vector != VIRTIO_NO_VECTOR && v->config_vector >= v->pci.msix_n)
		return refuse(v, "the configuration's interrupt vector is out of range");
	v->resetting = false;
	memset(v->queue_reset, 0, sizeof(v->queue_reset));
	ioeventfds_follow(v);
	return 0;
}

const struct snap_field virtio_fields[] = {
	SNAP_STRUCT(struct virtio_dev, pci, pci_fields, 1),
	SNAP_U64(struct virtio_dev, features, 1),
	SNAP_U8(struct virtio_dev, status, 1), SNAP_U8(struct virtio_dev, isr, 1), SNAP_U8(struct virtio_dev, generation, 1),
	SNAP_U32(struct virtio_dev, feature_sel, 1), SNAP_U32(struct virtio_dev, driver_feature_sel, 1),
	SNAP_U16(struct virtio_dev, queue_sel, 1), SNAP_U16(struct virtio_dev, config_vector, 1),
	SNAP_ARRAY(SNAP_T_U16, struct virtio_dev, vector, 1),
	SNAP_STRUCTS(struct virtio_dev, vq, virtqueue_fields, 1),
	SNAP_BYTES(struct virtio_dev, cfg, 1),
	SNAP_END
};
