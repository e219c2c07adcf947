/*
 * x86 machines in KVM: in-kernel PIC, IOAPIC and PIT, interrupt routes, the power button.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/x86/kvm_x86.h"
#include "arch/x86/layout.h"
#include "common/conf.h"
#include "common/kvm.h"
#include "common/log.h"
#include "devices/acpi_pm.h"

const struct arch_info *const arch_native = &arch_x86;

/* Pages KVM needs on hosts without unrestricted guests: below the IOAPIC's neighbour, above the PCI window. */
#define IDENTITY_MAP 0xfeffc000ull
#define TSS_ADDR 0xfeffd000ul
#define X2APIC_FROM 255                 /* vCPUs above this need 32-bit APIC IDs in messages */

unsigned long arch_vm_type(int kvm_fd, const struct memmap *map)
{
	(void)kvm_fd;
	(void)map;
	return 0;
}

static const char *const chip_names[] = { "PIC", "second PIC", "IOAPIC" };

static int chips_save(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	for (uint32_t i = 0; i < NELEM(a->chips); i++) {
		a->chips[i].chip_id = i;
		int err = kvm_ioctl(vm->fd, KVM_GET_IRQCHIP, &a->chips[i]);
		if (err)
			return err_msg(err, "reading the %s's state from KVM: %s", chip_names[i], strerror(-err));
	}
	int err = kvm_ioctl(vm->fd, KVM_GET_PIT2, &a->pit);
	return err ? err_msg(err, "reading the timer's state from KVM: %s", strerror(-err)) : 0;
}

static int enable_x2apic_ids(struct vm *vm)
{
	struct kvm_enable_cap cap = {
		.cap = KVM_CAP_X2APIC_API, .args = { KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	};
	int err = vm->nvcpus > X2APIC_FROM ? kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap) : 0;
	return err ? err_msg(err, "cpus: %u vCPUs need 32-bit APIC IDs, which this KVM lacks: %s", vm->nvcpus, strerror(-err)) : 0;
}

/* bhyve's -w: MSRs KVM does not know exit to us, read 0 and take any write. */
static int tolerate_msrs(struct vm *vm)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { KVM_MSR_EXIT_REASON_UNKNOWN } };
	int err = conf_bool(vm->conf, "x86.strictmsr") ? 0 : kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &cap);
	return err ? err_msg(err, "x86.strictmsr: this KVM cannot pass unknown MSRs on (%s); leave out -w", strerror(-err)) : 0;
}

static int set_routes(struct vm *vm)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[64];
	} r = { 0 };
	r.head.nr = arch_fixed_routes(vm, r.e, NELEM(r.e));
	int err = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, &r);
	return err ? err_msg(err, "interrupt routes: %s", strerror(-err)) : 0;
}

int arch_vm_init(struct vm *vm)
{
	static const uint64_t identity = IDENTITY_MAP;
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	vm->arch_state = calloc(1, sizeof(*vm->arch_state));
	if (!vm->arch_state)
		return -ENOMEM;
	int err = kvm_ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);
	if (!err)
		err = kvm_ioctl_n(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDR);
	if (!err)
		err = kvm_ioctl_n(vm->fd, KVM_CREATE_IRQCHIP, 0);
	if (!err)
		err = kvm_ioctl(vm->fd, KVM_CREATE_PIT2, &pit);
	if (err)
		return err_msg(err, "KVM does not provide interrupt controllers and timer: %s", strerror(-err));
	err = enable_x2apic_ids(vm);
	if (!err)
		err = tolerate_msrs(vm);
	if (!err)
		err = set_routes(vm);
	if (!err)
		err = chips_save(vm);
	return err ? err : x86_cpuid_init(vm);
}

int arch_irqchip_seal(struct vm *vm)
{
	(void)vm;
	return 0;
}

void arch_vm_fini(struct vm *vm)
{
	free(vm->arch_state);
	vm->arch_state = NULL;
}

int arch_vm_reset(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	for (size_t i = 0; i < NELEM(a->chips); i++) {
		int err = kvm_ioctl(vm->fd, KVM_SET_IRQCHIP, &a->chips[i]);
		if (err)
			return err_msg(err, "resetting the %s: %s", chip_names[i], strerror(-err));
	}
	int err = kvm_ioctl(vm->fd, KVM_SET_PIT2, &a->pit);
	return err ? err_msg(err, "resetting the timer: %s", strerror(-err)) : 0;
}

int arch_irq_line(struct vm *vm, uint32_t gsi, bool level)
{
	struct kvm_irq_level l = { .irq = gsi, .level = level };
	return kvm_ioctl(vm->fd, KVM_IRQ_LINE, &l);
}

/* A message is for local APICs when its address is in their block [SDM-3A 11.11.1]. */
int arch_msi_route(struct vm *vm, uint64_t addr, uint32_t data, uint32_t devid, struct kvm_irq_routing_entry *e, uint32_t *gsi)
{
	(void)vm;
	(void)devid;
	(void)gsi;
	if ((addr & 0xfff00000) != X86_LAPIC)
		return -EINVAL;
	e->type = KVM_IRQ_ROUTING_MSI;
	e->u.msi.address_lo = (uint32_t)addr;
	e->u.msi.address_hi = (uint32_t)(addr >> 32);
	e->u.msi.data = data;
	return 0;
}

static void add_route(struct kvm_irq_routing_entry *e, unsigned *n, unsigned max, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	if (*n < max)
		e[(*n)++] = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { chip, pin } };
}

/* ISA interrupts reach PIC and IOAPIC; the timer's IOAPIC input is 2, as MADT and MPTABLE say. */
unsigned arch_fixed_routes(struct vm *vm, struct kvm_irq_routing_entry *e, unsigned max)
{
	unsigned n = 0;
	(void)vm;
	for (uint32_t gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		if (gsi == 2)
			continue;       /* the cascade */
		if (gsi < 16)
			add_route(e, &n, max, gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi & 7);
		add_route(e, &n, max, gsi, KVM_IRQCHIP_IOAPIC, gsi == 0 ? 2 : gsi);
	}
	return n;
}

bool arch_power_button(struct vm *vm)
{
	struct device *pm = vm_device(vm, "pm");
	return pm && acpi_pm_power_button(pm);
}
