/*
 * Does KVM run EL1 guests here, and what does it offer them?  The tiny guest runs in a child process: whatever
 * KVM does with it, killing the child ends it and leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/arm64/kvm.h"
#include "common/kvm.h"
#include "common/util.h"

#define PROBE_TIMEOUT_MS 2000
#define PROBE_EXIT_ADDR 0x09000000u     /* nothing is there */
#define PROBE_ANSWER (1000 * 1001 / 2 + 4)      /* the sum, and CurrentEL at EL1 */

static const uint32_t guest_code[] = {
	0x52800000,     /*    mov  w0, #0 */
	0x52807d01,     /*    mov  w1, #1000 */
	0x0b010000,     /* 1: add  w0, w0, w1 */
	0x71000421,     /*    subs w1, w1, #1 */
	0x54ffffc1,     /*    b.ne 1b */
	0xd5384242,     /*    mrs  x2, CurrentEL */
	0x0b020000,     /*    add  w0, w0, w2 */
	0xd2a12003,     /*    mov  x3, #0x09000000 */
	0xb9000060,     /*    str  w0, [x3] */
	0x14000000,     /*    b    . */
};

/* What the child tells; shorter than a pipe's atomic write. */
struct verdict {
	int err;
	char why[200];
};

static struct verdict verdict(int err, const char *what)
{
	struct verdict v = { .err = err };
	snprintf(v.why, sizeof(v.why), "%s: %s", what, strerror(-err));
	return v;
}

static int probe_vcpu(int vm_fd, struct kvm_run **run, size_t run_len)
{
	struct kvm_vcpu_init init = { 0 };
	int fd = kvm_ioctl_n(vm_fd, KVM_CREATE_VCPU, 0);
	if (fd < 0)
		return fd;
	*run = mmap(NULL, run_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	int err = *run == MAP_FAILED ? -errno : kvm_ioctl(vm_fd, KVM_ARM_PREFERRED_TARGET, &init);
	if (!err)
		err = kvm_ioctl(fd, KVM_ARM_VCPU_INIT, &init);
	if (!err)
		err = arm64_reg_set(fd, KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc),
				    RAM_BASE);
	return err ? err : fd;
}

static struct verdict judge(const struct kvm_run *run)
{
	struct verdict v = { 0 };
	uint32_t answer = 0;
	memcpy(&answer, run->mmio.data, sizeof(answer));
	if (run->exit_reason == KVM_EXIT_MMIO && run->mmio.is_write && run->mmio.phys_addr == PROBE_EXIT_ADDR &&
	    answer == PROBE_ANSWER)
		return v;
	v.err = -EPROTO;
	snprintf(v.why, sizeof(v.why), "KVM runs a test guest wrongly: exit reason %u, answer %u instead of %u",
		 run->exit_reason, answer, PROBE_ANSWER);
	return v;
}

/* In the child, which ends right after: nothing is closed or unmapped. */
static struct verdict run_guest(int kvm_fd)
{
	size_t len = MAX(KIB(64), (uint64_t)sysconf(_SC_PAGESIZE));
	struct memmap none = { .nram = 1, .ram = { { RAM_BASE, len } } };
	struct kvm_run *run;
	int vm_fd = kvm_ioctl_n(kvm_fd, KVM_CREATE_VM, arch_vm_type(kvm_fd, &none));
	if (vm_fd < 0)
		return verdict(vm_fd, "KVM cannot create a VM");
	void *ram = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (ram == MAP_FAILED)
		return verdict(-errno, "no memory for a test guest");
	memcpy(ram, guest_code, sizeof(guest_code));
	struct kvm_userspace_memory_region slot = { .guest_phys_addr = RAM_BASE, .memory_size = len,
						    .userspace_addr = (uintptr_t)ram };
	int err = kvm_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);
	if (err)
		return verdict(err, "KVM takes no memory for a test guest");
	int vcpu_fd = probe_vcpu(vm_fd, &run, (size_t)kvm_ioctl_n(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0));
	if (vcpu_fd < 0)
		return verdict(vcpu_fd, "KVM cannot create a vCPU");
	err = kvm_ioctl_n(vcpu_fd, KVM_RUN, 0);
	return err ? verdict(err, "KVM cannot run a test guest") : judge(run);
}

