/*
 * virtio.h's driver.
 */
#include "tests/guest/virtio.h"

#define VENDOR_VIRTIO 0x1af4
#define DEVICE_MODERN 0x1040
#define CAP_VENDOR 0x09
#define CAP_MSIX 0x11
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE };
#define NO_VECTOR 0xffff
#define RESET_US 5000000
#define PROOF_US 5000000
#define SECTOR 512

static struct vring rings[VQS_MAX];

static const char *const names[] = { "?", "net", "blk", "console", "rnd" };

/* --- finding --- */

static void read_cap(struct vdev *d, unsigned cap)
{
	unsigned type = pci_get(&d->pci, cap + 3, 1), bar = pci_get(&d->pci, cap + 4, 1);
	uint64_t at = bar < 6 ? d->pci.bar[bar].addr + pci_get(&d->pci, cap + 8, 4) : 0;

	if (type == CAP_COMMON) {
		d->common = at;
	} else if (type == CAP_NOTIFY) {
		d->notify = at;
		d->notify_mult = pci_get(&d->pci, cap + 16, 4);
	} else if (type == CAP_ISR) {
		d->isr = at;
	} else if (type == CAP_DEVICE) {
		d->cfg = at;
		d->cfg_len = pci_get(&d->pci, cap + 12, 4);
	}
}

unsigned vdev_find(struct vdev devs[VDEVS_MAX])
{
	static struct pci_fn fns[PCI_FNS_MAX];
	unsigned n = 0, nfns = pci_scan(fns);

	for (unsigned i = 0; i < nfns && n < VDEVS_MAX; i++) {
		struct vdev *d = &devs[n];

		if (fns[i].vendor != VENDOR_VIRTIO || fns[i].device < DEVICE_MODERN)
			continue;
		*d = (struct vdev){ .pci = fns[i], .type = fns[i].device - DEVICE_MODERN };
		d->name = names[d->type < NELEM(names) ? d->type : 0];
		for (unsigned cap = pci_cap(&d->pci, CAP_VENDOR, 0); cap; cap = pci_cap(&d->pci, CAP_VENDOR, cap))
			read_cap(d, cap);
		if (!d->common || !d->notify)
			continue;
		d->nqueues = MIN((unsigned)vdev_get(d, C_NUM_QUEUES, 2), (unsigned)VQS_MAX);
		n++;
	}
	return n;
}

/* --- life --- */

uint64_t vdev_get(const struct vdev *d, unsigned reg, unsigned size)
{
	return mmio_read(d->common + reg, size);
}

void vdev_put(const struct vdev *d, unsigned reg, unsigned size, uint64_t val)
{
	mmio_write(d->common + reg, size, val);
}

unsigned vdev_status(const struct vdev *d)
{
	return (unsigned)vdev_get(d, C_STATUS, 1);
}

bool vdev_reset(struct vdev *d)
{
	uint64_t start = clock_us();

	vdev_put(d, C_STATUS, 1, 0);
	while (vdev_status(d)) {
		if (clock_us() - start > RESET_US)
			return false;
	}
	d->features = 0;
	return true;
}

uint64_t vdev_offered(const struct vdev *d)
{
	uint64_t f;

	vdev_put(d, C_FEATURE_SEL, 4, 0);
	f = vdev_get(d, C_FEATURE, 4);
	vdev_put(d, C_FEATURE_SEL, 4, 1);
	return f | vdev_get(d, C_FEATURE, 4) << 32;
}

bool vdev_negotiate(struct vdev *d, uint64_t mask)
{
	d->features = vdev_offered(d) & mask;
	vdev_put(d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER);
	vdev_put(d, C_DRIVER_FEATURE_SEL, 4, 0);
	vdev_put(d, C_DRIVER_FEATURE, 4, (uint32_t)d->features);
	vdev_put(d, C_DRIVER_FEATURE_SEL, 4, 1);
	vdev_put(d, C_DRIVER_FEATURE, 4, d->features >> 32);
	vdev_put(d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK);
	return vdev_status(d) & S_FEATURES_OK;
}

struct vring *vq_ring(struct vdev *d, unsigned q)
{
	struct vring *r = &rings[q];

