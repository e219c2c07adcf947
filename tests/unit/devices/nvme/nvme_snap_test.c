#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "devices/block/img.h"
#include "devices/classes.h"
#include "tests/unit/capture.h"
#include "tests/unit/devices/block/fake_img.h"
#include "tests/unit/devices/nvme/nvdrv.h"

static char path[64];

static void image_make(uint64_t size)
{
	snprintf(path, sizeof(path), "/tmp/skep-nvme-XXXXXX");
	const int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct nv *disk(uint64_t size, const char *key, const char *val)
{
	image_make(size);
	struct nv *n = nv_open(path, key, val);
	ck_assert_ptr_nonnull(n);
	return n;
}

static void disk_end(struct nv *n)
{
	nv_close(n);
	unlink(path);
}

static json_t *save(struct nv *n)
{
	json_t *rec = device_save(&n->c->pci.dev);
	ck_assert_ptr_nonnull(rec);
	return rec;
}

static void pause_now(struct nv *n) { n->c->pci.dev.cls->pause(&n->c->pci.dev); }
static void resume_now(struct nv *n) { n->c->pci.dev.cls->resume(&n->c->pci.dev); }

/*
 * Paused with commands in flight that the throttle holds back: they are in the snapshot, and run after it was loaded.
 * So are event requests, features, a queue that waits to be deleted.
 */
START_TEST(snapshot)
{
	struct nv *n = disk(1 << 20, "iops", "1");
	struct device *dev = &n->c->pci.dev;
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 2, 16);
	nv_cmd(cmd, ADM_AER);
	const uint16_t aer = nv_put(n, 0, cmd);
	nv_cmd(cmd, ADM_SET_FEATURES);
	nv_dw(cmd, 1, 0);
	nv_dw(cmd, 10, FEAT_WRITE_CACHE);
	ck_assert_uint_eq(nv_do(n, 0, cmd), NVME_SUCCESS);
	const uint64_t buf = nv_page(n, 1);
	uint16_t cid[6];
	memset(nv_ptr(n, buf, 512), 0x77, 512);
	for (unsigned i = 0; i < 6; i++) {
		nv_cmd(cmd, IO_WRITE);
		nv_prp(cmd, buf, 0);
		put_le64(cmd + 40, i);
		cid[i] = nv_put(n, 1 + i / 4, cmd);
	}
	nv_ring(n, 1);
	nv_ring(n, 2);
	loop_step(n->d->vm->loop, 1);
	nv_cmd(cmd, ADM_DELETE_SQ);
	nv_dw(cmd, 10, 2);
	const uint16_t del = nv_put(n, 0, cmd);
	nv_ring(n, 0);
	loop_step(n->d->vm->loop, 1);
	ck_assert(n->c->sq[2].deleting);
	pause_now(n);
	ck_assert_uint_ge(n->c->inflight, 4);
	json_t *a = save(n);
	ck_assert_uint_eq(n->c->saved_len, n->c->inflight * NVME_HELD_LEN);
	device_reset(dev);
	ck_assert_uint_eq(n->c->inflight, 0);
	ck_assert_uint_eq(nv_rd(n, NVME_CSTS), 0xffffffff);     /* its BAR is gone with the reset */
	ck_assert_int_eq(device_load(dev, a), 0);
	json_t *b = save(n);
	ck_assert(json_equal(a, b));
	/* Again, over the state it has. */
	ck_assert_int_eq(device_load(dev, a), 0);
	json_decref(b);
	b = save(n);
	ck_assert(json_equal(a, b));
	resume_now(n);
	unsigned seen = 0;
	for (unsigned i = 0; i < 10000 && seen != 0x3f; i++) {
		loop_step(n->d->vm->loop, 1);
		for (unsigned q = 1; q <= 2; q++) {
			while (nv_poll(n, q)) {
				ck_assert_uint_eq(n->last.status, 0);
				for (unsigned k = 0; k < 6; k++)
					seen |= n->last.cid == cid[k] ? 1u << k : 0;
			}
		}
	}
	ck_assert_uint_eq(seen, 0x3f);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, del);
	ck_assert(!n->c->sq[2].live);
	nv_ack(n, 0);
	/* The event request is still there. */
	nv_wr(n, NVME_DOORBELLS + 8 * 2, 3);
	ck_assert(nv_wait(n, 0));
	ck_assert_uint_eq(n->last.cid, aer);
	ck_assert_uint_eq(n->c->feat.write_cache, 0);
	json_decref(a);
	json_decref(b);
	disk_end(n);
}
END_TEST

