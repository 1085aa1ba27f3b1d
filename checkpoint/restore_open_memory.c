/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Shared memory, and what of it and of files areas map, opened in the first process (restore_open.c). */
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"
#include "checkpoint/restore_spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int make_memfd(const char *name, uint32_t huge)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | ckpt_huge_bits(huge) : 0);
	char part[250];
	int fd;

	snprintf(part, sizeof(part), "%s", name);
	fd = memfd_create(part, flags | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create(part, flags);
	return fd;
}

/* That of a pre-copy, which has been filled, or a new one. */
static int open_shmem(const struct restore *r, uint32_t id, struct err *e)
{
	const Ckpt__Shmem *s = r->tree.shmems[id - 1];
	int early = restore_early_shmem(r, id), at = restore_fd_shmem(r, id), again;
	cleanup_close int fd = early < 0 ? make_memfd(s->name, s->huge) : early;
	char path[64];

	if (fd < 0)
		return err_sys(e, "make shared memory");
	if (ckpt_huge_of(fd) != s->huge)
		return err_set(e, ERR_FAIL, "the image is damaged: shared memory %u", id);
	if (s->tmpfs) /* it has been put where it belongs (restore_tmpfs.c) */
		return restore_place_fd(TAKE_FD(fd), at, e);
	if (ftruncate(fd, (off_t)s->size) < 0 ||
	    (s->memfd && (fchown(fd, s->uid, s->gid) < 0 || fchmod(fd, s->mode & 07777) < 0)))
		return err_sys(e, "make %llu bytes of shared memory", (unsigned long long)s->size);
	if (ckpt_huge_take(fd, s, e) < 0)
		return -ENOSPC;
	if (!(s->seals & F_SEAL_WRITE) && !s->executed)
		return restore_place_fd(TAKE_FD(fd), at, e);
	/* It is sealed, or a program, when it is filled, which what could be written to would prevent. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	return again < 0 ? err_sys(e, "open shared memory") : restore_place_fd(again, at, e);
}

int restore_open_shmems(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = 0;

	for (uint32_t i = 1; n == 0 && i <= r->tree.shmem_count; i++) {
		if (r->tree.shmems[i - 1]->sysv)
			continue;
		o->shmems[i - 1] = restore_fd_shmem(r, i);
		n = open_shmem(r, i, e);
	}
	return n;
}

static int open_read_only(const struct restore *r, size_t i, struct err *e)
{
	const struct mapped *m = r->mapped[i];
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d",
		 m->ghost ? restore_fd_ghost(r, m->ghost) : restore_fd_shmem(r, m->shmem));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open shared memory for reading") : restore_place_fd(fd, restore_fd_mapped(r, i), e);
}

static int open_mapped(const struct restore *r, size_t i, struct err *e)
{
	const struct mapped *m = r->mapped[i];
	int fd, n;

	if (m->shmem || m->ghost)
		return open_read_only(r, i, e);
	if (m->space && restore_enter(r, m->space, e) < 0)
		return -EPERM;
	fd = path_open_no_magic(m->path, (m->write == MAPPED_READ ? O_RDONLY : O_RDWR) | O_NOCTTY);
	/* Nobody writes to it now, and since it was mapped that may have become impossible (a read-only mount). */
	if (fd < 0 && m->write == MAPPED_MAY_WRITE)
		fd = path_open_no_magic(m->path, O_RDONLY | O_NOCTTY);
	if (fd < 0)
		return err_code(e, fd, "open %s", m->path);
	n = restore_place_fd(fd, restore_fd_mapped(r, i), e);
	return n == 0 && m->space ? restore_enter(r, 0, e) : n;
}

int restore_open_mapped(struct restore *r, struct ckpt_opening *o, struct err *e)
{
	int n = 0;

	(void)o;
	for (size_t i = 0; n == 0 && i < r->mapped_count; i++)
		n = open_mapped(r, i, e);
	return n;
}
