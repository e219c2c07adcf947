/*
 * Every method of the control socket, on a machine with a serial port, a disk, a network card and a CD drive.  What was
 * said goes to the file that $CTL_TRANSCRIPT names, one {"request", "answer"} or {"event"} a line: ci/schema.sh checks it
 * against docs/control.schema.json.
 */
#include <fcntl.h>

#include "common/conf.h"
#include "devices/block/block.h"
#include "devices/char/chardev.h"
#include "devices/virtio/virtio_net.h"
#include "tests/unit/common/ctl_rig.h"

#define GUEST_SAYS "boot \xc3\xa4\r\n\xff\0\xe0\x80\x80login: "

static struct rig rig;
static struct vm *vm;
static struct blk *disk;
static pthread_mutex_t disk_lock = PTHREAD_MUTEX_INITIALIZER;
static char disk_path[] = "/tmp/skep-ctl-disk-XXXXXX";
static int fd;
static FILE *transcript;

/* Methods that were called with success, and with a refusal. */
static const char *answered[64], *refused[64];
static unsigned nanswered, nrefused;

static void note(const char *kind, const json_t *o, const char *kind2, const json_t *o2)
{
	json_t *line = json_pack("{s:O, s:O*}", kind, o, kind2 ? kind2 : "none", o2);

	if (transcript) {
		json_dumpf(line, transcript, JSON_COMPACT);
		fputc('\n', transcript);
	}
	json_decref(line);
}

static const char *table_name(const char *method)
{
	const struct ctl_method *m = ctl_method_find(method);

	ck_assert_msg(m, "no method %s", method);
	return m->name;
}

/* Events of the kinds the calls bring about. */
static char events_seen[2048];

/* The answer; events before it are noted. */
static json_t *call(const char *method, const char *params)
{
	json_t *p = json_loads(params ? params : "{}", 0, NULL), *req, *a;
	char *text;

	ck_assert_ptr_nonnull(p);
	req = json_pack("{s:s, s:i, s:s, s:o}", "jsonrpc", "2.0", "id", 1, "method", method, "params", p);
	text = json_dumps(req, JSON_COMPACT);
	say(fd, text);
	say(fd, "\n");
	free(text);
	while ((a = rig_hear(&rig, fd)) && !json_object_get(a, "id")) {
		const char *name = json_string_value(json_object_get(json_object_get(a, "params"), "event"));

		snprintf(events_seen + strlen(events_seen), sizeof(events_seen) - strlen(events_seen), "%s ", name);
		note("event", a, NULL, NULL);
		json_decref(a);
	}
	ck_assert_ptr_nonnull(a);
	note("request", req, "answer", a);
	json_decref(req);
	return a;
}

/* The result, which stays the last answer's. */
static const json_t *good(const char *method, const char *params)
{
	static json_t *last;

	json_decref(last);
	last = NULL;
	if (!method)
		return NULL;
	last = call(method, params);
	ck_assert_msg(json_object_get(last, "result"), "%s: %s", method, answer_text(last));
	answered[nanswered++ % 64] = table_name(method);
	return json_object_get(last, "result");
}

static void bad(const char *method, const char *params, const char *part)
{
	json_t *a = call(method, params);

	ck_assert_msg(strstr(answer_text(a), part), "%s: '%s' without '%s'", method, answer_text(a), part);
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	refused[nrefused++ % 64] = table_name(method);
}

static int64_t number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	ck_assert_msg(json_is_integer(v), "no number %s", key);
	return json_integer_value(v);
}

static const char *string(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	ck_assert_msg(s, "no string %s", key);
	return s;
}

static void on_batch(void *arg UNUSED) { }
static void on_done(struct blk_req *r) { r->unmap = true; }

static void disk_io(enum blk_op op, uint64_t off)
{
	static uint8_t buf[512];
	struct iovec v = { buf, sizeof(buf) };
	struct blk_req r = { .op = op, .off = off, .len = sizeof(buf), .iov = &v, .niov = 1, .done = on_done };

	pthread_mutex_lock(&disk_lock);
	blk_submit(disk, &r);
	blk_kick(disk);
	blk_drain(disk);
	pthread_mutex_unlock(&disk_lock);
	ck_assert(r.unmap);
}

