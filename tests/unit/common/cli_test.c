#include <errno.h>
#include <string.h>

#include "common/arch.h"
#include "common/cli.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;
static struct conf *conf;

/* Words separated by single blanks; "~" stands for a blank inside a word.  Standard error is in cap.text. */
static int parse_as(struct cli cli, const char *line)
{
	static char copy[1024];
	char *argv[64] = { "run" }, *save;
	int argc = 1, r;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		for (char *s = p; *s; s++)
			if (*s == '~')
				*s = ' ';
		argv[argc++] = p;
	}
	conf_free(conf);
	conf = conf_new();
	capture_start(&cap, 2);
	r = cli_parse_run(&cli, argc, argv, conf);
	capture_stop(&cap);
	return r;
}

static int parse(const char *line)
{
	return parse_as((struct cli){ .prog = "skep run" }, line);
}

static void dump_is(const char *want)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	conf_dump(conf, f);
	fclose(f);
	ck_assert_str_eq(text, want);
	free(text);
}

/* What installs and boots from media becomes disks. */
START_TEST(test_media)
{
	/* A CD is what the machine's firmware can start from. */
	ck_assert_int_eq(parse_as((struct cli){ .prog = "skep plan", .any_arch = true }, "-o arch=x86 --cdrom a --cdrom b vm1"), 0);
	ck_assert_str_eq(conf_raw(conf, "pci.0.2.0.device"), "ahci-cd");
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.path"), "b");
	ck_assert_int_eq(parse_as((struct cli){ .prog = "skep plan", .any_arch = true }, "--cdrom cd,,1.iso,bootindex=4 -o arch=arm64 vm1"), 0);
	dump_is("arch=arm64\nlpc.com1.path=stdio\nname=vm1\n"
		"pci.0.2.0.bootindex=4\npci.0.2.0.device=virtio-blk\npci.0.2.0.path=cd,1.iso\npci.0.2.0.ro=true\n");
	ck_assert_int_eq(parse("--install os.iso -s 2,virtio-blk,cd,,1.iso,bootindex=4,ro --disk d vm1 --force-install"), 0);
	dump_is("install.force=true\ninstall.iso=os.iso\nlpc.com1.path=stdio\nname=vm1\n"
		"pci.0.2.0.bootindex=4\npci.0.2.0.device=virtio-blk\npci.0.2.0.path=cd,1.iso\npci.0.2.0.ro=true\n"
		"pci.0.3.0.device=virtio-blk\npci.0.3.0.path=d\n"
		"pci.0.4.0.device=virtio-blk\npci.0.4.0.path=%(install.iso)\npci.0.4.0.ro=true\n");
	ck_assert_str_eq(conf_raw(conf, "pci.0.4.0.path"), "os.iso");
	/* A medium that is attached already is not attached twice. */
	ck_assert_int_eq(parse("-s 5,virtio-blk,os.iso,ro -o install.iso=os.iso --disk d vm1"), 0);
	ck_assert_ptr_null(conf_raw(conf, "pci.0.3.0.device"));
	ck_assert_ptr_nonnull(conf_raw(conf, "pci.0.2.0.device"));
	ck_assert_int_eq(parse("-s 5,ahci,hd:d,cd:os.iso --install os.iso vm1"), 0);
	ck_assert_ptr_null(conf_raw(conf, "pci.0.2.0.device"));
	/* ... but a disk that is written is no medium: both want the file, and one of them will be refused. */
	ck_assert_int_eq(parse("--disk os.iso --install os.iso vm1"), 0);
	ck_assert_str_eq(conf_raw(conf, "pci.0.3.0.ro"), "true");
	ck_assert_int_eq(parse("--firmware uefi -f opt/x,string=1 -f opt/y,file=z -l bootrom,a,b vm1"), 0);
	dump_is("firmware=uefi\nfwcfg.0=opt/x,string=1\nfwcfg.1=opt/y,file=z\nlpc.bootrom=a\nlpc.bootvars=b\nlpc.com1.path=stdio\nname=vm1\n");
	ck_assert_int_eq(parse("--net null,bootindex=3 vm1"), 0);
	ck_assert_int_eq(parse("--net null,bootindex=256 vm1"), 2);
}
END_TEST

