/*
 * What all disk devices have in common: the options of a disk, opening it, its serial number.
 */
#ifndef DEVICES_BLOCK_DISK_H
#define DEVICES_BLOCK_DISK_H

#include "common/device.h"
#include "devices/block/block.h"

/*
 * Rows for a class's option table.  P is a prefix of the names: "" or "port.N." (opt_find's N patterns).
 * serial/ser, bootindex and such are in it, too.
 */
extern const char *const disk_aio_choices[], *const disk_werror_choices[], *const disk_rerror_choices[], *const disk_format_choices[];
#define DISK_OPTS(P) \
	{ P "path", OPT_STR, 0, 4095, NULL, NULL, "disk image or block device", NULL }, \
	{ P "format", OPT_ENUM, 0, 0, "auto", NULL, "of the image; auto: as its contents say", disk_format_choices }, \
	{ P "ro", OPT_BOOL, 0, 0, "false", NULL, "read-only; several machines may share the image", NULL }, \
	{ P "snapshot", OPT_BOOL, 0, 0, "false", NULL, "writes go to an overlay that is thrown away at the end", NULL }, \
	{ P "backing", OPT_STR, 0, 4095, NULL, NULL, "directories, separated by ':', where backing files may lie beside the image's own", NULL }, \
	{ P "nocache", OPT_BOOL, 0, 0, "false", NULL, "bypass the host's page cache", NULL }, \
	{ P "direct", OPT_BOOL, 0, 0, "false", NULL, "same as sync", NULL }, \
	{ P "sync", OPT_BOOL, 0, 0, "false", NULL, "a write is done when it is on stable storage", NULL }, \
	{ P "nodelete", OPT_BOOL, 0, 0, "false", NULL, "ignore the guest's discards", NULL }, \
	{ P "detectzeroes", OPT_BOOL, 0, 0, "false", NULL, "store no zeroes where the guest writes them", NULL }, \
	{ P "sectorsize", OPT_STR, 0, 16, NULL, "bytes", "logical sector size, or LOGICAL/PHYSICAL", NULL }, \
	{ P "serial", OPT_STR, 0, 20, NULL, NULL, "serial number, at most 20 characters; default: from the path", NULL }, \
	{ P "ser", OPT_STR, 0, 20, NULL, NULL, "same as serial", NULL }, \
	{ P "bootindex", OPT_U64, 0, 255, NULL, NULL, "place in the firmware's boot order", NULL }, \
	{ P "aio", OPT_ENUM, 0, 0, "auto", NULL, "how the host does the I/O", disk_aio_choices }, \
	{ P "cachesize", OPT_SIZE, 65536, 0, "32M", "bytes", "memory for the metadata of the image's format", NULL }, \
	{ P "iops", OPT_U64, 0, 0, "0", NULL, "requests a second; 0: no limit", NULL }, \
	{ P "bps", OPT_SIZE, 0, 0, "0", "bytes", "bytes a second; 0: no limit", NULL }, \
	{ P "iops-burst", OPT_U64, 0, 0, "0", NULL, "requests a second in a burst", NULL }, \
	{ P "bps-burst", OPT_SIZE, 0, 0, "0", "bytes", "bytes a second in a burst", NULL }, \
	{ P "burst-seconds", OPT_U64, 1, 3600, "1", "seconds", "how long a burst may last after a rest", NULL }, \
	{ P "werror", OPT_ENUM, 0, 0, "enospc-stop", NULL, "when a write fails: report it to the guest, or stop the machine", disk_werror_choices }, \
	{ P "rerror", OPT_ENUM, 0, 0, "report", NULL, "when a read fails: report it to the guest, or stop the machine", disk_rerror_choices }

#define DISK_SERIAL_LEN 20

/*
 * For conf_word of controllers with several disks, keys UNIT.N.path, UNIT.N.type and the disk's options:
 * "hd:PATH" and "cd:PATH" take the next free N below max, "cd:" is an empty drive; a bare word that comes first is an hd,
 * other words that fit an option UNIT.N.WORD of `opts` belong to the last one.  1: not mine, 0, or -EINVAL (reported).
 */
int disk_conf_word(struct conf *, const char *id, const char *unit, unsigned max, const struct opt *opts, const char *word,
		   const char *origin);

/*
 * Opens the disk of the options with that prefix.  who: as for blk_open().  In a dry VM nothing is opened and *out is
 * NULL.  0 or -errno (reported).  read_only: the device cannot write at all (a CD).
 */
int disk_open(struct device *, const char *prefix, const char *who, bool read_only, const struct blk_owner *, struct blk **out);
/* The same with an image that is not the option's: path stays the caller's. */
int disk_open_at(struct device *, const char *prefix, const char *who, bool read_only, const struct blk_owner *, const char *path,
		 struct blk **out);
/* The serial number: as set, else stable and made from the path; not terminated, padded with `pad`. */
void disk_serial(const struct device *, const char *prefix, char pad, char out[DISK_SERIAL_LEN]);

/* --- For boot order, lists and checkpoints: the disks of any device, without knowing its class --- */
struct disk_place {
	const struct device *dev;
	char prefix[32];                /* of its options: "" or "port.2." */
	const char *path;               /* NULL: no medium */
	bool read_only, cd;
	unsigned unit;                  /* port, target; 0 where there is one disk */
};
/* The i-th disk of a device; false: it has not so many, or none. */
bool disk_of_device(const struct device *, unsigned i, struct disk_place *);
/* Before there are devices: is that key of a configuration the path of a disk, and can the guest write it? */
bool disk_of_key(const struct conf *, const char *key, bool *writable);

/* Exchanges the medium of a drive ("pci.0.4.0.port.1"), NULL: ejects it.  0 or -errno (reported).  Loop thread. */
int disk_media(struct vm *, const char *who, const char *path);

#endif
