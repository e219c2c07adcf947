/*
 * Checkpoints: by every store on images at rest, and of the disks of a VM through its control socket while requests run.
 * ZFS and LVM are stood in for by programs along PATH that write down how they were called.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/vm.h"
#include "devices/block/block.h"
#include "devices/block/ckpt.h"
#include "devices/block/img.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static char dir[64];
static struct capture cap;

static const char *in_dir(const char *name)
{
	static char path[4][160];
	static unsigned n;
	char *p = path[n++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void setup(void)
{
	strcpy(dir, "/tmp/skep-ckpt-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void teardown(void)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	ck_assert_int_eq(system(cmd), 0);
}

static struct img *open_rw(const char *name)
{
	const struct img_open o = { .path = in_dir(name), .file_flags = BFILE_WRITE };
	int err;
	struct img *i = img_open(&o, &err);

	ck_assert_ptr_nonnull(i);
	return i;
}

static void make(const char *name, const char *format)
{
	const struct img_create c = { .path = in_dir(name), .format = format, .size = MIB(1) };

	ck_assert_int_eq(img_create(&c), 0);
}

static void put(struct img *i, uint8_t byte)
{
	uint8_t buf[4096];

	memset(buf, byte, sizeof(buf));
	ck_assert_int_eq(img_write_buf(i, 8192, buf, sizeof(buf)), 0);
}

static uint8_t get(struct img *i)
{
	uint8_t b = 0;

	ck_assert_int_eq(img_read_buf(i, 8192 + 100, &b, 1), 0);
	return b;
}

static uint8_t get_file(const char *name)
{
	struct img *i = open_rw(name);
	const uint8_t b = get(i);

	ck_assert_int_eq(img_close(i), 0);
	return b;
}

START_TEST(test_inside)
{
	struct ckpt_step s;
	struct img *i;

	setup();
	make("d.qcow2", "qcow2");
	i = open_rw("d.qcow2");
	put(i, 1);
	ck_assert_ptr_eq(ckpt_store_for(i, NULL), &ckpt_qcow2);
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_qcow2, "one", NULL), 0);
	put(i, 2);                              /* between prepare and take the disk is in use */
	ck_assert_int_eq(ckpt_take(&s), 0);
	ck_assert_ptr_null(s.new_top);
	ckpt_free(&s);
	put(i, 3);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_qcow2, "one", NULL), -EEXIST);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "has a snapshot 'one' already"));
	ckpt_free(&s);
	/* Taken and not wanted after all. */
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_qcow2, "two", NULL), 0);
	ck_assert_int_eq(ckpt_take(&s), 0);
	ckpt_undo(&s);
	ckpt_free(&s);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_ne(i->drv->snap_delete(i, "two"), 0);
	capture_stop(&cap);
	ck_assert_int_eq(i->drv->snap_apply(i, "one"), 0);
	ck_assert_uint_eq(get(i), 2);
	ck_assert_int_eq(ckpt_qcow2.drop(i, "one"), 0);
	ck_assert_int_eq(img_close(i), 0);
	teardown();
}
END_TEST

