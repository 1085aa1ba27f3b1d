/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/aio.h"
#include "checkpoint/ghosts.h"
#include "checkpoint/hugetlb.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/internal.h"
#include "checkpoint/lookout.h"
#include "checkpoint/sockets.h"
#include "checkpoint/maps.h"
#include "checkpoint/uring.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int refuse(struct err *e, const struct ckpt_task *k, const struct ckpt_map *l, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "process %d has mapped %.400s, %s", (int)k->pid, l->name, why);
}

/* Inode numbers of System V memory are its own; others may have the same. */
bool ckpt_shmem_is_sysv(int fd)
{
	char path[64], link[16] = { 0 };

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, link, sizeof(link) - 1) > 0 && strncmp(link, "/SYSV", 5) == 0;
}

/* Attached for reading only (shmat(2)), and not merely protected: as it is at the stop, of which it is read once a process,
 * since a segment may be in a thousand pieces. */
static bool is_read_only(struct ckpt_dump *d, pid_t pid, const struct ckpt_map *l)
{
	const struct ckpt_flag *f;

	if (d->attached_of != pid && ckpt_flags_read(&d->attached, pid) == 0)
		d->attached_of = pid;
	f = ckpt_flags_find(&d->attached, pid, l);
	return !f || !f->may_write;
}

/* Nobody else can lock it, and these locks are gone with the fds. */
bool ckpt_shmem_is_same(int a, int b)
{
	bool same = flock(a, LOCK_EX | LOCK_NB) == 0 && flock(b, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;

	flock(a, LOCK_UN);
	flock(b, LOCK_UN);
	return same;
}

int ckpt_shmem_add(struct ckpt_dump *d, int fd, const char *name, struct err *e)
{
	Ckpt__Shmem *s;
	struct stat st;
	size_t n = d->tree.shmem_count;
	bool sysv = ckpt_shmem_is_sysv(fd);

	if (fstat(fd, &st) < 0) {
		err_sys(e, "look at shared memory");
		close(fd);
		return -EIO;
	}
	for (size_t i = 0; i < n; i++)
		if (d->shmem_dev[i] == st.st_dev && d->shmem_ino[i] == st.st_ino &&
		    d->tree.shmems[i]->sysv == sysv && (!sysv || ckpt_shmem_is_same(d->shmem_fd[i], fd))) {
			close(fd);
			return (int)i + 1;
		}
	s = ckpt_alloc(&d->tree.arena, sizeof(*s));
	if (!s || n == ARRAY_SIZE(d->shmem_fd)) {
		close(fd);
		return s ? err_set(e, ERR_UNSUPPORTED, "more than %zu shared memories", n)
			 : err_code(e, -ENOMEM, "collect shared memory");
	}
	ckpt__shmem__init(s);
	s->size = (uint64_t)st.st_size;
	s->sysv = sysv;
	s->huge = ckpt_huge_of(fd);
	s->name = ckpt_strdup(&d->tree.arena, name);
	d->shmem_dev[n] = st.st_dev;
	d->shmem_ino[n] = st.st_ino;
	d->shmem_fd[n] = fd;
	if (!s->name || ckpt_push(&d->tree.arena, &d->tree.shmems, &d->tree.shmem_count, s) < 0)
		return err_code(e, -ENOMEM, "collect shared memory");
	return (int)n + 1;
}

/* Where a mapped file was found to be: the same libraries are in all processes. */
struct known {
	unsigned major, minor;
	uint64_t ino;
	const char *name; /* as maps has it */
	char *path;
	uint32_t ghost, space;
};

static int compare(const void *one, const void *other)
{
	const struct known *a = one, *b = other;

	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	if (a->major != b->major)
		return a->major < b->major ? -1 : 1;
	if (a->minor != b->minor)
		return a->minor < b->minor ? -1 : 1;
	return strcmp(a->name, b->name);
}

static void keep_entry(void *entry)
{
	(void)entry; /* the arena's */
}

void ckpt_areas_done(struct ckpt_dump *d)
{
	tdestroy(d->known_files, keep_entry);
	d->known_files = NULL;
}

/* True when its file is known. */
static bool find_known(struct ckpt_dump *d, const struct ckpt_map *l, Ckpt__Area *a)
{
	struct known key = { .major = l->major, .minor = l->minor, .ino = l->ino, .name = l->name }, **at;

	at = tfind(&key, &d->known_files, compare);
	if (!at)
		return false;
	a->path = (*at)->path;
	a->ghost = (*at)->ghost;
	a->space = (*at)->space;
	return true;
}

static int remember(struct ckpt_dump *d, const struct ckpt_map *l, const char *name, const Ckpt__Area *a)
{
	struct known *n = ckpt_alloc(&d->tree.arena, sizeof(*n));

	if (!n)
		return -ENOMEM;
	*n = (struct known){ l->major, l->minor, l->ino, name, a->path, a->ghost, a->space };
	return tsearch(n, &d->known_files, compare) ? 0 : -ENOMEM;
}

/* Memory of a file that never had a name. */
static int unnamed_area(struct ckpt_dump *d, const struct ckpt_task *k, const struct ckpt_map *l, const char *path,
			Ckpt__Area *a, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), id;

	if (fd < 0)
		return err_sys(e, "open shared memory of process %d", (int)k->pid);
	if (ckpt_map_is_huge(l) && (a->flags & MAP_PRIVATE) && ckpt_huge_of(fd)) {
		close(fd);
		a->flags |= MAP_ANONYMOUS;
		a->offset = 0;
		return 0;
	}
	id = ckpt_shmem_add(d, fd, "", e);
	a->shmem = id > 0 ? (uint32_t)id : 0;
	if (id > 0 && d->tree.shmems[id - 1]->sysv && !(a->prot & PROT_WRITE))
		a->read_only = is_read_only(d, k->pid, l);
	return id < 0 ? id : 0;
}

