/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_PRECOPY_INTERNAL_H
#define CHECKPOINT_PRECOPY_INTERNAL_H

#include "checkpoint/ahead.h"
#include "checkpoint/beside.h"
#include "checkpoint/internal.h"
#include "checkpoint/maps.h"
#include "checkpoint/moves.h"
#include "checkpoint/precopy.h"
#include "checkpoint/scan.h"

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

/* Private memory of a process, as it was when it was last looked at. */
struct area {
	uint64_t start, end;
	uint32_t prot;
	bool file, stack;    /* `stack`: it grows down */
	bool hopeless;       /* its writes cannot be seen */
	bool unnamed;        /* of MAP_HUGETLB, by its name */
	uint32_t huge;       /* as in Area, if it is so */
	bool no_reserve;
};
/* For ckpt_scan_own(). */
static inline unsigned area_kind(const struct area *a)
{
	return a->huge ? CKPT_SCAN_HUGE : a->file ? CKPT_SCAN_FILE : CKPT_SCAN_ANON;
}

struct area_list {
	struct area *a;
	size_t count, room;
};

struct watched {
	pid_t pid, ppid;
	pid_t tid; /* by whom it is looked at: proc_live_tid() */
	uint32_t mm;
	int uffd;            /* the one file of most that stays open: there may be thousands */
	int moves;           /* of shared memory that is watched: likewise (precopy_steady.c) */
	atomic_uint moved;   /* so often some of that was moved, mapped once more or taken out */
	uint64_t born;       /* when it began, in the kernel's ticks */
	uint64_t canary;     /* of its soft-dirty marks (softdirty.h); 0: they say nothing */
	bool marked;         /* they tell what was written since the last round */
	struct area_list areas, before; /* `before`: those of the last look */
	uint64_t layout;     /* hash of what was told of them; 0: it was not told of yet */
	struct ckpt_ranges inherited; /* pages that it has from its parent when it is told of first */
	uint32_t heir_of;    /* the parent's number */
	bool told;           /* in this round */
	uint64_t stack;      /* where it begins */
	bool there, renewed;
	bool family;         /* as ckpt_sources_add() tells */
	bool direct;         /* the disk may write into its memory: it has a file open with O_DIRECT */
};

/* Shared memory in a process. */
struct mapping {
	pid_t pid;
	uint64_t start, end, offset;
	bool writable;       /* when it was found */
	bool joined;         /* of several areas */
	bool for_reading;    /* for good (SHM_RDONLY): it has no marks */
};
struct mappings {
	struct mapping *m;
	size_t count, room;
};

/* Shared memory that was met; it stays open, so that its number stays its own. */
struct shared {
	dev_t dev;
	ino_t ino;
	int fd;
	uint64_t *hash;      /* of each page that was sent; 0: it is a hole there */
	size_t pages;
	uint8_t *map;        /* ours, for reading; NULL: it is not mapped */
	uint64_t map_size;
	bool told, unused, sysv;
	uint64_t present;    /* hash of which huge pages were told to be there */
	bool last;           /* all of it was sent when nobody could write to it any more */
	uint64_t size;       /* as it was told */
	/* (precopy_steady.c) */
	struct mappings seen, watched; /* where it was found; where its writes are seen */
	bool steady;         /* what is not as its hash says has lost its marks in one of these */
	bool marked;         /* `written` is all that is to be looked at */
	bool was_steady;     /* when it was marked last */
	bool bore;           /* while it was looked for, somebody was born who may have it */
	bool candidate;      /* in this round it may be watched */
	bool hopeless;       /* it cannot be */
	bool final;          /* it was sent when nobody could change it any more (precopy_reach.c) */
	/* (precopy_files.c) */
	const char *place;   /* a file that lies in memory: where its file system is mounted; NULL: it has no name */
	dev_t scattered_dev; /* it was in too many pieces, which are read at the end: what it was */
	ino_t scattered_ino; /* 0: it was not */
	bool by_fd, seen_now; /* a memfd that was met as it was open; somebody has it in this round */
	/* (precopy_quiet.c) */
	int watch;           /* tells when somebody closes it who could write; -1 */
	bool disturbed;      /* that was so since it was noted */
	bool quiet;          /* it was read whole since it was noted, with this time and size: */
	struct timespec changed;
	off_t length;
	bool noted;          /* when it was accessed last, and changed: */
	struct timespec accessed, touched;
	bool by_times;       /* a memfd: that nobody has written to it they tell */
	unsigned restless;   /* so often somebody had */
	struct ckpt_ranges written; /* in it */
};

