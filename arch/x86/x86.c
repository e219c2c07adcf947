/*
 * The q35 machine: its chips, its memory map and its interrupt numbers.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/arch.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/classes.h"

/*
 * COM1 is always there: it is where consoles and panics go.  GSI 4 and 3 are shared as on a PC.  Ports of
 * the interrupt controllers and the timer belong to KVM.
 */
static const struct board_chip q35_chips[] = {
	{ "uart16550", "lpc.com1", true, 0x3f8, 4, NULL },
	{ "uart16550", "lpc.com2", true, 0x2f8, 3, "lpc.com2.path" },
	{ "uart16550", "lpc.com3", true, 0x3e8, 4, "lpc.com3.path" },
	{ "uart16550", "lpc.com4", true, 0x2e8, 3, "lpc.com4.path" },
	{ "mc146818", "rtc", true, 0x70, 8, NULL },
	{ "i8042", "i8042", true, 0x60, 1, NULL },
	{ "port92", "port92", true, 0x92, DEV_NO_GSI, NULL },
	{ "acpi-pm", "pm", true, X86_PM_BASE, X86_SCI_GSI, NULL },
	{ "cf9", "cf9", true, X86_RESET_PORT, DEV_NO_GSI, NULL },
	{ NULL, NULL, false, 0, 0, NULL },
};
static const struct board_chip q35_fw_chips[] = {
	{ "fw-cfg", "fwcfg", true, 0x510, DEV_NO_GSI, NULL },
	{ "debugcon", "debugcon", true, 0x402, DEV_NO_GSI, NULL },
	{ NULL, NULL, false, 0, 0, NULL },
};
static const struct board board_q35 = { "q35", q35_chips, q35_fw_chips };
static const struct board *const x86_boards[] = { &board_q35, NULL };

#define RAM_MIN MIB(2)                          /* the tables end at 1 MiB */
#define LOW_MAX_ALL MIB(2816)                   /* all of RAM below the ECAM */
#define LOW_MAX_SPLIT GIB(2)
#define HIGH_BASE GIB(4)
#define PCI64_LEN GIB(32)
#define PHYS_END BIT64(46)
_Static_assert(LOW_MAX_ALL == X86_ECAM, "low RAM ends where the ECAM begins");

static void place_ram(uint64_t size, struct memmap *m)
{
	uint64_t low = size <= LOW_MAX_ALL ? size : LOW_MAX_SPLIT;

	m->ram[0].base = 0;
	m->ram[0].len = low;
	m->nram = 1;
	if (size == low)
		return;
	m->ram[1].base = HIGH_BASE;
	m->ram[1].len = size - low;
	m->nram = 2;
}

static int x86_memmap(const struct conf *conf, struct memmap *m)
{
	uint64_t size = conf_u64(conf, "memory.size");
	/* The 64-bit window needs its own length, and as much again for its alignment. */
	uint64_t max = PHYS_END - 2 * PCI64_LEN - HIGH_BASE;

	if (size < RAM_MIN)
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " KiB are too few; give at least %" PRIu64 " MiB",
			       size >> 10, (uint64_t)RAM_MIN >> 20);
	if (size % KIB(4))
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " bytes are not whole pages; give a multiple of 4K", size);
	if (size > max)
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " GiB do not fit below 64 TiB beside the PCI windows; "
			       "give at most %" PRIu64 " GiB", size >> 30, max >> 30);
	memset(m, 0, sizeof(*m));
	place_ram(size, m);
	m->ecam_base = X86_ECAM;
	m->ecam_len = X86_ECAM_LEN;
	m->pci_io_base = 0xc000;                /* clear of every ISA alias */
	m->pci_io_len = 0x4000;
	m->pci32_base = X86_PCI32;
	m->pci32_len = X86_PCI32_END - X86_PCI32;
	/*
	 * Aligned to its length, the window of a small machine is [32 GiB, 64 GiB): inside the 36 physical
	 * address bits of the least capable processors.
	 */
	uint64_t ram_end = m->ram[m->nram - 1].base + m->ram[m->nram - 1].len;

	m->pci64_base = ALIGN_UP(MAX(ram_end, HIGH_BASE), PCI64_LEN);
	m->pci64_len = PCI64_LEN;
	return 0;
}

