/*
 * Configuration files and command lines.  The first byte says which: 'F', and a file follows; anything else, and words
 * follow, one a line.  What is accepted is dumped, read back (it must be accepted again and give the same dump), and
 * a dry machine is built of it.
 */
#include "tests/fuzz/fuzz.h"

#include <ctype.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cli.h"

#define WORDS_MAX 64

static int read_text(struct conf *c, const void *text, size_t len)
{
	char path[32];
	int fd = memfd_create("conf", 0);

	MUST(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int err = conf_read_file(c, path);
	close(fd);
	return err;
}

static char *dump(const struct conf *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	conf_dump(c, f);
	fclose(f);
	return text;
}

/* Does a value begin or end with a blank?  A line of a file cannot say that. */
static bool outer_blanks(const char *text)
{
	for (const char *line = text, *end; *line; line = end + 1) {
		const char *eq = strchr(line, '=');

		end = strchr(line, '\n');
		if (eq + 1 < end && (isspace((unsigned char)eq[1]) || isspace((unsigned char)end[-1])))
			return true;
	}
	return false;
}

static void accepted(struct conf *c)
{
	struct conf *again = conf_new();
	struct vm *vm;
	char *first = dump(c), *second;

	if (!outer_blanks(first)) {
		MUST(read_text(again, first, strlen(first)) == 0);
		MUST(conf_check(again) == 0);
		second = dump(again);
		MUST(strcmp(first, second) == 0);
		free(second);
	}
	free(first);
	conf_free(again);
	/* Files of the host stay closed, and a machine that takes a second to describe is left out. */
	if (conf_raw(c, "kernel") || conf_raw(c, "initrd") || conf_u64(c, "memory.size") > GIB(64) || conf_u64(c, "cpus") > 16)
		return;
	if (vm_create(c, conf_arch(c), true, &vm) == 0)
		vm_free(vm);
}

/* Words of a command line; -k and --config would open whatever file the input thought of. */
static int parse_words(struct conf *c, char *text)
{
	struct cli cli = { .prog = "skep plan", .name_optional = true, .any_arch = true };
	char *argv[WORDS_MAX + 1] = { "plan" }, *save = NULL;
	int argc = 1;

	if (strchr(text, 'k') || strstr(text, "config"))
		for (char *s = text; *s; s++)
			*s = *s == '/' ? '_' : *s;
	for (char *w = strtok_r(text, "\n", &save); w && argc < WORDS_MAX; w = strtok_r(NULL, "\n", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	return cli_parse_run(&cli, argc, argv, c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf *c = conf_new();
	int err;

	if (len > 0 && data[0] == 'F') {
		err = read_text(c, data + 1, len - 1);
		err = err ? err : conf_check(c);
	} else {
		char *text = strndup((const char *)data + (len > 0), len - (len > 0));

		err = parse_words(c, text);
		free(text);
	}
	if (!err)
		accepted(c);
	conf_free(c);
	return 0;
}
