#include "common/exits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/bus.h"
#include "common/loop.h"
#include "common/util.h"

#define INDEX_BITS 11
#define INDEX_SIZE (1u << INDEX_BITS)   /* twice the entries */
#define NS_PER_S 1000000000u
#define ACCESS_MAX (INDEX_SIZE / 2)     /* above EXIT_REGS: for the rests of ranges */

const char *const exit_kind_names[EXIT_KINDS] = {
	[EXIT_PIO] = "pio", [EXIT_MMIO] = "mmio", [EXIT_HALT] = "halt", [EXIT_HYPERCALL] = "hypercall", [EXIT_SYSREG] = "sysreg",
	[EXIT_IRQ_WINDOW] = "irq-window", [EXIT_EXT_IRQ] = "external-interrupt", [EXIT_MEM_FAULT] = "memory-fault",
	[EXIT_EXCEPTION] = "exception", [EXIT_DEBUG] = "debug", [EXIT_SIGNAL] = "signal", [EXIT_SHUTDOWN] = "shutdown",
	[EXIT_SYSTEM_EVENT] = "system-event", [EXIT_FAIL_ENTRY] = "fail-entry", [EXIT_INTERNAL] = "internal-error", [EXIT_OTHER] = "other",
};

const char *const exit_kind_help[EXIT_KINDS] = {
	[EXIT_PIO] = "The guest read or wrote an I/O port; only x86 has ports.",
	[EXIT_MMIO] = "The guest read or wrote a device's register in memory space.",
	[EXIT_HALT] = "The guest waits for an interrupt: HLT or MWAIT on x86, WFI or WFE on arm64.",
	[EXIT_HYPERCALL] = "The guest called the hypervisor: VMCALL or VMMCALL on x86, HVC or SMC (PSCI) on arm64.",
	[EXIT_SYSREG] = "The guest used a register or instruction of the CPU that KVM emulates: MSRs, control registers and CPUID on x86, "
			"trapped system registers on arm64.",
	[EXIT_IRQ_WINDOW] = "An interrupt waited until the guest could take it; arm64's interrupt controller needs no such exit.",
	[EXIT_EXT_IRQ] = "An interrupt of the host came while the guest ran.",
	[EXIT_MEM_FAULT] = "The guest touched memory that the host had not mapped yet: nested page faults and EPT violations on x86, "
			   "stage-2 aborts on arm64.",
	[EXIT_EXCEPTION] = "An exception of the guest that KVM looks at first, such as an undefined instruction or the first use of "
			   "vector registers.",
	[EXIT_DEBUG] = "A breakpoint, watchpoint or single step of a debugger.",
	[EXIT_SIGNAL] = "Another thread of skep wanted the vCPU to stop for a moment.",
	[EXIT_SHUTDOWN] = "A triple fault; only x86 has them.",
	[EXIT_SYSTEM_EVENT] = "The guest asked for power-off or reset, or reported its crash, through its firmware interface (PSCI on "
			      "arm64).",
	[EXIT_FAIL_ENTRY] = "The CPU refused to enter the guest in the state it was in.",
	[EXIT_INTERNAL] = "KVM could not emulate what the guest did.",
	[EXIT_OTHER] = "Anything else.",
};

/* Of what found no place: nothing the guest can touch. */
static const struct bus_range no_range = { .name = "others" };

int exits_init(struct exit_stats *s, unsigned ring_len)
{
	memset(s, 0, sizeof(*s));
	if (!ring_len)
		return 0;
	s->index = calloc(INDEX_SIZE, sizeof(*s->index));
	s->access = calloc(ACCESS_MAX, sizeof(*s->access));
	s->ring = calloc(ring_len, sizeof(*s->ring));
	if (!s->index || !s->access || !s->ring) {
		exits_fini(s);
		return -ENOMEM;
	}
	for (unsigned kind = EXIT_PIO; kind <= EXIT_MMIO; kind++)
		s->access[s->naccess++] = (struct access_stat){ .range = &no_range, .off = EXIT_REST, .kind = (uint16_t)kind,
								.self = (uint16_t)kind };
	for (unsigned i = 0; i < EXIT_RECENT; i++)
		s->recent[i].a = &s->access[0];
	s->ring_len = ring_len;
	s->ring_next = s->ring;
	s->ring_end = s->ring + ring_len;
	exits_clock(s, now_ns, NS_PER_S);
	s->on = true;
	return 0;
}

void exits_fini(struct exit_stats *s)
{
	free(s->index);
	free(s->access);
	free(s->ring);
	*s = (struct exit_stats){ .on = false };
}

void exits_clock(struct exit_stats *s, uint64_t (*clock)(void), uint64_t hz)
{
	s->clock = clock;
	s->ns_per_tick = (uint64_t)(((unsigned __int128)NS_PER_S << 32) / hz);
}

