/*
 * The long half of the crash tests (the quick one is tests/unit/devices/block/qcow2/crash_test.c): every kind of image in turn,
 * workload after workload, the power failing after each write of each, for as long as is given.
 *
 * usage: crash [-t SECONDS] [-s SEED] [-n NAME]
 *
 * A failure prints its seed; CRASH_SEED=N in the environment, or -s N, and -n NAME repeat it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/devices/block/qcow2/crash.h"

#define OPS 120u
#define REPAIR_EVERY 4u
#define THREADS_EVERY 2u
#define COMMIT_EVERY 3u

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seeds from `seed` on until the time is up, at least one.  0 or -1. */
static int one_kind(const struct crash_conf *conf, uint64_t seed, double seconds, struct crash_stats *total)
{
	const double until = now() + seconds;
	struct crash_stats s = { 0 };
	uint64_t at = seed;
	int r = 0;

	do {
		const struct crash_run run = { .seed = at, .ops = OPS, .step = 1, .chances = 4, .qemu_every = 60, .until = until };
		const struct crash_run repair = { .seed = at, .ops = OPS / 2, .step = 1, .chances = 3, .until = until };

		r = crash_workload(conf, &run, &s);
		if (!r && at % REPAIR_EVERY == 0)
			r = crash_repair(conf, &repair, &s);
		if (!r && at % THREADS_EVERY == 0)
			r = crash_threads(conf, &repair, &s);
		if (!r && at % COMMIT_EVERY == 0)
			r = crash_commit(conf, &repair, &s);
		at++;
	} while (!r && now() < until);
	printf("%s crash/%s (seeds %llu to %llu: %llu cut points, %llu outcomes, %llu of them used again, %llu seen by qemu-img)\n",
	       r ? "FAIL" : "ok  ", conf->name, (unsigned long long)seed, (unsigned long long)at - 1, (unsigned long long)s.points,
	       (unsigned long long)s.outcomes, (unsigned long long)s.repaired, (unsigned long long)s.qemu);
	fflush(stdout);
	total->points += s.points;
	total->outcomes += s.outcomes;
	total->qemu += s.qemu;
	return r;
}

int main(int argc, char **argv)
{
	const char *name = NULL;
	uint64_t seed = crash_seed(1);
	unsigned kinds = 0, passed = 0, failed = 0;
	struct crash_stats total = { 0 };
	double seconds = 150;
	int o;

	while ((o = getopt(argc, argv, "t:s:n:")) != -1)
		switch (o) {
		case 't': seconds = atof(optarg); break;
		case 's': seed = strtoull(optarg, NULL, 0); break;
		case 'n': name = optarg; break;
		default: return 2;
		}
	for (const struct crash_conf *c = crash_confs; c->name; c++)
		kinds += !name || !strcmp(c->name, name);
	for (const struct crash_conf *c = crash_confs; c->name; c++) {
		if (name && strcmp(c->name, name))
			continue;
		if (one_kind(c, seed, seconds / kinds, &total))
			failed++;
		else
			passed++;
	}
	printf("%llu cut points, %llu outcomes, %llu seen by qemu-img\n", (unsigned long long)total.points,
	       (unsigned long long)total.outcomes, (unsigned long long)total.qemu);
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
