/*
 * What x86 exits are: KVM's counters [Linux arch/x86/kvm/x86.c] and the reasons in its tracepoint kvm_exit, whose field isa says of
 * which CPU they are: 1 for VT-x [Linux arch/x86/include/uapi/asm/vmx.h], 2 for SVM [Linux
 * arch/x86/include/uapi/asm/svm.h].  Names are those KVM prints.
 */
#include "arch/x86/x86.h"
#include "common/kvmstats.h"

/* irq_exits counts external interrupts, pf_taken faults on memory that is not mapped (MMIO that KVM knows as such is none). */
static const struct stat_kind stats[] = {
	{ "io_exits", EXIT_PIO }, { "mmio_exits", EXIT_MMIO }, { "halt_exits", EXIT_HALT }, { "hypercalls", EXIT_HYPERCALL },
	{ "irq_window_exits", EXIT_IRQ_WINDOW }, { "nmi_window_exits", EXIT_IRQ_WINDOW }, { "request_irq_exits", EXIT_IRQ_WINDOW },
	{ "irq_exits", EXIT_EXT_IRQ }, { "pf_taken", EXIT_MEM_FAULT }, { "signal_exits", EXIT_SIGNAL }, { NULL, 0 }
};

enum { VMX = 1, SVM };
#define ONE(group, kind, reason, name) { group, kind, reason, reason, name }
static const struct exit_reason reasons[] = {
	{ SVM, EXIT_SYSREG, 0x00, 0x0f, "read_cr" }, { SVM, EXIT_SYSREG, 0x10, 0x1f, "write_cr" },
	{ SVM, EXIT_SYSREG, 0x20, 0x2f, "read_dr" }, { SVM, EXIT_SYSREG, 0x30, 0x3f, "write_dr" },
	ONE(SVM, EXIT_DEBUG, 0x41, "DB excp"), ONE(SVM, EXIT_DEBUG, 0x43, "BP excp"),
	{ SVM, EXIT_EXCEPTION, 0x40, 0x5f, "excp" }, ONE(SVM, EXIT_EXT_IRQ, 0x60, "interrupt"),
	ONE(SVM, EXIT_EXT_IRQ, 0x61, "nmi"), ONE(SVM, EXIT_EXT_IRQ, 0x62, "smi"), ONE(SVM, EXIT_OTHER, 0x63, "init"),
	ONE(SVM, EXIT_IRQ_WINDOW, 0x64, "vintr"), ONE(SVM, EXIT_SYSREG, 0x65, "cr0_sel_write"),
	ONE(SVM, EXIT_SYSREG, 0x6e, "rdtsc"), ONE(SVM, EXIT_SYSREG, 0x6f, "rdpmc"), ONE(SVM, EXIT_SYSREG, 0x72, "cpuid"),
	ONE(SVM, EXIT_IRQ_WINDOW, 0x74, "iret"), ONE(SVM, EXIT_SYSREG, 0x76, "invd"), ONE(SVM, EXIT_OTHER, 0x77, "pause"),
	ONE(SVM, EXIT_HALT, 0x78, "hlt"), ONE(SVM, EXIT_SYSREG, 0x79, "invlpg"), ONE(SVM, EXIT_PIO, 0x7b, "io"),
	ONE(SVM, EXIT_SYSREG, 0x7c, "msr"), ONE(SVM, EXIT_OTHER, 0x7d, "task_switch"),
	ONE(SVM, EXIT_SHUTDOWN, 0x7f, "shutdown"), ONE(SVM, EXIT_HYPERCALL, 0x81, "hypercall"),
	ONE(SVM, EXIT_SYSREG, 0x87, "rdtscp"), ONE(SVM, EXIT_SYSREG, 0x89, "wbinvd"), ONE(SVM, EXIT_OTHER, 0x8a, "monitor"),
	ONE(SVM, EXIT_HALT, 0x8b, "mwait"), ONE(SVM, EXIT_HALT, 0x8c, "mwait"), ONE(SVM, EXIT_SYSREG, 0x8d, "xsetbv"),
	ONE(SVM, EXIT_SYSREG, 0x8f, "write_efer_trap"), { SVM, EXIT_SYSREG, 0x90, 0x9f, "write_cr_trap" },
	ONE(SVM, EXIT_SYSREG, 0xa2, "invpcid"), ONE(SVM, EXIT_HALT, 0xa6, "idle-halt"),
	ONE(SVM, EXIT_MEM_FAULT, 0x400, "npf"), ONE(SVM, EXIT_SYSREG, 0x401, "avic_incomplete_ipi"),
	ONE(SVM, EXIT_SYSREG, 0x402, "avic_unaccelerated_access"),

	ONE(VMX, EXIT_EXCEPTION, 0, "EXCEPTION_NMI"), ONE(VMX, EXIT_EXT_IRQ, 1, "EXTERNAL_INTERRUPT"),
	ONE(VMX, EXIT_SHUTDOWN, 2, "TRIPLE_FAULT"), ONE(VMX, EXIT_IRQ_WINDOW, 7, "INTERRUPT_WINDOW"),
	ONE(VMX, EXIT_IRQ_WINDOW, 8, "NMI_WINDOW"), ONE(VMX, EXIT_OTHER, 9, "TASK_SWITCH"),
	ONE(VMX, EXIT_SYSREG, 10, "CPUID"), ONE(VMX, EXIT_HALT, 12, "HLT"), ONE(VMX, EXIT_SYSREG, 13, "INVD"),
	ONE(VMX, EXIT_SYSREG, 14, "INVLPG"), ONE(VMX, EXIT_SYSREG, 15, "RDPMC"), ONE(VMX, EXIT_SYSREG, 16, "RDTSC"),
	ONE(VMX, EXIT_HYPERCALL, 18, "VMCALL"), ONE(VMX, EXIT_SYSREG, 28, "CR_ACCESS"),
	ONE(VMX, EXIT_SYSREG, 29, "DR_ACCESS"), ONE(VMX, EXIT_PIO, 30, "IO_INSTRUCTION"),
	ONE(VMX, EXIT_SYSREG, 31, "MSR_READ"), ONE(VMX, EXIT_SYSREG, 32, "MSR_WRITE"),
	ONE(VMX, EXIT_FAIL_ENTRY, 33, "INVALID_STATE"), ONE(VMX, EXIT_FAIL_ENTRY, 34, "MSR_LOAD_FAIL"),
	ONE(VMX, EXIT_HALT, 36, "MWAIT_INSTRUCTION"), ONE(VMX, EXIT_DEBUG, 37, "MONITOR_TRAP_FLAG"),
	ONE(VMX, EXIT_OTHER, 39, "MONITOR_INSTRUCTION"), ONE(VMX, EXIT_OTHER, 40, "PAUSE_INSTRUCTION"),
	ONE(VMX, EXIT_SYSREG, 43, "TPR_BELOW_THRESHOLD"), ONE(VMX, EXIT_SYSREG, 44, "APIC_ACCESS"),
	ONE(VMX, EXIT_SYSREG, 45, "EOI_INDUCED"), ONE(VMX, EXIT_SYSREG, 46, "GDTR_IDTR"),
	ONE(VMX, EXIT_SYSREG, 47, "LDTR_TR"), ONE(VMX, EXIT_MEM_FAULT, 48, "EPT_VIOLATION"),
	ONE(VMX, EXIT_MMIO, 49, "EPT_MISCONFIG"), ONE(VMX, EXIT_SYSREG, 51, "RDTSCP"),
	ONE(VMX, EXIT_EXT_IRQ, 52, "PREEMPTION_TIMER"), ONE(VMX, EXIT_SYSREG, 54, "WBINVD"),
	ONE(VMX, EXIT_SYSREG, 55, "XSETBV"), ONE(VMX, EXIT_SYSREG, 56, "APIC_WRITE"), ONE(VMX, EXIT_SYSREG, 58, "INVPCID"),
	ONE(VMX, EXIT_MEM_FAULT, 62, "PML_FULL"), ONE(VMX, EXIT_SYSREG, 63, "XSAVES"), ONE(VMX, EXIT_SYSREG, 64, "XRSTORS"),
	ONE(VMX, EXIT_OTHER, 74, "BUS_LOCK"),
	{ 0, 0, 0, 0, NULL }
};

const struct arch_exits x86_exits = { stats, "isa", "exit_reason", reasons };
