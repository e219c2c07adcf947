/*
 * KVM's tracepoints through an instance of tracefs of this VM's own [Linux Documentation/trace/ftrace.rst], which nothing else on
 * the host notices.  Its ring buffers are read raw, a page at a time, because the text has microseconds only; times are those of
 * CLOCK_MONOTONIC.  Each CPU has a buffer, and a vCPU may leave the guest on one and enter it on another: what is read is put in
 * order first, and what is younger than the begin of the reading waits for the next.
 */
#include "common/exits_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"

#define READ_NS 50000000u               /* how often */
#define BUFFER_KIB 1024                 /* of each CPU: what 200,000 exits a second need in that time */
#define BUFFERS_KIB 16384               /* of all */
#define PAGE_MAX 65536
#define EVENTS_MAX (1u << 18)           /* of one reading */

/* --- Formats: lines "field:TYPE NAME; offset:N; size:N; signed:N;" --- */

static bool find_field(const char *text, const char *name, struct trace_field *out)
{
	const size_t len = strlen(name);

	for (const char *at = text; (at = strstr(at, name)); at++) {
		unsigned off, size;

		if (at == text || at[-1] != ' ' || at[len] != ';' || sscanf(at + len, "; offset:%u; size:%u;", &off, &size) != 2)
			continue;
		*out = (struct trace_field){ (uint16_t)off, (uint16_t)size };
		return off < PAGE_MAX && (size == 4 || size == 8);
	}
	return false;
}

bool trace_format_parse(const char *text, const char *group, const char *reason, struct trace_format *out)
{
	const char *id = strstr(text, "\nID: ");
	unsigned n;

	*out = (struct trace_format){ .id = 0 };
	if (!id || sscanf(id, " ID: %u", &n) != 1 || n > UINT16_MAX)
		return false;
	out->id = (uint16_t)n;
	return !group || (find_field(text, group, &out->group) && find_field(text, reason, &out->reason));
}

/* --- Pages: time, commit, then events: a word of type and time since the last, then their data --- */

enum { PAGE_TIME = 0, PAGE_COMMIT = 8, PAGE_EVENTS = 16 };
enum { COMMIT_LEN = 0xfffff, COMMIT_STORED = 1 << 30, COMMIT_MISSED = 1u << 31 };
enum { TYPE_DATA_MAX = 28, TYPE_PADDING, TYPE_TIME_EXTEND, TYPE_TIME_STAMP };
enum { COMMON_TYPE = 0, COMMON_PID = 4, COMMON_LEN = 8 };

static uint16_t value_of(const uint8_t *data, size_t len, struct trace_field f, uint32_t mask)
{
	const uint32_t v = (size_t)f.off + 4 <= len ? get_le32(data + f.off) & mask : UINT32_MAX;

	return (uint16_t)MIN(v, UINT16_MAX);
}

struct page_walk {
	const struct trace_format *exit, *entry;
	void (*fn)(const struct trace_event *, void *);
	void *arg;
};

static void page_event(const struct page_walk *w, const uint8_t *data, size_t len, uint64_t t)
{
	const uint16_t id = len >= COMMON_LEN ? get_le16(data + COMMON_TYPE) : 0;
	struct trace_event e = { .t_ns = t, .exit = id == w->exit->id };

	if (!id || (!e.exit && id != w->entry->id))
		return;
	e.tid = (int32_t)get_le32(data + COMMON_PID);
	if (e.exit) {
		e.group = value_of(data, len, w->exit->group, UINT32_MAX);
		e.reason = value_of(data, len, w->exit->reason, 0xffff);        /* VT-x: flags above; SVM: -1 is an invalid state */
	}
	w->fn(&e, w->arg);
}

uint64_t trace_page_parse(const uint8_t *page, size_t len, const struct trace_format *exit, const struct trace_format *entry,
			  void (*fn)(const struct trace_event *, void *), void *arg)
{
	const struct page_walk w = { exit, entry, fn, arg };

	if (len < PAGE_EVENTS)
		return 0;
	const uint32_t commit = (uint32_t)get_le64(page + PAGE_COMMIT);
	const size_t end = MIN((size_t)(commit & COMMIT_LEN), len - PAGE_EVENTS) + PAGE_EVENTS;
	uint64_t t = get_le64(page + PAGE_TIME);

	for (size_t at = PAGE_EVENTS; end - at >= 4;) {
		const uint32_t head = get_le32(page + at), type = head & 31, delta = head >> 5;
		const bool second = type == 0 || type > TYPE_DATA_MAX;          /* a second word follows */
		uint32_t word = 0;
		size_t data = at + 4, n;

		if (second && end - data < 4)
			break;
		if (second)
			word = get_le32(page + data);
		if (type == TYPE_PADDING && !delta)
			break;
		if (type == TYPE_TIME_STAMP)
			t = (t & ~(BIT64(59) - 1)) | (uint64_t)word << 27 | delta;
		else
			t += delta + (type == TYPE_TIME_EXTEND ? (uint64_t)word << 27 : 0);
		if (type == TYPE_TIME_EXTEND || type == TYPE_TIME_STAMP)
			n = 4;
		else
			n = second ? word : type * 4;
		/* The length in a second word is that word's as well. */
		if (n > end - data || (second && n < 4))
			break;
		if (type <= TYPE_DATA_MAX)
			page_event(&w, page + data + (second ? 4 : 0), n - (second ? 4 : 0), t);
		at = data + n;
	}
	if (!(commit & COMMIT_MISSED))
		return 0;
	/* How many stands behind the events, where there is room. */
	return commit & COMMIT_STORED && len - end >= 8 ? MAX(get_le64(page + end), 1u) : 1;
}

