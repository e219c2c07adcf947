/* A PCI function and the host bridge of a dry machine, driven through ECAM and CF8/CFC as a guest would. */
#include "devices/pci/pci.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/pci/host.h"
#include "tests/unit/unit.h"

struct card {
	struct pci_dev pci;
	uint64_t last;
	unsigned moved;
};

static uint64_t card_read(void *dev, uint64_t off, unsigned size)
{
	(void)size;
	return ((struct card *)dev)->last + off;
}

static void card_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	(void)off, (void)size;
	((struct card *)dev)->last = val;
}

static const struct io_ops card_ops = { card_read, card_write };

static void card_moved(struct pci_dev *p, unsigned bar)
{
	(void)bar;
	((struct card *)p)->moved++;
}

static const struct pci_ops card_pci = { .bar_moved = card_moved };

static int card_init(struct device *dev)
{
	struct card *c = (struct card *)dev;
	c->pci.ops = &card_pci;
	pci_ids(&c->pci, 0x1234, 0x5678, 0x0c0330, 7);
	pci_subsystem(&c->pci, 0xaaaa, 0xbbbb);
	pci_intx_init(&c->pci);
	pci_bar_init(&c->pci, 0, PCI_BAR_MEM64, 0x4000, &card_ops, c);
	pci_bar_init(&c->pci, 2, PCI_BAR_IO, 0x40, &card_ops, c);
	pci_msix_init(&c->pci, 3, 4);
	return 0;
}

static const struct snap_field card_fields[] = { SNAP_STRUCT(struct card, pci, pci_fields, 1), SNAP_U64(struct card, last, 1), SNAP_END };
static const struct device_class card_class = {
	.name = "card", .size = sizeof(struct card), .pci = true, .init = card_init, .snap = card_fields, .snap_version = 1,
};

static struct vm *vm;
static struct conf *conf;
static struct card *card;

static void set_up(const struct arch_info *arch)
{
	conf = conf_new();
	conf_set(conf, "memory.size", "64M", "test");
	ck_assert_int_eq(vm_create(conf, arch, true, &vm), 0);
	card = (struct card *)device_new(vm, &card_class, "pci.0.4.0", NULL);
	ck_assert_ptr_nonnull(card);
	ck_assert_int_eq(pci_assign(vm), 0);
}

static void tear_down(void)
{
	vm_free(vm);
	conf_free(conf);
}

static uint64_t cfg(unsigned slot, unsigned off, unsigned size)
{
	uint64_t v;
	bus_read(&vm->mmio, vm->map.ecam_base + (slot << 15) + off, size, &v);
	return v;
}

static void cfg_set(unsigned slot, unsigned off, unsigned size, uint64_t v)
{
	bus_write(&vm->mmio, vm->map.ecam_base + (slot << 15) + off, size, v);
}

START_TEST(test_header)
{
	set_up(&arch_x86);
	ck_assert_uint_eq(cfg(4, 0, 4), 0x56781234);
	ck_assert_uint_eq(cfg(4, 8, 4), 0x0c033007);
	ck_assert_uint_eq(cfg(4, 0x2c, 4), 0xbbbbaaaa);
	cfg_set(4, 0, 4, 0);
	ck_assert_uint_eq(cfg(4, 0, 4), 0x56781234);            /* read-only */
	ck_assert_uint_eq(cfg(5, 0, 4), 0xffffffff);            /* nobody there */
	ck_assert_uint_eq(cfg(4, 0x100, 4), 0);                 /* no extended capabilities */
	cfg_set(4, 0xffe, 8, ~0ull);                            /* beyond the end */
	uint64_t v;
	bus_read(&vm->mmio, vm->map.ecam_base + (1u << 20), 4, &v);
	ck_assert_uint_eq(v, 0xffffffff);                       /* bus 1 */
	tear_down();
}
END_TEST

