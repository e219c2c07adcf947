#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/loop.h"

#define TEXT_MAX 5120u                  /* a sentence with a path of the longest kind */

static struct {
	pthread_mutex_t lock;
	int fd;
	enum log_level file_level, stderr_level;
	bool raw, detached;
} sink = { .lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1, .file_level = LOG_INFO, .stderr_level = LOG_WARN };

static _Thread_local struct {
	void (*fn)(void *arg, enum log_level, const char *text);
	void *arg;
} divert;

void log_divert(void (*fn)(void *arg, enum log_level, const char *text), void *arg)
{
	divert.fn = fn;
	divert.arg = arg;
}

static const char *const level_names[] = { "error", "warn", "info", "debug" };

int log_open(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_sys("log file '%s': open", path);
	pthread_mutex_lock(&sink.lock);
	if (sink.fd >= 0)
		close(sink.fd);
	sink.fd = fd;
	pthread_mutex_unlock(&sink.lock);
	return 0;
}

void log_close(void)
{
	pthread_mutex_lock(&sink.lock);
	if (sink.fd >= 0)
		close(sink.fd);
	sink.fd = -1;
	pthread_mutex_unlock(&sink.lock);
}

void log_detach(int fd)
{
	pthread_mutex_lock(&sink.lock);
	dup2(sink.fd >= 0 ? sink.fd : fd, STDERR_FILENO);
	sink.detached = true;
	pthread_mutex_unlock(&sink.lock);
}

void log_set_level(enum log_level file_level, enum log_level stderr_level)
{
	sink.file_level = file_level;
	sink.stderr_level = stderr_level;
}

int log_level_parse(const char *name, enum log_level *out)
{
	for (size_t i = 0; i < NELEM(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_set_raw_terminal(bool raw)
{
	sink.raw = raw;
}

/* One write per message, so that lines of several processes do not mix. */
static void write_line(int fd, const char *line, size_t len)
{
	ssize_t n = write(fd, line, len);
	(void)n;        /* nowhere left to report it */
}

static void log_vmsg(enum log_level level, const char *sub, const char *fmt, va_list ap)
{
	if (level > sink.stderr_level && (sink.fd < 0 || level > sink.file_level))
		return;
	char text[TEXT_MAX], line[TEXT_MAX + 128];
	vsnprintf(text, sizeof(text), fmt, ap);
	if (level <= sink.stderr_level && divert.fn)
		divert.fn(divert.arg, level, text);
	pthread_mutex_lock(&sink.lock);
	if (level <= sink.stderr_level && !divert.fn && !sink.detached) {
		int n = snprintf(line, sizeof(line), "skep: %s%s%s\n", level == LOG_WARN ? "warning: " : "", text, sink.raw ? "\r" : "");
		write_line(STDERR_FILENO, line, (size_t)n);
	}
	if (sink.fd >= 0 && level <= sink.file_level) {
		struct timespec ts;
		struct tm tm;
		char when[32];
		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
		int n = snprintf(line, sizeof(line), "%s.%06ldZ %s %s: %s\n", when, ts.tv_nsec / 1000, level_names[level], sub, text);
		write_line(sink.fd, line, (size_t)n);
	}
	pthread_mutex_unlock(&sink.lock);
}

void log_msg(enum log_level level, const char *subsystem, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_vmsg(level, subsystem, fmt, ap);
	va_end(ap);
}

int err_sys(const char *fmt, ...)
{
	int err = errno;
	char text[TEXT_MAX - 128];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_msg(LOG_ERROR, "skep", "%s: %s", text, strerror(err));
	return err ? -err : -EIO;
}

int err_msg(int err, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	log_vmsg(LOG_ERROR, "skep", fmt, ap);
	va_end(ap);
	return err;
}

void guest_warn(struct guest_warn *w, const char *who, const char *fmt, ...)
{
	uint64_t now = now_ns();
	if (w->window_start_ns == 0 || now - w->window_start_ns >= 1000000000u) {
		if (w->dropped)
			log_warn("guest", "%s: %u more warnings left out", who, w->dropped);
		w->window_start_ns = now;
		w->in_window = w->dropped = 0;
	}
	if (w->in_window >= GUEST_WARN_BURST) {
		w->dropped++;
		return;
	}
	w->in_window++;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_warn("guest", "%s: %s", who, text);
}
