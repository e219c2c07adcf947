/* Completion: the script in a real bash. */
#include <stdlib.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/util.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

/* COMP_WORDS, and the words that the last of them is completed to; at least those, or none at all ("-"). */
static const struct { const char *words, *want; } rows[] = {
	{ "skep ''", "run list ctl top exits completion version" },
	{ "skep ve", "version" },
	{ "skep zz", "-" },
	{ "skep run --ker", "--kernel" },
	{ "skep run --kernel ''", "-" },                /* a file's name: bash's own */
	{ "skep run -c ''", "-" },
	{ "skep plan --ta", "--tables" },
	{ "skep plan --ker", "--kernel" },
	{ "skep list --", "--json --names" },
	{ "skep ctl ''", "vm1 vm2" },
	{ "skep ctl vm1 disk-check", "disk-checkpoint disk-checkpoints" },
	{ "skep ctl vm1 wait ''", "state= timeout_ms= --json" },
	{ "skep ctl vm1 status ''", "--json" },
	{ "skep console vm2", "vm2" },
	{ "skep top ''", "-b -n -d vm1 vm2" },
	{ "skep help k", "keys" },
	{ "skep help do", "doctor" },
	{ "skep config ''", "check dump --kernel" },
	{ "skep completion ''", "bash" },
};

START_TEST(test_bash)
{
	char dir[] = "/tmp/skep-completion-XXXXXX", path[64], cmd[160];
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(run_line("skep", "completion bash"), 0);
	ck_assert_str_eq(err.text, "");
	snprintf(path, sizeof(path), "%s/test", dir);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fprintf(f, "%s\nset -u\nskep() { echo vm1; echo vm2; }\nstatus=0\n", out.text);
	fprintf(f, "try() {\n\tlocal want=$1 w; shift\n\tCOMP_WORDS=(\"$@\") COMP_CWORD=$(($# - 1))\n\t_skep || status=1\n"
		"\tif [ \"$want\" = - ]; then\n\t\t[ ${#COMPREPLY[@]} = 0 ] || { echo \"$*: ${COMPREPLY[*]}\"; status=1; }\n\t\treturn\n\tfi\n"
		"\tfor w in $want; do\n\t\tcase \" ${COMPREPLY[*]} \" in *\" $w \"*) ;; *) echo \"$*: no $w in ${COMPREPLY[*]}\"; status=1;;"
		" esac\n\tdone\n\tfor w in \"${COMPREPLY[@]}\"; do\n\t\tcase $w in \"${@: -1}\"*) ;; *) echo \"$*: $w\"; status=1;; esac\n"
		"\tdone\n}\n");
	for (size_t i = 0; i < NELEM(rows); i++)
		fprintf(f, "try '%s' %s\n", rows[i].want, rows[i].words);
	fprintf(f, "exit $status\n");
	fclose(f);
	snprintf(cmd, sizeof(cmd), "bash %s; s=$?; rm -rf %s; exit $s", path, dir);
	ck_assert_int_eq(system(cmd), 0);
}
END_TEST

START_TEST(test_all)
{
	ck_assert_int_eq(run_line("skep", "completion bash"), 0);
	for (const struct cmd *c = cmds; c->name; c++)
		ck_assert_msg(strstr(out.text, c->name), "%s", c->name);
	for (const struct ctl_method *m = ctl_methods; m->name; m++)
		ck_assert_msg(strstr(out.text, m->name), "%s", m->name);
	ck_assert_int_eq(run_line("skep", "completion zsh"), 2);
	ck_assert_int_eq(run_line("skep", "completion"), 2);
	ck_assert_ptr_nonnull(strstr(err.text, "skep completion bash"));
}
END_TEST

UNIT_MAIN("common/cmd/completion", test_bash, test_all)
