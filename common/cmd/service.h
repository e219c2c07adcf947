/*
 * VMs that have a configuration file of their own, by name: /etc/skep/NAME.conf, or ~/.config/skep/NAME.conf.  Main thread.
 */
#ifndef COMMON_CMD_SERVICE_H
#define COMMON_CMD_SERVICE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The file that `skep create` writes for this user: root's is in /etc/skep, others' below XDG_CONFIG_HOME [XDG-BASEDIR 3].
 * 0; -EINVAL for a bad name, -ENOENT without a place, -ENAMETOOLONG (all reported).
 */
int service_own_conf(const char *name, char *out, size_t len);
/* The file that `skep start` reads: the user's own, else the one in /etc/skep.  As above; -ENOENT (reported): there is none. */
int service_find_conf(const char *name, char *out, size_t len);

#endif
