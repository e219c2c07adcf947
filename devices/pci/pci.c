/*
 * A PCI function: configuration space with write masks, BARs that follow the guest, capabilities, INTx, MSI and
 * MSI-X [PCI-3.0 6].  Memory, I/O and INTx-disable bits of the command register act; bus mastering is
 * reported to devices.  Not modelled: power management, expansion ROMs, extended configuration space (reads 0).
 */
#include "devices/pci/pci.h"

#include <assert.h>
#include <errno.h>

#include "common/vm.h"
#include "devices/pci/host.h"

#define MSIX_PBA_OFF 0x800      /* table below, pending bits above, in a BAR of 4 KiB */
#define MSIX_BAR_LEN 0x1000
#define MSIX_CTRL_ENABLE 0x8000
#define MSIX_CTRL_MASKALL 0x4000
#define MSIX_VECTOR_MASKED 1u
#define MSI_CTRL_ENABLE 0x0001
#define MSI_CTRL_64BIT 0x0080
#define MSI_CAP_LEN 14          /* [PCI-3.0 6.8.1]: 64-bit address, no masking of vectors */
_Static_assert(PCI_MSIX_MAX * 16 <= MSIX_PBA_OFF, "MSI-X table and PBA share one page");

const struct snap_field pci_msix_fields[] = {
	SNAP_U64(struct msix_entry, addr, 1), SNAP_U32(struct msix_entry, data, 1), SNAP_U32(struct msix_entry, ctrl, 1), SNAP_END
};
const struct snap_field pci_fields[] = {
	SNAP_BYTES(struct pci_dev, cfg, 1),
	SNAP_BOOL(struct pci_dev, intx, 1),
	SNAP_STRUCTS(struct pci_dev, msix, pci_msix_fields, 1),
	SNAP_U64(struct pci_dev, msix_pending, 1),
	SNAP_END
};

static uint16_t command(const struct pci_dev *p)
{
	return get_le16(&p->cfg[PCI_COMMAND]);
}

bool pci_bus_master(const struct pci_dev *p)
{
	return command(p) & PCI_COMMAND_MASTER;
}

/* --- declaring, in init --- */

