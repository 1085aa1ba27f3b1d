/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/disk.h"

#include "base/fd.h"
#include "base/macro.h"
#include "storage/delta.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MAGIC "VPSFILES"

struct frame {
	uint32_t length, zero;
	uint64_t sum;
};

struct disk_save {
	int top, tmp;
	struct storage_send *send;
	uint64_t number, bytes, total;
	disk_tell tell;
};

static int open_upper(const struct storage_root *root, struct err *e)
{
	char path[600];
	int fd;

	snprintf(path, sizeof(path), "%s/upper", root->dir);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? err_sys(e, "open %s", path) : fd;
}

static int put_frame(struct disk_save *s, const void *record, size_t len, struct err *e)
{
	struct frame f = { .length = htole32((uint32_t)len),
			   .sum = htole64(XXH3_64bits_withSeed(record, len, s->number++)) };
	int r = fd_write_full(s->tmp, &f, sizeof(f));

	if (r == 0)
		r = fd_write_full(s->tmp, record, len);
	return r < 0 ? err_code(e, r, "write the files") : 0;
}

static int put(void *ctx, const void *record, size_t len, struct err *e)
{
	struct disk_save *s = ctx;

	s->bytes += len;
	if (s->tell && s->tell(NULL, "files", s->bytes, s->total))
		return err_set(e, ERR_CANCELLED, "cancelled");
	return put_frame(s, record, len, e);
}

int disk_save_new(const struct storage_root *root, int tmpdir, disk_tell tell, struct disk_save **ret,
		  struct err *e)
{
	const struct storage_ids ids = { root->id_base, root->id_count };
	struct disk_save *s = calloc(1, sizeof(*s));
	uint64_t entries;
	int r;

	if (!s)
		return err_code(e, -ENOMEM, "save the files");
	s->tell = tell;
	s->top = open_upper(root, e);
	s->tmp = openat(tmpdir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (s->top < 0)
		r = s->top;
	else if (s->tmp < 0)
		r = err_sys(e, "make a file");
	else
		r = storage_send_new(s->top, &ids, STORAGE_UPPER, put, s, &s->send, e);
	if (r == 0)
		r = storage_send_size(s->send, &s->total, &entries, e);
	if (r == 0 && fd_write_full(s->tmp, MAGIC, 8) < 0)
		r = err_sys(e, "write the files");
	if (r < 0) {
		disk_save_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int disk_save_pass(struct disk_save *s, bool last, struct err *e)
{
	struct storage_pass pass;

	return storage_send_pass(s->send, NULL, last, &pass, e);
}

int disk_save_append(struct disk_save *s, int fd, struct err *e)
{
	int r = put_frame(s, "", 0, e);
	off_t in = 0;
	struct stat st;

	if (r < 0)
		return r;
	if (fstat(s->tmp, &st) < 0 || lseek(fd, 0, SEEK_END) < 0)
		return err_sys(e, "append the files");
	while (in < st.st_size) {
		char buf[65536];
		ssize_t n = copy_file_range(s->tmp, &in, fd, NULL, (size_t)(st.st_size - in), 0);

		if (n > 0)
			continue;
		n = pread(s->tmp, buf, sizeof(buf), in); /* by hand, which says what is wrong */
		if (n <= 0)
			return err_sys(e, "append the files");
		r = fd_write_full(fd, buf, (size_t)n);
		if (r < 0)
			return err_code(e, r, "append the files");
		in += n;
	}
	return 0;
}

void disk_save_free(struct disk_save *s)
{
	if (!s)
		return;
	storage_send_free(s->send);
	fd_close(&s->top);
	fd_close(&s->tmp);
	free(s);
}

static int damaged(struct err *e)
{
	return err_set(e, ERR_FAIL, "the image is damaged: its files");
}

/* 1: a record; 0: the end. */
static int get_frame(int fd, uint64_t number, uint8_t *data, size_t *ret_len, struct err *e)
{
	struct frame f;
	size_t len;

	if (fd_read_full(fd, &f, sizeof(f)) != sizeof(f) || f.zero)
		return damaged(e);
	len = le32toh(f.length);
	if (len > STORAGE_RECORD_MAX || fd_read_full(fd, data, len) != (ssize_t)len ||
	    XXH3_64bits_withSeed(data, len, number) != le64toh(f.sum))
		return damaged(e);
	*ret_len = len;
	return len > 0;
}

static int load(int fd, struct storage_receive *r, disk_tell tell, struct err *e)
{
	cleanup_free uint8_t *data = malloc(STORAGE_RECORD_MAX);
	uint64_t number = 0, bytes = 0;
	size_t len = 0;
	int n;

	if (!data)
		return err_code(e, -ENOMEM, "read the files");
	if (fd_read_full(fd, data, 8) != 8 || memcmp(data, MAGIC, 8) != 0)
		return damaged(e);
	while ((n = get_frame(fd, number++, data, &len, e)) > 0) {
		n = r ? storage_receive_put(r, data, len, e) : 0;
		bytes += len;
		if (n == 0 && tell && tell(NULL, "files", bytes, 0))
			n = err_set(e, ERR_CANCELLED, "cancelled");
		if (n < 0)
			return n;
	}
	if (n == 0 && r && !storage_receive_is_whole(r))
		return damaged(e);
	return n;
}

int disk_load(int fd, const struct storage_root *root, disk_tell tell, struct err *e)
{
	cleanup_close int upper = -EBADF, limbo = -EBADF;
	struct storage_receive *r;
	struct storage_ids ids;
	char path[600];
	int n;

	if (!root)
		return load(fd, NULL, tell, e);
	ids = (struct storage_ids){ root->id_base, root->id_count };
	upper = open_upper(root, e);
	if (upper < 0)
		return upper;
	snprintf(path, sizeof(path), "%s/limbo", root->dir);
	if (mkdir(path, 0700) < 0)
		return err_sys(e, "make %s", path);
	limbo = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	n = limbo < 0 ? err_sys(e, "open %s", path)
		      : storage_receive_new(upper, limbo, &ids, STORAGE_UPPER, &r, e);
	if (n < 0)
		return n;
	n = load(fd, r, tell, e);
	storage_receive_free(r);
	if (n == 0 && rmdir(path) < 0)
		n = err_sys(e, "remove %s", path);
	return n;
}
