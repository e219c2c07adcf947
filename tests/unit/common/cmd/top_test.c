/* skep top: rates from counters, VMs that hang, come and go, and a terminal. */
#include <fcntl.h>
#include <poll.h>
#include <termios.h>

#include "common/util.h"
#include "tests/unit/common/cmd/fakevm.h"
#include "tests/unit/common/cmd/line.h"

/* Counters that grow by the same every second, which is between any two looks. */
static bool machine(FILE *to, const char *method, int id, const json_t *params)
{
	static int looks;
	const int n = strcmp(method, "stats") ? looks : ++looks;

	(void)params;
	if (!strcmp(method, "status"))
		fprintf(to, "{\"id\":%d,\"result\":{\"name\":\"vm1\",\"state\":\"running\"}}\n", id);
	else
		fprintf(to, "{\"id\":%d,\"result\":{\"uptime_ns\":%d000000000,\"vcpus\":[{\"vcpu\":0,\"cpu_ns\":1,\"exits\":{\"pio\":%d,"
			"\"mmio\":%d}},{\"vcpu\":1,\"cpu_ns\":1,\"exits\":{\"pio\":%d}}],\"disks\":[{\"disk\":\"pci.0.4.0\",\"read\":{"
			"\"ops\":%d,\"bytes\":%d,\"ns\":%d},\"write\":{\"ops\":0,\"bytes\":0,\"ns\":0}}],\"nets\":[{\"device\":\"pci.0.3.0\","
			"\"rx\":{\"packets\":%d,\"bytes\":%d,\"dropped\":0},\"tx\":{\"packets\":0,\"bytes\":0,\"dropped\":%d}}]}}\n", id, n,
			100 * n, 7, 50 * n, 20 * n, 12000000 * n, 5000000 * n, 3 * n, 1500 * n, n);
	return true;
}

START_TEST(test_rates)
{
	struct fakevm vm;
	const char *second;

	fakevm_start(&vm, machine);
	ck_assert_int_eq(run_line("skep top", "-b -n 2 -d 0.1"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_ptr_nonnull(strstr(out.text, "vm1 "));
	ck_assert_ptr_nonnull(strstr(out.text, " running "));
	/* The first: since the start, the second: since the first. */
	ck_assert_msg(strstr(out.text, "  exits/s  pio 150  mmio 7\n"), "%s", out.text);
	second = strstr(out.text, "\n\nNAME ");
	ck_assert_ptr_nonnull(second);
	ck_assert_msg(strstr(second, "  exits/s  pio 150\n"), "%s", second);
	ck_assert_msg(strstr(second, "  disk pci.0.4.0             read 20/s 12MB/s 250 us\n"), "%s", second);
	ck_assert_msg(strstr(second, "  net  pci.0.3.0             rx 3/s 1500B/s  tx 0/s 0B/s 1 lost/s\n"), "%s", second);
	ck_assert_int_eq(run_line("skep top", "-b -n 1 vm1"), 0);
	ck_assert_int_eq(run_line("skep top", "-b -n 1 vm2"), 1);
	ck_assert_ptr_nonnull(strstr(err.text, "no machine 'vm2'"));
	fakevm_end(&vm);
	ck_assert_int_eq(run_line("skep top", "-b -n 1"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "no machine is running"));
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_hung)
{
	struct fakevm vm;

	fakevm_start(&vm, NULL);
	fakevm_listen(&vm);
	ck_assert_int_eq(run_line("skep top", "-b -n 1"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "vm1 "));
	ck_assert_ptr_null(strstr(out.text, "exits/s"));
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_usage)
{
	static const struct { const char *line, *message; } rows[] = {
		{ "-x", "write 'skep top [-b]" }, { "-n 0", "-n '0': not a number above 0" }, { "-n 3x", "-n '3x': not" },
		{ "-d 0", "-d '0': not seconds" }, { "-d 1e9", "-d '1e9': not seconds" }, { "-d", "write 'skep top [-b]" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line("skep top", rows[i].line) == 2, "%s", rows[i].line);
		ck_assert_msg(strstr(err.text, rows[i].message), "%s: %s", rows[i].line, err.text);
	}
	ck_assert_int_eq(run_line("skep top", "--help"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "usage: skep top"));
}
END_TEST

static char screen[65536];
static size_t screen_len;

/* Until the terminal has shown that. */
static void shown(int master, const char *what)
{
	for (int i = 0; i < 1000 && !strstr(screen, what); i++) {
		struct pollfd p = { .fd = master, .events = POLLIN };
		ssize_t n = poll(&p, 1, 10) > 0 ? read(master, screen + screen_len, sizeof(screen) - screen_len - 1) : 0;

		screen_len += n > 0 ? (size_t)n : 0;
		screen[screen_len] = 0;
	}
	ck_assert_msg(strstr(screen, what), "%s is not in %s", what, screen);
}

static pid_t on_terminal(int slave)
{
	pid_t pid = fork();

	if (pid == 0) {
		char *argv[] = { "top", "-d", "0.1", NULL };

		dup2(slave, 0);
		dup2(slave, 1);
		_exit(cmd_top(3, argv));
	}
	return pid;
}

static int ends_with(pid_t pid, int master)
{
	int status = -1;

	shown(master, "\033[?1049l");
	waitpid(pid, &status, 0);
	screen_len = 0;
	screen[0] = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(test_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios before, t;
	struct fakevm vm;
	char path[64];
	pid_t pid;

	ck_assert_int_eq(unlockpt(master) | ptsname_r(master, path, sizeof(path)), 0);
	slave = open(path, O_RDWR | O_NOCTTY);
	ck_assert_int_eq(tcgetattr(slave, &before), 0);
	fakevm_start(&vm, machine);
	pid = on_terminal(slave);
	shown(master, "\033[?1049h");
	shown(master, "exits/s");
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	ck_assert(!(t.c_lflag & ICANON));
	ck_assert_int_eq(write(master, "q", 1), 1);
	ck_assert_int_eq(ends_with(pid, master), 0);
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	ck_assert_uint_eq(t.c_lflag, before.c_lflag);
	/* Ctrl-C, and a signal from outside. */
	pid = on_terminal(slave);
	shown(master, "q ends");
	ck_assert_int_eq(write(master, "\003", 1), 1);
	ck_assert_int_eq(ends_with(pid, master), 0);
	pid = on_terminal(slave);
	shown(master, "q ends");
	kill(pid, SIGTERM);
	ck_assert_int_eq(ends_with(pid, master), 128 + SIGTERM);
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	ck_assert_uint_eq(t.c_lflag, before.c_lflag);
	close(slave);
	close(master);
	fakevm_stop(&vm);
}
END_TEST

UNIT_MAIN("common/cmd/top", test_rates, test_hung, test_usage, test_terminal)
