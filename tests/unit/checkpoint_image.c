/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is written is read again; what is damaged is refused. */
#include "base/macro.h"
#include "checkpoint/image.pb-c.h"
#include "checkpoint/image/image.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define PAGES 600

static struct err e;
static uint8_t memory[PAGES * CKPT_PAGE] __attribute__((aligned(4096)));

static void fill_memory(void)
{
	unsigned seed = 7;

	memset(memory, 0, sizeof(memory));
	for (size_t i = 0; i < PAGES; i++) {
		if (i % 50 < 10)
			continue; /* zeros */
		for (size_t k = 0; k < CKPT_PAGE; k++)
			memory[i * CKPT_PAGE + k] =
				i % 3 ? (uint8_t)(k / 64 + i) : (uint8_t)rand_r(&seed);
	}
}

static int write_sample(enum ckpt_compression compression)
{
	Ckpt__Process p = CKPT__PROCESS__INIT;
	Ckpt__SignalActions s = CKPT__SIGNAL_ACTIONS__INIT;
	Ckpt__SignalAction a = CKPT__SIGNAL_ACTION__INIT, *as[] = { &a, &a };
	int fd = memfd_create("image", MFD_CLOEXEC), r;
	struct ckpt_writer *w = ckpt_writer_new(fd, compression, &e);

	p.pid = 1;
	p.cwd = (char *)(uintptr_t)"/a\nb";
	a.signal = 10;
	a.handler = 0x1234567890;
	s.n_action = 2;
	s.action = as;
	r = ckpt_write_message(w, CKPT_REC_PROCESS, 1, &p, &e);
	if (r == 0)
		r = ckpt_write_message(w, CKPT_REC_SIGACTIONS, 1, &s, &e);
	if (r == 0)
		r = ckpt_write_pages(w, 5, 0x1000, memory, PAGES, &e);
	if (r == 0)
		r = ckpt_write_pages_ref(w, 6, 0x2000, 100, 5, 0x1000, &e);
	if (r == 0)
		r = ckpt_write_end(w, false, &e);
	ckpt_writer_free(w);
	lseek(fd, 0, SEEK_SET);
	return r < 0 ? r : fd;
}

/* Reads it all; the number of pages that are as they were, or an error. */
static int read_so(int fd, bool ahead)
{
	struct ckpt_reader *r;
	struct ckpt_record rec;
	struct ckpt_pages p;
	int n, same = 0;

	lseek(fd, 0, SEEK_SET);
	r = ckpt_reader_new(fd, &e);
	if (!r || (ahead && ckpt_reader_ahead(r, &e) < 0))
		return -1;
	while ((n = ckpt_read(r, &rec, &e)) > 0) {
		if (rec.type != CKPT_REC_PAGES)
			continue;
		n = ckpt_read_pages(r, &rec, &p, &e);
		if (n < 0)
			break;
		for (uint32_t i = 0; i < p.count; i++) {
			static const uint8_t zeros[CKPT_PAGE];
			const uint8_t *got = p.data ? p.data + (size_t)i * CKPT_PAGE : zeros;

			if (p.encoding != CKPT_PAGES_REF && p.first - 0x1000 + i < PAGES)
				same += memcmp(got, memory + (p.first - 0x1000 + i) * CKPT_PAGE,
					       CKPT_PAGE) == 0;
		}
	}
	ckpt_reader_free(r);
	return n < 0 ? -1 : same;
}

static int read_all(int fd)
{
	return read_so(fd, false);
}

TEST(round_trip)
{
	static const char *const names[] = { "none", "lz4", "zstd" };
	off_t size[3];

	fill_memory();
	for (int c = CKPT_COMPRESS_NONE; c <= CKPT_COMPRESS_ZSTD; c++) {
		int fd = write_sample((enum ckpt_compression)c);

		ok(fd >= 0, "written, compression %s", names[c]);
		eq_int(read_all(fd), PAGES, "all pages are the same");
		size[c] = lseek(fd, 0, SEEK_END);
		close(fd);
	}
	ok(size[0] < (off_t)sizeof(memory), "zeros cost nothing");
	ok(size[1] < size[0] && size[2] < size[0], "compression makes it smaller");
}

TEST(read_ahead)
{
	int fd = write_sample(CKPT_COMPRESS_NONE), more;
	off_t size = lseek(fd, 0, SEEK_END);

	eq_int(read_so(fd, true), PAGES, "all pages are the same");
	eq_int(lseek(fd, 0, SEEK_CUR), size, "read to its end");
	for (off_t len = size - 1; len > 0; len = len * 15 / 16)
		ok(ftruncate(fd, len) == 0 && read_so(fd, true) < 0, "%ld bytes are no image", (long)len);
	close(fd);
	fd = write_sample(CKPT_COMPRESS_NONE);
	more = (int)lseek(fd, 0, SEEK_END);
	ok(pwrite(fd, memory, 100000, more) == 100000, "something follows");
	eq_int(read_so(fd, true), PAGES, "and is none of it");
	close(fd);
}

