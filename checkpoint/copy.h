/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_COPY_H
#define CHECKPOINT_COPY_H

#include "base/err.h"
#include "checkpoint/image/image.h"
#include "checkpoint/progress.h"
#include "checkpoint/scan.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ckpt_oracle;

/* Pages to be written to a stream: of an address space, or of shared memory (addresses are offsets
 * then). */
struct ckpt_source {
	uint64_t mm;         /* as records of pages name it */
	pid_t pid;           /* 0: shared memory */
	int fd;              /* of shared memory; a process's is opened while it is read, as there may be thousands */
	/*
	 * It may have pages in common with others, copy-on-write. process_vm_readv(2) pins what it reads, for which
	 * the kernel gives the process pages of its own (Linux 6.0): reading all would take as much memory as if
	 * nothing were shared. /proc/PID/mem is slower and does not.
	 */
	bool family;
	struct ckpt_ranges ranges;
};

struct ckpt_copy {
	struct ckpt_writer *w;
	struct ckpt_source *sources;
	size_t count;
	bool running;        /* what is gone when it is to be read is left out */
	const struct ckpt_progress *progress;
	uint64_t done, total; /* bytes; `total` is counted here */
	uint64_t before;     /* of these, by other copies */
	struct ckpt_oracle *oracle; /* or NULL */
};

/* Reads and writes all of it, by several threads when it is much; in no certain order. */
int ckpt_copy_run(struct ckpt_copy *c, struct err *e);

/* Appends memory of a process; NULL when out of memory. */
struct ckpt_source *ckpt_copy_add(struct ckpt_copy *c, uint64_t mm, pid_t pid);
/* Shared memory: its fd is closed by ckpt_copy_done(). */
struct ckpt_source *ckpt_copy_add_shared(struct ckpt_copy *c, uint64_t mm, int fd);
void ckpt_copy_done(struct ckpt_copy *c);

/* Tells of `len` more bytes; ERR_CANCELLED when nobody wants the rest. */
int ckpt_progress(const struct ckpt_progress *p, uint64_t *done, uint64_t len, uint64_t total,
		  struct err *e);

#endif
