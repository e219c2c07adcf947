/*
 * Exit profiles: what a VM's exits were, how long they took, and which device they were for.  One taxonomy for both
 * architectures (enum exit_kind); the document is the same wherever it was made, so that profiles can be compared.
 *
 * A document is a JSON object, all counters rising since the VM's start (a recording is the difference of two):
 *
 *   "format": "skep-exits", "version": 1, "skep": its version, "name", "arch": "x86"|"arm64", "vcpus": N
 *   "label": what ran, where who recorded it has said so
 *   "host": { "cpu", "kernel", "kvm": "svm"|"vmx"|"vhe"|"nvhe"..., "irqchip" }
 *   "started": which run of the machine, Unix time in ns
 *   "duration_ns": since the VM's start, "guest_ns": of it inside KVM_RUN, "user_ns": of it in exits to user space, over all vCPUs
 *   "kinds": [ { "kind": exit_kind_names[], "count", "user_ns", "hist": [[bucket, count]...],
 *                "kvm_count": what KVM says of this kind, those it handled itself included; absent where it does not tell } ]
 *   "accesses": [ { "space": "pio"|"mmio", "device", "register": name or "+0xOFF", "write": bool, "count", "user_ns", "hist" } ]
 *               "unclaimed" is a device whose registers are addresses; the register "others" is the rest of a device that has many
 *   "kvm": { name: sum over vCPUs ... }, "kvm_vm": { name: value }      KVM's binary statistics [KVM-API 4.133], raw; what rises
 *   "kvm_now": { name: sum over VM and vCPUs }      the same, what is so at the moment: gauges and peaks
 *   "kvm_hist": { name: { "bucket_size": N or 0 (logarithmic), "counts": [...] } }
 *               these four are absent where KVM has no such statistics
 *   "trace": [ { "reason": KVM's word, "kind", "count", "ns": exit to entry, "hist" } ]      only when recorded with tracepoints
 *   "trace_lost": events that tracing had no room for, 0 and only then all of the above is complete
 *
 * Bucket b of a hist holds times of [2^b, 2^(b+1)) ns.
 */
#ifndef COMMON_PROFILE_H
#define COMMON_PROFILE_H

#include <jansson.h>
#include <stdint.h>

struct vm;

/* The VM's own document of now; a new reference, NULL: no memory.  Loop thread; the vCPUs may run. */
json_t *profile_of_vm(struct vm *);
/* The document where exits.file says, whole or not at all; nothing without that key.  0 or -errno (reported). */
int profile_save(struct vm *, const json_t *doc);
void profile_forget(struct vm *);       /* what profile_of_vm() keeps in the VM */
/* later - earlier, both of the same VM: a recording.  A new reference; NULL (reported): they do not belong together. */
json_t *profile_delta(const json_t *earlier, const json_t *later);
/* NULL (reported) unless `o` is a profile document of a version this skep reads: every member of the right type. */
json_t *profile_load(const char *path);
/* The q-quantile (0.5, 0.99) of a hist in ns: the geometric middle of its bucket; 0: empty. */
uint64_t profile_quantile(const json_t *hist, double q);

#endif
