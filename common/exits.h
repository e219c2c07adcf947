/*
 * Exits are data: every return of KVM_RUN to user space is counted by kind, every bus access by range and
 * direction with a log-2 latency histogram, and the last ones are kept in a ring per vCPU.
 * Written by the vCPU's own thread only; readers on other threads may see a record half-written while the
 * vCPU runs, never while it is parked.
 */
#ifndef COMMON_EXITS_H
#define COMMON_EXITS_H

#include <stdint.h>
#include <stdio.h>
#include <stdbool.h>
#include <jansson.h>

enum exit_kind {
	EXIT_PIO, EXIT_MMIO, EXIT_HALT, EXIT_HYPERCALL, EXIT_SYSREG, EXIT_IRQ_WINDOW, EXIT_DEBUG,
	EXIT_SIGNAL,                    /* kicked by another thread */
	EXIT_SHUTDOWN,                  /* triple fault */
	EXIT_SYSTEM_EVENT,              /* PSCI off, reset, crash */
	EXIT_FAIL_ENTRY, EXIT_INTERNAL, EXIT_OTHER,
	EXIT_KINDS
};
extern const char *const exit_kind_names[EXIT_KINDS];

#define EXIT_RING 64
#define EXIT_BUCKETS 32                 /* bucket b: [2^b, 2^(b+1)) ns spent in user space; the last is open */

struct bus_range;
struct exit_rec {
	uint64_t t_ns;                  /* CLOCK_MONOTONIC at the exit */
	uint64_t addr;                  /* port or guest-physical address; kind-specific otherwise */
	uint64_t val;
	const struct bus_range *range;  /* NULL: unclaimed */
	uint8_t kind, size;
	bool write;
};
struct access_stat {
	uint64_t count;
	uint64_t hist[EXIT_BUCKETS];
};
struct exit_stats {
	uint64_t kind[EXIT_KINDS];
	struct access_stat *access;     /* [stat_id * 2 + write]; stat_id 0: unclaimed */
	unsigned naccess;
	struct exit_rec ring[EXIT_RING];
	uint64_t head;                  /* records ever written; the newest is ring[(head - 1) % EXIT_RING] */
};

int exits_init(struct exit_stats *, unsigned nstat_ids);        /* 0 or -ENOMEM */
void exits_fini(struct exit_stats *);
/* One finished exit; ns: time spent in user space.  vCPU thread. */
void exits_add(struct exit_stats *, const struct exit_rec *, uint64_t ns);
/* One line per record, oldest first, decoded: device, register name, value. */
void exits_print(const struct exit_stats *, FILE *, unsigned vcpu);
json_t *exits_json(const struct exit_stats *);                  /* the ring, for exit.json */

#endif
