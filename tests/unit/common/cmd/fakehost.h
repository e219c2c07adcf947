/*
 * A host made of a few files below a temporary directory, for the checks of doctor.
 */
#ifndef TESTS_UNIT_COMMON_CMD_FAKEHOST_H
#define TESTS_UNIT_COMMON_CMD_FAKEHOST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cmd/doctor.h"
#include "tests/unit/unit.h"

static char root[64];
static struct doctor d;

static inline void start(void)
{
	strcpy(root, "/tmp/skep-doctor-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	d = (struct doctor){ root, json_array(), false };
}

static inline void stop(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
	ck_assert_int_eq(system(cmd), 0);
	json_decref(d.checks);
}

static inline void put(const char *path, const char *text)
{
	char cmd[600], full[300];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	snprintf(cmd, sizeof(cmd), "mkdir -p $(dirname %s)", full);
	ck_assert_int_eq(system(cmd), 0);
	f = fopen(full, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

/* Is there a finding "level name" whose text contains `part`? */
static inline bool found(const char *level, const char *name, const char *part)
{
	const json_t *c;
	size_t i;

	json_array_foreach(d.checks, i, c)
		if (!strcmp(json_string_value(json_object_get(c, "level")), level) &&
		    !strcmp(json_string_value(json_object_get(c, "name")), name) &&
		    strstr(json_string_value(json_object_get(c, "text")), part))
			return true;
	return false;
}

#define FOUND(level, name, part) ck_assert_msg(found(level, name, part), "%s", json_dumps(d.checks, JSON_INDENT(1)))

#endif
