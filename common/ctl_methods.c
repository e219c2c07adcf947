/*
 * What the control socket can do.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/ctl.h"
#include "common/log.h"
#include "common/vm.h"
#include "devices/block/block.h"
#include "devices/block/ckpt.h"
#include "devices/block/disk.h"
#include "devices/block/img.h"

/* --- The VM --- */

static int method_status(struct ctl_call *call)
{
	const struct vm *vm = call->vm;

	call->result = json_pack("{s:s, s:i, s:s, s:s, s:i}", "name", vm->name, "pid", (int)getpid(), "arch", vm->arch->name,
				 "state", vm->paused_for_good ? "paused" : vm->stopped ? "stopped" : "running", "cpus", (int)vm->nvcpus);
	if (vm->stopped)
		json_object_set_new(call->result, "reason", ctl_text(vm->stop_text));
	return 0;
}

static int method_resume(struct ctl_call *call)
{
	if (!call->vm->stopped)
		return err_msg(-EINVAL, "the machine is not stopped");
	vm_continue(call->vm);
	return 0;
}

/* --- Disks --- */

static json_t *chain_json(const struct img *i)
{
	json_t *list = json_array();

	for (; i; i = i->backing)
		json_array_append_new(list, json_pack("{s:o, s:s}", "path", ctl_text(i->file->path), "format", i->drv->name));
	return list;
}

static int method_disks(struct ctl_call *call)
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

static int method_checkpoints(struct ctl_call *call)
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

static const struct ctl_param checkpoint_params[] = {
	{ "name", 's', true, "of the checkpoint" },
	{ "disk", 's', false, "one disk ('disks' lists them); default: all that can be written, at one instant" },
	{ "store", 's', false, "qcow2, overlay, reflink, zfs or lvm; default: the best for each disk" },
	{ "path", 'p', false, "file of the overlay or copy; default: beside the image" },
	{ NULL, 0, false, NULL }
};
static const struct ctl_param disk_params[] = { { "disk", 's', true, "which one" }, { NULL, 0, false, NULL } };
static const struct ctl_param media_params[] = {
	{ "disk", 's', true, "the drive: its bus path, such as pci.0.4.0.port.0" },
	{ "path", 'p', false, "the medium; without it the drive is emptied" },
	{ NULL, 0, false, NULL }
};

static int method_media(struct ctl_call *call)
{
	return disk_media(call->vm, ctl_str(call, "disk"), ctl_str(call, "path"));
}

const struct ctl_method ctl_methods[] = {
	{ "status", "state of the machine", NULL, method_status },
	{ "resume", "go on after a disk error stopped the machine", NULL, method_resume },
	{ "disks", "disks and the images they consist of", NULL, method_disks },
	{ "media", "exchange or eject the medium of a CD drive", media_params, method_media },
	{ "disk-checkpoint", "keep what disks hold at this instant", checkpoint_params, ckpt_ctl },
	{ "disk-checkpoints", "checkpoints of a disk", disk_params, method_checkpoints },
	{ NULL, NULL, NULL, NULL }
};
