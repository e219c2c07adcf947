/*
 * CPUID: the host's leaves as far as KVM supports them, with the guest's own topology [SDM-2A CPUID]
 * [APM-3 E.4], the hypervisor leaves KVM defines [KVM-CPUID], and the timing leaf 0x40000010.
 */
#include <errno.h>

#include "arch/x86/kvm_x86.h"
#include "arch/x86/x86.h"
#include "common/conf.h"
#include "common/kvm.h"
#include "common/log.h"

#define L1_ECX_MONITOR BIT(3)
#define L1_ECX_X2APIC BIT(21)
#define L1_ECX_TSC_DEADLINE BIT(24)
#define L1_ECX_HYPERVISOR BIT(31)
#define L1_EDX_HTT BIT(28)
#define AMD_ECX_CMP_LEGACY BIT(1)
#define AMD_ECX_TOPOEXT BIT(22)
#define VENDOR_AUTH 0x68747541u         /* "Auth"enticAMD */
#define VENDOR_HYGO 0x6f677948u         /* "Hygo"nGenuine */
#define HV_BASE 0x40000000u
#define HV_TIMING 0x40000010u
#define APIC_BUS_KHZ 1000000u           /* KVM's LAPIC timer runs at 1 GHz */

static unsigned bits_for(unsigned n)
{
	return n > 1 ? 32 - (unsigned)__builtin_clz(n - 1) : 0;
}

static struct kvm_cpuid_entry2 *leaf(struct cpuid_table *t, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < t->head.nent; i++) {
		if (t->entry[i].function == function && t->entry[i].index == index)
			return &t->entry[i];
	}
	return NULL;
}

static struct kvm_cpuid_entry2 *leaf_make(struct cpuid_table *t, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *e = leaf(t, function, index);
	if (e || t->head.nent == X86_CPUID_MAX)
		return e;
	e = &t->entry[t->head.nent++];
	*e = (struct kvm_cpuid_entry2){ .function = function, .index = index };
	return e;
}

/* Topology as configured: one socket of single-threaded cores unless said otherwise. */
static int read_topology(struct vm *vm)
{
	struct vm_arch *a = vm->arch_state;
	a->threads = conf_raw(vm->conf, "threads") ? (unsigned)conf_u64(vm->conf, "threads") : 1;
	if (conf_raw(vm->conf, "cores"))
		a->cores = (unsigned)conf_u64(vm->conf, "cores");
	else if (conf_raw(vm->conf, "sockets"))
		a->cores = vm->nvcpus / (a->threads * (unsigned)conf_u64(vm->conf, "sockets"));
	else
		a->cores = vm->nvcpus / a->threads;
	a->cores = MAX(a->cores, 1u);
	a->sockets = MAX(vm->nvcpus / (a->cores * a->threads), 1u);
	/* APIC IDs are the vCPUs' numbers, so every level but the outermost has to fill its bits. */
	bool threads_fit = (a->threads & (a->threads - 1)) == 0 || a->cores * a->sockets == 1;
	bool cores_fit = (a->cores & (a->cores - 1)) == 0 || a->sockets == 1;
	if (!threads_fit || !cores_fit)
		return err_msg(-EINVAL, "cpus: %u sockets of %u cores of %u threads: threads (and cores, with several sockets) must be a "
			       "power of two on x86", a->sockets, a->cores, a->threads);
	return 0;
}

static void vm_wide(struct vm *vm, struct cpuid_table *t)
{
	struct kvm_cpuid_entry2 *e = leaf(t, 0, 0);
	vm->arch_state->amd = e && (e->ebx == VENDOR_AUTH || e->ebx == VENDOR_HYGO);
	e = leaf(t, 1, 0);
	if (e) {
		e->ecx |= L1_ECX_HYPERVISOR;
		e->ecx &= ~L1_ECX_MONITOR;
		if (kvm_cap(vm->kvm_fd, KVM_CAP_TSC_DEADLINE_TIMER))
			e->ecx |= L1_ECX_TSC_DEADLINE;
		if (conf_bool(vm->conf, "x86.x2apic"))
			e->ecx |= L1_ECX_X2APIC;
		else
			e->ecx &= ~L1_ECX_X2APIC;
	}
	e = leaf(t, HV_BASE, 0);
	struct kvm_cpuid_entry2 *timing = e ? leaf_make(t, HV_TIMING, 0) : NULL;
	if (timing) {
		e->eax = MAX(e->eax, HV_TIMING);
		timing->ebx = APIC_BUS_KHZ;     /* eax, the TSC, is the vCPU's: x86_cpuid_set() */
	}
}

