/*
 * Wired-OR pins, and MSI vectors as irqfds over KVM's routing table [KVM-API 4.52 KVM_SET_GSI_ROUTING,
 * 4.75 KVM_IRQFD].  The table is replaced as a whole whenever a vector's message changes.
 */
#include "common/irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/kvm.h"
#include "common/log.h"
#include "common/vm.h"

#define MSI_MAX 1024
#define MSI_FIRST_GSI 256       /* above every pin of either interrupt chip; KVM allows 4096 routes */
#define PINS_MAX 256

struct msi_table {
	pthread_mutex_t lock;           /* guards all of this and the pin list */
	struct kvm_irq_routing_entry e[MSI_MAX];
	bool used[MSI_MAX];
	unsigned top;                   /* above the highest used slot */
};

int irq_init(struct vm *vm)
{
	vm->msi = calloc(1, sizeof(*vm->msi));
	if (!vm->msi)
		return -ENOMEM;
	return -pthread_mutex_init(&vm->msi->lock, NULL);
}

void irq_fini(struct vm *vm)
{
	while (vm->pins) {
		struct irq_pin *pin = vm->pins;
		vm->pins = pin->next;
		pthread_mutex_destroy(&pin->lock);
		free(pin);
	}
	if (vm->msi)
		pthread_mutex_destroy(&vm->msi->lock);
	free(vm->msi);
	vm->msi = NULL;
}

int irq_connect(struct vm *vm, struct irq_line *line, uint32_t gsi)
{
	for (struct irq_pin *p = vm->pins; p; p = p->next) {
		if (p->gsi == gsi) {
			*line = (struct irq_line){ .pin = p };
			return 0;
		}
	}
	struct irq_pin *pin = calloc(1, sizeof(*pin));
	if (!pin)
		return -ENOMEM;
	pin->vm = vm;
	pin->gsi = gsi;
	pthread_mutex_init(&pin->lock, NULL);
	pin->next = vm->pins;
	vm->pins = pin;
	*line = (struct irq_line){ .pin = pin };
	return 0;
}

static void pin_drive(struct irq_pin *pin, bool level)
{
	if (!pin->vm->dry)
		arch_irq_line(pin->vm, pin->gsi, level);
}

void irq_set(struct irq_line *line, bool level)
{
	struct irq_pin *pin = line->pin;
	if (!pin || line->level == level)
		return;
	pthread_mutex_lock(&pin->lock);
	if (line->level != level) {
		line->level = level;
		bool was = pin->asserted > 0;
		pin->asserted += level ? 1 : -1u;
		if (was != (pin->asserted > 0))
			pin_drive(pin, level);
	}
	pthread_mutex_unlock(&pin->lock);
}

void irq_pulse(struct irq_line *line)
{
	irq_set(line, true);
	irq_set(line, false);
}

void irq_reset(struct vm *vm)
{
	for (struct irq_pin *p = vm->pins; p; p = p->next) {
		if (p->asserted)
			pin_drive(p, true);     /* the chip was reset underneath: tell it the level again */
	}
}

/* --- MSI --- */

static int routes_commit(struct vm *vm)
{
	struct msi_table *t = vm->msi;
	size_t size = sizeof(struct kvm_irq_routing) + (PINS_MAX + t->top) * sizeof(struct kvm_irq_routing_entry);
	struct kvm_irq_routing *r = calloc(1, size);
	if (!r)
		return -ENOMEM;
	r->nr = arch_fixed_routes(vm, r->entries, PINS_MAX);
	for (unsigned i = 0; i < t->top; i++) {
		if (t->used[i])
			r->entries[r->nr++] = t->e[i];
	}
	int err = kvm_ioctl(vm->fd, KVM_SET_GSI_ROUTING, r);
	free(r);
	return err;
}

static int irqfd(struct vm *vm, int fd, uint32_t gsi, bool on)
{
	struct kvm_irqfd arg = { .fd = (uint32_t)fd, .gsi = gsi, .flags = on ? 0 : KVM_IRQFD_FLAG_DEASSIGN };
	return kvm_ioctl(vm->fd, KVM_IRQFD, &arg);
}