/* The guest writes to a disk that cannot be written: told once a second, however often it tries. */
static void disk_fails(void)
{
	static const struct blk_owner owner = { &disk_lock, on_batch, NULL };
	struct blk_conf c = { .path = "/proc/self/exe", .format = "raw", .read_only = true };
	struct blk *good_one = disk;
	struct capture cap;
	int err;

	disk = blk_open(vm, "pci.0.6.0", &c, &owner, &err);
	ck_assert_ptr_nonnull(disk);
	capture_start(&cap, STDERR_FILENO);
	for (unsigned i = 0; i < 5; i++)
		disk_io(BLK_WRITE, 0);
	capture_stop(&cap);
	blk_close(disk);
	disk = good_one;
}

static struct chardev *serial(void)
{
	struct device *d = vm_device(vm, "lpc.com1");

	return d->cls->chardev(d);
}

static void start(void)
{
	static const struct blk_owner owner = { &disk_lock, on_batch, NULL };
	const char *file = getenv("CTL_TRANSCRIPT");
	struct blk_conf c = { .path = disk_path, .format = "raw" };
	struct conf *conf = conf_new();
	int err, f = mkstemp(disk_path);

	transcript = file ? fopen(file, "a") : NULL;
	ck_assert_int_eq(ftruncate(f, 65536), 0);
	close(f);
	conf_set(conf, "name", "unit", "test");
	conf_set(conf, "memory.size", "64M", "test");
	conf_set(conf, "cpus", "2", "test");
	conf_set(conf, "pci.0.3.0.device", "virtio-net", "test");
	conf_set(conf, "pci.0.3.0.backend", "null", "test");
	conf_set(conf, "pci.0.4.0.device", "ahci", "test");
	conf_set(conf, "pci.0.4.0.port.0.type", "cd", "test");
	ck_assert_int_eq(vm_create(conf, arch_native, true, &vm), 0);
	vm->vcpus = calloc(2, sizeof(*vm->vcpus));
	for (unsigned i = 0; i < 2; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].id = i;
		vm->vcpus[i].fd = -1;
		ck_assert_int_eq(exits_init(&vm->vcpus[i].exits, 16), 0);
	}
	vm->state = vm->pending_state = VM_RUNNING;
	vm->holds = 0;
	vm->policy.reboot = ACTION_EXIT;        /* there is no KVM to reset */
	disk = blk_open(vm, "pci.0.5.0", &c, &owner, &err);
	ck_assert_ptr_nonnull(disk);
	rig_serve(&rig, vm);
	fd = rig_client(&rig);
	good("events", "{\"since\":0}");
	chardev_write(serial(), (const uint8_t *)GUEST_SAYS, sizeof(GUEST_SAYS) - 1);
}

static void stop(void)
{
	struct conf *conf = vm->conf;
	char overlay[sizeof(disk_path) + 16];

	good(NULL, NULL);
	close(fd);
	rig_unserve(&rig);
	blk_close(disk);
	unlink(disk_path);
	strcat(strcpy(overlay, disk_path), ".one.qcow2");
	unlink(overlay);                /* of disk-checkpoint */
	for (unsigned i = 0; i < 2; i++)
		exits_fini(&vm->vcpus[i].exits);
	free(vm->vcpus);
	vm->vcpus = NULL;
	vm_free(vm);
	conf_free(conf);
	if (transcript)
		fclose(transcript);
}

