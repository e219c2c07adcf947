/*
 * Registers of a virtio PCI device [VIRTIO-1.2 4.1.4]: common configuration, ISR status, device-specific
 * configuration, notifications, and the PCI configuration access capability.
 */
#include "devices/virtio/virtio_regs.h"

/* Capability structure [VIRTIO-1.2 4.1.4]. */
#define PCI_CAP_VENDOR 0x09
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI };
enum { CAP_LEN = 2, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_END = 16 };

/* --- Common configuration [VIRTIO-1.2 4.1.4.3] --- */

/* The selected queue; NULL when there is none of that number. */
static struct virtqueue *sel(struct virtio_dev *v)
{
	return v->queue_sel < v->nqueues ? &v->vq[v->queue_sel] : NULL;
}

static uint64_t rd_feature_sel(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->feature_sel; }

static void wr_feature_sel(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	((struct virtio_dev *)dev)->feature_sel = (uint32_t)val;
}

static uint64_t rd_feature(void *dev, const struct reg *r)
{
	const struct virtio_dev *v = dev;

	(void)r;
	return v->feature_sel < 2 ? (uint32_t)(v->offered >> (32 * v->feature_sel)) : 0;
}

static uint64_t rd_driver_feature_sel(void *dev, const struct reg *r)
{
	(void)r;
	return ((struct virtio_dev *)dev)->driver_feature_sel;
}

static void wr_driver_feature_sel(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	((struct virtio_dev *)dev)->driver_feature_sel = (uint32_t)val;
}

static uint64_t rd_driver_feature(void *dev, const struct reg *r)
{
	const struct virtio_dev *v = dev;

	(void)r;
	return v->driver_feature_sel < 2 ? (uint32_t)(v->features >> (32 * v->driver_feature_sel)) : 0;
}

static void wr_driver_feature(void *dev, const struct reg *r, uint64_t val)
{
	struct virtio_dev *v = dev;
	const unsigned shift = 32 * v->driver_feature_sel;

	(void)r;
	if (v->driver_feature_sel >= 2 || v->resetting)
		return;
	if (v->status & VIRTIO_S_FEATURES_OK) {
		dev_warn(&v->pci.dev, "features written after FEATURES_OK: ignored");
		return;
	}
	v->features = (v->features & ~(0xffffffffull << shift)) | (val & 0xffffffff) << shift;
}

/* A vector the function does not have reads back as NO_VECTOR [VIRTIO-1.2 4.1.5.1.2.1]. */
static uint16_t vector_checked(const struct virtio_dev *v, uint64_t val)
{
	return val < v->pci.msix_n ? (uint16_t)val : VIRTIO_NO_VECTOR;
}

static uint64_t rd_config_vector(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->config_vector; }

static void wr_config_vector(void *dev, const struct reg *r, uint64_t val)
{
	struct virtio_dev *v = dev;

	(void)r;
	v->config_vector = vector_checked(v, val);
}

static uint64_t rd_num_queues(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->nqueues; }
static uint64_t rd_status(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->status; }
static void wr_status(void *dev, const struct reg *r, uint64_t val) { (void)r; virtio_set_status(dev, (uint8_t)val); }
static uint64_t rd_generation(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->generation; }
static uint64_t rd_queue_sel(void *dev, const struct reg *r) { (void)r; return ((struct virtio_dev *)dev)->queue_sel; }

static void wr_queue_sel(void *dev, const struct reg *r, uint64_t val)
{
	(void)r;
	((struct virtio_dev *)dev)->queue_sel = (uint16_t)val;
}

/* The selected queue if its set-up may change now. */
static struct virtqueue *sel_idle(struct virtio_dev *v)
{
	struct virtqueue *q = sel(v);

	if (!q || v->resetting || v->queue_reset[v->queue_sel])
		return NULL;
	if (q->enabled) {
		dev_warn(&v->pci.dev, "queue %u: set-up written while enabled: ignored", v->queue_sel);
		return NULL;
	}
	return q;
}

static uint64_t rd_queue_size(void *dev, const struct reg *r)
{
	const struct virtqueue *q = sel(dev);

	(void)r;
	return q ? q->size : 0;
}

static void wr_queue_size(void *dev, const struct reg *r, uint64_t val)
{
	struct virtqueue *q = sel_idle(dev);

	(void)r;
	if (q)
		q->size = (uint16_t)val;        /* judged at enabling */
}

static uint64_t rd_queue_vector(void *dev, const struct reg *r)
{
	const struct virtio_dev *v = dev;

	(void)r;
	return v->queue_sel < v->nqueues ? v->vector[v->queue_sel] : VIRTIO_NO_VECTOR;
}

