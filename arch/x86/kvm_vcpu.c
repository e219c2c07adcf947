/*
 * x86 vCPUs in KVM: power-on state, boot registers, the exits only x86 has, register dumps.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "arch/x86/kvm_x86.h"
#include "arch/x86/layout.h"
#include "common/kvm.h"
#include "common/log.h"

#define CR0_PE BIT(0)
#define CR0_ET BIT(4)
#define CR0_PG BIT(31)
#define CR4_PAE BIT(5)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define RFLAGS_FIXED 2
#define MSR_PAT 0x277
#define PAT_RESET 0x0007040600070406ull /* [SDM-3A 12.12.4] */
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE_WB (BIT(11) | 6)
#define APIC_LVT_LINT0 0x350
#define APIC_LVT_LINT1 0x360
#define APIC_DM_NMI 0x400
#define APIC_DM_EXTINT 0x700

int arch_vcpu_init(struct vcpu *v)
{
	v->arch = calloc(1, sizeof(*v->arch));
	if (!v->arch)
		return -ENOMEM;
	int err = x86_cpuid_set(v);
	if (err)
		return err;
	err = kvm_ioctl(v->fd, KVM_GET_SREGS, &v->arch->sregs);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_GET_LAPIC, &v->arch->lapic);
	if (err)
		return err_msg(err, "vCPU %u: reading its power-on state: %s", v->id, strerror(-err));
	if (v->vm->firmware)
		return 0;
	/* Virtual wire, as firmware leaves it: 8259 on LINT0 of the boot CPU, NMI on LINT1 of all. */
	put_le32(&v->arch->lapic.regs[APIC_LVT_LINT1], APIC_DM_NMI);
	if (v->id == 0)
		put_le32(&v->arch->lapic.regs[APIC_LVT_LINT0], APIC_DM_EXTINT);
	return 0;
}

void arch_vcpu_fini(struct vcpu *v)
{
	free(v->arch);
	v->arch = NULL;
}

/* --- reset --- */

static void set_segments(struct kvm_sregs *s, bool long_mode)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = long_mode ? X86_SEL_CODE64 : X86_SEL_CODE32, .type = 11, .present = 1, .s = 1, .g = 1,
		.db = !long_mode, .l = long_mode,
	};
	struct kvm_segment data = { .limit = 0xffffffff, .selector = X86_SEL_DATA, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1 };
	s->cs = code;
	s->ds = s->es = s->fs = s->gs = s->ss = data;
	s->tr = (struct kvm_segment){ .limit = 0x67, .type = 11, .present = 1 };
	s->gdt.base = X86_GDT;
	s->gdt.limit = X86_GDT_ENTRIES * 8 - 1;
	s->idt.base = 0;
	s->idt.limit = 0;
}

/* Boot registers: [Linux x86 boot protocol, 64-bit] or [PVH start-info ABI]. */
static void set_entry(const struct entry *e, struct kvm_sregs *s, struct kvm_regs *r)
{
	if (e->mode == ENTRY_X86_RESET)
		return;                 /* KVM's own: F000:FFF0 with a base of 0xffff0000 [SDM-3A 10.1.4] */
	*r = (struct kvm_regs){ .rflags = RFLAGS_FIXED, .rip = e->pc, .rax = e->arg2, .rsp = e->sp };
	if (e->mode == ENTRY_X86_REAL) {
		s->cs.base = e->pc & ~0xfull;
		s->cs.selector = (uint16_t)(e->pc >> 4);
		r->rip = e->pc & 0xf;
		return;
	}
	set_segments(s, e->mode == ENTRY_X86_LONG);
	s->cr0 = CR0_PE | CR0_ET;
	if (e->mode == ENTRY_X86_LONG) {
		s->cr0 |= CR0_PG;
		s->cr3 = e->cr3 ? e->cr3 : X86_PML4;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
		r->rsi = e->arg;
	} else {
		r->rbx = e->arg;
	}
}

static int set_msr(struct vcpu *v, uint32_t index, uint64_t data)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[1];
	} m = { .head.nmsrs = 1, .e[0] = { .index = index, .data = data } };
	int r = kvm_ioctl(v->fd, KVM_SET_MSRS, &m);     /* how many were set: an MSR this CPU lacks is no failure */
	return r < 0 ? r : 0;
}

