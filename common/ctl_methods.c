/*
 * What the control socket can do: the table, and what concerns the machine as a whole.  Its disks, networks and consoles
 * are in ctl_devices.c, what is counted in ctl_stats.c, `events` and `wait` in ctl_events.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/ctl_int.h"
#include "common/ctl_methods.h"
#include "common/dump.h"
#include "common/log.h"
#include "common/exits_trace.h"
#include "common/profile.h"
#include "common/vm.h"
#include "devices/block/ckpt.h"
#include "devices/virtio/virtio_balloon.h"

/* --- State --- */

/* In words, enum vm_hold from bit 0 on. */
static const char *const hold_names[] = { "user", "disk-error", "policy", "debugger", "boot", "save" };

static int method_status(struct ctl_call *call)
{
	const struct vm *vm = call->vm;
	json_t *o = ctl_status_json(vm, call->ctl), *holds = json_array();

	for (unsigned i = 0; i < NELEM(hold_names); i++)
		if (vm->holds & 1u << i)
			json_array_append_new(holds, json_string(hold_names[i]));
	json_object_set_new(o, "holds", holds);
	if (vm->pending_state != vm->state)
		json_object_set_new(o, "pending", json_string(vm_state_names[vm->pending_state]));
	if (vm->holds & HOLD_STOP)
		json_object_set_new(o, "reason", ctl_text(vm->stop_text));
	else if (vm->paused_for_good)
		json_object_set_new(o, "reason", json_sprintf("%s: %s", vm_cause_names[vm->cause], vm->cause_text));
	call->result = o;
	return 0;
}

static int method_pause(struct ctl_call *call)
{
	vm_hold(call->vm, HOLD_USER);
	return 0;
}

static int method_resume(struct ctl_call *call)
{
	struct vm *vm = call->vm;

	if (vm->holds & HOLD_POLICY)
		return err_msg(-EINVAL, "the machine is paused after %s, as its policy says; 'reset' starts it anew, 'kill' ends it",
			       vm_cause_names[vm->cause]);
	if (!(vm->holds & (HOLD_STOP | HOLD_USER)))
		return err_msg(-EINVAL, vm->holds & HOLD_DEBUG ? "a debugger has stopped the machine; it lets it go on" :
			       "the machine is not paused");
	vm_release(vm, HOLD_USER);
	vm_continue(vm);
	return 0;
}

static int method_poweroff(struct ctl_call *call)
{
	struct vm *vm = call->vm;

	if (vm->holds & ~(unsigned)HOLD_DEBUG)
		return err_msg(-EBUSY, "the machine does not run, so its guest cannot be asked; 'resume' it, or 'kill' it");
	if (!arch_power_button(vm))
		return err_msg(-EOPNOTSUPP, "the guest does not listen to its power button; 'kill' ends the machine");
	log_info("ctl", "process %d: power button pressed", ctl_peer(call));
	return 0;
}

static int method_reset(struct ctl_call *call)
{
	vm_request(call->vm, CAUSE_RESET, NULL, "'reset' of process %d at the control socket", ctl_peer(call));
	return 0;
}

static int method_kill(struct ctl_call *call)
{
	vm_request(call->vm, CAUSE_SIGNAL, NULL, "'kill' of process %d at the control socket", ctl_peer(call));
	return 0;
}

/* --- vCPUs --- */

/* The vCPU of the parameter, or number `unset`; NULL (reported). */
static struct vcpu *vcpu_of(struct ctl_call *call)
{
	struct vm *vm = call->vm;
	int64_t n;

	if (!vm->vcpus) {
		err_msg(-ENXIO, "the machine has no vCPUs yet");
		return NULL;
	}
	return ctl_int(call, "vcpu", 0, (int64_t)vm->nvcpus - 1, 0, &n) ? NULL : &vm->vcpus[n];
}

static int method_nmi(struct ctl_call *call)
{
	struct vcpu *v = vcpu_of(call);

	return v ? arch_nmi(v) : -EINVAL;
}

/* vCPUs stand still, which nobody but the guest's clock notices.  True: they ran. */
static bool vcpus_still(struct vm *vm)
{
	const bool ran = !atomic_load(&vm->park_requested);

	vcpus_request_park(vm);
	vcpus_wait_parked(vm);
	return ran;
}

