/*
 * Inside of the loader's prompt: prompt.c reads lines and splits them into words, prompt_cmd.c has the commands.
 */
#ifndef LOADERS_FREEBSD_PROMPT_H
#define LOADERS_FREEBSD_PROMPT_H

#include "common/util.h"
#include "loaders/freebsd/freebsd.h"

#define PROMPT_LINE_MAX 1024            /* characters of a line, NUL included, also after expansion */
#define PROMPT_WORDS_MAX 32
#define PROMPT_VARS_MAX 4096            /* more are refused: whoever types need not be the operator */
#define PROMPT_DEPTH_MAX 4              /* of include */
#define PROMPT_LINES_MAX 10000          /* of included files for one line that was typed: others wait for this thread */

struct prompt {
	const struct conf *conf;
	struct fbsd_set *set;
	void (*write)(void *, const char *, size_t);
	void *arg;
	char line[PROMPT_LINE_MAX];
	size_t len;
	bool after_cr;                  /* a LF now belongs to it */
	enum { ESC_NONE, ESC_SEEN, ESC_BRACKET } esc;
	bool failed;                    /* the command in hand has reported something */
	unsigned depth;                 /* of include */
	unsigned lines;                 /* executed by the outermost include so far */
};

/* Words of a line, taken apart; the texts lie in buf. */
struct prompt_words {
	unsigned n;
	const char *w[PROMPT_WORDS_MAX];
	char buf[PROMPT_LINE_MAX];
};

/* --- prompt.c --- */

/* Text for the console; '\n' ends a line. */
void prompt_printf(struct prompt *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Text of a file or directory: what a terminal could take for orders becomes '?'. */
void prompt_print_foreign(struct prompt *, const char *text, size_t len);
/* One line about what went wrong; the command has failed.  Returns 0, "go on". */
int prompt_error(struct prompt *, const char *fmt, ...) PRINTF_LIKE(2, 3);
/*
 * Quotes, backslashes and variables as the loader's users know them [FREEBSD stand/common/interp_parse.c].  NULL, or
 * what is wrong with the line.
 */
const char *prompt_split(const struct fbsd_set *, const char *line, struct prompt_words *);
/* Executes a line.  0: goes on; else a prompt_end. */
int prompt_line(struct prompt *, const char *line);

/* --- prompt_cmd.c --- */
struct prompt_cmd {
	const char *name;
	unsigned min, max;              /* words behind the name */
	int (*fn)(struct prompt *, unsigned n, const char *const *words);       /* words[0] is the first behind the name */
	const char *usage, *help;
};
extern const struct prompt_cmd prompt_cmds[];   /* NULL name ends */

#endif
