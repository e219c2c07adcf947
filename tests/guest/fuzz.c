/*
 * fuzz: count=N (default 100000) random reads and writes from seed=N, of all sizes and alignments, over everything the
 * machine has and over what it has not; half of them at the ends of ranges.  Then it says so and powers off.
 *
 * Left out, since they end the machine or this program by design: SLP_EN in PM1_CNT, RST_CPU in port 0xcf9, the i8042's reset
 * line, INIT_NOW in port 0x92; writes to RAM, to the I/O APIC, the local APIC and the GIC (a CPU can send itself INIT).
 */
#include "tests/guest/guest.h"

#define COUNT 100000
#define ECAM_FUZZ_LEN 0x200000ull       /* buses 0 and 1 */
#define RANGES_MAX 64

struct range {
	uint64_t base, len;
	bool read_only;
};

struct fuzz {
	struct range r[RANGES_MAX];
	unsigned n;
	struct pci_fn fns[PCI_FNS_MAX];
	unsigned nfns;
	uint64_t writes;
	bool output_port;               /* the i8042 was told that a byte for its output port follows */
};

static void add(struct fuzz *f, uint64_t base, uint64_t len, bool read_only)
{
	if (f->n < RANGES_MAX && len)
		f->r[f->n++] = (struct range){ base, len, read_only };
}

/* --- what there is to hit --- */

static void add_bars(struct fuzz *f)
{
	for (unsigned i = 0; i < f->nfns; i++) {
		for (unsigned b = 0; b < 6; b++) {
			if (!f->fns[i].bar[b].io)
				add(f, f->fns[i].bar[b].addr, f->fns[i].bar[b].len, false);
		}
		add(f, f->fns[i].cfg, 0x100, false);
	}
}

#if GUEST_HAS_PIO
static const struct range chips[] = {
	{ 0xc0000000, 0x1000000, false },       /* 32-bit window: a piece at its start, and all of it */
	{ 0xc0000000, 0x3ec00000, false },
	{ 0x800000000, 0x1000000, false },      /* 64-bit window */
	{ 0xfec00000, 0x1000, true },           /* I/O APIC */
	{ 0xfee00000, 0x1000, true },           /* local APIC */
	{ 0xfed00000, 0x10000, false },         /* where a PC has its HPET and TPM */
	{ 0xfee01000, 0xff000, false },         /* messages */
	{ 0xff000000, 0x1000000, false },       /* firmware */
};
#define PHYS_END (64ull << 30)
static const struct range interrupt_chips[] = { { 0xfec00000, 0x1000, true }, { 0xfee00000, 0x1000, true } };
#else
static const struct range chips[] = {
	{ 0x08000000, 0x10000, true },          /* GICD */
	{ 0x08020000, 0x1000, false },          /* v2m, with GICv2 */
	{ 0x09000000, 0x1000, false },          /* PL011, PL031, PL061, second PL011 */
	{ 0x09010000, 0x1000, false },
	{ 0x09030000, 0x1000, false },
	{ 0x09040000, 0x1000, false },
	{ 0x0a000000, 0x01000000, false },
	{ 0x00000000, 0x08000000, false },      /* flash */
	{ 0x10000000, 0x01000000, false },      /* 32-bit window: a piece at its start, and all of it */
	{ 0x10000000, 0x2eff0000, false },
	{ 0x3eff0000, 0x10000, false },         /* PCI I/O space */
	{ 0x8000000000, 0x1000000, false },     /* 64-bit window */
};
#define PHYS_END (machine.ecam >> 32 ? 1ull << 40 : 1ull << 32)
static const struct range interrupt_chips[] = { { 0x08000000, 0x20000, true }, { 0x08080000, 0xf80000, true } };
#endif

static void find_targets(struct fuzz *f)
{
	f->nfns = pci_scan(f->fns);
	for (unsigned i = 0; i < NELEM(chips); i++)
		add(f, chips[i].base, chips[i].len, chips[i].read_only);
	add(f, machine.ecam, ECAM_FUZZ_LEN, false);
	add(f, machine.hole, 0x10000, false);
	add_bars(f);
}

/* --- choosing --- */

static unsigned pick_size(unsigned max)
{
	unsigned size = 1u << random_below(4);

	return MIN(size, max);
}

/* Half of the values are of the kind that means something. */
static uint64_t pick_value(void)
{
	switch (random_below(8)) {
	case 0: return 0;
	case 1: return ~0ull;
	case 2: return random_below(256);
	case 3: return 1ull << random_below(64);
	default: return random_get();
	}
}

/* Anywhere in the range, at a small offset, or across one of its ends. */
static uint64_t pick_addr(const struct range *r)
{
	switch (random_below(8)) {
	case 0: return r->base - 8 + random_below(16);
	case 1: return r->base + r->len - 8 + random_below(16);
	case 2: case 3: return r->base + random_below(MIN(r->len, 0x100u));
	case 4: return r->base + random_below(MIN(r->len, 0x1000u));
	default: return r->base + random_below(r->len);
	}
}

static bool overlaps(uint64_t addr, unsigned size, uint64_t base, uint64_t len)
{
	return addr < base + len && addr + size > base;
}

static bool write_forbidden(uint64_t addr, unsigned size)
{
	for (unsigned i = 0; i < NELEM(interrupt_chips); i++) {
		if (overlaps(addr, size, interrupt_chips[i].base, interrupt_chips[i].len))
			return true;
	}
	return false;
}

/* --- memory --- */

