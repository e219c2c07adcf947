/*
 * start, stop and restart, with a child in the place of the VM.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/cmd/service.h"
#include "common/rundir.h"
#include "common/vm.h"
#include "tests/unit/common/cmd/home.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

enum manner { OBEDIENT, DEAF, STUBBORN };

/* A VM: answers one call, and ends or does not. */
static void be_vm(enum manner manner, int ready)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	const char *answer = manner == DEAF ? "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000,\"message\":\"it is deaf\"}}\n"
					    : "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n";
	char *path, buf[256];
	int lock, s = socket(AF_UNIX, SOCK_STREAM, 0), c;

	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });       /* SIGQUIT leaves none */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rundir_open("vm1", &path, &lock))
		_exit(9);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", path);
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) || listen(s, 1) || write(ready, "", 1) != 1)
		_exit(9);
	c = accept(s, NULL, NULL);
	if (c < 0 || read(c, buf, sizeof(buf)) <= 0 || write(c, answer, strlen(answer)) < 0)
		_exit(9);
	close(c);
	if (manner == OBEDIENT) {
		rundir_close(path, lock);
		_exit(0);
	}
	for (;;)
		pause();
}

static pid_t start(enum manner manner)
{
	int p[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	if (!pid)
		be_vm(manner, p[1]);
	ck_assert_int_eq(read(p[0], &c, 1), 1);
	close(p[0]);
	close(p[1]);
	return pid;
}

static int end_of(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

START_TEST(test_stop)
{
	pid_t pid;

	home_begin();
	ck_assert_int_eq(run_line("skep stop", "vm1"), STATUS_REFUSED);
	ck_assert_str_eq(err.text, "skep: VM 'vm1' is not running; 'skep list' shows those that are\n");
	pid = start(OBEDIENT);
	ck_assert_int_eq(run_line("skep stop", "vm1"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(end_of(pid), 0);

	pid = start(DEAF);
	ck_assert_int_eq(run_line("skep stop", "vm1"), STATUS_REFUSED);
	ck_assert_str_eq(err.text, "skep: it is deaf\n");
	ck_assert_int_eq(kill(pid, 0), 0);
	kill(pid, SIGKILL);
	ck_assert_int_eq(end_of(pid), -SIGKILL);

	pid = start(STUBBORN);
	ck_assert_int_eq(run_line("skep stop", "--timeout 1 vm1"), STATUS_FAILED);
	ck_assert_str_eq(err.text, "skep: VM 'vm1' still runs 1 s after its power button was pressed: wait longer with --timeout, or end it "
			 "with --force\n");
	kill(pid, SIGKILL);
	ck_assert_int_eq(end_of(pid), -SIGKILL);
	home_end();
}
END_TEST

START_TEST(test_stop_by_force)
{
	char *dir, pidfile[PATH_MAX];
	pid_t pid;

	home_begin();
	pid = start(DEAF);
	ck_assert_int_eq(run_line("skep stop", "vm1 --force"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(end_of(pid), -SIGQUIT);
	/* What it could not remove itself is removed. */
	dir = rundir_path("vm1");
	snprintf(pidfile, sizeof(pidfile), "%s/pid", dir);
	ck_assert_int_eq(access(pidfile, F_OK), -1);
	free(dir);
	pid = start(STUBBORN);
	ck_assert_int_eq(run_line("skep stop", "vm1 --force --timeout=0"), 0);
	ck_assert_int_eq(end_of(pid), -SIGQUIT);
	home_end();
}
END_TEST

START_TEST(test_usage)
{
	static const struct { const char *command, *line, *text; } rows[] = {
		{ "skep stop", "", "skep stop: the name of the VM is missing\ntry 'skep help stop'\n" },
		{ "skep stop", "a/b", "skep: VM name 'a/b': a name is made of letters, digits, '.', '_' and '-'\n" },
		{ "skep stop", "vm1 --timeout 1x", "skep stop: --timeout: '1x' is no number of seconds from 0 to 86400\ntry 'skep help stop'\n" },
		{ "skep stop", "vm1 --timeout", "skep stop: --timeout: '' is no number of seconds from 0 to 86400\ntry 'skep help stop'\n" },
		{ "skep stop", "vm1 --timeout=86401", "skep stop: --timeout: '86401' is no number of seconds from 0 to 86400\ntry 'skep help stop'\n" },
		{ "skep stop", "vm1 vm2", "skep stop: 'vm2': there is a name already\ntry 'skep help stop'\n" },
		{ "skep restart", "vm1 -x", "skep restart: '-x' is not an option\ntry 'skep help restart'\n" },
		{ "skep start", "", "skep start: the VM's name comes first: 'skep start NAME [options]'\ntry 'skep help start'\n" },
		{ "skep start", "-c 2 vm1", "skep start: the VM's name comes first: 'skep start NAME [options]'\ntry 'skep help start'\n" },
		{ "skep start", "../vm1", "skep: VM name '../vm1': a name does not begin with '.' or '-'\n" },
	};

	home_begin();
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line(rows[i].command, rows[i].line) == STATUS_USAGE, "%s %s", rows[i].command, rows[i].line);
		ck_assert_str_eq(err.text, rows[i].text);
	}
	ck_assert_int_eq(run_line("skep stop", "--help"), 0);
	ck_assert_int_eq(run_line("skep start", "--help"), 0);
	ck_assert_int_eq(run_line("skep restart", "--help"), 0);
	home_end();
}
END_TEST

START_TEST(test_start)
{
	char want[400];

	home_begin();
	ck_assert_int_eq(run_line("skep start", "vm1"), STATUS_REFUSED);
	ck_assert_str_eq(err.text, "skep: VM 'vm1' has no configuration, such as '/etc/skep/vm1.conf'; 'skep create vm1' writes one\n");
	home_put("vm1.conf", "memory.sise=1\n");
	ck_assert_int_eq(run_line("skep start", "vm1"), STATUS_USAGE);
	snprintf(want, sizeof(want), "skep: %s/vm1.conf:1: unknown key 'memory.sise': did you mean 'memory.size'?\ntry 'skep start --help'\n",
		 home_confs);
	ck_assert_str_eq(err.text, want);
	home_put("vm1.conf", "lpc.com1.path=stdio\n");
	ck_assert_int_eq(run_line("skep start", "vm1"), STATUS_USAGE);
	snprintf(want, sizeof(want), "skep: %s/vm1.conf:1: a VM in the background has no terminal for stdio; leave it out and attach with "
		 "'skep console'\ntry 'skep start --help'\n", home_confs);
	ck_assert_str_eq(err.text, want);
	/* Its own options win over the file's. */
	home_put("vm1.conf", "kernel=/nonexistent/a\ndaemon=true\n");
	ck_assert_int_eq(run_line("skep start", "vm1 --foreground --kernel /nonexistent/b"), STATUS_REFUSED);
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/b"));
	home_end();
}
END_TEST

/* A VM that could not be started again is not stopped. */
START_TEST(test_restart_checks_first)
{
	pid_t pid;

	home_begin();
	home_put("vm1.conf", "nonsense=1\n");
	pid = start(OBEDIENT);
	ck_assert_int_eq(run_line("skep restart", "vm1"), STATUS_USAGE);
	ck_assert_int_eq(kill(pid, 0), 0);
	ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), 0);
	kill(pid, SIGKILL);
	end_of(pid);
	home_end();
}
END_TEST

START_TEST(test_example)
{
	struct conf *c = conf_new();

	ck_assert_int_eq(conf_read_file(c, "contrib/example.conf"), 0);
	conf_set(c, "name", "vm1", "t");
	ck_assert_int_eq(conf_check(c), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.3.0.path"), "/var/vm/vm1.img");
	conf_set(c, "arch", "arm64", "t");
	ck_assert_int_eq(conf_check(c), 0);
	conf_free(c);
}
END_TEST

UNIT_MAIN("common/cmd/service", test_stop, test_stop_by_force, test_usage, test_start, test_restart_checks_first, test_example)
