#include "common/exits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/bus.h"
#include "common/util.h"

const char *const exit_kind_names[EXIT_KINDS] = {
	[EXIT_PIO] = "pio", [EXIT_MMIO] = "mmio", [EXIT_HALT] = "halt", [EXIT_HYPERCALL] = "hypercall", [EXIT_SYSREG] = "sysreg",
	[EXIT_IRQ_WINDOW] = "irq-window", [EXIT_DEBUG] = "debug", [EXIT_SIGNAL] = "signal", [EXIT_SHUTDOWN] = "shutdown",
	[EXIT_SYSTEM_EVENT] = "system-event", [EXIT_FAIL_ENTRY] = "fail-entry", [EXIT_INTERNAL] = "internal-error", [EXIT_OTHER] = "other",
};

int exits_init(struct exit_stats *s, unsigned nstat_ids)
{
	memset(s, 0, sizeof(*s));
	s->access = calloc((size_t)nstat_ids * 2, sizeof(*s->access));
	if (!s->access)
		return -ENOMEM;
	s->naccess = nstat_ids * 2;
	return 0;
}

void exits_fini(struct exit_stats *s)
{
	free(s->access);
	s->access = NULL;
	s->naccess = 0;
}

static unsigned bucket(uint64_t ns)
{
	unsigned b = ns ? 63 - (unsigned)__builtin_clzll(ns) : 0;
	return MIN(b, EXIT_BUCKETS - 1u);
}

void exits_add(struct exit_stats *s, const struct exit_rec *rec, uint64_t ns)
{
	s->kind[rec->kind]++;
	s->ring[s->head++ % EXIT_RING] = *rec;
	if (rec->kind != EXIT_PIO && rec->kind != EXIT_MMIO)
		return;
	unsigned i = (rec->range ? rec->range->stat_id : 0) * 2 + rec->write;
	if (i >= s->naccess)
		return;
	s->access[i].count++;
	s->access[i].hist[bucket(ns)]++;
}

static const char *register_name(const struct exit_rec *rec)
{
	const struct reg *r = rec->range ? regs_find(rec->range->regs, rec->range->nregs, rec->addr - rec->range->base) : NULL;
	return r ? r->name : NULL;
}

static void print_rec(const struct exit_rec *rec, uint64_t newest_ns, FILE *f)
{
	fprintf(f, "  %10.3f ms  %-12s", -(double)(newest_ns - rec->t_ns) / 1e6, exit_kind_names[rec->kind]);
	if (rec->kind == EXIT_PIO || rec->kind == EXIT_MMIO) {
		const char *reg = register_name(rec);
		fprintf(f, " %-5s %#" PRIx64 "/%u = %#" PRIx64 "  %s%s%s", rec->write ? "write" : "read", rec->addr, rec->size, rec->val,
			rec->range ? rec->range->name : "unclaimed", reg ? " " : "", reg ? reg : "");
	} else {
		fprintf(f, " %#" PRIx64 " %#" PRIx64, rec->addr, rec->val);
	}
	fputc('\n', f);
}

/* Index of the oldest record still held. */
static uint64_t ring_start(const struct exit_stats *s)
{
	return s->head > EXIT_RING ? s->head - EXIT_RING : 0;
}

void exits_print(const struct exit_stats *s, FILE *f, unsigned vcpu)
{
	fprintf(f, "vcpu %u: last %" PRIu64 " of %" PRIu64 " exits, oldest first:\n", vcpu, s->head - ring_start(s), s->head);
	for (uint64_t i = ring_start(s); i < s->head; i++)
		print_rec(&s->ring[i % EXIT_RING], s->ring[(s->head - 1) % EXIT_RING].t_ns, f);
}

json_t *exits_json(const struct exit_stats *s)
{
	json_t *list = json_array();
	for (uint64_t i = ring_start(s); i < s->head; i++) {
		const struct exit_rec *rec = &s->ring[i % EXIT_RING];
		const char *reg = register_name(rec);
		json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:i, s:b}", "kind", exit_kind_names[rec->kind], "t_ns", (json_int_t)rec->t_ns,
				      "addr", (json_int_t)rec->addr, "value", (json_int_t)rec->val, "size", rec->size, "write", rec->write);
		if (rec->range)
			json_object_set_new(o, "device", json_string(rec->range->name));
		if (reg)
			json_object_set_new(o, "register", json_string(reg));
		json_array_append_new(list, o);
	}
	return list;
}
