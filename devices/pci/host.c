/*
 * The host bridge's two ways into configuration space, ECAM [PCIe-4.0 7.2.2] and, where ports exist,
 * CONFIG_ADDRESS/CONFIG_DATA [PCI-3.0 3.2.2.3.2], and the start-up assignment of BARs.  Bus 0 only.
 */
#include "devices/pci/host.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vm.h"

#define CF8_ENABLE BIT(31)

struct pci_host {
	struct vm *vm;
	struct pci_dev *fn[32][8];
	struct bus_range ecam, cf8, cfc;
	uint32_t cf8_addr;
	pthread_mutex_t cf8_lock;       /* cf8_addr only; no other is taken inside */
	uint64_t ecam_base, ecam_len;   /* where ECAM is to be; len 0: nowhere */
	bool ecam_left;                 /* it has left an address that a BAR may be waiting for */
	pthread_mutex_t ecam_lock;      /* these and the range ecam; behind any dev.lock, before the bus's */
};

int pci_place(const char *id, uint8_t *bus, uint8_t *slot, uint8_t *fn)
{
	unsigned b, s, f;
	char end;
	if (sscanf(id, "pci.%u.%u.%u%c", &b, &s, &f, &end) != 3 || b > 255 || s > 31 || f > 7)
		return err_msg(-EINVAL, "'%s' is no place on the PCI bus: bus 0-255, slot 0-31, function 0-7", id);
	if (b != 0)
		return err_msg(-EINVAL, "'%s': this machine has PCI bus 0 only; use bus 0", id);
	*bus = (uint8_t)b;
	*slot = (uint8_t)s;
	*fn = (uint8_t)f;
	return 0;
}

struct pci_dev *pci_at(const struct pci_host *h, unsigned bus, unsigned slot, unsigned fn)
{
	return h && bus == 0 && slot < 32 && fn < 8 ? h->fn[slot][fn] : NULL;
}

/* A slot is multi-function when a function above 0 exists; the guest looks at function 0's header. */
static void mark_multifunction(struct pci_host *h, unsigned slot)
{
	struct pci_dev *first = h->fn[slot][0];
	bool multi = false;
	for (unsigned f = 1; f < 8; f++)
		multi = multi || h->fn[slot][f];
	if (first)
		first->cfg[PCI_HEADER_TYPE] = first->cfg_reset[PCI_HEADER_TYPE] = multi ? 0x80 : 0;
}

int pci_host_plug(struct pci_host *h, struct pci_dev *p)
{
	struct pci_dev *there = h->fn[p->slot][p->fn];
	if (there)
		return err_msg(-EEXIST, "%s: the place is taken by %s; choose another slot", p->dev.id, there->dev.cls->name);
	h->fn[p->slot][p->fn] = p;
	mark_multifunction(h, p->slot);
	return 0;
}

void pci_host_unplug(struct pci_host *h, struct pci_dev *p)
{
	if (h->fn[p->slot][p->fn] == p)
		h->fn[p->slot][p->fn] = NULL;
	mark_multifunction(h, p->slot);
}

/* --- ECAM's place --- */

/* ecam_lock held.  Where something else is, the range waits: it is nowhere until pci_host_ecam_retry() finds that gone. */
static void ecam_update(struct pci_host *h)
{
	if (h->ecam.mapped && h->ecam.base == h->ecam_base && h->ecam.len == h->ecam_len)
		return;
	if (h->ecam.mapped) {
		bus_del(&h->vm->mmio, &h->ecam);
		h->ecam_left = true;
	}
	if (!h->ecam_len)
		return;
	h->ecam.base = h->ecam_base;
	h->ecam.len = h->ecam_len;
	if (bus_try_add(&h->vm->mmio, &h->ecam))
		log_debug("pci", "no place for configuration space at %#" PRIx64, h->ecam_base);
}

void pci_host_ecam_move(struct pci_host *h, uint64_t base, uint64_t len)
{
	pthread_mutex_lock(&h->ecam_lock);
	h->ecam_base = base;
	h->ecam_len = len;
	ecam_update(h);
	pthread_mutex_unlock(&h->ecam_lock);
}

void pci_host_ecam_retry(struct pci_host *h)
{
	pthread_mutex_lock(&h->ecam_lock);
	ecam_update(h);
	pthread_mutex_unlock(&h->ecam_lock);
}

/* True once each time. */
static bool ecam_has_left(struct pci_host *h)
{
	pthread_mutex_lock(&h->ecam_lock);
	bool left = h->ecam_left;
	h->ecam_left = false;
	pthread_mutex_unlock(&h->ecam_lock);
	return left;
}

