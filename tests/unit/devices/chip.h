/*
 * A chip on a bus of its own, driven as a vCPU would.  Dry: no host resource; live: with an event loop and a run
 * directory, so that back ends and timers work.  The interrupt line ends in a pin of a dry VM.
 */
#ifndef TESTS_UNIT_DEVICES_CHIP_H
#define TESTS_UNIT_DEVICES_CHIP_H

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/vm.h"
#include "devices/classes.h"
#include "tests/unit/unit.h"

struct chip {
	struct vm vm, irq_vm;
	struct irq_pin pin;
	struct device *d;
	char dir[64];
};

static inline void chip_start(struct chip *c, const struct device_class *cls, const char *id, bool live)
{
	memset(c, 0, sizeof(*c));
	c->vm.dry = !live;
	c->irq_vm.dry = true;
	ck_assert_int_eq(bus_init(&c->vm.mmio, "mmio", UINT64_MAX), 0);
	if (live) {
		strcpy(c->dir, "/tmp/skep-unit-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(c->dir));
		c->vm.rundir = c->dir;
		c->vm.loop = loop_new();
		ck_assert_ptr_nonnull(c->vm.loop);
	}
	c->d = device_new(&c->vm, cls, id, NULL);
	ck_assert_ptr_nonnull(c->d);
	c->pin = (struct irq_pin){ .vm = &c->irq_vm };
	pthread_mutex_init(&c->pin.lock, NULL);
	c->d->irq.pin = &c->pin;
	ck_assert_int_eq(device_place(c->d, &c->vm.mmio, 0), 0);
}

static inline void chip_end(struct chip *c)
{
	device_free(c->d);
	free(c->vm.devs);
	bus_fini(&c->vm.mmio);
	if (c->vm.loop)
		loop_free(c->vm.loop);
	if (c->dir[0])
		ck_assert_int_eq(rmdir(c->dir), 0);     /* nothing is left behind */
}

static inline uint64_t rd(struct chip *c, uint64_t off, unsigned size)
{
	uint64_t val;
	ck_assert_ptr_nonnull(bus_read(&c->vm.mmio, off, size, &val));
	return val;
}

static inline void wr(struct chip *c, uint64_t off, unsigned size, uint64_t val)
{
	ck_assert_ptr_nonnull(bus_write(&c->vm.mmio, off, size, val));
}

static inline bool chip_irq(const struct chip *c)
{
	return c->d->irq.level;
}

static inline void chip_reset(struct chip *c)
{
	if (c->d->cls->reset)
		c->d->cls->reset(c->d);
}

/* Runs what is ready, and what gets ready within a few milliseconds. */
static inline void chip_loop(struct chip *c)
{
	for (int i = 0; i < 20; i++)
		loop_step(c->vm.loop, 1);
}

/* Reads of every offset at every size, twice; any sanitizer report or hang is the failure. */
static inline void chip_sweep(struct chip *c)
{
	static const uint64_t patterns[] = { 0, ~0ull, 0x5a5a5a5a5a5a5a5a };
	uint64_t len = c->d->cls->io_len, val;
	for (unsigned size = 1; size <= 8; size *= 2) {
		for (uint64_t off = 0; off < len; off++) {
			for (size_t i = 0; i < NELEM(patterns); i++) {
				bus_write(&c->vm.mmio, off, size, patterns[i]);
				bus_read(&c->vm.mmio, off, size, &val);
			}
		}
	}
}

/* Save, load into the same instance after a reset, save again: the same text. */
static inline void chip_round_trip(struct chip *c)
{
	json_t *first = device_save(c->d);
	ck_assert_ptr_nonnull(first);
	bool irq = chip_irq(c);
	chip_reset(c);
	ck_assert_int_eq(device_load(c->d, first), 0);
	ck_assert_int_eq(chip_irq(c), irq);
	json_t *second = device_save(c->d);
	ck_assert(json_equal(first, second));
	/* A record with a field missing is refused. */
	json_t *state = json_object_get(second, "state");
	json_object_del(state, json_object_iter_key(json_object_iter(state)));
	ck_assert_int_eq(device_load(c->d, second), -EINVAL);
	json_decref(first);
	json_decref(second);
}

/* Connects to the console socket of the run directory. */
static inline int chip_connect(struct chip *c)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s.sock", c->dir, c->d->id);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	chip_loop(c);
	return fd;
}

/* What arrived so far, as a string. */
static inline const char *chip_recv(int fd, char *buf, size_t cap)
{
	ssize_t n = recv(fd, buf, cap - 1, MSG_DONTWAIT);
	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

#endif