START_TEST(test_cf8)
{
	uint64_t v;
	set_up(&arch_x86);
	bus_write(&vm->pio, 0xcf8, 4, 0x80000000 | 4 << 11);
	bus_read(&vm->pio, 0xcfc, 4, &v);
	ck_assert_uint_eq(v, 0x56781234);
	bus_read(&vm->pio, 0xcfe, 2, &v);
	ck_assert_uint_eq(v, 0x5678);
	bus_read(&vm->pio, 0xcf8, 4, &v);
	ck_assert_uint_eq(v, 0x80000000 | 4 << 11);
	bus_write(&vm->pio, 0xcf8, 1, 0);                       /* narrow writes do not reach the register */
	bus_read(&vm->pio, 0xcf8, 4, &v);
	ck_assert_uint_eq(v, 0x80000000 | 4 << 11);
	bus_write(&vm->pio, 0xcf8, 4, 4 << 11);                 /* not enabled */
	bus_read(&vm->pio, 0xcfc, 4, &v);
	ck_assert_uint_eq(v, 0xffffffff);
	tear_down();
}
END_TEST

START_TEST(test_bars_follow_the_guest)
{
	uint64_t v, first;
	set_up(&arch_x86);
	first = (cfg(4, 0x10, 4) & ~15ull) | cfg(4, 0x14, 4) << 32;
	ck_assert_uint_ge(first, vm->map.pci64_base);
	ck_assert_ptr_null(bus_read(&vm->mmio, first, 4, &v));          /* decode is off at power-on */
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	ck_assert_ptr_nonnull(bus_read(&vm->mmio, first + 8, 4, &v));
	ck_assert_uint_eq(v, 8);
	ck_assert_uint_eq(card->moved, 2);                              /* BAR 0 and MSI-X */
	/* Sizing, as guests do it. */
	cfg_set(4, 0x10, 4, 0xffffffff);
	cfg_set(4, 0x14, 4, 0xffffffff);
	ck_assert_uint_eq(cfg(4, 0x10, 4), 0xffffc004);
	ck_assert_uint_eq(cfg(4, 0x14, 4), 0xffffffff);
	uint64_t second = first + 0x100000;
	cfg_set(4, 0x10, 4, second & 0xffffffff);
	cfg_set(4, 0x14, 4, second >> 32);
	ck_assert_ptr_null(bus_read(&vm->mmio, first, 4, &v));
	ck_assert_ptr_nonnull(bus_read(&vm->mmio, second, 4, &v));
	cfg_set(4, PCI_COMMAND, 2, 0);
	ck_assert_ptr_null(bus_read(&vm->mmio, second, 4, &v));
	/* I/O space: ports here, a window in memory on arm64 (below). */
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_IO);
	uint64_t io = cfg(4, 0x18, 4) & ~3ull;
	ck_assert_ptr_nonnull(bus_read(&vm->pio, io, 1, &v));
	tear_down();
}
END_TEST

START_TEST(test_overlap_is_not_mapped)
{
	uint64_t v;
	set_up(&arch_x86);
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_IO);
	cfg_set(4, 0x18, 4, 0x3c1);                     /* on top of COM1 */
	ck_assert_str_eq(bus_find(&vm->pio, 0x3f8)->name, "lpc.com1");
	ck_assert(!card->pci.bar[2].range.mapped);
	cfg_set(4, 0x18, 4, 0xd001);
	ck_assert_ptr_nonnull(bus_read(&vm->pio, 0xd000, 1, &v));
	tear_down();
}
END_TEST

