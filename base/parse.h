/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Values as people write them. All return 0, -EINVAL (not of the form) or -ERANGE (of the form,
 * but it does not fit); surrounding blanks are not skipped, an empty string is -EINVAL.
 */

/* Stands for `max` and `unlimited` in sizes and rates. */
#define PARSE_MAX UINT64_MAX

int parse_u64(const char *s, uint64_t *ret);
int parse_i64(const char *s, int64_t *ret);
int parse_bool(const char *s, bool *ret); /* yes no true false on off 1 0 */

/* Bytes: a number (a fraction is allowed with a unit) and B, K, M, G, T, P, optionally followed by
 * iB or B; all are powers of 1024, as the kernel's memparse() and cgroup files have it. `max` is
 * PARSE_MAX. A number without a unit is bytes. */
int parse_size(const char *s, uint64_t *ret);

/* Bytes a second: a size, optionally followed by /s. */
int parse_rate(const char *s, uint64_t *ret);

/* Microseconds: a number and us, ms, s, m, h or d; without a unit seconds. Fractions allowed. */
int parse_duration(const char *s, uint64_t *ret_us);

/* Thousandths: 1.5 is 1500. At most three digits after the point. `max` is PARSE_MAX. */
int parse_milli(const char *s, uint64_t *ret);

/* "0%" to "100%" as 0 to 100. */
int parse_percent(const char *s, unsigned *ret);

/* The shortest text that parses back to the same number of bytes: "512M", "1025". */
const char *format_size_exact(uint64_t bytes, char *buf, size_t size);
/* For people: "1.4 GiB". */
const char *format_size(uint64_t bytes, char *buf, size_t size);
/* For people: "3d 4h", "2m 5s", "640ms". */
const char *format_duration(uint64_t us, char *buf, size_t size);

/* The name of a VPS or template: [a-z0-9][a-z0-9-]{0,62}. Checked once, at the door. */
bool name_is_valid(const char *name);
#define NAME_HINT "a name has 1 to 63 of a-z, 0-9 and -, and begins with a letter or a digit"

/* A signal by name ("SIGTERM", "TERM", "SIGRTMIN+3") or number; -EINVAL when unknown. */
int parse_signal(const char *s);
/* "SIGTERM"; real-time signals as "SIGRTMIN+n". */
const char *format_signal(int sig, char *buf, size_t size);

#endif
