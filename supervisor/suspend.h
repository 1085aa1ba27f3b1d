/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef SUPERVISOR_SUSPEND_H
#define SUPERVISOR_SUSPEND_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * A suspended VPS on disk, in lib/vps/NAME:
 *
 *   image.tmp   what a worker writes
 *   image       the processes, whole (checkpoint/image/image.h); of no worth without one of the next
 *   suspended   {"id":…,"at":…,"bytes":…,"file":…}: the VPS is suspended in the image of that id.
 *               `file` is there when the image is somewhere else, where its user has put it
 *   resuming    the same record while the processes are put back: from then on the image may be stale
 *
 *   checkpoint  an image, and behind it the files of then (disk.h): what it went on after
 *
 *   root.new    files that are to take the place of root
 *
 * That `suspended` is there is what makes a VPS suspended, and nothing else does. It is made while
 * all is frozen and before anything is killed; it becomes `resuming` when all is there again and
 * before anything runs. Whether it ran is told by the frozen state of its group, which outlives the
 * monitor: the kernel's own record, changed by one write.
 */
#define SUSPEND_TMP "image.tmp"
#define SUSPEND_IMAGE "image"
#define CHECKPOINT_TMP "checkpoint.tmp"
#define CHECKPOINT_FILE "checkpoint"
#define RESTORE_ROOT "root.new"
#define SUSPEND_RECORD "suspended"
#define SUSPEND_RESUMING "resuming"

bool suspend_is(int lib);
/* NULL when there is none, or it is damaged. */
json_t *suspend_record(int lib);
/* The VPS is suspended from here on, also after a power failure. `record` is borrowed. */
int suspend_commit(int lib, json_t *record, struct err *e);
/* Removes what was written and will not be committed. */
void suspend_abort(int lib);
/* From here on it is not. 0 when it was not. */
int suspend_resume(int lib, struct err *e);
/* Its processes run again: the image goes. */
void suspend_resumed(int lib);
/* Whoever resumed it has died: `frozen` says that nothing has run yet. Nothing of it lives. */
int suspend_recover(int lib, bool frozen, struct err *e);
/* Gives up the image and what it held. */
int suspend_discard(int lib, struct err *e);

#endif
