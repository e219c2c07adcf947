/*
 * GICv2m: turns a memory write into an SPI, for hosts whose GIC has no ITS [SBSA DEN0029 appendix E].
 * Messages of PCI devices become irqfds on the SPI (arch_msi_route()) and do not come here; writes by the guest's own
 * CPUs do.
 */
#include "arch/arm64/kvm.h"

#include "common/irq.h"
#include "common/vm.h"

enum { V2M_MSI_TYPER = 0x008, V2M_MSI_IIDR = 0xfcc };

static uint64_t v2m_read(void *dev, uint64_t off, unsigned size)
{
	(void)dev;
	if (size != 4 || off != V2M_MSI_TYPER)
		return 0;               /* IIDR 0: no vendor's quirks */
	return (uint64_t)(INTID_SPI0 + SPI_V2M) << 16 | SPI_V2M_COUNT;
}

static void v2m_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct vm *vm = dev;
	uint32_t gsi;
	(void)size;
	if (off == V2M_SETSPI && arch_msi_route(vm, V2M_BASE + V2M_SETSPI, (uint32_t)val, 0, NULL, &gsi) == 1) {
		arch_irq_line(vm, gsi, true);
		arch_irq_line(vm, gsi, false);
	}
}

static const struct io_ops v2m_ops = { .read = v2m_read, .write = v2m_write };

int arm64_v2m_init(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	/* Stateless, so no lock. */
	a->v2m = (struct bus_range){ .name = "v2m", .base = V2M_BASE, .len = V2M_LEN, .ops = &v2m_ops, .dev = vm };
	int err = bus_add(&vm->mmio, &a->v2m);
	a->m.v2m = !err;
	return err;
}