START_TEST(test_overlay)
{
	static const char *const formats[] = { "raw", "qcow2" };

	for (size_t f = 0; f < NELEM(formats); f++) {
		struct ckpt_step s;
		struct img *i;

		setup();
		make("d.img", formats[f]);
		i = open_rw("d.img");
		put(i, 1);
		ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_overlay, "one", NULL), 0);
		ck_assert_str_eq(s.where, in_dir("d.one.qcow2"));
		/* Undone before and after it was taken: as if nothing had been. */
		ckpt_undo(&s);
		ck_assert_int_eq(access(s.where, F_OK), -1);
		ckpt_free(&s);
		ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_overlay, "one", NULL), 0);
		ck_assert_int_eq(ckpt_take(&s), 0);
		ckpt_commit(&s);
		ck_assert(i->read_only);
		ckpt_undo(&s);
		ckpt_free(&s);
		ck_assert(!i->read_only);
		put(i, 2);
		ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_overlay, "one", NULL), 0);
		ck_assert_int_eq(ckpt_take(&s), 0);
		put(s.new_top, 3);
		ck_assert_uint_eq(get(s.new_top), 3);
		ck_assert_uint_eq(get(i), 2);
		ck_assert_int_eq(img_close(s.new_top), 0);
		ckpt_free(&s);
		ck_assert_uint_eq(get_file("d.img"), 2);
		ck_assert_uint_eq(get_file("d.one.qcow2"), 3);
		/* Another way on from there. */
		i = open_rw("d.one.qcow2");
		ck_assert_int_eq(ckpt_overlay.branch(i, "one", in_dir("b.qcow2")), 0);
		ck_assert_int_eq(img_close(i), 0);
		ck_assert_uint_eq(get_file("b.qcow2"), 2);
		/* The name is taken. */
		i = open_rw("d.img");
		capture_start(&cap, STDERR_FILENO);
		ck_assert_int_ne(ckpt_prepare(&s, i, &ckpt_overlay, "one", NULL), 0);
		ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "d.one.qcow2"));
		ckpt_free(&s);
		ck_assert_int_eq(img_close(i), 0);
		ck_assert_uint_eq(get_file("d.one.qcow2"), 3);
		teardown();
	}
}
END_TEST

/* What does not come about leaves the disk writable, and no file. */
START_TEST(test_overlay_fails)
{
	struct ckpt_step s;
	struct img *i, *base;
	uint8_t head[80];
	int fd;

	setup();
	make("d.img", "qcow2");
	i = open_rw("d.img");
	put(i, 1);
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_overlay, "one", NULL), 0);
	ck_assert_int_eq(unlink(s.where), 0);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ckpt_take(&s), -ENOENT);
	capture_stop(&cap);
	ckpt_undo(&s);
	ckpt_free(&s);
	ck_assert(!i->read_only);
	put(i, 2);
	/* Links lead out of the directory: the base is named by what it is. */
	ck_assert_int_eq(symlink("d.img", in_dir("link.img")), 0);
	free(i->file->path);
	i->file->path = strdup(in_dir("link.img"));
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_overlay, "two", NULL), 0);
	ck_assert_int_eq(ckpt_take(&s), 0);
	ckpt_commit(&s);
	ck_assert_str_eq(s.new_top->backing_path, in_dir("d.img"));
	/* The base is at rest in its file: no mark says that it was not closed. */
	fd = open(in_dir("d.img"), O_RDONLY);
	ck_assert_int_eq(pread(fd, head, sizeof(head), 0), (ssize_t)sizeof(head));
	close(fd);
	ck_assert_uint_eq(head[79], 0);
	base = s.new_top;
	ck_assert_int_eq(img_close(base), 0);
	ckpt_free(&s);
	/* A file without a name keeps nothing. */
	i = open_rw("d.img");
	unlink(in_dir("d.img"));
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_qcow2, "three", NULL), -ENOENT);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "has no name in any directory"));
	ckpt_undo(&s);
	ckpt_free(&s);
	ck_assert_int_eq(img_close(i), 0);
	teardown();
}
END_TEST

START_TEST(test_names)
{
	static const char *const bad[] = { "", ".", "-a", "a/b", "a b", "a@b",
		"0123456789012345678901234567890123456789012345678901234567890123" };

	capture_start(&cap, STDERR_FILENO);
	for (size_t i = 0; i < NELEM(bad); i++)
		ck_assert_int_eq(ckpt_name_check(bad[i]), -EINVAL);
	capture_stop(&cap);
	ck_assert_int_eq(ckpt_name_check("before-upgrade_2.1"), 0);
}
END_TEST

