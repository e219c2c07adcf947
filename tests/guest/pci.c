/*
 * PCI for bare-metal guests: configuration space by ECAM, bus 0.
 */
#include "tests/guest/guest.h"

#define PCI_COMMAND 0x04
#define PCI_COMMAND_ALL 7               /* I/O, memory, bus master */
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0 0x10
#define PCI_CAP_PTR 0x34
#define CAPS_MAX 48

uint32_t pci_get(const struct pci_fn *f, unsigned off, unsigned size)
{
	return (uint32_t)mmio_read(f->cfg + off, size);
}

void pci_put(const struct pci_fn *f, unsigned off, unsigned size, uint32_t val)
{
	mmio_write(f->cfg + off, size, val);
}

unsigned pci_cap(const struct pci_fn *f, uint8_t id, unsigned from)
{
	unsigned at = pci_get(f, from ? from + 1 : PCI_CAP_PTR, 1);

	for (unsigned i = 0; at && i < CAPS_MAX; i++) {
		if (pci_get(f, at, 1) == id)
			return at;
		at = pci_get(f, at + 1, 1);
	}
	return 0;
}

/* How many BAR registers it takes. */
static unsigned bar_size(struct pci_fn *f, unsigned n)
{
	struct pci_bar *b = &f->bar[n];
	unsigned off = PCI_BAR0 + 4 * n;
	uint32_t low = pci_get(f, off, 4);

	b->io = low & 1;
	b->wide = !b->io && (low & 6) == 4;
	uint64_t high = b->wide ? pci_get(f, off + 4, 4) : 0, mask;

	pci_put(f, off, 4, 0xffffffff);
	if (b->wide)
		pci_put(f, off + 4, 4, 0xffffffff);
	mask = pci_get(f, off, 4) & (b->io ? ~3u : ~15u);
	mask |= b->wide ? (uint64_t)pci_get(f, off + 4, 4) << 32 : mask ? 0xffffffff00000000 : 0;
	pci_put(f, off, 4, low);
	if (b->wide)
		pci_put(f, off + 4, 4, (uint32_t)high);
	b->addr = high << 32 | (low & (b->io ? ~3u : ~15u));
	b->len = -mask;
	return b->wide ? 2 : 1;
}

static void fn_init(struct pci_fn *f)
{
	uint32_t command = pci_get(f, PCI_COMMAND, 2);

	pci_put(f, PCI_COMMAND, 2, command & ~3u);
	for (unsigned n = 0; n < 6;)
		n += bar_size(f, n);
	pci_put(f, PCI_COMMAND, 2, command | PCI_COMMAND_ALL);
}

unsigned pci_scan(struct pci_fn fns[PCI_FNS_MAX])
{
	unsigned n = 0;

	for (unsigned at = 0; at < 32 * 8 && n < PCI_FNS_MAX; at++) {
		struct pci_fn f = { .cfg = machine.ecam + ((uint64_t)at << 12), .slot = (uint8_t)(at / 8), .fn = (uint8_t)(at % 8) };
		uint32_t id = pci_get(&f, 0, 4);

		if (id == 0xffffffff) {
			if (f.fn == 0)
				at += 7;
			continue;
		}
		f.vendor = (uint16_t)id;
		f.device = (uint16_t)(id >> 16);
		fn_init(&f);
		fns[n++] = f;
		if (f.fn == 0 && !(pci_get(&f, PCI_HEADER_TYPE, 1) & 0x80))
			at += 7;
	}
	return n;
}
