#include "tests/unit/devices/virtio/driver.h"

#include <assert.h>
#include <check.h>
#include <stdlib.h>

#include "common/arch.h"

#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u
#define DESC_AVAIL 0x80u
#define DESC_USED 0x8000u

/* --- The machine --- */

static uint32_t intx_gsi(unsigned slot, unsigned pin)
{
	return 16 + (slot + pin) % 4;
}

static const struct arch_info drv_arch = { .name = "test", .has_pio = true, .max_vcpus = 4, .pci_intx_gsi = intx_gsi };

struct vm *drv_vm_new(void)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	snprintf(vm->name, sizeof(vm->name), "test");
	vm->conf = conf_new();
	vm->arch = &drv_arch;
	vm->dry = true;
	vm->fd = vm->kvm_fd = -1;
	vm->nvcpus = 2;
	vm->map.ecam_base = 0xb0000000;
	vm->map.ecam_len = 1 << 20;
	vm->map.pci_io_base = 0xc000;
	vm->map.pci_io_len = 0x4000;
	vm->map.pci32_base = 0xc0000000;
	vm->map.pci32_len = 0x10000000;
	vm->map.pci64_base = 0x800000000;
	vm->map.pci64_len = 0x100000000;
	vm->loop = loop_new();
	ck_assert(irq_init(vm) == 0);
	ck_assert(bus_init(&vm->mmio, "mmio", UINT64_MAX) == 0);
	ck_assert(bus_init(&vm->pio, "pio", 0xffff) == 0);
	ck_assert(mem_add(&vm->mem, "ram", DRV_RAM_BASE, DRV_RAM_LEN, MEM_AUTO) == 0);
	ck_assert(pci_host_new(vm) == 0);
	return vm;
}

void drv_vm_free(struct vm *vm)
{
	while (vm->ndevs)
		device_free(vm->devs[--vm->ndevs]);
	free(vm->devs);
	pci_host_free(vm->pci);
	irq_fini(vm);
	bus_fini(&vm->mmio);
	bus_fini(&vm->pio);
	mem_fini(&vm->mem);
	loop_free(vm->loop);
	conf_free(vm->conf);
	free(vm);
}

void drv_conf(struct vm *vm, const char *key, const char *value)
{
	ck_assert(conf_set(vm->conf, key, value, "test") == 0);
}

static uint64_t ecam(const struct drv *d, unsigned off)
{
	return d->vm->map.ecam_base + ((uint64_t)pci_bdf(&d->v->pci) << 12) + off;
}

uint64_t drv_pci_read(struct drv *d, unsigned off, unsigned size)
{
	uint64_t val = 0;

	bus_read(&d->vm->mmio, ecam(d, off), size, &val);
	return val;
}

void drv_pci_write(struct drv *d, unsigned off, unsigned size, uint64_t val)
{
	bus_write(&d->vm->mmio, ecam(d, off), size, val);
}

struct drv *drv_open(struct vm *vm, const struct device_class *cls, const char *id)
{
	struct drv *d;
	struct device *dev;

	vm->dry = false;                /* init opens the host's side only in a machine that will run */
	dev = device_new(vm, cls, id, NULL);
	vm->dry = true;
	if (!dev)
		return NULL;
	d = calloc(1, sizeof(*d));
	d->vm = vm;
	d->v = (struct virtio_dev *)dev;
	d->brk = DRV_RAM_BASE;
	ck_assert(pci_assign(vm) == 0);
	drv_pci_write(d, PCI_COMMAND, 2, PCI_COMMAND_MEM | PCI_COMMAND_MASTER);
	ck_assert(d->v->pci.bar[VIRTIO_BAR_REGS].range.mapped);
	return d;
}

void drv_close(struct drv *d)
{
	free(d);
}

uint64_t drv_alloc(struct drv *d, uint64_t len)
{
	const uint64_t at = d->brk;

	d->brk = ALIGN_UP(at + len, 64);
	ck_assert(d->brk <= DRV_RAM_BASE + DRV_RAM_LEN);
	memset(drv_ptr(d, at, len), 0, len);
	return at;
}

