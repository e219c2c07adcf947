/*
 * timed LABEL RUNS COMMAND...: runs a command once to warm caches up, then RUNS times, its output thrown away, and prints
 * "BENCH LABEL status=N runs=N min_ms=... median_ms=... max_ms=... maxrss_kb=...", from before fork to after wait.
 * A command is killed after 60 seconds, which shows as status 137.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RUNS_MAX 100
#define LIMIT_S 60

static pid_t child;

static void on_alarm(int sig)
{
	(void)sig;
	kill(child, SIGKILL);
}

static double now_ms(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;
	return d < 0 ? -1 : d > 0;
}

static int run(char **argv)
{
	int status = -1;
	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		execv(argv[0], argv);
		_exit(127);
	}
	alarm(LIMIT_S);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		;
	alarm(0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	double ms[RUNS_MAX];
	int runs = argc > 3 ? atoi(argv[2]) : 0, status = 0;
	struct rusage ru;
	signal(SIGALRM, on_alarm);
	if (runs < 1 || runs > RUNS_MAX) {
		fprintf(stderr, "usage: timed LABEL RUNS COMMAND...\n");
		return 2;
	}
	run(argv + 3);
	for (int i = 0; i < runs; i++) {
		double start = now_ms();
		status = run(argv + 3);
		ms[i] = now_ms() - start;
	}
	qsort(ms, (size_t)runs, sizeof(ms[0]), compare);
	getrusage(RUSAGE_CHILDREN, &ru);
	printf("BENCH %s status=%d runs=%d min_ms=%.1f median_ms=%.1f max_ms=%.1f maxrss_kb=%ld\n", argv[1], status, runs, ms[0], ms[runs / 2],
	       ms[runs - 1], ru.ru_maxrss);
	return 0;
}
