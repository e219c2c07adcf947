/*
 * Debugging arm64: registers as GDB numbers them [GDB AArch64 Features], and the walk through the EL1 translation tables
 * [Arm ARM D8].
 */
#include <errno.h>

#include "arch/arm64/arm64.h"
#include "common/debug.h"
#include "common/util.h"

/* --- registers --- */

/* KVM's numbers [KVM-API 4.68 KVM_SET_ONE_REG]; kvm_debug.c checks them. */
#define CORE(size, index) (0x6000000000100000ull | (uint64_t)(size) << 52 | (index))
#define SYSREG(op0, op1, crn, crm, op2) \
	(0x6030000000130000ull | (op0) << 14 | (op1) << 11 | (crn) << 7 | (crm) << 3 | (op2))
#define X(n) { "x" #n, "int", 64, NULL, CORE(3, 2 * (n)) }
#define V(n) { "v" #n, "aarch64v", 128, NULL, CORE(4, 84 + 4 * (n)) }
#define SYS(name, op1, crn, crm, op2) { name, "uint64", 64, "system", SYSREG(3, op1, crn, crm, op2) }

static const struct debug_reg core[] = {
	X(0), X(1), X(2), X(3), X(4), X(5), X(6), X(7), X(8), X(9), X(10), X(11), X(12), X(13), X(14), X(15),
	X(16), X(17), X(18), X(19), X(20), X(21), X(22), X(23), X(24), X(25), X(26), X(27), X(28), X(29), X(30),
	{ "sp", "data_ptr", 64, NULL, ARM64_REG_SP }, { "pc", "code_ptr", 64, NULL, CORE(3, 64) },
	{ "cpsr", "cpsr_flags", 32, NULL, CORE(3, 66) },
};

static const struct debug_reg fpu[] = {
	V(0), V(1), V(2), V(3), V(4), V(5), V(6), V(7), V(8), V(9), V(10), V(11), V(12), V(13), V(14), V(15),
	V(16), V(17), V(18), V(19), V(20), V(21), V(22), V(23), V(24), V(25), V(26), V(27), V(28), V(29), V(30), V(31),
	{ "fpsr", "int", 32, "float", CORE(2, 212) }, { "fpcr", "int", 32, "float", CORE(2, 213) },
};

static const struct debug_reg sys[] = {
	SYS("sctlr_el1", 0, 1, 0, 0), SYS("cpacr_el1", 0, 1, 0, 2), SYS("ttbr0_el1", 0, 2, 0, 0), SYS("ttbr1_el1", 0, 2, 0, 1),
	SYS("tcr_el1", 0, 2, 0, 2), SYS("mair_el1", 0, 10, 2, 0), SYS("vbar_el1", 0, 12, 0, 0), SYS("esr_el1", 0, 5, 2, 0),
	SYS("far_el1", 0, 6, 0, 0), SYS("afsr0_el1", 0, 5, 1, 0), SYS("afsr1_el1", 0, 5, 1, 1), SYS("par_el1", 0, 7, 4, 0),
	{ "elr_el1", "code_ptr", 64, "system", CORE(3, 70) }, { "spsr_el1", "uint64", 64, "system", CORE(3, 72) },
	{ "sp_el0", "data_ptr", 64, "system", CORE(3, 62) }, { "sp_el1", "data_ptr", 64, "system", CORE(3, 68) },
	SYS("tpidr_el0", 3, 13, 0, 2), SYS("tpidrro_el0", 3, 13, 0, 3), SYS("tpidr_el1", 0, 13, 0, 4), SYS("contextidr_el1", 0, 13, 0, 1),
	SYS("amair_el1", 0, 10, 3, 0), SYS("cntkctl_el1", 0, 14, 1, 0), { "mdscr_el1", "uint64", 64, "system", SYSREG(2, 0, 0, 2, 2) },
	SYS("mpidr_el1", 0, 0, 0, 5), SYS("midr_el1", 0, 0, 0, 0),
	/* KVM has exchanged the numbers of the timer's counter and comparator. */
	SYS("cntv_ctl_el0", 3, 14, 3, 1), SYS("cntv_cval_el0", 3, 14, 0, 2), SYS("cntvct_el0", 3, 14, 3, 2),
};

