#include "common/profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "common/conf.h"
#include "common/exits_trace.h"
#include "common/kvmstats.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/vm.h"

#define FORMAT "skep-exits"
#define FORMAT_VERSION 1

static json_t *integer(uint64_t v)
{
	return json_integer((json_int_t)MIN(v, (uint64_t)INT64_MAX));
}

/* --- Of a VM: KVM's statistics --- */

static void sum_file(int fd, struct kvm_sums *s, uint8_t *buf)
{
	const int n = fd > 0 ? kvmstats_read(fd, buf) : -EBADF;

	if (n > 0)
		kvmstats_sum(buf, (size_t)n, s);
}

static void add_kvm(json_t *doc, const struct vm *vm)
{
	struct kvm_sums s = { json_object(), json_object(), json_object() };
	json_t *of_vm = json_object();
	uint8_t *buf = malloc(KVMSTATS_MAX);

	for (unsigned i = 0; buf && vm->vcpus && i < vm->nvcpus; i++)
		sum_file(vm->vcpus[i].stats_fd, &s, buf);
	if (json_object_size(s.rising)) {
		struct kvm_sums own = { of_vm, s.now, s.hist };

		sum_file(vm->stats_fd, &own, buf);
		json_object_set(doc, "kvm", s.rising);
		json_object_set(doc, "kvm_vm", of_vm);
		json_object_set(doc, "kvm_now", s.now);
		json_object_set(doc, "kvm_hist", s.hist);
	}
	json_decref(s.rising);
	json_decref(s.now);
	json_decref(s.hist);
	json_decref(of_vm);
	free(buf);
}

/* --- Of a VM: kinds --- */

/* What KVM says of a kind; false: it does not. */
static bool kvm_count(const json_t *kvm, const struct arch_exits *a, unsigned kind, uint64_t *sum)
{
	bool any = false;

	*sum = 0;
	for (const struct stat_kind *k = a->stats; kvm && k->name; k++) {
		const json_t *v = k->kind == kind ? json_object_get(kvm, k->name) : NULL;

		if (v) {
			any = true;
			*sum += (uint64_t)json_integer_value(v);
		}
	}
	return any;
}

static json_t *kind_json(const struct vm *vm, unsigned kind, const json_t *kvm)
{
	uint64_t count = 0, ns = 0, hist[EXIT_BUCKETS] = { 0 }, of_kvm;
	const bool known = kvm_count(kvm, vm->arch->exits, kind, &of_kvm);

	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++) {
		const struct exit_stats *s = &vm->vcpus[i].exits;

		count += exits_kind(s, kind, &ns, hist);
	}
	if (!count && !(known && of_kvm))
		return NULL;
	json_t *o = json_pack("{s:s, s:o, s:o, s:o}", "kind", exit_kind_names[kind], "count", integer(count), "user_ns", integer(ns),
			      "hist", exits_hist_json(hist));
	if (known)
		json_object_set_new(o, "kvm_count", integer(of_kvm));
	return o;
}

static void add_kinds(json_t *doc, const struct vm *vm)
{
	const json_t *kvm = json_object_get(doc, "kvm");
	json_t *list = json_array();
	uint64_t user = 0, guest = 0;

	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		json_t *o = kind_json(vm, k, kvm);

		if (o) {
			user += (uint64_t)json_integer_value(json_object_get(o, "user_ns"));
			json_array_append_new(list, o);
		}
	}
	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
		guest += exits_guest_ns(&vm->vcpus[i].exits);
	json_object_set_new(doc, "guest_ns", integer(guest));
	json_object_set_new(doc, "user_ns", integer(user));
	json_object_set_new(doc, "kinds", list);
}

/* --- Of a VM: accesses, vCPUs summed up and offsets of one register together --- */

struct access_row {
	const char *space, *device, *reg;       /* reg is the index's */
	bool write;
	uint64_t count, ns, hist[EXIT_BUCKETS];
};
struct access_rows {
	struct access_row *row;
	size_t n, cap;
	json_t *index;
};

static struct access_row *row_of(struct access_rows *rows, const struct access_stat *a)
{
	char buf[32];
	const char *space = a->kind == EXIT_PIO ? "pio" : "mmio", *device = exits_device(a), *reg = exits_register(a, buf, sizeof(buf));
	json_t *key = json_sprintf("%s %s %d %s", space, device, a->write, reg);
	const char *text = json_string_value(key);
	json_t *at = json_object_get(rows->index, text);

