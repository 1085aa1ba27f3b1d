/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/top_screen.h"

#include "base/macro.h"
#include "base/parse.h"
#include "base/proc.h"
#include "cli/term.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>

#define DELAY_MIN_US 100000
#define DELAY_MAX_US (24 * 3600 * UINT64_C(1000000))
#define FIRST_US 500000 /* the first rates come sooner than the delay */

struct top {
	struct cli *c;
	uint64_t delay_us;
	uint64_t count;  /* how often to print; 0: for ever */
	int signals;
	json_t *before, *now;
	struct screen_view view;
	struct usage_row *rows;
	bool quit;
};

static int find_key(const char *name, enum usage_key *ret, struct err *e)
{
	char list[128] = "";

	for (int i = 0; i < USAGE_KEY_COUNT; i++) {
		size_t len = strlen(list);

		if (STREQ(usage_key_names[i], name)) {
			*ret = (enum usage_key)i;
			return 0;
		}
		snprintf(list + len, sizeof(list) - len, "%s%s", i ? ", " : "", usage_key_names[i]);
	}
	err_set(e, ERR_USAGE, "--sort: %.80s is not a key", name);
	return err_hint(e, "one of %s", list);
}

static int take_options(struct top *t, struct err *e)
{
	const char *delay = cli_option(t->c, "delay"), *count = cli_option(t->c, "count");
	const char *sort = cli_option(t->c, "sort");

	t->delay_us = 2000000;
	t->view.key = USAGE_CPU;
	if (delay && parse_duration(delay, &t->delay_us) < 0) {
		err_set(e, ERR_USAGE, "--delay: %.80s is not a duration", delay);
		return err_hint(e, "for example 500ms, 2s or 1m");
	}
	if (t->delay_us < DELAY_MIN_US || t->delay_us > DELAY_MAX_US)
		return err_set(e, ERR_USAGE, "--delay: %.80s is not between 100ms and 24h", delay);
	if (count && (parse_u64(count, &t->count) < 0 || !t->count))
		return err_set(e, ERR_USAGE, "--count: %.80s is not a number from 1", count);
	return sort ? find_key(sort, &t->view.key, e) : 0;
}

/* Another look; the rates are those since the one before. */
static int look(struct top *t, struct err *e)
{
	cleanup_reply struct client_reply reply = { 0 };
	int r = cli_call(t->c, "StatsAll", NULL, &reply, e);

	if (r < 0)
		return r;
	json_decref(t->before);
	t->before = t->now;
	t->now = json_incref(json_object_get(reply.params, "stats"));
	free(t->rows);
	t->view.count = usage_rows(t->now, t->before, &t->rows);
	t->view.rows = t->rows;
	usage_sort(t->rows, t->view.count, t->view.key, t->view.reverse);
	return 0;
}

/* --- not on a terminal -------------------------------------------------------------------------- */

static void print_json(const struct top *t)
{
	cleanup_json json_t *list = json_array();

	for (size_t i = 0; i < t->view.count; i++) {
		const struct usage_row *r = &t->rows[i];
		json_t *j = json_copy(r->usage);

		if (r->known)
			json_object_set_new(j, "rate", json_pack("{s:f, s:f, s:f, s:f, s:f}", "cpu",
								 r->cpu, "read_bytes", r->read,
								 "write_bytes", r->write, "rx_bytes",
								 r->rx, "tx_bytes", r->tx));
		json_array_append_new(list, j);
	}
	cli_json(list);
}

static void add_size(struct table *t, bool known, double bytes)
{
	char buf[32];

	table_add(t, PLAIN, known ? show_short(bytes, buf, sizeof(buf)) : "-");
}

static void print_table(const struct top *t)
{
	static const char *const titles[] = { "NAME", "CPU%", "MEMORY", "CACHE", "SWAP", "PIDS",
					      "READ/s", "WRITE/s", "RX/s", "TX/s" };
	static const bool right[ARRAY_SIZE(titles)] = { false, true, true, true, true,
							true, true, true, true, true };
	cleanup_table struct table out = { .columns = ARRAY_SIZE(titles), .right = right };
	char buf[32];

	table_titles(&out, titles);
	for (size_t i = 0; i < t->view.count; i++) {
		const struct usage_row *r = &t->rows[i];

		table_add(&out, PLAIN, json_string_value(json_object_get(r->usage, "name")));
		snprintf(buf, sizeof(buf), "%.1f", r->cpu * 100);
		table_add(&out, PLAIN, r->known ? buf : "-");
		add_size(&out, true, usage_number(r->usage, "memory.current"));
		add_size(&out, true, usage_number(r->usage, "memory.cache"));
		add_size(&out, true, usage_number(r->usage, "memory.swap"));
		snprintf(buf, sizeof(buf), "%.0f", usage_number(r->usage, "pids.current"));
		table_add(&out, PLAIN, buf);
		add_size(&out, r->known, r->read);
		add_size(&out, r->known, r->write);
		add_size(&out, r->known, r->rx);
		add_size(&out, r->known, r->tx);
	}
	table_print(&out, true);
}

