/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/memfd_attributes.h"

#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/enter.h"
#include "checkpoint/groups.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/restore_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define COUNT_MAX 1024
#define BYTES_MAX MIB(1) /* of all values together */

struct reading {
	struct ckpt_dump *d;
	Ckpt__Shmem *s;
	char path[64];
};

static bool is_ours(const char *name)
{
	return strncmp(name, "user.", 5) == 0 || STREQ(name, "security.capability") ||
	       STREQ(name, "system.posix_acl_access");
}

/* No tenant can have the engine read more. */
static int measure(const char *path, size_t *ret_count, size_t *ret_bytes)
{
	char names[CKPT_XATTRS_MAX];
	ssize_t n = listxattr(path, names, sizeof(names)), len;

	*ret_count = *ret_bytes = 0;
	if (n < 0)
		return errno == ENOTSUP ? 0 : -errno;
	for (const char *p = names; p < names + n; p += strlen(p) + 1) {
		len = getxattr(path, p, NULL, 0);
		if (len >= 0)
			*ret_bytes += (size_t)len;
		*ret_count += 1;
	}
	return 0;
}

static int read_all(void *arg, struct err *e)
{
	struct reading *r = arg;
	size_t count, bytes, kept = 0;
	int n = measure(r->path, &count, &bytes);

	if (n == -E2BIG || count > COUNT_MAX || bytes > BYTES_MAX)
		return err_set(e, ERR_UNSUPPORTED, "the memfd %s has more than %d extended attributes, or of more than a "
			       "MiB, which cannot be saved", r->s->name, COUNT_MAX);
	if (n == 0)
		n = ckpt_xattrs_read(&r->d->tree.arena, r->path, &r->s->xattrs, &r->s->n_xattrs);
	for (size_t i = 0; n == 0 && i < r->s->n_xattrs; i++)
		if (is_ours(r->s->xattrs[i]->name))
			r->s->xattrs[kept++] = r->s->xattrs[i];
	r->s->n_xattrs = kept;
	return n < 0 ? err_code(e, n, "read the attributes of the memfd %s", r->s->name) : 0;
}

int ckpt_memfd_attributes(struct ckpt_dump *d, int fd, Ckpt__Shmem *s, struct err *e)
{
	struct reading r = { .d = d, .s = s };

	ssize_t n;

	snprintf(r.path, sizeof(r.path), "/proc/self/fd/%d", fd);
	n = listxattr(r.path, NULL, 0);
	if (n == 0 || (n < 0 && errno == ENOTSUP))
		return 0;
	return ckpt_within(&d->spaces.space[d->spaces.main[CKPT_SPACE_USER] - 1].fd, 1, read_all, &r, e);
}

int ckpt_memfd_attributes_check(const Ckpt__Shmem *s, uint64_t id, struct err *e)
{
	size_t bytes = 0;
	bool ok = s->n_xattrs <= COUNT_MAX && (s->memfd || !s->n_xattrs);

	for (size_t i = 0; ok && i < s->n_xattrs; i++) {
		bytes += s->xattrs[i]->value.len;
		ok = is_ours(s->xattrs[i]->name) && strlen(s->xattrs[i]->name) < 256 && bytes <= BYTES_MAX;
	}
	return ok ? 0 : err_set(e, ERR_FAIL, "the image is damaged: attributes of memory %llu", (unsigned long long)id);
}

static int set_all(void *arg, struct err *e)
{
	const struct restore *r = arg;

	for (size_t i = 0; i < r->tree.shmem_count; i++)
		for (size_t k = 0; k < r->tree.shmems[i]->n_xattrs; k++) {
			const Ckpt__Setting *x = r->tree.shmems[i]->xattrs[k];

			if (fsetxattr(r->shmem_fd[i], x->name, x->value.data, x->value.len, 0) < 0)
				return err_sys(e, "set %s of the memfd %s", x->name, r->tree.shmems[i]->name);
		}
	return 0;
}

int restore_memfd_attributes(struct restore *r, struct err *e)
{
	cleanup_close int user = -EBADF;
	size_t n = 0;

	for (size_t i = 0; i < r->tree.shmem_count; i++)
		n += r->tree.shmems[i]->n_xattrs;
	if (!n)
		return 0;
	user = ckpt_space_open((int)rt_init_pid(r->vps), "user", e);
	return user < 0 ? user : ckpt_within(&user, 1, set_all, r, e);
}
