/*
 * What create writes is what was asked for, for whoever reads the file, and every key is in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>

#include "common/arch.h"
#include "common/cli.h"
#include "common/cmd/service.h"
#include "common/device.h"
#include "common/vm.h"
#include "tests/unit/common/cmd/home.h"
#include "tests/unit/common/cmd/line.h"
#include "tests/unit/unit.h"

static char file[200], text[65536];

static const char *slurp(const char *name)
{
	FILE *f;
	size_t n;

	snprintf(file, sizeof(file), "%s/%s", home_confs, name);
	f = fopen(file, "r");
	ck_assert_msg(f != NULL, "%s", file);
	n = fread(text, 1, sizeof(text) - 1, f);
	ck_assert_uint_lt(n, sizeof(text) - 1);
	text[n] = 0;
	fclose(f);
	return text;
}

/* The file alone, as `config dump` shows it. */
static void holds(const char *want)
{
	char *dump;
	size_t len;
	struct conf *c = conf_new();
	FILE *f = open_memstream(&dump, &len);

	ck_assert_int_eq(conf_read_file(c, file), 0);
	conf_set(c, "name", "vm1", "t");
	ck_assert_int_eq(conf_check(c), 0);
	conf_dump(c, f);
	fclose(f);
	ck_assert_str_eq(dump, want);
	free(dump);
	conf_free(c);
}

START_TEST(test_empty)
{
	char want[400];

	home_begin();
	ck_assert_int_eq(run_line("skep create", "vm1"), 0);
	snprintf(want, sizeof(want), "'%s/vm1.conf' is written: edit it, or start the VM with 'skep start vm1'\n", home_confs);
	ck_assert_str_eq(out.text, want);
	ck_assert_str_eq(err.text, "");
	slurp("vm1.conf");
	holds("name=vm1\n");
	/* Every key of the tables, but those that the file's name and whoever starts it give. */
	for (const struct opt *o = conf_global_opts; o->name; o++) {
		snprintf(want, sizeof(want), "\n#%s=%s\n", o->name, o->def ? o->def : "");
		ck_assert_msg(!strstr(text, want) == (!strcmp(o->name, "name") || !strcmp(o->name, "daemon")), "%s", o->name);
		ck_assert_msg(!strcmp(o->name, "name") || !strcmp(o->name, "daemon") || strstr(text, o->help), "%s", o->help);
	}
	ck_assert_ptr_nonnull(strstr(text, "\n# number of virtual CPUs (1 to 512; default 1)\n#cpus=1\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n#lpc.com1.path=\n"));
	home_end();
}
END_TEST

START_TEST(test_given)
{
	char cwd[PATH_MAX], want[5 * PATH_MAX];

	home_begin();
	ck_assert_int_eq(run_line("skep create", "vm1 -c 2 -m 1G --kernel Makefile --append a=%(name)#b -l com1,unix=sock --disk /d.img,ro "
				  "--module LICENSE,args=x --module elsewhere --log log --firmware u-boot --net tap0 --pidfile %(name).pid "
				  "-l com2,null -o vcpu.1.cpuset=0"), 0);
	slurp("vm1.conf");
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	/* Files are found from wherever it is started; words are not taken for files. */
	snprintf(want, sizeof(want), "append=a=%%(name)#b\ncpus=2\nfirmware=u-boot\nkernel=%s/Makefile\nlog.file=%s/log\nlpc.com1.path=unix=%s/sock\n"
		 "lpc.com2.path=null\nmemory.size=1G\nmodule.0=%s/LICENSE,args=x\nmodule.1=elsewhere\nname=vm1\npci.0.2.0.device=virtio-blk\n"
		 "pci.0.2.0.path=/d.img\npci.0.2.0.ro=true\npci.0.3.0.backend=tap0\npci.0.3.0.device=virtio-net\npidfile=%%(name).pid\n"
		 "vcpu.1.cpuset=0\n", cwd, cwd, cwd, cwd);
	holds(want);
	ck_assert_ptr_nonnull(strstr(text, "\n# number of virtual CPUs (1 to 512; default 1)\ncpus=2\n"));
	ck_assert_ptr_nonnull(strstr(text, "\npci.0.2.0.device=virtio-blk\n"));
	ck_assert_ptr_nonnull(strstr(text, "\n#pci.0.2.0.serial=\n"));
	ck_assert_ptr_null(strstr(text, "#pci.0.2.0.ro="));
	home_end();
}
END_TEST

START_TEST(test_percent)
{
	char dir[128], was[PATH_MAX], want[300];

	home_begin();
	snprintf(dir, sizeof(dir), "%s/50%%(x)", home_top);
	ck_assert(!mkdir(dir, 0700) && getcwd(was, sizeof(was)) && !chdir(dir));
	ck_assert_int_eq(run_line("skep create", "vm1 --log log"), 0);
	ck_assert_int_eq(chdir(was), 0);
	slurp("vm1.conf");
	snprintf(want, sizeof(want), "log.file=%s/50%%%%(x)/log\nname=vm1\n", home_top);
	holds(want);
	home_end();
}
END_TEST

