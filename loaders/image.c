/*
 * Opening kernels and what belongs to them: read, recognised by their own headers, refused by name when they are of no
 * use.  What a refused file is instead, recognise.c says.
 */
#include "common/image.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/readfile.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"
#include "loaders/loaders.h"

static const struct {
	const char *name, *arch;
	bool initrd, modules;
} kinds[IMAGE_KINDS] = {
	[IMAGE_NONE] = { "none", "", false, false },
	[IMAGE_BZIMAGE] = { "x86 Linux bzImage", "x86", true, false },
	[IMAGE_PVH] = { "x86 ELF with a PVH entry", "x86", true, true },
	[IMAGE_ARM64] = { "arm64 Linux Image", "arm64", true, false },
	[IMAGE_MULTIBOOT] = { "x86 Multiboot kernel", "x86", true, true },
	[IMAGE_ELF_ARM64] = { "arm64 ELF kernel", "arm64", true, false },
	[IMAGE_FREEBSD_AMD64] = { "x86 FreeBSD kernel", "x86", false, true },
	[IMAGE_FREEBSD_ARM64] = { "arm64 FreeBSD kernel", "arm64", false, true },
	[IMAGE_RAW] = { "image without a header", "", true, false },
};

const char *image_kind_name(enum image_kind kind)
{
	return kinds[kind].name;
}

/* --- files --- */

#define KERNEL_MAX GIB(4)             /* with all symbols and debugging information */

static int read_file(const struct conf *conf, const char *what, const char *path, uint8_t **data, size_t *len)
{
	struct stat st;
	int fd = hostdir_open(conf, what, path);        /* a FIFO is refused below, not waited for */

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0) {
		int err = err_sys("%s '%s'", what, path);
		close(fd);
		return err;
	}
	if (!S_ISREG(st.st_mode) || st.st_size == 0) {
		bool plain = strcmp(what, "kernel") == 0 || strcmp(what, "initrd") == 0;

		close(fd);
		return err_msg(-EINVAL, "%s '%s': %s; give %s", what, path,
			       S_ISREG(st.st_mode) ? "the file is empty" : "this is no regular file",
			       plain ? "a kernel or initrd file" : "a file with something in it");
	}
	int err = 0;

	*data = NULL;
	*len = 0;
	if (strcmp(what, "kernel") == 0 && st.st_size > (off_t)KERNEL_MAX)
		err = err_msg(-EFBIG, "kernel '%s' has %llu MiB, more than any kernel: give a disk image with --disk", path,
			      (unsigned long long)st.st_size >> 20);
	if (!err)
		err = readfile(fd, what, path, (size_t)st.st_size, data);
	if (!err)
		*len = (size_t)st.st_size;
	close(fd);
	return err;
}

static void unmap(uint8_t *data, size_t map_len)
{
	if (map_len)
		munmap(data, map_len);
	else
		free(data);
}

/* --- the keys module.N and load.N --- */

struct list {
	struct image *im;
	const struct conf *conf;
	int err;
};

/* "FILE[,type=TYPE][,args=TEXT]", as conf_check() has seen it; ",," stands for a comma. */
static int parse_module(const char *key, char *text, struct image_module *m)
{
	char *rest = text, *word;

	m->path = cli_word(&rest);
	m->args = "";
	while ((word = cli_word(&rest))) {
		if (strncmp(word, "args=", 5) != 0)
			return err_msg(-EINVAL, "%s: '%s' is for FreeBSD kernels; leave it out", key, word);
		m->args = word + 5;
	}
	return 0;
}

static void add_module(const char *key, const char *value, const char *origin, void *arg)
{
	struct list *l = arg;
	struct image *im = l->im;

	(void)origin;
	if (l->err || strncmp(key, "module.", 7) != 0)
		return;
	if (im->nmodules == IMAGE_MODULES_MAX) {
		l->err = err_msg(-E2BIG, "%s: a kernel gets at most %u modules; give fewer", key, IMAGE_MODULES_MAX);
		return;
	}
	struct image_module *m = &im->module[im->nmodules++];

	m->text = strdup(value);
	l->err = m->text ? parse_module(key, m->text, m) : -ENOMEM;
	if (!l->err)
		l->err = read_file(l->conf, key, m->path, &m->data, &m->len);
	m->map_len = m->len;
}

/* "FILE@ADDR", as conf_check() has seen it. */
static void parse_load(char *text, struct image_blob *b)
{
	static const struct opt addr = { .name = "ADDR", .type = OPT_SIZE };
	char *at = strrchr(text, '@'), why[80];

	assert(at);
	*at = '\0';
	b->path = text;
	int err = opt_parse_u64(&addr, at + 1, &b->gpa, why, sizeof(why));
	assert(!err);
}

static void add_load(const char *key, const char *value, const char *origin, void *arg)
{
	struct list *l = arg;
	struct image *im = l->im;

	(void)origin;
	if (l->err || strncmp(key, "load.", 5) != 0)
		return;
	if (im->nblobs == IMAGE_BLOBS_MAX) {
		l->err = err_msg(-E2BIG, "%s: at most %u files are loaded; join some of them", key, IMAGE_BLOBS_MAX);
		return;
	}
	struct image_blob *b = &im->blob[im->nblobs++];

	b->text = strdup(value);
	if (!b->text) {
		l->err = -ENOMEM;
		return;
	}
	parse_load(b->text, b);
	l->err = read_file(l->conf, key, b->path, &b->data, &b->len);
	b->map_len = b->len;
	if (!l->err && b->gpa > UINT64_MAX - b->len)
		l->err = err_msg(-EINVAL, "%s: '%s' would go beyond the last address; choose another", key, b->path);
}

/* --- opening --- */

