/*
 * The virt machine's device tree: one walk over the VM's devices and facts of the board [DTSPEC-0.4], with the
 * kernel's bindings for GIC, timer, PSCI, PMU, PCI host and gpio-keys.  Order of nodes and phandles are fixed.
 */
#include <assert.h>
#include <errno.h>
#include <sys/random.h>

#include "arch/arm64/arm64.h"
#include "arch/arm64/tree.h"
#include "common/blob.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/vm.h"

enum { PH_GIC = 1, PH_MSI, PH_CLOCK, PH_GPIO, PH_CPU0 = 0x100 };

/* Interrupt specifier of the GIC binding: type, number, flags */
enum { GIC_SPI = 0, GIC_PPI = 1 };
enum { IRQ_LEVEL_HIGH = 4, IRQ_LEVEL_LOW = 8 };

/* First cell of a PCI address [IEEE-1275 PCI 2.2.1.1]: space in bits 25:24 */
enum { PCI_SPACE_IO = 0x01000000, PCI_SPACE_MEM32 = 0x02000000, PCI_SPACE_MEM64 = 0x03000000 };

enum { KEY_POWER = 116 };               /* Linux input event code */
#define SEED_LEN 64

struct fdt_arg {
	struct vm *vm;
	const struct arm64_machine *m;
	const struct arm64_layout *where;
	bool seeds;
	uint8_t rng_seed[SEED_LEN];
	uint32_t kaslr_seed[2];
};

static void add_reg(struct tree *t, uint64_t base, uint64_t len)
{
	TREE_CELLS(t, "reg", CELL64(base), CELL64(len));
}

/* Third cell of a PPI's specifier: GICv2 also wants the CPUs that have it. */
static uint32_t ppi_flags(const struct fdt_arg *a, uint32_t trigger)
{
	return a->m->gic == 2 ? trigger | (BIT(MIN(a->vm->nvcpus, (unsigned)GICV2_VCPUS_MAX)) - 1) << 8 : trigger;
}

static bool is_chip(const struct vm *vm, const struct device *d)
{
	return d->cls->desc && d->cls->desc->fdt_name && d->io_bus == &vm->mmio && strcmp(d->cls->name, FLASH_CLASS) != 0;
}

static const struct device *first_chip(const struct vm *vm, const char *cls)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		if (is_chip(vm, vm->devs[i]) && strcmp(vm->devs[i]->cls->name, cls) == 0)
			return vm->devs[i];
	}
	return NULL;
}

static void add_root(struct tree *t)
{
	TREE_CELLS(t, "#address-cells", 2);
	TREE_CELLS(t, "#size-cells", 2);
	TREE_CELLS(t, "interrupt-parent", PH_GIC);
	tree_str(t, "compatible", "linux,dummy-virt");
	tree_str(t, "model", "linux,dummy-virt");
}

static void add_chosen(struct tree *t, const struct fdt_arg *a)
{
	const struct device *serial = first_chip(a->vm, a->vm->arch->serial_class);
	const char *cmdline = conf_str(a->vm->conf, ARM64_CMDLINE_KEY);
	char path[64];

	tree_node(t, "chosen");
	if (serial) {
		snprintf(path, sizeof(path), "/%s@%llx", serial->cls->desc->fdt_name, (unsigned long long)serial->io.base);
		tree_str(t, "stdout-path", path);
	}
	if (cmdline && !a->vm->firmware)
		tree_str(t, "bootargs", cmdline);
	if (a->where->initrd_len) {
		TREE_CELLS(t, "linux,initrd-start", CELL64(a->where->initrd));
		TREE_CELLS(t, "linux,initrd-end", CELL64(a->where->initrd + a->where->initrd_len));
	}
	if (a->seeds) {
		tree_cells(t, "kaslr-seed", a->kaslr_seed, 2);
		tree_bytes(t, "rng-seed", a->rng_seed, SEED_LEN);
	}
	tree_end(t);
}

static void add_memory(struct tree *t, const struct memmap *map)
{
	for (unsigned i = 0; i < map->nram; i++) {
		tree_node(t, "memory@%llx", (unsigned long long)map->ram[i].base);
		tree_str(t, "device_type", "memory");
		add_reg(t, map->ram[i].base, map->ram[i].len);
		tree_end(t);
	}
}

/* One thread of the map, in the core node that is open. */
static void add_map_threads(struct tree *t, unsigned first, unsigned threads)
{
	if (threads == 1) {
		TREE_CELLS(t, "cpu", PH_CPU0 + first);
		return;
	}
	for (unsigned i = 0; i < threads; i++) {
		tree_node(t, "thread%u", i);
		TREE_CELLS(t, "cpu", PH_CPU0 + first + i);
		tree_end(t);
	}
}

