/* Exit profiles: a machine's document, the difference of two, files good and bad, quantiles. */
#include "common/profile.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/loop.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static const struct reg regs[] = { { .off = 0, .width = 4, .name = "DR" } };
static const struct bus_range com1 = { .name = "com1", .base = 0x1000, .placed_at = 0x1000, .len = 8, .regs = regs, .nregs = 1 };

static struct vm vm;
static struct vcpu vcpus[2];

static void start(const struct arch_info *arch)
{
	vm = (struct vm){ .name = "unit", .arch = arch, .dry = true, .nvcpus = NELEM(vcpus), .vcpus = vcpus, .start_ns = now_ns() };
	for (unsigned i = 0; i < NELEM(vcpus); i++) {
		vcpus[i] = (struct vcpu){ .vm = &vm, .id = i, .stats_fd = -1 };
		ck_assert_int_eq(exits_init(&vcpus[i].exits, 64), 0);
	}
}

static void stop(void)
{
	for (unsigned i = 0; i < NELEM(vcpus); i++)
		exits_fini(&vcpus[i].exits);
	profile_forget(&vm);
}

/* An access of 100 ns after 1000 ns in the guest. */
static void run(unsigned vcpu, uint64_t addr, bool write, const struct bus_range *range)
{
	struct exit_stats *s = &vcpus[vcpu].exits;
	const struct exit_rec rec = { .t = s->since + 1000, .addr = addr, .range = range, .kind = EXIT_MMIO, .size = 4,
				      .write = write };

	exits_one_access(s, &rec, rec.t + 100);
}

/* KVM's file of a vCPU with one counter. */
static int stats_file(const char *name, uint64_t n)
{
	uint8_t b[24 + 16 + 48 + 8] = { 0 };
	FILE *f = tmpfile();

	put_le32(b + 4, 48);
	put_le32(b + 8, 1);
	put_le32(b + 16, 24);
	put_le32(b + 20, 24 + 16 + 48);
	put_le32(b + 24, KVM_STATS_TYPE_CUMULATIVE);
	put_le16(b + 30, 1);
	memcpy(b + 40, name, strlen(name));
	put_le64(b + 88, n);
	ck_assert_uint_eq(fwrite(b, 1, sizeof(b), f), sizeof(b));
	fflush(f);
	const int fd = dup(fileno(f));
	fclose(f);
	return fd;
}

static char *dumped(const json_t *o)
{
	static char text[65536];
	char *s = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);

	ck_assert_ptr_nonnull(s);
	snprintf(text, sizeof(text), "%s", s);
	free(s);
	return text;
}

static json_t *row(const json_t *doc, const char *list, const char *member, const char *value)
{
	json_t *o;
	size_t i;

	json_array_foreach(json_object_get(doc, list), i, o)
		if (!strcmp(json_string_value(json_object_get(o, member)), value))
			return o;
	return NULL;
}

