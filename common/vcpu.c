/*
 * vCPU threads: the KVM_RUN loop, its generic exits [KVM-API 5], and parking.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/debug.h"
#include "common/exits_trace.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/profile.h"
#include "common/vm.h"

#define KICK_SIGNAL SIGRTMIN            /* only interrupts KVM_RUN */
#define VCPU_STACK KIB(256)

static void on_kick(int sig)
{
	(void)sig;
}

/* --- exits --- */

/* The exit is over: the vCPU enters next. */
static void account(struct vcpu *v, const struct exit_rec *rec)
{
	if (v->exits.on)
		exits_done(&v->exits, rec, v->exits.clock());
}

static void exit_pio(struct vcpu *v, uint64_t t)
{
	struct kvm_run *run = v->run;
	v->access_pending = true;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	bool write = run->io.direction == KVM_EXIT_IO_OUT;
	const struct exit_rec first = { .t = t, .kind = EXIT_PIO };
	/* String I/O repeats at one port; the data moves on. */
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		struct exit_rec rec = { .t = t, .addr = run->io.port, .kind = EXIT_PIO, .size = run->io.size & 0x7f, .write = write };
		if (write) {
			memcpy(&rec.val, data, run->io.size);
			rec.range = bus_write(&v->vm->pio, rec.addr, rec.size, rec.val);
		} else {
			rec.range = bus_read(&v->vm->pio, rec.addr, rec.size, &rec.val);
			memcpy(data, &rec.val, run->io.size);
		}
		if (v->exits.on) {
			t = v->exits.clock();
			if (run->io.count == 1)
				exits_one_access(&v->exits, &rec, t);
			else
				exits_access(&v->exits, &rec, t);
		}
		if (!rec.range && v->vm->strict_io)
			vm_request(v->vm, CAUSE_CRASH, v, "%s port %#" PRIx64 ", which nothing claims (x86.strictio)",
				   write ? "write to" : "read of", rec.addr);
	}
	if (v->exits.on && run->io.count != 1)
		exits_done(&v->exits, &first, t);
}

static void exit_mmio(struct vcpu *v, uint64_t t)
{
	struct kvm_run *run = v->run;
	unsigned size = MIN(run->mmio.len, 8u);
	v->access_pending = true;
	struct exit_rec rec = { .t = t, .addr = run->mmio.phys_addr, .kind = EXIT_MMIO, .size = size & 0x7f, .write = run->mmio.is_write != 0 };
	if (rec.write) {
		memcpy(&rec.val, run->mmio.data, size);
		rec.range = bus_write(&v->vm->mmio, rec.addr, size, rec.val);
	} else {
		rec.range = bus_read(&v->vm->mmio, rec.addr, size, &rec.val);
		memcpy(run->mmio.data, &rec.val, size);
	}
	if (v->exits.on)
		exits_one_access(&v->exits, &rec, v->exits.clock());
}

static enum exit_kind kind_of(uint32_t reason)
{
	switch (reason) {
	case KVM_EXIT_HLT: return EXIT_HALT;
	case KVM_EXIT_HYPERCALL: return EXIT_HYPERCALL;
	case KVM_EXIT_X86_RDMSR: case KVM_EXIT_X86_WRMSR: return EXIT_SYSREG;
	case KVM_EXIT_IRQ_WINDOW_OPEN: return EXIT_IRQ_WINDOW;
	case KVM_EXIT_ARM_NISV: return EXIT_MEM_FAULT;
	case KVM_EXIT_EXCEPTION: return EXIT_EXCEPTION;
	case KVM_EXIT_DEBUG: return EXIT_DEBUG;
	case KVM_EXIT_INTR: return EXIT_SIGNAL;
	case KVM_EXIT_SHUTDOWN: return EXIT_SHUTDOWN;
	case KVM_EXIT_SYSTEM_EVENT: return EXIT_SYSTEM_EVENT;
	case KVM_EXIT_FAIL_ENTRY: return EXIT_FAIL_ENTRY;
	case KVM_EXIT_INTERNAL_ERROR: return EXIT_INTERNAL;
	default: return EXIT_OTHER;
	}
}

