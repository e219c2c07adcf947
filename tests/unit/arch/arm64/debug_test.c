/*
 * The walk through translation tables of every granule, and the register tables against what GDB's standard features
 * demand.
 */
#include <errno.h>

#include "arch/arm64/arm64.h"
#include "common/arch.h"
#include "common/debug.h"
#include "tests/unit/unit.h"

#define TCR(t0sz, tg0, t1sz, tg1) ((t0sz) | (uint64_t)(tg0) << 14 | (uint64_t)(t1sz) << 16 | (uint64_t)(tg1) << 30)
#define TG0_4K 0
#define TG0_16K 2
#define TG0_64K 1
#define TG1_4K 2
#define TG1_16K 1
#define TG1_64K 3
#define IPS_52 (6ull << 32)
#define DS BIT64(59)
#define MMU_ON 1
#define PAGE 0x403                              /* valid, page or table, access flag */
#define BLOCK 0x401

static uint8_t ram[8 * 65536];

static int read_ram(void *arg, uint64_t gpa, void *buf, size_t len)
{
	if (gpa > sizeof(ram) || len > sizeof(ram) - gpa)
		return -EFAULT;
	memcpy(buf, ram + gpa, len);
	return 0;
}

static void put(uint64_t table, unsigned index, uint64_t desc)
{
	put_le64(ram + table + index * 8, desc);
}

static struct debug_mmu mmu(uint64_t tcr, uint64_t ttbr0, uint64_t ttbr1)
{
	memset(ram, 0, sizeof(ram));
	return (struct debug_mmu){ .reg = { MMU_ON, tcr, ttbr0, ttbr1 }, .read = read_ram };
}

static void is(const struct debug_mmu *m, uint64_t va, uint64_t want_pa, uint64_t want_len)
{
	uint64_t pa = 0, len = 0;

	ck_assert_msg(arm64_debug.walk(m, va, &pa, &len) == 0, "%#llx faults", (unsigned long long)va);
	ck_assert_uint_eq(pa, want_pa);
	ck_assert_uint_eq(len, want_len);
}

/* Nothing is mapped at va, nor as far as the walk says. */
static uint64_t faults(const struct debug_mmu *m, uint64_t va)
{
	uint64_t pa, len = 0, rest;

	ck_assert_int_eq(arm64_debug.walk(m, va, &pa, &len), -EFAULT);
	ck_assert_uint_gt(len, 0);
	ck_assert_int_eq(arm64_debug.walk(m, va + len - 1, &pa, &rest), -EFAULT);
	return len;
}

START_TEST(off)
{
	struct debug_mmu m = mmu(TCR(16, TG0_4K, 16, TG1_4K) | BIT64(37), 0, 0);

	m.reg[0] = 0;
	is(&m, 0x40080000, 0x40080000, BIT64(56) - 0x40080000);
	is(&m, 0xab00000040080000, 0x40080000, BIT64(56) - 0x40080000);
	m.reg[1] = 0;
	is(&m, 0xffffff8000000000, 0xffffff8000000000, BIT64(56) - 0xffff8000000000);
}
END_TEST

