/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef CHECKPOINT_HUGETLB_H
#define CHECKPOINT_HUGETLB_H

#include "base/err.h"
#include "checkpoint/check.h"
#include "checkpoint/tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

/*
 * Memory of huge pages (the kernel's admin-guide/mm/hugetlbpage.rst): of MAP_HUGETLB, memfds, System V memory and
 * the files of a hugetlbfs. Its pages come from a pool, one for each size, and are charged to the control group of
 * whoever touches them first, whosever memory it is. So an image has a list of those that were there ("present"),
 * and the VPS's own processes take them before the engine puts anything in. Reservations (all but MAP_NORESERVE) are
 * made by mapping, and belong to who mapped, not to the children that have it from there.
 *
 * A size of pages is its logarithm, as in mmap(2): 21 for 2 MiB; 0 is ordinary memory.
 */
struct ckpt_dump;
struct ckpt_ranges;
struct list;
struct restore;
struct restoring;

/* Of an open file. */
uint32_t ckpt_huge_of(int fd);
/* What MAP_HUGETLB, MFD_HUGETLB and SHM_HUGETLB say of the size. */
static inline uint32_t ckpt_huge_bits(uint32_t huge)
{
	return huge << 26;
}

/*
 * The pages of a file that are there; offsets. lseek(2) does not tell (SEEK_DATA), and looking must not make any: they
 * are touched where a fault by a page that is not there fails (UFFD_FEATURE_SIGBUS, Linux 4.14). All of the file
 * where that is not to be had. A leaf.
 */
int ckpt_huge_scan(int fd, uint64_t size, uint32_t huge, struct ckpt_ranges *ret);

/* What is said when that fails. */
#define CKPT_HUGE_MAP "map memory of huge pages (are there enough?)"
#define CKPT_HUGE_TAKE "take huge pages (are there enough?)"
/* The flags of mmap(2) that make an area of private anonymous memory again. */
uint32_t ckpt_huge_map_flags(const Ckpt__Area *a);

/* Notes which pages of an area, and of all shared memory, are there. */
int ckpt_huge_keep(struct ckpt_dump *d, int pagemap, Ckpt__Area *a);
int ckpt_huge_keep_shared(struct ckpt_dump *d, struct err *e);

/*
 * Appends what a scan told of an area that was watched; pages that hold only zeros count as written. One that was
 * dropped (MADV_DONTNEED) keeps its mark, and still has it when it is read after that (Linux 6.18), or shared by a
 * fork.
 */
int ckpt_huge_mistrust(int mem, const Ckpt__Area *a, const struct ckpt_ranges *told, struct ckpt_ranges *ret);

/* What processes and shared memory take and have reserved, at the least: bytes, added by size of page. And what goes
 * into the header of it. */
void ckpt_huge_need(const struct ckpt_dump *d, uint64_t need[CKPT_HUGE_SIZES]);
int ckpt_huge_tell(struct ckpt_dump *d, struct err *e);

/* Of an image: size, places, and pages that are said to be there. */
bool ckpt_huge_area_fits(const Ckpt__Area *a);
bool ckpt_huge_shmem_fits(const Ckpt__Shmem *s);
/* That a page was said to be there: what is in no huge pages always is. */
bool ckpt_huge_has_page(const Ckpt__Area *a, uint64_t at);

/* In a process of the VPS: shared memory gets the pages that it had, and no others. */
int ckpt_huge_take(int fd, const Ckpt__Shmem *s, struct err *e);
/* To shared memory of any pages: data, or zeros when it is NULL. `present`: the huge pages that it may have; NULL:
 * all. */
int ckpt_shared_put(int fd, uint32_t huge, const Ckpt__Shmem *present, uint64_t at, const uint8_t *data, uint64_t len,
		    struct err *e);

/* The process takes the pages of its private areas that are not there yet; `plain`: of no memfd. */
int restore_huge(struct restore *r, struct restoring *p, bool plain, struct list *l, struct err *e);
/* The same of a list of pages. */
int restore_huge_pages(struct restoring *p, const struct ckpt_ranges *areas, const struct ckpt_ranges *present,
		       struct list *l, struct err *e);

#endif
