/*
 * `skep doctor`: what this host can do for guests, each lack with its remedy.  The verdict rests on evidence: a
 * tiny guest that must compute an answer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/arch.h"
#include "common/cmd/cmd.h"
#include "common/cmd/doctor.h"
#include "common/kvm.h"
#include "common/vm.h"

const char *const doctor_level_names[] = { "ok", "info", "warn", "fail" };

void doctor_add(struct doctor *d, enum doctor_level level, const char *name, const char *fmt, ...)
{
	char text[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_array_append_new(d->checks,
			      json_pack("{s:s, s:s, s:s}", "level", doctor_level_names[level], "name", name, "text", text));
}

bool doctor_read(const struct doctor *d, const char *path, char *buf, size_t len)
{
	char full[512];
	FILE *f;
	bool ok;

	snprintf(full, sizeof(full), "%s%s", d->root, path);
	f = fopen(full, "re");
	if (!f)
		return false;
	ok = fgets(buf, (int)len, f) != NULL;
	fclose(f);
	if (ok)
		buf[strcspn(buf, "\n")] = 0;
	return ok;
}

int doctor_count(const struct doctor *d, const char *path, const char *prefix)
{
	char full[512];
	const struct dirent *e;
	int n = 0;
	DIR *dir;

	snprintf(full, sizeof(full), "%s%s", d->root, path);
	dir = opendir(full);
	if (!dir)
		return -1;
	while ((e = readdir(dir)))
		n += e->d_name[0] != '.' && !strncmp(e->d_name, prefix, strlen(prefix));
	closedir(dir);
	return n;
}

/* The CPU flags line of x86; other architectures have none that tells. */
static bool cpu_flag(const struct doctor *d, const char *flag, bool *known)
{
	char full[512], line[4096], *hit;
	bool found = false;
	FILE *f;

	snprintf(full, sizeof(full), "%s/proc/cpuinfo", d->root);
	f = fopen(full, "re");
	*known = false;
	while (f && !found && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		*known = true;
		hit = strstr(line, flag);
		found = hit && hit[-1] == ' ' && (hit[strlen(flag)] == ' ' || hit[strlen(flag)] == '\n');
	}
	if (f)
		fclose(f);
	return found;
}

static void no_kvm(struct doctor *d)
{
	bool known, vmx = cpu_flag(d, "vmx", &known), svm = cpu_flag(d, "svm", &known);

	if (vmx || svm)
		doctor_add(d, DOCTOR_FAIL, "kvm",
			   "/dev/kvm is missing: run 'modprobe %s' as root; if that is refused, switch on %s in the firmware setup",
			   vmx ? "kvm_intel" : "kvm_amd", vmx ? "VT-x" : "SVM");
	else if (known)
		doctor_add(d, DOCTOR_FAIL, "kvm",
			   "/dev/kvm is missing and the CPU shows neither VT-x nor SVM: switch virtualization on in the firmware "
			   "setup or, in a virtual machine, nested virtualization on its host");
	else
		doctor_add(d, DOCTOR_FAIL, "kvm",
			   "/dev/kvm is missing: the kernel needs CONFIG_KVM and must be started at EL2, which is up to the "
			   "firmware; in a virtual machine, switch on nested virtualization on its host");
}

/* Name of a group from the host's file: a static binary has no name service. */
static void group_name(const struct doctor *d, unsigned gid, char *buf, size_t len)
{
	char full[512], line[512], name[64];
	unsigned id;
	FILE *f;

	snprintf(full, sizeof(full), "%s/etc/group", d->root);
	snprintf(buf, len, "%u", gid);
	f = fopen(full, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%63[^:]:%*[^:]:%u", name, &id) == 2 && id == gid) {
			snprintf(buf, len, "%s", name);
			break;
		}
	if (f)
		fclose(f);
}

