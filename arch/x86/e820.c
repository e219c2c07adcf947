/*
 * The memory map a PC's firmware reports, from the machine's memory map.
 */
#include "arch/x86/layout.h"
#include "arch/x86/x86.h"
#include "common/vm.h"

unsigned x86_e820(const struct memmap *m, struct e820_entry out[X86_E820_MAX])
{
	unsigned n = 0;

	out[n++] = (struct e820_entry){ 0, X86_EBDA, E820_RAM };
	out[n++] = (struct e820_entry){ X86_EBDA, X86_VGA - X86_EBDA, E820_RESERVED };
	out[n++] = (struct e820_entry){ X86_ACPI, X86_LOW_TABLES_END - X86_ACPI, E820_RESERVED };
	out[n++] = (struct e820_entry){ X86_HIGH_START, m->ram[0].len - X86_HIGH_START, E820_RAM };
	/* Linux trusts the ECAM address of MCFG only when it is reserved here or in the DSDT. */
	out[n++] = (struct e820_entry){ m->ecam_base, m->ecam_len, E820_RESERVED };
	for (unsigned i = 1; i < m->nram; i++)
		out[n++] = (struct e820_entry){ m->ram[i].base, m->ram[i].len, E820_RAM };
	return n;
}

unsigned x86_e820_firmware(const struct memmap *m, struct e820_entry out[X86_E820_MAX])
{
	for (unsigned i = 0; i < m->nram; i++)
		out[i] = (struct e820_entry){ m->ram[i].base, m->ram[i].len, E820_RAM };
	return m->nram;
}