#define FIELD(n, from, to) "<field name=\"" n "\" start=\"" #from "\" end=\"" #to "\"/>"
#define VECTOR(n, t, count) "<vector id=\"" n "\" type=\"" t "\" count=\"" #count "\"/>"
#define MEMBER(n, t) "<field name=\"" n "\" type=\"" t "\"/>"
#define LANES(n, f, u, s) "<union id=\"" n "\">" f MEMBER("u", u) MEMBER("s", s) "</union>"

static const char core_types[] =
	"<flags id=\"cpsr_flags\" size=\"4\">"
	FIELD("SP", 0, 0) FIELD("EL", 2, 3) FIELD("nRW", 4, 4) FIELD("F", 6, 6) FIELD("I", 7, 7) FIELD("A", 8, 8) FIELD("D", 9, 9)
	FIELD("BTYPE", 10, 11) FIELD("SSBS", 12, 12) FIELD("IL", 20, 20) FIELD("SS", 21, 21) FIELD("PAN", 22, 22)
	FIELD("UAO", 23, 23) FIELD("DIT", 24, 24) FIELD("TCO", 25, 25) FIELD("V", 28, 28) FIELD("C", 29, 29) FIELD("Z", 30, 30)
	FIELD("N", 31, 31) "</flags>";

static const char fpu_types[] =
	VECTOR("v2d", "ieee_double", 2) VECTOR("v2u", "uint64", 2) VECTOR("v2i", "int64", 2)
	VECTOR("v4f", "ieee_single", 4) VECTOR("v4u", "uint32", 4) VECTOR("v4i", "int32", 4)
	VECTOR("v8f", "ieee_half", 8) VECTOR("v8u", "uint16", 8) VECTOR("v8i", "int16", 8)
	VECTOR("v16u", "uint8", 16) VECTOR("v16i", "int8", 16) VECTOR("v1u", "uint128", 1) VECTOR("v1i", "int128", 1)
	LANES("vnd", MEMBER("f", "v2d"), "v2u", "v2i") LANES("vns", MEMBER("f", "v4f"), "v4u", "v4i")
	LANES("vnh", MEMBER("f", "v8f"), "v8u", "v8i") LANES("vnb", , "v16u", "v16i") LANES("vnq", , "v1u", "v1i")
	"<union id=\"aarch64v\">" MEMBER("d", "vnd") MEMBER("s", "vns") MEMBER("h", "vnh") MEMBER("b", "vnb") MEMBER("q", "vnq")
	"</union>";

static const struct debug_feature features[] = {
	{ "org.gnu.gdb.aarch64.core", core_types, core, NELEM(core) },
	{ "org.gnu.gdb.aarch64.fpu", fpu_types, fpu, NELEM(fpu) },
	{ "org.skep.arm64.system", NULL, sys, NELEM(sys) },
	{ 0 }
};

/* --- translation tables --- */

#define SCTLR_M BIT64(0)
#define SCTLR_EE BIT64(25)
#define TCR_EPD0 BIT64(7)                       /* EPD1 is 16 bits up, as are T1SZ and T0SZ */
#define TCR_TBI0 BIT64(37)
#define TCR_TBI1 BIT64(38)
#define TCR_DS BIT64(59)
#define TCR_IPS(tcr) ((tcr) >> 32 & 7)
#define IPS_52 6

/* What TCR_EL1 says about one half of the address space [Arm ARM D17.2.139 TCR_EL1]. */
struct regime {
	unsigned granule;                       /* log2 of bytes; 0: reserved encoding */
	unsigned va_bits;
	bool off, tagged, wide;                 /* wide: output addresses of 52 bits */
	int block_level;                        /* the first level that may hold blocks */
};

static struct regime regime_of(uint64_t tcr, bool upper)
{
	static const uint8_t tg0[4] = { 12, 16, 14, 0 }, tg1[4] = { 0, 14, 12, 16 };
	uint64_t half = upper ? tcr >> 16 : tcr;
	struct regime r = {
		.granule = upper ? tg1[tcr >> 30 & 3] : tg0[tcr >> 14 & 3],
		.va_bits = 64 - (half & 0x3f),
		.off = half & TCR_EPD0,
		.tagged = tcr & (upper ? TCR_TBI1 : TCR_TBI0),
	};
	bool ds = tcr & TCR_DS && r.granule != 16;
	r.wide = TCR_IPS(tcr) == IPS_52 && (ds || r.granule == 16);
	if (r.granule == 12)
		r.block_level = ds ? 0 : 1;
	else
		r.block_level = ds || r.wide ? 1 : 2;
	if (r.va_bits > (ds || r.granule == 16 ? 52u : 48u) || r.va_bits <= r.granule)
		r.granule = 0;
	return r;
}

