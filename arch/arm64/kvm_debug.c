/*
 * Debugging on KVM: registers, breakpoint and watchpoint registers, and whose debug exception it was [KVM-API 4.87
 * KVM_SET_GUEST_DEBUG, 5; Arm ARM D2].
 *
 * KVM on arm64 cannot hold back interrupts during a step, as it does on x86: a pending one would be taken instead of the
 * instruction, each time anew, and GDB would never get past a breakpoint where a timer ticks.  So PSTATE.I is set for the step and
 * put right afterwards, as if it had not been.
 */
#include <errno.h>
#include <stdlib.h>

#include "arch/arm64/kvm.h"
#include "common/debug.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/vm.h"

#define CORE(name) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))
#define REG_PC CORE(regs.pc)
#define REG_PSTATE CORE(regs.pstate)
#define REG_SPSR CORE(spsr[KVM_SPSR_EL1])
#define REG_SCTLR ARM64_SYS_REG(3, 0, 1, 0, 0)
#define REG_TTBR0 ARM64_SYS_REG(3, 0, 2, 0, 0)
#define REG_TTBR1 ARM64_SYS_REG(3, 0, 2, 0, 1)
#define REG_TCR ARM64_SYS_REG(3, 0, 2, 0, 2)
#define REG_ESR ARM64_SYS_REG(3, 0, 5, 2, 0)
#define REG_FAR ARM64_SYS_REG(3, 0, 6, 0, 0)
#define REG_VBAR ARM64_SYS_REG(3, 0, 12, 0, 0)

_Static_assert(CORE(regs.pc) == 0x6030000000100040ull && KVM_REG_ARM_CORE_REG(sp_el1) == 68 &&
	       KVM_REG_ARM_CORE_REG(elr_el1) == 70 &&
	       KVM_REG_ARM_CORE_REG(spsr[KVM_SPSR_EL1]) == 72 && KVM_REG_ARM_CORE_REG(fp_regs.vregs) == 84 &&
	       KVM_REG_ARM_CORE_REG(fp_regs.fpcr) == 213 && KVM_REG_SIZE_U128 == 4ull << 52 && REG_TCR == 0x603000000013c102ull,
	       "arch/arm64/debug.c counts on these numbers");

#define PSTATE_SPSEL BIT64(0)
#define PSTATE_EL1H 5ull
#define PSTATE_EL (3ull << 2)
#define PSTATE_AARCH32 BIT64(4)
#define PSTATE_I BIT64(7)
#define PSTATE_DAIF (0xfull << 6)
#define PSTATE_SSBS BIT64(12)
#define PSTATE_PAN BIT64(22)
#define PSTATE_DIT BIT64(24)
#define PSTATE_TCO BIT64(25)
#define PSTATE_NZCV (0xfull << 28)
#define SCTLR_SPAN BIT64(23)
#define SCTLR_DSSBS BIT64(44)

/* ESR_EL2.EC of what comes here; the exceptions an EL1 sees from itself are one up [Arm ARM D17.2.37 ESR_ELx]. */
#define EC(esr) ((esr) >> 26 & 0x3f)
#define EC_BREAKPOINT 0x30
#define EC_STEP 0x32
#define EC_WATCHPOINT 0x34
#define EC_BRK 0x3c

#define SLOTS 16                                /* at most, of each kind [KVM-API 4.87] */
struct vcpu_arch {
	struct debug_point watch[SLOTS];        /* what each watchpoint register is a part of */
	unsigned nbreaks, nwatches;
	bool step;
	bool masked;                            /* PSTATE.I is ours, for a step of ... */
	uint64_t pc;
	uint32_t insn;                          /* ... this instruction */
};

/* --- a step without interrupts --- */

static int read_guest(void *arg, uint64_t gpa, void *buf, size_t len)
{
	const struct vm *vm = arg;

	return mem_read(&vm->mem, gpa, buf, len) ? 0 : -EFAULT;
}

/* The instruction at pc, or 0. */
static uint32_t insn_at(struct vcpu *v, uint64_t pc)
{
	struct debug_mmu m = { .read = read_guest, .arg = v->vm };
	uint64_t pa, len;
	uint32_t insn;

	arch_debug_mmu(v, &m);
	return arm64_debug.walk(&m, pc, &pa, &len) || read_guest(v->vm, pa, &insn, sizeof(insn)) ? 0 : insn;
}