START_TEST(test_refusals)
{
	char want[400];

	home_begin();
	ck_assert_int_eq(run_line("skep create", ""), STATUS_USAGE);
	ck_assert_int_eq(run_line("skep create", "a/b"), STATUS_USAGE);
	ck_assert_str_eq(err.text, "skep: VM name 'a/b': a name is made of letters, digits, '.', '_' and '-'\ntry 'skep create --help'\n");
	ck_assert_int_eq(run_line("skep create", "vm1 -o memory.sise=1"), STATUS_USAGE);
	ck_assert_int_eq(access(home_confs, F_OK), -1);
	ck_assert_int_eq(run_line("skep create", "vm1"), 0);
	ck_assert_int_eq(run_line("skep create", "vm1 -c 2"), STATUS_REFUSED);
	snprintf(want, sizeof(want), "skep: '%s/vm1.conf' exists already: edit it, or replace it with --force\n", home_confs);
	ck_assert_str_eq(err.text, want);
	slurp("vm1.conf");
	holds("name=vm1\n");
	ck_assert_int_eq(run_line("skep create", "--force vm1 -c 2"), 0);
	slurp("vm1.conf");
	holds("cpus=2\nname=vm1\n");
	ck_assert_int_eq(chmod(home_confs, 0500), 0);
	ck_assert_int_eq(run_line("skep create", "vm2"), STATUS_REFUSED);
	snprintf(want, sizeof(want), "skep: configuration file '%s/vm2.conf': write: Permission denied\n", home_confs);
	ck_assert_str_eq(err.text, want);
	chmod(home_confs, 0700);
	unsetenv("HOME");
	ck_assert_int_eq(run_line("skep create", "vm2"), STATUS_REFUSED);
	ck_assert_str_eq(err.text, "skep: VM 'vm2': no place for its configuration: set HOME or XDG_CONFIG_HOME\n");
	home_end();
}
END_TEST

static void lists(const char *want)
{
	char cmd[200], line[512] = "";
	FILE *f;

	snprintf(cmd, sizeof(cmd), "ls %s", home_confs);
	f = popen(cmd, "r");
	line[fread(line, 1, sizeof(line) - 1, f)] = 0;
	pclose(f);
	ck_assert_str_eq(line, want);
}

/* A file that cannot be written whole leaves nothing, and what was there before stays. */
START_TEST(test_full)
{
	struct rlimit was, less = { 1000, RLIM_INFINITY };
	char want[400];

	home_begin();
	ck_assert_int_eq(run_line("skep create", "vm1 -c 2"), 0);
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	less.rlim_max = was.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
	/* What is captured has its limit too: nothing longer than one sentence is. */
	ck_assert_int_eq(run_line("skep create", "vm1 -c 3 --force"), STATUS_REFUSED);
	snprintf(want, sizeof(want), "skep: configuration file '%s/vm1.conf': write: File too large\n", home_confs);
	ck_assert_str_eq(err.text, want);
	ck_assert_int_eq(run_line("skep create", "vm2"), STATUS_REFUSED);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_DFL);
	lists("vm1.conf\n");
	slurp("vm1.conf");
	holds("cpus=2\nname=vm1\n");
	home_end();
}
END_TEST

START_TEST(test_places)
{
	char path[PATH_MAX], want[200];

	home_begin();
	setenv("XDG_CONFIG_HOME", home_top, 1);
	ck_assert_int_eq(service_own_conf("vm1", path, sizeof(path)), 0);
	snprintf(want, sizeof(want), "%s/skep/vm1.conf", home_top);
	ck_assert_str_eq(path, want);
	setenv("XDG_CONFIG_HOME", "relative", 1);
	ck_assert_int_eq(service_own_conf("vm1", path, sizeof(path)), 0);
	snprintf(want, sizeof(want), "%s/vm1.conf", home_confs);
	ck_assert_str_eq(path, want);
	home_put("vm1.conf", "");
	ck_assert_int_eq(service_find_conf("vm1", path, sizeof(path)), 0);
	ck_assert_str_eq(path, want);
	unsetenv("XDG_CONFIG_HOME");
	home_end();
	if (!geteuid()) {
		ck_assert_int_eq(service_own_conf("vm1", path, sizeof(path)), 0);
		ck_assert_str_eq(path, "/etc/skep/vm1.conf");
	}
}
END_TEST

UNIT_MAIN("common/cmd/create", test_empty, test_given, test_percent, test_refusals, test_full, test_places)
