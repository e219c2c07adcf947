/*
 * What exit profiles need of an x86 host: its CPU's name, which of the two virtualizations KVM uses, and the time-stamp counter.
 */
#include <cpuid.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/kvm.h"
#include "common/vm.h"

#define CLOCKSOURCES "/sys/devices/system/clocksource/clocksource0/available_clocksource"

uint64_t arch_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

/* The kernel offers the counter as a clock while it finds it constant and the same on all CPUs; vCPUs count at the host's rate. */
uint64_t arch_ticks_hz(const struct vcpu *v)
{
	char line[128];
	FILE *f = fopen(CLOCKSOURCES, "re");
	const bool good = f && fgets(line, sizeof(line), f) && strstr(line, "tsc");
	const int khz = good ? kvm_ioctl_n(v->fd, KVM_GET_TSC_KHZ, 0) : 0;

	if (f)
		fclose(f);
	return khz > 0 ? (uint64_t)khz * 1000 : 0;
}

void arch_host_facts(struct vm *vm UNUSED, json_t *host)
{
	char brand[49] = "";
	unsigned r[12];

	for (unsigned i = 0; i < 3; i++) {
		if (!__get_cpuid(0x80000002 + i, &r[i * 4], &r[i * 4 + 1], &r[i * 4 + 2], &r[i * 4 + 3]))
			memset(&r[i * 4], 0, 16);
	}
	memcpy(brand, r, sizeof(r));
	/* The CPU's own text: anything that is not plain becomes a space. */
	for (char *c = brand; *c; c++)
		*c = *c < ' ' || *c > '~' ? ' ' : *c;
	json_object_set_new(host, "cpu", json_string(brand + strspn(brand, " ")));
	json_object_set_new(host, "kvm", json_string(!access("/sys/module/kvm_amd", F_OK) ? "svm" :
						     !access("/sys/module/kvm_intel", F_OK) ? "vmx" : "kvm"));
	json_object_set_new(host, "irqchip", json_string("apic"));
}
