/* bhyvectl: its words, its output, its exit status. */
#include <fcntl.h>

#include "common/conf.h"
#include "common/pending.h"
#include "common/util.h"
#include "tests/unit/common/cmd/fakevm.h"
#include "tests/unit/common/cmd/line.h"

static bool machine(FILE *to, const char *method, int id, const json_t *params)
{
	const int cpu = (int)json_integer_value(json_object_get(params, "vcpu"));

	if (!strcmp(method, "regs") && cpu < 2)
		fprintf(to, "{\"id\":%d,\"result\":[{\"vcpu\":%d,\"registers\":{\"rax\":\"0x%d\",\"rflags\":\"0x246\",\"cr0\":\"0x80050033\","
			"\"SCTLR_EL1\":\"0xc5\",\"cs\":\"0x10\",\"cs_base\":\"0x0\","
			"\"gdtr_base\":\"0xfe00\",\"gdtr_limit\":\"0x7f\",\"v0\":\"0x00112233445566778899aabbccddeeff\"}}]}\n", id, cpu,
			cpu + 1);
	else if (!strcmp(method, "status"))
		fprintf(to, "{\"id\":%d,\"result\":{\"cpus\":2}}\n", id);
	else if (!strcmp(method, "stats"))
		fprintf(to, "{\"id\":%d,\"result\":{\"vcpus\":[{\"vcpu\":0,\"cpu_ns\":77,\"exits\":{\"pio\":5}},{\"vcpu\":1}]}}\n", id);
	else if (!strcmp(method, "nmi") || !strcmp(method, "reset") || !strcmp(method, "kill"))
		fprintf(to, "{\"id\":%d,\"result\":{}}\n", id);
	else
		fprintf(to, "{\"id\":%d,\"error\":{\"message\":\"no %s\"}}\n", id, method);
	return true;
}

