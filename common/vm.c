/*
 * Building a VM out of its configuration, and running it: requests, policies, in-process reset, signals.
 */
#include "common/vm.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/bootorder.h"
#include "common/conf.h"
#include "common/ctl.h"
#include "common/daemon.h"
#include "common/debug.h"
#include "common/firmware.h"
#include "common/fw_items.h"
#include "common/kvm.h"
#include "common/log.h"
#include "common/notify.h"
#include "common/rundir.h"
#include "devices/block/block.h"
#include "devices/fw_cfg.h"
#include "devices/pci/pci.h"
#include "loaders/freebsd/freebsd.h"


const char *const vm_cause_names[CAUSES] = {
	[CAUSE_NONE] = "none", [CAUSE_POWEROFF] = "guest-poweroff", [CAUSE_RESET] = "guest-reset", [CAUSE_CRASH] = "guest-crash",
	[CAUSE_HOST_ERROR] = "host-error", [CAUSE_SIGNAL] = "signal", [CAUSE_GUEST_EXIT] = "guest-exit",
};

const char *const vm_state_names[VM_STATES] = {
	[VM_CONFIGURING] = "configuring", [VM_ALLOCATING] = "allocating", [VM_LOADING] = "loading", [VM_RUNNING] = "running",
	[VM_PAUSING] = "pausing", [VM_PAUSED] = "paused", [VM_SAVING] = "saving", [VM_RESETTING] = "resetting",
	[VM_STOPPING] = "stopping", [VM_EXITED] = "exited",
};

void vm_state_set(struct vm *vm, enum vm_state now, enum vm_state next)
{
	const char *from = vm_state_names[vm->state];
	json_t *o;

	vm->state = now;
	vm->pending_state = next;
	o = json_pack("{s:s, s:s}", "state", vm_state_names[now], "from", from);
	if (next != now)
		json_object_set_new(o, "pending", json_string(vm_state_names[next]));
	ctl_event(vm, "state", o);
	notify_state(vm->notify_fd, vm_state_names[now], now == VM_STOPPING);
}

/* --- building --- */

static enum vm_action policy_of(const struct vm *vm, const char *key)
{
	const char *v = conf_str(vm->conf, key);
	return strcmp(v, "restart") == 0 ? ACTION_RESTART : strcmp(v, "pause") == 0 ? ACTION_PAUSE : ACTION_EXIT;
}

static int check_limits(struct vm *vm)
{
	uint64_t want = conf_u64(vm->conf, "memory.size");
	vm->nvcpus = (unsigned)conf_u64(vm->conf, "cpus");
	if (vm->nvcpus > vm->arch->max_vcpus)
		return err_msg(-EINVAL, "cpus: %u vCPUs asked for, an %s machine has at most %u", vm->nvcpus, vm->arch->name, vm->arch->max_vcpus);
	struct sysinfo si;
	if (vm->dry || sysinfo(&si) < 0)
		return 0;
	uint64_t have = (uint64_t)(si.totalram + si.totalswap) * si.mem_unit;
	if (want > have)
		return err_msg(-ENOMEM, "memory.size: %" PRIu64 " MiB asked for, this host has %" PRIu64 " MiB with swap; give a smaller -m",
			       want >> 20, have >> 20);
	return 0;
}

static int check_vcpu_limit(const struct vm *vm)
{
	int max = kvm_cap(vm->kvm_fd, KVM_CAP_MAX_VCPUS);
	if (max > 0 && vm->nvcpus > (unsigned)max)
		return err_msg(-EINVAL, "cpus: %u vCPUs asked for, KVM on this host allows %d", vm->nvcpus, max);
	return 0;
}

