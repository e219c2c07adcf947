#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/block.h"
#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/fake_img.h"
#include "tests/unit/devices/virtio/driver.h"

#define SECTOR 512u
#define F_FLUSH BIT64(9)
#define F_WCE BIT64(11)
#define F_DISCARD BIT64(13)
#define F_ZEROES BIT64(14)
#define F_RO BIT64(5)
#define RINGS (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_ZEROES = 13 };

static char path[64];
static struct capture cap;

static void image_make(uint64_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-blk-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void image_read(uint64_t off, void *buf, size_t len)
{
	const int fd = open(path, O_RDONLY);
	ck_assert_int_eq(pread(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static void image_write(uint64_t off, const void *buf, size_t len)
{
	const int fd = open(path, O_RDWR);
	ck_assert_int_eq(pwrite(fd, buf, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static uint64_t image_size(void)
{
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_size;
}

static struct drv *disk(const char *key, const char *val, const char *key2, const char *val2)
{
	struct vm *vm = drv_vm_new();
	drv_conf(vm, "pci.0.3.0.path", path);
	if (key)
		drv_conf(vm, key, val);
	if (key2)
		drv_conf(vm, key2, val2);
	struct drv *d = drv_open(vm, &virtio_blk_class, "pci.0.3.0");
	if (!d)
		drv_vm_free(vm);
	return d;
}

static void disk_end(struct drv *d)
{
	struct vm *vm = d->vm;
	drv_close(d);
	drv_vm_free(vm);
	unlink(path);
}

static uint64_t hdr_make(struct drv *d, uint32_t type, uint64_t sector)
{
	const uint64_t at = drv_alloc(d, 16);
	put_le32(drv_ptr(d, at, 4), type);
	put_le64(drv_ptr(d, at + 8, 8), sector);
	return at;
}

/* One request with the data in two pieces; the status byte. */
static int request(struct drv *d, uint32_t type, uint64_t sector, uint64_t data, uint32_t len, bool to_guest, bool indirect)
{
	const uint64_t status = drv_alloc(d, 1);
	*(uint8_t *)drv_ptr(d, status, 1) = 0xee;
	const uint32_t first = len > 4 ? len / 2 + 3 : len;
	struct drv_buf b[4] = { { hdr_make(d, type, sector), 16, false } };
	unsigned n = 1;
	if (len)
		b[n++] = (struct drv_buf){ data, first, to_guest };
	if (len > first)
		b[n++] = (struct drv_buf){ data + first, len - first, to_guest };
	b[n++] = (struct drv_buf){ status, 1, true };
	const int64_t used = drv_do(d, 0, b, n, indirect);
	const int st = *(uint8_t *)drv_ptr(d, status, 1);
	if (used < 0)
		return -1;
	if (type == T_IN)
		ck_assert_int_eq(used, st == 0 ? len + 1 : 1);
	return st;
}

static void pattern(uint8_t *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)((i * 31 + seed) ^ (i >> 8));
}

static void integrity(uint64_t features, bool indirect, const char *aio)
{
	image_make(1 << 20);
	struct drv *d = disk("pci.0.3.0.aio", aio, NULL, NULL);
	ck_assert_ptr_nonnull(d);
	drv_start(d, features | F_FLUSH, 1, 8);
	ck_assert_uint_eq(drv_cfg(d, 0, 8), (1 << 20) / SECTOR);
	const uint64_t buf = drv_alloc(d, 16384), mark = d->brk;
	uint8_t on_disk[16384];
	for (unsigned i = 0; i < 60; i++) {
		const uint32_t len = SECTOR * (1 + i % 32);
		d->brk = mark;
		pattern(drv_ptr(d, buf, len), len, i);
		ck_assert_int_eq(request(d, T_OUT, i * 4, buf, len, false, indirect), 0);
		ck_assert(drv_irq(d, 1));
		image_read(i * 4 * SECTOR, on_disk, len);
		ck_assert_mem_eq(on_disk, drv_ptr(d, buf, len), len);
		memset(drv_ptr(d, buf, len), 0, len);
		ck_assert_int_eq(request(d, T_IN, i * 4, buf, len, true, indirect), 0);
		ck_assert_mem_eq(on_disk, drv_ptr(d, buf, len), len);
	}
	ck_assert_int_eq(request(d, T_FLUSH, 0, 0, 0, false, indirect), 0);
	ck_assert_uint_eq(drv_read(d, 0x14, 1) & VIRTIO_S_NEEDS_RESET, 0);
	disk_end(d);
}

START_TEST(split_uring) { integrity(0, false, "auto"); integrity(RINGS, true, "auto"); }
END_TEST
START_TEST(split_threads) { integrity(0, false, "threads"); integrity(RINGS, true, "threads"); }
END_TEST
START_TEST(packed_uring)
{
	integrity(VIRTIO_F_RING_PACKED, false, "io_uring");
	integrity(VIRTIO_F_RING_PACKED | RINGS, true, "io_uring");
}
END_TEST
START_TEST(packed_threads)
{
	integrity(VIRTIO_F_RING_PACKED, false, "threads");
	integrity(VIRTIO_F_RING_PACKED | RINGS, true, "threads");
}
END_TEST

/* Many requests in flight at once, kicked once; each reads its own sector. */
static void deep(uint64_t features)
{
	image_make(1 << 20);
	uint8_t sector[SECTOR];
	for (unsigned i = 0; i < 128; i++) {
		memset(sector, (int)i, sizeof(sector));
		image_write(i * SECTOR, sector, sizeof(sector));
	}
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	drv_start(d, features, 1, 256);
	const uint64_t data = drv_alloc(d, 64 * SECTOR), status = drv_alloc(d, 64), mark = d->brk;
	for (unsigned round = 0; round < 40; round++) {
		d->brk = mark;
		memset(drv_ptr(d, status, 64), 0xee, 64);
		for (unsigned i = 0; i < 64; i++) {
			const struct drv_buf b[3] = {
				{ hdr_make(d, T_IN, i + round), 16, false }, { data + i * SECTOR, SECTOR, true },
				{ status + i, 1, true },
			};
			drv_add(d, 0, b, 3, features & VIRTIO_F_INDIRECT_DESC && i % 2);
		}
		drv_kick(d, 0);
		for (unsigned i = 0; i < 64; i++)
			ck_assert_int_ge(drv_wait(d, 0, NULL), 0);
		for (unsigned i = 0; i < 64; i++) {
			ck_assert_uint_eq(((uint8_t *)drv_ptr(d, status, 64))[i], 0);
			ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, data + i * SECTOR, 1), i + round);
		}
	}
	disk_end(d);
}
START_TEST(many_in_flight) { deep(0); deep(RINGS); deep(VIRTIO_F_RING_PACKED); deep(RINGS | VIRTIO_F_RING_PACKED); }
END_TEST

START_TEST(odd_size)
{
	image_make(5 * SECTOR + 100);
	uint8_t tail[100];
	memset(tail, 0x5a, sizeof(tail));
	image_write(5 * SECTOR, tail, sizeof(tail));
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	drv_start(d, RINGS, 1, 16);
	ck_assert_uint_eq(drv_cfg(d, 0, 8), 6);
	const uint64_t buf = drv_alloc(d, 2 * SECTOR);
	uint8_t *p = drv_ptr(d, buf, 2 * SECTOR);
	memset(p, 0xff, 2 * SECTOR);
	ck_assert_int_eq(request(d, T_IN, 4, buf, 2 * SECTOR, true, false), 0);
	ck_assert_uint_eq(p[SECTOR + 99], 0x5a);
	for (unsigned i = 100; i < SECTOR; i++)
		ck_assert_uint_eq(p[SECTOR + i], 0);
	memset(p, 0x77, 2 * SECTOR);
	ck_assert_int_eq(request(d, T_OUT, 4, buf, 2 * SECTOR, false, false), 0);
	ck_assert_uint_eq(image_size(), 6 * SECTOR);
	image_read(5 * SECTOR, tail, sizeof(tail));
	ck_assert_uint_eq(tail[99], 0x77);
	ck_assert_int_eq(request(d, T_IN, 6, buf, SECTOR, true, false), 1);
	ck_assert_int_eq(request(d, T_IN, 5, buf, 2 * SECTOR, true, false), 1);
	ck_assert_int_eq(request(d, T_IN, UINT64_MAX, buf, SECTOR, true, false), 1);
	ck_assert_int_eq(request(d, T_OUT, 0, buf, 100, false, false), 1);
	disk_end(d);
}
END_TEST

static int range(struct drv *d, uint32_t type, uint64_t sector, uint32_t n, uint32_t flags)
{
	const uint64_t seg = drv_alloc(d, 16);
	put_le64(drv_ptr(d, seg, 8), sector);
	put_le32(drv_ptr(d, seg + 8, 4), n);
	put_le32(drv_ptr(d, seg + 12, 4), flags);
	return request(d, type, 0, seg, 16, false, false);
}

static bool all(uint64_t off, size_t len, uint8_t val)
{
	uint8_t *p = malloc(len);
	bool same = true;
	image_read(off, p, len);
	for (size_t i = 0; i < len; i++)
		same &= p[i] == val;
	free(p);
	return same;
}

START_TEST(ranges)
{
	image_make(256 << 10);
	uint8_t *fill = malloc(256 << 10);
	memset(fill, 0xaa, 256 << 10);
	image_write(0, fill, 256 << 10);
	free(fill);
	struct drv *d = disk("pci.0.3.0.format", "raw", NULL, NULL);
	drv_start(d, F_DISCARD | F_ZEROES, 1, 16);
	ck_assert_int_eq(range(d, T_DISCARD, 0, 128, 0), 0);
	ck_assert(all(0, 65536, 0));
	ck_assert_int_eq(range(d, T_ZEROES, 129, 3, 0), 0);
	ck_assert(all(128 * SECTOR, SECTOR, 0xaa));
	ck_assert(all(129 * SECTOR, 3 * SECTOR, 0));
	ck_assert(all(132 * SECTOR, SECTOR, 0xaa));
	ck_assert_int_eq(range(d, T_ZEROES, 200, 40, 1), 0);
	ck_assert(all(200 * SECTOR, 40 * SECTOR, 0));
	ck_assert_uint_eq(image_size(), 256 << 10);
	ck_assert_int_eq(range(d, T_ZEROES, 200, 40, 2), 2);
	ck_assert_int_eq(range(d, T_DISCARD, 200, 40, 1), 2);
	ck_assert_int_eq(range(d, T_DISCARD, 510, 3, 0), 1);
	ck_assert_int_eq(range(d, T_DISCARD, UINT64_MAX, 1, 0), 1);
	ck_assert_int_eq(range(d, T_DISCARD, 0, 0, 0), 1);
	disk_end(d);
}
END_TEST

START_TEST(read_only)
{
	image_make(8192);
	struct drv *d = disk("pci.0.3.0.ro", "true", NULL, NULL);
	drv_start(d, F_RO | F_DISCARD | F_ZEROES, 1, 16);
	ck_assert(d->features & F_RO);
	ck_assert(!(d->features & (F_DISCARD | F_ZEROES)));
	const uint64_t buf = drv_alloc(d, SECTOR);
	memset(drv_ptr(d, buf, SECTOR), 0x11, SECTOR);
	ck_assert_int_eq(request(d, T_OUT, 0, buf, SECTOR, false, false), 1);
	ck_assert_int_eq(range(d, T_ZEROES, 0, 1, 0), 1);
	ck_assert(all(0, SECTOR, 0));
	ck_assert_int_eq(request(d, T_IN, 0, buf, SECTOR, true, false), 0);
	ck_assert_int_eq(request(d, 77, 0, buf, SECTOR, true, false), 2);
	disk_end(d);
}
END_TEST

START_TEST(serial_and_config)
{
	image_make(8192);
	struct drv *d = disk("pci.0.3.0.serial", "DISK-42", "pci.0.3.0.sectorsize", "512/4096");
	drv_start(d, F_FLUSH | F_WCE, 1, 16);
	const uint64_t buf = drv_alloc(d, 20);
	ck_assert_int_eq(request(d, T_GET_ID, 0, buf, 20, true, false), 0);
	ck_assert_str_eq((char *)drv_ptr(d, buf, 20), "DISK-42");
	ck_assert_uint_eq(drv_cfg(d, 20, 4), 512);
	ck_assert_uint_eq(drv_cfg(d, 24, 1), 3);
	ck_assert_uint_eq(drv_cfg(d, 32, 1), 1);
	drv_write(d, VIRTIO_BAR_DEVICE + 32, 1, 0);
	ck_assert_uint_eq(drv_cfg(d, 32, 1), 0);
	drv_write(d, VIRTIO_BAR_DEVICE, 8, 0);          /* capacity is not the driver's to write */
	ck_assert_uint_eq(drv_cfg(d, 0, 8), 16);
	ck_assert_int_eq(request(d, T_OUT, 0, drv_alloc(d, SECTOR), SECTOR, false, false), 0);
	disk_end(d);
}
END_TEST

START_TEST(locking)
{
	image_make(8192);
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	drv_conf(d->vm, "pci.0.4.0.path", path);
	ck_assert_ptr_null(drv_open(d->vm, &virtio_blk_class, "pci.0.4.0"));
	drv_conf(d->vm, "pci.0.5.0.path", path);
	drv_conf(d->vm, "pci.0.5.0.ro", "true");
	ck_assert_ptr_null(drv_open(d->vm, &virtio_blk_class, "pci.0.5.0"));
	disk_end(d);
	image_make(8192);
	d = disk("pci.0.3.0.ro", "true", NULL, NULL);
	drv_conf(d->vm, "pci.0.4.0.path", path);
	drv_conf(d->vm, "pci.0.4.0.ro", "true");
	struct drv *e = drv_open(d->vm, &virtio_blk_class, "pci.0.4.0");
	ck_assert_ptr_nonnull(e);
	drv_close(e);
	disk_end(d);
}
END_TEST

START_TEST(refusals)
{
	image_make(0);
	ck_assert_ptr_null(disk(NULL, NULL, NULL, NULL));
	unlink(path);
	ck_assert_ptr_null(disk(NULL, NULL, NULL, NULL));
	image_make(8192);
	ck_assert_ptr_null(disk("pci.0.3.0.sectorsize", "513", NULL, NULL));
	ck_assert_ptr_null(disk("pci.0.3.0.sectorsize", "512/", NULL, NULL));
	ck_assert_ptr_null(disk("pci.0.3.0.sectorsize", "nonsense", NULL, NULL));
	unlink(path);
	snprintf(path, sizeof(path), "/tmp");
	ck_assert_ptr_null(disk("pci.0.3.0.ro", "true", NULL, NULL));
}
END_TEST

/* Status 0 while requests are in flight: the old status is read until they are back, then all is forgotten. */
START_TEST(reset_in_flight)
{
	image_make(1 << 20);
	struct drv *d = disk("pci.0.3.0.aio", "threads", NULL, NULL);
	for (unsigned round = 0; round < 20; round++) {
		d->brk = DRV_RAM_BASE;
		drv_start(d, round % 2 ? VIRTIO_F_RING_PACKED : 0, 2, 256);
		const uint64_t data = drv_alloc(d, 65536), status = drv_alloc(d, 1);
		for (unsigned i = 0; i < 50; i++) {
			const struct drv_buf b[3] = {
				{ hdr_make(d, T_IN, 0), 16, false }, { data, 65536, true }, { status, 1, true },
			};
			drv_add(d, 0, b, 3, false);
		}
		drv_kick(d, 0);
		drv_settle(d);
		drv_write(d, 0x14, 1, 0);
	}
	drv_start(d, 0, 1, 16);
	ck_assert_int_eq(request(d, T_IN, 0, drv_alloc(d, SECTOR), SECTOR, true, false), 0);
	disk_end(d);
}
END_TEST

START_TEST(queue_reset)
{
	image_make(1 << 20);
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	drv_start(d, VIRTIO_F_RING_RESET, 2, 16);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_int_eq(request(d, T_IN, 0, drv_alloc(d, SECTOR), SECTOR, true, false), 0);
		drv_write(d, 0x16, 2, 0);
		drv_write(d, 0x3a, 2, 1);
		drv_settle(d);
		ck_assert_uint_eq(drv_read(d, 0x3a, 2), 0);
		ck_assert_uint_eq(drv_read(d, 0x1c, 2), 0);
		drv_queue_setup(d, 0, 8);
	}
	disk_end(d);
}
END_TEST

/* Pause with requests in flight: they finish, what is kicked meanwhile waits for resume; state survives a snapshot. */
START_TEST(pause_and_snapshot)
{
	image_make(1 << 20);
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	struct device *dev = &d->v->pci.dev;
	drv_start(d, RINGS | VIRTIO_F_RING_PACKED, 1, 16);
	const uint64_t data = drv_alloc(d, SECTOR), status = drv_alloc(d, 1);
	const struct drv_buf b[3] = { { hdr_make(d, T_IN, 0), 16, false }, { data, SECTOR, true }, { status, 1, true } };
	drv_add(d, 0, b, 3, false);
	drv_kick(d, 0);
	loop_step(d->vm->loop, 0);
	dev->cls->pause(dev);
	drv_add(d, 0, b, 3, false);
	drv_kick_always(d, 0);
	drv_settle(d);
	json_t *rec = device_save(dev);
	ck_assert_ptr_nonnull(rec);
	device_reset(dev);
	ck_assert_int_eq(device_load(dev, rec), 0);
	json_t *again = device_save(dev);
	ck_assert(json_equal(rec, again));
	json_decref(rec);
	json_decref(again);
	ck_assert(d->v->status & VIRTIO_S_DRIVER_OK);
	dev->cls->resume(dev);
	ck_assert_int_ge(drv_wait(d, 0, NULL), 0);
	ck_assert_int_ge(drv_wait(d, 0, NULL), 0);
	ck_assert_int_eq(drv_poll(d, 0, NULL), -1);
	ck_assert_int_eq(request(d, T_IN, 0, data, SECTOR, true, true), 0);
	disk_end(d);
}
END_TEST

static void full_idle(void *arg) { }

/* The disk is full: requests wait, are saved, loaded and done once there is space. */
static struct fake *full_disk(struct drv *d)
{
	struct blk *b = blk_find(d->vm, "pci.0.3.0");
	struct fake *f = fake_new(1 << 20, FAKE_MISSING);
	struct img *old;
	atomic_store(&f->fail, -ENOSPC);
	dev_lock(&d->v->pci.dev);
	blk_hold(b, full_idle, NULL);
	ck_assert_int_eq(blk_replace(b, &f->img, &old), 0);
	blk_release(b);
	dev_unlock(&d->v->pci.dev);
	img_close(old);
	return f;
}

static void full_end(struct drv *d, struct fake *f)
{
	atomic_store(&f->fail, 0);
	disk_end(d);
}

/* Two writes of 3 pieces and a write of zeroes; the chains and their statuses. */
static uint64_t full_requests(struct drv *d)
{
	const uint64_t data = drv_alloc(d, 3 * SECTOR), status = drv_alloc(d, 3), seg = drv_alloc(d, 16);
	pattern(drv_ptr(d, data, 3 * SECTOR), 3 * SECTOR, 77);
	memset(drv_ptr(d, status, 3), 0xee, 3);
	for (unsigned i = 0; i < 2; i++) {
		const struct drv_buf b[4] = {
			{ hdr_make(d, T_OUT, 8 + 8 * i), 16, false }, { data, SECTOR + 100, false },
			{ data + SECTOR + 100, 2 * SECTOR - 100, false }, { status + i, 1, true },
		};
		drv_add(d, 0, b, 4, i && d->features & VIRTIO_F_INDIRECT_DESC);
	}
	put_le64(drv_ptr(d, seg, 8), 32);
	put_le32(drv_ptr(d, seg + 8, 4), 8);
	const struct drv_buf z[3] = { { hdr_make(d, T_ZEROES, 0), 16, false }, { seg, 16, false }, { status + 2, 1, true } };
	drv_add(d, 0, z, 3, false);
	drv_kick(d, 0);
	drv_settle(d);
	for (unsigned i = 0; i < 200 && !(d->vm->holds & HOLD_STOP); i++)
		loop_step(d->vm->loop, 50);
	ck_assert(d->vm->holds & HOLD_STOP);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, status, 1), 0xee);
	ck_assert_uint_eq(d->v->vq[0].inuse > 0, 1);
	return status;
}

static void full_done(struct drv *d, uint64_t status)
{
	uint32_t len;
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_ge(drv_wait(d, 0, &len), 0);
		ck_assert_uint_eq(len, 1);
	}
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(((uint8_t *)drv_ptr(d, status, 3))[i], 0);
	ck_assert_uint_eq(d->v->vq[0].inuse, 0);
	const uint64_t buf = drv_alloc(d, 3 * SECTOR);
	uint8_t want[3 * SECTOR];
	pattern(want, sizeof(want), 77);
	ck_assert_int_eq(request(d, T_IN, 16, buf, 3 * SECTOR, true, false), 0);
	ck_assert_mem_eq(drv_ptr(d, buf, 3 * SECTOR), want, sizeof(want));
}

