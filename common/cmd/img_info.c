/*
 * `skep img info`, `map`, `check`, `snapshot`: what is in an image.  The JSON has the names qemu-img gives them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/cmd/img_cmd.h"
#include "common/log.h"
#include "common/util.h"

static int dump(json_t *o)
{
	json_dumpf(o, stdout, JSON_INDENT(4));
	printf("\n");
	json_decref(o);
	return 0;
}

static int64_t disk_bytes(const struct img *i)
{
	struct stat st;

	return i->file->fd >= 0 && fstat(i->file->fd, &st) == 0 ? (int64_t)st.st_blocks * 512 : 0;
}

/* --- Snapshots inside --- */

static void clock_text(uint64_t ns, char *buf, size_t len)
{
	const uint64_t s = ns / 1000000000;

	snprintf(buf, len, "%02" PRIu64 ":%02u:%02u.%03u", s / 3600, (unsigned)(s / 60 % 60), (unsigned)(s % 60),
		 (unsigned)(ns / 1000000 % 1000));
}

static void snapshots_print(const struct img_snapshot *s, unsigned n)
{
	printf("%-9s %-20s %10s %20s %15s\n", "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK");
	for (unsigned i = 0; i < n; i++) {
		const time_t t = (time_t)(s[i].date_ns / 1000000000);
		char date[32], clock[32], size[32];
		struct tm tm;

		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
		clock_text(s[i].vm_clock_ns, clock, sizeof(clock));
		printf("%-9s %-20s %10s %20s %15s\n", s[i].id, s[i].name, img_cmd_size_text(s[i].vm_state_len, size, sizeof(size)), date, clock);
	}
}

static json_t *snapshots_json(const struct img_snapshot *s, unsigned n)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "id", s[i].id, "name", s[i].name,
			"vm-state-size", (json_int_t)s[i].vm_state_len, "date-sec", (json_int_t)(s[i].date_ns / 1000000000),
			"date-nsec", (json_int_t)(s[i].date_ns % 1000000000), "vm-clock-sec", (json_int_t)(s[i].vm_clock_ns / 1000000000),
			"vm-clock-nsec", (json_int_t)(s[i].vm_clock_ns % 1000000000)));
	return list;
}

static int snapshot_list(const struct img_args *a, struct img *i)
{
	struct img_snapshot *s;
	unsigned n;
	int err = i->drv->snap_list(i, &s, &n);

	if (err)
		return err;
	if (a->json)
		dump(snapshots_json(s, n));
	else if (n)
		snapshots_print(s, n);
	free(s);
	return 0;
}

int img_cmd_snapshot(const struct img_args *a)
{
	struct img *i;
	int err, closed;
	const char action = a->action ? a->action : 'l';

	i = img_cmd_open(a, a->pos[0], a->format, action == 'l' ? 0 : BFILE_WRITE);
	if (!i)
		return IMG_FAILED;
	if (!i->drv->snap_list)
		err = err_msg(-EOPNOTSUPP, "image '%s': the format %s has no snapshots inside; convert it to qcow2", a->pos[0], i->drv->name);
	else if (action == 'c')
		err = i->drv->snap_create(i, a->snapshot);
	else if (action == 'a')
		err = i->drv->snap_apply(i, a->snapshot);
	else if (action == 'd')
		err = i->drv->snap_delete(i, a->snapshot);
	else
		err = snapshot_list(a, i);
	closed = img_close(i);
	return err || closed ? IMG_FAILED : IMG_OK;
}

/* --- info --- */

static json_t *info_json(struct img *i)
{
	json_t *o = json_object(), *data = json_object();
	struct img_snapshot *s;
	unsigned n;

	if (i->granule)
		json_object_set_new(o, "cluster-size", json_integer(i->granule));
	json_object_set_new(o, "filename", json_string(i->file->path));
	json_object_set_new(o, "format", json_string(i->drv->name));
	json_object_set_new(o, "virtual-size", json_integer((json_int_t)i->size));
	json_object_set_new(o, "actual-size", json_integer(disk_bytes(i)));
	if (i->backing_path)
		json_object_set_new(o, "backing-filename", json_string(i->backing_path));
	if (i->backing)
		json_object_set_new(o, "full-backing-filename", json_string(i->backing->file->path));
	if (i->backing_format)
		json_object_set_new(o, "backing-filename-format", json_string(i->backing_format));
	if (i->drv->snap_list && i->drv->snap_list(i, &s, &n) == 0) {
		if (n)
			json_object_set_new(o, "snapshots", snapshots_json(s, n));
		free(s);
	}
	if (i->drv->info && i->drv->info(i, data) == 0)
		json_object_set_new(o, "format-specific", json_pack("{s:s, s:O}", "type", i->drv->name, "data", data));
	/* What qemu-img has for all formats comes from the drivers, too. */
	json_object_set_new(o, "dirty-flag", json_boolean(json_is_true(json_object_get(data, "dirty-flag"))));
	json_object_del(data, "dirty-flag");
	json_object_del(data, "cluster-size");
	json_decref(data);
	return o;
}

