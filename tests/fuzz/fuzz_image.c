/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * An image from a stranger. Checksums are made right first, as a stranger would, so that what lies
 * behind them is reached; the input without that is read too.
 */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/image/image.h"
#include "checkpoint/image/internal.h"
#include "checkpoint/tree.h"
#include "tests/fuzz/fuzz.h"

#include <endian.h>
#include <stdlib.h>
#include <sys/mman.h>

static void mend(uint8_t *data, size_t size)
{
	struct wire_header h;

	for (size_t at = sizeof(struct wire_preamble); at + sizeof(h) <= size;) {
		memcpy(&h, data + at, sizeof(h));
		if (le64toh(h.length) > size - at - sizeof(h))
			return;
		h.checksum = htole64(wire_checksum(&h, data + at + sizeof(h), le64toh(h.length)));
		memcpy(data + at, &h, sizeof(h));
		at += sizeof(h) + le64toh(h.length);
	}
}

/* As a restore reads it: what is taken must hold together. */
static void read_tree(int fd)
{
	struct ckpt_tree t = { 0 };
	struct err e = { 0 };
	struct ckpt_record rec;
	struct ckpt_reader *r = ckpt_reader_new(fd, &e);

	if (!r)
		return;
	if (ckpt_tree_read(&t, r, &rec, &e) < 0) {
		if (!e.msg[0])
			abort();
	} else {
		for (size_t i = 0; i < t.task_count; i++)
			if (!t.tasks[i].mm || !t.tasks[i].fds || !t.tasks[i].actions || !t.tasks[i].thread_count)
				abort();
	}
	ckpt_tree_done(&t);
	ckpt_reader_free(r);
}

static void read_all(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	FILE *out = fopen("/dev/null", "we");
	struct err e = { 0 };

	if (fd < 0 || !out || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	lseek(fd, 0, SEEK_SET);
	if (ckpt_image_show(fd, out, size & 1, &e) < 0 && !e.msg[0])
		abort();
	fclose(out);
	lseek(fd, 0, SEEK_SET);
	read_tree(fd);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = malloc(size + 1);

	if (!copy)
		abort();
	read_all(data, size);
	memcpy(copy, data, size);
	mend(copy, size);
	read_all(copy, size);
	return 0;
}
