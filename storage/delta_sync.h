/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef STORAGE_DELTA_SYNC_H
#define STORAGE_DELTA_SYNC_H

/*
 * Inside the folder: files that are put on the disk by a thread, in the order in which they are given, while more come. A disk
 * takes milliseconds for each, and whoever receives a VPS that stands still has something else to do.
 */
struct delta_sync;

/* -errno: without memory or a thread there is none. */
int delta_sync_new(struct delta_sync **ret);
/* Waits for what is under way; what has not begun by then may not get there. */
void delta_sync_free(struct delta_sync *s);

/* The file as it is by now, or later; the fd stays the caller's. Waits while many are under way. -errno: it was not taken. */
int delta_sync_add(struct delta_sync *s, int fd);

/* 0: all that was given is on the disk. 1: not within so many milliseconds. -errno: some of it could not be written, ever. */
int delta_sync_wait(struct delta_sync *s, unsigned ms);

#endif
