/*
 * The text that describes a VMDK: a file of its own or part of a sparse extent [VMDK-5.0 The Descriptor File].  Lines
 * "key=value", and a line for every extent.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "devices/block/vmdk.h"

bool vmdk_desc_probe(const uint8_t *head, size_t len)
{
	static const char first[] = "# Disk DescriptorFile";

	if (len >= sizeof(first) - 1 && !memcmp(head, first, sizeof(first) - 1))
		return true;
	/* Comments and empty lines, then the version. */
	for (size_t i = 0; i < len;) {
		if (head[i] == '#') {
			while (i < len && head[i] != '\n')
				i++;
			continue;
		}
		if (isspace(head[i])) {
			i++;
			continue;
		}
		return len - i >= 9 && !memcmp(head + i, "version=", 8) && head[i + 8] >= '1' && head[i + 8] <= '3';
	}
	return false;
}

/* The value of "key = value" without quotes, NULL when the line has another key.  The line ends in NUL. */
static char *value_of(char *line, const char *key)
{
	const size_t n = strlen(key);
	char *p = line + n, *end;

	if (strncmp(line, key, n))
		return NULL;
	while (*p == ' ' || *p == '\t')
		p++;
	if (*p++ != '=')
		return NULL;
	while (*p == ' ' || *p == '\t')
		p++;
	if (*p == '"') {
		end = strchr(++p, '"');
		if (end)
			*end = 0;
		return p;
	}
	end = p + strlen(p);
	while (end > p && isspace((unsigned char)end[-1]))
		*--end = 0;
	return p;
}

