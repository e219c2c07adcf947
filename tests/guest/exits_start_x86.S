/*
 * The exits guest on x86: start of its second CPU, from real mode, and what a C compiler without SSE cannot say.
 */
#define CR0_PE 1
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

/* Up to ap_end copied to where SIPI points; the far jump goes to the original. */
	.text
	.code16
	.globl ap_start, ap_end
ap_start:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl ap_gdt_desc - ap_start
	movl $CR0_PE, %eax
	movl %eax, %cr0
	ljmpl $0x18, $ap32
	.balign 4
ap_gdt_desc:
	.word ap_gdt_end - ap_gdt - 1
	.long ap_gdt
ap_end:

	.code32
ap32:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl ap_cr3, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	ljmp $0x08, $ap64

	.code64
ap64:
	movl $ap_stack_end, %esp
	xorl %ebp, %ebp
	lidt ap_idt
	call ap_main
1:	cli
	hlt
	jmp 1b

	.globl fp_save, fp_load, fp_bump
fp_save:
	fxsave64 (%rdi)
	ret
fp_load:
	fxrstor64 (%rdi)
	ret
fp_bump:
	movl $1, %eax
	movq %rax, %xmm1
	paddq %xmm1, %xmm0
	movq %xmm0, %rax
	ret

	.section .rodata
	.balign 8
ap_gdt:
	.quad 0
	.quad 0x00af9b000000ffff        /* code, 64 bits: what interrupts use */
	.quad 0x00cf93000000ffff
	.quad 0x00cf9b000000ffff
ap_gdt_end:

	.bss
	.balign 16
	.globl ap_cr3, ap_idt
ap_cr3: .skip 8
ap_idt: .skip 16
	.skip 8192
ap_stack_end:
	.section .note.GNU-stack, "", @progbits