static uint32_t x86_pci_intx_gsi(unsigned slot, unsigned pin)
{
	return X86_PCI_GSI + (slot + pin) % X86_PCI_GSIS;
}

static int add_pci(struct vm *vm, const char *cls_name, const char *id)
{
	const struct device *there = vm_device(vm, id);
	const struct device_class *cls;
	int err = 0;

	if (there && strcmp(there->cls->name, cls_name) != 0)
		return err_msg(-EEXIST, "%s: the q35 machine has its own %s in this place; choose another slot for %s", id, cls_name,
			       there->cls->name);
	if (there)
		return 0;
	cls = device_class_find(cls_name);
	if (!cls)
		return err_msg(-ENODEV, "%s: this build has no device class '%s'", id, cls_name);
	device_new(vm, cls, id, &err);
	return err;
}

/* Ports KVM keeps for itself: what the guest writes there never arrives here. */
static bool port_of_kvm(uint64_t port, uint64_t len)
{
	static const struct { uint64_t base, len; } ports[] = { { 0x20, 2 }, { 0x40, 4 }, { 0x61, 1 }, { 0xa0, 2 }, { 0x4d0, 2 } };

	for (size_t i = 0; i < NELEM(ports); i++) {
		if (ranges_overlap(port, len, ports[i].base, ports[i].len))
			return true;
	}
	return false;
}

/* The test device, where the operator wants it. */
static int add_debug_exit(struct vm *vm)
{
	const char *key = "lpc.debugexit.port", *owner = NULL;
	uint64_t base = conf_u64(vm->conf, key), len = debug_exit_class.io_len;
	int err;

	for (uint64_t port = base; !owner && port < base + len; port++) {
		const struct bus_range *r = bus_find(&vm->pio, port);
		owner = r ? r->name : NULL;
	}
	if (!owner && port_of_kvm(base, len))
		owner = "the interrupt controller or the timer";
	if (owner)
		return err_msg(-EEXIST, "%s: ports 0x%" PRIx64 " to 0x%" PRIx64 " overlap %s; choose others, such as 0x501 or 0xf4", key, base,
			       base + len - 1, owner);
	struct device *d = device_new(vm, &debug_exit_class, "lpc.debugexit", &err);
	return d ? device_place(d, &vm->pio, base) : err;
}

/* Firmware finds the chipset by these two functions. */
static int x86_add_fixed(struct vm *vm)
{
	int err = add_pci(vm, "hostbridge", "pci.0.0.0");

	if (!err)
		err = add_pci(vm, "lpc", "pci.0.31.0");
	if (!err && conf_raw(vm->conf, "lpc.debugexit.port"))
		err = add_debug_exit(vm);
	return !err && vm->firmware ? x86_add_flash(vm) : err;
}

const struct arch_info arch_x86 = {
	.name = "x86",
	.debian = "amd64",
	.has_pio = true,
	.max_vcpus = 512,
	.boards = x86_boards,
	.host_bridge_vendor = 0x8086, .host_bridge_device = 0x29c0,     /* MCH of Q35 */
	.serial_class = "uart16550",
	.cdrom_class = "ahci-cd",
	.memmap = x86_memmap,
	.pci_intx_gsi = x86_pci_intx_gsi,
	.add_fixed = x86_add_fixed,
	.fill_fw_cfg = x86_fill_fw_cfg,
	.load = x86_load,
	.debug = &x86_debug,
	.core = &x86_core,
	.exits = &x86_exits,
	.print_tables = x86_print_tables,
	.write_tables = x86_write_tables,
};
