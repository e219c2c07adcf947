/*
 * skep by the name of `bhyvectl`: its options, its output and its exit status, 0 or 1.  What asks goes through the control socket;
 * registers are the machine's own list, so that any "--get-NAME" of it works, on both architectures.  Follows bhyvectl(8) of
 * FreeBSD 15.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <jansson.h>

#include "common/cmd/cmd.h"
#include "common/cmd/ctl_client.h"
#include "common/log.h"
#include "common/pending.h"
#include "common/rundir.h"
#include "common/util.h"

#define STATUS_BHYVECTL 1
#define GETS 64

struct bctl {
	const char *vm;
	long cpu;
	bool all, stats, nmi, reset, poweroff, destroy, active;
	const char *get[GETS];                  /* names of registers, as they were asked for */
	unsigned ngets;
	struct ctl_conn *c;
};

/* Options that stay unanswered, by how they begin, several of them separated by '|'. */
static const struct {
	const char *prefixes, *why;
} refusals[] = {
	{ "checkpoint|suspend", "saving a machine is not there yet; 'skep ctl NAME' has pause and disk-checkpoint" },
	{ "create|run|set-mem|unassign-pptdev", "that is for the command that starts the machine, bhyve or 'skep run'" },
	{ "get-rtc|set-rtc|rtc-", "the guest's clock cannot be reached from outside" },
	{ "get-desc-", "only those of gdtr and idtr are read; 'skep ctl NAME regs' has the bases of segments" },
	{ "set-|desc-|get-dr", "that is for a debugger: start the machine with -G" },
	{ "get-mem|get-lowmem|get-highmem|get-cpu-topology", "'skep plan' shows it" },
	{ "get-vmc|get-avic|get-eptp|get-gpa-pmap|get-exit-reason|getcap|setcap|capname", "KVM keeps that to itself" },
	{ "assert-lapic-lvt", "only --inject-nmi interrupts from outside" },
};

static int usage(void)
{
	fprintf(stderr, "Usage: bhyvectl --vm=<vmname> [--cpu=<vcpu_number>] [--destroy] [--get-all] [--get-stats] [--get-<register>]\n"
		"       [--get-active-cpus] [--inject-nmi] [--force-reset] [--force-poweroff]\n");
	return STATUS_BHYVECTL;
}

/* --- The command line --- */

static int refuse(const char *opt, const char *unknown)
{
	for (size_t i = 0; i < NELEM(refusals); i++)
		for (const char *p = refusals[i].prefixes; p; p = strchr(p, '|')) {
			p += *p == '|';
			if (!strncmp(opt, p, strcspn(p, "|")))
				return err_msg(-ENOTSUP, "bhyvectl: --%s: %s", opt, refusals[i].why);
		}
	return err_msg(-EINVAL, "bhyvectl: --%s: %s", opt, unknown);
}

static int number(const char *text, long *out)
{
	char *end;

	*out = strtol(text, &end, 0);
	return *text && !*end && *out >= 0 ? 0 : err_msg(-EINVAL, "bhyvectl: --cpu=%s: not the number of a vCPU", text);
}

static int parse(struct bctl *b, int argc, char **argv)
{
	const struct { const char *name; bool *flag; } flags[] = {
		{ "get-all", &b->all }, { "get-stats", &b->stats }, { "inject-nmi", &b->nmi }, { "force-reset", &b->reset },
		{ "force-poweroff", &b->poweroff }, { "destroy", &b->destroy }, { "get-active-cpus", &b->active },
	};

	for (int i = 1; i < argc; i++) {
		char *name = argv[i] + 2, *value;
		size_t f = 0;

		if (strncmp(argv[i], "--", 2) != 0 || !*name)
			return usage();
		value = strchr(name, '=');
		if (value)
			*value++ = '\0';
		if (!strcmp(name, "vm") || !strcmp(name, "cpu")) {
			if (!value && i + 1 == argc)
				return usage();
			value = value ? value : argv[++i];
			if (!strcmp(name, "vm"))
				b->vm = value;
			else if (number(value, &b->cpu))
				return -EINVAL;
			continue;
		}
		while (f < NELEM(flags) && strcmp(flags[f].name, name) != 0)
			f++;
		if (f < NELEM(flags))
			*flags[f].flag = true;
		else if (strncmp(name, "get-", 4) != 0 || b->ngets == GETS)
			return refuse(name, "there is no such option");
		else
			b->get[b->ngets++] = name + 4;
	}
	return b->vm ? 0 : usage();
}