/* Waits for the child's verdict; a child that says nothing in time is killed. */
static struct verdict await(pid_t child, int fd)
{
	struct verdict v;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ready;
	do {
		ready = poll(&p, 1, PROBE_TIMEOUT_MS);
	} while (ready < 0 && errno == EINTR);
	if (ready <= 0) {
		v = (struct verdict){ .err = -ETIMEDOUT };
		snprintf(v.why, sizeof(v.why), "a test guest of ten instructions did not finish within %d s",
			 PROBE_TIMEOUT_MS / 1000);
	} else if (read(fd, &v, sizeof(v)) != (ssize_t)sizeof(v)) {
		v = (struct verdict){ .err = -ECHILD, .why = "the process of a test guest died" };
	}
	kill(child, SIGKILL);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return v;
}

int arch_kvm_probe(char *why, size_t why_len)
{
	int pipe_fd[2], kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	struct verdict v;
	if (kvm_fd < 0) {
		v = verdict(-errno, "/dev/kvm cannot be opened");
	} else if (pipe2(pipe_fd, O_CLOEXEC) < 0) {
		v = verdict(-errno, "no pipe to a test guest");
	} else {
		pid_t child = fork();
		if (child == 0) {
			v = run_guest(kvm_fd);
			_exit(write(pipe_fd[1], &v, sizeof(v)) == (ssize_t)sizeof(v) ? 0 : 1);
		}
		close(pipe_fd[1]);
		v = child < 0 ? verdict(-errno, "no process for a test guest") : await(child, pipe_fd[0]);
		close(pipe_fd[0]);
	}
	if (kvm_fd >= 0)
		close(kvm_fd);
	snprintf(why, why_len, "%s", v.why);
	return v.err;
}

/* --- doctor --- */

#define LINE(f, label, ...) (fprintf(f, "%-18s ", label), fprintf(f, __VA_ARGS__), fputc('\n', f))

static const char *yes_no(bool b)
{
	return b ? "yes" : "no";
}

static void doctor_gic(int vm_fd, FILE *f)
{
	bool v3 = arm64_device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V3, true) == 0;
	bool v2 = arm64_device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_V2, true) == 0;
	bool its = arm64_device_create(vm_fd, KVM_DEV_TYPE_ARM_VGIC_ITS, true) == 0;
	LINE(f, "gic", "%s%s%s%s", v3 ? "GICv3" : "", v3 && v2 ? ", " : "", v2 ? "GICv2" : "",
	     v3 || v2 ? "" : "none: KVM cannot run guests");
	LINE(f, "msi", "%s", v3 ? its ? "through the ITS" : "none: devices use their INTx lines" : "through GICv2m");
}

void arch_doctor(FILE *f)
{
	struct memmap none = { .nram = 1, .ram = { { RAM_BASE, MIB(1) } } };
	int kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm_fd < 0)
		return;
	int bits = kvm_cap(kvm_fd, KVM_CAP_ARM_VM_IPA_SIZE);
	LINE(f, "guest addresses", "%d bits%s", bits > 0 ? bits : ARM64_IPA_BITS,
	     bits > 0 && bits < ARM64_IPA_BITS ? ": PCI's 64-bit window and memory are limited" : "");
	int vm_fd = kvm_ioctl_n(kvm_fd, KVM_CREATE_VM, arch_vm_type(kvm_fd, &none));
	if (vm_fd >= 0) {
		doctor_gic(vm_fd, f);
		LINE(f, "pmu", "%s", yes_no(kvm_cap(vm_fd, KVM_CAP_ARM_PMU_V3) > 0));
		LINE(f, "pointer auth", "%s", yes_no(kvm_cap(vm_fd, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0));
		LINE(f, "sve", "%s", kvm_cap(vm_fd, KVM_CAP_ARM_SVE) > 0 ? "on this host; guests do not get it yet" : "no");
		LINE(f, "vCPUs at most", "%d", MIN(kvm_cap(vm_fd, KVM_CAP_MAX_VCPUS), (int)ARM64_VCPUS_MAX));
		close(vm_fd);
	}
	close(kvm_fd);
}
