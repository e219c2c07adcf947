/*
 * Registers of a vCPU for crash reports and exit.json [Arm ARM DDI0487 D17].
 */
#include "arch/arm64/kvm.h"
#include "common/debug.h"
#include "common/vm.h"

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
	debug_regs_print(v, f);
	if (!arm64_reg_get(v->fd, REG_ESR, &val) && val != KVM_UNKNOWN)
		fprintf(f, "  last exception: %s (EC 0x%02x, ISS 0x%x)\n", ec_name(val >> 26 & 0x3f), (unsigned)(val >> 26 & 0x3f),
			(unsigned)(val & 0x1ffffff));
}

json_t *arch_vcpu_regs_json(struct vcpu *v)
{
	return debug_regs_json(v);
}