static void info_specific(const json_t *data)
{
	const char *key;
	json_t *v;

	printf("Format specific information:\n");
	json_object_foreach((json_t *)data, key, v) {
		printf("    %s: ", key);
		if (json_is_string(v)) {
			printf("%s\n", json_string_value(v));
		} else {
			char *t = json_dumps(v, JSON_ENCODE_ANY);

			printf("%s\n", t ? t : "");
			free(t);
		}
	}
}

static void info_print(const struct img_args *a, struct img *i, const json_t *o)
{
	const json_t *data = json_object_get(json_object_get(o, "format-specific"), "data");
	char text[32];

	printf("image: %s\nfile format: %s\n", a->chain ? i->file->path : a->pos[0], i->drv->name);
	printf("virtual size: %s (%" PRIu64 " bytes)\n", img_cmd_size_text(i->size, text, sizeof(text)), i->size);
	printf("disk size: %s\n", img_cmd_size_text((uint64_t)disk_bytes(i), text, sizeof(text)));
	if (i->granule)
		printf("cluster_size: %u\n", i->granule);
	if (json_is_true(json_object_get(o, "dirty-flag")))
		printf("cleanly shut down: no\n");
	if (i->backing_path) {
		printf("backing file: %s", i->backing_path);
		if (i->backing && strcmp(i->backing->file->path, i->backing_path) != 0)
			printf(" (actual path: %s)", i->backing->file->path);
		printf("\n");
	}
	if (i->backing_format)
		printf("backing file format: %s\n", i->backing_format);
	if (json_object_get(o, "snapshots")) {
		struct img_snapshot *s;
		unsigned n;

		if (i->drv->snap_list(i, &s, &n) == 0) {
			printf("Snapshot list:\n");
			snapshots_print(s, n);
			free(s);
		}
	}
	if (data && json_object_size(data))
		info_specific(data);
}

int img_cmd_info(const struct img_args *a)
{
	/* One image is shown as it is, wherever its backing file may be. */
	const struct img_open o = {
		.path = a->pos[0], .format = a->format, .file_flags = a->share ? BFILE_NO_LOCK : 0, .share_lock = a->share,
		.no_backing = !a->chain, .backing_dirs = a->backing_dirs,
	};
	int err;
	struct img *top = img_open(&o, &err);
	json_t *list = json_array();

	if (!top) {
		json_decref(list);
		return IMG_FAILED;
	}
	for (struct img *i = top; i; i = i->backing) {
		json_t *one = info_json(i);

		if (!a->json) {
			if (i != top)
				printf("\n");
			info_print(a, i, one);
		}
		json_array_append_new(list, one);
	}
	if (a->json)
		dump(a->chain ? json_incref(list) : json_incref(json_array_get(list, 0)));
	json_decref(list);
	return img_close(top) ? IMG_FAILED : IMG_OK;
}

/* --- map --- */

struct map_run {
	uint64_t off, len;
	struct img_seg seg;
	unsigned depth;
};

static unsigned depth_of(const struct img *top, const struct img *layer)
{
	unsigned d = 0;

	for (; top && top != layer; top = top->backing)
		d++;
	return d;
}

static bool continues(const struct map_run *r, const struct img_seg *s)
{
	return r->len && s->kind == r->seg.kind && s->img == r->seg.img && s->file == r->seg.file &&
	       (s->kind != IMG_DATA || s->file_off == r->seg.file_off + r->len);
}

static void map_out(const struct img_args *a, const struct map_run *r, json_t *list)
{
	json_t *o;

	if (r->len == 0)
		return;
	if (!a->json) {
		if (r->seg.kind == IMG_DATA)
			printf("0x%-16" PRIx64 "0x%-16" PRIx64 "0x%-16" PRIx64 "%s\n", r->off, r->len, r->seg.file_off, r->seg.file->path);
		else if (r->seg.kind == IMG_OPAQUE)
			printf("0x%-16" PRIx64 "0x%-16" PRIx64 "%-18s%s\n", r->off, r->len, "compressed", r->seg.img->file->path);
		return;
	}
	o = json_pack("{s:I, s:I, s:i, s:b, s:b, s:b, s:b}", "start", (json_int_t)r->off, "length", (json_int_t)r->len, "depth", (int)r->depth,
		      "present", r->seg.kind != IMG_ZERO || r->depth == 0, "zero", r->seg.kind == IMG_ZERO, "data", r->seg.kind != IMG_ZERO,
		      "compressed", r->seg.kind == IMG_OPAQUE);
	if (r->seg.kind == IMG_DATA)
		json_object_set_new(o, "offset", json_integer((json_int_t)r->seg.file_off));
	json_array_append_new(list, o);
}