START_TEST(test_forms)
{
	ck_assert_int_eq(parse("vm1"), 0);
	dump_is("lpc.com1.path=stdio\nname=vm1\n");
	ck_assert_int_eq(parse("-c2 -m 1G -AHP -Sm512M --append=a~b --initrd x vm1 --once"), 0);
	dump_is("acpi_tables=true\nappend=a "
		"b\ncpus=2\ninitrd=x\nlpc.com1.path=stdio\nmemory.size=512M\nmemory.wired=true\nname=vm1\n"
		"on_reboot=exit\nx86.vmexit_on_hlt=true\nx86.vmexit_on_pause=true\n");
	ck_assert_int_eq(parse("--append --once -- vm1"), 0);
	dump_is("append=--once\nlpc.com1.path=stdio\nname=vm1\n");
	ck_assert_int_eq(parse("-o name=vm2"), 0);
	dump_is("lpc.com1.path=stdio\nname=vm2\n");
	ck_assert_int_eq(parse("-C -D -I -w -x -a -u -W -Y -g 0 -K~ vm1 -G 0") != 0, 1);
	ck_assert_int_eq(parse("-CDIwxauWY -g 0 -G 0 vm1"), 0);
	dump_is("destroy_on_poweroff=true\ngdb.port=0\nlpc.com1.path=stdio\nmemory.guest_in_core=true\n"
		"name=vm1\nrtc.use_localtime=false\n"
		"virtio_msix=false\nx86.mptable=false\nx86.strictmsr=false\nx86.x2apic=false\n");
}
END_TEST

/* In the background nobody is there to look at a terminal. */
START_TEST(test_daemon)
{
	ck_assert_int_eq(parse("--daemon --pidfile p vm1"), 0);
	dump_is("daemon=true\nname=vm1\npidfile=p\n");
	ck_assert_int_eq(parse("-o daemon=no vm1"), 0);
	dump_is("daemon=no\nlpc.com1.path=stdio\nname=vm1\n");
	ck_assert_int_eq(parse("-l com2,stdio --daemon vm1"), 2);
	ck_assert_str_eq(cap.text, "skep: -l: a VM in the background has no terminal for stdio; leave it out and attach with 'skep console'\n"
			 "try 'skep run --help'\n");
	ck_assert_int_eq(parse_as((struct cli){ .prog = "skep create", .no_console = true }, "vm1"), 0);
	dump_is("name=vm1\n");
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *line, *message; } rows[] = {
		{ "", "the VM has no name: end the command line with one, such as vm1" },
		{ "a b", "'b': the VM is already called 'a'; quote a value with blanks" },
		{ "a/b", "VM name 'a/b': a name is made of letters, digits, '.', '_' and '-'" },
		{ "-o name=.x", "-o: VM name '.x': a name does not begin with '.' or '-'" },
		{ "-", "VM name '-': a name does not begin with '.' or '-'" },
		{ "-Z vm1", "unknown option '-Z'" },
		{ "--kernl x vm1", "unknown option '--kernl': did you mean '--kernel'?" },
		{ "--kernl=x vm1", "unknown option '--kernl': did you mean '--kernel'?" },
		{ "--zebra vm1", "unknown option '--zebra'" },
		{ "--= vm1", "unknown option '--'" },
		{ "--once=3 vm1", "--once: takes no value" },
		{ "vm1 --kernel", "--kernel: needs a value: FILE" },
		{ "vm1 -c", "-c: needs a value: [cpus=]N[,sockets=S][,cores=C][,threads=T]" },
		{ "vm1 -h", "-h: needs a value: DIR (help is --help)" },
		{ "-S 2,uart,stdio vm1", "'2,uart,stdio': -S means wired memory and takes no value; write -s 2,uart,stdio" },
		{ "-r x vm1", "-r: restoring checkpoints is not in this version; start the VM without it" },
		{ "--restore x vm1", "--restore: restoring checkpoints is not in this version; start the VM without it" },
		{ "-g 123456 vm1", "-g: gdb.port=123456: above 65535" },
		{ "-G w:x vm1", "-G: 'w:x' is not [w][ADDR:]PORT|[w]PATH" },
		{ "-K de vm1", "-K: keyboards and VNC are not in this version; use the serial console" },
		{ "-M x vm1", "-M: x: not a size" },
		{ "-m x vm1", "-m: memory.size=x: not a size" },
		{ "-m x -M 1G vm1", "-m: memory.size=x: not a size" },
		{ "--on-crash=x vm1", "--on-crash: on_crash=x: not one of restart, exit, pause" },
		{ "--log-level x vm1", "--log-level: log.level=x: not one of error, warn, info, debug" },
		{ "-U x vm1", "-U: uuid=x: not a UUID (8-4-4-4-12 hexadecimal digits)" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		char want[300];

		snprintf(want, sizeof(want), "skep: %s\ntry 'skep run --help'\n", rows[i].message);
		ck_assert_int_eq(parse(rows[i].line), 2);
		ck_assert_str_eq(cap.text, want);
	}
}
END_TEST

