/*
 * Exception vectors of a bare-metal guest on arm64.
 */
/* One entry: x0..x30 and the exception's registers in struct trap_frame (cpu_arm64.c). */
	.macro entry n
	.balign 0x80
	sub sp, sp, #288
	stp x0, x1, [sp, #0]
	mov x1, #\n
	b trap_common
	.endm

	.text
	.balign 0x800
	.globl vectors
vectors:
	.irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	entry \n
	.endr

trap_common:
	stp x2, x3, [sp, #16]
	stp x4, x5, [sp, #32]
	stp x6, x7, [sp, #48]
	stp x8, x9, [sp, #64]
	stp x10, x11, [sp, #80]
	stp x12, x13, [sp, #96]
	stp x14, x15, [sp, #112]
	stp x16, x17, [sp, #128]
	stp x18, x19, [sp, #144]
	stp x20, x21, [sp, #160]
	stp x22, x23, [sp, #176]
	stp x24, x25, [sp, #192]
	stp x26, x27, [sp, #208]
	stp x28, x29, [sp, #224]
	mrs x2, elr_el1
	mrs x3, spsr_el1
	stp x30, x2, [sp, #240]
	mrs x4, esr_el1
	stp x3, x4, [sp, #256]
	mrs x5, far_el1
	stp x5, x1, [sp, #272]
	mov x0, sp
	bl trap
	ldp x30, x2, [sp, #240]
	ldr x3, [sp, #256]
	msr elr_el1, x2
	msr spsr_el1, x3
	ldp x2, x3, [sp, #16]
	ldp x4, x5, [sp, #32]
	ldp x6, x7, [sp, #48]
	ldp x8, x9, [sp, #64]
	ldp x10, x11, [sp, #80]
	ldp x12, x13, [sp, #96]
	ldp x14, x15, [sp, #112]
	ldp x16, x17, [sp, #128]
	ldp x18, x19, [sp, #144]
	ldp x20, x21, [sp, #160]
	ldp x22, x23, [sp, #176]
	ldp x24, x25, [sp, #192]
	ldp x26, x27, [sp, #208]
	ldp x28, x29, [sp, #224]
	ldp x0, x1, [sp, #0]
	add sp, sp, #288
	eret

	.section .note.GNU-stack, "", %progbits