/* --- What is printed --- */

static void print_reg(const char *name, long cpu, const char *value)
{
	const unsigned long long v = strtoull(value, NULL, 0);
	char label[48];
	const int n = snprintf(label, sizeof(label), "%s[%ld]", name, cpu);
	const bool selector = strlen(name) <= 4 && strstr(" cs ss ds es fs gs tr ldtr ", name);

	/* The value begins in column 16, as far as the name allows. */
	printf(selector ? "%s%s0x%04llx\n" : "%s%s0x%016llx\n", label, n < 8 ? "\t\t" : "\t", v);
}

/* Wider ones (vectors) are no registers to bhyvectl. */
static bool fits(const char *value)
{
	return value && strlen(value) <= 18;
}

static const char *reg_value(const json_t *regs, const char *name)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)regs, key, v)
		if (!strcasecmp(key, name) && fits(json_string_value(v)))
			return json_string_value(v);
	return NULL;
}

/* "gdtr[0]\t\t0xBASE/0xLIMIT" */
static bool print_table(const json_t *regs, const char *name, long cpu)
{
	char base[24], limit[24];
	const char *b, *l;

	if (strcmp(name, "gdtr") != 0 && strcmp(name, "idtr") != 0)
		return false;
	snprintf(base, sizeof(base), "%s_base", name);
	snprintf(limit, sizeof(limit), "%s_limit", name);
	b = reg_value(regs, base);
	l = reg_value(regs, limit);
	if (b && l)
		printf("%s[%ld]\t\t0x%016llx/0x%08llx\n", name, cpu, strtoull(b, NULL, 0), strtoull(l, NULL, 0));
	return b && l;
}

static int print_regs(struct bctl *b, const json_t *regs)
{
	const char *key, *value;
	json_t *v;

	json_object_foreach((json_t *)regs, key, v)
		if (b->all && fits(json_string_value(v)))
			print_reg(key, b->cpu, json_string_value(v));
	for (unsigned i = 0; i < b->ngets; i++) {
		value = reg_value(regs, b->get[i]);
		if (value) {
			print_reg(b->get[i], b->cpu, value);
		} else if (strncmp(b->get[i], "desc-", 5) != 0 || !print_table(regs, b->get[i] + 5, b->cpu)) {
			char opt[64];

			snprintf(opt, sizeof(opt), "get-%s", b->get[i]);
			return refuse(opt, "this machine's vCPUs have no such register");
		}
	}
	return 0;
}

/* Every number below, named by the way to it. */
static void print_stats(const json_t *o, const char *prefix)
{
	const char *key;
	json_t *v;
	size_t i;

	json_object_foreach((json_t *)o, key, v) {
		char name[128];

		snprintf(name, sizeof(name), "%s%s%s", prefix, *prefix ? " " : "", key);
		if (json_is_integer(v) && strcmp(key, "vcpu") != 0)
			printf("%-40s\t%" JSON_INTEGER_FORMAT "\n", name, json_integer_value(v));
		else if (json_is_object(v))
			print_stats(v, name);
	}
	json_array_foreach(o, i, v)
		print_stats(v, prefix);
}

static json_t *ask(struct bctl *b, const char *method, json_t *params)
{
	json_t *result = cc_call(b->c, method, params, NULL, NULL);

	json_decref(params);
	return result;
}

static int get_regs(struct bctl *b)
{
	json_t *result = ask(b, "regs", json_pack("{s:I}", "vcpu", (json_int_t)b->cpu));
	const json_t *vcpu = json_array_get(result, 0);
	const int err = result ? print_regs(b, json_object_get(vcpu, "registers")) : -EIO;

	json_decref(result);
	return err;
}

static int get_stats(struct bctl *b)
{
	json_t *result = ask(b, "stats", NULL), *v;
	const json_t *vcpus = json_object_get(result, "vcpus");
	size_t i;

	json_array_foreach(vcpus, i, v)
		if (json_integer_value(json_object_get(v, "vcpu")) == b->cpu) {
			printf("vcpu%ld stats:\n", b->cpu);
			print_stats(v, "");
		}
	json_decref(result);
	return result ? 0 : -EIO;
}

