/* Events: order, memory of them, other threads, clients that do not read; and `wait`. */
#include <pthread.h>

#include "tests/unit/common/ctl_rig.h"

static struct rig rig;

static void start(void)
{
	rig_start(&rig);
}

/* Tells `events`; *seq: the last number so far. */
static int listener(const char *params, int64_t *seq)
{
	int fd = rig_client(&rig);
	json_t *a = rig_call(&rig, fd, "events", params);

	ck_assert_int_eq(answer_code(a), 0);
	if (seq)
		*seq = json_integer_value(json_object_get(json_object_get(a, "result"), "seq"));
	json_decref(a);
	return fd;
}

/* The next line is that event. */
static int64_t event_is(int fd, const char *name, const char *key, const char *value)
{
	json_t *o = rig_hear(&rig, fd), *p = json_object_get(o, "params");
	int64_t seq = json_integer_value(json_object_get(p, "seq"));

	ck_assert_ptr_null(json_object_get(o, "id"));
	ck_assert_str_eq(json_string_value(json_object_get(o, "jsonrpc")), "2.0");
	ck_assert_str_eq(json_string_value(json_object_get(o, "method")), "event");
	ck_assert_str_eq(json_string_value(json_object_get(p, "event")), name);
	ck_assert_int_gt(json_integer_value(json_object_get(p, "time_ns")), 1700000000000000000);
	if (key)
		ck_assert_str_eq(json_string_value(json_object_get(p, key)), value);
	json_decref(o);
	return seq;
}

static void state(enum vm_state now, enum vm_state next)
{
	vm_state_set(rig.vm, now, next);
}

START_TEST(test_order)
{
	int64_t seq;
	int fd, quiet;
	json_t *a;

	start();
	ctl_event(rig.vm, "early", NULL);
	quiet = rig_client(&rig);
	fd = listener(NULL, &seq);
	ck_assert_int_eq(seq, 1);
	state(VM_PAUSING, VM_PAUSED);
	state(VM_PAUSED, VM_PAUSED);
	ctl_event(rig.vm, "other", json_pack("{s:s}", "x", "y"));
	ck_assert_int_eq(event_is(fd, "state", "pending", "paused"), 2);
	ck_assert_int_eq(event_is(fd, "state", "from", "pausing"), 3);
	ck_assert_int_eq(event_is(fd, "other", "x", "y"), 4);
	/* Who did not ask hears nothing but answers. */
	a = rig_call(&rig, quiet, "status", NULL);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(a, "result"), "state")), "paused");
	json_decref(a);
	ck_assert_int_lt(recv(quiet, &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	close(fd);
	close(quiet);
	rig_stop(&rig);
}
END_TEST

START_TEST(test_since)
{
	int64_t seq;
	int fd;
	json_t *a;

	start();
	for (int i = 1; i <= 300; i++)
		ctl_event(rig.vm, "n", json_pack("{s:i}", "i", i));
	fd = listener("{\"since\":298}", &seq);
	ck_assert_int_eq(seq, 300);
	ck_assert_int_eq(event_is(fd, "n", NULL, NULL), 299);
	ck_assert_int_eq(event_is(fd, "n", NULL, NULL), 300);
	close(fd);
	/* The first ones are forgotten. */
	fd = listener("{\"since\":0}", NULL);
	for (int i = 300 - 255; i <= 300; i++)
		ck_assert_int_eq(event_is(fd, "n", NULL, NULL), i);
	a = rig_call(&rig, fd, "events", "{\"since\":301}");
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	a = rig_call(&rig, fd, "events", "{\"since\":-1}");
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	close(fd);
	rig_stop(&rig);
}
END_TEST

#define EACH 2000
static void *teller(void *arg)
{
	for (int i = 0; i < EACH; i++)
		ctl_event(rig.vm, arg, json_pack("{s:i}", "i", i));
	return NULL;
}

/* From several threads at once: numbered without gap or repetition as long as the client keeps up with the ring. */
START_TEST(test_threads)
{
	pthread_t t[3];
	int64_t last = 0, seen = 0;
	int fd;

	start();
	fd = listener(NULL, NULL);
	for (unsigned i = 0; i < NELEM(t); i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, teller, "told"), 0);
	while (last < (int64_t)NELEM(t) * EACH) {
		const int64_t seq = event_is(fd, "told", NULL, NULL);

		ck_assert_int_gt(seq, last);
		last = seq;
		seen++;
	}
	ck_assert_int_ge(seen, 256);
	for (unsigned i = 0; i < NELEM(t); i++)
		pthread_join(t[i], NULL);
	close(fd);
	rig_stop(&rig);
}
END_TEST