	memset(r, 0, sizeof(*r));
	r->avail.flags = d->msix ? 0 : 1;       /* polled: no interrupts */
	d->seen[q] = 0;
	return r;
}

void vq_place(struct vdev *d, unsigned q, uint64_t desc, uint64_t driver, uint64_t device, unsigned len)
{
	const uint64_t at[] = { desc, driver, device };

	vdev_put(d, C_QUEUE_SEL, 2, q);
	vdev_put(d, C_QUEUE_SIZE, 2, len);
	for (unsigned i = 0; i < NELEM(at); i++) {
		vdev_put(d, C_QUEUE_DESC + 8 * i, 4, (uint32_t)at[i]);
		vdev_put(d, C_QUEUE_DESC + 8 * i + 4, 4, at[i] >> 32);
	}
	if (d->msix)
		vdev_put(d, C_QUEUE_VECTOR, 2, 0);
}

struct vring *vq_enable(struct vdev *d, unsigned q)
{
	struct vring *r = vq_ring(d, q);

	vdev_put(d, C_QUEUE_SEL, 2, q);
	d->len[q] = MIN((unsigned)vdev_get(d, C_QUEUE_SIZE, 2), (unsigned)VQ_LEN);
	vq_place(d, q, (uintptr_t)r->desc, (uintptr_t)&r->avail, (uintptr_t)&r->used, d->len[q]);
	vdev_put(d, C_QUEUE_ENABLE, 2, 1);
	return r;
}

bool vdev_start(struct vdev *d, uint64_t mask, unsigned queues)
{
	if (!vdev_negotiate(d, mask))
		return false;
	for (unsigned q = 0; q < d->nqueues; q++) {
		if (queues & 1u << q)
			vq_enable(d, q);
	}
	vdev_put(d, C_STATUS, 1, S_ACKNOWLEDGE | S_DRIVER | S_FEATURES_OK | S_DRIVER_OK);
	return vdev_status(d) & S_DRIVER_OK;
}

/* --- queues --- */

void vq_add(struct vdev *d, unsigned q, uint16_t head)
{
	volatile struct vavail *a = &rings[q].avail;

	a->ring[a->idx % d->len[q]] = head;
	memory_barrier();
	a->idx++;
	memory_barrier();
}

void vq_kick(const struct vdev *d, unsigned q)
{
	memory_barrier();
	/* queue_notify_off is the queue's number in skep; asking each time would double the exits. */
	mmio_write(d->notify + (uint64_t)q * d->notify_mult, 2, q);
}

bool vq_wait(struct vdev *d, unsigned q, uint64_t us)
{
	volatile struct vused *u = &rings[q].used;
	uint64_t start = clock_us();

	while (u->idx == d->seen[q]) {
		if (clock_us() - start > us)
			return false;
	}
	memory_barrier();
	d->seen[q]++;
	return true;
}

bool vdev_msix(struct vdev *d, uint64_t addr, uint32_t data)
{
	unsigned cap = pci_cap(&d->pci, CAP_MSIX, 0);

	if (!cap)
		return false;
	uint32_t table = pci_get(&d->pci, cap + 4, 4);
	uint64_t at = d->pci.bar[table & 7].addr + (table & ~7u);

	mmio_write(at, 4, (uint32_t)addr);
	mmio_write(at + 4, 4, addr >> 32);
	mmio_write(at + 8, 4, data);
	mmio_write(at + 12, 4, 0);
	pci_put(&d->pci, cap + 2, 2, 0x8000);
	d->msix = true;
	return true;
}

/* --- proofs --- */

static uint8_t buffer[1024] __attribute__((aligned(16)));

static void set(struct vdesc *desc, const void *addr, uint32_t len, unsigned flags, unsigned next)
{
	*desc = (struct vdesc){ .addr = (uintptr_t)addr, .len = len, .flags = (uint16_t)flags, .next = (uint16_t)next };
}

/* One request at desc[0]; the length it was used with, or -1. */
static int64_t request(struct vdev *d, unsigned q)
{
	vq_add(d, q, 0);
	vq_kick(d, q);
	if (!vq_wait(d, q, PROOF_US)) {
		print("(queue %u: no answer, status %x) ", q, vdev_status(d));
		return -1;
	}
	return rings[q].used.ring[(d->seen[q] - 1) % d->len[q]].len;
}