struct ckpt_precopy {
	const struct cgroup *cgroup;
	pid_t init;
	size_t level; /* ckpt_pid_level() */
	uint32_t uid_base, uid_count;
	const struct ckpt_dump_options *o;
	struct ckpt_writer *w;
	struct ckpt_oracle *oracle;
	size_t last_found; /* in procs */
	struct ckpt_arena arena;
	struct watched **procs;
	size_t count;
	struct shared *shared;
	size_t shared_count;
	struct ckpt_ahead mounts; /* file systems that are in memory */
	unsigned memfds;     /* that were met as they were open */
	int closes;          /* inotify(7): files of these; -EBADF until it is needed */
	bool guarded;        /* in this round: who closes a file may write to it all the same */
	unsigned rounds;
	bool soft;           /* soft-dirty marks in place of userfaultfd */
	bool finishing;
	bool stopped;        /* nothing runs any more */
	struct ckpt_job *last; /* the round that is under way beside the collection; NULL */
	bool rings;          /* in this round: somebody has asynchronous requests */
	struct ckpt_moves *moves; /* NULL: nobody is asked */
	struct ckpt_parents *parents; /* who has children; NULL: they are counted */
	bool listened;       /* that was tried */
	pid_t *gone;         /* those that had ended when ckpt_mappings_find() came to them */
	size_t gone_count;
	pid_t number;        /* the last that was taken in the VPS to see whether others were; 0: none */
};

/* (precopy_visit.c) By its number; made when it is new. NULL with *e filled. */
struct watched *ckpt_precopy_find(struct ckpt_precopy *p, pid_t pid, struct err *e);
/* Another process may have its number now, which has inherited marks that say nothing. */
void ckpt_precopy_recognize(struct watched *w);
/* Of all processes what was written since the last time becomes a source of `c`, and counts as not written. */
int ckpt_precopy_visit(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e);
/* How many pages the next round would send, but for shared memory that it would read whole. */
uint64_t ckpt_precopy_dirty(const struct ckpt_precopy *p);

/* The record before a round's. (precopy.c) */
int ckpt_round_begin(struct ckpt_precopy *p, struct err *e);

/* (precopy_layout.c) Reads the map: private areas, and shared memory that is met. */
int ckpt_layout_read(struct ckpt_precopy *p, struct watched *w, struct err *e);
/* Whether it can have asynchronous requests, now. */
bool ckpt_layout_has_rings(pid_t pid);
/* Tells of it when it is new. */
int ckpt_layout_write(struct ckpt_precopy *p, struct watched *w, struct err *e);

/* (precopy_family.c) Tells of all that were visited, parents first; what new ones have from their parents is sent
 * before, and taken out of what is to be sent. */
int ckpt_layouts_tell(struct ckpt_precopy *p, struct ckpt_copy *c, struct err *e);

/* Of where they are. (precopy_layout.c) */
uint64_t ckpt_ranges_hash(const struct ckpt_ranges *l);

/* (precopy_heirs.c) After the final scan, whose sources are as the tree's processes. */
int ckpt_final_heirs(struct ckpt_dump *d, struct err *e);

/* (precopy_shared.c) -ENOMEM. Memory that is no file's and mapped by this line of the map. */
int ckpt_shared_meet(struct ckpt_precopy *p, pid_t pid, const struct ckpt_map *m);
/* Appends memory by its fd, which is taken; and its contents are nobody's any more. */
int ckpt_shared_take(struct ckpt_precopy *p, int fd);
int ckpt_shared_forget(struct shared *s);
/* Which it is; NULL. `fd`: -1 when it is none of System V. */
struct shared *ckpt_shared_find(const struct ckpt_precopy *p, const struct stat *st, int fd);
/* Writes the pages that are not as they were sent. */
int ckpt_shared_send(struct ckpt_precopy *p, uint64_t *ret_pages, struct err *e);
void ckpt_shared_done(struct ckpt_precopy *p);
/* Of a page; never 0. */
uint64_t ckpt_shared_hash(const uint8_t *page);

