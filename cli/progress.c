/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/progress.h"

#include "cli/cli.h"
#include "cli/term.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"

#define BAR 24
#define DRAW_US 100000
#define FIRST_US 1000000
#define TELL_US 5000000

static void draw(struct progress *p, uint64_t now, uint64_t done, uint64_t total)
{
	uint64_t us = now - p->stage_us;
	double rate = us > DRAW_US ? (double)done * 1e6 / (double)us : 0;
	char a[32], b[32], c[32], line[256];
	unsigned short rows, cols;
	int n;

	n = snprintf(line, sizeof(line), "%s ", p->stage);
	if (total) {
		int full = (int)((double)(done < total ? done : total) * BAR / (double)total);

		n += snprintf(line + n, sizeof(line) - (size_t)n, "[%.*s%.*s] ", full,
			      "########################", BAR - full, "........................");
	}
	if (done)
		n += snprintf(line + n, sizeof(line) - (size_t)n, "%s%s%s",
			      format_size(done, a, sizeof(a)), total ? " of " : "",
			      total ? format_size(total, b, sizeof(b)) : "");
	if (rate > 0)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s/s",
			      format_size((uint64_t)rate, a, sizeof(a)));
	if (rate > 0 && total > done)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ", %s left",
			      format_duration((uint64_t)((double)(total - done) * 1e6 / rate), c,
					      sizeof(c)));
	term_size(&rows, &cols);
	if (n >= cols)
		n = cols - 1;
	fprintf(stderr, "\r\033[K%.*s", n, line);
	fflush(stderr);
	p->drawn = true;
}

/* Without a terminal: a line for each step of a long work, and of what counts bytes one now and then,
 * when it takes more than a moment. */
static void tell(struct progress *p, bool fresh, uint64_t now, uint64_t done, uint64_t total)
{
	char a[32], b[32];

	if (fresh)
		p->drawn_us = now - TELL_US + FIRST_US;
	if (done || total) {
		if (now - p->drawn_us < TELL_US)
			return;
		p->drawn_us = now;
	} else if (!fresh) {
		return;
	}
	put_clean(stderr, p->stage);
	if (done)
		fprintf(stderr, " %s", format_size(done, a, sizeof(a)));
	if (total)
		fprintf(stderr, " of %s", format_size(total, b, sizeof(b)));
	fputc('\n', stderr);
}

void progress_show(struct progress *p, const char *stage, uint64_t done, uint64_t total)
{
	uint64_t now = now_monotonic_us();
	bool fresh = !STREQ(p->stage, stage);

	if (p->quiet)
		return;
	if (fresh) {
		snprintf(p->stage, sizeof(p->stage), "%s", stage);
		p->stage_us = now;
	}
	if (isatty(2)) {
		if (fresh || now - p->drawn_us >= DRAW_US) {
			p->drawn_us = now;
			draw(p, now, done, total);
		}
	} else {
		tell(p, fresh, now, done, total);
	}
}

void progress_end(struct progress *p)
{
	if (p->drawn)
		fputs("\r\033[K", stderr);
	p->drawn = false;
}