static void set_u(json_t *o, const char *key, json_int_t val)
{
	ck_assert_msg(json_object_get(o, key) != NULL, "%s", key);
	json_object_set_new(o, key, json_integer(val));
}

/* Records that cannot be true are refused, and leave a controller that a reset brings back. */
START_TEST(bad_snapshots)
{
	struct nv *n = disk(1 << 20, NULL, NULL);
	struct device *dev = &n->c->pci.dev;
	nv_start(n, 8, 2, 8);
	json_t *good = save(n);
	for (unsigned i = 0; i < 11; i++) {
		json_t *rec = json_deep_copy(good), *s = json_object_get(rec, "state");
		json_t *sq1 = json_array_get(json_object_get(s, "sq$struct[]"), 1);
		json_t *cq1 = json_array_get(json_object_get(s, "cq$struct[]"), 1);
		ck_assert_ptr_nonnull(sq1);
		switch (i) {
		case 0: set_u(s, "blocks$uint64", 77); break;
		case 1: set_u(s, "saved_lbads$uint8", 12); break;
		case 2: set_u(sq1, "head$uint32", 8); break;
		case 3: set_u(sq1, "size$uint32", 1); break;
		case 4: set_u(sq1, "base$uint64", 0); break;
		case 5: set_u(sq1, "cqid$uint16", 99); break;
		case 6: set_u(sq1, "cqid$uint16", 3); break;
		case 7: set_u(cq1, "tail$uint32", 100); break;
		case 8: set_u(cq1, "base$uint64", DRV_RAM_BASE + 1); break;
		case 9: set_u(s, "naer$uint8", 5); break;
		case 10: set_u(s, "nsqa$uint16", 0); break;
		}
		ck_assert_msg(device_load(dev, rec) == -EINVAL, "case %u was accepted", i);
		json_decref(rec);
	}
	ck_assert_int_eq(device_load(dev, good), 0);
	const uint64_t buf = nv_page(n, 1);
	ck_assert_uint_eq(nv_io(n, 1, IO_READ, 0, buf, 4096), NVME_SUCCESS);
	json_decref(good);
	disk_end(n);
}
END_TEST

static void now_idle(void *arg) { (void)arg; }

/* The disk is full: the machine stops, its commands wait. */
static struct fake *stop_full(struct nv *n, uint16_t cid[3], uint64_t buf)
{
	struct fake *f = fake_new(1 << 20, FAKE_MISSING);
	struct blk *b = blk_find(n->d->vm, NV_ID);
	uint8_t cmd[NVME_SQE_LEN];
	struct img *old;
	atomic_store(&f->fail, -ENOSPC);
	dev_lock(&n->c->pci.dev);
	blk_hold(b, now_idle, NULL);
	ck_assert_int_eq(blk_replace(b, &f->img, &old), 0);
	blk_release(b);
	dev_unlock(&n->c->pci.dev);
	img_close(old);
	memset(nv_ptr(n, buf, 8192), 0x3c, 8192);
	for (unsigned i = 0; i < 3; i++) {
		nv_cmd(cmd, i == 2 ? IO_WRITE_ZEROES : IO_WRITE);
		nv_prp(cmd, buf + 2048, buf + 4096);
		put_le64(cmd + 40, 64 * i);
		nv_dw(cmd, 12, 7);
		cid[i] = nv_put(n, 1, cmd);
	}
	nv_ring(n, 1);
	for (unsigned i = 0; i < 200 && !(n->d->vm->holds & HOLD_STOP); i++)
		loop_step(n->d->vm->loop, 50);
	ck_assert(n->d->vm->holds & HOLD_STOP);
	ck_assert(!nv_poll(n, 1));
	return f;
}