/* --- Accesses: by range, register and direction --- */

/* The index's place of this key, or the free one where it would be. */
static uint16_t *find(const struct exit_stats *s, const struct exit_rec *rec, uint64_t off)
{
	const uint64_t h = (((uint64_t)(uintptr_t)rec->range << 20) + off * 4 + rec->kind * 2u + rec->write) * 0x9e3779b97f4a7c15;

	for (unsigned i = (unsigned)(h >> (64 - INDEX_BITS));; i++) {
		uint16_t *at = &s->index[i % INDEX_SIZE];
		const struct access_stat *a = *at ? &s->access[*at - 1] : NULL;

		if (!a || (a->range == rec->range && a->off == off && a->kind == rec->kind && a->write == rec->write))
			return at;
	}
}

static unsigned enter(struct exit_stats *s, const struct exit_rec *rec, uint64_t off, uint16_t *at)
{
	const unsigned n = s->naccess;

	s->access[n] = (struct access_stat){ .range = rec->range, .off = off, .kind = rec->kind, .write = rec->write, .self = (uint16_t)n };
	*at = (uint16_t)(n + 1);
	__atomic_store_n(&s->naccess, n + 1, __ATOMIC_RELEASE);
	return n;
}

/* The first access of a register: an entry of its own while there is room, or its range's. */
static unsigned new_access(struct exit_stats *s, const struct exit_rec *rec, uint64_t off)
{
	uint16_t *at = find(s, rec, EXIT_REST);
	unsigned rest;

	if (!*at && s->naccess == ACCESS_MAX)
		return rec->kind;
	rest = *at ? *at - 1u : enter(s, rec, EXIT_REST, at);
	if (s->access[rest].nregs == EXIT_REGS_RANGE || s->naccess >= EXIT_REGS || off == EXIT_REST)
		return rest;
	s->access[rest].nregs++;
	return enter(s, rec, off, find(s, rec, off));
}

/* A range that has moved meanwhile gives an offset that says nothing, and does no harm. */
static uint64_t offset_of(const struct exit_rec *rec)
{
	return rec->range ? (rec->addr - exits_get(&rec->range->placed_at)) & ~rec->range->stat_skip : rec->addr;
}

struct access_stat *exits_look_up(struct exit_stats *s, const struct exit_rec *rec)
{
	const unsigned i = exits_recent(rec);
	const uint64_t off = offset_of(rec);
	const uint16_t *at = find(s, rec, off);

	s->recent[i].addr = rec->addr;
	s->recent[i].a = &s->access[*at ? *at - 1u : new_access(s, rec, off)];
	return s->recent[i].a;
}

/* --- The vCPU's thread --- */

void exits_enter(struct exit_stats *s, uint64_t now)
{
	s->since = now;
}

static void count_kind(struct exit_stats *s, unsigned kind, uint64_t n, uint64_t ns)
{
	exits_add(&s->kind[kind], n);
	exits_add(&s->kind_ns[kind], n * ns);
	exits_add(&s->kind_hist[kind][exits_bucket(ns)], n);
}

void exits_access(struct exit_stats *s, const struct exit_rec *rec, uint64_t now)
{
	const uint64_t ns = exits_time(s, rec->t, now);

	exits_count(s, rec, exits_look_up(s, rec), ns);
	count_kind(s, rec->kind, UINT64_MAX, ns);       /* -1 */
}

void exits_done(struct exit_stats *s, const struct exit_rec *rec, uint64_t now)
{
	const uint64_t ns = exits_time(s, rec->t, now);

	count_kind(s, rec->kind, 1, ns);
	if (rec->kind != EXIT_PIO && rec->kind != EXIT_MMIO)
		exits_ring_put(s, rec, &s->access[0], (uint32_t)MIN(ns, UINT32_MAX));
	exits_add(&s->guest, rec->t - s->since);
	s->since = now;
}

/* --- Reading --- */

/* A string's accesses may be seen before their exit. */
static uint64_t at_least_0(uint64_t n)
{
	return (int64_t)n < 0 ? 0 : n;
}

uint64_t exits_kind(const struct exit_stats *s, unsigned kind, uint64_t *ns, uint64_t hist[EXIT_BUCKETS])
{
	const unsigned n = __atomic_load_n(&s->naccess, __ATOMIC_ACQUIRE);
	uint64_t count = exits_get(&s->kind[kind]), time = exits_get(&s->kind_ns[kind]), h[EXIT_BUCKETS];

	for (unsigned b = 0; b < EXIT_BUCKETS; b++)
		h[b] = exits_get(&s->kind_hist[kind][b]);
	for (unsigned i = 0; i < n && (kind == EXIT_PIO || kind == EXIT_MMIO); i++) {
		const struct access_stat *a = &s->access[i];

		if (a->kind != kind)
			continue;
		count += exits_get(&a->count);
		time += exits_get(&a->ns);
		for (unsigned b = 0; b < EXIT_BUCKETS; b++)
			h[b] += exits_get(&a->hist[b]);
	}
	if (ns)
		*ns += at_least_0(time);
	for (unsigned b = 0; hist && b < EXIT_BUCKETS; b++)
		hist[b] += at_least_0(h[b]);
	return at_least_0(count);
}

