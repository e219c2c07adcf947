/*
 * An address space (MMIO or port I/O): sorted ranges of devices.  Any size of 1..8 bytes at any offset is
 * legal input; what nobody claims reads all-ones and swallows writes.
 *
 * The map's own lock is held only for the lookup.  The dispatcher then takes the range's `lock` (the
 * device's mutex), so models read as single-threaded; a device that does its own locking leaves it NULL.
 * A range must stay valid until no vCPU runs: removing one only unlinks it.
 */
#ifndef COMMON_BUS_H
#define COMMON_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct io_ops {
	/* off: from the range's base; size: 1, 2, 4 or 8 and off + size <= len.  Value in the low bytes. */
	uint64_t (*read)(void *dev, uint64_t off, unsigned size);
	void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
};

struct bus_range {
	const char *name;               /* "com1", "virtio-blk 0:3.0 bar0": for messages and exit records */
	uint64_t base, len;
	const struct io_ops *ops;
	void *dev;                      /* first argument of the ops */
	pthread_mutex_t *lock;          /* taken around the ops; NULL: the device is self-locking */
	const struct reg *regs;         /* for decoding exit records; may be NULL */
	unsigned nregs;
	/*
	 * Accesses at the base up to this size come whole, even beyond len: CONFIG_ADDRESS is a dword at 0xcf8
	 * although the byte at 0xcf9 is the reset control register.  0: nothing of the kind.
	 */
	unsigned wide;
	uint64_t stat_skip;             /* bits of an offset that do not say which register it is: the device of an ECAM address */
	uint64_t placed_at;             /* the base when it was last added: for exit statistics, which take no lock; atomic */
	bool mapped;                    /* on a bus now; bus_add and bus_del keep it */
};

struct bus {
	const char *name;               /* "mmio", "pio" */
	uint64_t limit;                 /* last valid address */
	pthread_rwlock_t lock;
	struct bus_range **r;           /* sorted by base */
	unsigned n, cap;
};

int bus_init(struct bus *, const char *name, uint64_t limit);
void bus_fini(struct bus *);

/*
 * Puts a range the caller owns on the bus.  0; -EEXIST on overlap (both names reported), -EINVAL on zero
 * length or wrap, -ENOMEM.  Any thread; not from inside a handler of the same bus's lookup.
 */
int bus_add(struct bus *, struct bus_range *);
/* As bus_add, but an overlap is silent: for BARs the guest places. */
int bus_try_add(struct bus *, struct bus_range *);
void bus_del(struct bus *, struct bus_range *);

/*
 * One access from a vCPU.  `size` 1..8.  Accesses that leave the range they begin in are carried out byte
 * by byte.  Returns the range hit by the first byte, NULL when unclaimed (reads: *val all-ones).
 */
const struct bus_range *bus_read(struct bus *, uint64_t addr, unsigned size, uint64_t *val);
const struct bus_range *bus_write(struct bus *, uint64_t addr, unsigned size, uint64_t val);
/* The range holding addr, or NULL.  The answer may be stale as soon as it is given. */
const struct bus_range *bus_find(struct bus *, uint64_t addr);
/* Calls fn for every range in address order, under the map's lock: fn must not touch the bus. */
void bus_walk(struct bus *, void (*fn)(const struct bus_range *, void *), void *);

/*
 * Register tables.  A chip lists its registers; reg_ops splits and merges accesses so that handlers only
 * see whole registers.  Reads of holes give 0 (reg_ops), writes to them are dropped.
 */
struct reg {
	uint16_t off;
	uint8_t width;                  /* bytes: 1, 2, 4 or 8 */
	const char *name;               /* the data sheet's spelling */
	uint64_t (*rd)(void *dev, const struct reg *);          /* NULL: write-only, reads as 0 */
	void (*wr)(void *dev, const struct reg *, uint64_t);    /* NULL: read-only, write dropped */
	unsigned arg;                   /* free for handlers shared by several rows */
};
/*
 * Generic access through a table sorted by `off`.  An access wider than a register covers the following
 * registers too, in rising order; a narrower read gives the bytes asked for; a narrower write arrives
 * zero-extended in its byte lane, except at the register's first byte, where it arrives as it is.
 */
uint64_t regs_read(const struct reg *, unsigned nregs, void *dev, uint64_t off, unsigned size);
void regs_write(const struct reg *, unsigned nregs, void *dev, uint64_t off, unsigned size, uint64_t val);
const struct reg *regs_find(const struct reg *, unsigned nregs, uint64_t off);

#endif