void *drv_ptr(struct drv *d, uint64_t gpa, uint64_t len)
{
	void *p = mem_at(&d->vm->mem, gpa, len);

	ck_assert(p != NULL);
	return p;
}

/* --- Registers --- */

uint64_t drv_read(struct drv *d, unsigned off, unsigned size)
{
	uint64_t val = 0;

	bus_read(&d->vm->mmio, d->v->pci.bar[VIRTIO_BAR_REGS].range.base + off, size, &val);
	return val;
}

void drv_write(struct drv *d, unsigned off, unsigned size, uint64_t val)
{
	bus_write(&d->vm->mmio, d->v->pci.bar[VIRTIO_BAR_REGS].range.base + off, size, val);
}

uint64_t drv_cfg(struct drv *d, unsigned off, unsigned size)
{
	return drv_read(d, VIRTIO_BAR_DEVICE + off, size);
}

void drv_negotiate(struct drv *d, uint64_t want)
{
	uint64_t offered;

	drv_write(d, 0x14, 1, 0);
	for (int i = 0; drv_read(d, 0x14, 1) && i < 1000; i++)
		loop_step(d->vm->loop, 1);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 0);
	drv_write(d, 0x14, 1, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER);
	drv_write(d, 0, 4, 0);
	offered = drv_read(d, 4, 4);
	drv_write(d, 0, 4, 1);
	offered |= drv_read(d, 4, 4) << 32;
	d->features = offered & (want | VIRTIO_F_VERSION_1);
	drv_write(d, 8, 4, 0);
	drv_write(d, 12, 4, (uint32_t)d->features);
	drv_write(d, 8, 4, 1);
	drv_write(d, 12, 4, d->features >> 32);
	drv_write(d, 0x14, 1, VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FEATURES_OK);
	ck_assert(drv_read(d, 0x14, 1) & VIRTIO_S_FEATURES_OK);
}

void drv_queue_setup(struct drv *d, unsigned q, unsigned size)
{
	struct drv_queue *r = &d->q[q];

	*r = (struct drv_queue){ .size = size, .avail_wrap = true, .used_wrap = true };
	for (unsigned i = 0; i < size; i++)
		r->free[r->nfree++] = (uint16_t)(size - 1 - i);
	r->desc = drv_alloc(d, size * 16);
	r->driver = drv_alloc(d, 6 + 2 * size);
	r->device = drv_alloc(d, 6 + 8 * size);
	drv_write(d, 0x16, 2, q);
	ck_assert_uint_ge(drv_read(d, 0x18, 2), size);
	drv_write(d, 0x18, 2, size);
	drv_write(d, 0x1a, 2, q + 1);
	drv_write(d, 0x20, 8, r->desc);
	drv_write(d, 0x28, 4, (uint32_t)r->driver);
	drv_write(d, 0x2c, 4, r->driver >> 32);
	drv_write(d, 0x30, 8, r->device);
	drv_write(d, 0x1c, 2, 1);
}

void drv_ok(struct drv *d)
{
	drv_write(d, 0x14, 1, drv_read(d, 0x14, 1) | VIRTIO_S_DRIVER_OK);
}

void drv_msix(struct drv *d, bool enable)
{
	drv_pci_write(d, d->v->pci.msix_cap + 2, 2, enable ? 0xc000 : 0);
}

bool drv_irq(struct drv *d, unsigned vector)
{
	const uint64_t bit = BIT64(vector);
	const bool was = d->v->pci.msix_pending & bit;

	d->v->pci.msix_pending &= ~bit;
	return was;
}

void drv_start(struct drv *d, uint64_t want, unsigned nqueues, unsigned size)
{
	drv_msix(d, true);
	drv_negotiate(d, want);
	drv_write(d, 0x10, 2, 0);
	for (unsigned q = 0; q < nqueues; q++)
		drv_queue_setup(d, q, size);
	drv_ok(d);
}

/* --- Rings --- */

static bool packed(const struct drv *d) { return d->features & VIRTIO_F_RING_PACKED; }
static bool event_idx(const struct drv *d) { return d->features & VIRTIO_F_EVENT_IDX; }

