/*
 * Exit profiles as a picture and as a page.  Both are whole in themselves: no script, no font, nothing from elsewhere; strings of the
 * files are escaped, and the page's policy forbids whatever would get through.  Bars are logarithmic, because counts of exits go from
 * a few to millions: every line is ten times the one before.
 */
#include <stdlib.h>
#include <string.h>

#include "common/cmd/exits_cmd.h"
#include "common/util.h"

#define BAR_W 210                       /* the longest */
#define VALUE_W 84                      /* of the number behind it */
#define LINE_H 20                       /* one profile's */
#define HIST_W 150
#define QUANTILES_W 120
#define ROWS_SHOWN 60                   /* in each table of a page */
#define SVG_ROWS 16

/* Blue, vermilion, green, purple: told apart with every kind of colour vision, 3:1 or more on their grounds, light and dark. */
static const char style[] =
	"text{font:12px system-ui,sans-serif;fill:#1c2126;stroke:#fff;stroke-width:4px;paint-order:stroke}.m{fill:#5b6570}.b{font-weight:600}"
	".g{stroke:#d5dae0;stroke-width:1}"
	".a0{fill:#0072b2}.a1{fill:#d55e00}.a2{fill:#00875f}.a3{fill:#a8528f}"
	"@media(prefers-color-scheme:dark){text{fill:#e6e9ec;stroke:#15181c}.m{fill:#9aa5b1}.g{stroke:#39424c}"
	".a0{fill:#56b4e9}.a1{fill:#f2914a}.a2{fill:#3ecf9f}.a3{fill:#d893c3}}";
static const char page_style[] =
	":root{color-scheme:light dark;--fg:#1c2126;--m:#5b6570;--bg:#fff;--line:#d5dae0;--soft:#f4f6f8}"
	"@media(prefers-color-scheme:dark){:root{--fg:#e6e9ec;--m:#9aa5b1;--bg:#15181c;--line:#39424c;--soft:#1e2329}}"
	"body{font:15px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1280px;margin:0 auto;padding:24px}"
	"h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 2px}p{margin:4px 0 12px}small,.n{color:var(--m);font-size:13px}"
	".docs{display:flex;flex-wrap:wrap;gap:14px;margin:18px 0}"
	".doc{flex:1 1 320px;background:var(--soft);border-radius:8px;padding:12px 16px;overflow-wrap:anywhere}"
	".doc b{font-size:17px}.doc svg{vertical-align:-2px;margin-right:6px}dl{display:grid;grid-template-columns:auto 1fr;gap:2px 14px;"
	"margin:8px 0 0;font-size:13px}dt{color:var(--m)}dd{margin:0}"
	".t{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:8px 14px 6px 0;"
	"border-bottom:1px solid var(--line);unicode-bidi:isolate}thead th{font-size:13px;font-weight:600;vertical-align:bottom}"
	"thead th:first-child{width:270px}tbody th{font-weight:600;min-width:190px;overflow-wrap:anywhere}"
	"tbody th small{display:block;font-weight:400;max-width:330px}"
	".d{white-space:nowrap;font-weight:600}svg{display:block}.doc svg{display:inline}td svg{margin-top:2px}"
	".key{font-size:13px;color:var(--m)}";

/* --- Scales --- */

/* log2(1 + v), within a hundredth; libm is not linked. */
static double lg(uint64_t v)
{
	const unsigned b = 63 - (unsigned)__builtin_clzll(v + 1);
	const double f = (double)(v + 1) / (double)BIT64(b) - 1;

	return b + f + 0.344 * f * (1 - f);
}

struct metric {
	bool time;
	uint64_t max;                   /* the end of the axis: a power of ten, ns or exits */
	const char *title;
};

