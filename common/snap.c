#include "common/snap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/util.h"

static const char *const type_names[] = {
	[SNAP_T_BOOL] = "bool", [SNAP_T_U8] = "uint8", [SNAP_T_U16] = "uint16", [SNAP_T_U32] = "uint32", [SNAP_T_U64] = "uint64",
	[SNAP_T_BYTES] = "base64", [SNAP_T_HEAP] = "base64", [SNAP_T_STRUCT] = "struct",
};

static void snap_key(const struct snap_field *f, char *key, size_t len)
{
	snprintf(key, len, "%s$%s%s", f->name, type_names[f->type], f->count > 1 ? "[]" : "");
}

/* --- base64 [RFC 4648 section 4] --- */

static const char b64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static json_t *b64_encode(const uint8_t *p, size_t len)
{
	size_t out_len = (len + 2) / 3 * 4;
	char *out = malloc(out_len + 1);
	if (!out)
		return NULL;
	char *o = out;
	for (size_t i = 0; i < len; i += 3) {
		size_t left = len - i;
		uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
		*o++ = b64_digits[v >> 18];
		*o++ = b64_digits[v >> 12 & 63];
		*o++ = left > 1 ? b64_digits[v >> 6 & 63] : '=';
		*o++ = left > 2 ? b64_digits[v & 63] : '=';
	}
	json_t *j = json_stringn(out, out_len);
	free(out);
	return j;
}

/* Decodes into at most cap bytes; length, or -1 for anything malformed or too long.  out may be NULL. */
static long b64_decode(const char *s, size_t n, uint8_t *out, size_t cap)
{
	if (n % 4)
		return -1;
	size_t len = n / 4 * 3;
	if (n && s[n - 1] == '=')
		len -= s[n - 2] == '=' ? 2 : 1;
	if (len > cap)
		return -1;
	for (size_t i = 0, o = 0; i < n; i += 4) {
		uint32_t v = 0;
		for (size_t k = 0; k < 4; k++) {
			const char *d = s[i + k] ? strchr(b64_digits, s[i + k]) : NULL;
			bool pad = s[i + k] == '=' && i + 4 == n && k >= 2 && (k == 3 || s[i + 3] == '=');
			if (!d && !pad)
				return -1;
			v = v << 6 | (d ? (uint32_t)(d - b64_digits) : 0);
		}
		for (size_t k = 0; k < 3 && o < len; k++, o++) {
			if (out)
				out[o] = (uint8_t)(v >> (16 - 8 * k));
		}
	}
	return (long)len;
}

/* --- saving --- */

static uint64_t scalar_get(const struct snap_field *f, const uint8_t *p)
{
	switch (f->type) {
	case SNAP_T_BOOL: return *(const bool *)p;
	case SNAP_T_U8: return *p;
	case SNAP_T_U16: return get_le16(p);
	case SNAP_T_U32: return get_le32(p);
	default: return get_le64(p);
	}
}

static json_t *save_one(const struct snap_field *f, const uint8_t *obj, const uint8_t *p)
{
	switch (f->type) {
	case SNAP_T_STRUCT:
		return snap_save(f->sub, p);
	case SNAP_T_BYTES: {
		size_t len = f->len_off == SNAP_FIXED ? f->size : get_le32(obj + f->len_off);
		return b64_encode(p, MIN(len, f->size));
	}
	case SNAP_T_HEAP:
		return b64_encode(*(uint8_t *const *)(const void *)p, get_le32(obj + f->len_off));
	case SNAP_T_BOOL:
		return json_boolean(*(const bool *)p);
	default:
		return json_integer((json_int_t)scalar_get(f, p));
	}
}

json_t *snap_save(const struct snap_field *f, const void *obj)
{
	json_t *rec = json_object();
	const uint8_t *base = obj;
	char key[96];
	for (; rec && f->name; f++) {
		json_t *v;
		if (f->count > 1) {
			v = json_array();
			for (size_t i = 0; v && i < f->count; i++)
				json_array_append_new(v, save_one(f, base, base + f->off + i * f->size));
		} else {
			v = save_one(f, base, base + f->off);
		}
		snap_key(f, key, sizeof(key));
		if (!v || json_object_set_new(rec, key, v) < 0) {
			json_decref(rec);
			return NULL;
		}
	}
	return rec;
}

/* --- loading: one walk that checks, a second that applies --- */

static int load_fields(const struct snap_field *, unsigned version, uint8_t *obj, const json_t *rec, const char *who, bool apply);

static void scalar_set(const struct snap_field *f, uint8_t *p, uint64_t v)
{
	switch (f->type) {
	case SNAP_T_BOOL: *(bool *)p = v; break;
	case SNAP_T_U8: *p = (uint8_t)v; break;
	case SNAP_T_U16: put_le16(p, (uint16_t)v); break;
	case SNAP_T_U32: put_le32(p, (uint32_t)v); break;
	default: put_le64(p, v); break;
	}
}

