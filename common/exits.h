/*
 * Exits are data: every return of KVM_RUN to user space is counted by kind, with the time until the next entry and a log-2
 * histogram of it; every bus access by range, register and direction; and the last ones are kept in a ring per vCPU, the flight
 * recorder.  Written by the vCPU's own thread only.  Counters may be read on any thread while the vCPU runs (exits_get()), the
 * ring only while it is parked.
 */
#ifndef COMMON_EXITS_H
#define COMMON_EXITS_H

#include <stdint.h>
#include <stdio.h>
#include <stdbool.h>
#include <jansson.h>

enum exit_kind {
	EXIT_PIO, EXIT_MMIO,
	EXIT_HALT,                      /* HLT, MWAIT; WFI, WFE */
	EXIT_HYPERCALL,                 /* VMCALL, VMMCALL; HVC, SMC with PSCI */
	EXIT_SYSREG,                    /* MSR, CR, DR, CPUID, XSETBV; trapped system registers */
	EXIT_IRQ_WINDOW,                /* the guest can take an interrupt now */
	EXIT_EXT_IRQ,                   /* an interrupt of the host */
	EXIT_MEM_FAULT,                 /* nested page fault, EPT violation; stage-2 abort */
	EXIT_EXCEPTION,                 /* of the guest, intercepted by KVM: #PF, #UD, #NM; FP and SIMD traps */
	EXIT_DEBUG,
	EXIT_SIGNAL,                    /* kicked by another thread */
	EXIT_SHUTDOWN,                  /* triple fault */
	EXIT_SYSTEM_EVENT,              /* PSCI off, reset, crash */
	EXIT_FAIL_ENTRY, EXIT_INTERNAL, EXIT_OTHER,
	EXIT_KINDS
};
extern const char *const exit_kind_names[EXIT_KINDS];
extern const char *const exit_kind_help[EXIT_KINDS];    /* what it means, a sentence, for both architectures */

#define EXIT_RING 4096                  /* records, unless exits.ring says something else */
#define EXIT_PRINT 64                   /* of them in a crash report */
#define EXIT_BUCKETS 32                 /* bucket b: [2^b, 2^(b+1)) ns spent in user space; the last is open */
#define EXIT_REGS 768                   /* registers (by direction) counted one by one on a vCPU */
#define EXIT_REGS_RANGE 96              /* of them of one range and direction: the rest of it is counted together */
#define EXIT_REST UINT64_MAX            /* access_stat.off: that rest */

struct bus_range;

/* One exit or, for EXIT_PIO and EXIT_MMIO, one access of it. */
struct exit_rec {
	uint64_t t_ns;                  /* CLOCK_MONOTONIC at its begin */
	uint64_t addr;                  /* port or guest-physical address; kind-specific otherwise */
	uint64_t val;
	const struct bus_range *range;  /* NULL: unclaimed */
	uint8_t kind, size;
	bool write;
};

/* The same in the ring. */
struct ring_rec {
	uint64_t t_ns, addr, val;
	uint32_t ns;                    /* in user space; 4.29 s and above are one */
	uint16_t access;                /* index in exit_stats.access */
	uint16_t kind : 8, size : 7, write : 1;
};
_Static_assert(sizeof(struct ring_rec) == 32, "a ring of 4096 is 128 KiB");

struct access_stat {
	const struct bus_range *range;  /* NULL: unclaimed; stays valid as long as the VM */
	uint64_t off;                   /* from the range's base; the address where unclaimed; EXIT_REST */
	uint16_t kind;                  /* EXIT_PIO, EXIT_MMIO */
	bool write;
	uint16_t nregs;                 /* of EXIT_REST: registers of this range and direction that have an entry */
	uint64_t count, ns;
	uint64_t hist[EXIT_BUCKETS];
};

/* Counters by kind.  Memory behind pointers is touched as it fills: an idle vCPU's costs nothing. */
struct exit_stats {
	bool on;                        /* exits.count */
	uint64_t kind[EXIT_KINDS];      /* exits; string I/O is one */
	uint64_t kind_ns[EXIT_KINDS];   /* from there to the next entry */
	uint64_t kind_hist[EXIT_KINDS][EXIT_BUCKETS];
	uint64_t guest_ns;              /* inside KVM_RUN: also what KVM did itself, and the guest's sleep */
	uint64_t since_ns;              /* of the last entry */
	uint16_t *index;                /* open addressing: 1 + index in access[], 0: free */
	struct access_stat *access;     /* in order of their first access; [0]: what found no place */
	unsigned naccess;               /* entries in use; atomic */
	struct ring_rec *ring;
	unsigned ring_len;
	uint64_t head;                  /* records ever written; the newest is ring[(head - 1) % ring_len] */
};

/* ring_len 0: no statistics at all, every function does nothing.  0 or -ENOMEM. */
int exits_init(struct exit_stats *, unsigned ring_len);
void exits_fini(struct exit_stats *);

/*
 * The vCPU's thread, where s->on: about to enter for the first time since it was parked; back at `now`, once for each entry;
 * one access done, ns after it began; and one exit of this kind done, which began at t_ns: until `now`, when it enters again.
 */
void exits_enter(struct exit_stats *s, uint64_t now);
void exits_left(struct exit_stats *s, uint64_t now);
void exits_access(struct exit_stats *s, const struct exit_rec *, uint64_t ns);
void exits_done(struct exit_stats *s, const struct exit_rec *, uint64_t now);

static inline unsigned exits_bucket(uint64_t ns)
{
	const unsigned b = ns ? 63 - (unsigned)__builtin_clzll(ns) : 0;

	return b < EXIT_BUCKETS ? b : EXIT_BUCKETS - 1;
}

static inline uint64_t exits_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Calls fn for every range and register accessed so far, those that were crowded out as EXIT_REST.  Any thread. */
void exits_walk(const struct exit_stats *, void (*fn)(const struct access_stat *, void *), void *arg);
/* Name of the device and of its register ("+0x4" where it has none), for an offset or EXIT_REST.  In buf. */
const char *exits_device(const struct access_stat *);
const char *exits_register(const struct access_stat *, char *buf, size_t len);
/* [[bucket, count]...] of those above 0. */
json_t *exits_hist_json(const uint64_t hist[EXIT_BUCKETS]);

/* One line for each of the last `limit` records, oldest first, decoded: device, register name, value.  vCPU parked. */
void exits_print(const struct exit_stats *, FILE *, unsigned vcpu, unsigned limit);
json_t *exits_json(const struct exit_stats *, unsigned limit);          /* the same, an array of objects */

#endif