static int add_ram(struct vm *vm)
{
	static const char *const names[MEMMAP_RAM_MAX] = { "ram-low", "ram-high" };
	const char *word = conf_str(vm->conf, "memory.backing");
	enum mem_backing backing = strcmp(word, "memfd") == 0 ? MEM_MEMFD : strcmp(word, "anonymous") == 0 ? MEM_ANONYMOUS : MEM_AUTO;
	for (unsigned i = 0; i < vm->map.nram; i++) {
		int err = mem_add(&vm->mem, names[i], vm->map.ram[i].base, vm->map.ram[i].len, backing);
		if (err)
			return err;
		struct mem_region *r = &vm->mem.r[vm->mem.n - 1];
		if (!conf_bool(vm->conf, "memory.guest_in_core"))
			madvise(r->hva, r->len_bytes, MADV_DONTDUMP);
		if (!vm->dry && conf_bool(vm->conf, "memory.wired") && mlock(r->hva, r->len_bytes) < 0)
			return err_sys("memory.wired: locking %" PRIu64 " MiB (raise 'ulimit -l' or leave out -S)", r->len_bytes >> 20);
	}
	return vm->dry ? 0 : kvm_add_memslots(vm);
}

static int add_chip(struct vm *vm, const struct board_chip *c)
{
	const struct device_class *cls = device_class_find(c->cls);
	int err = 0;
	if (c->if_key && !conf_raw(vm->conf, c->if_key))
		return 0;
	if (!cls)
		return err_msg(-ENOENT, "board: no device class '%s'", c->cls);
	struct device *d = device_new(vm, cls, c->id, &err);
	if (!d)
		return err;
	d->gsi = c->gsi;
	if (c->gsi != DEV_NO_GSI)
		err = irq_connect(vm, &d->irq, c->gsi);
	return err ? err : device_place(d, c->pio ? &vm->pio : &vm->mmio, c->base);
}

static int add_chips(struct vm *vm, const struct board_chip *c)
{
	int err = 0;
	for (; c && c->cls && !err; c++)
		err = add_chip(vm, c);
	return err;
}

static int add_board(struct vm *vm)
{
	const struct board *b = vm->arch->boards[0];
	int err = add_chips(vm, b->chips);
	if (!err && (vm->firmware || conf_raw(vm->conf, "fwcfg.0")))
		err = add_chips(vm, b->fw_chips);
	vm->fw_cfg = vm_device(vm, "fwcfg");
	return err;
}

struct pci_scan {
	struct vm *vm;
	int err;
};

/* conf_walk: "pci.B.S.F.device=CLASS" makes the device. */
static void add_pci_device(const char *key, const char *value, const char *origin, void *arg)
{
	struct pci_scan *scan = arg;
	size_t len = strlen(key), suffix = strlen(".device");
	char id[32];
	(void)origin;
	if (scan->err || strncmp(key, "pci.", 4) != 0 || len <= suffix || strcmp(key + len - suffix, ".device") != 0 || len - suffix >= sizeof(id))
		return;
	snprintf(id, sizeof(id), "%.*s", (int)(len - suffix), key);
	if (strcmp(value, CONF_LPC) == 0)
		return;         /* the machine has its own, where firmware looks for it */
	const struct device_class *cls = device_class_find(value);
	if (!cls || !cls->pci)
		scan->err = err_msg(-EINVAL, "%s: '%s' is no PCI device of this version", id, value);
	else
		device_new(scan->vm, cls, id, &scan->err);
}

static int add_pci(struct vm *vm)
{
	struct pci_scan scan = { .vm = vm };
	int err = pci_host_new(vm);
	if (err)
		return err;
	conf_walk(vm->conf, add_pci_device, &scan);
	return scan.err ? scan.err : vm->arch->add_fixed(vm);
}

/* What firmware learns of the machine, of any architecture, of this one, and by the user. */
static int fill_fw_cfg(struct vm *vm)
{
	fw_cfg_clear(vm->fw_cfg);
	int err = fw_items_machine(vm, vm->fw_cfg);
	if (!err)
		err = vm->arch->fill_fw_cfg(vm, vm->fw_cfg, &vm->image);
	return err ? err : fw_items_user(vm, vm->fw_cfg);
}

int vm_load(struct vm *vm)
{
	vm_state_set(vm, VM_LOADING, VM_RUNNING);
	int err = vm->fw_cfg ? fill_fw_cfg(vm) : 0;
	if (!err && (vm->firmware || vm->image.kind != IMAGE_NONE))
		err = vm->arch->load(vm, &vm->image, &vm->entry);
	if (!err)
		err = vcpus_reset(vm);
	if (err)
		return err;
	if (!vm->dry) {
		fbsd_nextboot_used(vm->conf, vm->image.fbsd);
		pending_started(&vm->pending, vm->name);
	}
	image_release(&vm->image);
	vm->boots++;
	return 0;
}