/* Topology, when the configuration has one [Linux Documentation/devicetree/bindings/cpu/cpu-topology.txt]. */
static void add_cpu_map(struct tree *t, const struct vm *vm)
{
	const struct conf *c = vm->conf;
	unsigned sockets, cores, threads, cpu = 0;

	if (!conf_raw(c, "sockets") && !conf_raw(c, "cores") && !conf_raw(c, "threads"))
		return;
	sockets = (unsigned)conf_u64(c, "sockets");
	cores = (unsigned)conf_u64(c, "cores");
	threads = (unsigned)conf_u64(c, "threads");
	if ((uint64_t)sockets * cores * threads != vm->nvcpus)
		return;
	tree_node(t, "cpu-map");
	for (unsigned s = 0; s < sockets; s++) {
		tree_node(t, "socket%u", s);
		tree_node(t, "cluster0");
		for (unsigned k = 0; k < cores; k++, cpu += threads) {
			tree_node(t, "core%u", k);
			add_map_threads(t, cpu, threads);
			tree_end(t);
		}
		tree_end(t);
		tree_end(t);
	}
	tree_end(t);
}

static void add_cpus(struct tree *t, const struct vm *vm)
{
	tree_node(t, "cpus");
	TREE_CELLS(t, "#address-cells", 1);
	TREE_CELLS(t, "#size-cells", 0);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		tree_node(t, "cpu@%llx", (unsigned long long)arm64_mpidr(i));
		tree_str(t, "device_type", "cpu");
		tree_str(t, "compatible", "arm,armv8");
		TREE_CELLS(t, "reg", (uint32_t)arm64_mpidr(i));
		tree_str(t, "enable-method", "psci");
		TREE_CELLS(t, "phandle", PH_CPU0 + i);
		tree_end(t);
	}
	add_cpu_map(t, vm);
	tree_end(t);
}

static void add_psci(struct tree *t)
{
	tree_node(t, "psci");
	tree_strs(t, "compatible", "arm,psci-1.0,,arm,psci-0.2");
	tree_str(t, "method", "hvc");
	tree_end(t);
}

static void add_timer(struct tree *t, const struct fdt_arg *a)
{
	uint32_t flags = ppi_flags(a, IRQ_LEVEL_LOW);

	tree_node(t, "timer");
	tree_str(t, "compatible", "arm,armv8-timer");
	TREE_CELLS(t, "interrupts", GIC_PPI, PPI_TIMER_SEC, flags, GIC_PPI, PPI_TIMER_PHYS, flags, GIC_PPI, PPI_TIMER_VIRT, flags,
		   GIC_PPI, PPI_TIMER_HYP, flags);
	tree_flag(t, "always-on");
	tree_end(t);
}

static void add_pmu(struct tree *t, const struct fdt_arg *a)
{
	if (!a->m->pmu)
		return;
	tree_node(t, "pmu");
	tree_str(t, "compatible", "arm,armv8-pmuv3");
	TREE_CELLS(t, "interrupts", GIC_PPI, PPI_PMU, ppi_flags(a, IRQ_LEVEL_HIGH));
	tree_end(t);
}

/* The 24 MHz clock of PrimeCell chips: both their own and their bus's. */
static void add_clock(struct tree *t)
{
	tree_node(t, "apb-pclk");
	tree_str(t, "compatible", "fixed-clock");
	TREE_CELLS(t, "#clock-cells", 0);
	TREE_CELLS(t, "clock-frequency", 24000000);
	tree_str(t, "clock-output-names", "clk24mhz");
	TREE_CELLS(t, "phandle", PH_CLOCK);
	tree_end(t);
}

static void add_its(struct tree *t)
{
	tree_node(t, "its@%x", ITS_BASE);
	tree_str(t, "compatible", "arm,gic-v3-its");
	add_reg(t, ITS_BASE, ITS_LEN);
	tree_flag(t, "msi-controller");
	TREE_CELLS(t, "#msi-cells", 1);
	TREE_CELLS(t, "phandle", PH_MSI);
	tree_end(t);
}

static void add_v2m(struct tree *t)
{
	tree_node(t, "v2m@%x", V2M_BASE);
	tree_str(t, "compatible", "arm,gic-v2m-frame");
	add_reg(t, V2M_BASE, V2M_LEN);
	tree_flag(t, "msi-controller");
	TREE_CELLS(t, "phandle", PH_MSI);
	tree_end(t);
}

