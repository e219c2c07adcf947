/*
 * Debugging x86: registers as GDB numbers them [GDB i386 Features], and the walk through the page tables [SDM-3A 4].
 *
 * The description is the 64-bit one in every mode of the CPU.
 */
#include <errno.h>

#include "arch/x86/x86.h"
#include "common/debug.h"
#include "common/util.h"

/* --- registers --- */

/* Offsets in struct kvm_regs, kvm_sregs and kvm_fpu; kvm_debug.c checks them. */
#define GPR(n, t, i) { n, t, 64, NULL, X86_REG_ID(X86_SET_REGS, 8, 8 * (i)) }
#define SEL(n, i) { n, "int32", 32, NULL, X86_REG_ID(X86_SET_SREGS, 2, 24 * (i) + 12) }
#define BASE(n, i) { n, "int", 64, NULL, X86_REG_ID(X86_SET_SREGS, 8, 24 * (i)) }
#define ST(n) { "st" #n, "i387_ext", 80, NULL, X86_REG_ID(X86_SET_FPU, 10, 16 * (n)) }
#define FC(n, size, off) { n, "int", 32, "float", X86_REG_ID(X86_SET_FPU, size, off) }
#define XMM(n) { "xmm" #n, "vec128", 128, NULL, X86_REG_ID(X86_SET_FPU, 16, 152 + 16 * (n)) }
#define SYS(n, bits, size, off) { n, "uint" #bits, bits, "system", X86_REG_ID(X86_SET_SREGS, size, off) }
#define SEG(n, i) SYS(n "_base", 64, 8, 24 * (i)), SYS(n "_limit", 32, 4, 24 * (i) + 8)
#define TABLE(n, off) SYS(n "_base", 64, 8, off), SYS(n "_limit", 32, 2, (off) + 8)
#define MSR(n, index) { n, "uint64", 64, "system", X86_REG_ID(X86_SET_MSR, 8, index) }

static const struct debug_reg core[] = {
	GPR("rax", "int64", 0), GPR("rbx", "int64", 1), GPR("rcx", "int64", 2), GPR("rdx", "int64", 3), GPR("rsi", "int64", 4),
	GPR("rdi", "int64", 5), GPR("rbp", "data_ptr", 7), GPR("rsp", "data_ptr", 6), GPR("r8", "int64", 8), GPR("r9", "int64", 9),
	GPR("r10", "int64", 10), GPR("r11", "int64", 11), GPR("r12", "int64", 12), GPR("r13", "int64", 13), GPR("r14", "int64", 14),
	GPR("r15", "int64", 15), GPR("rip", "code_ptr", 16), { "eflags", "i386_eflags", 32, NULL, X86_REG_ID(X86_SET_REGS, 4, 136) },
	SEL("cs", 0), SEL("ss", 5), SEL("ds", 1), SEL("es", 2), SEL("fs", 3), SEL("gs", 4),
	ST(0), ST(1), ST(2), ST(3), ST(4), ST(5), ST(6), ST(7),
	FC("fctrl", 2, 128), FC("fstat", 2, 130), { "ftag", "int", 32, "float", X86_REG_ID(X86_SET_TAGS, 1, 132) }, FC("fiseg", 2, 140),
	FC("fioff", 4, 136), FC("foseg", 2, 148), FC("fooff", 4, 144), FC("fop", 2, 134),
};

static const struct debug_reg sse[] = {
	XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
	XMM(8), XMM(9), XMM(10), XMM(11), XMM(12), XMM(13), XMM(14), XMM(15),
	{ "mxcsr", "i386_mxcsr", 32, "vector", X86_REG_ID(X86_SET_FPU, 4, 408) },
};

static const struct debug_reg segments[] = { BASE("fs_base", 3), BASE("gs_base", 4) };

