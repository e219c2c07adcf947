#include <errno.h>
#include <string.h>

#include "common/arch.h"
#include "common/conf.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

/* "key=value key=value": the result of conf_check, its message in cap.text. */
static int check(const char *pairs)
{
	struct conf *c = conf_new();
	char copy[1024], *save, *eq;
	int err;

	snprintf(copy, sizeof(copy), "%s", pairs);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		eq = strchr(p, '=');
		*eq = 0;
		ck_assert_int_eq(conf_set(c, p, eq + 1, "t"), 0);
	}
	capture_start(&cap, 2);
	err = conf_check(c);
	capture_stop(&cap);
	conf_free(c);
	return err;
}

START_TEST(test_accepted)
{
	static const char *const rows[] = {
		"", "cpus=512", "cpus=4 sockets=2 cores=2", "sockets=2 threads=2", "memory.size=16M", "memory.size=1024",
		"arch=x86 lpc.com1.path=stdio lpc.com2.path=pty lpc.com3.path=pty lpc.com4.path=pty lpc.com1.history=4K",
		"arch=arm64 lpc.com1.path=stdio lpc.com2.path=pty", "arch=amd64", "arch=aarch64",
		"pci.0.3.0.device=virtio-blk pci.0.3.0.path=/x pci.0.3.0.ro=true", "pci.0.31.7.device=virtio-rnd",
		"pci.0.0.0.device=hostbridge pci.0.1.0.device=lpc", "gdb.port=0 gdb.wait=false", "gdb.port=1234 gdb.address=::1 gdb.wait=true", "gdb.path=/tmp/gdb", "lpc.fwcfg=qemu",
		"cpus=2 vcpu.0.cpuset=3 vcpu.1.cpuset=0,2-5,8191",
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		int err = check(rows[i]);

		ck_assert_msg(!err && !cap.text[0], "%s: %s", rows[i], cap.text);
	}
}
END_TEST