/* A kernel that gives every BAR a new address passes through overlaps: who had to wait is decoded when the other has left. */
START_TEST(test_overlap_ends)
{
	static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };
	for (size_t i = 0; i < NELEM(arches); i++) {
		set_up(arches[i]);
		struct card *other = (struct card *)device_new(vm, &card_class, "pci.0.5.0", NULL);
		ck_assert_ptr_nonnull(other);
		ck_assert_int_eq(pci_assign(vm), 0);
		cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_MEM);
		cfg_set(5, PCI_COMMAND, 2, PCI_COMMAND_MEM);
		const struct bus_range *a = &card->pci.bar[0].range, *b = &other->pci.bar[0].range;
		ck_assert(a->mapped && b->mapped);
		uint64_t first = a->base, second = b->base;
		cfg_set(4, 0x14, 4, second >> 32);
		cfg_set(4, 0x10, 4, (uint32_t)second);          /* onto the other one */
		ck_assert(!a->mapped && b->mapped);
		cfg_set(5, 0x14, 4, first >> 32);
		cfg_set(5, 0x10, 4, (uint32_t)first);           /* which now moves away */
		ck_assert(a->mapped && b->mapped);
		ck_assert_uint_eq(a->base, second);
		ck_assert_uint_eq(b->base, first);
		ck_assert_uint_eq(other->moved, card->moved);
		cfg_set(4, 0x10, 4, (uint32_t)first);           /* ... or stops decoding */
		ck_assert(!a->mapped);
		cfg_set(5, PCI_COMMAND, 2, 0);
		ck_assert(a->mapped && !b->mapped);
		tear_down();
	}
}
END_TEST

START_TEST(test_io_window_on_arm64)
{
	uint64_t v;
	set_up(&arch_arm64);
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_IO);
	uint64_t io = cfg(4, 0x18, 4) & ~3ull;
	ck_assert_ptr_nonnull(bus_read(&vm->mmio, vm->map.pci_io_mmio + io, 1, &v));
	cfg_set(4, 0x18, 4, 0xfff00001);                /* outside the window: nowhere */
	ck_assert(!card->pci.bar[2].range.mapped);
	tear_down();
}
END_TEST

static uint64_t msix_base(void)
{
	return cfg(4, 0x1c, 4) & ~15ull;
}

/* How often the vector's eventfd was written since last asked. */
static uint64_t fired(unsigned v)
{
	uint64_t n = 0;
	return card->pci.msix_vec[v].set && read(card->pci.msix_vec[v].fd, &n, 8) == 8 ? n : 0;
}

START_TEST(test_msix)
{
	uint64_t v;
	set_up(&arch_x86);
	unsigned cap = card->pci.msix_cap;
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	pci_msix_fire(&card->pci, 1);                           /* not enabled: nothing */
	ck_assert(!pci_msix_enabled(&card->pci));
	cfg_set(4, cap + 2, 2, 0x8000);
	bus_read(&vm->mmio, msix_base() + 16 + 12, 4, &v);
	ck_assert_uint_eq(v, 1);                                /* masked at power-on */
	bus_write(&vm->mmio, msix_base() + 16, 8, 0xfee00000);
	bus_write(&vm->mmio, msix_base() + 16 + 8, 4, 0x41);
	pci_msix_fire(&card->pci, 1);
	bus_read(&vm->mmio, msix_base() + 0x800, 8, &v);
	ck_assert_uint_eq(v, 2);                                /* pending */
	bus_write(&vm->mmio, msix_base() + 16 + 12, 4, 0);
	ck_assert_uint_eq(fired(1), 1);
	bus_read(&vm->mmio, msix_base() + 0x800, 8, &v);
	ck_assert_uint_eq(v, 0);
	pci_msix_fire(&card->pci, 1);
	pci_msix_fire(&card->pci, 200);
	ck_assert_uint_eq(fired(1), 1);
	cfg_set(4, cap + 2, 2, 0xc000);                         /* whole function masked */
	pci_msix_fire(&card->pci, 1);
	ck_assert_uint_eq(fired(1), 0);
	cfg_set(4, cap + 2, 2, 0x8000);
	ck_assert_uint_eq(fired(1), 1);
	bus_write(&vm->mmio, msix_base() + 16 + 1, 1, 0xff);    /* byte writes are dropped */
	bus_write(&vm->mmio, msix_base() + 4 * 16, 4, 0xff);    /* beyond the table */
	device_reset(&card->pci.dev);
	ck_assert(!card->pci.msix_vec[1].set);
	ck_assert_uint_eq(card->pci.msix[1].ctrl, 1);
	tear_down();
}
END_TEST

