/*
 * The arm64 half of a bare-metal guest's library: PL011, page tables, traps, PSCI, device tree, GIC.
 */
#include "tests/guest/guest.h"

#define UART 0x09000000ull
#define UART_DR 0x00
#define UART_FR 0x18
#define UART_LCR_H 0x2c
#define UART_CR 0x30
#define UART_IFLS 0x34
#define UART_IMSC 0x38
#define UART_ICR 0x44
#define FR_TXFE 0x80
#define FIFO_HALF 16                    /* characters that fit once the FIFO was empty */
#define UART_INTID 33
#define TIMER_INTID 27
#define EC_FP 7                         /* of ESR_EL1: floating point while it is off */
#define PSCI_SYSTEM_OFF 0x84000008
#define PSCI_SYSTEM_RESET 0x84000009
#define GICD 0x08000000ull
#define GICC 0x08010000ull
#define GICR 0x080a0000ull
#define V2M 0x08020000ull
#define HOLE 0x0a000000ull
#define GIB (1ull << 30)
#define ALIAS (1ull << 40)              /* 1 TiB up: the same addresses, mapped as normal uncached memory */

/* Descriptors [Arm ARM DDI0487 D8.3] */
#define PTE_TABLE 3
#define PTE_BLOCK 1
#define PTE_ATTR(n) ((uint64_t)(n) << 2)
#define PTE_INNER (3 << 8)
#define PTE_AF (1 << 10)
#define PTE_XN (3ull << 53)
enum { ATTR_DEVICE, ATTR_UNCACHED, ATTR_NORMAL };

struct trap_frame {
	uint64_t x[31], elr, spsr, esr, far, entry;
};

uint64_t mmu_tables(const void *fdt);
void trap(struct trap_frame *);

/* Identity: two tables of 512 GiB; the alias: two more; the GiB with RAM in 2 MiB blocks. */
static uint64_t level0[512] __attribute__((aligned(4096)));
static uint64_t level1[4][512] __attribute__((aligned(4096)));
static uint64_t ram_blocks[512] __attribute__((aligned(4096)));
volatile unsigned irq_count[IRQ_MAX];
void (*fp_hook)(void);
unsigned gic;
bool has_its;
static bool has_v2m;

/* --- accesses --- */

uint64_t mmio_read(uint64_t addr, unsigned size)
{
	uint64_t v;

	switch (size) {
	case 1: __asm__ volatile("ldrb %w0, [%1]" : "=r"(v) : "r"(addr) : "memory"); break;
	case 2: __asm__ volatile("ldrh %w0, [%1]" : "=r"(v) : "r"(addr) : "memory"); break;
	case 4: __asm__ volatile("ldr %w0, [%1]" : "=r"(v) : "r"(addr) : "memory"); break;
	default: __asm__ volatile("ldr %x0, [%1]" : "=r"(v) : "r"(addr) : "memory"); break;
	}
	__asm__ volatile("dsb sy" : : : "memory");
	return v;
}

void mmio_write(uint64_t addr, unsigned size, uint64_t val)
{
	__asm__ volatile("dsb sy" : : : "memory");
	switch (size) {
	case 1: __asm__ volatile("strb %w0, [%1]" : : "r"(val), "r"(addr) : "memory"); break;
	case 2: __asm__ volatile("strh %w0, [%1]" : : "r"(val), "r"(addr) : "memory"); break;
	case 4: __asm__ volatile("str %w0, [%1]" : : "r"(val), "r"(addr) : "memory"); break;
	default: __asm__ volatile("str %x0, [%1]" : : "r"(val), "r"(addr) : "memory"); break;
	}
}

uint64_t mmio_unaligned(uint64_t addr)
{
	return addr + ALIAS;
}

void memory_barrier(void)
{
	__asm__ volatile("dsb sy" : : : "memory");
}

/* --- console --- */

void console_init(void)
{
	mmio_write(UART + UART_CR, 4, 0);
	mmio_write(UART + UART_IMSC, 4, 0);
	mmio_write(UART + UART_ICR, 4, 0x7ff);
	mmio_write(UART + UART_LCR_H, 4, 0x70); /* 8n1, FIFOs */
	mmio_write(UART + UART_CR, 4, 0x301);   /* enabled, transmitter and receiver, no loopback */
}

void console_putc(char c)
{
	static unsigned sent;

	for (unsigned i = 0; sent % FIFO_HALF == 0 && i < 10000 && !(mmio_read(UART + UART_FR, 4) & FR_TXFE); i++)
		;
	sent++;
	mmio_write(UART + UART_DR, 4, (uint8_t)c);
}