static int mask_irqs(struct vcpu *v)
{
	uint64_t pstate, pc;
	int err = arm64_reg_get(v->fd, REG_PSTATE, &pstate);

	if (err || pstate & (PSTATE_I | PSTATE_AARCH32))
		return err;
	err = arm64_reg_get(v->fd, REG_PC, &pc);
	if (!err)
		err = arm64_reg_set(v->fd, REG_PSTATE, pstate | PSTATE_I);
	if (err)
		return err;
	v->arch->pc = pc;
	v->arch->insn = insn_at(v, pc);
	v->arch->masked = true;
	return 0;
}

static bool is_eret(uint32_t insn)
{
	return (insn & 0xfffff3ff) == 0xd69f03e0 || (insn & 0xfffffbff) == 0xd69f0bff;
}

/* Did the step end in an exception?  Then EL1 is at one of its vectors with everything masked. */
static bool at_vector(struct vcpu *v, uint64_t pc, uint64_t pstate)
{
	uint64_t vbar;

	if (pc == v->arch->pc || pc == v->arch->pc + 4 || (pstate & PSTATE_DAIF) != PSTATE_DAIF || arm64_reg_get(v->fd, REG_VBAR, &vbar))
		return false;
	return pc - vbar < 0x800 && pc % 0x80 == 0;
}

/* After a step, or one that did not come about: PSTATE.I as the guest would have it, also where it has put it aside. */
static void unmask_irqs(struct vcpu *v)
{
	uint64_t pstate, pc, val;

	if (!v->arch || !v->arch->masked)
		return;
	v->arch->masked = false;
	if (arm64_reg_get(v->fd, REG_PSTATE, &pstate) || arm64_reg_get(v->fd, REG_PC, &pc) || !(pstate & PSTATE_I))
		return;
	uint32_t insn = pc == v->arch->pc ? 0 : v->arch->insn;
	if (at_vector(v, pc, pstate)) {
		if (!arm64_reg_get(v->fd, REG_SPSR, &val))
			arm64_reg_set(v->fd, REG_SPSR, val & ~PSTATE_I);
		return;
	}
	if (is_eret(insn) || (insn & 0xfffff2ff) == 0xd50342df || (insn & 0xffffffe0) == 0xd51b4220)
		return;                         /* ERET, MSR DAIFSet with I, MSR DAIF: what it left is the guest's will */
	if ((insn & 0xffffffe0) == 0xd53b4220 && (insn & 31) != 31) {   /* MRS Xt, DAIF */
		uint64_t xt = CORE(regs.regs[0]) + 2 * (insn & 31);
		if (!arm64_reg_get(v->fd, xt, &val))
			arm64_reg_set(v->fd, xt, val & ~PSTATE_I);
	}
	arm64_reg_set(v->fd, REG_PSTATE, pstate & ~PSTATE_I);
}

void arm64_debug_reset(struct vcpu *v)
{
	if (v->arch)
		v->arch->masked = false;
}

/* --- registers --- */

/* KVM's number of the register; 0: there is none. */
static uint64_t reg_id(struct vcpu *v, unsigned regno, unsigned *len)
{
	const struct debug_reg *r = debug_reg_by_no(&arm64_debug, regno);
	uint64_t pstate = 0;

	if (!r)
		return 0;
	*len = r->bits / 8u;
	if (r->id != ARM64_REG_SP)
		return r->id;
	arm64_reg_get(v->fd, REG_PSTATE, &pstate);
	return pstate & PSTATE_SPSEL && pstate & PSTATE_EL ? CORE(sp_el1) : CORE(regs.sp);
}

int arch_debug_get(struct vcpu *v, unsigned regno, uint8_t val[DEBUG_REG_MAX])
{
	uint64_t raw[2];
	unsigned len;

	unmask_irqs(v);
	uint64_t id = reg_id(v, regno, &len);
	int err = id ? arm64_reg_get(v->fd, id, raw) : -ENOENT;
	if (!err)
		memcpy(val, raw, len);
	return err;
}

int arch_debug_set(struct vcpu *v, unsigned regno, const uint8_t *val)
{
	uint64_t raw[2] = { 0 };
	unsigned len;

	unmask_irqs(v);
	uint64_t id = reg_id(v, regno, &len);
	if (!id)
		return -ENOENT;
	memcpy(raw, val, len);
	struct kvm_one_reg r = { .id = id, .addr = (uintptr_t)raw };
	return kvm_ioctl(v->fd, KVM_SET_ONE_REG, &r);
}