/* --- accesses; bdf as in ECAM: bus << 8 | slot << 3 | fn --- */

static uint64_t cfg_read(struct pci_host *h, unsigned bdf, unsigned off, unsigned size)
{
	struct pci_dev *p = pci_at(h, bdf >> 8, bdf >> 3 & 31, bdf & 7);
	if (!p)
		return size_mask(size);
	dev_lock(&p->dev);
	uint64_t val = pci_cfg_read(p, off, size);
	dev_unlock(&p->dev);
	return val;
}

/*
 * A BAR or ECAM may have been waiting for an address that has just become free: a kernel that moves all of them passes through
 * states in which two overlap.  One device's lock at a time.
 */
static void retry(struct pci_host *h)
{
	pci_host_ecam_retry(h);
	for (unsigned i = 0; i < 32 * 8; i++) {
		struct pci_dev *p = h->fn[i / 8][i % 8];
		if (!p)
			continue;
		dev_lock(&p->dev);
		pci_bars_retry(p);
		dev_unlock(&p->dev);
	}
}

static void cfg_write(struct pci_host *h, unsigned bdf, unsigned off, unsigned size, uint64_t val)
{
	struct pci_dev *p = pci_at(h, bdf >> 8, bdf >> 3 & 31, bdf & 7);
	if (!p)
		return;
	dev_lock(&p->dev);
	bool left = pci_cfg_write(p, off, size, val);
	dev_unlock(&p->dev);
	if (ecam_has_left(h) || left)
		retry(h);
}

static uint64_t ecam_read(void *arg, uint64_t off, unsigned size)
{
	return cfg_read(arg, (unsigned)(off >> 12), off & 0xfff, size);
}

static void ecam_write(void *arg, uint64_t off, unsigned size, uint64_t val)
{
	cfg_write(arg, (unsigned)(off >> 12), off & 0xfff, size, val);
}

/* Only a dword at 0xcf8 reaches the register. */
static uint64_t cf8_read(void *arg, uint64_t off, unsigned size)
{
	struct pci_host *h = arg;
	if (off != 0 || size != 4)
		return size_mask(size);
	pthread_mutex_lock(&h->cf8_lock);
	uint64_t val = h->cf8_addr;
	pthread_mutex_unlock(&h->cf8_lock);
	return val;
}

static void cf8_write(void *arg, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_host *h = arg;
	if (off != 0 || size != 4)
		return;
	pthread_mutex_lock(&h->cf8_lock);
	h->cf8_addr = (uint32_t)val & 0x80fffffc;
	pthread_mutex_unlock(&h->cf8_lock);
}

static uint32_t cf8_get(struct pci_host *h)
{
	pthread_mutex_lock(&h->cf8_lock);
	uint32_t a = h->cf8_addr;
	pthread_mutex_unlock(&h->cf8_lock);
	return a;
}

static uint64_t cfc_read(void *arg, uint64_t off, unsigned size)
{
	uint32_t a = cf8_get(arg);
	return a & CF8_ENABLE ? cfg_read(arg, a >> 8 & 0xffff, (a & 0xfc) + (unsigned)off, size) : size_mask(size);
}

static void cfc_write(void *arg, uint64_t off, unsigned size, uint64_t val)
{
	uint32_t a = cf8_get(arg);
	if (a & CF8_ENABLE)
		cfg_write(arg, a >> 8 & 0xffff, (a & 0xfc) + (unsigned)off, size, val);
}

static const struct io_ops ecam_ops = { ecam_read, ecam_write };
/* Names for exit records, which know a device's register but not which device it is; both types of header [PCI-3.0 6.1]. */
static const struct reg config_regs[] = {
	{ .off = 0x00, .width = 4, .name = "ID" }, { .off = 0x04, .width = 2, .name = "COMMAND" },
	{ .off = 0x06, .width = 2, .name = "STATUS" }, { .off = 0x08, .width = 4, .name = "CLASS/REVISION" },
	{ .off = 0x0c, .width = 4, .name = "HEADER TYPE" }, { .off = 0x10, .width = 4, .name = "BAR0" },
	{ .off = 0x14, .width = 4, .name = "BAR1" }, { .off = 0x18, .width = 4, .name = "BAR2" },
	{ .off = 0x1c, .width = 4, .name = "BAR3" }, { .off = 0x20, .width = 4, .name = "BAR4" },
	{ .off = 0x24, .width = 4, .name = "BAR5" }, { .off = 0x2c, .width = 4, .name = "SUBSYSTEM" },
	{ .off = 0x30, .width = 4, .name = "ROM BAR" }, { .off = 0x34, .width = 4, .name = "CAPABILITIES" },
	{ .off = 0x3c, .width = 4, .name = "INTERRUPT" },
};
static const struct io_ops cf8_ops = { cf8_read, cf8_write };
static const struct io_ops cfc_ops = { cfc_read, cfc_write };