START_TEST(test_intx)
{
	set_up(&arch_x86);
	ck_assert_uint_eq(card->pci.dev.gsi, vm->arch->pci_intx_gsi(4, 0));
	pci_intx_set(&card->pci, true);
	ck_assert(card->pci.dev.irq.level);
	ck_assert_uint_eq(cfg(4, PCI_STATUS, 2) & PCI_STATUS_INTX, PCI_STATUS_INTX);
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	ck_assert(!card->pci.dev.irq.level);
	cfg_set(4, PCI_COMMAND, 2, 0);
	ck_assert(card->pci.dev.irq.level);
	device_reset(&card->pci.dev);
	ck_assert(!card->pci.dev.irq.level);
	tear_down();
}
END_TEST

START_TEST(test_places)
{
	uint8_t b, s, f;
	set_up(&arch_x86);
	ck_assert_int_eq(pci_place("pci.0.31.7", &b, &s, &f), 0);
	ck_assert_uint_eq(s << 3 | f, 31 << 3 | 7);
	ck_assert_int_eq(pci_place("pci.0.32.0", &b, &s, &f), -EINVAL);
	ck_assert_int_eq(pci_place("pci.1.3.0", &b, &s, &f), -EINVAL);
	ck_assert_int_eq(pci_place("pci.0.3.0.1", &b, &s, &f), -EINVAL);
	int err = 0;
	ck_assert_ptr_null(device_new(vm, &card_class, "pci.0.4.0", &err));
	ck_assert_int_eq(err, -EEXIST);
	ck_assert_ptr_nonnull(device_new(vm, &card_class, "pci.0.4.3", &err));
	ck_assert_uint_eq(cfg(4, PCI_HEADER_TYPE, 1), 0x80);    /* now multi-function */
	tear_down();
}
END_TEST

START_TEST(test_snapshot)
{
	set_up(&arch_x86);
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	json_t *a = device_save(&card->pci.dev);
	device_reset(&card->pci.dev);
	ck_assert(!card->pci.bar[0].range.mapped);
	ck_assert_int_eq(device_load(&card->pci.dev, a), 0);
	ck_assert(card->pci.bar[0].range.mapped);
	json_t *b = device_save(&card->pci.dev);
	ck_assert(json_equal(a, b));
	card->pci.cfg[0]++;                                     /* of another device */
	json_t *c = device_save(&card->pci.dev);
	card->pci.cfg[0]--;
	ck_assert_int_eq(device_load(&card->pci.dev, c), -EINVAL);
	json_decref(a);
	json_decref(b);
	json_decref(c);
	tear_down();
}
END_TEST

/* --- PCIEXBAR of the Q35 host bridge --- */

static uint64_t cf8_read(unsigned slot, unsigned off)
{
	uint64_t v = 0;
	bus_write(&vm->pio, 0xcf8, 4, 0x80000000u | slot << 11 | off);
	bus_read(&vm->pio, 0xcfc, 4, &v);
	return v;
}

static void cf8_write(unsigned slot, unsigned off, uint32_t val)
{
	bus_write(&vm->pio, 0xcf8, 4, 0x80000000u | slot << 11 | off);
	bus_write(&vm->pio, 0xcfc, 4, val);
}

static uint32_t mem32(uint64_t gpa)
{
	uint64_t v = 0;
	bus_read(&vm->mmio, gpa, 4, &v);
	return (uint32_t)v;
}

