/* The syntax of loader.conf: what is a setting, what a comment, what is refused with its line. */
#include <errno.h>

#include "loaders/freebsd/freebsd.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

static struct capture err;
static char got[8192];
static int fail_at;                     /* the setting at which set() fails; 0: never */

static int set(void *arg, const char *where, const char *name, const char *value)
{
	int *n = arg;
	size_t len = strlen(got);

	ck_assert_ptr_nonnull(strstr(where, "x.conf:"));
	snprintf(got + len, sizeof(got) - len, "[%s|%s]", name, value);
	return ++*n == fail_at ? -ENOSPC : 0;
}

static const char *get(void *arg, const char *name)
{
	(void)arg;
	return !strcmp(name, "dir") ? "/boot/kernel" : !strcmp(name, "q") ? "\"#" : NULL;
}

static int parse_n(const char *text, size_t len)
{
	int n = 0, r;
	const struct fbsd_conf_to to = { set, get, &n };

	got[0] = 0;
	capture_start(&err, 2);
	r = fbsd_conf_parse("x.conf", text, len, &to);
	capture_stop(&err);
	return r;
}

static int parse(const char *text)
{
	return parse_n(text, strlen(text));
}

START_TEST(test_good)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "", "" },
		{ "\n\n  \t\n", "" },
		{ "# only a comment", "" },
		{ "   # indented=\"no\"\n", "" },
		{ "a=\"b\"", "[a|b]" },
		{ "a=\"b\"\nc=\"d\"\n", "[a|b][c|d]" },
		{ "  a \t= \"b\"  # why\n", "[a|b]" },
		{ "a=\"b\"#c", "[a|b]" },
		{ "a=\"\"", "[a|]" },
		{ "a=\"x # no comment\"", "[a|x # no comment]" },
		{ "a=b", "[a|b]" },
		{ "a=12 # n", "[a|12]" },
		{ "a=-1#n", "[a|-1]" },
		{ "a=/boot/x.img", "[a|/boot/x.img]" },
		{ "hint.uart.0.port=\"0x3F8\"\r\nhint.uart.0.flags=\"0x10\"\r\n", "[hint.uart.0.port|0x3F8][hint.uart.0.flags|0x10]" },
		{ "a=\"b=c\"", "[a|b=c]" },
		{ "if_vtnet_load=\"YES\"", "[if_vtnet_load|YES]" },
		{ "dhcp.host-name=\"h\"", "[dhcp.host-name|h]" },
		{ "a=\"say \\\"hi\\\" \\\\ \\$\"", "[a|say \"hi\" \\ $]" },
		{ "a=b\\ c", "[a|b c]" },
		{ "a=\"${dir}/x\"", "[a|/boot/kernel/x]" },
		{ "a=${dir}", "[a|/boot/kernel]" },
		{ "a=\"x${gone}y\"", "[a|xy]" },
		{ "a=\"\\${dir}\"", "[a|${dir}]" },
		{ "a=\"$dir $\"", "[a|$dir $]" },
		{ "a=\"${q}\"", "[a|\"#]" },
		{ "a=\"\xc3\xa4\"", "[a|\xc3\xa4]" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_msg(!parse(rows[i].text), "'%s': %s", rows[i].text, err.text);
		ck_assert_msg(!strcmp(got, rows[i].want), "'%s': %s", rows[i].text, got);
	}
}
END_TEST

START_TEST(test_broken)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "novalue", "x.conf:1: there is no NAME= in it" },
		{ "a b=\"c\"", "x.conf:1: there is no NAME= in it" },
		{ "=\"c\"", "x.conf:1: there is no NAME= in it" },
		{ "\"a\"=\"c\"", "x.conf:1: there is no NAME= in it" },
		{ "\na=\n", "x.conf:2: the value is missing" },
		{ "a= # b", "x.conf:1: the value is missing" },
		{ "x=1\n\n# c\na=\"b\n", "x.conf:4: the closing quote is missing" },
		{ "a=\"b\" c", "x.conf:1: something follows the value" },
		{ "a=\"b\"\"c\"", "x.conf:1: something follows the value" },
		{ "a=b c=d", "x.conf:1: something follows the value" },
		{ "a=b\"c\"", "x.conf:1: there is a quote inside the value" },
		{ "a=\"b\\", "x.conf:1: nothing follows the backslash" },
		{ "a=\"${dir\"", "x.conf:1: '${' has no '}'" },
	};

	for (size_t i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(parse(rows[i].text), -EINVAL);
		ck_assert_msg(strstr(err.text, rows[i].want), "'%s': %s", rows[i].text, err.text);
		ck_assert_ptr_eq(strchr(err.text, '\n'), err.text + strlen(err.text) - 1);
	}
	ck_assert_int_eq(parse_n("a=\"b\0c\"", 7), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "x.conf:1: it has a NUL byte"));
}
END_TEST

START_TEST(test_long)
{
	static char line[16384];

	memset(line, 'a', sizeof(line) - 1);
	line[1] = '=';
	line[4097] = 0;
	ck_assert_int_eq(parse(line), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "x.conf:1: it is longer than 4096 characters"));
	line[4096] = 0;
	ck_assert_int_eq(parse(line), 0);
	strcpy(line, "a=\"");
	for (int i = 0; i < 400; i++)
		strcat(line, "${dir}");
	strcat(line, "\"");
	ck_assert_int_eq(parse(line), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "x.conf:1: the value is longer than 4096 characters"));
}
END_TEST

START_TEST(test_without_variables)
{
	int n = 0;
	const struct fbsd_conf_to to = { set, NULL, &n };

	got[0] = 0;
	ck_assert_int_eq(fbsd_conf_parse("x.conf", "a=\"${dir}\"", 10, &to), 0);
	ck_assert_str_eq(got, "[a|${dir}]");
}
END_TEST

START_TEST(test_set_fails)
{
	fail_at = 2;
	ck_assert_int_eq(parse("a=1\nb=2\nc=3\n"), -ENOSPC);
	ck_assert_str_eq(got, "[a|1][b|2]");
	fail_at = 0;
}
END_TEST

UNIT_MAIN("loaders/freebsd/conf", test_good, test_broken, test_long, test_without_variables, test_set_fails)
