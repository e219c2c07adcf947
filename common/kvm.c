#include "common/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/log.h"
#include "common/vm.h"

int kvm_ioctl_n(int fd, unsigned long req, unsigned long arg)
{
	int r;
	do {
		r = ioctl(fd, req, arg);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}

int kvm_ioctl(int fd, unsigned long req, const void *arg)
{
	return kvm_ioctl_n(fd, req, (unsigned long)arg);
}

int kvm_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		return err_msg(-EACCES, "/dev/kvm: no permission; join the group that owns it (usually 'adduser $USER kvm') and log in again");
	if (fd < 0 && errno == ENOENT)
		return err_msg(-ENOENT, "/dev/kvm does not exist: load the kvm module of this CPU, or see 'skep doctor' for what is missing");
	if (fd < 0)
		return err_sys("/dev/kvm: open");
	int version = kvm_ioctl_n(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return err_msg(-ENOTSUP, "/dev/kvm: API version %d, skep needs %d", version, KVM_API_VERSION);
	}
	return fd;
}

int kvm_cap(int fd, long cap)
{
	int r = kvm_ioctl_n(fd, KVM_CHECK_EXTENSION, (unsigned long)cap);
	return r < 0 ? 0 : r;
}

int kvm_create_vm(struct vm *vm)
{
	vm->kvm_fd = kvm_open();
	if (vm->kvm_fd < 0)
		return vm->kvm_fd;
	vm->fd = kvm_ioctl_n(vm->kvm_fd, KVM_CREATE_VM, arch_vm_type(vm->kvm_fd, &vm->map));
	if (vm->fd < 0)
		return err_msg(vm->fd, "creating the VM in KVM failed: %s; 'skep doctor' checks this host", strerror(-vm->fd));
	return 0;
}

int kvm_add_memslots(struct vm *vm)
{
	for (unsigned i = 0; i < vm->mem.n; i++) {
		const struct mem_region *r = &vm->mem.r[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i, .guest_phys_addr = r->gpa, .memory_size = r->len_bytes, .userspace_addr = (uintptr_t)r->hva,
		};
		int err = kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
		if (err)
			return err_msg(err, "memory region '%s' of %" PRIu64 " MiB: KVM refuses it: %s", r->name, r->len_bytes >> 20,
				       strerror(-err));
	}
	return 0;
}

unsigned kvm_mp_state(struct vcpu *v)
{
	struct kvm_mp_state mp = { 0 };
	return kvm_ioctl(v->fd, KVM_GET_MP_STATE, &mp) ? ~0u : mp.mp_state;
}

/* Slots behind those of RAM. */
static int set_rom(struct vm *vm, unsigned n, uint64_t gpa, const uint8_t *hva, uint64_t len)
{
	struct kvm_userspace_memory_region slot = {
		.slot = MEM_REGIONS_MAX + n, .flags = KVM_MEM_READONLY, .guest_phys_addr = gpa, .memory_size = len,
		.userspace_addr = (uintptr_t)hva,
	};
	return vm->dry ? 0 : kvm_ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &slot);
}

int kvm_rom_map(struct vm *vm, unsigned n, uint64_t gpa, const uint8_t *hva, uint64_t len)
{
	return set_rom(vm, n, gpa, hva, len);
}

int kvm_rom_unmap(struct vm *vm, unsigned n, uint64_t gpa)
{
	return set_rom(vm, n, gpa, NULL, 0);
}

int kvm_ioeventfd(struct vm *vm, int fd, uint64_t addr, unsigned len, bool pio, bool on)
{
	struct kvm_ioeventfd arg = {
		.addr = addr, .len = len, .fd = fd,
		.flags = (pio ? KVM_IOEVENTFD_FLAG_PIO : 0) | (on ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};
	return vm->dry ? -ENOTSUP : kvm_ioctl(vm->fd, KVM_IOEVENTFD, &arg);
}

int kvm_stats_fd(int fd)
{
	return kvm_ioctl_n(fd, KVM_GET_STATS_FD, 0);
}
