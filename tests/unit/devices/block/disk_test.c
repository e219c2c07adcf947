/*
 * The options all disks have: what becomes of them, what is refused, and finding the disks of any device.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/block/block_int.h"
#include "devices/block/disk.h"
#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/virtio/driver.h"

#define ID "pci.0.3.0"

static struct vm *vm;
static struct capture cap;
static char path[64];

static void begin(void)
{
	snprintf(path, sizeof(path), "/tmp/skep-diskopt-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	close(fd);
	vm = drv_vm_new();
}

static void end(void)
{
	drv_vm_free(vm);
	unlink(path);
}

/* Options as name, value ...; NULL: refused, the reason in cap.text. */
static struct blk *made(const char *const *opt)
{
	char key[64];
	for (; *opt; opt += 2) {
		snprintf(key, sizeof(key), ID ".%s", opt[0]);
		drv_conf(vm, key, opt[1]);
	}
	capture_start(&cap, STDERR_FILENO);
	struct drv *d = drv_open(vm, &virtio_blk_class, ID);
	capture_stop(&cap);
	if (d)
		drv_close(d);
	return d ? blk_find(vm, ID) : NULL;
}
#define MADE(...) made((const char *const[]){ __VA_ARGS__, NULL })

START_TEST(defaults)
{
	begin();
	const struct blk *b = MADE("path", path);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_null(b->conf.format);
	ck_assert(!b->conf.read_only && !b->conf.snapshot && !b->conf.nocache && !b->conf.sync && !b->conf.nodelete && !b->conf.detect_zeroes);
	ck_assert_int_eq(b->conf.werror, BLK_ENOSPC_STOP);
	ck_assert_int_eq(b->conf.rerror, BLK_REPORT);
	ck_assert_int_eq(b->conf.aio, BLK_AIO_AUTO);
	ck_assert_uint_eq(b->conf.cache_max, MIB(32));
	ck_assert_ptr_null(b->timer);
	ck_assert_str_eq(cap.text, "");
	end();
}
END_TEST

START_TEST(everything)
{
	begin();
	const struct blk *b = MADE("path", path, "format", "raw", "backing", "/a:/b", "nodelete", "yes", "direct", "on", "detectzeroes", "1",
				   "sectorsize", "512/8192", "aio", "threads", "cachesize", "1M", "iops", "100", "iops-burst", "500", "bps", "1M",
				   "bps-burst", "2M", "burst-seconds", "7", "werror", "ignore", "rerror", "stop");
	ck_assert_ptr_nonnull(b);
	ck_assert_str_eq(b->conf.format, "raw");
	ck_assert_str_eq(b->conf.backing_dirs, "/a:/b");
	ck_assert(b->conf.nodelete && b->conf.sync && b->conf.detect_zeroes);
	ck_assert_uint_eq(blk_logical(b), 512);
	ck_assert_uint_eq(blk_physical(b), 8192);
	ck_assert_int_eq(b->conf.aio, BLK_AIO_THREADS);
	ck_assert_uint_eq(b->conf.cache_max, MIB(1));
	ck_assert(b->conf.iops.per_s == 100 && b->conf.iops.burst_per_s == 500);
	ck_assert(b->conf.bps.per_s == MIB(1) && b->conf.bps.burst_per_s == MIB(2));
	ck_assert_uint_eq(b->conf.burst_s, 7);
	ck_assert_ptr_nonnull(b->timer);
	ck_assert_int_eq(b->conf.werror, BLK_IGNORE);
	ck_assert_int_eq(b->conf.rerror, BLK_STOP);
	end();
}
END_TEST