static int get_active(struct bctl *b)
{
	json_t *result = ask(b, "status", NULL);
	const json_int_t n = json_integer_value(json_object_get(result, "cpus"));

	if (result)
		printf("active cpus:\t");
	for (json_int_t i = 0; i < n; i++)
		printf("%s%" JSON_INTEGER_FORMAT, i ? ", " : " ", i);
	if (result)
		printf("\n");
	json_decref(result);
	return result ? 0 : -EIO;
}

static int just(struct bctl *b, const char *method, json_t *params)
{
	json_t *result = ask(b, method, params);

	json_decref(result);
	return result ? 0 : -EIO;
}

/* --- destroy --- */

/* What a run has left behind: more than the lock, which stays. */
static bool has_leftovers(const char *dir)
{
	DIR *d = opendir(dir);
	const struct dirent *e;
	bool any = false;

	while (!any && d && (e = readdir(d)))
		any = e->d_name[0] != '.' && strcmp(e->d_name, "lock") != 0;
	if (d)
		closedir(d);
	return any;
}

/* 1: something was there, 0: nothing, -errno (reported). */
static int sweep(const char *name)
{
	char *dir = rundir_path(name), *path;
	const bool any = has_leftovers(dir);
	int lock, err = any ? rundir_open(name, &path, &lock) : 0, load = err ? err : pending_clear(name, PENDING_LOAD);

	if (any && !err) {
		const char *record = "exit.json";
		char *file;

		for (int i = 0; i < 2; i++, record = "log") {
			if (asprintf(&file, "%s/%s", path, record) > 0) {
				remove(file);
				free(file);
			}
		}
		rundir_close(path, lock);
	}
	free(dir);
	return load < 0 ? load : any || load;
}

/* The end of its process is what lets go of the lock. */
static int destroy(struct bctl *b)
{
	char *dir = rundir_path(b->vm);
	const int pid = rundir_owner(dir), fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int err = just(b, "kill", NULL);

	while (!err && fd >= 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
		;
	if (fd >= 0)
		close(fd);
	free(dir);
	return err ? err : sweep(b->vm);
}

/* --- */

static int carry_out(struct bctl *b)
{
	const json_int_t cpu = b->cpu;
	int err = 0;

	if (b->nmi)
		err = just(b, "nmi", json_pack("{s:I}", "vcpu", cpu));
	if (!err && (b->all || b->ngets))
		err = get_regs(b);
	if (!err && (b->all || b->active))
		err = get_active(b);
	if (!err && (b->all || b->stats))
		err = get_stats(b);
	if (!err && b->reset)
		err = just(b, "reset", NULL);
	if (!err && b->poweroff)
		err = just(b, "kill", NULL);    /* `poweroff` only presses a button */
	return err;
}

int cmd_bhyvectl(int argc, char **argv)
{
	struct bctl b = { .cpu = 0 };
	char *dir, why[96];
	bool runs;
	int err = parse(&b, argc, argv);

	if (err)
		return STATUS_BHYVECTL;
	if (rundir_name_check(b.vm, why, sizeof(why))) {
		err_msg(-EINVAL, "bhyvectl: --vm=%s: %s", b.vm, why);
		return STATUS_BHYVECTL;
	}
	dir = rundir_path(b.vm);
	runs = rundir_owner(dir) != 0;
	free(dir);
	if (runs)
		err = cc_open(b.vm, &b.c);
	else if (!b.destroy || b.all || b.ngets || b.stats || b.nmi || b.reset || b.poweroff || b.active)
		err = -ESRCH;
	else
		err = (err = sweep(b.vm)) > 0 ? 0 : err ? err : -ESRCH;
	if (!err && runs)
		err = carry_out(&b);
	if (!err && runs && b.destroy)
		err = destroy(&b) < 0 ? -EIO : 0;
	if (err == -ESRCH)
		fprintf(stderr, "VM:%s is not created.\n", b.vm);
	cc_close(b.c);
	return err ? STATUS_BHYVECTL : 0;
}
