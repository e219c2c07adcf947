/*
 * The header of a Multiboot kernel [MULTIBOOT 3.1]: modules on page boundaries, memory information, and with ADDRESSES where a
 * flat file goes.
 */
#ifdef ADDRESSES
#define FLAGS 0x10003
#else
#define FLAGS 3
#endif
	.section .mbheader, "a"
	.balign 4
header:
	.long 0x1badb002, FLAGS, -(0x1badb002 + FLAGS)
#ifdef ADDRESSES
	.long header, header, data_end, image_end, start32
#endif
	.section .note.GNU-stack, "", @progbits
