/*
 * Control of disks, networks and consoles.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/ctl_methods.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/block/block.h"
#include "devices/block/disk.h"
#include "devices/block/img.h"
#include "devices/char/chardev.h"

#define HISTORY_MAX MIB(1)

/* --- Disks --- */

static json_t *chain_json(const struct img *i)
{
	json_t *list = json_array();

	for (; i; i = i->backing)
		json_array_append_new(list, json_pack("{s:o, s:s}", "path", ctl_text(i->file->path), "format", i->drv->name));
	return list;
}

int ctl_disks(struct ctl_call *call)
{
	call->result = json_array();
	for (struct blk *b = blk_first(call->vm); b; b = blk_next(b)) {
		json_t *o = json_pack("{s:s, s:o, s:s, s:I, s:b}", "disk", blk_who(b), "path", ctl_text(blk_img(b)->file->path),
				      "format", blk_img(b)->drv->name, "size", (json_int_t)blk_size(b), "read-only", blk_read_only(b));

		json_object_set_new(o, "chain", chain_json(blk_img(b)));
		json_array_append_new(call->result, o);
	}
	return 0;
}

/* All of a call must be free to block: the image's own lock is enough to read a list that is in memory. */
static struct blk *named_disk(struct ctl_call *call)
{
	struct blk *b = blk_find(call->vm, ctl_str(call, "disk"));

	if (!b)
		err_msg(-ENOENT, "there is no disk '%s'; 'skep ctl %s disks' lists them", ctl_str(call, "disk"), call->vm->name);
	return b;
}

int ctl_disk_checkpoints(struct ctl_call *call)
{
	struct blk *b = named_disk(call);
	struct img *i = b ? blk_img(b) : NULL;
	struct img_snapshot *s = NULL;
	unsigned n = 0;
	int err = b ? 0 : -ENOENT;

	/* It holds the image's lock for long. */
	if (!err && ctl_busy(call, "disk-checkpoint"))
		err = err_msg(-EBUSY, "a checkpoint is being taken; try again when it is there");
	if (!err && i->drv->snap_list)
		err = i->drv->snap_list(i, &s, &n);
	if (err)
		return err;
	call->result = json_array();
	for (unsigned k = 0; k < n; k++)
		json_array_append_new(call->result, json_pack("{s:o, s:o, s:s, s:I}", "name", ctl_text(s[k].name), "id", ctl_text(s[k].id),
							      "store", "qcow2", "date-sec", (json_int_t)(s[k].date_ns / 1000000000)));
	for (i = i->backing; i; i = i->backing)
		json_array_append_new(call->result, json_pack("{s:o, s:s}", "name", ctl_text(i->file->path), "store", "overlay"));
	free(s);
	return 0;
}

/* What is not given stays; the answer tells what holds now. */
int ctl_disk_limits(struct ctl_call *call)
{
	struct blk *b = named_disk(call);
	struct blk_rate iops, bps;
	uint32_t burst_s;
	int64_t v[5];

	if (!b)
		return -ENOENT;
	blk_limits(b, &iops, &bps, &burst_s);
	if (ctl_int(call, "iops", 0, INT64_MAX, (int64_t)iops.per_s, &v[0]) ||
	    ctl_int(call, "bps", 0, INT64_MAX, (int64_t)bps.per_s, &v[1]) ||
	    ctl_int(call, "iops-burst", 0, INT64_MAX, (int64_t)iops.burst_per_s, &v[2]) ||
	    ctl_int(call, "bps-burst", 0, INT64_MAX, (int64_t)bps.burst_per_s, &v[3]) ||
	    ctl_int(call, "burst-seconds", 1, 3600, MAX((int64_t)burst_s, 1), &v[4]))
		return -EINVAL;
	if ((v[2] && v[2] < v[0]) || (v[2] && !v[0]) || (v[3] && v[3] < v[1]) || (v[3] && !v[1]))
		return err_msg(-EINVAL, "disk-limits: a burst has to be at least the limit it belongs to, which has to be set as well; "
			       "0 means none");
	iops = (struct blk_rate){ (uint64_t)v[0], (uint64_t)v[2] };
	bps = (struct blk_rate){ (uint64_t)v[1], (uint64_t)v[3] };
	call->result = json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "disk", blk_who(b), "iops", (json_int_t)v[0], "bps", (json_int_t)v[1],
				 "iops-burst", (json_int_t)v[2], "bps-burst", (json_int_t)v[3], "burst-seconds", (json_int_t)v[4]);
	return json_object_size(call->params) > 1 ? blk_limit(b, &iops, &bps, (uint32_t)v[4]) : 0;
}