static enum exit_next exit_arch(struct vcpu *v, uint64_t t)
{
	struct exit_rec rec = { .t = t, .addr = v->run->exit_reason, .kind = (uint8_t)kind_of(v->run->exit_reason) };
	if (v->run->exit_reason == KVM_EXIT_SYSTEM_EVENT)
		rec.val = v->run->system_event.type;
	enum exit_next next = EXIT_CONTINUE;
	v->access_pending = rec.kind == EXIT_SYSREG || rec.kind == EXIT_HYPERCALL;
	if (v->run->exit_reason == KVM_EXIT_DEBUG && v->vm->gdb)
		gdb_vcpu_exit(v);
	else if (v->run->exit_reason != KVM_EXIT_INTR)
		next = arch_vcpu_exit(v);
	account(v, &rec);
	return next;
}

/* Runs until something asks the vCPU to park. */
static void vcpu_run(struct vcpu *v)
{
	/*
	 * A kick sets park_requested, then immediate_exit, then signals.  Clearing immediate_exit before looking
	 * at park_requested means that a kick is seen either here or by KVM_RUN itself.
	 *
	 * The registers are only right once KVM has finished the access it left for, which it does at the next entry, and
	 * with immediate_exit does nothing else [KVM-API 5].
	 */
	volatile uint8_t *immediate_exit = &v->run->immediate_exit;
	const bool count = v->exits.on;
	if (count)
		exits_enter(&v->exits, v->exits.clock());
	for (;;) {
		*immediate_exit = 0;
		atomic_thread_fence(memory_order_seq_cst);
		if (atomic_load(&v->vm->park_requested) || atomic_load(&v->held)) {
			if (!v->access_pending)
				return;
			*immediate_exit = 1;
		}
		v->access_pending = false;
		int r = ioctl(v->fd, KVM_RUN, 0);
		const uint64_t t = count ? v->exits.clock() : 0;
		if (r < 0 && (errno == EINTR || errno == EAGAIN)) {
			account(v, &(struct exit_rec){ .t = t, .kind = EXIT_SIGNAL });
		} else if (r < 0) {
			vm_request(v->vm, CAUSE_HOST_ERROR, v, "KVM_RUN on vCPU %u: %s", v->id, strerror(errno));
		} else if (v->run->exit_reason == KVM_EXIT_IO) {
			exit_pio(v, t);
		} else if (v->run->exit_reason == KVM_EXIT_MMIO) {
			exit_mmio(v, t);
		} else {
			exit_arch(v, t);        /* STOP implies vm_request(), which set park_requested */
		}
	}
}

/* --- threads and parking --- */

/* Waits parked until resumed; false when the thread is to end. */
static bool vcpu_park(struct vcpu *v)
{
	struct vm *vm = v->vm;
	pthread_mutex_lock(&vm->park_lock);
	v->parked = true;
	pthread_cond_broadcast(&vm->park_cond);
	while ((atomic_load(&vm->park_requested) || atomic_load(&v->held)) && !vm->quit)
		pthread_cond_wait(&vm->resume_cond, &vm->park_lock);
	bool go_on = !vm->quit;
	v->parked = false;
	pthread_mutex_unlock(&vm->park_lock);
	return go_on;
}

static void vcpu_pin(struct vcpu *v)
{
	char key[32];
	snprintf(key, sizeof(key), "vcpu.%u.cpuset", v->id);
	const char *text = v->vm->conf ? conf_raw(v->vm->conf, key) : NULL;
	cpu_set_t set;
	CPU_ZERO(&set);
	if (!text)
		return;
	const char *rest = text;
	for (unsigned lo, hi; conf_cpuset_next(&rest, &lo, &hi) == 1;) {
		for (; lo <= hi && lo < CPU_SETSIZE; lo++)
			CPU_SET(lo, &set);
	}
	if (sched_setaffinity(0, sizeof(set), &set) < 0)
		v->init_err = err_sys("vCPU %u: pinning to host CPU %s", v->id, text);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	char name[16];
	snprintf(name, sizeof(name), "vcpu%u", v->id);
	pthread_setname_np(pthread_self(), name);
	v->tid = gettid();
	vcpu_pin(v);
	if (!v->init_err)
		v->init_err = arch_vcpu_init(v);
	while (vcpu_park(v))
		vcpu_run(v);
	return NULL;
}

