/*
 * hello: says so, and powers off.
 */
#include "tests/guest/guest.h"

void guest_main(void)
{
	print("HELLO %s\n", GUEST_ARCH);
}
