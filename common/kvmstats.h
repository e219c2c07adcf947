/*
 * KVM's own counters [KVM-API 4.133]: a file for the VM and one for each vCPU, which describes itself.  And what an architecture
 * knows of them, and of the reasons in KVM's tracepoints: which kind of exit each is.  All pure but kvmstats_read().
 */
#ifndef COMMON_KVMSTATS_H
#define COMMON_KVMSTATS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/exits.h"

/* Names as KVM of Linux 6.1 has them; several may make one kind. */
struct stat_kind {
	const char *name;
	uint8_t kind;
};

/* Reasons first .. last of a group; where that is more than one, the name gets the number behind it. */
struct exit_reason {
	uint8_t group, kind;
	uint16_t first, last;
	const char *name;
};

struct arch_exits {
	const struct stat_kind *stats;          /* NULL name ends */
	const char *group, *reason;             /* fields of the tracepoint kvm_exit */
	const struct exit_reason *reasons;      /* NULL name ends */
};
const struct exit_reason *exit_reason_find(const struct arch_exits *, uint32_t group, uint32_t reason);        /* NULL: not known */
/* KVM's word, in buf, and the kind. */
enum exit_kind exit_reason_name(const struct arch_exits *, uint32_t group, uint32_t reason, char *buf, size_t len);

struct kvm_sums {
	json_t *rising;                 /* name: sum */
	json_t *now;                    /* name: what is so at the moment: gauges and peaks */
	json_t *hist;                   /* name: { "bucket_size", "counts" } */
};
/*
 * Adds what a file says.  0, or -EINVAL where it makes no sense; then what came before that has been added.  Entries of a type that
 * is not known are left out.
 */
int kvmstats_sum(const uint8_t *buf, size_t len, struct kvm_sums *);
/* All of such a file, at most KVMSTATS_MAX bytes: its length, or -errno (not reported). */
#define KVMSTATS_MAX 65536
int kvmstats_read(int fd, uint8_t buf[KVMSTATS_MAX]);

#endif
