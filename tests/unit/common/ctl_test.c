/* The control socket: requests, refusals, hostile clients, answers that come late. */
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/common/ctl_rig.h"

static struct rig rig;

static void start(void) { rig_start(&rig); }
static void stop(void) { rig_stop(&rig); }
static int client(void) { return rig_client(&rig); }
static json_t *hear(int fd) { return rig_hear(&rig, fd); }
static json_t *ask(int fd, const char *text) { return rig_ask(&rig, fd, text); }
static int code(const json_t *answer) { return answer_code(answer); }

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
	loop_step(rig.vm->loop, 0);
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
		{ "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}]\n", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"regs\",\"params\":{\"vcpu\":99999999999999999999999}}\n", -32700 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"regs\",\"params\":{\"vcpu\":1.5}}\n", -32602 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"status\"}\n", -32600 },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sta\\u0000tus\"}\n", -32700 },
		{ "\n", -32700 },
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
	int fd[CTL_CLIENTS_MAX / 2];
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
	/* Asks, and is gone before the answer. */
	for (unsigned i = 0; i < NELEM(fd); i++)
		fd[i] = client();
	for (unsigned i = 0; i < NELEM(fd); i++) {
		say(fd[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
		close(fd[i]);
	}
	for (unsigned i = 0; i < 3 * NELEM(fd); i++)
		loop_step(rig.vm->loop, 0);
	fd[0] = client();
	a = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	ck_assert_int_eq(code(a), 0);
	json_decref(a);
	close(fd[0]);
	stop();
}
END_TEST

/* A child's memory is its parent's: no leak of its own. */
static void leave(int status)
{
	syscall(SYS_exit_group, status);
}

/* A stranger who got hold of the socket is told why and shut out. */
START_TEST(test_stranger)
{
	static const char kill[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"kill\"}\n";
	char text[512];
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct capture cap;
	int status;
	pid_t pid;

	if (geteuid() != 0) {
		fprintf(stderr, "not tested: a client of another user, who only root can be\n");
		return;
	}
	start();
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", rig.dir);
	ck_assert_int_eq(chmod(rig.dir, 0777), 0);
	ck_assert_int_eq(chmod(sa.sun_path, 0777), 0);
	capture_start(&cap, STDERR_FILENO);
	pid = fork();
	if (pid == 0) {
		const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		size_t at = 0;
		ssize_t n;

		if (setgid(65534) || setuid(65534) || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
			leave(10);
		send(fd, kill, sizeof(kill) - 1, MSG_NOSIGNAL);
		while ((n = recv(fd, text + at, sizeof(text) - 1 - at, 0)) > 0)
			at += (size_t)n;
		text[at] = 0;
		leave(strstr(text, "another user's") && strchr(text, '\n') == text + at - 1 ? 0 : 11);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		loop_step(rig.vm->loop, 20);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "user 65534"));
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(rig.vm->cause, CAUSE_NONE);
	stop();
}
END_TEST

/* Clients that send half a line and stay do not lock others out: the oldest of them goes. */
START_TEST(test_half_open)
{
	int fd[CTL_CLIENTS_MAX], late[CTL_CLIENTS_MAX], extra;
	json_t *a;

	start();
	for (unsigned i = 0; i < NELEM(fd); i++) {
		fd[i] = client();
		say(fd[i], "{\"jsonrpc\":");
		rig_settle(&rig);
	}
	/* One of them speaks, and stays from then on. */
	a = ask(fd[0], "\"2.0\",\"id\":1,\"method\":\"status\"}\n");
	ck_assert_int_eq(code(a), 0);
	json_decref(a);
	for (unsigned i = 0; i + 1 < NELEM(fd); i++) {
		late[i] = client();
		a = ask(late[i], "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"status\"}\n");
		ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 2);
		json_decref(a);
		ck_assert_ptr_null(hear(fd[i + 1]));
	}
	/* All have spoken now: the next is told. */
	extra = client();
	a = hear(extra);
	ck_assert_int_eq(code(a), -32000);
	json_decref(a);
	close(extra);
	a = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"status\"}\n");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 3);
	json_decref(a);
	for (unsigned i = 0; i < NELEM(fd); i++) {
		close(fd[i]);
		if (i + 1 < NELEM(fd))
			close(late[i]);
	}
	stop();
}
END_TEST

