/*
 * Rows of exit profiles side by side.  Kinds match by name; devices by their instance, which both architectures name alike whatever
 * chip it is; registers by their name within a device.
 */
#include <stdlib.h>
#include <string.h>

#include "common/cmd/exits_cmd.h"
#include "common/profile.h"
#include "common/util.h"

#define ROWS_MAX 16384                  /* of one table: files may say anything */

const char *const exits_by_names[] = { "count", "rate", "time", NULL };
const char *const exits_by_help[] = { "exits of the whole recording", "exits per second", "time in user space" };

/* --- Members --- */

const char *exits_str(const json_t *o, const char *member)
{
	const char *s = json_string_value(json_object_get(o, member));

	return s ? s : "";
}

uint64_t exits_u64(const json_t *o, const char *member)
{
	const json_int_t v = json_integer_value(json_object_get(o, member));

	return v > 0 ? (uint64_t)v : 0;
}

const char *exits_label(const json_t *doc)
{
	const char *label = exits_str(doc, "label");

	return *label ? label : exits_str(doc, "name");
}

/* Sums stay what JSON can say. */
static void add(uint64_t *to, uint64_t n)
{
	*to = n > INT64_MAX - *to ? INT64_MAX : *to + n;
}

/* --- Building --- */

static struct exits_row *row_of(struct exits_table *t, const char *name, const char *reg, bool write)
{
	json_t *key = json_sprintf("%s%s%s%s", name, reg ? "\n" : "", reg ? reg : "", write ? "\n" : ""), *at;
	struct exits_row *row;

	at = json_object_get(t->index, json_string_value(key));
	if (!at && t->n == ROWS_MAX) {
		t->dropped++;
		json_decref(key);
		return NULL;
	}
	if (!at && t->n == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->row = realloc(t->row, t->cap * sizeof(*t->row));
		if (!t->row)
			abort();
	}
	if (at) {
		row = &t->row[json_integer_value(at)];
	} else {
		json_object_set_new(t->index, json_string_value(key), json_integer((json_int_t)t->n));
		row = &t->row[t->n++];
		*row = (struct exits_row){ .name = name, .reg = reg, .write = write };
	}
	json_decref(key);
	return row;
}

static void cell_add(struct exits_row *row, unsigned doc, const json_t *o)
{
	struct exits_cell *c = row ? &row->c[doc] : NULL;
	json_t *e;
	size_t i;

	if (!c)
		return;
	c->present = true;
	add(&c->user, exits_u64(o, "count"));
	add(&c->user_ns, exits_u64(o, "user_ns"));
	json_array_foreach(json_object_get(o, "hist"), i, e) {
		const json_int_t b = json_integer_value(json_array_get(e, 0)), n = json_integer_value(json_array_get(e, 1));

		if (b >= 0 && n > 0)
			add(&c->hist[MIN(b, EXIT_BUCKETS - 1)], (uint64_t)n);
	}
	if (json_object_get(o, "kvm_count")) {
		c->kvm_knows = true;
		add(&c->kvm, exits_u64(o, "kvm_count"));
	}
	c->count = MAX(c->count, MAX(c->user, c->kvm));
}

static void add_kinds(struct exits_report *r, unsigned doc)
{
	uint64_t traced[EXIT_KINDS] = { 0 };
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(r->doc[doc], "kinds"), i, o)
		cell_add(row_of(&r->kinds, exits_str(o, "kind"), NULL, false), doc, o);
	/* Tracepoints see every exit, each once. */
	json_array_foreach(json_object_get(r->doc[doc], "trace"), i, o)
		for (unsigned k = 0; k < EXIT_KINDS; k++)
			if (!strcmp(exits_str(o, "kind"), exit_kind_names[k]))
				add(&traced[k], exits_u64(o, "count"));
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		struct exits_row *row = traced[k] ? row_of(&r->kinds, exit_kind_names[k], NULL, false) : NULL;

		if (!row)
			continue;
		row->c[doc].present = row->c[doc].kvm_knows = true;
		row->c[doc].kvm = MAX(row->c[doc].kvm, traced[k]);
		row->c[doc].count = MAX(row->c[doc].count, traced[k]);
	}
}