static void add_gic(struct tree *t, const struct fdt_arg *a)
{
	tree_node(t, "interrupt-controller@%x", GICD_BASE);
	tree_str(t, "compatible", a->m->gic == 2 ? "arm,cortex-a15-gic" : "arm,gic-v3");
	tree_flag(t, "interrupt-controller");
	TREE_CELLS(t, "#interrupt-cells", 3);
	TREE_CELLS(t, "#address-cells", 2);
	TREE_CELLS(t, "#size-cells", 2);
	tree_flag(t, "ranges");
	if (a->m->gic == 2)
		TREE_CELLS(t, "reg", CELL64(GICD_BASE), CELL64(GICV2_DIST_LEN), CELL64(GICC_BASE), CELL64(GICC_LEN));
	else
		TREE_CELLS(t, "reg", CELL64(GICD_BASE), CELL64(GICD_LEN), CELL64(GICR_BASE),
			   CELL64((uint64_t)GICR_LEN * a->vm->nvcpus));
	TREE_CELLS(t, "phandle", PH_GIC);
	if (a->m->gic == 3 && a->m->its)
		add_its(t);
	if (a->m->gic == 2 && a->m->v2m)
		add_v2m(t);
	tree_end(t);
}

/*
 * A slot's pin goes to GSI (slot + pin) % 4, so two bits of the slot number tell all: device bits 1:0 are bits
 * 12:11 of the address's first cell.
 */
static void add_interrupt_map(struct tree *t, const struct arch_info *arch)
{
	enum { CELLS = 10, SLOTS = 4, PINS = 4 };
	uint32_t map[SLOTS * PINS][CELLS];

	for (unsigned i = 0; i < SLOTS * PINS; i++) {
		unsigned slot = i / PINS, pin = i % PINS;
		const uint32_t row[CELLS] = { slot << 11, 0, 0, pin + 1, PH_GIC, 0, 0, GIC_SPI, arch->pci_intx_gsi(slot, pin),
					      IRQ_LEVEL_HIGH };
		memcpy(map[i], row, sizeof(row));
	}
	TREE_CELLS(t, "interrupt-map-mask", (SLOTS - 1) << 11, 0, 0, 7);
	tree_cells(t, "interrupt-map", &map[0][0], NELEM(map) * CELLS);
}

static void add_ranges(struct tree *t, const struct memmap *map)
{
	const uint32_t cells[] = {
		PCI_SPACE_IO, CELL64(map->pci_io_base), CELL64(map->pci_io_mmio), CELL64(map->pci_io_len),
		PCI_SPACE_MEM32, CELL64(map->pci32_base), CELL64(map->pci32_base), CELL64(map->pci32_len),
		PCI_SPACE_MEM64, CELL64(map->pci64_base), CELL64(map->pci64_base), CELL64(map->pci64_len),
	};
	/* Hosts with few address bits may have no 64-bit window. */
	tree_cells(t, "ranges", cells, map->pci64_len ? NELEM(cells) : NELEM(cells) / 3 * 2);
}

static void add_pcie(struct tree *t, const struct fdt_arg *a)
{
	const struct memmap *map = &a->vm->map;

	tree_node(t, "pcie@%llx", (unsigned long long)map->ecam_base);
	tree_str(t, "compatible", "pci-host-ecam-generic");
	tree_str(t, "device_type", "pci");
	TREE_CELLS(t, "#address-cells", 3);
	TREE_CELLS(t, "#size-cells", 2);
	TREE_CELLS(t, "#interrupt-cells", 1);
	TREE_CELLS(t, "linux,pci-domain", 0);
	TREE_CELLS(t, "bus-range", 0, (uint32_t)(map->ecam_len / MIB(1)) - 1);
	add_reg(t, map->ecam_base, map->ecam_len);
	add_ranges(t, map);
	add_interrupt_map(t, a->vm->arch);
	if (a->m->gic == 3 && a->m->its)
		TREE_CELLS(t, "msi-map", 0, PH_MSI, 0, 0x10000);
	if (a->m->gic == 2 && a->m->v2m)
		TREE_CELLS(t, "msi-parent", PH_MSI);
	tree_flag(t, "dma-coherent");
	tree_end(t);
}

static void add_gpio_props(struct tree *t)
{
	tree_flag(t, "gpio-controller");
	TREE_CELLS(t, "#gpio-cells", 2);
	tree_flag(t, "interrupt-controller");
	TREE_CELLS(t, "#interrupt-cells", 2);
	TREE_CELLS(t, "#address-cells", 0);
	TREE_CELLS(t, "phandle", PH_GPIO);
}