/* Beside a reader that goes on as if nothing had been asked. */
TEST(find)
{
	int fd = write_sample(CKPT_COMPRESS_NONE);
	off_t size = lseek(fd, 0, SEEK_END);
	struct ckpt_record rec, found;
	struct ckpt_decoder *d;
	struct ckpt_reader *r;
	const Ckpt__SignalActions *s;

	lseek(fd, 0, SEEK_SET);
	r = ckpt_reader_new(fd, &e);
	d = ckpt_decoder_new(r, &e);
	ok(ckpt_read(r, &rec, &e) == 1 && rec.type == CKPT_REC_PROCESS, "the first record");
	eq_int(ckpt_find(d, CKPT_REC_SIGACTIONS, &found, &e), 1, "another one is found");
	s = found.message;
	ok(s && s->n_action == 2 && s->action[0]->signal == 10, "with what it says");
	eq_int(ckpt_find(d, CKPT_REC_PROCESS, &found, &e), 0, "what has been read is not found");
	ok(ckpt_read(r, &rec, &e) == 1 && rec.type == CKPT_REC_SIGACTIONS, "the reader is where it was");
	eq_int(ckpt_find(d, CKPT_REC_SIGACTIONS, &found, &e), 0, "nor is what there is only one of");
	eq_int(ckpt_find(d, CKPT_REC_END, &found, &e), 1, "the end is found");
	ok(ftruncate(fd, size - 1) == 0 && ckpt_find(d, CKPT_REC_END, &found, &e) < 0, "and not when it is cut");
	ckpt_decoder_free(d);
	ckpt_reader_free(r);
	close(fd);
}

TEST(messages)
{
	int fd = write_sample(CKPT_COMPRESS_NONE);
	struct ckpt_reader *r = ckpt_reader_new(fd, &e);
	struct ckpt_record rec;
	Ckpt__Process *p;
	Ckpt__SignalActions *s;

	ok(r && ckpt_read(r, &rec, &e) == 1 && rec.type == CKPT_REC_PROCESS, "a process");
	p = ckpt_record_take(&rec);
	ok(ckpt_read(r, &rec, &e) == 1 && rec.type == CKPT_REC_SIGACTIONS, "signal actions");
	s = rec.message;
	ok(s->n_action == 2 && s->action[1]->handler == 0x1234567890, "with their values");
	eq_int(p->pid, 1, "what was taken stays");
	ckpt_message_free(p);
	ckpt_reader_free(r);
	close(fd);
}

TEST(damage)
{
	int fd = write_sample(CKPT_COMPRESS_LZ4);
	off_t size = lseek(fd, 0, SEEK_END);
	unsigned refused = 0, tried = 0, seed = 3;
	uint8_t byte;

	for (off_t at = 0; at < size; at += at < 2000 ? 1 : 5 + rand_r(&seed) % 2000) {
		uint8_t bad;

		if (pread(fd, &byte, 1, at) != 1)
			break;
		bad = byte ^ (uint8_t)(1u << (rand_r(&seed) % 8));
		if (pwrite(fd, &bad, 1, at) != 1)
			break;
		tried++;
		refused += read_all(fd) < 0;
		if (pwrite(fd, &byte, 1, at) != 1)
			break;
	}
	ok(tried > 2000, "%u bytes were changed", tried);
	eq_int(refused, tried, "all were noticed");
	eq_int(read_all(fd), PAGES, "and none when put back");
	tried = refused = 0;
	for (off_t len = size - 1; len > 0; len = len * 15 / 16) {
		ok(ftruncate(fd, len) == 0, "cut");
		tried++;
		refused += read_all(fd) < 0;
	}
	eq_int(refused, tried, "no part of it is an image");
	close(fd);
}

TEST(show)
{
	int fd = write_sample(CKPT_COMPRESS_NONE);
	cleanup_free char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	eq_int(ckpt_image_show(fd, out, false, &e), 0, "shown");
	fclose(out);
	ok(strncmp(text, "process 1: pid=1 cwd=\"/a\\x0ab\"\n"
			 "signal-actions 1: action=[ { signal=10 handler=0x1234567890 }", 60) == 0,
	   "as expected");
	ok(strstr(text, " ref=100\n") != NULL, "references too");
	close(fd);
}