static void desc_write(uint8_t *p, const struct drv_buf *b, uint16_t w0, uint16_t w1)
{
	put_le64(p, b->gpa);
	put_le32(p + 8, b->len);
	put_le16(p + 12, w0);
	put_le16(p + 14, w1);
}

/* An indirect table for either layout. */
static struct drv_buf table_make(struct drv *d, const struct drv_buf *b, unsigned n)
{
	const struct drv_buf t = { drv_alloc(d, n * 16), n * 16, false };
	uint8_t *p = drv_ptr(d, t.gpa, t.len);

	for (unsigned i = 0; i < n; i++, p += 16) {
		const uint16_t flags = (b[i].write ? DESC_WRITE : 0) | (i + 1 < n && !packed(d) ? DESC_NEXT : 0);

		desc_write(p, &b[i], packed(d) ? 0 : flags, packed(d) ? flags : (uint16_t)(i + 1));
	}
	return t;
}

static int add_split(struct drv *d, struct drv_queue *r, const struct drv_buf *b, unsigned n, uint16_t extra)
{
	uint8_t *avail = drv_ptr(d, r->driver, 6 + 2 * r->size);
	uint16_t ids[VQ_SIZE_MAX];

	ck_assert_uint_ge(r->nfree, n);
	for (unsigned i = 0; i < n; i++)
		ids[i] = r->free[--r->nfree];
	for (unsigned i = 0; i < n; i++) {
		const uint16_t flags = extra | (b[i].write ? DESC_WRITE : 0) | (i + 1 < n ? DESC_NEXT : 0);

		desc_write(drv_ptr(d, r->desc + 16 * ids[i], 16), &b[i], flags, i + 1 < n ? ids[i + 1] : 0);
		r->next[ids[i]] = i + 1 < n ? ids[i + 1] : UINT16_MAX;
	}
	put_le16(avail + 4 + 2 * (r->avail_idx % r->size), ids[0]);
	__atomic_store_n((uint16_t *)(void *)(avail + 2), ++r->avail_idx, __ATOMIC_RELEASE);
	r->added++;
	return ids[0];
}

static uint16_t packed_flags(bool wrap)
{
	return wrap ? DESC_AVAIL : DESC_USED;
}

static int add_packed(struct drv *d, struct drv_queue *r, const struct drv_buf *b, unsigned n, uint16_t extra)
{
	const uint16_t id = r->free[--r->nfree], first = r->avail_idx;
	uint16_t first_flags = 0;

	r->ndesc[id] = (uint16_t)n;
	for (unsigned i = 0; i < n; i++) {
		const uint16_t flags = extra | (b[i].write ? DESC_WRITE : 0) | (i + 1 < n ? DESC_NEXT : 0) |
				       packed_flags(r->avail_wrap);
		const uint16_t not_yet = flags ^ (DESC_AVAIL | DESC_USED);

		/* The head's flags come last. */
		if (i == 0)
			first_flags = flags;
		desc_write(drv_ptr(d, r->desc + 16 * r->avail_idx, 16), &b[i], id, i == 0 ? not_yet : flags);
		if (++r->avail_idx == r->size) {
			r->avail_idx = 0;
			r->avail_wrap = !r->avail_wrap;
		}
	}
	__atomic_store_n((uint16_t *)drv_ptr(d, r->desc + 16 * first + 14, 2), first_flags, __ATOMIC_RELEASE);
	r->added += n;
	return id;
}

int drv_add(struct drv *d, unsigned q, const struct drv_buf *b, unsigned n, bool indirect)
{
	struct drv_queue *r = &d->q[q];
	struct drv_buf table;

	if (indirect) {
		table = table_make(d, b, n);
		b = &table;
		n = 1;
	}
	return (packed(d) ? add_packed : add_split)(d, r, b, n, indirect ? DESC_INDIRECT : 0);
}

void drv_kick_always(struct drv *d, unsigned q)
{
	drv_write(d, VIRTIO_BAR_NOTIFY + q * VIRTIO_NOTIFY_MULT, 2, q);
}

