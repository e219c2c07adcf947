/*
 * The control socket: what a client sends, in pieces, to the real server of a dry machine with a serial port.  Byte 0: how
 * long the pieces are.  Whatever comes, each line that is answered is JSON-RPC, and a client that comes later is served.
 */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/log.h"

static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"methods\"}\n";

static int client(const char *dir)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	MUST(fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
	return fd;
}

/* One line of the server: a notification, or an answer with either a result or an error. */
static void line_check(const char *line, size_t len, bool *last)
{
	json_t *o = json_loadb(line, len, JSON_ALLOW_NUL, NULL);
	const char *id = json_string_value(json_object_get(o, "id"));

	MUST(json_is_object(o));
	MUST(strcmp(json_string_value(json_object_get(o, "jsonrpc")), "2.0") == 0);
	MUST(json_object_get(o, "method") || json_object_get(o, "id"));
	MUST(json_object_get(o, "method") || !json_object_get(o, "result") != !json_object_get(o, "error"));
	*last = id && strcmp(id, "last") == 0 && json_is_array(json_object_get(o, "result"));
	json_decref(o);
}

/* All that has come by now.  False: it hung up. */
static bool listen_to(int fd, char *buf, size_t size, size_t *have, bool *last)
{
	ssize_t n;
	char *nl;

	while ((n = recv(fd, buf + *have, size - *have, 0)) > 0) {
		*have += (size_t)n;
		while ((nl = memchr(buf, '\n', *have))) {
			const size_t len = (size_t)(nl - buf) + 1;
			bool is_last;

			line_check(buf, len - 1, &is_last);
			*last |= is_last;
			memmove(buf, buf + len, *have - len);
			*have -= len;
		}
		MUST(*have < size);
	}
	return n < 0 && errno == EAGAIN;
}

static char heard[1u << 20];

static void talk(struct vm *vm, const char *dir, const uint8_t *data, size_t len, size_t piece, bool *last)
{
	int fd = client(dir);
	size_t have = 0;
	bool there = true;

	for (size_t at = 0, n; at < len && there; at += n) {
		n = len - at < piece ? len - at : piece;
		if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
			break;
		loop_step(vm->loop, 0);
		loop_step(vm->loop, 0);
		there = listen_to(fd, heard, sizeof(heard), &have, last);
	}
	for (unsigned i = 0; i < 20 && there && !*last; i++) {
		loop_step(vm->loop, 0);
		there = listen_to(fd, heard, sizeof(heard), &have, last);
	}
	close(fd);
	loop_step(vm->loop, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char dir[] = "/tmp/skep-fuzz-XXXXXX";
	bool last = false;

	if (len < 1)
		return 0;
	struct vm *vm = fuzz_vm(arch_native);
	struct conf *conf = vm->conf;
	MUST(mkdtemp(dir));
	vm->rundir = dir;
	vm->policy.reboot = ACTION_EXIT;        /* there is no KVM to reset */
	log_set_level(LOG_ERROR, LOG_ERROR);
	MUST(ctl_start(vm, &vm->ctl) == 0);
	talk(vm, dir, data + 1, len - 1, (size_t)data[0] * 16 + 1, &last);
	last = false;
	talk(vm, dir, (const uint8_t *)ask, sizeof(ask) - 1, sizeof(ask), &last);
	MUST(last);
	ctl_stop(vm->ctl);
	vm->rundir = NULL;
	MUST(rmdir(dir) == 0);
	vm_free(vm);
	conf_free(conf);
	return 0;
}
