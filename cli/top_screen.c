/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/top_screen.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/parse.h"
#include "cli/term.h"

#include <stdlib.h>
#include <time.h>

static bool shown;

void screen_end(void)
{
	static const char text[] = "\033[?25h\033[?1049l"; /* xterm's: cursor, main screen */

	if (shown)
		fd_write_full(STDOUT_FILENO, text, sizeof(text) - 1);
	shown = false;
	term_restore();
}

int screen_begin(struct err *e)
{
	static const char text[] = "\033[?1049h\033[?25l";
	static bool registered;
	int r = term_raw(STDIN_FILENO);

	if (r == 0 && !registered && atexit(screen_end) != 0)
		r = -ENOMEM;
	registered = true;
	if (r == 0)
		r = fd_write_full(STDOUT_FILENO, text, sizeof(text) - 1);
	shown = true;
	return r < 0 ? err_code(e, r, "use the terminal") : 0;
}

/* --- columns ------------------------------------------------------------------------------------ */

static void put_size(FILE *f, const struct usage_row *r, double bytes, bool is_rate)
{
	char buf[32];

	fprintf(f, "%6s", is_rate && !r->known ? "-" : show_short(bytes, buf, sizeof(buf)));
}

static void put_name(FILE *f, const struct usage_row *r)
{
	/* Names are ASCII, checked by vpsd at the door. */
	fprintf(f, "%-16.16s", json_string_value(json_object_get(r->usage, "name")));
}

static void put_cpu(FILE *f, const struct usage_row *r)
{
	if (r->known)
		fprintf(f, "%6.1f", r->cpu * 100);
	else
		fprintf(f, "%6s", "-");
}

static void put_bar(FILE *f, double part)
{
	const int width = 8;
	int full = part <= 0 ? 0 : part >= 1 ? width : (int)(part * width + 0.5);
	enum colour colour = part >= 0.9 ? RED : part >= 0.7 ? YELLOW : GREEN;

	if (colour_on(stdout))
		fprintf(f, "[\033[%sm%.*s\033[0m%*s]", colour_code(colour), full, "||||||||",
			width - full, "");
	else
		fprintf(f, "[%.*s%*s]", full, "||||||||", width - full, "");
}

static void put_cpu_bar(FILE *f, const struct usage_row *r)
{
	double max = usage_number(r->usage, "cpu.max"), all = (double)sysconf(_SC_NPROCESSORS_ONLN);

	put_bar(f, r->cpu / (max > 0 && max < all ? max : all));
}

static void put_memory(FILE *f, const struct usage_row *r)
{
	put_size(f, r, usage_number(r->usage, "memory.current"), false);
}

static void put_memory_bar(FILE *f, const struct usage_row *r)
{
	double max = usage_number(r->usage, "memory.max");
	double all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

	put_bar(f, usage_number(r->usage, "memory.current") / (max > 0 && max < all ? max : all));
}

static void put_cache(FILE *f, const struct usage_row *r)
{
	put_size(f, r, usage_number(r->usage, "memory.cache"), false);
}

static void put_swap(FILE *f, const struct usage_row *r)
{
	put_size(f, r, usage_number(r->usage, "memory.swap"), false);
}

static void put_pids(FILE *f, const struct usage_row *r)
{
	fprintf(f, "%6.0f", usage_number(r->usage, "pids.current"));
}

static void put_read(FILE *f, const struct usage_row *r)
{
	put_size(f, r, r->read, true);
}

static void put_write(FILE *f, const struct usage_row *r)
{
	put_size(f, r, r->write, true);
}

static void put_rx(FILE *f, const struct usage_row *r)
{
	put_size(f, r, r->rx, true);
}

static void put_tx(FILE *f, const struct usage_row *r)
{
	put_size(f, r, r->tx, true);
}

/* The worst of the three: how much of the last ten seconds some of its tasks waited. */
static void put_pressure(FILE *f, const struct usage_row *r)
{
	static const char *const names[] = { "pressure.cpu.some.avg10", "pressure.memory.some.avg10",
					     "pressure.io.some.avg10" };
	double worst = 0;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (usage_number(r->usage, names[i]) > worst)
			worst = usage_number(r->usage, names[i]);
	if (usage_get(r->usage, "pressure"))
		fprintf(f, "%6.1f", worst);
	else
		fprintf(f, "%6s", "-");
}

