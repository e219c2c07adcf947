/*
 * `skep ctl NAME METHOD [VALUE...]`: one call through the control socket of a running VM.  Values fill the method's
 * parameters in order, or by name as NAME=VALUE.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <jansson.h>

#include "common/cli.h"
#include "common/cmd/cmd.h"
#include "common/cmd/ctl_client.h"
#include "common/cmd/ctl_show.h"
#include "common/conf.h"
#include "common/ctl.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"

static void print_method(const struct ctl_method *m)
{
	printf("  %-18s %s\n", m->name, m->help);
	for (const struct ctl_param *p = m->params; p && p->name; p++)
		printf("  %-18s   %s%s%s  %s\n", "", p->required ? "" : "[", p->name, p->required ? "" : "]", p->help);
}

static int help(const struct ctl_method *only)
{
	printf("usage: skep ctl NAME %s [VALUE|PARAMETER=VALUE...] [--json]\n\n", only ? only->name : "METHOD");
	for (const struct ctl_method *m = only ? only : ctl_methods; m->name; m++) {
		print_method(m);
		if (only)
			break;
	}
	return 0;
}

/* METHODS of skep-ctl(1). */
void cmd_ctl_scdoc(void)
{
	for (const struct ctl_method *m = ctl_methods; m->name; m++) {
		printf("*%s*", m->name);
		for (const struct ctl_param *p = m->params; p && p->name; p++) {
			printf(p->required ? " _" : " [_");
			cli_scdoc_text(stdout, p->name);
			printf(p->required ? "_" : "_]");
		}
		printf("\n\t");
		cli_scdoc_text(stdout, m->help);
		for (const struct ctl_param *p = m->params; p && p->name; p++) {
			printf(p == m->params ? ". _" : "; _");
			cli_scdoc_text(stdout, p->name);
			printf("_: ");
			cli_scdoc_text(stdout, p->help);
		}
		printf("\n\n");
	}
}

/* --- The arguments --- */

static const struct ctl_param *param_find(const struct ctl_method *m, const char *arg, size_t len)
{
	for (const struct ctl_param *p = m->params; p && p->name; p++)
		if (strlen(p->name) == len && !strncmp(p->name, arg, len))
			return p;
	return NULL;
}

/* The machine may run elsewhere. */
static json_t *absolute(const char *path)
{
	char *cwd = *path && *path != '/' ? getcwd(NULL, 0) : NULL;
	json_t *o = cwd ? json_sprintf("%s/%s", cwd, path) : json_string(path);

	free(cwd);
	return o;
}

static json_t *value_of(const struct ctl_param *p, const char *text)
{
	char *end;
	const long long n = strtoll(text, &end, 0);

	if (p->type == 's' || p->type == 'p')
		return p->type == 'p' ? absolute(text) : json_string(text);
	if (p->type == 'i')
		return *text && !*end ? json_integer(n) : NULL;
	return !strcmp(text, "true") ? json_true() : !strcmp(text, "false") ? json_false() : NULL;
}

/* 0 or a status after a message. */
static int params_of(const struct ctl_method *m, int argc, char **argv, json_t *params)
{
	const struct ctl_param *next = m->params;

	for (int i = 0; i < argc; i++) {
		const char *eq = strchr(argv[i], '='), *text = argv[i];
		const struct ctl_param *p = eq ? param_find(m, argv[i], (size_t)(eq - argv[i])) : NULL;
		json_t *v;

		/* What was given by name is not filled in order as well. */
		while (next && next->name && json_object_get(params, next->name))
			next++;
		if (p)
			text = eq + 1;
		else if (next && next->name)
			p = next;
		else
			return cmd_usage("ctl", "%s: '%s' is too much", m->name, argv[i]);
		v = value_of(p, text);
		if (!v)
			return cmd_usage("ctl", "%s: %s '%s' is not %s", m->name, p->name, text,
					 p->type == 'i' ? "a number" : p->type == 'b' ? "true or false" : "UTF-8");
		json_object_set_new(params, p->name, v);
	}
	for (const struct ctl_param *p = m->params; p && p->name; p++)
		if (p->required && !json_object_get(params, p->name))
			return cmd_usage("ctl", "%s: its %s is missing", m->name, p->name);
	return 0;
}

/* --- The call --- */

struct ask {
	const char *name;
	const struct ctl_method *m;
	json_t *params;
	bool json;
	struct ctl_conn *c;
	int status;
};