START_TEST(test_pciexbar)
{
	static const struct { uint32_t low, high; uint64_t base, len; } t[] = {
		{ 0xe0000001, 0, 0xe0000000, MIB(256) }, { 0xe8000003, 0, 0xe8000000, MIB(128) }, { 0xec000005, 0, 0xec000000, MIB(64) },
		{ 0xec000001, 0, 0xe0000000, MIB(256) },        /* bits below the length do not count */
		{ 0xd0000001, 0xf, 0xfd0000000, MIB(256) }, { 0xb0000001, 0, 0xb0000000, MIB(256) },
	};
	set_up(&arch_x86);
	ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);       /* without firmware: where the tables say */
	for (size_t i = 0; i < NELEM(t); i++) {
		cf8_write(0, 0x60, 0);
		cf8_write(0, 0x64, t[i].high);
		ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);
		cf8_write(0, 0x60, t[i].low);
		struct pci_windows w;
		pci_host_windows(vm->pci, &w);
		ck_assert_uint_eq(w.ecam_base, t[i].base);
		ck_assert_uint_eq(w.ecam_len, t[i].len);
		ck_assert_uint_eq(mem32(t[i].base), 0x29c08086);
		ck_assert_uint_eq(mem32(t[i].base + (4 << 15)), 0x56781234);
		ck_assert_uint_eq(mem32(t[i].base + MIB(1)), 0xffffffff);       /* bus 1 */
		if (t[i].base != 0xb0000000)
			ck_assert_uint_eq(mem32(0xb0000000), 0xffffffff);
	}
	cf8_write(0, 0x60, 0xe0000007);                         /* reserved length: nowhere */
	ck_assert_uint_eq(mem32(0xe0000000), 0xffffffff);
	ck_assert_uint_eq(mem32(0xb0000000), 0xffffffff);
	device_reset(vm_device(vm, "pci.0.0.0"));
	ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);
	tear_down();
}
END_TEST

/* Over itself through itself, onto what is in use, and back. */
START_TEST(test_pciexbar_hostile)
{
	set_up(&arch_x86);
	bus_write(&vm->mmio, 0xb0000060, 4, 0xe0000001);
	ck_assert_uint_eq(mem32(0xe0000000), 0x29c08086);
	bus_write(&vm->mmio, 0xe0000060, 4, 0xf0000001);        /* a range that wraps nothing, over free addresses */
	ck_assert_uint_eq(mem32(0xf0000000), 0x29c08086);
	pci_bar_set(&card->pci, 3, 0xc4000000);
	cf8_write(4, PCI_COMMAND, PCI_COMMAND_MEM);
	cf8_write(0, 0x60, 0xc0000001);                         /* the card's BAR was there first */
	ck_assert_uint_eq(mem32(0xc0000000), 0xffffffff);
	ck_assert_uint_eq(mem32(0xf0000000), 0xffffffff);
	struct pci_windows w;
	pci_host_windows(vm->pci, &w);
	ck_assert_uint_eq(w.ecam_len, 0);
	cf8_write(4, PCI_COMMAND, 0);
	cf8_write(0, 0x60, 0xc0000001);
	ck_assert_uint_eq(mem32(0xc0000000), 0x29c08086);
	tear_down();
}
END_TEST

/* ECAM and a BAR wait for each other's address as two BARs do. */
START_TEST(test_pciexbar_waits)
{
	const struct bus_range *bar;
	set_up(&arch_x86);
	bar = &card->pci.bar[3].range;
	pci_bar_set(&card->pci, 3, 0xb0000000);                 /* where ECAM is */
	cf8_write(4, PCI_COMMAND, PCI_COMMAND_MEM);
	ck_assert(!bar->mapped);
	cf8_write(0, 0x60, 0xe0000001);
	ck_assert(bar->mapped);
	cf8_write(0, 0x60, 0xb0000001);
	ck_assert_uint_eq(mem32(0xe0000000), 0xffffffff);
	cf8_write(4, PCI_COMMAND, 0);
	ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);
	cf8_write(0, 0x60, 7);                                  /* nowhere, which nothing ends but another write */
	cf8_write(4, PCI_COMMAND, PCI_COMMAND_MEM);
	cf8_write(4, PCI_COMMAND, 0);
	ck_assert_uint_eq(mem32(0xb0000000), 0xffffffff);
	tear_down();
}
END_TEST