/* media, eject and insert. */
int ctl_media(struct ctl_call *call)
{
	const char *disk = ctl_str(call, "disk"), *path = ctl_str(call, "path");
	json_t *o;
	int err = disk_media(call->vm, disk, path);

	if (err)
		return err;
	o = json_pack("{s:o}", "disk", ctl_text(disk));
	if (path)
		json_object_set_new(o, "path", ctl_text(path));
	ctl_event(call->vm, "medium", o);
	return 0;
}

/* --- Networks --- */

static json_t *net_json(struct device *d, const struct net_port *p)
{
	const uint8_t *m = p->mac;
	json_t *o = json_pack("{s:s, s:s, s:i, s:b}", "device", d->id, "class", d->cls->name, "queues", (int)p->queues,
			      "link", (int)p->up);

	json_object_set_new(o, "mac", json_sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]));
	json_object_set_new(o, "backend", ctl_text(p->backend ? p->backend : ""));
	if (p->host && p->host[0])
		json_object_set_new(o, "host", ctl_text(p->host));
	return o;
}

int ctl_nets(struct ctl_call *call)
{
	struct vm *vm = call->vm;

	call->result = json_array();
	for (unsigned i = 0; i < vm->ndevs; i++) {
		struct net_port p;

		if (!vm->devs[i]->cls->net_port)
			continue;
		vm->devs[i]->cls->net_port(vm->devs[i], &p);
		json_array_append_new(call->result, net_json(vm->devs[i], &p));
	}
	return 0;
}

int ctl_set_link(struct ctl_call *call)
{
	const char *name = ctl_str(call, "device"), *word = ctl_str(call, "state");
	struct device *d = vm_device(call->vm, name);
	const bool on = !strcmp(word, "on");

	if (!d || !d->cls->net_link)
		return err_msg(-ENOENT, "there is no network card '%s'; 'skep ctl %s nets' lists them", name, call->vm->name);
	if (!on && strcmp(word, "off") != 0)
		return err_msg(-EINVAL, "set-link: '%s' is no state of a cable; use on or off", word);
	d->cls->net_link(d, on);
	ctl_event(call->vm, "link", json_pack("{s:s, s:b}", "device", d->id, "link", (int)on));
	return 0;
}

/* --- Consoles --- */

/* "com1" names "lpc.com1". */
static bool port_is(const char *id, const char *name)
{
	const char *last = strrchr(id, '.');

	return !strcmp(id, name) || (last && !strcmp(last + 1, name));
}

/* The serial port of the parameter, or the first.  NULL (reported). */
static struct chardev *port_of(struct ctl_call *call)
{
	const char *name = ctl_str(call, "port");
	struct vm *vm = call->vm;

	for (unsigned i = 0; i < vm->ndevs; i++) {
		struct device *d = vm->devs[i];

		if (d->cls->chardev && (!name || port_is(d->id, name)))
			return d->cls->chardev(d);
	}
	err_msg(-ENOENT, name ? "there is no serial port '%s'; they are com1, com2 ..., as -l names them" :
		"this machine has no serial port", name);
	return NULL;
}

int ctl_break(struct ctl_call *call)
{
	struct chardev *c = port_of(call);

	if (!c)
		return -ENOENT;
	chardev_receive_break(c);
	return 0;
}

/* Bytes of the UTF-8 character at p, 0 where there is none; NUL is none, because many clients cannot take it [RFC 3629 4]. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (!p[0] || !n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what is above U+10FFFF. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

/* U+FFFD for each byte that is no part of a character. */
static json_t *history_text(const uint8_t *p, size_t len)
{
	char *text = malloc(3 * len + 1);
	size_t at = 0, n;
	json_t *o;

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i += n ? n : 1) {
		n = utf8_len(p + i, len - i);
		memcpy(text + at, n ? (const char *)p + i : "\xef\xbf\xbd", n ? n : 3);
		at += n ? n : 3;
	}
	o = json_stringn(text, at);
	free(text);
	return o;
}

int ctl_console_history(struct ctl_call *call)
{
	struct chardev *c = port_of(call);
	uint8_t *buf;
	int64_t max;
	size_t len;

	if (!c || ctl_int(call, "bytes", 1, HISTORY_MAX, 65536, &max))
		return -EINVAL;
	len = MIN((size_t)max, chardev_history_len(c));
	buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	len = chardev_tail(c, buf, len);
	call->result = json_pack("{s:s, s:I, s:o}", "port", chardev_name(c), "bytes", (json_int_t)len, "text", history_text(buf, len));
	free(buf);
	return call->result ? 0 : -ENOMEM;
}

int ctl_screen(struct ctl_call *call)
{
	return err_msg(-EOPNOTSUPP, "this machine has no display; 'skep ctl %s console-history' shows its serial port", call->vm->name);
}
