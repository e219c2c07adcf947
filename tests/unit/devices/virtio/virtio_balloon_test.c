#include "tests/unit/unit.h"

#include <jansson.h>

#include "common/ctl.h"
#include "devices/classes.h"
#include "devices/virtio/virtio_balloon.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/virtio/driver.h"

#define PAGE 4096ull
#define FEATURES (BIT64(1) | BIT64(2) | BIT64(5))
enum { INFLATE, DEFLATE, STATS, REPORTING };

static struct drv *balloon(void)
{
	return drv_open(drv_vm_new(), &virtio_balloon_class, "pci.0.5.0");
}

static void over(struct drv *d)
{
	struct vm *vm = d->vm;

	drv_close(d);
	drv_vm_free(vm);
}

/* The answer, which the caller gives back; NULL: refused with that text. */
static json_t *ask(struct drv *d, json_t *params, const char *refused)
{
	struct ctl_call call = { .vm = d->vm, .params = params };
	struct capture err;

	capture_start(&err, STDERR_FILENO);
	const int r = balloon_ctl(&call);

	capture_stop(&err);
	json_decref(params);
	if (refused) {
		ck_assert_int_lt(r, 0);
		ck_assert_msg(strstr(err.text, refused) != NULL, "%s", err.text);
	} else {
		ck_assert_int_eq(r, 0);
	}
	return call.result;
}

static json_int_t member(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

START_TEST(inflates)
{
	struct drv *d = balloon();
	const uint64_t pages = DRV_RAM_BASE + (8ull << 20), list = (drv_start(d, FEATURES, 4, 8), drv_alloc(d, 16));
	json_t *o = ask(d, json_pack("{s:i}", "memory", 12), NULL);

	ck_assert_int_eq(member(o, "memory"), (json_int_t)DRV_RAM_LEN);
	ck_assert_int_eq(member(o, "target"), 12 << 20);
	ck_assert_int_eq(member(o, "given-back"), 0);
	json_decref(o);
	ck_assert_uint_eq(drv_cfg(d, 0, 4), (4 << 20) / PAGE);
	ck_assert(drv_irq(d, 0));                       /* the configuration has changed */

	/* Two neighbours, and one apart; what lies between stays, and so does what is no memory at all. */
	memset(drv_ptr(d, pages, 5 * PAGE), 0xaa, 5 * PAGE);
	const uint32_t pfn[4] = { (uint32_t)(pages / PAGE), (uint32_t)(pages / PAGE + 1), 0xffffffff, (uint32_t)(pages / PAGE + 3) };
	memcpy(drv_ptr(d, list, 16), pfn, 16);
	const struct drv_buf b = { list, 16, false };
	ck_assert_int_eq(drv_do(d, INFLATE, &b, 1, false), 0);
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(((uint8_t *)drv_ptr(d, pages, 5 * PAGE))[i * PAGE], i == 2 || i == 4 ? 0xaa : 0);
	drv_write(d, VIRTIO_BAR_DEVICE + 4, 4, 3);
	ck_assert_int_eq(drv_do(d, DEFLATE, &b, 1, false), 0);
	o = ask(d, json_object(), NULL);
	ck_assert_int_eq(member(o, "given-back"), 3 * PAGE);
	ck_assert_int_eq(member(o, "target"), 12 << 20);
	json_decref(o);
	/* Only the driver's half of the configuration can be written. */
	drv_write(d, VIRTIO_BAR_DEVICE, 4, 7);
	ck_assert_uint_eq(drv_cfg(d, 0, 4), (4 << 20) / PAGE);
	over(d);
}
END_TEST

/* A list without end would keep the device, and who waits for it, for minutes: what lies far behind is not given back. */
START_TEST(endless)
{
	struct drv *d = balloon();
	const uint64_t page = DRV_RAM_BASE + (8ull << 20), list = (drv_start(d, FEATURES, 4, 8), drv_alloc(d, 32768));
	uint32_t *pfn = drv_ptr(d, list, 32768);

	memset(pfn, 0xff, 32768);
	pfn[4095] = (uint32_t)(page / PAGE);
	pfn[4096] = (uint32_t)(page / PAGE + 1);
	memset(drv_ptr(d, page, 2 * PAGE), 0xaa, 2 * PAGE);
	const struct drv_buf b = { list, 32768, false };
	ck_assert_int_eq(drv_do(d, INFLATE, &b, 1, false), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, page, 1), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, page + PAGE, 1), 0xaa);
	over(d);
}
END_TEST