/* The bridge is reset before the card, which still decodes the place of ECAM at power-on. */
START_TEST(test_pciexbar_reset)
{
	set_up(&arch_x86);
	cf8_write(0, 0x60, 0xe0000001);
	pci_bar_set(&card->pci, 3, 0xb0000000);
	cf8_write(4, PCI_COMMAND, PCI_COMMAND_MEM);
	ck_assert(card->pci.bar[3].range.mapped);
	for (unsigned i = 0; i < vm->ndevs; i++)
		device_reset(vm->devs[i]);
	ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);
	ck_assert_uint_eq(mem32(0xe0000000), 0xffffffff);
	tear_down();
}
END_TEST

/* Two vCPUs at once: one swaps the BARs of two devices through ECAM, the other moves ECAM away under it and back. */
static void *move_ecam(void *arg)
{
	atomic_bool *end = arg;
	while (!atomic_load(end)) {
		cf8_write(0, 0x60, 0xe0000001);
		cf8_write(0, 0x60, 0xb0000001);
	}
	return NULL;
}

static void *swap_bars(void *arg)
{
	struct card *other = arg;
	uint32_t at[2] = { (uint32_t)card->pci.bar[3].range.base, (uint32_t)other->pci.bar[3].range.base };
	for (unsigned i = 0; i < 2000; i++) {
		for (uint64_t base = 0xb0000000; base <= 0xe0000000; base += 0x30000000) {
			bus_write(&vm->mmio, base + (4 << 15) + 0x1c, 4, at[i & 1]);
			bus_write(&vm->mmio, base + (5 << 15) + 0x1c, 4, at[~i & 1]);
		}
	}
	return NULL;
}

