/*
 * debug: what a debugger is led through by tests/host/outside/gdb-guest: functions to stop at, a variable to watch, a window whose
 * page changes each round, an access to a device and a sleeping CPU to step over, a second CPU that has work of its own.
 */
#include "tests/guest/exits.h"

#define WINDOW ((uint64_t)PT_FREE_ENTRY << 39)
#define PAGE_WORDS 512
#define TICK_US 2000

extern volatile uint64_t watched, unwatched, turns, stop;
extern volatile uint64_t *const window;
volatile uint64_t watched, unwatched;           /* counted up by bump() each round */
volatile uint64_t turns;                        /* by the second CPU, all the time */
volatile uint64_t stop;                         /* set by the debugger: the end */
volatile uint64_t *const window = (uint64_t *)WINDOW;

static uint64_t tables[3][PAGE_WORDS] __attribute__((aligned(4096)));
static uint64_t pages[2][PAGE_WORDS] __attribute__((aligned(4096)));

void at_round(unsigned round);
void bump(void);
uint64_t touch_device(void);
void sleep_once(void);
void other_turn(void);

/* The debugger stops here once a round. */
__attribute__((noinline)) void at_round(unsigned round)
{
	__asm__ volatile("" : : "r"(round) : "memory");
}

__attribute__((noinline)) void bump(void)
{
	unwatched++;
	watched++;
}

/* The first bytes of configuration space: vendor and device of the host bridge. */
__attribute__((noinline)) uint64_t touch_device(void)
{
	return mmio_read(machine.ecam, 4);
}

/* With interrupts off: the timer that is armed here ends it. */
__attribute__((noinline)) void sleep_once(void)
{
	timer_arm(TICK_US);
	cpu_sleep();
}

__attribute__((noinline)) void other_turn(void)
{
	turns++;
}

static void other_cpu(void)
{
	while (!stop)
		other_turn();
	for (;;)
		cpu_relax();
}

static void show(unsigned page)
{
	tables[2][0] = 0;
	pt_flush(WINDOW);
	tables[2][0] = pt_page((uintptr_t)pages[page]);
	pt_made();
}

void guest_main(void)
{
	unsigned tick, round = 0;
	uint64_t id;
	bool two;

	irq_enable();
	irqs_off();
	tick = timer_init();
	two = cpu_start(other_cpu);
	tables[0][0] = pt_table((uintptr_t)tables[1]);
	tables[1][0] = pt_table((uintptr_t)tables[2]);
	pt_root()[PT_FREE_ENTRY] = pt_table((uintptr_t)tables[0]);
	pages[0][0] = 0x1111111111111111;
	pages[1][0] = 0x2222222222222222;
	id = mmio_read(machine.ecam, 4);
	while (!stop) {
		show(round % 2);
		at_round(round++);
		bump();
		if (touch_device() != id) {
			print("DEBUG FAIL the device read otherwise\n");
			return;
		}
		sleep_once();
	}
	print("DEBUG ok rounds=%u watched=%lu unwatched=%lu ticks=%u cpus=%u written=%lx\n", round, (unsigned long)watched,
	      (unsigned long)unwatched, irq_count[tick], two ? 2 : 1, (unsigned long)pages[0][1]);
}
