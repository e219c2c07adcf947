/*
 * The exits guest on arm64: virtual timer, SGIs [GICv3; GICv2], PSCI, page tables, CPACR_EL1 [Arm ARM].
 */
#include "tests/guest/exits.h"

#define GICD 0x08000000ull
#define GICC 0x08010000ull
#define GICR 0x080a0000ull
#define GICR_LEN 0x20000
#define GICR_WAKER 0x14
#define GICR_SGI 0x10000                /* second frame: the CPU's own interrupts */
#define IGROUPR 0x080
#define ISENABLER 0x100
#define IPRIORITYR 0x400
#define GICD_SGIR 0xf00
#define PRIORITY 0x80
#define TIMER_INTID 27
#define SGI 1                           /* and the next, to CPU 1 */
#define PSCI_VERSION 0x84000000
#define PSCI_CPU_ON 0xc4000003
#define CPACR_FPEN (3ull << 20)

/* What the second CPU has before its MMU is on; exits_start_arm64.S. */
static struct {
	uint64_t mair, tcr, ttbr0, sctlr, vbar, stack_end, run;
} ap_regs __attribute__((aligned(64)));
extern const char ap_start[];
extern char ap_stack_end[];

static void (*volatile ap_run)(void);
static volatile bool ap_up;

const unsigned fp_regs = 32;

static int64_t hvc(uint64_t fn, uint64_t a, uint64_t b, uint64_t c)
{
	register uint64_t x0 __asm__("x0") = fn;
	register uint64_t x1 __asm__("x1") = a;
	register uint64_t x2 __asm__("x2") = b;
	register uint64_t x3 __asm__("x3") = c;

	__asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
	return (int64_t)x0;
}

/* --- interrupts --- */

void irqs_off(void)
{
	__asm__ volatile("msr daifset, #2" : : : "memory");
}

void irqs_on(void)
{
	__asm__ volatile("msr daifclr, #2; isb" : : : "memory");
}

void cpu_sleep(void)
{
	__asm__ volatile("dsb sy; wfi; msr daifclr, #2; isb; msr daifset, #2" : : : "memory");
}

/* Lets an interrupt of the calling CPU's own through. */
static void private_enable(unsigned cpu, unsigned intid)
{
	uint64_t at = gic == 3 ? GICR + cpu * GICR_LEN + GICR_SGI : GICD;

	if (gic == 3)
		mmio_write(at + IGROUPR, 4, mmio_read(at + IGROUPR, 4) | 1u << intid);
	mmio_write(at + IPRIORITYR + intid, 1, PRIORITY);
	mmio_write(at + ISENABLER, 4, 1u << intid);
}

unsigned timer_init(void)
{
	private_enable(0, TIMER_INTID);
	return TIMER_INTID;
}

void timer_arm(uint64_t us)
{
	uint64_t now, hz;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(now));
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	__asm__ volatile("msr cntv_cval_el0, %0; msr cntv_ctl_el0, %1; isb" : : "r"(now + us * (hz / 1000) / 1000), "r"(1ul) : "memory");
}

/* --- two CPUs --- */

static void gic_cpu_on(unsigned cpu)
{
	if (gic == 3) {
		uint64_t waker = GICR + cpu * GICR_LEN + GICR_WAKER;

		mmio_write(waker, 4, 0);
		for (unsigned i = 0; i < 10000 && mmio_read(waker, 4) & 4; i++)
			;
		__asm__ volatile("msr s3_0_c12_c12_5, %0; isb" : : "r"(1ul));   /* ICC_SRE_EL1 */
		__asm__ volatile("msr s3_0_c4_c6_0, %0" : : "r"(0xfful));       /* ICC_PMR_EL1 */
		__asm__ volatile("msr s3_0_c12_c12_7, %0; isb" : : "r"(1ul));   /* ICC_IGRPEN1_EL1 */
	} else {
		mmio_write(GICC + 4, 4, 0xff);
		mmio_write(GICC, 4, 1);
	}
}

