/*
 * Debugging on KVM: registers, debug registers, and whose debug exception it was [KVM-API 4.87 KVM_SET_GUEST_DEBUG, 5;
 * SDM-3B 18.2].
 *
 * x86 has no read watchpoints: one watches accesses, and GDB leaves out those that changed the value.
 */
#include <errno.h>

#include "arch/x86/kvm_x86.h"
#include "arch/x86/x86.h"
#include "common/debug.h"
#include "common/kvm.h"
#include "common/log.h"

#define VECTOR_DB 1
#define VECTOR_BP 3
#define DR6_TRAPS 0xfull                /* which of the four; ours, while we use any */
#define DR6_BS BIT64(14)
#define DR6_OTHER (BIT64(13) | DR6_BS | BIT64(15))
#define DR7_EXACT 0x600ull              /* GE, and the bit that is always 1 */
#define DR7_GD BIT64(13)

/* --- registers --- */

#define SAME(s, m, o) _Static_assert(offsetof(struct s, m) == (o), "arch/x86/debug.c counts on it")
SAME(kvm_regs, rsp, 48);
SAME(kvm_regs, rip, 128);
SAME(kvm_regs, rflags, 136);
SAME(kvm_sregs, ss, 24 * 5);
SAME(kvm_sregs, ldt, 24 * 7);
SAME(kvm_sregs, ss.limit, 24 * 5 + 8);
SAME(kvm_sregs, ss.selector, 24 * 5 + 12);
SAME(kvm_sregs, gdt, 192);
SAME(kvm_sregs, idt.limit, 208 + 8);
SAME(kvm_sregs, cr0, 224);
SAME(kvm_sregs, apic_base, 272);
SAME(kvm_fpu, fcw, 128);
SAME(kvm_fpu, ftwx, 132);
SAME(kvm_fpu, last_opcode, 134);
SAME(kvm_fpu, last_ip, 136);
SAME(kvm_fpu, last_dp, 144);
SAME(kvm_fpu, xmm, 152);
SAME(kvm_fpu, mxcsr, 408);

struct msr1 {
	struct kvm_msrs head;
	struct kvm_msr_entry e[1];
};

union reg_set {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_fpu fpu;
	struct msr1 msr;
};

/* KVM's structures that hold a set of registers. */
static const struct {
	unsigned long get, put;
} set_ioctls[] = {
	[X86_SET_REGS] = { KVM_GET_REGS, KVM_SET_REGS },
	[X86_SET_SREGS] = { KVM_GET_SREGS, KVM_SET_SREGS },
	[X86_SET_FPU] = { KVM_GET_FPU, KVM_SET_FPU },
	[X86_SET_TAGS] = { KVM_GET_FPU, KVM_SET_FPU },
	[X86_SET_MSR] = { KVM_GET_MSRS, KVM_SET_MSRS },
};

/* Reads the set a register is in; *where: its bytes there. */
static int set_get(struct vcpu *v, const struct debug_reg *r, union reg_set *s, uint8_t **where)
{
	unsigned set = (unsigned)(r->id >> 40);

	memset(s, 0, sizeof(*s));
	*where = (uint8_t *)s + (uint32_t)r->id;
	if (set == X86_SET_MSR) {
		s->msr.head.nmsrs = 1;
		s->msr.e[0].index = (uint32_t)r->id;
		*where = (uint8_t *)&s->msr.e[0].data;
	}
	int n = kvm_ioctl(v->fd, set_ioctls[set].get, s);
	if (set == X86_SET_MSR && n == 0)
		return -ENOENT;
	return MIN(n, 0);
}

/* FXSAVE keeps a bit for each register that is in use, GDB wants FSAVE's two: 3 is empty [SDM-1 10.5.1.1]. */
static uint16_t tags_full(uint8_t used)
{
	uint16_t tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= (uint16_t)((used >> i & 1 ? 0 : 3) << 2 * i);
	return tags;
}

