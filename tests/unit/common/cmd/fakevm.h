/*
 * A VM called "vm1" as far as its run directory and control socket go: a child that answers requests as a test says.
 */
#ifndef TESTS_UNIT_COMMON_CMD_FAKEVM_H
#define TESTS_UNIT_COMMON_CMD_FAKEVM_H

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <jansson.h>

#include "common/rundir.h"
#include "tests/unit/unit.h"

struct fakevm {
	char top[32], *path;
	int lock, fd;
	pid_t child;
};

/* Writes what the machine says to one request, whole lines; false: hangs up. */
typedef bool fakevm_fn(FILE *to, const char *method, int id, const json_t *params);

static inline void fakevm_serve(int fd, fakevm_fn *answer)
{
	for (int c; (c = accept(fd, NULL, NULL)) >= 0;) {
		FILE *in = fdopen(c, "r"), *to = fdopen(dup(c), "w");
		char *line = NULL;
		size_t cap = 0;
		bool more = true;

		while (more && getline(&line, &cap, in) > 0) {
			json_t *o = json_loads(line, 0, NULL);

			more = answer(to, json_string_value(json_object_get(o, "method")),
				      (int)json_integer_value(json_object_get(o, "id")), json_object_get(o, "params"));
			fflush(to);
			json_decref(o);
		}
		free(line);
		fclose(in);
		fclose(to);
	}
}

/* answer NULL: its run directory alone; the socket of fakevm_listen() then takes connections and says nothing. */
static inline void fakevm_listen(struct fakevm *vm)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", vm->path);
	vm->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(vm->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(vm->fd, 8), 0);
}

static inline void fakevm_start(struct fakevm *vm, fakevm_fn *answer)
{
	*vm = (struct fakevm){ .top = "/tmp/skep-fakevm-XXXXXX", .fd = -1 };
	ck_assert_ptr_nonnull(mkdtemp(vm->top));
	setenv("XDG_RUNTIME_DIR", vm->top, 1);
	setenv("XDG_STATE_HOME", vm->top, 1);
	ck_assert_int_eq(rundir_open("vm1", &vm->path, &vm->lock), 0);
	if (!answer)
		return;
	fakevm_listen(vm);
	vm->child = fork();
	if (vm->child == 0) {
		fakevm_serve(vm->fd, answer);
		_exit(0);
	}
}

/* The VM ends; what it leaves stays. */
static inline void fakevm_end(struct fakevm *vm)
{
	if (vm->child) {
		kill(vm->child, SIGKILL);
		waitpid(vm->child, NULL, 0);
	}
	vm->child = 0;
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
	if (vm->path)
		rundir_close(vm->path, vm->lock);
	vm->path = NULL;
}

static inline void fakevm_stop(struct fakevm *vm)
{
	char cmd[64];

	fakevm_end(vm);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", vm->top);
	ck_assert_int_eq(system(cmd), 0);
}

#endif
