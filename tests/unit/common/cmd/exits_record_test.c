/*
 * `skep exits record` and `show NAME` with a control socket that says what the test wants.
 */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <jansson.h>

#include "common/rundir.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

static struct server {
	char top[64];
	char *dir;
	int lock, fd;
	pthread_t thread;
	unsigned asked, answers;        /* how often; after so many it closes, 0: never */
	bool fail, signal;              /* answers with an error; sends SIGINT after the first */
	char trace[64];                 /* what was asked: '+' on, '-' off, '.' neither */
} srv;

/* The n-th: ten exits and a second each. */
static json_t *document(unsigned n)
{
	return json_pack("{s:s, s:i, s:s, s:s, s:s, s:i, s:s, s:{s:s, s:s, s:s, s:s}, s:I, s:I, s:I, s:I, s:[{s:s, s:i, s:i, s:[[i, i]], s:i}], s:[], s:{}, s:{}, "
			 "s:{}}", "format", "skep-exits", "version", 1, "skep", "0.1", "name", "vm1", "arch", "x86", "vcpus", 1, "label", "",
			 "host", "cpu", "c", "kernel", "k", "kvm", "svm", "irqchip", "apic", "started", (json_int_t)1234, "duration_ns",
			 (json_int_t)n * 1000000000,
			 "guest_ns", (json_int_t)n * 900, "user_ns", (json_int_t)n * 100, "kinds", "kind", "mmio", "count", (int)n * 10,
			 "user_ns", (int)n * 100, "hist", 4, (int)n * 10, "kvm_count", (int)n * 20, "accesses", "kvm", "kvm_vm", "kvm_hist");
}

static json_t *answer(const json_t *call)
{
	const char *method = json_string_value(json_object_get(call, "method"));
	json_t *o = json_pack("{s:s, s:O}", "jsonrpc", "2.0", "id", json_object_get(call, "id"));

	if (strcmp(method, "exits") != 0) {
		json_object_set_new(o, "result", json_object());
	} else if (srv.fail) {
		json_object_set_new(o, "error", json_pack("{s:i, s:s}", "code", -32000, "message", "the sky is falling"));
	} else {
		const json_t *trace = json_object_get(json_object_get(call, "params"), "trace");

		srv.trace[srv.asked] = trace ? json_is_true(trace) ? '+' : '-' : '.';
		json_object_set_new(o, "result", document(++srv.asked));
	}
	return o;
}

static void serve(int fd)
{
	FILE *in = fdopen(fd, "r"), *f = fdopen(dup(fd), "w");
	char *line = NULL;
	size_t cap = 0;

	while ((!srv.answers || srv.asked < srv.answers) && getline(&line, &cap, in) > 0) {
		json_t *call = json_loads(line, 0, NULL), *o = answer(call);

		json_dumpf(o, f, JSON_COMPACT);
		fputc('\n', f);
		fflush(f);
		if (srv.signal && srv.asked == 1)
			kill(getpid(), SIGINT);
		json_decref(call);
		json_decref(o);
	}
	free(line);
	fclose(f);
	fclose(in);
}

static void *server_main(void *arg UNUSED)
{
	int fd;

	while ((fd = accept(srv.fd, NULL, NULL)) >= 0)
		serve(fd);
	return NULL;
}

