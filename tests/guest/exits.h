/*
 * Between exits.c (the workloads) and what each architecture does in its own way (exits_x86.c, exits_arm64.c and their start code
 * of a second CPU).
 */
#ifndef TESTS_GUEST_EXITS_H
#define TESTS_GUEST_EXITS_H

#include "tests/guest/guest.h"

/* --- interrupts; after irq_enable() --- */

void irqs_off(void);
void irqs_on(void);
/* With interrupts off: sleeps until one is pending, takes it, and is off again. */
void cpu_sleep(void);
static inline void cpu_relax(void) { __asm__ volatile("" : : : "memory"); }

/* The boot CPU's timer: what arrives as irq_count[timer_init()], once for every timer_arm(). */
unsigned timer_init(void);
void timer_arm(uint64_t us);

/* In exits_sleep.c.  Sleeps until irq_count[n] is not `before`. */
void sleep_count(unsigned n, unsigned before);
/* The boot CPU sleeps for so long, by its timer, since looking at a clock may be an exit. */
void sleep_us(uint64_t us);
/* Sleeps until *flag, five seconds at most; its last value. */
bool sleep_until(volatile bool *flag);

/* --- two CPUs --- */

/* Runs run() on the second CPU with interrupts on; false: it cannot be started. */
bool cpu_start(void (*run)(void));
/* Arrives as irq_count[ipi_input(cpu)] on that CPU, 0 or 1. */
void ipi_send(unsigned cpu);
unsigned ipi_input(unsigned cpu);

/* --- page tables: four levels of 512 entries of 8 bytes on both architectures, pages of 4 KiB --- */

#define PT_FREE_ENTRY 8                 /* of the top level: nothing the library maps is there */
uint64_t *pt_root(void);
uint64_t pt_table(uint64_t addr);       /* entries */
uint64_t pt_page(uint64_t addr);
/* After an entry became valid. */
void pt_made(void);
/* After an entry became invalid: no CPU may use what it had of it. */
void pt_flush(uint64_t va);

/* --- floating point and SIMD --- */

#define FP_AREA 1024
/* fp_trapped() is called at the first use after fp_lock(); its end is fp_unlock(). */
void fp_init(void);
void fp_lock(void);
void fp_unlock(void);
extern const unsigned fp_regs;
/* Register n in an area, 16 bytes. */
uint64_t *fp_reg(void *area, unsigned n);
/* In assembly: all registers; one more in register 0 (register 1 is lost), and its value. */
void fp_save(void *area);
void fp_load(const void *area);
uint64_t fp_bump(void);

/* --- what always leaves the guest --- */

/* A register that is the same all the time. */
uint64_t sysreg_read(void);
/* False: the answer is wrong. */
bool hypercall(void);

#endif