static int64_t num(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

START_TEST(test_document)
{
	start(&arch_arm64);
	run(0, 0x1000, true, &com1);
	run(0, 0x1002, true, &com1);
	run(1, 0x1001, true, &com1);
	run(1, 0x1004, false, &com1);
	run(1, 0x77, false, NULL);
	json_t *doc = profile_of_vm(&vm);
	ck_assert_str_eq(json_string_value(json_object_get(doc, "format")), "skep-exits");
	ck_assert_str_eq(json_string_value(json_object_get(doc, "arch")), "arm64");
	ck_assert_int_eq(num(doc, "vcpus"), 2);
	ck_assert_int_eq(num(doc, "guest_ns"), 5000);
	ck_assert_int_eq(num(doc, "user_ns"), 500);
	ck_assert_str_eq(dumped(json_object_get(doc, "kinds")), "[{\"count\":5,\"hist\":[[6,5]],\"kind\":\"mmio\",\"user_ns\":500}]");
	ck_assert_str_eq(dumped(json_object_get(doc, "accesses")),
			 "[{\"count\":3,\"device\":\"com1\",\"hist\":[[6,3]],\"register\":\"DR\",\"space\":\"mmio\",\"user_ns\":300,\"write\":true},"
			 "{\"count\":1,\"device\":\"com1\",\"hist\":[[6,1]],\"register\":\"+0x4\",\"space\":\"mmio\",\"user_ns\":100,\"write\":false},"
			 "{\"count\":1,\"device\":\"unclaimed\",\"hist\":[[6,1]],\"register\":\"0x77\",\"space\":\"mmio\",\"user_ns\":100,"
			 "\"write\":false}]");
	ck_assert_ptr_null(json_object_get(doc, "kvm"));
	ck_assert_ptr_null(json_object_get(doc, "trace"));
	ck_assert_ptr_nonnull(json_object_get(json_object_get(doc, "host"), "kernel"));
	json_decref(doc);
	stop();
}
END_TEST

/* KVM's own counters, by kind too; only what it knows. */
START_TEST(test_kvm)
{
	start(&arch_x86);
	vcpus[0].stats_fd = stats_file("halt_exits", 30);
	vcpus[1].stats_fd = stats_file("halt_exits", 12);
	vm.stats_fd = stats_file("remote_tlb_flush", 3);
	run(0, 0x1000, true, &com1);
	json_t *doc = profile_of_vm(&vm);
	ck_assert_str_eq(dumped(json_object_get(doc, "kvm")), "{\"halt_exits\":42}");
	ck_assert_str_eq(dumped(json_object_get(doc, "kvm_vm")), "{\"remote_tlb_flush\":3}");
	ck_assert_str_eq(dumped(row(doc, "kinds", "kind", "halt")),
			 "{\"count\":0,\"hist\":[],\"kind\":\"halt\",\"kvm_count\":42,\"user_ns\":0}");
	ck_assert_ptr_null(json_object_get(row(doc, "kinds", "kind", "mmio"), "kvm_count"));
	json_decref(doc);
	close(vcpus[0].stats_fd);
	close(vcpus[1].stats_fd);
	close(vm.stats_fd);
	stop();
}
END_TEST

START_TEST(test_delta)
{
	struct capture err;

	start(&arch_arm64);
	run(0, 0x1000, true, &com1);
	run(0, 0x77, true, NULL);
	json_t *a = profile_of_vm(&vm);
	run(1, 0x1000, true, &com1);
	run(1, 0x1000, false, &com1);
	json_t *b = profile_of_vm(&vm), *d = profile_delta(a, b);
	ck_assert_ptr_nonnull(d);
	ck_assert_int_eq(num(d, "guest_ns"), 2000);
	ck_assert_int_eq(num(d, "duration_ns"), num(b, "duration_ns") - num(a, "duration_ns"));
	ck_assert_str_eq(dumped(json_object_get(d, "kinds")), "[{\"count\":2,\"hist\":[[6,2]],\"kind\":\"mmio\",\"user_ns\":200}]");
	ck_assert_uint_eq(json_array_size(json_object_get(d, "accesses")), 2);
	ck_assert_int_eq(num(row(d, "accesses", "register", "DR"), "count"), 1);
	ck_assert_ptr_null(row(d, "accesses", "register", "0x77"));
	json_decref(d);
	/* A later document may have what the earlier one had not begun to count. */
	json_object_set_new(b, "trace",
			    json_loads("[{\"reason\":\"WFx\",\"kind\":\"halt\",\"count\":3,\"ns\":9,\"hist\":[[1,3]]}]", 0, NULL));
	json_object_set_new(a, "kvm", json_pack("{s:i}", "exits", 5));
	json_object_set_new(b, "kvm", json_pack("{s:i, s:i}", "exits", 12, "new", 1));
	json_object_set_new(b, "kvm_hist", json_loads("{\"w\":{\"bucket_size\":0,\"counts\":[5,6]}}", 0, NULL));
	json_object_set_new(a, "kvm_hist", json_loads("{\"w\":{\"bucket_size\":0,\"counts\":[1,6]}}", 0, NULL));
	d = profile_delta(a, b);
	ck_assert_int_eq(num(row(d, "trace", "reason", "WFx"), "count"), 3);
	ck_assert_str_eq(dumped(json_object_get(d, "kvm")), "{\"exits\":7,\"new\":1}");
	ck_assert_str_eq(dumped(json_object_get(d, "kvm_hist")), "{\"w\":{\"bucket_size\":0,\"counts\":[4,0]}}");
	json_decref(d);
	/* A file may say anything. */
	json_object_set_new(a, "kvm", json_pack("{s:I}", "exits", (json_int_t)INT64_MIN));
	json_object_set_new(b, "kvm", json_pack("{s:I}", "exits", (json_int_t)INT64_MAX));
	json_object_set_new(a, "trace", json_loads("[{\"reason\":\"WFx\",\"kind\":\"halt\",\"count\":1,\"ns\":9,"
			    "\"hist\":[[1,9223372036854775807],[1,9223372036854775807]]}]", 0, NULL));
	d = profile_delta(a, b);
	ck_assert_int_eq(num(json_object_get(d, "kvm"), "exits"), INT64_MAX);
	ck_assert_str_eq(dumped(json_object_get(row(d, "trace", "reason", "WFx"), "hist")), "[]");
	json_decref(d);
	capture_start(&err, 2);
	ck_assert_ptr_null(profile_delta(b, a));
	json_object_set_new(b, "started", json_integer(7));
	ck_assert_ptr_null(profile_delta(a, b));
	json_object_set_new(b, "arch", json_string("x86"));
	ck_assert_ptr_null(profile_delta(a, b));
	ck_assert_str_eq(capture_stop(&err), "skep: the second exit profile is older than the first: give them the other way round\n"
		"skep: the two exit profiles are not of one run of one machine (their 'started' differs): record both while it runs\n"
		"skep: the two exit profiles are not of one run of one machine (their 'arch' differs): record both while it runs\n");
	json_decref(a);
	json_decref(b);
	stop();
}
END_TEST

static char dir[64], path[96];

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(test_load)
{
	static const struct { const char *member, *value, *why; } bad[] = {
		{ "format", "\"qcow2\"", "JSON, but no exit profile" }, { "version", "2", "of version 2, this skep reads version 1" },
		{ "vcpus", "-1", "'vcpus' is missing or makes no sense" }, { "kinds", "{}", "'kinds'" }, { "kinds", "[1]", "'kinds'" },
		{ "kinds", "[{\"kind\":\"pio\",\"count\":1,\"user_ns\":1,\"hist\":[[32,1]]}]", "'hist'" },
		{ "kinds", "[{\"kind\":\"pio\",\"count\":1.5,\"user_ns\":1,\"hist\":[]}]", "'count'" },
		{ "accesses", "[{\"space\":\"pio\",\"device\":\"d\",\"register\":\"r\",\"write\":1,"
		  "\"count\":1,\"user_ns\":1,\"hist\":[]}]", "'write'" },
		{ "trace", "[{\"reason\":\"hlt\",\"kind\":\"halt\",\"count\":1,\"hist\":[]}]", "'ns'" },
		{ "kvm", "{\"exits\":\"many\"}", "'kvm'" },
		{ "label", "7", "'label'" },
	};
	struct capture err;

	strcpy(dir, "/tmp/skep-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/p.json", dir);
	start(&arch_x86);
	run(0, 0x1000, true, &com1);
	json_t *doc = profile_of_vm(&vm);
	put(dumped(doc));
	json_t *back = profile_load(path);
	ck_assert(json_equal(doc, back));
	json_decref(back);
	for (unsigned i = 0; i < NELEM(bad); i++) {
		json_t *copy = json_copy(doc);

		json_object_set_new(copy, bad[i].member, json_loads(bad[i].value, JSON_DECODE_ANY, NULL));
		put(dumped(copy));
		json_decref(copy);
		capture_start(&err, 2);
		ck_assert_ptr_null(profile_load(path));
		ck_assert_msg(strstr(capture_stop(&err), bad[i].why), "%s: %s", bad[i].member, err.text);
	}
	put("{\n");
	capture_start(&err, 2);
	ck_assert_ptr_null(profile_load(path));
	ck_assert_ptr_null(profile_load("/nonexistent/p.json"));
	ck_assert_ptr_nonnull(strstr(capture_stop(&err), "no exit profile: "));
	ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/p.json"));
	json_decref(doc);
	unlink(path);
	rmdir(dir);
	stop();
}
END_TEST

/* exits.file: whole, or not at all and said so. */
START_TEST(test_save)
{
	struct capture err;
	char full[128];

	strcpy(dir, "/tmp/skep-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/p.json", dir);
	start(&arch_x86);
	vm.conf = conf_new();
	json_t *doc = profile_of_vm(&vm);
	ck_assert_int_eq(profile_save(&vm, doc), 0);            /* no such key, no file */
	ck_assert_int_eq(conf_set(vm.conf, "exits.file", path, "test"), 0);
	ck_assert_int_eq(profile_save(&vm, doc), 0);
	json_t *back = profile_load(path);
	ck_assert(json_equal(doc, back));
	json_decref(back);
	unlink(path);
	/* The disk is full: /dev/full stands for the new file. */
	snprintf(full, sizeof(full), "%s.new", path);
	ck_assert_int_eq(symlink("/dev/full", full), 0);
	capture_start(&err, 2);
	ck_assert_int_eq(profile_save(&vm, doc), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(capture_stop(&err), "p.json': write: No space left on device\n"));
	ck_assert_int_eq(access(path, F_OK), -1);
	unlink(full);
	ck_assert_int_eq(rmdir(dir), 0);
	json_decref(doc);
	conf_free(vm.conf);
	stop();
}
END_TEST

START_TEST(test_quantile)
{
	static const struct { const char *hist; double q; uint64_t ns; } rows[] = {
		{ "[]", 0.5, 0 }, { "[[0, 1]]", 0.5, 1 }, { "[[10, 1]]", 0.5, 1447 }, { "[[10, 1]]", 1, 1447 }, { "[[10, 1]]", 0, 1447 },
		{ "[[10, 99], [20, 1]]", 0.5, 1447 }, { "[[10, 99], [20, 1]]", 0.99, 1482686 }, { "[[20, 1], [10, 99]]", 0.98, 1447 },
		{ "[[31, 4]]", 0.5, UINT64_C(2147483648) * 1414 / 1000 }, { "[[99, 1], [-1, 3], [3, 1]]", 0.99, 11 },
	};

	for (unsigned i = 0; i < NELEM(rows); i++) {
		json_t *h = json_loads(rows[i].hist, 0, NULL);

		ck_assert_msg(profile_quantile(h, rows[i].q) == rows[i].ns, "%s: %llu", rows[i].hist,
			      (unsigned long long)profile_quantile(h, rows[i].q));
		json_decref(h);
	}
}
END_TEST

UNIT_MAIN("common/profile", test_document, test_kvm, test_delta, test_load, test_save, test_quantile)