static void refused(const char *text, const char *const *opt)
{
	begin();
	ck_assert_ptr_null(made(opt));
	ck_assert_msg(strstr(cap.text, text) != NULL, "%s", cap.text);
	end();
}
#define REFUSED(text, ...) refused(text, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(refusals)
{
	REFUSED("virtio-blk needs a disk image", "ro", "true");
	REFUSED("iops-burst: it has to be at least iops", "path", path, "iops-burst", "5");
	REFUSED("bps-burst: it has to be at least bps", "path", path, "bps", "5M", "bps-burst", "4M");
	REFUSED("'512/' is not LOGICAL", "path", path, "sectorsize", "512/");
	REFUSED("'4k' is not LOGICAL", "path", path, "sectorsize", "4k");
	REFUSED("'512,4096' is not LOGICAL", "path", path, "sectorsize", "512,4096");
	REFUSED("'-512' is not LOGICAL", "path", path, "sectorsize", "-512");
	REFUSED("'512/4294967808' is not LOGICAL", "path", path, "sectorsize", "512/4294967808");
	REFUSED("powers of two", "path", path, "sectorsize", "4294967");
}
END_TEST

START_TEST(serials)
{
	char a[DISK_SERIAL_LEN], b[DISK_SERIAL_LEN];
	begin();
	MADE("path", path);
	const struct device *d = vm_device(vm, ID);
	disk_serial(d, "", ' ', a);
	ck_assert_mem_eq(a, "SKEP", 4);
	disk_serial(d, "", '\0', b);
	ck_assert_mem_eq(a, b, 20);                     /* full: nothing to pad */
	drv_conf(vm, ID ".path", "/another");
	disk_serial(d, "", '\0', b);
	ck_assert(memcmp(a, b, 20) != 0);
	drv_conf(vm, ID ".ser", "short");
	disk_serial(d, "", ' ', a);
	ck_assert_mem_eq(a, "short               ", 20);
	drv_conf(vm, ID ".serial", "12345678901234567890");
	disk_serial(d, "", ' ', a);
	ck_assert_mem_eq(a, "12345678901234567890", 20);
	end();
}
END_TEST

/* A class of several disks, as controllers are; only its options matter here. */
static const char *const types[] = { "hd", "cd", NULL };
static const struct opt many_opts[] = {
	DISK_OPTS("port.N."), { "port.N.type", OPT_ENUM, 0, 0, "hd", NULL, "kind", types }, OPT_LAST
};
/* The last exchange asked for. */
static unsigned medium_unit;

static int medium(struct device *d, unsigned unit, const char *to)
{
	medium_unit = unit;
	return 0;
}

static const struct device_class many_class = {
	.name = "many", .help = "test", .size = sizeof(struct device), .opts = many_opts, .medium = medium,
};

START_TEST(places)
{
	struct disk_place p;
	begin();
	MADE("path", path);
	ck_assert(disk_of_device(vm_device(vm, ID), 0, &p));
	ck_assert_str_eq(p.path, path);
	ck_assert_str_eq(p.prefix, "");
	ck_assert(!p.read_only && !p.cd && p.unit == 0);
	ck_assert(!disk_of_device(vm_device(vm, ID), 1, &p));
	drv_conf(vm, "m.port.1.path", "/one");
	drv_conf(vm, "m.port.1.ro", "true");
	drv_conf(vm, "m.port.4.type", "cd");
	drv_conf(vm, "m.port.250.path", "/last");
	struct device *d = device_new(vm, &many_class, "m", NULL);
	ck_assert(disk_of_device(d, 0, &p));
	ck_assert_str_eq(p.path, "/one");
	ck_assert_str_eq(p.prefix, "port.1.");
	ck_assert(p.read_only && !p.cd && p.unit == 1 && p.dev == d);
	ck_assert(disk_of_device(d, 1, &p));
	ck_assert_ptr_null(p.path);                     /* a drive without a medium */
	ck_assert(p.cd && p.read_only && p.unit == 4);
	ck_assert(disk_of_device(d, 2, &p));
	ck_assert_uint_eq(p.unit, 250);
	ck_assert(!disk_of_device(d, 3, &p));
	/* Consoles have ports with paths as well. */
	drv_conf(vm, "pci.0.9.0.port.0.path", "null");
	drv_conf(vm, "pci.0.9.0.port.0.name", "x");
	d = device_new(vm, &virtio_console_class, "pci.0.9.0", NULL);
	ck_assert(!disk_of_device(d, 0, &p));
	end();
}
END_TEST

