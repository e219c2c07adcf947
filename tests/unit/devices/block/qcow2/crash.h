/*
 * Crash tests of qcow2: a random workload on an image in a powercut file (../powercut.h), then the power fails after every
 * write of its log.  What is found must open, have no corruption, and hold in each sector the value of the last
 * completed flush or one written after it; snapshots must all be there, unchanged.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_QCOW2_CRASH_H
#define TESTS_UNIT_DEVICES_BLOCK_QCOW2_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crash_conf {
	const char *name;
	uint64_t size;                  /* bytes */
	uint32_t cluster;
	unsigned version, refcount_bits;        /* 0: the default */
	bool lazy, extended;
	bool backing;                   /* a raw image, three quarters as large */
	bool compressed;                /* starts full of compressed clusters (made by qemu-img) */
	bool snapshots, resize;         /* in the workload */
	uint64_t cache_max;             /* bytes */
};

extern const struct crash_conf crash_confs[];   /* ends with a NULL name */

struct crash_run {
	uint64_t seed;
	unsigned ops;                   /* of the workload */
	unsigned step;                  /* every how many-th cut point is tried */
	unsigned chances;               /* outcomes of each (at least 1): all lost, all kept, then random ones */
	unsigned qemu_every;            /* outcomes between two that `qemu-img check` sees too; 0: none */
	double until;                   /* CLOCK_MONOTONIC seconds after which no further cut is tried; 0: no limit */
};

struct crash_stats {
	uint64_t points, outcomes, repaired, qemu, leaky;
};

/* Adds to the figures.  0, or -1 after a message on standard error that says how to repeat it. */
int crash_workload(const struct crash_conf *, const struct crash_run *, struct crash_stats *);
/* The power fails while a crashed or damaged image is being repaired, twice in a row. */
int crash_repair(const struct crash_conf *, const struct crash_run *, struct crash_stats *);
/* Several threads at once; `backing`, `compressed`, `snapshots` and `resize` are left aside. */
int crash_threads(const struct crash_conf *, const struct crash_run *, struct crash_stats *);
/* An overlay of this kind is written into its base and emptied. */
int crash_commit(const struct crash_conf *, const struct crash_run *, struct crash_stats *);
bool crash_time_is_up(const struct crash_run *);
/* CRASH_SEED of the environment, else what is given. */
uint64_t crash_seed(uint64_t);

#endif
