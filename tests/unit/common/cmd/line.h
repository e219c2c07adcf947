/*
 * A command line of words separated by blanks, as skep's main() gets it.  Output and messages are in out.text and err.text.
 */
#ifndef TESTS_UNIT_COMMON_CMD_LINE_H
#define TESTS_UNIT_COMMON_CMD_LINE_H

#include <stdio.h>
#include <string.h>

#include "common/cmd/cmd.h"
#include "tests/unit/capture.h"

static struct capture out, err;

/* `command`, which may have several words, and the words of `line` behind it.  Exit status. */
static inline int run_line(const char *command, const char *line)
{
	static char copy[2048];
	char *argv[64], *save;
	int argc = 0, status;

	snprintf(copy, sizeof(copy), "%s %s", command, line);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	capture_start(&err, STDERR_FILENO);
	capture_start(&out, STDOUT_FILENO);
	status = cmd_dispatch(argc, argv);
	capture_stop(&out);
	capture_stop(&err);
	return status;
}

#endif