/* On a file system that cannot share blocks the store says so; on Btrfs or XFS it is used. */
START_TEST(test_reflink)
{
	struct img *i;
	struct statfs fs;
	char why[160];
	bool can;

	setup();
	make("d.raw", "raw");
	i = open_rw("d.raw");
	ck_assert_int_eq(fstatfs(i->file->fd, &fs), 0);
	can = fs.f_type == 0x9123683e || fs.f_type == 0x58465342;
	ck_assert_int_eq(ckpt_reflink.fits(i, why, sizeof(why)), can);
	ck_assert_ptr_eq(ckpt_store_for(i, "auto"), can ? &ckpt_reflink : &ckpt_overlay);
	capture_start(&cap, STDERR_FILENO);
	if (!can)
		ck_assert_ptr_null(ckpt_store_for(i, "reflink"));
	ck_assert_ptr_null(ckpt_store_for(i, "tape"));
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "'tape' is not known"));
	ck_assert_int_eq(img_close(i), 0);
	teardown();
}
END_TEST

/* --- Volumes: programs that write down what they were asked --- */

static void stand_in(const char *name, const char *script)
{
	FILE *f = fopen(in_dir(name), "w");

	fprintf(f, "#!/bin/sh\necho \"%s $*\" >>%s/calls\n%s\n", name, dir, script);
	fclose(f);
	ck_assert_int_eq(chmod(in_dir(name), 0755), 0);
}

static const char *calls(void)
{
	static char text[1024];
	FILE *f = fopen(in_dir("calls"), "r");
	const size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

	text[n] = 0;
	if (f)
		fclose(f);
	unlink(in_dir("calls"));
	return text;
}

static void use_path(void)
{
	char path[300];

	snprintf(path, sizeof(path), "%s:%s", dir, getenv("PATH"));
	setenv("PATH", path, 1);
}

START_TEST(test_volumes)
{
	struct ckpt_step s, t;
	struct img *i;
	char *old = strdup(getenv("PATH"));

	setup();
	use_path();
	make("d.raw", "raw");
	i = open_rw("d.raw");
	/* What block devices would be. */
	i->file->block_device = true;
	free(i->file->path);
	i->file->path = strdup("/dev/zvol/tank/vm/disk0");
	ck_assert_ptr_eq(ckpt_store_for(i, NULL), &ckpt_zfs);
	stand_in("zfs", "exit 0");
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_zfs, "one", NULL), 0);
	ck_assert_int_eq(ckpt_take(&s), 0);
	ck_assert_str_eq(s.where, "tank/vm/disk0@one");
	ckpt_undo(&s);
	ckpt_free(&s);
	ck_assert_int_eq(ckpt_zfs.drop(i, "one"), 0);
	ck_assert_int_eq(ckpt_zfs.branch(i, "one", "tank/vm/try"), 0);
	ck_assert_str_eq(calls(), "zfs snapshot tank/vm/disk0@one\nzfs destroy tank/vm/disk0@one\nzfs destroy tank/vm/disk0@one\n"
			 "zfs clone tank/vm/disk0@one tank/vm/try\n");
	stand_in("zfs", "echo \"cannot create snapshot: out of space\" >&2; exit 1");
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_zfs, "two", NULL), 0);
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_lt(ckpt_take(&s), 0);
	ck_assert_ptr_nonnull(strstr(capture_stop(&cap), "'zfs snapshot' failed: cannot create snapshot: out of space"));
	ckpt_free(&s);
	/* Two disks of one dataset, at one instant: it is taken once. */
	stand_in("zfs", "exit 0");
	calls();
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_zfs, "both", NULL), 0);
	ck_assert_int_eq(ckpt_prepare(&t, i, &ckpt_zfs, "both", NULL), 0);
	ckpt_share(&s, &t);
	ck_assert_int_eq(ckpt_take(&s), 0);
	ck_assert_int_eq(ckpt_take(&t), 0);
	ckpt_undo(&s);
	ckpt_undo(&t);
	ck_assert_str_eq(calls(), "zfs snapshot tank/vm/disk0@both\nzfs destroy tank/vm/disk0@both\n");
	ckpt_free(&s);
	ckpt_free(&t);
	unlink(in_dir("zfs"));
	calls();

	free(i->file->path);
	i->file->path = strdup("/dev/vg0/disk0");
	stand_in("lvs", "echo '  vg0 disk0 thinpool'");
	stand_in("lvcreate", "exit 0");
	stand_in("lvremove", "exit 0");
	ck_assert_ptr_eq(ckpt_store_for(i, NULL), &ckpt_lvm);
	ck_assert_int_eq(ckpt_prepare(&s, i, &ckpt_lvm, "one", NULL), 0);
	calls();
	ck_assert_int_eq(ckpt_take(&s), 0);
	ck_assert_str_eq(calls(), "lvcreate -s -n disk0-one vg0/disk0\n");
	ck_assert_str_eq(s.where, "vg0/disk0-one");
	ckpt_free(&s);
	ck_assert_int_eq(ckpt_lvm.drop(i, "one"), 0);
	ck_assert_ptr_nonnull(strstr(calls(), "lvremove -f vg0/disk0-one\n"));
	/* A thick volume has no pool. */
	stand_in("lvs", "echo '  vg0 disk0 '");
	ck_assert_ptr_eq(ckpt_store_for(i, NULL), &ckpt_overlay);
	ck_assert_int_eq(img_close(i), 0);
	setenv("PATH", old, 1);
	free(old);
	teardown();
}
END_TEST