/* --- life cycle --- */

static void find_ecam(const struct bus_range *r, void *arg)
{
	struct pci_windows *w = arg;
	if (r->ops == &ecam_ops) {
		w->ecam_base = r->base;
		w->ecam_len = r->len;
	} else if (r->base >= GIB(4)) {
		w->high_first = MIN(w->high_first, r->base);
		w->high_last = MAX(w->high_last, r->base + (r->len - 1));
	}
}

void pci_host_windows(const struct pci_host *h, struct pci_windows *out)
{
	*out = (struct pci_windows){ .high_first = UINT64_MAX };
	bus_walk(&h->vm->mmio, find_ecam, out);
}

int pci_host_new(struct vm *vm)
{
	struct pci_host *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->vm = vm;
	vm->pci = h;
	pthread_mutex_init(&h->cf8_lock, NULL);
	pthread_mutex_init(&h->ecam_lock, NULL);
	h->ecam_base = vm->map.ecam_base;
	h->ecam_len = vm->map.ecam_len;
	h->ecam = (struct bus_range){ .name = "pci-ecam", .base = vm->map.ecam_base, .len = vm->map.ecam_len, .ops = &ecam_ops, .dev = h,
				     .regs = config_regs, .nregs = NELEM(config_regs), .stat_skip = ~0xfffull };
	int err = bus_add(&vm->mmio, &h->ecam);
	if (err || !vm->arch->has_pio)
		return err;
	h->cf8 = (struct bus_range){ .name = "pci-cf8", .base = 0xcf8, .len = 1, .wide = 4, .ops = &cf8_ops, .dev = h };
	h->cfc = (struct bus_range){ .name = "pci-cfc", .base = 0xcfc, .len = 4, .ops = &cfc_ops, .dev = h };
	err = bus_add(&vm->pio, &h->cf8);
	return err ? err : bus_add(&vm->pio, &h->cfc);
}

static void unmap(struct bus *bus, struct bus_range *r)
{
	if (r->mapped)
		bus_del(bus, r);
}

void pci_host_free(struct pci_host *h)
{
	if (!h)
		return;
	unmap(&h->vm->mmio, &h->ecam);
	unmap(&h->vm->pio, &h->cf8);
	unmap(&h->vm->pio, &h->cfc);
	pthread_mutex_destroy(&h->cf8_lock);
	pthread_mutex_destroy(&h->ecam_lock);
	h->vm->pci = NULL;
	free(h);
}

/* --- assignment --- */

struct window {
	const char *what;
	uint64_t next, end;
};

static int take(struct window *w, const struct pci_dev *p, unsigned bar, uint64_t *addr)
{
	uint64_t size = p->bar[bar].size, at = ALIGN_UP(w->next, size);
	if (at < w->next || at > w->end || size > w->end - at)
		return err_msg(-ENOSPC, "%s: no room for BAR %u of %" PRIu64 " KiB in the PCI %s window; use fewer devices", p->dev.id, bar,
			       size >> 10, w->what);
	w->next = at + size;
	*addr = at;
	return 0;
}

static int assign_function(struct pci_dev *p, struct window *io, struct window *mem32, struct window *mem64)
{
	for (unsigned n = 0; n < PCI_BARS; n++) {
		uint64_t addr = 0;
		if (p->bar[n].type == PCI_BAR_NONE)
			continue;
		struct window *w = p->bar[n].type == PCI_BAR_IO ? io : p->bar[n].type == PCI_BAR_MEM64 ? mem64 : mem32;
		int err = take(w, p, n, &addr);
		if (err)
			return err;
		pci_bar_set(p, n, addr);
	}
	return 0;
}

int pci_assign(struct vm *vm)
{
	const struct memmap *m = &vm->map;
	uint64_t io_first = MAX(m->pci_io_base, 0x1000u);       /* guests shun low I/O addresses */
	struct window io = { "I/O", io_first, m->pci_io_base + m->pci_io_len };
	struct window mem32 = { "32-bit memory", m->pci32_base, m->pci32_base + m->pci32_len };
	struct window mem64 = { "64-bit memory", m->pci64_base, m->pci64_base + m->pci64_len };
	for (unsigned i = 0; i < 32 * 8; i++) {
		struct pci_dev *p = vm->pci->fn[i / 8][i % 8];
		int err = p ? assign_function(p, &io, &mem32, &mem64) : 0;
		if (err)
			return err;
	}
	return 0;
}
