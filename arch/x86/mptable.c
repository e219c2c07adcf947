/*
 * MultiProcessor configuration table [MPS-1.4 4], for guests without ACPI.
 *
 * It names what 8-bit APIC IDs can name: vCPUs from 255 up appear in the MADT only.  PCI interrupts are
 * listed for every slot and pin, so that nothing depends on which slots are in use.
 */
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/vm.h"

enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INT, MP_LOCAL_INT };
enum { INT_INT, INT_NMI, INT_SMI, INT_EXTINT };
enum { BUS_PCI = MP_BUS_PCI, BUS_ISA = 1 };
#define CPU_ENABLED 1
#define CPU_BSP 2
#define MP_CPUS_MAX 255
#define APIC_VERSION 0x14
#define IOAPIC_VERSION 0x11             /* as KVM's chip reads */
#define IOAPIC_ID 0
#define ALL_APICS 0xff
#define FLAGS_LEVEL_HIGH 0x0d           /* trigger mode level, polarity active high */
#define FLAGS_LEVEL_LOW 0x0f
#define HDR_COUNT 34                    /* offset of the entry count */

static void add_processor(struct blob *b, uint32_t id)
{
	blob_u8(b, MP_PROCESSOR);
	blob_u8(b, (uint8_t)id);
	blob_u8(b, APIC_VERSION);
	blob_u8(b, CPU_ENABLED | (id == 0 ? CPU_BSP : 0));
	blob_u32(b, 0x600);             /* family 6; CPUID tells the rest */
	blob_u32(b, 0x201);             /* APIC and FPU on chip */
	blob_zero(b, 8);
}

static void add_bus(struct blob *b, uint8_t id, const char *type)
{
	blob_u8(b, MP_BUS);
	blob_u8(b, id);
	blob_add(b, type, 6);
}

static void add_ioapic(struct blob *b)
{
	blob_u8(b, MP_IOAPIC);
	blob_u8(b, IOAPIC_ID);
	blob_u8(b, IOAPIC_VERSION);
	blob_u8(b, 1);
	blob_u32(b, X86_IOAPIC);
}

static void add_io_int(struct blob *b, uint16_t flags, uint8_t bus, uint8_t irq, uint8_t pin)
{
	blob_u8(b, MP_IO_INT);
	blob_u8(b, INT_INT);
	blob_u16(b, flags);
	blob_u8(b, bus);
	blob_u8(b, irq);
	blob_u8(b, IOAPIC_ID);
	blob_u8(b, pin);
}

static void add_local_int(struct blob *b, uint8_t type, uint8_t lint)
{
	blob_u8(b, MP_LOCAL_INT);
	blob_u8(b, type);
	blob_u16(b, 0);
	blob_u8(b, BUS_ISA);
	blob_u8(b, 0);
	blob_u8(b, ALL_APICS);
	blob_u8(b, lint);
}

/* Returns the number of entries. */
static unsigned add_interrupts(struct blob *b, const struct arch_info *arch)
{
	unsigned n = 0;

	for (uint8_t irq = 0; irq < 16; irq++) {
		if (irq == 2)           /* the cascade of the 8259s; its I/O APIC input is the timer's */
			continue;
		add_io_int(b, irq == X86_SCI_GSI ? FLAGS_LEVEL_HIGH : 0, BUS_ISA, irq, irq == 0 ? 2 : irq);
		n++;
	}
	for (unsigned i = 0; i < 32 * 4; i++) {
		add_io_int(b, FLAGS_LEVEL_LOW, BUS_PCI, (uint8_t)i, (uint8_t)arch->pci_intx_gsi(i / 4, i % 4));
		n++;
	}
	add_local_int(b, INT_EXTINT, 0);
	add_local_int(b, INT_NMI, 1);
	return n + 2;
}

static void add_header(struct blob *b)
{
	blob_add(b, "PCMP", 4);
	blob_u16(b, 0);                 /* length */
	blob_u8(b, 4);                  /* version 1.4 */
	blob_u8(b, 0);                  /* checksum */
	blob_add(b, "SKEP    ", 8);
	blob_add(b, "Q35         ", 12);
	blob_u32(b, 0);
	blob_u16(b, 0);
	blob_u16(b, 0);                 /* entry count */
	blob_u32(b, X86_LAPIC);
	blob_u32(b, 0);                 /* no extended table */
}

void x86_mptable(const struct vm *vm, uint64_t base, struct blob *b, uint8_t fp[MPFP_LEN])
{
	unsigned entries = MIN(vm->nvcpus, (unsigned)MP_CPUS_MAX);

	memset(b, 0, sizeof(*b));
	add_header(b);
	for (unsigned i = 0; i < entries; i++)
		add_processor(b, x86_apic_id(i));
	add_bus(b, BUS_PCI, "PCI   ");
	add_bus(b, BUS_ISA, "ISA   ");
	add_ioapic(b);
	entries += 3 + add_interrupts(b, vm->arch);
	put_le16(b->data + 4, (uint16_t)b->len);
	put_le16(b->data + HDR_COUNT, (uint16_t)entries);
	b->data[7] = (uint8_t)-byte_sum(b->data, b->len);

	memset(fp, 0, MPFP_LEN);
	memcpy(fp, "_MP_", 4);
	put_le32(fp + 4, (uint32_t)base);
	fp[8] = 1;                      /* length in paragraphs */
	fp[9] = 4;
	fp[10] = (uint8_t)-byte_sum(fp, MPFP_LEN);
}
