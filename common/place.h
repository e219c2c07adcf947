/*
 * What loaders put into guest memory, and where: one list for each start.  It keeps what was placed from being
 * overwritten by what is placed later, and it is what `plan` shows.  Main or loop thread, no vCPU runs.
 */
#ifndef COMMON_PLACE_H
#define COMMON_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/util.h"

struct vm;

struct placement {
	char *what;                     /* "kernel 'PATH'", "initrd 'PATH'", "page tables" */
	uint64_t gpa, len;              /* bytes; len above 0 */
};
struct places {
	struct placement *p;            /* rising addresses, none overlaps another */
	unsigned n;
};

/* A name that one architecture's tables look for again. */
#define PLACE_FDT "device tree"

/* Forgets all: first thing in arch_info.load(). */
void boot_places_clear(struct vm *);
/*
 * Takes [gpa, gpa+len) of guest RAM for what fmt says; the caller fills it.  Nothing for len 0.  0, or reported in one
 * sentence: -ENOSPC (not all of it is RAM), -EEXIST (it meets an earlier placement: both are named).
 */
int boot_place(struct vm *, uint64_t gpa, uint64_t len, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The same, and copies len bytes there; the rest up to mem_len becomes zero.  mem_len below len counts as len. */
int boot_copy(struct vm *, uint64_t gpa, const void *data, uint64_t len, uint64_t mem_len, const char *fmt, ...) PRINTF_LIKE(6, 7);
/* Copies the files of the keys load.N to their addresses. */
struct image;
int boot_blobs(struct vm *, const struct image *);
/*
 * Finds len bytes within [lo, hi), aligned, that nothing has taken: the highest place or the lowest.  Whether it is RAM is
 * the caller's to know.  align: a power of two.  False: there is no such place.
 */
bool boot_find_high(const struct vm *, uint64_t lo, uint64_t hi, uint64_t len, uint64_t align, uint64_t *gpa);
bool boot_find_low(const struct vm *, uint64_t lo, uint64_t hi, uint64_t len, uint64_t align, uint64_t *gpa);
/* The placement of exactly that name; NULL: none. */
const struct placement *boot_placed(const struct vm *, const char *what);

#endif
