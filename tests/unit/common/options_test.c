#include <string.h>

#include "common/cli.h"
#include "tests/unit/unit.h"

START_TEST(test_keys_are_sound)
{
	char why[160];

	for (const struct opt *o = conf_global_opts; o->name; o++) {
		ck_assert_msg(o->help && *o->help, "%s", o->name);
		ck_assert_msg(opt_find(conf_global_opts, o->name) == o || strstr(o->name, ".N"), "%s is listed twice", o->name);
		ck_assert_msg((o->type == OPT_ENUM) == (o->choices != NULL), "%s", o->name);
		if (o->def)
			ck_assert_msg(!opt_check(o, o->def, why, sizeof(why)), "%s: default %s: %s", o->name, o->def, why);
	}
}
END_TEST

START_TEST(test_options_are_sound)
{
	for (const struct cli_opt *o = cli_run_opts; o->help; o++) {
		const char *what = o->name ? o->name : (const char[]){ o->letter, 0 };

		ck_assert_msg(o->letter || o->name, "an option without a name");
		ck_assert_msg(o->refuse || o->fn || o->key, "%s does nothing", what);
		ck_assert_msg(o->refuse || o->fn || !!o->arg != !!o->value, "%s: an argument or a value", what);
		for (const struct cli_opt *p = cli_run_opts; p < o; p++) {
			ck_assert_msg(!o->letter || o->letter != p->letter, "-%c is listed twice", o->letter);
			ck_assert_msg(!o->name || !p->name || strcmp(o->name, p->name), "--%s is listed twice", o->name);
		}
	}
}
END_TEST

START_TEST(test_options_set_known_keys)
{
	char why[160];

	for (const struct cli_opt *o = cli_run_opts; o->help; o++) {
		const struct opt *k;

		if (!o->key || o->fn)
			continue;
		k = opt_find(conf_global_opts, o->key);
		ck_assert_msg(k || conf_refusal_find(conf_refused_keys, o->key), "%s is no key", o->key);
		if (k && o->value)
			ck_assert_msg(!opt_check(k, o->value, why, sizeof(why)), "%s=%s: %s", o->key, o->value, why);
	}
}
END_TEST

START_TEST(test_bhyve_letters_exist)
{
	static const char letters[] = "acegGhkKlmMopPrsSuUwWxYACDHI";

	for (const char *l = letters; *l; l++) {
		const struct cli_opt *o = cli_run_opts;

		while (o->help && o->letter != *l)
			o++;
		ck_assert_msg(o->help, "-%c", *l);
	}
}
END_TEST

UNIT_MAIN("common/options", test_keys_are_sound, test_options_are_sound, test_options_set_known_keys, test_bhyve_letters_exist)
