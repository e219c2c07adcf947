/*
 * The "OK " prompt: characters become lines, lines become words, words become commands.  It knows no VM and no device:
 * bytes come in by prompt_input(), text goes out by the caller's write().  Messages that loading reports on this thread go to
 * the console while a command runs, for whoever types does not see skep's standard error.
 */
#include "loaders/freebsd/prompt.h"

#include <stdarg.h>
#include <stdlib.h>

#include "common/log.h"

/* --- output --- */

/* '\n' becomes CR LF, as nothing behind a serial line does it. */
static void put(struct prompt *p, const char *text, size_t len)
{
	for (const char *nl; len && (nl = memchr(text, '\n', len));) {
		size_t n = (size_t)(nl - text);
		if (n)
			p->write(p->arg, text, n);
		p->write(p->arg, "\r\n", 2);
		text = nl + 1;
		len -= n + 1;
	}
	if (len)
		p->write(p->arg, text, len);
}

void prompt_printf(struct prompt *p, const char *fmt, ...)
{
	char text[2 * PROMPT_LINE_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(p, text, MIN((size_t)MAX(n, 0), sizeof(text) - 1));
}

void prompt_print_foreign(struct prompt *p, const char *text, size_t len)
{
	char buf[256];
	while (len) {
		size_t n = MIN(len, sizeof(buf));
		for (size_t i = 0; i < n; i++) {
			unsigned char c = (unsigned char)text[i];
			buf[i] = c == '\n' || c == '\t' || (c >= ' ' && c != 0x7f) ? text[i] : '?';
		}
		put(p, buf, n);
		text += n;
		len -= n;
	}
}

int prompt_error(struct prompt *p, const char *fmt, ...)
{
	char text[PROMPT_LINE_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	prompt_print_foreign(p, text, strlen(text));
	put(p, "\n", 1);
	p->failed = true;
	return 0;
}

/* Receiver of log_divert(): what was done although something was odd has not failed. */
static void reported(void *arg, enum log_level level, const char *text)
{
	struct prompt *p = arg;
	bool failed = p->failed || level == LOG_ERROR;
	prompt_error(p, "%s%s", level == LOG_WARN ? "warning: " : "", text);
	p->failed = failed;
}

/* --- words --- */

struct splitter {
	const struct fbsd_set *set;
	struct prompt_words *out;
	size_t len;                     /* of out->buf in use */
	char quote;                     /* open now; 0: none */
	bool in_word;
};

static const char too_long[] = "the line is too long, or what its variables stand for";

static bool add_char(struct splitter *s, char c)
{
	if (s->len >= sizeof(s->out->buf) - 1)
		return false;
	if (!s->in_word)
		s->out->w[s->out->n] = s->out->buf + s->len;
	s->in_word = true;
	s->out->buf[s->len++] = c;
	return true;
}

/* NULL or what is wrong. */
static const char *end_word(struct splitter *s)
{
	if (!s->in_word)
		return NULL;
	if (s->out->n == PROMPT_WORDS_MAX - 1)
		return "too many words";
	if (s->len >= sizeof(s->out->buf) - 1)
		return too_long;
	s->out->buf[s->len++] = '\0';
	s->out->n++;
	s->in_word = false;
	return NULL;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
}

/* "$NAME", "${NAME}", "$(NAME)"; *at is behind the '$'.  An unset variable is nothing.  NULL or what is wrong. */
static const char *add_variable(struct splitter *s, const char **at)
{
	char name[PROMPT_LINE_MAX], close = **at == '{' ? '}' : **at == '(' ? ')' : '\0';
	const char *start = close ? *at + 1 : *at, *end = start;
	if (close) {
		end = strchr(start, close);
		if (!end)
			return "a variable's name has no closing brace";
	} else {
		while (is_name_char(*end))
			end++;
	}
	*at = close ? end + 1 : end;
	if (!close && end == start)
		return add_char(s, '$') ? NULL : too_long;
	size_t len = MIN((size_t)(end - start), sizeof(name) - 1);
	memcpy(name, start, len);
	name[len] = '\0';
	const char *value = fbsd_getenv(s->set, name);
	for (; value && *value; value++) {
		if (!add_char(s, *value))
			return too_long;
	}
	return NULL;
}

static char escaped(char c)
{
	static const char from[] = "nrtsbfv", to[] = "\n\r\t \b\f\v";
	const char *at = strchr(from, c);
	return at && c ? to[at - from] : c;
}

/* Takes one character or construct.  NULL or what is wrong. */
static const char *take(struct splitter *s, const char **at)
{
	char c = *(*at)++;
	if (c == '\\' && **at)
		return add_char(s, escaped(*(*at)++)) ? NULL : too_long;
	if ((c == '"' || c == '\'') && (!s->quote || s->quote == c)) {
		s->quote = s->quote ? '\0' : c;
		if (!s->in_word)        /* "" is a word of its own */
			s->out->w[s->out->n] = s->out->buf + s->len;
		s->in_word = true;
		return NULL;
	}
	if (c == '$' && s->quote != '\'')
		return add_variable(s, at);
	if (is_space(c) && !s->quote)
		return end_word(s);
	return add_char(s, c) ? NULL : too_long;
}

const char *prompt_split(const struct fbsd_set *set, const char *line, struct prompt_words *out)
{
	struct splitter s = { .set = set, .out = out };
	const char *why = NULL;
	out->n = 0;
	while (*line && !why)
		why = take(&s, &line);
	if (!why && s.quote)
		why = "a quotation mark is missing";
	return why ? why : end_word(&s);
}

/* --- commands --- */

static const struct prompt_cmd *find(const char *name)
{
	const struct prompt_cmd *c = prompt_cmds;
	while (c->name && strcmp(c->name, name) != 0)
		c++;
	return c->name ? c : NULL;
}

static int execute(struct prompt *p, const struct prompt_words *words)
{
	const struct prompt_cmd *c = find(words->w[0]);
	unsigned n = words->n - 1;
	if (!c)
		return prompt_error(p, "unknown command '%s': '?' lists the commands", words->w[0]);
	if (n < c->min || n > c->max)
		return prompt_error(p, "%s: wrong number of arguments: %s %s", c->name, c->name, c->usage);
	return c->fn(p, n, words->w + 1);
}

int prompt_line(struct prompt *p, const char *line)
{
	struct prompt_words words;
	const char *why = prompt_split(p->set, line, &words);
	p->failed = false;
	if (why)
		return prompt_error(p, "%s", why);
	return words.n ? execute(p, &words) : 0;
}

/* --- the line being typed --- */

static void erase(struct prompt *p, size_t n)
{
	for (; n && p->len; n--) {
		/* A character of UTF-8 goes as a whole. */
		while (p->len > 1 && ((unsigned char)p->line[p->len - 1] & 0xc0) == 0x80)
			p->len--;
		p->len--;
		put(p, "\b \b", 3);
	}
}

static void erase_word(struct prompt *p)
{
	while (p->len && is_space(p->line[p->len - 1]))
		erase(p, 1);
	while (p->len && !is_space(p->line[p->len - 1]))
		erase(p, 1);
}

void prompt_divert(struct prompt *p, bool on)
{
	if (on)
		p->failed = false;
	log_divert(on ? reported : NULL, p);
}

static int entered(struct prompt *p)
{
	put(p, "\n", 1);
	p->line[p->len] = '\0';
	p->len = 0;
	prompt_divert(p, true);
	int end = prompt_line(p, p->line);
	prompt_divert(p, false);
	if (!end)
		put(p, "OK ", 3);
	return end;
}

static void typed(struct prompt *p, uint8_t c)
{
	char ch = (char)c;
	if (p->len >= sizeof(p->line) - 1) {
		put(p, "\a", 1);
		return;
	}
	p->line[p->len++] = ch;
	put(p, &ch, 1);
}

/* Cursor keys and their like send sequences, which mean nothing here.  True: the byte was part of one. */
static bool in_escape(struct prompt *p, uint8_t c)
{
	if (p->esc == ESC_NONE)
		return false;
	if (p->esc == ESC_SEEN && (c == '[' || c == 'O'))
		p->esc = ESC_BRACKET;
	else if (p->esc == ESC_SEEN || c < ' ' || c >= '@')
		p->esc = ESC_NONE;
	return c >= ' ';
}

int prompt_input(struct prompt *p, uint8_t c)
{
	bool after_cr = p->after_cr;
	p->after_cr = c == '\r';
	if (in_escape(p, c))
		return 0;
	switch (c) {
	case '\n':
		return after_cr ? 0 : entered(p);
	case '\r':
		return entered(p);
	case 0x7f:
	case '\b':
		erase(p, 1);
		return 0;
	case 'U' - '@':
	case 'X' - '@':
		erase(p, p->len);
		return 0;
	case 'W' - '@':
		erase_word(p);
		return 0;
	case 'C' - '@':
		p->len = 0;
		put(p, "^C\nOK ", 6);
		return 0;
	case 0x1b:
		p->esc = ESC_SEEN;
		return 0;
	default:
		if (c >= ' ')
			typed(p, c);
		return 0;
	}
}

void prompt_resume(struct prompt *p, int err)
{
	if (!p->failed)
		prompt_error(p, "can't boot: %s", strerror(-err));
	put(p, "OK ", 3);
}

struct prompt *prompt_new(const struct conf *conf, struct fbsd_set *set, void (*write)(void *, const char *, size_t), void *arg)
{
	struct prompt *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->conf = conf;
	p->set = set;
	p->write = write;
	p->arg = arg;
	const char *kernel = set->nfiles ? set->file[0].name : "/boot/kernel/kernel";
	prompt_printf(p, "\nskep's loader prompt: '?' lists the commands, 'boot' starts ");
	prompt_print_foreign(p, kernel, strlen(kernel));
	prompt_printf(p, ".\nOK ");
	return p;
}

void prompt_free(struct prompt *p)
{
	free(p);
}
