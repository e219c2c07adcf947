/*
 * isa-debug-exit: the guest ends the VM with a status of its own [QEMU-DEBUG-EXIT].  A write of v, of 1, 2 or 4 bytes,
 * gives skep the exit status (v << 1) | 1, of which the system keeps eight bits: never 0, which means a power-off.
 */
#include "common/device.h"
#include "common/vm.h"
#include "devices/classes.h"

struct debug_exit {
	struct device dev;
};

static uint64_t debug_exit_read(void *dev, uint64_t off, unsigned size)
{
	return 0;                       /* write-only */
}

static void debug_exit_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	struct debug_exit *x = dev;
	vm_guest_exit(x->dev.vm, (int)((val << 1 | 1) & 0xff), x->dev.id);
}

static const struct io_ops debug_exit_ops = { debug_exit_read, debug_exit_write };

const struct device_class debug_exit_class = {
	.name = "isa-debug-exit",
	.help = "port with which the guest chooses skep's exit status",
	.size = sizeof(struct debug_exit),
	.io_len = 4,                    /* recipes use 1, 2 and 4 bytes */
	.ops = &debug_exit_ops,
	.snap_version = 1,
};
