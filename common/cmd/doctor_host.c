/*
 * What `skep doctor` says of the host apart from KVM.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/cmd/doctor.h"

#define CPU_KINDS_MAX 8
#define CPUS_MAX 4096

static void check_kernel(struct doctor *d)
{
	struct utsname u;

	if (!uname(&u))
		doctor_add(d, DOCTOR_INFO, "kernel", "%s %s on %s, pages of %ld bytes", u.sysname, u.release, u.machine,
			sysconf(_SC_PAGESIZE));
}

/* A line of /proc/meminfo in KiB; -1: absent. */
static long meminfo(const struct doctor *d, const char *key)
{
	char full[512], line[160];
	size_t n = strlen(key);
	long v = -1;
	FILE *f;

	snprintf(full, sizeof(full), "%s/proc/meminfo", d->root);
	f = fopen(full, "re");
	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, n) && line[n] == ':')
			v = atol(line + n + 1);
	if (f)
		fclose(f);
	return v;
}

static void check_memory(struct doctor *d)
{
	long total = meminfo(d, "MemTotal"), avail = meminfo(d, "MemAvailable");

	if (total < 0 || avail < 0)
		return;
	if (avail < 320 << 10)
		doctor_add(d, DOCTOR_WARN, "memory",
			   "%ld MiB, %ld MiB available: too little for a guest of the default 256 MiB; end something or give a "
			   "smaller -m", total >> 10, avail >> 10);
	else
		doctor_add(d, DOCTOR_OK, "memory", "%ld MiB, %ld MiB available", total >> 10, avail >> 10);
}

/* One size of huge pages; the entry's name is "hugepages-2048kB". */
static bool huge_size(struct doctor *d, const char *entry)
{
	char path[300], text[32];
	long nr, kib = atol(entry + strlen("hugepages-"));

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/nr_hugepages", entry);
	if (!doctor_read(d, path, text, sizeof(text)))
		return false;
	nr = atol(text);
	if (!nr)
		return false;
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/free_hugepages", entry);
	if (!doctor_read(d, path, text, sizeof(text)))
		snprintf(text, sizeof(text), "?");
	doctor_add(d, DOCTOR_INFO, "hugepages", "%ld of %ld KiB, %s free", nr, kib, text);
	return true;
}

static void check_hugepages(struct doctor *d)
{
	char full[512];
	struct dirent **e = NULL;
	bool any = false;
	int n;

	snprintf(full, sizeof(full), "%s/sys/kernel/mm/hugepages", d->root);
	n = scandir(full, &e, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (!strncmp(e[i]->d_name, "hugepages-", 10))
			any |= huge_size(d, e[i]->d_name);
		free(e[i]);
	}
	free(e);
	if (!any)
		doctor_add(d, DOCTOR_INFO, "hugepages", "none set aside");
}

