#include "common/device.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/vm.h"
#include "devices/pci/pci.h"

const struct device_class *device_class_find(const char *name)
{
	for (const struct device_class *const *c = device_classes; *c; c++) {
		if (strcmp((*c)->name, name) == 0)
			return *c;
	}
	return NULL;
}

/* Chips with a register table get these ops; dev is the instance. */
static uint64_t table_read(void *dev, uint64_t off, unsigned size)
{
	const struct device *d = dev;
	return regs_read(d->cls->regs, d->cls->nregs, dev, off, size);
}

static void table_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
	const struct device *d = dev;
	regs_write(d->cls->regs, d->cls->nregs, dev, off, size, val);
}

static const struct io_ops table_ops = { table_read, table_write };

static int device_start(struct device *d)
{
	struct pci_dev *pd = (struct pci_dev *)d;       /* dev is the first member */
	if (d->cls->pci) {
		int err = pci_place(d->id, &pd->bus, &pd->slot, &pd->fn);
		if (err)
			return err;
	}
	int err = d->cls->init ? d->cls->init(d) : 0;
	if (err)
		return err;
	if (d->cls->pci) {
		err = pci_attach(d->vm, pd);
		if (err && d->cls->fini)
			d->cls->fini(d);
	}
	return err;
}

static int vm_add_device(struct vm *vm, struct device *d)
{
	struct device **grown = realloc(vm->devs, (vm->ndevs + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	vm->devs = grown;
	vm->devs[vm->ndevs++] = d;
	return 0;
}

struct device *device_new(struct vm *vm, const struct device_class *cls, const char *id, int *err)
{
	int ignored;
	err = err ? err : &ignored;
	struct device *d = calloc(1, cls->size);
	if (!d) {
		*err = -ENOMEM;
		return NULL;
	}
	d->cls = cls;
	d->vm = vm;
	d->gsi = DEV_NO_GSI;
	snprintf(d->id, sizeof(d->id), "%s", id);
	pthread_mutex_init(&d->lock, NULL);
	*err = device_start(d);
	if (*err == 0)
		*err = vm_add_device(vm, d);
	if (*err) {
		pthread_mutex_destroy(&d->lock);
		free(d);
		return NULL;
	}
	device_reset(d);
	return d;
}

void device_reset(struct device *d)
{
	if (d->cls->pci)
		pci_reset((struct pci_dev *)d);
	if (d->cls->reset)
		d->cls->reset(d);
}

void device_free(struct device *d)
{
	if (!d)
		return;
	if (d->io.mapped)
		bus_del(d->io_bus, &d->io);
	if (d->cls->pci)
		pci_detach((struct pci_dev *)d);
	if (d->cls->fini)
		d->cls->fini(d);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

int device_place(struct device *d, struct bus *bus, uint64_t base)
{
	d->io = (struct bus_range){
		.name = d->id, .base = base, .len = d->io.len ? d->io.len : d->cls->io_len,
		.ops = d->cls->regs ? &table_ops : d->cls->ops, .dev = d,
		.lock = d->cls->self_locking ? NULL : &d->lock,
		.regs = d->cls->regs, .nregs = d->cls->nregs,
	};
	d->io_bus = bus;
	int err = bus_add(bus, &d->io);
	if (!err && d->cls->placed)
		d->cls->placed(d);
	return err;
}

/* --- options --- */

static const struct opt *dev_opt(const struct device *d, const char *name)
{
	const struct opt *o = opt_find(d->cls->opts, name);
	assert(o);      /* a device asks only for options of its own table */
	return o;
}

const char *dev_opt_str(const struct device *d, const char *name)
{
	const struct opt *o = dev_opt(d, name);
	char key[96];
	snprintf(key, sizeof(key), "%s.%s", d->id, name);
	const char *v = d->vm->conf ? conf_raw(d->vm->conf, key) : NULL;
	return v ? v : o->def;
}

uint64_t dev_opt_u64(const struct device *d, const char *name)
{
	const char *text = dev_opt_str(d, name);
	uint64_t v = 0;
	char why[80];
	if (text && opt_parse_u64(dev_opt(d, name), text, &v, why, sizeof(why)))
		assert(!"conf_check() has accepted this value");
	return v;
}

bool dev_opt_bool(const struct device *d, const char *name)
{
	const char *text = dev_opt_str(d, name);
	bool v = false;
	if (text && opt_parse_bool(text, &v))
		assert(!"conf_check() has accepted this value");
	return v;
}

/* --- snapshots --- */

json_t *device_save(struct device *d)
{
	if (d->cls->saving)
		d->cls->saving(d);
	json_t *state = d->cls->snap ? snap_save(d->cls->snap, d) : json_object();
	return state ? json_pack("{s:s, s:i, s:o}", "class", d->cls->name, "version", d->cls->snap_version, "state", state) : NULL;
}

int device_load(struct device *d, const json_t *rec)
{
	static const struct snap_field no_fields[] = { SNAP_END };
	const char *class_name = json_string_value(json_object_get(rec, "class"));
	const json_t *version = json_object_get(rec, "version"), *state = json_object_get(rec, "state");
	if (!class_name || strcmp(class_name, d->cls->name) != 0)
		return err_msg(-EINVAL, "snapshot of %s: it is a '%s', this machine has a '%s' there", d->id, class_name ? class_name : "?",
			       d->cls->name);
	if (!json_is_integer(version) || json_integer_value(version) < 0 || json_integer_value(version) > d->cls->snap_version)
		return err_msg(-EINVAL, "snapshot of %s: its version is newer than this skep's (%u)", d->id, d->cls->snap_version);
	int err = snap_load(d->cls->snap ? d->cls->snap : no_fields, (unsigned)json_integer_value(version), d, state, d->id);
	if (!err && d->cls->pci)
		err = pci_loaded((struct pci_dev *)d);
	if (!err && d->cls->loaded)
		err = d->cls->loaded(d);
	return err;
}
