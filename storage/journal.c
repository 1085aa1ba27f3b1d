/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "storage/journal.h"

#include "base/array.h"
#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "base/step.h"
#include "storage/handle.h"

#include <fcntl.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define READ_AT_ONCE 65536
#define QUEUE 16384 /* fs.fanotify.max_queued_events, where it cannot be read */
#define TRIAL "journal" /* in the scratch directory */

/* An inode's own end is told because another may get its number, and stand at its place when it is looked for. */
#define CHANGES (FAN_MODIFY | FAN_ATTRIB | FAN_CLOSE_WRITE | FAN_CREATE | FAN_DELETE | FAN_DELETE_SELF | \
		 FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ONDIR)

struct storage_journal {
	int fd;
	size_t queue; /* events that the kernel keeps at the most */
	uint64_t *ino;
	size_t count, room;
	bool lost;
	char buf[READ_AT_ONCE] __attribute__((aligned(8)));
};

static int unsupported(struct err *e, const char *why)
{
	return err_set(e, ERR_UNSUPPORTED, "what is changed is not told here: %s", why);
}

bool storage_handle_ino(int type, const void *handle, size_t len, uint64_t *ret)
{
	uint32_t n32;

	if ((type == 1 || type == 2) && len >= sizeof(n32)) {
		memcpy(&n32, handle, sizeof(n32));
		*ret = n32;
		return true;
	}
	if ((type == 0x81 || type == 0x82) && len >= sizeof(*ret)) {
		memcpy(ret, handle, sizeof(*ret));
		return true;
	}
	return false;
}

/* Handles of this file system have the numbers of inodes in them. */
static bool can_tell(int rootfd)
{
	struct {
		struct file_handle h;
		unsigned char bytes[MAX_HANDLE_SZ];
	} f = { .h.handle_bytes = MAX_HANDLE_SZ };
	struct stat st;
	uint64_t ino;
	int mount;

	return name_to_handle_at(rootfd, "", &f.h, &mount, AT_EMPTY_PATH) == 0 && fstat(rootfd, &st) == 0 &&
	       storage_handle_ino(f.h.handle_type, f.h.f_handle, f.h.handle_bytes, &ino) && ino == st.st_ino;
}

static int add(struct storage_journal *j, uint64_t ino)
{
	if (array_grow(&j->ino, j->count, &j->room, 256) < 0)
		return -ENOMEM;
	j->ino[j->count++] = ino;
	return 0;
}

/* `at`: where the kernel has put it, which need not be aligned as the structure wants. */
static int take_event(struct storage_journal *j, const struct fanotify_event_metadata *m, const char *at)
{
	const struct fanotify_event_info_fid *fid = (const void *)(at + sizeof(*m));
	const struct file_handle *h = (const void *)fid->handle;
	uint64_t ino;

	if (m->mask & FAN_Q_OVERFLOW)
		j->lost = true;
	if (m->event_len < sizeof(*m) + sizeof(*fid) + sizeof(*h) ||
	    m->event_len < sizeof(*m) + sizeof(*fid) + sizeof(*h) + h->handle_bytes)
		return 0;
	if (storage_handle_ino(h->handle_type, h->f_handle, h->handle_bytes, &ino))
		return add(j, ino);
	j->lost = true;
	return 0;
}

