/* Instances of a made-up class: life, options, placing, records. */
#include "common/device.h"

#include <errno.h>

#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

struct lamp {
	struct device dev;
	uint8_t level;
	uint32_t hue;                           /* since version 2 */
	unsigned resets;
};
static unsigned inits, finis;
static int init_result, loaded_result;

static uint64_t rd_level(void *dev, const struct reg *r) { return ((struct lamp *)dev)->level; }
static void wr_level(void *dev, const struct reg *r, uint64_t v) { ((struct lamp *)dev)->level = (uint8_t)v; }
static const struct reg lamp_regs[] = { { .off = 0, .width = 1, .name = "LEVEL", .rd = rd_level, .wr = wr_level } };
static const struct opt lamp_opts[] = {
	{ "label", OPT_STR, 0, 8, NULL, NULL, "text", NULL }, { "watts", OPT_U64, 1, 100, "60", "W", "power", NULL },
	{ "heat", OPT_SIZE, 0, 0, "4K", NULL, "a size", NULL }, { "lit", OPT_BOOL, 0, 0, "true", NULL, "a flag", NULL }, OPT_LAST
};
static const struct snap_field lamp_fields[] = { SNAP_U8(struct lamp, level, 1), SNAP_U32(struct lamp, hue, 2), SNAP_END };

static int lamp_init(struct device *d)
{
	(void)d;
	inits++;
	return init_result;
}
static void lamp_fini(struct device *d) { (void)d, finis++; }
static void lamp_reset(struct device *d)
{
	((struct lamp *)d)->level = 0;
	((struct lamp *)d)->resets++;
}
static int lamp_loaded(struct device *d) { (void)d; return loaded_result; }

static const struct device_class lamp = {
	.name = "lamp", .help = "a lamp", .size = sizeof(struct lamp), .io_len = 4, .regs = lamp_regs, .nregs = NELEM(lamp_regs),
	.opts = lamp_opts, .init = lamp_init, .fini = lamp_fini, .reset = lamp_reset, .snap = lamp_fields, .snap_version = 2,
	.loaded = lamp_loaded,
};
static const struct device_class stone = { .name = "stone", .size = sizeof(struct device) };

static struct vm *vm;
static struct conf *conf;
static struct capture err;

static void start(void)
{
	inits = finis = 0;
	init_result = loaded_result = 0;
	conf = conf_new();
	ck_assert_int_eq(vm_create(conf, &arch_x86, true, &vm), 0);
}

static void stop(void)
{
	vm_free(vm);
	conf_free(conf);
}

static int load(struct device *d, const json_t *rec)
{
	capture_start(&err, 2);
	int r = device_load(d, rec);
	capture_stop(&err);
	return r;
}

START_TEST(test_life)
{
	int e = 1;
	start();
	struct device *a = device_new(vm, &lamp, "lamp0", &e), *b = device_new(vm, &lamp, "lamp1", NULL);
	ck_assert(a && b && a != b);
	ck_assert_int_eq(e, 0);
	ck_assert_str_eq(a->id, "lamp0");
	ck_assert_uint_eq(a->gsi, DEV_NO_GSI);
	ck_assert_uint_eq(((struct lamp *)a)->resets, 1);       /* power-on state from the start */
	ck_assert_ptr_eq(vm_device(vm, "lamp1"), b);
	device_reset(a);
	ck_assert_uint_eq(((struct lamp *)a)->resets, 2);
	ck_assert_uint_eq(((struct lamp *)b)->resets, 1);
	device_free(NULL);
	stop();
	ck_assert_uint_eq(inits, 2);
	ck_assert_uint_eq(finis, 2);
}
END_TEST

START_TEST(test_failed_init)
{
	int e = 0;
	start();
	unsigned n = vm->ndevs;
	init_result = -EBUSY;
	ck_assert_ptr_null(device_new(vm, &lamp, "lamp0", &e));
	ck_assert_int_eq(e, -EBUSY);
	ck_assert_uint_eq(vm->ndevs, n);
	ck_assert_ptr_null(vm_device(vm, "lamp0"));
	stop();
	ck_assert_uint_eq(finis, 0);                            /* not of what never was */
}
END_TEST

START_TEST(test_placing)
{
	uint64_t v;
	start();
	struct device *a = device_new(vm, &lamp, "lamp0", NULL), *b = device_new(vm, &lamp, "lamp1", NULL);
	ck_assert_int_eq(device_place(a, &vm->mmio, 0xfd000000), 0);
	capture_start(&err, 2);
	ck_assert_int_eq(device_place(b, &vm->mmio, 0xfd000003), -EEXIST);
	capture_stop(&err);
	ck_assert_str_eq(err.text, "skep: lamp1 at 0xfd000003 overlaps lamp0 at 0xfd000000 on the mmio bus\n");
	ck_assert(!b->io.mapped);
	ck_assert_int_eq(device_place(b, &vm->mmio, 0xfd000004), 0);
	bus_write(&vm->mmio, 0xfd000000, 1, 0x21);
	bus_read(&vm->mmio, 0xfd000000, 4, &v);
	ck_assert_uint_eq(v, 0x21);
	bus_read(&vm->mmio, 0xfd000004, 1, &v);
	ck_assert_uint_eq(v, 0);
	ck_assert_str_eq(bus_find(&vm->mmio, 0xfd000007)->name, "lamp1");
	stop();
}
END_TEST

