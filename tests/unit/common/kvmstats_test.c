/* KVM's statistics as files that describe themselves, good and bad; both architectures' tables of names and reasons. */
#include "common/kvmstats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <unistd.h>

#include "common/arch.h"
#include "tests/unit/unit.h"

#define NAME_SIZE 48

/* A file as KVM makes it: header, id, descriptions, data. */
struct file {
	uint8_t b[8192];
	size_t len;
	unsigned n, data;
};

static void file_start(struct file *f, unsigned num)
{
	memset(f, 0, sizeof(*f));
	put_le32(f->b + 4, NAME_SIZE);
	put_le32(f->b + 8, num);
	put_le32(f->b + 12, 24);
	put_le32(f->b + 16, 24 + NAME_SIZE);
	put_le32(f->b + 20, (uint32_t)(24 + NAME_SIZE + num * (16 + NAME_SIZE)));
	f->len = get_le32(f->b + 20);
}

static void file_add(struct file *f, uint32_t flags, const char *name, unsigned size, uint32_t bucket, const uint64_t *val)
{
	uint8_t *d = f->b + 24 + NAME_SIZE + f->n++ * (16 + NAME_SIZE);

	put_le32(d, flags);
	put_le16(d + 6, (uint16_t)size);
	put_le32(d + 8, f->data);
	put_le32(d + 12, bucket);
	memcpy(d + 16, name, strlen(name));
	for (unsigned i = 0; i < size; i++)
		put_le64(f->b + f->len + i * 8, val[i]);
	f->data += size * 8;
	f->len += size * 8;
}

static void fill(struct file *f)
{
	file_start(f, 6);
	file_add(f, KVM_STATS_TYPE_CUMULATIVE, "exits", 1, 0, (uint64_t[]){ 1000 });
	file_add(f, KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS, "halt_poll_success_ns", 1, 0, (uint64_t[]){ 5 });
	file_add(f, KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN, "blocking", 1, 0, (uint64_t[]){ 1 });
	file_add(f, KVM_STATS_TYPE_LOG_HIST, "halt_wait_hist", 3, 0, (uint64_t[]){ 1, 2, 3 });
	file_add(f, KVM_STATS_TYPE_LINEAR_HIST, "linear", 2, 10, (uint64_t[]){ 7, 8 });
	file_add(f, 9, "of_a_later_kernel", 1, 0, (uint64_t[]){ 1 });
}

static struct kvm_sums sums_new(void)
{
	return (struct kvm_sums){ json_object(), json_object(), json_object() };
}

static void sums_free(struct kvm_sums *s)
{
	json_decref(s->rising);
	json_decref(s->now);
	json_decref(s->hist);
}

static void ck_json(const json_t *o, const char *want)
{
	char *text = json_dumps(o, JSON_SORT_KEYS | JSON_COMPACT);

	ck_assert_str_eq(text, want);
	free(text);
}

START_TEST(test_two_vcpus)
{
	static struct file f;
	struct kvm_sums s = sums_new();

	fill(&f);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(kvmstats_sum(f.b, f.len, &s), 0);
	ck_json(s.rising, "{\"exits\":2000,\"halt_poll_success_ns\":10}");
	ck_json(s.now, "{\"blocking\":2}");
	ck_json(s.hist, "{\"halt_wait_hist\":{\"bucket_size\":0,\"counts\":[2,4,6]},\"linear\":{\"bucket_size\":10,\"counts\":[14,16]}}");
	sums_free(&s);
}
END_TEST

/* Every length, and every byte wrong: an error or some sums, nothing else. */
START_TEST(test_damaged)
{
	static struct file f;
	struct kvm_sums s = sums_new();

	fill(&f);
	for (size_t len = 0; len < f.len; len++) {
		uint8_t *copy = malloc(len + 1);

		memcpy(copy, f.b, len);
		ck_assert_int_eq(kvmstats_sum(copy, len, &s), -EINVAL);
		free(copy);
	}
	for (size_t at = 0; at < f.len; at++) {
		uint8_t *copy = malloc(f.len);

		for (unsigned v = 0; v < 3; v++) {
			memcpy(copy, f.b, f.len);
			copy[at] = (uint8_t[]){ 0, 0x80, 0xff }[v];
			kvmstats_sum(copy, f.len, &s);
		}
		free(copy);
	}
	sums_free(&s);
}
END_TEST