static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool wants_kick(struct drv *d, struct drv_queue *r)
{
	const uint8_t *dev = drv_ptr(d, r->device, 6 + 8 * r->size);
	uint16_t event, flags;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!packed(d)) {
		if (!event_idx(d))
			return !(get_le16(dev) & 1);
		return passed(get_le16(dev + 4 + 8 * r->size), r->avail_idx, (uint16_t)(r->avail_idx - r->added));
	}
	event = get_le16(dev);
	flags = get_le16(dev + 2);
	if (flags != 2)
		return flags == 0;
	if (!!(event & 0x8000) != r->avail_wrap)
		return passed((uint16_t)((event & 0x7fff) - r->size), r->avail_idx, (uint16_t)(r->avail_idx - r->added));
	return passed(event & 0x7fff, r->avail_idx, (uint16_t)(r->avail_idx - r->added));
}

bool drv_kick(struct drv *d, unsigned q)
{
	const bool yes = wants_kick(d, &d->q[q]);

	d->q[q].added = 0;
	if (yes)
		drv_kick_always(d, q);
	return yes;
}

static int poll_split(struct drv *d, struct drv_queue *r, uint32_t *len)
{
	uint8_t *used = drv_ptr(d, r->device, 6 + 8 * r->size), *e;
	uint32_t id;

	if (__atomic_load_n((uint16_t *)(void *)(used + 2), __ATOMIC_ACQUIRE) == r->used_idx)
		return -1;
	e = used + 4 + 8 * (r->used_idx++ % r->size);
	id = get_le32(e);
	*len = get_le32(e + 4);
	ck_assert_uint_lt(id, r->size);
	for (uint16_t i = (uint16_t)id; i != UINT16_MAX; i = r->next[i])
		r->free[r->nfree++] = i;
	if (event_idx(d))
		put_le16(drv_ptr(d, r->driver + 4 + 2 * r->size, 2), r->used_idx);
	return (int)id;
}

static int poll_packed(struct drv *d, struct drv_queue *r, uint32_t *len)
{
	uint8_t *p = drv_ptr(d, r->desc + 16 * r->used_idx, 16);
	const uint16_t flags = __atomic_load_n((uint16_t *)(void *)(p + 14), __ATOMIC_ACQUIRE);
	uint16_t id;

	if (!!(flags & DESC_AVAIL) != !!(flags & DESC_USED) || !!(flags & DESC_USED) != r->used_wrap)
		return -1;
	id = get_le16(p + 12);
	ck_assert_uint_lt(id, r->size);
	*len = get_le32(p + 8);
	r->used_idx += r->ndesc[id];
	if (r->used_idx >= r->size) {
		r->used_idx -= r->size;
		r->used_wrap = !r->used_wrap;
	}
	r->free[r->nfree++] = id;
	if (event_idx(d)) {
		put_le16(drv_ptr(d, r->driver, 2), (uint16_t)(r->used_idx | (r->used_wrap ? 0x8000 : 0)));
		put_le16(drv_ptr(d, r->driver + 2, 2), 2);
	}
	return id;
}

int drv_poll(struct drv *d, unsigned q, uint32_t *len)
{
	uint32_t ignored;

	return (packed(d) ? poll_packed : poll_split)(d, &d->q[q], len ? len : &ignored);
}

int drv_wait(struct drv *d, unsigned q, uint32_t *len)
{
	const uint64_t end = now_ns() + 1000000000u;

	while (true) {
		const int id = drv_poll(d, q, len);

		if (id >= 0 || now_ns() > end)
			return id;
		loop_step(d->vm->loop, 10);
	}
}

void drv_settle(struct drv *d)
{
	for (int i = 0; i < 20; i++)
		loop_step(d->vm->loop, 0);
}

int64_t drv_do(struct drv *d, unsigned q, const struct drv_buf *b, unsigned n, bool indirect)
{
	uint32_t len;
	const int id = drv_add(d, q, b, n, indirect);

	drv_kick(d, q);
	return drv_wait(d, q, &len) == id ? (int64_t)len : -1;
}
