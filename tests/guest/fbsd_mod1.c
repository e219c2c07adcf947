/*
 * mod1.ko: a module that needs the kernel alone.
 */
#include "tests/guest/fbsd_mod.h"

MOD_PROVIDES(mod1, 3);
MOD_NEEDS(kernel, FBSD_VERSION, FBSD_VERSION, FBSD_VERSION_MAX);

static int seven = 7;
static int calls;

int mod1_answer(int n)
{
	calls++;
	return fbsd_kernel_value(n) + *(volatile int *)&seven + calls - 1;
}
