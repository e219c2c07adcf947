/*
 * vCPUs on KVM: features, power-on state, and the exits only arm64 has [KVM-API 4.82 KVM_ARM_VCPU_INIT, 5].
 *
 * Power-on happens in arch_vcpu_init() and, for a restart, in arch_vm_reset() while every vCPU is parked; not on
 * each vCPU's thread as it resumes, where a secondary's could come after the first vCPU had already switched it on.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arm64/kvm.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/vm.h"

int arm64_reg_get(int vcpu_fd, uint64_t id, uint64_t *val)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)val };
	return kvm_ioctl(vcpu_fd, KVM_GET_ONE_REG, &r);
}

int arm64_reg_set(int vcpu_fd, uint64_t id, uint64_t val)
{
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)&val };
	return kvm_ioctl(vcpu_fd, KVM_SET_ONE_REG, &r);
}

static void want(struct kvm_vcpu_init *init, unsigned feature)
{
	init->features[feature / 32] |= BIT(feature % 32);
}

void arm64_vcpu_features(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	want(&a->init, KVM_ARM_VCPU_PSCI_0_2);
	a->m.pmu = kvm_cap(vm->fd, KVM_CAP_ARM_PMU_V3) > 0;
	if (a->m.pmu)
		want(&a->init, KVM_ARM_VCPU_PMU_V3);
	/* KVM takes pointer authentication only as a whole. */
	if (kvm_cap(vm->fd, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 && kvm_cap(vm->fd, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0) {
		want(&a->init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
		want(&a->init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
	}
}

int arm64_vcpu_power_on(struct vcpu *v)
{
	struct kvm_vcpu_init init = v->vm->arch_state->init, preferred = { 0 };
	int err = kvm_ioctl(v->vm->fd, KVM_ARM_PREFERRED_TARGET, &preferred);
	arm64_debug_reset(v);
	init.target = preferred.target;
	if (v->id)
		want(&init, KVM_ARM_VCPU_POWER_OFF);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_ARM_VCPU_INIT, &init);
	/* KVM keeps the virtual timer's comparator, and old ones its control register too. */
	if (!err)
		err = arm64_reg_set(v->fd, KVM_REG_ARM_TIMER_CTL, 0);
	if (!err)
		err = arm64_reg_set(v->fd, KVM_REG_ARM_TIMER_CVAL, 0);
	return err ? err_msg(err, "vCPU %u: KVM cannot put it into its power-on state: %s", v->id, strerror(-err)) : 0;
}

int arch_vcpu_init(struct vcpu *v)
{
	return arm64_vcpu_power_on(v);
}

void arch_vcpu_fini(struct vcpu *v)
{
	free(v->arch);                          /* a debugger's, if there was one */
	v->arch = NULL;
}

int arm64_pmu_seal(struct vm *vm)
{
	const int intid = 16 + PPI_PMU;
	int err = 0;
	for (unsigned i = 0; vm->arch_state->m.pmu && !err && i < vm->nvcpus; i++) {
		err = arm64_attr_set(vm->vcpus[i].fd, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_IRQ, &intid);
		if (!err)
			err = arm64_attr_set(vm->vcpus[i].fd, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_INIT, NULL);
	}
	return err ? err_msg(err, "performance counters: KVM cannot connect them to interrupt %d: %s", intid, strerror(-err)) : 0;
}

#define CORE_REG(name) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

/* KVM's power-on state is EL1h with interrupts masked and all other registers 0, as the boot protocol wants it. */
int arch_vcpu_reset(struct vcpu *v, const struct entry *e)
{
	if (v->id)
		return 0;
	int err = arm64_reg_set(v->fd, CORE_REG(regs.pc), e->pc);
	if (!err)
		err = arm64_reg_set(v->fd, CORE_REG(regs.regs[0]), e->arg);
	if (!err)
		err = arm64_reg_set(v->fd, CORE_REG(regs.regs[1]), e->arg2);
	return err ? err_msg(err, "vCPU %u: setting its entry point: %s", v->id, strerror(-err)) : 0;
}

static void system_event(struct vcpu *v)
{
	uint32_t type = v->run->system_event.type;
	if (type == KVM_SYSTEM_EVENT_SHUTDOWN)
		vm_request(v->vm, CAUSE_POWEROFF, v, "PSCI SYSTEM_OFF by vCPU %u", v->id);
	else if (type == KVM_SYSTEM_EVENT_RESET)
		vm_request(v->vm, CAUSE_RESET, v, "PSCI SYSTEM_RESET by vCPU %u", v->id);
	else if (type == KVM_SYSTEM_EVENT_CRASH)
		vm_request(v->vm, CAUSE_CRASH, v, "crash reported by vCPU %u", v->id);
	else
		vm_request(v->vm, CAUSE_CRASH, v, "system event %u by vCPU %u, which skep does not know", type, v->id);
}

enum exit_next arch_vcpu_exit(struct vcpu *v)
{
	const struct kvm_run *run = v->run;
	switch (run->exit_reason) {
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(v);
		break;
	case KVM_EXIT_ARM_NISV:
		vm_request(v->vm, CAUSE_CRASH, v,
			   "vCPU %u touched device address 0x%llx with an instruction that cannot be emulated (syndrome 0x%llx)",
			   v->id, (unsigned long long)run->arm_nisv.fault_ipa, (unsigned long long)run->arm_nisv.esr_iss);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vm_request(v->vm, CAUSE_CRASH, v, "vCPU %u cannot be entered (reason 0x%llx)", v->id,
			   (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vm_request(v->vm, CAUSE_CRASH, v, "KVM gave up on vCPU %u (suberror %u)", v->id, run->internal.suberror);
		break;
	default:
		vm_request(v->vm, CAUSE_CRASH, v, "vCPU %u left KVM for reason %u, which skep does not handle", v->id,
			   run->exit_reason);
	}
	return EXIT_STOP;
}
