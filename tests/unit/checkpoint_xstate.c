/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Registers of processors that are not at hand, as well as this one's own. */
#include "checkpoint/xstate.h"
#include "base/macro.h"
#include "tests/unit/tap.h"

#include <elf.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define USED 512 /* where an area says which components it holds */
#define LEGACY 576
#define SIZE 4096

/* With AVX, AVX-512 and protection keys, as two makers have them. */
static const uint32_t intel[] = { 2, 256, 576, 5, 64, 1088, 6, 512, 1152, 7, 1024, 1664, 9, 8, 2688 };
static const uint32_t amd[] = { 2, 256, 576, 5, 64, 832, 6, 512, 896, 7, 1024, 1408, 9, 8, 2432 };
#define MASK 0x2e7u

static struct ckpt_xstate layout(uint64_t mask, const uint32_t *numbers, size_t n)
{
	struct ckpt_xstate x;
	struct err e;

	if (ckpt_xstate_parse(mask, numbers, n, &x, &e) < 0)
		abort();
	return x;
}

/* Each component of `used` is full of its own number. */
static void fill(const struct ckpt_xstate *x, uint64_t used, uint8_t area[SIZE])
{
	memset(area, 0, SIZE);
	memset(area, 0xab, USED);
	memcpy(area + USED, &used, sizeof(used));
	for (unsigned i = 2; i < CKPT_XSTATE_PARTS; i++)
		if (used >> i & 1)
			memset(area + x->part[i].offset, (int)i, x->part[i].size);
}

static void moves(const struct ckpt_xstate *from, const struct ckpt_xstate *to, uint64_t used, const char *what)
{
	uint8_t area[SIZE], want[SIZE], got[SIZE];

	fill(from, used, area);
	fill(to, used, want);
	eq_int(ckpt_xstate_convert(from, area, sizeof(area), to, got, sizeof(got)), 0, "%s", what);
	ok(memcmp(got, want, sizeof(got)) == 0, "%s: each component is at its place", what);
}

TEST(moved)
{
	struct ckpt_xstate a = layout(MASK, intel, ARRAY_SIZE(intel)), b = layout(MASK, amd, ARRAY_SIZE(amd));
	struct err e;

	eq_int(ckpt_xstate_check(&a, &b, &e), 0, "they keep the same");
	moves(&a, &b, MASK, "to the other maker's");
	moves(&b, &a, MASK, "and back");
	moves(&a, &b, 0x207, "some are in their initial state");
	moves(&a, &b, 3, "all are");
	moves(&a, &a, MASK, "to one alike");
}

TEST(initial_state)
{
	struct ckpt_xstate a = layout(MASK, intel, ARRAY_SIZE(intel)), b = layout(MASK, amd, ARRAY_SIZE(amd));
	uint8_t area[SIZE], want[SIZE], got[SIZE];

	fill(&a, MASK, area);
	fill(&b, 7, want);
	area[USED] = 7;
	area[USED + 1] = 0;
	ckpt_xstate_convert(&a, area, sizeof(area), &b, got, sizeof(got));
	ok(memcmp(got, want, sizeof(got)) == 0, "what lies where nothing is said to be used is not taken");
}

TEST(short_areas)
{
	struct ckpt_xstate a = layout(MASK, intel, ARRAY_SIZE(intel)), b = layout(MASK, amd, ARRAY_SIZE(amd));
	uint8_t area[SIZE], got[SIZE];

	fill(&a, MASK, area);
	eq_int(ckpt_xstate_convert(&a, area, 1664 + 10, &b, got, sizeof(got)), 0, "the rest of an area is zero");
	ok(got[1408 + 9] == 7 && got[1408 + 10] == 0 && got[2432] == 0, "a component that ends early");
	eq_int(ckpt_xstate_convert(&a, area, 0, &b, got, sizeof(got)), 0, "nothing at all");
	eq_int(ckpt_xstate_convert(&a, area, sizeof(area), &b, got, LEGACY - 1), -EOPNOTSUPP, "no room for what is always there");
	eq_int(ckpt_xstate_convert(&a, area, sizeof(area), &b, got, 2432 + 7), -EOPNOTSUPP, "no room for the last one");
}

TEST(more_and_less)
{
	struct ckpt_xstate a = layout(MASK, intel, ARRAY_SIZE(intel)), avx = layout(7, amd, 3);
	uint8_t area[SIZE], got[SIZE];
	struct err e;

	moves(&avx, &a, 7, "to a processor that has more");
	eq_int(ckpt_xstate_check(&avx, &a, &e), 0, "which may be");
	ok(ckpt_xstate_check(&a, &avx, &e) < 0 && strstr(e.msg, "lacks registers"), "one that has fewer: %s", e.msg);
	fill(&a, MASK, area);
	eq_int(ckpt_xstate_convert(&a, area, sizeof(area), &avx, got, sizeof(got)), -EOPNOTSUPP, "nor is any lost");
	a.part[9].size = 4;
	avx = layout(MASK, amd, ARRAY_SIZE(amd));
	ok(ckpt_xstate_check(&avx, &a, &e) < 0 && strstr(e.msg, "component 9 of XSAVE takes 4 bytes, not 8"), "another size: %s", e.msg);
	eq_int(ckpt_xstate_convert(&avx, area, sizeof(area), &a, got, sizeof(got)), -EOPNOTSUPP, "is not converted");
}

