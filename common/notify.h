/*
 * What a service manager is told, by the protocol of sd_notify(3) [SYSTEMD "sd_notify(3)"].  Main thread.  Nothing fails here: a
 * manager that does not listen is no reason not to run.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdbool.h>

/*
 * Connects to the manager's socket, which the environment names, and takes that out of the environment: it is not for programs this
 * one starts.  A descriptor, the caller's; 0: nobody wants to know.
 */
int notify_open(void);
/* The VM is there and this process is it.  Waits until the manager takes it. */
void notify_ready(int fd, const char *state);
/* The VM's state has changed; `ends`: for the last time.  Left out when the manager is behind. */
void notify_state(int fd, const char *state, bool ends);

#endif