static void ap_main(void)
{
	gic_cpu_on(1);
	private_enable(1, ipi_input(1));
	memory_barrier();
	ap_up = true;
	irqs_on();
	ap_run();
	for (;;)
		__asm__ volatile("wfi");
}

bool cpu_start(void (*run)(void))
{
	private_enable(0, ipi_input(0));
	__asm__ volatile("mrs %0, mair_el1" : "=r"(ap_regs.mair));
	__asm__ volatile("mrs %0, tcr_el1" : "=r"(ap_regs.tcr));
	__asm__ volatile("mrs %0, ttbr0_el1" : "=r"(ap_regs.ttbr0));
	__asm__ volatile("mrs %0, sctlr_el1" : "=r"(ap_regs.sctlr));
	__asm__ volatile("mrs %0, vbar_el1" : "=r"(ap_regs.vbar));
	ap_regs.stack_end = (uintptr_t)ap_stack_end;
	ap_regs.run = (uintptr_t)ap_main;
	ap_run = run;
	/* The structure is one cache line, which must be in memory: the other CPU's caches are off when it reads. */
	__asm__ volatile("dsb sy; dc civac, %0; dsb sy" : : "r"(&ap_regs) : "memory");
	if (hvc(PSCI_CPU_ON, 1, (uintptr_t)ap_start, (uintptr_t)&ap_regs) != 0)
		return false;
	return sleep_until(&ap_up);
}

void ipi_send(unsigned cpu)
{
	memory_barrier();
	if (gic == 3)
		__asm__ volatile("msr s3_0_c12_c11_5, %0; isb" : : "r"((uint64_t)ipi_input(cpu) << 24 | 1ull << cpu)); /* ICC_SGI1R_EL1 */
	else
		mmio_write(GICD + GICD_SGIR, 4, 0x10000u << cpu | ipi_input(cpu));
}

unsigned ipi_input(unsigned cpu)
{
	return SGI + cpu;
}

/* --- page tables [Arm ARM DDI0487 D8.3] --- */

uint64_t *pt_root(void)
{
	uint64_t ttbr;

	__asm__ volatile("mrs %0, ttbr0_el1" : "=r"(ttbr));
	return (uint64_t *)(ttbr & 0xfffffffff000ull);
}

uint64_t pt_table(uint64_t addr)
{
	return addr | 3;
}

/* Normal write-back memory (attribute 2 of start_arm64.S), inner shareable, accessed, not executable. */
uint64_t pt_page(uint64_t addr)
{
	return addr | 3 | 2 << 2 | 3 << 8 | 1 << 10 | 3ull << 53;
}

void pt_made(void)
{
	__asm__ volatile("dsb ishst; isb" : : : "memory");
}

void pt_flush(uint64_t va)
{
	__asm__ volatile("dsb ishst; tlbi vaae1is, %0; dsb ish; isb" : : "r"(va >> 12 & 0xfffffffffffull) : "memory");
}

/* --- floating point --- */

void fp_init(void)
{
	fp_unlock();
}

static void cpacr(uint64_t set, uint64_t clear)
{
	uint64_t v;

	__asm__ volatile("mrs %0, cpacr_el1" : "=r"(v));
	__asm__ volatile("msr cpacr_el1, %0; isb" : : "r"((v & ~clear) | set) : "memory");
}

void fp_lock(void)
{
	cpacr(0, CPACR_FPEN);
}

void fp_unlock(void)
{
	cpacr(CPACR_FPEN, 0);
}

uint64_t *fp_reg(void *area, unsigned n)
{
	return (uint64_t *)((uint8_t *)area + 16 * n);
}

/* --- what always leaves the guest --- */

/* ID registers are what the hypervisor says they are. */
uint64_t sysreg_read(void)
{
	uint64_t v;

	__asm__ volatile("mrs %0, id_aa64pfr0_el1" : "=r"(v));
	return v;
}

bool hypercall(void)
{
	int64_t version = hvc(PSCI_VERSION, 0, 0, 0);

	return version > 0 && version >> 16 < 0x100;
}
