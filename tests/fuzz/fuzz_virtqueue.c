/*
 * Rings in guest memory.  Bytes 0 to 3: device, features, ring size, queue to kick.  Then steps: 2 bytes of offset in 4s from the
 * start of memory (the rings come first, buffers behind them), 1 byte of length, that many bytes to put there; length 0 kicks.
 * Whatever happens, the device can be reset and negotiated with again.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/check.h"

#include <check.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

static const char *disk(void)
{
	static char path[32];

	if (!path[0]) {
		int fd = memfd_create("disk", 0);

		MUST(fd >= 0 && ftruncate(fd, 65536 + 100) == 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	return path;
}

static struct drv *open_device(unsigned which, unsigned *nqueues)
{
	struct vm *vm = drv_vm_new();

	*nqueues = 1;
	switch (which % 5) {
	case 0:
		return drv_open(vm, &virtio_rnd_class, "pci.0.3.0");
	case 1:
		drv_conf(vm, "pci.0.3.0.path", disk());
		drv_conf(vm, "pci.0.3.0.aio", "threads");
		return drv_open(vm, &virtio_blk_class, "pci.0.3.0");
	case 2:
		*nqueues = 3;
		drv_conf(vm, "pci.0.3.0.backend", "null");
		return drv_open(vm, &virtio_net_class, "pci.0.3.0");
	case 4:
		*nqueues = 4;
		drv_conf(vm, "pci.0.3.0.target.0.path", disk());
		drv_conf(vm, "pci.0.3.0.target.0.format", "raw");
		drv_conf(vm, "pci.0.3.0.target.0.aio", "threads");
		drv_conf(vm, "pci.0.3.0.target.1.type", "cd");
		return drv_open(vm, &virtio_scsi_class, "pci.0.3.0");
	default:
		*nqueues = 4;
		drv_conf(vm, "pci.0.3.0.port.0.name", "fuzz");
		drv_conf(vm, "pci.0.3.0.port.0.path", "null");
		drv_conf(vm, "pci.0.3.0.console", "true");
		return drv_open(vm, &virtio_console_class, "pci.0.3.0");
	}
}

static void steps(struct drv *d, const uint8_t *p, size_t len, unsigned nqueues, unsigned q)
{
	for (unsigned n = 0; len >= 3 && n < 64; n++) {
		uint64_t at = get_le16(p) * 4ull;
		size_t count = MIN((size_t)p[2], len - 3);

		if (p[2] == 0) {
			drv_kick_always(d, (q + p[0]) % nqueues);
			drv_settle(d);
		}
		if (count)
			memcpy(drv_ptr(d, DRV_RAM_BASE + at, count), p + 3, count);
		p += 3 + count;
		len -= 3 + count;
	}
	for (unsigned i = 0; i < nqueues; i++)
		drv_kick_always(d, i);
	drv_settle(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const unsigned sizes[] = { 1, 2, 4, 8, 16, 32, 64, 3 };
	uint64_t want = 0;
	unsigned nqueues;

	if (len < 4)
		return 0;
	struct drv *d = open_device(data[0], &nqueues);
	MUST(d);
	struct vm *vm = d->vm;
	want |= data[1] & 1 ? VIRTIO_F_RING_PACKED : 0;
	want |= data[1] & 2 ? VIRTIO_F_EVENT_IDX : 0;
	want |= data[1] & 4 ? VIRTIO_F_INDIRECT_DESC : 0;
	want |= data[1] & 8 ? 0xffffff : 0;             /* everything the type offers */
	unsigned size = sizes[data[2] % NELEM(sizes)];
	if (!(want & VIRTIO_F_RING_PACKED) && size == 3)
		size = 4;
	drv_start(d, want, nqueues, size);
	steps(d, data + 4, len - 4, nqueues, data[3]);
	drv_negotiate(d, want);
	MUST(!(drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET));
	drv_close(d);
	drv_vm_free(vm);
	return 0;
}
