/*
 * `skep top`: what the running VMs of this user and their devices do, as rates between two looks at their counters; the first
 * look shows the means since each VM's start.  On a terminal the screen is redrawn until q or Ctrl-C; -b writes one look after the
 * other to anything.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "common/cmd/cmd.h"
#include "common/cmd/ctl_client.h"
#include "common/cmd/proc_use.h"
#include "common/log.h"
#include "common/rundir.h"
#include "common/util.h"
#include "common/vm.h"
#include "devices/char/term.h"

#define ANSWER_MS 1000                          /* for all VMs together */
#define CTRL_C 3

struct look {
	json_t *stats;                          /* NULL: no answer */
	struct proc_use use;
};
struct seen {
	struct seen *next;
	char name[64], state[16];
	int pid;
	bool here;
	struct ctl_conn *c;
	struct look now, before;
};
struct top {
	struct seen *vms;
	char **names;                           /* only these; none: all */
	int nnames;
	bool batch, raw;
	long count;                             /* looks, -1: endless */
	int delay_ms, sig_fd;
};

/* --- Looking --- */

static void ask(const char *name, int pid, const json_t *info UNUSED, void *arg)
{
	struct top *t = arg;
	struct seen **at = &t->vms, *s;
	bool wanted = !t->nnames;

	for (int i = 0; i < t->nnames; i++)
		wanted = wanted || !strcmp(t->names[i], name);
	if (!wanted)
		return;
	/* They come sorted, and stay so. */
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	s = *at;
	if (!s || strcmp(s->name, name) != 0) {
		s = calloc(1, sizeof(*s));
		if (!s)
			abort();
		snprintf(s->name, sizeof(s->name), "%s", name);
		s->next = *at;
		*at = s;
	}
	json_decref(s->before.stats);
	s->before = s->now;
	s->now = (struct look){ NULL, { 0 } };
	if (s->pid != pid) {                    /* another one by that name */
		json_decref(s->before.stats);
		s->before = s->now;
	}
	s->pid = pid;
	s->here = true;
	strcpy(s->state, "-");
	if (!proc_use(pid, &s->now.use))
		s->now.use = s->before.use;
	if (cc_try(name, &s->c) == 0 && (cc_send(s->c, "status", NULL) < 0 || cc_send(s->c, "stats", NULL) < 0)) {
		cc_close(s->c);
		s->c = NULL;
	}
}

static void hear(struct seen *s, int64_t end)
{
	json_t *o = NULL;

	while (s->c && !s->now.stats && cc_next(s->c, (int)MAX(end - proc_now_ms(), 0), &o) == 1) {
		json_t *result = json_object_get(o, "result");
		const char *state = json_string_value(json_object_get(result, "state"));

		if (state)
			snprintf(s->state, sizeof(s->state), "%s", state);
		else if (json_object_get(result, "vcpus"))
			s->now.stats = json_incref(result);
		json_decref(o);
		o = NULL;
	}
	cc_close(s->c);
	s->c = NULL;
}

static void drop(struct seen **at)
{
	struct seen *s = *at;

	*at = s->next;
	json_decref(s->now.stats);
	json_decref(s->before.stats);
	free(s);
}

static int look(struct top *t)
{
	const int64_t end = proc_now_ms() + ANSWER_MS;
	int err;

	for (struct seen *s = t->vms; s; s = s->next)
		s->here = false;
	err = rundir_walk(ask, t);
	for (struct seen **at = &t->vms; *at;) {
		if ((*at)->here) {
			hear(*at, end);
			at = &(*at)->next;
		} else {
			drop(at);
		}
	}
	return err;
}

/* --- Rates --- */

static uint64_t num(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

/* What has come to `key` since, and never less than nothing. */
static uint64_t grown(const json_t *now, const json_t *before, const char *key)
{
	const uint64_t a = num(now, key), b = num(before, key);

	return a > b ? a - b : 0;
}

/* The element of a list whose `key` is that of `like`. */
static const json_t *same(const json_t *list, const json_t *like, const char *key)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (json_equal(json_object_get(o, key), json_object_get(like, key)))
			return o;
	return NULL;
}