void pci_ids(struct pci_dev *p, uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision)
{
	put_le16(&p->cfg[PCI_VENDOR], vendor);
	put_le16(&p->cfg[PCI_DEVICE], device);
	p->cfg[PCI_REVISION] = revision;
	p->cfg[PCI_PROG_IF] = class_code & 0xff;
	p->cfg[PCI_SUBCLASS] = class_code >> 8 & 0xff;
	p->cfg[PCI_CLASS] = class_code >> 16 & 0xff;
	put_le16(&p->wmask[PCI_COMMAND], PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	p->wmask[PCI_IRQ_LINE] = 0xff;
	p->cap_end = 0x40;
}

void pci_subsystem(struct pci_dev *p, uint16_t vendor, uint16_t device)
{
	put_le16(&p->cfg[PCI_SUBVENDOR], vendor);
	put_le16(&p->cfg[PCI_SUBDEVICE], device);
}

void pci_bar_init(struct pci_dev *p, unsigned n, enum pci_bar_type type, uint64_t size, const struct io_ops *ops, void *arg)
{
	static const uint8_t type_bits[] = { [PCI_BAR_IO] = 1, [PCI_BAR_MEM32] = 0, [PCI_BAR_MEM64] = 4 };
	assert(n < PCI_BARS && size >= 16 && (size & (size - 1)) == 0 && (type != PCI_BAR_MEM64 || n + 1 < PCI_BARS));
	struct pci_bar *b = &p->bar[n];
	b->type = type;
	b->size = size;
	b->range = (struct bus_range){
		.name = p->dev.id, .len = size, .ops = ops, .dev = arg, .lock = p->dev.cls->self_locking ? NULL : &p->dev.lock,
	};
	p->cfg[PCI_BAR0 + 4 * n] = type_bits[type];
	put_le32(&p->wmask[PCI_BAR0 + 4 * n], (uint32_t)~(size - 1));
	if (type == PCI_BAR_MEM64)
		put_le32(&p->wmask[PCI_BAR0 + 4 * n + 4], (uint32_t)(~(size - 1) >> 32));
	p->wmask[PCI_COMMAND] |= type == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEM;
}

unsigned pci_cap_add(struct pci_dev *p, uint8_t id, unsigned len)
{
	unsigned at = ALIGN_UP(p->cap_end, 4u);
	assert(at + len <= PCI_CFG_LEN);
	p->cfg[at] = id;
	p->cfg[at + 1] = 0;
	p->cfg[p->cap_last ? p->cap_last + 1 : PCI_CAP_PTR] = (uint8_t)at;
	p->cfg[PCI_STATUS] |= PCI_STATUS_CAPS;
	p->cap_last = at;
	p->cap_end = at + len;
	return at;
}

void pci_intx_init(struct pci_dev *p)
{
	p->cfg[PCI_IRQ_PIN] = 1;
}

/* --- INTx --- */

static void intx_update(struct pci_dev *p)
{
	if (p->intx)
		p->cfg[PCI_STATUS] |= PCI_STATUS_INTX;
	else
		p->cfg[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTX;
	irq_set(&p->dev.irq, p->intx && !(command(p) & PCI_COMMAND_INTX_DISABLE));
}

void pci_intx_set(struct pci_dev *p, bool level)
{
	p->intx = level;
	intx_update(p);
}

/* --- MSI-X --- */

static uint16_t msix_ctrl(const struct pci_dev *p)
{
	return p->msix_cap ? get_le16(&p->cfg[p->msix_cap + 2]) : 0;
}

bool pci_msix_enabled(const struct pci_dev *p)
{
	return msix_ctrl(p) & MSIX_CTRL_ENABLE;
}

static bool vector_masked(const struct pci_dev *p, unsigned v)
{
	return msix_ctrl(p) & MSIX_CTRL_MASKALL || p->msix[v].ctrl & MSIX_VECTOR_MASKED;
}

/* Brings vector v's route in line with the table; a vector that became deliverable fires if pending. */
static void vector_update(struct pci_dev *p, unsigned v)
{
	if (!pci_msix_enabled(p) || vector_masked(p, v))
		return;
	if (msi_set(p->dev.vm, &p->msix_vec[v], p->msix[v].addr, p->msix[v].data, pci_bdf(p)))
		dev_warn(&p->dev, "MSI-X vector %u: no such message address", v);
	if (p->msix_pending & BIT64(v)) {
		p->msix_pending &= ~BIT64(v);
		msi_fire(&p->msix_vec[v]);
	}
}

static void msix_update_all(struct pci_dev *p)
{
	for (unsigned v = 0; v < p->msix_n; v++)
		vector_update(p, v);
}

void pci_msix_fire(struct pci_dev *p, unsigned v)
{
	if (v >= p->msix_n || !pci_msix_enabled(p))
		return;
	if (vector_masked(p, v))
		p->msix_pending |= BIT64(v);
	else
		msi_fire(&p->msix_vec[v]);
}

static uint64_t msix_read(void *arg, uint64_t off, unsigned size)
{
	struct pci_dev *p = arg;
	uint64_t val = 0;
	if (off >= MSIX_PBA_OFF && off + size <= MSIX_PBA_OFF + sizeof(p->msix_pending))
		memcpy(&val, (uint8_t *)&p->msix_pending + (off - MSIX_PBA_OFF), size);
	else if (off + size <= p->msix_n * sizeof(struct msix_entry))
		memcpy(&val, (uint8_t *)p->msix + off, size);
	return val;
}

/* [PCI-3.0 6.8.2]: dword or qword writes only; others are undefined and dropped here. */
static void msix_write(void *arg, uint64_t off, unsigned size, uint64_t val)
{
	struct pci_dev *p = arg;
	if (size < 4 || off % size || off + size > p->msix_n * sizeof(struct msix_entry))
		return;
	memcpy((uint8_t *)p->msix + off, &val, size);
	unsigned v = (unsigned)(off / sizeof(struct msix_entry));
	p->msix[v].ctrl &= MSIX_VECTOR_MASKED;
	vector_update(p, v);
}
_Static_assert(sizeof(struct msix_entry) == 16, "as the guest sees it");

static const struct io_ops msix_ops = { msix_read, msix_write };

void pci_msix_init(struct pci_dev *p, unsigned bar, unsigned n)
{
	assert(n >= 1 && n <= PCI_MSIX_MAX);
	unsigned cap = pci_cap_add(p, 0x11, 12);
	put_le16(&p->cfg[cap + 2], (uint16_t)(n - 1));
	put_le16(&p->wmask[cap + 2], MSIX_CTRL_ENABLE | MSIX_CTRL_MASKALL);
	put_le32(&p->cfg[cap + 4], bar);
	put_le32(&p->cfg[cap + 8], MSIX_PBA_OFF | bar);
	p->msix_cap = cap;
	p->msix_bar = (uint8_t)bar;
	p->msix_n = (uint16_t)n;
	pci_bar_init(p, bar, PCI_BAR_MEM32, MSIX_BAR_LEN, &msix_ops, p);
	p->bar[bar].range.lock = &p->dev.lock;
}

/* --- MSI [PCI-3.0 6.8.1]: all of its state is in the configuration space --- */

bool pci_msi_enabled(const struct pci_dev *p)
{
	return p->msi_cap && get_le16(&p->cfg[p->msi_cap + 2]) & MSI_CTRL_ENABLE;
}

static void msi_update(struct pci_dev *p)
{
	const uint8_t *cap = &p->cfg[p->msi_cap];

	if (!pci_msi_enabled(p))
		msi_clear(&p->msi_vec);
	else if (msi_set(p->dev.vm, &p->msi_vec, get_le64(cap + 4), get_le16(cap + 12), pci_bdf(p)))
		dev_warn(&p->dev, "MSI: no such message address");
}

void pci_msi_fire(struct pci_dev *p)
{
	if (pci_msi_enabled(p))
		msi_fire(&p->msi_vec);
}

void pci_msi_init(struct pci_dev *p)
{
	unsigned cap = pci_cap_add(p, 0x05, MSI_CAP_LEN);

	put_le16(&p->cfg[cap + 2], MSI_CTRL_64BIT);
	put_le16(&p->wmask[cap + 2], MSI_CTRL_ENABLE);
	put_le64(&p->wmask[cap + 4], ~3ull);
	put_le16(&p->wmask[cap + 12], 0xffff);
	p->msi_cap = cap;
}

/* --- BARs --- */

static uint64_t bar_addr(const struct pci_dev *p, unsigned n)
{
	uint32_t low = get_le32(&p->cfg[PCI_BAR0 + 4 * n]);
	if (p->bar[n].type == PCI_BAR_IO)
		return low & ~3u;
	uint64_t high = p->bar[n].type == PCI_BAR_MEM64 ? get_le32(&p->cfg[PCI_BAR0 + 4 * n + 4]) : 0;
	return high << 32 | (low & ~15u);
}

/* Where the BAR appears: its bus, and the address there. */
static struct bus *bar_bus(const struct pci_dev *p, unsigned n, uint64_t *base)
{
	struct vm *vm = p->dev.vm;
	*base = bar_addr(p, n);
	if (p->bar[n].type != PCI_BAR_IO)
		return &vm->mmio;
	if (vm->arch->has_pio)
		return &vm->pio;
	/* I/O space is a window in memory here; bus addresses beyond it appear nowhere. */
	*base = *base < vm->map.pci_io_len ? vm->map.pci_io_mmio + *base : UINT64_MAX;
	return &vm->mmio;
}

/* True when the BAR has left its address. */
static bool bar_update(struct pci_dev *p, unsigned n)
{
	struct pci_bar *b = &p->bar[n];
	uint64_t base;
	struct bus *bus = bar_bus(p, n, &base);
	bool decode = command(p) & (b->type == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEM) && bar_addr(p, n) != 0;
	bool was = b->range.mapped;
	if (was && decode && b->range.base == base)
		return false;
	if (was) {
		bus_del(bus, &b->range);
		if (p->ops && p->ops->bar_moved)
			p->ops->bar_moved(p, n);
	}
	if (!decode)
		return was;
	b->range.base = base;
	/* An address something else holds stays undecoded until it is written again, or pci_bars_retry() finds it free. */
	if (bus_try_add(bus, &b->range) == 0 && p->ops && p->ops->bar_moved)
		p->ops->bar_moved(p, n);
	return was;
}

static bool bars_update(struct pci_dev *p)
{
	bool left = false;
	for (unsigned n = 0; n < PCI_BARS; n++) {
		if (p->bar[n].type != PCI_BAR_NONE)
			left |= bar_update(p, n);
	}
	return left;
}

void pci_bars_retry(struct pci_dev *p)
{
	bars_update(p);         /* decoded ones have not changed and stay */
}

/* The guest may have put a BAR where ECAM is at power-on, and the bridge may have been reset before this device. */
static void bars_off(struct pci_dev *p)
{
	put_le16(&p->cfg[PCI_COMMAND], command(p) & (uint16_t)~(PCI_COMMAND_IO | PCI_COMMAND_MEM));
	if (bars_update(p))
		pci_host_ecam_retry(p->dev.vm->pci);
}

void pci_bar_set(struct pci_dev *p, unsigned n, uint64_t addr)
{
	uint32_t flags = get_le32(&p->cfg[PCI_BAR0 + 4 * n]) & (p->bar[n].type == PCI_BAR_IO ? 3 : 15);
	put_le32(&p->cfg[PCI_BAR0 + 4 * n], (uint32_t)addr | flags);
	if (p->bar[n].type == PCI_BAR_MEM64)
		put_le32(&p->cfg[PCI_BAR0 + 4 * n + 4], (uint32_t)(addr >> 32));
}

/* --- configuration accesses, dev.lock held --- */

uint64_t pci_cfg_read(struct pci_dev *p, unsigned off, unsigned size)
{
	uint64_t val = 0;
	if (off + size > PCI_CFG_LEN)
		return 0;
	if (p->ops && p->ops->cfg_reading)
		p->ops->cfg_reading(p, off, size);
	memcpy(&val, &p->cfg[off], size);
	return val;
}

bool pci_cfg_write(struct pci_dev *p, unsigned off, unsigned size, uint64_t val)
{
	bool left = false;
	if (off + size > PCI_CFG_LEN)
		return false;
	for (unsigned i = 0; i < size; i++, val >>= 8)
		p->cfg[off + i] = (uint8_t)((p->cfg[off + i] & ~p->wmask[off + i]) | (val & p->wmask[off + i]));
	if (ranges_overlap(off, size, PCI_COMMAND, 2) || ranges_overlap(off, size, PCI_BAR0, 4 * PCI_BARS)) {
		left = bars_update(p);
		intx_update(p);
	}
	if (p->msix_cap && ranges_overlap(off, size, p->msix_cap + 2, 2))
		msix_update_all(p);
	if (p->msi_cap && ranges_overlap(off, size, p->msi_cap, MSI_CAP_LEN))
		msi_update(p);
	if (p->ops && p->ops->cfg_written)
		p->ops->cfg_written(p, off, size);
	return left;
}

/* --- life cycle --- */

int pci_attach(struct vm *vm, struct pci_dev *p)
{
	int err = pci_host_plug(vm->pci, p);
	if (err)
		return err;
	if (p->cfg[PCI_IRQ_PIN]) {
		p->dev.gsi = vm->arch->pci_intx_gsi(p->slot, p->cfg[PCI_IRQ_PIN] - 1u);
		p->cfg[PCI_IRQ_LINE] = (uint8_t)p->dev.gsi;
		err = irq_connect(vm, &p->dev.irq, p->dev.gsi);
	}
	memcpy(p->cfg_reset, p->cfg, PCI_CFG_LEN);
	return err;
}

static void vectors_clear(struct pci_dev *p)
{
	for (unsigned v = 0; v < p->msix_n; v++)
		msi_clear(&p->msix_vec[v]);
	msi_clear(&p->msi_vec);
}

void pci_detach(struct pci_dev *p)
{
	bars_off(p);
	vectors_clear(p);
	irq_set(&p->dev.irq, false);
	pci_host_unplug(p->dev.vm->pci, p);
}

void pci_reset(struct pci_dev *p)
{
	bars_off(p);
	vectors_clear(p);
	p->intx = false;
	intx_update(p);
	p->msix_pending = 0;
	for (unsigned v = 0; v < PCI_MSIX_MAX; v++)
		p->msix[v] = (struct msix_entry){ .ctrl = MSIX_VECTOR_MASKED };
	memcpy(p->cfg, p->cfg_reset, PCI_CFG_LEN);
}

int pci_loaded(struct pci_dev *p)
{
	/* Only writable bits may differ from what this device is; status bits are computed. */
	for (unsigned i = 0; i < PCI_CFG_LEN; i++) {
		if (i != PCI_STATUS && (p->cfg[i] ^ p->cfg_reset[i]) & ~p->wmask[i])
			return err_msg(-EINVAL, "snapshot of %s: configuration byte %#x is of another device", p->dev.id, i);
	}
	for (unsigned v = 0; v < PCI_MSIX_MAX; v++)
		p->msix[v].ctrl &= MSIX_VECTOR_MASKED;
	bars_update(p);
	intx_update(p);
	if (p->msi_cap)
		msi_update(p);
	uint64_t pending = p->msix_pending;
	p->msix_pending = 0;            /* connect first, then fire what is deliverable */
	msix_update_all(p);
	p->msix_pending = pending;
	msix_update_all(p);
	return 0;
}
