/*
 * irq: an interrupt of the UART, and one by message from a virtio device's MSI-X, must arrive.
 */
#include "tests/guest/guest.h"
#include "tests/guest/virtio.h"

#define WAIT_US 5000000

static bool wait_count(unsigned n)
{
	uint64_t start = clock_us();

	while (!irq_count[n] && clock_us() - start < WAIT_US)
		;
	return irq_count[n] != 0;
}

static void test_uart(void)
{
	unsigned n = irq_uart_enable();

	console_putc('\r');
	console_putc('\n');
	bool ok = wait_count(n);

	console_init();
	print("IRQ uart %s\n", ok ? "ok" : "FAIL");
}

/* An empty queue's first used buffer, announced by vector 0. */
static void test_message(struct vdev *d)
{
	uint64_t addr;
	uint32_t data;
	unsigned n;

	if (!irq_message(&d->pci, &addr, &data, &n)) {
		print("IRQ message none\n");
		return;
	}
	vdev_reset(d);
	bool ok = vdev_msix(d, addr, data) && vdev_start(d, VIRTIO_ALL_FEATURES, vdev_proof_queues(d)) && vdev_prove(d) && wait_count(n);

	print("IRQ message %s\n", ok ? "ok" : "FAIL");
	vdev_reset(d);
}

void guest_main(void)
{
	static struct vdev devs[VDEVS_MAX];
	unsigned n = vdev_find(devs);

	irq_enable();
	test_uart();
	if (n)
		test_message(&devs[0]);
	print("IRQ done\n");
}