/* Is there a kernel or another file to open?  -h DIR alone brings one, unless firmware or a prompt loads it. */
static bool has_files(const struct vm *vm)
{
	const struct conf *c = vm->conf;
	return conf_str(c, "kernel") || conf_raw(c, "load.0") || (conf_str(c, "loader.hostdir") && !vm->firmware && !prompt_console_wanted(vm));
}

/* Files are opened anew at every start, and there may be settings for just this one. */
static int open_again(struct vm *vm)
{
	int err = vm->dry ? 0 : pending_again(&vm->pending, vm->name, &vm->conf);
	if (!err && has_files(vm))
		err = image_open(&vm->image, vm->conf, vm->arch->name);
	if (err && pending_dismiss(&vm->pending, vm->name, &vm->conf)) {
		log_warn("vm", "what 'skep nextboot' left for this start cannot be used; starting as usual");
		err = has_files(vm) ? image_open(&vm->image, vm->conf, vm->arch->name) : 0;
	}
	if (err || has_files(vm))
		return err;
	memset(&vm->image, 0, sizeof(vm->image));
	if (vm->firmware || prompt_console_wanted(vm) || vm->dry)
		return 0;
	return err_msg(-EINVAL, "nothing to boot any more: the kernel was for one start only; give --kernel FILE to 'skep run'");
}

/* BARs, kernel, tables and boot registers: at start and at every in-process reset.  A prompt puts the rest off. */
static int vm_boot(struct vm *vm)
{
	int err = vm->firmware ? 0 : pci_assign(vm);    /* firmware does it itself */
	if (!err && vm->boots)
		err = open_again(vm);
	if (err)
		return err;
	return prompt_console_wanted(vm) ? prompt_console_start(vm) : vm_load(vm);
}

/* The lock on the VM's name, its log, and what `list` shows. */
static int open_rundir(struct vm *vm)
{
	char path[PATH_MAX];
	int err = rundir_open(vm->name, &vm->rundir, &vm->lock_fd);
	if (!err)
		err = rundir_write_info(vm->rundir, vm->conf);
	if (err || conf_str(vm->conf, "log.file"))
		return err;
	snprintf(path, sizeof(path), "%s/log", vm->rundir);
	return log_open(path);
}

static int vm_build(struct vm *vm)
{
	struct firmware fw = { .root = "" };
	int err = firmware_resolve(&fw, vm->conf, vm->arch, vm->dry);
	if (!err)
		err = boot_order_check(vm->conf);
	if (err)
		return err;
	vm->firmware = fw.code[0];
	if (!vm->dry)
		err = pending_begin(&vm->pending, vm->name, &vm->conf, vm->firmware || has_files(vm) || conf_str(vm->conf, "loader.hostdir"));
	if (err)
		return err;
	bool kernel = has_files(vm);
	if (!kernel && conf_str(vm->conf, "initrd"))
		return err_msg(-EINVAL, "--initrd without --kernel: give --kernel FILE as well");
	if (!kernel && !vm->firmware && !vm->dry && !prompt_console_wanted(vm))
		return err_msg(-EINVAL, "nothing to boot: give --kernel FILE, or --firmware uefi to boot from a disk");
	err = check_limits(vm);
	if (!err)
		err = vm->arch->memmap(vm->conf, &vm->map);
	if (!err && kernel)
		err = image_open(&vm->image, vm->conf, vm->arch->name);
	if (!err)
		err = prompt_console_check(vm);
	if (!err && !vm->dry)
		err = open_rundir(vm);
	if (!err && !vm->dry)
		err = ctl_start(vm, &vm->ctl);
	if (!err && !vm->dry)
		err = kvm_create_vm(vm);
	if (!err && !vm->dry)
		err = check_vcpu_limit(vm);
	if (!err && !vm->dry)
		err = firmware_make_vars(&fw, vm->conf);
	if (!err)
		err = irq_init(vm);
	if (!err)
		err = bus_init(&vm->mmio, "mmio", UINT64_MAX);
	if (!err)
		err = bus_init(&vm->pio, "pio", 0xffff);
	if (!err && !vm->dry)
		err = arch_vm_init(vm);
	vm_state_set(vm, VM_ALLOCATING, VM_RUNNING);
	if (!err)
		err = add_ram(vm);
	if (!err)
		err = add_board(vm);
	if (!err)
		err = add_pci(vm);
	if (!err && !vm->dry)
		err = vcpus_create(vm);
	if (!err && !vm->dry)
		err = arch_irqchip_seal(vm);
	return err ? err : vm_boot(vm);
}