/* Of a rate, what is below one is one. */
static uint64_t metric_of(const struct metric *m, const struct exits_report *r, const struct exits_row *row, unsigned d)
{
	if (m->time)
		return row->c[d].user_ns;
	return r->by == EXITS_BY_RATE ? (uint64_t)MIN(exits_rate(r, row, d) + 0.999, 1e18) : row->c[d].count;
}

static void scale(struct metric *m, bool time, const struct exits_report *r, const struct exits_table *t, size_t rows)
{
	uint64_t most = time ? 10000 : 1;

	m->time = time;
	m->title = time ? "Time in user space" : r->by == EXITS_BY_RATE ? "Exits per second" : "Exits";
	for (size_t i = 0; i < rows; i++)
		for (unsigned d = 0; d < r->n; d++)
			most = MAX(most, metric_of(m, r, &t->row[i], d));
	for (m->max = 10; m->max < most && m->max < UINT64_MAX / 10;)
		m->max *= 10;
}

/* Nothing is 0, something at least 2; times begin at 100 ns. */
static unsigned bar_width(const struct metric *m, uint64_t v)
{
	const double from = m->time ? lg(100) : 0, w = BAR_W * (lg(v) - from) / (lg(m->max) - from);

	return v ? (unsigned)MAX(2, w) : 0;
}

static const char *ns_text(uint64_t ns, char *buf)
{
	char *us = strstr(exits_ns(ns, buf), "us");

	if (us)
		strcpy(us, "\302\265s");
	return buf;
}

static const char *metric_text(const struct metric *m, uint64_t v, char *buf)
{
	return m->time && v ? ns_text(v, buf) : exits_num(v, buf);
}

/* --- What both are made of --- */

static void grid(FILE *f, const struct metric *m, int x, int y, int h)
{
	for (uint64_t v = m->time ? 1000 : 10; v <= m->max && v < UINT64_MAX / 10; v *= 10)
		fprintf(f, "<path class=\"g\" d=\"M%u %dv%d\"/>", x + bar_width(m, v), y, h);
}