static void kvm_not_allowed(struct doctor *d, const char *path)
{
	struct stat st;
	char group[64];

	if (stat(path, &st) || !(st.st_mode & S_IWGRP) || !st.st_gid) {
		doctor_add(d, DOCTOR_FAIL, "kvm",
			   "/dev/kvm may not be opened: run 'chgrp kvm /dev/kvm && chmod 660 /dev/kvm' as root and join the group "
			   "kvm");
		return;
	}
	group_name(d, st.st_gid, group, sizeof(group));
	doctor_add(d, DOCTOR_FAIL, "kvm", "/dev/kvm may not be opened: run 'usermod -aG %s USER' as root, then log in again",
		group);
}

static void probe_guest(struct doctor *d)
{
	char why[256] = "";

	if (arch_kvm_probe(why, sizeof(why))) {
		doctor_add(d, DOCTOR_FAIL, "guest", "a test guest did not run: %s", why);
		return;
	}
	doctor_add(d, DOCTOR_OK, "guest", "a test guest ran and computed the right answer");
	d->can_run = true;
}

static void check_version(struct doctor *d, int fd, bool probe)
{
	int version = kvm_ioctl_n(fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		doctor_add(d, DOCTOR_FAIL, "kvm", "/dev/kvm is not KVM's device: remove it and load the kvm module again");
	else if (version != KVM_API_VERSION)
		doctor_add(d, DOCTOR_FAIL, "kvm", "KVM's API version is %d, not %d: use Linux 2.6.22 or later", version,
			KVM_API_VERSION);
	else
		doctor_add(d, DOCTOR_OK, "kvm", "/dev/kvm opens, API version %d", version);
	if (version == KVM_API_VERSION && probe)
		probe_guest(d);
}

void doctor_kvm(struct doctor *d, bool probe)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/dev/kvm", d->root);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		check_version(d, fd, probe);
		close(fd);
	} else if (errno == EACCES || errno == EPERM) {
		kvm_not_allowed(d, path);
	} else if (errno == ENOENT || errno == ENODEV || errno == ENXIO) {
		no_kvm(d);
	} else {
		doctor_add(d, DOCTOR_FAIL, "kvm", "/dev/kvm does not open: %s; look at 'dmesg | grep -i kvm'", strerror(errno));
	}
}

/* A line of the architecture: "level text", or just text. */
static void add_arch_line(struct doctor *d, const char *line)
{
	enum doctor_level level = DOCTOR_INFO;
	size_t n = strcspn(line += strspn(line, " "), " ");

	for (int l = DOCTOR_OK; l <= DOCTOR_FAIL; l++)
		if (n == strlen(doctor_level_names[l]) && !strncmp(line, doctor_level_names[l], n)) {
			level = (enum doctor_level)l;
			line += n + strspn(line + n, " ");
			break;
		}
	doctor_add(d, level, arch_native->name, "%s", line);
}

static void add_arch_lines(struct doctor *d)
{
	char *text = NULL, *save = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return;
	arch_doctor(f);
	fclose(f);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		add_arch_line(d, l);
	free(text);
}

static const char *text_of(const json_t *check, const char *field)
{
	return json_string_value(json_object_get(check, field));
}

static void print_text(const struct doctor *d)
{
	const json_t *c;
	size_t i;

	json_array_foreach(d->checks, i, c)
		printf("%-4s  %-10s %s\n", text_of(c, "level"), text_of(c, "name"), text_of(c, "text"));
	printf("\n%s\n", d->can_run ? "This host can run guests." : "This host cannot run guests; 'skep plan' works anyway.");
}

static void print_json(const struct doctor *d)
{
	json_t *o = json_pack("{s:b, s:s, s:O}", "can_run_guests", d->can_run, "arch", arch_native->name, "checks", d->checks);

	json_dumpf(o, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(o);
}

int cmd_doctor(int argc, char **argv)
{
	struct doctor d = { "", json_array(), false };
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		char *what[] = { "help", "doctor", NULL };

		json_decref(d.checks);
		return cmd_help(2, what);
	}
	if (argc > 1 && !json) {
		json_decref(d.checks);
		return cmd_usage("doctor", "'%s' is not an option: there is only --json", argv[1]);
	}
	doctor_kvm(&d, true);
	add_arch_lines(&d);
	doctor_host(&d);
	if (json)
		print_json(&d);
	else
		print_text(&d);
	json_decref(d.checks);
	return d.can_run ? 0 : 1;
}
