/*
 * `skep completion bash`: a script for bash that completes skep's command line, made from the tables: commands, options of run,
 * methods of the control socket.  Names of machines are asked for when they are needed.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/ctl.h"
#include "common/util.h"

/* Options, all or those with an argument, with `sep` between. */
static void print_options(bool with_arg, char sep)
{
	const char *between = "";
	const char list[] = { sep, '\0' };

	for (const struct cli_opt *o = cli_run_opts; o->help; o++) {
		if (o->refuse || (with_arg && !o->arg))
			continue;
		if (o->letter) {
			printf("%s-%c", between, o->letter);
			between = list;
		}
		if (o->name) {
			printf("%s--%s", between, o->name);
			between = list;
		}
	}
}

/* What a synopsis has to be typed as it is: options and words in lower case. */
static void print_literals(const char *s)
{
	while (*s) {
		size_t n = strcspn(s, " []|.");

		if (n && (s[0] == '-' || islower((unsigned char)s[0])))
			printf(" %.*s", (int)n, s);
		s += n + strspn(s + n, " []|.");
	}
}

static void print_ctl(void)
{
	printf("\t\tcase $COMP_CWORD in\n\t\t2) words=$(_skep_names) ;;\n\t\t3) words='");
	for (const struct ctl_method *m = ctl_methods; m->name; m++)
		printf("%s ", m->name);
	printf("' ;;\n\t\t*)\n\t\t\twords=--json\n\t\t\tcase ${COMP_WORDS[3]} in\n");
	for (const struct ctl_method *m = ctl_methods; m->name; m++) {
		if (!m->params)
			continue;
		printf("\t\t\t%s) words+='", m->name);
		for (const struct ctl_param *p = m->params; p->name; p++)
			printf(" %s=", p->name);
		printf("' ;;\n");
	}
	printf("\t\t\tesac ;;\n\t\tesac ;;\n");
}

static void print_command(const struct cmd *c)
{
	static const char run[] = "options of run";
	const char *tail = strstr(c->synopsis, run);
	const bool runs = tail || !strcmp(c->name, "run");

	printf("\t%s)\n", c->name);
	if (!strcmp(c->name, "ctl")) {
		print_ctl();
		return;
	}
	if (runs)
		printf("\t\t[[ $prev != @($with_arg) ]] || return 0\n");
	printf("\t\twords=\"");
	if (runs)
		printf("$run_options");
	if (!strcmp(c->name, "help"))
		printf("$commands");
	if (tail || !runs) {
		char head[128];

		snprintf(head, sizeof(head), "%.*s", tail ? (int)(tail - c->synopsis) : (int)sizeof(head), c->synopsis);
		print_literals(head);
	}
	if (strstr(c->synopsis, "NAME") && !runs)
		printf(" $(_skep_names)");
	printf("\" ;;\n");
}

int cmd_completion(int argc, char **argv)
{
	if (argc != 2 || strcmp(argv[1], "bash") != 0)
		return cmd_usage("completion", "write 'skep completion bash'; the script is for the shell's 'source'");
	printf("# Completion of skep's command line for bash, made by 'skep completion bash'.\n"
	       "_skep_names() { \"${COMP_WORDS[0]}\" list --names 2>/dev/null; }\n"
	       "_skep() {\n\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words= commands='");
	for (const struct cmd *c = cmds; c->name; c++)
		printf("%s ", c->name);
	printf("'\n\tlocal run_options='");
	print_options(false, ' ');
	printf("'\n\tlocal with_arg='");
	print_options(true, '|');
	printf("'\n\tCOMPREPLY=()\n\tif ((COMP_CWORD == 1)); then\n\t\twords=$commands\n\telse\n\tcase ${COMP_WORDS[1]} in\n");
	for (const struct cmd *c = cmds; c->name; c++)
		print_command(c);
	printf("\tesac\n\tfi\n\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
	       "\t[[ ${COMPREPLY-} != *= ]] || compopt -o nospace 2>/dev/null\n\treturn 0\n}\n"
	       "complete -o bashdefault -o default -F _skep skep\n");
	return 0;
}
