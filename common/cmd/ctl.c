/*
 * `skep ctl NAME METHOD [VALUE...]`: one call through the control socket of a running VM.  Values fill the method's
 * parameters in order, or by name as NAME=VALUE.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/ctl.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"

static void print_methods(void)
{
	printf("usage: skep ctl NAME METHOD [VALUE|PARAMETER=VALUE...] [--json]\n\n");
	for (const struct ctl_method *m = ctl_methods; m->name; m++) {
		printf("  %-18s %s\n", m->name, m->help);
		for (const struct ctl_param *p = m->params; p && p->name; p++)
			printf("  %-18s   %s%s%s  %s\n", "", p->required ? "" : "[", p->name, p->required ? "" : "]", p->help);
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

static int ctl_connect(const char *name)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char *dir = rundir_path(name);
	const int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	int fd, err = 0;

	if (rundir_owner(dir) == 0 || rundir_owner(dir) == -ENOENT) {
		err = err_msg(-ENOENT, "no machine '%s' is running; 'skep list' shows those that are", name);
	} else if (n < 0 || (size_t)n >= sizeof(sa.sun_path)) {
		err = err_msg(-ENAMETOOLONG, "the path of the control socket in '%s' is too long", dir);
	}
	free(dir);
	if (err)
		return err;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0) {
		err = err_sys("control socket '%s'", sa.sun_path);
		if (fd >= 0)
			close(fd);
		return err;
	}
	return fd;
}

/* One line out, one line in.  NULL after a message. */
static json_t *exchange(FILE *f, const char *name, json_t *request)
{
	char *line = NULL;
	size_t cap = 0;
	json_t *answer = NULL;

	if (json_dumpf(request, f, JSON_COMPACT) == 0 && fputc('\n', f) != EOF && fflush(f) == 0 && getline(&line, &cap, f) > 0)
		answer = json_loads(line, 0, NULL);
	free(line);
	if (!answer)
		err_msg(-EIO, "machine '%s' ended before it answered", name);
	return answer;
}

static void print_value(const json_t *v)
{
	char *t;

	if (json_is_string(v)) {
		printf("%s", json_string_value(v));
		return;
	}
	t = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	printf("%s", t ? t : "");
	free(t);
}

/* Objects as "name: value" lines, lists of objects with a blank line between. */
static void print_plain(const json_t *o, const char *indent)
{
	const char *key;
	json_t *v;
	size_t i;

	if (json_is_array(o)) {
		json_array_foreach(o, i, v) {
			if (i)
				printf("\n");
			print_plain(v, indent);
		}
		return;
	}
	json_object_foreach((json_t *)o, key, v) {
		size_t k;
		json_t *e;

		if (json_is_array(v)) {
			printf("%s%s:\n", indent, key);
			json_array_foreach(v, k, e)
				print_plain(e, "    ");
		} else {
			printf("%s%s: ", indent, key);
			print_value(v);
			printf("\n");
		}
	}
}

static int call(const char *name, const struct ctl_method *m, json_t *params, bool json)
{
	json_t *request, *answer, *result;
	int fd = ctl_connect(name), status = STATUS_REFUSED;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r+");

	if (!f)
		return status;
	request = json_pack("{s:s, s:i, s:s, s:O}", "jsonrpc", "2.0", "id", 1, "method", m->name, "params", params);
	answer = exchange(f, name, request);
	result = json_object_get(answer, "result");
	if (result && json) {
		json_dumpf(result, stdout, JSON_INDENT(2));
		printf("\n");
	} else if (result) {
		print_plain(result, "");
	} else if (answer) {
		const char *why = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

		err_msg(-EIO, "%s", why ? why : "the machine's answer is no JSON-RPC answer");
	}
	if (result)
		status = 0;
	json_decref(answer);
	json_decref(request);
	fclose(f);
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
	const struct ctl_method *m;
	json_t *params;
	bool json = false;
	int status, n = 0;

	for (int i = 0; i < argc; i++) {
		if (i && !strcmp(argv[i], "--help")) {
			print_methods();
			return 0;
		}
		if (i && !strcmp(argv[i], "--json"))
			json = true;
		else
			argv[n++] = argv[i];
	}
	if (n < 3)
		return cmd_usage("ctl", n < 2 ? "the machine's name is missing" : "a method is missing");
	m = ctl_method_find(argv[2]);
	if (!m)
		return unknown_method(argv[2]);
	params = json_object();
	status = params_of(m, n - 3, argv + 3, params);
	if (!status)
		status = call(argv[1], m, params, json);
	json_decref(params);
	return status;
}
