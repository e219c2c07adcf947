/*
 * The configuration tree: dotted keys in bhyve_config(5) style ("memory.size", "pci.0.3.0.path") with string
 * values, checked against option tables.  The tables are the single source of parser, --help, config file,
 * `config dump` and the man page.  One thread.
 */
#ifndef COMMON_CONF_H
#define COMMON_CONF_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum opt_type {
	OPT_BOOL,       /* true/false, yes/no, on/off, 1/0 */
	OPT_U64,        /* decimal, 0x..., 0... */
	OPT_SIZE,       /* bytes with K, M, G, T suffix (powers of 1024); conf: a plain number below 1 MiB in
			   memory.size means MiB, as bhyve's -m does */
	OPT_STR,        /* any text */
	OPT_ENUM,       /* one of choices */
	OPT_MAC,        /* xx:xx:xx:xx:xx:xx, unicast */
	OPT_UUID,
};

struct opt {
	const char *name;               /* last part of the key; whole key in the global table */
	enum opt_type type;
	uint64_t min, max;              /* U64 and SIZE; max 0: no limit.  STR: max length, 0: no limit */
	const char *def;                /* default as text; NULL: none */
	const char *unit;               /* for help: "bytes", "vCPUs"; NULL: none */
	const char *help;               /* one line */
	const char *const *choices;     /* ENUM; NULL-terminated */
};
#define OPT_LAST { NULL, OPT_STR, 0, 0, NULL, NULL, NULL, NULL }

struct arch_info;
struct device_class;
struct conf;
struct conf *conf_new(void);                    /* aborts when out of memory */
/* A copy without the keys that begin with `skip` ("module."); NULL: with all.  Aborts when out of memory. */
struct conf *conf_copy(const struct conf *, const char *skip);
/* Sets all keys of `from` as they are written there, later ones winning. */
void conf_merge(struct conf *, const struct conf *from);
void conf_free(struct conf *);

/*
 * Sets a key.  `origin` ("command line", "vm.conf:12") is kept for messages.  Only the form of the key is
 * checked here; conf_check() checks all keys and values once they are complete.  0 or -EINVAL (reported).
 */
int conf_set(struct conf *, const char *key, const char *value, const char *origin);
/* Reads key=value lines; '#' starts a comment, "%(key)" in a value expands to another key's value. */
int conf_read_file(struct conf *, const char *path);
/* As written, with %(key) and %% expanded, or NULL.  No default applied.  Valid until the next conf_set(). */
const char *conf_raw(const struct conf *, const char *key);
/*
 * Checks every key against the global table and, for "<dev>.<name>", the table of the class that
 * "<dev>.device" names.  An unknown key is refused with the nearest known one.  0 or -EINVAL (reported).
 */
int conf_check(const struct conf *);

/* Refuses a value whose %(key) cannot be expanded: unset without default, endless.  0 or -EINVAL (reported). */
int conf_check_expansion(const struct conf *, const char *key);
const char *conf_origin(const struct conf *, const char *key);   /* where it was set last; NULL: unset */
/* The machine's architecture: key `arch`, else this binary's own.  Never NULL. */
const struct arch_info *conf_arch(const struct conf *);
/* Next range of a checked vcpu.N.cpuset ("0,4-7"): 1 and the range, 0 at the end, -EINVAL. */
int conf_cpuset_next(const char **s, unsigned *lo, unsigned *hi);
#define CONF_HOST_CPU_MAX 8191
/*
 * Value of "pci.B.S.F.device" that is accepted in any slot of any machine and makes no device there: the x86
 * machine always has its bridge at 0:31.0, the arm64 machine needs none.
 */
#define CONF_LPC "lpc"
const struct device_class *conf_pci_class(const char *name);     /* NULL: none, or not a PCI device */
int conf_class_refuse(const char *name, const char *origin);     /* says why there is no such class; -EINVAL */

/* Values of the global table's keys, defaults applied; valid after conf_check().  Unknown keys assert. */
const char *conf_str(const struct conf *, const char *key);      /* NULL: unset without default */
/* "cpus", when only the topology is given, is its product. */
uint64_t conf_u64(const struct conf *, const char *key);
bool conf_bool(const struct conf *, const char *key);

/* Calls fn for every key that was set, sorted (numbers inside keys by value). */
void conf_walk(const struct conf *, void (*fn)(const char *key, const char *value, const char *origin, void *), void *);
/* `config dump`: key=value lines, sorted. */
void conf_dump(const struct conf *, FILE *);

/* Parses one value by its table row.  0 or -EINVAL with the reason in why[] ("not a number", "above 256"). */
int opt_parse_u64(const struct opt *, const char *text, uint64_t *out, char *why, size_t why_len);
int opt_check(const struct opt *, const char *text, char *why, size_t why_len);
int opt_parse_bool(const char *text, bool *out);                /* 0 or -EINVAL */
/* A part "N" of a table's name stands for any number ("vcpu.N.cpuset"), a last part "*" for anything. */
const struct opt *opt_find(const struct opt *table, const char *name);
/* Nearest name by edit distance, for "did you mean"; NULL when none is near. */
const char *opt_nearest(const struct opt *table, const char *name);
/* For other lists of names: true, and *best lowered, when `name` is near and nearer than *best (start at UINT_MAX). */
bool opt_is_near(const char *wrong, const char *name, unsigned *best);
unsigned opt_distance(const char *a, const char *b);

extern const struct opt conf_global_opts[];     /* common/options.c */

/* Keys and device classes that bhyve has and this version has not: refused by name instead of as unknown. */
struct conf_refusal {
	const char *name;
	const char *harmless;           /* a key's value that asks for nothing; NULL: none */
	const char *text;               /* completes "NAME: ..." */
};
extern const struct conf_refusal conf_refused_keys[];           /* common/options.c; NULL name ends */
extern const struct conf_refusal conf_refused_classes[];
const struct conf_refusal *conf_refusal_find(const struct conf_refusal *, const char *name);

#endif
