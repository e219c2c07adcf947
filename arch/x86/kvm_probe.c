/*
 * Does KVM here really run x86 guests?  A /dev/kvm that opens proves little: software variants exist that run
 * real mode and nothing else.  Evidence is the CPU's own flag and a long-mode guest with the right answer.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "arch/x86/kvm_x86.h"
#include "common/kvm.h"
#include "common/log.h"

#define PROBE_MEM MIB(2)
#define PROBE_CODE 0x8000
#define PROBE_PML4 0x1000
#define PROBE_PDPT 0x2000
#define PROBE_PD 0x3000
#define PROBE_LIMIT_S 2
#define PROBE_PORT 0xf1
#define PAGE_P_RW 3
#define PAGE_PS 0x80

/*
 * Multiplies 64-bit registers, which only long mode has, and reports the low half:
 *   movabs $0x123456789abcdef1,%rax ; imul %rax,%rax ; shr $32,%rax ; out %eax,$0xf1 ; hlt
 */
static const uint8_t probe_code[] = {
	0x48, 0xb8, 0xf1, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, 0x48, 0x0f, 0xaf, 0xc0, 0x48, 0xc1, 0xe8, 0x20, 0xe7, PROBE_PORT, 0xf4,
};
#define PROBE_ANSWER ((uint32_t)((0x123456789abcdef1ull * 0x123456789abcdef1ull) >> 32))

static void on_alarm(int sig)
{
	(void)sig;      /* only interrupts KVM_RUN */
}

static bool cpu_flag(const char *flag)
{
	char line[8192];
	bool found = false;
	FILE *f = fopen("/proc/cpuinfo", "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		char *save = NULL;
		if (strncmp(line, "flags", 5) != 0)
			continue;
		for (char *w = strtok_r(line, " \t\n:", &save); w && !found; w = strtok_r(NULL, " \t\n:", &save))
			found = strcmp(w, flag) == 0;
		break;
	}
	if (f)
		fclose(f);
	return found;
}

static int probe_set_up(int vm, int vcpu, uint8_t *mem)
{
	struct kvm_sregs s = { 0 };
	struct kvm_regs r = { .rflags = 2, .rip = PROBE_CODE };
	put_le64(mem + PROBE_PML4, PROBE_PDPT | PAGE_P_RW);
	put_le64(mem + PROBE_PDPT, PROBE_PD | PAGE_P_RW);
	put_le64(mem + PROBE_PD, PAGE_PS | PAGE_P_RW);
	memcpy(mem + PROBE_CODE, probe_code, sizeof(probe_code));
	struct kvm_userspace_memory_region slot = { .memory_size = PROBE_MEM, .userspace_addr = (uintptr_t)mem };
	int err = kvm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (!err)
		err = kvm_ioctl(vcpu, KVM_GET_SREGS, &s);
	if (err)
		return err;
	struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .g = 1, .l = 1 };
	struct kvm_segment data = { .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1 };
	s.cs = code;
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.cr0 = 0x80000011;
	s.cr3 = PROBE_PML4;
	s.cr4 = 0x20;
	s.efer = 0x500;
	err = kvm_ioctl(vcpu, KVM_SET_SREGS, &s);
	return err ? err : kvm_ioctl(vcpu, KVM_SET_REGS, &r);
}

static int probe_run(int vcpu, const struct kvm_run *run, char *why, size_t why_len)
{
	int r = ioctl(vcpu, KVM_RUN, 0);
	if (r < 0 && errno == EINTR) {
		snprintf(why, why_len, "a long-mode test guest did not finish within %d seconds", PROBE_LIMIT_S);
		return -ETIMEDOUT;
	}
	if (r < 0) {
		snprintf(why, why_len, "running a long-mode test guest failed: %s", strerror(errno));
		return -errno;
	}
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PROBE_PORT) {
		snprintf(why, why_len, "a long-mode test guest ended with exit reason %u instead of its answer", run->exit_reason);
		return -EIO;
	}
	uint32_t answer = get_le32((const uint8_t *)run + run->io.data_offset);
	if (answer == PROBE_ANSWER)
		return 0;
	snprintf(why, why_len, "a long-mode test guest computed %#" PRIx32 " instead of %#" PRIx32, answer, PROBE_ANSWER);
	return -EIO;
}