static void add_accesses(struct exits_report *r, unsigned doc)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(r->doc[doc], "accesses"), i, o) {
		const char *device = exits_str(o, "device");

		cell_add(row_of(&r->devices, device, NULL, false), doc, o);
		cell_add(row_of(&r->registers, device, exits_str(o, "register"), json_is_true(json_object_get(o, "write"))), doc,
			 o);
	}
}

/* --- Differences --- */

double exits_rate(const struct exits_report *r, const struct exits_row *row, unsigned doc)
{
	return r->seconds[doc] > 0 ? (double)row->c[doc].count / r->seconds[doc] : 0;
}

double exits_value(const struct exits_report *r, const struct exits_row *row, unsigned doc)
{
	const struct exits_cell *c = &row->c[doc];

	if (r->by == EXITS_BY_TIME)
		return (double)c->user_ns;
	return r->by == EXITS_BY_RATE ? exits_rate(r, row, doc) : (double)c->count;
}

static int compare_rows(const void *x, const void *y)
{
	const struct exits_row *a = x, *b = y;
	int c;

	if (a->diff != b->diff)
		return a->diff > b->diff ? -1 : 1;
	c = strcmp(a->name, b->name);
	if (!c && a->reg)
		c = strcmp(a->reg, b->reg);
	return c ? c : a->write - b->write;
}

/*
 * What another profile's KVM counts beyond what came to user space happens here too, uncounted.  Not so what one architecture
 * does not have: ports and interrupt windows.
 */
static void mark_untold(const struct exits_report *r, struct exits_row *row)
{
	const bool here = strcmp(row->name, exit_kind_names[EXIT_PIO]) != 0 && strcmp(row->name, exit_kind_names[EXIT_IRQ_WINDOW]) != 0;
	bool inside = false;

	for (unsigned d = 0; d < r->n; d++)
		inside |= row->c[d].kvm > row->c[d].user;
	for (unsigned d = 0; d < r->n; d++)
		row->c[d].untold = inside && here && !row->c[d].kvm_knows;
}

static void sort_rows(const struct exits_report *r, struct exits_table *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++) {
		struct exits_row *row = &t->row[i];
		const double first = exits_value(r, row, 0);
		bool any = row->c[0].count > 0;

		row->diff = r->n == 1 ? first : 0;
		for (unsigned d = 1; d < r->n; d++) {
			const double v = exits_value(r, row, d), diff = v > first ? v - first : first - v;

			any |= row->c[d].count > 0;
			if (diff > row->diff) {
				row->diff = diff;
				row->most = d;
			}
		}
		if (any)
			t->row[kept++] = *row;
	}
	t->n = kept;
	if (t->n)
		qsort(t->row, t->n, sizeof(*t->row), compare_rows);
	json_decref(t->index);
	t->index = NULL;
}

void exits_report_make(struct exits_report *r)
{
	struct exits_table *const tables[] = { &r->kinds, &r->devices, &r->registers };

	for (unsigned i = 0; i < NELEM(tables); i++)
		tables[i]->index = json_object();
	for (unsigned d = 0; d < r->n; d++) {
		r->seconds[d] = (double)exits_u64(r->doc[d], "duration_ns") / 1e9;
		add_kinds(r, d);
		add_accesses(r, d);
	}
	for (unsigned i = 0; i < NELEM(tables); i++)
		sort_rows(r, tables[i]);
	for (size_t i = 0; i < r->kinds.n; i++) {
		mark_untold(r, &r->kinds.row[i]);
		for (unsigned k = 0; k < EXIT_KINDS; k++)
			if (!strcmp(r->kinds.row[i].name, exit_kind_names[k]))
				r->kinds.row[i].help = exit_kind_help[k];
	}
}

