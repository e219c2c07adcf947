/*
 * Messages.  Operator messages go to standard error as "skep: sentence"; everything also goes, with time,
 * subsystem and level, to the VM's log file once log_open() has named one.  The sink is the one
 * process-wide state in skep: two VMs in one process share it.  Every function may be called on any thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/util.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/*
 * Adds a file that receives every message up to log_set_level()'s level; appends, creates with mode 0600.
 * Returns 0 or -errno (reported).
 */
int log_open(const char *path);
void log_close(void);
void log_set_level(enum log_level file_level, enum log_level stderr_level);
/* "error", "warn", "info", "debug" to a level; -EINVAL for anything else. */
int log_level_parse(const char *name, enum log_level *out);
/*
 * Standard error becomes the log file, for what is not a message, and messages are no longer written to both.  Without a log file it
 * becomes `fd`.  For a process that leaves its terminal.
 */
void log_detach(int fd);
/* While the terminal is raw, lines on standard error end in CR LF. */
void log_set_raw_terminal(bool raw);

void log_msg(enum log_level level, const char *subsystem, const char *fmt, ...) PRINTF_LIKE(3, 4);
#define log_error(sub, ...) log_msg(LOG_ERROR, sub, __VA_ARGS__)
#define log_warn(sub, ...) log_msg(LOG_WARN, sub, __VA_ARGS__)
#define log_info(sub, ...) log_msg(LOG_INFO, sub, __VA_ARGS__)
#define log_debug(sub, ...) log_msg(LOG_DEBUG, sub, __VA_ARGS__)

/*
 * What this thread reports from now on goes to fn, without "skep: ", instead of to standard error; log files still
 * get it.  For consoles whose user does not see standard error.  fn NULL: as before.
 */
void log_divert(void (*fn)(void *arg, enum log_level, const char *text), void *arg);

/*
 * The host failed: reports "<fmt>: <strerror(errno)>" as an error and returns -errno.
 * `if (fd < 0) return err_sys("disk '%s': open", path);`
 */
int err_sys(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Something was refused: reports the sentence as an error and returns `err` (a negative errno) unchanged. */
int err_msg(int err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The guest misbehaved: at most GUEST_WARN_BURST messages per `struct guest_warn` and second, then one line
 * counting what was left out.  Embed one per device; zero-initialised is ready.
 */
#define GUEST_WARN_BURST 5
struct guest_warn {
	uint64_t window_start_ns;
	unsigned in_window, dropped;
};
void guest_warn(struct guest_warn *, const char *who, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
