/*
 * qemu-img and qemu-io as judges, in a directory of their own.  Tests skip what needs them where they are missing, but
 * not under CI.
 */
#ifndef TESTS_UNIT_DEVICES_BLOCK_QCOW2_ORACLE_H
#define TESTS_UNIT_DEVICES_BLOCK_QCOW2_ORACLE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/block/img.h"
#include "tests/unit/unit.h"

struct oracle {
	char dir[64];
};

static inline bool oracle_there(void)
{
	const bool there = system("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null") == 0;

	if (!there)
		fprintf(stderr, "skipped: qemu-img and qemu-io are not there (package qemu-utils)\n");
	ck_assert(there || !getenv("CI"));
	return there;
}

static inline void oracle_start(struct oracle *o)
{
	/* In memory where that can be: flushes are many and prove nothing here. */
	snprintf(o->dir, sizeof(o->dir), "%s/skep-qcow2-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(o->dir));
}

/* Runs a shell command in the directory; its status, output to a file "log" that is shown when `want` is another. */
static inline void oracle_run_status(const struct oracle *o, int want, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline void oracle_run_status(const struct oracle *o, int want, const char *fmt, ...)
{
	char cmd[4096], all[8192];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	snprintf(all, sizeof(all), "cd '%s' && { %s; } >log 2>&1", o->dir, cmd);
	status = system(all);
	status = status < 0 ? status : status >> 8;
	if (status != want) {
		snprintf(all, sizeof(all), "tail -n 20 '%s/log' >&2", o->dir);
		ck_assert_int_eq(system(all), 0);
	}
	ck_assert_msg(status == want, "status %d instead of %d: %s", status, want, cmd);
}
#define oracle_run(o, ...) oracle_run_status(o, 0, __VA_ARGS__)

static inline const char *oracle_path(const struct oracle *o, const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *p = path[turn++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", o->dir, name);
	return p;
}

static inline void oracle_end(const struct oracle *o)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", o->dir);
	ck_assert_int_eq(system(cmd), 0);
}

static inline struct img *oracle_open(const struct oracle *o, const char *name, bool write, uint64_t cache_max)
{
	const struct img_open how = { .path = oracle_path(o, name), .file_flags = write ? BFILE_WRITE : 0, .cache_max = cache_max };
	int err = 0;
	struct img *img = img_open(&how, &err);

	ck_assert_msg(img != NULL, "%s: %d", name, err);
	return img;
}

#endif
