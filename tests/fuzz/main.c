/*
 * Runs a fuzz target without a fuzzer: NAME [-n MUTATIONS] [-t SECONDS] [-s SEED] FILE-OR-DIRECTORY...
 *
 * Every file is replayed, then mutated copies of them are, the same ones for the same seed.  With -t it goes on for that long.
 * What skep says about an input is shown only when the input is its last one; that input is then beside
 * the program, in NAME.crash.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX 8192
#define FILES_MAX 256

/* Of the sanitizers' run time, where there is one. */
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));
void __sanitizer_set_report_fd(void *) __attribute__((weak));

struct input {
	uint8_t *data;
	size_t len;
};
static struct input files[FILES_MAX];
static unsigned nfiles;
static unsigned long inputs;
static uint8_t now_data[INPUT_MAX];
static size_t now_len;
static int report_fd = 2;               /* standard error as it was */
static const char *prog;

/* --- the end of a run that found something --- */

static void put(const void *p, size_t len)
{
	if (write(report_fd, p, len) < 0)
		_exit(98);
}

static void died(void)
{
	static bool once;
	static char text[8192];
	char path[1024];
	if (once)
		return;
	once = true;
	ssize_t n = pread(2, text, sizeof(text), 0);    /* what was said about this input */
	if (n > 0)
		put(text, (size_t)n);
	snprintf(path, sizeof(path), "%s.crash", prog);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd >= 0 && write(fd, now_data, now_len) >= 0)
		close(fd);
	n = snprintf(text, sizeof(text), "%s: input %lu, %zu bytes, is in %s\n", prog, inputs, now_len, path);
	put(text, (size_t)n);
}

static void on_signal(int sig)
{
	died();
	signal(sig, SIG_DFL);
	raise(sig);
}

static void prepare(void)
{
	static const int fatal[] = { SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV };
	report_fd = dup(2);
	int messages = memfd_create("messages", 0), nowhere = open("/dev/null", O_RDWR);
	dup2(messages, 2);
	dup2(nowhere, 0);
	dup2(nowhere, 1);
	for (size_t i = 0; i < NELEM(fatal); i++) {
		/* SEGV and the like are the sanitizer's, where there is one. */
		if (!__sanitizer_set_death_callback || fatal[i] == SIGABRT || fatal[i] == SIGALRM)
			signal(fatal[i], on_signal);
	}
	if (__sanitizer_set_death_callback)
		__sanitizer_set_death_callback(died);
	if (__sanitizer_set_report_fd)
		__sanitizer_set_report_fd((void *)(intptr_t)report_fd);
}

static void run(const uint8_t *data, size_t len)
{
	memmove(now_data, data, len);
	now_len = len;
	inputs++;
	if (lseek(2, 0, SEEK_CUR) > 0 && ftruncate(2, 0) == 0)
		lseek(2, 0, SEEK_SET);
	alarm(30);                              /* a hang is a finding */
	uint8_t *exact = fuzz_copy(data, len);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
}

/* --- mutation --- */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static size_t below(size_t n)
{
	return n ? rnd() % n : 0;
}

static void set_number(uint8_t *p, size_t len)
{
	static const uint64_t numbers[] = {
		0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 64, 127, 128, 255, 256, 512, 4095, 4096, 0x7fff, 0x8000, 0xffff, 0x10000, 0x100000,
		0x100400, 0x10ffff8, 0x1100000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff, 0x100000000, INT64_MAX, 1ull << 63, UINT64_MAX - 15, UINT64_MAX,
	};
	size_t width = 1u << below(4);
	uint64_t v = numbers[below(NELEM(numbers))];
	if (width > len)
		return;
	size_t at = below(len - width + 1);
	if (rnd() % 2)
		at = ALIGN_DOWN(at, width);
	memcpy(p + at, &v, width);
}

/* Moves the tail, so that the input gets longer or shorter at some place. */
static size_t resize(uint8_t *p, size_t len)
{
	size_t at = below(len + 1), n = 1 + below(16);
	if (rnd() % 2 && at + n <= len) {
		memmove(p + at, p + at + n, len - at - n);
		return len - n;
	}
	if (len + n > INPUT_MAX)
		return len;
	memmove(p + at + n, p + at, len - at);
	for (size_t i = 0; i < n; i++)
		p[at + i] = rnd() % 4 ? (uint8_t)rnd() : 0;
	return len + n;
}

/* A piece of another file over a piece of this one. */
static void graft(uint8_t *p, size_t len)
{
	const struct input *other = &files[below(nfiles)];
	size_t n = 1 + below(64);
	if (n > len || n > other->len)
		return;
	memcpy(p + below(len - n + 1), other->data + below(other->len - n + 1), n);
}

static size_t mutate(uint8_t *p, size_t len)
{
	switch (below(8)) {
	case 0: case 1:
		if (len)
			p[below(len)] ^= (uint8_t)(1u << below(8));
		return len;
	case 2:
		if (len)
			p[below(len)] = (uint8_t)rnd();
		return len;
	case 3: case 4:
		set_number(p, len);
		return len;
	case 5:
		graft(p, len);
		return len;
	case 6:
		return resize(p, len);
	default:
		return rnd() % 8 ? len : below(len + 1);
	}
}

static void run_mutation(void)
{
	static uint8_t p[INPUT_MAX];
	const struct input *f = &files[below(nfiles)];
	size_t len = f->len;
	memcpy(p, f->data, len);
	for (size_t n = 1 + below(6); n; n--)
		len = mutate(p, len);
	run(p, len);
}

/* --- the corpus --- */

static void add_file(const char *path)
{
	uint8_t buf[INPUT_MAX];
	FILE *f = fopen(path, "r");
	if (!f || nfiles == FILES_MAX) {
		dprintf(report_fd, "%s: %s\n", path, f ? "too many files" : "cannot be opened");
		exit(2);
	}
	size_t len = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	files[nfiles++] = (struct input){ fuzz_copy(buf, len), len };
}

static int no_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void add(const char *path)
{
	struct dirent **e;
	struct stat st;
	char name[1024];
	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
		add_file(path);
		return;
	}
	int n = scandir(path, &e, no_dots, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, e[i]->d_name);
		add_file(name);
		free(e[i]);
	}
	free(e);
}

int main(int argc, char **argv)
{
	unsigned long mutations = 1000;
	time_t until = 0;
	int opt;
	prog = argv[0];
	while ((opt = getopt(argc, argv, "n:t:s:")) != -1) {
		if (opt == 'n')
			mutations = strtoul(optarg, NULL, 0);
		else if (opt == 't')
			until = time(NULL) + atoi(optarg);
		else if (opt == 's')
			seed ^= strtoull(optarg, NULL, 0) * 0x2545f4914f6cdd1d;
		else
			return 2;
	}
	for (int i = optind; i < argc; i++)
		add(argv[i]);
	if (!nfiles) {
		fprintf(stderr, "%s: no inputs: name the files or directories of its corpus\n", prog);
		return 2;
	}
	FILE *out = fdopen(dup(1), "w");
	prepare();
	for (unsigned i = 0; i < nfiles; i++)
		run(files[i].data, files[i].len);
	for (unsigned long i = 0; until ? time(NULL) < until : i < mutations; i++)
		run_mutation();
	alarm(0);
	fprintf(out, "%lu inputs\n", inputs);
	fclose(out);
	for (unsigned i = 0; i < nfiles; i++)
		free(files[i].data);
	return 0;
}
