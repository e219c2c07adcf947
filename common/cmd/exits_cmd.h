/*
 * `skep exits`: what its commands share.  A report is one or more profiles (common/profile.h) side by side: rows by kind, by device
 * and by register, the largest differences first.  Main thread, no VM.
 */
#ifndef COMMON_CMD_EXITS_CMD_H
#define COMMON_CMD_EXITS_CMD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <jansson.h>

#include "common/exits.h"

#define EXITS_DOCS 4                    /* profiles side by side */

/* The command line. */
struct exits_args {
	const char *out, *label, *svg, *html;
	double seconds;                 /* 0: not given */
	bool json, trace;
	unsigned by;                    /* enum exits_by */
	char *pos[EXITS_DOCS];
	unsigned npos;
};

/* What rows are sorted by, and what differences are differences of. */
enum exits_by { EXITS_BY_COUNT, EXITS_BY_RATE, EXITS_BY_TIME };
extern const char *const exits_by_names[];              /* "count", "rate", "time", NULL */
extern const char *const exits_by_help[];               /* "..., largest difference in HELP first" */

struct exits_cell {
	bool present;                   /* the profile has such a row */
	bool kvm_knows;                 /* kvm is what KVM says of it */
	bool untold;                    /* KVM handles such exits itself, but does not count them here */
	uint64_t count;                 /* of all that is known: exits that KVM handled itself included, where it tells */
	uint64_t user, user_ns;         /* those that came to user space, and their time */
	uint64_t kvm;
	uint64_t hist[EXIT_BUCKETS];    /* of user_ns */
};

struct exits_row {
	const char *name, *reg;         /* kind or device; register, NULL where rows are not registers */
	bool write;
	const char *help;               /* of a kind, NULL: none */
	double diff;                    /* of one profile: the value itself */
	unsigned most;                  /* the profile that differs most from the first */
	struct exits_cell c[EXITS_DOCS];
};

struct exits_table {
	struct exits_row *row;
	size_t n, cap, dropped;
	json_t *index;                  /* key: place in row[] */
};

struct exits_report {
	unsigned n;
	enum exits_by by;
	json_t *doc[EXITS_DOCS];
	double seconds[EXITS_DOCS];
	struct exits_table kinds, devices, registers;
};

/* --- exits_rows.c --- */

/* Rows of r->doc[0 .. r->n), sorted by r->by.  The documents must stay.  exits_report_free() gives both back. */
void exits_report_make(struct exits_report *r);
void exits_report_free(struct exits_report *r);
double exits_rate(const struct exits_report *r, const struct exits_row *row, unsigned doc);      /* per second; 0: no time passed */
/* What r->by says of a cell. */
double exits_value(const struct exits_report *r, const struct exits_row *row, unsigned doc);
uint64_t exits_quantile(const struct exits_cell *, double q);           /* ns */
/* "A x2.5", "only B", "same", "?" where one is not counted; `times` is the sign to use. */
const char *exits_diff_text(const struct exits_report *r, const struct exits_row *row, const char *times, char *buf, size_t len);
json_t *exits_report_json(const struct exits_report *r);
/* A member of a profile, or of an object in it: "" and 0 where it is missing. */
const char *exits_str(const json_t *o, const char *member);
uint64_t exits_u64(const json_t *o, const char *member);
/* What a profile is called: its label, or the machine's name. */
const char *exits_label(const json_t *doc);

/* --- exits_show.c: text --- */

#define EXITS_TEXT 64
/* 1.23 ms, 45 us; 120,345.  In buf[EXITS_TEXT]. */
const char *exits_ns(uint64_t ns, char *buf);
const char *exits_num(uint64_t n, char *buf);
/*
 * Of the files' strings, what can be shown: at most `max` bytes, nothing that steers a terminal or the direction of text; xml:
 * escaped.
 */
void exits_put(FILE *f, const char *text, size_t max, bool xml);
/* Of all the vCPUs' time, in percent. */
double exits_share(const json_t *doc, uint64_t ns);
/* "vm1: x86, 2 vCPUs, 12.3 s" and "AMD EPYC, Linux 6.1, KVM: svm". */
void exits_put_facts(FILE *f, const json_t *doc, bool xml);
void exits_put_host(FILE *f, const json_t *doc, bool xml);
void report_print(FILE *f, const struct exits_report *r);

/* --- exits_html.c --- */
void report_svg(FILE *f, const struct exits_report *r);
void report_html(FILE *f, const struct exits_report *r);

/* --- exits.c --- */
/* Whole or not at all; "-" is standard output.  0 or -errno (reported). */
int exits_write(const char *path, const char *text, size_t len);

/* --- exits_record.c --- */
/* The profile of a running VM; NULL after a message. */
json_t *exits_of_vm(const char *name);
/* 0 or -errno (reported). */
int exits_record(const struct exits_args *);

#endif
