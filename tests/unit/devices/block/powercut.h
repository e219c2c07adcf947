/*
 * A file in memory under an image, whose power can be cut: every change and every flush is logged, and the file can be
 * built as it might be found after the power failed between any two entries of the log.
 *
 *	struct powercut *pc = powercut_load(path);              (what qemu-img or img_create() made)
 *	struct img *img = img_open_file(powercut_open(pc, "p", true), NULL, &err);
 *	... img_write_buf(), img_flush(); note powercut_ops(pc) after each flush that returned 0 ...
 *	for (size_t cut = 0; cut <= powercut_ops(pc); cut++) {
 *		struct powercut *after = powercut_after(pc, cut, seed);
 *		... open `after` as above: flushes noted at or below `cut` must have survived; powercut_save() for qemu-img ...
 *		powercut_free(after);
 *	}
 *
 * What a cut leaves: entries 0..cut-1 were issued, of which all before the last flush among them are there in full.
 * Of those after it the seed chooses some, applies them in an order it chooses, and tears them: of each 512-byte sector
 * of a write (cut at multiples of 512 in the file) the old or the new contents are there.  Seed 0 drops them all and
 * seed 1 keeps them all.  Discarded bytes read as 0xdd from then on, after a cut as that or as before.
 *
 * The calls of the files are safe on any thread; cutting, saving and freeing want the log at rest.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_POWERCUT_H
#define TESTS_UNIT_DEVICES_BLOCK_POWERCUT_H

#include "devices/block/bfile.h"

struct powercut;

/* Of these contents, which are on the medium; len 0: empty. */
struct powercut *powercut_new(const void *contents, size_t len);
/* Of a file's contents. */
struct powercut *powercut_load(const char *path);
void powercut_free(struct powercut *);          /* after its files were closed; NULL ok */

/* As a file, as often as wanted, also again after a close. */
struct bfile *powercut_open(struct powercut *, const char *name, bool writable);
/* Entries of the log by now. */
size_t powercut_ops(struct powercut *);
/* Is that entry a flush? */
bool powercut_is_flush(struct powercut *, size_t entry);
/* "write 0x10000 512", for messages of tests; in a buffer of the caller's. */
const char *powercut_describe(struct powercut *, size_t entry, char *buf, size_t size);
/* A new one, all on the medium and with an empty log.  Cheapest when `cut` ascends from call to call. */
struct powercut *powercut_after(struct powercut *, size_t cut, uint64_t seed);

/* The contents as they read now; valid until the next change. */
const uint8_t *powercut_data(struct powercut *, size_t *len);
/* The same as a real file, made or replaced. */
void powercut_save(struct powercut *, const char *path);

/*
 * Errors.  The calls of these kinds are counted from now on, and number `nth` (0: the next one) gives `err` (-EIO,
 * -ENOSPC), with for_ever also all that follow.  A failing write has changed the first half of its bytes; of all
 * others nothing is done.  kinds 0: no more errors.
 */
enum { POWERCUT_READ = 1, POWERCUT_WRITE = 2, POWERCUT_FLUSH = 4, POWERCUT_TRUNCATE = 8, POWERCUT_ZERO = 16 };
void powercut_fail(struct powercut *, unsigned kinds, uint64_t nth, int err, bool for_ever);
/* Did the error of powercut_fail() come up? */
bool powercut_failed(struct powercut *);
/* A medium of that many bytes: what would make the file longer than that gives -ENOSPC.  Default: 1 GiB. */
void powercut_limit(struct powercut *, uint64_t bytes);

#endif