/* Arms an interval timer that interrupts KVM_RUN again and again, so that no race can lose the one signal. */
static int probe_timed(int vcpu, const struct kvm_run *run, char *why, size_t why_len)
{
	struct sigaction sa = { .sa_handler = on_alarm }, old;
	timer_t timer;
	struct itimerspec t = { .it_value = { .tv_sec = PROBE_LIMIT_S }, .it_interval = { .tv_nsec = 50000000 } };
	sigaction(SIGALRM, &sa, &old);
	if (timer_create(CLOCK_MONOTONIC, NULL, &timer) < 0) {
		snprintf(why, why_len, "no timer: %s", strerror(errno));
		return -errno;
	}
	timer_settime(timer, 0, &t, NULL);
	int err = probe_run(vcpu, run, why, why_len);
	timer_delete(timer);
	sigaction(SIGALRM, &old, NULL);
	return err;
}

static int probe_vm(int kvm, int vm, char *why, size_t why_len)
{
	int vcpu = kvm_ioctl_n(vm, KVM_CREATE_VCPU, 0);
	int run_len = kvm_ioctl_n(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	uint8_t *mem = mmap(NULL, PROBE_MEM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_run *run = vcpu >= 0 && run_len > 0 ? mmap(NULL, (size_t)run_len, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0) : MAP_FAILED;
	int err = -EIO;
	if (mem == MAP_FAILED || run == MAP_FAILED || probe_set_up(vm, vcpu, mem))
		snprintf(why, why_len, "KVM creates a VM but cannot set up a long-mode test guest in it");
	else
		err = probe_timed(vcpu, run, why, why_len);
	if (run != MAP_FAILED)
		munmap(run, (size_t)run_len);
	if (vcpu >= 0)
		close(vcpu);
	if (mem != MAP_FAILED)
		munmap(mem, PROBE_MEM);
	return err;
}

int arch_kvm_probe(char *why, size_t why_len)
{
	if (!cpu_flag("vmx") && !cpu_flag("svm")) {
		snprintf(why, why_len, "this CPU shows neither VT-x (vmx) nor SVM (svm); enable virtualization in the firmware, or nested "
			 "virtualization if this is itself a VM");
		return -ENODEV;
	}
	int kvm = kvm_open();
	if (kvm < 0) {
		snprintf(why, why_len, "/dev/kvm cannot be used");
		return kvm;
	}
	int vm = kvm_ioctl_n(kvm, KVM_CREATE_VM, 0);
	int err = vm;
	if (vm < 0)
		snprintf(why, why_len, "KVM does not create a VM: %s", strerror(-vm));
	else
		err = probe_vm(kvm, vm, why, why_len);
	if (vm >= 0)
		close(vm);
	close(kvm);
	return err;
}

/* --- doctor --- */

static void module_parameter(FILE *f, const char *module, const char *parameter, const char *what)
{
	char path[128], value[16] = "";
	snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", module, parameter);
	FILE *p = fopen(path, "re");
	if (!p)
		return;
	if (fgets(value, sizeof(value), p)) {
		bool on = value[0] == 'Y' || value[0] == '1';
		fprintf(f, "%s  %s: %s%s\n", on ? "ok  " : "warn", what, on ? "on" : "off", on ? "" : "; guests run slower without it");
	}
	fclose(p);
}

void arch_doctor(FILE *f)
{
	bool vmx = cpu_flag("vmx"), svm = cpu_flag("svm");
	fprintf(f, "%s  CPU virtualization: %s\n", vmx || svm ? "ok  " : "fail", vmx ? "VT-x (vmx)" : svm ? "SVM (svm)" : "neither vmx nor svm in "
		"/proc/cpuinfo; enable it in the firmware set-up, or nested virtualization if this is a VM");
	module_parameter(f, "kvm_intel", "ept", "EPT");
	module_parameter(f, "kvm_intel", "unrestricted_guest", "unrestricted guest");
	module_parameter(f, "kvm_amd", "npt", "nested paging (NPT)");
	module_parameter(f, "kvm_amd", "avic", "AVIC");
}