/* Before the first thread, so that every thread inherits the mask and only the loop sees the signals. */
static int catch_signals(struct vm *vm)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigaddset(&set, SIGCONT);
	pthread_sigmask(SIG_BLOCK, &set, &vm->old_mask);
	vm->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return vm->sig_fd < 0 ? err_sys("signalfd") : 0;
}

int vm_create(struct conf *conf, const struct arch_info *arch, bool dry, struct vm **out)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	if (!vm)
		return -ENOMEM;
	const char *name = conf_str(conf, "name");
	snprintf(vm->name, sizeof(vm->name), "%s", name ? name : "vm");
	vm->conf = conf;
	vm->arch = arch;
	vm->dry = dry;
	vm->kvm_fd = vm->fd = vm->lock_fd = vm->sig_fd = -1;
	vm->holds = HOLD_BOOT;
	vm->cause_vcpu = UINT_MAX;
	pthread_mutex_init(&vm->park_lock, NULL);
	pthread_mutex_init(&vm->req_lock, NULL);
	pthread_cond_init(&vm->park_cond, NULL);
	pthread_cond_init(&vm->resume_cond, NULL);
	vm->policy.reboot = policy_of(vm, "on_reboot");
	vm->policy.poweroff = policy_of(vm, "on_poweroff");
	vm->policy.crash = policy_of(vm, "on_crash");
	vm->strict_io = conf_bool(conf, "x86.strictio");
	vm->notify_fd = dry ? 0 : notify_open();
	vm->loop = loop_new();
	int err = vm->loop ? 0 : -ENOMEM;
	if (!err && !dry)
		err = catch_signals(vm);
	if (!err)
		err = vm_build(vm);
	if (err) {
		vm_free(vm);
		return err;
	}
	*out = vm;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void vm_free(struct vm *vm)
{
	ctl_stop(vm->ctl);
	gdb_stop(vm->gdb);
	vcpus_destroy(vm);
	prompt_console_stop(vm);
	while (vm->ndevs)
		device_free(vm->devs[--vm->ndevs]);
	free(vm->devs);
	pci_host_free(vm->pci);
	if (vm->fd >= 0)
		arch_vm_fini(vm);
	irq_fini(vm);
	bus_fini(&vm->mmio);
	bus_fini(&vm->pio);
	close_fd(vm->fd);
	close_fd(vm->kvm_fd);
	if (vm->notify_fd)
		close(vm->notify_fd);
	if (vm->sig_fd >= 0) {
		close(vm->sig_fd);
		pthread_sigmask(SIG_SETMASK, &vm->old_mask, NULL);
	}
	boot_places_clear(vm);
	mem_fini(&vm->mem);
	image_release(&vm->image);
	pending_free(&vm->pending);
	loop_free(vm->loop);
	if (vm->rundir)
		rundir_close(vm->rundir, vm->lock_fd);
	pthread_mutex_destroy(&vm->park_lock);
	pthread_mutex_destroy(&vm->req_lock);
	pthread_cond_destroy(&vm->park_cond);
	pthread_cond_destroy(&vm->resume_cond);
	free(vm);
}

struct device *vm_device(const struct vm *vm, const char *id)
{
	for (unsigned i = 0; i < vm->ndevs; i++) {
		if (strcmp(vm->devs[i]->id, id) == 0)
			return vm->devs[i];
	}
	return NULL;
}

/* --- running --- */

static void handle_request(void *arg, uint32_t events);