static int method_regs(struct ctl_call *call)
{
	const json_t *one = json_object_get(call->params, "vcpu");
	struct vcpu *v = vcpu_of(call);
	struct vm *vm = call->vm;
	bool ran;

	if (!v)
		return -EINVAL;
	call->result = json_array();
	ran = vcpus_still(vm);
	for (unsigned i = one ? v->id : 0; i < (one ? v->id + 1 : vm->nvcpus); i++)
		json_array_append_new(call->result, json_pack("{s:i, s:o}", "vcpu", (int)i, "registers",
							      arch_vcpu_regs_json(&vm->vcpus[i])));
	if (ran)
		vm_vcpus_resume(vm);
	return 0;
}

/* The last records of a vCPU's flight recorder. */
static int method_exit_ring(struct ctl_call *call)
{
	struct vcpu *v = vcpu_of(call);
	int64_t count;
	bool ran;

	if (!v || ctl_int(call, "count", 1, INT32_MAX, 64, &count))
		return -EINVAL;
	ran = vcpus_still(call->vm);
	call->result = exits_json(&v->exits, (unsigned)count);
	if (ran)
		vm_vcpus_resume(call->vm);
	return 0;
}

static int method_exits(struct ctl_call *call)
{
	const json_t *trace = json_object_get(call->params, "trace");
	const int err = json_is_true(trace) ? exits_trace_start(call->vm) : 0;

	if (err)
		return err;
	call->result = profile_of_vm(call->vm);
	if (json_is_false(trace))
		exits_trace_stop(call->vm);
	return call->result ? 0 : -ENOMEM;
}

/* --- skep itself --- */

static int method_log_level(struct ctl_call *call)
{
	enum log_level level;

	if (log_level_parse(ctl_str(call, "level"), &level))
		return err_msg(-EINVAL, "log-level: '%s' is no level; use error, warn, info or debug", ctl_str(call, "level"));
	log_set_level(level, LOG_WARN);
	return 0;
}

static const char *type_name(char type)
{
	return type == 's' ? "string" : type == 'p' ? "path" : type == 'i' ? "integer" : "boolean";
}

static int method_methods(struct ctl_call *call)
{
	call->result = json_array();
	for (const struct ctl_method *m = ctl_methods; m->name; m++) {
		json_t *params = json_array();

		for (const struct ctl_param *p = m->params; p && p->name; p++)
			json_array_append_new(params, json_pack("{s:s, s:s, s:b, s:s}", "name", p->name, "type", type_name(p->type),
								"required", (int)p->required, "help", p->help));
		json_array_append_new(call->result, json_pack("{s:s, s:s, s:o}", "name", m->name, "help", m->help, "params", params));
	}
	return 0;
}

/* --- The table --- */