static void wr_queue_vector(void *dev, const struct reg *r, uint64_t val)
{
	struct virtio_dev *v = dev;

	(void)r;
	if (v->queue_sel < v->nqueues)
		v->vector[v->queue_sel] = vector_checked(v, val);
}

static uint64_t rd_queue_enable(void *dev, const struct reg *r)
{
	const struct virtqueue *q = sel(dev);

	(void)r;
	return q && q->enabled;
}

static void wr_queue_enable(void *dev, const struct reg *r, uint64_t val)
{
	struct virtio_dev *v = dev;

	(void)r;
	/* Writing 0 is forbidden and has no meaning [VIRTIO-1.2 4.1.4.3.2]. */
	if (val == 1 && sel_idle(v))
		virtio_enable_queue(v, v->queue_sel);
}

static uint64_t rd_notify_off(void *dev, const struct reg *r)
{
	const struct virtio_dev *v = dev;

	(void)r;
	return v->queue_sel < v->nqueues ? v->queue_sel : 0;
}

/* The three areas' addresses, in halves: arg is the offset in struct virtqueue, width 4. */
static uint64_t rd_queue_addr(void *dev, const struct reg *r)
{
	const struct virtqueue *q = sel(dev);

	return q ? get_le32((const uint8_t *)q + r->arg) : 0;
}

static void wr_queue_addr(void *dev, const struct reg *r, uint64_t val)
{
	struct virtqueue *q = sel_idle(dev);

	if (q)
		put_le32((uint8_t *)q + r->arg, (uint32_t)val);
}

static uint64_t rd_queue_reset(void *dev, const struct reg *r)
{
	const struct virtio_dev *v = dev;

	(void)r;
	return v->queue_sel < v->nqueues && v->queue_reset[v->queue_sel];
}

static void wr_queue_reset(void *dev, const struct reg *r, uint64_t val)
{
	struct virtio_dev *v = dev;

	(void)r;
	if (val == 1 && sel(v) && virtio_has(v, VIRTIO_F_RING_RESET) && !v->resetting)
		virtio_reset_queue(v, v->queue_sel);
}

/* Reading acknowledges [VIRTIO-1.2 4.1.4.5]. */
static uint64_t rd_isr(void *dev, const struct reg *r)
{
	struct virtio_dev *v = dev;
	const uint8_t isr = v->isr;

	(void)r;
	v->isr = 0;
	pci_intx_set(&v->pci, false);
	return isr;
}

#define ADDR_HALVES(off, name, f) \
	{ off, 4, name "_lo", rd_queue_addr, wr_queue_addr, offsetof(struct virtqueue, f) }, \
	{ (off) + 4, 4, name "_hi", rd_queue_addr, wr_queue_addr, offsetof(struct virtqueue, f) + 4 }

const struct reg virtio_regs[] = {
	{ 0x00, 4, "device_feature_select", rd_feature_sel, wr_feature_sel, 0 },
	{ 0x04, 4, "device_feature", rd_feature, NULL, 0 },
	{ 0x08, 4, "driver_feature_select", rd_driver_feature_sel, wr_driver_feature_sel, 0 },
	{ 0x0c, 4, "driver_feature", rd_driver_feature, wr_driver_feature, 0 },
	{ 0x10, 2, "config_msix_vector", rd_config_vector, wr_config_vector, 0 },
	{ 0x12, 2, "num_queues", rd_num_queues, NULL, 0 },
	{ 0x14, 1, "device_status", rd_status, wr_status, 0 },
	{ 0x15, 1, "config_generation", rd_generation, NULL, 0 },
	{ 0x16, 2, "queue_select", rd_queue_sel, wr_queue_sel, 0 },
	{ 0x18, 2, "queue_size", rd_queue_size, wr_queue_size, 0 },
	{ 0x1a, 2, "queue_msix_vector", rd_queue_vector, wr_queue_vector, 0 },
	{ 0x1c, 2, "queue_enable", rd_queue_enable, wr_queue_enable, 0 },
	{ 0x1e, 2, "queue_notify_off", rd_notify_off, NULL, 0 },
	ADDR_HALVES(0x20, "queue_desc", desc),
	ADDR_HALVES(0x28, "queue_driver", driver),
	ADDR_HALVES(0x30, "queue_device", device),
	/* queue_notify_data at 0x38 reads 0: NOTIFICATION_DATA is not offered. */
	{ 0x3a, 2, "queue_reset", rd_queue_reset, wr_queue_reset, 0 },
	{ VIRTIO_BAR_ISR, 1, "ISR", rd_isr, NULL, 0 },
};
const unsigned virtio_nregs = NELEM(virtio_regs);
#define COMMON_LEN 0x3c

/* --- Device-specific configuration and notifications --- */

static uint64_t device_read(const struct virtio_dev *v, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	if (off < v->cfg_len)
		memcpy(&val, v->cfg + off, MIN(size, v->cfg_len - off));
	return val;
}

