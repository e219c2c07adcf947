/*
 * What amd64's FreeBSD finds at its entry: stack, page tables, GDT, SMAP, and the ACPI tables its environment tells of.
 */
#include "tests/guest/fbsd.h"

#define KERNBASE 0xffffffff80000000ul
#define PDE_LARGE 0x83                          /* present, writable, 2 MiB */
#define PDE_TABLE 0x03
#define LIMIT (1ul << 30)                       /* the loader's tables map no more */

struct entry {
	uint64_t ret, modulep, kernend, rsp, cr3, cr0, cr4, efer;
	uint16_t cs, ss, pad, gdt_limit;
	uint64_t gdt_base;
} __attribute__((packed));
extern const struct entry fbsd_entry;

struct smap {
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

uint64_t arch_modulep(void)
{
	return fbsd_entry.modulep + KERNBASE;
}

uint64_t arch_virt(uint64_t addr)
{
	return addr + KERNBASE;
}

bool arch_relocates(uint32_t type)
{
	return type == MD_ADDR || type == MD_SSYM || type == MD_ESYM;
}

bool arch_bare(void)
{
	return false;
}

/* Every GiB of the address space is the first one of memory. */
static void check_page_tables(void)
{
	const uint64_t *pml4 = (const uint64_t *)fbsd_entry.cr3, *pdpt, *pd;

	MUST((fbsd_entry.cr3 & 0xfff) == 0 && fbsd_entry.cr3 < 0xa0000);
	pdpt = (const uint64_t *)(pml4[0] & ~0xffful);
	pd = (const uint64_t *)(pdpt[0] & ~0xffful);
	for (unsigned i = 0; i < 512; i++) {
		MUST((pml4[i] & ~0x60ul) == ((uintptr_t)pdpt | PDE_TABLE));
		MUST((pdpt[i] & ~0x60ul) == ((uintptr_t)pd | PDE_TABLE));
		MUST((pd[i] & ~0x60ul) == (i * (2ul << 20) | PDE_LARGE));
	}
	/* As the kernel finds its own place: the entry of the second 2 MiB at KERNBASE. */
	MUST((pd[(KERNBASE + (2ul << 20)) >> 21 & 511] & ~0xffful) == 2ul << 20);
	MUST(*(const uint32_t *)fbsd_begin == *(const uint32_t *)((uintptr_t)fbsd_begin - KERNBASE));
	MUST(*(const uint32_t *)fbsd_begin == *(const uint32_t *)((uintptr_t)fbsd_begin - KERNBASE + 5 * LIMIT));
}

static void check_cpu(void)
{
	const uint64_t *gdt = (const uint64_t *)fbsd_entry.gdt_base;

	MUST(fbsd_entry.ret == 0 && fbsd_entry.rsp < 0xa0000 && fbsd_entry.rsp > 0x500);
	MUST((fbsd_entry.cr0 & 0x80000001) == 0x80000001 && (fbsd_entry.cr4 & 0x20) && (fbsd_entry.efer & 0x500) == 0x500);
	MUST(fbsd_entry.cs <= fbsd_entry.gdt_limit && fbsd_entry.ss <= fbsd_entry.gdt_limit);
	MUST((gdt[fbsd_entry.cs / 8] >> 40 & 0x98) == 0x98 && (gdt[fbsd_entry.cs / 8] >> 53 & 3) == 1);         /* code, 64-bit */
	MUST((gdt[fbsd_entry.ss / 8] >> 40 & 0x9a) == 0x92);                                                 /* data, writable */
}

static void check_smap(const void *kernel)
{
	uint32_t len = 0;
	const struct smap *s = md_find(kernel, MD_SMAP_AMD64, &len);
	uint64_t end = 0, ram = 0;
	bool holds = false, low = false;

	MUST(s && len && len % sizeof(*s) == 0);
	for (unsigned i = 0; i < len / sizeof(*s); i++) {
		MUST(s[i].base >= end && s[i].length);
		end = s[i].base + s[i].length;
		if (s[i].type != 1)
			continue;
		ram += s[i].length;
		holds |= s[i].base <= (uintptr_t)fbsd_begin - KERNBASE && end >= fbsd_entry.kernend + (2 << 20);
		low |= s[i].base == 0 && s[i].length <= 0xa0000;
	}
	MUST(holds && low);
	print("FBSD smap entries=%lu MiB=%lu\n", len / sizeof(*s), (ram + (1 << 20) - 1) >> 20);
}

static uint64_t number(const char *s)
{
	uint64_t v = 0;
	unsigned base = str_starts(s, "0x") ? 16 : 10;

	for (s += base == 16 ? 2 : 0; *s; s++)
		v = v * base + (unsigned)(*s <= '9' ? *s - '0' : (*s | 0x20) - 'a' + 10);
	return v;
}

static void must_be(const char *name, uint64_t v)
{
	const char *s = env_find(name);

	if (!s || number(s) != v)
		DIE("%s is %s, not 0x%lx", name, s ? s : "unset", v);
}

static uint8_t sum(const void *p, unsigned n)
{
	uint8_t s = 0;

	for (unsigned i = 0; i < n; i++)
		s = (uint8_t)(s + ((const uint8_t *)p)[i]);
	return s;
}

static void check_acpi(void)
{
	const char *at = env_find("acpi.rsdp"), *off = env_find("hint.acpi.0.disabled");
	const uint8_t *rsdp = at ? (const uint8_t *)number(at) : NULL;
	char oem[7] = "";

	print("FBSD acpi %s\n", at ? "on" : "off");
	MUST(!at == (off && str_same(off, "1")));
	if (!at)
		return;
	MUST(memcmp(rsdp, "RSD PTR ", 8) == 0 && !sum(rsdp, 20) && !sum(rsdp, 36) && rsdp[15] == 2);
	memcpy(oem, rsdp + 9, 6);
	MUST(env_find("acpi.oem") && str_same(env_find("acpi.oem"), oem));
	must_be("hint.acpi.0.rsdp", (uintptr_t)rsdp);
	must_be("acpi.revision", 2);
	must_be("acpi.xsdt", *(const uint64_t *)(rsdp + 24));
	must_be("acpi.xsdt_length", *(const uint32_t *)(rsdp + 20));
	MUST(memcmp((const void *)*(const uint64_t *)(rsdp + 24), "XSDT", 4) == 0);
}

/* A processor started later needs the MP table when there is no ACPI. */
static void check_mptable(void)
{
	for (const uint8_t *p = (const uint8_t *)0xe0000; p < (const uint8_t *)0x100000; p += 16) {
		if (memcmp(p, "_MP_", 4) == 0 && !sum(p, 16))
			return;
	}
	DIE("no MP table");
}

void arch_check(const void *kernel)
{
	MUST(md_u64(kernel, MD_MODULEP_AMD64) == fbsd_entry.modulep && md_u64(kernel, MD_KERNEND) == fbsd_entry.kernend);
	MUST(fbsd_entry.kernend < LIMIT && files[0].addr == KERNBASE + (2ul << 20));
	check_cpu();
	check_page_tables();
	check_smap(kernel);
	check_acpi();
	check_mptable();
}
