/*
 * Entry of the FreeBSD stand-in on arm64 as the kernel's own [FREEBSD sys/arm64/arm64/locore.S]: at the physical address of
 * e_entry, MMU off, x0 the virtual address of the metadata.  What was found is kept for fbsd_arm64.c; fbsd_tables() maps the kernel
 * by the kernel's own rule, and the rest runs at virtual addresses.
 */
#define SCTLR_ON 0x30d0199d             /* RES1 bits, M, C, I, SA; alignment is not checked for normal memory */

	/* The Image header as FreeBSD's kernel.bin has it: at any multiple of 2 MiB [LINUX-ARM64-BOOT 4]. */
	.section .head, "ax"
	b _start
	.long 0
	.quad 0
	.quad fbsd_size
	.quad 0xa                       /* little-endian, 4 KiB pages, anywhere in memory */
	.quad 0, 0, 0
	.ascii "ARM\x64"
	.long 0

	.text
	.globl _start
_start:
	msr daifset, #0xf
	mov x19, x0
	mrs x20, sctlr_el1
	mrs x21, CurrentEL
	adrp x0, stack_end
	add x0, x0, :lo12:stack_end
	msr spsel, #1
	mov sp, x0

	/* Where address fbsd_begin of the link is in memory. */
	adrp x22, fbsd_begin
	add x22, x22, :lo12:fbsd_begin
	mov x0, x19
	mov x1, x22
	bl fbsd_tables                  /* returns TTBR0; TTBR1's table is the page behind it */
	mov x23, x0

	/* Those stores went past the caches, which must not hold anything older. */
	dsb sy
	mrs x1, ctr_el0
	ubfx x1, x1, #16, #4            /* DminLine: log2 of words */
	mov x2, #4
	lsl x2, x2, x1
	sub x3, x2, #1
	adrp x0, fbsd_bss
	add x0, x0, :lo12:fbsd_bss
	adrp x4, fbsd_end
	add x4, x4, :lo12:fbsd_end
	bic x0, x0, x3
1:	dc ivac, x0
	add x0, x0, x2
	cmp x0, x4
	b.lo 1b
	dsb sy

	ldr x0, =0xff4404               /* MAIR: 0 device nGnRE (0x04), 1 normal uncached (0x44), 2 normal write-back (0xff) */
	msr mair_el1, x0
	mrs x0, id_aa64mmfr0_el1
	and x0, x0, #7                  /* PARange, as IPS wants it */
	mov x1, #5
	cmp x0, x1
	csel x0, x0, x1, lo
	lsl x0, x0, #32
	ldr x1, =0xb5103510             /* TCR: both halves 48 bits, 4 KiB, inner and outer write-back, inner shareable */
	orr x0, x0, x1
	msr tcr_el1, x0
	msr ttbr0_el1, x23
	add x1, x23, #4096
	msr ttbr1_el1, x1
	tlbi vmalle1
	dsb sy
	isb
	ldr x0, =SCTLR_ON
	msr sctlr_el1, x0
	isb
	ic iallu
	dsb sy
	isb
	ldr x0, =2f
	br x0

	/* From here on at virtual addresses. */
2:	adrp x0, stack_end
	add x0, x0, :lo12:stack_end
	mov sp, x0
	adrp x0, vectors
	add x0, x0, :lo12:vectors
	msr vbar_el1, x0
	isb
	adrp x0, fbsd_entry
	add x0, x0, :lo12:fbsd_entry
	str x19, [x0, #0]
	str x20, [x0, #8]
	str x21, [x0, #16]
	str x22, [x0, #24]
	mov x29, #0
	mov x0, #0
	bl guest_start
3:	wfi
	b 3b
	.ltorg

	.bss
	.balign 8
	.globl fbsd_entry
fbsd_entry:
	.skip 32
	.balign 4096
	.skip 16384
stack_end:
	.section .note.GNU-stack, "", %progbits
