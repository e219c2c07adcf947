/*
 * crash: some accesses that can be recognised in the ring of last exits, then the end named by kind=:
 *   die      (default) what cpu_die() does: triple fault; a pair of loads from a device
 *   jump     instructions fetched from where no memory is
 *   trap     an undefined instruction, whose handler prints and dies
 */
#include "tests/guest/guest.h"

static void leave_traces(void)
{
	struct pci_fn host = { .cfg = machine.ecam };

	print("CRASH %s\n", GUEST_ARCH);
	print("bridge %x\n", pci_get(&host, 0, 4));
	pci_put(&host, 0x3c, 1, 0x5a);
	mmio_read(machine.hole, 4);
}

void guest_main(void)
{
	leave_traces();
	if (arg_is("kind", "jump"))
		((void (*)(void))(uintptr_t)machine.hole)();
	if (arg_is("kind", "trap"))
		__builtin_trap();
	cpu_die();
}
