#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/conf.h"
#include "common/rundir.h"
#include "tests/unit/capture.h"
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
		"--json", NULL };
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
	snprintf(line, sizeof(line), "NAME                      PID ARCH    CPUS       MEM UPTIME\nvm1                  %8d -    "
		"      0         - -\n",
		 (int)getpid());
	ck_assert_str_eq(out.text, line);

	conf_set(c, "name", "vm1", "t");
	conf_set(c, "arch", "arm64", "t");
	conf_set(c, "cpus", "4", "t");
	conf_set(c, "memory.size", "1G", "t");
	ck_assert_int_eq(rundir_write_info(path, c), 0);
	ck_assert_int_eq(run(1, plain), 0);
	snprintf(line, sizeof(line), "vm1                  %8d arm64      4     1024M 00:00:0", (int)getpid());
	ck_assert_ptr_nonnull(strstr(out.text, line));
	ck_assert_int_eq(run(2, json), 0);
	list = json_loads(out.text, 0, NULL);
	vm = json_array_get(list, 0);
	ck_assert_str_eq(json_string_value(json_object_get(vm, "name")), "vm1");
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "pid")), getpid());
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "cpus")), 4);
	ck_assert_int_eq(json_integer_value(json_object_get(vm, "memory_bytes")), 1 << 30);
	ck_assert_int_le(json_integer_value(json_object_get(vm, "uptime_s")), 5);
	json_decref(list);

	rundir_close(path, fd);
	ck_assert_int_eq(run(1, plain), 0);
	ck_assert_str_eq(out.text, "");
	snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	ck_assert_int_eq(system(cmd), 0);
	conf_free(c);
}
END_TEST

UNIT_MAIN("common/cmd/list", test_list)
