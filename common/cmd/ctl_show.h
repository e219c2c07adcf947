/*
 * How `skep ctl` shows what a machine answers to people.
 */
#ifndef COMMON_CMD_CTL_SHOW_H
#define COMMON_CMD_CTL_SHOW_H

#include <stdbool.h>
#include <jansson.h>

/* "name: value" lines, what is nested further in; a blank line between the elements of a list. */
void ctl_show_plain(const json_t *);
/* Registers in columns. */
void ctl_show_regs(const json_t *);
/* Its member "text" as it is, terminal sequences included: what a console would show. */
void ctl_show_text(const json_t *);
/* One event: a line. */
void ctl_show_event(const json_t *params, bool json);

struct ctl_progress {
	bool wanted, shown;
};
/* A cc_note_fn: draws a bar for "progress" on standard error. */
void ctl_show_progress(void *progress, const json_t *notification);
void ctl_show_progress_end(struct ctl_progress *);

#endif
