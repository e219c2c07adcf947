/*
 * Finding firmware.  The table knows where the packages of the usual distributions put it; a file that somebody names
 * is recognised by the same table, so that its variables come from the template that belongs to it.
 */
#include "common/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/conf.h"
#include "common/log.h"
#include "common/readfile.h"
#include "common/statedir.h"
#include "common/util.h"

#define CODE_MAX MIB(64)        /* the larger of the two machines' flash banks */
#define EDK2_VARS 0xc0000       /* arm64: three blocks of 256 KiB are variables, their journal and its spare */
#define UBOOT_ENV 0x40000       /* arm64: the environment is one block */

const struct firmware_row firmware_table[] = {
	/* Debian, Ubuntu, Alpine */
	{ "x86", "uefi", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd", 0 },
	{ "x86", "uefi", "/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd", 0 },
	/* Fedora; Arch; openSUSE; Gentoo; QEMU's own */
	{ "x86", "uefi", "/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd", 0 },
	{ "x86", "uefi", "/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd", 0 },
	{ "x86", "uefi", "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd", 0 },
	{ "x86", "uefi", "/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin", 0 },
	{ "x86", "uefi", "/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin", 0 },
	{ "x86", "uefi", "/usr/share/edk2-ovmf/OVMF_CODE.fd", "/usr/share/edk2-ovmf/OVMF_VARS.fd", 0 },
	{ "x86", "uefi", "/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd", 0 },
	{ "x86", "u-boot", "/usr/lib/u-boot/qemu-x86_64/u-boot.rom", NULL, 0 },

	/* Debian, Ubuntu; Fedora; Arch; openSUSE; QEMU's own; Debian's without padding */
	{ "arm64", "uefi", "/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd", 0 },
	{ "arm64", "uefi", "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw", 0 },
	{ "arm64", "uefi", "/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd", 0 },
	{ "arm64", "uefi", "/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin", 0 },
	{ "arm64", "uefi", "/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd", 0 },
	{ "arm64", "uefi", "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", NULL, EDK2_VARS },
	{ "arm64", "u-boot", "/usr/lib/u-boot/qemu_arm64/u-boot.bin", NULL, UBOOT_ENV },
	{ "arm64", "u-boot", "/usr/share/uboot/qemu_arm64/u-boot.bin", NULL, UBOOT_ENV },
	{ NULL, NULL, NULL, NULL, 0 }
};

static const struct { const char *arch, *kind, *packages; } packages[] = {
	{ "x86", "uefi", "ovmf (Debian), edk2-ovmf (Fedora, Arch)" },
	{ "x86", "u-boot", "u-boot-qemu (Debian)" },
	{ "arm64", "uefi", "qemu-efi-aarch64 (Debian), edk2-aarch64 (Fedora, Arch)" },
	{ "arm64", "u-boot", "u-boot-qemu (Debian), uboot-images-armv8 (Fedora)" },
};

static int copy_path(char *out, const char *path)
{
	if (snprintf(out, PATH_MAX, "%s", path) >= PATH_MAX)
		return err_msg(-ENAMETOOLONG, "'%.100s...': the path is too long", path);
	return 0;
}

/* The table's path in this file system. */
static const char *rooted(const struct firmware *fw, const char *path, char *buf)
{
	snprintf(buf, PATH_MAX, "%s%s", fw->root, path);
	return buf;
}

static bool same_file(const char *a, const char *b)
{
	struct stat sa, sb;
	return !stat(a, &sa) && !stat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* Sets a key to a path, whose '%' are no references. */
static int set_path(struct conf *conf, const char *key, const char *path, const char *origin)
{
	char text[2 * PATH_MAX], *out = text;

	for (; *path; path++) {
		if (*path == '%')
			*out++ = '%';
		*out++ = *path;
	}
	*out = 0;
	return conf_set(conf, key, text, origin);
}

/* --- firmware itself --- */

static int not_installed(const char *arch, const char *kind)
{
	for (size_t i = 0; i < NELEM(packages); i++)
		if (!strcmp(packages[i].arch, arch) && !strcmp(packages[i].kind, kind))
			return err_msg(-ENOENT, "firmware %s: no file of it for %s is in the usual places: install the package %s, or "
				       "name a file with --firmware FILE", kind, arch, packages[i].packages);
	return err_msg(-ENOENT, "firmware %s: there is none for %s", kind, arch);
}

/* The first packaged firmware of that kind; its template must be there too. */
static const struct firmware_row *find_kind(const struct firmware *fw, const char *arch, const char *kind)
{
	char path[PATH_MAX];

	for (const struct firmware_row *r = firmware_table; r->arch; r++)
		if (!strcmp(r->arch, arch) && !strcmp(r->kind, kind) && !access(rooted(fw, r->code, path), R_OK) &&
		    (!r->vars || !access(rooted(fw, r->vars, path), R_OK)))
			return r;
	return NULL;
}

static const struct firmware_row *find_file(const struct firmware *fw, const char *file)
{
	char path[PATH_MAX];

	for (const struct firmware_row *r = firmware_table; r->arch; r++)
		if (same_file(rooted(fw, r->code, path), file))
			return r;
	return NULL;
}

/* Builds for Secure Boot keep its keys from the guest by System Management Mode and stop without it. */
static int check_smm(const char *file, const char *arch)
{
	static const char *const marks[] = { "secboot", "-smm-", ".ms.fd", ".snakeoil.fd" };
	char real[PATH_MAX];
	const char *name = strrchr(realpath(file, real) ? real : file, '/');

	if (strcmp(arch, "x86"))
		return 0;
	for (size_t i = 0; i < NELEM(marks); i++)
		if (strstr(name ? name : file, marks[i]))
			return err_msg(-EINVAL, "firmware '%s': a build for Secure Boot, which needs System Management Mode, and this "
				       "machine has none: use the build without it, such as OVMF_CODE_4M.fd", file);
	return 0;
}

static int check_code(const char *file, const char *arch)
{
	char magic[4] = "";
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno == ENOENT ? err_msg(-ENOENT, "firmware '%s': no such file; --firmware uefi finds what is installed", file) :
					 err_sys("firmware '%s': open", file);
	int err = fstat(fd, &st) ? err_sys("firmware '%s'", file) : 0;
	if (!err && S_ISDIR(st.st_mode))
		err = err_msg(-EISDIR, "firmware '%s': a directory: name the file", file);
	else if (!err && (!st.st_size || st.st_size > (off_t)CODE_MAX))
		err = err_msg(-EINVAL, "firmware '%s': %jd bytes: firmware has 1 byte to 64 MiB", file, (intmax_t)st.st_size);
	if (!err && pread(fd, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "QFI\xfb", 4))
		err = err_msg(-EINVAL, "firmware '%s': a qcow2 image: make a raw one with 'qemu-img convert -O raw'", file);
	close(fd);
	return err ? err : check_smm(file, arch);
}

/* --- variables --- */

/* Not the operator's to write, or a package's: then it is a template. */
static bool is_template(const struct firmware *fw, const char *file)
{
	char real[PATH_MAX], usr[PATH_MAX], local[PATH_MAX];

	if (!realpath(file, real))
		return false;
	rooted(fw, "/usr/", usr);
	rooted(fw, "/usr/local/", local);
	return access(real, W_OK) || (!strncmp(real, usr, strlen(usr)) && strncmp(real, local, strlen(local)));
}

/* Both are there: the copy, or the file that was named, must be as long as the template that belongs to the firmware. */
static int check_vars(const char *vars, const char *template)
{
	struct stat a, b;

	if (stat(vars, &a))
		return err_sys("firmware variables '%s'", vars);
	if (!S_ISREG(a.st_mode))
		return err_msg(-EINVAL, "firmware variables '%s': not a regular file: name one, or remove it", vars);
	if (template[0] && !stat(template, &b) && a.st_size != b.st_size)
		return err_msg(-EINVAL, "firmware variables '%s': %jd bytes, but this firmware's have %jd as in '%s': start from a copy of "
			       "that", vars, (intmax_t)a.st_size, (intmax_t)b.st_size, template);
	return 0;
}

/* The private copy's path: named after the template, so that each firmware of a VM has its own. */
static int private_path(struct firmware *fw, const struct conf *conf)
{
	const char *from = fw->template[0] ? fw->template : fw->code, *base = strrchr(from, '/');
	const char *ext = fw->template[0] ? "" : ".vars";
	char dir[PATH_MAX];

	int err = statedir_path(conf_str(conf, "name"), dir, sizeof(dir));
	if (!err && snprintf(fw->vars, PATH_MAX, "%s/%s%s", dir, base ? base + 1 : from, ext) >= PATH_MAX)
		err = err_msg(-ENAMETOOLONG, "VM '%s': the path of its state directory is too long: set XDG_STATE_HOME",
			      conf_str(conf, "name"));
	return err;
}

/* Of firmware that is in no table: a template beside it, OVMF_VARS.fd beside OVMF_CODE.fd. */
static void sibling_vars(struct firmware *fw)
{
	char path[PATH_MAX], *base, *mark;

	strcpy(path, fw->code);
	base = strrchr(path, '/');
	mark = strstr(base ? base : path, "CODE");
	if (!mark)
		return;
	memcpy(mark, "VARS", 4);
	if (!access(path, R_OK))
		strcpy(fw->template, path);
}

/* Variables that nobody named: from the row's template. */
static int default_vars(struct firmware *fw, const struct firmware_row *row)
{
	char path[PATH_MAX];

	if (!row) {
		sibling_vars(fw);
		return 0;
	}
	fw->erased = row->erased;
	if (!row->vars)
		return 0;
	rooted(fw, row->vars, path);
	if (access(path, R_OK))
		return err_sys("firmware '%s': its variables' template '%s'", fw->code, path);
	return copy_path(fw->template, path);
}

/* Variables that somebody named: that file, or a copy of it. */
static int named_vars(struct firmware *fw, const struct firmware_row *row, const char *vars)
{
	char template[PATH_MAX] = "";

	if (row && row->vars)
		rooted(fw, row->vars, template);
	if (access(vars, F_OK))
		return err_msg(-ENOENT, "firmware variables '%s': no such file; leave it out for a private copy, or copy the package's "
			       "template there", vars);
	int err = check_vars(vars, template);
	if (err)
		return err;
	return copy_path(is_template(fw, vars) ? fw->template : fw->vars, vars);
}

/* What stands in for a private copy that is to be made, or checks the one there is. */
static int use_private(struct firmware *fw, struct conf *conf, bool dry)
{
	int err = conf_str(conf, "name") ? private_path(fw, conf) : 0;

	if (err)
		return err;
	if (fw->vars[0] && !access(fw->vars, F_OK)) {
		char template[PATH_MAX];
		strcpy(template, fw->template);
		fw->template[0] = 0;
		fw->erased = 0;
		return check_vars(fw->vars, template);
	}
	return dry ? copy_path(fw->vars, fw->template) : 0;
}

static int resolve_vars(struct firmware *fw, struct conf *conf, const struct firmware_row *row, bool dry)
{
	const char *named = conf_str(conf, "lpc.bootvars");
	int err = named ? named_vars(fw, row, named) : default_vars(fw, row);

	if (!err && !fw->vars[0] && (fw->template[0] || fw->erased))
		err = use_private(fw, conf, dry);
	if (!err && fw->vars[0])
		err = set_path(conf, "lpc.bootvars", fw->vars, "firmware");
	return err;
}

/* Firmware loads the guest itself; a wish that would be forgotten is refused. */
static int check_alone(const struct conf *conf)
{
	static const struct { const char *key, *option; } rows[] = {
		{ "load.0", "--load" }, { "entry", "--entry" }, { "module.0", "--module" }, { "loader.hostdir", "-h" },
		{ "loader.env.0", "-e" },
	};

	for (size_t i = 0; i < NELEM(rows); i++)
		if (conf_raw(conf, rows[i].key))
			return err_msg(-EINVAL, "%s with firmware, which takes --kernel, --initrd and --append and loads all else itself: leave "
				       "one of the two out", rows[i].option);
	return 0;
}

int firmware_resolve(struct firmware *fw, struct conf *conf, const struct arch_info *arch, bool dry)
{
	const char *kind = conf_str(conf, "firmware"), *rom = conf_str(conf, "lpc.bootrom");
	const struct firmware_row *row = NULL;
	char path[PATH_MAX];

	fw->code[0] = fw->vars[0] = fw->template[0] = 0;
	fw->erased = 0;
	if (!kind && !rom && conf_str(conf, "install.iso") && !conf_str(conf, "kernel") && !conf_raw(conf, "load.0"))
		kind = "uefi";
	if (kind && rom)
		return err_msg(-EINVAL, "firmware and lpc.bootrom (%s) both choose firmware: leave one out", conf_origin(conf, "lpc.bootrom"));
	if (!kind && !rom)
		return conf_str(conf, "lpc.bootvars") ? err_msg(-EINVAL, "lpc.bootvars without firmware: name it with lpc.bootrom or "
								"--firmware as well") : 0;
	if (kind && (!strcmp(kind, "uefi") || !strcmp(kind, "u-boot"))) {
		row = find_kind(fw, arch->name, kind);
		if (!row)
			return not_installed(arch->name, kind);
		rooted(fw, row->code, path);
	}
	int err = check_alone(conf);
	if (!err)
		err = copy_path(fw->code, row ? path : kind ? kind : rom);
	if (!err)
		err = check_code(fw->code, arch->name);
	if (!err && !row)
		row = find_file(fw, fw->code);
	if (!err && row && strcmp(row->arch, arch->name))
		err = err_msg(-EINVAL, "firmware '%s' is for %s machines, and this one is %s: use --firmware %s", fw->code, row->arch, arch->name,
			      row->kind);
	if (!err)
		err = set_path(conf, "lpc.bootrom", fw->code, "firmware");
	return err ? err : resolve_vars(fw, conf, row, dry);
}

/* --- the private copy --- */

static int copy_template(const struct firmware *fw)
{
	struct stat st;
	uint8_t *data;
	int fd = open(fw->template, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;

	if (fd < 0 || fstat(fd, &st))
		err = err_sys("firmware variables '%s': open", fw->template);
	else if (!S_ISREG(st.st_mode) || !st.st_size || st.st_size > (off_t)CODE_MAX)
		err = err_msg(-EINVAL, "firmware variables '%s': a template is a file of 1 byte to 64 MiB; name another with lpc.bootvars",
			      fw->template);
	if (!err)
		err = readfile(fd, "firmware variables", fw->template, (size_t)st.st_size, &data);
	if (fd >= 0)
		close(fd);
	if (err)
		return err;
	err = statedir_write(fw->vars, data, (size_t)st.st_size);
	munmap(data, (size_t)st.st_size);
	return err;
}

static int write_erased(const struct firmware *fw)
{
	void *data = malloc(fw->erased);

	if (!data)
		return err_msg(-ENOMEM, "firmware variables '%s': out of memory", fw->vars);
	memset(data, 0xff, fw->erased);
	int err = statedir_write(fw->vars, data, fw->erased);
	free(data);
	return err;
}

int firmware_make_vars(const struct firmware *fw, const struct conf *conf)
{
	char dir[PATH_MAX];

	if (!fw->template[0] && !fw->erased)
		return 0;
	int err = statedir_make(conf_str(conf, "name"), dir, sizeof(dir));
	if (!err && !access(fw->vars, F_OK))
		return 0;
	if (!err)
		err = fw->template[0] ? copy_template(fw) : write_erased(fw);
	if (err)
		rmdir(dir);     /* fails when something else is in it, and that is right */
	else
		log_info("firmware", "variables are '%s', a private copy of '%s'", fw->vars, fw->template[0] ? fw->template : "erased flash");
	return err;
}
