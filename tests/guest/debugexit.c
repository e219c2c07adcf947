/*
 * debugexit: ends the machine with status 43 through isa-debug-exit at port 0x501.  Where there are no ports, or nobody
 * listens, it powers off.
 */
#include "tests/guest/guest.h"

void guest_main(void)
{
	print("DEBUGEXIT %s\n", GUEST_ARCH);
#ifdef __x86_64__
	__asm__ volatile("outb %b0, %w1" : : "a"(21), "d"(0x501));
#endif
	print("NOBODY LISTENS\n");
}