static void devices_pause(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++)
		if (vm->devs[i]->cls->pause)
			vm->devs[i]->cls->pause(vm->devs[i]);
	vm->devices_quiet = true;
}

static void devices_resume(struct vm *vm)
{
	for (unsigned i = 0; i < vm->ndevs; i++)
		if (vm->devs[i]->cls->resume)
			vm->devs[i]->cls->resume(vm->devs[i]);
	blk_resume_all(vm);
	vm->devices_quiet = false;
}

void vm_hold(struct vm *vm, enum vm_hold why)
{
	const bool ran = !vm->holds;

	vm->holds |= why;
	if (ran)
		vm_state_set(vm, VM_PAUSING, VM_PAUSED);
	/* Also when it is held already: a debugger may let one vCPU go. */
	vcpus_request_park(vm);
	vcpus_wait_parked(vm);
	if (!vm->devices_quiet && vm->holds & ~(unsigned)HOLD_DEBUG)
		devices_pause(vm);
	if (ran)
		vm_state_set(vm, VM_PAUSED, VM_PAUSED);
}

void vm_vcpus_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->req_lock);
	if (vm->cause == CAUSE_NONE && !vm->stop_posted)
		vcpus_resume(vm);
	pthread_mutex_unlock(&vm->req_lock);
}

void vm_release(struct vm *vm, enum vm_hold why)
{
	const bool held = vm->holds;

	vm->holds &= ~(unsigned)why;
	if (vm->request_waits && !(vm->holds & HOLD_SAVE)) {
		vm->request_waits = false;
		ev_post(vm->loop, handle_request, vm);
	}
	if (vm->devices_quiet && !(vm->holds & ~(unsigned)HOLD_DEBUG))
		devices_resume(vm);
	if (held && !vm->holds) {
		vm_state_set(vm, VM_RUNNING, VM_RUNNING);
		vm_vcpus_resume(vm);
	} else if (vm->holds && !(vm->holds & (HOLD_BOOT | HOLD_SAVE)) && vm->state != VM_PAUSED) {
		vm_state_set(vm, VM_PAUSED, VM_PAUSED);         /* a reset while the operator keeps it */
	}
}

/* Loop thread, posted by vm_stop_for(). */
static void handle_stop(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	(void)events;
	pthread_mutex_lock(&vm->req_lock);
	vm->stop_posted = false;
	bool ends = vm->cause != CAUSE_NONE;
	pthread_mutex_unlock(&vm->req_lock);
	if (ends || vm->holds & HOLD_STOP)
		return;
	vm_hold(vm, HOLD_STOP);
	log_info("vm", "stopped: %s", vm->stop_text);
}

void vm_stop_for(struct vm *vm, const char *reason)
{
	pthread_mutex_lock(&vm->req_lock);
	if (vm->cause == CAUSE_NONE && !vm->stop_posted) {
		snprintf(vm->stop_text, sizeof(vm->stop_text), "%s", reason);
		vm->stop_posted = true;
		atomic_store(&vm->park_requested, true);
		ev_post(vm->loop, handle_stop, vm);
	}
	pthread_mutex_unlock(&vm->req_lock);
}

void vm_continue(struct vm *vm)
{
	if (!(vm->holds & HOLD_STOP))
		return;
	log_info("vm", "goes on after: %s", vm->stop_text);
	vm_release(vm, HOLD_STOP);
}

/* The same process starts the guest anew; back ends stay as they are.  Everything is paused. */
static int vm_restart(struct vm *vm)
{
	vm_state_set(vm, VM_RESETTING, VM_RUNNING);
	prompt_console_stop(vm);
	for (unsigned i = 0; i < vm->ndevs; i++)
		device_reset(vm->devs[i]);
	int err = arch_vm_reset(vm);
	if (err)
		return err;
	irq_reset(vm);
	err = vm_boot(vm);
	if (!err)
		gdb_vm_reset(vm->gdb);
	return err;
}

static enum vm_action action_for(const struct vm *vm, enum vm_cause cause)
{
	switch (cause) {
	case CAUSE_POWEROFF: return vm->policy.poweroff;
	case CAUSE_RESET: return vm->policy.reboot;
	case CAUSE_CRASH: return vm->policy.crash;
	default: return ACTION_EXIT;
	}
}