static const struct debug_reg sys[] = {
	SYS("cr0", 64, 8, 224), SYS("cr2", 64, 8, 232), SYS("cr3", 64, 8, 240), SYS("cr4", 64, 8, 248), SYS("cr8", 64, 8, 256),
	SYS("efer", 64, 8, 264), SYS("apic_base", 64, 8, 272),
	TABLE("gdtr", 192), TABLE("idtr", 208), SEG("tr", 6), SEG("ldtr", 7),
	SYS("tr", 32, 2, 24 * 6 + 12), SYS("ldtr", 32, 2, 24 * 7 + 12),
	SEG("cs", 0), SEG("ss", 5), SEG("ds", 1), SEG("es", 2), SYS("fs_limit", 32, 4, 24 * 3 + 8), SYS("gs_limit", 32, 4, 24 * 4 + 8),
	MSR("star", 0xc0000081), MSR("lstar", 0xc0000082), MSR("cstar", 0xc0000083), MSR("fmask", 0xc0000084),
	MSR("k_gs_base", 0xc0000102), MSR("tsc_aux", 0xc0000103), MSR("sysenter_cs", 0x174), MSR("sysenter_esp", 0x175),
	MSR("sysenter_eip", 0x176), MSR("pat", 0x277), MSR("tsc", 0x10),
};

#define BIT_FIELD(n, b) "<field name=\"" n "\" start=\"" #b "\" end=\"" #b "\"/>"
#define VECTOR(n, t, count) "<vector id=\"" n "\" type=\"" t "\" count=\"" #count "\"/>"
#define MEMBER(n, t) "<field name=\"" n "\" type=\"" t "\"/>"

