/*
 * Devices: a class is one const table; an instance embeds struct device as its first member.
 */
#ifndef COMMON_DEVICE_H
#define COMMON_DEVICE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <jansson.h>

#include "common/bus.h"
#include "common/conf.h"
#include "common/irq.h"
#include "common/log.h"
#include "common/snap.h"

struct vm;
struct chardev;
struct device;

/* What firmware tables say of a chip; arch renders it as FDT or AML. */
struct dev_desc {
	const char *fdt_name;           /* node name without address: "pl011" */
	const char *compatible;         /* FDT, entries separated by ',,' are written as a string list */
	const char *hid;                /* ACPI _HID: "PNP0501" */
	const char *clock_names;        /* FDT clock-names, entries separated by ',,'; NULL: no clocks */
};

/* A network card as the operator sees it. */
struct net_stat { uint64_t packets, bytes, dropped; };
struct net_port {
	const char *backend, *host;     /* "tap=net0", "net0"; the card's.  host: NULL without one */
	uint8_t mac[6];
	unsigned queues;
	bool up;
	struct net_stat rx, tx;         /* rx: to the guest */
};

struct device_class {
	const char *name;               /* as on the command line: "virtio-blk", "uart16550" */
	const char *help;               /* one line */
	size_t size;                    /* of the instance struct */
	uint64_t io_len;                /* bytes of registers for chips placed by a board table; 0: none, or set in io.len by init */
	const struct reg *regs;         /* chips: register table, sorted by offset */
	unsigned nregs;
	const struct io_ops *ops;       /* instead of regs where a table does not fit */
	const struct opt *opts;         /* ends with a NULL name; NULL: no options */
	const char *positional;         /* option meant by the first bare word after "-s SLOT,NAME,"; NULL: none */
	/* Own grammar for one comma-separated word; 1: not mine (generic name=value or flag), 0, or -EINVAL (reported). */
	int (*conf_word)(struct conf *, const char *id, const char *word, const char *origin);
	const struct dev_desc *desc;
	/*
	 * All on the main thread.  init: options are checked and readable by dev_opt_*(); opens host resources
	 * unless dev->vm->dry.  0 or -errno (reported); after a failure fini is not called.
	 */
	int (*init)(struct device *);
	void (*fini)(struct device *);
	void (*reset)(struct device *);         /* power-on state; no vCPU runs; also called once after init */
	void (*placed)(struct device *);        /* the registers have their address (io.base); main thread, before the vCPUs run */
	/* pause: host I/O in flight is finished and no new one starts; after the vCPUs.  resume: before them. */
	void (*pause)(struct device *);
	void (*resume)(struct device *);
	const struct snap_field *snap;          /* NULL: stateless */
	unsigned snap_version;                  /* of the newest field */
	void (*saving)(struct device *);        /* fills fields that exist for the snapshot only; NULL: there are none */
	/* Checks and rebuilds computed state after a load; -EINVAL (reported) refuses the image. */
	int (*loaded)(struct device *);
	struct chardev *(*chardev)(struct device *);    /* serial ports: what stands behind the line; NULL: no such port */
	/* Disk drives: another medium in drive `unit`, or none (path NULL).  0 or -errno (reported).  Loop thread. */
	int (*medium)(struct device *, unsigned unit, const char *path);
	/* Network cards: how they are; and the cable plugged in or out.  NULL: not one.  Loop thread. */
	void (*net_port)(struct device *, struct net_port *out);
	void (*net_link)(struct device *, bool up);
	bool pci;                               /* instance embeds struct pci_dev (devices/pci/pci.h) */
	bool self_locking;                      /* the bus does not take dev->lock around the ops */
};

struct device {
	const struct device_class *cls;
	struct vm *vm;
	char id[32];                    /* bus path: "com1", "pci.0.3.0"; also the prefix of its options */
	pthread_mutex_t lock;           /* the bus holds it around handlers; callbacks of the loop take it */
	struct bus_range io;            /* chips placed by a board table; init may set len where instances differ */
	struct bus *io_bus;
	uint32_t gsi;                   /* of irq, for firmware tables; DEV_NO_GSI: none */
	struct irq_line irq;
	struct guest_warn warn;
};
#define DEV_NO_GSI UINT32_MAX

/*
 * Creates, initialises and resets an instance.  Main thread, before the vCPUs run.  NULL on failure (reported);
 * *err, when not NULL, gets the -errno.
 */
struct device *device_new(struct vm *, const struct device_class *, const char *id, int *err);
void device_free(struct device *);              /* NULL is fine; no vCPU runs */
void device_reset(struct device *);             /* power-on state; no vCPU runs */
/* Puts a chip's registers on a bus at base.  0 or -errno (reported). */
int device_place(struct device *, struct bus *, uint64_t base);
const struct device_class *device_class_find(const char *name);         /* devices/classes.c; NULL unknown */
extern const struct device_class *const device_classes[];               /* NULL-terminated */

/* Typed options of an instance: the value set for "<id>.<name>", else the table's default. */
const char *dev_opt_str(const struct device *, const char *name);        /* NULL: unset without default */
uint64_t dev_opt_u64(const struct device *, const char *name);
bool dev_opt_bool(const struct device *, const char *name);

/* Snapshot of one instance, with class and version around the fields; device_load refuses what does not fit. */
json_t *device_save(struct device *);
int device_load(struct device *, const json_t *);

static inline void dev_lock(struct device *d) { pthread_mutex_lock(&d->lock); }
static inline void dev_unlock(struct device *d) { pthread_mutex_unlock(&d->lock); }
/* A rate-limited warning about the guest, named after the device. */
#define dev_warn(d, ...) guest_warn(&(d)->warn, (d)->id, __VA_ARGS__)

#endif