static void full(bool reload)
{
	struct capture cap;
	image_make(1 << 20);
	struct vm *vm = drv_vm_new();
	drv_conf(vm, NV_ID ".path", path);
	drv_conf(vm, NV_ID ".format", "raw");
	drv_conf(vm, NV_ID ".werror", "enospc-stop");
	struct nv *n = nv_open_on(vm, NV_ID);
	struct device *dev = &n->c->pci.dev;
	uint16_t cid[3];
	unsigned seen = 0;
	nv_start(n, 16, 1, 16);
	const uint64_t buf = nv_page(n, 2);
	capture_start(&cap, STDERR_FILENO);
	struct fake *f = stop_full(n, cid, buf);
	capture_stop(&cap);
	if (reload) {
		json_t *rec = save(n);
		device_reset(dev);
		ck_assert_int_eq(device_load(dev, rec), 0);
		json_decref(rec);
		ck_assert(!nv_poll(n, 1));
	}
	atomic_store(&f->fail, 0);
	vm_continue(vm);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(nv_wait(n, 1));
		ck_assert_uint_eq(n->last.status, 0);
		for (unsigned k = 0; k < 3; k++)
			seen |= n->last.cid == cid[k] ? 1u << k : 0;
	}
	nv_ack(n, 1);
	ck_assert_uint_eq(seen, 7);
	ck_assert_uint_eq(nv_io(n, 1, IO_COMPARE, 64, buf, 4096), NVME_SUCCESS);
	ck_assert_uint_eq(n->c->inflight, 0);
	disk_end(n);
}
START_TEST(full_disk) { full(false); full(true); }
END_TEST

/* Changed records of waiting commands: refused, or run as what they say; never anything outside the guest's memory. */
START_TEST(changed_commands)
{
	struct capture cap;
	struct nv *n = disk(1 << 20, "iops", "1");
	struct device *dev = &n->c->pci.dev;
	uint8_t cmd[NVME_SQE_LEN];
	nv_start(n, 16, 1, 16);
	nv_cmd(cmd, IO_READ);
	nv_prp(cmd, nv_page(n, 1), 0);
	for (unsigned i = 0; i < 6; i++)
		nv_put(n, 1, cmd);
	nv_ring(n, 1);
	drv_settle(n->d);
	pause_now(n);
	json_t *rec = save(n), *state = json_object_get(rec, "state");
	char *text = strdup(json_string_value(json_object_get(state, "saved$base64")));
	const size_t len = strlen(text);
	unsigned refused = 0;
	ck_assert_uint_gt(len, 200);
	capture_start(&cap, STDERR_FILENO);
	for (size_t cut = 0; cut <= len; cut += 4) {
		json_object_set_new(state, "saved$base64", json_stringn(text, cut));
		refused += device_load(dev, rec) != 0;
	}
	for (size_t i = 0; i < len; i++) {
		char *t = strdup(text);
		t[i] = t[i] == '/' ? 'A' : '/';
		json_object_set_new(state, "saved$base64", json_string(t));
		if (device_load(dev, rec) == 0) {
			resume_now(n);
			drv_settle(n->d);
			pause_now(n);
		} else {
			refused++;
		}
		free(t);
	}
	capture_stop(&cap);
	ck_assert_uint_gt(refused, len / 5);
	device_reset(dev);
	free(text);
	json_decref(rec);
	disk_end(n);
}
END_TEST

UNIT_MAIN("devices/nvme/nvme_snap", snapshot, bad_snapshots, full_disk, changed_commands)
