/*
 * What the files of the KVM half share.
 */
#ifndef ARCH_ARM64_KVM_H
#define ARCH_ARM64_KVM_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/arm64/arm64.h"
#include "common/bus.h"

struct vcpu;

struct vm_arch {
	struct arm64_machine m;         /* first: arm64_machine() */
	int gic_fd, its_fd;             /* -1: none */
	struct kvm_vcpu_init init;      /* of every vCPU, but for POWER_OFF */
	struct bus_range v2m;
};

/* KVM_{SET,HAS}_DEVICE_ATTR on a device or vCPU.  0 or -errno (not reported). */
int arm64_attr_set(int fd, uint32_t group, uint64_t attr, const void *value);
bool arm64_attr_has(int fd, uint32_t group, uint64_t attr);
int arm64_attr_get(int fd, uint32_t group, uint64_t attr, void *value);

/* --- kvm_gic.c --- */
/* A KVM device of this type; descriptor or -errno (not reported).  test: only asks, returns 0. */
int arm64_device_create(int vm_fd, uint32_t type, bool test);
int arm64_gic_create(struct vm *);              /* the best chip KVM has, at its addresses; fills m; 0 or -errno (reported) */
int arm64_gic_seal(struct vm *);                /* after the last vCPU; 0 or -errno (reported) */
int arm64_gic_reset(struct vm *);               /* vCPUs parked; 0 or -errno (reported) */

/* --- kvm_v2m.c --- */
int arm64_v2m_init(struct vm *);                /* puts the frame on the bus; 0 or -errno (reported) */

/* --- kvm_debug.c --- */
void arm64_debug_reset(struct vcpu *);          /* its registers are about to be replaced */

/* --- kvm_vcpu.c --- */
void arm64_vcpu_features(struct vm *);          /* fills init and m.pmu by asking KVM */
/* KVM_ARM_VCPU_INIT: registers to their reset values; every vCPU but the first is off.  0 or -errno (reported). */
int arm64_vcpu_power_on(struct vcpu *);
int arm64_pmu_seal(struct vm *);                /* after arm64_gic_seal(); 0 or -errno (reported) */
int arm64_reg_get(int vcpu_fd, uint64_t id, uint64_t *val);     /* 0 or -errno (not reported) */
int arm64_reg_set(int vcpu_fd, uint64_t id, uint64_t val);

#endif
