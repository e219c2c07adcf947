/*
 * The interrupt chip, which KVM emulates: choice, set-up, and its way back to power-on state
 * [KVM-API devices/arm-vgic.rst, arm-vgic-v3.rst, arm-vgic-its.rst; GICv3 IHI0069; GICv2 IHI0048].
 *
 * GICv3 with ITS is preferred; GICv2 with a v2m frame (kvm_v2m.c) is taken where the host has only that.
 * KVM has no reset for a GIC: registers are written one by one.
 */
#include <errno.h>
#include <unistd.h>

#include "arch/arm64/kvm.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/vm.h"

int arm64_attr_set(int fd, uint32_t group, uint64_t attr, const void *value)
{
	struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };
	return kvm_ioctl(fd, KVM_SET_DEVICE_ATTR, &a);
}

int arm64_attr_get(int fd, uint32_t group, uint64_t attr, void *value)
{
	struct kvm_device_attr a = { .group = group, .attr = attr, .addr = (uintptr_t)value };
	return kvm_ioctl(fd, KVM_GET_DEVICE_ATTR, &a);
}

bool arm64_attr_has(int fd, uint32_t group, uint64_t attr)
{
	struct kvm_device_attr a = { .group = group, .attr = attr };
	return kvm_ioctl(fd, KVM_HAS_DEVICE_ATTR, &a) == 0;
}

int arm64_device_create(int vm_fd, uint32_t type, bool test)
{
	struct kvm_create_device cd = { .type = type, .flags = test ? KVM_CREATE_DEVICE_TEST : 0 };
	int err = kvm_ioctl(vm_fd, KVM_CREATE_DEVICE, &cd);
	return err ? err : test ? 0 : (int)cd.fd;
}

static int set_addr(int fd, uint64_t type, uint64_t addr)
{
	return arm64_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, type, &addr);
}

static int create_its(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	if (arm64_device_create(vm->fd, KVM_DEV_TYPE_ARM_VGIC_ITS, true))
		return 0;
	a->its_fd = arm64_device_create(vm->fd, KVM_DEV_TYPE_ARM_VGIC_ITS, false);
	int err = a->its_fd < 0 ? a->its_fd : set_addr(a->its_fd, KVM_VGIC_ITS_ADDR_TYPE, ITS_BASE);
	if (err)
		return err_msg(err, "interrupt controller: KVM refuses the ITS: %s", strerror(-err));
	a->m.its = true;
	return 0;
}

static int create_v3(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	int err = set_addr(a->gic_fd, KVM_VGIC_V3_ADDR_TYPE_DIST, GICD_BASE);
	if (!err)
		err = set_addr(a->gic_fd, KVM_VGIC_V3_ADDR_TYPE_REDIST, GICR_BASE);
	return err ? err_msg(err, "interrupt controller: KVM refuses the GICv3's addresses: %s", strerror(-err)) : create_its(vm);
}

static int create_v2(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	if (vm->nvcpus > GICV2_VCPUS_MAX)
		return err_msg(-EINVAL,
			       "cpus: %u vCPUs asked for, but this host's interrupt controller is a GICv2, which serves %d: "
			       "use at most -c %d", vm->nvcpus, GICV2_VCPUS_MAX, GICV2_VCPUS_MAX);
	int err = set_addr(a->gic_fd, KVM_VGIC_V2_ADDR_TYPE_DIST, GICD_BASE);
	if (!err)
		err = set_addr(a->gic_fd, KVM_VGIC_V2_ADDR_TYPE_CPU, GICC_BASE);
	if (err)
		return err_msg(err, "interrupt controller: KVM refuses the GICv2's addresses: %s", strerror(-err));
	return arm64_v2m_init(vm);
}

int arm64_gic_create(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	const uint32_t nr_irqs = NR_INTIDS;
	a->m.gic = arm64_device_create(vm->fd, KVM_DEV_TYPE_ARM_VGIC_V3, true) == 0 ? 3 : 2;
	a->gic_fd = arm64_device_create(vm->fd, a->m.gic == 3 ? KVM_DEV_TYPE_ARM_VGIC_V3 : KVM_DEV_TYPE_ARM_VGIC_V2, false);
	if (a->gic_fd < 0)
		return err_msg(a->gic_fd,
			       "interrupt controller: KVM on this host emulates neither GICv3 nor GICv2 (%s); see 'skep doctor'",
			       strerror(-a->gic_fd));
	int err = arm64_attr_set(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &nr_irqs);
	if (err)
		return err_msg(err, "interrupt controller: KVM refuses %u interrupts: %s", nr_irqs, strerror(-err));
	return a->m.gic == 3 ? create_v3(vm) : create_v2(vm);
}