static int status_for(const struct vm *vm, enum vm_cause cause)
{
	switch (cause) {
	case CAUSE_POWEROFF: return STATUS_POWEROFF;
	case CAUSE_RESET: return STATUS_RESET;
	case CAUSE_CRASH: return STATUS_CRASH;
	case CAUSE_SIGNAL: return STATUS_SIGNAL + (vm->cause_signal ? vm->cause_signal : SIGTERM);      /* Ctrl-A x counts as SIGTERM */
	case CAUSE_GUEST_EXIT: return vm->guest_status;
	default: return STATUS_FAILED;
	}
}

/* Clients of the control socket hear what has happened and what follows. */
static void tell_cause(struct vm *vm, enum vm_action action)
{
	static const char *const events[CAUSES] = {
		[CAUSE_NONE] = "none", [CAUSE_POWEROFF] = "poweroff", [CAUSE_RESET] = "reset", [CAUSE_CRASH] = "guest-panic",
		[CAUSE_HOST_ERROR] = "host-error", [CAUSE_SIGNAL] = "signal", [CAUSE_GUEST_EXIT] = "guest-exit",
	};
	json_t *o = json_pack("{s:o, s:s}", "text", ctl_text(vm->cause_text), "action",
			      action == ACTION_EXIT ? "exit" : action == ACTION_PAUSE ? "pause" : "restart");

	if (vm->cause_vcpu != UINT_MAX)
		json_object_set_new(o, "vcpu", json_integer(vm->cause_vcpu));
	ctl_event(vm, events[vm->cause], o);
}

static void vm_end(struct vm *vm)
{
	vm->status = status_for(vm, vm->cause);
	ctl_event(vm, "exit", json_pack("{s:s, s:i}", "cause", vm_cause_names[vm->cause], "status", vm->status));
	vm_state_set(vm, VM_STOPPING, VM_EXITED);
	log_info("vm", "ends: %s (%s), exit status %d", vm_cause_names[vm->cause], vm->cause_text, vm->status);
	loop_stop(vm->loop);
}

/* Loop thread, posted by vm_request(). */
static void handle_request(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	(void)events;
	/* Memory must stay as it is until it is written. */
	vm->request_waits = vm->holds & HOLD_SAVE;
	if (vm->request_waits)
		return;
	vm_hold(vm, HOLD_BOOT);
	log_info("vm", "%s: %s", vm_cause_names[vm->cause], vm->cause_text);
	if (vm->cause == CAUSE_CRASH || vm->cause == CAUSE_HOST_ERROR) {
		log_error("vm", "%s: %s", vm->cause == CAUSE_CRASH ? "guest crashed" : "the host failed", vm->cause_text);
		vm_print_crash(vm, stderr);
	}
	/* A reset while a policy keeps the machine paused is the operator's. */
	enum vm_action action = vm->holds & HOLD_POLICY && vm->cause == CAUSE_RESET ? ACTION_RESTART : action_for(vm, vm->cause);
	tell_cause(vm, action);
	if (action == ACTION_EXIT) {
		vm_end(vm);
		return;
	}
	if (action == ACTION_PAUSE) {
		log_warn("vm", "paused after %s, as its policy says; a signal ends it", vm_cause_names[vm->cause]);
		pthread_mutex_lock(&vm->req_lock);
		vm->paused_for_good = true;
		pthread_mutex_unlock(&vm->req_lock);
		vm_hold(vm, HOLD_POLICY);
		vm_release(vm, HOLD_BOOT);
		return;
	}
	if (vm_restart(vm)) {
		vm->cause = CAUSE_HOST_ERROR;
		vm_end(vm);
		return;
	}
	pthread_mutex_lock(&vm->req_lock);
	vm->cause = CAUSE_NONE;
	vm->cause_vcpu = UINT_MAX;
	vm->cause_text[0] = '\0';
	vm->button_pressed = false;
	pthread_mutex_unlock(&vm->req_lock);
	vm->holds &= ~(unsigned)(HOLD_STOP | HOLD_POLICY);
	if (!vm->prompt)
		vm_release(vm, HOLD_BOOT);
}