/* A hundred at once: those who fit are served, each of the others hears why it is not. */
START_TEST(test_hundred)
{
	int fd[100];
	unsigned served = 0, refused = 0;

	start();
	for (unsigned i = 0; i < NELEM(fd); i++) {
		fd[i] = client();
		say(fd[i], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n");
		rig_settle(&rig);
	}
	for (unsigned i = 0; i < NELEM(fd); i++) {
		json_t *a = hear(fd[i]);

		served += code(a) == 0;
		refused += code(a) == -32000;
		json_decref(a);
		close(fd[i]);
	}
	ck_assert_uint_eq(served, CTL_CLIENTS_MAX);
	ck_assert_uint_eq(refused, NELEM(fd) - CTL_CLIENTS_MAX);
	stop();
}
END_TEST

/* It asks and asks, and reads nothing: it is dropped, and nobody else notices. */
START_TEST(test_never_reads)
{
	static const char req[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"methods\"}\n";
	struct capture cap;
	int rude, fd;
	json_t *a;
	bool gone = false;

	start();
	rude = client();
	fd = client();
	capture_start(&cap, STDERR_FILENO);
	for (unsigned i = 0; i < 4000 && !gone; i++) {
		const ssize_t n = send(rude, req, strlen(req), MSG_NOSIGNAL | MSG_DONTWAIT);

		gone = n < 0 && (errno == EPIPE || errno == ECONNRESET);
		loop_step(rig.vm->loop, 0);
	}
	ck_assert(gone);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "does not read"));
	a = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"status\"}\n");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 5);
	json_decref(a);
	close(fd);
	close(rude);
	stop();
}
END_TEST

/* Depth that would cost stack, and bytes that are no text. */
START_TEST(test_deep)
{
	static char deep[60000];
	static const char nul[] = "{\"jsonrpc\":\"2.0\",\0\"id\":1}\n";
	json_t *a;
	int fd;

	start();
	fd = client();
	memset(deep, '[', sizeof(deep) - 2);
	deep[sizeof(deep) - 2] = '\n';
	a = ask(fd, deep);
	ck_assert_int_eq(code(a), -32700);
	json_decref(a);
	ck_assert_int_eq(send(fd, nul, sizeof(nul) - 1, 0), sizeof(nul) - 1);
	a = hear(fd);
	ck_assert_int_eq(code(a), -32700);
	json_decref(a);
	a = ask(fd, "\xff\xfe{}\n");
	ck_assert_int_eq(code(a), -32700);
	json_decref(a);
	a = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"status\"}\n");
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 6);
	json_decref(a);
	close(fd);
	stop();
}
END_TEST

/* Not built to its end: nobody was served yet, and nothing waits. */
START_TEST(test_stop_before_loop)
{
	int fd;

	start();
	fd = client();
	say(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"wait\",\"params\":{\"state\":\"paused\"}}\n");
	ctl_event(rig.vm, "state", NULL);
	stop();
	ck_assert_int_le(recv(fd, &(char){ 0 }, 1, 0), 0);
	close(fd);
}
END_TEST

START_TEST(test_path_too_long)
{
	static char longdir[200];
	struct vm vm;
	struct capture cap;
	struct ctl *ctl;

	memset(longdir, 'd', sizeof(longdir) - 1);
	vm = (struct vm){ .name = "unit", .rundir = longdir, .arch = arch_native, .loop = loop_new() };
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ctl_start(&vm, &ctl), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "control socket"));
	ck_assert_ptr_null(ctl);
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("common/ctl", test_status, test_refusals, test_notification, test_hostile, test_stranger, test_half_open, test_hundred,
	  test_never_reads, test_deep, test_stop_before_loop, test_path_too_long)
