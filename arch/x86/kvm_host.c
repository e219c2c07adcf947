/*
 * What exit profiles tell of an x86 host: its CPU's name and which of the two virtualizations KVM uses.
 */
#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#include "common/vm.h"

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