START_TEST(test_read)
{
	static struct file f;
	static uint8_t buf[KVMSTATS_MAX];
	FILE *t = tmpfile();

	fill(&f);
	ck_assert_uint_eq(fwrite(f.b, 1, f.len, t), f.len);
	fflush(t);
	ck_assert_int_eq(kvmstats_read(fileno(t), buf), (int)f.len);
	ck_assert_mem_eq(buf, f.b, f.len);
	/* One that is longer than any: cut off. */
	ck_assert_int_eq(ftruncate(fileno(t), KVMSTATS_MAX * 2), 0);
	ck_assert_int_eq(kvmstats_read(fileno(t), buf), KVMSTATS_MAX);
	fclose(t);
	ck_assert_int_eq(kvmstats_read(-1, buf), -EBADF);
}
END_TEST

START_TEST(test_tables)
{
	static const struct arch_info *const arches[] = { &arch_x86, &arch_arm64 };

	for (unsigned a = 0; a < NELEM(arches); a++) {
		const struct arch_exits *e = arches[a]->exits;
		bool kinds[EXIT_KINDS] = { false };

		ck_assert_ptr_nonnull(e);
		for (const struct stat_kind *k = e->stats; k->name; k++) {
			ck_assert_uint_lt(k->kind, EXIT_KINDS);
			for (const struct stat_kind *l = e->stats; l < k; l++)
				ck_assert_str_ne(k->name, l->name);
		}
		/* Each row can be reached, which later ones that cover the same cannot. */
		for (const struct exit_reason *r = e->reasons; r->name; r++) {
			ck_assert_uint_lt(r->kind, EXIT_KINDS);
			ck_assert_uint_le(r->first, r->last);
			ck_assert_ptr_eq(exit_reason_find(e, r->group, r->first), r);
			kinds[r->kind] = true;
		}
		ck_assert(kinds[EXIT_HALT] && kinds[EXIT_HYPERCALL] && kinds[EXIT_SYSREG] && kinds[EXIT_MEM_FAULT] && kinds[EXIT_EXT_IRQ] &&
			  kinds[EXIT_DEBUG] && kinds[EXIT_EXCEPTION]);
	}
}
END_TEST

START_TEST(test_reasons)
{
	static const struct { const struct arch_info *arch; uint32_t group, reason; enum exit_kind kind; const char *name; } rows[] = {
		{ &arch_x86, 2, 0x400, EXIT_MEM_FAULT, "npf" }, { &arch_x86, 2, 0x03, EXIT_SYSREG, "read_cr3" },
		{ &arch_x86, 2, 0x37, EXIT_SYSREG, "write_dr7" }, { &arch_x86, 2, 0x4e, EXIT_EXCEPTION, "excp14" },
		{ &arch_x86, 2, 0x41, EXIT_DEBUG, "DB excp" }, { &arch_x86, 2, 0x78, EXIT_HALT, "hlt" },
		{ &arch_x86, 1, 12, EXIT_HALT, "HLT" }, { &arch_x86, 1, 49, EXIT_MMIO, "EPT_MISCONFIG" },
		{ &arch_x86, 1, 0x400, EXIT_OTHER, "0x400" }, { &arch_x86, 0, 12, EXIT_OTHER, "0xc" },
		{ &arch_arm64, 0, 0, EXIT_EXT_IRQ, "IRQ" }, { &arch_arm64, 0, 77, EXIT_EXT_IRQ, "IRQ" },
		{ &arch_arm64, 2, 0x24, EXIT_MEM_FAULT, "DABT_LOW" }, { &arch_arm64, 2, 1, EXIT_HALT, "WFx" },
		{ &arch_arm64, 2, 0x16, EXIT_HYPERCALL, "HVC64" }, { &arch_arm64, 2, 0x3f, EXIT_OTHER, "0x3f" },
	};
	char name[32];

	for (unsigned i = 0; i < NELEM(rows); i++) {
		ck_assert_int_eq(exit_reason_name(rows[i].arch->exits, rows[i].group, rows[i].reason, name, sizeof(name)), rows[i].kind);
		ck_assert_str_eq(name, rows[i].name);
	}
}
END_TEST

UNIT_MAIN("common/kvmstats", test_two_vcpus, test_damaged, test_read, test_tables, test_reasons)
