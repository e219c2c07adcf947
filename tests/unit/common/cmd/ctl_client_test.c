/* The client of the control socket: who is not there, answers among notifications, in pieces, wrong, or never. */
#include <errno.h>
#include <sys/stat.h>

#include "common/cmd/ctl_client.h"
#include "tests/unit/capture.h"
#include "tests/unit/common/cmd/fakevm.h"

static struct capture err;

static int open_fails(const char *name, const char *message)
{
	struct ctl_conn *c;
	int e;

	capture_start(&err, 2);
	e = cc_open(name, &c);
	capture_stop(&err);
	ck_assert_ptr_null(c);
	ck_assert_msg(strstr(err.text, message), "%s", err.text);
	ck_assert_msg(strchr(err.text, '\n') == err.text + strlen(err.text) - 1, "%s", err.text);
	return e;
}

START_TEST(test_absent)
{
	char path[128];
	struct fakevm vm;
	struct ctl_conn *c;

	fakevm_start(&vm, NULL);
	ck_assert_int_eq(open_fails("../x", "'../x' is not the name of a machine: "), -EINVAL);
	ck_assert_int_eq(open_fails("vm2", "no machine 'vm2'"), -ENOENT);
	/* Locked, and no socket: it is being built. */
	ck_assert_int_eq(open_fails("vm1", "just starting or ending"), -ENOENT);
	ck_assert_int_eq(cc_try("vm1", &c), -ENOENT);
	ck_assert_ptr_null(c);
	/* A socket nobody listens at. */
	fakevm_listen(&vm);
	close(vm.fd);
	vm.fd = -1;
	ck_assert_int_eq(open_fails("vm1", "just starting or ending"), -ECONNREFUSED);
	if (geteuid() != 0) {
		snprintf(path, sizeof(path), "%s/skep", vm.top);
		ck_assert_int_eq(chmod(path, 0), 0);
		ck_assert_int_eq(open_fails("vm1", "belongs to user"), -EACCES);
		ck_assert_int_eq(chmod(path, 0700), 0);
	}
	fakevm_stop(&vm);
}
END_TEST

static bool talk(FILE *to, const char *method, int id, const json_t *params)
{
	if (!strcmp(method, "plain")) {
		fprintf(to, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{\"got\":%d}}\n", id,
			(int)json_integer_value(json_object_get(params, "n")));
	} else if (!strcmp(method, "noisy")) {
		/* Of another call, notifications, and the answer in two pieces. */
		fprintf(to, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":{}}\n", id + 1000);
		for (int i = 0; i < 3; i++)
			fprintf(to, "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"state\",\"n\":%d}}\n", i);
		fprintf(to, "{\"jsonrpc\":\"2.0\",\"id\":%d,", id);
		fflush(to);
		usleep(20000);
		fprintf(to, "\"result\":[1,2]}\n");
	} else if (!strcmp(method, "long")) {
		fprintf(to, "{\"id\":%d,\"result\":\"", id);
		for (int i = 0; i < 300000; i++)
			fputc('x', to);
		fprintf(to, "\"}\n");
	} else if (!strcmp(method, "refuse")) {
		fprintf(to, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"error\":{\"code\":-32000,\"message\":\"not today\"}}\n", id);
	} else if (!strcmp(method, "deaf")) {
		fprintf(to, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"what?\"}}\n");
	} else if (!strcmp(method, "garbage")) {
		fprintf(to, "what?\n");
	} else if (!strcmp(method, "array")) {
		fprintf(to, "[1]\n");
	} else if (!strcmp(method, "end")) {
		return false;
	}
	return true;
}

static int notes;

static void note(void *arg, const json_t *o)
{
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(o, "params"), "n")), notes++);
	(void)arg;
}

START_TEST(test_calls)
{
	json_t *params = json_pack("{s:i}", "n", 7), *o;
	struct fakevm vm;
	struct ctl_conn *c;

	fakevm_start(&vm, talk);
	ck_assert_int_eq(cc_open("vm1", &c), 0);
	for (int i = 0; i < 3; i++) {
		o = cc_call(c, "plain", params, NULL, NULL);
		ck_assert_int_eq(json_integer_value(json_object_get(o, "got")), 7);
		json_decref(o);
	}
	o = cc_call(c, "noisy", NULL, note, NULL);
	ck_assert_uint_eq(json_array_size(o), 2);
	ck_assert_int_eq(notes, 3);
	json_decref(o);
	o = cc_call(c, "noisy", NULL, NULL, NULL);
	json_decref(o);
	o = cc_call(c, "long", NULL, NULL, NULL);
	ck_assert_uint_eq(json_string_length(o), 300000);
	json_decref(o);
	cc_close(c);
	o = cc_ask("vm1", "plain", params);
	ck_assert_int_eq(json_integer_value(json_object_get(o, "got")), 7);
	json_decref(o);
	json_decref(params);
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_failures)
{
	static const struct { const char *method, *message; } rows[] = {
		{ "refuse", "skep: not today\n" },
		{ "deaf", "skep: what?\n" },
		{ "garbage", "machine 'vm1': its answer: Protocol error" },
		{ "array", "machine 'vm1': its answer: Protocol error" },
		{ "end", "machine 'vm1' ended before it answered" },
	};
	struct fakevm vm;
	struct ctl_conn *c;
	json_t *o = NULL;

	fakevm_start(&vm, talk);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		capture_start(&err, 2);
		ck_assert_ptr_null(cc_ask("vm1", rows[i].method, NULL));
		capture_stop(&err);
		ck_assert_msg(strstr(err.text, rows[i].message), "%s: %s", rows[i].method, err.text);
	}
	/* It says nothing, and then ends. */
	ck_assert_int_eq(cc_try("vm1", &c), 0);
	ck_assert_int_gt(cc_send(c, "silent", NULL), 0);
	ck_assert_int_eq(cc_next(c, 30, &o), -ETIMEDOUT);
	kill(vm.child, SIGKILL);
	ck_assert_int_eq(cc_next(c, 5000, &o), 0);
	ck_assert_ptr_null(o);
	cc_close(c);
	cc_close(NULL);
	fakevm_stop(&vm);
}
END_TEST

UNIT_MAIN("common/cmd/ctl_client", test_absent, test_calls, test_failures)
