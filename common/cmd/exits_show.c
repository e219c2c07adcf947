/*
 * Exit profiles as text.
 */
#include <stdlib.h>
#include <string.h>

#include "common/cmd/exits_cmd.h"
#include "common/util.h"

/* --- Words --- */

const char *exits_ns(uint64_t ns, char *buf)
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double v = (double)ns;
	unsigned u = 0;

	while (v >= 999.5 && u + 1 < NELEM(units)) {
		v /= 1000;
		u++;
	}
	snprintf(buf, EXITS_TEXT, v < 999.5 ? "%.3g %s" : "%.0f %s", v, units[u]);
	return buf;
}

const char *exits_num(uint64_t n, char *buf)
{
	char digits[24];
	const int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
	char *p = buf;

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			*p++ = ',';
		*p++ = digits[i];
	}
	*p = 0;
	return buf;
}

/* Bytes of the UTF-8 character at p, which jansson has checked. */
static size_t char_len(const unsigned char *p)
{
	return *p < 0xc0 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
}

/* Control characters, those that turn the direction of text, and what XML does not allow. */
static bool is_unsafe(const unsigned char *p)
{
	if (*p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
		return true;
	if (*p == 0xe2)
		return (p[1] == 0x80 && (p[2] >= 0xa8 || p[2] == 0x8e || p[2] == 0x8f)) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9);
	return *p == 0xef && p[1] == 0xbf && p[2] >= 0xbe;
}

static const char *entity(unsigned char c)
{
	switch (c) {
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '&': return "&amp;";
	case '"': return "&quot;";
	case '\'': return "&#39;";
	default: return NULL;
	}
}

void exits_put(FILE *f, const char *text, size_t max, bool xml)
{
	const unsigned char *p = (const unsigned char *)text;

	for (size_t n; *p; p += n, max -= n) {
		const char *e = xml ? entity(*p) : NULL;

		n = char_len(p);
		if (n > max) {
			fputs("...", f);
			return;
		}
		if (is_unsafe(p))
			fputc('?', f);
		else if (e)
			fputs(e, f);
		else
			fwrite(p, 1, n, f);
	}
}

void exits_put_facts(FILE *f, const json_t *doc, bool xml)
{
	const uint64_t vcpus = exits_u64(doc, "vcpus");
	char buf[EXITS_TEXT];

	exits_put(f, exits_str(doc, "name"), 64, xml);
	fprintf(f, ": ");
	exits_put(f, exits_str(doc, "arch"), 16, xml);
	fprintf(f, ", %llu vCPU%s, %s", (unsigned long long)vcpus, vcpus == 1 ? "" : "s", exits_ns(exits_u64(doc, "duration_ns"), buf));
}

void exits_put_host(FILE *f, const json_t *doc, bool xml)
{
	static const char *const members[] = { "cpu", "kernel", "kvm", "irqchip" };
	const json_t *host = json_object_get(doc, "host");
	const char *comma = "";

	for (unsigned i = 0; i < NELEM(members); i++) {
		if (!*exits_str(host, members[i]))
			continue;
		fprintf(f, "%s%s", comma, i == 1 ? "Linux " : i == 2 ? "KVM: " : "");
		exits_put(f, exits_str(host, members[i]), 80, xml);
		comma = ", ";
	}
}

/* --- Tables --- */

/* Columns, in the order of their words below. */
enum column { COUNT, RATE, USER, TIME, SHARE, P50, P99, KVM, END };
static const struct { const char *head; int width; } columns[] = {
	{ "EXITS", 11 }, { "RATE/S", 10 }, { "TO-USER", 11 }, { "TIME", 8 }, { "SHARE", 7 }, { "P50", 8 }, { "P99", 8 }, { "KVM", 11 },
};

static const char *cell_text(const struct exits_report *r, const struct exits_row *row, unsigned d, enum column col, char *buf)
{
	const struct exits_cell *c = &row->c[d];

	snprintf(buf, EXITS_TEXT, c->untold && !c->count && col <= RATE ? "?" : "-");
	if (*buf == '?')
		return buf;
	if (!c->present || (col == KVM && !c->kvm_knows) || ((col == TIME || col == P50 || col == P99) && !c->user))
		return buf;
	switch (col) {
	case COUNT: snprintf(buf, EXITS_TEXT, "%llu", (unsigned long long)c->count); break;
	case RATE: snprintf(buf, EXITS_TEXT, "%.1f", exits_rate(r, row, d)); break;
	case USER: snprintf(buf, EXITS_TEXT, "%llu", (unsigned long long)c->user); break;
	case TIME: return exits_ns(c->user_ns, buf);
	case SHARE: snprintf(buf, EXITS_TEXT, "%.2f%%", exits_share(r->doc[d], c->user_ns)); break;
	case P50: return exits_ns(exits_quantile(c, 0.5), buf);
	case P99: return exits_ns(exits_quantile(c, 0.99), buf);
	case KVM: snprintf(buf, EXITS_TEXT, "%llu", (unsigned long long)c->kvm); break;
	default: break;
	}
	return buf;
}

