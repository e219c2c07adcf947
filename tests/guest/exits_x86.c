/*
 * The exits guest on x86: local APIC [SDM-3A 11], INIT and SIPI [SDM-3A 9.4], page tables, CR0.TS, hypercalls [Linux
 * Documentation/virt/kvm/x86/hypercalls.rst].
 */
#include "tests/guest/exits.h"

#define LAPIC 0xfee00000ull
#define LAPIC_SVR 0x0f0
#define LAPIC_ICR 0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_LVT_TIMER 0x320
#define LAPIC_TIMER_COUNT 0x380
#define LAPIC_TIMER_DIVIDE 0x3e0
#define DIVIDE_BY_1 0xb
#define SVR_ON 0x100
#define ICR_INIT 0x4500
#define ICR_SIPI 0x4600
#define ICR_FIXED 0x4000
#define ICR_PENDING 0x1000
#define VECTOR_SPURIOUS 63
#define VECTOR_TIMER 42
#define VECTOR_IPI 43                   /* and the next, to CPU 1 */
#define SIPI_PAGE 7                     /* the second CPU starts at 0x7000 */
#define KVM_TIMING 0x40000010           /* leaf: EBX is the APIC's clock in kHz */
#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ON 0x800
#define CR0_MP 2ull
#define CR0_EM 4ull
#define CR0_TS 8ull
#define CR4_OSFXSR 0x200ull
#define FXSAVE_XMM0 160
#define HYPERCALL_NONE 0x7fff           /* no such call */
#define KVM_ENOSYS 1000

/* exits_start_x86.S */
extern const char ap_start[], ap_end[];
extern uint32_t ap_cr3;
extern struct idt_reg {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) ap_idt;
void ap_main(void);

static void (*volatile ap_run)(void);
static volatile bool ap_up;

const unsigned fp_regs = 16;

static void cpuid(uint32_t leaf, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

/* --- interrupts --- */

void irqs_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

void irqs_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

void cpu_sleep(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static uint32_t timer_khz;

unsigned timer_init(void)
{
	uint32_t r[4];

	cpuid(KVM_TIMING, r);
	timer_khz = r[1];
	mmio_write(LAPIC + LAPIC_TIMER_DIVIDE, 4, DIVIDE_BY_1);
	mmio_write(LAPIC + LAPIC_LVT_TIMER, 4, VECTOR_TIMER);
	return VECTOR_TIMER;
}

void timer_arm(uint64_t us)
{
	mmio_write(LAPIC + LAPIC_TIMER_COUNT, 4, us * timer_khz / 1000);
}

/* --- two CPUs --- */

static void icr(unsigned cpu, uint32_t what)
{
	mmio_write(LAPIC + LAPIC_ICR_HIGH, 4, cpu << 24);
	mmio_write(LAPIC + LAPIC_ICR, 4, what);
}

void ap_main(void)
{
	mmio_write(LAPIC + LAPIC_SVR, 4, SVR_ON | VECTOR_SPURIOUS);
	ap_up = true;
	irqs_on();
	ap_run();
}

bool cpu_start(void (*run)(void))
{
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	__asm__ volatile("sidt %0" : "=m"(ap_idt));
	ap_cr3 = (uint32_t)cr3;
	ap_run = run;
	memcpy((void *)(uintptr_t)(SIPI_PAGE << 12), ap_start, (size_t)(ap_end - ap_start));
	icr(1, ICR_INIT);
	sleep_us(10000);
	icr(1, ICR_SIPI | SIPI_PAGE);
	return sleep_until(&ap_up);
}

void ipi_send(unsigned cpu)
{
	icr(cpu, ICR_FIXED | ipi_input(cpu));
}

unsigned ipi_input(unsigned cpu)
{
	return VECTOR_IPI + cpu;
}

/* --- page tables [SDM-3A 4.5] --- */

uint64_t *pt_root(void)
{
	uint64_t cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	return (uint64_t *)(cr3 & ~0xfffull);
}

uint64_t pt_table(uint64_t addr)
{
	return addr | 3;
}

uint64_t pt_page(uint64_t addr)
{
	return addr | 3;
}

void pt_made(void)
{
	__asm__ volatile("" : : : "memory");
}

void pt_flush(uint64_t va)
{
	__asm__ volatile("invlpg (%0)" : : "r"(va) : "memory");
}

/* --- floating point --- */

static uint64_t cr0_get(void)
{
	uint64_t cr0;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	return cr0;
}

static void cr0_set(uint64_t cr0)
{
	__asm__ volatile("mov %0, %%cr0" : : "r"(cr0) : "memory");
}

void fp_init(void)
{
	uint64_t cr4;

	cr0_set((cr0_get() | CR0_MP) & ~(CR0_EM | CR0_TS));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4; fninit" : : "r"(cr4 | CR4_OSFXSR));
}

void fp_lock(void)
{
	cr0_set(cr0_get() | CR0_TS);
}

void fp_unlock(void)
{
	__asm__ volatile("clts" : : : "memory");
}

uint64_t *fp_reg(void *area, unsigned n)
{
	return (uint64_t *)((uint8_t *)area + FXSAVE_XMM0 + 16 * n);
}

/* --- what always leaves the guest --- */

uint64_t sysreg_read(void)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(MSR_APIC_BASE));
	return low & APIC_BASE_ON ? (uint64_t)high << 32 | low : random_get();
}

/* AMD's processors have an instruction of their own; KVM would rewrite the other's. */
bool hypercall(void)
{
	static uint32_t vendor;
	uint32_t r[4];
	int64_t answer = HYPERCALL_NONE;

	if (!vendor) {
		cpuid(0, r);
		vendor = r[1];
	}
	if (vendor == 0x756e6547)               /* "Genu" */
		__asm__ volatile("vmcall" : "+a"(answer) : : "memory");
	else
		__asm__ volatile("vmmcall" : "+a"(answer) : : "memory");
	return answer == -KVM_ENOSYS;
}
