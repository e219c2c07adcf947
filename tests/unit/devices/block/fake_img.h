/*
 * An image whose driver does what a test says: granules that are missing, compressed or somewhere else, calls that wait
 * at a gate or fail.  It checks what img.h promises drivers: nobody else is in a range that is being changed.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_FAKE_IMG_H
#define TESTS_UNIT_DEVICES_BLOCK_FAKE_IMG_H

#include <semaphore.h>
#include <stdatomic.h>

#include "devices/block/img.h"

#define FAKE_GRANULE 4096u
#define FAKE_GRANULES_MAX 4096u

enum fake_state { FAKE_MISSING, FAKE_DATA, FAKE_ZERO, FAKE_OPAQUE };

struct fake {
	struct img img;                         /* first */
	pthread_mutex_t lock;
	uint8_t state[FAKE_GRANULES_MAX];       /* the first of them; the rest of a larger image is missing */
	uint32_t place[FAKE_GRANULES_MAX];      /* which granule of the file holds it */
	atomic_uint busy[FAKE_GRANULES_MAX];    /* calls in it: 1 a reader, 1000 a writer */
	bool gated;                             /* calls wait for fake_let() */
	sem_t gate;
	atomic_uint entered;                    /* calls that have come to the gate */
	atomic_int fail;                        /* what write, zero, discard and opaque read answer instead of doing it; 0: do it */
	atomic_bool is_dirty;
	atomic_uint reads, writes, zeroes, discards, flushes;
	uint64_t longest;                       /* bytes of the longest zero or discard */
	unsigned linger_us;                     /* in the middle of an allocating write */
};

/* A file in memory; granule i at place i. */
struct fake *fake_new(uint64_t size, enum fake_state);
void fake_let(struct fake *, unsigned n);       /* so many calls pass the gate */
/* Waits until n calls have come to the gate, since the beginning. */
void fake_entered(const struct fake *, unsigned n);

#endif
