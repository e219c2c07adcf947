/* Lines that share a pin, and message vectors, in a dry VM: no KVM, but the eventfds are real. */
#include "common/irq.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/vm.h"
#include "tests/unit/unit.h"

static struct vm vm;

static void start(void)
{
	memset(&vm, 0, sizeof(vm));
	vm.dry = true;
	vm.fd = vm.kvm_fd = -1;
	ck_assert_int_eq(irq_init(&vm), 0);
}

static void stop(void)
{
	irq_fini(&vm);
	ck_assert_ptr_null(vm.pins);
	ck_assert_ptr_null(vm.msi);
}

static uint64_t fired(const struct msi_vector *v)
{
	uint64_t n = 0;
	return read(v->fd, &n, 8) == 8 ? n : 0;
}

START_TEST(test_wired_or)
{
	struct irq_line a, b, c;
	start();
	ck_assert_int_eq(irq_connect(&vm, &a, 9), 0);
	ck_assert_int_eq(irq_connect(&vm, &b, 9), 0);
	ck_assert_int_eq(irq_connect(&vm, &c, 4), 0);
	ck_assert_ptr_eq(a.pin, b.pin);
	ck_assert_ptr_ne(a.pin, c.pin);
	ck_assert_uint_eq(a.pin->gsi, 9);
	irq_set(&a, true);
	irq_set(&a, true);                      /* idempotent */
	ck_assert_uint_eq(a.pin->asserted, 1);
	irq_set(&b, true);
	ck_assert_uint_eq(a.pin->asserted, 2);
	irq_set(&a, false);
	irq_set(&a, false);
	ck_assert_uint_eq(a.pin->asserted, 1);  /* b still holds it up */
	ck_assert(!a.level && b.level);
	ck_assert_uint_eq(c.pin->asserted, 0);
	irq_pulse(&c);
	ck_assert(!c.level);
	ck_assert_uint_eq(c.pin->asserted, 0);
	irq_pulse(&b);                          /* of a line that is up: it ends low */
	ck_assert_uint_eq(b.pin->asserted, 0);
	stop();
}
END_TEST

START_TEST(test_not_connected)
{
	struct irq_line l = { 0 };
	irq_set(&l, true);
	irq_pulse(&l);
	ck_assert(!l.level);
}
END_TEST

START_TEST(test_reset_keeps_levels)
{
	struct irq_line l;
	start();
	ck_assert_int_eq(irq_connect(&vm, &l, 5), 0);
	irq_set(&l, true);
	irq_reset(&vm);
	ck_assert(l.level);
	ck_assert_uint_eq(l.pin->asserted, 1);
	irq_set(&l, false);
	ck_assert_uint_eq(l.pin->asserted, 0);
	stop();
}
END_TEST

static void *toggle(void *arg)
{
	for (unsigned i = 0; i < 20000; i++)
		irq_set(arg, !(i % 2));
	return NULL;
}

/* Devices on several threads sharing a pin: no level is lost. */
START_TEST(test_threads)
{
	struct irq_line l[4];
	pthread_t t[4];
	start();
	for (unsigned i = 0; i < NELEM(l); i++) {
		ck_assert_int_eq(irq_connect(&vm, &l[i], 11), 0);
		ck_assert_int_eq(pthread_create(&t[i], NULL, toggle, &l[i]), 0);
	}
	for (unsigned i = 0; i < NELEM(l); i++)
		pthread_join(t[i], NULL);
	ck_assert_uint_eq(l[0].pin->asserted, 0);
	stop();
}
END_TEST

START_TEST(test_msi)
{
	struct msi_vector v = { 0 }, w = { 0 };
	start();
	msi_fire(&v);                           /* unset: nothing */
	msi_clear(&v);
	ck_assert_int_eq(msi_set(&vm, &v, 0xfee00000, 0x41, 0x20), 0);
	ck_assert_int_eq(msi_set(&vm, &w, 0xfee00000, 0x42, 0x20), 0);
	ck_assert_int_ne(v.fd, w.fd);
	ck_assert_uint_eq(fired(&v), 0);
	msi_fire(&v);
	msi_fire(&v);
	ck_assert_uint_eq(fired(&v), 2);
	ck_assert_uint_eq(fired(&w), 0);
	int fd = v.fd;
	ck_assert_int_eq(msi_set(&vm, &v, 0xfee00000, 0x41, 0x20), 0);          /* the same: free */
	ck_assert_int_eq(msi_set(&vm, &v, 0xfee01000, 0x43, 0x20), 0);          /* another message, the same trigger */
	ck_assert_int_eq(v.fd, fd);
	ck_assert_uint_eq(v.addr, 0xfee01000);
	ck_assert_uint_eq(v.data, 0x43);
	msi_fire(&v);
	ck_assert_uint_eq(fired(&v), 1);
	msi_clear(&v);
	ck_assert(!v.set);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	msi_fire(&v);
	msi_clear(&v);
	msi_clear(&w);
	stop();
}
END_TEST

/* A guest that never takes its interrupts cannot block a device thread. */
START_TEST(test_full_eventfd)
{
	struct msi_vector v = { 0 };
	uint64_t full = UINT64_MAX - 1;
	start();
	ck_assert_int_eq(msi_set(&vm, &v, 0xfee00000, 1, 0), 0);
	ck_assert_int_eq(write(v.fd, &full, 8), 8);
	msi_fire(&v);
	ck_assert_uint_eq(fired(&v), full);
	msi_clear(&v);
	stop();
}
END_TEST

UNIT_MAIN("common/irq", test_wired_or, test_not_connected, test_reset_keeps_levels, test_threads, test_msi, test_full_eventfd)