static void full(uint64_t features, bool reload)
{
	image_make(1 << 20);
	struct drv *d = disk("pci.0.3.0.werror", "enospc-stop", "pci.0.3.0.format", "raw");
	struct device *dev = &d->v->pci.dev;
	struct fake *f = full_disk(d);
	drv_start(d, features | F_ZEROES | F_FLUSH, 1, 16);
	const uint64_t status = full_requests(d);
	if (reload) {
		json_t *rec = device_save(dev);
		/* Another machine's status byte must not be written by what is thrown away here. */
		uint8_t *ram = malloc(DRV_RAM_LEN);
		memcpy(ram, drv_ptr(d, DRV_RAM_BASE, DRV_RAM_LEN), DRV_RAM_LEN);
		device_reset(dev);
		ck_assert_uint_eq(d->v->vq[0].inuse, 0);
		memcpy(drv_ptr(d, DRV_RAM_BASE, DRV_RAM_LEN), ram, DRV_RAM_LEN);
		free(ram);
		ck_assert_int_eq(device_load(dev, rec), 0);
		ck_assert_uint_gt(d->v->vq[0].inuse, 0);
		json_decref(rec);
		drv_settle(d);
		ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, status, 1), 0xee);
	}
	atomic_store(&f->fail, 0);
	vm_continue(d->vm);
	full_done(d, status);
	full_end(d, f);
}
START_TEST(full_disk_waits) { full(0, false); full(VIRTIO_F_RING_PACKED | RINGS, false); }
END_TEST
START_TEST(full_disk_saved) { full(0, true); full(RINGS, true); full(VIRTIO_F_RING_PACKED, true); full(VIRTIO_F_RING_PACKED | RINGS, true); }
END_TEST

