#include "tests/unit/unit.h"

#include "devices/classes.h"
#include "tests/unit/devices/virtio/driver.h"

static struct drv *rnd_new(void)
{
	struct drv *d = drv_open(drv_vm_new(), &virtio_rnd_class, "pci.0.5.0");
	ck_assert_ptr_nonnull(d);
	return d;
}

static void end(struct drv *d)
{
	struct vm *vm = d->vm;
	drv_close(d);
	drv_vm_free(vm);
}

static unsigned cap_find(struct drv *d, uint8_t type)
{
	for (unsigned at = (unsigned)drv_pci_read(d, PCI_CAP_PTR, 1); at; at = (unsigned)drv_pci_read(d, at + 1, 1)) {
		if (drv_pci_read(d, at, 1) == 9 && drv_pci_read(d, at + 3, 1) == type)
			return at;
	}
	return 0;
}

START_TEST(identity)
{
	struct drv *d = rnd_new();
	ck_assert_uint_eq(drv_pci_read(d, PCI_VENDOR, 4), 0x10441af4);
	ck_assert_uint_eq(drv_pci_read(d, PCI_REVISION, 1), 1);
	ck_assert_uint_ge(drv_pci_read(d, PCI_SUBDEVICE, 2), 0x40);
	const unsigned common = cap_find(d, 1), notify = cap_find(d, 2), isr = cap_find(d, 3);
	ck_assert(common && notify && isr && cap_find(d, 5));
	ck_assert_uint_eq(cap_find(d, 4), 0);           /* no device-specific configuration */
	ck_assert_uint_eq(drv_pci_read(d, common + 8, 4), VIRTIO_BAR_COMMON);
	ck_assert_uint_ge(drv_pci_read(d, common + 12, 4), 0x3c);
	ck_assert_uint_eq(drv_pci_read(d, notify + 16, 4), VIRTIO_NOTIFY_MULT);
	ck_assert_uint_eq(drv_pci_read(d, isr + 8, 4), VIRTIO_BAR_ISR);
	end(d);
}
END_TEST

START_TEST(negotiation)
{
	struct drv *d = rnd_new();
	drv_write(d, 0x14, 1, 3);
	drv_write(d, 0x14, 1, 0xb);                     /* without VERSION_1 */
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 3);
	drv_write(d, 8, 4, 1);
	drv_write(d, 12, 4, 1 | 1u << 30);              /* a feature nobody offers */
	drv_write(d, 0x14, 1, 0xb);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 3);
	drv_write(d, 12, 4, 1);
	drv_write(d, 0x14, 1, 7);                       /* DRIVER_OK too early */
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 3);
	drv_write(d, 0x14, 1, 0xb);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 0xb);
	drv_write(d, 12, 4, 0);                         /* too late */
	ck_assert_uint_eq(drv_read(d, 12, 4), 1);
	drv_write(d, 8, 4, 2);
	drv_write(d, 12, 4, 0xffffffff);
	ck_assert_uint_eq(drv_read(d, 12, 4), 0);
	drv_write(d, 0, 4, 5);
	ck_assert_uint_eq(drv_read(d, 4, 4), 0);
	drv_write(d, 0x14, 1, 0);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 0);
	ck_assert_uint_eq(drv_read(d, 8, 4), 0);
	end(d);
}
END_TEST

START_TEST(queue_before_features)
{
	struct drv *d = rnd_new();
	drv_write(d, 0x14, 1, 3);
	drv_write(d, 0x20, 8, DRV_RAM_BASE);
	drv_write(d, 0x1c, 2, 1);
	ck_assert_uint_eq(drv_read(d, 0x1c, 2), 0);
	drv_write(d, 0x16, 2, 1);                       /* no such queue */
	ck_assert_uint_eq(drv_read(d, 0x18, 2), 0);
	drv_write(d, 0x18, 2, 8);
	drv_write(d, 0x1c, 2, 1);
	drv_write(d, 0x1a, 2, 0);
	ck_assert_uint_eq(drv_read(d, 0x1a, 2), VIRTIO_NO_VECTOR);
	ck_assert_uint_eq(drv_read(d, 0x1c, 2), 0);
	end(d);
}
END_TEST

START_TEST(vectors)
{
	struct drv *d = rnd_new();
	drv_write(d, 0x10, 2, 1);
	ck_assert_uint_eq(drv_read(d, 0x10, 2), 1);
	drv_write(d, 0x10, 2, 2);                       /* it has two: 0 and 1 */
	ck_assert_uint_eq(drv_read(d, 0x10, 2), VIRTIO_NO_VECTOR);
	drv_write(d, 0x1a, 2, 0x1000);
	ck_assert_uint_eq(drv_read(d, 0x1a, 2), VIRTIO_NO_VECTOR);
	/* NO_VECTOR: served without an interrupt. */
	drv_start(d, 0, 1, 16);
	drv_write(d, 0x16, 2, 0);
	drv_write(d, 0x1a, 2, VIRTIO_NO_VECTOR);
	const struct drv_buf b = { drv_alloc(d, 8), 8, true };
	ck_assert_int_eq(drv_do(d, 0, &b, 1, false), 8);
	ck_assert_uint_eq(d->v->pci.msix_pending, 0);
	end(d);
}
END_TEST