static void device_write(struct virtio_dev *v, uint64_t off, unsigned size, uint64_t val)
{
	bool hit = false;

	for (unsigned i = 0; i < size && off + i < v->cfg_len; i++) {
		const uint8_t mask = v->cfg_wmask[off + i];

		v->cfg[off + i] = (v->cfg[off + i] & ~mask) | ((uint8_t)(val >> (8 * i)) & mask);
		hit |= mask;
	}
	if (hit && v->type->cfg_written)
		v->type->cfg_written(v, (unsigned)off, size);
}

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
	if (off >= VIRTIO_BAR_NOTIFY)
		return 0;
	if (off >= VIRTIO_BAR_DEVICE)
		return device_read(dev, off - VIRTIO_BAR_DEVICE, size);
	return regs_read(virtio_regs, virtio_nregs, dev, off, size);
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct virtio_dev *v = dev;

	if (off >= VIRTIO_BAR_NOTIFY) {
		const unsigned q = (unsigned)(off - VIRTIO_BAR_NOTIFY) / VIRTIO_NOTIFY_MULT;

		if (q < v->nqueues)
			virtio_kick_self(v, q);
	} else if (off >= VIRTIO_BAR_DEVICE) {
		if (!v->resetting)
			device_write(v, off - VIRTIO_BAR_DEVICE, size, val);
	} else {
		regs_write(virtio_regs, virtio_nregs, v, off, size, val);
	}
}

const struct io_ops virtio_bar_ops = { bar_read, bar_write };

/* --- Capabilities --- */

static unsigned cap_add(struct virtio_dev *v, uint8_t type, unsigned len, uint32_t off, uint32_t length)
{
	struct pci_dev *p = &v->pci;
	const unsigned cap = pci_cap_add(p, PCI_CAP_VENDOR, len);

	p->cfg[cap + CAP_LEN] = (uint8_t)len;
	p->cfg[cap + CAP_TYPE] = type;
	p->cfg[cap + CAP_BAR] = VIRTIO_BAR_REGS;
	put_le32(p->cfg + cap + CAP_OFFSET, off);
	put_le32(p->cfg + cap + CAP_LENGTH, length);
	return cap;
}

void virtio_caps_add(struct virtio_dev *v)
{
	struct pci_dev *p = &v->pci;
	unsigned cap;

	cap_add(v, CAP_COMMON, CAP_END, VIRTIO_BAR_COMMON, COMMON_LEN);
	cap = cap_add(v, CAP_NOTIFY, CAP_END + 4, VIRTIO_BAR_NOTIFY, v->nqueues * VIRTIO_NOTIFY_MULT);
	put_le32(p->cfg + cap + CAP_END, VIRTIO_NOTIFY_MULT);
	cap_add(v, CAP_ISR, CAP_END, VIRTIO_BAR_ISR, 1);
	if (v->cfg_len)
		cap_add(v, CAP_DEVICE, CAP_END, VIRTIO_BAR_DEVICE, v->cfg_len);
	cap = cap_add(v, CAP_PCI, CAP_END + 4, 0, 0);
	p->wmask[cap + CAP_BAR] = 0xff;
	memset(p->wmask + cap + CAP_OFFSET, 0xff, CAP_END + 4 - CAP_OFFSET);
	v->cfg_cap = cap;
}

/* Is pci_cfg_data among the bytes, and does the window name a legal access?  [VIRTIO-1.2 4.1.4.9.1] */
static bool window(const struct virtio_dev *v, unsigned off, unsigned size, uint32_t *bar_off, uint32_t *len)
{
	const uint8_t *c = v->pci.cfg + v->cfg_cap;

	*bar_off = get_le32(c + CAP_OFFSET);
	*len = get_le32(c + CAP_LENGTH);
	return ranges_overlap(off, size, v->cfg_cap + CAP_END, 4) && c[CAP_BAR] == VIRTIO_BAR_REGS &&
	       (*len == 1 || *len == 2 || *len == 4) && *bar_off % *len == 0 && *bar_off < VIRTIO_BAR_LEN;
}

void virtio_cfg_reading(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_dev *v = (struct virtio_dev *)p;
	uint32_t bar_off, len;

	if (window(v, off, size, &bar_off, &len))
		put_le32(p->cfg + v->cfg_cap + CAP_END, (uint32_t)bar_read(v, bar_off, len));
}

void virtio_cfg_written(struct pci_dev *p, unsigned off, unsigned size)
{
	struct virtio_dev *v = (struct virtio_dev *)p;
	uint32_t bar_off, len;

	if (window(v, off, size, &bar_off, &len))
		bar_write(v, bar_off, len, get_le32(p->cfg + v->cfg_cap + CAP_END) & size_mask(len));
}