void exits_walk(const struct exit_stats *s, void (*fn)(const struct access_stat *, void *), void *arg)
{
	const unsigned n = __atomic_load_n(&s->naccess, __ATOMIC_ACQUIRE);

	for (unsigned i = 0; i < n; i++) {
		if (exits_get(&s->access[i].count))
			fn(&s->access[i], arg);
	}
}

const char *exits_device(const struct access_stat *a)
{
	return a->range ? a->range->name : "unclaimed";
}

static const char *register_at(const struct bus_range *range, uint64_t off)
{
	const struct reg *r = range ? regs_find(range->regs, range->nregs, off) : NULL;

	return r ? r->name : NULL;
}

const char *exits_register(const struct access_stat *a, char *buf, size_t len)
{
	const char *name = register_at(a->range, a->off);

	if (a->off == EXIT_REST)
		return "others";
	if (!name)
		snprintf(buf, len, "%s%#" PRIx64, a->range ? "+" : "", a->off);
	return name ? name : buf;
}

json_t *exits_hist_json(const uint64_t hist[EXIT_BUCKETS])
{
	json_t *list = json_array();

	for (unsigned b = 0; b < EXIT_BUCKETS; b++) {
		const uint64_t n = exits_get(&hist[b]);

		if (n)
			json_array_append_new(list, json_pack("[i, I]", (int)b, (json_int_t)n));
	}
	return list;
}

/* --- The ring --- */

static bool is_access(const struct ring_rec *rec)
{
	return rec->kind == EXIT_PIO || rec->kind == EXIT_MMIO;
}

/* Its register's name; NULL: it has none. */
static const char *ring_register(const struct access_stat *a, const struct ring_rec *rec)
{
	const uint64_t off = a->off != EXIT_REST || !a->range ? a->off : (rec->addr - a->range->placed_at) & ~a->range->stat_skip;

	return register_at(a->range, off);
}

/* Index of the first of the last `limit` records still held. */
static uint64_t ring_start(const struct exit_stats *s, unsigned limit)
{
	const unsigned most = MIN(limit, s->ring_len);

	return s->head > most ? s->head - most : 0;
}

void exits_print(const struct exit_stats *s, FILE *f, unsigned vcpu, unsigned limit)
{
	const uint64_t start = ring_start(s, limit), newest = s->head ? s->ring[(s->head - 1) % s->ring_len].t : 0;

	fprintf(f, "vcpu %u: last %" PRIu64 " of %" PRIu64 " exits, oldest first:\n", vcpu, s->head - start, s->head);
	for (uint64_t i = start; i < s->head; i++) {
		const struct ring_rec *rec = &s->ring[i % s->ring_len];
		const struct access_stat *a = &s->access[rec->access];
		const char *reg = ring_register(a, rec);

		fprintf(f, "  %10.3f ms  %-12s ", -(double)exits_time(s, rec->t, newest) / 1e6, exit_kind_names[rec->kind]);
		if (is_access(rec))
			fprintf(f, "%-5s %#" PRIx64 "/%u = %#" PRIx64 "  %s%s%s\n", rec->write ? "write" : "read", rec->addr, rec->size,
				rec->val, exits_device(a), reg ? " " : "", reg ? reg : "");
		else
			fprintf(f, "%#" PRIx64 " %#" PRIx64 "\n", rec->addr, rec->val);
	}
}

json_t *exits_json(const struct exit_stats *s, unsigned limit)
{
	const uint64_t now = s->on ? s->clock() : 0, wall = s->clock == now_ns ? now : now_ns();
	json_t *list = json_array();

	for (uint64_t i = ring_start(s, limit); i < s->head; i++) {
		const struct ring_rec *rec = &s->ring[i % s->ring_len];
		const struct access_stat *a = &s->access[rec->access];
		const char *reg = is_access(rec) ? ring_register(a, rec) : NULL;
		const uint64_t t = wall - exits_time(s, rec->t, now);
		json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I, s:i, s:b}", "kind", exit_kind_names[rec->kind], "t_ns", (json_int_t)t, "ns",
				      (json_int_t)rec->ns, "addr", (json_int_t)rec->addr, "value", (json_int_t)rec->val, "size", rec->size,
				      "write", rec->write);

		if (is_access(rec) && a->range)
			json_object_set_new(o, "device", json_string(a->range->name));
		if (reg)
			json_object_set_new(o, "register", json_string(reg));
		json_array_append_new(list, o);
	}
	return list;
}