/* A file that is mapped, by the kernel's own link to it: maps(5) escapes its name. */
static int file_area(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_map *l, Ckpt__Area *a,
		     struct err *e)
{
	char path[128], *name;
	struct stat mapped;
	ssize_t n;
	int r;

	if (find_known(d, l, a))
		return 0;
	name = ckpt_strdup(&d->tree.arena, l->name);
	if (!name)
		return err_code(e, -ENOMEM, "collect memory areas");
	snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, (int)k->pid, l->start,
		 l->end);
	n = readlink(path, l->name, sizeof(l->name) - 1);
	if (n < 0)
		return err_sys(e, "read %s", path);
	l->name[n] = '\0';
	if (ckpt_map_is_unnamed(l))
		return unnamed_area(d, k, l, path, a, e);
	if (STREQ(l->name, "/[aio] (deleted)"))
		return ckpt_aio_area(d, a, e);
	if (strncmp(l->name, "socket:[", 8) == 0) { /* which is known when all sockets are */
		a->memfd_file = CKPT_AREA_SOCKET;
		a->offset = l->ino;
		return 0;
	}
	if (STREQ(l->name, CKPT_URING_NAME)) {
		a->uring = l->ino; /* likewise */
		return 0;
	}
	if (l->name[0] != '/')
		return refuse(e, k, l, "which cannot be saved yet");
	if (stat(path, &mapped) < 0)
		return err_sys(e, "look at %s", l->name);
	if (!S_ISREG(mapped.st_mode) && !S_ISCHR(mapped.st_mode))
		return refuse(e, k, l, "which is no file");
	r = ckpt_place_find(d, path, l->name, &mapped, &a->path, &a->ghost, &a->space, e);
	if (r == 0 && remember(d, l, name, a) < 0)
		r = err_code(e, -ENOMEM, "collect memory areas");
	return r;
}

/* What mprotect(2) may make of shared memory goes by how its file was opened. */
static void take_access(const struct ckpt_dump *d, const struct ckpt_flag *f, Ckpt__Area *a)
{
	if (!(a->flags & MAP_SHARED) || (a->prot & PROT_WRITE))
		return;
	a->may_write = f->may_write;
	if (a->ghost || (a->shmem && !d->tree.shmems[a->shmem - 1]->sysv))
		a->read_only = !f->may_write;
}

/* Advice, locks, and what cannot be saved. */
static int take_flags(struct ckpt_dump *d, struct ckpt_task *k, const struct ckpt_map *l, Ckpt__Area *a,
		      struct err *e)
{
	const struct ckpt_flag *f = ckpt_flags_find(&d->flags, k->pid, l);

