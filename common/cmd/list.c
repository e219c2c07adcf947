/*
 * `skep list`: the running VMs of this user, from their run directories.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"

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

static void print_row(const char *name, int pid, const json_t *info, void *arg)
{
	bool *header = arg;
	const char *arch = json_string_value(json_object_get(info, "arch"));
	int cpus = (int)json_integer_value(json_object_get(info, "cpus"));
	int64_t mem = json_integer_value(json_object_get(info, "memory_bytes"));
	char up[32] = "-", size[32] = "-";

	if (!*header)
		printf("%-20s %8s %-6s %5s %9s %s\n", "NAME", "PID", "ARCH", "CPUS", "MEM", "UPTIME");
	*header = true;
	if (info) {
		format_uptime(uptime_s(info), up, sizeof(up));
		snprintf(size, sizeof(size), "%" PRId64 "M", mem >> 20);
	}
	printf("%-20s %8d %-6s %5d %9s %s\n", name, pid, arch ? arch : "-", cpus, size, up);
}

static void add_json(const char *name, int pid, const json_t *info, void *arg)
{
	json_t *list = arg, *o = info ? json_copy((json_t *)info) : json_object();

	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "pid", json_integer(pid));
	if (info)
		json_object_set_new(o, "uptime_s", json_integer(uptime_s(info)));
	json_object_del(o, "started_boottime_s");
	json_array_append_new(list, o);
}

static int list_json(void)
{
	json_t *list = json_array();
	int err = rundir_walk(add_json, list);

	if (!err) {
		json_dumpf(list, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
		printf("\n");
	}
	json_decref(list);
	return err ? STATUS_REFUSED : 0;
}

int cmd_list(int argc, char **argv)
{
	bool header = false;

	if (argc == 2 && !strcmp(argv[1], "--json"))
		return list_json();
	if (argc == 2 && !strcmp(argv[1], "--help")) {
		char *what[] = { "help", "list", NULL };

		return cmd_help(2, what);
	}
	if (argc > 1)
		return cmd_usage("list", "'%s' is not an option: there is only --json", argv[1]);
	return rundir_walk(print_row, &header) ? STATUS_REFUSED : 0;
}
