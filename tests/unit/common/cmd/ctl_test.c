/* skep ctl: what it sends, what it shows, its exit status. */
#include "common/ctl.h"
#include "common/util.h"
#include "tests/unit/common/cmd/fakevm.h"
#include "tests/unit/common/cmd/line.h"

static bool machine(FILE *to, const char *method, int id, const json_t *params)
{
	char *sent = json_dumps(params, JSON_COMPACT);

	if (!strcmp(method, "status")) {
		fprintf(to, "{\"id\":%d,\"result\":{\"name\":\"vm1\",\"state\":\"running\",\"holds\":[],\"why\":\"\\u001b[2J\"}}\n", id);
	} else if (!strcmp(method, "disks")) {
		fprintf(to, "{\"id\":%d,\"result\":[{\"disk\":\"a\",\"chain\":[{\"path\":\"p\"}]},{\"disk\":\"b\",\"hist\":[[1,2],[3,4]]}]}\n", id);
	} else if (!strcmp(method, "regs")) {
		fprintf(to, "{\"id\":%d,\"result\":[{\"vcpu\":0,\"registers\":{\"rax\":\"0x1\",\"rbx\":\"0x2\",\"rcx\":\"0x3\",\"rdx\":\"0x4\","
			"\"v0\":\"0x00112233445566778899aabbccddeeff\"}},{\"vcpu\":1,\"registers\":{\"rax\":\"0x5\"}}]}\n", id);
	} else if (!strcmp(method, "metrics")) {
		fprintf(to, "{\"id\":%d,\"result\":{\"type\":\"t\",\"text\":\"# one\\n# EOF\\n\"}}\n", id);
	} else if (!strcmp(method, "wait")) {
		const char *state = json_string_value(json_object_get(params, "state"));

		if (!strcmp(state, "exited"))
			return false;
		if (!strcmp(state, "paused"))
			fprintf(to, "{\"id\":%d,\"result\":{\"state\":\"paused\"}}\n", id);
		else
			fprintf(to, "{\"id\":%d,\"error\":{\"code\":-32000,\"message\":\"not in time\"}}\n", id);
	} else if (!strcmp(method, "events")) {
		fprintf(to, "{\"id\":%d,\"result\":{\"seq\":3}}\n", id);
		fprintf(to, "{\"method\":\"event\",\"params\":{\"state\":\"paused\",\"event\":\"state\",\"time_ns\":1500000000,\"seq\":4}}\n");
		fprintf(to, "{\"method\":\"event\",\"params\":{\"event\":\"guest-panic\",\"time_ns\":1600000000,\"seq\":5}}\n");
		fflush(to);
		return false;
	} else if (!strcmp(method, "disk-checkpoint")) {
		for (int i = 1; i < 4; i++)
			fprintf(to, "{\"method\":\"event\",\"params\":{\"event\":\"progress\",\"done\":%d,\"total\":4194304}}\n", i << 20);
		fprintf(to, "{\"id\":%d,\"result\":%s}\n", id, sent);
	} else {
		fprintf(to, "{\"id\":%d,\"error\":{\"code\":-32000,\"message\":\"no: %s\"}}\n", id, method);
	}
	free(sent);
	return true;
}

