/*
 * A temporary directory for -h, and a configuration that names it.  Under qemu-user there is no openat2(2): then links are
 * refused instead of followed, and host_follows says which.
 */
#ifndef TESTS_UNIT_LOADERS_FREEBSD_HOSTFILES_H
#define TESTS_UNIT_LOADERS_FREEBSD_HOSTFILES_H

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/conf.h"
#include "tests/unit/loaders/freebsd/kldfile.h"
#include "tests/unit/unit.h"

static char host_top[64];               /* holds "dir", what -h names, and "outside" */
static struct conf *host_conf;
static bool host_follows;

static inline const char *host_path(const char *file)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", host_top, file);
	return path;
}

/* A file below host_top, its directories made as needed. */
static inline void host_bytes(const char *file, const void *data, size_t len)
{
	char path[512];

	snprintf(path, sizeof(path), "%s", host_path(file));
	for (char *s = path + strlen(host_top) + 1; (s = strchr(s, '/')); s++) {
		*s = 0;
		mkdir(path, 0700);
		*s = '/';
	}
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
	close(fd);
}

static inline void host_text(const char *file, const char *text)
{
	host_bytes(file, text, strlen(text));
}

/* A FreeBSD kernel or module; NULL name ends. */
static inline void host_kld(const char *file, uint16_t machine, uint16_t type, const struct kld_rec *recs)
{
	struct kld_file f;
	unsigned n = 0;

	while (recs[n].name)
		n++;
	kld_make(&f, machine, type, 0, recs, n);
	host_bytes(file, f.data, f.len);
	free(f.data);
}

static inline void host_start(void)
{
	struct open_how how = { .flags = O_PATH, .resolve = RESOLVE_IN_ROOT };
	int root, fd;

	strcpy(host_top, "/tmp/skep-host0-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(host_top));
	ck_assert_int_eq(mkdir(host_path("dir"), 0700), 0);
	host_conf = conf_new();
	conf_set(host_conf, "loader.hostdir", host_path("dir"), "-h");
	root = open(host_top, O_PATH);
	fd = (int)syscall(SYS_openat2, root, "dir", &how, sizeof(how));
	host_follows = fd >= 0;
	close(fd);
	close(root);
}

static inline void host_stop(void)
{
	char cmd[200];

	conf_free(host_conf);
	snprintf(cmd, sizeof(cmd), "chmod -R u+w %s && rm -rf %s", host_top, host_top);
	ck_assert_int_eq(system(cmd), 0);
}

#endif
