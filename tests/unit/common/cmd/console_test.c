/* skep console: pipes, a terminal with its escape, absent VMs and ports. */
#include <sys/wait.h>
#include <termios.h>

#include "common/cmd/cmd.h"
#include "tests/unit/devices/char/chr.h"

/* A VM called "unit" with a com1, at its real place. */
static void vm_start(struct port *p)
{
	port_start(p);
	mkdir(port_path(p, "skep"), 0700);
	mkdir(port_path(p, "skep/unit"), 0700);
	p->vm.rundir = strdup(port_path(p, "skep/unit"));
	port_open(p, "null");
}

static void vm_stop(struct port *p)
{
	port_stop(p);
	free(p->vm.rundir);
	rmdir(port_path(p, "skep/unit"));
	rmdir(port_path(p, "skep"));
	port_end(p);
}

static int console(char *a, char *b)
{
	char *argv[] = { (char *)"console", a, b, NULL };
	return cmd_console(b ? 3 : a ? 2 : 1, argv);
}

static pid_t console_child(int in, int out)
{
	pid_t pid = fork();
	if (pid == 0) {
		dup2(in, STDIN_FILENO);
		dup2(out, STDOUT_FILENO);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		_exit(console((char *)"unit", NULL));
	}
	return pid;
}

static int finish(struct port *p, pid_t pid)
{
	int status = -1;
	for (int i = 0; i < 500 && waitpid(pid, &status, WNOHANG) == 0; i++)
		loop_step(p->vm.loop, 10);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(pipes)
{
	struct port p;
	int in[2], out[2];
	ck_assert_int_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	vm_start(&p);
	port_say(&p, "history ");
	pid_t pid = console_child(in[0], out[1]);
	ck_assert_int_eq(write(in[1], "cmd\x01x", 5), 5);
	close(in[1]);
	for (int i = 0; i < 200 && p.got_len < 5; i++)
		loop_step(p.vm.loop, 10);
	ck_assert_str_eq(p.got, "cmd\x01x");
	port_loop(&p);
	port_say(&p, "answer");         /* input has ended, output goes on */
	port_loop(&p);
	chardev_close(p.c);
	p.c = NULL;
	ck_assert_int_eq(finish(&p, pid), 0);
	ck_assert_str_eq(hear(out[0]), "history answer");
	close(in[0]);
	close(out[0]);
	close(out[1]);
	vm_stop(&p);
}
END_TEST

START_TEST(terminal)
{
	struct port p;
	struct termios t;
	char path[64];
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	ck_assert_int_eq(unlockpt(master), 0);
	ck_assert_int_eq(ptsname_r(master, path, sizeof(path)), 0);
	int slave = open(path, O_RDWR | O_NOCTTY);
	vm_start(&p);
	hush();
	pid_t pid = console_child(slave, slave);
	for (int i = 0; i < 200 && p.attached + (unsigned)chardev_attached(p.c) == 0; i++)
		loop_step(p.vm.loop, 10);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(tcgetattr(slave, &t), 0);
		if (!(t.c_lflag & ICANON))
			break;
		loop_step(p.vm.loop, 10);
	}
	ck_assert_int_eq(write(master, "typed\x01x", 7), 7);
	int status = finish(&p, pid);
	port_loop(&p);
	const char *said = unhush();
	ck_assert_ptr_nonnull(strstr(said, "connected to unit"));
	ck_assert_ptr_nonnull(strstr(said, "detached from unit"));
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(p.got, "typed");
	ck_assert_int_eq(tcgetattr(slave, &t), 0);
	ck_assert(t.c_lflag & ICANON);
	close(slave);
	close(master);
	vm_stop(&p);
}
END_TEST

START_TEST(refusals)
{
	struct port p;
	vm_start(&p);
	hush();
	int absent = console((char *)"nobody", NULL), port = console((char *)"unit", (char *)"com9");
	int name = console((char *)"../x", NULL), none = console(NULL, NULL), option = console((char *)"-v", NULL);
	chardev_close(p.c);
	p.c = NULL;
	int gone = console((char *)"unit", NULL);
	const char *said = unhush();
	ck_assert_ptr_nonnull(strstr(said, "VM 'nobody' is not running; `skep list`"));
	ck_assert_ptr_nonnull(strstr(said, "VM 'unit' has no port 'com9'; it has com1"));
	ck_assert_int_eq(absent, STATUS_REFUSED);
	ck_assert_int_eq(port, STATUS_REFUSED);
	ck_assert_int_eq(gone, STATUS_REFUSED);
	ck_assert_int_eq(name, STATUS_USAGE);
	ck_assert_int_eq(none, STATUS_USAGE);
	ck_assert_int_eq(option, STATUS_USAGE);
	vm_stop(&p);
}
END_TEST

UNIT_MAIN("common/cmd/console", pipes, terminal, refusals)