/* A record of waiting requests that somebody changed: every byte of it, and every length. */
START_TEST(waiting_refused)
{
	image_make(1 << 20);
	struct drv *d = disk("pci.0.3.0.werror", "enospc-stop", "pci.0.3.0.format", "raw");
	struct device *dev = &d->v->pci.dev;
	struct fake *f = full_disk(d);
	drv_start(d, F_ZEROES | F_FLUSH, 1, 16);
	full_requests(d);
	json_t *rec = device_save(dev), *state = json_object_get(rec, "state");
	char *text = strdup(json_string_value(json_object_get(state, "waiting$base64")));
	const size_t n = strlen(text);
	unsigned refused = 0;
	ck_assert_uint_gt(n, 200);
	capture_start(&cap, STDERR_FILENO);
	for (size_t cut = 0; cut <= n; cut += 4) {
		json_object_set_new(state, "waiting$base64", json_stringn(text, cut));
		device_reset(dev);
		refused += device_load(dev, rec) != 0;
	}
	ck_assert_uint_gt(refused, n / 4 - 5);          /* whole requests may be missing */
	for (size_t i = 0; i < n; i++) {
		char *t = strdup(text);
		t[i] = t[i] == '/' ? 'A' : '/';
		json_object_set_new(state, "waiting$base64", json_string(t));
		device_reset(dev);
		device_load(dev, rec);                  /* whatever it says: no memory but the guest's */
		free(t);
	}
	capture_stop(&cap);
	device_reset(dev);
	free(text);
	json_decref(rec);
	full_end(d, f);
}
END_TEST