TEST(hostile_areas)
{
	struct ckpt_xstate avx = layout(7, amd, 3);
	uint8_t area[SIZE], got[SIZE];

	fill(&avx, 7, area);
	area[USED] |= 0x80;
	eq_int(ckpt_xstate_convert(&avx, area, sizeof(area), &avx, got, sizeof(got)), -EINVAL, "a component that its processor has not");
	fill(&avx, 7, area);
	area[USED + 7] = 0x80;
	eq_int(ckpt_xstate_convert(&avx, area, sizeof(area), &avx, got, sizeof(got)), -EINVAL, "nor has any");
}

TEST(hostile_layouts)
{
	static const struct {
		const char *what;
		uint64_t mask;
		uint32_t n, numbers[7];
	} rows[] = {
		{ "a component over the header", 7, 3, { 2, 256, 575 } },
		{ "one without size", 7, 3, { 2, 0, 576 } },
		{ "one larger than any area", 7, 3, { 2, 65537, 576 } },
		{ "one behind its end", 7, 3, { 2, 256, 65281 } },
		{ "an offset that wraps around", 7, 3, { 2, 256, 0xffffff00 } },
		{ "a size that wraps around", 7, 3, { 2, 0xffffffff, 576 } },
		{ "one of the legacy region", 7, 3, { 1, 256, 576 } },
		{ "no component's number", 1ull << 63 | 7, 3, { 63, 256, 576 } },
		{ "a number out of all bounds", 7, 3, { 0xffffffff, 256, 576 } },
		{ "one that the processor has not", 3, 3, { 2, 256, 576 } },
		{ "one that is missing", 0x27, 3, { 2, 256, 576 } },
		{ "one twice", 7, 6, { 2, 256, 576, 2, 256, 832 } },
		{ "one over another", 0x27, 6, { 2, 256, 576, 5, 64, 831 } },
		{ "half a component", 7, 4, { 2, 256, 576, 5 } },
		{ "a bit that is no component's", 1ull << 63 | 7, 3, { 2, 256, 576 } },
	};
	struct ckpt_xstate x;
	struct err e;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		ok(ckpt_xstate_parse(rows[i].mask, rows[i].numbers, rows[i].n, &x, &e) < 0 && strstr(e.msg, "damaged"), "%s",
		   rows[i].what);
}

TEST(written_and_read)
{
	const struct ckpt_xstate *here = ckpt_xstate_here();
	uint32_t numbers[3 * CKPT_XSTATE_PARTS];
	size_t n = ckpt_xstate_format(here, numbers);
	struct ckpt_xstate x;
	struct err e;

	ok(here->mask & 3, "this processor keeps x87 and SSE");
	ok(ckpt_xstate_parse(here->mask, numbers, n, &x, &e) == 0 && memcmp(&x, here, sizeof(x)) == 0, "as it was");
	ok(ckpt_xstate_parse(here->mask, NULL, 0, &x, &e) == 0 && memcmp(&x, here, sizeof(x)) == 0, "not said: as here");
}

/* This processor's, each component moved up behind the last, in the reverse order. */
static struct ckpt_xstate reversed(void)
{
	struct ckpt_xstate x = *ckpt_xstate_here();
	uint32_t at = LEGACY;

	for (unsigned i = CKPT_XSTATE_PARTS; i-- > 2;)
		if (x.part[i].size) {
			x.part[i].offset = at + 64;
			at += 64 + x.part[i].size;
		}
	return x;
}

/* What the kernel tells of a thread and takes again, by way of another processor. */
TEST(there_and_back)
{
	static uint8_t was[CKPT_XSTATE_MAX], moved[CKPT_XSTATE_MAX], back[CKPT_XSTATE_MAX], now[CKPT_XSTATE_MAX];
	struct ckpt_xstate other = reversed();
	const struct ckpt_xstate *here = ckpt_xstate_here();
	struct iovec iov = { was, sizeof(was) };
	pid_t pid = fork();

	if (pid == 0) {
		if (__builtin_cpu_supports("avx"))
			__asm__ volatile("vpcmpeqd %%xmm7, %%xmm7, %%xmm7; vperm2f128 $0, %%ymm7, %%ymm7, %%ymm7" ::: "memory");
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		syscall(SYS_tgkill, getpid(), getpid(), SIGSTOP);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	eq_int(ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &iov), 0, "the kernel tells");
	eq_int(ckpt_xstate_convert(here, was, iov.iov_len, &other, moved, sizeof(moved)), 0, "there");
	eq_int(ckpt_xstate_convert(&other, moved, sizeof(moved), here, back, iov.iov_len), 0, "and back");
	iov.iov_base = back;
	eq_int(ptrace(PTRACE_SETREGSET, pid, (void *)NT_X86_XSTATE, &iov), 0, "the kernel takes them");
	iov.iov_base = now;
	ptrace(PTRACE_GETREGSET, pid, (void *)NT_X86_XSTATE, &iov);
	ok(memcmp(was, now, iov.iov_len) == 0, "they are the same");
	if (__builtin_cpu_supports("avx"))
		ok(now[here->part[2].offset + 7 * 16] == 0xff, "the upper half of a register among them");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
