/*
 * Debugging a running guest: what the server for GDB (common/gdb/) asks of an architecture.
 *
 * struct arch_debug is pure and both architectures' are in every binary: registers as GDB numbers them, and the walk
 * through the guest's page tables.  The arch_debug_*() functions are the KVM half (arch/<a>/kvm_debug.c); the vCPU is
 * parked, the caller is the loop's thread, unless said otherwise.
 */
#ifndef COMMON_DEBUG_H
#define COMMON_DEBUG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct vcpu;
struct vm;

/* A register of the target description [GDB G.2]. */
struct debug_reg {
	const char *name, *type;                /* type: "int64", "code_ptr", "vec128" ... */
	uint16_t bits;
	const char *group;                      /* "general", "float", "system" ...; NULL: GDB decides */
	uint64_t id;                            /* the KVM half's own */
};
struct debug_feature {
	const char *name;                       /* "org.gnu.gdb.i386.core" */
	const char *types;                      /* XML of vector, union and flags types; NULL: none */
	const struct debug_reg *regs;
	unsigned nregs;
};

/* What a walk needs; reg[] by architecture (x86: CR0 CR3 CR4 EFER; arm64: SCTLR TCR TTBR0 TTBR1 and what else it needs). */
struct debug_mmu {
	uint64_t reg[8];
	int (*read)(void *arg, uint64_t gpa, void *buf, size_t len);    /* guest-physical; 0 or -EFAULT */
	void *arg;
};

#define DEBUG_REG_MAX 64                        /* bytes of the widest register */
struct arch_debug {
	const char *gdb_arch;                   /* "i386:x86-64", "aarch64" */
	const struct debug_feature *features;   /* in the order GDB numbers them; NULL name ends */
	unsigned pc;                            /* number of the program counter */
	uint8_t brk[4];                         /* the breakpoint instruction */
	unsigned brk_len;
	/*
	 * Guest-virtual to guest-physical address: *pa, and in *len how many bytes from there are mapped contiguously by the same
	 * entry.  0, or -EFAULT where nothing is mapped, then *len is as many bytes as that is known for.  With translation off, the
	 * address itself.
	 */
	int (*walk)(const struct debug_mmu *, uint64_t va, uint64_t *pa, uint64_t *len);
};

/* The register GDB gives this number; NULL: none. */
const struct debug_reg *debug_reg_by_no(const struct arch_debug *, unsigned no);
/* A parked vCPU's registers, or by its own thread: all but floating-point and vector ones. */
void debug_regs_print(struct vcpu *, FILE *);
json_t *debug_regs_json(struct vcpu *);

/* --- The KVM half --- */

#define DEBUG_POINTS_MAX 32
enum debug_type { DEBUG_BREAK, DEBUG_WRITE, DEBUG_READ, DEBUG_ACCESS };
struct debug_point { enum debug_type type; uint64_t addr, len; };

enum debug_why { DEBUG_STEPPED, DEBUG_SW_BREAK, DEBUG_HW_BREAK, DEBUG_WATCH };
struct debug_stop {
	enum debug_why why;
	uint64_t addr;                          /* DEBUG_WATCH: the address watched; breakpoints: the instruction */
	enum debug_type type;                   /* DEBUG_WATCH */
};

/* One register by GDB's number, little endian, of its width; 0 or -errno (not reported; -ENOENT: this vCPU lacks it). */
int arch_debug_get(struct vcpu *, unsigned regno, uint8_t val[DEBUG_REG_MAX]);
int arch_debug_set(struct vcpu *, unsigned regno, const uint8_t *val);
void arch_debug_mmu(struct vcpu *, struct debug_mmu *);        /* fills reg[] */
/* How many hardware breakpoints and watchpoints there are. */
void arch_debug_limits(struct vm *, unsigned *breaks, unsigned *watches);
/*
 * KVM_SET_GUEST_DEBUG [KVM-API 4.87]: from the next entry on this vCPU stops at software breakpoints, at these points, and with
 * `step` after one instruction, in which no interrupt is taken.  on false: as if there were no debugger.  The last thing before the
 * vCPU is let go: a register read or written afterwards may undo the step.  0, -ENOSPC: more than the CPU has, -EINVAL: a length
 * or alignment it cannot watch, -errno (not reported).
 */
int arch_debug_arm(struct vcpu *, bool on, const struct debug_point *, unsigned n, bool step);
/* The vCPU's thread, after KVM_EXIT_DEBUG: what has happened.  False: it is the guest's own (delivered to it). */
bool arch_debug_exit(struct vcpu *, struct debug_stop *);
/*
 * The vCPU's thread, after an exit whose breakpoint turned out not to be GDB's: the guest gets the exception it would have got
 * without a debugger.  0 or -errno (not reported).
 */
int arch_debug_reinject(struct vcpu *);
/* Skep has written what the guest may execute, whose caches may be off: it is to see it.  Any thread. */
void arch_debug_written(void *hva, size_t len);

/* --- The server: common/gdb/ --- */

struct gdb;
/* Listens as gdb.* keys say; *out NULL when none is wanted.  0 or -errno (reported). */
int gdb_start(struct vm *, struct gdb **out);
void gdb_stop(struct gdb *);                    /* NULL ok */
/* The vCPU's thread: KVM_EXIT_DEBUG.  The vCPU has to park. */
void gdb_vcpu_exit(struct vcpu *);
/* The guest is reset or has ended: GDB's breakpoints have to be put back, or it is told.  Loop thread; NULL ok. */
void gdb_vm_reset(struct gdb *);
void gdb_vm_ended(struct gdb *, int status);

#endif
