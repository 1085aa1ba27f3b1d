/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include "base/macro.h"
#include "base/parse.h"

#include <poll.h>
#include <time.h>

/* The length of the printable UTF-8 character at s; 0 when there is none. */
static size_t printable_len(const unsigned char *s)
{
	size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 1;

	if (s[0] < 0x20 || s[0] == 0x7f || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (s[0] == 0xc2 && s[1] < 0xa0) /* C1: some terminals take them as escapes */
		return 0;
	return n;
}

void put_clean(FILE *f, const char *s)
{
	const unsigned char *p = (const unsigned char *)(s ? s : "");

	while (*p) {
		size_t n = printable_len(p);

		if (n)
			fwrite(p, 1, n, f);
		else
			fputc('?', f);
		p += n ? n : 1;
	}
}

enum { IN_TEXT, AFTER_ESC, IN_CSI, IN_STRING, STRING_ESC };

/* ECMA-48: ESC [ … final byte; ESC ] P X ^ _ … BEL or ESC \; other ESC and one byte. */
static int next_state(int state, unsigned char ch)
{
	switch (state) {
	case AFTER_ESC:
		if (ch == '[')
			return IN_CSI;
		if (strchr("]PX^_", ch))
			return IN_STRING;
		return ch >= 0x20 && ch < 0x30 ? AFTER_ESC : IN_TEXT;
	case IN_CSI:
		return ch >= 0x40 && ch < 0x7f ? IN_TEXT : IN_CSI;
	case IN_STRING:
		return ch == 0x07 ? IN_TEXT : ch == 0x1b ? STRING_ESC : IN_STRING;
	default:
		return ch == '\\' ? IN_TEXT : IN_STRING;
	}
}

size_t clean_console(char *text, size_t len, int *state)
{
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char ch = (unsigned char)text[i];

		if (*state == IN_TEXT && ch == 0x1b)
			*state = AFTER_ESC;
		else if (*state != IN_TEXT)
			/* A line end ends whatever was begun, so that nothing hides a whole log. */
			*state = ch == '\n' ? IN_TEXT : next_state(*state, ch);
		else if (ch >= 0x20 ? ch != 0x7f : ch == '\n' || ch == '\t')
			text[out++] = text[i];
	}
	return out;
}

bool colour_on(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(f)) && !(no && *no) && term && !STREQ(term, "dumb");
}

const char *colour_code(enum colour c)
{
	static const char *const codes[] = {
		[PLAIN] = "0", [BOLD] = "1", [DIM] = "2", [RED] = "31",
		[GREEN] = "32", [YELLOW] = "33", [BLUE] = "34",
	};

	return codes[c];
}

json_t *cli_json_error(const struct cli *c, const struct err *e)
{
	int status = c->cmd && c->cmd->flags & CMD_PASS && e->code < ERR_RUN ? ERR_RUN : e->code;

	return json_pack("{s:s, s:s, s:i}", "error", e->msg, "hint", e->hint, "status", status);
}

void cli_json(const json_t *v)
{
	json_dumpf(v, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
	putchar('\n');
}

bool cli_unread(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };

	return poll(&p, 1, 0) == 1 && p.revents & (POLLERR | POLLHUP);
}

/* vpsd may have begun with "start web1: " or "start: " already: its length. */
static size_t said_before(const struct cli *c, const char *text)
{
	const char *begins[] = { c->subject, c->cmd ? c->cmd->name : "" };

	for (size_t i = 0; i < ARRAY_SIZE(begins); i++) {
		size_t len = strlen(begins[i]);

		if (len && strncmp(text, begins[i], len) == 0 && text[len] == ':' &&
		    text[len + 1] == ' ')
			return len + 2;
	}
	return 0;
}

void cli_error(const struct cli *c, const struct err *e)
{
	char text[sizeof(struct err) + 64];
	size_t len = strlen(c->subject);

	if (c->json) {
		json_t *v = cli_json_error(c, e);

		cli_json(v);
		json_decref(v);
		return;
	}
	fflush(stdout);
	fputs("vps: ", stderr);
	if (len) {
		put_clean(stderr, c->subject);
		fputs(": ", stderr);
	}
	err_format(e, text, sizeof(text));
	put_clean(stderr, text + said_before(c, text));
	fputc('\n', stderr);
}

void table_done(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i].text);
	free(t->cells);
	t->cells = NULL;
	t->count = 0;
}

int table_add(struct table *t, enum colour colour, const char *text)
{
	struct cell *bigger = reallocarray(t->cells, t->count + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	t->cells = bigger;
	t->cells[t->count] = (struct cell){ strdup(text ? text : ""), colour };
	return t->cells[t->count].text ? (t->count++, 0) : -ENOMEM;
}

void table_titles(struct table *t, const char *const *titles)
{
	for (size_t i = 0; i < t->columns; i++)
		table_add(t, PLAIN, titles[i]);
}

/* Characters, not bytes; wide ones do not occur in what tables show. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void print_cell(const struct table *t, size_t i, size_t room, bool heading, bool colours)
{
	const struct cell *c = &t->cells[i];
	size_t column = i % t->columns, w = width(c->text), pad = room > w ? room - w : 0;
	enum colour colour = heading ? BOLD : c->colour;
	bool right = t->right && t->right[column], last = column + 1 == t->columns;

	if (right)
		printf("%*s", (int)pad, "");
	if (colours && colour)
		printf("\033[%sm", colour_code(colour));
	put_clean(stdout, c->text);
	if (colours && colour)
		fputs("\033[0m", stdout);
	if (!right && !last)
		printf("%*s", (int)pad, "");
	fputs(last ? "\n" : "  ", stdout);
}

void table_print(struct table *t, bool heading)
{
	cleanup_free size_t *room = calloc(t->columns, sizeof(*room));
	bool colours = colour_on(stdout);

	if (!room)
		return;
	for (size_t i = 0; i < t->count; i++) {
		size_t w = width(t->cells[i].text);

		if (w > room[i % t->columns])
			room[i % t->columns] = w;
	}
	for (size_t i = 0; i < t->count; i++)
		print_cell(t, i, room[i % t->columns], heading && i < t->columns, colours);
}

const char *show_uptime(double seconds, char *buf, size_t size)
{
	if (seconds <= 0)
		snprintf(buf, size, "-");
	else
		format_duration((uint64_t)(seconds * 1e6), buf, size);
	return buf;
}

const char *show_time(int64_t seconds, char *buf, size_t size)
{
	time_t t = (time_t)seconds;
	struct tm tm;

	*buf = '\0';
	if (seconds > 0 && localtime_r(&t, &tm))
		strftime(buf, size, "%Y-%m-%d %H:%M:%S", &tm);
	return buf;
}

enum colour state_colour(const char *state)
{
	return STREQ(state, "running") ? GREEN :
	       STREQ(state, "stopped") ? DIM :
	       STREQ(state, "paused") || STREQ(state, "suspended") ? BLUE :
								      YELLOW;
}