static void check_thp(struct doctor *d)
{
	char text[128], *open, *end;

	if (!doctor_read(d, "/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)))
		return;
	open = strchr(text, '[');
	end = open ? strchr(open, ']') : NULL;
	if (!end)
		return;
	*end = 0;
	if (!strcmp(open + 1, "never"))
		doctor_add(d, DOCTOR_WARN, "thp",
			   "transparent huge pages are off, which slows guests: write madvise to "
			   "/sys/kernel/mm/transparent_hugepage/enabled as root");
	else
		doctor_add(d, DOCTOR_OK, "thp", "transparent huge pages: %s", open + 1);
}

/* Makers' part numbers as MIDR_EL1 gives them: implementer 0x41, bits 15:4. */
static const char *cpu_model(unsigned long midr)
{
	static const struct { unsigned part; const char *name; } parts[] = {
		{ 0xd03, "Cortex-A53" }, { 0xd04, "Cortex-A35" }, { 0xd05, "Cortex-A55" }, { 0xd07, "Cortex-A57" },
		{ 0xd08, "Cortex-A72" }, { 0xd09, "Cortex-A73" }, { 0xd0a, "Cortex-A75" }, { 0xd0b, "Cortex-A76" },
		{ 0xd0c, "Neoverse N1" }, { 0xd0d, "Cortex-A77" }, { 0xd40, "Neoverse V1" }, { 0xd41, "Cortex-A78" },
		{ 0xd44, "Cortex-X1" }, { 0xd46, "Cortex-A510" }, { 0xd47, "Cortex-A710" }, { 0xd49, "Neoverse N2" },
	};

	for (size_t i = 0; (midr >> 24 & 0xff) == 0x41 && i < NELEM(parts); i++)
		if (parts[i].part == (midr >> 4 & 0xfff))
			return parts[i].name;
	return NULL;
}

struct cpu_kind {
	unsigned long midr;
	long capacity;
	char list[256];                 /* "0-3,6" */
	int first, last;                /* of the open range */
};

static void kind_close_range(struct cpu_kind *k)
{
	size_t n = strlen(k->list);

	snprintf(k->list + n, sizeof(k->list) - n, k->last > k->first ? "%s%d-%d" : "%s%d", n ? "," : "", k->first, k->last);
}

static void kind_add(struct cpu_kind *k, int cpu)
{
	if (k->first >= 0 && cpu == k->last + 1) {
		k->last = cpu;
		return;
	}
	if (k->first >= 0)
		kind_close_range(k);
	k->first = k->last = cpu;
}

static unsigned long cpu_file(const struct doctor *d, int cpu, const char *file)
{
	char path[128], text[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/%s", cpu, file);
	return doctor_read(d, path, text, sizeof(text)) ? strtoul(text, NULL, 0) : 0;
}

static unsigned cpu_kinds(const struct doctor *d, struct cpu_kind *kinds, int ncpus)
{
	unsigned n = 0, i;

	for (int cpu = 0; cpu < ncpus; cpu++) {
		unsigned long midr = cpu_file(d, cpu, "regs/identification/midr_el1");
		long capacity = (long)cpu_file(d, cpu, "cpu_capacity");

		for (i = 0; i < n && (kinds[i].midr != midr || kinds[i].capacity != capacity); i++)
			;
		if (i == CPU_KINDS_MAX)
			continue;
		if (i == n)
			kinds[n++] = (struct cpu_kind){ .midr = midr, .capacity = capacity, .first = -1 };
		kind_add(&kinds[i], cpu);
	}
	for (i = 0; i < n; i++)
		kind_close_range(&kinds[i]);
	return n;
}

/* CPUs are numbered without holes in sysfs, offline ones included. */
static int count_cpus(const struct doctor *d)
{
	char path[512];
	int n = 0;

	for (; n < CPUS_MAX; n++) {
		snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/cpu%d", d->root, n);
		if (access(path, F_OK))
			break;
	}
	return n;
}

void doctor_cpus(struct doctor *d)
{
	struct cpu_kind kinds[CPU_KINDS_MAX] = { 0 };
	int ncpus = count_cpus(d);
	unsigned n = cpu_kinds(d, kinds, ncpus);

	if (n < 2) {
		const char *model = n ? cpu_model(kinds[0].midr) : NULL;

		doctor_add(d, DOCTOR_INFO, "cpus", "%d, all of one kind%s%s", ncpus, model ? ": " : "", model ? model : "");
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		const char *model = cpu_model(kinds[i].midr);

		doctor_add(d, DOCTOR_INFO, "cpus", "%s: %s, capacity %ld", kinds[i].list, model ? model : "unnamed kind",
			kinds[i].capacity);
	}
	doctor_add(d, DOCTOR_WARN, "cpus",
		   "this host mixes kinds of CPUs, which KVM lets no guest see: keep a guest's vCPUs on one kind, such as -p 0:%d",
		   kinds[n - 1].first);
}

static void check_iommu(struct doctor *d)
{
	int n = doctor_count(d, "/sys/kernel/iommu_groups", "");

	if (n > 0)
		doctor_add(d, DOCTOR_INFO, "iommu", "%d groups", n);
	else
		doctor_add(d, DOCTOR_INFO, "iommu",
			   "no groups, so devices cannot be given to guests: switch the IOMMU on in the firmware setup and, on "
			   "Intel, start the kernel with intel_iommu=on");
}

static void check_node(struct doctor *d, const char *name, const char *path, const char *use, const char *module)
{
	char full[512];

	snprintf(full, sizeof(full), "%s%s", d->root, path);
	if (!access(full, R_OK | W_OK))
		doctor_add(d, DOCTOR_OK, name, "%s may be opened", path);
	else if (errno == ENOENT)
		doctor_add(d, DOCTOR_WARN, name, "%s is missing (%s): run 'modprobe %s' as root", path, use, module);
	else
		doctor_add(d, DOCTOR_WARN, name, "%s may not be opened (%s): run skep as root or give your user rights to it",
			path, use);
}

static void check_uring(struct doctor *d)
{
	char text[16] = "0";
	struct io_uring ring;
	int err = io_uring_queue_init(4, &ring, 0);

	if (!err) {
		io_uring_queue_exit(&ring);
		doctor_add(d, DOCTOR_OK, "io_uring", "usable for disks");
		return;
	}
	if (doctor_read(d, "/proc/sys/kernel/io_uring_disabled", text, sizeof(text)) && atoi(text))
		doctor_add(d, DOCTOR_WARN, "io_uring",
			   "switched off, so disks use threads: run 'sysctl kernel.io_uring_disabled=0' as root");
	else
		doctor_add(d, DOCTOR_WARN, "io_uring",
			   "not usable (%s), so disks use threads: allow it in the container's system call filter, or use kernel "
			   "5.6 or later", strerror(-err));
}

void doctor_host(struct doctor *d)
{
	check_kernel(d);
	check_memory(d);
	doctor_cpus(d);
	check_hugepages(d);
	check_thp(d);
	check_iommu(d);
	check_node(d, "tap", "/dev/net/tun", "needed for --net tap", "tun");
	check_node(d, "vhost-net", "/dev/vhost-net", "speeds up networks", "vhost_net");
	check_node(d, "vfio", "/dev/vfio/vfio", "needed to give devices to guests", "vfio-pci");
	check_uring(d);
}
