/*
 * A user with a home directory of nothing, also where tests run as root: configurations and run directories are below it.
 */
#ifndef TESTS_UNIT_COMMON_CMD_HOME_H
#define TESTS_UNIT_COMMON_CMD_HOME_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOME_NOBODY 65534

static char home_top[64], home_confs[96];
static uid_t home_was;

static inline void home_begin(void)
{
	home_was = geteuid();
	if (!home_was)
		ck_assert_int_eq(seteuid(HOME_NOBODY), 0);
	strcpy(home_top, "/tmp/skep-home-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(home_top));
	snprintf(home_confs, sizeof(home_confs), "%s/.config/skep", home_top);
	setenv("HOME", home_top, 1);
	setenv("XDG_RUNTIME_DIR", home_top, 1);
	unsetenv("XDG_CONFIG_HOME");
}

static inline void home_end(void)
{
	char cmd[128];

	if (!home_was)
		ck_assert(!seteuid(home_was) && !prctl(PR_SET_DUMPABLE, 1));     /* the sanitizers look at themselves */
	snprintf(cmd, sizeof(cmd), "rm -rf %s", home_top);
	ck_assert_int_eq(system(cmd), 0);
}

static inline void home_put(const char *file, const char *text)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/.config", home_top);
	mkdir(path, 0700);
	mkdir(home_confs, 0700);
	snprintf(path, sizeof(path), "%s/%s", home_confs, file);
	f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

#endif
