/*
 * Registers of a vCPU for crash reports and exit.json [Arm ARM DDI0487 D17].
 */
#include <inttypes.h>

#include "arch/arm64/kvm.h"
#include "common/vm.h"

#define CORE(name) (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))
#define X(n) { "x" #n, CORE(regs.regs[n]) }

static const struct { const char *name; uint64_t id; } regs[] = {
	{ "pc", CORE(regs.pc) }, { "pstate", CORE(regs.pstate) },
	{ "sp_el0", CORE(regs.sp) }, { "sp_el1", CORE(sp_el1) },
	X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15),
	X(16), X(17), X(18), X(19), X(20), X(21), X(22), X(23), X(24), X(25), X(26), X(27), X(28), X(29), X(30),
	{ "elr_el1", CORE(elr_el1) }, { "spsr_el1", CORE(spsr[KVM_SPSR_EL1]) },
	{ "esr_el1", ARM64_SYS_REG(3, 0, 5, 2, 0) }, { "far_el1", ARM64_SYS_REG(3, 0, 6, 0, 0) },
	{ "vbar_el1", ARM64_SYS_REG(3, 0, 12, 0, 0) }, { "sctlr_el1", ARM64_SYS_REG(3, 0, 1, 0, 0) },
	{ "ttbr0_el1", ARM64_SYS_REG(3, 0, 2, 0, 0) }, { "ttbr1_el1", ARM64_SYS_REG(3, 0, 2, 0, 1) },
	{ "tcr_el1", ARM64_SYS_REG(3, 0, 2, 0, 2) }, { "mpidr_el1", ARM64_SYS_REG(3, 0, 0, 0, 5) },
};
#define REG_ESR ARM64_SYS_REG(3, 0, 5, 2, 0)
#define KVM_UNKNOWN 0x1de7ec7edbadc0deull       /* what KVM puts into registers whose reset value is unknown */

/* ESR_ELx.EC, bits 31:26 */
static const char *ec_name(unsigned ec)
{
	switch (ec) {
	case 0x00: return "unknown reason";
	case 0x01: return "trapped WFI or WFE";
	case 0x07: return "FP or SIMD disabled";
	case 0x0d: return "branch target exception";
	case 0x0e: return "illegal execution state";
	case 0x15: return "SVC";
	case 0x18: return "trapped system register";
	case 0x19: return "SVE disabled";
	case 0x1c: return "pointer authentication failure";
	case 0x20: return "instruction abort from EL0";
	case 0x21: return "instruction abort";
	case 0x22: return "PC misaligned";
	case 0x24: return "data abort from EL0";
	case 0x25: return "data abort";
	case 0x26: return "SP misaligned";
	case 0x2c: return "floating-point exception";
	case 0x2f: return "SError";
	case 0x30: case 0x31: return "breakpoint";
	case 0x32: case 0x33: return "software step";
	case 0x34: case 0x35: return "watchpoint";
	case 0x3c: return "BRK";
	default: return "reserved class";
	}
}

void arch_vcpu_dump(struct vcpu *v, FILE *f)
{
	uint64_t val;
	unsigned col = 0;
	for (size_t i = 0; i < NELEM(regs); i++) {
		if (arm64_reg_get(v->fd, regs[i].id, &val))
			continue;
		fprintf(f, "%s%9s %016" PRIx64, col ? "" : "  ", regs[i].name, val);
		col = (col + 1) % 4;
		fputs(col ? " " : "\n", f);
	}
	if (col)
		fputc('\n', f);
	if (!arm64_reg_get(v->fd, REG_ESR, &val) && val != KVM_UNKNOWN)
		fprintf(f, "  last exception: %s (EC 0x%02x, ISS 0x%x)\n", ec_name(val >> 26 & 0x3f), (unsigned)(val >> 26 & 0x3f),
			(unsigned)(val & 0x1ffffff));
}

json_t *arch_vcpu_regs_json(struct vcpu *v)
{
	json_t *o = json_object();
	for (size_t i = 0; i < NELEM(regs); i++) {
		char text[24];
		uint64_t val;
		if (arm64_reg_get(v->fd, regs[i].id, &val))
			continue;
		snprintf(text, sizeof(text), "0x%" PRIx64, val);
		json_object_set_new(o, regs[i].name, json_string(text));
	}
	return o;
}
