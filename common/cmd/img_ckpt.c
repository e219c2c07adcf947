/*
 * `skep img checkpoint`: checkpoints of the disk of a machine that is off, by the stores of devices/block/ckpt.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cmd/img_cmd.h"
#include "common/log.h"
#include "common/util.h"
#include "devices/block/ckpt.h"

static int take(const struct img_args *a, struct img *i, const struct ckpt_store *store)
{
	struct ckpt_step s;
	int err = ckpt_prepare(&s, i, store, a->pos[2], a->npos > 3 ? a->pos[3] : NULL);

	if (!err) {
		err = ckpt_take(&s);
		if (err)
			ckpt_undo(&s);
		else
			ckpt_commit(&s);
	}
	if (!err && !a->quiet)
		printf("checkpoint %s: %s '%s'%s%s%s\n", s.name, store->help, s.where, s.new_top ? "; the disk is now '" : "", s.new_top ? s.where : "",
		       s.new_top ? "'" : "");
	/* The overlay, closed, leaves the image it is on open for img_close() of the caller. */
	if (!err && s.new_top) {
		s.new_top->backing = NULL;
		err = img_close(s.new_top);
	}
	ckpt_free(&s);
	return err;
}

int img_cmd_checkpoint(const struct img_args *a)
{
	static const char *const words[] = { "create", "drop", "branch" };
	const struct ckpt_store *store;
	struct img *i;
	size_t what = 0;
	int err, closed;

	while (what < NELEM(words) && strcmp(a->pos[0], words[what]) != 0)
		what++;
	if (what == NELEM(words)) {
		err_msg(-EINVAL, "checkpoint '%s': it is create, drop or branch", a->pos[0]);
		return IMG_FAILED;
	}
	if (what == 2 && a->npos != 4) {
		err_msg(-EINVAL, "checkpoint branch: it takes the image, the checkpoint's name and the new disk's");
		return IMG_FAILED;
	}
	if (ckpt_name_check(a->pos[2]))
		return IMG_FAILED;
	/* A branch of an overlay's base only looks at the overlay. */
	i = img_cmd_open(a, a->pos[1], a->format, what == 2 ? 0 : BFILE_WRITE);
	if (!i)
		return IMG_FAILED;
	store = what == 2 && !a->store ? (i->backing_path ? &ckpt_overlay : ckpt_store_for(i, "auto")) : ckpt_store_for(i, a->store);
	if (!store)
		err = -EOPNOTSUPP;
	else if (what == 0)
		err = take(a, i, store);
	else if (what == 1)
		err = store->drop(i, a->pos[2]);
	else if (store->branch)
		err = store->branch(i, a->pos[2], a->pos[3]);
	else
		err = err_msg(-EOPNOTSUPP, "image '%s': 'skep img snapshot apply' goes back to a snapshot inside; to have both, copy the image first",
			      a->pos[1]);
	closed = img_close(i);
	return err || closed ? IMG_FAILED : IMG_OK;
}