static void machine(void)
{
	const json_t *r = good("status", NULL);

	ck_assert_str_eq(string(r, "name"), "unit");
	ck_assert_str_eq(string(r, "state"), "running");
	ck_assert_int_eq(number(r, "cpus"), 2);
	ck_assert_int_eq(number(r, "memory"), MIB(64));
	ck_assert_int_gt(number(r, "resident"), MIB(1));
	ck_assert_int_gt(number(r, "uptime_ns"), 0);
	ck_assert_uint_eq(json_array_size(json_object_get(r, "holds")), 0);
	bad("resume", NULL, "not paused");
	good("pause", NULL);
	r = good("status", NULL);
	ck_assert_str_eq(string(r, "state"), "paused");
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(r, "holds"), 0)), "user");
	good("pause", NULL);
	bad("poweroff", NULL, "'resume'");
	good("wait", "{\"state\":\"paused\"}");
	bad("wait", "{\"state\":\"running\",\"timeout_ms\":5}", "'paused'");
	good("resume", NULL);
	ck_assert_uint_eq(vm->holds, 0);
	/* A disk's stop ends with `resume`, too. */
	vm_stop_for(vm, "pci.0.5.0: write failed: No space left on device");
	rig_settle(&rig);
	r = good("status", NULL);
	ck_assert_str_eq(json_string_value(json_array_get(json_object_get(r, "holds"), 0)), "disk-error");
	ck_assert_ptr_nonnull(strstr(string(r, "reason"), "No space"));
	good("resume", NULL);
	/* A policy's pause does not. */
	vm->holds = HOLD_POLICY;
	vm->cause = CAUSE_CRASH;
	bad("resume", NULL, "'reset'");
	vm->holds = HOLD_DEBUG;
	vm->cause = CAUSE_NONE;
	bad("resume", NULL, "debugger");
	vm->holds = 0;
}

static void vcpus(void)
{
	const json_t *r = good("regs", NULL);
	struct exit_rec rec = { .t = now_ns(), .kind = EXIT_HALT };
	json_t *a;

	ck_assert_uint_eq(json_array_size(r), 2);
	ck_assert(json_is_object(json_object_get(json_array_get(r, 1), "registers")));
	r = good("regs", "{\"vcpu\":1}");
	ck_assert_int_eq(number(json_array_get(r, 0), "vcpu"), 1);
	bad("regs", "{\"vcpu\":2}", "0 to 1");
	bad("regs", "{\"vcpu\":-1}", "0 to 1");
	for (unsigned i = 0; i < 5; i++)
		exits_done(&vm->vcpus[1].exits, &rec, rec.t + 100);
	r = good("exit-ring", "{\"vcpu\":1,\"count\":3}");
	ck_assert_uint_eq(json_array_size(r), 3);
	ck_assert_uint_eq(json_array_size(good("exit-ring", "{\"vcpu\":1}")), 5);
	bad("exit-ring", "{\"count\":0}", "count");
	good("exits", NULL);
	/* There is no KVM behind these vCPUs; arm64 has none at all. */
	a = call("nmi", NULL);
	ck_assert_int_eq(answer_code(a), -32000);
	json_decref(a);
	refused[nrefused++ % 64] = table_name("nmi");
	bad("nmi", "{\"vcpu\":7}", "0 to 1");
	good("log-level", "{\"level\":\"info\"}");
	bad("log-level", "{\"level\":\"loud\"}", "debug");
	ck_assert(!atomic_load(&vm->park_requested));
	/* A guest that has ended does not run on because somebody looked. */
	vm->cause = CAUSE_CRASH;
	good("regs", NULL);
	ck_assert(atomic_load(&vm->park_requested));
	vm->cause = CAUSE_NONE;
	atomic_store(&vm->park_requested, false);
}

