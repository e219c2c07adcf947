/* The virt machine's DSDT, as the lister sees it. */
#include "common/acpi/acpi.h"
#include "tests/unit/arch/arm64/testvm.h"

static char *list(struct testvm *t)
{
	struct blob b = { 0 };
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	arm64_dsdt(&t->vm, &b);
	aml_print(b.data + ACPI_HDR_LEN, b.len - ACPI_HDR_LEN, f);
	fclose(f);
	blob_free(&b);
	return out;
}

static void has(const char *s, const char *what)
{
	ck_assert_msg(strstr(s, what) != NULL, "'%s' is missing in:\n%s", what, s);
}

START_TEST(objects_of_a_firmware_machine)
{
	struct testvm *t = testvm_new("cpus=2 lpc.bootrom=/fw lpc.com2.path=stdio");
	char *s = list(t);
	static const char *const want[] = {
		"device C001", "_HID = PNP0A08", "_CID = PNP0A03", "_CCA = 1", "bus numbers window 0x0-0xff",
		"memory window 0x10000000-0x3efeffff", "I/O window 0x0-0xffff at 0x3eff0000",
		"memory window 0x8000000000-0xffffffffff", "slot 0: GSI 35 36 37 38", "slot 31: GSI 38 35 36 37",
		"memory 0x4010000000-0x401fffffff", "method _OSC", "device COM1", "device COM2", "_HID = \"ARMH0011\"",
		"memory 0x9000000-0x9000fff", "GSI 33", "GSI 40", "_HID = \"ARMH0061\"", "GSI 39", "GPIO interrupt of pin 3",
		"method _E03", "device PWRB", "_HID = PNP0C0C", "_HID = \"QEMU0002\"", "_STA = 0xb", "device FLS0", "device FLS1",
		"memory 0x0-0x3ffffff", "memory 0x4000000-0x7ffffff",
	};

	for (size_t i = 0; i < NELEM(want); i++)
		has(s, want[i]);
	ck_assert_ptr_null(strstr(s, "cannot be listed"));
	ck_assert_ptr_null(strstr(s, "resource of type"));
	ck_assert_ptr_null(strstr(s, "RTC"));           /* the clock is the firmware's */
	free(s);
	testvm_free(t);
}
END_TEST

START_TEST(few_address_bits)
{
	struct testvm *t = testvm_new("");
	char *s;

	ck_assert_int_eq(arm64_map_limit(&t->vm.map, 31), 0);
	t->vm.map.pci64_len = 0;
	s = list(t);
	has(s, "bus numbers window 0x0-0xf\n");
	has(s, "memory 0x3f000000-0x3fffffff");
	ck_assert_ptr_null(strstr(s, "window 0x8000000000"));
	ck_assert_ptr_null(strstr(s, "FLS0"));
	free(s);
	testvm_free(t);
}
END_TEST

UNIT_MAIN("arch/arm64/dsdt", objects_of_a_firmware_machine, few_address_bits)
