/*
 * The client's side of a control socket (common/ctl.h): connects by a VM's name, sends calls, reads answers and notifications.
 * One thread.
 */
#ifndef COMMON_CMD_CTL_CLIENT_H
#define COMMON_CMD_CTL_CLIENT_H

#include <stdbool.h>
#include <jansson.h>

struct ctl_conn;

/*
 * Connects to the control socket of NAME.  0, or -errno (reported in a sentence): -ENOENT, none of that name runs; -EACCES or
 * -EPERM, it is somebody else's; -EAGAIN, it takes no connection now; -EINVAL, that is no name.
 */
int cc_open(const char *name, struct ctl_conn **out);
/* The same without a word and without waiting, for those who look at many. */
int cc_try(const char *name, struct ctl_conn **out);
void cc_close(struct ctl_conn *);               /* NULL ok */
int cc_fd(const struct ctl_conn *);             /* for poll(): POLLIN */

/* Sends one call; params is borrowed, NULL: none.  Its id, or -errno (not reported). */
int cc_send(struct ctl_conn *, const char *method, json_t *params);
/*
 * The next object the machine sends, a new reference, within timeout_ms (-1: however long it takes).  1; 0: the machine has closed;
 * -ETIMEDOUT, -EINTR, -EPROTO: what came is no object, or -errno (none reported).
 */
int cc_next(struct ctl_conn *, int timeout_ms, json_t **out);
/* Is this the answer to the call of that id (or to one whose id the machine could not make out), and no notification? */
bool cc_is_answer(const json_t *, int id);

typedef void cc_note_fn(void *arg, const json_t *notification);
/*
 * The answer to the call of that id, a new reference: an object with "result" or "error".  Notifications that come before it are
 * given to note (NULL: skipped).  Otherwise as cc_next().
 */
int cc_answer(struct ctl_conn *, int id, cc_note_fn *note, void *arg, json_t **out);
/* A whole call: the result, a new reference, or NULL after a message. */
json_t *cc_call(struct ctl_conn *, const char *method, json_t *params, cc_note_fn *note, void *arg);
/* Connects, calls, closes.  The result, a new reference, or NULL after a message. */
json_t *cc_ask(const char *name, const char *method, json_t *params);

#endif
