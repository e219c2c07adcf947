#include "common/cmd/ctl_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/util.h"

#define BAR 40

static void print_value(const json_t *v)
{
	char *t;

	/* Some of it may be the guest's: no escape sequences. */
	if (json_is_string(v)) {
		for (const char *c = json_string_value(v); *c; c++)
			putchar(*c == 0x7f || (*c > 0 && *c < ' ') ? '?' : *c);
		return;
	}
	t = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
	printf("%s", t ? t : "");
	free(t);
}

/* A list without objects is a value. */
static bool is_nested(const json_t *v)
{
	return json_object_size(v) || json_is_object(json_array_get(v, 0));
}

static void plain(const json_t *o, int indent)
{
	const char *key;
	json_t *v;
	size_t i;

	json_array_foreach(o, i, v) {
		if (is_nested(v)) {
			if (i && !indent)
				printf("\n");
			plain(v, indent);
		} else {
			printf("%*s", indent, "");
			print_value(v);
			printf("\n");
		}
	}
	json_object_foreach((json_t *)o, key, v) {
		printf("%*s%s:", indent, "", key);
		if (is_nested(v)) {
			printf("\n");
			plain(v, indent + 4);
		} else {
			printf(" ");
			print_value(v);
			printf("\n");
		}
	}
	if (!json_is_object(o) && !json_is_array(o)) {
		print_value(o);
		printf("\n");
	}
}

void ctl_show_plain(const json_t *o)
{
	plain(o, 0);
}

/* The registers of one vCPU: as many columns as fit, wide ones alone. */
static void regs(const json_t *o)
{
	const char *key;
	unsigned col = 0;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) {
		const char *text = json_string_value(v);
		const unsigned cells = text && strlen(text) > 18 ? 3 : 1;

		if (!text)
			continue;
		if (col + cells > 3) {
			printf("\n");
			col = 0;
		}
		printf("%s%-13s%*s", col ? "  " : "", key, cells == 3 ? 1 : 18, text);
		col += cells;
	}
	if (col)
		printf("\n");
}

void ctl_show_regs(const json_t *vcpus)
{
	const json_t *v;
	size_t i;

	json_array_foreach(vcpus, i, v) {
		printf("%svcpu %" JSON_INTEGER_FORMAT "\n", i ? "\n" : "", json_integer_value(json_object_get(v, "vcpu")));
		regs(json_object_get(v, "registers"));
	}
}

void ctl_show_text(const json_t *o)
{
	const json_t *text = json_object_get(o, "text");

	if (text)
		fwrite(json_string_value(text), 1, json_string_length(text), stdout);
}

/* "20:31:07.250 state state=running", in local time. */
void ctl_show_event(const json_t *p, bool json)
{
	const json_int_t ns = json_integer_value(json_object_get(p, "time_ns"));
	const time_t s = (time_t)(ns / 1000000000);
	const char *key;
	struct tm tm;
	json_t *v;

	if (json) {
		json_dumpf(p, stdout, JSON_COMPACT);
		printf("\n");
		return;
	}
	if (localtime_r(&s, &tm))
		printf("%02d:%02d:%02d.%03d ", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ns / 1000000 % 1000));
	printf("%s", json_string_value(json_object_get(p, "event")));
	json_object_foreach((json_t *)p, key, v) {
		if (!strcmp(key, "event") || !strcmp(key, "time_ns") || !strcmp(key, "seq"))
			continue;
		printf(" %s=", key);
		print_value(v);
	}
	printf("\n");
}

void ctl_show_progress(void *progress, const json_t *notification)
{
	const json_t *p = json_object_get(notification, "params");
	const char *event = json_string_value(json_object_get(p, "event"));
	const uint64_t done = (uint64_t)json_integer_value(json_object_get(p, "done"));
	const uint64_t total = (uint64_t)json_integer_value(json_object_get(p, "total"));
	static const char full[] = "########################################";
	struct ctl_progress *bar = progress;
	unsigned part;

	if (!bar->wanted || !event || strcmp(event, "progress") != 0 || !total)
		return;
	part = (unsigned)(MIN(done, total) * 100 / total);
	fprintf(stderr, "\r[%-*.*s] %3u %%  %" PRIu64 " of %" PRIu64 " MiB ", BAR, (int)(part * BAR / 100), full, part, done >> 20,
		total >> 20);
	bar->shown = true;
}

void ctl_show_progress_end(struct ctl_progress *bar)
{
	if (bar->shown)
		fprintf(stderr, "\n");
}
