/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A VPS from a stranger: frames, the offer, and records of files that are applied to an empty directory.
 * Checksums are made right first, as a stranger would; the input without that is read too.
 */
#include "base/macro.h"
#include "base/path.h"
#include "migrate/channel.h"
#include "migrate/offer.h"
#include "migrate/record.h"
#include "storage/delta.h"
#include "tests/fuzz/fuzz.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <xxhash.h>

#define MAGIC 8
#define HEADER 16

static void mend(uint8_t *data, size_t size)
{
	uint64_t number = 0, sum;
	uint32_t len;
	uint16_t type;

	for (size_t at = MAGIC; at + HEADER <= size; at += HEADER + len) {
		memcpy(&len, data + at, 4);
		memcpy(&type, data + at + 4, 2);
		len = le32toh(len);
		if (len > size - at - HEADER)
			return;
		sum = htole64(XXH3_64bits_withSeed(data + at + HEADER, len,
						   number++ << 16 | le16toh(type)));
		memcpy(data + at + 8, &sum, 8);
	}
}

struct place {
	char dir[64];
	int top, root, limbo;
	struct storage_receive *receive;
};

static void place_init(struct place *p)
{
	static const struct storage_ids ids = { 700000, 65536 };
	struct err e;

	*p = (struct place){ .dir = "/tmp/fuzz-migrate-XXXXXX" };
	if (!mkdtemp(p->dir))
		abort();
	p->top = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mkdirat(p->top, "root", 0700);
	mkdirat(p->top, "limbo", 0700);
	p->root = openat(p->top, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->limbo = openat(p->top, "limbo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (storage_receive_new(p->root, p->limbo, &ids, STORAGE_UPPER, &p->receive, &e) < 0)
		abort();
}

/* Only what it was given may have been written in. */
static void place_done(struct place *p)
{
	struct stat st;

	storage_receive_free(p->receive);
	path_remove_tree_at(p->top, "root");
	path_remove_tree_at(p->top, "limbo");
	if (fstat(p->top, &st) < 0 || st.st_nlink > 2 || rmdir(p->dir) < 0)
		abort();
	close(p->root);
	close(p->limbo);
	close(p->top);
}

/* What was understood is said so that it is understood again. */
static void check_offer(const struct mig_offer *o)
{
	json_t *j = mig_offer_format(o);
	struct mig_offer again;
	struct err e;

	if (!j || mig_offer_parse(j, &again, &e) < 0 || again.mode != o->mode || again.live != o->live ||
	    again.paused != o->paused || again.image != o->image || again.resume != o->resume)
		abort();
	mig_offer_done(&again);
	json_decref(j);
}

static void take_json(const struct mig_frame *f)
{
	struct mig_offer o;
	struct mig_record r;
	struct err e = { 0 };
	json_t *j = mig_frame_json(f, &e);

	if (!j)
		return;
	mig_record_parse(j, &r);
	if (mig_offer_parse(j, &o, &e) == 0) {
		if (o.mode != MIG_ASK)
			check_offer(&o);
		mig_offer_done(&o);
	} else if (!e.msg[0]) {
		abort();
	}
	json_decref(j);
}

static void read_all(const uint8_t *data, size_t size)
{
	struct mig_channel c = { .out = -EBADF, .peer = "", .timeout_ms = -1 };
	struct mig_frame f;
	struct err e = { 0 };
	struct place p;

	c.in = memfd_create("fuzz", MFD_CLOEXEC);
	if (c.in < 0 || (size && write(c.in, data, size) != (ssize_t)size) || lseek(c.in, 0, SEEK_SET))
		abort();
	place_init(&p);
	while (mig_recv(&c, &f, &e) == 0 && f.type != MIG_TYPE_COUNT) {
		if (f.type == MIG_FILES)
			storage_receive_put(p.receive, f.data, f.len, &e);
		else
			take_json(&f);
	}
	place_done(&p);
	mig_channel_done(&c);
	close(c.in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size + 1);

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	read_all(copy, size);
	mend(copy, size);
	read_all(copy, size);
	free(copy);
	return 0;
}
