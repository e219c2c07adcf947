/*
 * keepvm: hold one idle VM open for the lifetime of a test host.
 *
 * KVM patches kernel code when the first VM of a machine comes and when the last one goes. Under QEMU's multi-threaded
 * emulation that patching can freeze the emulated machine. With one VM that never goes away it happens once, at boot.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <linux/kvm.h>

int main(void)
{
	int kvm = open("/dev/kvm", O_RDWR);
	if (kvm < 0) {
		fprintf(stderr, "keepvm: /dev/kvm: %s\n", strerror(errno));
		return 1;
	}
	if (ioctl(kvm, KVM_CREATE_VM, 0UL) < 0) {
		fprintf(stderr, "keepvm: KVM_CREATE_VM: %s\n", strerror(errno));
		return 1;
	}
	puts("keepvm: ready");
	fflush(stdout);
	for (;;)
		pause();
}
