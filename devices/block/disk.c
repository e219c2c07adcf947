#include "devices/block/disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/vm.h"

const char *const disk_aio_choices[] = { "auto", "io_uring", "threads", NULL };
const char *const disk_werror_choices[] = { "report", "stop", "enospc-stop", "ignore", NULL };
const char *const disk_rerror_choices[] = { "report", "stop", "ignore", NULL };
const char *const disk_format_choices[] = { "auto", "raw", "qcow2", "vmdk", "vdi", "vpc", "vhd", "vhdx", NULL };

#define NAME_MAX_LEN 64
#define UNITS_MAX 256                   /* disks of one controller */

struct name {
	char text[NAME_MAX_LEN];
};

static const char *name_of(struct name *n, const char *prefix, const char *option)
{
	snprintf(n->text, sizeof(n->text), "%s%s", prefix, option);
	return n->text;
}

static const char *opt_str(const struct device *d, const char *prefix, const char *option)
{
	struct name n;

	return dev_opt_str(d, name_of(&n, prefix, option));
}

static uint64_t opt_u64(const struct device *d, const char *prefix, const char *option)
{
	struct name n;

	return dev_opt_u64(d, name_of(&n, prefix, option));
}

static bool opt_bool(const struct device *d, const char *prefix, const char *option)
{
	struct name n;

	return dev_opt_bool(d, name_of(&n, prefix, option));
}

/* --- Opening --- */

/* Digits up to `end`, of a number of 32 bits. */
static bool number(const char *text, const char *end, uint32_t *out)
{
	const size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 9 || text + n != end)
		return false;
	*out = (uint32_t)strtoul(text, NULL, 10);
	return true;
}

/* "512" or "512/4096": plain numbers, as in bhyve. */
static int sectors_parse(const struct device *d, const char *prefix, struct blk_conf *c)
{
	/* bhyve's NVMe disks have it under a shorter name as well. */
	const char *own = opt_str(d, prefix, "sectorsize"), *text = own || !opt_find(d->cls->opts, "sectsz") ? own : opt_str(d, "", "sectsz");
	const char *slash = text ? strchr(text, '/') : NULL, *end = text ? text + strlen(text) : NULL;

	if (!text || (number(text, slash ? slash : end, &c->logical) && (!slash || number(slash + 1, end, &c->physical))))
		return 0;
	return err_msg(-EINVAL, "%s.%ssectorsize: '%s' is not LOGICAL or LOGICAL/PHYSICAL in bytes, such as 512/4096", d->id, prefix,
		       text);
}

static enum blk_aio aio_of(const char *word)
{
	return strcmp(word, "threads") == 0 ? BLK_AIO_THREADS : strcmp(word, "io_uring") == 0 ? BLK_AIO_URING : BLK_AIO_AUTO;
}

static enum blk_on_error on_error_of(const char *word)
{
	static const struct {
		const char *word;
		enum blk_on_error how;
	} words[] = {
		{ "report", BLK_REPORT }, { "stop", BLK_STOP }, { "enospc-stop", BLK_ENOSPC_STOP }, { "ignore", BLK_IGNORE },
	};

	for (unsigned i = 0; i < NELEM(words); i++) {
		if (strcmp(words[i].word, word) == 0)
			return words[i].how;
	}
	return BLK_REPORT;
}

static const char *format_of(const char *word)
{
	return strcmp(word, "auto") == 0 ? NULL : word;
}

/* A burst without a rate, or below it, would be silently none. */
static int rate_check(const struct device *d, const char *prefix, const char *what, const struct blk_rate *r)
{
	if (r->burst_per_s == 0 || (r->per_s && r->burst_per_s >= r->per_s))
		return 0;
	return err_msg(-EINVAL, "%s.%s%s-burst: it has to be at least %s, which has to be set as well", d->id, prefix, what, what);
}

