/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * Lines for the administrator, of daemons only; the command line prints its errors itself. Written
 * to standard error as "<N>prog: text" when it leads to the journal (JOURNAL_STREAM is set,
 * sd-daemon(3)), else as "time prog: text". One write(2) a line; a line past 1 KiB is cut.
 */

enum log_level { LOG_ERR_ = 3, LOG_WARN_ = 4, LOG_INFO_ = 6, LOG_DEBUG_ = 7 };

/* Names the program; reads VPS_LOG=debug|info|warn|err (default info). */
void log_init(const char *prog);
__attribute__((format(printf, 2, 3))) void log_at(enum log_level level, const char *fmt, ...);

#define log_error(...) log_at(LOG_ERR_, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARN_, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO_, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG_, __VA_ARGS__)

#endif
