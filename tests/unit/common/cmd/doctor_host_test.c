#include "tests/unit/common/cmd/fakehost.h"

START_TEST(test_host)
{
	start();
	put("/proc/meminfo", "MemTotal:        2048000 kB\nMemFree: 1 kB\nMemAvailable:    1024000 kB\n");
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "16\n");
	put("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "12\n");
	put("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	put("/sys/kernel/iommu_groups/0/type", "DMA\n");
	put("/sys/kernel/iommu_groups/1/type", "DMA\n");
	put("/dev/net/tun", "");
	doctor_host(&d);
	FOUND("ok", "memory", "2000 MiB, 1000 MiB available");
	FOUND("info", "hugepages", "16 of 2048 KiB, 12 free");
	ck_assert(!found("info", "hugepages", "1048576"));
	FOUND("warn", "thp", "write madvise to");
	FOUND("info", "iommu", "2 groups");
	FOUND("ok", "tap", "/dev/net/tun may be opened");
	FOUND("warn", "vhost-net", "/dev/vhost-net is missing (speeds up networks): run 'modprobe vhost_net' as root");
	FOUND("warn", "vfio", "run 'modprobe vfio-pci' as root");
	FOUND("info", "kernel", "Linux");
	ck_assert(!d.can_run);
	stop();
}
END_TEST

START_TEST(test_poor_host)
{
	start();
	put("/proc/meminfo", "MemTotal:        307200 kB\nMemAvailable:    204800 kB\n");
	put("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
	doctor_host(&d);
	FOUND("warn", "memory", "300 MiB, 200 MiB available: too little for a guest of the default 256 MiB");
	FOUND("info", "hugepages", "none set aside");
	FOUND("ok", "thp", "transparent huge pages: madvise");
	FOUND("info", "iommu", "no groups");
	FOUND("warn", "tap", "/dev/net/tun is missing");
	stop();
}
END_TEST

START_TEST(test_big_little)
{
	static const char *const midr[] = { "0x00000000410fd034\n", "0x00000000410fd082\n" };
	char path[128];

	start();
	for (int i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpu_capacity", i);
		put(path, i < 4 ? "485\n" : "1024\n");
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/regs/identification/midr_el1", i);
		put(path, midr[i >= 4]);
	}
	doctor_cpus(&d);
	FOUND("info", "cpus", "0-3: Cortex-A53, capacity 485");
	FOUND("info", "cpus", "4-5: Cortex-A72, capacity 1024");
	FOUND("warn", "cpus", "keep a guest's vCPUs on one kind, such as -p 0:4");
	stop();
}
END_TEST

START_TEST(test_one_kind)
{
	start();
	put("/sys/devices/system/cpu/cpu0/cpu_capacity", "1024\n");
	put("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "0x410fd0b1\n");
	doctor_cpus(&d);
	FOUND("info", "cpus", "1, all of one kind: Cortex-A76");
	ck_assert(!found("warn", "cpus", ""));
	stop();
}
END_TEST

UNIT_MAIN("common/cmd/doctor_host", test_host, test_poor_host, test_big_little, test_one_kind)