/* --- A running VM --- */

static struct vm vm;
static struct ctl *ctl;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned done;

static void on_batch(void *arg)
{
}

static void on_done(struct blk_req *r)
{
	ck_assert_int_eq(r->ret, 0);
	done++;
}

static const struct blk_owner owner = { &lock, on_batch, NULL };

static struct blk *attach_as(const char *name, const char *who, char path[160], bool read_only, bool snapshot)
{
	const struct blk_conf c = { .path = strcpy(path, in_dir(name)), .read_only = read_only, .snapshot = snapshot };
	int err;
	struct blk *b = blk_open(&vm, who, &c, &owner, &err);

	ck_assert_ptr_nonnull(b);
	return b;
}

static struct blk *attach(const char *name, const char *who, char path[160])
{
	return attach_as(name, who, path, false, false);
}

static json_t *hear(int fd)
{
	static char line[65536];
	size_t n = 0;

	while (n == 0 || line[n - 1] != '\n') {
		if (recv(fd, line + n, 1, MSG_DONTWAIT) == 1)
			n++;
		else
			ck_assert_int_ge(loop_step(vm.loop, 1000), 0);
	}
	line[n] = 0;
	return json_loads(line, 0, NULL);
}

static json_t *ask(int fd, const char *text)
{
	ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
	return hear(fd);
}

static const char *why(const json_t *answer)
{
	const char *s = json_string_value(json_object_get(json_object_get(answer, "error"), "message"));

	return s ? s : "";
}