/* --- the end --- */

static void psci(uint32_t fn)
{
	register uint64_t x0 __asm__("x0") = fn;

	__asm__ volatile("hvc #0" : "+r"(x0) : : "x1", "x2", "x3", "memory");
}

_Noreturn void power_off(void)
{
	psci(PSCI_SYSTEM_OFF);
	for (;;)
		__asm__ volatile("wfi");
}

_Noreturn void power_reset(void)
{
	psci(PSCI_SYSTEM_RESET);
	for (;;)
		__asm__ volatile("wfi");
}

_Noreturn void cpu_die(void)
{
	/* The exception's syndrome does not describe a pair of loads, so nobody can emulate it. */
	for (;;)
		__asm__ volatile("ldp x0, x1, [%0]" : : "r"(UART) : "x0", "x1", "memory");
}

uint64_t clock_us(void)
{
	uint64_t now, hz;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(now));
	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	return now / hz * 1000000 + now % hz * 1000000 / hz;
}

/* --- device tree [DTSPEC-0.4 5]: big-endian words, walked without recursion --- */

enum { FDT_BEGIN = 1, FDT_END_NODE, FDT_PROP, FDT_NOP };

static uint32_t be32(const void *at)
{
	const uint8_t *p = at;

	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t be64(const void *at)
{
	return (uint64_t)be32(at) << 32 | be32((const uint8_t *)at + 4);
}

static bool str_equal(const char *a, const char *b)
{
	return str_starts(a, b) && a[strlen(b)] == '\0';
}

/* The property of the first node whose name begins with `node`; NULL: none. */
static const void *fdt_prop(const void *fdt, const char *node, const char *name)
{
	const uint8_t *base = fdt, *p = base + be32(base + 8), *end = p + be32(base + 36);
	const char *strings = (const char *)base + be32(base + 12);
	bool inside = false;

	while (p < end) {
		uint32_t token = be32(p);

		p += 4;
		if (token == FDT_BEGIN) {
			inside = str_starts((const char *)p, node);
			p += (strlen((const char *)p) + 4) & ~3ul;
		} else if (token == FDT_PROP) {
			uint32_t len = be32(p);

			if (inside && str_equal(strings + be32(p + 4), name))
				return p + 8;
			p += 8 + ((len + 3) & ~3u);
		} else if (token == FDT_END_NODE) {
			inside = false;
		} else if (token != FDT_NOP) {
			break;
		}
	}
	return NULL;
}

/* --- page tables; runs before the MMU is on --- */

static uint64_t block(uint64_t addr, unsigned attr)
{
	return addr | PTE_BLOCK | PTE_ATTR(attr) | PTE_INNER | PTE_AF | (attr == ATTR_NORMAL ? 0 : PTE_XN);
}

static void find_machine(const void *fdt)
{
	const uint8_t *memory = fdt_prop(fdt, "memory@", "reg"), *pcie = fdt_prop(fdt, "pcie@", "reg");
	const char *args = fdt_prop(fdt, "chosen", "bootargs"), *gicv = fdt_prop(fdt, "interrupt-controller@", "compatible");

	if (memory) {
		machine.ram = be64(memory);
		machine.ram_len = be64(memory + 8);
	}
	if (pcie) {
		machine.ecam = be64(pcie);
		machine.ecam_len = be64(pcie + 8);
	}
	if (args)
		machine.cmdline = args;
	gic = gicv && str_starts(gicv, "arm,gic-v3") ? 3 : 2;
	has_v2m = fdt_prop(fdt, "v2m@", "reg") != NULL;
	has_its = fdt_prop(fdt, "its@", "reg") != NULL;
	machine.hole = HOLE;
}

uint64_t mmu_tables(const void *fdt)
{
	find_machine(fdt);
	for (unsigned i = 0; i < 1024; i++) {
		level1[i / 512][i % 512] = block(i * GIB, ATTR_DEVICE);
		level1[2 + i / 512][i % 512] = block(i * GIB, ATTR_UNCACHED);
	}
	for (unsigned i = 0; i < 512; i++) {
		uint64_t addr = GIB + i * (2ull << 20);

		ram_blocks[i] = block(addr, addr - machine.ram < machine.ram_len ? ATTR_NORMAL : ATTR_DEVICE);
	}
	level1[0][1] = (uintptr_t)ram_blocks | PTE_TABLE;
	level1[2][1] = 0;               /* no second, uncached view of RAM */
	for (unsigned i = 0; i < 4; i++)
		level0[i] = (uintptr_t)level1[i] | PTE_TABLE;
	return (uintptr_t)level0;
}

/* --- traps --- */

static void take_irq(void)
{
	uint64_t intid;

	if (gic == 3)
		__asm__ volatile("mrs %0, s3_0_c12_c12_0" : "=r"(intid));      /* ICC_IAR1_EL1 */
	else
		intid = mmio_read(GICC + 0x0c, 4);
	if ((intid & 0x3ff) >= 1020)
		return;
	uint64_t n = gic == 3 ? intid : intid & 0x3ff;  /* GICv2: the sender of an SGI is above */

	if (n == LPI_FIRST)
		n = LPI_COUNT;
	if (n < IRQ_MAX)
		irq_count[n]++;
	if (n == UART_INTID)
		mmio_write(UART + UART_ICR, 4, 0x7ff);
	if (n == TIMER_INTID)
		__asm__ volatile("msr cntv_ctl_el0, xzr; isb");
	if (gic == 3)
		__asm__ volatile("msr s3_0_c12_c12_1, %0; isb" : : "r"(intid)); /* ICC_EOIR1_EL1 */
	else
		mmio_write(GICC + 0x10, 4, intid);
}

void trap(struct trap_frame *f)
{
	if (f->entry % 4 == 1) {
		take_irq();
		return;
	}
	if (f->entry == 4 && f->esr >> 26 == EC_FP && fp_hook) {
		fp_hook();
		return;
	}
	console_init();
	print("\nexception %lu esr %lx at %lx (far %lx): crash\n", f->entry, f->esr, f->elr, f->far);
	cpu_die();
}

void guest_start(const void *fdt)
{
	(void)fdt;
	console_init();
	guest_main();
	power_off();
}

/* --- interrupts --- */

static void gicv3_enable(void)
{
	mmio_write(GICD, 4, 0x12);              /* ARE, group 1 */
	mmio_write(GICR + 0x14, 4, 0);          /* awake */
	for (unsigned i = 0; i < 10000 && mmio_read(GICR + 0x14, 4) & 4; i++)
		;
	__asm__ volatile("msr s3_0_c12_c12_5, %0; isb" : : "r"(1ul));   /* ICC_SRE_EL1 */
	__asm__ volatile("msr s3_0_c4_c6_0, %0" : : "r"(0xfful));       /* ICC_PMR_EL1 */
	__asm__ volatile("msr s3_0_c12_c12_7, %0; isb" : : "r"(1ul));   /* ICC_IGRPEN1_EL1 */
}

void irq_enable(void)
{
	if (gic == 3) {
		gicv3_enable();
	} else {
		mmio_write(GICD, 4, 1);
		mmio_write(GICC + 4, 4, 0xff);
		mmio_write(GICC, 4, 1);
	}
	__asm__ volatile("msr daifclr, #2; isb");
}

/* Shared interrupts only. */
static void intid_enable(unsigned n)
{
	if (gic == 3) {
		uint64_t group = mmio_read(GICD + 0x80 + n / 32 * 4, 4);

		mmio_write(GICD + 0x80 + n / 32 * 4, 4, group | 1u << n % 32);
		mmio_write(GICD + 0x6000 + 8ull * n, 8, 0);
	} else {
		mmio_write(GICD + 0x800 + n, 1, 1);
	}
	mmio_write(GICD + 0x400 + n, 1, 0x80);
	mmio_write(GICD + 0x100 + n / 32 * 4, 4, 1u << n % 32);
}

unsigned irq_uart_enable(void)
{
	intid_enable(UART_INTID);
	mmio_write(UART + UART_IMSC, 4, 0x20);  /* transmit */
	return UART_INTID;
}

/* GICv2's v2m frame, GICv3's ITS. */
bool irq_message(const struct pci_fn *from, uint64_t *addr, uint32_t *data, unsigned *n)
{
	if (has_its)
		return its_message(from->slot * 8u + from->fn, addr, data, n);
	if (!has_v2m)
		return false;
	*n = (unsigned)(mmio_read(V2M + 8, 4) >> 16 & 0x3ff);
	*addr = V2M + 0x40;
	*data = *n;
	intid_enable(*n);
	mmio_write(GICD + 0xc00 + *n / 16 * 4, 4, mmio_read(GICD + 0xc00 + *n / 16 * 4, 4) | 2u << *n % 16 * 2); /* edge */
	return true;
}
