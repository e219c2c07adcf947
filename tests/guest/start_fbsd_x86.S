/*
 * Entry of the FreeBSD stand-in on amd64 as the kernel's own [FREEBSD sys/amd64/amd64/locore.S]: in long mode, at the kernel's
 * virtual addresses, on the loader's stack, whose words are a return address of 0, modulep and kernend.  What was found is kept
 * for fbsd_x86.c; then come a stack and a GDT of its own, with the selectors that cpu_x86.c expects.
 */
	.text
	.globl btext
btext:
	pushq $2                        /* as the kernel does: needs room below the loader's stack pointer */
	popfq
	movq %rsp, %rbp
	leaq fbsd_entry(%rip), %rbx
	movl 0(%rbp), %eax
	movq %rax, 0(%rbx)
	movl 4(%rbp), %eax
	movq %rax, 8(%rbx)
	movl 8(%rbp), %eax
	movq %rax, 16(%rbx)
	movq %rsp, 24(%rbx)
	movq %cr3, %rax
	movq %rax, 32(%rbx)
	movq %cr0, %rax
	movq %rax, 40(%rbx)
	movq %cr4, %rax
	movq %rax, 48(%rbx)
	movl $0xc0000080, %ecx          /* EFER */
	rdmsr
	movq %rax, 56(%rbx)
	movw %cs, 64(%rbx)
	movw %ss, 66(%rbx)
	sgdt 70(%rbx)                   /* so that its base is aligned */

	leaq stack_end(%rip), %rsp
	lgdt gdt_desc(%rip)
	pushq $8
	leaq 1f(%rip), %rax
	pushq %rax
	lretq
1:	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %ebp, %ebp
	leaq no_info(%rip), %rdi
	call guest_start
2:	cli
	hlt
	jmp 2b

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_desc:
	.word gdt_desc - gdt - 1
	.quad gdt
	.balign 8
no_info:
	.skip 64                        /* no PVH start info: an empty one */

	.data
	.balign 16
	.globl fbsd_entry
fbsd_entry:
	.skip 80

	.bss
	.balign 4096
	.skip 16384
stack_end:
	.section .note.GNU-stack, "", @progbits
