/*
 * The walk through page tables of every mode, and the register tables against what GDB's standard features demand.
 */
#include <errno.h>

#include "arch/x86/x86.h"
#include "common/arch.h"
#include "common/debug.h"
#include "tests/unit/unit.h"

#define PG BIT64(31)
#define PSE BIT64(4)
#define PAE BIT64(5)
#define LA57 BIT64(12)
#define LMA BIT64(10)

static uint8_t ram[16 * 4096];

static int read_ram(void *arg, uint64_t gpa, void *buf, size_t len)
{
	if (gpa > sizeof(ram) || len > sizeof(ram) - gpa)
		return -EFAULT;
	memcpy(buf, ram + gpa, len);
	return 0;
}

static void e64(unsigned table, unsigned index, uint64_t val)
{
	put_le64(ram + table * 4096 + index * 8, val);
}

static struct debug_mmu mmu(uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer)
{
	memset(ram, 0, sizeof(ram));
	return (struct debug_mmu){ .reg = { cr0, cr3, cr4, efer }, .read = read_ram };
}

static void is(const struct debug_mmu *m, uint64_t va, uint64_t want_pa, uint64_t want_len)
{
	uint64_t pa = 0, len = 0;

	ck_assert_int_eq(x86_debug.walk(m, va, &pa, &len), 0);
	ck_assert_uint_eq(pa, want_pa);
	ck_assert_uint_eq(len, want_len);
}

/* Nothing is mapped at va, nor as far as the walk says. */
static uint64_t faults(const struct debug_mmu *m, uint64_t va)
{
	uint64_t pa, len = 0, rest;

	ck_assert_int_eq(x86_debug.walk(m, va, &pa, &len), -EFAULT);
	ck_assert_uint_gt(len, 0);
	ck_assert_int_eq(x86_debug.walk(m, va + len - 1, &pa, &rest), -EFAULT);
	return len;
}

START_TEST(no_paging)
{
	struct debug_mmu m = mmu(1, 0x123000, PAE, 0);

	is(&m, 0x7c00, 0x7c00, BIT64(32) - 0x7c00);
	is(&m, 0xffffffff, 0xffffffff, 1);
	faults(&m, BIT64(32));
}
END_TEST

START_TEST(two_levels)
{
	struct debug_mmu m = mmu(PG, 0x1018, 0, 0);     /* CR3.PCD and PWT are no address bits */

	put_le32(ram + 0x1000 + 4 * 0x300, 0x2000 | 7);
	put_le32(ram + 0x2000 + 4 * 5, 0x00abc000 | 0x63);
	is(&m, 0xc0005678, 0x00abc678, 0x1000 - 0x678);
	ck_assert_uint_eq(faults(&m, 0xc0004000), 0x1000);
	ck_assert_uint_eq(faults(&m, 0x00000000), MIB(4));
	ck_assert_uint_eq(faults(&m, 0x1c0005678), -0x1c0005678ull);
	/* A page of 4 MB, with four more address bits; without CR4.PSE the bit means nothing. */
	put_le32(ram + 0x1000 + 4 * 0x301, 0x12400000 | 0x3 << 13 | 0x83);
	faults(&m, 0xc0523456);
	m.reg[2] = PSE;
	is(&m, 0xc0523456, 0x312523456, 0x400000 - 0x123456);
}
END_TEST

START_TEST(pae)
{
	struct debug_mmu m = mmu(PG, 0x1020, PAE, 0);   /* four entries, aligned to 32 bytes only */

	put_le64(ram + 0x1020 + 8 * 3, 0x2000 | 1);
	e64(2, 2, 0x3000 | 3);
	e64(3, 0x1ff, 0x8000000abc000000 | 3);          /* XD, and more than 32 bits */
	e64(2, 3, 0x123400000 | 0x83);
	is(&m, 0xc05ff010, 0x0000000abc000010, 0xff0);
	is(&m, 0xc0600001, 0x123400001, 0x1fffff);
	faults(&m, 0x80000000);
	faults(&m, 0xc0800000);
	faults(&m, BIT64(32) | 0xc05ff010);
}
END_TEST

