/*
 * What VDI, VHD, VHDX and VMDK have in common: a table that says for every block of the disk where in the file it is,
 * blocks allocated once and never moved, from the end of the file.
 *
 * The table is in memory, as it is in the file, in sectors of 512 bytes.  Order of writes: a block's data goes to the
 * file, then its entry is set in memory; a flush makes data durable (fsync), then writes the table's changed sectors
 * as they were when it began, then makes those durable.  So an entry in the file never leads to bytes that are not
 * there, and a cut loses only blocks nobody has flushed.
 *
 * Threads: as for struct img.  Locks, in this order: flush_lock (one writer of the table), grow_lock (one extends the
 * file), lock (table and counters; never held across I/O, so blocks_map() never waits for the disk).
 */
#ifndef DEVICES_BLOCK_BLOCKS_H
#define DEVICES_BLOCK_BLOCKS_H

#include "devices/block/img.h"

#define BLOCKS_TABLE_MAX MIB(64)
#define BLOCKS_SECTOR 512u
#define BLOCKS_SPARE_MAX 64

struct blocks;

struct blocks_ops {
	/* Entry i; DATA and OPAQUE: *off is where its data begins, bytes.  lock is held. */
	enum img_kind (*get)(const struct blocks *, uint32_t i, uint64_t *off);
	/* The same the other way round, IMG_DATA or IMG_ZERO. */
	void (*set)(struct blocks *, uint32_t i, enum img_kind, uint64_t off);
	/* Where the next block's space begins (grow_lock is held).  NULL: at `end`. */
	uint64_t (*place)(struct blocks *);
	/* May an allocated block be written without claim()?  lock is held.  NULL: yes. */
	bool (*claimed)(const struct blocks *, uint32_t i);
	int (*claim)(struct blocks *, uint32_t i, uint64_t off);
	/* The space is there, what comes before and behind its data is not (grow_lock is held).  NULL: nothing. */
	int (*prepare)(struct blocks *, uint64_t start);
	/* Data is durable, the table is about to be written; has to be durable itself on return.  NULL: nothing. */
	int (*before_table)(struct blocks *);
	/* Writes n sectors of the table from `first`.  NULL: at table_off. */
	int (*write_table)(struct blocks *, uint32_t first, const void *, uint32_t n);
};

struct blocks {
	const struct blocks_ops *ops;
	struct img *img;
	struct bfile *file;
	const char *path;               /* for messages */
	unsigned shift;                 /* a block has 1 << shift bytes */
	unsigned entry_len;             /* bytes of a table entry */
	uint32_t n;                     /* blocks */
	uint32_t chunk;                 /* after so many blocks' entries one of another kind follows; 0: never */
	uint64_t len;                   /* bytes of the disk they cover; the last block may be beyond */
	uint64_t base;                  /* where in img they begin */
	uint64_t table_off;
	uint8_t *table;                 /* as in the file, filled up to whole sectors */
	uint32_t nsect;
	uint32_t before, behind;        /* bytes of file before a block's data, and behind the last block */
	bool whole;                     /* new blocks are written as a whole */
	bool has_zero;                  /* entries can say "zeroes" */
	uint64_t end;                   /* the next block's space, bytes */
	uint64_t file_size;             /* known to be there, bytes; of a block device: all of it */
	uint64_t spare[BLOCKS_SPARE_MAX];       /* starts of blocks whose write failed, to be taken first; grow_lock */
	unsigned nspare;
	pthread_mutex_t flush_lock, grow_lock, lock;
	uint8_t *changed;               /* a byte for every sector of the table */
	uint32_t nchanged;
	bool flushing;                  /* the table is being written */
};

/* Where in the table block i's entry is, counted in entries. */
static inline uint64_t blocks_index(const struct blocks *b, uint32_t i)
{
	return (uint64_t)i + (b->chunk ? i / b->chunk : 0);
}

/* Fills locks and the empty table (entries 0) of n entries; the fields down to `len` are set.  0 or -errno (reported). */
int blocks_init(struct blocks *);
void blocks_fini(struct blocks *);
/* Reads the table at table_off.  0 or -errno (reported). */
int blocks_read_table(struct blocks *);
/*
 * Every entry leads to bytes the file has, its block beginning at or behind data_min; `end` gets the end of the last, at
 * least data_min.
 * 0 or -EINVAL (reported).
 */
int blocks_validate(struct blocks *, uint64_t data_min);

/* As the functions of struct img_driver, off counted from `base`. */
int blocks_map(struct blocks *, uint64_t off, uint64_t len, bool in_place, struct img_seg *);
int blocks_write(struct blocks *, uint64_t off, const struct iovec *, unsigned niov);
int blocks_zero(struct blocks *, uint64_t off, uint64_t len, unsigned flags);
int blocks_discard(struct blocks *, uint64_t off, uint64_t len);
int blocks_flush(struct blocks *);
bool blocks_dirty(struct blocks *);
/* Space for `len` bytes at the end of the file, without any preparation: its offset. */
uint64_t blocks_reserve(struct blocks *, uint64_t len);
/* Makes entry i say kind and off (for what blocks_write does not do). */
void blocks_set(struct blocks *, uint32_t i, enum img_kind, uint64_t off);
enum img_kind blocks_get(struct blocks *, uint32_t i, uint64_t *off);
/* Adds what is to be said of the table: blocks that overlap or lie outside, how many there are. */
int blocks_check(struct blocks *, struct img_check *);

/* n bytes of noise for identifiers; what the kernel has, never waiting. */
void blocks_noise(void *, size_t n);
/* A version 4 UUID. [RFC 9562 5.4] */
void blocks_uuid(uint8_t out[16]);
/* The new file of `create`; device: it may be a block device.  NULL on failure (reported). */
struct bfile *blocks_create_file(const struct img_create *, const char *path, bool device, int *err);
/* Closes it after a flush; removes it when something had failed.  ret, or -errno (reported). */
int blocks_create_done(struct bfile *, int ret);
/* Makes the file `size` long from `from` on, as prealloc wants it.  0 or -errno (reported). */
int blocks_preallocate(struct bfile *, const struct img_create *, uint64_t from, uint64_t size);
/* Rounds to sectors; above max: -EFBIG (reported). */
int blocks_create_size(const struct img_create *, uint64_t max, uint64_t *size);

#endif
