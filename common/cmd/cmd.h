/*
 * Subcommands.  Each takes its own argument vector, argv[0] being its name, and returns an exit status.  What it
 * wrote to standard output is flushed and checked by cmd_main().
 */
#ifndef COMMON_CMD_CMD_H
#define COMMON_CMD_CMD_H

struct cmd {
	const char *name;
	const char *synopsis;           /* behind "skep NAME" */
	const char *help;
	int (*fn)(int argc, char **argv);
};
extern const struct cmd cmds[];         /* NULL name ends */

/* skep's main(): the command is argv[1], or the name skep was invoked as (`bhyve`).  Exit status. */
int cmd_main(int argc, char **argv);
/* The same without the process-wide preparations, for tests. */
int cmd_dispatch(int argc, char **argv);
/* "skep NAME: sentence" and where help is, on standard error.  STATUS_USAGE. */
int cmd_usage(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int cmd_run(int argc, char **argv);     /* argv[0] "bhyve": with that personality */
struct conf;
int cmd_run_conf(struct conf *);        /* what run does once its options are read; exit status */
int cmd_create_vm(int argc, char **argv);
int cmd_start_vm(int argc, char **argv);
int cmd_stop_vm(int argc, char **argv);
int cmd_restart_vm(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_console(int argc, char **argv);
int cmd_ctl(int argc, char **argv);
void cmd_ctl_scdoc(void);               /* its methods, for skep-ctl(1) */
int cmd_exits(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_img(int argc, char **argv);
int cmd_nextboot(int argc, char **argv);
int cmd_top(int argc, char **argv);
int cmd_completion(int argc, char **argv);
int cmd_bhyveload(int argc, char **argv);       /* by that name only */
int cmd_bhyvectl(int argc, char **argv);        /* the same */
int cmd_help(int argc, char **argv);
int cmd_version(int argc, char **argv);

#endif