/* What is there now; what comes meanwhile without end is for the next time. */
static int drain(struct storage_journal *j)
{
	for (size_t seen = 0; seen < j->queue;) {
		ssize_t n = read(j->fd, j->buf, sizeof(j->buf));
		struct fanotify_event_metadata m;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno != EAGAIN ? -errno : 0;
		for (const char *at = j->buf; at + sizeof(m) <= j->buf + n; at += m.event_len, seen++) {
			memcpy(&m, at, sizeof(m));
			if (m.event_len < sizeof(m) || m.event_len > (size_t)(j->buf + n - at))
				return -EPROTO;
			if (take_event(j, &m, at) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

int storage_journal_take(struct storage_journal *j, uint64_t **ret, size_t *ret_count, struct err *e)
{
	bool lost;
	size_t n = 0;
	int r = drain(j);

	if (r < 0)
		return err_code(e, r, "read what was changed");
	if (j->count)
		qsort(j->ino, j->count, sizeof(*j->ino), by_number);
	for (size_t i = 0; i < j->count; i++)
		if (!n || j->ino[n - 1] != j->ino[i])
			j->ino[n++] = j->ino[i];
	lost = j->lost;
	*ret = TAKE_PTR(j->ino);
	*ret_count = n;
	j->count = j->room = 0;
	j->lost = false;
	return lost;
}

/* ---- whether it can be trusted ---- */

static bool was_told(struct storage_journal *j, int fd)
{
	struct stat st;
	bool told = false;

	if (drain(j) < 0 || fstat(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < j->count; i++)
		told |= j->ino[i] == st.st_ino;
	j->count = 0;
	return told || j->lost;
}

/* A name, a write, and a write through a mapping that outlives its fd, all through the overlay: each is told of the
 * upper's own inodes. */
static bool tells_all(struct storage_journal *j, int mnt, int upper)
{
	cleanup_close int fd = openat(mnt, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600), real = -EBADF;
	bool good = fd >= 0 && was_told(j, upper);
	char *map;

	real = openat(upper, "f", O_RDONLY | O_CLOEXEC);
	good = good && real >= 0 && write(fd, "x", 1) == 1 && was_told(j, real);
	map = good ? mmap(NULL, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
	fd_close(&fd);
	if (map == MAP_FAILED)
		return false;
	*(volatile char *)map = 'y';
	munmap(map, 1);
	return was_told(j, real);
}

static bool set(int fs, const char *key, int dir)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", dir);
	return fsconfig(fs, FSCONFIG_SET_STRING, key, path, 0) == 0;
}

/* Volatile: its end must not flush the file system. */
static int mount_trial(int lower, int upper, int work)
{
	cleanup_close int fs = fsopen("overlay", FSOPEN_CLOEXEC);

	if (fs < 0 || !set(fs, "lowerdir", lower) || !set(fs, "upperdir", upper) || !set(fs, "workdir", work) ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "volatile", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	return fsmount(fs, FSMOUNT_CLOEXEC, 0);
}

static int make_dir(int parent, const char *name)
{
	return mkdirat(parent, name, 0700) < 0 ? -errno
					       : openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static bool try_in(struct storage_journal *j, int dir)
{
	cleanup_close int lower = make_dir(dir, "lower"), upper = make_dir(dir, "upper"), work = make_dir(dir, "work");
	cleanup_close int mnt = lower < 0 || upper < 0 || work < 0 ? -EBADF : mount_trial(lower, upper, work);

	return mnt >= 0 && tells_all(j, mnt, upper);
}

static bool try_it(struct storage_journal *j, int scratch)
{
	cleanup_close int dir = -EBADF;
	bool good;

	if (path_remove_tree_at(scratch, TRIAL) < 0) /* of one that was killed */
		return false;
	dir = make_dir(scratch, TRIAL);
	good = dir >= 0 && try_in(j, dir);
	path_remove_tree_at(scratch, TRIAL);
	return good;
}

static size_t queue_length(void)
{
	cleanup_free char *text = NULL;
	long n = 0;

	if (fd_read_file_at(AT_FDCWD, "/proc/sys/fs/fanotify/max_queued_events", 64, &text, NULL) == 0)
		n = strtol(text, NULL, 10);
	return n > 0 ? (size_t)n : QUEUE;
}

int storage_journal_open(int rootfd, int scratch, struct storage_journal **ret, struct err *e)
{
	struct storage_journal *j;

	if (without_feature("journal"))
		return unsupported(e, "taken away");
	if (!can_tell(rootfd))
		return unsupported(e, "the file system's handles are not known");
	j = calloc(1, sizeof(*j));
	if (!j)
		return err_code(e, -ENOMEM, "watch what is changed");
	j->queue = queue_length();
	j->fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_REPORT_FID, O_RDONLY | O_CLOEXEC);
	if (j->fd < 0 || fanotify_mark(j->fd, FAN_MARK_ADD | FAN_MARK_FILESYSTEM, CHANGES, rootfd, NULL) < 0 ||
	    !try_it(j, scratch)) {
		storage_journal_close(j);
		return unsupported(e, "this kernel does not");
	}
	*ret = j;
	return 0;
}

void storage_journal_close(struct storage_journal *j)
{
	if (!j)
		return;
	fd_close(&j->fd);
	free(j->ino);
	free(j);
}