START_TEST(reports)
{
	struct drv *d = balloon();
	const uint64_t pages = DRV_RAM_BASE + (8ull << 20);

	drv_start(d, FEATURES, 4, 8);
	memset(drv_ptr(d, pages, 4 * PAGE), 0xaa, 4 * PAGE);
	/* Parts of pages are not whole pages. */
	const struct drv_buf b[2] = { { pages, 2 * PAGE, true }, { pages + 2 * PAGE + 8, PAGE, true } };
	ck_assert_int_eq(drv_do(d, REPORTING, b, 2, false), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, pages, 1), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, pages + PAGE, 1), 0);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, pages + 2 * PAGE, 1), 0xaa);
	ck_assert_uint_eq(*(uint8_t *)drv_ptr(d, pages + 3 * PAGE, 1), 0xaa);
	over(d);
}
END_TEST

static void put_stat(uint8_t *p, uint16_t tag, uint64_t val)
{
	memcpy(p, &tag, 2);
	memcpy(p + 2, &val, 8);
}

START_TEST(statistics)
{
	struct drv *d = balloon();

	drv_start(d, FEATURES, 4, 8);
	const uint64_t at = drv_alloc(d, 64);
	uint8_t *p = drv_ptr(d, at, 64);
	const struct drv_buf b = { at, 30, false }, cut = { at, 15, false };
	put_stat(p, 4, 12345);                          /* free */
	put_stat(p + 10, 77, 1);                        /* of a later version */
	put_stat(p + 20, 5, 99999);                     /* total */
	int id = drv_add(d, STATS, &b, 1, false);
	drv_kick_always(d, STATS);
	drv_settle(d);
	ck_assert_int_eq(drv_poll(d, STATS, NULL), -1); /* it is kept */
	json_t *o = ask(d, json_object(), NULL), *guest = json_object_get(o, "guest");
	ck_assert_uint_eq(json_object_size(guest), 2);
	ck_assert_int_eq(member(guest, "free"), 12345);
	ck_assert_int_eq(member(guest, "total"), 99999);
	json_decref(o);
	ck_assert_int_eq(drv_wait(d, STATS, NULL), id); /* newer ones are wanted */

	id = drv_add(d, STATS, &cut, 1, false);
	drv_kick_always(d, STATS);
	drv_settle(d);
	/* A pause gives the buffer back to the ring; afterwards it is taken again. */
	struct device *dev = &d->v->pci.dev;
	dev->cls->pause(dev);
	json_t *saved = device_save(dev);
	ck_assert_ptr_nonnull(saved);
	ck_assert_int_eq(device_load(dev, saved), 0);
	json_decref(saved);
	dev->cls->resume(dev);
	drv_settle(d);
	o = ask(d, json_object(), NULL);
	ck_assert_uint_eq(json_object_size(json_object_get(o, "guest")), 1);
	json_decref(o);
	ck_assert_int_eq(drv_wait(d, STATS, NULL), id);
	over(d);
}
END_TEST

START_TEST(refusals)
{
	struct drv *d = balloon();
	static const int wrong[] = { 0, -1, 17, INT32_MAX };

	for (unsigned i = 0; i < NELEM(wrong); i++)
		ask(d, json_pack("{s:i}", "memory", wrong[i]), "the guest can keep 1 to 16 MiB");
	ask(d, json_pack("{s:I}", "memory", (json_int_t)1 << 44), "the guest can keep 1 to 16 MiB");
	json_t *o = ask(d, json_object(), NULL);
	ck_assert(json_is_false(json_object_get(o, "driver")));
	json_decref(o);
	over(d);

	d = drv_open(drv_vm_new(), &virtio_rnd_class, "pci.0.5.0");
	ask(d, json_object(), "the machine has no balloon");
	over(d);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_balloon", inflates, endless, reports, statistics, refusals)