/* A second's share of n in so many ns, in at most five characters. */
static const char *rate(uint64_t n, uint64_t ns, char buf[24])
{
	static const char units[] = " KMGTPE";
	unsigned u = 0;

	n = ns ? (uint64_t)((double)n * 1e9 / (double)ns + 0.5) : 0;
	while (n > 9999) {
		n = (n + 500) / 1000;
		u++;
	}
	snprintf(buf, 24, "%" PRIu64 "%.*s", n, u != 0, units + u);
	return buf;
}

static void print_exits(FILE *f, const json_t *now, const json_t *before, uint64_t ns)
{
	json_t *sum = json_object(), *v;
	const char *key;
	bool any = false;
	char buf[24];
	size_t i;

	json_array_foreach(json_object_get(now, "vcpus"), i, v) {
		const json_t *was = json_object_get(same(json_object_get(before, "vcpus"), v, "vcpu"), "exits");
		json_t *kinds = json_object_get(v, "exits"), *n;

		json_object_foreach(kinds, key, n)
			json_object_set_new(sum, key, json_integer((json_int_t)(num(sum, key) + grown(kinds, was, key))));
	}
	fprintf(f, "  exits/s");
	json_object_foreach(sum, key, v)
		if (json_integer_value(v)) {
			fprintf(f, "  %s %s", key, rate((uint64_t)json_integer_value(v), ns, buf));
			any = true;
		}
	fprintf(f, any ? "\n" : "  0\n");
	json_decref(sum);
}

static void print_disk(FILE *f, const json_t *now, const json_t *before, uint64_t ns)
{
	const char *op;
	json_t *v;

	fprintf(f, "  disk %-20s", json_string_value(json_object_get(now, "disk")));
	json_object_foreach((json_t *)now, op, v) {
		const json_t *was = json_object_get(before, op);
		const uint64_t ops = json_is_object(v) ? grown(v, was, "ops") : 0;
		char n[24], bytes[24];

		if (ops)
			fprintf(f, "  %s %s/s %sB/s %" PRIu64 " us", op, rate(ops, ns, n), rate(grown(v, was, "bytes"), ns, bytes),
				grown(v, was, "ns") / ops / 1000);
	}
	fprintf(f, "\n");
}

static void print_net(FILE *f, const json_t *now, const json_t *before, uint64_t ns)
{
	static const char *const ways[] = { "rx", "tx" };

	fprintf(f, "  net  %-20s", json_string_value(json_object_get(now, "device")));
	for (size_t i = 0; i < NELEM(ways); i++) {
		const json_t *v = json_object_get(now, ways[i]), *was = json_object_get(before, ways[i]);
		char n[24], bytes[24], lost[24];

		fprintf(f, "  %s %s/s %sB/s", ways[i], rate(grown(v, was, "packets"), ns, n), rate(grown(v, was, "bytes"), ns, bytes));
		if (grown(v, was, "dropped"))
			fprintf(f, " %s lost/s", rate(grown(v, was, "dropped"), ns, lost));
	}
	fprintf(f, "\n");
}

static void print_vm(FILE *f, const struct seen *s)
{
	const uint64_t age = s->now.use.age_ms - s->before.use.age_ms;
	const json_t *now = s->now.stats, *before = s->before.stats, *v;
	/* After a look without an answer, the means since the start again. */
	const uint64_t ns = grown(now, before, "uptime_ns");
	size_t i;

	fprintf(f, "%-20s %8d %-11s %4d%% %6" PRIu64 "M\n", s->name, s->pid, s->state,
		(int)((s->now.use.cpu_ms - s->before.use.cpu_ms) * 100 / MAX(age, 1)), s->now.use.rss >> 20);
	if (!now)
		return;
	print_exits(f, now, before, ns);
	json_array_foreach(json_object_get(now, "disks"), i, v)
		print_disk(f, v, same(json_object_get(before, "disks"), v, "disk"), ns);
	json_array_foreach(json_object_get(now, "nets"), i, v)
		print_net(f, v, same(json_object_get(before, "nets"), v, "device"), ns);
}

static char *frame(const struct top *t)
{
	const time_t now = time(NULL);
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	struct tm tm;

	if (!f)
		abort();
	localtime_r(&now, &tm);
	fprintf(f, "%-20s %8s %-11s %5s %7s  %02d:%02d:%02d%s\n", "NAME", "PID", "STATE", "CPU", "RSS", tm.tm_hour, tm.tm_min, tm.tm_sec,
		t->raw ? "  q ends" : "");
	for (const struct seen *s = t->vms; s; s = s->next)
		print_vm(f, s);
	if (!t->vms)
		fprintf(f, "no machine is running\n");
	fclose(f);
	return text;
}

