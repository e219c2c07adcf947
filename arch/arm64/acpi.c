/*
 * ACPI tables of the virt machine, for what starts under UEFI [ACPI-6.4 5.2] [IORT] [SPCR]: a hardware-reduced platform
 * with PSCI, described by the same facts as its device tree.
 *
 * Left out: FACS (a hardware-reduced platform needs none), PPTT (no topology is claimed), DBG2 (its reader is
 * Windows; Linux and FreeBSD take the console from SPCR).
 */
#include <assert.h>
#include <string.h>

#include "arch/arm64/arm64.h"
#include "common/acpi/acpi.h"
#include "common/device.h"
#include "common/vm.h"

/* FADT [ACPI-6.4 5.2.9] */
#define FADT_HW_REDUCED BIT(20)
enum { ARM_BOOT_PSCI = BIT(0), ARM_BOOT_PSCI_HVC = BIT(1) };
enum { FADT_FLAGS = 112, FADT_ARM_BOOT = 129, FADT_MINOR = 131, FADT_X_DSDT = 140, FADT_HYPERVISOR = 268, FADT_LEN = 276 };

static void add_fadt(struct blob *b, uint64_t dsdt)
{
	size_t off = acpi_table_begin(b, "FACP", 6);

	blob_zero(b, FADT_LEN - ACPI_HDR_LEN);
	uint8_t *t = b->data + off;

	put_le32(t + FADT_FLAGS, FADT_HW_REDUCED);
	put_le16(t + FADT_ARM_BOOT, ARM_BOOT_PSCI | ARM_BOOT_PSCI_HVC);
	t[FADT_MINOR] = 4;              /* 6.4 */
	put_le64(t + FADT_X_DSDT, dsdt);
	memcpy(t + FADT_HYPERVISOR, ACPI_VENDOR, 4);
	acpi_table_end(b, off);
}

/* MADT structures [ACPI-6.4 5.2.12.14 to 5.2.12.18] */
enum { MADT_GICC = 0x0b, MADT_GICD = 0x0c, MADT_MSI_FRAME = 0x0d, MADT_GICR = 0x0e, MADT_ITS = 0x0f };

static void madt_head(struct blob *b, uint8_t type, uint8_t len)
{
	blob_u8(b, type);
	blob_u8(b, len);
	blob_u16(b, 0);
}

static void add_gicc(struct blob *b, const struct arm64_machine *m, uint32_t id)
{
	madt_head(b, MADT_GICC, 80);
	blob_u32(b, id);                /* interface number and processor UID */
	blob_u32(b, id);
	blob_u32(b, 1);                 /* enabled; the PMU's interrupt is a level */
	blob_u32(b, 0);                 /* parking protocol: none */
	blob_u32(b, m->pmu ? INTID_PPI0 + PPI_PMU : 0);
	blob_u64(b, 0);                 /* parked address */
	blob_u64(b, m->gic == 2 ? GICC_BASE : 0);
	blob_u64(b, 0);                 /* GICV, GICH and maintenance interrupt: guests have no virtualization */
	blob_u64(b, 0);
	blob_u32(b, 0);
	blob_u64(b, 0);                 /* redistributor: in the region of the GICR structure */
	blob_u64(b, arm64_mpidr(id));
	blob_u32(b, 0);                 /* efficiency class, reserved, SPE interrupt */
}

static void add_gicd(struct blob *b, const struct arm64_machine *m)
{
	madt_head(b, MADT_GICD, 24);
	blob_u32(b, 0);                 /* ID */
	blob_u64(b, GICD_BASE);
	blob_u32(b, 0);                 /* GSIs begin at 0 */
	blob_u8(b, (uint8_t)m->gic);
	blob_zero(b, 3);
}

static void add_gicr(struct blob *b, unsigned nvcpus)
{
	madt_head(b, MADT_GICR, 16);
	blob_u64(b, GICR_BASE);
	blob_u32(b, GICR_LEN * nvcpus);
}

static void add_its(struct blob *b)
{
	madt_head(b, MADT_ITS, 20);
	blob_u32(b, 0);                 /* ID, which IORT refers to */
	blob_u64(b, ITS_BASE);
	blob_u32(b, 0);
}

static void add_msi_frame(struct blob *b)
{
	madt_head(b, MADT_MSI_FRAME, 24);
	blob_u32(b, 0);                 /* ID */
	blob_u64(b, V2M_BASE);
	blob_u32(b, 1);                 /* count and base below count, not the frame's register */
	blob_u16(b, SPI_V2M_COUNT);
	blob_u16(b, INTID_SPI0 + SPI_V2M);
}

static void add_madt(struct blob *b, const struct arm64_machine *m, unsigned nvcpus)
{
	size_t off = acpi_table_begin(b, "APIC", 5);

	blob_u32(b, 0);                 /* no local APICs */
	blob_u32(b, 0);
	for (unsigned i = 0; i < nvcpus; i++)
		add_gicc(b, m, i);
	add_gicd(b, m);
	if (m->gic == 3)
		add_gicr(b, nvcpus);
	if (m->gic == 3 && m->its)
		add_its(b);
	if (m->gic == 2 && m->v2m)
		add_msi_frame(b);
	acpi_table_end(b, off);
}

