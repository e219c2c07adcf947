/*
 * Notes of a core file: general registers and FXSAVE image as Linux lays them out (struct user_regs_struct and
 * user_fpregs_struct, arch/x86/include/asm/user_64.h [Linux]), and the CPU state that QEMU adds, by which crash finds a
 * kernel that chose its address at random [QEMU-DUMP].
 */
#include <elf.h>

#include "arch/x86/x86.h"
#include "common/dump.h"
#include "common/util.h"

#define REGS 112                        /* pr_reg in struct elf_prstatus */
#define REG(n, name) { name, REGS + (n) * 8, 8 }
static const struct core_field prstatus[] = {
	REG(0, "r15"), REG(1, "r14"), REG(2, "r13"), REG(3, "r12"), REG(4, "rbp"), REG(5, "rbx"), REG(6, "r11"), REG(7, "r10"),
	REG(8, "r9"), REG(9, "r8"), REG(10, "rax"), REG(11, "rcx"), REG(12, "rdx"), REG(13, "rsi"), REG(14, "rdi"), REG(15, "rax"),
	REG(16, "rip"), REG(17, "cs"), REG(18, "eflags"), REG(19, "rsp"), REG(20, "ss"), REG(21, "fs_base"), REG(22, "gs_base"),
	REG(23, "ds"), REG(24, "es"), REG(25, "fs"), REG(26, "gs"), { NULL, 0, 0 }
};

/* [SDM-1 10.5.1] */
#define ST(n) { "st" #n, 32 + (n) * 16, 0 }
#define XMM(n) { "xmm" #n, 160 + (n) * 16, 0 }
static const struct core_field fpregs[] = {
	{ "fctrl", 0, 2 }, { "fstat", 2, 2 }, { "fop", 6, 2 }, { "mxcsr", 24, 4 },
	ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
	XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7), XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
	{ NULL, 0, 0 }
};

/* 18 general registers, 10 segments of selector, limit, flags, padding and base, CR0 to CR4, KERNEL_GS_BASE. */
#define GEN(n, name) { name, 8 + (n) * 8, 8 }
#define SEG(n, name) { name, 152 + (n) * 24, 4 }, { name "_base", 152 + (n) * 24 + 16, 8 }
#define TABLE(n, name) { name "_limit", 152 + (n) * 24 + 4, 4 }, { name "_base", 152 + (n) * 24 + 16, 8 }
static const struct core_field qemu[] = {
	GEN(0, "rax"), GEN(1, "rbx"), GEN(2, "rcx"), GEN(3, "rdx"), GEN(4, "rsi"), GEN(5, "rdi"), GEN(6, "rsp"), GEN(7, "rbp"),
	GEN(8, "r8"), GEN(9, "r9"), GEN(10, "r10"), GEN(11, "r11"), GEN(12, "r12"), GEN(13, "r13"), GEN(14, "r14"), GEN(15, "r15"),
	GEN(16, "rip"), GEN(17, "eflags"),
	SEG(0, "cs"), SEG(1, "ds"), SEG(2, "es"), SEG(3, "fs"), SEG(4, "gs"), SEG(5, "ss"), TABLE(8, "gdtr"), TABLE(9, "idtr"),
	{ "cr0", 392, 8 }, { "cr2", 408, 8 }, { "cr3", 416, 8 }, { "cr4", 424, 8 }, { "k_gs_base", 432, 8 }, { NULL, 0, 0 }
};

static const struct core_note notes[] = {
	{ "CORE", NT_PRSTATUS, 336, 32, { 0 }, prstatus },
	{ "CORE", NT_PRFPREG, 512, 0, { 0 }, fpregs },
	{ "QEMU", 0, 440, 0, { 1, 440 }, qemu },
	{ NULL, 0, 0, 0, { 0 }, NULL }
};

const struct arch_core x86_core = { EM_X86_64, 56, notes };