/* In a memory of its own, because its width is not that of its bytes. */
static void put_name(FILE *f, const struct exits_row *row, int width)
{
	char *text = NULL;
	size_t len = 0;
	int chars = 0;
	FILE *m = open_memstream(&text, &len);

	if (!m)
		abort();
	exits_put(m, row->name, 40, false);
	if (row->reg) {
		fputc(' ', m);
		exits_put(m, row->reg, 40, false);
		fprintf(m, row->write ? " write" : " read");
	}
	fclose(m);
	for (size_t i = 0; i < len; i++)
		chars += (text[i] & 0xc0) != 0x80;
	fprintf(f, "%s%*s", text, MAX(width - chars, 0), "");
	free(text);
}

static void print_table(FILE *f, const struct exits_table *t, const char *what, const enum column *cols, const struct exits_report *r)
{
	int width = t == &r->registers ? 34 : 18;
	char buf[EXITS_TEXT];

	if (!t->n)
		return;
	fprintf(f, "\n%-*s", width, what);
	for (unsigned d = 0; d < r->n; d++)
		for (const enum column *c = cols; *c != END; c++) {
			if (r->n > 1)
				snprintf(buf, sizeof(buf), "%c:%s", 'A' + d, columns[*c].head);
			fprintf(f, " %*s", columns[*c].width, r->n > 1 ? buf : columns[*c].head);
		}
	fprintf(f, r->n > 1 ? "  DIFFERENCE\n" : "\n");
	for (size_t i = 0; i < t->n; i++) {
		put_name(f, &t->row[i], width);
		for (unsigned d = 0; d < r->n; d++)
			for (const enum column *c = cols; *c != END; c++)
				fprintf(f, " %*s", columns[*c].width, cell_text(r, &t->row[i], d, *c, buf));
		fprintf(f, "%s%s\n", r->n > 1 ? "  " : "", r->n > 1 ? exits_diff_text(r, &t->row[i], "x", buf, sizeof(buf)) : "");
	}
	if (t->dropped)
		fprintf(f, "and %zu more, which are not shown\n", t->dropped);
}

/* Of all the vCPUs' time, in percent. */
double exits_share(const json_t *doc, uint64_t ns)
{
	const double all = (double)exits_u64(doc, "duration_ns") * (double)exits_u64(doc, "vcpus");

	return all > 0 ? 100 * (double)ns / all : 0;
}

static void print_doc(FILE *f, const struct exits_report *r, unsigned d)
{
	const json_t *doc = r->doc[d];
	const char *indent = r->n > 1 ? "   " : "";

	if (r->n > 1)
		fprintf(f, "%c  ", 'A' + d);
	exits_put_facts(f, doc, false);
	if (*exits_str(doc, "label")) {
		fprintf(f, ", ");
		exits_put(f, exits_str(doc, "label"), 80, false);
	}
	fprintf(f, "\n%s", indent);
	exits_put_host(f, doc, false);
	fprintf(f, "\n%s%.1f%% of the vCPUs' time in the guest and KVM, %.2f%% in exits to user space\n", indent,
		exits_share(doc, exits_u64(doc, "guest_ns")), exits_share(doc, exits_u64(doc, "user_ns")));
}

void report_print(FILE *f, const struct exits_report *r)
{
	static const enum column kinds[] = { COUNT, RATE, USER, TIME, SHARE, P50, P99, KVM, END },
		accesses[] = { COUNT, RATE, TIME, SHARE, P50, P99, END },
		compared_kinds[] = { COUNT, RATE, USER, TIME, END }, compared[] = { COUNT, RATE, TIME, P50, END };
	const bool one = r->n == 1;

	for (unsigned d = 0; d < r->n; d++)
		print_doc(f, r, d);
	fprintf(f, "\nSorted by %s, %s first.\n", exits_by_help[r->by], one ? "most" : "largest difference");
	print_table(f, &r->kinds, "KIND", one ? kinds : compared_kinds, r);
	print_table(f, &r->devices, "DEVICE", one ? accesses : compared, r);
	print_table(f, &r->registers, "REGISTER", one ? accesses : compared, r);
}