/* MSRs a guest sets up that would act on the next one: entry points, memory types, KVM's pages in guest memory. */
static int reset_msrs(struct vcpu *v)
{
	static const uint32_t zeroed[] = {
		0x174, 0x175, 0x176,                                    /* SYSENTER CS, ESP, EIP */
		0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,         /* STAR LSTAR CSTAR FMASK */
		0xc0000102, 0xc0000103,                                 /* KERNEL_GS_BASE, TSC_AUX */
		0x4b564d01, 0x4b564d00, 0x4b564d02, 0x4b564d03, 0x4b564d04,     /* KVM clock, wall clock, async PF, steal time, PV EOI */
		0x6e0,                                                  /* TSC_DEADLINE */
		0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, /* MTRR_PHYSBASE and _PHYSMASK */
		0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f,
		0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,    /* MTRR_FIX */
	};
	int err = set_msr(v, MSR_PAT, PAT_RESET);
	for (size_t i = 0; i < NELEM(zeroed) && !err; i++)
		err = set_msr(v, zeroed[i], 0);
	return err;
}

/* Everything a guest may have changed beyond the boot registers. */
static int undo_guest(struct vcpu *v)
{
	struct kvm_xsave xsave = { 0 };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .value = 1 } };
	struct kvm_debugregs dr = { .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	struct kvm_vcpu_events events = { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR | KVM_VCPUEVENT_VALID_SHADOW };
	xsave.region[6] = 0x1f80;               /* MXCSR; XSTATE_BV 0 puts all else into its initial state */
	int err = kvm_ioctl(v->fd, KVM_SET_XSAVE, &xsave);
	if (!err)
		kvm_ioctl(v->fd, KVM_SET_XCRS, &xcrs);  /* a CPU without XSAVE has none */
	if (!err)
		err = kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &dr);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events);
	return err ? err : reset_msrs(v);
}

/* Memory types: at power-on all is uncached and firmware sets them; without it they are as it would have left them. */
static int set_mtrr(struct vcpu *v)
{
	return set_msr(v, MSR_MTRR_DEF_TYPE, v->vm->firmware ? 0 : MTRR_ENABLE_WB);
}

int arch_vcpu_reset(struct vcpu *v, const struct entry *e)
{
	struct kvm_sregs sregs = v->arch->sregs;
	struct kvm_regs regs = { .rflags = RFLAGS_FIXED, .rip = 0xfff0 };
	struct kvm_mp_state mp = { .mp_state = v->id == 0 ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_UNINITIALIZED };
	int err = v->arch->ran ? undo_guest(v) : 0;
	if (v->id == 0)
		set_entry(e, &sregs, &regs);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_SET_SREGS, &sregs);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_SET_REGS, &regs);
	if (!err)
		err = kvm_ioctl(v->fd, KVM_SET_LAPIC, &v->arch->lapic);
	if (!err)
		err = set_mtrr(v);
	if (!err && (v->arch->ran || v->id != 0))
		err = kvm_ioctl(v->fd, KVM_SET_MP_STATE, &mp);
	v->arch->ran = true;
	return err ? err_msg(err, "vCPU %u: setting its registers: %s", v->id, strerror(-err)) : 0;
}

/* --- exits --- */

enum exit_next arch_vcpu_exit(struct vcpu *v)
{
	struct kvm_run *run = v->run;
	switch (run->exit_reason) {
	case KVM_EXIT_X86_RDMSR: case KVM_EXIT_X86_WRMSR:       /* only with x86.strictmsr off */
		run->msr.data = 0;
		run->msr.error = 0;
		return EXIT_CONTINUE;
	case KVM_EXIT_SHUTDOWN:
		vm_request(v->vm, CAUSE_CRASH, v, "triple fault on vCPU %u", v->id);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		vm_request(v->vm, CAUSE_CRASH, v, "the CPU refused to enter the guest on vCPU %u (hardware reason %#" PRIx64 ")", v->id,
			   (uint64_t)run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		vm_request(v->vm, CAUSE_CRASH, v, "KVM could not go on with vCPU %u (%s, suberror %u); 'skep doctor' checks this host", v->id,
			   run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ? "an instruction it cannot emulate" : "internal error",
			   run->internal.suberror);
		break;
	default:
		vm_request(v->vm, CAUSE_CRASH, v, "unhandled exit %u on vCPU %u", run->exit_reason, v->id);
		break;
	}
	return EXIT_STOP;
}

/* --- dumps --- */

void arch_vcpu_dump(struct vcpu *v, FILE *f)
{
	struct kvm_regs r = { 0 };
	/* On SVM hosts KVM has already put a vCPU that shut down into its state after INIT. */
	bool after_init = v->run->exit_reason == KVM_EXIT_SHUTDOWN && !kvm_ioctl(v->fd, KVM_GET_REGS, &r) && r.rip == 0xfff0;
	fprintf(f, "vcpu %u registers%s:\n", v->id, after_init ? " (after INIT: this host does not keep those of the fault)" : "");
	debug_regs_print(v, f);
}

json_t *arch_vcpu_regs_json(struct vcpu *v)
{
	json_t *o = debug_regs_json(v);
	json_object_set(o, "rflags", json_object_get(o, "eflags"));     /* as the architecture calls it, and GDB */
	return o;
}