static void axis(FILE *f, const struct metric *m, int x, int y)
{
	char buf[EXITS_TEXT];
	int last = -100;

	for (uint64_t v = m->time ? 1000 : 10; v <= m->max && v < UINT64_MAX / 10; v *= 10) {
		const int at = x + (int)bar_width(m, v);

		if (at - last < 52)
			continue;
		last = at;
		fprintf(f, "<text class=\"m\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">%s</text>", at, y, metric_text(m, v, buf));
	}
}

static void bars(FILE *f, const struct exits_report *r, const struct exits_row *row, const struct metric *m, int x, int y)
{
	char buf[EXITS_TEXT];

	grid(f, m, x, y, (int)r->n * LINE_H);
	for (unsigned d = 0; d < r->n; d++, y += LINE_H) {
		const uint64_t v = metric_of(m, r, row, d);
		const unsigned w = bar_width(m, v);

		if (w)
			fprintf(f, "<rect class=\"a%u\" x=\"%d\" y=\"%d\" width=\"%u\" height=\"14\" rx=\"2\"/>", d, x, y + 3, w);
		fprintf(f, "<text%s x=\"%d\" y=\"%d\">%s</text>", v ? "" : " class=\"m\"", x + (int)w + 6, y + 15,
			!v && row->c[d].untold && !m->time ? "not counted" : row->c[d].present ? metric_text(m, v, buf) : "none");
	}
}

/* Buckets that anything falls into. */
struct span {
	unsigned lo, hi;
};

static struct span span_of(const struct exits_report *r)
{
	const struct exits_table *const tables[] = { &r->kinds, &r->devices };
	struct span s = { EXIT_BUCKETS, 0 };

	for (unsigned t = 0; t < NELEM(tables); t++)
		for (size_t i = 0; i < tables[t]->n * r->n; i++)
			for (unsigned b = 0; b < EXIT_BUCKETS; b++)
				if (tables[t]->row[i / r->n].c[i % r->n].hist[b]) {
					s.lo = MIN(s.lo, b);
					s.hi = MAX(s.hi, b);
				}
	if (s.lo > s.hi)
		s = (struct span){ 0, EXIT_BUCKETS - 1 };
	s.hi = MAX(s.hi, MIN(s.lo + 7, EXIT_BUCKETS - 1u));
	return s;
}

/* Each profile's buckets, as high as their part of its fullest, and what half and 99 % are below. */
static void sparkline(FILE *f, const struct exits_report *r, const struct exits_row *row, struct span s)
{
	const unsigned w = HIST_W / (s.hi - s.lo + 1);
	char half[EXITS_TEXT], most_of[EXITS_TEXT];

	for (unsigned d = 0; d < r->n; d++) {
		const uint64_t *hist = row->c[d].hist;
		const unsigned base = (d + 1) * LINE_H - 2;
		uint64_t most = 1;

		for (unsigned b = s.lo; b <= s.hi; b++)
			most = MAX(most, hist[b]);
		fprintf(f, "<path class=\"g\" d=\"M0 %u.5h%u\"/><path class=\"a%u\" d=\"", base, HIST_W, d);
		for (unsigned b = s.lo; b <= s.hi; b++) {
			const unsigned h = hist[b] ? MAX(1u, (unsigned)((LINE_H - 5) * (double)hist[b] / (double)most)) : 0;

			if (h)
				fprintf(f, "M%u %uv-%uh%uv%uz", (b - s.lo) * w, base, h, MAX(w, 2u) - 1, h);
		}
		fprintf(f, "\"/>");
		if (row->c[d].user)
			fprintf(f, "<text x=\"%u\" y=\"%u\">%s, %s</text>", HIST_W + 10, base - 3, ns_text(exits_quantile(&row->c[d], 0.5), half),
				ns_text(exits_quantile(&row->c[d], 0.99), most_of));
	}
}

static void put_row_name(FILE *f, const struct exits_row *row)
{
	exits_put(f, row->name, 40, true);
	if (row->reg) {
		fputc(' ', f);
		exits_put(f, row->reg, 40, true);
		fprintf(f, row->write ? " write" : " read");
	}
}

/* "A boot of Linux (x86)" */
static void put_doc(FILE *f, const struct exits_report *r, unsigned d)
{
	fprintf(f, "%c ", 'A' + d);
	exits_put(f, exits_label(r->doc[d]), 80, true);
	fprintf(f, " (");
	exits_put(f, exits_str(r->doc[d], "arch"), 16, true);
	fprintf(f, ")");
}

/* --- The picture --- */

#define SVG_NAME_W 190
#define SVG_W (SVG_NAME_W + 2 * (BAR_W + VALUE_W) + 100)

static int svg_table(FILE *f, const struct exits_report *r, const struct exits_table *t, const char *what, int y)
{
	const size_t rows = MIN(t->n, (size_t)SVG_ROWS);
	struct metric m[2];
	char buf[EXITS_TEXT];

	if (!rows)
		return y;
	fprintf(f, "<text class=\"b\" x=\"16\" y=\"%d\">%s</text>", y + 14, what);
	for (unsigned i = 0; i < NELEM(m); i++) {
		const int x = SVG_NAME_W + (int)i * (BAR_W + VALUE_W);

		scale(&m[i], i, r, t, rows);
		fprintf(f, "<text class=\"b\" x=\"%d\" y=\"%d\">%s</text>", x, y + 14, m[i].title);
		axis(f, &m[i], x, y + 32);
	}
	y += 38;
	for (size_t i = 0; i < rows; i++, y += (int)r->n * LINE_H + 8) {
		fprintf(f, "<text x=\"16\" y=\"%d\">", y + 15);
		put_row_name(f, &t->row[i]);
		fprintf(f, "</text>");
		for (unsigned k = 0; k < NELEM(m); k++)
			bars(f, r, &t->row[i], &m[k], SVG_NAME_W + (int)k * (BAR_W + VALUE_W), y);
		fprintf(f, "<text x=\"%d\" y=\"%d\">%s</text>\n", SVG_W - 90, y + 15,
			r->n > 1 ? exits_diff_text(r, &t->row[i], "\303\227", buf, sizeof(buf)) : "");
	}
	return y + 20;
}

static int svg_height(const struct exits_report *r, const struct exits_table *t)
{
	return t->n ? 58 + (int)MIN(t->n, (size_t)SVG_ROWS) * ((int)r->n * LINE_H + 8) : 0;
}

void report_svg(FILE *f, const struct exits_report *r)
{
	const int height = 52 + (int)r->n * 18 + svg_height(r, &r->kinds) + svg_height(r, &r->devices);
	int y = 44;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" role=\"img\">\n"
		"<title>Exits of virtual machines</title><style>%s.bg{fill:#fff}@media(prefers-color-scheme:dark){.bg{fill:#15181c}}</style>"
		"<rect class=\"bg\" width=\"100%%\" height=\"100%%\"/>\n<text class=\"b\" x=\"16\" y=\"26\">Exits, %s in %s first; bars are "
		"logarithmic</text>\n", SVG_W, height, SVG_W, height, style, r->n > 1 ? "largest difference" : "most", exits_by_help[r->by]);
	for (unsigned d = 0; d < r->n; d++, y += 18) {
		fprintf(f, "<rect class=\"a%u\" x=\"16\" y=\"%d\" width=\"12\" height=\"12\" rx=\"2\"/><text x=\"34\" y=\"%d\">", d, y - 4, y + 6);
		put_doc(f, r, d);
		fprintf(f, "</text>\n");
	}
	y = svg_table(f, r, &r->kinds, "By kind", y + 4);
	svg_table(f, r, &r->devices, "By device", y);
	fprintf(f, "</svg>\n");
}