/* --- Showing --- */

/* As much of it as the window has room for. */
static void draw(const char *text)
{
	struct winsize w = { .ws_row = 0 };
	unsigned rows, cols;

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	rows = w.ws_row ? w.ws_row : 24;
	cols = w.ws_col ? w.ws_col : 80;
	printf("\033[H");
	for (unsigned r = 0; r < rows && *text; r++) {
		const size_t n = strcspn(text, "\n");

		printf("%s%.*s\033[K", r ? "\r\n" : "", (int)MIN(n, cols), text);
		text += n + (text[n] == '\n');
	}
	printf("\033[J");
}

static void terminal(struct top *t)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGWINCH);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	t->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	t->raw = term_raw(STDIN_FILENO) == 0;
	printf("\033[?1049h\033[?25l");         /* the other screen, no cursor */
}

static void terminal_end(struct top *t)
{
	printf("\033[?25h\033[?1049l");
	fflush(stdout);
	term_restore();
	close(t->sig_fd);
}

/* Until the next look is due: 0, else the status to end with, negative for the user's wish. */
static int pause_for(struct top *t)
{
	const int64_t end = proc_now_ms() + t->delay_ms;

	for (int64_t left; (left = end - proc_now_ms()) > 0;) {
		struct pollfd p[] = { { .fd = t->sig_fd, .events = POLLIN }, { .fd = t->raw ? STDIN_FILENO : -1, .events = POLLIN } };
		struct signalfd_siginfo si;
		char key = 'q';

		if (poll(p, 2, (int)left) < 0 && errno != EINTR)
			return STATUS_FAILED;
		if (p[0].revents && read(t->sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
			if (si.ssi_signo != SIGWINCH)
				return STATUS_SIGNAL + (int)si.ssi_signo;
			return 0;
		}
		if (p[1].revents && (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == CTRL_C))
			return -1;
	}
	return 0;
}

static int run(struct top *t)
{
	const bool screen = !t->batch && isatty(STDOUT_FILENO) && isatty(STDIN_FILENO);
	int status = 0;

	if (screen)
		terminal(t);
	for (long i = 0; !status && (t->count < 0 || i < t->count); i++) {
		char *text;

		if (i && (status = pause_for(t)))
			break;
		if (look(t))
			status = STATUS_REFUSED;
		text = frame(t);
		if (screen)
			draw(text);
		else
			printf("%s%s", i ? "\n" : "", text);
		free(text);
		if (fflush(stdout))
			status = STATUS_REFUSED;
	}
	if (screen)
		terminal_end(t);
	while (t->vms)
		drop(&t->vms);
	return MAX(status, 0);
}

/* Positive, up to a day, in seconds. */
static bool seconds(const char *text, int *ms)
{
	char *end;
	const double s = strtod(text, &end);

	*ms = s >= 0.1 && s <= 86400 ? (int)(s * 1000) : 0;
	return *ms && !*end;
}

int cmd_top(int argc, char **argv)
{
	struct top t = { .count = -1, .delay_ms = 2000, .sig_fd = -1 };
	char *end;
	int c;

	if (argc == 2 && !strcmp(argv[1], "--help")) {
		char *what[] = { "help", "top", NULL };

		return cmd_help(2, what);
	}
	optind = 0;
	opterr = 0;
	while ((c = getopt(argc, argv, "bn:d:")) != -1) {
		if (c == 'b' && (t.batch = true))
			continue;
		else if (c == 'n' && (t.count = strtol(optarg, &end, 10)) > 0 && !*end)
			continue;
		else if (c == 'd' && seconds(optarg, &t.delay_ms))
			continue;
		else if (c == '?')
			return cmd_usage("top", "write 'skep top [-b] [-n COUNT] [-d SECONDS] [NAME...]'");
		else
			return cmd_usage("top", "-%c '%s': %s", c, optarg, c == 'n' ? "not a number above 0" :
					 "not seconds, from 0.1 to 86400");
	}
	t.names = argv + optind;
	t.nnames = argc - optind;
	for (int i = 0; i < t.nnames; i++) {
		struct ctl_conn *conn;

		if (cc_open(t.names[i], &conn))
			return STATUS_REFUSED;
		cc_close(conn);
	}
	return run(&t);
}
