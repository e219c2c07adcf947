/*
 * The last words of a VM: the crash report on standard error and exit.json in the run directory.
 */
#include <limits.h>
#include <stdio.h>

#include "common/rundir.h"
#include "common/vm.h"

void vm_print_crash(struct vm *vm, FILE *f)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		arch_vcpu_dump(&vm->vcpus[i], f);
		exits_print(&vm->vcpus[i].exits, f, i);
	}
	fflush(f);
}

static json_t *kinds_json(const struct exit_stats *s)
{
	json_t *o = json_object();
	for (unsigned k = 0; k < EXIT_KINDS; k++) {
		if (s->kind[k])
			json_object_set_new(o, exit_kind_names[k], json_integer((json_int_t)s->kind[k]));
	}
	return o;
}

struct access_walk {
	json_t *out;
	const struct exit_stats *stats;
};

static void add_accesses(json_t *out, const struct exit_stats *s, unsigned stat_id, const char *name)
{
	if (stat_id * 2 + 1 >= s->naccess)
		return;
	uint64_t reads = s->access[stat_id * 2].count, writes = s->access[stat_id * 2 + 1].count;
	if (reads || writes)
		json_object_set_new(out, name, json_pack("{s:I, s:I}", "reads", (json_int_t)reads, "writes", (json_int_t)writes));
}

static void add_range(const struct bus_range *r, void *arg)
{
	struct access_walk *w = arg;
	add_accesses(w->out, w->stats, r->stat_id, r->name);
}

/* Bus accesses by device; ranges that are on no bus now are left out. */
static json_t *accesses_json(struct vcpu *v)
{
	struct access_walk w = { json_object(), &v->exits };
	add_accesses(w.out, &v->exits, 0, "unclaimed");
	bus_walk(&v->vm->mmio, add_range, &w);
	bus_walk(&v->vm->pio, add_range, &w);
	return w.out;
}

static json_t *vcpu_json(struct vcpu *v)
{
	json_t *o = json_object();
	json_object_set_new(o, "id", json_integer(v->id));
	json_object_set_new(o, "registers", arch_vcpu_regs_json(v));
	json_object_set_new(o, "exits", kinds_json(&v->exits));
	json_object_set_new(o, "accesses", accesses_json(v));
	json_object_set_new(o, "last_exits", exits_json(&v->exits));
	return o;
}

static json_t *exit_record(struct vm *vm)
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
	return o;
}

int vm_write_exit_record(struct vm *vm)
{
	if (!vm->rundir)
		return 0;
	json_t *o = exit_record(vm);
	int err = rundir_write_json(vm->rundir, "exit.json", o);
	json_decref(o);
	return err;
}
