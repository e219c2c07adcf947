/*
 * The exits guest on arm64: start of its second CPU, MMU off, x0 = ap_regs of exits_arm64.c, and what a C compiler without SIMD
 * cannot say.
 */
	.arch armv8-a+simd
	.text
	.globl ap_start
ap_start:
	msr daifset, #0xf
	msr spsel, #1
	ldp x1, x2, [x0]
	msr mair_el1, x1
	msr tcr_el1, x2
	ldp x3, x4, [x0, #16]
	msr ttbr0_el1, x3
	tlbi vmalle1
	dsb sy
	isb
	ldp x5, x6, [x0, #32]
	ldr x7, [x0, #48]
	msr vbar_el1, x5
	msr sctlr_el1, x4
	isb
	ic iallu
	dsb sy
	isb
	mov sp, x6
	mov x29, #0
	blr x7
1:	wfi
	b 1b

	.globl fp_save, fp_load, fp_bump
fp_save:
	stp q0, q1, [x0, #0]
	stp q2, q3, [x0, #32]
	stp q4, q5, [x0, #64]
	stp q6, q7, [x0, #96]
	stp q8, q9, [x0, #128]
	stp q10, q11, [x0, #160]
	stp q12, q13, [x0, #192]
	stp q14, q15, [x0, #224]
	stp q16, q17, [x0, #256]
	stp q18, q19, [x0, #288]
	stp q20, q21, [x0, #320]
	stp q22, q23, [x0, #352]
	stp q24, q25, [x0, #384]
	stp q26, q27, [x0, #416]
	stp q28, q29, [x0, #448]
	stp q30, q31, [x0, #480]
	ret
fp_load:
	ldp q0, q1, [x0, #0]
	ldp q2, q3, [x0, #32]
	ldp q4, q5, [x0, #64]
	ldp q6, q7, [x0, #96]
	ldp q8, q9, [x0, #128]
	ldp q10, q11, [x0, #160]
	ldp q12, q13, [x0, #192]
	ldp q14, q15, [x0, #224]
	ldp q16, q17, [x0, #256]
	ldp q18, q19, [x0, #288]
	ldp q20, q21, [x0, #320]
	ldp q22, q23, [x0, #352]
	ldp q24, q25, [x0, #384]
	ldp q26, q27, [x0, #416]
	ldp q28, q29, [x0, #448]
	ldp q30, q31, [x0, #480]
	ret
fp_bump:
	mov x0, #1
	fmov d1, x0
	add d0, d0, d1
	fmov x0, d0
	ret

	.bss
	.balign 16
	.globl ap_stack_end
	.skip 8192
ap_stack_end:
	.section .note.GNU-stack, "", %progbits
