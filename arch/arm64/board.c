/*
 * The "virt" board and its memory map.  Addresses are those Debian's EDK2 and U-Boot builds for QEMU's virt
 * machine expect, so that unmodified firmware runs.
 *
 * DEVIATION: 123 vCPUs at most.  More need a second redistributor region in high memory.
 * DEVIATION: 255 GiB of RAM at most.  More would move ECAM and the 64-bit window, and need 41 address bits.
 */
#include <errno.h>
#include <inttypes.h>

#include "arch/arm64/arm64.h"
#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

static const struct board_chip virt_chips[] = {
	{ "pl011", "lpc.com1", false, 0x09000000, 1, NULL },
	{ "pl031", "rtc", false, 0x09010000, 2, NULL },
	{ POWER_BUTTON_CLASS, "gpio", false, 0x09030000, 7, NULL },
	{ "pl011", "lpc.com2", false, 0x09040000, 8, "lpc.com2.path" },
	{ NULL, NULL, false, 0, DEV_NO_GSI, NULL },
};
static const struct board_chip virt_fw_chips[] = {
	{ "fw-cfg", "fwcfg", false, 0x09020000, DEV_NO_GSI, NULL },
	{ NULL, NULL, false, 0, DEV_NO_GSI, NULL },
};
static const struct board virt = { .name = "virt", .chips = virt_chips, .fw_chips = virt_fw_chips };
static const struct board *const boards[] = { &virt, NULL };

/* Guest pages may be 64 KiB, and host pages too: no smaller remainder of RAM can be mapped everywhere. */
#define RAM_ALIGN KIB(64)

static int memmap(const struct conf *conf, struct memmap *out)
{
	uint64_t size = conf_u64(conf, "memory.size");

	if (size == 0 || size % RAM_ALIGN)
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " bytes is not a multiple of 64 KiB, the largest page size: "
			       "use %" PRIu64 "K", size, MAX(ALIGN_UP(size, RAM_ALIGN), RAM_ALIGN) >> 10);
	if (size > RAM_LEN_MAX)
		return err_msg(-EINVAL,
			       "memory.size: %" PRIu64 " MiB is more than the virt board has room for: use at most %" PRIu64 "G",
			       size >> 20, (uint64_t)(RAM_LEN_MAX >> 30));
	*out = (struct memmap){
		.ram = { { RAM_BASE, size } }, .nram = 1,
		.ecam_base = ECAM_BASE, .ecam_len = ECAM_LEN,
		.pci_io_base = 0, .pci_io_len = PCI_IO_LEN, .pci_io_mmio = PCI_IO_MMIO,
		.pci32_base = PCI32_BASE, .pci32_len = PCI_IO_MMIO - PCI32_BASE,
		.pci64_base = PCI64_BASE, .pci64_len = PCI64_LEN,
	};
	return 0;
}

unsigned arm64_map_bits(const struct memmap *map)
{
	uint64_t end = MAX(map->ecam_base + map->ecam_len, map->pci64_base + map->pci64_len);

	for (unsigned i = 0; i < map->nram; i++)
		end = MAX(end, map->ram[i].base + map->ram[i].len);
	return 64 - (unsigned)__builtin_clzll(end - 1);
}

int arm64_map_limit(struct memmap *map, unsigned ipa_bits)
{
	uint64_t limit = ipa_bits < 64 ? BIT64(ipa_bits) : UINT64_MAX;
	uint64_t ram_end = map->ram[0].base + map->ram[0].len;

	if (arm64_map_bits(map) <= ipa_bits)
		return 0;
	if (ram_end > limit)
		return err_msg(-EINVAL, "memory.size: %" PRIu64 " MiB do not fit the %u address bits this host gives its guests: "
			       "use at most %" PRIu64 "M", map->ram[0].len >> 20, ipa_bits,
			       limit > map->ram[0].base ? (limit - map->ram[0].base) >> 20 : 0);
	if (map->ecam_base + map->ecam_len > limit) {
		map->ecam_base = ECAM_LOW_BASE;
		map->ecam_len = ECAM_LOW_LEN;
	}
	uint64_t base = ALIGN_UP(MAX(ram_end, map->ecam_base + map->ecam_len), GIB(1));
	map->pci64_base = base < limit ? base : 0;
	map->pci64_len = base < limit ? limit - base : 0;
	return 0;
}

static uint32_t pci_intx_gsi(unsigned slot, unsigned pin)
{
	return SPI_PCI_INTA + (slot + pin) % 4;
}

static int add_fixed(struct vm *vm)
{
	return vm->firmware ? arm64_add_flash(vm) : 0;
}

const struct arm64_machine *arm64_machine(const struct vm *vm)
{
	static const struct arm64_machine dry = { .gic = 3, .its = true, .pmu = true };
	/* The machine comes first in struct vm_arch, which only the KVM half knows in full. */
	return vm->arch_state ? (const struct arm64_machine *)(const void *)vm->arch_state : &dry;
}

const struct arch_info arch_arm64 = {
	.name = "arm64",
	.debian = "arm64",
	.has_pio = false,
	.max_vcpus = ARM64_VCPUS_MAX,
	.boards = boards,
	.host_bridge_vendor = 0x1b36, .host_bridge_device = 0x0008,     /* generic ECAM bridge */
	.serial_class = "pl011",
	.cdrom_class = "virtio-blk",            /* EDK2's ArmVirtQemu has no AHCI driver */
	.memmap = memmap,
	.pci_intx_gsi = pci_intx_gsi,
	.add_fixed = add_fixed,
	.fill_fw_cfg = arm64_fill_fw_cfg,
	.load = arm64_load,
	.debug = &arm64_debug,
	.core = &arm64_core,
	.exits = &arm64_exits,
	.print_tables = arm64_print_tables,
	.write_tables = arm64_write_tables,
};
