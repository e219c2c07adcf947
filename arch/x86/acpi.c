/*
 * ACPI tables but the DSDT: RSDP, XSDT, FADT, FACS, MADT, MCFG and SPCR [ACPI-6.4 5.2].
 *
 * The fixed hardware they describe is devices/acpi_pm.c's and devices/reset_cf9.c's.  There is no RSDT: every
 * guest this machine is for reads the XSDT.
 */
#include "arch/x86/acpi.h"

#include <assert.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/vm.h"
#include "devices/acpi_pm.h"

#define RTC_CENTURY 0x32                /* CMOS byte, devices/rtc_cmos.c */

static void add_gas(struct blob *b, uint8_t bits, uint8_t access, uint64_t port)
{
	acpi_gas(b, port ? ACPI_SPACE_IO : ACPI_SPACE_MEMORY, bits, access, port);
}

static void add_facs(struct blob *b)
{
	blob_add(b, "FACS", 4);
	blob_u32(b, 64);
	blob_zero(b, 24);               /* hardware signature, waking vectors, lock, flags */
	blob_u8(b, 2);                  /* version */
	blob_zero(b, 31);
}

/* FADT [ACPI-6.4 5.2.9]: flags */
enum {
	FADT_WBINVD = BIT(0), FADT_PROC_C1 = BIT(2), FADT_SLP_BUTTON = BIT(5), FADT_FIX_RTC = BIT(6),
	FADT_TMR_VAL_EXT = BIT(8), FADT_RESET_REG_SUP = BIT(10),
};
/*
 * IA-PC boot flags.  The 8042 bit stays clear although port 0x64 answers reset requests: no keyboard hangs
 * off it, and with the bit set Linux probes the ports for one at every boot.
 */
enum { BOOT_LEGACY_DEVICES = BIT(0), BOOT_VGA_NOT_PRESENT = BIT(2) };

/* The pre-2.0 part, with 32-bit addresses. */
static void add_fadt_v1(struct blob *b, uint32_t facs, uint32_t dsdt)
{
	blob_u32(b, facs);
	blob_u32(b, dsdt);
	blob_u8(b, 0);
	blob_u8(b, 4);                  /* preferred profile: enterprise server */
	blob_u16(b, X86_SCI_GSI);
	blob_u32(b, 0);                 /* no SMI_CMD: always in ACPI mode */
	blob_u32(b, 0);                 /* ACPI_ENABLE, ACPI_DISABLE, S4BIOS_REQ, PSTATE_CNT */
	blob_u32(b, X86_PM_BASE + ACPI_PM1_EVT);
	blob_u32(b, 0);                 /* PM1b event */
	blob_u32(b, X86_PM_BASE + ACPI_PM1_CNT);
	blob_u32(b, 0);                 /* PM1b control */
	blob_u32(b, 0);                 /* PM2 control */
	blob_u32(b, X86_PM_BASE + ACPI_PM_TMR);
	blob_u32(b, X86_PM_BASE + ACPI_GPE0);
	blob_u32(b, 0);                 /* GPE1 */
	blob_u8(b, ACPI_PM1_EVT_LEN);
	blob_u8(b, ACPI_PM1_CNT_LEN);
	blob_u8(b, 0);
	blob_u8(b, ACPI_PM_TMR_LEN);
	blob_u8(b, ACPI_GPE0_LEN);
	blob_u8(b, 0);                  /* GPE1 length */
	blob_u8(b, 0);                  /* GPE1 base */
	blob_u8(b, 0);                  /* CST_CNT */
	blob_u16(b, 0xfff);             /* C2 and C3 latency: not supported */
	blob_u16(b, 0xfff);
	blob_u32(b, 0);                 /* FLUSH_SIZE, FLUSH_STRIDE: WBINVD works */
	blob_u16(b, 0);                 /* DUTY_OFFSET, DUTY_WIDTH */
	blob_u8(b, 0);                  /* DAY_ALRM, MON_ALRM: no such CMOS bytes */
	blob_u8(b, 0);
	blob_u8(b, RTC_CENTURY);
	blob_u16(b, BOOT_LEGACY_DEVICES | BOOT_VGA_NOT_PRESENT);
	blob_u8(b, 0);
	blob_u32(b, FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT | FADT_RESET_REG_SUP);
}

