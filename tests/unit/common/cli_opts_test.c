#include <errno.h>
#include <string.h>

#include "common/cli.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

static char *dump(const struct conf *c)
{
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	conf_dump(c, f);
	fclose(f);
	return text;
}

/* One handler on an empty configuration: its result, with messages in cap.text and the keys in *keys. */
static int handle(CLI_FN((*fn)), const char *arg, char **keys)
{
	static const struct cli_opt row = { .name = "x", .arg = "FORM", .help = "" };
	struct cli cli = { .prog = "skep run", .conf = conf_new() };
	int r;

	capture_start(&cap, 2);
	r = fn(&cli, &row, arg, "-x");
	capture_stop(&cap);
	*keys = dump(cli.conf);
	conf_free(cli.conf);
	return r;
}

START_TEST(test_words)
{
	char a[] = "a,b,,c,,,d", b[] = "", c[] = ",", d[] = ",,";
	char *s = a;

	ck_assert_str_eq(cli_word(&s), "a");
	ck_assert_str_eq(cli_word(&s), "b,c,");
	ck_assert_str_eq(cli_word(&s), "d");
	ck_assert_ptr_null(cli_word(&s));
	ck_assert_ptr_null(cli_word(&s));
	s = b;
	ck_assert_str_eq(cli_word(&s), "");
	ck_assert_ptr_null(cli_word(&s));
	s = c;
	ck_assert_str_eq(cli_word(&s), "");
	ck_assert_str_eq(cli_word(&s), "");
	ck_assert_ptr_null(cli_word(&s));
	s = d;
	ck_assert_str_eq(cli_word(&s), ",");
	ck_assert_ptr_null(cli_word(&s));
}
END_TEST

START_TEST(test_good)
{
	static const struct { CLI_FN((*fn)); const char *arg, *keys; } rows[] = {
		{ cli_opt_cpus, "4", "cpus=4\n" },
		{ cli_opt_cpus, "cpus=8,sockets=2,cores=2,threads=2", "cores=2\ncpus=8\nsockets=2\nthreads=2\n" },
		{ cli_opt_cpus, "sockets=2", "sockets=2\n" },
		{ cli_opt_pin, "0:4", "vcpu.0.cpuset=4\n" },
		{ cli_opt_set, "a.b=c=d", "a.b=c=d\n" },
		{ cli_opt_set, "a=", "a=\n" },
		{ cli_opt_gdb, "1234", "gdb.port=1234\n" },
		{ cli_opt_gdb, "w1234", "gdb.port=1234\ngdb.wait=true\n" },
		{ cli_opt_gdb, "w:1234", "gdb.port=1234\ngdb.wait=true\n" },
		{ cli_opt_gdb, "127.0.0.1:1234", "gdb.address=127.0.0.1\ngdb.port=1234\n" },
		{ cli_opt_gdb, "w[::1]:1234", "gdb.address=::1\ngdb.port=1234\ngdb.wait=true\n" },
		{ cli_opt_gdb, "/tmp/gdb", "gdb.path=/tmp/gdb\n" },
		{ cli_opt_gdb, "w/tmp/gdb", "gdb.path=/tmp/gdb\ngdb.wait=true\n" },
		{ cli_opt_gdb, "wunix:gdb", "gdb.path=gdb\ngdb.wait=true\n" },
		{ cli_opt_port, "com1,stdio", "lpc.com1.path=stdio\n" },
		{ cli_opt_port, "com4,unix=/a,server", "lpc.com4.path=unix=/a,server\n" },
		{ cli_opt_port, "com2,socket,/a", "lpc.com2.path=socket,/a\n" },
		{ cli_opt_port, "com2,unix=/a,history=4K,server", "lpc.com2.history=4K\nlpc.com2.path=unix=/a,server\n" },
		{ cli_opt_port, "com2,/a,,b", "lpc.com2.path=/a,b\n" },
		{ cli_opt_port, "com2,path=x", "lpc.com2.path=path=x\n" },
		{ cli_opt_port, "bootrom,A", "lpc.bootrom=A\n" },
		{ cli_opt_port, "bootrom,A,B", "lpc.bootrom=A\nlpc.bootvars=B\n" },
		{ cli_opt_port, "bootrom,A,fwcfg=qemu", "lpc.bootrom=A\nlpc.fwcfg=qemu\n" },
		{ cli_opt_port, "debugexit", "lpc.debugexit.port=0x501\n" },
		{ cli_opt_port, "debugexit,0xf4", "lpc.debugexit.port=0xf4\n" },
		{ cli_opt_console, "tcp=127.0.0.1:5", "lpc.com1.path=tcp=127.0.0.1:5\n" },
		{ cli_opt_nothing, NULL, "" },
	};
	char *keys;

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(!handle(rows[i].fn, rows[i].arg, &keys), "%s: %s", rows[i].arg, cap.text);
		ck_assert_str_eq(keys, rows[i].keys);
		free(keys);
	}
}
END_TEST