START_TEST(granule_4k)
{
	struct debug_mmu m = mmu(TCR(16, TG0_4K, 25, TG1_4K), 0x1000, 0xabcd000000002001);      /* an ASID, and CnP */

	put(0x1000, 0, 0x3000 | PAGE);
	put(0x1000, 1, 0x8000000000 | BLOCK);                           /* no blocks of 512 GB here */
	put(0x3000, 2, 0x80000000 | BLOCK);
	put(0x3000, 3, 0x4000 | PAGE);
	put(0x4000, 5, 0x00600000f1400000 | BLOCK);                     /* UXN and PXN are no address bits */
	put(0x4000, 6, 0x5000 | PAGE);
	put(0x5000, 7, 0x0000fffffffff000 | PAGE);
	put(0x5000, 8, 0x12345000 | BLOCK);                             /* reserved at the last level */
	is(&m, 0x80001234, 0x80001234, GIB(1) - 0x1234);
	is(&m, 0xc0a00010, 0xf1400010, 0x1ffff0);
	is(&m, 0xc0c07ff8, 0x0000fffffffffff8, 8);
	faults(&m, 0xc0c08000);
	ck_assert_uint_eq(faults(&m, 0xc0c09010), 0xff0);
	ck_assert_uint_eq(faults(&m, 0x8000000000), GIB(512));
	faults(&m, 0x10000000000);
	ck_assert_uint_eq(faults(&m, 0x0001000000000000), BIT64(55) - BIT64(48));
	/* 39 bits: three levels. */
	put(0x2000, 0x1fe, 0x4000 | PAGE);
	is(&m, 0xffffffff80c07100, 0x0000fffffffff100, 0xf00);
	ck_assert_uint_eq(faults(&m, 0xffffff7fffffffff), 1);
	ck_assert_uint_eq(faults(&m, 0xff80000000000000), 0x007fff8000000000);
	faults(&m, 0xff00ffff80c07100);                                 /* a tag without TBI1 */
	m.reg[1] |= BIT64(38);
	is(&m, 0xffffffff80c07100, 0x0000fffffffff100, 0xf00);
	is(&m, 0x12ffffff80c07100, 0x0000fffffffff100, 0xf00);
	faults(&m, 0x1200000080001234);
	m.reg[1] |= BIT64(37);
	is(&m, 0x1200000080001234, 0x80001234, GIB(1) - 0x1234);
	m.reg[1] |= BIT64(7);                                           /* EPD0 */
	faults(&m, 0x80001234);
	is(&m, 0xffffffff80c07100, 0x0000fffffffff100, 0xf00);
	m.reg[1] |= BIT64(23);
	faults(&m, 0xffffffff80c07100);
}
END_TEST

START_TEST(short_4k)
{
	/* 36 bits: the first of three levels has 64 entries; its table needs no page. */
	struct debug_mmu m = mmu(TCR(28, TG0_4K, 28, TG1_4K), 0x1200, 0);

	put(0x1200, 63, 0x140000000 | BLOCK);
	is(&m, 0xfc0000000, 0x140000000, GIB(1));
	faults(&m, 0x1fc0000000);
	/* Big-endian tables. */
	m.reg[0] |= BIT64(25);
	faults(&m, 0xfc0000000);
	put(0x1200, 63, __builtin_bswap64(0x180000000 | BLOCK));
	is(&m, 0xfc0000001, 0x180000001, GIB(1) - 1);
	/* What the processor would not take. */
	m.reg[1] = TCR(15, TG0_4K, 0, TG1_4K);
	faults(&m, 0);
	m.reg[1] = TCR(16, 3, 16, 0);
	faults(&m, 0);
	faults(&m, UINT64_MAX);
	m.reg[1] = TCR(63, TG0_64K, 63, TG1_64K);
	faults(&m, 0);
}
END_TEST

START_TEST(granule_16k)
{
	/* 47 bits: three levels and their whole first one; upper half 48 bits, whose level 0 has two entries. */
	struct debug_mmu m = mmu(TCR(17, TG0_16K, 16, TG1_16K), 0x4000, 0x8000);

	put(0x4000, 1, 0xc000 | PAGE);
	put(0x4000, 2, 0x1000000000 | BLOCK);                           /* no blocks of 64 GB without DS */
	put(0xc000, 3, 0x86000000 | BLOCK);
	put(0xc000, 4, 0x10000 | PAGE);
	put(0x10000, 5, 0x812340c000 | PAGE);
	is(&m, 0x1006000020, 0x86000020, MIB(32) - 0x20);
	is(&m, 0x1008014123, 0x812340c123, 0x4000 - 0x123);
	faults(&m, 0x2000000000);
	put(0x8000, 1, 0x4000 | PAGE);
	is(&m, 0xffff801008014123, 0x812340c123, 0x4000 - 0x123);
	faults(&m, 0xffff001008014123);
	m.reg[1] |= DS | IPS_52;
	is(&m, 0x2000000000, 0x1000000000, GIB(64));
}
END_TEST