static int run_plain(struct top *t, struct err *e)
{
	uint64_t times = t->count ? t->count : 1, wait = t->delay_us;
	int r = look(t, e);

	if (wait > FIRST_US)
		wait = FIRST_US;
	for (uint64_t i = 0; r == 0 && i < times; i++) {
		struct timespec ts = { (time_t)(wait / 1000000), (long)(wait % 1000000) * 1000 };

		while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
			;
		wait = t->delay_us;
		r = look(t, e);
		if (r < 0)
			break;
		if (t->c->json)
			print_json(t);
		else if (i > 0)
			putchar('\n');
		if (!t->c->json)
			print_table(t);
		if (fflush(stdout) != 0)
			break; /* main() says so */
	}
	return r;
}

/* --- on a terminal ------------------------------------------------------------------------------ */

/* Ctrl-Z: the terminal is the shell's until we go on. */
static void stand_back(struct top *t)
{
	struct err e;

	screen_end();
	kill(0, SIGTSTP); /* the job, as the terminal would */
	t->quit = screen_begin(&e) < 0;
}

static void take_letter(struct top *t, char letter)
{
	const char *key = strchr(usage_key_letters, letter);

	if (letter == 'q' || letter == 3 || letter == 4)
		t->quit = true;
	else if (letter == 26)
		stand_back(t);
	else if (letter == 'r')
		t->view.reverse = !t->view.reverse;
	else if (letter == 'j')
		t->view.first++;
	else if (letter == 'k' && t->view.first)
		t->view.first--;
	else if (letter && key)
		t->view.key = (enum usage_key)(key - usage_key_letters);
}

/* Arrows are ESC [ A and ESC [ B. Returns false at the end of input. */
static bool take_keys(struct top *t)
{
	char text[64];
	ssize_t n = read(STDIN_FILENO, text, sizeof(text));

	for (ssize_t i = 0; i < n; i++) {
		if (text[i] != 27) {
			take_letter(t, text[i]);
		} else if (i + 2 < n && text[i + 1] == '[') {
			take_letter(t, text[i + 2] == 'A' ? 'k' : text[i + 2] == 'B' ? 'j' : 0);
			i += 2;
		}
	}
	return n > 0;
}

static void take_signals(struct top *t)
{
	struct signalfd_siginfo si;

	while (read(t->signals, &si, sizeof(si)) == sizeof(si))
		if (si.ssi_signo != SIGWINCH && si.ssi_signo != SIGCONT &&
		    si.ssi_signo != SIGUSR1 && si.ssi_signo != SIGUSR2 && si.ssi_signo != SIGALRM)
			t->quit = true;
}

/* Until it is time for the next look; what is typed is answered at once. */
static void wait_and_serve(struct top *t, uint64_t until_us)
{
	while (!t->quit) {
		struct pollfd p[2] = { { STDIN_FILENO, POLLIN, 0 }, { t->signals, POLLIN, 0 } };
		uint64_t now = now_monotonic_us();

		if (now >= until_us)
			return;
		if (poll(p, 2, (int)((until_us - now) / 1000 + 1)) <= 0)
			continue;
		if (p[0].revents && !take_keys(t))
			t->quit = true;
		if (p[1].revents)
			take_signals(t);
		usage_sort(t->rows, t->view.count, t->view.key, t->view.reverse);
		if (!t->quit)
			screen_draw(&t->view);
	}
}

static int run_screen(struct top *t, struct err *e)
{
	uint64_t next = t->delay_us < FIRST_US ? t->delay_us : FIRST_US;
	int r = look(t, e);

	if (r < 0)
		return r;
	t->signals = cli_signals(t->c, true, e);
	if (t->signals < 0)
		return t->signals;
	r = screen_begin(e);
	for (uint64_t i = 0; r == 0 && !t->quit && (!t->count || i <= t->count); i++) {
		if (i > 0)
			r = look(t, e);
		if (r == 0)
			screen_draw(&t->view);
		if (r == 0)
			wait_and_serve(t, now_monotonic_us() + (i ? t->delay_us : next));
	}
	screen_end();
	close(t->signals);
	return r;
}

int cmd_top(struct cli *c, struct err *e)
{
	struct top t = { .c = c, .signals = -EBADF };
	int r = take_options(&t, e);

	if (r == 0)
		r = !c->json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? run_screen(&t, e)
									     : run_plain(&t, e);
	free(t.rows);
	json_decref(t.before);
	json_decref(t.now);
	return r;
}
