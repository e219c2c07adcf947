/*
 * Exception and interrupt entries of a bare-metal guest on x86.
 */
#define NTRAPS 64

/* One stub a vector: error code (or 0), vector, then the general registers; struct trap_frame in cpu_x86.c. */
	.text
	.balign 16
	.globl trap_stubs
trap_stubs:
	vector = 0
	.rept NTRAPS
	.balign 16
	.if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	vector = vector + 1
	.endr

trap_common:
	push %rax
	push %rbx
	push %rcx
	push %rdx
	push %rsi
	push %rdi
	push %rbp
	push %r8
	push %r9
	push %r10
	push %r11
	push %r12
	push %r13
	push %r14
	push %r15
	cld
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call trap
	movq %rbp, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %r11
	pop %r10
	pop %r9
	pop %r8
	pop %rbp
	pop %rdi
	pop %rsi
	pop %rdx
	pop %rcx
	pop %rbx
	pop %rax
	addq $16, %rsp
	iretq

	.section .note.GNU-stack, "", @progbits