static int conf_fill(const struct device *d, const char *p, bool read_only, struct blk_conf *c)
{
	*c = (struct blk_conf){
		.path = opt_str(d, p, "path"), .format = format_of(opt_str(d, p, "format")), .backing_dirs = opt_str(d, p, "backing"),
		.read_only = read_only || opt_bool(d, p, "ro"), .snapshot = opt_bool(d, p, "snapshot"), .nocache = opt_bool(d, p, "nocache"),
		.sync = opt_bool(d, p, "sync") || opt_bool(d, p, "direct"), .nodelete = opt_bool(d, p, "nodelete"),
		.detect_zeroes = opt_bool(d, p, "detectzeroes"), .aio = aio_of(opt_str(d, p, "aio")), .cache_max = opt_u64(d, p, "cachesize"),
		.iops = { opt_u64(d, p, "iops"), opt_u64(d, p, "iops-burst") },
		.bps = { opt_u64(d, p, "bps"), opt_u64(d, p, "bps-burst") }, .burst_s = (uint32_t)opt_u64(d, p, "burst-seconds"),
		.werror = on_error_of(opt_str(d, p, "werror")), .rerror = on_error_of(opt_str(d, p, "rerror")),
	};
	int err = sectors_parse(d, p, c);

	if (!err)
		err = rate_check(d, p, "iops", &c->iops);
	return err ? err : rate_check(d, p, "bps", &c->bps);
}

int disk_open_at(struct device *d, const char *prefix, const char *who, bool read_only, const struct blk_owner *owner, const char *path,
		 struct blk **out)
{
	struct blk_conf c;
	int err = conf_fill(d, prefix, read_only, &c);

	*out = NULL;
	c.path = path;
	if (!err && !c.path)
		err = err_msg(-EINVAL, "%s: %s needs a disk image or block device: %s%s", who, d->cls->name,
			      *prefix ? "its key path=PATH" : d->cls->name, *prefix ? "" : ",PATH");
	if (err || d->vm->dry)
		return err;
	*out = blk_open(d->vm, who, &c, owner, &err);
	return *out ? 0 : err;
}

int disk_open(struct device *d, const char *prefix, const char *who, bool read_only, const struct blk_owner *owner, struct blk **out)
{
	return disk_open_at(d, prefix, who, read_only, owner, opt_str(d, prefix, "path"), out);
}

/*
 * Stable without an option: FNV-1a (64 bits) over the image's path, in hexadecimal; enough for
 * /dev/disk/by-id to tell two disks apart.
 */
void disk_serial(const struct device *d, const char *prefix, char pad, char out[DISK_SERIAL_LEN])
{
	const char *ser = opt_str(d, prefix, "serial") ? opt_str(d, prefix, "serial") : opt_str(d, prefix, "ser");
	const char *path = opt_str(d, prefix, "path");
	char text[DISK_SERIAL_LEN + 1] = "";
	uint64_t h = 0xcbf29ce484222325;

	for (const char *p = path ? path : ""; *p; p++)
		h = (h ^ (uint8_t)*p) * 0x100000001b3;
	if (!ser)
		snprintf(text, sizeof(text), "SKEP%016llX", (unsigned long long)h);
	memset(out, pad, DISK_SERIAL_LEN);
	memcpy(out, ser ? ser : text, strnlen(ser ? ser : text, DISK_SERIAL_LEN));
}

/* --- The disks of any device --- */

static bool has_opt(const struct device *d, const char *name)
{
	return opt_find(d->cls->opts, name) != NULL;
}

static void place_fill(const struct device *d, const char *prefix, unsigned unit, struct disk_place *out)
{
	struct name n;
	const char *type = has_opt(d, name_of(&n, prefix, "type")) ? dev_opt_str(d, n.text) : NULL;

	*out = (struct disk_place){ .dev = d, .path = opt_str(d, prefix, "path"), .unit = unit };
	snprintf(out->prefix, sizeof(out->prefix), "%s", prefix);
	out->cd = strcmp(d->cls->name, "ahci-cd") == 0 || (type && strcmp(type, "cd") == 0);
	out->read_only = out->cd || (has_opt(d, name_of(&n, prefix, "ro")) && dev_opt_bool(d, n.text));
}

/* A port exists when it has a medium or says what it is. */
static bool port_used(const struct device *d, const char *prefix)
{
	struct name n;
	char key[128];

	if (opt_str(d, prefix, "path"))
		return true;
	snprintf(key, sizeof(key), "%s.%s", d->id, name_of(&n, prefix, "type"));
	return d->vm->conf && conf_raw(d->vm->conf, key);
}