START_TEST(test_bad)
{
	static const struct { CLI_FN((*fn)); const char *arg, *message; } rows[] = {
		{ cli_opt_cpus, "4,5", "'5' is not one of cpus=N, sockets=N, cores=N, threads=N" },
		{ cli_opt_cpus, "4,dies=2", "'dies' is not one of cpus=N, sockets=N, cores=N, threads=N" },
		{ cli_opt_cpus, "4,", "'' is not one of cpus=N, sockets=N, cores=N, threads=N" },
		{ cli_opt_pin, "0", "'0' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_pin, "0:", "'0:' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_pin, ":1", "':1' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_pin, "0:1:2", "'0:1:2' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_pin, "600:1", "'600:1' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_pin, "0:99999999999", "'0:99999999999' is not VCPU:HOSTCPU, two CPU numbers such as 0:4" },
		{ cli_opt_set, "abc", "'abc' is not of the form KEY=VALUE" },
		{ cli_opt_gdb, "", "'' is not FORM" },
		{ cli_opt_gdb, "w", "'w' is not FORM" },
		{ cli_opt_gdb, "host:", "'host:' is not FORM" },
		{ cli_opt_gdb, "65536", "'65536' is not FORM" },
		{ cli_opt_port, "com5,stdio", "'com5' is not a port: they are com1, com2, com3, com4, bootrom and debugexit" },
		{ cli_opt_port, "com11,stdio", "'com11' is not a port: they are com1, com2, com3, com4, bootrom and debugexit" },
		{ cli_opt_port, "lpt1", "'lpt1' is not a port: they are com1, com2, com3, com4, bootrom and debugexit" },
		{ cli_opt_port, "com1", "com1: what to connect it to is missing: FORM" },
		{ cli_opt_port, "com1,", "com1: what to connect it to is missing: FORM" },
		{ cli_opt_port, "bootrom,A,B,C", "'C' is too much: bootrom,CODE[,VARS]; write ',,' for a comma in a path" },
		{ cli_opt_port, "bootrom", "bootrom: what to connect it to is missing: bootrom,CODE[,VARS]" },
		{ cli_opt_port, "tpm,x", "a TPM is not in this version; leave it out" },
		{ cli_opt_port, "pc-testdev", "the test device is not in this version; leave it out" },
	};
	char *keys, want[256];

	for (size_t i = 0; i < NELEM(rows); i++) {
		snprintf(want, sizeof(want), "skep: -x: %s\n", rows[i].message);
		ck_assert_msg(handle(rows[i].fn, rows[i].arg, &keys) < 0, "%s was accepted", rows[i].arg);
		ck_assert_str_eq(cap.text, want);
		free(keys);
	}
}
END_TEST

START_TEST(test_pins_add_up)
{
	struct cli cli = { .conf = conf_new() };

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(cli_opt_pin(&cli, NULL, i == 2 ? "1:7" : i ? "0:5" : "0:4", "-p"), 0);
	ck_assert_str_eq(conf_raw(cli.conf, "vcpu.0.cpuset"), "4,5");
	ck_assert_str_eq(conf_raw(cli.conf, "vcpu.1.cpuset"), "7");
	conf_set(cli.conf, "vcpu.0.cpuset", "0123456789", "t");
	for (int i = 0; i < 100; i++) {
		capture_start(&cap, 2);
		int err = cli_opt_pin(&cli, NULL, "0:1000", "-p");
		capture_stop(&cap);
		if (err) {
			ck_assert_str_eq(cap.text, "skep: -p: too many host CPUs for vCPU 0; give ranges with -o "
				"vcpu.0.cpuset=0-63\n");
			break;
		}
		ck_assert_int_lt(i, 99);
	}
	conf_free(cli.conf);
}
END_TEST

START_TEST(test_missing_file_is_no_usage_error)
{
	struct cli cli = { .conf = conf_new(), .status = 2 };

	capture_start(&cap, 2);
	ck_assert_int_eq(cli_opt_file(&cli, NULL, "/nonexistent", "-k"), -ENOENT);
	capture_stop(&cap);
	ck_assert_int_eq(cli.status, 1);
	conf_free(cli.conf);
}
END_TEST

START_TEST(test_port_help)
{
	struct cli cli = { .conf = conf_new() };

	conf_set(cli.conf, "arch", "arm64", "t");
	capture_start(&cap, 1);
	ck_assert_int_eq(cli_opt_port(&cli, NULL, "help", "-l"), CLI_ANSWERED);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "com2"));
	ck_assert_ptr_null(strstr(cap.text, "com3"));
	conf_free(cli.conf);
}
END_TEST

UNIT_MAIN("common/cli_opts", test_words, test_good, test_bad, test_pins_add_up, test_missing_file_is_no_usage_error, test_port_help)
