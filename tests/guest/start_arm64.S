/*
 * Entry of a bare-metal guest on arm64: the Image header [Linux Documentation/arm64/booting.rst], zeroing of .bss, page
 * tables (made by mmu_tables() in cpu_arm64.c), MMU and caches on.
 *
 * Until the MMU is on, stores go past the caches; what the caches may hold of that memory is dropped before they are used.
 */
#define SCTLR_ON 0x30d0199d             /* RES1 bits, M, C, I, SA; alignment is not checked for normal memory */

	.section .head, "ax"
	.globl _start
_start:
	b 1f
	.long 0
	.quad LOAD_OFFSET               /* text_offset */
	.quad image_end - _start        /* image_size */
	.quad 2                         /* flags: little-endian, 4 KiB pages */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

1:	msr daifset, #0xf
	mov x19, x0
	adrp x0, stack_end
	add x0, x0, :lo12:stack_end
	msr spsel, #1
	mov sp, x0
	adrp x0, vectors
	add x0, x0, :lo12:vectors
	msr vbar_el1, x0
	isb

	adrp x20, bss_start
	add x20, x20, :lo12:bss_start
	adrp x21, image_end
	add x21, x21, :lo12:image_end
	mov x0, x20
2:	stp xzr, xzr, [x0], #16
	cmp x0, x21
	b.lo 2b

	mov x0, x19
	bl mmu_tables                   /* returns TTBR0 */
	mov x22, x0

	dsb sy
	mrs x1, ctr_el0
	ubfx x1, x1, #16, #4            /* DminLine: log2 of words */
	mov x2, #4
	lsl x2, x2, x1
	sub x3, x2, #1
	bic x0, x20, x3
3:	dc ivac, x0
	add x0, x0, x2
	cmp x0, x21
	b.lo 3b
	dsb sy

	ldr x0, =0xff4404               /* MAIR: 0 device nGnRE (0x04), 1 normal uncached (0x44), 2 normal write-back (0xff) */
	msr mair_el1, x0
	mrs x0, id_aa64mmfr0_el1
	and x0, x0, #7                  /* PARange, as IPS wants it */
	mov x1, #5
	cmp x0, x1
	csel x0, x0, x1, lo
	lsl x0, x0, #32
	ldr x1, =0x00803510             /* T0SZ 16, inner and outer write-back, inner shareable, 4 KiB; EPD1 */
	orr x0, x0, x1
	msr tcr_el1, x0
	msr ttbr0_el1, x22
	tlbi vmalle1
	dsb sy
	isb
	ldr x0, =SCTLR_ON
	msr sctlr_el1, x0
	isb
	ic iallu
	dsb sy
	isb
	mov x29, #0
	mov x0, x19
	bl guest_start
4:	wfi
	b 4b
	.ltorg

	.bss
	.balign 4096
	.skip 16384
stack_end:
	.section .note.GNU-stack, "", %progbits