static uint8_t tags_used(uint16_t tags)
{
	uint8_t used = 0;

	for (unsigned i = 0; i < 8; i++)
		used |= (uint8_t)(((tags >> 2 * i & 3) != 3) << i);
	return used;
}

int arch_debug_get(struct vcpu *v, unsigned regno, uint8_t val[DEBUG_REG_MAX])
{
	const struct debug_reg *r = debug_reg_by_no(&x86_debug, regno);
	union reg_set s;
	uint8_t *where;

	if (!r)
		return -ENOENT;
	int err = set_get(v, r, &s, &where);
	if (err)
		return err;
	memset(val, 0, r->bits / 8u);
	if (r->id >> 40 == X86_SET_TAGS)
		put_le16(val, tags_full(*where));
	else
		memcpy(val, where, r->id >> 32 & 0xff);
	return 0;
}

int arch_debug_set(struct vcpu *v, unsigned regno, const uint8_t *val)
{
	const struct debug_reg *r = debug_reg_by_no(&x86_debug, regno);
	union reg_set s;
	uint8_t *where;

	if (!r)
		return -ENOENT;
	int err = set_get(v, r, &s, &where);
	if (err)
		return err;
	if (r->id >> 40 == X86_SET_TAGS)
		*where = tags_used(get_le16(val));
	else
		memcpy(where, val, r->id >> 32 & 0xff);
	int n = kvm_ioctl(v->fd, set_ioctls[r->id >> 40].put, &s);
	if (r->id >> 40 == X86_SET_MSR && n == 0)
		return -EINVAL;
	return MIN(n, 0);
}

void arch_debug_mmu(struct vcpu *v, struct debug_mmu *m)
{
	struct kvm_sregs s = { 0 };

	kvm_ioctl(v->fd, KVM_GET_SREGS, &s);
	m->reg[0] = s.cr0;
	m->reg[1] = s.cr3;
	m->reg[2] = s.cr4;
	m->reg[3] = s.efer;
}

/* --- breakpoints and watchpoints --- */

void arch_debug_limits(struct vm *vm, unsigned *breaks, unsigned *watches)
{
	*breaks = *watches = X86_DEBUG_SLOTS;
}

/* The next debug register, for `len` bytes (1, 2, 4, 8) at an aligned address. */
static int add_slot(struct x86_debug_state *d, const struct debug_point *p, uint64_t addr, unsigned len)
{
	static const uint8_t rw[] = { [DEBUG_BREAK] = 0, [DEBUG_WRITE] = 1, [DEBUG_READ] = 3, [DEBUG_ACCESS] = 3 };
	static const uint8_t len_code[] = { [1] = 0, [2] = 1, [4] = 3, [8] = 2 };
	unsigned i = d->n;

	if (i == X86_DEBUG_SLOTS)
		return -ENOSPC;
	d->addr[i] = addr;
	d->point[i] = *p;
	d->dr7 |= BIT64(2 * i) | (uint64_t)(rw[p->type] | len_code[len] << 2) << (16 + 4 * i);
	d->n++;
	return 0;
}

static int add_point(struct x86_debug_state *d, const struct debug_point *p)
{
	uint64_t addr = p->addr, left = p->type == DEBUG_BREAK ? 1 : p->len;

	if (!left || left > 8 * X86_DEBUG_SLOTS)
		return left ? -ENOSPC : -EINVAL;
	while (left) {
		unsigned len = 8;
		while (addr % len || len > left)
			len /= 2;
		int err = add_slot(d, p, addr, len);
		if (err)
			return err;
		addr += len;
		left -= len;
	}
	return 0;
}

