/*
 * The x86 half of a bare-metal guest's library: COM1, ports, traps, ACPI power, PVH start info, I/O APIC and local APIC.
 */
#include "tests/guest/guest.h"

#define COM1 0x3f8
#define LSR_THRE 0x20
#define FIFO_LEN 16
#define PM1_CNT 0x604
#define PM_TMR 0x608
#define PM_TMR_HZ 3579545
#define CNT_S5 (5 << 10)
#define CNT_SLP_EN (1 << 13)
#define CF9 0xcf9
#define ECAM 0xb0000000ull              /* as skep's q35 starts */
#define ECAM_LEN 0x10000000ull
#define HOLE 0xfed00000ull
#define IOAPIC 0xfec00000ull
#define LAPIC 0xfee00000ull
#define COM1_GSI 4
#define VECTOR_FIRST 32                 /* below: exceptions */
#define VECTOR_SPURIOUS 63
#define VECTOR_UART 40
#define VECTOR_MSI 41
#define TRAPS 64
#define TRAP_NMI 2
#define TRAP_NM 7                       /* floating point while it is off */

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
struct idt_entry {
	uint16_t off0, sel;
	uint8_t ist, type;
	uint16_t off1;
	uint32_t off2, zero;
};
struct table_reg {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

/* [Xen public/arch-x86/hvm/start_info.h] */
#define START_MAGIC 0x336ec578
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};
struct start_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

extern const char trap_stubs[];         /* 16 bytes each */
void trap(struct trap_frame *);

static struct idt_entry idt[TRAPS];
volatile unsigned irq_count[IRQ_MAX];
void (*fp_hook)(void);

/* --- accesses --- */

uint64_t mmio_read(uint64_t addr, unsigned size)
{
	uint64_t v = 0;

	switch (size) {
	case 1: __asm__ volatile("movb (%1), %b0" : "+a"(v) : "r"(addr) : "memory"); break;
	case 2: __asm__ volatile("movw (%1), %w0" : "+a"(v) : "r"(addr) : "memory"); break;
	case 4: __asm__ volatile("movl (%1), %k0" : "+a"(v) : "r"(addr) : "memory"); break;
	default: __asm__ volatile("movq (%1), %q0" : "+a"(v) : "r"(addr) : "memory"); break;
	}
	return v;
}

void mmio_write(uint64_t addr, unsigned size, uint64_t val)
{
	switch (size) {
	case 1: __asm__ volatile("movb %b0, (%1)" : : "a"(val), "r"(addr) : "memory"); break;
	case 2: __asm__ volatile("movw %w0, (%1)" : : "a"(val), "r"(addr) : "memory"); break;
	case 4: __asm__ volatile("movl %k0, (%1)" : : "a"(val), "r"(addr) : "memory"); break;
	default: __asm__ volatile("movq %q0, (%1)" : : "a"(val), "r"(addr) : "memory"); break;
	}
}

uint64_t mmio_unaligned(uint64_t addr)
{
	return addr;
}

void memory_barrier(void)
{
	__asm__ volatile("mfence" : : : "memory");
}

uint32_t pio_read(uint16_t port, unsigned size)
{
	uint32_t v = 0;

	switch (size) {
	case 1: __asm__ volatile("inb %w1, %b0" : "+a"(v) : "d"(port)); break;
	case 2: __asm__ volatile("inw %w1, %w0" : "+a"(v) : "d"(port)); break;
	default: __asm__ volatile("inl %w1, %k0" : "+a"(v) : "d"(port)); break;
	}
	return v;
}

void pio_write(uint16_t port, unsigned size, uint32_t val)
{
	switch (size) {
	case 1: __asm__ volatile("outb %b0, %w1" : : "a"(val), "d"(port)); break;
	case 2: __asm__ volatile("outw %w0, %w1" : : "a"(val), "d"(port)); break;
	default: __asm__ volatile("outl %k0, %w1" : : "a"(val), "d"(port)); break;
	}
}

void pio_read_string(uint16_t port, unsigned size, void *buf, unsigned n)
{
	uint64_t count = n;

	switch (size) {
	case 1: __asm__ volatile("rep insb" : "+D"(buf), "+c"(count) : "d"(port) : "memory"); break;
	case 2: __asm__ volatile("rep insw" : "+D"(buf), "+c"(count) : "d"(port) : "memory"); break;
	default: __asm__ volatile("rep insl" : "+D"(buf), "+c"(count) : "d"(port) : "memory"); break;
	}
}

void pio_write_string(uint16_t port, unsigned size, const void *buf, unsigned n)
{
	uint64_t count = n;

	switch (size) {
	case 1: __asm__ volatile("rep outsb" : "+S"(buf), "+c"(count) : "d"(port) : "memory"); break;
	case 2: __asm__ volatile("rep outsw" : "+S"(buf), "+c"(count) : "d"(port) : "memory"); break;
	default: __asm__ volatile("rep outsl" : "+S"(buf), "+c"(count) : "d"(port) : "memory"); break;
	}
}