/* In the order in which room is given out. */
static const struct {
	const char *title; /* as wide as the column */
	void (*put)(FILE *f, const struct usage_row *r);
	enum usage_key key;
} columns[] = {
	{ "NAME            ", put_name, USAGE_NAME },  { "  CPU%", put_cpu, USAGE_CPU },
	{ "          ", put_cpu_bar, USAGE_KEY_COUNT }, { "MEMORY", put_memory, USAGE_MEMORY },
	{ "          ", put_memory_bar, USAGE_KEY_COUNT }, { "  PIDS", put_pids, USAGE_PIDS },
	{ "READ/s", put_read, USAGE_IO },              { " WRI/s", put_write, USAGE_IO },
	{ "  RX/s", put_rx, USAGE_NET },               { "  TX/s", put_tx, USAGE_NET },
	{ " CACHE", put_cache, USAGE_CACHE },          { "  SWAP", put_swap, USAGE_SWAP },
	{ "   PSI", put_pressure, USAGE_KEY_COUNT },
};

static size_t columns_that_fit(unsigned width)
{
	size_t used = 0, n = 0;

	while (n < ARRAY_SIZE(columns)) {
		used += strlen(columns[n].title) + (n > 0);
		if (used > width)
			break;
		n++;
	}
	return n;
}

/* --- the screen --------------------------------------------------------------------------------- */

/* A line of plain text, cut to the width. */
static void put_line(FILE *f, const char *text, unsigned width)
{
	fprintf(f, "%.*s\033[K\r\n", (int)width, text);
}

static void put_summary(FILE *f, const struct screen_view *v, unsigned width)
{
	double cpu = 0, memory = 0;
	char text[256], buf[32], when[16];
	time_t t = time(NULL);
	struct tm tm;

	for (size_t i = 0; i < v->count; i++) {
		cpu += v->rows[i].cpu;
		memory += usage_number(v->rows[i].usage, "memory.current");
	}
	strftime(when, sizeof(when), "%H:%M:%S", localtime_r(&t, &tm));
	snprintf(text, sizeof(text), "%s  %zu running  CPU %.0f%% of %ld%%  memory %s  by %s%s", when,
		 v->count, cpu * 100, sysconf(_SC_NPROCESSORS_ONLN) * 100,
		 show_short(memory, buf, sizeof(buf)), usage_key_names[v->key],
		 v->reverse ? ", reversed" : "");
	put_line(f, text, width);
}

static void put_heading(FILE *f, const struct screen_view *v, size_t fit)
{
	fputs("\033[7m", f);
	for (size_t i = 0; i < fit; i++) {
		bool chosen = columns[i].key == v->key;

		fprintf(f, "%s%s%s%s", i ? " " : "", chosen ? "\033[1m" : "", columns[i].title,
			chosen ? "\033[22m" : "");
	}
	fputs("\033[0m\033[K\r\n", f);
}

void screen_draw(struct screen_view *v)
{
	cleanup_free char *text = NULL;
	unsigned short rows, cols;
	size_t size, room, fit, end;
	char line[128];
	FILE *f;

	term_size(&rows, &cols);
	f = open_memstream(&text, &size);
	if (!f)
		return;
	fit = columns_that_fit(cols);
	room = rows > 4 ? rows - 4U : 1;
	if (v->first + room > v->count)
		v->first = v->count > room ? v->count - room : 0;
	end = v->first + room < v->count ? v->first + room : v->count;
	fputs("\033[H", f);
	put_summary(f, v, cols);
	put_heading(f, v, fit);
	for (size_t i = v->first; i < end; i++) {
		for (size_t k = 0; k < fit; k++) {
			if (k)
				putc(' ', f);
			columns[k].put(f, &v->rows[i]);
		}
		fputs("\033[K\r\n", f);
	}
	snprintf(line, sizeof(line), "%zu more", v->count - end);
	put_line(f, end < v->count ? line : "", cols);
	fprintf(f, "%.*s\033[J", (int)cols,
		"q quit  sort: n name c cpu m memory a cache s swap p pids i io t net  r reverse");
	if (fclose(f) == 0)
		fd_write_full(STDOUT_FILENO, text, size);
}
