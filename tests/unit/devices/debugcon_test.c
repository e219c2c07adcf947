/* The debug console: what firmware says is in the log, one line a message. */
#include "tests/unit/devices/chip.h"

#include "tests/unit/capture.h"

static struct capture cap;

static void say(struct chip *c, const char *text)
{
	while (*text)
		wr(c, 0, 1, (uint8_t)*text++);
}

static void start(struct chip *c)
{
	chip_start(c, &debugcon_class, "debugcon", false);
	log_set_level(LOG_INFO, LOG_DEBUG);
	capture_start(&cap, STDERR_FILENO);
}

static const char *stop(struct chip *c)
{
	chip_end(c);
	log_set_level(LOG_INFO, LOG_INFO);
	return capture_stop(&cap);
}

START_TEST(lines)
{
	struct chip c;
	start(&c);
	ck_assert_uint_eq(rd(&c, 0, 1), 0xe9);          /* how OVMF knows that somebody listens */
	say(&c, "SecCoreStartup\r\n\tPEI \x1b[2J\xff\nno end");
	const char *text = stop(&c);
	ck_assert_ptr_nonnull(strstr(text, "SecCoreStartup\n"));
	ck_assert_ptr_nonnull(strstr(text, " PEI \\x1b[2J\\xff\n"));
	ck_assert_ptr_nonnull(strstr(text, "no end\n"));
	ck_assert_ptr_null(strchr(text, '\x1b'));
}
END_TEST

/* A guest that never ends its line: bounded pieces, nothing lost. */
START_TEST(long_line)
{
	struct chip c;
	size_t count = 0;
	start(&c);
	for (int i = 0; i < 1000; i++)
		wr(&c, 0, 1, i % 3 ? 'z' : 0x80);
	for (const char *p = stop(&c); *p; p++)
		count += *p == 'z';
	ck_assert_uint_eq(count, 666);
	for (char *line = strtok(cap.text, "\n"); line; line = strtok(NULL, "\n"))
		ck_assert_uint_lt(strlen(line), 300);
}
END_TEST

START_TEST(snapshot)
{
	struct chip c;
	start(&c);
	say(&c, "half");
	chip_round_trip(&c);
	say(&c, " whole\n");
	json_t *rec = device_save(c.d);
	json_object_set_new(json_object_get(rec, "state"), "line$base64", json_string("GwA="));
	ck_assert_int_eq(device_load(c.d, rec), -EINVAL);
	json_decref(rec);
	chip_sweep(&c);
	const char *text = stop(&c);
	ck_assert_ptr_nonnull(strstr(text, "half whole\n"));
	ck_assert_ptr_nonnull(strstr(text, "its text is damaged"));
}
END_TEST

UNIT_MAIN("devices/debugcon", lines, long_line, snapshot)