bool disk_of_device(const struct device *d, unsigned i, struct disk_place *out)
{
	static const char *const kinds[] = { "port", "target" };
	struct name n;

	if (has_opt(d, "path") && has_opt(d, "sectorsize")) {
		place_fill(d, "", 0, out);
		return i == 0;
	}
	for (unsigned k = 0; k < NELEM(kinds); k++) {
		for (unsigned unit = 0; unit < UNITS_MAX; unit++) {
			char prefix[32];

			snprintf(prefix, sizeof(prefix), "%s.%u.", kinds[k], unit);
			if (!has_opt(d, name_of(&n, prefix, "sectorsize")))
				break;
			if (!port_used(d, prefix) || i--)
				continue;
			place_fill(d, prefix, unit, out);
			return true;
		}
	}
	return false;
}

/* How many drives `who` names, this one counted too: "pci.0.4.0.port.1", or the device alone, which means its CD drives. */
static unsigned drive_is(const struct device *d, const struct disk_place *p, const char *who, unsigned found)
{
	const size_t n = strlen(d->id), rest = strlen(who) - n;

	if (!who[n])
		return p->cd ? found + 1 : found;
	return !found && strlen(p->prefix) == rest && !strncmp(p->prefix, who + n + 1, rest - 1) ? 1 : found;
}

int disk_media(struct vm *vm, const char *who, const char *path)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		struct device *d = vm->devs[i];
		const size_t n = strlen(d->id);
		struct disk_place p, drive = { 0 };
		unsigned found = 0;

		if (strncmp(who, d->id, n) || (who[n] && who[n] != '.'))
			continue;
		for (unsigned k = 0; disk_of_device(d, k, &p); k++) {
			const unsigned now = drive_is(d, &p, who, found);

			drive = now > found ? p : drive;
			found = now;
		}
		if (found > 1)
			return err_msg(-EINVAL, "device '%s' has %u CD drives; say which, such as '%s.%.*s'", who, found, who,
				       (int)strlen(drive.prefix) - 1, drive.prefix);
		if (found && (!drive.cd || !d->cls->medium))
			return err_msg(-EINVAL, "disk '%s' has no medium that could be exchanged: it is no CD drive", who);
		if (found)
			return d->cls->medium(d, drive.unit, path);
	}
	return err_msg(-ENOENT, "there is no CD drive '%s'; 'skep plan' and 'skep help devices' show how drives are called", who);
}

/* "pci.0.4.0.port.1.path": of which class, and which prefix its options have. */
static const struct device_class *class_of_key(const struct conf *conf, const char *key, char *id, size_t id_len, char *prefix,
					       size_t prefix_len)
{
	const char *rest = key;
	char device[64];

	for (unsigned i = 0; i < 4 && rest; i++)
		rest = strchr(rest + (i > 0), '.');
	if (strncmp(key, "pci.", 4) != 0 || !rest || strlen(rest) < strlen(".path") || strcmp(rest + strlen(rest) - 5, ".path") != 0)
		return NULL;
	snprintf(id, id_len, "%.*s", (int)(rest - key), key);
	snprintf(prefix, prefix_len, "%.*s", (int)(strlen(rest) - strlen(".path")), rest + 1);
	snprintf(device, sizeof(device), "%s.device", id);
	return conf_raw(conf, device) ? device_class_find(conf_raw(conf, device)) : NULL;
}

bool disk_of_key(const struct conf *conf, const char *key, bool *writable)
{
	char id[32], prefix[48], name[96];
	const struct device_class *cls = class_of_key(conf, key, id, sizeof(id), prefix, sizeof(prefix));
	struct name n;
	const char *ro, *type;
	bool on = false;

	if (!cls || !opt_find(cls->opts, name_of(&n, prefix, "sectorsize")))
		return false;
	snprintf(name, sizeof(name), "%s.%sro", id, prefix);
	ro = conf_raw(conf, name);
	*writable = !ro || opt_parse_bool(ro, &on) || !on;
	snprintf(name, sizeof(name), "%s.%stype", id, prefix);
	type = conf_raw(conf, name);
	if (strcmp(cls->name, "ahci-cd") == 0 || (type && strcmp(type, "cd") == 0))
		*writable = false;
	return true;
}