int arch_debug_arm(struct vcpu *v, bool on, const struct debug_point *points, unsigned n, bool step)
{
	struct x86_debug_state d = { .dr7 = DR7_EXACT, .step = on && step };
	struct kvm_guest_debug g = { .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP : 0 };
	int err = 0;

	for (unsigned i = 0; on && !err && i < n; i++)
		err = add_point(&d, &points[i]);
	if (err)
		return err;
	if (d.step)
		g.control |= KVM_GUESTDBG_SINGLESTEP | ((uint32_t)kvm_cap(v->vm->fd, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ);
	if (d.n) {
		g.control |= KVM_GUESTDBG_USE_HW_BP;
		memcpy(g.arch.debugreg, d.addr, sizeof(d.addr));
		g.arch.debugreg[7] = d.dr7;
	}
	err = kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
	if (!err)
		v->arch->debug = d;
	return err;
}

/* --- debug exceptions --- */

bool arch_debug_exit(struct vcpu *v, struct debug_stop *stop)
{
	const struct kvm_debug_exit_arch *e = &v->run->debug.arch;
	const struct x86_debug_state *d = &v->arch->debug;
	uint64_t hit = e->dr6 & (BIT64(d->n) - 1);

	*stop = (struct debug_stop){ .why = DEBUG_SW_BREAK, .addr = e->pc };
	if (e->exception == VECTOR_BP)
		return true;
	/* The guest's own step has ended at a breakpoint: it gets its exception first, and comes back to the breakpoint. */
	const bool own_step = e->dr6 & DR6_BS && !d->step;
	if (hit && !(own_step && d->point[__builtin_ctzll(hit)].type == DEBUG_BREAK)) {
		const struct debug_point *p = &d->point[__builtin_ctzll(hit)];
		stop->why = p->type == DEBUG_BREAK ? DEBUG_HW_BREAK : DEBUG_WATCH;
		stop->addr = p->addr;
		stop->type = p->type;
		return true;
	}
	stop->why = DEBUG_STEPPED;
	if (d->step)
		return true;
	arch_debug_reinject(v);
	return false;
}

int arch_debug_reinject(struct vcpu *v)
{
	const struct kvm_debug_exit_arch *e = &v->run->debug.arch;
	struct kvm_vcpu_events ev = { 0 };
	struct kvm_debugregs dr = { 0 };
	int err = 0;

	if (e->exception == VECTOR_DB) {
		err = kvm_ioctl(v->fd, KVM_GET_DEBUGREGS, &dr);
		dr.dr6 = (dr.dr6 & ~DR6_TRAPS) | (e->dr6 & (v->arch->debug.n ? DR6_OTHER : DR6_OTHER | DR6_TRAPS));
		dr.dr7 &= ~DR7_GD;
		if (!err)
			err = kvm_ioctl(v->fd, KVM_SET_DEBUGREGS, &dr);
	}
	if (!err)
		err = kvm_ioctl(v->fd, KVM_GET_VCPU_EVENTS, &ev);
	if (err)
		return err;
	/* KVM finds out itself that a #BP comes from an instruction, behind which the guest goes on. */
	ev.exception.injected = 1;
	ev.exception.pending = 0;
	ev.exception.nr = (uint8_t)e->exception;
	ev.exception.has_error_code = 0;
	ev.exception_has_payload = 0;
	return kvm_ioctl(v->fd, KVM_SET_VCPU_EVENTS, &ev);
}

/* As a message to its APIC: KVM_NMI would wait for the vCPU to leave KVM_RUN [SDM-3A 11.11.2]. */
int arch_nmi(struct vcpu *v)
{
	struct kvm_msi msi = { .address_lo = 0xfee00000 | (v->id & 0xff) << 12, .address_hi = v->id & ~0xffu, .data = 0x400 };
	int n = kvm_ioctl(v->vm->fd, KVM_SIGNAL_MSI, &msi);

	if (n == 0)
		n = -EAGAIN;
	return n < 0 ? err_msg(n, "vCPU %u: KVM does not take an NMI: %s; see 'skep doctor'", v->id, strerror(-n)) : 0;
}

/* Caches of code and data are coherent [SDM-3A 12.6]. */
void arch_debug_written(void *hva UNUSED, size_t len UNUSED)
{
}
