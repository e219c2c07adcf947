/*
 * Methods of the control socket that the table in ctl_methods.c takes from other files.
 */
#ifndef COMMON_CTL_METHODS_H
#define COMMON_CTL_METHODS_H

#include "common/ctl.h"

struct vm;

/* ctl_devices.c */
int ctl_disks(struct ctl_call *);
int ctl_disk_limits(struct ctl_call *);
int ctl_disk_checkpoints(struct ctl_call *);
int ctl_media(struct ctl_call *);
int ctl_nets(struct ctl_call *);
int ctl_set_link(struct ctl_call *);
int ctl_break(struct ctl_call *);
int ctl_console_history(struct ctl_call *);
int ctl_screen(struct ctl_call *);

/* ctl_stats.c */
int ctl_stats(struct ctl_call *);
int ctl_metrics(struct ctl_call *);
json_t *ctl_status_json(const struct vm *, const struct ctl *);         /* without what holds the machine */

#endif
