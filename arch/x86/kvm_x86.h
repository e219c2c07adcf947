/*
 * Shared between the kvm_*.c files of x86: what struct vm and struct vcpu hold opaquely.
 */
#ifndef ARCH_X86_KVM_X86_H
#define ARCH_X86_KVM_X86_H

#include <linux/kvm.h>

#include "common/debug.h"
#include "common/vm.h"

#define X86_CPUID_MAX 128

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[X86_CPUID_MAX];
};

struct vm_arch {
	struct cpuid_table cpuid;               /* what KVM supports, with skep's VM-wide changes */
	struct kvm_irqchip chips[3];            /* PIC master, PIC slave, IOAPIC at power-on */
	struct kvm_pit_state2 pit;
	unsigned sockets, cores, threads;
	bool amd;                               /* AMD's or Hygon's leaves */
};

#define X86_DEBUG_SLOTS 4
struct x86_debug_state {
	uint64_t addr[X86_DEBUG_SLOTS], dr7;    /* DR0 to DR3, DR7 */
	struct debug_point point[X86_DEBUG_SLOTS];      /* what each is a part of */
	unsigned n;
	bool step;
};

struct vcpu_arch {
	struct kvm_sregs sregs;                 /* at power-on */
	struct kvm_lapic_state lapic;
	struct x86_debug_state debug;           /* as last armed; while the vCPU runs, its thread only reads it */
	bool ran;                               /* a further reset has to undo what a guest did */
};

/* kvm_cpuid.c: reads the host's leaves once; gives one vCPU its own.  0 or -errno (reported). */
int x86_cpuid_init(struct vm *);
int x86_cpuid_set(struct vcpu *);

#endif