static const char core_types[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	BIT_FIELD("CF", 0) BIT_FIELD("", 1) BIT_FIELD("PF", 2) BIT_FIELD("AF", 4) BIT_FIELD("ZF", 6) BIT_FIELD("SF", 7) BIT_FIELD("TF", 8)
	BIT_FIELD("IF", 9) BIT_FIELD("DF", 10) BIT_FIELD("OF", 11) BIT_FIELD("NT", 14) BIT_FIELD("RF", 16) BIT_FIELD("VM", 17)
	BIT_FIELD("AC", 18) BIT_FIELD("VIF", 19) BIT_FIELD("VIP", 20) BIT_FIELD("ID", 21) "</flags>";

static const char sse_types[] =
	VECTOR("v4f", "ieee_single", 4) VECTOR("v2d", "ieee_double", 2) VECTOR("v16i8", "int8", 16) VECTOR("v8i16", "int16", 8)
	VECTOR("v4i32", "int32", 4) VECTOR("v2i64", "int64", 2)
	"<union id=\"vec128\">" MEMBER("v4_float", "v4f") MEMBER("v2_double", "v2d") MEMBER("v16_int8", "v16i8")
	MEMBER("v8_int16", "v8i16")
	MEMBER("v4_int32", "v4i32") MEMBER("v2_int64", "v2i64") MEMBER("uint128", "uint128") "</union>"
	"<flags id=\"i386_mxcsr\" size=\"4\">"
	BIT_FIELD("IE", 0) BIT_FIELD("DE", 1) BIT_FIELD("ZE", 2) BIT_FIELD("OE", 3) BIT_FIELD("UE", 4) BIT_FIELD("PE", 5)
	BIT_FIELD("DAZ", 6)
	BIT_FIELD("IM", 7) BIT_FIELD("DM", 8) BIT_FIELD("ZM", 9) BIT_FIELD("OM", 10) BIT_FIELD("UM", 11) BIT_FIELD("PM", 12)
	BIT_FIELD("FZ", 15) "</flags>";

static const struct debug_feature features[] = {
	{ "org.gnu.gdb.i386.core", core_types, core, NELEM(core) },
	{ "org.gnu.gdb.i386.sse", sse_types, sse, NELEM(sse) },
	{ "org.gnu.gdb.i386.segments", NULL, segments, NELEM(segments) },
	{ "org.skep.x86.system", NULL, sys, NELEM(sys) },
	{ 0 }
};

/* --- page tables --- */

#define CR0_PG BIT64(31)
#define CR4_PSE BIT64(4)
#define CR4_PAE BIT64(5)
#define CR4_LA57 BIT64(12)
#define EFER_LMA BIT64(10)
#define PTE_P BIT64(0)
#define PTE_PS BIT64(7)
#define PTE_ADDR 0x000ffffffffff000ull

/* One of the four paging modes: how many levels of tables, and how an entry is found. */
struct paging {
	unsigned levels, index_bits, entry_size, va_bits;
	uint64_t cr3_mask;
};

static struct paging paging_mode(uint64_t cr4, uint64_t efer)
{
	if (efer & EFER_LMA) {
		unsigned levels = cr4 & CR4_LA57 ? 5 : 4;
		return (struct paging){ levels, 9, 8, 12 + 9 * levels, PTE_ADDR };
	}
	if (cr4 & CR4_PAE)
		return (struct paging){ 3, 9, 8, 32, 0xffffffe0 };
	return (struct paging){ 2, 10, 4, 32, 0xfffff000 };
}

/* Does this entry, which maps 1 << shift bytes, map a page, not a table?  -EFAULT: it is no entry of that level. */
static int maps_page(const struct paging *p, unsigned shift, uint64_t entry, uint64_t cr4)
{
	if (shift == 12)
		return 1;
	if (!(entry & PTE_PS))
		return 0;
	if (p->entry_size == 4)
		return !!(cr4 & CR4_PSE);
	if (shift == 21 || (shift == 30 && p->levels > 3))
		return 1;
	return -EFAULT;
}

/* Nothing is mapped up to the next multiple of 1 << shift. */
static int hole(uint64_t va, unsigned shift, uint64_t *len)
{
	*len = BIT64(shift) - (va & (BIT64(shift) - 1));
	return -EFAULT;
}

/* [SDM-3A 4.3; SDM-3A 4.4; SDM-3A 4.5] */
static int walk(const struct debug_mmu *m, uint64_t va, uint64_t *pa, uint64_t *len)
{
	uint64_t cr0 = m->reg[0], cr3 = m->reg[1], cr4 = m->reg[2], efer = m->reg[3];
	struct paging p = paging_mode(cr4, efer);

	if (p.va_bits == 32 ? va >> 32 != 0 : (uint64_t)((int64_t)(va << (64 - p.va_bits)) >> (64 - p.va_bits)) != va) {
		*len = (p.va_bits == 32 ? 0 : -BIT64(p.va_bits - 1)) - va;
		return -EFAULT;
	}
	if (!(cr0 & CR0_PG)) {
		*pa = va;
		*len = BIT64(32) - va;
		return 0;
	}
	uint64_t table = cr3 & p.cr3_mask;
	for (unsigned shift = 12 + p.index_bits * (p.levels - 1);; shift -= p.index_bits) {
		uint64_t index = va >> shift & (BIT64(p.index_bits) - 1);
		uint8_t raw[8] = { 0 };
		if (m->read(m->arg, table + index * p.entry_size, raw, p.entry_size))
			return hole(va, shift, len);
		uint64_t entry = get_le64(raw);
		int page = entry & PTE_P ? maps_page(&p, shift, entry, cr4) : -EFAULT;
		if (page < 0)
			return hole(va, shift, len);
		table = entry & PTE_ADDR;
		if (!page)
			continue;
		uint64_t in_page = va & (BIT64(shift) - 1);
		if (shift == 22)                                        /* PSE-36 */
			table |= (entry >> 13 & 0xff) << 32;
		*pa = (table & ~(BIT64(shift) - 1)) | in_page;
		*len = BIT64(shift) - in_page;
		return 0;
	}
}

const struct arch_debug x86_debug = {
	.gdb_arch = "i386:x86-64", .features = features, .pc = 16, .brk = { 0xcc }, .brk_len = 1, .walk = walk,
};
