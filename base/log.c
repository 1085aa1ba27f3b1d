/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *log_prog = "vps";
static int log_max = LOG_INFO_;
static int log_journal;

void log_init(const char *prog)
{
	const char *want = getenv("VPS_LOG");

	log_prog = prog;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
	if (!want)
		return;
	if (strcmp(want, "debug") == 0)
		log_max = LOG_DEBUG_;
	else if (strcmp(want, "warn") == 0)
		log_max = LOG_WARN_;
	else if (strcmp(want, "err") == 0)
		log_max = LOG_ERR_;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	size_t at;
	va_list ap;
	int n;

	if ((int)level > log_max)
		return;
	if (log_journal) {
		at = (size_t)snprintf(line, sizeof(line), "<%d>%s: ", (int)level, log_prog);
	} else {
		struct timespec ts;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		at = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
		at += (size_t)snprintf(line + at, sizeof(line) - at, ".%03ldZ %s: ",
				       ts.tv_nsec / 1000000, log_prog);
	}
	va_start(ap, fmt);
	n = vsnprintf(line + at, sizeof(line) - at - 1, fmt, ap);
	va_end(ap);
	if (n > 0)
		at += (size_t)n < sizeof(line) - at - 1 ? (size_t)n : sizeof(line) - at - 2;
	line[at++] = '\n';
	if (write(STDERR_FILENO, line, at) < 0)
		return; /* nobody listens; there is nowhere to say so */
}