	if (!at && rows->n == rows->cap) {
		const size_t cap = rows->cap ? rows->cap * 2 : 64;
		struct access_row *grown = realloc(rows->row, cap * sizeof(*grown));

		if (!grown) {
			json_decref(key);
			return NULL;
		}
		rows->row = grown;
		rows->cap = cap;
	}
	if (!at) {
		rows->row[rows->n] = (struct access_row){ .space = space, .device = device, .write = a->write };
		at = json_pack("[i, s]", (int)rows->n, reg);
		rows->row[rows->n++].reg = json_string_value(json_array_get(at, 1));
		json_object_set_new(rows->index, text, at);
	}
	json_decref(key);
	return &rows->row[json_integer_value(json_array_get(at, 0))];
}

static void add_access(const struct access_stat *a, void *arg)
{
	struct access_row *row = row_of(arg, a);

	if (!row)
		return;
	row->count += exits_get(&a->count);
	row->ns += exits_get(&a->ns);
	for (unsigned b = 0; b < EXIT_BUCKETS; b++)
		row->hist[b] += exits_get(&a->hist[b]);
}

static json_t *accesses_json(const struct vm *vm)
{
	struct access_rows rows = { .index = json_object() };
	json_t *list = json_array();

	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
		exits_walk(&vm->vcpus[i].exits, add_access, &rows);
	for (size_t i = 0; i < rows.n; i++) {
		const struct access_row *r = &rows.row[i];

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o}", "space", r->space, "device", r->device,
						      "register", r->reg, "write", (int)r->write, "count", integer(r->count),
						      "user_ns", integer(r->ns), "hist", exits_hist_json(r->hist)));
	}
	free(rows.row);
	json_decref(rows.index);
	return list;
}

/* --- Of a VM: all --- */

/* What does not change while it runs. */
static json_t *host_json(struct vm *vm)
{
	struct utsname u;
	struct timespec t;

	if (vm->host)
		return vm->host;
	clock_gettime(CLOCK_REALTIME, &t);
	vm->host = json_object();
	vm->started = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec - (vm->start_ns ? now_ns() - vm->start_ns : 0);
	if (!uname(&u))
		json_object_set_new(vm->host, "kernel", json_string(u.release));
	if (!vm->dry)
		arch_host_facts(vm, vm->host);
	return vm->host;
}

void profile_forget(struct vm *vm)
{
	json_decref(vm->host);
	vm->host = NULL;
}

json_t *profile_of_vm(struct vm *vm)
{
	json_t *host = host_json(vm), *trace, *doc;
	uint64_t lost;

	doc = json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:O, s:o, s:o}", "format", FORMAT, "version", FORMAT_VERSION, "skep", SKEP_VERSION,
			"name", vm->name, "arch", vm->arch->name, "vcpus", (int)vm->nvcpus, "host", host, "started", integer(vm->started),
			"duration_ns", integer(vm->start_ns ? now_ns() - vm->start_ns : 0));
	if (!doc)
		return NULL;
	add_kvm(doc, vm);
	add_kinds(doc, vm);
	json_object_set_new(doc, "accesses", accesses_json(vm));
	trace = exits_trace_json(vm, &lost);
	if (trace) {
		json_object_set_new(doc, "trace", trace);
		json_object_set_new(doc, "trace_lost", integer(lost));
	}
	return doc;
}

int profile_save(struct vm *vm, const json_t *doc)
{
	const char *path = conf_str(vm->conf, "exits.file");
	const char *slash = path ? strrchr(path, '/') : NULL;
	char *dir;
	int err;

	if (!path)
		return 0;
	dir = strndup(slash ? path : ".", slash ? (size_t)(slash - path) : 1);
	err = dir ? rundir_write_json(dir, slash ? slash + 1 : path, doc) : -ENOMEM;
	free(dir);
	return err;
}

/* --- Differences --- */

/* What makes rows of a list the same row. */
static json_t *row_key(const json_t *row)
{
	static const char *const members[] = { "kind", "reason", "space", "device", "register" };
	json_t *key = json_sprintf("%d", json_is_true(json_object_get(row, "write")));

	for (unsigned i = 0; i < NELEM(members); i++) {
		const char *s = json_string_value(json_object_get(row, members[i]));
		json_t *longer = json_sprintf("%s\n%s", json_string_value(key), s ? s : "");

		json_decref(key);
		key = longer;
	}
	return key;
}

static json_t *minus(const json_t *later, const json_t *earlier)
{
	const json_int_t a = MAX(json_integer_value(earlier), 0), b = json_integer_value(later);

	return json_integer(b > a ? b - a : 0);
}

static json_t *hist_minus(const json_t *later, const json_t *earlier)
{
	json_t *list = json_array(), *e, *old;
	size_t i, k;

	json_array_foreach(later, i, e) {
		json_int_t n = json_integer_value(json_array_get(e, 1));

		json_array_foreach(earlier, k, old)
			if (json_integer_value(json_array_get(old, 0)) == json_integer_value(json_array_get(e, 0)))
				n = MAX(n, 0) - json_integer_value(json_array_get(old, 1));
		if (n > 0)
			json_array_append_new(list, json_pack("[O, I]", json_array_get(e, 0), n));
	}
	return list;
}