/* Byte n of "10000000\n10000001\n...": what pattern() of tests/host/lib.sh makes of seed 1. */
static uint8_t pattern_byte(unsigned n)
{
	unsigned line = 10000000 + n / 9, digit = n % 9;

	if (digit == 8)
		return '\n';
	for (unsigned i = 7; i > digit; i--)
		line /= 10;
	return (uint8_t)('0' + line % 10);
}

static bool prove_blk(struct vdev *d)
{
	static struct {
		uint32_t type, reserved;
		uint64_t sector;
	} hdr;
	static uint8_t status;
	struct vring *r = &rings[0];

	memset(buffer, 0, SECTOR);
	status = 0xee;
	set(&r->desc[0], &hdr, 16, DESC_NEXT, 1);
	set(&r->desc[1], buffer, SECTOR, DESC_NEXT | DESC_WRITE, 2);
	set(&r->desc[2], &status, 1, DESC_WRITE, 0);
	int64_t len = request(d, 0);

	if (len != SECTOR + 1 || *(volatile uint8_t *)&status != 0) {
		print("(blk: length %ld, status %x) ", len, status);
		return false;
	}
	for (unsigned i = 0; i < SECTOR; i++) {
		if (buffer[i] != pattern_byte(i)) {
			print("(blk: byte %u is %x) ", i, buffer[i]);
			return false;
		}
	}
	return true;
}

static bool prove_rnd(struct vdev *d)
{
	static uint8_t last[64];

	memset(buffer, 0, sizeof(last));
	set(&rings[0].desc[0], buffer, sizeof(last), DESC_WRITE, 0);
	int64_t len = request(d, 0);
	bool fresh = memcmp(buffer, last, sizeof(last)) != 0;

	memcpy(last, buffer, sizeof(last));
	for (unsigned i = 0; i < sizeof(last); i++) {
		if (buffer[i])
			return fresh && len == sizeof(last);
	}
	return false;
}

/* Header, then a frame to everybody of a protocol for local experiments (IEEE 802, 0x88b5). */
static bool prove_net(struct vdev *d)
{
	memset(buffer, 0, 12 + 60);
	memset(buffer + 12, 0xff, 6);
	buffer[12 + 6] = 2;
	buffer[12 + 12] = 0x88;
	buffer[12 + 13] = 0xb5;
	set(&rings[1].desc[0], buffer, 12 + 60, 0, 0);
	return request(d, 1) == 0;
}

/* DEVICE_READY must be answered by PORT_ADD [VIRTIO-1.2 5.3.6.2]. */
static bool prove_control(struct vdev *d)
{
	static volatile struct {
		uint32_t port;
		uint16_t event, value;
	} answer, ready;

	answer.event = 0xffff;
	ready.event = 0;
	ready.value = 1;
	set(&rings[2].desc[0], (const void *)&answer, sizeof(answer), DESC_WRITE, 0);
	vq_add(d, 2, 0);
	vq_kick(d, 2);
	set(&rings[3].desc[0], (const void *)&ready, sizeof(ready), 0, 0);
	return request(d, 3) == 0 && vq_wait(d, 2, PROOF_US) && answer.event == 1;
}

static bool prove_console(struct vdev *d)
{
	static const char text[] = "proof\n";

	set(&rings[1].desc[0], text, sizeof(text) - 1, 0, 0);
	if (request(d, 1) != 0)
		return false;
	return !(d->features & CONSOLE_F_MULTIPORT) || prove_control(d);
}

unsigned vdev_proof_queues(const struct vdev *d)
{
	switch (d->type) {
	case VIRTIO_NET: return 2;
	case VIRTIO_CONSOLE: return 0xe;
	default: return 1;
	}
}

bool vdev_prove(struct vdev *d)
{
	switch (d->type) {
	case VIRTIO_NET: return prove_net(d);
	case VIRTIO_BLK: return prove_blk(d);
	case VIRTIO_CONSOLE: return prove_console(d);
	case VIRTIO_RND: return prove_rnd(d);
	default: return true;
	}
}
