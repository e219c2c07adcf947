/*
 * Notes of a core file: struct user_pt_regs and user_fpsimd_state as Linux lays them out
 * (arch/arm64/include/uapi/asm/ptrace.h [Linux]).
 */
#include <elf.h>

#include "arch/arm64/arm64.h"
#include "common/dump.h"
#include "common/util.h"

#define REGS 112                        /* pr_reg in struct elf_prstatus */
#define X(n) { "x" #n, REGS + (n) * 8, 8 }
static const struct core_field prstatus[] = {
	X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15), X(16), X(17), X(18), X(19),
	X(20), X(21), X(22), X(23), X(24), X(25), X(26), X(27), X(28), X(29), X(30),
	{ "sp", REGS + 31 * 8, 8 }, { "pc", REGS + 32 * 8, 8 }, { "cpsr", REGS + 33 * 8, 4 }, { NULL, 0, 0 }
};

#define V(n) { "v" #n, (n) * 16, 16 }
static const struct core_field fpregs[] = {
	V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12), V(13), V(14), V(15), V(16), V(17), V(18), V(19),
	V(20), V(21), V(22), V(23), V(24), V(25), V(26), V(27), V(28), V(29), V(30), V(31),
	{ "fpsr", 512, 4 }, { "fpcr", 516, 4 }, { NULL, 0, 0 }
};

static const struct core_note notes[] = {
	{ "CORE", NT_PRSTATUS, 392, 32, { 0 }, prstatus },
	{ "CORE", NT_PRFPREG, 528, 0, { 0 }, fpregs },
	{ NULL, 0, 0, 0, { 0 }, NULL }
};

const struct arch_core arm64_core = { EM_AARCH64, 52, notes };