START_TEST(test_shows)
{
	static const struct { const char *line, *out; } rows[] = {
		{ "vm1 status", "name: vm1\nstate: running\nholds: []\nwhy: ?[2J\n" },
		{ "vm1 disks", "disk: a\nchain:\n    path: p\n\ndisk: b\nhist: [[1,2],[3,4]]\n" },
		{ "--json vm1 metrics", "{\n  \"type\": \"t\",\n  \"text\": \"# one\\n# EOF\\n\"\n}\n" },
		{ "vm1 regs", "vcpu 0\nrax                         0x1  rbx                         0x2  rcx                         0x3\n"
		  "rdx                         0x4\nv0           0x00112233445566778899aabbccddeeff\n\nvcpu 1\n"
		  "rax                         0x5\n" },
		{ "vm1 metrics", "# one\n# EOF\n" },
		{ "vm1 events --json", "{\"state\":\"paused\",\"event\":\"state\",\"time_ns\":1500000000,\"seq\":4}\n"
		  "{\"event\":\"guest-panic\",\"time_ns\":1600000000,\"seq\":5}\n" },
		{ "vm1 events", "00:00:01.500 state state=paused\n00:00:01.600 guest-panic\n" },
		{ "vm1 wait paused", "" },
		{ "vm1 wait paused timeout_ms=100", "" },
		{ "vm1 wait exited", "" },
		{ "vm1 disk-checkpoint c store=qcow2 d", "name: c\nstore: qcow2\ndisk: d\n" },
		{ "vm1 disk-checkpoint c path=/x", "name: c\npath: /x\n" },
	};
	struct fakevm vm;

	setenv("TZ", "UTC", 1);
	fakevm_start(&vm, machine);
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line("skep ctl", rows[i].line) == 0, "%s: %s", rows[i].line, err.text);
		ck_assert_str_eq(out.text, rows[i].out);
		ck_assert_str_eq(err.text, "");
	}
	/* A path is the client's. */
	ck_assert_int_eq(run_line("skep ctl", "vm1 disk-checkpoint c path=x"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "path: /"));
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *line; int status; const char *message; } rows[] = {
		{ "", 2, "skep ctl: the machine's name is missing\n" },
		{ "--json", 2, "skep ctl: the machine's name is missing\n" },
		{ "vm1 --json", 2, "skep ctl: a method is missing\n" },
		{ "vm1 statos", 2, "skep ctl: there is no method 'statos': did you mean 'status'?\n" },
		{ "vm1 status x", 2, "skep ctl: status: 'x' is too much\n" },
		{ "vm1 regs x", 2, "skep ctl: regs: vcpu 'x' is not a number\n" },
		{ "vm1 wait", 2, "skep ctl: wait: its state is missing\n" },
		{ "vm1 wait running", 1, "skep: not in time\n" },
		{ "vm1 pause", 1, "skep: no: pause\n" },
		{ "vm2 status", 1, "skep: no machine 'vm2'" },
		{ "vm2 wait exited", 1, "skep: no machine 'vm2'" },
	};
	char path[128];
	struct fakevm vm;
	FILE *f;

	fakevm_start(&vm, machine);
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line("skep ctl", rows[i].line) == rows[i].status, "%s", rows[i].line);
		ck_assert_msg(!strncmp(err.text, rows[i].message, strlen(rows[i].message)), "%s: %s", rows[i].line, err.text);
		ck_assert_str_eq(out.text, "");
	}
	/* One that has ended, and left its record, is what is waited for. */
	snprintf(path, sizeof(path), "%s/exit.json", vm.path);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fclose(f);
	fakevm_end(&vm);
	ck_assert_int_eq(run_line("skep ctl", "vm1 wait exited"), 0);
	ck_assert_int_eq(run_line("skep ctl", "vm1 wait running"), 1);
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_help)
{
	static const char *const lines[] = { "--help", "vm1", "vm1 --help" };

	for (size_t i = 0; i < NELEM(lines); i++) {
		ck_assert_int_eq(run_line("skep ctl", lines[i]), 0);
		for (const struct ctl_method *m = ctl_methods; m->name; m++)
			ck_assert_msg(strstr(out.text, m->help), "%s: %s", lines[i], m->name);
	}
	ck_assert_int_eq(run_line("skep ctl", "vm1 wait --help"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "usage: skep ctl NAME wait "));
	ck_assert_ptr_nonnull(strstr(out.text, "timeout_ms"));
	ck_assert_ptr_null(strstr(out.text, "metrics"));
}
END_TEST

UNIT_MAIN("common/cmd/ctl", test_shows, test_refusals, test_help)
