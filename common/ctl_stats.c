/*
 * What is counted of a running VM, as JSON and as OpenMetrics text [OPENMETRICS].
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/ctl_methods.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/block/block.h"

#define NS_PER_S 1000000000u

/* --- The machine and its vCPUs --- */

static uint64_t vcpu_cpu_ns(const struct vcpu *v)
{
	struct timespec ts;
	clockid_t clock;

	if (!v->started || pthread_getcpuclockid(v->thread, &clock) || clock_gettime(clock, &ts))
		return 0;
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static uint64_t all_cpu_ns(const struct vm *vm)
{
	uint64_t sum = 0;

	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
		sum += vcpu_cpu_ns(&vm->vcpus[i]);
	return sum;
}

/* Bytes of this process in memory, the guest's RAM as far as it has been touched included [PROC statm]; 0: not known. */
static uint64_t resident(void)
{
	unsigned long long total, pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &total, &pages) != 2)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

json_t *ctl_status_json(const struct vm *vm, const struct ctl *ctl)
{
	return json_pack("{s:s, s:i, s:s, s:s, s:i, s:I, s:i, s:I, s:I, s:I}", "name", vm->name, "pid", (int)getpid(),
			 "arch", vm->arch->name, "state", vm_state_names[vm->state], "cpus", (int)vm->nvcpus,
			 "uptime_ns", (json_int_t)ctl_uptime_ns(ctl),
			 "boots", (int)vm->boots, "cpu_ns", (json_int_t)all_cpu_ns(vm), "memory", (json_int_t)mem_total(&vm->mem),
			 "resident", (json_int_t)resident());
}

static json_t *vcpu_json(const struct vcpu *v)
{
	json_t *kinds = json_object();

	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		const uint64_t count = exits_kind(&v->exits, k, NULL, NULL);

		if (count)
			json_object_set_new(kinds, exit_kind_names[k], json_integer((json_int_t)count));
	}
	return json_pack("{s:i, s:I, s:o}", "vcpu", (int)v->id, "cpu_ns", (json_int_t)vcpu_cpu_ns(v), "exits", kinds);
}

/* --- Disks and networks --- */

static json_t *blk_json(struct blk *b)
{
	json_t *o = json_pack("{s:s}", "disk", blk_who(b));

	pthread_mutex_lock(blk_lock(b));
	for (unsigned op = 0; op < BLK_OPS; op++) {
		const struct blk_stat *s = blk_stat(b, op);
		json_object_set_new(o, blk_op_names[op], json_pack("{s:I, s:I, s:I, s:I, s:o}", "ops", (json_int_t)s->ops,
				    "bytes", (json_int_t)s->bytes, "errors", (json_int_t)s->errors, "ns", (json_int_t)s->ns, "hist",
				    exits_hist_json(s->hist)));
	}
	pthread_mutex_unlock(blk_lock(b));
	return o;
}

static json_t *way_json(const struct net_stat *s)
{
	return json_pack("{s:I, s:I, s:I}", "packets", (json_int_t)s->packets, "bytes", (json_int_t)s->bytes,
			 "dropped", (json_int_t)s->dropped);
}

int ctl_stats(struct ctl_call *call)
{
	json_t *vcpus = json_array(), *disks = json_array(), *nets = json_array();
	struct vm *vm = call->vm;

	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++)
		json_array_append_new(vcpus, vcpu_json(&vm->vcpus[i]));
	for (struct blk *b = blk_first(vm); b; b = blk_next(b))
		json_array_append_new(disks, blk_json(b));
	for (unsigned i = 0; i < vm->ndevs; i++) {
		struct net_port p;

		if (!vm->devs[i]->cls->net_port)
			continue;
		vm->devs[i]->cls->net_port(vm->devs[i], &p);
		json_array_append_new(nets, json_pack("{s:s, s:o, s:o}", "device", vm->devs[i]->id, "rx", way_json(&p.rx),
						      "tx", way_json(&p.tx)));
	}
	call->result = json_pack("{s:I, s:o, s:o, s:o}", "uptime_ns", (json_int_t)ctl_uptime_ns(call->ctl), "vcpus", vcpus, "disks", disks,
				 "nets", nets);
	return 0;
}

