/*
 * The VM as KVM on arm64 sees it: address size, interrupt chip, interrupt routes, power button [KVM-API].
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "arch/arm64/kvm.h"
#include "common/image.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/pl061.h"

const struct arch_info *const arch_native = &arch_arm64;

/* Address bits of guests on this host; before KVM could tell (Linux 4.20), always 40. */
static unsigned host_ipa_bits(int kvm_fd)
{
	int bits = kvm_cap(kvm_fd, KVM_CAP_ARM_VM_IPA_SIZE);
	return bits > 0 ? (unsigned)bits : ARM64_IPA_BITS;
}

unsigned long arch_vm_type(int kvm_fd, const struct memmap *map)
{
	enum { IPA_BITS_MIN = 32 };
	if (!kvm_cap(kvm_fd, KVM_CAP_ARM_VM_IPA_SIZE))
		return 0;
	return KVM_VM_TYPE_ARM_IPA_SIZE(MIN(MAX(arm64_map_bits(map), (unsigned)IPA_BITS_MIN), host_ipa_bits(kvm_fd)));
}

int arch_vm_init(struct vm *vm)
{
	int err = arm64_map_limit(&vm->map, host_ipa_bits(vm->kvm_fd));
	if (err)
		return err;
	vm->arch_state = calloc(1, sizeof(*vm->arch_state));
	if (!vm->arch_state)
		return err_sys("memory for the VM");
	vm->arch_state->gic_fd = vm->arch_state->its_fd = -1;
	arm64_vcpu_features(vm);
	/* Accesses KVM cannot decode then end the guest with their address instead of failing KVM_RUN. */
	struct kvm_enable_cap nisv = { .cap = KVM_CAP_ARM_NISV_TO_USER };
	if (kvm_cap(vm->fd, KVM_CAP_ARM_NISV_TO_USER))
		kvm_ioctl(vm->fd, KVM_ENABLE_CAP, &nisv);
	return arm64_gic_create(vm);
}

void arch_vm_fini(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	if (!a)
		return;
	if (a->v2m.mapped)
		bus_del(&vm->mmio, &a->v2m);
	if (a->its_fd >= 0)
		close(a->its_fd);
	if (a->gic_fd >= 0)
		close(a->gic_fd);
	free(a);
	vm->arch_state = NULL;
}

/* Page size the kernel was built for, in KiB, by its header's flags [LINUX-ARM64-BOOT 4]; 0: it does not say. */
static unsigned kernel_page_kib(const struct image *img)
{
	static const unsigned kib[] = { 0, 4, 16, 64 };
	return img->kind == IMAGE_ARM64 && img->len >= 64 ? kib[img->data[24] >> 1 & 3] : 0;
}

/* A kernel whose page size the CPU lacks stops without a word, so it is refused here. */
static int check_page_size(const struct vm *vm)
{
	unsigned kib = kernel_page_kib(&vm->image);
	uint64_t mmfr0;
	if (!kib || arm64_reg_get(vm->vcpus[0].fd, ARM64_SYS_REG(3, 0, 0, 7, 0), &mmfr0))
		return 0;
	/* ID_AA64MMFR0_EL1 [Arm ARM DDI0487]: TGran4 and TGran64 all-ones mean none, TGran16 zero means none */
	bool has = kib == 4 ? (mmfr0 >> 28 & 0xf) != 0xf : kib == 64 ? (mmfr0 >> 24 & 0xf) != 0xf : (mmfr0 >> 20 & 0xf) != 0;
	return has ? 0 : err_msg(-ENOTSUP,
				 "kernel '%s' is built for %u KiB pages, which this CPU does not have: use one for %s pages",
				 vm->image.path, kib, kib == 4 ? "64 KiB" : "4 KiB");
}

int arch_irqchip_seal(struct vm *vm)
{
	int err = arm64_gic_seal(vm);
	if (!err)
		err = arm64_pmu_seal(vm);
	return err ? err : check_page_size(vm);
}

int arch_vm_reset(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		int err = arm64_vcpu_power_on(&vm->vcpus[i]);
		if (err)
			return err;
	}
	return arm64_gic_reset(vm);
}

int arch_irq_line(struct vm *vm, uint32_t gsi, bool level)
{
	struct kvm_irq_level l = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (gsi + INTID_SPI0),
		.level = level,
	};
	return kvm_ioctl(vm->fd, KVM_IRQ_LINE, &l);
}

int arch_msi_route(struct vm *vm, uint64_t addr, uint32_t data, uint32_t devid, struct kvm_irq_routing_entry *e, uint32_t *gsi)
{
	const struct arm64_machine *m = &vm->arch_state->m;
	if (m->v2m && addr == V2M_BASE + V2M_SETSPI && data - (INTID_SPI0 + SPI_V2M) < SPI_V2M_COUNT) {
		*gsi = data - INTID_SPI0;
		return 1;
	}
	if (!m->its || addr != ITS_TRANSLATER)
		return -EINVAL;
	*e = (struct kvm_irq_routing_entry){ .type = KVM_IRQ_ROUTING_MSI, .flags = KVM_MSI_VALID_DEVID };
	e->u.msi.address_lo = (uint32_t)addr;
	e->u.msi.address_hi = (uint32_t)(addr >> 32);
	e->u.msi.data = data;
	e->u.msi.devid = devid;
	return 0;
}

static bool pin_used(const struct vm *vm, uint32_t gsi)
{
	if (vm->arch_state->m.v2m && gsi - SPI_V2M < SPI_V2M_COUNT)
		return true;
	for (const struct irq_pin *p = vm->pins; p; p = p->next) {
		if (p->gsi == gsi)
			return true;
	}
	return false;
}

unsigned arch_fixed_routes(struct vm *vm, struct kvm_irq_routing_entry *e, unsigned max)
{
	unsigned n = 0;
	for (uint32_t gsi = 0; gsi < NR_INTIDS - INTID_SPI0 && n < max; gsi++) {
		if (!pin_used(vm, gsi))
			continue;
		e[n] = (struct kvm_irq_routing_entry){ .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP };
		e[n++].u.irqchip.pin = gsi;
	}
	return n;
}

/* GPIOIE [PL061 DDI0190 3.3.6]: a guest that has not asked for the pin's interrupt would not notice the button. */
#define GPIO_IE 0x410

bool arch_power_button(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		struct device *d = vm->devs[i];
		uint64_t enabled;
		if (strcmp(d->cls->name, POWER_BUTTON_CLASS) != 0)
			continue;
		bus_read(&vm->mmio, d->io.base + GPIO_IE, 4, &enabled);
		if (enabled & BIT(POWER_BUTTON_PIN)) {
			pl061_press(d, POWER_BUTTON_PIN);
			return true;
		}
	}
	return false;
}