int arm64_gic_seal(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	int err = arm64_attr_set(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	if (!err && a->m.its)
		err = arm64_attr_set(a->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	return err ? err_msg(err, "interrupt controller: KVM cannot start the GICv%u: %s", a->m.gic, strerror(-err)) : 0;
}

/* --- reset --- */

/* Registers off, off + step ... below end get one value. */
struct reg_run {
	uint32_t off, end, step, value;
};
#define BITS_OF(base) (base) + INTID_SPI0 / 8, (base) + NR_INTIDS / 8, 4

/* Distributor, SPIs.  Disabled first, so that nothing fires while the rest changes. */
static const struct reg_run dist_v3[] = {
	{ 0x0000, 0x0004, 4, 0 },                               /* GICD_CTLR */
	{ BITS_OF(0x0180), UINT32_MAX },                        /* GICD_ICENABLER */
	{ BITS_OF(0x0080), UINT32_MAX },                        /* GICD_IGROUPR: KVM's power-on value */
	{ BITS_OF(0x0200), 0 },                                 /* GICD_ISPENDR: from user space, the whole state */
	{ BITS_OF(0x0380), UINT32_MAX },                        /* GICD_ICACTIVER */
	{ 0x0400 + INTID_SPI0, 0x0400 + NR_INTIDS, 4, 0 },      /* GICD_IPRIORITYR */
	{ 0x0c00 + INTID_SPI0 / 4, 0x0c00 + NR_INTIDS / 4, 4, 0 },      /* GICD_ICFGR */
	{ 0x6000 + INTID_SPI0 * 8, 0x6000 + NR_INTIDS * 8, 8, 0 },      /* GICD_IROUTER: low words, the high ones are unused */
};
static const struct reg_run dist_v2[] = {
	{ 0x0000, 0x0004, 4, 0 },
	{ BITS_OF(0x0180), UINT32_MAX },
	{ BITS_OF(0x0080), 0 },
	{ BITS_OF(0x0280), UINT32_MAX },                        /* GICD_ICPENDR */
	{ BITS_OF(0x0380), UINT32_MAX },
	{ 0x0400 + INTID_SPI0, 0x0400 + NR_INTIDS, 4, 0 },
	{ 0x0800 + INTID_SPI0, 0x0800 + NR_INTIDS, 4, 0 },      /* GICD_ITARGETSR */
	{ 0x0c00 + INTID_SPI0 / 4, 0x0c00 + NR_INTIDS / 4, 4, 0 },
};
/* Redistributor of one vCPU; LPIs go off before their tables' addresses go away. */
static const struct reg_run redist_v3[] = {
	{ 0x00000, 0x00004, 4, 0 },                             /* GICR_CTLR */
	{ 0x00070, 0x00080, 4, 0 },                             /* GICR_PROPBASER, GICR_PENDBASER */
	{ 0x10180, 0x10184, 4, UINT32_MAX },                    /* GICR_ICENABLER0 */
	{ 0x10080, 0x10084, 4, UINT32_MAX },                    /* GICR_IGROUPR0 */
	{ 0x10200, 0x10204, 4, 0 },                             /* GICR_ISPENDR0 */
	{ 0x10380, 0x10384, 4, UINT32_MAX },                    /* GICR_ICACTIVER0 */
	{ 0x10400, 0x10420, 4, 0 },                             /* GICR_IPRIORITYR */
	{ 0x10c04, 0x10c08, 4, 0 },                             /* GICR_ICFGR1 */
};
/* Distributor, the part every vCPU has its own of. */
static const struct reg_run banked_v2[] = {
	{ 0x0180, 0x0184, 4, UINT32_MAX },
	{ 0x0080, 0x0084, 4, 0 },
	{ 0x0280, 0x0284, 4, UINT32_MAX },
	{ 0x0380, 0x0384, 4, UINT32_MAX },
	{ 0x0400, 0x0420, 4, 0 },
	{ 0x0c04, 0x0c08, 4, 0 },
	{ 0x0f10, 0x0f20, 4, UINT32_MAX },                      /* GICD_CPENDSGIR */
};
static const struct reg_run cpuif_v2[] = {
	{ 0x0000, 0x000c, 4, 0 },                               /* GICC_CTLR, GICC_PMR, GICC_BPR */
	{ 0x001c, 0x0020, 4, 0 },                               /* GICC_ABPR */
	{ 0x00d0, 0x00d4, 4, 0 },                               /* GICC_APR0: KVM's CPU interface has 32 priorities */
};

static int write_runs(int fd, uint32_t group, uint64_t cpu, const struct reg_run *r, size_t n)
{
	for (; n; r++, n--) {
		for (uint32_t off = r->off; off < r->end; off += r->step) {
			int err = arm64_attr_set(fd, group, cpu << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT | off, &r->value);
			if (err)
				return err_msg(err, "interrupt controller: resetting register 0x%x in group %u: %s", off, group,
					       strerror(-err));
		}
	}
	return 0;
}

/* System registers of the CPU interface, by op0.op1.CRn.CRm.op2 */
#define ICC(crm, op2) (3u << 14 | 12u << 7 | (crm) << 3 | (op2))
#define ICC_PMR (3u << 14 | 4u << 7 | 6u << 3)
#define ICC_CTLR ICC(12u, 4u)
#define ICC_CTLR_CBPR_EOIMODE 3u
static const struct { uint32_t reg; bool optional; } icc_zero[] = {
	{ ICC(12u, 6u), false }, { ICC(12u, 7u), false },       /* IGRPEN0, IGRPEN1 */
	{ ICC_PMR, false }, { ICC(8u, 3u), false }, { ICC(12u, 3u), false },    /* PMR, BPR0, BPR1 */
	{ ICC(8u, 4u), false }, { ICC(8u, 5u), true }, { ICC(8u, 6u), true }, { ICC(8u, 7u), true },    /* AP0R0-3 */
	{ ICC(9u, 0u), false }, { ICC(9u, 1u), true }, { ICC(9u, 2u), true }, { ICC(9u, 3u), true },    /* AP1R0-3 */
};

/* KVM_ARM_VCPU_INIT leaves these alone. */
static int reset_cpuif_v3(int fd, uint64_t mpidr)
{
	uint64_t cpu = mpidr << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT, ctlr = 0, zero = 0;
	int err = 0;
	for (size_t i = 0; i < NELEM(icc_zero) && !err; i++) {
		err = arm64_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, cpu | icc_zero[i].reg, &zero);
		if (icc_zero[i].optional)       /* hosts with few priority bits lack the higher ones */
			err = 0;
	}
	if (!err)
		err = arm64_attr_get(fd, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, cpu | ICC_CTLR, &ctlr);
	ctlr &= ~(uint64_t)ICC_CTLR_CBPR_EOIMODE;
	if (!err)
		err = arm64_attr_set(fd, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS, cpu | ICC_CTLR, &ctlr);
	return err ? err_msg(err, "interrupt controller: resetting a CPU interface: %s", strerror(-err)) : 0;
}

static int reset_v3(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	int err = write_runs(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0, dist_v3, NELEM(dist_v3));
	for (unsigned i = 0; !err && i < vm->nvcpus; i++) {
		err = write_runs(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_REDIST_REGS, arm64_mpidr(i), redist_v3, NELEM(redist_v3));
		if (!err)
			err = reset_cpuif_v3(a->gic_fd, arm64_mpidr(i));
	}
	if (err || !a->m.its || !arm64_attr_has(a->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_ITS_CTRL_RESET))
		return err;
	err = arm64_attr_set(a->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_ITS_CTRL_RESET, NULL);
	return err ? err_msg(err, "interrupt controller: resetting the ITS: %s", strerror(-err)) : 0;
}

static int reset_v2(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	int err = write_runs(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, 0, dist_v2, NELEM(dist_v2));
	for (unsigned i = 0; !err && i < vm->nvcpus; i++) {
		err = write_runs(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_DIST_REGS, i, banked_v2, NELEM(banked_v2));
		if (!err)
			err = write_runs(a->gic_fd, KVM_DEV_ARM_VGIC_GRP_CPU_REGS, i, cpuif_v2, NELEM(cpuif_v2));
	}
	return err;
}

int arm64_gic_reset(struct vm *vm)
{
	return vm->arch_state->m.gic == 3 ? reset_v3(vm) : reset_v2(vm);
}
