/*
 * What arm64's FreeBSD finds at its entry, and the first page tables by the kernel's own rule: from where it is loaded up to
 * modulep, rounded, and 4 MiB more [FREEBSD sys/arm64/arm64/locore.S, create_pagetables].
 */
#include "tests/guest/fbsd.h"

#define KERNBASE 0xffff000000000000ul
#define L2_SIZE (2ul << 20)
#define DEVICE (1 | 0 << 2 | 3 << 8 | 1 << 10 | 3ul << 53)
#define NORMAL (1 | 2 << 2 | 3 << 8 | 1 << 10)
#define TABLE 3

extern struct {
	uint64_t modulep, sctlr, el, load;
} fbsd_entry;
uint64_t fbsd_tables(uint64_t modulep, uint64_t load);

/* l0[0] is TTBR0's, l0[1] TTBR1's. */
static uint64_t l0[2][512] __attribute__((aligned(4096)));
static uint64_t l1[2][512] __attribute__((aligned(4096)));
static uint64_t kernel_blocks[512] __attribute__((aligned(4096)));

/* At physical addresses, MMU off. */
uint64_t fbsd_tables(uint64_t modulep, uint64_t load)
{
	uint64_t end = modulep >= KERNBASE ? modulep - KERNBASE : (uint64_t)(fbsd_end - fbsd_begin);
	uint64_t n = (end + 6 * 1024 * 1024 - 1) >> 21;

	for (uint64_t i = 0; i < 512; i++) {
		kernel_blocks[i] = i < n ? (load + i * L2_SIZE) | NORMAL : 0;
		l0[0][i] = l0[1][i] = l1[1][i] = 0;
		l1[0][i] = i < 256 ? i << 30 | NORMAL : 0;
	}
	l1[0][0] = 0 | DEVICE;
	l1[1][0] = (uintptr_t)kernel_blocks | TABLE;
	l0[0][0] = (uintptr_t)l1[0] | TABLE;
	l0[1][0] = (uintptr_t)l1[1] | TABLE;
	return (uintptr_t)l0;
}

uint64_t arch_modulep(void)
{
	return fbsd_entry.modulep;
}

uint64_t arch_virt(uint64_t addr)
{
	return addr;
}

bool arch_relocates(uint32_t type)
{
	(void)type;
	return false;
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Virtual and inside the map; the tree itself is the host's libfdt's, checked there. */
static void check_fdt(uint64_t dtbp)
{
	const uint8_t *fdt = (const uint8_t *)dtbp;

	MUST(dtbp > KERNBASE && dtbp < fbsd_entry.modulep && dtbp % FBSD_PAGE == 0);
	MUST(be32(fdt) == 0xd00dfeed && dtbp + be32(fdt + 4) <= fbsd_entry.modulep);
	print("FBSD fdt bytes=%u\n", be32(fdt + 4));
}

/* x0 is the tree's physical address, and the kernel maps the 2 MiB it begins in. */
bool arch_bare(void)
{
	const uint8_t *fdt = (const uint8_t *)fbsd_entry.modulep;

	if (fbsd_entry.modulep >= KERNBASE)
		return false;
	MUST(fbsd_entry.el >> 2 == 1 && (fbsd_entry.sctlr & 1) == 0 && fbsd_entry.load % L2_SIZE == 0);
	MUST(be32(fdt) == 0xd00dfeed && fbsd_entry.modulep % L2_SIZE + be32(fdt + 4) <= L2_SIZE);
	MUST(fbsd_entry.modulep >= fbsd_entry.load + (uint64_t)(fbsd_end - fbsd_begin));
	print("FBSD ok arm64 bare fdt bytes=%u\n", be32(fdt + 4));
	return true;
}

void arch_check(const void *kernel)
{
	uint64_t kernend = md_u64(kernel, MD_KERNEND);

	MUST(fbsd_entry.el >> 2 == 1 && (fbsd_entry.sctlr & 1) == 0);
	MUST((uintptr_t)fbsd_begin == KERNBASE && fbsd_entry.load % L2_SIZE == 0);
	MUST(files[0].addr == KERNBASE);
	MUST(fbsd_entry.modulep > KERNBASE && kernend > fbsd_entry.modulep);
	/* The kernel maps this much before it knows KERNEND. */
	MUST(kernend - KERNBASE <= ((fbsd_entry.modulep - KERNBASE + 6 * 1024 * 1024 - 1) & ~(L2_SIZE - 1)));
	check_fdt(md_u64(kernel, MD_DTBP_ARM64));
	MUST(!md_find(kernel, 0x9001, NULL));   /* no EFI map: memory is in the tree */
}