void exits_report_free(struct exits_report *r)
{
	free(r->kinds.row);
	free(r->devices.row);
	free(r->registers.row);
	for (unsigned d = 0; d < r->n; d++)
		json_decref(r->doc[d]);
}

const char *exits_diff_text(const struct exits_report *r, const struct exits_row *row, const char *times, char *buf, size_t len)
{
	const double a = exits_value(r, row, 0), b = exits_value(r, row, row->most);
	const double more = MAX(a, b), less = MIN(a, b);
	const char who = (char)('A' + (b > a ? row->most : 0));

	if (less <= 0 && r->by != EXITS_BY_TIME && (row->c[0].untold || row->c[row->most].untold))
		snprintf(buf, len, "?");
	else if (more <= less)
		snprintf(buf, len, "same");
	else if (less <= 0)
		snprintf(buf, len, "only %c", who);
	else
		snprintf(buf, len, more < less * 99.5 ? "%c %s%.3g" : "%c %s%.0f", who, times, more / less);
	return buf;
}

/* --- JSON --- */

static json_t *hist_json(const struct exits_cell *c)
{
	json_t *hist = json_array();

	for (unsigned b = 0; b < EXIT_BUCKETS; b++)
		if (c->hist[b])
			json_array_append_new(hist, json_pack("[i, I]", (int)b, (json_int_t)c->hist[b]));
	return hist;
}

uint64_t exits_quantile(const struct exits_cell *c, double q)
{
	json_t *hist = hist_json(c);
	const uint64_t ns = profile_quantile(hist, q);

	json_decref(hist);
	return ns;
}

static json_t *cell_json(const struct exits_report *r, const struct exits_row *row, unsigned d)
{
	const struct exits_cell *c = &row->c[d];
	json_t *o;

	if (!c->present)
		return json_null();
	o = json_pack("{s:I, s:f, s:I, s:I, s:I, s:I, s:o}", "exits", (json_int_t)c->count, "rate", exits_rate(r, row, d),
		      "user_count", (json_int_t)c->user, "user_ns", (json_int_t)c->user_ns, "p50_ns",
		      (json_int_t)exits_quantile(c, 0.5), "p99_ns", (json_int_t)exits_quantile(c, 0.99), "hist", hist_json(c));
	if (c->kvm_knows)
		json_object_set_new(o, "kvm_count", json_integer((json_int_t)c->kvm));
	return o;
}

static json_t *table_json(const struct exits_report *r, const struct exits_table *t, const char *what)
{
	json_t *list = json_array();

	for (size_t i = 0; i < t->n; i++) {
		const struct exits_row *row = &t->row[i];
		json_t *o = json_pack("{s:s}", what, row->name), *values = json_array();

		if (row->reg) {
			json_object_set_new(o, "register", json_string(row->reg));
			json_object_set_new(o, "write", json_boolean(row->write));
		}
		for (unsigned d = 0; d < r->n; d++)
			json_array_append_new(values, cell_json(r, row, d));
		if (r->n == 1) {
			json_object_update(o, json_array_get(values, 0));
			json_decref(values);
		} else {
			json_object_set_new(o, "difference", json_real(row->diff));
			json_object_set_new(o, "values", values);
		}
		json_array_append_new(list, o);
	}
	return list;
}

json_t *exits_report_json(const struct exits_report *r)
{
	static const char *const facts[] = { "name", "label", "arch", "vcpus", "host", "duration_ns", "guest_ns", "user_ns" };
	json_t *docs = json_array();

	for (unsigned d = 0; d < r->n; d++) {
		json_t *o = json_object();

		for (unsigned i = 0; i < NELEM(facts); i++)
			json_object_set(o, facts[i], json_object_get(r->doc[d], facts[i]));
		json_array_append_new(docs, o);
	}
	return json_pack("{s:s, s:o, s:o, s:o, s:o}", "by", exits_by_names[r->by], "profiles", docs, "kinds",
			 table_json(r, &r->kinds, "kind"), "devices", table_json(r, &r->devices, "device"), "registers",
			 table_json(r, &r->registers, "device"));
}