/* Four levels, or those under a fifth: 4 KB, 2 MB and 1 GB pages in the lower half, 4 KB in the upper. */
static void fill_long(unsigned pml4)
{
	e64(pml4, 0, 0x2000 | 7);
	e64(pml4, 0x1ff, 0x2000 | 7);
	e64(2, 1, 0x140000000 | 0x83);
	e64(2, 0, 0x3000 | 7);
	e64(2, 0x1fe, 0x3000 | 7);
	e64(3, 7, 0x12600000 | 0x1083);                 /* the PAT bit of a large page is no address bit */
	e64(3, 8, 0x4000 | 7);
	e64(4, 9, 0x000ffffffffff000 | 3);
	e64(4, 10, 0xfff0000000005003);                 /* bits 52 to 63 are not the address */
}

START_TEST(four_levels)
{
	struct debug_mmu m = mmu(PG, 0x1000 | 0xfff, PAE, LMA);  /* CR3's low bits are a PCID */

	fill_long(1);
	is(&m, 0x40000000, 0x140000000, GIB(1));
	is(&m, 0x7fffffff, 0x17fffffff, 1);
	is(&m, 0xe12345, 0x12612345, 0x200000 - 0x12345);
	is(&m, 0x1009008, 0x000ffffffffff008, 0xff8);
	is(&m, 0x100a000, 0x5000, 0x1000);
	is(&m, 0xffffffff81009123, 0x000ffffffffff123, 0xedd);
	faults(&m, 0x1008000);                          /* not present in the last table */
	ck_assert_uint_eq(faults(&m, 0x80000000), GIB(1));                              /* nor in the second */
	ck_assert_uint_eq(faults(&m, 0x8000000010), GIB(512) - 0x10);                   /* nor in the first */
	ck_assert_uint_eq(faults(&m, 0x0000800000000000), 0xffff000000000000);          /* not canonical */
	ck_assert_uint_eq(faults(&m, 0xffff7fffffffffff), 1);
	e64(1, 1, 0x5000 | 0x87);                       /* no pages of 512 GB */
	faults(&m, 0x8000000000);
	e64(1, 2, 0x7fff0000 | 7);                      /* a table outside memory */
	faults(&m, 0x10000000000);
}
END_TEST

START_TEST(five_levels)
{
	struct debug_mmu m = mmu(PG, 0x5000, PAE | LA57, LMA);

	fill_long(1);
	e64(5, 0, 0x1000 | 7);
	e64(5, 0x1ff, 0x1000 | 7);
	e64(5, 0x10, 0x1000 | 7);
	is(&m, 0x1009008, 0x000ffffffffff008, 0xff8);
	is(&m, 0x0010000040000000, 0x140000000, GIB(1));
	is(&m, 0xffffffff81009123, 0x000ffffffffff123, 0xedd);
	faults(&m, 0x0100000000000000);
	faults(&m, 0x0000800000000000);                 /* canonical, not mapped */
}
END_TEST

START_TEST(registers)
{
	static const struct { unsigned no; const char *name; unsigned bits; } want[] = {
		{ 0, "rax", 64 }, { 6, "rbp", 64 }, { 7, "rsp", 64 }, { 15, "r15", 64 }, { 16, "rip", 64 }, { 17, "eflags", 32 },
		{ 18, "cs", 32 },
		{ 23, "gs", 32 }, { 24, "st0", 80 }, { 32, "fctrl", 32 }, { 34, "ftag", 32 }, { 39, "fop", 32 }, { 40, "xmm0", 128 },
		{ 55, "xmm15", 128 }, { 56, "mxcsr", 32 }, { 57, "fs_base", 64 }, { 58, "gs_base", 64 }, { 59, "cr0", 64 },
	};
	unsigned n = 0;

	for (size_t i = 0; i < NELEM(want); i++) {
		const struct debug_reg *r = debug_reg_by_no(&x86_debug, want[i].no);
		ck_assert_str_eq(r->name, want[i].name);
		ck_assert_uint_eq(r->bits, want[i].bits);
	}
	for (const struct debug_reg *r; (r = debug_reg_by_no(&x86_debug, n)); n++) {
		ck_assert_uint_le(r->bits / 8, DEBUG_REG_MAX);
		ck_assert_uint_le(r->id >> 32 & 0xff, r->bits / 8);
		for (unsigned other = 0; other < n; other++)
			ck_assert_str_ne(debug_reg_by_no(&x86_debug, other)->name, r->name);
	}
	ck_assert_uint_gt(n, 90);
	ck_assert_str_eq(debug_reg_by_no(&x86_debug, x86_debug.pc)->name, "rip");
	ck_assert_ptr_eq(arch_x86.debug, &x86_debug);
}
END_TEST

UNIT_MAIN("arch/x86/debug", no_paging, two_levels, pae, four_levels, five_levels, registers)
