#include "devices/block/ckpt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/log.h"
#include "common/util.h"
#include "devices/block/img.h"

#define NAME_MAX_CKPT 63

const struct ckpt_store *const ckpt_stores[] = { &ckpt_qcow2, &ckpt_zfs, &ckpt_lvm, &ckpt_reflink, &ckpt_overlay, NULL };

int ckpt_name_check(const char *name)
{
	const size_t len = strlen(name);
	bool ok = len > 0 && len <= NAME_MAX_CKPT && isalnum((unsigned char)name[0]);

	for (size_t i = 0; ok && i < len; i++)
		ok = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
	return ok ? 0 : err_msg(-EINVAL, "checkpoint name '%.80s': it takes 1 to %d letters, digits, '.', '_' and '-', a letter or digit first", name,
				NAME_MAX_CKPT);
}

static const struct ckpt_store *store_find(const char *name)
{
	for (const struct ckpt_store *const *s = ckpt_stores; *s; s++)
		if (!strcmp((*s)->name, name))
			return *s;
	return NULL;
}

const struct ckpt_store *ckpt_store_for(const struct img *i, const char *name)
{
	const struct ckpt_store *s;
	char why[160] = "";

	if (name && strcmp(name, "auto") != 0) {
		s = store_find(name);
		if (!s)
			err_msg(-EINVAL, "checkpoint store '%s' is not known: there are qcow2, overlay, reflink, zfs and lvm", name);
		else if (!s->fits(i, why, sizeof(why))) {
			err_msg(-EOPNOTSUPP, "image '%s' cannot have a checkpoint of the kind %s: %s", i->file->path, name, why);
			s = NULL;
		}
		return s;
	}
	for (const struct ckpt_store *const *p = ckpt_stores; *p; p++)
		if ((*p)->fits(i, why, sizeof(why)))
			return *p;
	err_msg(-EOPNOTSUPP, "image '%s' cannot have a checkpoint: %s", i->file->path, why);
	return NULL;
}

int ckpt_prepare(struct ckpt_step *s, struct img *i, const struct ckpt_store *store, const char *name, const char *path)
{
	struct stat st;
	int err;

	*s = (struct ckpt_step){ .store = store, .img = i, .name = name };
	if (i->file->fd >= 0 && fstat(i->file->fd, &st) == 0 && st.st_nlink == 0)
		return err_msg(-ENOENT, "image '%s' has no name in any directory, and is lost at the end with all its checkpoints; copy what is "
			       "wanted from inside the machine", i->file->path);
	err = store->prepare(s, path);
	s->prepared = !err;
	return err;
}

int ckpt_flush(struct ckpt_step *s)
{
	const int err = s->flushed ? 0 : img_flush(s->img);

	s->flushed = !err;
	return err ? err_msg(err, "image '%s': flush: %s; no checkpoint was taken", s->img->file->path, strerror(-err)) : 0;
}

int ckpt_take(struct ckpt_step *s)
{
	int err = ckpt_flush(s);

	if (!err && !s->shared)
		err = s->store->take(s);
	s->taken = !err;
	return err;
}

void ckpt_commit(struct ckpt_step *s)
{
	if (s->taken && !s->shared && s->store->commit)
		s->store->commit(s);
}

void ckpt_share(const struct ckpt_step *s, struct ckpt_step *t)
{
	if (s->store == t->store && s->store->shares && !strcmp(s->where, t->where))
		t->shared = true;
}

void ckpt_undo(struct ckpt_step *s)
{
	if (s->prepared && !s->shared)
		s->store->undo(s);
	s->prepared = s->taken = false;
	s->new_top = NULL;
}

void ckpt_free(struct ckpt_step *s)
{
	free(s->where);
	s->where = NULL;
}

char *ckpt_path(const struct img *i, const char *name, const char *suffix)
{
	const char *path = i->file->path, *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
	const int stem = dot && dot != base ? (int)(dot - path) : (int)strlen(path);
	char *out;

	if (suffix ? asprintf(&out, "%.*s.%s.%s", stem, path, name, suffix) < 0 :
	    asprintf(&out, "%.*s.%s%s", stem, path, name, path + stem) < 0)
		return NULL;
	return out;
}
