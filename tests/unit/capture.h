/*
 * What a function writes to standard output or standard error, as a string.  For tests of messages.
 */
#ifndef TESTS_UNIT_CAPTURE_H
#define TESTS_UNIT_CAPTURE_H

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct capture {
	int fd, saved, file;
	char text[65536];
};

static inline void capture_start(struct capture *c, int fd)
{
	fflush(NULL);
	c->fd = fd;
	c->saved = dup(fd);
	c->file = memfd_create("capture", 0);
	dup2(c->file, fd);
}

static inline const char *capture_stop(struct capture *c)
{
	ssize_t n;

	fflush(NULL);
	dup2(c->saved, c->fd);
	close(c->saved);
	n = pread(c->file, c->text, sizeof(c->text) - 1, 0);
	close(c->file);
	c->text[n > 0 ? n : 0] = 0;
	return c->text;
}

#endif
