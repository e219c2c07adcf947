#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/notify.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static char top[64], name[96];

/* A manager that listens at `name`. */
static int manager(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(a.sun_path, name, strlen(name));
	if (name[0] == '@')
		a.sun_path[0] = 0;
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void hears(int fd, const char *want)
{
	char text[256];
	const ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

	ck_assert_int_gt(n, 0);
	text[n] = 0;
	ck_assert_str_eq(text, want);
}

static void life(int m)
{
	const int fd = notify_open();
	char want[96];

	ck_assert_int_gt(fd, 2);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	notify_state(fd, "loading", false);
	hears(m, "STATUS=loading\n");
	notify_ready(fd, "running");
	snprintf(want, sizeof(want), "READY=1\nMAINPID=%d\nSTATUS=running\n", (int)getpid());
	hears(m, want);
	notify_state(fd, "stopping", true);
	hears(m, "STOPPING=1\nSTATUS=stopping\n");
	/* A manager that does not read keeps nobody waiting. */
	for (int i = 0; i < 10000; i++)
		notify_state(fd, "running", false);
	hears(m, "STATUS=running\n");
	close(m);
	notify_state(fd, "running", false);
	close(fd);
}

START_TEST(test_path)
{
	strcpy(top, "/tmp/skep-notify-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(top));
	snprintf(name, sizeof(name), "%s/socket", top);
	life(manager());
	ck_assert(!unlink(name) && !rmdir(top));
}
END_TEST

START_TEST(test_abstract)
{
	snprintf(name, sizeof(name), "@skep-notify-%d", (int)getpid());
	life(manager());
}
END_TEST

START_TEST(test_nobody)
{
	static struct capture cap;
	char long_name[200];

	unsetenv("NOTIFY_SOCKET");
	ck_assert_int_eq(notify_open(), 0);
	memset(long_name, 'a', sizeof(long_name) - 1);
	long_name[0] = '/';
	long_name[sizeof(long_name) - 1] = 0;
	const char *const bad[] = { "", "relative", "/nonexistent/socket", "@skep-nobody-is-here", long_name };
	capture_start(&cap, 2);
	for (size_t i = 0; i < NELEM(bad); i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		ck_assert_int_eq(notify_open(), 0);
		ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
	}
	notify_ready(0, "running");
	notify_state(0, "running", false);
	ck_assert_str_eq(capture_stop(&cap), "");
}
END_TEST

UNIT_MAIN("common/notify", test_path, test_abstract, test_nobody)