static int show_json(const json_t *result)
{
	json_dumpf(result, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	printf("\n");
	return 0;
}

/* Until the machine ends, or nobody reads us any more. */
static int follow(struct ask *a)
{
	json_t *o = NULL;
	int more;

	while ((more = cc_next(a->c, -1, &o)) == 1 || more == -EINTR) {
		if (o && json_object_get(o, "method"))
			ctl_show_event(json_object_get(o, "params"), a->json);
		json_decref(o);
		o = NULL;
		if (fflush(stdout))
			return STATUS_REFUSED;
	}
	if (more < 0)
		err_msg(more, "machine '%s': its events: %s", a->name, strerror(-more));
	return more < 0 ? STATUS_REFUSED : 0;
}

static const struct view {
	const char *method;
	void (*show)(const json_t *result);
} views[] = {
	{ "regs", ctl_show_regs },
	{ "metrics", ctl_show_text },
	{ "console-history", ctl_show_text },
	{ NULL, ctl_show_plain },
};

static int call(struct ask *a)
{
	struct ctl_progress bar = { isatty(STDERR_FILENO) && !a->json, false };
	const struct view *v = views;
	json_t *result;

	if (cc_open(a->name, &a->c))
		return STATUS_REFUSED;
	/* Whoever wants to see how far it is has to ask for events. */
	if (bar.wanted && !strcmp(a->m->name, "dump"))
		json_decref(cc_call(a->c, "events", NULL, NULL, NULL));
	result = cc_call(a->c, a->m->name, a->params, ctl_show_progress, &bar);
	ctl_show_progress_end(&bar);
	while (v->method && strcmp(v->method, a->m->name) != 0)
		v++;
	if (!result)
		a->status = STATUS_REFUSED;
	else if (!strcmp(a->m->name, "events"))
		a->status = follow(a);
	else if (a->json)
		show_json(result);
	else
		v->show(result);
	json_decref(result);
	cc_close(a->c);
	return a->status;
}

/* --- wait: the exit status says whether it has come to that --- */

/* It ended before we came. */
static bool has_exited(const char *name)
{
	char *dir = rundir_path(name), *record = NULL;
	bool yes = rundir_owner(dir) == 0 && asprintf(&record, "%s/exit.json", dir) > 0 && !access(record, F_OK);

	free(record);
	free(dir);
	return yes;
}

static int wait_for(struct ask *a)
{
	const char *state = json_string_value(json_object_get(a->params, "state"));
	const bool end = state && !strcmp(state, vm_state_names[VM_EXITED]);
	json_t *o = NULL, *result;
	const char *why;
	int more, status = STATUS_REFUSED;

	if (end && has_exited(a->name))
		return 0;
	if (cc_open(a->name, &a->c))
		return STATUS_REFUSED;
	more = cc_answer(a->c, cc_send(a->c, a->m->name, a->params), NULL, NULL, &o);
	result = json_object_get(o, "result");
	why = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
	if (result && a->json)
		show_json(result);
	if (more == 0 ? end : result && !json_is_false(json_object_get(result, "reached")))
		status = 0;
	else if (!result)
		err_msg(-EIO, "%s", why ? why : "the machine ended before it came to that");
	json_decref(o);
	cc_close(a->c);
	return status;
}

static int unknown_method(const char *name)
{
	const char *near = NULL;
	unsigned best = UINT_MAX;

	for (const struct ctl_method *m = ctl_methods; m->name; m++)
		if (opt_is_near(name, m->name, &best))
			near = m->name;
	return near ? cmd_usage("ctl", "there is no method '%s': did you mean '%s'?", name, near) :
	       cmd_usage("ctl", "there is no method '%s'", name);
}

int cmd_ctl(int argc, char **argv)
{
	struct ask a = { .json = false };
	bool asked = false;
	int status, n = 0;

	for (int i = 0; i < argc; i++) {
		if (i && !strcmp(argv[i], "--help"))
			asked = true;
		else if (i && !strcmp(argv[i], "--json"))
			a.json = true;
		else
			argv[n++] = argv[i];
	}
	a.m = n > 2 ? ctl_method_find(argv[2]) : NULL;
	if (asked || (n == 2 && !a.json))
		return help(a.m);
	if (n < 3)
		return cmd_usage("ctl", n < 2 ? "the machine's name is missing" : "a method is missing");
	if (!a.m)
		return unknown_method(argv[2]);
	a.name = argv[1];
	a.params = json_object();
	status = params_of(a.m, n - 3, argv + 3, a.params);
	if (!status)
		status = strcmp(a.m->name, "wait") ? call(&a) : wait_for(&a);
	json_decref(a.params);
	return status;
}