static void no_medium(const char *who, const char *text)
{
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_lt(disk_media(vm, who, NULL), 0);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), text));
}

/* Only what is named whole, or can mean one drive only, loses its medium. */
START_TEST(media)
{
	begin();
	drv_conf(vm, "m.port.1.path", "/one");
	drv_conf(vm, "m.port.4.type", "cd");
	device_new(vm, &many_class, "m", NULL);
	ck_assert_int_eq(disk_media(vm, "m.port.4", "/x"), 0);
	ck_assert_uint_eq(medium_unit, 4);
	medium_unit = 0;
	ck_assert_int_eq(disk_media(vm, "m", NULL), 0);
	ck_assert_uint_eq(medium_unit, 4);
	drv_conf(vm, "m.port.41.type", "cd");
	ck_assert_int_eq(disk_media(vm, "m.port.41", NULL), 0);
	ck_assert_uint_eq(medium_unit, 41);
	ck_assert_int_eq(disk_media(vm, "m.port.4", NULL), 0);
	ck_assert_uint_eq(medium_unit, 4);
	no_medium("m", "has 2 CD drives; say which, such as 'm.port.41'");
	no_medium("m.port.1", "it is no CD drive");
	no_medium("m.port", "there is no CD drive");
	no_medium("m.port.", "there is no CD drive");
	no_medium("m.port.4.", "there is no CD drive");
	no_medium("m.", "there is no CD drive");
	no_medium("mm.port.4", "there is no CD drive");
	end();
}
END_TEST

START_TEST(keys)
{
	bool writable;
	begin();
	struct conf *c = vm->conf;
	drv_conf(vm, "pci.0.4.0.device", "virtio-blk");
	drv_conf(vm, "pci.0.4.0.path", "/x");
	ck_assert(disk_of_key(c, "pci.0.4.0.path", &writable));
	ck_assert(writable);
	drv_conf(vm, "pci.0.4.0.ro", "yes");
	ck_assert(disk_of_key(c, "pci.0.4.0.path", &writable));
	ck_assert(!writable);
	ck_assert(!disk_of_key(c, "pci.0.4.0.ro", &writable));
	ck_assert(!disk_of_key(c, "pci.0.4.0", &writable));
	ck_assert(!disk_of_key(c, "pci.0.4.0.", &writable));
	ck_assert(!disk_of_key(c, "pci.0.5.0.path", &writable));
	ck_assert(!disk_of_key(c, "lpc.com1.path", &writable));
	ck_assert(!disk_of_key(c, "path", &writable));
	drv_conf(vm, "pci.0.6.0.device", "virtio-console");
	ck_assert(!disk_of_key(c, "pci.0.6.0.port.1.path", &writable));
	end();
}
END_TEST

/* Nothing is opened in a VM that never runs; what it is told is checked all the same. */
START_TEST(dry)
{
	struct blk *b = (struct blk *)&b;
	begin();
	drv_conf(vm, ID ".path", "/nonexistent");
	struct device *d = device_new(vm, &virtio_blk_class, ID, NULL);
	const struct blk_owner owner = { &d->lock, NULL, NULL };
	ck_assert_int_eq(disk_open(d, "", ID, false, &owner, &b), 0);
	ck_assert_ptr_null(b);
	drv_conf(vm, ID ".sectorsize", "x");
	ck_assert_int_eq(disk_open(d, "", ID, false, &owner, &b), -EINVAL);
	end();
}
END_TEST

UNIT_MAIN("devices/block/disk", defaults, everything, refusals, serials, places, media, keys, dry)
