/*
 * A control server with a loop and a run directory, and clients that speak through its real socket.
 */
#ifndef TESTS_UNIT_COMMON_CTL_RIG_H
#define TESTS_UNIT_COMMON_CTL_RIG_H

#include <errno.h>
#include <stdio.h>
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

struct rig {
	struct vm own, *vm;             /* vm: &own, or another one that rig_serve() was given */
	char dir[64];
};

/* The server of a machine that has a loop. */
static inline void rig_serve(struct rig *r, struct vm *vm)
{
	r->vm = vm;
	strcpy(r->dir, "/tmp/skep-ctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->dir));
	vm->rundir = r->dir;
	ck_assert_int_eq(ctl_start(vm, &vm->ctl), 0);
}

static inline void rig_unserve(struct rig *r)
{
	char path[96];

	ctl_stop(r->vm->ctl);
	ck_assert_ptr_null(r->vm->ctl);
	r->vm->rundir = NULL;
	snprintf(path, sizeof(path), "%s/control", r->dir);
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(rmdir(r->dir), 0);
}

static inline void rig_start(struct rig *r)
{
	r->own = (struct vm){ .name = "unit", .arch = arch_native, .nvcpus = 3, .loop = loop_new() };
	r->own.state = r->own.pending_state = VM_RUNNING;
	pthread_mutex_init(&r->own.req_lock, NULL);
	pthread_mutex_init(&r->own.park_lock, NULL);
	pthread_cond_init(&r->own.park_cond, NULL);
	pthread_cond_init(&r->own.resume_cond, NULL);
	rig_serve(r, &r->own);
}

static inline void rig_stop(struct rig *r)
{
	rig_unserve(r);
	loop_free(r->own.loop);
}

static inline int rig_client(const struct rig *r)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", r->dir);
	ck_assert_int_eq(stat(sa.sun_path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line that the server has for us; NULL: it hung up. */
static inline json_t *rig_hear(struct rig *r, int fd)
{
	static char line[1 << 20];
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		ssize_t got = recv(fd, line + n, 1, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return NULL;
		if (got > 0)
			n++;
		else
			ck_assert_int_ge(loop_step(r->vm->loop, 1000), 0);
	}
	line[n] = 0;
	return json_loads(line, 0, NULL);
}

static inline json_t *rig_ask(struct rig *r, int fd, const char *text)
{
	say(fd, text);
	return rig_hear(r, fd);
}

/* A request by method and parameters (JSON text); events that come before the answer are thrown away. */
static inline json_t *rig_call(struct rig *r, int fd, const char *method, const char *params)
{
	char text[1024];
	json_t *a;

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}\n", method, params ? params : "{}");
	say(fd, text);
	while ((a = rig_hear(r, fd)) && !json_object_get(a, "id"))
		json_decref(a);
	return a;
}

static inline int answer_code(const json_t *answer)
{
	return (int)json_integer_value(json_object_get(json_object_get(answer, "error"), "code"));
}

static inline const char *answer_text(const json_t *answer)
{
	const char *s = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

	return s ? s : "";
}

static inline void rig_settle(struct rig *r)
{
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_ge(loop_step(r->vm->loop, 0), 0);
}

#endif