START_TEST(test_options)
{
	start();
	struct device *d = device_new(vm, &lamp, "lamp0", NULL), *e = device_new(vm, &lamp, "lamp1", NULL);
	ck_assert_ptr_null(dev_opt_str(d, "label"));
	ck_assert_uint_eq(dev_opt_u64(d, "watts"), 60);
	ck_assert_uint_eq(dev_opt_u64(d, "heat"), 4096);
	ck_assert(dev_opt_bool(d, "lit"));
	conf_set(conf, "lamp0.label", "desk", "test");
	conf_set(conf, "lamp0.watts", "0x20", "test");
	conf_set(conf, "lamp0.heat", "2M", "test");
	conf_set(conf, "lamp0.lit", "no", "test");
	ck_assert_str_eq(dev_opt_str(d, "label"), "desk");
	ck_assert_uint_eq(dev_opt_u64(d, "watts"), 32);
	ck_assert_uint_eq(dev_opt_u64(d, "heat"), MIB(2));
	ck_assert(!dev_opt_bool(d, "lit"));
	ck_assert_uint_eq(dev_opt_u64(e, "watts"), 60);         /* each instance has its own */
	stop();
}
END_TEST

START_TEST(test_records)
{
	start();
	struct device *d = device_new(vm, &lamp, "lamp0", NULL), *other = device_new(vm, &stone, "stone0", NULL);
	struct lamp *l = (struct lamp *)d;
	l->level = 7;
	l->hue = 123456;
	json_t *rec = device_save(d);
	device_reset(d);
	l->hue = 0;
	ck_assert_int_eq(load(d, rec), 0);
	ck_assert_uint_eq(l->level, 7);
	ck_assert_uint_eq(l->hue, 123456);
	ck_assert_int_eq(load(other, rec), -EINVAL);
	ck_assert_str_eq(err.text, "skep: snapshot of stone0: it is a 'lamp', this machine has a 'stone' there\n");
	json_object_set_new(rec, "version", json_integer(3));
	ck_assert_int_eq(load(d, rec), -EINVAL);
	ck_assert_str_eq(err.text, "skep: snapshot of lamp0: its version is newer than this skep's (2)\n");
	json_object_set_new(rec, "version", json_integer(1));   /* hue came later */
	json_object_del(json_object_get(rec, "state"), "hue$uint32");
	ck_assert_int_eq(load(d, rec), 0);
	ck_assert_uint_eq(l->hue, 0);
	loaded_result = -EINVAL;
	ck_assert_int_eq(load(d, rec), -EINVAL);
	json_decref(rec);
	rec = device_save(other);                               /* stateless: an empty state */
	ck_assert_int_eq(load(other, rec), 0);
	json_object_set_new(json_object_get(rec, "state"), "x$uint8", json_integer(1));
	ck_assert_int_eq(load(other, rec), -EINVAL);
	json_decref(rec);
	stop();
}
END_TEST

START_TEST(test_broken_records)
{
	static const char *const texts[] = {
		"null", "[]", "{}", "1", "{\"class\":1}", "{\"class\":\"lamp\"}", "{\"class\":\"lamp\",\"version\":\"2\"}",
		"{\"class\":\"lamp\",\"version\":-1,\"state\":{}}", "{\"class\":\"lamp\",\"version\":2}",
		"{\"class\":\"lamp\",\"version\":2,\"state\":[]}", "{\"class\":\"lamp\",\"version\":0,\"state\":null}",
		"{\"class\":\"lamp\",\"version\":4294967297,\"state\":{\"level$uint8\":1,\"hue$uint32\":1}}",
		"{\"class\":\"lamp\",\"version\":9223372036854775807,\"state\":{}}",
		"{\"class\":\"lamp\",\"version\":2,\"state\":{\"level$uint8\":256,\"hue$uint32\":1}}",
		"{\"class\":\"lamp\",\"version\":2,\"state\":{\"level$uint8\":1,\"hue$uint32\":-1}}",
		"{\"class\":\"lamp\",\"version\":2,\"state\":{\"level$uint8\":1.0,\"hue$uint32\":1}}",
	};
	start();
	struct device *d = device_new(vm, &lamp, "lamp0", NULL);
	for (size_t i = 0; i < NELEM(texts); i++) {
		json_t *rec = json_loads(texts[i], JSON_DECODE_ANY, NULL);
		((struct lamp *)d)->level = 77;
		ck_assert_ptr_nonnull(rec);
		ck_assert_msg(load(d, rec) == -EINVAL, "%s", texts[i]);
		ck_assert_msg(strchr(err.text, '\n') == err.text + strlen(err.text) - 1, "one sentence: %s", err.text);
		ck_assert_uint_eq(((struct lamp *)d)->level, 77);       /* nothing was changed */
		json_decref(rec);
	}
	stop();
}
END_TEST

UNIT_MAIN("common/device", test_life, test_failed_init, test_placing, test_options, test_records, test_broken_records)