	if (!f && ckpt_flags_read(&d->flags, k->pid) < 0)
		return err_code(e, -ENOMEM, "collect memory areas");
	f = f ? f : ckpt_flags_find(&d->flags, k->pid, l);
	if (!f)
		return err_set(e, ERR_FAIL, "/proc/%d/smaps does not tell of %#llx", (int)k->pid,
			       (unsigned long long)l->start);
	if (f->refused)
		return err_set(e, ERR_UNSUPPORTED, "process %d has %s at %#llx, which cannot be saved",
			       (int)k->pid, f->refused, (unsigned long long)l->start);
	a->advice = f->advice;
	a->locked = f->locked;
	a->huge = f->huge;
	a->no_reserve = f->huge && f->no_reserve;
	a->sealed = f->sealed;
	take_access(d, f, a);
	a->key = f->key;
	a->guarded = f->guarded;
	if (f->huge && a->ghost)
		return refuse(e, k, l, "a file of huge pages without a name, which cannot be saved");
	if (f->stack)
		a->flags |= MAP_GROWSDOWN;
	if (f->droppable)
		a->flags = CKPT_MAP_DROPPABLE | MAP_ANONYMOUS;
	return 0;
}

/* "[anon:NAME]", by prctl(PR_SET_VMA_ANON_NAME), Linux 5.17. */
static int take_name(struct ckpt_dump *d, const struct ckpt_map *l, Ckpt__Area *a)
{
	size_t len = strlen(l->name);

	if (strncmp(l->name, "[anon:", 6) != 0 || l->name[len - 1] != ']')
		return 0;
	a->name = ckpt_strdup(&d->tree.arena, l->name + 6);
	if (!a->name)
		return -ENOMEM;
	a->name[len - 7] = '\0';
	return 0;
}

static int add_area(struct ckpt_dump *d, struct ckpt_task *k, struct ckpt_map *l, struct err *e)
{
	Ckpt__Area *a = ckpt_alloc(&d->tree.arena, sizeof(*a));
	int r;

	if (!a)
		return err_code(e, -ENOMEM, "collect memory areas");
	ckpt__area__init(a);
	a->start = l->start;
	a->end = l->end;
	a->offset = l->offset;
	a->prot = (l->perms[0] == 'r' ? PROT_READ : 0) | (l->perms[1] == 'w' ? PROT_WRITE : 0) |
		  (l->perms[2] == 'x' ? PROT_EXEC : 0);
	a->flags = l->perms[3] == 's' ? MAP_SHARED : MAP_PRIVATE;
	if (ckpt_map_is_anonymous(l)) {
		a->offset = 0;
		a->flags |= MAP_ANONYMOUS;
		if (take_name(d, l, a) < 0)
			return err_code(e, -ENOMEM, "collect memory areas");
	} else if (l->name[0] == '[') {
		return refuse(e, k, l, "which cannot be saved");
	} else {
		r = file_area(d, k, l, a, e);
		if (r < 0)
			return r;
	}
	r = take_flags(d, k, l, a, e);
	if (r < 0)
		return r;
	return ckpt_push(&d->tree.arena, &k->mm->area, &k->mm->n_area, a) < 0
		? err_code(e, -ENOMEM, "collect memory areas") : 0;
}

/* The kernel maps both as one (ARCH_MAP_VDSO_64), and a program may have moved them only as one. */
static int add_vdso(const struct ckpt_task *k, const struct ckpt_map *l, struct err *e)
{
	if (!k->mm->vdso && STREQ(l->name, "[vvar]"))
		k->mm->vdso = l->start;
	if (!k->mm->vdso || l->start != k->mm->vdso + k->mm->vdso_size)
		return refuse(e, k, l, "apart from what belongs to it, which cannot be saved");
	k->mm->vdso_size = l->end - k->mm->vdso;
	return 0;
}

/* As it has been looked at; a long one is read line by line. */
static FILE *open_maps(struct ckpt_dump *d, pid_t pid)
{
	const char *text;
	size_t len;

	return ckpt_look(d, pid, CKPT_LOOK_MAPS, &text, &len) == 0 && len ?
		       fmemopen((void *)(uintptr_t)text, len, "r") :
		       ckpt_maps_open(pid);
}

int ckpt_areas_collect(struct ckpt_dump *d, struct ckpt_task *k, struct err *e)
{
	cleanup_fclose FILE *f = open_maps(d, k->pid);
	struct ckpt_map l;
	int n, r;

	if (!f)
		return err_sys(e, "open the map of process %d", (int)k->pid);
	while ((n = ckpt_maps_next(f, &l)) > 0) {
		if (STREQ(l.name, "[vsyscall]"))
			continue;
		r = ckpt_map_is_vdso(&l) ? add_vdso(k, &l, e) : add_area(d, k, &l, e);
		r = ckpt_note(d, r, k->pid, -1, e);
		if (r < 0)
			return r;
	}
	return n < 0 ? err_code(e, n, "read the map of process %d", (int)k->pid) : 0;
}
