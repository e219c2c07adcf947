#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/cmd/ctl_client.h"
#include "common/cmd/proc_use.h"
#include "common/rundir.h"
#include "tests/unit/capture.h"
#include "tests/unit/common/cmd/fakevm.h"
#include "tests/unit/unit.h"

static struct capture out;

static int run(int argc, char **argv)
{
	int status;

	capture_start(&out, 1);
	status = cmd_list(argc, argv);
	capture_stop(&out);
	return status;
}

START_TEST(test_list)
{
	char top[] = "/tmp/skep-list-XXXXXX", line[128], cmd[64], *path, *plain[] = { "list", NULL }, *json[] = { "list",
		"--json", NULL }, *names[] = { "list", "--names", NULL };
	struct conf *c = conf_new();
	json_t *list, *vm;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(top));
	setenv("XDG_RUNTIME_DIR", top, 1);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_str_eq(out.text, "");
	ck_assert_int_eq(run(2, json), 0);
	ck_assert_str_eq(out.text, "[]\n");

	ck_assert_int_eq(rundir_open("vm1", &path, &fd), 0);
	ck_assert_int_eq(run(1, plain), 0);
	snprintf(line, sizeof(line), "vm1                  %8d -      -              0 ", (int)getpid());
	ck_assert(!strncmp(out.text, "NAME                      PID ARCH   STATE       CPUS   CPU      MEM      RSS UPTIME\n", 84));
	ck_assert_msg(strstr(out.text, line), "%s", out.text);

	conf_set(c, "name", "vm1", "t");
	conf_set(c, "arch", "arm64", "t");
	conf_set(c, "cpus", "4", "t");
	conf_set(c, "memory.size", "1G", "t");
	ck_assert_int_eq(rundir_write_info(path, c), 0);
	ck_assert_int_eq(run(1, plain), 0);
	snprintf(line, sizeof(line), "vm1                  %8d arm64  -              4 ", (int)getpid());
	ck_assert_ptr_nonnull(strstr(out.text, line));
	ck_assert_ptr_nonnull(strstr(out.text, "    1024M "));
	ck_assert_ptr_nonnull(strstr(out.text, "M 00:00:0"));
	ck_assert_int_eq(run(2, json), 0);
	list = json_loads(out.text, 0, NULL);
	vm = json_array_get(list, 0);
	ck_assert_str_eq(json_string_value(json_object_get(vm, "name")), "vm1");
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "pid")), getpid());
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "cpus")), 4);
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "memory_bytes")), 1 << 30);
	ck_assert_int_le(json_integer_value(json_object_get(vm, "uptime_s")), 5);
	ck_assert_int_gt(json_integer_value(json_object_get(vm, "rss_bytes")), 4096);
	ck_assert(json_is_integer(json_object_get(vm, "cpu_ms")) && json_is_integer(json_object_get(vm, "cpu_percent")));
	ck_assert_ptr_null(json_object_get(vm, "state"));
	json_decref(list);
	ck_assert_int_eq(run(2, names), 0);
	ck_assert_str_eq(out.text, "vm1\n");

	rundir_close(path, fd);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_str_eq(out.text, "");
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
	conf_free(c);
}
END_TEST

static bool machine(FILE *to, const char *method, int id, const json_t *params)
{
	ck_assert_str_eq(method, "status");
	(void)params;
	fprintf(to, "{\"id\":%d,\"result\":{\"state\":\"paused\"}}\n", id);
	return true;
}

START_TEST(test_state)
{
	char *plain[] = { "list", NULL }, *json[] = { "list", "--json", NULL };
	struct fakevm vm;

	fakevm_start(&vm, machine);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_msg(strstr(out.text, " paused "), "%s", out.text);
	ck_assert_int_eq(run(2, json), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "\"state\": \"paused\""));
	fakevm_stop(&vm);
}
END_TEST

/* It takes connections and says nothing; then it does not even take them. */
START_TEST(test_hung)
{
	char *plain[] = { "list", NULL };
	struct ctl_conn *c[32] = { NULL };
	const int64_t start = proc_now_ms();
	struct fakevm vm;
	int n = 0;

	fakevm_start(&vm, NULL);
	fakevm_listen(&vm);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "vm1 "));
	ck_assert_ptr_nonnull(strstr(out.text, " -  "));
	while (n < 32 && cc_try("vm1", &c[n]) == 0)
		n++;
	ck_assert_int_lt(n, 32);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "vm1 "));
	ck_assert_int_lt(proc_now_ms() - start, 5000);
	while (n--)
		cc_close(c[n]);
	fakevm_stop(&vm);
}
END_TEST

/* What a killed one left is gone, its record is not. */
START_TEST(test_dead)
{
	char *plain[] = { "list", NULL }, pid[128], record[128];
	struct fakevm vm;

	fakevm_start(&vm, NULL);
	snprintf(pid, sizeof(pid), "%s/pid", vm.path);
	snprintf(record, sizeof(record), "%s/exit.json", vm.path);
	fclose(fopen(record, "w"));
	close(vm.lock);
	ck_assert_int_eq(access(pid, F_OK), 0);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_str_eq(out.text, "");
	ck_assert_int_eq(access(pid, F_OK), -1);
	ck_assert_int_eq(access(record, F_OK), 0);
	vm.lock = -1;
	fakevm_stop(&vm);
}
END_TEST

UNIT_MAIN("common/cmd/list", test_list, test_state, test_hung, test_dead)