START_TEST(test_refused)
{
	static const struct { const char *pairs, *message; } rows[] = {
		{ "memory.sise=1G", "t: unknown key 'memory.sise': did you mean 'memory.size'?" },
		{ "wombat=1", "t: unknown key 'wombat': 'skep help keys' lists them all" },
		{ "cpus=0", "t: cpus=0: below 1" },
		{ "cpus=513", "t: cpus=513: above 512" },
		{ "memory.size=15M", "t: memory.size=15M: below 16M" },
		{ "memory.size=4", "t: memory.size=4: below 16M" },
		{ "on_reboot=explode", "t: on_reboot=explode: not one of restart, exit, pause" },
		{ "uuid=%(name) name=x", "t: uuid=x: not a UUID (8-4-4-4-12 hexadecimal digits)" },
		{ "arch=mips", "t: arch=mips: not one of x86, amd64, x86_64, arm64, aarch64" },
		{ "kernel=%(initrd)", "t: kernel=%(initrd): '%(initrd)' names a key that is not set" },
		{ "cpus=4 cores=3", "t: 1 sockets of 3 cores of 1 threads are 3 CPUs, but cpus=4: change either" },
		{ "sockets=100 cores=100", "t: the topology has 10000 CPUs, more than 512" },
		{ "vcpu.1.cpuset=0", "t: vCPU 1 does not exist: this VM has 1, numbered from 0" },
		{ "vcpu.0.cpuset=a", "t: 'a' is not a list of host CPUs, such as 2 or 0,4-7" },
		{ "vcpu.0.cpuset=1,", "t: '1,' is not a list of host CPUs, such as 2 or 0,4-7" },
		{ "vcpu.0.cpuset=3-1", "t: '3-1' is not a list of host CPUs, such as 2 or 0,4-7" },
		{ "vcpu.0.cpuset=8192", "t: '8192' is not a list of host CPUs, such as 2 or 0,4-7" },
		{ "vcpu.0.cpuset=1--2", "t: '1--2' is not a list of host CPUs, such as 2 or 0,4-7" },
		{ "vcpu.x.cpuset=1", "t: unknown key 'vcpu.x.cpuset': did you mean 'vcpu.N.cpuset'?" },
		{ "gdb.port=65536", "t: gdb.port=65536: above 65535" },
		{ "restore=x", "t: restoring checkpoints is not in this version; start the VM without it" },
		{ "loader.env.0=x", "t: loader.env.0=x: not NAME=VALUE, a variable and its value" },
		{ "loader.env.3==x", "t: loader.env.3==x: not NAME=VALUE, a variable and its value" },
		{ "loader.env.0=\"a\"=x", "t: loader.env.0=\"a\"=x: not NAME=VALUE, a variable and its value" },
		{ "load.0=file", "t: load.0=file: not FILE@ADDR, such as data.bin@0x200000 or data.bin@2M" },
		{ "load.1=@1M", "t: load.1=@1M: not FILE@ADDR, such as data.bin@0x200000 or data.bin@2M" },
		{ "load.0=a@b", "t: load.0=a@b: not FILE@ADDR, such as data.bin@0x200000 or data.bin@2M" },
		{ "load.0=a@-1", "t: load.0=a@-1: not FILE@ADDR, such as data.bin@0x200000 or data.bin@2M" },
		{ "module.0=,args=x", "t: module.0=,args=x: not FILE[,type=TYPE][,args=TEXT]; write ',,' for a comma in one" },
		{ "module.2=m,b", "t: module.2=m,b: not FILE[,type=TYPE][,args=TEXT]; write ',,' for a comma in one" },
		{ "module.0=m,type=", "t: module.0=m,type=: not FILE[,type=TYPE][,args=TEXT]; write ',,' for a comma in one" },
		{ "fwcfg.0=opt/x", "t: fwcfg.0=opt/x: not NAME,string=TEXT or NAME,file=PATH" },
		{ "fwcfg.0=name=,string=x", "t: fwcfg.0=name=,string=x: not NAME,string=TEXT or NAME,file=PATH" },
		{ "fwcfg.0=opt/x,file=", "t: fwcfg.0=opt/x,file=: not NAME,string=TEXT or NAME,file=PATH" },
		{ "fwcfg.0=opt/x,text=y", "t: fwcfg.0=opt/x,text=y: not NAME,string=TEXT or NAME,file=PATH" },
		{ "arch=arm64 lpc.com3.path=stdio", "t: lpc.com3: the virt machine of arm64 has no such serial port; use com1 or "
			"com2" },
		{ "arch=x86 lpc.com5.path=stdio", "t: unknown key 'lpc.com5.path': 'skep help keys' lists them all" },
		{ "lpc.com1.pth=stdio", "t: unknown key 'lpc.com1.pth': did you mean 'lpc.com1.path'?" },
		{ "lpc.com1.zebra=stdio", "t: unknown key 'lpc.com1.zebra': 'skep help devices' lists what each device takes" },
		{ "pci.0.3.0.path=x", "t: 'pci.0.3.0.path' belongs to a device whose 'pci.0.3.0.device' is not set" },
		{ "pci.0.3.0.device=virtio-blok", "t: unknown device 'virtio-blok': did you mean 'virtio-blk'?" },
		{ "pci.0.3.0.device=zebra", "t: unknown device 'zebra': 'skep run -s help' lists them" },
		{ "pci.0.3.0.device=uart16550", "t: unknown device 'uart16550': 'skep run -s help' lists them" },
		{ "pci.0.3.0.device=e1000", "t: e1000: the Intel e1000 is not in this version; use virtio-net" },
		{ "pci.0.3.0.device=virtio-blk pci.0.3.0.pth=x", "t: unknown key 'pci.0.3.0.pth': did you mean 'pci.0.3.0.path'?" },
		{ "pci.0.3.0.device=virtio-blk pci.0.3.0.ro=x", "t: pci.0.3.0.ro=x: neither true nor false" },
		{ "pci.0.3.0.device=lpc pci.0.3.0.x=1", "t: 'pci.0.3.0.x': lpc takes no options here; its ports are lpc.com1 to "
			"lpc.com4" },
		{ "pci.1.3.0.device=virtio-blk", "t: 'pci.1.3.0.device': this machine has PCI bus 0 with slots 0 to 31 and "
			"functions 0 to 7" },
		{ "pci.0.32.0.device=virtio-blk", "t: 'pci.0.32.0.device': this machine has PCI bus 0 with slots 0 to 31 and "
			"functions 0 to 7" },
		{ "pci.0.3.8.device=virtio-blk", "t: 'pci.0.3.8.device': this machine has PCI bus 0 with slots 0 to 31 and "
			"functions 0 to 7" },
		{ "pci.0.3.device=virtio-blk", "t: 'pci.0.3.device': PCI devices are named pci.BUS.SLOT.FUNCTION" },
		{ "pci.x=1", "t: 'pci.x': PCI devices are named pci.BUS.SLOT.FUNCTION" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		char want[256];

		snprintf(want, sizeof(want), "skep: %s\n", rows[i].message);
		ck_assert_msg(check(rows[i].pairs) == -EINVAL, "%s was accepted", rows[i].pairs);
		ck_assert_str_eq(cap.text, want);
	}
}
END_TEST

START_TEST(test_every_refusal)
{
	char pairs[128], want[256];

	for (const struct conf_refusal *r = conf_refused_keys; r->name; r++) {
		snprintf(pairs, sizeof(pairs), "%s=true", r->name);
		snprintf(want, sizeof(want), "skep: t: %s\n", r->text);
		ck_assert_int_eq(check(pairs), -EINVAL);
		ck_assert_str_eq(cap.text, want);
	}
	for (const struct conf_refusal *r = conf_refused_classes; r->name; r++) {
		snprintf(pairs, sizeof(pairs), "pci.0.3.0.device=%s", r->name);
		snprintf(want, sizeof(want), "skep: t: %s: %s\n", r->name, r->text);
		ck_assert_msg(!conf_pci_class(r->name), "%s exists now: remove its refusal", r->name);
		ck_assert_int_eq(check(pairs), -EINVAL);
		ck_assert_str_eq(cap.text, want);
	}
}
END_TEST

START_TEST(test_arch)
{
	struct conf *c = conf_new();

	ck_assert_ptr_eq(conf_arch(c), arch_native);
	conf_set(c, "arch", "aarch64", "t");
	ck_assert_ptr_eq(conf_arch(c), &arch_arm64);
	conf_set(c, "arch", "x86", "t");
	ck_assert_ptr_eq(conf_arch(c), &arch_x86);
	conf_free(c);
}
END_TEST

START_TEST(test_cpuset)
{
	const char *s = "0,4-7";
	unsigned lo, hi;

	ck_assert_int_eq(conf_cpuset_next(&s, &lo, &hi), 1);
	ck_assert(lo == 0 && hi == 0);
	ck_assert_int_eq(conf_cpuset_next(&s, &lo, &hi), 1);
	ck_assert(lo == 4 && hi == 7);
	ck_assert_int_eq(conf_cpuset_next(&s, &lo, &hi), 0);
}
END_TEST

UNIT_MAIN("common/conf_check", test_accepted, test_refused, test_every_refusal, test_arch, test_cpuset)
