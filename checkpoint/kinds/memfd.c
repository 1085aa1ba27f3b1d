/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool is(const struct ckpt_fd *f)
{
	return strncmp(f->link, "/memfd:", 7) == 0;
}

static int dump(struct ckpt_dump *d, const struct ckpt_fd *f, Ckpt__File *out, struct err *e)
{
	char path[64], name[256];
	int fd, seals, id;
	Ckpt__Shmem *s;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)f->pid, f->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, "open a memfd of process %d", (int)f->pid);
	seals = fcntl(fd, F_GET_SEALS);
	snprintf(name, sizeof(name), "%s", f->link + 7);
	if (strlen(name) > 10)
		name[strlen(name) - 10] = '\0'; /* " (deleted)" */
	id = ckpt_shmem_add(d, fd, name, e);
	if (id < 0)
		return id;
	s = ckpt_dump_shmem(d, id);
	s->memfd = 1;
	s->mode = f->st.st_mode & 07777;
	s->uid = f->st.st_uid - d->uid_base;
	s->gid = f->st.st_gid - d->uid_base;
	s->seals = seals > 0 ? (uint32_t)seals : 0;
	s->name = ckpt_strdup(ckpt_dump_arena(d), name);
	out->object = (uint32_t)id;
	return s->name ? 0 : err_code(e, -ENOMEM, "collect a memfd");
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