static int vcpu_create(struct vcpu *v, size_t run_len)
{
	v->fd = kvm_ioctl_n(v->vm->fd, KVM_CREATE_VCPU, v->id);
	if (v->fd < 0)
		return err_msg(v->fd, "vCPU %u: KVM refuses to create it: %s", v->id, strerror(-v->fd));
	v->run = mmap(NULL, run_len, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
	if (v->run == MAP_FAILED) {
		v->run = NULL;
		return err_sys("vCPU %u: mapping its run area", v->id);
	}
	v->run_len = run_len;
	v->stats_fd = kvm_stats_fd(v->fd);
	const struct conf *c = v->vm->conf;
	const int err = exits_init(&v->exits, conf_bool(c, "exits.count") ? (unsigned)conf_u64(c, "exits.ring") : 0);
	const uint64_t hz = v->exits.on ? arch_ticks_hz(v) : 0;
	if (hz)
		exits_clock(&v->exits, arch_ticks, hz);
	return err;
}

static int vcpu_start(struct vcpu *v)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	int err = pthread_create(&v->thread, &attr, vcpu_main, v);
	pthread_attr_destroy(&attr);
	if (err)
		return err_msg(-err, "vCPU %u: no thread for it: %s", v->id, strerror(err));
	v->started = true;
	return 0;
}

int vcpus_create(struct vm *vm)
{
	struct sigaction sa = { .sa_handler = on_kick };
	sigaction(KICK_SIGNAL, &sa, NULL);
	int run_len = kvm_ioctl_n(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_len < 0)
		return err_msg(run_len, "KVM does not tell the size of a vCPU's run area: %s", strerror(-run_len));
	vm->vcpus = calloc(vm->nvcpus, sizeof(*vm->vcpus));
	if (!vm->vcpus)
		return -ENOMEM;
	atomic_store(&vm->park_requested, true);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		vm->vcpus[i].vm = vm;
		vm->vcpus[i].id = i;
		vm->vcpus[i].fd = vm->vcpus[i].stats_fd = -1;
	}
	vm->start_ns = now_ns();
	vm->stats_fd = kvm_stats_fd(vm->fd);
	int err = 0;
	for (unsigned i = 0; !err && i < vm->nvcpus; i++)
		err = vcpu_create(&vm->vcpus[i], (size_t)run_len);
	for (unsigned i = 0; !err && i < vm->nvcpus; i++)
		err = vcpu_start(&vm->vcpus[i]);
	if (err)
		return err;
	vcpus_wait_parked(vm);
	for (unsigned i = 0; !err && i < vm->nvcpus; i++)
		err = vm->vcpus[i].init_err;
	if (!err && conf_bool(vm->conf, "exits.trace"))
		exits_trace_start(vm);          /* a VM runs as well without; it has said why */
	return err;
}

void vcpus_destroy(struct vm *vm)
{
	exits_trace_stop(vm);
	profile_forget(vm);
	if (vm->stats_fd > 0)
		close(vm->stats_fd);
	vm->stats_fd = -1;
	if (!vm->vcpus)
		return;
	vcpus_request_park(vm);
	pthread_mutex_lock(&vm->park_lock);
	vm->quit = true;
	pthread_cond_broadcast(&vm->resume_cond);
	pthread_mutex_unlock(&vm->park_lock);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu *v = &vm->vcpus[i];
		if (v->started)
			pthread_join(v->thread, NULL);
		arch_vcpu_fini(v);
		exits_fini(&v->exits);
		if (v->run)
			munmap(v->run, v->run_len);
		if (v->stats_fd >= 0)
			close(v->stats_fd);
		if (v->fd >= 0)
			close(v->fd);
	}
	free(vm->vcpus);
	vm->vcpus = NULL;
}

void vcpus_request_park(struct vm *vm)
{
	atomic_store(&vm->park_requested, true);
	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++) {
		struct vcpu *v = &vm->vcpus[i];
		if (!v->started)
			continue;
		*(volatile uint8_t *)&v->run->immediate_exit = 1;
		atomic_thread_fence(memory_order_seq_cst);
		pthread_kill(v->thread, KICK_SIGNAL);
	}
}

void vcpus_wait_parked(struct vm *vm)
{
	pthread_mutex_lock(&vm->park_lock);
	for (unsigned i = 0; vm->vcpus && i < vm->nvcpus; i++) {
		while (vm->vcpus[i].started && !vm->vcpus[i].parked)
			pthread_cond_wait(&vm->park_cond, &vm->park_lock);
	}
	pthread_mutex_unlock(&vm->park_lock);
}

void vcpus_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->park_lock);
	atomic_store(&vm->park_requested, false);
	pthread_cond_broadcast(&vm->resume_cond);
	pthread_mutex_unlock(&vm->park_lock);
}

int vcpus_reset(struct vm *vm)
{
	int err = 0;
	/* All before any runs: a started vCPU may start others at once. */
	for (unsigned i = 0; !err && vm->vcpus && i < vm->nvcpus; i++)
		err = arch_vcpu_reset(&vm->vcpus[i], &vm->entry);
	return err;
}