static bool parse_cid(const char *s, uint32_t *out)
{
	char *end;
	unsigned long long v;

	if (!isxdigit((unsigned char)*s))
		return false;
	v = strtoull(s, &end, 16);
	if (*end || v > UINT32_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

static int copy_value(const char *path, const char *key, const char *s, char *out, size_t size)
{
	if (strlen(s) >= size)
		return err_msg(-EINVAL, "image '%s': '%s' in its descriptor is too long; the descriptor is damaged", path, key);
	memcpy(out, s, strlen(s) + 1);
	return 0;
}

/* ACCESS SECTORS TYPE ["FILE" [OFFSET]]: 1, 0 when the line is none, or -errno (reported). */
static int parse_extent(const char *path, const char *s, struct vmdk_line *l)
{
	static const struct { const char *name; enum vmdk_kind kind; } kinds[] = {
		{ "FLAT", VMDK_FLAT }, { "VMFS", VMDK_FLAT }, { "SPARSE", VMDK_SPARSE }, { "ZERO", VMDK_ZERO },
	};
	char access[16], type[32];
	unsigned long long sectors, offset = 0;
	int used = 0;
	size_t k;

	if (sscanf(s, "%15s", access) != 1 || (strcmp(access, "RW") && strcmp(access, "RDONLY") && strcmp(access, "NOACCESS")))
		return 0;
	if (!strcmp(access, "NOACCESS"))
		return err_msg(-EACCES, "image '%s': its descriptor forbids access to one of its extents", path);
	if (sscanf(s, "%15s %llu %31s%n", access, &sectors, type, &used) != 3 || !sectors || sectors > UINT64_MAX / 1024)
		return err_msg(-EINVAL, "image '%s': '%s' in its descriptor is no extent", path, s);
	for (k = 0; k < NELEM(kinds) && strcmp(type, kinds[k].name); k++)
		;
	if (k == NELEM(kinds))
		return err_msg(-ENOTSUP, "image '%s': extents of type %s are not read by skep; convert it with vmkfstools or vmware-vdiskmanager",
			       path, type);
	*l = (struct vmdk_line){ .kind = kinds[k].kind, .writable = !strcmp(access, "RW"), .sectors = sectors };
	if (l->kind == VMDK_ZERO)
		return 1;
	const char *name = strchr(s + used, '"'), *end = name ? strchr(name + 1, '"') : NULL;
	if (!end || end == name + 1 || (size_t)(end - name) > sizeof(l->name))
		return err_msg(-EINVAL, "image '%s': '%s' in its descriptor names no file", path, s);
	memcpy(l->name, name + 1, (size_t)(end - name - 1));
	if (l->kind == VMDK_FLAT && sscanf(end + 1, "%llu", &offset) == 1 && offset > UINT64_MAX / 1024)
		return err_msg(-EINVAL, "image '%s': '%s' in its descriptor begins nowhere", path, s);
	l->offset = offset;
	return 1;
}

static int add_extent(struct vmdk_desc *d, const char *path, const struct vmdk_line *l)
{
	if (d->n == VMDK_EXTENTS_MAX)
		return err_msg(-EFBIG, "image '%s': more than %u extents; convert it to one of fewer", path, VMDK_EXTENTS_MAX);
	if (d->n % 64 == 0) {
		struct vmdk_line *p = realloc(d->line, (d->n + 64) * sizeof(*p));

		if (!p)
			return err_msg(-ENOMEM, "image '%s': no memory for its descriptor", path);
		d->line = p;
	}
	d->line[d->n++] = *l;
	return 0;
}

static int parse_line(struct vmdk_desc *d, const char *path, char *line, uint64_t at)
{
	struct vmdk_line l;
	char *s;
	int ret;

	if (*line == '#' || !*line)
		return 0;
	s = value_of(line, "CID");
	if (s) {
		if (!parse_cid(s, &d->cid))
			return err_msg(-EINVAL, "image '%s': its descriptor has no valid CID", path);
		d->cid_at = at + (uint64_t)(s - line);
		d->cid_digits = (unsigned)strlen(s);
		return 0;
	}
	s = value_of(line, "parentCID");
	if (s)
		return parse_cid(s, &d->parent_cid) ? 0 : err_msg(-EINVAL, "image '%s': its descriptor has no valid parentCID", path);
	s = value_of(line, "createType");
	if (s)
		return copy_value(path, "createType", s, d->type, sizeof(d->type));
	s = value_of(line, "parentFileNameHint");
	if (s)
		return copy_value(path, "parentFileNameHint", s, d->parent, sizeof(d->parent));
	s = value_of(line, "changeTrackPath");
	if (s) {
		d->tracked = true;
		return 0;
	}
	ret = parse_extent(path, line, &l);
	return ret == 1 ? add_extent(d, path, &l) : ret;
}

static int parse(struct vmdk_desc *d, const char *path)
{
	char *line = d->text;
	int err = 0;

	while (line && *line && !err) {
		char *next = strchr(line, '\n');
		const uint64_t at = d->at + (uint64_t)(line - d->text);

		if (next) {
			if (next > line && next[-1] == '\r')
				next[-1] = 0;
			*next++ = 0;
		}
		while (*line == ' ' || *line == '\t')
			line++;
		err = parse_line(d, path, line, at + (uint64_t)(line - (d->text + (at - d->at))));
		line = next;
	}
	return err;
}

int vmdk_desc_read(struct vmdk_desc *d, struct bfile *f, uint64_t at, uint64_t len)
{
	int err;

	*d = (struct vmdk_desc){ .at = at, .cid = VMDK_NO_CID, .parent_cid = VMDK_NO_CID };
	if (len > VMDK_DESC_MAX)
		return err_msg(-EFBIG, "image '%s': its descriptor is longer than 1 MiB; it is damaged or of another format", f->path);
	d->text = malloc(len + 1);
	err = d->text ? bfile_read(f, at, d->text, len) : -ENOMEM;
	if (err) {
		err_msg(err, "image '%s': its descriptor cannot be read: %s", f->path, strerror(-err));
	} else {
		d->text[len] = 0;
		err = parse(d, f->path);
	}
	if (!err && d->parent_cid != VMDK_NO_CID && !d->parent[0])
		err = err_msg(-EINVAL, "image '%s': it has a parent but does not name it; the descriptor is damaged", f->path);
	if (err)
		vmdk_desc_free(d);
	return err;
}

void vmdk_desc_free(struct vmdk_desc *d)
{
	free(d->text);
	free(d->line);
	d->text = NULL;
	d->line = NULL;
}

/* As many digits as before, so that nothing else moves. */
int vmdk_desc_new_cid(struct vmdk_desc *d, struct bfile *f)
{
	uint8_t noise[8];
	char digits[9];
	uint32_t cid;
	int err;

	if (!d->cid_at || d->cid_digits > 8)
		return 0;
	do {
		blocks_noise(noise, sizeof(noise));
		cid = get_le32(noise) & (uint32_t)(BIT64(4 * d->cid_digits) - 1);
	} while (d->cid_digits > 1 && (cid == d->cid || cid == VMDK_NO_CID));
	snprintf(digits, sizeof(digits), "%0*x", (int)d->cid_digits, cid);
	err = bfile_write(f, d->cid_at, digits, d->cid_digits);
	if (!err)
		err = f->ops->flush(f);
	if (!err)
		d->cid = cid;
	return err;
}
