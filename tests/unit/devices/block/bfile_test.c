/*
 * Files under images: transfers, holes, locks (also against QEMU's), errors, block devices and full disks.
 */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/block/bfile.h"
#include "tests/unit/capture.h"

static char dir[64], path[96];
static struct capture cap;

static void dir_make(void)
{
	snprintf(dir, sizeof(dir), "/var/tmp/skep-bfile-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/a", dir);
}

static void dir_remove(void)
{
	unlink(path);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void file_make(uint64_t size)
{
	dir_make();
	const int fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static struct bfile *open_ok(unsigned flags)
{
	int err = -1;
	struct bfile *f = bfile_open(path, flags, &err);
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(err, 0);
	return f;
}

/* The open fails with that error and a sentence that contains `text`. */
static void open_fails(unsigned flags, int want, const char *text)
{
	int err = 0;
	capture_start(&cap, STDERR_FILENO);
	struct bfile *f = bfile_open(path, flags, &err);
	capture_stop(&cap);
	ck_assert_ptr_null(f);
	ck_assert_int_eq(err, want);
	ck_assert_msg(strstr(cap.text, text), "'%s' is not in '%s'", text, cap.text);
	ck_assert_ptr_eq(strchr(cap.text, '\n'), cap.text + strlen(cap.text) - 1);     /* one line */
}

/* --- Transfers --- */

START_TEST(vectors)
{
	enum { N = 200, EACH = 37 };
	static uint8_t out[N][EACH], in[N][EACH];
	struct iovec v[N];
	file_make(0);
	struct bfile *f = open_ok(BFILE_WRITE);
	for (unsigned i = 0; i < N; i++) {
		memset(out[i], (int)i + 1, EACH);
		v[i] = (struct iovec){ out[i], EACH };
	}
	ck_assert_int_eq(f->ops->write(f, 1000, v, N), 0);
	ck_assert_int_eq(f->ops->size(f), 1000 + N * EACH);
	for (unsigned i = 0; i < N; i++)
		v[i].iov_base = in[i];
	ck_assert_int_eq(f->ops->read(f, 1000, v, N), 0);
	ck_assert_mem_eq(in, out, sizeof(in));
	/* from the middle of the data to far beyond its end */
	memset(in, 0xee, sizeof(in));
	ck_assert_int_eq(f->ops->read(f, 1000 + 100 * EACH + 5, v, N), 0);
	ck_assert_uint_eq(in[0][0], 101);
	ck_assert_uint_eq(in[99][EACH - 6], 200);
	ck_assert_uint_eq(in[99][EACH - 5], 0);
	ck_assert_uint_eq(in[N - 1][EACH - 1], 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_int_eq(f->ops->truncate(f, 1001), 0);
	ck_assert_int_eq(bfile_read(f, 1000, in, 4), 0);
	ck_assert_mem_eq(in, "\1\0\0\0", 4);
	ck_assert_int_eq(f->ops->truncate(f, UINT64_MAX), -EFBIG);
	bfile_close(f);
	dir_remove();
}
END_TEST

START_TEST(read_only)
{
	uint8_t b[4] = { 0 };
	file_make(4096);
	struct bfile *f = open_ok(0);
	ck_assert(f->read_only && !f->block_device);
	ck_assert_uint_eq(f->logical, 512);
	ck_assert_uint_eq(f->physical, 4096);
	ck_assert_int_eq(bfile_write(f, 0, b, 4), -EROFS);
	ck_assert_int_eq(f->ops->zero(f, 0, 4, true), -EROFS);
	ck_assert_int_eq(f->ops->discard(f, 0, 4), -EROFS);
	ck_assert_int_eq(f->ops->truncate(f, 0), -EROFS);
	ck_assert_int_eq(bfile_read(f, 0, b, 4), 0);
	bfile_close(f);
	bfile_close(NULL);
	dir_remove();
}
END_TEST

static long blocks(void)
{
	struct stat st;
	ck_assert_int_eq(stat(path, &st), 0);
	return (long)st.st_blocks;
}

/* After a failed flush no later one is believed: the kernel may have dropped what it could not write. */
START_TEST(failed_flush)
{
	int pipes[2];
	ck_assert_int_eq(pipe(pipes), 0);
	struct bfile *f = bfile_from_fd(pipes[1], "pipe");
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(f->ops->flush(f), -EINVAL);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "image 'pipe': written data did not reach the medium"));
	const int good = memfd_create("good", 0);
	ck_assert_int_eq(dup2(good, f->fd), f->fd);
	ck_assert_int_eq(fdatasync(f->fd), 0);
	ck_assert_int_eq(f->ops->flush(f), -EINVAL);
	bfile_close(f);
	close(good);
	close(pipes[0]);
}
END_TEST

START_TEST(holes)
{
	static uint8_t data[256 << 10], back[256 << 10];
	uint64_t len = MIB(2);
	file_make(MIB(4) + 10);
	memset(data, 0x5a, sizeof(data));
	struct bfile *f = open_ok(BFILE_WRITE);
	ck_assert_int_eq(f->ops->data_at(f, 0, &len), 0);
	ck_assert_uint_eq(len, MIB(2));
	ck_assert_int_eq(bfile_write(f, MIB(1), data, sizeof(data)), 0);
	len = MIB(4);
	ck_assert_int_eq(f->ops->data_at(f, 0, &len), 0);
	ck_assert_uint_eq(len, MIB(1));
	len = MIB(4);
	ck_assert_int_eq(f->ops->data_at(f, MIB(1), &len), 1);
	ck_assert_uint_eq(len, sizeof(data));
	len = 4096;
	ck_assert_int_eq(f->ops->data_at(f, MIB(1), &len), 1);
	ck_assert_uint_eq(len, 4096);
	len = 100;
	ck_assert_int_eq(f->ops->data_at(f, MIB(9), &len), 0);  /* beyond the end */
	ck_assert_uint_eq(len, 100);

	const long full = blocks();
	ck_assert_int_eq(f->ops->zero(f, MIB(1), 128 << 10, true), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_int_lt(blocks(), full);
	ck_assert_int_eq(f->ops->zero(f, MIB(1) + (128 << 10), 1000, false), 0);
	ck_assert_int_eq(bfile_read(f, MIB(1), back, sizeof(back)), 0);
	memset(data, 0, (128 << 10) + 1000);
	ck_assert_mem_eq(back, data, sizeof(data));
	/* neither makes the file longer */
	ck_assert_int_eq(f->ops->zero(f, MIB(4), 4096, false), 0);
	ck_assert_int_eq(f->ops->zero(f, MIB(40), 4096, true), 0);
	ck_assert_int_eq(f->ops->discard(f, MIB(1), MIB(10)), 0);
	ck_assert_int_eq(f->ops->size(f), MIB(4) + 10);
	bfile_close(f);
	dir_remove();
}
END_TEST

/* --- Opening --- */

START_TEST(refusals)
{
	file_make(4096);
	open_fails(BFILE_CREATE, -EEXIST, "there is such a file already");
	unlink(path);
	open_fails(0, -ENOENT, "open: No such file or directory");
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	open_fails(BFILE_WRITE, -EINVAL, "it is neither a file nor a block device");
	open_fails(0, -EINVAL, "it is neither a file nor a block device");
	unlink(path);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	open_fails(0, -EINVAL, "it is neither a file nor a block device");
	open_fails(BFILE_WRITE, -EISDIR, "Is a directory");
	rmdir(path);
	dir_remove();
	snprintf(path, sizeof(path), "/dev/null");
	open_fails(BFILE_WRITE, -EINVAL, "it is neither a file nor a block device");
	snprintf(path, sizeof(path), "/nowhere/a");
	open_fails(BFILE_CREATE, -ENOENT, "it cannot be made: No such file or directory");
}
END_TEST

static int child(int (*fn)(void))
{
	int status = 0;
	fflush(NULL);
	const pid_t pid = fork();
	if (pid == 0)
		_exit(fn());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int without_rights(void)
{
	int err = 0;
	if (geteuid() == 0 && setuid(65534) != 0)
		return 77;
	if (bfile_open(path, BFILE_WRITE, &err) || err != -EACCES)
		return 1;
	return bfile_open(path, 0, &err) ? 0 : 2;
}

START_TEST(rights)
{
	file_make(4096);
	chmod(dir, 0755);
	chmod(path, 0444);
	capture_start(&cap, STDERR_FILENO);
	const int r = child(without_rights);
	capture_stop(&cap);
	ck_assert_int_eq(r, 0);
	ck_assert_ptr_nonnull(strstr(cap.text, "it may not be written: Permission denied; give 'ro' or change its rights"));
	dir_remove();
}
END_TEST

START_TEST(creation)
{
	char b[3];
	dir_make();
	struct bfile *f = open_ok(BFILE_CREATE);
	ck_assert(!f->read_only);
	ck_assert_int_eq(bfile_write(f, 0, "abc", 3), 0);
	/* what somebody uses is not emptied */
	open_fails(BFILE_CREATE | BFILE_TRUNCATE, -EBUSY, "it is in use");
	ck_assert_int_eq(bfile_read(f, 0, b, 3), 0);
	ck_assert_mem_eq(b, "abc", 3);
	bfile_close(f);
	f = open_ok(BFILE_CREATE | BFILE_TRUNCATE);
	ck_assert_int_eq(f->ops->size(f), 0);
	bfile_close(f);
	dir_remove();
}
END_TEST

START_TEST(from_fd)
{
	const int fd = memfd_create("nameless", MFD_CLOEXEC);
	struct bfile *f = bfile_from_fd(fd, "overlay");
	ck_assert_str_eq(f->path, "overlay");
	ck_assert(!f->read_only);
	ck_assert_int_eq(bfile_write(f, 10, "x", 1), 0);
	ck_assert_int_eq(f->ops->size(f), 11);
	bfile_close(f);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

START_TEST(direct)
{
	int err;
	file_make(8192);
	struct bfile *f = bfile_open(path, BFILE_WRITE | BFILE_DIRECT, &err);
	if (!f) {
		fprintf(stderr, "not tested: %s has no direct I/O\n", dir);
		ck_assert_int_eq(err, -EINVAL);
		dir_remove();
		return;
	}
	void *buf;
	ck_assert_int_eq(posix_memalign(&buf, f->direct_align, 4096), 0);
	memset(buf, 0x31, 4096);
	ck_assert_int_eq(pwrite(f->direct_fd, buf, 4096, 4096), 4096);
	ck_assert_int_eq(bfile_read(f, 8191, buf, 1), 0);
	ck_assert_int_eq(*(char *)buf, 0x31);
	bfile_close(f);
	/* a reader that becomes a writer */
	f = open_ok(BFILE_DIRECT);
	const int fd = f->direct_fd;
	ck_assert_int_eq(pwrite(fd, buf, 4096, 0), -1);
	ck_assert_int_eq(bfile_set_writable(f, true), 0);
	ck_assert_int_eq(f->direct_fd, fd);
	ck_assert_int_eq(pwrite(fd, buf, 4096, 0), 4096);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_DIRECT, 0);
	free(buf);
	bfile_close(f);
	dir_remove();
}
END_TEST

/* --- Locks --- */

START_TEST(locks)
{
	file_make(4096);
	struct bfile *r1 = open_ok(0), *r2 = open_ok(0);
	open_fails(BFILE_WRITE, -EBUSY, "only readers ('ro') may share an image");
	struct bfile *look = open_ok(BFILE_WRITE | BFILE_NO_LOCK);
	bfile_close(look);
	bfile_close(r1);
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");
	bfile_close(r2);
	struct bfile *w = open_ok(BFILE_WRITE);
	open_fails(0, -EBUSY, "it is in use");
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");
	look = open_ok(BFILE_NO_LOCK);
	bfile_close(look);
	bfile_close(w);
	dir_remove();
}
END_TEST

START_TEST(writable_and_back)
{
	file_make(4096);
	struct bfile *w = open_ok(BFILE_WRITE);
	ck_assert_int_eq(bfile_set_writable(w, true), 0);
	ck_assert_int_eq(bfile_set_writable(w, false), 0);
	ck_assert_int_eq(bfile_write(w, 0, "a", 1), -EROFS);
	struct bfile *r = open_ok(0);                                   /* readers may come */
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");                /* writers not */
	capture_start(&cap, STDERR_FILENO);
	ck_assert_int_eq(bfile_set_writable(w, true), -EBUSY);
	ck_assert_int_eq(bfile_set_writable(r, true), -EBUSY);          /* the descriptor is for reading only */
	capture_stop(&cap);
	ck_assert(w->read_only && r->read_only);
	bfile_close(w);
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");                /* r has its lock again */
	const int fd = r->fd;
	ck_assert_int_eq(bfile_set_writable(r, true), 0);
	ck_assert_int_eq(r->fd, fd);
	ck_assert_int_eq(bfile_write(r, 0, "b", 1), 0);
	open_fails(0, -EBUSY, "it is in use");
	bfile_close(r);
	r = open_ok(0);
	bfile_close(r);
	dir_remove();
}
END_TEST

static int run(const char *fmt, const char *arg)
{
	char cmd[256];
	snprintf(cmd, sizeof(cmd), fmt, arg);
	return system(cmd);
}

static bool have_qemu(void)
{
	if (run("command -v qemu-img >/dev/null && command -v qemu-io >/dev/null%s", "") == 0)
		return true;
	fprintf(stderr, "not tested: qemu-img and qemu-io are not installed\n");
	return false;
}

START_TEST(locks_against_qemu_ours)
{
	if (!have_qemu())
		return;
	file_make(65536);
	struct bfile *f = open_ok(BFILE_WRITE);
	ck_assert_int_ne(run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
	ck_assert_int_ne(run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
	ck_assert_int_ne(run("qemu-img create -f raw %s 1M >/dev/null 2>&1", path), 0);
	ck_assert_int_eq(bfile_set_writable(f, false), 0);
	ck_assert_int_eq(run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
	ck_assert_int_ne(run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
	bfile_close(f);
	f = open_ok(0);
	ck_assert_int_eq(run("qemu-io -r -f raw -c 'read 0 512' %s >/dev/null 2>&1", path), 0);
	ck_assert_int_ne(run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
	bfile_close(f);
	ck_assert_int_eq(run("qemu-io -f raw -c 'write 0 512' %s >/dev/null 2>&1", path), 0);
	dir_remove();
}
END_TEST

struct qemu {
	pid_t pid;
	int in, out;
};

/* A qemu-io that has the image open. */
static struct qemu qemu_io(bool ro)
{
	int in[2], out[2];
	char answer[256];
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fflush(NULL);
	struct qemu q = { fork(), in[1], out[0] };
	if (q.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		close(out[0]);
		execlp("qemu-io", "qemu-io", "-f", "raw", path, ro ? "-r" : NULL, NULL);
		_exit(1);
	}
	close(in[0]);
	close(out[1]);
	ck_assert_int_eq(write(q.in, "length\n", 7), 7);
	ck_assert_int_gt(read(q.out, answer, sizeof(answer)), 0);
	return q;
}

static void qemu_end(struct qemu *q)
{
	close(q->in);
	ck_assert_int_eq(waitpid(q->pid, NULL, 0), q->pid);
	close(q->out);
}

START_TEST(locks_against_qemu_theirs)
{
	if (!have_qemu())
		return;
	file_make(65536);
	struct qemu q = qemu_io(false);
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");
	open_fails(0, -EBUSY, "it is in use");
	qemu_end(&q);
	q = qemu_io(true);
	open_fails(BFILE_WRITE, -EBUSY, "it is in use");
	bfile_close(open_ok(0));
	qemu_end(&q);
	bfile_close(open_ok(BFILE_WRITE));
	dir_remove();
}
END_TEST

/* --- What needs root --- */

static int loop_attach(char *dev, size_t size, unsigned sector)
{
	const int ctl = open("/dev/loop-control", O_RDWR | O_CLOEXEC), file = open(path, O_RDWR | O_CLOEXEC);
	const int n = ctl >= 0 ? ioctl(ctl, LOOP_CTL_GET_FREE) : -1;
	struct loop_config c = { .fd = (uint32_t)file, .block_size = sector };
	int loop = -1;
	if (n >= 0) {
		snprintf(dev, size, "/dev/loop%d", n);
		loop = open(dev, O_RDWR | O_CLOEXEC);
		if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &c) < 0) {
			close(loop);
			loop = -1;
		}
	}
	if (ctl >= 0)
		close(ctl);
	close(file);
	return loop;
}

START_TEST(block_device)
{
	char dev[32] = "", file[96];
	uint8_t data[8192], back[8192];
	file_make(MIB(1));
	const int loop = loop_attach(dev, sizeof(dev), 4096);
	if (loop < 0) {
		fprintf(stderr, "not tested: no loop devices here\n");
		dir_remove();
		return;
	}
	strcpy(file, path);
	strcpy(path, dev);
	struct bfile *f = open_ok(BFILE_WRITE | BFILE_DIRECT);
	ck_assert(f->block_device);
	ck_assert_uint_eq(f->logical, 4096);
	ck_assert_uint_ge(f->physical, 4096);
	ck_assert_uint_eq(f->direct_align, 4096);
	ck_assert_int_eq(f->ops->size(f), MIB(1));
	memset(data, 0x77, sizeof(data));
	ck_assert_int_eq(bfile_write(f, 4096, data, sizeof(data)), 0);
	ck_assert_int_eq(f->ops->zero(f, 4096, 4096, true), 0);
	ck_assert_int_eq(f->ops->zero(f, 8192, 512, false), 0);         /* less than its sector */
	ck_assert_int_eq(bfile_read(f, 4096, back, sizeof(back)), 0);
	memset(data, 0, 4096 + 512);
	ck_assert_mem_eq(back, data, sizeof(data));
	ck_assert_int_eq(f->ops->discard(f, 0, 4096), 0);
	ck_assert_int_eq(f->ops->flush(f), 0);
	ck_assert_int_eq(f->ops->truncate(f, MIB(1)), 0);
	ck_assert_int_eq(f->ops->truncate(f, MIB(2)), -ENOSPC);
	ck_assert_int_eq(bfile_write(f, MIB(1), data, 512), -ENOSPC);
	ck_assert_int_eq(bfile_read(f, MIB(1) - 512, back, 1024), 0);
	open_fails(0, -EBUSY, "it is in use");
	if (have_qemu())
		ck_assert_int_ne(run("qemu-io -f raw -c 'write 0 4096' %s >/dev/null 2>&1", path), 0);
	bfile_close(f);
	f = open_ok(BFILE_CREATE | BFILE_TRUNCATE);                     /* an image may be made on a volume */
	ck_assert_int_eq(f->ops->size(f), MIB(1));
	bfile_close(f);
	ioctl(loop, LOOP_CLR_FD);
	close(loop);
	strcpy(path, file);
	dir_remove();
}
END_TEST

START_TEST(full_disk)
{
	static uint8_t data[MIB(1)];
	dir_make();
	if (mount("none", dir, "tmpfs", 0, "size=256k") < 0) {
		fprintf(stderr, "not tested: no file system can be mounted here (%s)\n", strerror(errno));
		dir_remove();
		return;
	}
	struct bfile *f = open_ok(BFILE_CREATE);
	ck_assert_int_eq(bfile_write(f, 0, data, sizeof(data)), -ENOSPC);
	ck_assert_int_eq(f->ops->truncate(f, 0), 0);
	ck_assert_int_eq(bfile_write(f, 0, data, 65536), 0);
	bfile_close(f);
	ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
	dir_remove();
}
END_TEST

UNIT_MAIN("devices/block/bfile", vectors, read_only, failed_flush, holes, refusals, rights, creation, from_fd, direct, locks,
	  writable_and_back, locks_against_qemu_ours, locks_against_qemu_theirs, block_device, full_disk)