void arch_debug_mmu(struct vcpu *v, struct debug_mmu *m)
{
	static const uint64_t ids[] = { REG_SCTLR, REG_TCR, REG_TTBR0, REG_TTBR1 };

	for (unsigned i = 0; i < NELEM(ids); i++) {
		m->reg[i] = 0;
		arm64_reg_get(v->fd, ids[i], &m->reg[i]);
	}
}

/* --- breakpoints and watchpoints --- */

void arch_debug_limits(struct vm *vm, unsigned *breaks, unsigned *watches)
{
	*breaks = (unsigned)MIN(kvm_cap(vm->fd, KVM_CAP_GUEST_DEBUG_HW_BPS), SLOTS);
	*watches = (unsigned)MIN(kvm_cap(vm->fd, KVM_CAP_GUEST_DEBUG_HW_WPS), SLOTS);
}

/* DBGBCR, DBGWCR: enabled, at EL1 and EL0 [Arm ARM D17.3.2; Arm ARM D17.3.11]. */
#define DBGCR_ON 7u
#define DBGCR_BAS(bits) ((uint64_t)(bits) << 5)
#define DBGWCR_LSC(type) ((type) == DEBUG_READ ? 1u << 3 : (type) == DEBUG_WRITE ? 2u << 3 : 3u << 3)
#define DBGWCR_MASK(bits) ((uint64_t)(bits) << 24)

static int add_watch(struct kvm_guest_debug_arch *g, struct vcpu_arch *d, const struct debug_point *p, unsigned max)
{
	uint64_t addr = p->addr, left = p->len;

	if (!left || addr + left - 1 < addr)
		return -EINVAL;
	while (left) {
		unsigned i = d->nwatches, in_word = addr % 8, bits = 0;
		uint64_t len = MIN(left, 8u - in_word);
		if (i == max)
			return -ENOSPC;
		g->dbg_wvr[i] = addr - in_word;
		g->dbg_wcr[i] = DBGCR_ON | DBGWCR_LSC(p->type) | DBGCR_BAS(((1u << len) - 1) << in_word);
		/* From 8 bytes up, a power of two aligned to itself, at most 2 GiB. */
		for (unsigned b = 4; len == 8 && b <= 31 && BIT64(b) <= left && addr % BIT64(b) == 0; b++)
			bits = b;
		if (bits) {
			len = BIT64(bits);
			g->dbg_wcr[i] |= DBGWCR_MASK(bits);
		}
		d->watch[d->nwatches++] = *p;
		addr += len;
		left -= len;
	}
	return 0;
}

static int add_break(struct kvm_guest_debug_arch *g, struct vcpu_arch *d, const struct debug_point *p, unsigned max)
{
	if (p->addr % 4)
		return -EINVAL;
	if (d->nbreaks == max)
		return -ENOSPC;
	g->dbg_bvr[d->nbreaks] = p->addr;
	g->dbg_bcr[d->nbreaks++] = DBGCR_ON | DBGCR_BAS(0xf);
	return 0;
}

int arch_debug_arm(struct vcpu *v, bool on, const struct debug_point *points, unsigned n, bool step)
{
	struct kvm_guest_debug g = { .control = on ? KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP : 0 };
	struct vcpu_arch d = { .step = on && step };
	unsigned breaks, watches;
	int err = 0;

	unmask_irqs(v);
	if (!v->arch && !on)
		return 0;
	if (!v->arch)
		v->arch = calloc(1, sizeof(*v->arch));
	if (!v->arch)
		return -ENOMEM;
	arch_debug_limits(v->vm, &breaks, &watches);
	for (unsigned i = 0; on && !err && i < n; i++)
		err = points[i].type == DEBUG_BREAK ? add_break(&g.arch, &d, &points[i], breaks)
						    : add_watch(&g.arch, &d, &points[i], watches);
	if (err)
		return err;
	if (d.step)
		g.control |= KVM_GUESTDBG_SINGLESTEP;
	if (d.nbreaks || d.nwatches)
		g.control |= KVM_GUESTDBG_USE_HW;
	err = kvm_ioctl(v->fd, KVM_SET_GUEST_DEBUG, &g);
	if (err)
		return err;
	*v->arch = d;
	return d.step ? mask_irqs(v) : 0;
}

/* --- debug exceptions --- */

/*
 * Which watchpoint an access at `addr` has hit: one that contains it, or else the next one up, as the access may have begun
 * below [Arm ARM D2.10.5].
 */
