/* DSDT pieces both architectures share. */
#include "common/acpi/acpi.h"
#include "common/acpi/dsdt.h"
#include "common/arch.h"
#include "tests/unit/unit.h"

START_TEST(names_and_numbers_of_chips)
{
	static const struct { const char *id, *name; unsigned uid; } t[] = {
		{ "lpc.com1", "COM1", 1 }, { "lpc.com12", "COM1", 12 }, { "rtc", "RTC", 0 }, { "gpio", "GPIO", 0 },
		{ "fwcfg", "FWCF", 0 }, { "a-b_c9", "ABC9", 9 }, { "42", "42", 42 },
	};

	for (size_t i = 0; i < NELEM(t); i++) {
		char name[5];

		dsdt_chip_name(t[i].id, name);
		ck_assert_str_eq(name, t[i].name);
		ck_assert_uint_eq(dsdt_chip_uid(t[i].id), t[i].uid);
	}
}
END_TEST

static char *list(const struct blob *b)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	aml_print(b->data, b->len, f);
	fclose(f);
	return out;
}

START_TEST(routing_follows_the_board)
{
	const struct arch_info *const arch[] = { &arch_x86, &arch_arm64 };

	for (size_t i = 0; i < NELEM(arch); i++) {
		struct blob b = { 0 };
		char want[64];

		dsdt_prt(&b, arch[i], 100);
		char *s = list(&b);

		for (unsigned slot = 0; slot < 32; slot++) {
			snprintf(want, sizeof(want), "slot %u: GSI %u %u %u %u", slot, 100 + arch[i]->pci_intx_gsi(slot, 0),
				 100 + arch[i]->pci_intx_gsi(slot, 1), 100 + arch[i]->pci_intx_gsi(slot, 2),
				 100 + arch[i]->pci_intx_gsi(slot, 3));
			ck_assert_msg(strstr(s, want) != NULL, "'%s' is missing", want);
		}
		free(s);
		blob_free(&b);
	}
}
END_TEST

START_TEST(processors_and_values)
{
	struct blob b = { 0 };

	dsdt_cpus(&b, 3);
	dsdt_int(&b, "_CCA", 1);
	dsdt_osc(&b);
	char *s = list(&b);

	ck_assert_ptr_nonnull(strstr(s, "device C002\n    _HID = \"ACPI0007\"\n    _UID = 2\n  _CCA = 1\n"
					"  method _OSC, 4 arguments\n"));
	ck_assert_ptr_null(strstr(s, "C003"));
	free(s);
	blob_free(&b);
}
END_TEST

UNIT_MAIN("common/acpi/dsdt", names_and_numbers_of_chips, routing_follows_the_board, processors_and_values)
