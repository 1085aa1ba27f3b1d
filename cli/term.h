/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CLI_TERM_H
#define CLI_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The caller's terminal. Raw mode is undone by term_restore(), which also runs at exit(3); a signal
 * that would end the program is read from a signalfd instead, so that nothing leaves it raw.
 */
int term_raw(int fd);
void term_restore(void);
bool term_is_raw(void);

/* Rows and columns of the first of standard input, output and error that is a terminal; 24 by 80
 * when none is. False then. */
bool term_size(unsigned short *rows, unsigned short *cols);

/* What was typed ends with the third Ctrl-] within a second, or holds it; `keys_us` is kept between calls, zeros at first. */
bool term_leaves(uint64_t keys_us[2], const char *data, size_t len);

#endif