void vm_request(struct vm *vm, enum vm_cause cause, const struct vcpu *v, const char *fmt, ...)
{
	pthread_mutex_lock(&vm->req_lock);
	bool first = vm->cause == CAUSE_NONE || (vm->paused_for_good && !v && (cause == CAUSE_SIGNAL || cause == CAUSE_RESET));
	if (first) {
		vm->paused_for_good = false;    /* of the operator's requests the first wins as well */
		va_list ap;
		va_start(ap, fmt);
		vsnprintf(vm->cause_text, sizeof(vm->cause_text), fmt, ap);
		va_end(ap);
		vm->cause = cause;
		vm->cause_vcpu = v ? v->id : UINT_MAX;
		atomic_store(&vm->park_requested, true);        /* the caller's own vCPU runs no further */
		ev_post(vm->loop, handle_request, vm);
	}
	pthread_mutex_unlock(&vm->req_lock);
}

void vm_guest_exit(struct vm *vm, int status, const char *device)
{
	pthread_mutex_lock(&vm->req_lock);
	if (vm->cause == CAUSE_NONE)
		vm->guest_status = status & 0xff;
	pthread_mutex_unlock(&vm->req_lock);
	vm_request(vm, CAUSE_GUEST_EXIT, NULL, "%s: the guest asks for exit status %d", device, status & 0xff);
}

/*
 * SIGTERM and SIGINT press the power button; a second one, or a machine without a listening guest, ends it.  SIGCONT lets
 * a machine go on that waits for the operator.
 */
static void on_signal(void *arg, uint32_t events)
{
	struct vm *vm = arg;
	struct signalfd_siginfo si;
	(void)events;
	if (read(vm->sig_fd, &si, sizeof(si)) != sizeof(si))
		return;
	if (si.ssi_signo == SIGCONT) {
		vm_continue(vm);
		return;
	}
	vm->cause_signal = (int)si.ssi_signo;
	vm->cause_pid = (int)si.ssi_pid;
	bool polite = si.ssi_signo == SIGTERM || si.ssi_signo == SIGINT;
	if (polite && !vm->prompt && !vm->button_pressed && !(vm->holds & ~(unsigned)HOLD_DEBUG) && arch_power_button(vm)) {
		vm->button_pressed = true;
		log_info("vm", "signal %d from process %d: power button pressed", vm->cause_signal, vm->cause_pid);
		return;
	}
	vm_request(vm, CAUSE_SIGNAL, NULL, "signal %d (%s) from process %d", vm->cause_signal, strsignal(vm->cause_signal), vm->cause_pid);
}

int vm_run(struct vm *vm)
{
	if (!ev_fd(vm->loop, vm->sig_fd, EPOLLIN, on_signal, vm))
		return STATUS_FAILED;
	int err = gdb_start(vm, &vm->gdb);
	if (!err && vm->verdict_fd)
		err = daemon_ready(vm->verdict_fd);
	const int refused = err;
	if (!err && !vm->prompt)
		vm_release(vm, HOLD_BOOT);
	if (!err)
		notify_ready(vm->notify_fd, vm_state_names[vm->state]);
	/*
	 * Where the loop shares a CPU with vCPUs, waking does not interrupt them (sched(7)): there is more to do each time, and
	 * its share of the CPU is no smaller.  It is this thread's policy, and that of those it starts for I/O.
	 */
	const struct sched_param same = { 0 };
	if (sched_setscheduler(0, SCHED_BATCH, &same) < 0)
		log_debug("vm", "SCHED_BATCH: %s", strerror(errno));
	if (!err)
		err = loop_run(vm->loop);
	vcpus_request_park(vm);
	vcpus_wait_parked(vm);
	if (err)
		vm->status = refused ? STATUS_REFUSED : STATUS_FAILED;
	vm_write_exit_record(vm);
	gdb_vm_ended(vm->gdb, vm->status);
	vm_state_set(vm, VM_EXITED, VM_EXITED);
	ctl_stop(vm->ctl);
	vm->ctl = NULL;
	return vm->status;
}