static int load_scalar(const struct snap_field *f, uint8_t *p, const json_t *v, bool apply)
{
	static const uint64_t max[] = { [SNAP_T_U8] = UINT8_MAX, [SNAP_T_U16] = UINT16_MAX, [SNAP_T_U32] = UINT32_MAX, [SNAP_T_U64] = UINT64_MAX };
	uint64_t val;
	if (f->type == SNAP_T_BOOL) {
		if (!json_is_boolean(v))
			return -EINVAL;
		val = json_is_true(v);
	} else {
		if (!json_is_integer(v))
			return -EINVAL;
		val = (uint64_t)json_integer_value(v);  /* 64-bit values above INT64_MAX are written as negative */
		if (val > max[f->type])
			return -EINVAL;
	}
	if (apply)
		scalar_set(f, p, val);
	return 0;
}

static int load_bytes(const struct snap_field *f, uint8_t *obj, uint8_t *p, const json_t *v, bool apply)
{
	if (!json_is_string(v))
		return -EINVAL;
	long len = b64_decode(json_string_value(v), json_string_length(v), apply ? p : NULL, f->size);
	if (len < 0 || (f->len_off == SNAP_FIXED && (size_t)len != f->size))
		return -EINVAL;
	if (apply && f->len_off != SNAP_FIXED)
		put_le32(obj + f->len_off, (uint32_t)len);
	return 0;
}

static int load_heap(const struct snap_field *f, uint8_t *obj, uint8_t *p, const json_t *v, bool apply)
{
	size_t n = json_is_string(v) ? json_string_length(v) : 0, cap = n / 4 * 3;
	if (!json_is_string(v) || cap > UINT32_MAX)
		return -EINVAL;
	uint8_t *buf = apply ? malloc(cap + 1) : NULL;
	if (apply && !buf)
		return -ENOMEM;
	long len = b64_decode(json_string_value(v), n, buf, cap);
	if (len < 0) {
		free(buf);
		return -EINVAL;
	}
	if (apply) {
		uint8_t **field = (uint8_t **)(void *)p;
		free(*field);
		*field = buf;
		put_le32(obj + f->len_off, (uint32_t)len);
	}
	return 0;
}

static int load_one(const struct snap_field *f, unsigned version, uint8_t *obj, uint8_t *p, const json_t *v, const char *who, bool apply)
{
	switch (f->type) {
	case SNAP_T_STRUCT:
		return json_is_object(v) ? load_fields(f->sub, version, p, v, who, apply) : -EINVAL;
	case SNAP_T_BYTES:
		return load_bytes(f, obj, p, v, apply);
	case SNAP_T_HEAP:
		return load_heap(f, obj, p, v, apply);
	default:
		return load_scalar(f, p, v, apply);
	}
}

static int load_field(const struct snap_field *f, unsigned version, uint8_t *obj, const json_t *v, const char *who, bool apply)
{
	if (f->count == 1)
		return load_one(f, version, obj, obj + f->off, v, who, apply);
	if (!json_is_array(v) || json_array_size(v) != f->count)
		return -EINVAL;
	int err = 0;
	for (size_t i = 0; !err && i < f->count; i++)
		err = load_one(f, version, obj, obj + f->off + i * f->size, json_array_get(v, i), who, apply);
	return err;
}

static int load_fields(const struct snap_field *f, unsigned version, uint8_t *obj, const json_t *rec, const char *who, bool apply)
{
	size_t known = 0;
	char key[96];
	for (; f->name; f++) {
		snap_key(f, key, sizeof(key));
		if (f->since > version) {
			if (apply)
				memset(obj + f->off, 0, f->size * f->count);
			continue;
		}
		const json_t *v = json_object_get(rec, key);
		if (!v)
			return err_msg(-EINVAL, "snapshot of %s: field '%s' is missing", who, key);
		if (load_field(f, version, obj, v, who, apply))
			return err_msg(-EINVAL, "snapshot of %s: field '%s' has an unusable value", who, key);
		known++;
	}
	if (json_object_size(rec) != known)
		return err_msg(-EINVAL, "snapshot of %s: %zu fields this version does not know", who, json_object_size(rec) - known);
	return 0;
}

int snap_load(const struct snap_field *f, unsigned version, void *obj, const json_t *rec, const char *who)
{
	if (!json_is_object(rec))
		return err_msg(-EINVAL, "snapshot of %s: not an object", who);
	int err = load_fields(f, version, obj, rec, who, false);
	return err ? err : load_fields(f, version, obj, rec, who, true);
}
