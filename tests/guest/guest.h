/*
 * What bare-metal guests are written with.  A guest is one C file with guest_main(); the same file serves both
 * architectures.  Here: console, memory and port accesses, power, random numbers, command line (guest.c), the CPU and the
 * machine (cpu_x86.c, cpu_arm64.c), PCI (pci.c).  There is one CPU and no allocation; interrupts are off unless asked for.
 */
#ifndef TESTS_GUEST_GUEST_H
#define TESTS_GUEST_GUEST_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define GUEST_ARCH "x86"
#define GUEST_HAS_PIO 1
#else
#define GUEST_ARCH "arm64"
#define GUEST_HAS_PIO 0
#endif

#define NELEM(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* --- the guest itself --- */

/* Its end is a power-off. */
void guest_main(void);
/* Called by the start code: x86: PVH start info; arm64: device tree. */
void guest_start(const void *info);

/* --- console --- */

/* Brings the serial port into a known state, whatever was done to it. */
void console_init(void);
void console_putc(char c);
/* %s %c %d %u %x %p, with l or ll; 0 and a width.  "\n" is sent as "\r\n". */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* --- accesses; size 1, 2, 4 or 8 (ports: 1, 2, 4), any alignment but for mmio_* on arm64, where size must divide addr --- */

uint64_t mmio_read(uint64_t addr, unsigned size);
void mmio_write(uint64_t addr, unsigned size, uint64_t val);
/* The address to use instead of `addr` for unaligned accesses: on arm64 the same memory, mapped as normal uncached. */
uint64_t mmio_unaligned(uint64_t addr);
#if GUEST_HAS_PIO
uint32_t pio_read(uint16_t port, unsigned size);
void pio_write(uint16_t port, unsigned size, uint32_t val);
/* String instructions: n elements. */
void pio_read_string(uint16_t port, unsigned size, void *buf, unsigned n);
void pio_write_string(uint16_t port, unsigned size, const void *buf, unsigned n);
#endif
/* Makes stores visible to devices before what follows. */
void memory_barrier(void);

/* --- the machine --- */

struct machine {
	uint64_t ecam, ecam_len;
	uint64_t ram, ram_len;                  /* the region the guest is in */
	uint64_t hole;                          /* 64 KiB where nothing is */
	const char *cmdline;
};
extern struct machine machine;

_Noreturn void power_off(void);
_Noreturn void power_reset(void);
/* Ends in something that no hypervisor can go on with: a triple fault, a pair of loads from a device. */
_Noreturn void cpu_die(void);
uint64_t clock_us(void);
void delay_us(uint64_t us);

/* --- interrupts, for the irq guest --- */

/*
 * Enables the interrupt controller and the CPU's interrupts.  `irq_count` counts what arrives by input: x86: vector
 * number; arm64: INTID.
 */
void irq_enable(void);
/* Lets the input of a legacy line through: COM1/PL011.  Its number for irq_count. */
unsigned irq_uart_enable(void);
/*
 * A message that arrives as irq_count[*n] when a PCI function sends it (only the first that asks); false when the machine has
 * none.
 */
struct pci_fn;
bool irq_message(const struct pci_fn *, uint64_t *addr, uint32_t *data, unsigned *n);
#define IRQ_MAX 256
extern volatile unsigned irq_count[IRQ_MAX];
/* What is called when floating point is used while it is off; NULL: a crash. */
extern void (*fp_hook)(void);
/* arm64: version of the interrupt controller, 2 or 3, and whether it has an ITS; an LPI counts at irq_count[LPI_COUNT] */
extern unsigned gic;
extern bool has_its;
#define LPI_FIRST 8192
#define LPI_COUNT (IRQ_MAX - 1)
/* its_arm64.c: what irq_message() is there */
bool its_message(unsigned device, uint64_t *addr, uint32_t *data, unsigned *n);

/* --- helpers --- */

void *memset(void *, int, size_t);
void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);
bool str_starts(const char *s, const char *prefix);

/* xorshift64; the seed comes from "seed=N" on the command line, or is fixed. */
void random_seed(uint64_t seed);
uint64_t random_get(void);
static inline uint64_t random_below(uint64_t n) { return random_get() % n; }

/* "name=N" (decimal, or 0x...) on the command line. */
uint64_t arg_u64(const char *name, uint64_t otherwise);
/* Is "name=value" there? */
bool arg_is(const char *name, const char *value);

/* --- PCI --- */

#define PCI_FNS_MAX 32
struct pci_bar {
	uint64_t addr, len;                     /* len 0: none; the second half of a 64-bit BAR is none too */
	bool io, wide;
};
struct pci_fn {
	uint64_t cfg;                           /* address of its configuration space */
	uint16_t vendor, device;
	uint8_t slot, fn;
	struct pci_bar bar[6];
};
/* Finds the functions of bus 0, sizes their BARs and enables decoding.  How many there are. */
unsigned pci_scan(struct pci_fn fns[PCI_FNS_MAX]);
/* Offset of the first capability of that ID behind `from` (0: of all); 0: none. */
unsigned pci_cap(const struct pci_fn *, uint8_t id, unsigned from);
uint32_t pci_get(const struct pci_fn *, unsigned off, unsigned size);
void pci_put(const struct pci_fn *, unsigned off, unsigned size, uint32_t val);

#endif