/* --- Sums --- */

static struct trace_sum *sum_of(struct trace_sums *s, const struct trace_event *e)
{
	for (unsigned i = 0; i < s->n; i++) {
		if (s->sum[i].group == e->group && s->sum[i].reason == e->reason)
			return &s->sum[i];
	}
	if (s->n == TRACE_SUMS)
		return &s->sum[TRACE_SUMS - 1];
	s->sum[s->n] = (struct trace_sum){ .group = e->group, .reason = e->reason };
	if (s->n == TRACE_SUMS - 1)
		s->sum[s->n].group = s->sum[s->n].reason = UINT16_MAX;
	return &s->sum[s->n++];
}

void trace_add(struct trace_sums *s, const struct trace_event *e)
{
	unsigned v = 0;

	while (v < s->nvcpus && s->vcpu[v].tid != e->tid)
		v++;
	if (v == s->nvcpus)
		return;
	if (e->exit) {
		s->vcpu[v].sum = sum_of(s, e);
		s->vcpu[v].t_ns = e->t_ns;
		s->vcpu[v].sum->count++;
	} else if (s->vcpu[v].sum) {
		const uint64_t ns = e->t_ns > s->vcpu[v].t_ns ? e->t_ns - s->vcpu[v].t_ns : 0;

		s->vcpu[v].sum->ns += ns;
		s->vcpu[v].sum->hist[exits_bucket(ns)]++;
		s->vcpu[v].sum = NULL;
	}
}

json_t *trace_sums_json(const struct trace_sums *s, const struct arch_exits *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < s->n; i++) {
		char name[48];
		const struct trace_sum *t = &s->sum[i];
		const enum exit_kind kind = exit_reason_name(a, t->group, t->reason, name, sizeof(name));

		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:o}", "reason", name, "kind", exit_kind_names[kind], "count",
						      (json_int_t)t->count, "ns", (json_int_t)t->ns, "hist", exits_hist_json(t->hist)));
	}
	return list;
}

/* --- The instance --- */

struct exits_trace {
	struct vm *vm;
	char dir[160];                  /* of the instance */
	struct trace_format exit, entry;
	struct ev *timer;
	int *fd;                        /* trace_pipe_raw of each CPU */
	unsigned ncpus;
	struct trace_event *event;
	size_t nevents;
	uint64_t lost;
	struct trace_sums sums;
	uint8_t page[PAGE_MAX];
};

