/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "checkpoint/binfmt.h"

#include "base/fd.h"
#include "base/macro.h"
#include "base/path.h"
#include "checkpoint/image.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define TEXT_MAX 4096
#define REGISTER_MAX 1920 /* MAX_REGISTER_LENGTH of the kernel */

bool ckpt_binfmt_is(const Ckpt__Super *s)
{
	return STREQ(s->type, "binfmt_misc");
}

/* A line of an entry, from behind its key on; NULL: there is none. */
static const char *line_of(const char *text, const char *key, size_t *len)
{
	size_t n = strlen(key);

	while (text && strncmp(text, key, n) != 0) {
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	if (!text)
		return NULL;
	*len = strcspn(text + n, "\n");
	return text + n;
}

/* Of those whose interpreter was opened when it was registered (F) it must be there to be opened again. */
static int check_interpreter(struct ckpt_dump *d, const char *name, const char *text, struct err *e)
{
	size_t len = 0, flag_len = 0;
	const char *path = line_of(text, "interpreter ", &len),
		   *flags = line_of(text, "flags: ", &flag_len);
	char where[TEXT_MAX];
	cleanup_close int fd = -EBADF;

	if (!path || !flags || !memchr(flags, 'F', flag_len))
		return 0;
	snprintf(where, sizeof(where), "%.*s", (int)len, path);
	fd = path_open_in_root(d->root, where, O_PATH, 0);
	return fd >= 0 ? 0 :
			 err_set(e, ERR_UNSUPPORTED,
				 "the interpreter %s of the binary format %s is not there any "
				 "more, which cannot be saved",
				 where, name);
}

static int add(struct ckpt_dump *d, uint32_t super, const char *name, const char *text,
	       struct err *e)
{
	struct ckpt_arena *a = &d->tree.arena;
	Ckpt__TmpfsEntry *n = ckpt_alloc(a, sizeof(*n));
	char path[NAME_MAX + 2];

	if (!n)
		return err_code(e, -ENOMEM, "collect binary formats");
	ckpt__tmpfs_entry__init(n);
	snprintf(path, sizeof(path), "/%s", name);
	n->super = super;
	n->mode = S_IFREG | 0644;
	n->path = ckpt_strdup(a, path);
	n->data.len = strlen(text);
	n->data.data = ckpt_memdup(a, text, n->data.len + 1);
	if (!n->path || !n->data.data || ckpt_push(a, &d->tree.tmpfs, &d->tree.tmpfs_count, n) < 0)
		return err_code(e, -ENOMEM, "collect binary formats");
	return check_interpreter(d, name, text, e);
}

int ckpt_binfmt_collect(struct ckpt_dump *d, uint32_t super, int root, struct err *e)
{
	cleanup_closedir DIR *dir = path_opendir_at(root, ".");
	const struct dirent *de;
	int r = 0;

	if (!dir)
		return err_sys(e, "read a binfmt_misc");
	while (r == 0 && (de = readdir(dir))) {
		cleanup_free char *text = NULL;

		if (de->d_name[0] == '.' || STREQ(de->d_name, "register"))
			continue;
		r = fd_read_file_at(dirfd(dir), de->d_name, TEXT_MAX, &text, NULL);
		r = r < 0 ? err_code(e, r, "read the binary format %s", de->d_name) :
			    add(d, super, de->d_name, text, e);
	}
	return r;
}

/* Bytes as the kernel shows them become such as it reads. */
static int put_bytes(char *out, size_t size, const char *hex, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i + 1 < len && n + 5 < size; i += 2)
		n += (size_t)snprintf(out + n, size - n, "\\x%.2s", hex + i);
	return len % 2 || n != len * 2 ? -EINVAL : 0;
}

/* The line for `register`; its fields are parted by what is in none of them. */
static int compose(const char *name, const char *text, char *out, size_t size)
{
	static const char parting[] = "\x1f\x1e\x1d";
	size_t path_len = 0, flags_len = 0, offset_len = 0, magic_len = 0, mask_len = 0;
	const char *path = line_of(text, "interpreter ", &path_len),
		   *flags = line_of(text, "flags: ", &flags_len);
	const char *offset = line_of(text, "offset ", &offset_len),
		   *magic = line_of(text, "magic ", &magic_len);
	const char *mask = line_of(text, "mask ", &mask_len), *p = parting;
	char bytes[REGISTER_MAX] = "", masked[REGISTER_MAX] = "";
	int n;

	if (!magic)
		magic = line_of(text, "extension .", &magic_len);
	while (*p && strchr(text, *p))
		p++;
	if (!path || !flags || !magic || !*p)
		return -EINVAL;
	if (offset && (put_bytes(bytes, sizeof(bytes), magic, magic_len) < 0 ||
		       (mask && put_bytes(masked, sizeof(masked), mask, mask_len) < 0)))
		return -EINVAL;
	n = offset ? snprintf(out, size, "%c%s%cM%c%.*s%c%s%c%s%c%.*s%c%.*s", *p, name, *p, *p,
			      (int)offset_len, offset, *p, bytes, *p, masked, *p, (int)path_len,
			      path, *p, (int)flags_len, flags) :
		     snprintf(out, size, "%c%s%cE%c%c%.*s%c%c%.*s%c%.*s", *p, name, *p, *p, *p,
			      (int)magic_len, magic, *p, *p, (int)path_len, path, *p,
			      (int)flags_len, flags);
	return (size_t)n < size ? 0 : -EINVAL;
}

/* The kernel opens it when it is registered, and would go through anything. */
static int check_way(const char *text, struct err *e)
{
	size_t len = 0, flags_len = 0;
	const char *path = line_of(text, "interpreter ", &len), *flags = line_of(text, "flags: ", &flags_len);
	char where[TEXT_MAX + 1];
	int fd;

	if (!path || !flags || !memchr(flags, 'F', flags_len))
		return 0;
	snprintf(where, sizeof(where), "%.*s", (int)len, path);
	fd = path_open_no_magic(where, O_PATH);
	if (fd < 0)
		return err_code(e, fd, "open the interpreter %s", where);
	close(fd);
	return 0;
}

static int restore_one(int root, const Ckpt__TmpfsEntry *n, struct err *e)
{
	cleanup_free char *text = strndup((const char *)n->data.data, n->data.len);
	const char *name = n->path + 1;
	char line[REGISTER_MAX];
	bool off = text && strncmp(text, "disabled", 8) == 0;
	int r;

	if (!text)
		return err_code(e, -ENOMEM, "register binary formats");
	if (n->data.len > TEXT_MAX || !*name || strchr(name, '/') || STREQ(name, "register"))
		return err_set(e, ERR_FAIL, "the image is damaged: a binary format");
	if (STREQ(name, "status"))
		r = off ? fd_write_file_at(root, name, "0") : 0;
	else {
		r = check_way(text, e);
		if (r < 0)
			return r;
		r = compose(name, text, line, sizeof(line));
		if (r == 0)
			r = fd_write_file_at(root, "register", line);
		if (r == 0 && off)
			r = fd_write_file_at(root, name, "0");
	}
	return r < 0 ? err_code(e, r, "register the binary format %s", name) : 0;
}

/* The newest is listed, and tried, first. */
int ckpt_binfmt_restore(const struct ckpt_tree *t, uint32_t super, int root, struct err *e)
{
	int r = 0;

	for (size_t i = t->tmpfs_count; r == 0 && i-- > 0;)
		if (t->tmpfs[i]->super == super)
			r = restore_one(root, t->tmpfs[i], e);
	return r;
}
