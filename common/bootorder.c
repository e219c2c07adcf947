/*
 * The order of boot devices.  What counts as a boot sector: a master boot record [UEFI-2.10 5.2.1] with code or a partition,
 * a GUID partition table [UEFI-2.10 5.3.2], a BSD disklabel in the second sector,
 * as FreeBSD's sys/sys/disk/bsd.h has it.
 */
#include "common/bootorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/device.h"
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"

#define SECTOR 512
#define MBR_MAGIC 0xaa55                /* little-endian, at 510 */
#define BSD_LABEL_MAGIC 0x82564557u

bool boot_sector_present(const char *path)
{
	uint8_t b[8 * SECTOR + 8] = { 0 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : pread(fd, b, sizeof(b), 0);

	if (fd >= 0)
		close(fd);
	if (n < SECTOR)
		return false;
	/* The table's header is in the second sector, of 512 or of 4096 bytes. */
	if (!memcmp(b + SECTOR, "EFI PART", 8) || !memcmp(b + 8 * SECTOR, "EFI PART", 8) || get_le32(b + SECTOR) == BSD_LABEL_MAGIC)
		return true;
	if (get_le16(b + 510) != MBR_MAGIC)
		return false;
	for (unsigned i = 0; i < 440; i++)      /* what is behind is the disk's signature, which is no code */
		if (b[i])
			return true;
	for (unsigned i = 0; i < 4; i++)
		if (b[446 + 16 * i + 4])        /* type of the partition */
			return true;
	return false;
}

static bool is_disk(const struct device *d)
{
	return !strcmp(d->cls->name, "virtio-blk");
}

/* The device that reads the installation medium; cli_place_pending() has seen to it that there is one. */
static const struct device *find_iso(const struct vm *vm, const char *iso)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		const char *path = is_disk(vm->devs[i]) ? dev_opt_str(vm->devs[i], "path") : NULL;
		if (path && !strcmp(path, iso))
			return vm->devs[i];
	}
	return NULL;
}

static const struct device *find_disk(const struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++)
		if (is_disk(vm->devs[i]) && !dev_opt_bool(vm->devs[i], "ro"))
			return vm->devs[i];
	return NULL;
}

static bool bootindex(const struct conf *conf, const char *id, uint64_t *out)
{
	static const struct opt row = { .name = "bootindex", .type = OPT_U64 };
	char key[64], why[64];

	snprintf(key, sizeof(key), "%s.bootindex", id);
	const char *text = conf_raw(conf, key);
	return text && !opt_parse_u64(&row, text, out, why, sizeof(why));
}

/* Inserts by index; the first n of out are in order. */
static void insert(const struct device **out, uint64_t *index, unsigned n, const struct device *d, uint64_t place)
{
	for (; n && index[n - 1] > place; n--) {
		out[n] = out[n - 1];
		index[n] = index[n - 1];
	}
	out[n] = d;
	index[n] = place;
}

static unsigned explicit_order(const struct vm *vm, const struct device *const skip[2], const struct device **out, unsigned max)
{
	uint64_t index[BOOT_ORDER_MAX], place;
	unsigned n = 0;

	for (unsigned i = 0; i < vm->ndevs && n < MIN(max, BOOT_ORDER_MAX); i++) {
		const struct device *d = vm->devs[i];
		if (d != skip[0] && d != skip[1] && bootindex(vm->conf, d->id, &place))
			insert(out, index, n++, d, place);
	}
	return n;
}

unsigned boot_order(const struct vm *vm, const struct device **out, unsigned max)
{
	const char *path = conf_str(vm->conf, "install.iso");
	const struct device *iso = path ? find_iso(vm, path) : NULL, *disk = iso ? find_disk(vm) : NULL;
	const struct device *skip[2] = { iso, disk };
	unsigned n = 0;

	if (iso && max) {
		bool install = !disk || conf_bool(vm->conf, "install.force") || !boot_sector_present(dev_opt_str(disk, "path"));
		log_info("firmware", "starts from %s", install ? path : dev_opt_str(disk, "path"));
		out[n++] = install ? iso : disk;
		if (install && disk && n < max)
			out[n++] = disk;
	}
	return n + explicit_order(vm, skip, out + n, max - n);
}

struct check {
	const struct conf *conf;
	char seen[256][40];             /* the key that has taken an index */
	unsigned disks;
	int err;
};

static void check_key(const char *key, const char *value UNUSED, const char *origin UNUSED, void *arg)
{
	struct check *c = arg;
	const char *dot = strrchr(key, '.');
	char id[40], ro[48];
	uint64_t place;
	bool on = false;

	if (c->err || !dot || dot - key >= (int)sizeof(id))
		return;
	snprintf(id, sizeof(id), "%.*s", (int)(dot - key), key);
	if (!strcmp(dot, ".device") && conf_raw(c->conf, key) && !strcmp(conf_raw(c->conf, key), "virtio-blk")) {
		snprintf(ro, sizeof(ro), "%s.ro", id);
		c->disks += !conf_raw(c->conf, ro) || (!opt_parse_bool(conf_raw(c->conf, ro), &on) && !on);
	}
	if (strcmp(dot, ".bootindex") || !bootindex(c->conf, id, &place) || place >= NELEM(c->seen))
		return;
	if (c->seen[place][0])
		c->err = err_msg(-EINVAL, "bootindex %u is given to both %s and %s; give each its own", (unsigned)place, c->seen[place], id);
	else
		snprintf(c->seen[place], sizeof(c->seen[0]), "%s", id);
}

int boot_order_check(const struct conf *conf)
{
	struct check c = { .conf = conf };
	const char *iso = conf_str(conf, "install.iso");

	conf_walk(conf, check_key, &c);
	if (!c.err && iso && !c.disks)
		return err_msg(-EINVAL, "install.iso: there is no disk to install on: give --disk FILE as well");
	if (!c.err && !iso && conf_bool(conf, "install.force"))
		return err_msg(-EINVAL, "install.force: there is no installation medium: give --install ISO as well");
	return c.err;
}
