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
#define EXIT_RECENT 256                 /* by the low 6 bits of the address, kind and direction */
#define EXIT_REST UINT64_MAX            /* access_stat.off: that rest */

struct bus_range;

/* One exit or, for EXIT_PIO and EXIT_MMIO, one access of it. */
struct exit_rec {
	uint64_t t;                     /* when it began, by the clock of exit_stats */
	uint64_t addr;                  /* port or guest-physical address; kind-specific otherwise */
	uint64_t val;
	const struct bus_range *range;  /* NULL: unclaimed */
	uint8_t kind;
	uint8_t size : 7, write : 1;
};

/* The same in the ring. */
struct ring_rec {
	uint64_t t, addr, val;
	uint32_t ns;                    /* in user space; 4.29 s and above are one */
	uint16_t access;                /* index in exit_stats.access */
	uint8_t kind;
	uint8_t size : 7, write : 1;
};
_Static_assert(sizeof(struct ring_rec) == 32, "a ring of 4096 is 128 KiB");

struct access_stat {
	const struct bus_range *range;  /* NULL: unclaimed; stays valid as long as the VM; one on no bus: no place was left */
	uint64_t off;                   /* from the range's base; the address where unclaimed; EXIT_REST */
	uint16_t kind;                  /* EXIT_PIO, EXIT_MMIO */
	bool write;
	uint16_t self;                  /* index in access[] */
	uint16_t nregs;                 /* of EXIT_REST: registers of this range and direction that have an entry */
	uint64_t count, ns;
	uint64_t hist[EXIT_BUCKETS];
};

/* Counters by kind.  Memory behind pointers is touched as it fills: an idle vCPU's costs nothing. */
struct exit_stats {
	bool on;                        /* exits.count */
	uint64_t (*clock)(void);        /* what every time below is read from; now_ns() unless exits_clock() says better */
	uint64_t ns_per_tick;           /* of that clock, 32 bits of it behind the point */
	/*
	 * Exits and the time from there to the next entry.  Those that were one access are only counted in access[]; string I/O is one
	 * exit, so its accesses are taken off here, below 0 if need be.  exits_kind() tells the sum.
	 */
	uint64_t kind[EXIT_KINDS], kind_ns[EXIT_KINDS];
	uint64_t kind_hist[EXIT_KINDS][EXIT_BUCKETS];
	uint64_t guest;                 /* inside KVM_RUN, by that clock: also what KVM did itself, and the guest's sleep */
	uint64_t since;                 /* the last entry, by that clock */
	struct { uint64_t addr; struct access_stat *a; } recent[EXIT_RECENT];   /* looked at before the index */
	uint16_t *index;                /* open addressing: 1 + index in access[], 0: free */
	struct access_stat *access;     /* in order of their first access; [EXIT_PIO], [EXIT_MMIO]: without a place */
	unsigned naccess;               /* entries in use; atomic */
	struct ring_rec *ring, *ring_end, *ring_next;   /* the next record goes to ring[head % ring_len] */
	unsigned ring_len;
	uint64_t head;                  /* records ever written; the newest is ring[(head - 1) % ring_len] */
};

/* ring_len 0: no statistics at all, every function does nothing.  0 or -ENOMEM. */
int exits_init(struct exit_stats *, unsigned ring_len);
void exits_fini(struct exit_stats *);
/* Before the first exit: a clock cheaper to read than now_ns(), of this frequency. */
void exits_clock(struct exit_stats *, uint64_t (*clock)(void), uint64_t hz);

/*
 * The vCPU's thread, where s->on; every time is by s->clock.  About to enter for the first time since it was parked; one of several
 * accesses done; one exit of this kind done, which began at rec->t: until `now`, when it enters again; and the same of an exit that
 * was one access.  The last is the path of nearly every exit: within 2 % of what the exit costs without (tests/bench/exits.sh).
 */
void exits_enter(struct exit_stats *s, uint64_t now);
void exits_access(struct exit_stats *s, const struct exit_rec *, uint64_t now);
void exits_done(struct exit_stats *s, const struct exit_rec *, uint64_t now);

/* Between two readings of s->clock; one that has gone back, as after the host's sleep, has not moved. */
static inline uint64_t exits_time(const struct exit_stats *s, uint64_t from, uint64_t to)
{
	const uint64_t ticks = from < to ? to - from : 0;

	return (uint64_t)((unsigned __int128)ticks * s->ns_per_tick >> 32);
}

static inline uint64_t exits_guest_ns(const struct exit_stats *s)
{
	return exits_time(s, 0, __atomic_load_n(&s->guest, __ATOMIC_RELAXED));
}

static inline unsigned exits_bucket(uint64_t ns)
{
	const unsigned b = 63u ^ (unsigned)__builtin_clzll(ns | 1);

	return b < EXIT_BUCKETS ? b : EXIT_BUCKETS - 1;
}

/* Only the vCPU's thread writes it: no locked instruction. */
static inline void exits_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline void exits_ring_put(struct exit_stats *s, const struct exit_rec *rec, const struct access_stat *a, uint32_t ns)
{
	struct ring_rec *r = s->ring_next;

	*r = (struct ring_rec){ .t = rec->t, .addr = rec->addr, .val = rec->val, .ns = ns, .access = a->self, .kind = rec->kind,
				.size = rec->size, .write = rec->write };
	s->ring_next = r + 1 == s->ring_end ? s->ring : r + 1;
	s->head++;
}

static inline void exits_count(struct exit_stats *s, const struct exit_rec *rec, struct access_stat *a, uint64_t ns)
{
	const uint32_t least = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;

	exits_add(&a->count, 1);
	exits_add(&a->ns, ns);
	exits_add(&a->hist[exits_bucket(least)], 1);
	exits_ring_put(s, rec, a, least);
}

static inline unsigned exits_recent(const struct exit_rec *rec)
{
	return (rec->addr & 63) << 2 | (rec->kind == EXIT_MMIO) << 1 | rec->write;
}

struct access_stat *exits_look_up(struct exit_stats *s, const struct exit_rec *);       /* of exits.c */

/* What moves is a BAR, by a multiple of its length: an address that is still the same range's is still the same register's. */
static inline __attribute__((always_inline)) void exits_one_access(struct exit_stats *s, const struct exit_rec *rec, uint64_t now)
{
	const unsigned i = exits_recent(rec);
	struct access_stat *a = s->recent[i].a;

	if (__builtin_expect(s->recent[i].addr != rec->addr || a->range != rec->range, false))
		a = exits_look_up(s, rec);
	exits_count(s, rec, a, exits_time(s, rec->t, now));
	exits_add(&s->guest, rec->t - s->since);
	s->since = now;
}

static inline uint64_t exits_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Exits of this kind; adds their time and histogram, where wanted.  Any thread. */
uint64_t exits_kind(const struct exit_stats *, unsigned kind, uint64_t *ns, uint64_t hist[EXIT_BUCKETS]);
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
