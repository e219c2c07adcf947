/*
 * Snapshot field tables: what of a device's struct is state.  Save and load walk the same table.  Records are
 * JSON objects with typed keys ("lcr$uint8": 3; buffers in base64), keyed outside by instance and class.
 * Descriptors, pointers and anything computable are not fields.  Tables are append-only.
 */
#ifndef COMMON_SNAP_H
#define COMMON_SNAP_H

#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

enum snap_type { SNAP_T_END, SNAP_T_BOOL, SNAP_T_U8, SNAP_T_U16, SNAP_T_U32, SNAP_T_U64, SNAP_T_BYTES, SNAP_T_HEAP, SNAP_T_STRUCT };

struct snap_field {
	const char *name;
	enum snap_type type;
	size_t off;
	size_t size;                    /* BYTES: capacity; STRUCT: size of one element */
	size_t count;                   /* elements; 1 for a scalar.  Arrays are JSON arrays */
	size_t len_off;                 /* BYTES: offset of a uint32_t length, or SNAP_FIXED; HEAP: of a uint32_t length */
	const struct snap_field *sub;   /* STRUCT */
	unsigned since;                 /* class version that added it; older images load it as zero */
};
#define SNAP_FIXED ((size_t)-1)
#define SNAP_ONE(t, st, f, v) { #f, t, offsetof(st, f), sizeof(((st *)0)->f), 1, 0, NULL, v }
#define SNAP_BOOL(st, f, v) SNAP_ONE(SNAP_T_BOOL, st, f, v)
#define SNAP_U8(st, f, v) SNAP_ONE(SNAP_T_U8, st, f, v)
#define SNAP_U16(st, f, v) SNAP_ONE(SNAP_T_U16, st, f, v)
#define SNAP_U32(st, f, v) SNAP_ONE(SNAP_T_U32, st, f, v)
#define SNAP_U64(st, f, v) SNAP_ONE(SNAP_T_U64, st, f, v)
/* A byte array: with a uint32_t length field, or whole. */
#define SNAP_BUF(st, f, len, v) { #f, SNAP_T_BYTES, offsetof(st, f), sizeof(((st *)0)->f), 1, offsetof(st, len), NULL, v }
#define SNAP_BYTES(st, f, v) { #f, SNAP_T_BYTES, offsetof(st, f), sizeof(((st *)0)->f), 1, SNAP_FIXED, NULL, v }
/* A uint8_t pointer from malloc() with its uint32_t length; loading frees what was there. */
#define SNAP_HEAP(st, f, len, v) { #f, SNAP_T_HEAP, offsetof(st, f), sizeof(((st *)0)->f), 1, offsetof(st, len), NULL, v }
/* A fixed array of scalars (t: SNAP_T_U32 ...), and nested structs: one, or a fixed array of them. */
#define SNAP_ARRAY(t, st, f, v) { #f, t, offsetof(st, f), sizeof(((st *)0)->f[0]), sizeof(((st *)0)->f) / sizeof(((st *)0)->f[0]), 0, NULL, v }
#define SNAP_STRUCT(st, f, tab, v) { #f, SNAP_T_STRUCT, offsetof(st, f), sizeof(((st *)0)->f), 1, 0, tab, v }
#define SNAP_STRUCTS(st, f, tab, v) { #f, SNAP_T_STRUCT, offsetof(st, f), sizeof(((st *)0)->f[0]), sizeof(((st *)0)->f) / sizeof(((st *)0)->f[0]), 0, tab, v }
#define SNAP_END { NULL, SNAP_T_END, 0, 0, 0, 0, NULL, 0 }

/* New reference to an object with every field of `obj`, or NULL when out of memory. */
json_t *snap_save(const struct snap_field *, const void *obj);
/*
 * Fills `obj` from `rec`, written by class version `version`.  A field of a later version becomes zero.
 * -EINVAL (reported, naming `who` and the field) for an unknown, missing or ill-typed field, a value out of
 * range or a length beyond capacity; then nothing of `obj` has been changed.
 */
int snap_load(const struct snap_field *, unsigned version, void *obj, const json_t *rec, const char *who);

#endif
