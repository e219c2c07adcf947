/*
 * What a flash device holds: the bytes in memory, and the file behind them.
 */
#ifndef DEVICES_PFLASH_BANK_H
#define DEVICES_PFLASH_BANK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pflash_spec;

#define PFLASH_BUFFER_MAX 4096u          /* bytes that one program operation changes at most */

struct pflash_bank {
	uint8_t *data;                  /* page-aligned, as a memslot needs it */
	uint64_t len;                   /* bytes of the device */
	uint64_t map_len;               /* whole pages */
	uint32_t block;
	bool *changed;                  /* by block; only without a file to write to */
	char *path;                     /* persistent: for messages */
	int fd;                         /* persistent: written through, locked; else -1 */
	uint64_t file_len;              /* of fd */
	atomic_bool dirty;              /* the file has data that may not be on the disk */
	bool told;                      /* a failed write has been reported */
};

/* Reads the content as the specification says; 0 or -errno (reported), then nothing is left behind. */
int pflash_bank_open(struct pflash_bank *, const struct pflash_spec *, bool dry);
void pflash_bank_close(struct pflash_bank *);           /* with everything on the disk; a zeroed bank is fine */
/*
 * Clears the bits that are 0 in `bits`, or sets all bits of whole blocks; off and len lie in the device.  In the
 * file, too, when there is one.  0 or -EIO (the host's reason is reported once); then nothing has changed.
 */
int pflash_bank_program(struct pflash_bank *, uint64_t off, const uint8_t *bits, uint32_t len);
int pflash_bank_erase(struct pflash_bank *, uint64_t off, uint32_t len);
/* Waits until the file is on the disk.  Any thread. */
void pflash_bank_sync(struct pflash_bank *);

/* Changed blocks, each behind its number (32 bits); NULL: none, or out of memory (reported).  *len gets the bytes. */
uint8_t *pflash_bank_changes(const struct pflash_bank *, uint32_t *len);
/* Puts them back.  -EINVAL: they are not of such a bank; nothing has changed then. */
int pflash_bank_apply(struct pflash_bank *, const uint8_t *changes, uint32_t len);

#endif