#define END { NULL, 0, false, NULL }
static const struct ctl_param vcpu_params[] = { { "vcpu", 'i', false, "number of the vCPU; default: 0" }, END };
static const struct ctl_param regs_params[] = { { "vcpu", 'i', false, "number of the vCPU; default: all" }, END };
static const struct ctl_param ring_params[] = {
	{ "vcpu", 'i', false, "number of the vCPU; default: 0" }, { "count", 'i', false, "how many of the last; default: 64" }, END
};
static const struct ctl_param exits_params[] = {
	{ "trace", 'b', false, "true: from now on with KVM's tracepoints, needs root; false: no longer" }, END
};
static const struct ctl_param level_params[] = { { "level", 's', true, "error, warn, info or debug" }, END };
static const struct ctl_param port_params[] = { { "port", 's', false, "serial port, such as com1; default: the first" }, END };
static const struct ctl_param history_params[] = {
	{ "port", 's', false, "serial port, such as com1; default: the first" },
	{ "bytes", 'i', false, "how many of the last; default: 65536" }, END
};
static const struct ctl_param events_params[] = {
	{ "since", 'i', false, "number of the last one known; what is remembered of those after it comes at once" }, END
};
static const struct ctl_param wait_params[] = {
	{ "state", 's', true, "running, paused, exited ..." }, { "timeout_ms", 'i', false, "default: as long as it takes" }, END
};
static const struct ctl_param checkpoint_params[] = {
	{ "name", 's', true, "of the checkpoint" },
	{ "disk", 's', false, "one disk ('disks' lists them); default: all that can be written, at one instant" },
	{ "store", 's', false, "qcow2, overlay, reflink, zfs or lvm; default: the best for each disk" },
	{ "path", 'p', false, "file of the overlay or copy; default: beside the image" }, END
};
static const struct ctl_param disk_params[] = { { "disk", 's', true, "which one" }, END };
static const struct ctl_param limits_params[] = {
	{ "disk", 's', true, "which one" },
	{ "iops", 'i', false, "requests a second; 0: no limit" }, { "bps", 'i', false, "bytes a second; 0: no limit" },
	{ "iops-burst", 'i', false, "requests a second in a burst" }, { "bps-burst", 'i', false, "bytes a second in a burst" },
	{ "burst-seconds", 'i', false, "how long a burst may last after a rest" }, END
};
static const struct ctl_param media_params[] = {
	{ "disk", 's', true, "the drive: its bus path, such as pci.0.4.0.port.0" },
	{ "path", 'p', false, "the medium; without it the drive is emptied" }, END
};
static const struct ctl_param eject_params[] = { { "disk", 's', true, "the drive" }, END };
static const struct ctl_param insert_params[] = { { "disk", 's', true, "the drive" }, { "path", 'p', true, "the medium" }, END };
static const struct ctl_param balloon_params[] = { { "memory", 'i', false, "MiB the guest is to keep" }, END };
static const struct ctl_param dump_params[] = { { "path", 'p', true, "of the file, which must not exist" }, END };
static const struct ctl_param link_params[] = {
	{ "device", 's', true, "the card: its bus path, such as pci.0.3.0" }, { "state", 's', true, "on or off" }, END
};

const struct ctl_method ctl_methods[] = {
	{ "status", "state of the machine", NULL, method_status },
	{ "pause", "stop vCPUs and devices until 'resume'", NULL, method_pause },
	{ "resume", "go on after 'pause', or after a disk error stopped the machine", NULL, method_resume },
	{ "poweroff", "press the power button", NULL, method_poweroff },
	{ "reset", "reset the machine, as its reset button does", NULL, method_reset },
	{ "kill", "end the machine at once", NULL, method_kill },
	{ "wait", "answer when the machine is in a state", wait_params, ctl_wait_method },
	{ "events", "tell this client what happens from now on", events_params, ctl_events_method },
	{ "nmi", "non-maskable interrupt", vcpu_params, method_nmi },
	{ "regs", "registers of vCPUs", regs_params, method_regs },
	{ "stats", "counters of vCPUs, disks and networks", NULL, ctl_stats },
	{ "metrics", "the same as OpenMetrics text", NULL, ctl_metrics },
	{ "exits", "exit profile since the start", exits_params, method_exits },
	{ "exit-ring", "last exits of a vCPU", ring_params, method_exit_ring },
	{ "log-level", "how much the log file is told", level_params, method_log_level },
	{ "break", "send a break to a serial port", port_params, ctl_break },
	{ "console-history", "what the guest wrote to a serial port last", history_params, ctl_console_history },
	{ "screen", "picture of the display", NULL, ctl_screen },
	{ "disks", "disks and the images they consist of", NULL, ctl_disks },
	{ "disk-limits", "limit a disk's requests, or show its limits", limits_params, ctl_disk_limits },
	{ "disk-checkpoint", "keep what disks hold at this instant", checkpoint_params, ckpt_ctl },
	{ "disk-checkpoints", "checkpoints of a disk", disk_params, ctl_disk_checkpoints },
	{ "media", "exchange or eject the medium of a CD drive", media_params, ctl_media },
	{ "eject", "empty a CD drive", eject_params, ctl_media },
	{ "insert", "put a medium into a CD drive", insert_params, ctl_media },
	{ "nets", "network cards", NULL, ctl_nets },
	{ "set-link", "plug a network card's cable in or out", link_params, ctl_set_link },
	{ "balloon", "how much memory the guest is to keep, and what it has given back", balloon_params, balloon_ctl },
	{ "dump", "core file of the guest, for gdb", dump_params, dump_ctl },
	{ "methods", "this table", NULL, method_methods },
	{ NULL, NULL, NULL, NULL }
};
