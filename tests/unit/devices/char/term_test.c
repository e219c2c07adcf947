/* term: the escape filter, and the terminal's modes after every way out. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

#include "devices/char/term.h"
#include "tests/unit/devices/char/chr.h"

static size_t filter(struct term_escape *e, char *text, unsigned *keys)
{
	size_t n = term_filter(e, (uint8_t *)text, strlen(text), TERM_KEY_X, keys);
	text[n] = '\0';
	return n;
}

START_TEST(escapes)
{
	struct term_escape e = { false };
	unsigned keys;
	char plain[] = "plain", twice[] = "a\x01\x01z\x01" "a", help[] = "1\x01h2\x01k3";
	char split[] = "x\x01", rest[] = "by", quit[] = "in\x01xout";
	filter(&e, plain, &keys);
	ck_assert_str_eq(plain, "plain");
	filter(&e, twice, &keys);
	ck_assert_str_eq(twice, "a\x01z\x01");
	ck_assert_uint_eq(keys, 0);
	filter(&e, help, &keys);
	ck_assert_str_eq(help, "123");
	ck_assert_uint_eq(keys, TERM_KEY_H);
	filter(&e, split, &keys);
	ck_assert_str_eq(split, "x");
	filter(&e, rest, &keys);
	ck_assert_str_eq(rest, "y");
	ck_assert_uint_eq(keys, TERM_KEY_B);
	filter(&e, quit, &keys);
	ck_assert_str_eq(quit, "in");
	ck_assert_uint_eq(keys, TERM_KEY_X);
}
END_TEST

static int open_pty(int *slave)
{
	char path[64];
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(unlockpt(master), 0);
	ck_assert_int_eq(ptsname_r(master, path, sizeof(path)), 0);
	*slave = open(path, O_RDWR | O_NOCTTY);
	return master;
}

static bool is_raw(int fd)
{
	struct termios t;
	ck_assert_int_eq(tcgetattr(fd, &t), 0);
	return !(t.c_lflag & ICANON);
}

/* Ways out of a process with a raw terminal: its status, as wait() gives it. */
static int leave(int slave, int how)
{
	int status, ready[2];
	ck_assert_int_eq(pipe(ready), 0);
	pid_t pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		signal(SIGTERM, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);       /* not the sanitizer's */
		if (term_raw(slave) != 0 || !is_raw(slave) || term_raw(slave) != -EBUSY)
			_exit(99);
		if (write(ready[1], "", 1) != 1)
			_exit(98);
		if (how == 0)
			exit(7);
		raise(how);
		_exit(97);
	}
	char byte;
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	close(ready[1]);
	return status;
}

START_TEST(restored)
{
	int slave, master = open_pty(&slave);
	ck_assert(!is_raw(slave));
	ck_assert_int_eq(WEXITSTATUS(leave(slave, 0)), 7);
	ck_assert(!is_raw(slave));
	ck_assert_int_eq(WTERMSIG(leave(slave, SIGTERM)), SIGTERM);
	ck_assert(!is_raw(slave));
	ck_assert_int_eq(WTERMSIG(leave(slave, SIGSEGV)), SIGSEGV);
	ck_assert(!is_raw(slave));
	int p[2];
	ck_assert_int_eq(pipe(p), 0);
	ck_assert_int_eq(term_raw(p[0]), -ENOTTY);
	term_restore();
	close(p[0]);
	close(p[1]);
	close(slave);
	close(master);
}
END_TEST

UNIT_MAIN("devices/char/term", escapes, restored)