/* --- OpenMetrics: families in turn, all samples of one together --- */

static void family(FILE *f, const char *name, const char *type, const char *unit, const char *help)
{
	fprintf(f, "# TYPE skep_%s %s\n", name, type);
	if (unit)
		fprintf(f, "# UNIT skep_%s %s\n", name, unit);
	fprintf(f, "# HELP skep_%s %s.\n", name, help);
}

/* Seconds, exactly. */
static void seconds(FILE *f, uint64_t ns)
{
	fprintf(f, " %" PRIu64 ".%09" PRIu64 "\n", ns / NS_PER_S, ns % NS_PER_S);
}

static void machine_metrics(FILE *f, const struct vm *vm, const struct ctl *ctl)
{
	family(f, "vm", "info", NULL, "Which machine this is");
	fprintf(f, "skep_vm_info{name=\"%s\",arch=\"%s\"} 1\n", vm->name, vm->arch->name);
	family(f, "state", "stateset", NULL, "What the machine does");
	for (unsigned i = 0; i < VM_STATES; i++)
		fprintf(f, "skep_state{skep_state=\"%s\"} %d\n", vm_state_names[i], vm->state == (enum vm_state)i);
	family(f, "uptime_seconds", "gauge", "seconds", "Time since the machine was started");
	fputs("skep_uptime_seconds", f);
	seconds(f, ctl_uptime_ns(ctl));
	family(f, "boots", "counter", NULL, "Starts of the guest");
	fprintf(f, "skep_boots_total %u\n", vm->boots);
	family(f, "memory_bytes", "gauge", "bytes", "Memory of the guest");
	fprintf(f, "skep_memory_bytes %" PRIu64 "\n", mem_total(&vm->mem));
	family(f, "resident_bytes", "gauge", "bytes", "Memory of the host in use, the guest's included");
	fprintf(f, "skep_resident_bytes %" PRIu64 "\n", resident());
}

static void vcpu_metrics(FILE *f, const struct vm *vm)
{
	const unsigned n = vm->vcpus ? vm->nvcpus : 0;

	family(f, "vcpu_seconds", "counter", "seconds", "CPU time of vCPU threads");
	for (unsigned i = 0; i < n; i++) {
		fprintf(f, "skep_vcpu_seconds_total{vcpu=\"%u\"}", i);
		seconds(f, vcpu_cpu_ns(&vm->vcpus[i]));
	}
	family(f, "exits", "counter", NULL, "Returns from the guest to user space");
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < EXIT_KINDS; k++) {
			const uint64_t count = exits_kind(&vm->vcpus[i].exits, k, NULL, NULL);

			if (count)
				fprintf(f, "skep_exits_total{vcpu=\"%u\",kind=\"%s\"} %" PRIu64 "\n", i, exit_kind_names[k], count);
		}
}

/* Each bucket counts those below as well: 16 us, 66 us, 262 us ... 1.07 s. */
static void blk_hist(FILE *f, const struct blk *b, enum blk_op op)
{
	const struct blk_stat *s = blk_stat(b, op);
	uint64_t sum = 0;

	for (unsigned i = 0; i + 1 < BLK_BUCKETS; i++) {
		sum += s->hist[i];
		if (i >= 13 && i <= 29 && i % 2)
			fprintf(f, "skep_disk_latency_seconds_bucket{disk=\"%s\",operation=\"%s\",le=\"%" PRIu64 ".%09" PRIu64
				"\"} %" PRIu64 "\n", blk_who(b), blk_op_names[op], (UINT64_C(2) << i) / NS_PER_S, (UINT64_C(2) << i) % NS_PER_S,
				sum);
	}
	fprintf(f, "skep_disk_latency_seconds_bucket{disk=\"%s\",operation=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", blk_who(b),
		blk_op_names[op], s->ops);
	fprintf(f, "skep_disk_latency_seconds_count{disk=\"%s\",operation=\"%s\"} %" PRIu64 "\n", blk_who(b), blk_op_names[op], s->ops);
	fprintf(f, "skep_disk_latency_seconds_sum{disk=\"%s\",operation=\"%s\"}", blk_who(b), blk_op_names[op]);
	seconds(f, s->ns);
}

