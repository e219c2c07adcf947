/*
 * For tests of image formats: contents to compare with, a random workload, qemu-img and qemu-io as the oracle, and a
 * workload whose power is cut everywhere.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_ORACLE_H
#define TESTS_UNIT_DEVICES_BLOCK_ORACLE_H

#include "devices/block/img.h"

/* What a disk should hold; memory, zeroes at first. */
struct oracle {
	char dir[64];                   /* a directory for files, removed at the end */
	uint8_t *disk;
	size_t len;
	uint64_t rng;
};

void oracle_init(struct oracle *, size_t len, uint64_t seed);
void oracle_fini(struct oracle *);
uint64_t oracle_rand(struct oracle *);
/* Fills parts of the disk in memory. */
void oracle_fill(struct oracle *);
/* "dir/name"; valid until the fourth next call. */
const char *oracle_path(struct oracle *, const char *name);
/* The disk as raw file "dir/raw". */
void oracle_raw(struct oracle *);
/* Runs a shell command in dir, silently; its exit status. */
int oracle_sh(struct oracle *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same; anything but 0 fails the test with the command. */
void oracle_must(struct oracle *, const char *fmt, ...) PRINTF_LIKE(2, 3);

struct img *oracle_open(struct oracle *, const char *name, const char *format, bool writable);
/* Opening is refused with one sentence that has `word` in it. */
void oracle_refused(struct oracle *, const char *name, const char *format, bool writable, const char *word);
/* The image holds the disk and zeroes behind it. */
void oracle_verify(struct oracle *, struct img *);
/* n random writes, zeroes, discards and flushes, to image and memory; what they touch is read back. */
void oracle_work(struct oracle *, struct img *, unsigned n);

/*
 * All of the above for one kind of image: qemu-img's read by skep and written, skep's written and read by qemu-img and
 * qemu-io.  options: of qemu-img create, with -o; NULL: none.  check: qemu-img check knows the format.
 */
void oracle_format(const char *format, const char *options, const char *subformat, size_t len, bool check);

/*
 * Makes an image of len bytes, writes to it with flushes between, and looks at what every power cut leaves.  Prints the
 * seed where it fails.
 */
void oracle_powercut(const char *format, uint32_t cluster, uint64_t len, unsigned writes, uint64_t seed);

#endif