static int put(const struct exits_trace *t, const char *file, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int put(const struct exits_trace *t, const char *file, const char *fmt, ...)
{
	char path[256], text[32];
	va_list ap;
	int fd, n, err = 0;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", t->dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_APPEND);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		err = err_sys("tracing exits: '%s': write", path);
	if (fd >= 0)
		close(fd);
	return err;
}

static int get_format(const struct exits_trace *t, const char *event, const struct arch_exits *a, struct trace_format *out)
{
	char path[256], text[4096];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/events/kvm/%s/format", t->dir, event);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text) - 1);
	if (n < 0) {
		n = err_sys("tracing exits: '%s'", path);
		if (fd >= 0)
			close(fd);
		return (int)n;
	}
	close(fd);
	text[n] = '\0';
	if (!trace_format_parse(text, a ? a->group : NULL, a ? a->reason : NULL, out))
		return err_msg(-ENOTSUP, "tracing exits: this kernel describes its tracepoint %s in a way skep does not know; record without "
			       "exits.trace", event);
	return 0;
}

static void keep_event(const struct trace_event *e, void *arg)
{
	struct exits_trace *t = arg;

	if (t->nevents == EVENTS_MAX)
		t->lost++;
	else
		t->event[t->nevents++] = *e;
}

static int by_time(const void *x, const void *y)
{
	const struct trace_event *a = x, *b = y;

	return (a->t_ns > b->t_ns) - (a->t_ns < b->t_ns);
}

static void read_all(struct exits_trace *t)
{
	const uint64_t before = now_ns();
	size_t done = 0;

	for (unsigned i = 0; i < t->ncpus; i++) {
		ssize_t n;

		while (t->nevents < EVENTS_MAX && (n = read(t->fd[i], t->page, sizeof(t->page))) > 0)
			t->lost += trace_page_parse(t->page, (size_t)n, &t->exit, &t->entry, keep_event, t);
	}
	qsort(t->event, t->nevents, sizeof(*t->event), by_time);
	for (; done < t->nevents && t->event[done].t_ns < before; done++)
		trace_add(&t->sums, &t->event[done]);
	t->nevents -= done;
	memmove(t->event, t->event + done, t->nevents * sizeof(*t->event));
}

static void on_timer(void *arg, uint32_t events UNUSED)
{
	struct exits_trace *t = arg;

	read_all(t);
	ev_arm(t->timer, READ_NS);
}

static int open_pipes(struct exits_trace *t)
{
	const long n = sysconf(_SC_NPROCESSORS_CONF);

	t->fd = calloc(n > 0 ? (size_t)n : 1, sizeof(*t->fd));
	if (!t->fd)
		return -ENOMEM;
	for (long i = 0; i < n; i++) {
		char path[256];

		snprintf(path, sizeof(path), "%s/per_cpu/cpu%ld/trace_pipe_raw", t->dir, i);
		t->fd[t->ncpus] = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (t->fd[t->ncpus] >= 0)
			t->ncpus++;
		else if (errno != ENOENT)
			return err_sys("tracing exits: '%s'", path);
	}
	return 0;
}

/* Only this VM's threads, so that other VMs cost nothing here. */
static int set_up(struct exits_trace *t)
{
	const struct vm *vm = t->vm;
	const long cpus = MAX(sysconf(_SC_NPROCESSORS_CONF), 1);
	int err = get_format(t, "kvm_exit", vm->arch->exits, &t->exit);

	if (!err)
		err = get_format(t, "kvm_entry", NULL, &t->entry);
	if (!err)
		err = put(t, "trace_clock", "mono");
	if (!err)
		err = put(t, "buffer_size_kb", "%ld", MIN(BUFFER_KIB, BUFFERS_KIB / cpus + 64));
	for (unsigned i = 0; !err && i < vm->nvcpus; i++) {
		t->sums.vcpu[i].tid = vm->vcpus[i].tid;
		err = put(t, "set_event_pid", "%d\n", vm->vcpus[i].tid);
	}
	if (!err)
		err = open_pipes(t);
	if (!err)
		err = put(t, "events/kvm/kvm_entry/enable", "1");
	return err ? err : put(t, "events/kvm/kvm_exit/enable", "1");
}

/* A killed VM of this name may have left its instance. */
static int make_instance(struct exits_trace *t)
{
	static const char *const roots[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	unsigned i = 0;
	char path[64];

	do
		snprintf(path, sizeof(path), "%s/instances", roots[i]);
	while (access(path, F_OK) && ++i < NELEM(roots));
	if (i == NELEM(roots))
		return err_msg(-ENOENT, "tracing exits: no tracefs at %s%s; mount it with 'mount -t tracefs tracefs %s'", roots[0],
			       geteuid() ? " that this user can see (run skep as root)" : "", roots[0]);
	snprintf(t->dir, sizeof(t->dir), "%s/skep-%s", path, t->vm->name);
	rmdir(t->dir);
	if (mkdir(t->dir, 0700)) {
		int err = err_sys("tracing exits: '%s': create (this is for root)", t->dir);

		t->dir[0] = '\0';
		return err;
	}
	return 0;
}

int exits_trace_start(struct vm *vm)
{
	struct exits_trace *t;
	int err;

	if (vm->trace)
		return 0;
	vm->trace = t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->vm = vm;
	t->event = malloc(EVENTS_MAX * sizeof(*t->event));
	t->sums.vcpu = calloc(vm->nvcpus, sizeof(*t->sums.vcpu));
	t->sums.nvcpus = vm->nvcpus;
	t->timer = ev_timer(vm->loop, on_timer, t);
	err = !t->event || !t->sums.vcpu || !t->timer ? -ENOMEM : make_instance(t);
	if (!err)
		err = set_up(t);
	if (err)
		exits_trace_stop(vm);
	else
		ev_arm(t->timer, READ_NS);
	return err;
}

void exits_trace_stop(struct vm *vm)
{
	struct exits_trace *t = vm->trace;

	if (!t)
		return;
	vm->trace = NULL;
	for (unsigned i = 0; i < t->ncpus; i++)
		close(t->fd[i]);
	if (t->dir[0] && rmdir(t->dir))
		log_warn("exits", "'%s' stays: %s; remove it with rmdir", t->dir, strerror(errno));
	ev_del(t->timer);
	free(t->sums.vcpu);
	free(t->event);
	free(t->fd);
	free(t);
}

json_t *exits_trace_json(struct vm *vm, uint64_t *lost)
{
	if (!vm->trace)
		return NULL;
	read_all(vm->trace);
	*lost = vm->trace->lost;
	return trace_sums_json(&vm->trace->sums, vm->arch->exits);
}