/* The window in configuration space reaches the same registers [VIRTIO-1.2 4.1.4.9]. */
START_TEST(config_window)
{
	struct drv *d = rnd_new();
	const unsigned cap = cap_find(d, 5);
	drv_pci_write(d, cap + 4, 1, VIRTIO_BAR_REGS);
	drv_pci_write(d, cap + 8, 4, 0x14);
	drv_pci_write(d, cap + 12, 4, 1);
	drv_pci_write(d, cap + 16, 1, 3);
	ck_assert_uint_eq(drv_read(d, 0x14, 1), 3);
	ck_assert_uint_eq(drv_pci_read(d, cap + 16, 1), 3);
	static const struct { uint32_t bar, off, len; } bad[] = {
		{ 1, 0x14, 1 }, { 0, VIRTIO_BAR_LEN, 1 }, { 0, UINT32_MAX, 4 }, { 0, 0x14, 3 }, { 0, 0x15, 2 }, { 0, 0x14, 0 },
		{ 0, 0, UINT32_MAX },
	};
	for (size_t i = 0; i < NELEM(bad); i++) {
		drv_pci_write(d, cap + 4, 1, bad[i].bar);
		drv_pci_write(d, cap + 8, 4, bad[i].off);
		drv_pci_write(d, cap + 12, 4, bad[i].len);
		drv_pci_write(d, cap + 16, 4, 0);
		drv_pci_read(d, cap + 16, 4);
		ck_assert_uint_eq(drv_read(d, 0x14, 1), 3);
	}
	end(d);
}
END_TEST

START_TEST(bar_moves)
{
	struct drv *d = rnd_new();
	drv_start(d, 0, 1, 16);
	drv_pci_write(d, PCI_BAR0 + 4, 4, 9);
	ck_assert_uint_eq(d->v->pci.bar[0].range.base >> 32, 9);
	const struct drv_buf b = { drv_alloc(d, 8), 8, true };
	ck_assert_int_eq(drv_do(d, 0, &b, 1, false), 8);
	end(d);
}
END_TEST

/* A reset by the machine leaves nothing of the driver before. */
START_TEST(machine_reset)
{
	struct drv *d = rnd_new();
	drv_start(d, VIRTIO_F_RING_PACKED, 1, 16);
	json_t *before;
	device_reset(&d->v->pci.dev);
	before = device_save(&d->v->pci.dev);
	device_reset(&d->v->pci.dev);
	json_t *after = device_save(&d->v->pci.dev);
	ck_assert(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	ck_assert_uint_eq(d->v->status, 0);
	end(d);
}
END_TEST

/* The value whose typed key begins so. */
static json_t *named(json_t *obj, const char *prefix)
{
	const char *key;
	json_t *v;
	json_object_foreach(obj, key, v) {
		if (strncmp(key, prefix, strlen(prefix)) == 0)
			return v;
	}
	return NULL;
}

/* A damaged snapshot is refused or harmless. */
START_TEST(bad_snapshot)
{
	static const struct { const char *field; int64_t val; } bad[] = {
		{ "size$uint16", 0 }, { "size$uint16", 999 }, { "desc$uint64", 3 }, { "avail_idx$uint16", 60000 },
	};
	struct drv *d = rnd_new();
	for (size_t i = 0; i < NELEM(bad); i++) {
		d->brk = DRV_RAM_BASE;
		drv_start(d, VIRTIO_F_RING_PACKED, 1, 16);
		json_t *rec = device_save(&d->v->pci.dev);
		json_t *vq = named(named(json_object_get(rec, "state"), "v$"), "vq$");
		ck_assert_ptr_nonnull(vq);
		json_t *q = json_array_get(vq, 0);
		ck_assert_ptr_nonnull(json_object_get(q, bad[i].field));
		json_object_set_new(q, bad[i].field, json_integer(bad[i].val));
		device_load(&d->v->pci.dev, rec);
		json_decref(rec);
		d->v->pci.dev.cls->resume(&d->v->pci.dev);
		if (d->v->pci.bar[0].range.mapped)
			drv_kick_always(d, 0);
		drv_settle(d);
		device_reset(&d->v->pci.dev);
		ck_assert_int_eq(pci_assign(d->vm), 0);
		drv_pci_write(d, PCI_COMMAND, 2, PCI_COMMAND_MEM);
	}
	end(d);
}
END_TEST

UNIT_MAIN("devices/virtio/virtio_pci", identity, negotiation, queue_before_features, vectors, config_window, bar_moves,
	machine_reset, bad_snapshot)
