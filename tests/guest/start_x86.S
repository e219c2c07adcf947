/*
 * Entry of a bare-metal guest on x86: from the 32-bit mode of PVH [Xen docs/misc/pvh.pandoc] or Multiboot to long mode, with
 * memory mapped virtual = physical: 512 GiB in 1 GiB pages, or 64 GiB in 2 MiB pages on CPUs that have nothing larger.
 * CR4.PAE comes before EFER.LME: one of the emulated test hosts breaks in any other order.
 */
#define CR0_PG 0x80000000
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100
#define PTE_LARGE_RW 0x83
#define PTE_RW 3
#define SMALL_GIB 64

	.section .note.pvh, "a", @note
	.balign 4
	.long 4, 4, 18                  /* name length, value length, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.long start32

	.section .head, "ax"
	.code32
	.globl start32
start32:
	movl %ebx, start_info
	movl %eax, start_magic
	movl $stack_end, %esp
	pushfl
	popl start_eflags
	cld
	movl %cr0, %eax
	movl %eax, start_cr0
	movl $pdpt + PTE_RW, pml4
	movl $0x80000001, %eax
	cpuid
	testl $1 << 26, %edx            /* 1 GiB pages */
	jz small_pages

	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $30, %eax
	orl $PTE_LARGE_RW, %eax
	movl %eax, pdpt(,%ecx,8)
	movl %ecx, %eax
	shrl $2, %eax
	movl %eax, pdpt + 4(,%ecx,8)
	incl %ecx
	cmpl $512, %ecx
	jne 1b
	jmp long_mode

small_pages:
	xorl %ecx, %ecx
	movl $pd + PTE_RW, %eax
1:	movl %eax, pdpt(,%ecx,8)
	addl $4096, %eax
	incl %ecx
	cmpl $SMALL_GIB, %ecx
	jne 1b
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $21, %eax
	orl $PTE_LARGE_RW, %eax
	movl %eax, pd(,%ecx,8)
	movl %ecx, %eax
	shrl $11, %eax
	movl %eax, pd + 4(,%ecx,8)
	incl %ecx
	cmpl $SMALL_GIB * 512, %ecx
	jne 1b

long_mode:
	movl %cr4, %eax
	orl $CR4_PAE, %eax
	movl %eax, %cr4
	movl $pml4, %eax
	movl %eax, %cr3
	movl $MSR_EFER, %ecx
	rdmsr
	orl $EFER_LME, %eax
	wrmsr
	movl %cr0, %eax
	orl $CR0_PG, %eax
	movl %eax, %cr0
	lgdt gdt_desc
	ljmp $0x08, $start64

	.code64
start64:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $stack_end, %esp
	xorl %ebp, %ebp
	movl start_info, %edi
	call guest_start
1:	cli
	hlt
	jmp 1b

	.section .rodata
	.balign 8
gdt:
	.quad 0
	.quad 0x00af9b000000ffff
	.quad 0x00cf93000000ffff
gdt_desc:
	.word gdt_desc - gdt - 1
	.long gdt

	.bss
	.balign 4096
pml4:	.skip 4096
pdpt:	.skip 4096
pd:	.skip 4096 * SMALL_GIB
	.skip 16384
stack_end:
	.globl start_info, start_magic, start_eflags, start_cr0
start_info:     .skip 8
start_magic:    .skip 4
start_eflags:   .skip 4
start_cr0:      .skip 4
	.section .note.GNU-stack, "", @progbits
