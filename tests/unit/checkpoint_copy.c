/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/fd.h"
#include "base/macro.h"
#include "checkpoint/copy.h"
#include "checkpoint/internal.h"
#include "tests/unit/tap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PAGES 64ul

static uint8_t *memory(void)
{
	uint8_t *p = mmap(NULL, PAGES * CKPT_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(p, 1, PAGES * CKPT_PAGE);
	return p;
}

/* How many bytes of this memory of ours go; -1: it fails. */
static int64_t copied(const uint8_t *p, bool family, bool running)
{
	cleanup_close int out = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct err e;
	struct ckpt_copy c = { .w = ckpt_writer_new(out, CKPT_COMPRESS_NONE, &e), .running = running };
	struct ckpt_source *s = ckpt_copy_add(&c, 1, getpid());
	int r;

	s->family = family;
	ckpt_ranges_add(&s->ranges, (uintptr_t)p, (uintptr_t)p + PAGES * CKPT_PAGE, true);
	r = ckpt_copy_run(&c, &e);
	ckpt_copy_done(&c);
	ckpt_writer_free(c.w);
	return r < 0 ? -1 : (int64_t)c.done;
}

TEST(once)
{
	uint8_t *p = memory();

	eq_int(copied(p, false, true), PAGES * CKPT_PAGE, "each page of a process that runs");
	eq_int(copied(p, true, true), PAGES * CKPT_PAGE, "and of one that has pages in common with others");
	eq_int(copied(p, true, false), PAGES * CKPT_PAGE, "and when all stands still");
	munmap(p, PAGES * CKPT_PAGE);
}

TEST(what_is_gone)
{
	uint8_t *p = memory();

	munmap(p + 8 * CKPT_PAGE, 4 * CKPT_PAGE);
	eq_int(copied(p, false, true), (PAGES - 4) * CKPT_PAGE, "is left out while it runs");
	eq_int(copied(p, true, true), (PAGES - 4) * CKPT_PAGE, "of families, too");
	eq_int(copied(p, false, false), -1, "and is an error when all stands still");
	munmap(p, PAGES * CKPT_PAGE);
}

/* That it cannot open memory says nothing of that. */
TEST(lack_of_fds)
{
	uint8_t *p = memory();
	struct rlimit was, none;
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* Room for what copied() opens, and for no more. */
	getrlimit(RLIMIT_NOFILE, &was);
	none = (struct rlimit){ (rlim_t)next + 1, was.rlim_max };
	close(next);
	setrlimit(RLIMIT_NOFILE, &none);
	eq_int(copied(p, true, true), -1, "an engine without fds fails");
	setrlimit(RLIMIT_NOFILE, &was);
	eq_int(copied(p, true, true), PAGES * CKPT_PAGE, "and not with them");
	munmap(p, PAGES * CKPT_PAGE);
}
