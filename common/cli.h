/*
 * The command line of `skep run` and of what takes the same options (plan, config).  One table of rows
 * (common/options.c) drives the parser, --help, the man page and the refusals.  Main thread.
 */
#ifndef COMMON_CLI_H
#define COMMON_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "common/conf.h"

enum cli_group { CLI_MACHINE, CLI_DEVICES, CLI_BOOT, CLI_LIFE, CLI_CONFIG, CLI_COMPAT, CLI_GROUPS };
extern const char *const cli_group_names[CLI_GROUPS];

struct cli;
struct cli_opt {
	char letter;                    /* 0: none */
	const char *name;               /* long form without "--"; NULL: none */
	const char *arg;                /* form of the argument; NULL: takes none */
	const char *key;                /* configuration key it sets; with cli_opt_auto: the device class, NULL: a CD's */
	const char *value;              /* what a flag sets it to */
	/* Instead of setting `key`.  0, CLI_ANSWERED or -EINVAL (reported). */
	int (*fn)(struct cli *, const struct cli_opt *, const char *arg, const char *origin);
	const char *refuse;             /* not available: completes "OPTION: ..." */
	enum cli_group group;
	const char *help;
};
extern const struct cli_opt cli_run_opts[];     /* common/options.c; NULL help ends */

#define CLI_ANSWERED (-0x10000)         /* no errno: a question such as --help was answered, exit with 0 */
#define CLI_PENDING_MAX 32

/* Set the first group, zero the rest. */
struct cli {
	const char *prog;               /* for hints: "skep run" */
	const char *synopsis;           /* behind prog in --help; NULL: "[options] NAME" */
	bool bhyve;                     /* invoked as `bhyve`: its defaults, no default console */
	bool name_optional;             /* plan, config */
	bool no_console;                /* create: what is not asked for stays unset */
	bool any_arch;                  /* plan, config: `arch` may be the other one */
	const struct cli_opt *extra;    /* further rows, such as plan's --tables; NULL: none */
	const struct cli_opt *rows;     /* other rows instead of run's; NULL: run's */
	void *user;                     /* for their handlers */

	struct conf *conf;
	int status;                     /* exit status of a refusal; 0 means STATUS_USAGE */
	const char *high_mem;           /* -M */
	struct { const struct cli_opt *opt; const char *arg; } pending[CLI_PENDING_MAX];
	unsigned npending;              /* devices that take the next free slot */
};

/*
 * Parses argv[1..] into the configuration, adds defaults and checks everything.  0: go on.  CLI_ANSWERED: exit
 * with 0.  Above 0: exit with this status; one sentence is on standard error.
 */
int cli_parse_run(struct cli *, int argc, char **argv, struct conf *);

/* The same for commands with rows of their own, without run's defaults and devices: NAME is required. */
int cli_parse_rows(struct cli *, int argc, char **argv, struct conf *);

/* Exit status under the name `bhyve`: 0 reset, 1 powered off, 3 triple fault, 4 error, 5 suspended. */
int cli_bhyve_status(int status);

/* --- Rendering the tables (common/cli_help.c) --- */
void cli_print_help(FILE *, const struct cli *);
void cli_opt_limits(const struct opt *, char *buf, size_t len);        /* "1 to 512; default 1" and the like */
void cli_print_keys(FILE *, bool scdoc);
void cli_print_devices(FILE *, bool scdoc);                     /* every class with its options */
void cli_print_classes(FILE *);                                 /* -s help */
void cli_print_class(FILE *, const struct device_class *);      /* -s CLASS,help */
void cli_print_ports(FILE *, const struct conf *);              /* -l help */
void cli_print_scdoc(FILE *);                                   /* OPTIONS of skep-run(1) */
void cli_scdoc_text(FILE *, const char *);                      /* scdoc gives meaning to '_', '*' and more: escapes them */
/* Flushes; -EIO and the like (reported) when the text did not get out. */
int cli_flush(FILE *);

/*
 * Next word of a comma-separated list, decoded in place (",," is a comma in a word); NULL at the end.
 * *s starts as the text.
 */
char *cli_word(char **s);

/* Handlers of the table's rows. */
#define CLI_FN(name) int name(struct cli *, const struct cli_opt *, const char *arg, const char *origin)
CLI_FN(cli_opt_help);
CLI_FN(cli_opt_cpus);
CLI_FN(cli_opt_high_mem);
CLI_FN(cli_opt_pin);
CLI_FN(cli_opt_slot);
CLI_FN(cli_opt_auto);
CLI_FN(cli_opt_port);
CLI_FN(cli_opt_console);
CLI_FN(cli_opt_file);
CLI_FN(cli_opt_set);
CLI_FN(cli_opt_gdb);
CLI_FN(cli_opt_nothing);
CLI_FN(cli_opt_list);           /* sets the next unset KEY.N */
int cli_place_pending(struct cli *);    /* gives the devices of cli_opt_auto their slots */

#endif
