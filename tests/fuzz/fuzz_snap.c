/*
 * Device records.  Byte 0 picks the class.  Byte 1: 'J', and JSON text follows; anything else, and edits of the
 * device's own record follow, 4 bytes each: which member on the way down (2 bytes, one a level), what to do with it, with
 * which value.  A record that is accepted gives a device whose own record is accepted too, and that stands a guest.
 */
#include "tests/fuzz/fuzz.h"

#include "devices/classes.h"
#include "devices/pci/pci.h"

#define CLASSES_MAX 64
static struct vm *vm;
static struct device *devs[CLASSES_MAX];
static unsigned ndevs;

static void make_devices(void)
{
	static const char *const drives[] = { "port.0.type", "target.0.type" };

	vm = fuzz_vm(&arch_x86);
	for (const struct device_class *const *c = device_classes; *c && ndevs < CLASSES_MAX; c++) {
		char id[32], key[64];

		snprintf(id, sizeof(id), (*c)->pci ? "pci.0.%u.0" : "chip%u", (*c)->pci ? 1 + ndevs : ndevs);
		if ((*c)->positional) {
			snprintf(key, sizeof(key), "%s.%s", id, (*c)->positional);
			conf_set(vm->conf, key, "null", "fuzz");
		}
		if (*c == &virtio_console_class) {
			snprintf(key, sizeof(key), "%s.port.0.name", id);
			conf_set(vm->conf, key, "fuzz", "fuzz");
			snprintf(key, sizeof(key), "%s.port.0.path", id);
			conf_set(vm->conf, key, "null", "fuzz");
		}
		/* A controller wants a drive. */
		for (unsigned i = 0; i < NELEM(drives); i++)
			if ((*c)->opts && opt_find((*c)->opts, drives[i])) {
				snprintf(key, sizeof(key), "%s.%s", id, drives[i]);
				conf_set(vm->conf, key, "cd", "fuzz");
			}
		devs[ndevs] = device_new(vm, *c, id, NULL);
		MUST(devs[ndevs]);
		if ((*c)->io_len)
			MUST(device_place(devs[ndevs], &vm->mmio, 0x3f000000 + ndevs * 0x100000) == 0);
		ndevs++;
	}
	MUST(pci_assign(vm) == 0);
}

static json_t *new_value(uint8_t what, uint8_t v)
{
	static const json_int_t ints[] = { 0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 65536, INT32_MAX, UINT32_MAX, INT64_MAX, -1, INT64_MIN };
	static const char *const texts[] = { "", "=", "AA==", "AAA=", "AAAA", "A===", "////", "AAAAAAAAAAAAAAAA", "\x01\x02", "A A=" };

	static char longer[1025];       /* than any buffer of a device */

	memset(longer, 'A', sizeof(longer) - 1);
	switch (what % 6) {
	case 0: return json_integer(ints[v % NELEM(ints)]);
	case 1: return json_integer(v);
	case 2: return json_boolean(v & 1);
	case 3: return json_string(v < 128 ? texts[v % NELEM(texts)] : longer);
	case 4: return v & 1 ? json_object() : json_array();
	default: return json_null();
	}
}

/* The member of an object or array that the byte names; false when there is none. */
static bool member(json_t *in, uint8_t which, const char **key, size_t *at)
{
	size_t n = json_is_object(in) ? json_object_size(in) : json_array_size(in);

	*key = NULL;
	*at = n ? which % n : 0;
	if (n == 0)
		return false;
	if (json_is_object(in)) {
		void *it = json_object_iter(in);

		for (size_t i = 0; i < *at; i++)
			it = json_object_iter_next(in, it);
		*key = json_object_iter_key(it);
	}
	return true;
}

static json_t *get(json_t *in, const char *key, size_t at)
{
	return key ? json_object_get(in, key) : json_array_get(in, at);
}

static void edit(json_t *rec, const uint8_t *e)
{
	json_t *in = json_object_get(rec, "state");
	const char *key;
	size_t at;
	uint8_t way[] = { e[0], e[1], (uint8_t)(e[0] >> 3), (uint8_t)(e[1] >> 3) };

	for (size_t level = 0; member(in, way[level], &key, &at); level++) {
		json_t *there = get(in, key, at);

		if (level + 1 < sizeof(way) && json_is_object(there) + json_is_array(there) && e[2] < 0xf0) {
			in = there;
			continue;
		}
		if (e[2] % 8 == 7 && key)
			json_object_del(in, key);
		else if (e[2] % 8 == 7)
			json_array_remove(in, at);
		else if (key)
			json_object_set_new(in, key, new_value(e[2], e[3]));
		else
			json_array_set_new(in, at, new_value(e[2], e[3]));
		return;
	}
}

static void touch(struct bus *bus, const struct bus_range *r)
{
	uint64_t v;

	for (uint64_t off = 0; r->mapped && off < r->len && off < 0x100; off += 4) {
		bus_read(bus, r->base + off, 4, &v);
		bus_write(bus, r->base + off, 4, v);
	}
}

static void accepted(struct device *d)
{
	json_t *own = device_save(d);
	struct pci_dev *p = (struct pci_dev *)d;

	MUST(own && device_load(d, own) == 0);
	json_t *again = device_save(d);
	MUST(json_equal(own, again));
	json_decref(again);
	json_decref(own);
	touch(d->io_bus, &d->io);
	for (unsigned n = 0; d->cls->pci && n < PCI_BARS; n++)
		touch(p->bar[n].type == PCI_BAR_IO ? &vm->pio : &vm->mmio, &p->bar[n].range);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	json_t *rec;

	if (!vm)
		make_devices();
	if (len < 2)
		return 0;
	struct device *d = devs[data[0] % ndevs];
	if (data[1] == 'J') {
		rec = json_loadb((const char *)data + 2, len - 2, JSON_REJECT_DUPLICATES, NULL);
	} else {
		rec = device_save(d);
		for (size_t i = 2; i + 4 <= len && i < 2 + 4 * 16; i += 4)
			edit(rec, data + i);
	}
	if (rec && device_load(d, rec) == 0)
		accepted(d);
	json_decref(rec);
	device_reset(d);
	return 0;
}
