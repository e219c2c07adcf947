/*
 * What a process uses, as the kernel says it [PROC].
 */
#ifndef COMMON_CMD_PROC_USE_H
#define COMMON_CMD_PROC_USE_H

#include <stdbool.h>
#include <stdint.h>

struct proc_use {
	uint64_t cpu_ms, age_ms;                /* since its start: of all its threads; gone by */
	uint64_t rss;                           /* bytes in memory, the guest's included */
};

bool proc_use(int pid, struct proc_use *);      /* false: it has gone, or may not be looked at */
int64_t proc_now_ms(void);                      /* CLOCK_MONOTONIC */

#endif