static int map_all(const struct img_args *a, struct img *i, json_t *list)
{
	struct map_run run = { 0 };
	int err = 0;

	for (uint64_t at = 0; at < i->size && !err;) {
		struct img_seg s;

		err = img_map(i, at, i->size - at, 0, &s);
		if (err)
			return err_msg(err, "image '%s': looking up byte %" PRIu64 ": %s", a->pos[0], at, strerror(-err));
		if (!continues(&run, &s)) {
			map_out(a, &run, list);
			run = (struct map_run){ at, 0, s, depth_of(i, s.img) };
		}
		run.len += s.len;
		at += s.len;
	}
	map_out(a, &run, list);
	return 0;
}

int img_cmd_map(const struct img_args *a)
{
	struct img *i = img_cmd_open(a, a->pos[0], a->format, 0);
	json_t *list = json_array();
	int err = i ? 0 : -EIO, closed;

	if (i && !a->json)
		printf("%-18s%-18s%-18s%s\n", "Offset", "Length", "Mapped to", "File");
	if (i)
		err = map_all(a, i, list);
	if (!err && a->json)
		dump(json_incref(list));
	json_decref(list);
	closed = img_close(i);
	return err || closed ? IMG_FAILED : IMG_OK;
}

/* --- check --- */

static void check_print(const struct img *i, const struct img_check *c)
{
	const uint64_t all = MAX(c->clusters, 1), used = MAX(c->allocated, 1);

	if (c->corruptions_fixed || c->leaks_fixed)
		printf("Repaired: %" PRIu64 " errors and %" PRIu64 " leaked clusters.\n", c->corruptions_fixed, c->leaks_fixed);
	if (!c->corruptions && !c->leaks && !c->errors)
		printf("No errors were found on the image.\n");
	if (c->corruptions)
		printf("%" PRIu64 " errors were found on the image; data may be damaged, and writing to it makes it worse: 'skep img check -r all' "
		       "repairs what can be repaired.\n", c->corruptions);
	if (c->leaks)
		printf("%" PRIu64 " leaked clusters were found on the image: they only waste space, and 'skep img check -r leaks' gives it back.\n",
		       c->leaks);
	if (c->errors)
		printf("%" PRIu64 " places could not be looked at.\n", c->errors);
	if (c->clusters)
		printf("%" PRIu64 "/%" PRIu64 " = %.2f%% allocated, %.2f%% fragmented, %.2f%% compressed clusters\n", c->allocated, c->clusters,
		       100.0 * (double)c->allocated / (double)all, 100.0 * (double)c->fragmented / (double)used,
		       100.0 * (double)c->compressed / (double)used);
	if (c->image_end)
		printf("Image end offset: %" PRIu64 "\n", c->image_end);
	(void)i;
}

static void check_json(const struct img_args *a, const struct img *i, const struct img_check *c)
{
	dump(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "filename", a->pos[0], "format", i->drv->name,
		       "corruptions", (json_int_t)c->corruptions, "leaks", (json_int_t)c->leaks, "check-errors", (json_int_t)c->errors,
		       "corruptions-fixed", (json_int_t)c->corruptions_fixed, "leaks-fixed", (json_int_t)c->leaks_fixed,
		       "total-clusters", (json_int_t)c->clusters, "allocated-clusters", (json_int_t)c->allocated,
		       "compressed-clusters", (json_int_t)c->compressed, "fragmented-clusters", (json_int_t)c->fragmented,
		       "image-end-offset", (json_int_t)c->image_end));
}

static int check_status(const struct img_check *c)
{
	if (c->errors)
		return IMG_FAILED;
	return c->corruptions ? IMG_CORRUPT : c->leaks ? IMG_LEAKS : IMG_OK;
}

int img_cmd_check(const struct img_args *a)
{
	const struct img_open o = {
		.path = a->pos[0], .format = a->format, .share_lock = a->share, .no_backing = true, .check = true,
		.file_flags = (a->fix ? BFILE_WRITE : 0) | (a->share ? BFILE_NO_LOCK : 0),
	};
	struct img_check c = { 0 };
	struct img *i;
	int err, status;

	i = img_open(&o, &err);
	if (!i)
		return IMG_FAILED;
	if (!i->drv->check) {
		err_msg(-EOPNOTSUPP, "image '%s': the format %s has nothing that could be checked", a->pos[0], i->drv->name);
		img_close(i);
		return IMG_NO_CHECK;
	}
	err = i->drv->check(i, a->fix, &c);
	/* What is still there. */
	c.corruptions -= MIN(c.corruptions, c.corruptions_fixed);
	c.leaks -= MIN(c.leaks, c.leaks_fixed);
	status = err ? IMG_FAILED : check_status(&c);
	if (!err && a->json)
		check_json(a, i, &c);
	else if (!err && !a->quiet)
		check_print(i, &c);
	return img_close(i) && !status ? IMG_FAILED : status;
}
