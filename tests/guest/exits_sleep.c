/*
 * Sleeping, for guests that use exits.h.
 */
#include "tests/guest/exits.h"

void sleep_count(unsigned n, unsigned before)
{
	irqs_off();
	while (irq_count[n] == before)
		cpu_sleep();
	irqs_on();
}

void sleep_us(uint64_t us)
{
	unsigned n = timer_init(), before = irq_count[n];

	timer_arm(us);
	sleep_count(n, before);
}

bool sleep_until(volatile bool *flag)
{
	for (unsigned i = 0; i < 5000 && !*flag; i++)
		sleep_us(1000);
	return *flag;
}
