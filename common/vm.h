/*
 * One virtual machine and its vCPUs.  See docs/ARCHITECTURE.md for the threads and their locks.
 */
#ifndef COMMON_VM_H
#define COMMON_VM_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/arch.h"
#include "common/bus.h"
#include "common/device.h"
#include "common/exits.h"
#include "common/image.h"
#include "common/irq.h"
#include "common/loop.h"
#include "common/mem.h"
#include "common/pending.h"
#include "common/place.h"

struct kvm_run;
struct msi_table;
struct prompt_console;
struct pci_host;
struct blk;

/* Why a guest's run ended, or is about to; the order is no ranking. */
enum vm_cause {
	CAUSE_NONE,
	CAUSE_POWEROFF,                 /* by the guest */
	CAUSE_RESET,                    /* by the guest */
	CAUSE_CRASH,                    /* triple fault, PSCI crash, unhandled exit */
	CAUSE_HOST_ERROR,               /* skep or the host failed */
	CAUSE_SIGNAL,                   /* ended by a signal, or Ctrl-A x */
	CAUSE_GUEST_EXIT,               /* a test device: the guest chose skep's exit status */
	CAUSES
};
extern const char *const vm_cause_names[CAUSES];

/* What a machine does; clients of the control socket see every change. */
enum vm_state {
	VM_CONFIGURING, VM_ALLOCATING, VM_LOADING, VM_RUNNING, VM_PAUSING, VM_PAUSED, VM_SAVING, VM_RESETTING, VM_STOPPING, VM_EXITED,
	VM_STATES
};
extern const char *const vm_state_names[VM_STATES];

/* Who keeps the machine from running; it runs when nobody does. */
enum vm_hold {
	HOLD_USER = 1,                  /* `pause` */
	HOLD_STOP = 2,                  /* vm_stop_for() */
	HOLD_POLICY = 4,                /* on_reboot=pause and the like: until a signal or a reset */
	HOLD_DEBUG = 8,                 /* a debugger: vCPUs only, devices run on */
	HOLD_SAVE = 32,                 /* its memory is being written to a file */
	HOLD_BOOT = 16,                 /* it has not been started yet, or a request is being carried out */
};

enum vm_action { ACTION_RESTART, ACTION_EXIT, ACTION_PAUSE };

/* Exit statuses of `skep run`, as skep-run(1) lists them. */
enum { STATUS_POWEROFF = 0, STATUS_REFUSED = 1, STATUS_USAGE = 2, STATUS_RESET = 3, STATUS_CRASH = 4, STATUS_FAILED = 5, STATUS_SIGNAL = 128 };

struct vcpu {
	struct vm *vm;
	unsigned id;
	int fd;                         /* -1 in a dry VM */
	int stats_fd;                   /* KVM's counters; below 0: it has none */
	pid_t tid;                      /* of its thread, set by it before it is parked for the first time */
	struct kvm_run *run;            /* shared with KVM; the vCPU's thread only */
	size_t run_len;
	struct vcpu_arch *arch;
	pthread_t thread;
	bool started;                   /* the thread exists */
	bool parked;                    /* under vm->park_lock */
	atomic_bool held;               /* stays parked while others run: a debugger steps one of them */
	bool access_pending;            /* KVM finishes the last access at the next KVM_RUN; the vCPU's thread only */
	int init_err;                   /* of arch_vcpu_init(), once parked for the first time */
	struct exit_stats exits;
};

struct vm {
	char name[64];
	struct conf *conf;
	const struct arch_info *arch;
	struct vm_arch *arch_state;
	bool dry;                       /* `plan` and tests: no KVM, no host resource behind any device */
	int kvm_fd, fd;
	struct memmap map;
	struct guest_mem mem;
	struct bus mmio, pio;           /* pio unused where arch->has_pio is false */
	struct loop *loop;
	struct device **devs;           /* in order of creation */
	unsigned ndevs;
	struct pci_host *pci;
	struct blk *disks;              /* devices/block/block.h; in order of opening */
	struct irq_pin *pins;
	struct msi_table *msi;          /* common/irq.c */
	struct pending pending;         /* settings left for a start; conf is theirs and the run's */
	struct image image;
	struct places places;           /* what the guest finds in its memory at its start */
	struct entry entry;
	struct prompt_console *prompt;  /* the guest waits for its boot; NULL: it does not */
	bool firmware;                  /* the guest starts in the flash; the kernel, if any, is in fw_cfg */
	struct device *fw_cfg;          /* NULL: the machine has none */
	struct vcpu *vcpus;
	unsigned nvcpus;
	int stats_fd;                   /* KVM's counters; 0 and below: it has none */
	uint64_t start_ns;              /* CLOCK_MONOTONIC, when the vCPUs were made */
	json_t *host;                   /* and */
	uint64_t started;               /* Unix time in ns: of exit profiles; common/profile.c */
	struct exits_trace *trace;      /* NULL: none */
	char *rundir;                   /* NULL in a dry VM */
	int lock_fd;

	/* Parking: vCPU threads stop at the top of their loop while park_requested. */
	pthread_mutex_t park_lock;
	pthread_cond_t park_cond, resume_cond;
	atomic_bool park_requested;
	bool quit;                      /* under park_lock: parked threads end */

