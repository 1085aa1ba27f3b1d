/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/memfd_attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is(const struct ckpt_fd *f)
{
	return strncmp(f->link, "/memfd:", 7) == 0;
}

int ckpt_memfd_add(struct ckpt_dump *d, const char *path, const char *link, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), seals, id;
	struct stat st;
	char name[256];
	Ckpt__Shmem *s;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_sys(e, "open the memfd %s", path);
		fd_close(&fd);
		return -EIO;
	}
	seals = fcntl(fd, F_GET_SEALS);
	snprintf(name, sizeof(name), "%s", link + 7);
	if (strlen(name) > 10)
		name[strlen(name) - 10] = '\0'; /* " (deleted)" */
	id = ckpt_shmem_add(d, fd, name, e);
	if (id < 0)
		return id;
	s = ckpt_dump_shmem(d, id);
	if (!s->memfd && ckpt_memfd_attributes(d, d->shmem_fd[id - 1], s, e) < 0)
		return -EIO;
	s->memfd = 1;
	s->mode = st.st_mode & 07777;
	s->uid = st.st_uid - d->uid_base;
	s->gid = st.st_gid - d->uid_base;
	s->seals = seals > 0 ? (uint32_t)seals : 0;
	s->name = ckpt_strdup(ckpt_dump_arena(d), name);
	return s->name ? id : err_code(e, -ENOMEM, "collect a memfd");
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	char path[64];
	int id;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	id = ckpt_memfd_add(d, path, f->link, e);
	out->object = id > 0 ? (uint32_t)id : 0;
	return id < 0 ? id : 0;
}

static int open_again(struct ckpt_opening *o, const Ckpt__File *f, struct err *e)
{
	char path[64];
	int fd;

	if (f->object == 0 || f->object > o->tree->shmem_count)
		return err_set(e, ERR_FAIL, "the image is damaged: a memfd");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", o->shmems[f->object - 1]);
	fd = open(path, (int)(f->flags & (O_ACCMODE | O_APPEND | O_NONBLOCK)) | O_CLOEXEC);
	return fd < 0 ? err_sys(e, "open a memfd again") : fd;
}

const struct ckpt_kind ckpt_kind_memfd = { "memfd", is, dump, open_again, false };
