/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/internal.h"

#include "base/fd.h"
#include "base/macro.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int ckpt_status_read(pid_t pid, struct ckpt_status *s)
{
	char path[64];
	cleanup_close int fd = -EBADF;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = fd_read_full(fd, s->text, sizeof(s->text) - 1);
	if (n < 0)
		return (int)n;
	s->text[n] = '\0';
	return 0;
}

/* Some kernels open that of a zombie as well, and PAGEMAP_SCAN would follow its pointer to no memory. Reading tells. */
static bool is_of_nothing(int pagemap)
{
	uint64_t page;

	return pread(pagemap, &page, sizeof(page), 0) == 0;
}

int ckpt_proc_open(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (STREQ(name, "pagemap") && is_of_nothing(fd)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}

const char *ckpt_status_line(const char *text, const char *key)
{
	char start[32];
	int len = snprintf(start, sizeof(start), "\n%s:", key);
	const char *l = strstr(text, start);

	return l ? l + len : NULL;
}

size_t ckpt_status_numbers(const struct ckpt_status *s, const char *key, int base, uint64_t *ret,
			   size_t max)
{
	const char *l = ckpt_status_line(s->text, key);
	size_t n = 0;

	for (; l && n < max; n++) {
		char *end;

		l += strspn(l, " \t");
		if (*l == '\n')
			break;
		ret[n] = strtoull(l, &end, base);
		if (end == l)
			break;
		l = end;
	}
	return n;
}

int ckpt_stat_read(pid_t pid, uint64_t field[53])
{
	char path[64];
	cleanup_free char *text = NULL;
	char *p, *end;
	int r;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = fd_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return r;
	p = strrchr(text, ')');
	if (!p || strlen(p) < 4)
		return -EPROTO;
	p += 3; /* ") S" */
	for (int i = 4; i < 53; i++, p = end) {
		field[i] = strtoull(p, &end, 10); /* negative ones wrap, as they should */
		if (end == p)
			return i > 51 ? 0 : -EPROTO;
	}
	return 0;
}
