/*
 * What arm64 exits are: KVM's counters [Linux arch/arm64/kvm/guest.c] and the reasons in its tracepoint kvm_exit [Linux
 * arch/arm64/kvm/trace_arm.h]: the group is how the CPU came back, for traps (2) the reason is the exception class
 * [Arm ARM ESR_EL2.EC].  Names are those KVM prints.
 */
#include "arch/arm64/arm64.h"
#include "common/kvmstats.h"

static const struct stat_kind stats[] = {
	{ "mmio_exit_user", EXIT_MMIO }, { "mmio_exit_kernel", EXIT_MMIO }, { "wfi_exit_stat", EXIT_HALT }, { "wfe_exit_stat", EXIT_HALT },
	{ "hvc_exit_stat", EXIT_HYPERCALL }, { "signal_exits", EXIT_SIGNAL }, { NULL, 0 }
};

enum { IRQ, SERROR, TRAP, IL };
#define ONE(group, kind, reason, name) { group, kind, reason, reason, name }
#define ALL(group, kind, name) { group, kind, 0, UINT16_MAX, name }
static const struct exit_reason reasons[] = {
	ALL(IRQ, EXIT_EXT_IRQ, "IRQ"),
	ALL(SERROR, EXIT_EXCEPTION, "SERROR"),
	ALL(IL, EXIT_FAIL_ENTRY, "ILLEGAL"),
	ONE(TRAP, EXIT_EXCEPTION, 0x00, "UNKNOWN"), ONE(TRAP, EXIT_HALT, 0x01, "WFx"),
	ONE(TRAP, EXIT_SYSREG, 0x03, "CP15_32"), ONE(TRAP, EXIT_SYSREG, 0x04, "CP15_64"),
	ONE(TRAP, EXIT_SYSREG, 0x05, "CP14_MR"), ONE(TRAP, EXIT_SYSREG, 0x06, "CP14_LS"),
	ONE(TRAP, EXIT_EXCEPTION, 0x07, "FP_ASIMD"), ONE(TRAP, EXIT_SYSREG, 0x08, "CP10_ID"),
	ONE(TRAP, EXIT_EXCEPTION, 0x09, "PAC"), ONE(TRAP, EXIT_SYSREG, 0x0c, "CP14_64"),
	ONE(TRAP, EXIT_HYPERCALL, 0x12, "HVC32"), ONE(TRAP, EXIT_HYPERCALL, 0x13, "SMC32"),
	ONE(TRAP, EXIT_HYPERCALL, 0x16, "HVC64"), ONE(TRAP, EXIT_HYPERCALL, 0x17, "SMC64"),
	ONE(TRAP, EXIT_SYSREG, 0x18, "SYS64"), ONE(TRAP, EXIT_EXCEPTION, 0x19, "SVE"),
	ONE(TRAP, EXIT_MEM_FAULT, 0x20, "IABT_LOW"), ONE(TRAP, EXIT_MEM_FAULT, 0x24, "DABT_LOW"),
	ONE(TRAP, EXIT_EXCEPTION, 0x2f, "SERROR"), ONE(TRAP, EXIT_DEBUG, 0x30, "BREAKPT_LOW"),
	ONE(TRAP, EXIT_DEBUG, 0x32, "SOFTSTP_LOW"), ONE(TRAP, EXIT_DEBUG, 0x34, "WATCHPT_LOW"),
	ONE(TRAP, EXIT_DEBUG, 0x38, "BKPT32"), ONE(TRAP, EXIT_DEBUG, 0x3c, "BRK64"),
	{ 0, 0, 0, 0, NULL }
};

const struct arch_exits arm64_exits = { stats, "ret", "esr_ec", reasons };