static int dial(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void vm_start(void)
{
	setup();
	vm = (struct vm){ .name = "unit", .rundir = dir, .arch = arch_native, .loop = loop_new() };
	ck_assert_int_eq(ctl_start(&vm, &ctl), 0);
}

static void go(struct blk *b, struct blk_req *r, struct iovec *v, enum blk_op op)
{
	*r = (struct blk_req){ .op = op, .off = 8192, .len = v->iov_len, .iov = v, .niov = 1, .done = on_done };
	pthread_mutex_lock(&lock);
	blk_submit(b, r);
	blk_kick(b);
	pthread_mutex_unlock(&lock);
}

static void settle(unsigned n)
{
	while (done < n)
		ck_assert_int_ge(loop_step(vm.loop, 1000), 0);
}

START_TEST(test_running)
{
	static uint8_t one[4096], two[4096], back[4096];
	static char path[2][160];
	struct iovec v1 = { one, sizeof(one) }, v2 = { two, sizeof(two) }, v3 = { back, sizeof(back) };
	struct blk_req r[3];
	struct blk *a, *b;
	struct img *top;
	json_t *j;
	int fd;

	vm_start();
	make("a.raw", "raw");
	make("b.qcow2", "qcow2");
	a = attach("a.raw", "pci.0.3.0", path[0]);
	b = attach("b.qcow2", "pci.0.4.0", path[1]);
	memset(one, 1, sizeof(one));
	memset(two, 2, sizeof(two));
	done = 0;
	go(a, &r[0], &v1, BLK_WRITE);
	go(b, &r[1], &v1, BLK_WRITE);
	settle(2);
	fd = dial();
	/* A write is under way when the checkpoint is asked for: it is in it, whole. */
	v1 = (struct iovec){ one, sizeof(one) };
	v2 = (struct iovec){ two, sizeof(two) };
	go(a, &r[0], &v2, BLK_WRITE);
	j = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":\"c1\"}}\n");
	ck_assert_msg(json_object_get(j, "result") != NULL, "%s", json_dumps(j, 0));
	ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(j, "result"), "disks")), 2);
	json_decref(j);
	settle(3);
	/* The raw disk goes on in an overlay, the other keeps the snapshot inside. */
	ck_assert_str_eq(blk_img(a)->file->path, in_dir("a.c1.qcow2"));
	ck_assert_str_eq(blk_img(b)->file->path, in_dir("b.qcow2"));
	v1 = (struct iovec){ one, sizeof(one) };
	go(a, &r[0], &v1, BLK_WRITE);
	settle(4);
	go(a, &r[2], &v3, BLK_READ);
	settle(5);
	ck_assert_mem_eq(back, one, sizeof(one));
	top = blk_img(a);
	ck_assert_uint_eq(get(top->backing), 2);
	j = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoints\",\"params\":{\"disk\":\"pci.0.4.0\"}}\n");
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(j, "result"), 0), "name")), "c1");
	json_decref(j);
	/* Nothing is done to any disk when one of them refuses. */
	capture_start(&cap, STDERR_FILENO);
	j = ask(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":\"c1\"}}\n");
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(json_object_get(j, "error"), "message")), "c1"));
	capture_stop(&cap);
	json_decref(j);
	/* And the machine ends while one is under way. */
	ck_assert_int_gt(send(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{\"name\":\"c2\",\"disk\":\"pci.0.4.0\"}}\n", 94, 0), 0);
	for (unsigned i = 0; i < 2; i++)
		loop_step(vm.loop, 100);
	ctl_stop(ctl);
	close(fd);
	blk_close(a);
	blk_close(b);
	loop_free(vm.loop);
	ck_assert_uint_eq(get_file("a.raw"), 2);
	ck_assert_uint_eq(get_file("a.c1.qcow2"), 1);
	ck_assert_uint_eq(get_file("b.qcow2"), 1);
	teardown();
}
END_TEST

#define CHECKPOINT(params) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoint\",\"params\":{" params "}}\n"

