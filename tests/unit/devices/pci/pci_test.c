/* A PCI function and the host bridge of a dry machine, driven through ECAM and CF8/CFC as a guest would. */
#include "devices/pci/pci.h"

#include <errno.h>
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

UNIT_MAIN("devices/pci/pci", test_header, test_cf8, test_bars_follow_the_guest, test_overlap_is_not_mapped, test_io_window_on_arm64,
	  test_msix, test_intx, test_places, test_snapshot)