/* Every clock of a chip is the board's one. */
static void add_clocks(struct tree *t, const char *names)
{
	uint32_t cells[] = { PH_CLOCK, PH_CLOCK, PH_CLOCK, PH_CLOCK };
	size_t n = 1;

	for (const char *p = names; (p = strstr(p, ",,")); p += 2)
		n++;
	assert(n <= NELEM(cells));
	tree_cells(t, "clocks", cells, n);
	tree_strs(t, "clock-names", names);
}

static void add_chip(struct tree *t, const struct device *d)
{
	const struct dev_desc *desc = d->cls->desc;

	tree_node(t, "%s@%llx", desc->fdt_name, (unsigned long long)d->io.base);
	tree_strs(t, "compatible", desc->compatible);
	add_reg(t, d->io.base, d->io.len);
	if (d->gsi != DEV_NO_GSI)
		TREE_CELLS(t, "interrupts", GIC_SPI, d->gsi, IRQ_LEVEL_HIGH);
	if (desc->clock_names)
		add_clocks(t, desc->clock_names);
	if (strcmp(d->cls->name, POWER_BUTTON_CLASS) == 0)
		add_gpio_props(t);
	if (strcmp(d->cls->name, FW_CFG_CLASS) == 0)
		tree_flag(t, "dma-coherent");
	tree_end(t);
}

/* All banks are one node, which U-Boot and EDK2 take apart. */
static void add_flash(struct tree *t, const struct vm *vm)
{
	enum { BANKS_MAX = 4, CELLS = 4 };
	uint32_t reg[BANKS_MAX * CELLS];
	unsigned n = 0;

	for (unsigned i = 0; i < vm->ndevs; i++) {
		const struct bus_range *io = &vm->devs[i]->io;
		const uint32_t bank[CELLS] = { CELL64(io->base), CELL64(io->len) };

		if (strcmp(vm->devs[i]->cls->name, FLASH_CLASS) == 0 && n < BANKS_MAX)
			memcpy(&reg[n++ * CELLS], bank, sizeof(bank));
	}
	if (!n)
		return;
	tree_node(t, "flash@%x", reg[1]);
	tree_str(t, "compatible", "cfi-flash");
	tree_cells(t, "reg", reg, n * CELLS);
	TREE_CELLS(t, "bank-width", FLASH_WIDTH);
	tree_end(t);
}

static void add_power_button(struct tree *t)
{
	tree_node(t, "gpio-keys");
	tree_str(t, "compatible", "gpio-keys");
	tree_node(t, "poweroff");
	tree_str(t, "label", "Power button");
	TREE_CELLS(t, "linux,code", KEY_POWER);
	TREE_CELLS(t, "gpios", PH_GPIO, POWER_BUTTON_PIN, 0);
	tree_end(t);
	tree_end(t);
}

static void fill(struct tree *t, const void *arg)
{
	const struct fdt_arg *a = arg;
	const struct vm *vm = a->vm;

	add_root(t);
	add_chosen(t, a);
	add_memory(t, &vm->map);
	add_cpus(t, vm);
	add_psci(t);
	add_timer(t, a);
	add_pmu(t, a);
	add_clock(t);
	add_gic(t, a);
	add_pcie(t, a);
	add_flash(t, vm);
	for (unsigned i = 0; i < vm->ndevs; i++) {
		if (is_chip(vm, vm->devs[i]))
			add_chip(t, vm->devs[i]);
	}
	if (first_chip(vm, POWER_BUTTON_CLASS))
		add_power_button(t);
}

int arm64_fdt_build(struct vm *vm, const struct arm64_layout *where, struct blob *out)
{
	struct fdt_arg a = { .vm = vm, .m = arm64_machine(vm), .where = where, .seeds = !vm->dry };

	if (a.seeds && (getrandom(a.rng_seed, sizeof(a.rng_seed), 0) != (ssize_t)sizeof(a.rng_seed) ||
			getrandom(a.kaslr_seed, sizeof(a.kaslr_seed), 0) != (ssize_t)sizeof(a.kaslr_seed)))
		return err_sys("random seeds for the guest");
	int err = tree_build(fill, &a, ARM64_FDT_MAX, out);
	if (err == -E2BIG)
		return err_msg(err, "the device tree is larger than the 2 MiB a kernel reads: shorten the kernel's command line");
	return err ? err_msg(err, "building the device tree failed: %s", strerror(-err)) : 0;
}