static void add_fadt(struct blob *b, uint32_t facs, uint32_t dsdt)
{
	size_t off = acpi_table_begin(b, "FACP", 6);

	add_fadt_v1(b, facs, dsdt);
	add_gas(b, 8, 1, X86_RESET_PORT);
	blob_u8(b, X86_RESET_VALUE);
	blob_u16(b, 0);                 /* ARM boot flags */
	blob_u8(b, 4);                  /* minor version: 6.4 */
	blob_u64(b, 0);                 /* X_FIRMWARE_CTRL: zero, as FIRMWARE_CTRL is used */
	blob_u64(b, dsdt);
	add_gas(b, ACPI_PM1_EVT_LEN * 8, 0, X86_PM_BASE + ACPI_PM1_EVT);
	add_gas(b, 0, 0, 0);
	add_gas(b, ACPI_PM1_CNT_LEN * 8, 0, X86_PM_BASE + ACPI_PM1_CNT);
	add_gas(b, 0, 0, 0);
	add_gas(b, 0, 0, 0);
	add_gas(b, ACPI_PM_TMR_LEN * 8, 0, X86_PM_BASE + ACPI_PM_TMR);
	add_gas(b, ACPI_GPE0_LEN * 8, 0, X86_PM_BASE + ACPI_GPE0);
	add_gas(b, 0, 0, 0);
	add_gas(b, 0, 0, 0);            /* sleep control and status: hardware-reduced only */
	add_gas(b, 0, 0, 0);
	blob_add(b, ACPI_VENDOR "\0\0\0\0", 8);  /* hypervisor vendor */
	acpi_table_end(b, off);
}

/* MADT structures [ACPI-6.4 5.2.12] */
static void add_cpu(struct blob *b, uint32_t uid, uint32_t apic_id)
{
	if (apic_id < 255) {
		blob_u8(b, 0);          /* Processor Local APIC */
		blob_u8(b, 8);
		blob_u8(b, (uint8_t)uid);
		blob_u8(b, (uint8_t)apic_id);
		blob_u32(b, 1);         /* enabled */
		return;
	}
	blob_u8(b, 9);                  /* Processor Local x2APIC: 255 is the xAPIC's broadcast ID */
	blob_u8(b, 16);
	blob_u16(b, 0);
	blob_u32(b, apic_id);
	blob_u32(b, 1);
	blob_u32(b, uid);
}

#define INTI_ACTIVE_HIGH 1
#define INTI_LEVEL (3 << 2)

static void add_override(struct blob *b, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	blob_u8(b, 2);                  /* Interrupt Source Override */
	blob_u8(b, 10);
	blob_u8(b, 0);                  /* ISA */
	blob_u8(b, irq);
	blob_u32(b, gsi);
	blob_u16(b, flags);
}

static void add_nmi(struct blob *b, bool x2apic)
{
	blob_u8(b, 4);                  /* Local APIC NMI, all processors, LINT1 */
	blob_u8(b, 6);
	blob_u8(b, 0xff);
	blob_u16(b, 0);
	blob_u8(b, 1);
	if (!x2apic)
		return;
	blob_u8(b, 10);                 /* Local x2APIC NMI, all processors, LINT1 */
	blob_u8(b, 12);
	blob_u16(b, 0);
	blob_u32(b, UINT32_MAX);
	blob_u8(b, 1);
	blob_zero(b, 3);
}

