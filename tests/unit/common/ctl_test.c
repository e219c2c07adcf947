/* The control socket: requests, refusals, hostile clients, answers that come late. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct vm vm;
static struct ctl *ctl;
static char dir[64];

static void start(void)
{
	strcpy(dir, "/tmp/skep-ctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	vm = (struct vm){ .name = "unit", .rundir = dir, .arch = arch_native, .nvcpus = 3, .loop = loop_new() };
	ck_assert_int_eq(ctl_start(&vm, &ctl), 0);
}

static void stop(void)
{
	char path[96];

	ctl_stop(ctl);
	snprintf(path, sizeof(path), "%s/control", dir);
	ck_assert_int_eq(access(path, F_OK), -1);
	loop_free(vm.loop);
	ck_assert_int_eq(rmdir(dir), 0);
}

static int client(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	ck_assert_int_eq(stat(sa.sun_path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* The next line that the server has for us; NULL: it hung up. */
static json_t *hear(int fd)
{
	static char line[1 << 20];
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got = recv(fd, line + n, 1, MSG_DONTWAIT);

		if (got == 0)
			return NULL;
		if (got > 0)
			n++;
		else
			ck_assert_int_ge(loop_step(vm.loop, 1000), 0);
	}
	line[n] = 0;
	return json_loads(line, 0, NULL);
}

static json_t *ask(int fd, const char *text)
{
	say(fd, text);
	return hear(fd);
}

static int code(const json_t *answer)
{
	return (int)json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
}

START_TEST(test_status)
{
	json_t *a, *r;
	int fd;

	start();
	fd = client();
	a = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"status\"}\n");
	r = json_object_get(a, "result");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 7);
	ck_assert_str_eq(json_string_value(json_object_get(r, "state")), "running");
	ck_assert_int_eq(json_integer_value(json_object_get(r, "cpus")), 3);
	json_decref(a);
	/* Two requests in one packet, and one in three. */
	say(fd, "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"disks\"}\n{\"jsonrpc\":\"2.0\",\"id\":\"b\",\"method\":\"disks\"}\n{\"jsonrpc\":");
	a = hear(fd);
	ck_assert_str_eq(json_string_value(json_object_get(a, "id")), "a");
	ck_assert(json_is_array(json_object_get(a, "result")));
	json_decref(a);
	a = hear(fd);
	ck_assert_str_eq(json_string_value(json_object_get(a, "id")), "b");
	json_decref(a);
	say(fd, "\"2.0\",\"id\":9,");
	loop_step(vm.loop, 0);
	a = ask(fd, "\"method\":\"status\",\"params\":{}}\n");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 9);
	json_decref(a);
	close(fd);
	stop();
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *text; int code; } bad[] = {
		{ "nonsense\n", -32700 },
		{ "[1,2]\n", -32600 },
		{ "{\"id\":1,\"method\":\"status\"}\n", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"statu\"}\n", -32601 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":[1]}\n", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\",\"params\":{\"x\":1}}\n", -32602 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\"}\n", -32602 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":5}}\n", -32602 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":\"a/b\"}}\n", -32000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":\"ok\"}}\n", -32000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoints\",\"params\":{\"disk\":\"pci.0.3.0\"}}\n", -32000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"media\",\"params\":{\"disk\":\"pci.0.3.0\"}}\n", -32000 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resume\"}\n", -32000 },
		/* The quotation of it ends in the middle of a letter. */
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"xäääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää\"}\n", -32601 },
		{ "{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n", -32700 },
	};
	struct capture cap;
	int fd;

	start();
	fd = client();
	capture_start(&cap, STDERR_FILENO);
	for (size_t i = 0; i < NELEM(bad); i++) {
		json_t *a = ask(fd, bad[i].text);

		ck_assert_msg(code(a) == bad[i].code, "%s: %d", bad[i].text, code(a));
		ck_assert_uint_gt(json_string_length(json_object_get(json_object_get(a, "error"), "message")), 0);
		json_decref(a);
	}
	/* The client has the sentence; standard error has not. */
	ck_assert_str_eq(capture_stop(&cap), "");
	close(fd);
	stop();
}
END_TEST

/* A notification is done and not answered. */
START_TEST(test_notification)
{
	json_t *a;
	int fd;

	start();
	fd = client();
	say(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}\n{\"jsonrpc\":\"2.0\",\"method\":\"statu\"}\n"
	    "{\"jsonrpc\":\"2.0\",\"method\":\"status\",\"params\":{\"x\":1}}\n");
	a = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"status\"}\n");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 2);
	json_decref(a);
	close(fd);
	stop();
}
END_TEST

START_TEST(test_hostile)
{
	static char big[CTL_LINE_MAX + 1];
	int fd[CTL_CLIENTS_MAX + 4];
	json_t *a;

	start();
	/* A line without an end. */
	fd[0] = client();
	memset(big, 'x', CTL_LINE_MAX);
	say(fd[0], big);
	a = hear(fd[0]);
	ck_assert_int_eq(code(a), -32600);
	json_decref(a);
	ck_assert_ptr_null(hear(fd[0]));
	close(fd[0]);
	/* More clients than there may be: the others are shut out, those inside served. */
	for (unsigned i = 0; i < NELEM(fd); i++) {
		fd[i] = client();
		loop_step(vm.loop, 0);
	}
	a = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	ck_assert_int_eq(code(a), 0);
	json_decref(a);
	a = hear(fd[NELEM(fd) - 1]);
	ck_assert_int_eq(code(a), -32000);
	json_decref(a);
	ck_assert_ptr_null(hear(fd[NELEM(fd) - 1]));
	/* Asks, and is gone before the answer. */
	for (unsigned i = 0; i < NELEM(fd); i++) {
		if (i < CTL_CLIENTS_MAX)
			say(fd[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
		close(fd[i]);
	}
	for (unsigned i = 0; i < 3 * NELEM(fd); i++)
		loop_step(vm.loop, 0);
	fd[0] = client();
	a = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	ck_assert_int_eq(code(a), 0);
	json_decref(a);
	close(fd[0]);
	stop();
}
END_TEST

START_TEST(test_path_too_long)
{
	static char longdir[200];
	struct capture cap;

	memset(longdir, 'd', sizeof(longdir) - 1);
	vm = (struct vm){ .name = "unit", .rundir = longdir, .arch = arch_native, .loop = loop_new() };
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ctl_start(&vm, &ctl), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "control socket"));
	ck_assert_ptr_null(ctl);
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("common/ctl", test_status, test_refusals, test_notification, test_hostile, test_path_too_long)
