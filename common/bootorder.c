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
#include "common/log.h"
#include "common/util.h"
#include "common/vm.h"
#include "devices/block/disk.h"

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

/* The first disk a test likes. */
static bool find_disk(const struct vm *vm, bool (*like)(const struct disk_place *, const char *), const char *arg, struct disk_place *out)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		for (unsigned n = 0; disk_of_device(vm->devs[i], n, out); n++) {
			if (out->path && like(out, arg))
				return true;
		}
	}
	return false;
}

/* What reads the installation medium; cli_place_pending() has seen to it that there is one. */
static bool is_iso(const struct disk_place *p, const char *iso)
{
	return !strcmp(p->path, iso);
}

static bool is_writable(const struct disk_place *p, const char *unused UNUSED)
{
	return !p->read_only;
}

static bool bootindex(const struct conf *conf, const char *id, uint64_t *out)
{
	static const struct opt row = { .name = "bootindex", .type = OPT_U64 };
	char key[64], why[64];

	snprintf(key, sizeof(key), "%s.bootindex", id);
	const char *text = conf_raw(conf, key);
	return text && !opt_parse_u64(&row, text, out, why, sizeof(why));
}

struct order {
	struct boot_entry *out;
	uint64_t index[BOOT_ORDER_MAX];
	unsigned n, max;
	const struct boot_entry *skip;
	unsigned nskip;
};

static bool same(const struct boot_entry *a, const struct boot_entry *b)
{
	return a->dev == b->dev && a->unit == b->unit;
}

/* Inserts by the index its key gives it; without one it is left out. */
static void insert(struct order *o, const struct vm *vm, const char *id, struct boot_entry e)
{
	uint64_t place;
	unsigned n = o->n;

	for (unsigned i = 0; i < o->nskip; i++) {
		if (same(&o->skip[i], &e))
			return;
	}
	if (o->n == o->max || !bootindex(vm->conf, id, &place))
		return;
	for (; n && o->index[n - 1] > place; n--) {
		o->out[n] = o->out[n - 1];
		o->index[n] = o->index[n - 1];
	}
	o->out[n] = e;
	o->index[n] = place;
	o->n++;
}

static void insert_device(struct order *o, const struct vm *vm, const struct device *d)
{
	struct disk_place p;
	char id[80];
	unsigned n;

	for (n = 0; disk_of_device(d, n, &p); n++) {
		const int len = (int)strlen(p.prefix);

		/* "port.1." is the prefix of its options. */
		snprintf(id, sizeof(id), "%s%s%.*s", d->id, len ? "." : "", len ? len - 1 : 0, p.prefix);
		insert(o, vm, id, (struct boot_entry){ d, p.unit });
	}
	if (n == 0)
		insert(o, vm, d->id, (struct boot_entry){ d, 0 });
}

/* Those in out[] already are not listed again. */
static unsigned explicit_order(const struct vm *vm, const struct boot_entry *skip, unsigned nskip, struct boot_entry *out, unsigned max)
{
	struct order o = { .out = out, .max = MIN(max, BOOT_ORDER_MAX), .skip = skip, .nskip = nskip };

	for (unsigned i = 0; i < vm->ndevs; i++)
		insert_device(&o, vm, vm->devs[i]);
	return o.n;
}

unsigned boot_order(const struct vm *vm, struct boot_entry *out, unsigned max)
{
	const char *path = conf_str(vm->conf, "install.iso");
	struct disk_place iso, disk;
	struct boot_entry first[2];
	unsigned nfirst = 0, n;

	if (path && max && find_disk(vm, is_iso, path, &iso)) {
		const bool have = find_disk(vm, is_writable, NULL, &disk);
		const bool install = !have || conf_bool(vm->conf, "install.force") || !boot_sector_present(disk.path);

		log_info("firmware", "starts from %s", install ? path : disk.path);
		first[nfirst++] = (struct boot_entry){ iso.dev, iso.unit };
		if (have)
			first[nfirst++] = (struct boot_entry){ disk.dev, disk.unit };
		out[0] = first[install ? 0 : 1];
		n = 1;
		if (install && have && n < max)
			out[n++] = first[1];
	} else {
		n = 0;
	}
	return n + explicit_order(vm, first, nfirst, out + n, max - n);
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
	char id[40];
	uint64_t place;
	bool writable;

	if (c->err || !dot || dot - key >= (int)sizeof(id))
		return;
	snprintf(id, sizeof(id), "%.*s", (int)(dot - key), key);
	if (disk_of_key(c->conf, key, &writable))
		c->disks += writable;
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
