/*
 * What exit profiles need of an arm64 host: its CPU, by MIDR_EL1 [Linux Documentation/arm64/cpu-feature-registers.rst], whether its
 * kernel runs at EL2 itself (VHE), which only its messages tell, the interrupt chip, and the virtual counter.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "arch/arm64/kvm.h"
#include "common/vm.h"

#define MIDR_FILE "/sys/devices/system/cpu/cpu0/regs/identification/midr_el1"
#define IMPLEMENTER_ARM 0x41

uint64_t arch_ticks(void)
{
	uint64_t now;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
	return now;
}

/* Part of the architecture, one for the whole system [Arm ARM D11.1]; 0: the firmware has not said its frequency. */
uint64_t arch_ticks_hz(const struct vcpu *v UNUSED)
{
	uint64_t hz;

	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz;
}

static const struct { uint16_t part; const char *name; } parts[] = {
	{ 0xd03, "Cortex-A53" }, { 0xd04, "Cortex-A35" }, { 0xd05, "Cortex-A55" }, { 0xd07, "Cortex-A57" }, { 0xd08, "Cortex-A72" },
	{ 0xd09, "Cortex-A73" }, { 0xd0a, "Cortex-A75" }, { 0xd0b, "Cortex-A76" }, { 0xd0c, "Neoverse N1" }, { 0xd40, "Neoverse V1" },
	{ 0xd41, "Cortex-A78" }, { 0xd46, "Cortex-A510" }, { 0xd49, "Neoverse N2" }, { 0xd4f, "Neoverse V2" },
};

static json_t *cpu_name(void)
{
	unsigned long midr = 0;
	FILE *f = fopen(MIDR_FILE, "re");

	if (!f || fscanf(f, "%lx", &midr) != 1)
		midr = 0;
	if (f)
		fclose(f);
	for (unsigned i = 0; midr >> 24 == IMPLEMENTER_ARM && i < NELEM(parts); i++) {
		if (parts[i].part == (midr >> 4 & 0xfff))
			return json_string(parts[i].name);
	}
	return json_sprintf("MIDR %#lx", midr);
}

/* A record is read whole or not at all; "el2" where the message is no longer there or not for us. */
static const char *kvm_mode(void)
{
	const int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	const char *mode = "el2";
	char line[1024];
	ssize_t n;

	while (fd >= 0 && !strcmp(mode, "el2") && (n = read(fd, line, sizeof(line) - 1)) > 0) {
		line[n] = '\0';
		if (!strstr(line, "kvm [1]: "))
			continue;
		if (strstr(line, "nVHE mode initialized") || strstr(line, "Hyp mode initialized"))
			mode = "nvhe";
		else if (strstr(line, "VHE mode initialized"))
			mode = "vhe";
	}
	if (fd >= 0)
		close(fd);
	return mode;
}

void arch_host_facts(struct vm *vm, json_t *host)
{
	json_object_set_new(host, "cpu", cpu_name());
	json_object_set_new(host, "kvm", json_string(kvm_mode()));
	if (vm->arch_state)
		json_object_set_new(host, "irqchip", json_sprintf("gicv%u", vm->arch_state->m.gic));
}