static void memory_access(struct fuzz *f, uint64_t addr, bool read_only)
{
	unsigned size = pick_size(8);

	if (addr >= PHYS_END - 8)
		addr = PHYS_END - 8;
	/* RAM, and on arm64 the gigabyte around it, where there is no mapping for unaligned accesses. */
	uint64_t low = GUEST_HAS_PIO ? 0 : machine.ram;

	if (overlaps(addr, size, low, machine.ram + machine.ram_len - low))
		addr = machine.hole;
	bool only_read = read_only || write_forbidden(addr, size);

	if (!GUEST_HAS_PIO && overlaps(addr, size, 1ull << 30, 1ull << 30))
		addr &= ~(uint64_t)(size - 1);
	else if (random_below(2))
		addr &= ~(uint64_t)(size - 1);
	else
		addr = mmio_unaligned(addr);
	if (only_read || random_below(2)) {
		mmio_read(addr, size);
	} else {
		mmio_write(addr, size, pick_value());
		f->writes++;
	}
}

/* Takes a function's BARs somewhere else, now and then, and turns its decoding on again. */
static void move_bars(struct fuzz *f)
{
	struct pci_fn *fn = &f->fns[random_below(f->nfns)];
	unsigned b = (unsigned)random_below(6);

	pci_put(fn, 4, 2, (uint32_t)random_below(8));
	if (fn->bar[b].len && !fn->bar[b].io) {
		uint64_t addr = fn->bar[b].addr + (random_below(3) ? 0 : random_below(16) * fn->bar[b].len);

		pci_put(fn, 0x10 + 4 * b, 4, (uint32_t)addr);
		if (fn->bar[b].wide)
			pci_put(fn, 0x14 + 4 * b, 4, (uint32_t)(addr >> 32));
	}
	pci_put(fn, 4, 2, 7);
}

/* --- ports --- */

#if GUEST_HAS_PIO
enum { I8042_DATA = 0x60, I8042_CMD = 0x64, PORT92 = 0x92, PM1_CNT_HIGH = 0x605, CONFIG_ADDRESS = 0xcf8, RESET_CONTROL = 0xcf9 };
enum { CMD_WRITE_OUTPUT = 0xd1, CMD_PULSE = 0xf0 };
static const uint16_t ports[] = {
	0x20, 0x40, 0x60, 0x61, 0x64, 0x70, 0x72, 0x80, 0x92, 0xa0, 0x2e8, 0x2f8, 0x3e8, 0x3f8, 0x402, 0x4d0, 0x510, 0x512, 0x514,
	0x600, 0x604, 0x608, 0x620, 0x628, 0x660, 0xcf8, 0xcf9, 0xcfc, 0xcfe, 0xc000, 0xfff8,
};

/* The byte that may go to this port instead of `v`. */
static uint8_t safe_byte(struct fuzz *f, uint16_t port, uint8_t v)
{
	switch (port) {
	case PM1_CNT_HIGH: return v & 0xdf;
	case RESET_CONTROL: return v & 0xfb;
	case PORT92: return v & 0xfe;
	case I8042_CMD:
		f->output_port = v == CMD_WRITE_OUTPUT;
		return v >= CMD_PULSE ? v | 1 : v;
	case I8042_DATA:
		v |= f->output_port;
		f->output_port = false;
		return v;
	default: return v;
	}
}

static uint32_t safe_value(struct fuzz *f, uint16_t port, unsigned size, uint32_t v)
{
	uint32_t safe = 0;

	if (port == CONFIG_ADDRESS && size == 4)
		return v;               /* one register, which does not reach 0xcf9 */
	for (unsigned i = 0; i < size; i++)
		safe |= (uint32_t)safe_byte(f, (uint16_t)(port + i), (uint8_t)(v >> 8 * i)) << 8 * i;
	return safe;
}

static void port_string(struct fuzz *f, uint16_t port, unsigned size)
{
	static uint8_t buf[64 * 4];
	unsigned n = 1 + (unsigned)random_below(64);

	if (random_below(2)) {
		pio_read_string(port, size, buf, n);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		uint32_t v = safe_value(f, port, size, (uint32_t)pick_value());

		memcpy(buf + i * size, &v, size);
	}
	pio_write_string(port, size, buf, n);
	f->writes += n;
}

static void port_access(struct fuzz *f)
{
	unsigned size = pick_size(4);
	uint16_t port = random_below(3) ? (uint16_t)(ports[random_below(NELEM(ports))] + random_below(8)) : (uint16_t)random_get();

	if (random_below(32) == 0) {
		port_string(f, port, size);
	} else if (random_below(2)) {
		pio_read(port, size);
	} else {
		pio_write(port, size, safe_value(f, port, size, (uint32_t)pick_value()));
		f->writes++;
	}
}
#else
static void port_access(struct fuzz *f)
{
	const struct range io = { 0x3eff0000, 0x10000, false };

	memory_access(f, pick_addr(&io), false);
}
#endif

static void access_one(struct fuzz *f)
{
	const struct range *r = &f->r[random_below(f->n)];
	uint64_t what = random_below(64);

	if (what < (GUEST_HAS_PIO ? 28 : 4))
		port_access(f);
	else if (what < 60)
		memory_access(f, pick_addr(r), r->read_only);
	else if (what < 62)
		memory_access(f, random_below(PHYS_END), false);
	else
		move_bars(f);
}

void guest_main(void)
{
	static struct fuzz f;
	uint64_t seed = arg_u64("seed", 1), count = arg_u64("count", COUNT);

	random_seed(seed);
	find_targets(&f);
	print("FUZZ seed=%lu count=%lu ranges=%u functions=%u\n", seed, count, f.n, f.nfns);
	for (uint64_t i = 0; i < count; i++)
		access_one(&f);
	console_init();
	print("\nFUZZ ok count=%lu writes=%lu\n", count, f.writes);
}
