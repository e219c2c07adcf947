#include "common/cmd/proc_use.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool slurp(int pid, const char *file, char *buf, size_t len)
{
	char path[48];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "re");
	n = f ? fread(buf, 1, len - 1, f) : 0;
	buf[n] = '\0';
	if (f)
		fclose(f);
	return n;
}

bool proc_use(int pid, struct proc_use *u)
{
	const uint64_t hz = (uint64_t)sysconf(_SC_CLK_TCK);
	uint64_t user, sys, start, pages;
	char stat[1024], statm[128], *p;
	struct timespec t;

	/* The name, in parentheses, may hold anything; behind it come the state and numbers. */
	if (!slurp(pid, "stat", stat, sizeof(stat)) || !slurp(pid, "statm", statm, sizeof(statm)) || !(p = strrchr(stat, ')')) ||
	    sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64 " %*d %*d %*d %*d %*d %*d %" SCNu64, &user,
		   &sys, &start) != 3 || sscanf(statm, "%*u %" SCNu64, &pages) != 1)
		return false;
	clock_gettime(CLOCK_BOOTTIME, &t);
	u->cpu_ms = (user + sys) * 1000 / hz;
	u->age_ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
	u->age_ms = u->age_ms > start * 1000 / hz ? u->age_ms - start * 1000 / hz : 0;
	u->rss = pages * (uint64_t)sysconf(_SC_PAGESIZE);
	return true;
}

int64_t proc_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