/* GTDT flags [ACPI-6.4 5.2.24]: bits 0 and 1 zero are level and active high */
#define GTDT_ALWAYS_ON BIT(2)

static void add_timer(struct blob *b, uint32_t ppi)
{
	blob_u32(b, INTID_PPI0 + ppi);
	blob_u32(b, GTDT_ALWAYS_ON);
}

static void add_gtdt(struct blob *b)
{
	size_t off = acpi_table_begin(b, "GTDT", 3);

	blob_u64(b, UINT64_MAX);        /* no memory-mapped counter */
	blob_u32(b, 0);
	add_timer(b, PPI_TIMER_SEC);
	add_timer(b, PPI_TIMER_PHYS);
	add_timer(b, PPI_TIMER_VIRT);
	add_timer(b, PPI_TIMER_HYP);
	blob_u64(b, UINT64_MAX);        /* nor its read frame */
	blob_u32(b, 0);                 /* platform timers, and where they begin */
	blob_u32(b, 0);
	blob_u64(b, 0);                 /* virtual EL2 timer */
	acpi_table_end(b, off);
}

/* Serial Port Console Redirection, revision 2 [SPCR 1.04]. */
static void add_spcr(struct blob *b, const struct device *uart)
{
	size_t off = acpi_table_begin(b, "SPCR", 2);

	blob_u8(b, 3);                  /* PL011 */
	blob_zero(b, 3);
	acpi_gas(b, ACPI_SPACE_MEMORY, 32, 3, uart->io.base);   /* 3: accesses of 32 bits */
	blob_u8(b, 8);                  /* the interrupt is a GIC's */
	blob_u8(b, 0);
	blob_u32(b, INTID_SPI0 + uart->gsi);
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

/* IORT nodes [IORT 3.1] */
enum { IORT_ITS_GROUP = 0, IORT_ROOT_COMPLEX = 2 };
enum { IORT_NODES_OFF = 48, IORT_ITS_LEN = 24, IORT_RC_LEN = 36, IORT_MAPPING_LEN = 20 };

static void iort_head(struct blob *b, uint8_t type, uint16_t len, uint8_t revision)
{
	blob_u8(b, type);
	blob_u16(b, len);
	blob_u8(b, revision);
}

/* The ITS, and the root complex whose requester IDs are the ITS' device IDs. */
static void add_iort(struct blob *b)
{
	size_t off = acpi_table_begin(b, "IORT", 3);

	blob_u32(b, 2);                 /* nodes */
	blob_u32(b, IORT_NODES_OFF);
	blob_u32(b, 0);
	iort_head(b, IORT_ITS_GROUP, IORT_ITS_LEN, 1);
	blob_u32(b, 0);                 /* node identifier */
	blob_u32(b, 0);                 /* no mappings */
	blob_u32(b, 0);
	blob_u32(b, 1);                 /* one ITS, of this ID */
	blob_u32(b, 0);
	iort_head(b, IORT_ROOT_COMPLEX, IORT_RC_LEN + IORT_MAPPING_LEN, 3);
	blob_u32(b, 1);
	blob_u32(b, 1);                 /* mappings, right behind the node */
	blob_u32(b, IORT_RC_LEN);
	blob_u32(b, 1);                 /* devices are cache-coherent */
	blob_u8(b, 0);
	blob_u16(b, 0);
	blob_u8(b, 3);                  /* coherent path, cacheable and inner shareable by default */
	blob_u32(b, 0);                 /* no ATS */
	blob_u32(b, 0);                 /* PCI segment */
	blob_u8(b, 64);                 /* address bits */
	blob_zero(b, 3);
	blob_u32(b, 0);                 /* requester IDs from 0 ... */
	blob_u32(b, 0xffff);            /* ... to this one */
	blob_u32(b, 0);
	blob_u32(b, IORT_NODES_OFF);    /* go to the node there: the ITS group */
	blob_u32(b, 0);
	acpi_table_end(b, off);
}

static const struct device *console_uart(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		if (strcmp(vm->devs[i]->cls->name, vm->arch->serial_class) == 0 && vm->devs[i]->io_bus == &vm->mmio)
			return vm->devs[i];
	}
	return NULL;
}

static void end_table(struct acpi_set *s, const char *sig, size_t *off)
{
	acpi_note(s, sig, *off);
	*off = acpi_next(s);
}

void arm64_acpi_build(const struct vm *vm, struct acpi_set *s)
{
	const struct arm64_machine *m = arm64_machine(vm);
	const struct device *uart = console_uart(vm);
	struct blob *b = &s->blob;
	size_t off = 0;

	memset(s, 0, sizeof(*s));
	arm64_dsdt(vm, b);
	end_table(s, "DSDT", &off);
	add_fadt(b, 0);                 /* the DSDT's offset */
	end_table(s, "FACP", &off);
	add_madt(b, m, vm->nvcpus);
	end_table(s, "APIC", &off);
	add_gtdt(b);
	end_table(s, "GTDT", &off);
	acpi_mcfg(b, &vm->map);
	end_table(s, "MCFG", &off);
	if (uart) {
		add_spcr(b, uart);
		end_table(s, "SPCR", &off);
	}
	if (m->gic == 3 && m->its) {
		add_iort(b);
		end_table(s, "IORT", &off);
	}
	acpi_end(s);
}
