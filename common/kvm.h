/*
 * The generic KVM calls: the only ioctls on KVM descriptors outside arch/<a>/kvm_*.c [KVM-API].
 */
#ifndef COMMON_KVM_H
#define COMMON_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vm;
struct vcpu;
struct mem_region;

/* ioctl that restarts on EINTR; the result, or -errno (not reported). */
int kvm_ioctl(int fd, unsigned long req, const void *arg);
/* As kvm_ioctl with an integer argument. */
int kvm_ioctl_n(int fd, unsigned long req, unsigned long arg);
/* Opens /dev/kvm and checks its API version; descriptor or -errno (reported with the remedy). */
int kvm_open(void);
int kvm_cap(int fd, long cap);                  /* 0: absent */
int kvm_create_vm(struct vm *);
int kvm_add_memslots(struct vm *);
unsigned kvm_mp_state(struct vcpu *);          /* KVM_MP_STATE_* of a parked vCPU; ~0: it is not to be had */
/*
 * Read-only memory n (0 or 1) of len bytes at gpa, in its own memslot: the guest reads and executes it without exits,
 * its writes are MMIO [KVM-API 4.35 KVM_MEM_READONLY].  Any thread; a slot that is mapped must be unmapped first.  0 or
 * -errno (not reported).  Nothing in a dry VM.
 */
#define KVM_ROMS_MAX 2
int kvm_rom_map(struct vm *, unsigned n, uint64_t gpa, const uint8_t *hva, uint64_t len);
int kvm_rom_unmap(struct vm *, unsigned n, uint64_t gpa);
/*
 * An eventfd that fires when the guest writes `len` bytes at addr (len 0: any size).  `on` false removes it.
 * Any thread.  0 or -errno (not reported: the caller falls back to ordinary exits).
 */
int kvm_ioeventfd(struct vm *, int fd, uint64_t addr, unsigned len, bool pio, bool on);
/* A descriptor that gives the counters of a VM or vCPU [KVM-API 4.133]; -errno (not reported): this kernel has none. */
int kvm_stats_fd(int fd);

#endif