START_TEST(test_two_vcpus)
{
	pthread_t a, b;
	atomic_bool end = false;
	set_up(&arch_x86);
	struct card *other = (struct card *)device_new(vm, &card_class, "pci.0.5.0", NULL);
	ck_assert_int_eq(pci_assign(vm), 0);
	cfg_set(4, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	cfg_set(5, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	ck_assert_int_eq(pthread_create(&a, NULL, move_ecam, &end), 0);
	ck_assert_int_eq(pthread_create(&b, NULL, swap_bars, other), 0);
	pthread_join(b, NULL);
	atomic_store(&end, true);
	pthread_join(a, NULL);
	/* Whatever was lost on the way, what is written now holds. */
	cfg_set(4, 0x1c, 4, 0xc1000000);
	cfg_set(5, 0x1c, 4, 0xc2000000);
	ck_assert(card->pci.bar[3].range.mapped && other->pci.bar[3].range.mapped);
	ck_assert_uint_eq(mem32(0xb0000000), 0x29c08086);
	tear_down();
}
END_TEST

START_TEST(test_pciexbar_snapshot)
{
	set_up(&arch_x86);
	struct device *d = vm_device(vm, "pci.0.0.0");
	cf8_write(0, 0x60, 0xe0000001);
	json_t *saved = device_save(d);
	cf8_write(0, 0x60, 0);
	ck_assert_uint_eq(mem32(0xe0000000), 0xffffffff);
	ck_assert_int_eq(device_load(d, saved), 0);
	ck_assert_uint_eq(mem32(0xe0000000), 0x29c08086);
	json_decref(saved);
	tear_down();
}
END_TEST

START_TEST(test_chipset_registers_are_kept)
{
	set_up(&arch_x86);
	cf8_write(0, 0x90, 0xffffffff);
	ck_assert_uint_eq(cf8_read(0, 0x90), 0x33333330);       /* PAM0's low half is reserved */
	cf8_write(0, 0x9c, 0x00004a00);
	ck_assert_uint_eq(cf8_read(0, 0x9c) & 0xff00, 0x4a00);  /* SMRAM */
	cf8_write(31, PCI_COMMAND, 0);                          /* what is behind the ISA bridge is always decoded */
	ck_assert_uint_eq(cf8_read(31, PCI_COMMAND) & 0xffff, 7);
	ck_assert_uint_eq(cf8_read(31, 0x40), 0x601);
	ck_assert_uint_eq(cf8_read(31, 0x44) & 0xff, 0x80);
	ck_assert_uint_eq(cf8_read(31, 0x60), 0x80808080);
	cf8_write(31, 0x60, 0x0b0b0a0a);
	ck_assert_uint_eq(cf8_read(31, 0x60), 0x0b0b0a0a);
	cf8_write(31, 0xf0, 0xfed1c001);
	ck_assert_uint_eq(cf8_read(31, 0xf0), 0xfed1c001);
	tear_down();
}
END_TEST

/* MSI: a message follows the configuration space, and survives a snapshot that is made of nothing else. */
static uint64_t msi_fired(const struct msi_vector *v)
{
	uint64_t n = 0;
	if (v->set && read(v->fd, &n, sizeof(n)) != sizeof(n))
		ck_assert_int_eq(errno, EAGAIN);
	return n;
}

START_TEST(test_msi)
{
	const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };
	for (unsigned i = 0; i < NELEM(arches); i++) {
		set_up(arches[i]);
		struct pci_dev *p = &card->pci;
		pci_msi_init(p);
		memcpy(p->cfg_reset, p->cfg, PCI_CFG_LEN);
		const unsigned cap = p->msi_cap;
		ck_assert_uint_eq(cfg(4, cap, 1), 0x05);
		ck_assert_uint_eq(cfg(4, cap + 2, 2), 0x80);
		cfg_set(4, cap + 4, 8, 0x1fee00003);
		cfg_set(4, cap + 12, 4, 0xffff4042);
		ck_assert_uint_eq(cfg(4, cap + 4, 8), 0x1fee00000);     /* a dword's address */
		ck_assert_uint_eq(cfg(4, cap + 12, 2), 0x4042);
		pci_msi_fire(p);
		ck_assert(!pci_msi_enabled(p) && !p->msi_vec.set);
		cfg_set(4, cap + 2, 2, 0x71);                           /* several messages: there is one */
		ck_assert_uint_eq(cfg(4, cap + 2, 2), 0x81);
		ck_assert_uint_eq(p->msi_vec.addr, 0x1fee00000);
		ck_assert_uint_eq(p->msi_vec.data, 0x4042);
		ck_assert_uint_eq(p->msi_vec.devid, pci_bdf(p));
		pci_msi_fire(p);
		ck_assert_uint_eq(msi_fired(&p->msi_vec), 1);
		json_t *rec = device_save(&p->dev);
		device_reset(&p->dev);
		ck_assert(!pci_msi_enabled(p) && !p->msi_vec.set);
		ck_assert_int_eq(device_load(&p->dev, rec), 0);
		ck_assert_uint_eq(p->msi_vec.data, 0x4042);
		json_decref(rec);
		cfg_set(4, cap + 2, 2, 0);
		ck_assert(!p->msi_vec.set);
		tear_down();
	}
}
END_TEST

UNIT_MAIN("devices/pci/pci", test_header, test_cf8, test_bars_follow_the_guest, test_overlap_is_not_mapped, test_overlap_ends,
	  test_io_window_on_arm64, test_msix, test_intx, test_places, test_snapshot, test_pciexbar, test_pciexbar_hostile,
	  test_pciexbar_waits, test_pciexbar_reset, test_two_vcpus, test_pciexbar_snapshot, test_chipset_registers_are_kept, test_msi)