/* It wants events and reads none: others get all, then it is dropped. */
START_TEST(test_slow)
{
	static char big[30001];
	struct capture cap;
	int slow, fd;

	start();
	memset(big, 'e', sizeof(big) - 1);
	slow = listener(NULL, NULL);
	fd = listener(NULL, NULL);
	capture_start(&cap, STDERR_FILENO);
	for (int i = 1; i <= 400; i++) {
		ctl_event(rig.vm, "big", json_pack("{s:s}", "text", big));
		ck_assert_int_eq(event_is(fd, "big", NULL, NULL), i);
	}
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "does not read"));
	/* What was on its way still comes; then it ends. */
	while (recv(slow, big, sizeof(big), 0) > 0)
		;
	close(slow);
	close(fd);
	rig_stop(&rig);
}
END_TEST

/* The last one is sent, too. */
START_TEST(test_exit)
{
	int fd;

	start();
	fd = listener(NULL, NULL);
	state(VM_STOPPING, VM_EXITED);
	state(VM_EXITED, VM_EXITED);
	rig_stop(&rig);
	ck_assert_int_eq(event_is(fd, "state", "state", "stopping"), 1);
	ck_assert_int_eq(event_is(fd, "state", "state", "exited"), 2);
	ck_assert_int_eq(recv(fd, &(char){ 0 }, 1, 0), 0);
	close(fd);
	/* And without a server nothing is. */
	ctl_event(rig.vm, "late", json_object());
}
END_TEST

static void wait_for_state(int fd, const char *params)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"wait\",\"params\":%s}\n", params);
	say(fd, text);
	rig_settle(&rig);
}

START_TEST(test_wait)
{
	int fd, other;
	json_t *a;

	start();
	fd = rig_client(&rig);
	other = rig_client(&rig);
	/* It is so already. */
	a = rig_call(&rig, fd, "wait", "{\"state\":\"running\"}");
	ck_assert_int_eq(answer_code(a), 0);
	json_decref(a);
	/* Seen, though it has gone by. */
	wait_for_state(fd, "{\"state\":\"paused\",\"timeout_ms\":60000}");
	ck_assert_int_lt(recv(fd, &(char){ 0 }, 1, MSG_DONTWAIT), 0);
	a = rig_call(&rig, other, "status", NULL);
	ck_assert_int_eq(answer_code(a), 0);
	json_decref(a);
	state(VM_PAUSING, VM_PAUSED);
	state(VM_PAUSED, VM_PAUSED);
	state(VM_RUNNING, VM_RUNNING);
	a = rig_hear(&rig, fd);
	ck_assert_int_eq(json_integer_value(json_object_get(a, "id")), 9);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(a, "result"), "state")), "paused");
	json_decref(a);
	/* What went by before it was asked for does not count. */
	state(VM_PAUSED, VM_PAUSED);
	state(VM_RUNNING, VM_RUNNING);
	a = rig_call(&rig, fd, "wait", "{\"state\":\"paused\",\"timeout_ms\":20}");
	ck_assert_int_eq(answer_code(a), -32000);
	ck_assert_ptr_nonnull(strstr(answer_text(a), "'running'"));
	json_decref(a);
	a = rig_call(&rig, fd, "wait", "{\"state\":\"asleep\"}");
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	a = rig_call(&rig, fd, "wait", "{\"state\":\"paused\",\"timeout_ms\":0}");
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	/* Its client goes; the machine goes. */
	wait_for_state(other, "{\"state\":\"saving\"}");
	close(other);
	rig_settle(&rig);
	wait_for_state(fd, "{\"state\":\"saving\"}");
	rig_stop(&rig);
	ck_assert_int_gt(recv(fd, &(char){ 0 }, 1, 0), 0);
	close(fd);
}
END_TEST

/* The machine ends, and who waits has just hung up: the first answer finds that out, and takes the other calls along. */
START_TEST(test_wait_gone)
{
	const int fds[2] = { (start(), rig_client(&rig)), rig_client(&rig) };

	for (unsigned i = 0; i < 4; i++)
		wait_for_state(fds[i % 2], "{\"state\":\"paused\"}");
	rig_settle(&rig);
	close(fds[0]);
	close(fds[1]);
	rig_stop(&rig);
}
END_TEST

/* Calls that wait are counted. */
START_TEST(test_wait_many)
{
	unsigned refused = 0;
	json_t *a;
	int fd;

	start();
	fd = rig_client(&rig);
	for (unsigned i = 0; i < CTL_CALLS_MAX + 3; i++)
		wait_for_state(fd, "{\"state\":\"paused\"}");
	for (unsigned i = 0; i < 3; i++) {
		a = rig_hear(&rig, fd);
		refused += answer_code(a) == -32000;
		json_decref(a);
	}
	ck_assert_uint_eq(refused, 3);
	state(VM_PAUSED, VM_PAUSED);
	for (unsigned i = 0; i < CTL_CALLS_MAX; i++) {
		a = rig_hear(&rig, fd);
		ck_assert_int_eq(answer_code(a), 0);
		json_decref(a);
	}
	a = rig_call(&rig, fd, "status", NULL);
	ck_assert_int_eq(answer_code(a), 0);
	json_decref(a);
	close(fd);
	rig_stop(&rig);
}
END_TEST

UNIT_MAIN("common/ctl_events", test_order, test_since, test_threads, test_slow, test_exit, test_wait, test_wait_gone, test_wait_many)
