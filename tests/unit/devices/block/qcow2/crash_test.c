/*
 * The quick half of the crash tests: a short workload on each kind of image.  tests/crash (make check-crash) has the
 * long one.
 */
#include <stdio.h>

#include "tests/unit/devices/block/qcow2/crash.h"
#include "tests/unit/unit.h"

START_TEST(every_kind_of_image_survives_power_failures)
{
	const struct crash_run run = { .seed = crash_seed(1), .ops = 36, .step = 4, .chances = 3, .qemu_every = 150 };
	struct crash_stats stats = { 0 };

	for (const struct crash_conf *c = crash_confs; c->name; c++)
		ck_assert_int_eq(crash_workload(c, &run, &stats), 0);
	ck_assert_uint_gt(stats.points, 300);
	ck_assert_uint_gt(stats.repaired, 100);
	ck_assert_uint_gt(stats.qemu, 3);
}
END_TEST

START_TEST(repair_survives_power_failures)
{
	const struct crash_run run = { .seed = crash_seed(2), .ops = 30, .step = 5, .chances = 3 };
	struct crash_stats stats = { 0 };

	for (const struct crash_conf *c = crash_confs; c->name; c++)
		ck_assert_int_eq(crash_repair(c, &run, &stats), 0);
	ck_assert_uint_gt(stats.points, 100);
}
END_TEST

START_TEST(threads_survive_power_failures)
{
	const struct crash_run run = { .seed = crash_seed(3), .ops = 30, .step = 4, .chances = 3 };
	struct crash_stats stats = { 0 };

	for (const struct crash_conf *c = crash_confs; c->name; c++)
		ck_assert_int_eq(crash_threads(c, &run, &stats), 0);
	ck_assert_uint_gt(stats.points, 100);
}
END_TEST

START_TEST(folding_an_overlay_back_survives_power_failures)
{
	const struct crash_run run = { .seed = crash_seed(4), .ops = 25, .step = 3, .chances = 3 };
	struct crash_stats stats = { 0 };

	for (const struct crash_conf *c = crash_confs; c->name; c++)
		ck_assert_int_eq(crash_commit(c, &run, &stats), 0);
	ck_assert_uint_gt(stats.points, 100);
}
END_TEST

UNIT_MAIN("devices/block/qcow2/crash", every_kind_of_image_survives_power_failures, repair_survives_power_failures,
	  threads_survive_power_failures, folding_an_overlay_back_survives_power_failures)
