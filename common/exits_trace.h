/*
 * Exits that KVM handles itself, by its tracepoints kvm_exit and kvm_entry: which reason, how often, how long until the guest went
 * on.  Needs tracefs and root; costs the guest some 10 % and more, so it is switched on for a recording.
 */
#ifndef COMMON_EXITS_TRACE_H
#define COMMON_EXITS_TRACE_H

#include <jansson.h>
#include <stdint.h>

#include "common/exits.h"
#include "common/kvmstats.h"

struct vm;

/* Loop thread, or before it runs; vCPU threads exist.  0, also when it traces already, or -errno (reported). */
int exits_trace_start(struct vm *);
/* What was counted goes with it.  Nothing without one. */
void exits_trace_stop(struct vm *);
/* Of now, an array, and the events lost; NULL: not tracing.  Loop thread. */
json_t *exits_trace_json(struct vm *, uint64_t *lost);

/* --- The parts that need no tracefs --- */

/* Where a field is in an event, by its "format" file; false: it has none such. */
struct trace_field { uint16_t off, size; };
struct trace_format {
	uint16_t id;
	struct trace_field group, reason;
};
bool trace_format_parse(const char *text, const char *group, const char *reason, struct trace_format *out);

struct trace_event {
	uint64_t t_ns;
	int32_t tid;
	uint16_t group, reason;         /* of an exit; larger numbers are UINT16_MAX */
	bool exit;                      /* false: entry */
};
/*
 * The events of one page of a ring buffer [Linux include/linux/ring_buffer.h], which may be anything: calls fn for each of the two
 * kinds.  Returns the number of events that were lost before it, as far as it says.
 */
uint64_t trace_page_parse(const uint8_t *page, size_t len, const struct trace_format *exit, const struct trace_format *entry,
			  void (*fn)(const struct trace_event *, void *), void *arg);

/* Sums by reason.  Events in order of time. */
struct trace_sum {
	uint16_t group, reason;
	uint64_t count, ns;
	uint64_t hist[EXIT_BUCKETS];
};
#define TRACE_SUMS 128
struct trace_sums {
	unsigned n, nvcpus;
	struct trace_sum sum[TRACE_SUMS];       /* the last takes what finds no place */
	struct { int32_t tid; uint64_t t_ns; struct trace_sum *sum; } *vcpu;    /* the exit it is out for; sum NULL: none */
};
void trace_add(struct trace_sums *, const struct trace_event *);
json_t *trace_sums_json(const struct trace_sums *, const struct arch_exits *);

#endif