/* An object of counters, histograms and texts; what has no counterpart stays. */
static json_t *object_minus(const json_t *later, const json_t *earlier)
{
	json_t *out = json_object(), *v;
	const char *name;

	json_object_foreach((json_t *)later, name, v) {
		const json_t *old = json_object_get(earlier, name);

		if (json_is_integer(v))
			json_object_set_new(out, name, minus(v, old));
		else if (!strcmp(name, "hist"))
			json_object_set_new(out, name, hist_minus(v, old));
		else
			json_object_set(out, name, v);
	}
	return out;
}

static bool any_count(const json_t *row)
{
	return json_integer_value(json_object_get(row, "count")) || json_integer_value(json_object_get(row, "kvm_count"));
}

static json_t *rows_minus(const json_t *later, const json_t *earlier)
{
	json_t *out = json_array(), *index = json_object(), *row;
	size_t i;

	json_array_foreach(earlier, i, row) {
		json_t *key = row_key(row);

		json_object_set(index, json_string_value(key), row);
		json_decref(key);
	}
	json_array_foreach(later, i, row) {
		json_t *key = row_key(row), *d = object_minus(row, json_object_get(index, json_string_value(key)));

		if (any_count(d))
			json_array_append(out, d);
		json_decref(d);
		json_decref(key);
	}
	json_decref(index);
	return out;
}

static json_t *kvm_hists_minus(const json_t *later, const json_t *earlier)
{
	json_t *out = json_object(), *v, *c;
	const char *name;
	size_t i;

	json_object_foreach((json_t *)later, name, v) {
		const json_t *old = json_object_get(json_object_get(earlier, name), "counts");
		json_t *counts = json_array();

		json_array_foreach(json_object_get(v, "counts"), i, c)
			json_array_append_new(counts, minus(c, json_array_get(old, i)));
		json_object_set_new(out, name, json_pack("{s:O, s:o}", "bucket_size", json_object_get(v, "bucket_size"), "counts", counts));
	}
	return out;
}

json_t *profile_delta(const json_t *earlier, const json_t *later)
{
	static const char *const same[] = { "name", "arch", "vcpus", "started" };
	static const struct { const char *name; json_t *(*fn)(const json_t *, const json_t *); } members[] = {
		{ "duration_ns", minus }, { "guest_ns", minus }, { "user_ns", minus }, { "kinds", rows_minus }, { "accesses", rows_minus },
		{ "kvm", object_minus }, { "kvm_vm", object_minus }, { "kvm_hist", kvm_hists_minus }, { "trace", rows_minus },
		{ "trace_lost", minus },
	};
	json_t *out;

	for (unsigned i = 0; i < NELEM(same); i++) {
		const json_t *a = json_object_get(earlier, same[i]), *b = json_object_get(later, same[i]);

		if ((a || b) && !json_equal(a, b)) {
			err_msg(-EINVAL, "the two exit profiles are not of one run of one machine (their '%s' differs): record both while it runs",
				same[i]);
			return NULL;
		}
	}
	if (json_integer_value(json_object_get(earlier, "duration_ns")) > json_integer_value(json_object_get(later, "duration_ns"))) {
		err_msg(-EINVAL, "the second exit profile is older than the first: give them the other way round");
		return NULL;
	}
	out = json_copy((json_t *)later);
	for (unsigned i = 0; i < NELEM(members); i++) {
		const json_t *b = json_object_get(later, members[i].name);

		if (b)
			json_object_set_new(out, members[i].name, members[i].fn(b, json_object_get(earlier, members[i].name)));
	}
	return out;
}

/* --- Files --- */

enum want { TEXT, COUNT, OBJECT, HIST, TRUTH, LIST, COUNTERS };
struct member {
	const char *name;
	enum want want;
	bool optional;
};

static bool is_count(const json_t *v)
{
	return json_is_integer(v) && json_integer_value(v) >= 0;
}

static bool is_hist(const json_t *v)
{
	json_t *e;
	size_t i;

	json_array_foreach(v, i, e) {
		const json_t *b = json_array_get(e, 0), *n = json_array_get(e, 1);

		if (json_array_size(e) != 2 || !is_count(b) || json_integer_value(b) >= EXIT_BUCKETS || !is_count(n))
			return false;
	}
	return json_is_array(v);
}

static bool all_counts(const json_t *o)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)o, name, v) {
		(void)name;
		if (!json_is_integer(v))
			return false;
	}
	return json_is_object(o);
}

