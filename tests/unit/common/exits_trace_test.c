/* KVM's tracepoints: descriptions of events as kernels give them, pages of a buffer good and bad, exits paired with entries. */
#include "common/exits_trace.h"

#include <errno.h>
#include <string.h>

#include "common/arch.h"
#include "common/vm.h"
#include "tests/unit/capture.h"
#include "tests/unit/unit.h"

#define COMMON \
	"format:\n" \
	"\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n" \
	"\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n" \
	"\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n" \
	"\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n"
static const char x86_exit[] = "name: kvm_exit\nID: 1400\n" COMMON
	"\tfield:unsigned int exit_reason;\toffset:8;\tsize:4;\tsigned:0;\n"
	"\tfield:unsigned long guest_rip;\toffset:16;\tsize:8;\tsigned:0;\n"
	"\tfield:u32 isa;\toffset:24;\tsize:4;\tsigned:0;\n"
	"\tfield:u64 info1;\toffset:32;\tsize:8;\tsigned:0;\n\n"
	"print fmt: \"vcpu %u reason %s%s%s rip 0x%lx\", REC->vcpu_id, (REC->isa == 1) ? REC->exit_reason : 0\n";
static const char x86_entry[] = "name: kvm_entry\nID: 1417\n" COMMON
	"\tfield:unsigned int vcpu_id;\toffset:8;\tsize:4;\tsigned:0;\n\nprint fmt: \"\"\n";
static const char arm64_exit[] = "name: kvm_exit\nID: 700\n" COMMON
	"\tfield:int ret;\toffset:8;\tsize:4;\tsigned:1;\n"
	"\tfield:unsigned int esr_ec;\toffset:12;\tsize:4;\tsigned:0;\n"
	"\tfield:unsigned long vcpu_pc;\toffset:16;\tsize:8;\tsigned:0;\n\nprint fmt: \"%s: HSR_EC: 0x%04x (%s), PC: 0x%016lx\"\n";

START_TEST(test_formats)
{
	struct trace_format f;

	ck_assert(trace_format_parse(x86_exit, arch_x86.exits->group, arch_x86.exits->reason, &f));
	ck_assert_uint_eq(f.id, 1400);
	ck_assert_uint_eq(f.reason.off, 8);
	ck_assert_uint_eq(f.group.off, 24);
	ck_assert(trace_format_parse(x86_entry, NULL, NULL, &f));
	ck_assert_uint_eq(f.id, 1417);
	ck_assert(trace_format_parse(arm64_exit, arch_arm64.exits->group, arch_arm64.exits->reason, &f));
	ck_assert_uint_eq(f.group.off, 8);
	ck_assert_uint_eq(f.reason.off, 12);
	ck_assert(!trace_format_parse(x86_exit, "ret", "esr_ec", &f));
	ck_assert(!trace_format_parse("", NULL, NULL, &f));
	ck_assert(!trace_format_parse("name: x\nID: 70000\n", NULL, NULL, &f));
	ck_assert(!trace_format_parse("\nID: 7\nfield:u16 isa; offset:4; size:2;\n field:int exit_reason; offset:8; size:4;", "isa",
				      "exit_reason", &f));
}
END_TEST

/* --- Pages --- */

struct page {
	uint8_t b[4096];
	size_t len;
};

static void page_start(struct page *p, uint64_t t)
{
	memset(p, 0, sizeof(*p));
	put_le64(p->b, t);
	p->len = 16;
}

static void page_word(struct page *p, uint32_t w)
{
	put_le32(p->b + p->len, w);
	p->len += 4;
	put_le64(p->b + 8, p->len - 16);
}

static void page_event(struct page *p, uint32_t delta, bool extended, uint16_t id, int32_t tid, uint32_t isa, uint32_t reason)
{
	const uint32_t words = 7;

	if (extended) {
		page_word(p, delta << 5);
		page_word(p, (words + 1) * 4);
	} else {
		page_word(p, delta << 5 | words);
	}
	page_word(p, id);
	page_word(p, (uint32_t)tid);
	page_word(p, reason);
	for (unsigned i = 0; i < 3; i++)
		page_word(p, 0);
	page_word(p, isa);
}

struct seen {
	unsigned n;
	struct trace_event e[64];
};

static void see(const struct trace_event *e, void *arg)
{
	struct seen *s = arg;

	if (s->n < NELEM(s->e))
		s->e[s->n] = *e;
	s->n++;
}

static struct trace_format exit_format, entry_format;

static void formats(void)
{
	ck_assert(trace_format_parse(x86_exit, "isa", "exit_reason", &exit_format));
	ck_assert(trace_format_parse(x86_entry, NULL, NULL, &entry_format));
}

static void fill(struct page *p)
{
	page_start(p, 1000);
	page_event(p, 10, false, 1400, 77, 2, 0x78);
	page_event(p, 5, false, 999, 77, 0, 0);                         /* another event: its time counts */
	page_event(p, 5, true, 1417, 77, 0, 0);
	page_word(p, 3u << 5 | 30);                                     /* time extend: 3 + (2 << 27) */
	page_word(p, 2);
	page_event(p, 1, false, 1400, 78, 1, 0x80000021);
	page_word(p, 7u << 5 | 31);                                     /* absolute time stamp: 7 + (1 << 27) */
	page_word(p, 1);
	page_word(p, 1u << 5 | 29);                                     /* a deleted event of 8 bytes */
	page_word(p, 8);
	page_word(p, 0);
	page_event(p, 0, false, 1417, 78, 0, 0);
}

