/*
 * boot/nextboot.conf of a FreeBSD system: settings for one start, written by its nextboot(8).  Used means marked: the word
 * YES of nextboot_enable="YES" is overwritten in place, as FreeBSD's loader does it, so that the file keeps its size, owner
 * and place on the disk.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/conf.h"
#include "common/log.h"
#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

static const char *blanks(const char *s, const char *end)
{
	while (s < end && (*s == ' ' || *s == '\t'))
		s++;
	return s;
}

/* The line's YES or NULL; *found: it is about nextboot_enable. */
static const char *enabled_at(const char *s, const char *end, bool *found)
{
	static const char name[] = "nextboot_enable";
	size_t n = sizeof(name) - 1;

	s = blanks(s, end);
	if ((size_t)(end - s) < n || memcmp(s, name, n))
		return NULL;
	s = blanks(s + n, end);
	if (s == end || *s != '=')
		return NULL;
	*found = true;
	s = blanks(s + 1, end);
	s += s < end && *s == '"';
	if (end - s < 3 || strncasecmp(s, "yes", 3) || (end - s > 3 && isalnum((unsigned char)s[3])))
		return NULL;
	return s;
}

long fbsd_nextboot_enabled(const char *text, size_t len)
{
	const char *end = text + len, *at = NULL;

	for (const char *s = text; s < end; ) {
		const char *nl = memchr(s, '\n', (size_t)(end - s)), *yes;
		bool found = false;

		yes = enabled_at(s, nl ? nl : end, &found);
		if (found)
			at = yes;
		s = nl ? nl + 1 : end;
	}
	return at ? (long)(at - text) : -1;
}

/* "YES" becomes "NO " or, in quotes, NO with a blank behind the quote. */
static int mark(int fd, size_t at)
{
	char was[4] = "", now[4] = "NO ";
	ssize_t n = pread(fd, was, sizeof(was), (off_t)at);

	if (n < 0)
		return -errno;
	if (n < 3 || strncasecmp(was, "yes", 3))
		return 0;               /* written anew meanwhile: that is for the next start */
	if (n == 4 && was[3] == '"')
		memcpy(now + 2, "\" ", 2);
	n = was[3] == '"' ? 4 : 3;
	return pwrite(fd, now, (size_t)n, (off_t)at) == n ? 0 : errno ? -errno : -EIO;
}

void fbsd_nextboot_used(const struct conf *conf, const struct fbsd_set *s)
{
	int fd, err;

	if (!s || !s->nextboot)
		return;
	fd = hostdir_openat(conf, s->nextboot, O_RDWR | O_NONBLOCK | O_NOCTTY);
	err = fd < 0 ? fd : mark(fd, s->nextboot_at);
	if (fd >= 0)
		close(fd);
	if (err)
		log_warn("freebsd", "host0:%s: its settings were for one start, but it cannot be marked as used (%s): the next start uses "
			 "them again", s->nextboot, strerror(-err));
	else
		log_info("freebsd", "host0:%s: used for this start", s->nextboot);
}
