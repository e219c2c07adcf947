#include "tests/unit/unit.h"

#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

static void bytes(uint64_t features)
{
	struct drv *d = drv_open(drv_vm_new(), &virtio_rnd_class, "pci.0.5.0");
	struct vm *vm = d->vm;
	drv_start(d, features, 1, 8);
	const uint64_t at = drv_alloc(d, 8192);
	unsigned zero = 0;
	for (unsigned round = 0; round < 20; round++) {
		const struct drv_buf b[2] = { { at, 100, true }, { at + 100, 156, true } };
		memset(drv_ptr(d, at, 256), 0, 256);
		ck_assert_int_eq(drv_do(d, 0, b, 2, false), 256);
		for (unsigned i = 0; i < 256; i++)
			zero += ((uint8_t *)drv_ptr(d, at, 256))[i] == 0;
	}
	ck_assert_uint_lt(zero, 100);                   /* about 20 of 5120 */
	const struct drv_buf big = { at, 8192, true }, nothing = { at, 16, false };
	ck_assert_int_eq(drv_do(d, 0, &big, 1, false), 4096);
	ck_assert_int_eq(drv_do(d, 0, &nothing, 1, false), 0);
	drv_close(d);
	drv_vm_free(vm);
}

START_TEST(split) { bytes(0); bytes(VIRTIO_F_EVENT_IDX); }
END_TEST
START_TEST(packed) { bytes(VIRTIO_F_RING_PACKED); bytes(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX); }
END_TEST

UNIT_MAIN("devices/virtio/virtio_rnd", split, packed)
