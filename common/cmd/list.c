/*
 * `skep list`: the running VMs of this user, from their run directories; their state from their control sockets, what they use
 * from [PROC].
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/cmd/ctl_client.h"
#include "common/cmd/proc_use.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"

#define ANSWER_MS 1000                          /* for all of them together: one that hangs has no state */

struct row {
	struct row *next;
	char name[64];
	int pid, call;
	json_t *info, *status;                  /* NULL: none */
	struct ctl_conn *c;
	struct proc_use use;
	bool alive;                             /* `use` is known */
};

struct rows {
	struct row *first, **last;
};

/* "3d 04:05:06", "00:01:02" */
static void format_uptime(int64_t s, char *buf, size_t len)
{
	int n = 0;

	if (s >= 86400)
		n = snprintf(buf, len, "%" PRId64 "d ", s / 86400);
	snprintf(buf + n, len - (size_t)n, "%02d:%02d:%02d", (int)(s / 3600 % 24), (int)(s / 60 % 60), (int)(s % 60));
}

static int64_t uptime_s(const json_t *info)
{
	struct timespec t;
	int64_t s;

	clock_gettime(CLOCK_BOOTTIME, &t);
	s = (int64_t)t.tv_sec - json_integer_value(json_object_get(info, "started_boottime_s"));
	return MAX(s, 0);
}

static void add_row(const char *name, int pid, const json_t *info, void *arg)
{
	struct rows *rows = arg;
	struct row *r = calloc(1, sizeof(*r));

	if (!r)
		abort();
	snprintf(r->name, sizeof(r->name), "%s", name);
	r->pid = pid;
	r->info = json_incref((json_t *)info);
	r->alive = proc_use(pid, &r->use);
	/* All are asked before any has to answer. */
	if (cc_try(name, &r->c) == 0)
		r->call = cc_send(r->c, "status", NULL);
	*rows->last = r;
	rows->last = &r->next;
}

/* Within what is left of the time for all. */
static void hear(struct row *r, int64_t end)
{
	json_t *o = NULL;

	if (!r->c || r->call < 0)
		return;
	if (cc_next(r->c, (int)MAX(end - proc_now_ms(), 0), &o) == 1)
		r->status = json_incref(json_object_get(o, "result"));
	json_decref(o);
}

static void rows_free(struct rows *rows)
{
	struct row *r;

	while ((r = rows->first)) {
		rows->first = r->next;
		json_decref(r->info);
		json_decref(r->status);
		cc_close(r->c);
		free(r);
	}
}

static const char *state_of(const struct row *r)
{
	return json_string_value(json_object_get(r->status, "state"));
}

/* Per cent of a CPU over the VM's life; a machine with two busy vCPUs has 200. */
static int cpu_percent(const struct row *r)
{
	return (int)(r->use.cpu_ms * 100 / MAX(r->use.age_ms, 1));
}

static void print_row(const struct row *r)
{
	const char *arch = json_string_value(json_object_get(r->info, "arch")), *state = state_of(r);
	char up[32] = "-", size[24] = "-", rss[24] = "-", cpu[16] = "-";

	if (r->info) {
		format_uptime(uptime_s(r->info), up, sizeof(up));
		snprintf(size, sizeof(size), "%" JSON_INTEGER_FORMAT "M",
			 json_integer_value(json_object_get(r->info, "memory_bytes")) >> 20);
	}
	if (r->alive) {
		snprintf(rss, sizeof(rss), "%" PRIu64 "M", r->use.rss >> 20);
		snprintf(cpu, sizeof(cpu), "%d%%", cpu_percent(r));
	}
	printf("%-20s %8d %-6s %-11s %4d %5s %8s %8s %s\n", r->name, r->pid, arch ? arch : "-", state ? state : "-",
	       (int)json_integer_value(json_object_get(r->info, "cpus")), cpu, size, rss, up);
}

static json_t *row_json(const struct row *r)
{
	json_t *o = r->info ? json_copy(r->info) : json_object();

	json_object_set_new(o, "name", json_string(r->name));
	json_object_set_new(o, "pid", json_integer(r->pid));
	if (r->info)
		json_object_set_new(o, "uptime_s", json_integer(uptime_s(r->info)));
	json_object_del(o, "started_boottime_s");
	if (state_of(r))
		json_object_set_new(o, "state", json_string(state_of(r)));
	if (r->alive) {
		json_object_set_new(o, "cpu_ms", json_integer((json_int_t)r->use.cpu_ms));
		json_object_set_new(o, "cpu_percent", json_integer(cpu_percent(r)));
		json_object_set_new(o, "rss_bytes", json_integer((json_int_t)r->use.rss));
	}
	return o;
}

static void print_name(const char *name, int pid UNUSED, const json_t *info UNUSED, void *arg UNUSED)
{
	printf("%s\n", name);
}

static int list(bool json)
{
	struct rows rows = { NULL, &rows.first };
	json_t *all = json_array();
	int err = rundir_walk(add_row, &rows);
	const int64_t end = proc_now_ms() + ANSWER_MS;

	rundir_clean_dead();
	for (struct row *r = rows.first; r; r = r->next) {
		hear(r, end);
		if (json) {
			json_array_append_new(all, row_json(r));
			continue;
		}
		if (r == rows.first)
			printf("%-20s %8s %-6s %-11s %4s %5s %8s %8s %s\n", "NAME", "PID", "ARCH", "STATE", "CPUS", "CPU", "MEM", "RSS",
			       "UPTIME");
		print_row(r);
	}
	if (json && !err) {
		json_dumpf(all, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
		printf("\n");
	}
	json_decref(all);
	rows_free(&rows);
	return err ? STATUS_REFUSED : 0;
}

int cmd_list(int argc, char **argv)
{
	const char *option = argc == 2 ? argv[1] : "";

	if (!strcmp(option, "--help")) {
		char *what[] = { "help", "list", NULL };

		return cmd_help(2, what);
	}
	if (!strcmp(option, "--names"))
		return rundir_walk(print_name, NULL) ? STATUS_REFUSED : 0;
	if (argc > 1 && strcmp(option, "--json") != 0)
		return cmd_usage("list", "'%s' is not an option: there are --json and --names", argv[1]);
	return list(argc > 1);
}
