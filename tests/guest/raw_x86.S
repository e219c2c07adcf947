/*
 * Files without a header, one for each mode of --entry: says on COM1 in which mode the processor is and what it finds in another
 * file that was loaded beside it (real: at 0x20000, else at 0x300000), and powers off.  Registers are as --entry leaves
 * them; there is no stack.
 */
#define COM1 0x3f8
#define PM1_CNT 0x604
#define S5 0x3400                       /* SLP_TYP 5, SLP_EN */

/* The byte in AL to COM1. */
	.macro put
	movb %al, %ah
	movw $COM1 + 5, %dx
9:	inb %dx, %al
	testb $0x20, %al
	jz 9b
	movb %ah, %al
	movw $COM1, %dx
	outb %al, %dx
	.endm

/* The text at (R|E)SI, up to its NUL. */
	.macro print_text
1:	lodsb
	testb %al, %al
	jz 2f
	put
	jmp 1b
2:
	.endm

/* The line at (R|E)SI, with its end; a NUL instead says that the file is not there. */
	.macro print_line
3:	lodsb
	testb %al, %al
	jz fail
	put
	cmpb $'\n', %al
	jne 3b
	.endm

	.macro power_off
	movw $PM1_CNT, %dx
	movw $S5, %ax
	outw %ax, %dx
8:	hlt
	jmp 8b
	.endm

	.text
	.globl start
#if defined(MODE_real)
	.code16
start:
	smsww %ax
	testb $1, %al
	jnz fail
	movw %cs, %ax                   /* linked at 0: the segment must begin where the file does */
	movw %ax, %ds
	movw $text, %si
	print_text
	movw $0x2000, %ax
	movw %ax, %ds
	xorw %si, %si
	print_line
fail:
	power_off
text:	.asciz "RAW real mode: "

#elif defined(MODE_protected)
	.code32
start:
	movl %cr0, %eax
	andl $0x80000001, %eax
	cmpl $1, %eax                   /* protection on, paging off */
	jne fail
	movl $text, %esi
	print_text
	movl $0x300000, %esi
	print_line
fail:
	power_off
text:	.asciz "RAW protected mode: "

#else
	.code64
start:
	movl $0xc0000080, %ecx
	rdmsr
	testl $0x400, %eax              /* EFER.LMA */
	jz fail
	movabsq $0x100000000, %rax      /* a register holds more than 32 bits */
	shrq $32, %rax
	cmpl $1, %eax
	jne fail
	lea text(%rip), %rsi
	print_text
	movl $0x300000, %esi
	print_line
fail:
	power_off
text:	.asciz "RAW long mode: "
#endif
	.section .note.GNU-stack, "", @progbits