/* --- The page --- */

static void svg_open(FILE *f, int w, int h)
{
	fprintf(f, "<svg width=\"%d\" height=\"%d\" aria-hidden=\"true\">", w, h);
}

static void html_doc(FILE *f, const struct exits_report *r, unsigned d)
{
	const json_t *doc = r->doc[d];
	const uint64_t kvm = exits_u64(json_object_get(doc, "kvm"), "exits");
	uint64_t all = 0;
	char buf[EXITS_TEXT];

	for (size_t i = 0; i < r->kinds.n; i++)
		all += r->kinds.row[i].c[d].user;
	fprintf(f, "<div class=\"doc\"><svg width=\"15\" height=\"15\" aria-hidden=\"true\"><rect class=\"a%u\" width=\"15\" height=\"15\" "
		"rx=\"3\"/></svg><b>", d);
	put_doc(f, r, d);
	fprintf(f, "</b><dl><dt>Machine<dd>");
	exits_put_facts(f, doc, true);
	fprintf(f, "<dt>Host<dd>");
	exits_put_host(f, doc, true);
	fprintf(f, "<dt>To user space<dd>%s exits, %.2f %% of the vCPUs' time", exits_num(all, buf), exits_share(doc, exits_u64(doc, "user_ns")));
	if (kvm)
		fprintf(f, "<dt>All exits<dd>%s, as KVM counts", exits_num(kvm, buf));
	fprintf(f, "<dt>Guest and KVM<dd>%.1f %% of the vCPUs' time</dl></div>\n", exits_share(doc, exits_u64(doc, "guest_ns")));
}

