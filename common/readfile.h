/*
 * Files as they were when they were opened: in memory of our own, not mapped.  A mapping changes when somebody writes to the file,
 * between a check and its use as well, and kills the process when somebody cuts it short.
 */
#ifndef COMMON_READFILE_H
#define COMMON_READFILE_H

#include <stddef.h>
#include <stdint.h>

/*
 * The first len bytes (above 0) of a regular file, to be given back with munmap(); holes take no memory.  `what` and path are for
 * messages.  0 or -errno (reported); -EIO: the file has become shorter.  Any thread.
 */
int readfile(int fd, const char *what, const char *path, size_t len, uint8_t **data);

#endif