/* (precopy_steady.c) Finds, and watches, shared memory whose changes marks tell, and what has changed, after
 * everybody was visited and before it is read. */
int ckpt_steady_round(struct ckpt_precopy *p, struct err *e);
/* When all is stopped, what has changed. Last, against what was collected: what
 * turns out to be mapped elsewhere counts as not sent. -ENOMEM. */
int ckpt_steady_last(struct ckpt_precopy *p);
int ckpt_steady_verify(struct ckpt_dump *d);
/* How many pages have changed. */
uint64_t ckpt_steady_dirty(const struct ckpt_precopy *p);
void ckpt_steady_done(struct shared *s);

/* (precopy_doubts.c) Before the first look; whether anything is steady; what of it is not any more, as something has happened
 * since the last one: how many bytes have to be read for that; births alone. */
void ckpt_doubts_begin(struct ckpt_precopy *p);
bool ckpt_doubts_matter(const struct ckpt_precopy *p);
uint64_t ckpt_doubts_look(struct ckpt_precopy *p);
/* What is not steady now is no loss: it would be again and again. */
void ckpt_doubts_accept(struct ckpt_precopy *p);
void ckpt_doubts_births(struct ckpt_precopy *p);
/* Right after ckpt_mappings_find(): `bore`. */
void ckpt_doubts_found(struct ckpt_precopy *p);
/* Whether anything was steady when it was marked, and is not now. */
bool ckpt_doubts_lost(const struct ckpt_precopy *p);

/* (precopy_reach.c) Whether nobody changes it any more; whether those who have it mapped alone can do so, but for those of
 * whom its file tells: what that is now, which is noted before it is looked at, and whether it has stayed so. */
bool ckpt_reach_is_final(const struct shared *s);
bool ckpt_reach_is_known(const struct shared *s);
void ckpt_reach_note(struct shared *s);
/* It is steady no more if somebody may have got at it otherwise. */
void ckpt_reach_look(struct shared *s);

/* (precopy_mappings.c) Negative errno values. Of the memory that may be watched, in each process of the VPS; `seen` is
 * filled. */
int ckpt_mappings_find(struct ckpt_precopy *p);
/* Likewise in a tree that was collected, of what is marked. */
int ckpt_mappings_collected(struct ckpt_precopy *p, const struct ckpt_tree *t);
int ckpt_mappings_add(struct mappings *l, const struct mapping *m);
/* Puts them in order, and joins what continues another. */
void ckpt_mappings_join(struct mappings *l);
/* Of two in order. */
bool ckpt_mappings_are_same(const struct mappings *a, const struct mappings *b);

/* (precopy_compare.c) Maps it ahead, with the pages that have data; no failure matters. */
void ckpt_shared_map(struct shared *s, uint64_t size, const struct ckpt_ranges *data);
void ckpt_shared_unmap(struct shared *s);
/* That it is mapped as it is now; then, which of its data is not what its hashes say. All must be stopped. -ENOMEM. */
bool ckpt_shared_can_compare(const struct shared *s, uint64_t size, const struct ckpt_ranges *data);
int ckpt_shared_compare(const struct shared *s, const struct ckpt_ranges *data, struct ckpt_ranges *ret);

/* (precopy_files.c) Meets what is large: files in the file systems in memory that process 1 sees, and memfds that are open;
 * what has no name any more, or that nobody has, is forgotten. -ENOMEM. Its data, of which the other side is told where there is any, is in too many pieces. */
int ckpt_files_meet(struct ckpt_precopy *p);
bool ckpt_files_is_scattered(const struct ckpt_ranges *data);

/* (precopy_quiet.c) Files of which it is certain that they were not written to. Before a round reads any; before it
 * reads this one, whether that could be noted; whether it is what was read then; when it is closed. */
void ckpt_quiet_round(struct ckpt_precopy *p);
bool ckpt_quiet_note(struct ckpt_precopy *p, struct shared *s);
bool ckpt_quiet_holds(const struct ckpt_precopy *p, const struct shared *s);
void ckpt_quiet_forget(struct ckpt_precopy *p, struct shared *s);

/* (precopy_direct.c) True when a process has a file open with O_DIRECT; and what then comes between the marks of a round
 * and its reading. */
bool ckpt_direct_find(pid_t pid);
void ckpt_direct_settle(const struct ckpt_precopy *p);

#endif