START_TEST(test_other_machine)
{
	const struct arch_info *other = arch_native == &arch_x86 ? &arch_arm64 : &arch_x86;
	char line[64], want[256];

	snprintf(line, sizeof(line), "--arch %s vm1", other->name);
	snprintf(want, sizeof(want), "skep: --arch: this host runs %s guests, not %s; 'skep plan --arch %s' shows that "
		"machine\ntry 'skep run --help'\n",
		 arch_native->name, other->name, other->name);
	ck_assert_int_eq(parse(line), 2);
	ck_assert_str_eq(cap.text, want);
	ck_assert_int_eq(parse_as((struct cli){ .prog = "skep plan", .any_arch = true, .name_optional = true }, "--arch arm64"), 0);
	dump_is("arch=arm64\nlpc.com1.path=stdio\n");
}
END_TEST

START_TEST(test_default_console)
{
	ck_assert_int_eq(parse("-l com2,pty vm1"), 0);
	dump_is("lpc.com2.path=pty\nname=vm1\n");
	ck_assert_int_eq(parse("--console null vm1"), 0);
	dump_is("lpc.com1.path=null\nname=vm1\n");
	ck_assert_int_eq(parse("--append stdio vm1"), 0);       /* the word alone is no use of it */
	dump_is("append=stdio\nlpc.com1.path=stdio\nname=vm1\n");
}
END_TEST

START_TEST(test_high_memory)
{
	ck_assert_int_eq(parse("-m 768 -M 2048 vm1"), 0);
	ck_assert_str_eq(cap.text, "skep: warning: -M 2048 is added to -m: 2816 MiB in all; -m alone is enough\n");
	ck_assert_uint_eq(conf_u64(conf, "memory.size"), MIB(2816));
	ck_assert_int_eq(parse("-M 1G vm1"), 0);
	ck_assert_uint_eq(conf_u64(conf, "memory.size"), MIB(1280));
	ck_assert_int_eq(parse("-m 65536G -M 65536G vm1"), 2);
}
END_TEST

START_TEST(test_bhyve)
{
	struct cli bhyve = { .prog = "bhyve", .bhyve = true };

	ck_assert_int_eq(parse_as(bhyve, "-c 1 vm1"), 0);
	dump_is("cpus=1\nname=vm1\non_reboot=exit\nrtc.use_localtime=true\n");
	ck_assert_int_eq(parse_as(bhyve, "-u vm1"), 0);
	dump_is("name=vm1\non_reboot=exit\nrtc.use_localtime=false\n");
	ck_assert_int_eq(parse_as(bhyve, "-Z vm1"), 2);
	ck_assert_str_eq(cap.text, "skep: unknown option '-Z'\ntry 'bhyve --help'\n");
}
END_TEST

START_TEST(test_bhyve_status)
{
	static const struct { int skep, bhyve; } rows[] = {
		{ 0, 1 }, { 1, 4 }, { 2, 4 }, { 3, 0 }, { 4, 3 }, { 5, 4 }, { 6, 5 }, { 7, 7 }, { 143, 143 }, { -1, -1 },
	};

	for (size_t i = 0; i < NELEM(rows); i++)
		ck_assert_int_eq(cli_bhyve_status(rows[i].skep), rows[i].bhyve);
}
END_TEST

static int note(struct cli *c, const struct cli_opt *o UNUSED, const char *arg, const char *origin)
{
	ck_assert_str_eq(origin, "--tables");
	*(const char **)c->user = arg;
	return 0;
}

START_TEST(test_extra_options)
{
	static const struct cli_opt extra[] = {
		{ .name = "tables", .arg = "DIR", .fn = note, .help = "write tables" }, { .help = NULL }
	};
	const char *got = NULL;
	struct cli cli = { .prog = "skep plan", .name_optional = true, .extra = extra, .user = &got };

	ck_assert_int_eq(parse_as(cli, "--tables out -c 2"), 0);
	ck_assert_str_eq(got, "out");
	ck_assert_int_eq(parse_as(cli, "--tabels out"), 2);
	ck_assert_str_eq(cap.text, "skep: unknown option '--tabels': did you mean '--tables'?\ntry 'skep plan --help'\n");
	ck_assert_int_eq(parse("--tables out vm1"), 2);
}
END_TEST

static void free_all(void)
{
	conf_free(conf);
	conf = NULL;
}

START_TEST(test_end)
{
	free_all();
}
END_TEST

UNIT_MAIN("common/cli", test_media, test_forms, test_daemon, test_refusals, test_other_machine, test_default_console, test_high_memory, test_bhyve,
	  test_bhyve_status, test_extra_options, test_end)