	/* What was asked for last; the first request of a run wins. */
	pthread_mutex_t req_lock;
	enum vm_cause cause;
	unsigned cause_vcpu;            /* UINT_MAX: not a vCPU */
	char cause_text[160];
	int cause_signal;
	int cause_pid;                  /* sender of the signal */
	int guest_status;               /* of CAUSE_GUEST_EXIT */
	unsigned boots;                 /* guest starts in this process, 1 for the first */
	bool paused_for_good;           /* a policy said pause: only a signal or a reset by the operator is heard; under req_lock */
	enum vm_state state, pending_state;     /* equal: no change is under way; main thread */
	unsigned holds;                 /* enum vm_hold; loop thread */
	bool request_waits;             /* for HOLD_SAVE to go */
	bool devices_quiet;             /* paused, for a hold other than HOLD_DEBUG */
	struct ctl *ctl;                /* NULL: not listening */
	struct gdb *gdb;                /* NULL: no debugger wanted */
	bool stop_posted;               /* under req_lock */
	char stop_text[160];            /* why */
	bool button_pressed;            /* a signal has pressed the power button in this run */
	bool strict_io;                 /* a port nobody claims ends the VM */
	int status;                     /* exit status, once the loop stops */
	int sig_fd;                     /* signalfd; -1 in a dry VM */
	int verdict_fd;                 /* who waits to hear that there is a VM (common/daemon.h); 0: nobody */
	int notify_fd;                  /* the service manager (common/notify.h); 0: none */
	sigset_t old_mask;
	struct { enum vm_action reboot, poweroff, crash; } policy;
};

/* --- Building (main thread) --- */

/*
 * A VM from a checked configuration: memory map, RAM, buses, board chips, PCI devices, kernel, tables.  With
 * `dry`, nothing of the host is opened but the kernel files.  0 or -errno (reported); *out is valid only on 0.
 */
int vm_create(struct conf *, const struct arch_info *, bool dry, struct vm **out);
void vm_free(struct vm *);
struct device *vm_device(const struct vm *, const char *id);            /* NULL: none of that bus path */

/* --- Running --- */

/* Starts vCPU threads and the event loop; returns the exit status once the VM has ended. */
int vm_run(struct vm *);
/*
 * Ends the guest's present run for a reason; the policy decides what follows.  Any thread; a vCPU thread then
 * returns EXIT_STOP.  vcpu NULL: not a vCPU's doing.  Later requests of the same run are ignored.
 */
void vm_request(struct vm *, enum vm_cause, const struct vcpu *, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The guest ends the VM with an exit status of its own, 0..255 (isa-debug-exit, chr-testdev).  Any thread. */
void vm_guest_exit(struct vm *, int status, const char *device);
/*
 * Keeps the machine from running, and lets it go again; every holder has its own bit.  On return it is paused: vCPUs parked, and
 * but for HOLD_DEBUG every device's host I/O finished.  Loop thread.
 */
void vm_hold(struct vm *, enum vm_hold);
void vm_release(struct vm *, enum vm_hold);
/*
 * After vcpus_wait_parked(), for a moment's look: vCPUs run on, but where a request or a stop is on its way to the loop, since the
 * vCPU that made it runs no further.  Loop thread.
 */
void vm_vcpus_resume(struct vm *);
/* The machine is in this state now, on its way to `next` (the same: it has arrived); clients are told.  Main thread. */
void vm_state_set(struct vm *, enum vm_state now, enum vm_state next);
/* The host cannot go on without the operator: pauses the VM soon, until vm_continue().  Any thread, also under a device's lock. */
void vm_stop_for(struct vm *, const char *reason);
/* After vm_stop_for(): the guest runs on.  Nothing where the VM is not stopped.  Loop thread. */
void vm_continue(struct vm *);

/* --- common/vcpu.c, main thread --- */

/* Creates vm->nvcpus vCPUs and their threads, parked and initialised.  0 or -errno (reported). */
int vcpus_create(struct vm *);
void vcpus_destroy(struct vm *);        /* parks them first */
/* Asks every vCPU to park and returns at once; vcpus_wait_parked() waits for the last. */
void vcpus_request_park(struct vm *);
void vcpus_wait_parked(struct vm *);
void vcpus_resume(struct vm *);
/* Power-on state for every vCPU, vCPU 0 at vm->entry; all are parked.  0 or -errno (reported). */
int vcpus_reset(struct vm *);

/* The kernel into RAM, tables and boot registers, and the files' memory given back.  0 or -errno (reported). */
int vm_load(struct vm *);

/* --- common/prompt_console.c: the FreeBSD loader's prompt; main thread before the loop runs, or loop thread --- */

bool prompt_console_wanted(const struct vm *);
int prompt_console_check(const struct vm *);    /* 0, or -EINVAL (reported): nothing a prompt could load */
/* Prompts on the first serial port; its user's boot calls vm_load() and vm_release().  0 or -errno (reported). */
int prompt_console_start(struct vm *);
void prompt_console_stop(struct vm *);          /* also without one */

/* --- common/exitrec.c --- */

/* Registers and last exits of every vCPU, decoded; vCPUs parked. */
void vm_print_crash(struct vm *, FILE *);
/* Writes exit.json in the run directory: why the VM ended.  0 or -errno (reported). */
int vm_write_exit_record(struct vm *);

#endif