/* The address in a descriptor [Arm ARM D8.3]. */
static uint64_t output_addr(const struct regime *r, uint64_t desc)
{
	uint64_t low = BIT64(r->granule) - 1, addr = desc & 0x0000ffffffffffffull & ~low;

	if (r->wide && r->granule == 16)
		return addr | (desc >> 12 & 0xf) << 48;
	if (r->wide)
		return addr | (desc & 3ull << 48) | (desc >> 8 & 3) << 50;
	return addr;
}

/* TTBRn_EL1: with 52-bit addresses, bits 51:48 are in 5:2. */
static uint64_t first_table(const struct regime *r, uint64_t ttbr, unsigned index_bits)
{
	uint64_t size = MAX(BIT64(index_bits + 3), r->wide ? 64ull : 32ull), addr = ttbr & 0x0000fffffffffffeull & ~(size - 1);

	return r->wide ? addr | (ttbr >> 2 & 0xf) << 48 : addr;
}

/* Finds the descriptor that maps va; *shift: it maps 1 << shift bytes. */
static int find(const struct debug_mmu *m, const struct regime *r, uint64_t ttbr, uint64_t va, uint64_t *desc, unsigned *shift)
{
	unsigned stride = r->granule - 3, levels = (r->va_bits - r->granule + stride - 1) / stride;
	unsigned bits = r->va_bits - r->granule - stride * (levels - 1);
	uint64_t table = first_table(r, ttbr, bits);

	for (int level = 4 - (int)levels; level <= 3; level++, bits = stride) {
		uint8_t raw[8];
		*shift = r->granule + stride * (unsigned)(3 - level);
		if (m->read(m->arg, table + (va >> *shift & (BIT64(bits) - 1)) * 8, raw, sizeof(raw)))
			return -EFAULT;
		*desc = m->reg[0] & SCTLR_EE ? __builtin_bswap64(get_le64(raw)) : get_le64(raw);
		if (!(*desc & 1) || (!(*desc & 2) && (level == 3 || level < r->block_level)))
			return -EFAULT;
		if (!(*desc & 2))
			return 0;
		table = output_addr(r, *desc);
	}
	return 0;
}

/* [Arm ARM D8.2; Arm ARM D8.3] */
static int walk(const struct debug_mmu *m, uint64_t va, uint64_t *pa, uint64_t *len)
{
	bool upper = va >> 55 & 1;
	struct regime r = regime_of(m->reg[1], upper);
	uint64_t desc = 0;
	unsigned shift = 0;

	if (!(m->reg[0] & SCTLR_M)) {
		*pa = r.tagged && !upper ? va & (BIT64(56) - 1) : va;
		*len = BIT64(56) - (*pa & (BIT64(56) - 1));
		return 0;
	}
	*len = BIT64(55) - (va & (BIT64(55) - 1));                      /* the rest of this half, where there is nothing */
	if (r.off || !r.granule)
		return -EFAULT;
	if (r.tagged)
		va = upper ? va | 0xffull << 56 : va & (BIT64(56) - 1);
	if ((upper ? ~va : va) >> r.va_bits) {
		if (upper)
			*len = -BIT64(r.va_bits) - va;
		return -EFAULT;
	}
	const int err = find(m, &r, m->reg[upper ? 3 : 2], va, &desc, &shift);
	uint64_t in_page = va & (BIT64(shift) - 1);
	*len = BIT64(shift) - in_page;
	if (err)
		return err;
	*pa = (output_addr(&r, desc) & ~(BIT64(shift) - 1)) | in_page;
	return 0;
}

const struct arch_debug arm64_debug = {
	.gdb_arch = "aarch64", .features = features, .pc = 32, .brk = { 0x00, 0x00, 0x20, 0xd4 }, .brk_len = 4, .walk = walk,
};