START_TEST(test_page)
{
	static struct page p;
	struct seen s = { 0 };
	const uint64_t second = 1020 + 3 + (2u << 27) + 1;

	formats();
	fill(&p);
	ck_assert_uint_eq(trace_page_parse(p.b, sizeof(p.b), &exit_format, &entry_format, see, &s), 0);
	ck_assert_uint_eq(s.n, 4);
	ck_assert(s.e[0].exit && s.e[0].t_ns == 1010 && s.e[0].tid == 77 && s.e[0].group == 2 && s.e[0].reason == 0x78);
	ck_assert(!s.e[1].exit && s.e[1].t_ns == 1020 && s.e[1].tid == 77);
	/* VT-x: the flag of a failed entry is not part of the reason. */
	ck_assert(s.e[2].exit && s.e[2].t_ns == second && s.e[2].tid == 78 && s.e[2].group == 1 && s.e[2].reason == 33);
	ck_assert_uint_eq(s.e[3].t_ns, 7 + (1u << 27) + 1);
	/* Padding without a length: nothing more on this page. */
	page_start(&p, 0);
	page_word(&p, 29);
	page_event(&p, 0, false, 1400, 1, 0, 0);
	s.n = 0;
	ck_assert_uint_eq(trace_page_parse(p.b, sizeof(p.b), &exit_format, &entry_format, see, &s), 0);
	ck_assert_uint_eq(s.n, 0);
}
END_TEST

START_TEST(test_lost)
{
	static struct page p;
	struct seen s = { 0 };
	const size_t len = (fill(&p), p.len);

	formats();
	put_le64(p.b + 8, (len - 16) | 1u << 31);
	ck_assert_uint_eq(trace_page_parse(p.b, sizeof(p.b), &exit_format, &entry_format, see, &s), 1);
	put_le64(p.b + 8, (len - 16) | 3u << 30);
	put_le64(p.b + len, 123);
	ck_assert_uint_eq(trace_page_parse(p.b, sizeof(p.b), &exit_format, &entry_format, see, &s), 123);
	ck_assert_uint_eq(s.n, 8);
	ck_assert_uint_eq(trace_page_parse(p.b, len + 7, &exit_format, &entry_format, see, &s), 1);
}
END_TEST

/* Cut anywhere, any byte wrong: some events or none. */
START_TEST(test_damaged)
{
	static struct page p;
	struct seen s = { 0 };

	formats();
	fill(&p);
	for (size_t at = 0; at < p.len; at++) {
		uint8_t *cut = malloc(at + 1), *bad = malloc(p.len);

		memcpy(cut, p.b, at);
		trace_page_parse(cut, at, &exit_format, &entry_format, see, &s);
		for (unsigned v = 0; v < 256; v += 17) {
			memcpy(bad, p.b, p.len);
			bad[at] = (uint8_t)v;
			s.n = 0;
			trace_page_parse(bad, p.len, &exit_format, &entry_format, see, &s);
			ck_assert_uint_lt(s.n, p.len / 4);
		}
		free(cut);
		free(bad);
	}
}
END_TEST

/* --- Sums --- */

static void event(struct trace_sums *s, bool exit, int32_t tid, uint64_t t, uint16_t reason)
{
	trace_add(s, &(struct trace_event){ .t_ns = t, .tid = tid, .exit = exit, .group = 2, .reason = reason });
}

START_TEST(test_sums)
{
	static struct trace_sums s;

	s.nvcpus = 2;
	s.vcpu = calloc(2, sizeof(*s.vcpu));
	s.vcpu[0].tid = 7;
	s.vcpu[1].tid = 8;
	event(&s, false, 7, 5, 0);                      /* an entry whose exit was before */
	event(&s, true, 7, 10, 0x78);
	event(&s, true, 8, 11, 0x400);
	event(&s, true, 9, 12, 0x400);                  /* not ours */
	event(&s, false, 8, 13, 0);
	event(&s, false, 7, 110, 0);
	event(&s, false, 7, 999, 0);                    /* twice: it was only once out */
	event(&s, true, 8, 2000, 0x78);
	json_t *j = trace_sums_json(&s, arch_x86.exits);
	char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
	ck_assert_str_eq(text, "[{\"count\":2,\"hist\":[[6,1]],\"kind\":\"halt\",\"ns\":100,\"reason\":\"hlt\"},"
			 "{\"count\":1,\"hist\":[[1,1]],\"kind\":\"memory-fault\",\"ns\":2,\"reason\":\"npf\"}]");
	free(text);
	json_decref(j);
	/* More reasons than there are: the rest is one. */
	for (unsigned i = 0; i < 1000; i++)
		event(&s, true, 7, 3000 + i, (uint16_t)(0x1000 + i));
	ck_assert_uint_eq(s.n, TRACE_SUMS);
	ck_assert_uint_eq(s.sum[TRACE_SUMS - 1].count, 1000 - (TRACE_SUMS - 3));
	free(s.vcpu);
}
END_TEST

/* Without tracefs or without permission it is one sentence, and nothing stays. */
START_TEST(test_not_here)
{
	struct vcpu v = { .tid = 1 };
	struct vm vm = { .name = "unit/none", .arch = &arch_x86, .nvcpus = 1, .vcpus = &v, .loop = loop_new() };
	struct capture err;
	uint64_t lost;

	/* No instance can have such a name. */
	capture_start(&err, 2);
	ck_assert_int_lt(exits_trace_start(&vm), 0);
	ck_assert_ptr_nonnull(strstr(capture_stop(&err), "skep: tracing exits: "));
	ck_assert_ptr_eq(strchr(err.text, '\n'), err.text + strlen(err.text) - 1);
	ck_assert_ptr_null(vm.trace);
	ck_assert_ptr_null(exits_trace_json(&vm, &lost));
	exits_trace_stop(&vm);
	loop_free(vm.loop);
}
END_TEST

UNIT_MAIN("common/exits_trace", test_formats, test_page, test_lost, test_damaged, test_sums, test_not_here)
