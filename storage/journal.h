/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_JOURNAL_H
#define STORAGE_JOURNAL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Inside the folder: what is changed on a file system from now on, as numbers of inodes (fanotify(7), marks of a
 * whole file system, FAN_REPORT_FID): a directory whose entries were changed, a file that was written to, truncated,
 * given other attributes, closed by one who could write, or ended. By number, and not by name: a name that an overlay
 * writes through may have been removed when the file has others.
 *
 * What is not told: what is written through a mapping, by sendfile(2), splice(2) or AIO, before the file is
 * closed or unmapped. Who cannot wait for that looks at files that are open or mapped for writing himself.
 */
struct storage_journal;

/*
 * Of the file system of `rootfd`, where an overlay's upper layer lies. In `scratch`, a directory of the same file
 * system, it is tried with an overlay of its own whether this kernel tells of what is written through one, which not
 * all do. ERR_UNSUPPORTED when it does not, or the file system cannot be watched. CAP_SYS_ADMIN is needed.
 */
int storage_journal_open(int rootfd, int scratch, struct storage_journal **ret, struct err *e);
void storage_journal_close(struct storage_journal *j);

/*
 * What has come until now, each number once, sorted; *ret is the caller's to free. Numbers of what lies outside of the
 * tree are among them. 1: too much has come, and some was lost.
 */
int storage_journal_take(struct storage_journal *j, uint64_t **ret, size_t *ret_count, struct err *e);

#endif