START_TEST(intx)
{
	image_make(8192);
	struct drv *d = disk(NULL, NULL, NULL, NULL);
	drv_start(d, 0, 1, 16);
	drv_msix(d, false);
	ck_assert_int_eq(request(d, T_IN, 0, drv_alloc(d, SECTOR), SECTOR, true, false), 0);
	ck_assert(d->v->pci.intx);
	ck_assert_uint_eq(drv_read(d, VIRTIO_BAR_ISR, 1), 1);
	ck_assert(!d->v->pci.intx);
	ck_assert_uint_eq(drv_read(d, VIRTIO_BAR_ISR, 1), 0);
	disk_end(d);
}
END_TEST

START_TEST(nocache)
{
	image_make((1 << 20) + 77);
	struct drv *d = disk("pci.0.3.0.nocache", "true", "pci.0.3.0.sync", "true");
	if (!d) {
		unlink(path);
		return;         /* a file system without direct I/O */
	}
	drv_start(d, 0, 1, 16);
	d->brk = ALIGN_UP(d->brk, 4096);
	const uint64_t buf = drv_alloc(d, 8192);
	uint8_t *p = drv_ptr(d, buf, 8192);
	pattern(p, 8192, 5);
	ck_assert_int_eq(request(d, T_OUT, 8, buf, 8192, false, false), 0);
	struct drv_buf b[3] = { { hdr_make(d, T_IN, 8), 16, false }, { buf, 8192, true }, { drv_alloc(d, 1), 1, true } };
	memset(p, 0, 8192);
	ck_assert_int_eq(drv_do(d, 0, b, 3, false), 8193);
	uint8_t *q = malloc(8192);
	image_read(4096, q, 8192);
	ck_assert_mem_eq(p, q, 8192);
	free(q);
	ck_assert_int_eq(request(d, T_OUT, 2048, buf, SECTOR, false, false), 0);
	ck_assert_uint_eq(image_size(), (1 << 20) + 512);
	disk_end(d);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_blk", split_uring, split_threads, packed_uring, packed_threads, many_in_flight, odd_size, ranges,
	read_only, serial_and_config, locking, refusals, reset_in_flight, queue_reset, pause_and_snapshot, full_disk_waits, full_disk_saved, waiting_refused, intx, nocache)