static bool has_firmware(const struct conf *conf)
{
	return conf_raw(conf, "lpc.bootrom") || conf_raw(conf, "firmware");
}

static int check_arch(const struct image *im, const char *want)
{
	const char *arch = kinds[im->kind].arch;

	if (!*arch || strcmp(arch, want) == 0)
		return 0;
	return err_msg(-ENOEXEC, "kernel '%s' is an %s, this machine is %s: give a kernel for %s, or run it on an %s host",
		       im->path, kinds[im->kind].name, want, want, arch);
}

static int open_kernel(struct image *im, const struct conf *conf, const char *want)
{
	int err = read_file(conf, "kernel", im->path, &im->data, &im->len);

	im->map_len = im->len;
	if (!err)
		err = image_recognise(im, conf_str(conf, "kernel.protocol"));
	if (!err)
		err = check_arch(im, want);
	if (!err && conf_raw(conf, "entry") && !has_firmware(conf))
		err = err_msg(-EINVAL, "--entry with --kernel '%s', which says itself where it starts: leave one of them out",
			      im->path);
	return err;
}

/* Files at addresses and nothing else. */
static int open_raw(struct image *im, const struct conf *conf)
{
	im->kind = IMAGE_RAW;
	if (!conf_raw(conf, "entry"))
		return err_msg(-EINVAL, "--load without --kernel: say with --entry ADDR where the guest starts");
	im->entry = conf_u64(conf, "entry");
	for (unsigned i = 0; i < im->nblobs; i++) {
		if (im->entry >= im->blob[i].gpa && im->entry - im->blob[i].gpa < im->blob[i].len)
			return 0;
	}
	return err_msg(-EINVAL, "--entry %#llx is in none of the files of --load: give the address where one of them has code",
		       (unsigned long long)im->entry);
}

static bool is_freebsd(const struct image *im)
{
	return im->kind == IMAGE_FREEBSD_AMD64 || im->kind == IMAGE_FREEBSD_ARM64;
}

static int open_modules(struct image *im, const struct conf *conf)
{
	struct list list = { im, conf, 0 };

	if (is_freebsd(im))
		return 0;
	conf_walk(conf, add_module, &list);
	if (list.err || im->nmodules == 0 || kinds[im->kind].modules)
		return list.err;
	return err_msg(-EINVAL, "--module '%s' with an %s, which takes none: give --initrd, or --load FILE@ADDR",
		       im->module[0].path, kinds[im->kind].name);
}

/* -h DIR and nothing else starts what FreeBSD's loader would start from there. */
static int find_kernel(struct image *im, const struct conf *conf)
{
	if (im->path || !conf_raw(conf, "loader.hostdir") || conf_raw(conf, "load.0") || has_firmware(conf))
		return 0;
	im->path = im->found;
	return fbsd_find_kernel(conf, im->found, sizeof(im->found));
}

/* Modules and environment of a FreeBSD kernel; others have neither. */
static int open_freebsd(struct image *im, const struct conf *conf)
{
	if (is_freebsd(im))
		return has_firmware(conf) ? 0 : fbsd_collect(conf, im, &im->fbsd);
	if (!conf_raw(conf, "loader.env.0") || im->kind == IMAGE_RAW)
		return 0;
	return err_msg(-EINVAL, "-e '%s' with kernel '%s', an %s, which has no such variables: use --append",
		       conf_raw(conf, "loader.env.0"), im->path, kinds[im->kind].name);
}

static int open_initrd(struct image *im, const struct conf *conf, const char *want)
{
	bool takes = kinds[im->kind].initrd && !(im->kind == IMAGE_RAW && strcmp(want, "x86") == 0);

	if (!im->initrd_path)
		return 0;
	if (!takes)
		return err_msg(-EINVAL, "--initrd '%s' with an %s, which takes none: %s", im->initrd_path, kinds[im->kind].name,
			       im->kind == IMAGE_RAW ? "use --load FILE@ADDR" : "use --module FILE,type=md_image");
	int err = read_file(conf, "initrd", im->initrd_path, &im->initrd, &im->initrd_len);

	im->initrd_map_len = im->initrd_len;
	return err;
}

int image_open(struct image *im, const struct conf *conf, const char *want)
{
	struct list loads = { im, conf, 0 };

	memset(im, 0, sizeof(*im));
	im->path = conf_str(conf, "kernel");
	im->initrd_path = conf_str(conf, "initrd");
	im->opened = true;
	int err = hostdir_check(conf);

	if (!err)
		err = find_kernel(im, conf);
	if (!err && im->path)
		err = open_kernel(im, conf, want);
	if (!err) {
		conf_walk(conf, add_load, &loads);
		err = loads.err;
	}
	if (!err && !im->path)
		err = open_raw(im, conf);
	if (!err)
		err = open_initrd(im, conf, want);
	if (!err)
		err = open_modules(im, conf);
	if (!err)
		err = open_freebsd(im, conf);
	if (err)
		image_release(im);
	return err;
}

void image_release(struct image *im)
{
	fbsd_free(im->fbsd);
	im->fbsd = NULL;
	unmap(im->data, im->map_len);
	unmap(im->initrd, im->initrd_map_len);
	for (unsigned i = 0; i < im->nmodules; i++) {
		unmap(im->module[i].data, im->module[i].map_len);
		free(im->module[i].text);
	}
	for (unsigned i = 0; i < im->nblobs; i++) {
		unmap(im->blob[i].data, im->blob[i].map_len);
		free(im->blob[i].text);
	}
	im->data = im->initrd = NULL;
	im->map_len = im->initrd_map_len = 0;
	im->nseg = im->nmodules = im->nblobs = 0;
	im->opened = false;
}
