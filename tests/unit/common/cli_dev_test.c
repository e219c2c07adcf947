#include <errno.h>
#include <string.h>

#include "common/cli.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture cap;

static int slot(struct conf *conf, const char *arg)
{
	struct cli cli = { .conf = conf };
	int r;

	capture_start(&cap, 2);
	r = cli_opt_slot(&cli, NULL, arg, "-s");
	capture_stop(&cap);
	return r;
}

START_TEST(test_places)
{
	static const struct { const char *arg, *key; } rows[] = {
		{ "3,virtio-rnd", "pci.0.3.0.device" }, { "31,virtio-rnd", "pci.0.31.0.device" }, { "3:1,virtio-rnd",
			"pci.0.3.1.device" },
		{ "0:3:7,virtio-rnd", "pci.0.3.7.device" }, { "0,hostbridge", "pci.0.0.0.device" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		struct conf *c = conf_new();

		ck_assert_msg(!slot(c, rows[i].arg), "%s: %s", rows[i].arg, cap.text);
		ck_assert_msg(conf_raw(c, rows[i].key), "%s", rows[i].arg);
		conf_free(c);
	}
}
END_TEST

START_TEST(test_words)
{
	struct conf *c = conf_new();

	ck_assert_int_eq(slot(c, "3,virtio-blk,/a,,b=c.img,ro,serial=x=y"), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.3.0.device"), "virtio-blk");
	ck_assert_str_eq(conf_raw(c, "pci.0.3.0.path"), "/a,b=c.img");
	ck_assert_str_eq(conf_raw(c, "pci.0.3.0.ro"), "true");
	ck_assert_str_eq(conf_raw(c, "pci.0.3.0.serial"), "x=y");
	ck_assert_int_eq(slot(c, "4,virtio-blk,ro=no,path=/x"), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.4.0.path"), "/x");
	ck_assert_str_eq(conf_raw(c, "pci.0.4.0.ro"), "no");
	ck_assert_int_eq(slot(c, "5,virtio-blk,serial"), 0);            /* a file of that name */
	ck_assert_str_eq(conf_raw(c, "pci.0.5.0.path"), "serial");
	conf_free(c);
}
END_TEST

START_TEST(test_bridges)
{
	struct conf *c = conf_new();

	ck_assert_int_eq(slot(c, "0,amd_hostbridge"), 0);
	ck_assert_str_eq(conf_raw(c, "pci.0.0.0.device"), "hostbridge");
	ck_assert_int_eq(slot(c, "1,lpc"), 0);
	ck_assert_ptr_null(conf_raw(c, "pci.0.1.0.device"));
	ck_assert_int_eq(slot(c, "1,lpc,x"), -EINVAL);
	ck_assert_str_eq(cap.text, "skep: -s: lpc takes no options here; connect its ports with -l\n");
	conf_free(c);
}
END_TEST

START_TEST(test_refusals)
{
	static const struct { const char *arg, *message; } rows[] = {
		{ "", "'' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION" },
		{ "x,virtio-blk", "'x' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION" },
		{ "3:,virtio-blk", "'3:' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION" },
		{ "0:0:0:0,virtio-blk", "'0:0:0:0' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION" },
		{ "-1,virtio-blk", "'-1' is not a slot: write SLOT, SLOT:FUNCTION or BUS:SLOT:FUNCTION" },
		{ "32,virtio-blk", "'32': slots are 0 to 31 and functions 0 to 7" },
		{ "3:8,virtio-blk", "'3:8': slots are 0 to 31 and functions 0 to 7" },
		{ "1:3:0,virtio-blk", "'1:3:0': this machine has only PCI bus 0" },
		{ "3", "slot 3: the device's name is missing: '-s help' lists them" },
		{ "3,", "slot 3: the device's name is missing: '-s help' lists them" },
		{ "3,virtio-blok,x", "unknown device 'virtio-blok': did you mean 'virtio-blk'?" },
		{ "3,zebra", "unknown device 'zebra': 'skep run -s help' lists them" },
		{ "zebra,help", "unknown device 'zebra': 'skep run -s help' lists them" },
		{ "3,passthru,1/0/0", "passthru: passing host devices through is not in this version; use a virtio device" },
		{ "3,virtio-blk,/x,seriel=1", "virtio-blk has no option 'seriel': did you mean 'serial'?" },
		{ "3,virtio-blk,/x,zebra", "virtio-blk has no option 'zebra': '-s virtio-blk,help' lists them" },
		{ "3,virtio-blk,/x,serial", "virtio-blk: 'serial' needs a value: serial=..." },
		{ "3,virtio-blk,/x,", "virtio-blk: a word is missing between two commas (',,' is a comma in a word)" },
		{ "9,virtio-blk,/x", "slot 0:9:0 already holds virtio-rnd (vm.conf:3): choose another" },
	};
	char want[256];

	for (size_t i = 0; i < NELEM(rows); i++) {
		struct conf *c = conf_new();

		conf_set(c, "pci.0.9.0.device", "virtio-rnd", "vm.conf:3");
		snprintf(want, sizeof(want), "skep: -s: %s\n", rows[i].message);
		ck_assert_msg(slot(c, rows[i].arg) == -EINVAL, "%s was accepted", rows[i].arg);
		ck_assert_str_eq(cap.text, want);
		conf_free(c);
	}
}
END_TEST

START_TEST(test_next_free_slot)
{
	static const struct cli_opt disk = { .name = "disk", .key = "virtio-blk", .help = "" };
	struct cli cli = { .conf = conf_new() };

	ck_assert_int_eq(cli_opt_auto(&cli, &disk, "/a", "--disk"), 0);
	ck_assert_int_eq(cli_opt_auto(&cli, &disk, "/b,ro", "--disk"), 0);
	ck_assert_int_eq(slot(cli.conf, "3:5,virtio-rnd"), 0);          /* later on the line */
	ck_assert_int_eq(cli_place_pending(&cli), 0);
	ck_assert_str_eq(conf_raw(cli.conf, "pci.0.2.0.path"), "/a");
	ck_assert_str_eq(conf_raw(cli.conf, "pci.0.4.0.path"), "/b");
	ck_assert_str_eq(conf_raw(cli.conf, "pci.0.4.0.ro"), "true");
	ck_assert_str_eq(conf_origin(cli.conf, "pci.0.4.0.ro"), "--disk");
	conf_free(cli.conf);
}
END_TEST

START_TEST(test_no_slot_left)
{
	static const struct cli_opt disk = { .name = "disk", .key = "virtio-blk", .help = "" };
	struct cli cli = { .conf = conf_new() };
	int err = 0;

	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(cli_opt_auto(&cli, &disk, "/a", "--disk"), 0);
	capture_start(&cap, 2);
	ck_assert_int_eq(cli_place_pending(&cli), -EINVAL);
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: --disk: no slot from 2 to 30 is free\n");
	ck_assert_ptr_nonnull(conf_raw(cli.conf, "pci.0.30.0.device"));
	capture_start(&cap, 2);
	for (int i = 0; i < 3 && !err; i++)
		err = cli_opt_auto(&cli, &disk, "/a", "--disk");
	capture_stop(&cap);
	ck_assert_str_eq(cap.text, "skep: --disk: more than 32 devices without a slot: name slots with -s\n");
	conf_free(cli.conf);
}
END_TEST

START_TEST(test_help)
{
	struct cli cli = { .conf = conf_new() };

	capture_start(&cap, 1);
	ck_assert_int_eq(cli_opt_slot(&cli, NULL, "help", "-s"), CLI_ANSWERED);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "  virtio-blk "));
	ck_assert_ptr_null(strstr(cap.text, "uart16550"));
	capture_start(&cap, 1);
	ck_assert_int_eq(cli_opt_slot(&cli, NULL, "3,virtio-blk,help", "-s"), CLI_ANSWERED);
	capture_stop(&cap);
	ck_assert_ptr_nonnull(strstr(cap.text, "\nThe first word is 'path'.\n"));
	ck_assert_ptr_nonnull(strstr(cap.text, "\n  serial "));
	conf_free(cli.conf);
}
END_TEST

UNIT_MAIN("common/cli_dev", test_places, test_words, test_bridges, test_refusals, test_next_free_slot, test_no_slot_left, test_help)