START_TEST(test_gets)
{
	static const struct { const char *line, *out; } rows[] = {
		{ "--vm=vm1", "" },
		{ "--vm=vm1 --get-rax", "rax[0]\t\t0x0000000000000001\n" },
		{ "--vm vm1 --cpu 1 --get-rax --get-rflags", "rax[1]\t\t0x0000000000000002\nrflags[1]\t0x0000000000000246\n" },
		{ "--vm=vm1 --get-cs --get-cr0", "cs[0]\t\t0x0010\ncr0[0]\t\t0x0000000080050033\n" },
		{ "--vm=vm1 --get-cs_base", "cs_base[0]\t0x0000000000000000\n" },
		{ "--vm=vm1 --get-desc-gdtr", "gdtr[0]\t\t0x000000000000fe00/0x0000007f\n" },
		{ "--vm=vm1 --get-sctlr_el1", "sctlr_el1[0]\t0x00000000000000c5\n" },
		{ "--vm=vm1 --get-active-cpus", "active cpus:\t 0, 1\n" },
		{ "--vm=vm1 --get-stats", "vcpu0 stats:\ncpu_ns                                  \t77\n"
		  "exits pio                               \t5\n" },
		{ "--vm=vm1 --inject-nmi", "" },
		{ "--vm=vm1 --force-reset", "" },
		{ "--vm=vm1 --force-poweroff", "" },
	};
	struct fakevm vm;

	fakevm_start(&vm, machine);
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line("/usr/sbin/bhyvectl", rows[i].line) == 0, "%s: %s", rows[i].line, err.text);
		ck_assert_str_eq(out.text, rows[i].out);
		ck_assert_str_eq(err.text, "");
	}
	ck_assert_int_eq(run_line("bhyvectl", "--vm=vm1 --get-all"), 0);
	ck_assert_ptr_nonnull(strstr(out.text, "rax[0]\t\t0x0000000000000001\n"));
	ck_assert_ptr_nonnull(strstr(out.text, "gdtr_base[0]\t0x"));
	ck_assert_ptr_nonnull(strstr(out.text, "vcpu0 stats:\n"));
	ck_assert_ptr_null(strstr(out.text, "v0"));
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *line, *message; } rows[] = {
		{ "", "Usage: bhyvectl --vm=<vmname> " },
		{ "--get-rax", "Usage: bhyvectl --vm=<vmname> " },
		{ "--vm", "Usage: bhyvectl --vm=<vmname> " },
		{ "vm1", "Usage: bhyvectl --vm=<vmname> " },
		{ "--vm=.. --destroy", "skep: bhyvectl: --vm=..: " },
		{ "--vm=vm2", "VM:vm2 is not created.\n" },
		{ "--vm=vm2 --destroy", "VM:vm2 is not created.\n" },
		{ "--vm=vm2 --get-rax", "VM:vm2 is not created.\n" },
		{ "--vm=vm1 --cpu=-1 --get-rax", "skep: bhyvectl: --cpu=-1: not the number of a vCPU\n" },
		{ "--vm=vm1 --cpu=7 --get-rax", "skep: no regs\n" },
		{ "--vm=vm1 --get-nonsense", "skep: bhyvectl: --get-nonsense: " },
		{ "--vm=vm1 --get-desc-ds", "skep: bhyvectl: --get-desc-ds: only those of gdtr and idtr" },
		{ "--vm=vm1 --get-dr7", "skep: bhyvectl: --get-dr7: that is for a debugger" },
		{ "--vm=vm1 --get-vmcs-link", "skep: bhyvectl: --get-vmcs-link: KVM keeps" },
		{ "--vm=vm1 --nonsense", "skep: bhyvectl: --nonsense: there is no such option\n" },
		{ "--vm=vm1 --checkpoint=f", "skep: bhyvectl: --checkpoint: saving a machine is not there yet" },
		{ "--vm=vm1 --suspend=f", "skep: bhyvectl: --suspend: saving a machine is not there yet" },
		{ "--vm=vm1 --create", "skep: bhyvectl: --create: " },
		{ "--vm=vm1 --set-rip=0", "skep: bhyvectl: --set-rip: " },
	};
	struct fakevm vm;

	fakevm_start(&vm, machine);
	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(run_line("bhyvectl", rows[i].line) == 1, "%s", rows[i].line);
		ck_assert_msg(!strncmp(err.text, rows[i].message, strlen(rows[i].message)), "%s: %s", rows[i].line, err.text);
		ck_assert_str_eq(out.text, "");
	}
	fakevm_stop(&vm);
}
END_TEST

START_TEST(test_destroy)
{
	struct conf *keys = conf_new(), *left = NULL;
	char path[128];
	struct fakevm vm;

	/* What a VM that has ended leaves, then nothing any more. */
	fakevm_start(&vm, NULL);
	snprintf(path, sizeof(path), "%s/exit.json", vm.path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	fakevm_end(&vm);
	ck_assert_int_eq(access(path, F_OK), 0);
	ck_assert_int_eq(run_line("bhyvectl", "--destroy --vm=vm1"), 0);
	ck_assert_str_eq(err.text, "");
	ck_assert_int_eq(access(path, F_OK), -1);
	ck_assert_int_eq(run_line("bhyvectl", "--destroy --vm=vm1"), 1);
	ck_assert_str_eq(err.text, "VM:vm1 is not created.\n");
	/* bhyveload has made it, and no bhyve has run. */
	conf_set(keys, "loader.hostdir", "/", "t");
	ck_assert_int_eq(pending_write("vm1", PENDING_LOAD, keys), 0);
	ck_assert_int_eq(run_line("bhyvectl", "--destroy --vm=vm1"), 0);
	ck_assert_int_eq(pending_read("vm1", PENDING_LOAD, &left), 0);
	ck_assert_ptr_null(left);
	ck_assert_int_eq(run_line("bhyvectl", "--destroy --vm=vm1"), 1);
	conf_free(keys);
	fakevm_stop(&vm);
}
END_TEST

UNIT_MAIN("common/cmd/bhyvectl", test_gets, test_refusals, test_destroy)
