/*
 * The checks of `skep doctor`, apart from the command so that they can be tested against a made-up host.
 */
#ifndef COMMON_CMD_DOCTOR_H
#define COMMON_CMD_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "common/util.h"

enum doctor_level { DOCTOR_OK, DOCTOR_INFO, DOCTOR_WARN, DOCTOR_FAIL };
extern const char *const doctor_level_names[];

struct doctor {
	const char *root;               /* in front of every path; "" on a real host */
	json_t *checks;                 /* array of { level, name, text } */
	bool can_run;
};

/* Records one finding; a lack ends with its remedy. */
void doctor_add(struct doctor *, enum doctor_level, const char *name, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* First line of a file below root, without the line end; false when it cannot be read. */
bool doctor_read(const struct doctor *, const char *path, char *buf, size_t len);
/* How many entries a directory has that begin with prefix; -1 when there is no such directory. */
int doctor_count(const struct doctor *, const char *path, const char *prefix);

/* /dev/kvm: there, allowed, right version, and (probe) a guest really computes.  Sets can_run. */
void doctor_kvm(struct doctor *, bool probe);
/* Kernel, memory, pages, kinds of CPUs, IOMMU, device nodes, io_uring: never changes can_run. */
void doctor_host(struct doctor *);
void doctor_cpus(struct doctor *);

#endif