static void devices(void)
{
	const json_t *r = good("disks", NULL);

	ck_assert_str_eq(string(json_array_get(r, 0), "disk"), "pci.0.5.0");
	ck_assert_int_eq(number(json_array_get(r, 0), "size"), 65536);
	good("disk-checkpoints", "{\"disk\":\"pci.0.5.0\"}");
	bad("disk-checkpoints", "{\"disk\":\"none\"}", "no disk");
	good("disk-checkpoint", "{\"name\":\"one\",\"store\":\"overlay\"}");
	r = good("disk-checkpoints", "{\"disk\":\"5.0\"}");
	ck_assert_str_eq(string(json_array_get(r, 0), "store"), "overlay");
	bad("disk-checkpoint", "{\"name\":\"a/b\"}", "a/b");
	r = good("disk-limits", "{\"disk\":\"pci.0.5.0\",\"iops\":100,\"iops-burst\":200,\"burst-seconds\":3}");
	ck_assert_int_eq(number(r, "iops-burst"), 200);
	ck_assert_int_eq(number(good("disk-limits", "{\"disk\":\"pci.0.5.0\"}"), "iops"), 100);
	bad("disk-limits", "{\"disk\":\"pci.0.5.0\",\"bps-burst\":5}", "burst");
	bad("disk-limits", "{\"disk\":\"pci.0.5.0\",\"iops\":-5}", "iops");
	good("disk-limits", "{\"disk\":\"pci.0.5.0\",\"iops\":0,\"iops-burst\":0}");
	bad("media", "{\"disk\":\"pci.0.5.0\",\"path\":\"/x\"}", "pci.0.5.0");
	bad("insert", "{\"disk\":\"pci.0.9.0\",\"path\":\"/x\"}", "pci.0.9.0");
	good("media", "{\"disk\":\"pci.0.4.0.port.0\"}");
	good("eject", "{\"disk\":\"pci.0.4.0\"}");
	good("insert", "{\"disk\":\"pci.0.4.0\",\"path\":\"/x.iso\"}");    /* a dry machine opens nothing */
	r = good("nets", NULL);
	ck_assert_str_eq(string(json_array_get(r, 0), "device"), "pci.0.3.0");
	ck_assert_uint_eq(strlen(string(json_array_get(r, 0), "mac")), 17);
	good("set-link", "{\"device\":\"pci.0.3.0\",\"state\":\"off\"}");
	ck_assert(json_is_false(json_object_get(json_array_get(good("nets", NULL), 0), "link")));
	good("set-link", "{\"device\":\"pci.0.3.0\",\"state\":\"on\"}");
	bad("set-link", "{\"device\":\"pci.0.3.0\",\"state\":\"up\"}", "on or off");
	bad("set-link", "{\"device\":\"com1\",\"state\":\"on\"}", "nets");
	good("break", NULL);
	good("break", "{\"port\":\"lpc.com1\"}");
	bad("break", "{\"port\":\"com9\"}", "com9");
	bad("screen", NULL, "console-history");
	bad("balloon", NULL, "has no balloon");
	bad("dump", "{\"path\":\"/\"}", "core file '/': create");
}

static void history(void)
{
	const json_t *r = good("console-history", NULL);

	ck_assert_str_eq(string(r, "port"), "lpc.com1");
	ck_assert_int_eq(number(r, "bytes"), sizeof(GUEST_SAYS) - 1);
	/* Each byte that is no part of a character is U+FFFD. */
	ck_assert_str_eq(string(r, "text"), "boot \xc3\xa4\r\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdlogin: ");
	ck_assert_str_eq(string(good("console-history", "{\"port\":\"com1\",\"bytes\":7}"), "text"), "login: ");
	/* It may begin in the middle of a character. */
	ck_assert_str_eq(string(good("console-history", "{\"bytes\":15}"), "text"), "\xef\xbf\xbd\r\n\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
			 "\xef\xbf\xbd\xef\xbf\xbdlogin: ");
	bad("console-history", "{\"bytes\":0}", "bytes");
}

static void counters(void)
{
	const json_t *r, *d;
	struct device *net = vm_device(vm, "pci.0.3.0");

	disk_io(BLK_WRITE, 0);
	disk_io(BLK_READ, 0);
	disk_io(BLK_READ, 512);
	disk_fails();
	((struct vnet *)net)->rx_stat = (struct net_stat){ 3, 300, 1 };
	r = good("stats", NULL);
	d = json_array_get(json_object_get(r, "disks"), 0);
	ck_assert_int_eq(number(json_object_get(d, "read"), "ops"), 2);
	ck_assert_int_eq(number(json_object_get(d, "read"), "bytes"), 1024);
	ck_assert_uint_ge(json_array_size(json_object_get(json_object_get(d, "write"), "hist")), 1);
	ck_assert_int_eq(number(json_object_get(json_array_get(json_object_get(r, "nets"), 0), "rx"), "packets"), 3);
	ck_assert_uint_eq(json_array_size(json_object_get(r, "vcpus")), 2);
}