static void html_head(FILE *f, const struct exits_report *r, struct metric m[2], struct span s)
{
	char lo[EXITS_TEXT], hi[EXITS_TEXT];

	fprintf(f, "<thead><tr><th>%s", r->n > 1 ? "<th>Difference" : "");
	for (unsigned i = 0; i < 2; i++) {
		fprintf(f, "<th>%s", m[i].title);
		svg_open(f, BAR_W + VALUE_W, 18);
		axis(f, &m[i], 0, 14);
		fprintf(f, "</svg>");
	}
	fprintf(f, "<th>How long each took");
	svg_open(f, HIST_W + QUANTILES_W, 18);
	fprintf(f, "<text class=\"m\" y=\"14\">%s</text><text class=\"m\" text-anchor=\"end\" x=\"%d\" y=\"14\">%s</text>"
		"<text class=\"m\" x=\"%d\" y=\"14\">median, 99 %%</text></svg></thead>\n", ns_text(BIT64(s.lo), lo), HIST_W,
		ns_text(BIT64(s.hi + 1), hi), HIST_W + 10);
}

static void html_row(FILE *f, const struct exits_report *r, const struct exits_row *row, const struct metric m[2], struct span s)
{
	const int h = (int)r->n * LINE_H;
	char buf[EXITS_TEXT];

	fprintf(f, "<tr><th>");
	put_row_name(f, row);
	if (row->help)
		fprintf(f, "<small>%s</small>", row->help);
	if (r->n > 1)
		fprintf(f, "<td class=\"d\">%s", exits_diff_text(r, row, "\303\227", buf, sizeof(buf)));
	for (unsigned i = 0; i < 2; i++) {
		fprintf(f, "<td>");
		svg_open(f, BAR_W + VALUE_W, h);
		bars(f, r, row, &m[i], 0, 0);
		fprintf(f, "</svg>");
	}
	fprintf(f, "<td>");
	svg_open(f, HIST_W + QUANTILES_W, h);
	sparkline(f, r, row, s);
	fprintf(f, "</svg>\n");
}

static void html_table(FILE *f, const struct exits_report *r, const struct exits_table *t, const char *title, struct span s)
{
	const size_t rows = MIN(t->n, (size_t)ROWS_SHOWN);
	struct metric m[2];

	if (!rows)
		return;
	scale(&m[0], false, r, t, rows);
	scale(&m[1], true, r, t, rows);
	fprintf(f, "<h2>%s</h2><div class=\"t\"><table>", title);
	html_head(f, r, m, s);
	for (size_t i = 0; i < rows; i++)
		html_row(f, r, &t->row[i], m, s);
	fprintf(f, "</table></div>\n");
	if (rows < t->n || t->dropped)
		fprintf(f, "<p class=\"n\">and %zu more, with smaller differences</p>\n", t->n - rows + t->dropped);
}

void report_html(FILE *f, const struct exits_report *r)
{
	const struct span s = span_of(r);

	fprintf(f, "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" "
		"content=\"default-src 'none'; style-src 'unsafe-inline'\"><meta name=\"viewport\" content=\"width=device-width\">"
		"<title>Exits: ");
	for (unsigned d = 0; d < r->n; d++) {
		fprintf(f, d ? ", " : "");
		put_doc(f, r, d);
	}
	fprintf(f, "</title><style>%s%s</style></head><body>\n<h1>Exits of virtual machines</h1><p>An exit is the processor leaving the guest for "
		"the hypervisor. Sorted by %s, %s first.</p><div class=\"docs\">\n", page_style, style, exits_by_help[r->by],
		r->n > 1 ? "largest difference" : "most");
	for (unsigned d = 0; d < r->n; d++)
		html_doc(f, r, d);
	fprintf(f, "</div><p class=\"key\">Bars are logarithmic: each line is ten times the one before. Exits include those that KVM handled "
		"itself, where it counts them; time is that of exits to user space. Distributions are each as high as their fullest bucket, and a bucket "
		"is twice as long as the one before.</p>\n");
	html_table(f, r, &r->kinds, "By kind", s);
	html_table(f, r, &r->devices, "By device", s);
	html_table(f, r, &r->registers, "By register", s);
	fprintf(f, "</body></html>\n");
}
