/*
 * mod2.ko: a module that needs mod1.ko.
 */
#include "tests/guest/fbsd_mod.h"

MOD_PROVIDES(mod2, 1);
MOD_NEEDS(kernel, FBSD_VERSION, FBSD_VERSION, FBSD_VERSION_MAX);
MOD_NEEDS(mod1, 2, 3, 4);

static int zero[1000];
static int (*const call)(int) = mod1_answer;
static const int (*const table)[] = &(const int[]){ 1, 2 };

int mod2_answer(int n)
{
	int sum = 0;

	for (unsigned i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
		sum += ((volatile int *)zero)[i];
	return (*table)[1] * call(n) + ((volatile const int *)*table)[0] + sum;
}