/* Several clients want one at the same time: the first gets it, whole; what they are refused leaves no trace. */
START_TEST(test_one_at_a_time)
{
	static uint8_t one[4096], two[4096];
	static char path[3][160];
	struct iovec v1 = { one, sizeof(one) }, v2 = { two, sizeof(two) };
	struct blk_req r[2];
	struct blk *a, *ro, *scratch;
	unsigned got = 0, busy = 0;
	int fd[8];
	json_t *j;

	vm_start();
	make("a.raw", "raw");
	make("ro.raw", "raw");
	make("scratch.raw", "raw");
	a = attach("a.raw", "pci.0.3.0", path[0]);
	ro = attach_as("ro.raw", "pci.0.4.0", path[1], true, false);
	scratch = attach_as("scratch.raw", "pci.0.5.0", path[2], false, true);
	memset(one, 1, sizeof(one));
	memset(two, 2, sizeof(two));
	done = 0;
	go(a, &r[0], &v1, BLK_WRITE);
	settle(1);
	for (unsigned i = 0; i < NELEM(fd); i++)
		fd[i] = dial();
	capture_start(&cap, STDERR_FILENO);
	for (unsigned i = 0; i < NELEM(fd); i++) {
		char text[200];

		snprintf(text, sizeof(text), CHECKPOINT("\"name\":\"c%u\",\"store\":\"overlay\""), i);
		ck_assert_int_eq(send(fd[i], text, strlen(text), 0), (ssize_t)strlen(text));
	}
	for (unsigned i = 0; i < NELEM(fd); i++) {
		j = hear(fd[i]);
		got += json_object_get(j, "result") != NULL;
		busy += strstr(why(j), "another one is being taken") != NULL;
		json_decref(j);
	}
	ck_assert_uint_ge(got, 1);
	ck_assert_uint_eq(got + busy, NELEM(fd));
	v1 = (struct iovec){ one, sizeof(one) };
	go(a, &r[0], &v2, BLK_WRITE);
	settle(2);
	/* A list is not made while one is being taken, and is there afterwards. */
	j = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disk-checkpoints\",\"params\":{\"disk\":\"pci.0.3.0\"}}\n");
	ck_assert_uint_eq(json_array_size(json_object_get(j, "result")), got);
	json_decref(j);
	j = ask(fd[0], CHECKPOINT("\"name\":\"r\",\"disk\":\"pci.0.4.0\""));
	ck_assert_ptr_nonnull(strstr(why(j), "'pci.0.4.0' is read-only"));
	json_decref(j);
	j = ask(fd[0], CHECKPOINT("\"name\":\"s\",\"disk\":\"pci.0.5.0\""));
	ck_assert_ptr_nonnull(strstr(why(j), "has no name in any directory"));
	json_decref(j);
	/* A name that is no UTF-8 is answered all the same. */
	ck_assert_int_eq(rename(blk_img(a)->file->path, in_dir("x")), 0);
	free(blk_img(a)->file->path);
	blk_img(a)->file->path = strdup(in_dir("gr\xfc\xdf.qcow2"));
	ck_assert_int_eq(rename(in_dir("x"), blk_img(a)->file->path), 0);
	j = ask(fd[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"disks\"}\n");
	ck_assert_uint_eq(json_array_size(json_object_get(j, "result")), 3);
	json_decref(j);
	/* While the machine is paused nothing starts when the disks are let go. */
	pthread_mutex_lock(&lock);
	blk_drain(a);
	r[0] = (struct blk_req){ .op = BLK_WRITE, .off = 8192, .len = sizeof(one), .iov = &v1, .niov = 1, .done = on_done };
	blk_submit(a, &r[0]);
	pthread_mutex_unlock(&lock);
	j = ask(fd[0], CHECKPOINT("\"name\":\"paused\""));
	ck_assert_ptr_nonnull(json_object_get(j, "result"));
	json_decref(j);
	ck_assert_uint_eq(done, 2);
	ck_assert_uint_eq(get(blk_img(a)), 2);
	blk_resume_all(&vm);
	settle(3);
	ck_assert_uint_eq(get(blk_img(a)), 1);
	capture_stop(&cap);
	ctl_stop(ctl);
	for (unsigned i = 0; i < NELEM(fd); i++)
		close(fd[i]);
	blk_close(a);
	blk_close(ro);
	blk_close(scratch);
	loop_free(vm.loop);
	ck_assert_uint_eq(get_file("a.raw"), 1);
	teardown();
}
END_TEST

UNIT_MAIN("devices/block/ckpt", test_inside, test_overlay, test_overlay_fails, test_one_at_a_time, test_names, test_reflink, test_volumes, test_running)