START_TEST(granule_64k)
{
	/* 42 bits: two levels, as Linux once had it; upper half 52 bits. */
	struct debug_mmu m = mmu(TCR(22, TG0_64K, 12, TG1_64K), 0x10000, 0x20000);

	put(0x10000, 1, 0x40000000 | BLOCK);
	put(0x10000, 2, 0x30000 | PAGE);
	put(0x30000, 9, 0x1234560000 | 0x8000 | PAGE);                  /* bits 15:12: an address only with IPS 52 */
	is(&m, 0x20000001, 0x40000001, MIB(512) - 1);
	is(&m, 0x40091111, 0x1234561111, 0x10000 - 0x1111);
	put(0x20000, 0x3ff, 0x10000 | PAGE);
	put(0x20000, 0x3fe, 0x40000000000 | BLOCK);                     /* 4 TB: with 52 bits only */
	is(&m, 0xfffffc0040091111, 0x1234561111, 0x10000 - 0x1111);
	faults(&m, 0xfffff80000000000);
	m.reg[1] |= IPS_52;
	is(&m, 0xfffffc0040091111, 0x8001234561111, 0x10000 - 0x1111);
	is(&m, 0xfffff80000000000, 0x40000000000, BIT64(42));
	/* The table itself above 48 bits. */
	m.reg[3] = 0x20000 | 1 << 2;
	faults(&m, 0xfffffc0040091111);
}
END_TEST

START_TEST(lpa2)
{
	/* 4 KB granule, 52 bits: five levels from -1, its table of 16 entries; blocks of 512 GB. */
	struct debug_mmu m = mmu(TCR(12, TG0_4K, 12, TG1_4K) | DS | IPS_52, 0x1080, 0x2000);

	put(0x1080, 15, 0x3000 | PAGE);
	put(0x3000, 1, 0x8000000000 | 3 << 8 | BLOCK);
	put(0x3000, 2, 0x4000 | (PAGE & ~0x300));
	put(0x4000, 0, 0x5000 | (PAGE & ~0x300));
	put(0x5000, 0, 0x6000 | (PAGE & ~0x300));
	put(0x6000, 1, 3ull << 48 | 1 << 8 | 0x7000 | 0x403);
	is(&m, 0xf008000000010, 0xc008000000010, BIT64(39) - 0x10);
	is(&m, 0xf010000001abc, 0x7000000007abc, 0x544);
	faults(&m, 0xe008000000010);
	m.reg[1] &= ~DS;                                                /* 52 bits without LPA2 */
	faults(&m, 0xf008000000010);
}
END_TEST

START_TEST(registers)
{
	static const struct { unsigned no; const char *name; unsigned bits; } want[] = {
		{ 0, "x0", 64 }, { 30, "x30", 64 }, { 31, "sp", 64 }, { 32, "pc", 64 }, { 33, "cpsr", 32 }, { 34, "v0", 128 }, { 65, "v31", 128 },
		{ 66, "fpsr", 32 }, { 67, "fpcr", 32 }, { 68, "sctlr_el1", 64 },
	};
	unsigned n = 0;

	for (size_t i = 0; i < NELEM(want); i++) {
		const struct debug_reg *r = debug_reg_by_no(&arm64_debug, want[i].no);
		ck_assert_str_eq(r->name, want[i].name);
		ck_assert_uint_eq(r->bits, want[i].bits);
	}
	for (const struct debug_reg *r; (r = debug_reg_by_no(&arm64_debug, n)); n++) {
		ck_assert_uint_le(r->bits / 8, DEBUG_REG_MAX);
		/* KVM may keep more bits than GDB knows of, never fewer. */
		if (r->id != ARM64_REG_SP)
			ck_assert_uint_ge(1u << (r->id >> 52 & 0xf), r->bits / 8);
		for (unsigned other = 0; other < n; other++)
			ck_assert_str_ne(debug_reg_by_no(&arm64_debug, other)->name, r->name);
	}
	ck_assert_uint_gt(n, 90);
	ck_assert_str_eq(debug_reg_by_no(&arm64_debug, arm64_debug.pc)->name, "pc");
	ck_assert_ptr_eq(arch_arm64.debug, &arm64_debug);
}
END_TEST

UNIT_MAIN("arch/arm64/debug", off, granule_4k, short_4k, granule_16k, granule_64k, lpa2, registers)
