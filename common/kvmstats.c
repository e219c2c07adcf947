#include "common/kvmstats.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"

/* --- Reasons --- */

const struct exit_reason *exit_reason_find(const struct arch_exits *a, uint32_t group, uint32_t reason)
{
	for (const struct exit_reason *r = a->reasons; r->name; r++) {
		if (r->group == group && reason >= r->first && reason <= r->last)
			return r;
	}
	return NULL;
}

enum exit_kind exit_reason_name(const struct arch_exits *a, uint32_t group, uint32_t reason, char *buf, size_t len)
{
	const struct exit_reason *r = exit_reason_find(a, group, reason);

	if (!r)
		snprintf(buf, len, "%#" PRIx32, reason);
	else if (r->first == r->last || r->last == UINT16_MAX)
		snprintf(buf, len, "%s", r->name);
	else
		snprintf(buf, len, "%s%" PRIu32, r->name, reason - r->first);
	return r ? r->kind : EXIT_OTHER;
}

/* --- The files --- */

int kvmstats_read(int fd, uint8_t buf[KVMSTATS_MAX])
{
	size_t len = 0;

	while (len < KVMSTATS_MAX) {
		const ssize_t n = pread(fd, buf + len, KVMSTATS_MAX - len, (off_t)len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
	}
	return (int)len;
}

/* As the structures of the same names without kvm_stats_; native byte order, which is little-endian. */
enum { HEADER_NAME_SIZE = 4, HEADER_NUM_DESC = 8, HEADER_DESC = 16, HEADER_DATA = 20, HEADER_LEN = 24 };
enum { DESC_FLAGS = 0, DESC_SIZE = 6, DESC_OFFSET = 8, DESC_BUCKET = 12, DESC_NAME = 16 };

static void add_to(json_t *o, const char *name, uint64_t n)
{
	const json_int_t old = json_integer_value(json_object_get(o, name));

	json_object_set_new(o, name, json_integer((json_int_t)((uint64_t)old + n)));
}

static void add_hist(json_t *o, const char *name, uint32_t bucket_size, const uint8_t *data, unsigned n)
{
	json_t *h = json_object_get(o, name), *counts;

	if (!h)
		json_object_set_new(o, name, json_pack("{s:I, s:[]}", "bucket_size", (json_int_t)bucket_size, "counts"));
	counts = json_object_get(json_object_get(o, name), "counts");
	for (unsigned i = 0; i < n; i++) {
		const uint64_t old = (uint64_t)json_integer_value(json_array_get(counts, i));
		json_t *sum = json_integer((json_int_t)(old + get_le64(data + (size_t)i * 8)));

		if (i < json_array_size(counts))
			json_array_set_new(counts, i, sum);
		else
			json_array_append_new(counts, sum);
	}
}

static void add_stat(struct kvm_sums *s, const char *name, const uint8_t *desc, const uint8_t *data)
{
	const unsigned n = get_le16(desc + DESC_SIZE);

	switch (get_le32(desc + DESC_FLAGS) & KVM_STATS_TYPE_MASK) {
	case KVM_STATS_TYPE_CUMULATIVE:
		add_to(s->rising, name, get_le64(data));
		break;
	case KVM_STATS_TYPE_INSTANT: case KVM_STATS_TYPE_PEAK:
		add_to(s->now, name, get_le64(data));
		break;
	case KVM_STATS_TYPE_LINEAR_HIST:
		add_hist(s->hist, name, get_le32(desc + DESC_BUCKET), data, n);
		break;
	case KVM_STATS_TYPE_LOG_HIST:
		add_hist(s->hist, name, 0, data, n);
		break;
	}
}

/* JSON takes no others as they are. */
static bool is_name(const char *s)
{
	const char *c = s;

	while (*c > ' ' && *c <= '~')
		c++;
	return c != s && !*c;
}

int kvmstats_sum(const uint8_t *buf, size_t len, struct kvm_sums *s)
{
	if (len < HEADER_LEN)
		return -EINVAL;
	const uint32_t name_size = get_le32(buf + HEADER_NAME_SIZE), num = get_le32(buf + HEADER_NUM_DESC);
	const uint64_t descs = get_le32(buf + HEADER_DESC), values = get_le32(buf + HEADER_DATA);
	const uint64_t desc_len = DESC_NAME + (uint64_t)name_size;

	if (!name_size || name_size > 256 || num > KVMSTATS_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < num; i++) {
		const uint64_t at = descs + i * desc_len;
		const uint8_t *d = buf + at;
		char name[257] = "";

		if (at > len || len - at < desc_len)
			return -EINVAL;
		const uint64_t data = values + get_le32(d + DESC_OFFSET), n = get_le16(d + DESC_SIZE);

		if (!n || data > len || len - data < n * 8)
			return -EINVAL;
		memcpy(name, d + DESC_NAME, name_size);
		if (is_name(name))
			add_stat(s, name, d, buf + data);
	}
	return 0;
}