int x86_cpuid_init(struct vm *vm)
{
	struct cpuid_table *t = &vm->arch_state->cpuid;
	t->head.nent = X86_CPUID_MAX;
	int err = kvm_ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, t);
	if (err)
		return err_msg(err, "KVM does not tell the CPUID leaves it supports: %s", strerror(-err));
	vm_wide(vm, t);
	return read_topology(vm);
}

/* Intel leaf 4 and AMD 0x8000001d: who shares each cache. */
static void set_cache_sharing(struct kvm_cpuid_entry2 *e, const struct vm_arch *a)
{
	unsigned type = e->eax & 31, level = e->eax >> 5 & 7;
	if (type == 0)
		return;
	unsigned sharing = level >= 3 ? 1u << bits_for(a->cores * a->threads) : 1u << bits_for(a->threads);
	e->eax = (e->eax & 0x3fff) | (MIN(sharing, 4096u) - 1) << 14;
	if (e->function == 4)
		e->eax |= (MIN(1u << bits_for(a->cores), 64u) - 1) << 26;
}

/* Leaves 0xb and 0x1f: thread level, then core level, then the end. */
static void set_x2apic_level(struct kvm_cpuid_entry2 *e, const struct vm_arch *a, uint32_t apic_id)
{
	unsigned thread_bits = bits_for(a->threads);
	e->edx = apic_id;
	e->ecx = e->index;
	e->eax = e->ebx = 0;
	if (e->index == 0) {
		e->eax = thread_bits;
		e->ebx = a->threads;
		e->ecx |= 1 << 8;
	} else if (e->index == 1) {
		e->eax = thread_bits + bits_for(a->cores);
		e->ebx = a->threads * a->cores;
		e->ecx |= 2 << 8;
	}
}

static void set_topology(struct kvm_cpuid_entry2 *e, const struct vm_arch *a, uint32_t id)
{
	unsigned per_socket = a->cores * a->threads;
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0xffff) | MIN(per_socket, 255u) << 16 | (id & 0xff) << 24;
		e->edx = per_socket > 1 ? e->edx | L1_EDX_HTT : e->edx & ~L1_EDX_HTT;
		break;
	case 4: case 0x8000001d:
		set_cache_sharing(e, a);
		break;
	case 0xb: case 0x1f:
		set_x2apic_level(e, a, id);
		break;
	case 0x80000001:
		if (per_socket > 1 && e->ecx & AMD_ECX_TOPOEXT)
			e->ecx |= AMD_ECX_CMP_LEGACY;
		break;
	case 0x80000008:        /* ECX is reserved on Intel */
		if (!a->amd)
			break;
		e->ecx = (e->ecx & ~0xf0ffu) | (MIN(per_socket, 256u) - 1) | bits_for(per_socket) << 12;
		break;
	case 0x8000001e:
		e->eax = id;
		e->ebx = (id >> bits_for(a->threads) & 0xff) | (a->threads - 1) << 8;
		e->ecx = id / per_socket & 0xff;
		break;
	default:
		break;
	}
}

int x86_cpuid_set(struct vcpu *v)
{
	struct cpuid_table t = v->vm->arch_state->cpuid;
	for (uint32_t i = 0; i < t.head.nent; i++)
		set_topology(&t.entry[i], v->vm->arch_state, x86_apic_id(v->id));
	struct kvm_cpuid_entry2 *timing = leaf(&t, HV_TIMING, 0);
	if (timing) {
		int khz = kvm_ioctl_n(v->fd, KVM_GET_TSC_KHZ, 0);
		timing->eax = khz > 0 ? (uint32_t)khz : 0;
	}
	int err = kvm_ioctl(v->fd, KVM_SET_CPUID2, &t);
	return err ? err_msg(err, "vCPU %u: KVM refuses its CPUID leaves: %s", v->id, strerror(-err)) : 0;
}
