/*
 * The last words of a VM: the crash report on standard error, exit.json in the run directory, the exit profile where exits.file
 * says.
 */
#include <limits.h>
#include <stdio.h>

#include "common/profile.h"
#include "common/rundir.h"
#include "common/vm.h"

/* Of the flight recorder in exit.json: of a vCPU, and of all. */
#define RECORDS 256u
#define RECORDS_ALL 16384u

void vm_print_crash(struct vm *vm, FILE *f)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		arch_vcpu_dump(&vm->vcpus[i], f);
		exits_print(&vm->vcpus[i].exits, f, i, EXIT_PRINT);
	}
	fflush(f);
}

static json_t *kinds_json(const struct exit_stats *s)
{
	json_t *o = json_object();
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		const uint64_t count = exits_kind(s, k, NULL, NULL);

		if (count)
			json_object_set_new(o, exit_kind_names[k], json_integer((json_int_t)count));
	}
	return o;
}

/* Reads and writes by device. */
static void add_access(const struct access_stat *a, void *arg)
{
	const char *name = exits_device(a);
	json_t *o = json_object_get(arg, name);
	const char *key = a->write ? "writes" : "reads";

	if (!o) {
		o = json_pack("{s:i, s:i}", "reads", 0, "writes", 0);
		json_object_set_new(arg, name, o);
	}
	json_object_set_new(o, key, json_integer(json_integer_value(json_object_get(o, key)) + (json_int_t)exits_get(&a->count)));
}

static json_t *accesses_json(struct vcpu *v)
{
	json_t *o = json_object();

	exits_walk(&v->exits, add_access, o);
	return o;
}

static json_t *vcpu_json(struct vcpu *v)
{
	json_t *o = json_object();
	json_object_set_new(o, "id", json_integer(v->id));
	json_object_set_new(o, "registers", arch_vcpu_regs_json(v));
	json_object_set_new(o, "exits", kinds_json(&v->exits));
	json_object_set_new(o, "accesses", accesses_json(v));
	json_object_set_new(o, "last_exits", exits_json(&v->exits, MIN(RECORDS, RECORDS_ALL / v->vm->nvcpus)));
	return o;
}

static json_t *exit_record(struct vm *vm, json_t *profile)
{
	json_t *o = json_object(), *vcpus = json_array();
	json_object_set_new(o, "name", json_string(vm->name));
	json_object_set_new(o, "arch", json_string(vm->arch->name));
	json_object_set_new(o, "cause", json_string(vm_cause_names[vm->cause]));
	json_object_set_new(o, "text", json_string(vm->cause_text));
	json_object_set_new(o, "status", json_integer(vm->status));
	json_object_set_new(o, "boots", json_integer(vm->boots));
	if (vm->cause_vcpu != UINT_MAX)
		json_object_set_new(o, "vcpu", json_integer(vm->cause_vcpu));
	if (vm->cause_signal) {
		json_object_set_new(o, "signal", json_integer(vm->cause_signal));
		json_object_set_new(o, "signal_pid", json_integer(vm->cause_pid));
	}
	for (unsigned i = 0; i < vm->nvcpus; i++)
		json_array_append_new(vcpus, vcpu_json(&vm->vcpus[i]));
	json_object_set_new(o, "vcpus", vcpus);
	json_object_set(o, "profile", profile);
	return o;
}

int vm_write_exit_record(struct vm *vm)
{
	if (!vm->rundir)
		return 0;
	json_t *profile = profile_of_vm(vm), *o = exit_record(vm, profile);
	int err = rundir_write_json(vm->rundir, "exit.json", o);
	profile_save(vm, profile);              /* reported; the VM has ended as it has */
	json_decref(profile);
	json_decref(o);
	return err;
}