static void start(struct server how)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	sigset_t set;

	srv = how;
	strcpy(srv.top, "/tmp/skep-exits-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(srv.top));
	setenv("XDG_RUNTIME_DIR", srv.top, 1);
	ck_assert_int_eq(rundir_open("vm1", &srv.dir, &srv.lock), 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s/control", srv.dir);
	srv.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(srv.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	ck_assert_int_eq(listen(srv.fd, 4), 0);
	/* Nobody but the recording is to see it. */
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	ck_assert_int_eq(pthread_create(&srv.thread, NULL, server_main, NULL), 0);
}

static void stop(void)
{
	char cmd[96];

	shutdown(srv.fd, SHUT_RDWR);
	pthread_join(srv.thread, NULL);
	close(srv.fd);
	rundir_close(srv.dir, srv.lock);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", srv.top);
	ck_assert_int_eq(system(cmd), 0);
}

/* Records into a file and says how many exits that has; -1: there is none. */
static int record(const char *options, int want)
{
	char line[160], path[80];
	json_t *o;
	int n;

	snprintf(path, sizeof(path), "%s/out.json", srv.top);
	snprintf(line, sizeof(line), "record vm1 -o %s %s", path, options);
	ck_assert_msg(run_line("skep exits", line) == want, "%s: %s", line, err.text);
	ck_assert_str_eq(out.text, "");
	o = json_load_file(path, 0, NULL);
	n = o ? (int)json_integer_value(json_object_get(json_array_get(json_object_get(o, "kinds"), 0), "count")) : -1;
	if (o && strstr(options, "--label"))
		ck_assert_str_eq(json_string_value(json_object_get(o, "label")), "boot");
	if (o)
		ck_assert_int_eq((int)(json_integer_value(json_object_get(o, "duration_ns")) / 1000000000), n / 10);
	json_decref(o);
	return n;
}

START_TEST(test_for_a_time)
{
	start((struct server){ 0 });
	ck_assert_int_eq(record("-t 0.05 --label boot", 0), 10);
	ck_assert_str_eq(err.text, "");
	ck_assert_uint_eq(srv.asked, 2);
	ck_assert_int_eq(record("-t 0.05 --trace", 0), 10);
	/* One in between. */
	ck_assert_int_eq(record("-t 1.2 --trace", 0), 20);
	ck_assert_str_eq(srv.trace, "..+-+.-");
	stop();
}
END_TEST

START_TEST(test_until_ctrl_c)
{
	start((struct server){ .signal = true });
	ck_assert_int_eq(record("", 0), 10);
	ck_assert_str_eq(err.text, "");
	stop();
}
END_TEST

START_TEST(test_machine_ends)
{
	json_t *o;

	start((struct server){ .answers = 2 });
	ck_assert_int_eq(record("-t 100", 0), 10);
	ck_assert_str_eq(err.text, "skep: machine 'vm1' has ended: its last second may be missing from the profile\n");
	stop();
	/* exit.json knows better. */
	start((struct server){ .answers = 2 });
	o = json_pack("{s:o}", "profile", document(5));
	ck_assert_int_eq(rundir_write_json(srv.dir, "exit.json", o), 0);
	json_decref(o);
	ck_assert_int_eq(record("-t 100", 0), 40);
	ck_assert_str_eq(err.text, "skep: machine 'vm1' has ended\n");
	stop();
	/* That of another run does not. */
	start((struct server){ .answers = 3 });
	o = json_pack("{s:o}", "profile", document(9));
	json_object_set_new(json_object_get(o, "profile"), "started", json_integer(4711));
	ck_assert_int_eq(rundir_write_json(srv.dir, "exit.json", o), 0);
	json_decref(o);
	ck_assert_int_eq(record("-t 100", 0), 20);
	stop();
}
END_TEST

START_TEST(test_refusals)
{
	start((struct server){ .fail = true });
	ck_assert_int_eq(record("-t 1", 1), -1);
	ck_assert_str_eq(err.text, "skep: the sky is falling\n");
	ck_assert_int_eq(run_line("skep exits", "show vm1"), 1);
	ck_assert_str_eq(err.text, "skep: the sky is falling\n");
	ck_assert_int_eq(run_line("skep exits", "record vm2"), 1);
	ck_assert_ptr_nonnull(strstr(err.text, "'vm2'"));
	ck_assert_ptr_eq(strchr(err.text, '\n'), err.text + strlen(err.text) - 1);
	stop();
}
END_TEST

START_TEST(test_show_running)
{
	start((struct server){ 0 });
	ck_assert_int_eq(run_line("skep exits", "show vm1"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "vm1: x86, 1 vCPU, 1 s\n"));
	ck_assert_ptr_nonnull(strstr(out.text, "mmio"));
	stop();
}
END_TEST

UNIT_MAIN("common/cmd/exits_record", test_for_a_time, test_until_ctrl_c, test_machine_ends, test_refusals, test_show_running)
