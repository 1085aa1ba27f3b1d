/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What /proc/PID/smaps tells of memory, of processors and kernels that are not at hand too. */
#include "checkpoint/flags.h"
#include "tests/unit/tap.h"

static struct ckpt_flags flags;

static const struct ckpt_flag *parse(const char *text)
{
	struct ckpt_map m = { .start = 0x7f0000000000, .end = 0x7f0000200000 };
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");

	ckpt_flags_done(&flags);
	if (ckpt_flags_parse(&flags, 7, f) < 0)
		abort();
	fclose(f);
	return ckpt_flags_find(&flags, 7, &m);
}

#define AREA "7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \n"
#define AREA_OF(page, rss, key, vm) AREA "KernelPageSize: " page " kB\nRss: " rss " kB\n" key "VmFlags: " vm "\n"

TEST(plain)
{
	const struct ckpt_flag *f = parse(AREA_OF("4", "8", "ProtectionKey:         0\n", "rd wr mr mw me ac "));

	ok(f && !f->refused && !f->advice && !f->locked && !f->huge && !f->sealed && !f->no_reserve, "nothing special");
	f = parse(AREA_OF("4", "8", "", "rd wr mr mw me lo hg ac sl "));
	ok(f->locked == (CKPT_LOCKED | CKPT_LOCKED_ONFAULT) && f->advice == CKPT_ADVICE_HUGEPAGE && f->sealed &&
		   !f->huge,
	   "locked when it comes, advised, sealed");
	ok(!parse("7f0000000000-7f0000100000 rw-p 00000000 00:00 0 \nVmFlags: rd \n"),
	   "a part of it says nothing of all");
}

TEST(huge)
{
	const struct ckpt_flag *f = parse(AREA_OF("2048", "0", "", "rd wr mr mw me de nr ht "));

	ok(f && f->huge == 21 && f->no_reserve && !f->refused, "pages of 2 MiB, without a reservation");
	f = parse(AREA_OF("1048576", "0", "", "rd wr mr mw me lo de ht "));
	ok(f->huge == 30 && !f->no_reserve && f->locked == CKPT_LOCKED,
	   "pages of 1 GiB, locked though none is counted");
}

TEST(refused)
{
	const struct ckpt_flag *f = parse(AREA_OF("4", "8", "ProtectionKey:         3\n", "rd wr mr mw me ac "));

	ok(f && f->key == 3 && !f->refused, "a protection key");
	f = parse(AREA_OF("4", "8", "", "rd wr mr mw me ss "));
	ok(f->refused && strstr(f->refused, "shadow stack"), "a shadow stack");
	f = parse(AREA_OF("4", "8", "", "rd wr mr mw me um "));
	ok(f->refused && strstr(f->refused, "userfaultfd"), "a userfaultfd");
	f = parse(AREA_OF("4", "8", "", "rd wr sh mr mw me ms pf io dc de dd "));
	ok(f->refused && strstr(f->refused, "device"), "a device");
}