static const struct { const char *name, *unit, *help; size_t off; } disk_families[] = {
	{ "disk_operations", NULL, "Requests done", offsetof(struct blk_stat, ops) },
	{ "disk_bytes", "bytes", "Bytes of requests that succeeded", offsetof(struct blk_stat, bytes) },
	{ "disk_errors", NULL, "Requests that failed", offsetof(struct blk_stat, errors) },
}, net_families[] = {
	{ "net_packets", NULL, "Packets", offsetof(struct net_stat, packets) },
	{ "net_bytes", "bytes", "Bytes of packets", offsetof(struct net_stat, bytes) },
	{ "net_dropped", NULL, "Packets lost", offsetof(struct net_stat, dropped) },
};

static uint64_t at(const void *base, size_t off)
{
	return *(const uint64_t *)((const char *)base + off);
}

static void disk_metrics(FILE *f, struct vm *vm)
{
	for (unsigned i = 0; i < NELEM(disk_families); i++) {
		family(f, disk_families[i].name, "counter", disk_families[i].unit, disk_families[i].help);
		for (struct blk *b = blk_first(vm); b; b = blk_next(b)) {
			pthread_mutex_lock(blk_lock(b));
			for (unsigned op = 0; op < BLK_OPS; op++)
				fprintf(f, "skep_%s_total{disk=\"%s\",operation=\"%s\"} %" PRIu64 "\n", disk_families[i].name, blk_who(b),
					blk_op_names[op], at(blk_stat(b, op), disk_families[i].off));
			pthread_mutex_unlock(blk_lock(b));
		}
	}
	family(f, "disk_latency_seconds", "histogram", "seconds", "Time from a request to its end");
	for (struct blk *b = blk_first(vm); b; b = blk_next(b)) {
		pthread_mutex_lock(blk_lock(b));
		for (unsigned op = 0; op < BLK_OPS; op++)
			blk_hist(f, b, op);
		pthread_mutex_unlock(blk_lock(b));
	}
}

static void net_metrics(FILE *f, struct vm *vm)
{
	for (unsigned i = 0; i < NELEM(net_families); i++) {
		family(f, net_families[i].name, "counter", net_families[i].unit, net_families[i].help);
		for (unsigned k = 0; k < vm->ndevs; k++) {
			struct device *d = vm->devs[k];
			struct net_port p;

			if (!d->cls->net_port)
				continue;
			d->cls->net_port(d, &p);
			for (unsigned tx = 0; tx < 2; tx++)
				fprintf(f, "skep_%s_total{device=\"%s\",direction=\"%s\"} %" PRIu64 "\n", net_families[i].name, d->id,
					tx ? "tx" : "rx", at(tx ? &p.tx : &p.rx, net_families[i].off));
		}
	}
}

/* Labels need no escapes: names of machines, bus paths and our own words have no quotes, backslashes or line ends. */
int ctl_metrics(struct ctl_call *call)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return -ENOMEM;
	machine_metrics(f, call->vm, call->ctl);
	vcpu_metrics(f, call->vm);
	disk_metrics(f, call->vm);
	net_metrics(f, call->vm);
	fputs("# EOF\n", f);
	if (fclose(f) == 0)
		call->result = json_pack("{s:s, s:s}", "type", "application/openmetrics-text; version=1.0.0; charset=utf-8", "text", text);
	free(text);
	return call->result ? 0 : -ENOMEM;
}