static bool fits(const json_t *v, enum want want)
{
	switch (want) {
	case TEXT: return json_is_string(v);
	case COUNT: return is_count(v);
	case OBJECT: return json_is_object(v);
	case HIST: return is_hist(v);
	case TRUTH: return json_is_boolean(v);
	case LIST: return json_is_array(v);
	case COUNTERS: return all_counts(v);
	}
	return false;
}

/* The first member that is missing or of the wrong type; NULL: none. */
static const char *misfit(const json_t *o, const struct member *m)
{
	for (; m->name; m++) {
		const json_t *v = json_object_get(o, m->name);

		if (v ? !fits(v, m->want) : !m->optional)
			return m->name;
	}
	return NULL;
}

static const struct member doc_members[] = {
	{ "skep", TEXT, false }, { "name", TEXT, false }, { "arch", TEXT, false }, { "vcpus", COUNT, false }, { "label", TEXT, true },
	{ "host", OBJECT, false }, { "started", COUNT, true }, { "duration_ns", COUNT, false }, { "guest_ns", COUNT, false },
	{ "user_ns", COUNT, false }, { "kinds", LIST, false }, { "accesses", LIST, false }, { "kvm", COUNTERS, true },
	{ "kvm_vm", COUNTERS, true }, { "kvm_now", COUNTERS, true }, { "kvm_hist", OBJECT, true }, { "trace", LIST, true },
	{ "trace_lost", COUNT, true }, { NULL, 0, false }
};
static const struct member kind_members[] = {
	{ "kind", TEXT, false }, { "count", COUNT, false }, { "user_ns", COUNT, false }, { "hist", HIST, false },
	{ "kvm_count", COUNT, true }, { NULL, 0, false }
};
static const struct member access_members[] = {
	{ "space", TEXT, false }, { "device", TEXT, false }, { "register", TEXT, false }, { "write", TRUTH, false },
	{ "count", COUNT, false }, { "user_ns", COUNT, false }, { "hist", HIST, false }, { NULL, 0, false }
};
static const struct member trace_members[] = {
	{ "reason", TEXT, false }, { "kind", TEXT, false }, { "count", COUNT, false }, { "ns", COUNT, false }, { "hist", HIST, false },
	{ NULL, 0, false }
};
static const struct { const char *list; const struct member *members; } lists[] = {
	{ "kinds", kind_members }, { "accesses", access_members }, { "trace", trace_members },
};

static const char *misfit_in_lists(const json_t *doc)
{
	const char *bad = NULL;
	json_t *row;
	size_t i;

	for (unsigned l = 0; !bad && l < NELEM(lists); l++) {
		json_array_foreach(json_object_get(doc, lists[l].list), i, row)
			if (!bad)
				bad = json_is_object(row) ? misfit(row, lists[l].members) : lists[l].list;
	}
	return bad;
}

json_t *profile_load(const char *path)
{
	json_error_t e;
	json_t *doc = json_load_file(path, JSON_REJECT_DUPLICATES, &e);
	const char *format = json_string_value(json_object_get(doc, "format")), *bad;
	const json_int_t version = json_integer_value(json_object_get(doc, "version"));
	int err = 0;

	if (!doc)
		err = err_msg(-EINVAL, "'%s': no exit profile: %s (line %d); 'skep exits record' makes one", path, e.text, e.line);
	else if (!format || strcmp(format, FORMAT))
		err = err_msg(-EINVAL, "'%s': JSON, but no exit profile; 'skep exits record' makes one", path);
	else if (version != FORMAT_VERSION)
		err = err_msg(-EINVAL, "'%s': an exit profile of version %lld, this skep reads version %d", path, (long long)version,
			      FORMAT_VERSION);
	else if ((bad = misfit(doc, doc_members)) || (bad = misfit_in_lists(doc)))
		err = err_msg(-EINVAL, "'%s': a damaged exit profile: '%s' is missing or makes no sense; record it again", path, bad);
	if (err) {
		json_decref(doc);
		return NULL;
	}
	return doc;
}

uint64_t profile_quantile(const json_t *hist, double q)
{
	uint64_t n[EXIT_BUCKETS] = { 0 }, total = 0, rank, below = 0;
	json_t *e;
	size_t i;

	json_array_foreach(hist, i, e) {
		const json_int_t b = json_integer_value(json_array_get(e, 0)), count = json_integer_value(json_array_get(e, 1));

		if (b < 0 || b >= EXIT_BUCKETS || count <= 0)
			continue;
		n[b] += (uint64_t)count;
		total += (uint64_t)count;
	}
	if (!total)
		return 0;
	rank = (uint64_t)(q * (double)total);
	rank = MIN(rank, total - 1);
	for (unsigned b = 0; b < EXIT_BUCKETS; b++) {
		below += n[b];
		if (below > rank)
			return (UINT64_C(1) << b) * 1414 / 1000;        /* times the square root of 2 */
	}
	return 0;
}