/* Blocks of one family each, its samples with its name and nothing else; the end marked. */
static void metrics(void)
{
	static const char *const has[] = {
		"# TYPE skep_state stateset\n", "skep_state{skep_state=\"running\"} 1\n", "skep_state{skep_state=\"paused\"} 0\n",
		"# UNIT skep_uptime_seconds seconds\n", "skep_vm_info{name=\"unit\",arch=", "skep_memory_bytes 67108864\n",
		"skep_disk_operations_total{disk=\"pci.0.5.0\",operation=\"read\"} 2\n",
		"skep_disk_bytes_total{disk=\"pci.0.5.0\",operation=\"read\"} 1024\n",
		"skep_disk_latency_seconds_bucket{disk=\"pci.0.5.0\",operation=\"read\",le=\"+Inf\"} 2\n",
		"skep_disk_latency_seconds_count{disk=\"pci.0.5.0\",operation=\"read\"} 2\n",
		"skep_net_packets_total{device=\"pci.0.3.0\",direction=\"rx\"} 3\n", "skep_exits_total{vcpu=\"1\",kind=",
	};
	char family[64] = "", type[32] = "", *text = strdup(string(good("metrics", NULL), "text")), *save;

	for (size_t i = 0; i < NELEM(has); i++)
		ck_assert_msg(strstr(text, has[i]), "without %s", has[i]);
	ck_assert_str_eq(text + strlen(text) - 6, "# EOF\n");
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		double v;
		char *end, *space = strrchr(line, ' ');

		if (sscanf(line, "# TYPE %63s %31s", family, type) == 2 || strncmp(line, "# ", 2) == 0)
			continue;
		ck_assert_int_eq(strncmp(line, family, strlen(family)), 0);
		ck_assert_ptr_nonnull(space);
		v = strtod(space + 1, &end);
		ck_assert(*end == '\0' && v >= 0);
		if (strcmp(type, "counter") == 0)
			ck_assert_int_eq(strncmp(line + strlen(family), "_total", 6), 0);
	}
	free(text);
}

START_TEST(test_all)
{
	start();
	machine();
	vcpus();
	devices();
	history();
	counters();
	metrics();
	ck_assert_uint_gt(json_array_size(good("methods", NULL)), 20);
	/* What ends or resets the machine is only asked for. */
	atomic_store(&vm->park_requested, false);
	good("reset", NULL);
	ck_assert_int_eq(vm->cause, CAUSE_RESET);
	ck_assert_ptr_nonnull(strstr(vm->cause_text, "process"));
	rig_settle(&rig);
	ck_assert_int_eq(vm->status, STATUS_RESET);
	ck_assert_str_eq(string(good("status", NULL), "pending"), "exited");
	vm->cause = CAUSE_NONE;
	good("kill", NULL);
	ck_assert_int_eq(vm->cause, CAUSE_SIGNAL);
	rig_settle(&rig);
	good("status", NULL);
	ck_assert_int_eq(vm->status, STATUS_SIGNAL + 15);
	static const char *const events[] = { " link ", " medium ", " disk-error ", " reset exit state ", " signal exit state " };
	for (size_t i = 0; i < NELEM(events); i++)
		ck_assert_msg(strstr(events_seen, events[i]), "no%sin %s", events[i], events_seen);
	ck_assert_ptr_null(strstr(strstr(events_seen, "disk-error") + 1, "disk-error"));
	stop();
}
END_TEST

/* No row of the table was forgotten. */
START_TEST(test_table)
{
	for (const struct ctl_method *m = ctl_methods; m->name; m++) {
		bool seen = false;

		for (unsigned i = 0; i < 64 && !seen; i++)
			seen = answered[i] == m->name || refused[i] == m->name;
		ck_assert_msg(seen, "method %s was not called", m->name);
		for (const struct ctl_param *p = m->params; p && p->name; p++)
			ck_assert_msg(strchr("spib", p->type) && p->help, "%s.%s", m->name, p->name);
	}
}
END_TEST

UNIT_MAIN("common/ctl_methods", test_all, test_table)