static const struct debug_point *watch_hit(const struct vcpu_arch *d, uint64_t addr)
{
	const struct debug_point *best = &d->watch[0];

	for (unsigned i = 0; i < d->nwatches; i++) {
		const struct debug_point *p = &d->watch[i];
		if (addr - p->addr < p->len)
			return p;
		if (p->addr - addr < best->addr - addr)
			best = p;
	}
	return best;
}

bool arch_debug_exit(struct vcpu *v, struct debug_stop *stop)
{
	const struct kvm_debug_exit_arch *e = &v->run->debug.arch;
	const struct vcpu_arch *d = v->arch;

	*stop = (struct debug_stop){ .why = DEBUG_SW_BREAK };
	unmask_irqs(v);
	arm64_reg_get(v->fd, REG_PC, &stop->addr);
	switch (d ? EC(e->hsr) : 0) {
	case EC_BRK:
		return true;
	case EC_STEP:
		stop->why = DEBUG_STEPPED;
		return true;
	case EC_BREAKPOINT:
		stop->why = DEBUG_HW_BREAK;
		if (d->nbreaks)
			return true;
		break;
	case EC_WATCHPOINT:
		stop->why = DEBUG_WATCH;
		if (!d->nwatches)
			break;
		const struct debug_point *p = watch_hit(d, e->far);
		stop->addr = p->addr;
		stop->type = p->type;
		return true;
	}
	arch_debug_reinject(v);
	return false;
}

/* What the CPU does at an exception to EL1 [Arm ARM D1.3.1]. */
int arch_debug_reinject(struct vcpu *v)
{
	const struct kvm_debug_exit_arch *e = &v->run->debug.arch;
	uint64_t pc, pstate, sctlr, vbar, esr = e->hsr;
	int err = arm64_reg_get(v->fd, REG_PC, &pc);

	unmask_irqs(v);
	if (!err)
		err = arm64_reg_get(v->fd, REG_PSTATE, &pstate);
	if (!err)
		err = arm64_reg_get(v->fd, REG_SCTLR, &sctlr);
	if (!err)
		err = arm64_reg_get(v->fd, REG_VBAR, &vbar);
	if (err)
		return err;
	bool from_el1 = pstate & PSTATE_EL && !(pstate & PSTATE_AARCH32);
	if (from_el1 && EC(esr) >= EC_BREAKPOINT && EC(esr) <= EC_WATCHPOINT)
		esr |= BIT64(26);
	uint64_t vector = !from_el1 ? (pstate & PSTATE_AARCH32 ? 0x600 : 0x400) : pstate & PSTATE_SPSEL ? 0x200 : 0;
	uint64_t now = (pstate & (PSTATE_NZCV | PSTATE_DIT | PSTATE_PAN | PSTATE_TCO)) | PSTATE_DAIF | PSTATE_EL1H;
	now |= (sctlr & SCTLR_SPAN ? 0 : PSTATE_PAN) | (sctlr & SCTLR_DSSBS ? PSTATE_SSBS : 0);
	const struct { uint64_t id, val; } set[] = {
		{ CORE(elr_el1), pc }, { REG_SPSR, pstate }, { REG_ESR, esr }, { REG_PC, vbar + vector }, { REG_PSTATE, now },
		{ REG_FAR, e->far },
	};
	for (unsigned i = 0; !err && i < NELEM(set) - (EC(esr) / 2 != EC_WATCHPOINT / 2); i++)
		err = arm64_reg_set(v->fd, set[i].id, set[i].val);
	return err;
}

int arch_nmi(struct vcpu *v)
{
	return err_msg(-EOPNOTSUPP, "vCPU %u: arm64 has no non-maskable interrupt; a break on the serial console, 'skep ctl %s break', "
		       "reaches Linux's SysRq keys instead", v->id, v->vm->name);
}

/*
 * A guest whose caches are off reads what is at the point of coherency; instruction caches are invalidated by our address, which
 * reaches every alias but on virtually indexed ones, that no CPU with EL2 and this KVM interface is known to have.
 */
void arch_debug_written(void *hva, size_t len)
{
	uint64_t ctr;

	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	const uintptr_t line = 4u << (ctr >> 16 & 15), end = (uintptr_t)hva + len;

	for (uintptr_t p = ALIGN_DOWN((uintptr_t)hva, line); p < end; p += line)
		__asm__ volatile("dc cvac, %0" : : "r"(p) : "memory");
	__asm__ volatile("dsb sy" : : : "memory");
	__builtin___clear_cache((char *)hva, (char *)hva + len);
}