/* Finds the vector's slot, or a free one; -1 when the table is full. */
static int msi_slot(struct msi_table *t, const struct msi_vector *v)
{
	if (v->set && v->gsi >= MSI_FIRST_GSI)
		return (int)(v->gsi - MSI_FIRST_GSI);
	for (unsigned i = 0; i < MSI_MAX; i++) {
		if (!t->used[i])
			return (int)i;
	}
	return -1;
}

static void msi_release(struct vm *vm, struct msi_vector *v)
{
	if (v->gsi >= MSI_FIRST_GSI)
		vm->msi->used[v->gsi - MSI_FIRST_GSI] = false;
	while (vm->msi->top && !vm->msi->used[vm->msi->top - 1])
		vm->msi->top--;
}

/* Points KVM at the message; the new gsi or -errno.  Under the table's lock. */
static int msi_route(struct vm *vm, const struct msi_vector *v, uint64_t addr, uint32_t data, uint32_t devid)
{
	struct msi_table *t = vm->msi;
	struct kvm_irq_routing_entry e = { 0 };
	uint32_t pin;
	int kind = arch_msi_route(vm, addr, data, devid, &e, &pin);
	if (kind < 0)
		return kind;
	if (kind == 1)
		return (int)pin;
	int slot = msi_slot(t, v);
	if (slot < 0)
		return -ENOSPC;
	e.gsi = MSI_FIRST_GSI + (uint32_t)slot;
	t->e[slot] = e;
	t->used[slot] = true;
	t->top = MAX(t->top, (unsigned)slot + 1);
	int err = routes_commit(vm);
	return err ? err : (int)e.gsi;
}

static int msi_attach(struct vm *vm, struct msi_vector *v, uint64_t addr, uint32_t data, uint32_t devid)
{
	if (vm->dry)
		return 0;
	int gsi = msi_route(vm, v, addr, data, devid);
	if (gsi == -EINVAL)
		return gsi;             /* the guest's address is no doorbell: its interrupt is lost, as on hardware */
	if (gsi < 0)
		return err_msg(gsi, "MSI route: %s", strerror(-gsi));
	if (v->set && v->gsi == (uint32_t)gsi)
		return 0;
	if (v->set) {
		irqfd(vm, v->fd, v->gsi, false);
		msi_release(vm, v);
	}
	v->gsi = (uint32_t)gsi;
	int err = irqfd(vm, v->fd, v->gsi, true);
	if (err == 0)
		return 0;
	if (!v->set)
		msi_release(vm, v);
	return err_msg(err, "MSI irqfd: %s", strerror(-err));
}

int msi_set(struct vm *vm, struct msi_vector *v, uint64_t addr, uint32_t data, uint32_t devid)
{
	if (v->set && v->addr == addr && v->data == data && v->devid == devid)
		return 0;
	if (!v->set) {
		v->vm = vm;
		v->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (v->fd < 0)
			return err_sys("MSI eventfd");
	}
	pthread_mutex_lock(&vm->msi->lock);
	int err = msi_attach(vm, v, addr, data, devid);
	pthread_mutex_unlock(&vm->msi->lock);
	if (err) {
		if (!v->set)
			close(v->fd);
		else
			msi_clear(v);
		return err;
	}
	v->set = true;
	v->addr = addr;
	v->data = data;
	v->devid = devid;
	return 0;
}

void msi_clear(struct msi_vector *v)
{
	if (!v->set)
		return;
	pthread_mutex_lock(&v->vm->msi->lock);
	if (!v->vm->dry) {
		irqfd(v->vm, v->fd, v->gsi, false);
		msi_release(v->vm, v);
	}
	pthread_mutex_unlock(&v->vm->msi->lock);
	close(v->fd);
	*v = (struct msi_vector){ 0 };
}

void msi_fire(const struct msi_vector *v)
{
	uint64_t one = 1;
	if (v->set && write(v->fd, &one, sizeof(one)) != sizeof(one))
		return;         /* EAGAIN: 2^64 - 2 unseen fires cannot happen while KVM drains the eventfd */
}