static void add_madt(struct blob *b, unsigned nvcpus)
{
	size_t off = acpi_table_begin(b, "APIC", 5);

	blob_u32(b, X86_LAPIC);
	blob_u32(b, 1);                 /* PCAT_COMPAT: two 8259s to be masked */
	for (unsigned i = 0; i < nvcpus; i++)
		add_cpu(b, i, x86_apic_id(i));
	blob_u8(b, 1);                  /* I/O APIC */
	blob_u8(b, 12);
	blob_u8(b, 0);                  /* its ID, as the chip's register reads */
	blob_u8(b, 0);
	blob_u32(b, X86_IOAPIC);
	blob_u32(b, 0);
	add_override(b, 0, 2, 0);       /* the timer, on a PC */
	add_override(b, X86_SCI_GSI, X86_SCI_GSI, INTI_ACTIVE_HIGH | INTI_LEVEL);
	/* PCI inputs need none: level and active low is their default, and KVM's chip takes either polarity. */
	add_nmi(b, nvcpus && x86_apic_id(nvcpus - 1) >= 255);
	acpi_table_end(b, off);
}

/* The first 16550 of the machine, NULL when it has none. */
static const struct device *console_uart(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		const struct device *d = vm->devs[i];

		if (strcmp(d->cls->name, "uart16550") == 0 && d->io.mapped && d->io_bus == &vm->pio)
			return d;
	}
	return NULL;
}

/* Serial Port Console Redirection, revision 2 [SPCR 1.04]. */
static void add_spcr(struct blob *b, const struct device *uart)
{
	size_t off = acpi_table_begin(b, "SPCR", 2);

	blob_u8(b, 0);                  /* full 16550 interface */
	blob_zero(b, 3);
	add_gas(b, 8, 1, uart->io.base);
	blob_u8(b, uart->gsi < 16 ? 3 : 2);     /* interrupt: 8259 and I/O APIC, or I/O APIC alone */
	blob_u8(b, uart->gsi < 16 ? (uint8_t)uart->gsi : 0);
	blob_u32(b, uart->gsi);
	blob_u8(b, 7);                  /* 115200 baud */
	blob_u8(b, 0);                  /* no parity */
	blob_u8(b, 1);                  /* one stop bit */
	blob_u8(b, 0);                  /* no flow control */
	blob_u8(b, 3);                  /* ANSI terminal */
	blob_u8(b, 0);
	blob_u16(b, 0xffff);            /* not a PCI device */
	blob_u16(b, 0xffff);
	blob_zero(b, 12);
	acpi_table_end(b, off);
}

static const char *mcfg_name(const struct memmap *m)
{
	return m->ecam_len ? "MCFG" : "OEM0";
}

/* Bus 0 only, whatever the range could hold: a guest told of more buses probes each slot of all of them. */
static void add_mcfg(struct blob *b, const struct memmap *m)
{
	struct memmap bus0 = *m;
	size_t off = b->len;

	bus0.ecam_len = MIB(1);
	acpi_mcfg(b, &bus0);
	if (m->ecam_len)
		return;
	memcpy(b->data + off, mcfg_name(m), 4);
	b->data[off + 9] = 0;
	acpi_table_end(b, off);
}

void acpi_build(const struct vm *vm, uint64_t base, struct acpi_set *s)
{
	acpi_build_with(vm, &vm->map, base, s);
}

void acpi_build_with(const struct vm *vm, const struct memmap *m, uint64_t base, struct acpi_set *s)
{
	struct blob *b = &s->blob;
	const struct device *uart = console_uart(vm);

	memset(s, 0, sizeof(*s));
	assert(base % 64 == 0 && base < GIB(4));
	s->base = base;
	add_facs(b);                    /* first, for its 64-byte alignment */
	acpi_note(s, "FACS", 0);
	size_t dsdt = acpi_next(s);

	acpi_dsdt(vm, m, b);
	acpi_note(s, "DSDT", dsdt);
	size_t off = acpi_next(s);

	add_fadt(b, (uint32_t)base, (uint32_t)(base + dsdt));
	acpi_note(s, "FACP", off);
	off = acpi_next(s);
	add_madt(b, vm->nvcpus);
	acpi_note(s, "APIC", off);
	off = acpi_next(s);
	add_mcfg(b, m);
	acpi_note(s, mcfg_name(m), off);
	if (uart) {
		off = acpi_next(s);
		add_spcr(b, uart);
		acpi_note(s, "SPCR", off);
	}
	acpi_end(s);
}