/* --- console --- */

void console_init(void)
{
	pio_write(COM1 + 3, 1, 0x80);   /* DLAB: 115200 baud */
	pio_write(COM1 + 0, 1, 1);
	pio_write(COM1 + 1, 1, 0);
	pio_write(COM1 + 3, 1, 3);      /* 8n1 */
	pio_write(COM1 + 1, 1, 0);
	pio_write(COM1 + 2, 1, 7);      /* FIFOs on and empty */
	pio_write(COM1 + 4, 1, 3);      /* no loopback */
}

void console_putc(char c)
{
	static unsigned sent;

	for (unsigned i = 0; sent % FIFO_LEN == 0 && i < 10000 && !(pio_read(COM1 + 5, 1) & LSR_THRE); i++)
		;
	sent++;
	pio_write(COM1, 1, (uint8_t)c);
}

/* --- the end --- */

_Noreturn void power_off(void)
{
	pio_write(PM1_CNT, 2, CNT_S5 | CNT_SLP_EN);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void power_reset(void)
{
	pio_write(CF9, 1, 2);
	pio_write(CF9, 1, 6);
	for (;;)
		__asm__ volatile("cli; hlt");
}

_Noreturn void cpu_die(void)
{
	static const struct table_reg none = { 0, 0 };

	__asm__ volatile("lidt %0; int3" : : "m"(none));
	__builtin_unreachable();
}

uint64_t clock_us(void)
{
	static uint32_t last;
	static uint64_t ticks;
	uint32_t now = pio_read(PM_TMR, 4);

	ticks += now - last;
	last = now;
	return ticks * 1000000 / PM_TMR_HZ;
}

/* --- traps --- */

void trap(struct trap_frame *f)
{
	uint64_t cr2;

	if (f->vector >= VECTOR_FIRST) {
		irq_count[f->vector]++;
		if (f->vector != VECTOR_SPURIOUS)
			mmio_write(LAPIC + 0xb0, 4, 0);
		return;
	}
	if (f->vector == TRAP_NM && fp_hook) {
		fp_hook();
		return;
	}
	if (f->vector == TRAP_NMI)
		return;                 /* an NMI, which a random message may be */
	__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
	console_init();
	print("\nexception %lu error %lx at %lx (cr2 %lx rsp %lx): crash\n", f->vector, f->error, f->rip, cr2, f->rsp);
	cpu_die();
}

static void idt_init(void)
{
	struct table_reg r = { sizeof(idt) - 1, (uintptr_t)idt };

	for (unsigned i = 0; i < TRAPS; i++) {
		uint64_t at = (uintptr_t)trap_stubs + 16 * i;

		idt[i] = (struct idt_entry){
			.off0 = (uint16_t)at, .sel = 8, .type = 0x8e, .off1 = (uint16_t)(at >> 16), .off2 = (uint32_t)(at >> 32),
		};
	}
	__asm__ volatile("lidt %0" : : "m"(r));
}

/* --- start --- */

static void find_ram(const struct start_info *info)
{
	const struct start_memmap *m = (const void *)(uintptr_t)info->memmap;
	uint64_t here = (uintptr_t)idt;

	for (unsigned i = 0; i < info->memmap_entries; i++) {
		if (m[i].type == 1 && here - m[i].addr < m[i].size) {
			machine.ram = m[i].addr;
			machine.ram_len = m[i].size;
		}
	}
}

void guest_start(const void *arg)
{
	const struct start_info *info = arg;

	idt_init();
	machine.ecam = ECAM;
	machine.ecam_len = ECAM_LEN;
	machine.hole = HOLE;
	if (info->magic == START_MAGIC) {
		find_ram(info);
		if (info->cmdline)
			machine.cmdline = (const char *)(uintptr_t)info->cmdline;
	}
	console_init();
	guest_main();
	power_off();
}

/* --- interrupts --- */

static void ioapic_write(unsigned reg, uint32_t val)
{
	mmio_write(IOAPIC, 4, reg);
	mmio_write(IOAPIC + 0x10, 4, val);
}

void irq_enable(void)
{
	pio_write(0x21, 1, 0xff);       /* the 8259s stay out of it */
	pio_write(0xa1, 1, 0xff);
	mmio_write(LAPIC + 0xf0, 4, 0x100 | VECTOR_SPURIOUS);
	__asm__ volatile("sti");
}

unsigned irq_uart_enable(void)
{
	ioapic_write(0x10 + 2 * COM1_GSI + 1, 0);
	ioapic_write(0x10 + 2 * COM1_GSI, VECTOR_UART);
	pio_write(COM1 + 4, 1, 0x0b);   /* OUT2 lets the interrupt out */
	pio_write(COM1 + 1, 1, 2);      /* transmitter empty */
	return VECTOR_UART;
}

bool irq_message(const struct pci_fn *from, uint64_t *addr, uint32_t *data, unsigned *n)
{
	(void)from;
	*addr = LAPIC;
	*data = VECTOR_MSI;
	*n = VECTOR_MSI;
	return true;
}
