/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is left of a time-out when its call was interrupted, and who may be told. */
#include "checkpoint/timeouts.h"
#include "checkpoint/trace.h"
#include "tests/unit/tap.h"
#include "base/proc.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LONG 5000000 /* milliseconds */
#define OVER_US 30000
#define WAIT_US 20000000

struct shared {
	atomic_int calls;
};
static struct shared *sh;

static _Noreturn void body(int fd)
{
	struct epoll_event e = { EPOLLIN, { 0 } };
	int ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t v;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		_exit(1);
	for (;;) {
		sh->calls++;
		if (epoll_wait(ep, &e, 1, LONG) == 1 && read(fd, &v, 8) != 8)
			_exit(1);
	}
}

/* It sleeps in its n-th call, or a later one. */
static bool sleeps(pid_t pid, int n)
{
	uint64_t end = now_monotonic_us() + WAIT_US;
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
	while (now_monotonic_us() < end) {
		FILE *f = fopen(path, "re");
		bool in = f && fgets(text, sizeof(text), f) && atoi(text) == SYS_epoll_wait && sh->calls >= n;

		if (f)
			fclose(f);
		if (in)
			return true;
		usleep(1000);
	}
	return false;
}

/* What its time-out becomes when it is stopped now, after that look; then it goes on. */
static uint64_t left_when_stopped(const struct ckpt_timeouts *t, pid_t pid)
{
	struct user_regs_struct regs = { 0 };

	if (ckpt_trace_seize(pid, 0) < 0 || ckpt_trace_interrupt(pid) < 0 || ckpt_trace_wait_event(pid, NULL) < 0 ||
	    ckpt_trace_get_regs(pid, &regs) < 0)
		return 0;
	ckpt_timeouts_left(t, pid, 1, &regs);
	ckpt_trace_detach(pid);
	return regs.r10;
}

TEST(what_is_left)
{
	int fd = eventfd(0, EFD_CLOEXEC), calls;
	struct ckpt_timeouts t = { 0 };
	uint64_t began = now_monotonic_us(), one = 1, left;
	pid_t pid;

	if (access("/proc/self/sched", R_OK) < 0)
		skip("this kernel does not tell when a thread ran (CONFIG_SCHED_DEBUG)");
	sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid = fork();
	if (pid == 0)
		body(fd);
	ok(sleeps(pid, 1), "it waits");
	usleep(OVER_US);
	ckpt_timeouts_look(&t, &pid, 1);
	eq_int((int)t.count, 1, "it is seen to wait");
	left = left_when_stopped(&t, pid);
	ok(left < LONG && left * 1000 + (now_monotonic_us() - began) >= LONG * 1000ull, "%d of %d ms are left",
	   (int)left, LONG);
	ckpt_timeouts_done(&t);

	ok(sleeps(pid, 2), "it waits again");
	usleep(OVER_US);
	ckpt_timeouts_look(&t, &pid, 1);
	eq_int((int)t.count, 1, "it is seen to wait again");
	calls = sh->calls;
	ok(write(fd, &one, 8) == 8 && sleeps(pid, calls + 1), "it has waited anew since");
	eq_int((int)left_when_stopped(&t, pid), LONG, "all of its time is left");
	ckpt_timeouts_done(&t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(sh, 4096);
	close(fd);
}

TEST(what_is_looked_at_again)
{
	static const struct {
		const char *what;
		bool forgets;
		uint8_t len, code[40];
	} cases[] = {
		{ "a return", true, 1, { 0xc3 } },
		{ "the C library's errno", true, 28,
		  { 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff,             /* cmp $-4096, %rax */
		    0x77, 0x01,                                     /* ja */
		    0xc3,
		    0x48, 0x8b, 0x15, 0x81, 0x9e, 0x0c, 0x00,       /* mov 0xc9e81(%rip), %rdx */
		    0xf7, 0xd8,                                     /* neg %eax */
		    0x64, 0x89, 0x02,                               /* mov %eax, %fs:(%rdx) */
		    0xb8, 0xff, 0xff, 0xff, 0xff,                   /* mov $-1, %eax */
		    0xeb, 0xec } },                                 /* jmp to the return */
		{ "a call", true, 12, { 0x44, 0x89, 0xc7, 0x89, 0x44, 0x24, 0x0c, 0xe8, 0, 0, 0, 0 } },
		{ "another value", true, 6, { 0x41, 0xba, 1, 0, 0, 0 } },         /* mov $1, %r10d */
		{ "it is copied", false, 4, { 0x4c, 0x89, 0xd0, 0xc3 } },         /* mov %r10, %rax */
		{ "it is pushed", false, 3, { 0x41, 0x52, 0xc3 } },
		{ "it is an index", false, 5, { 0x4a, 0x8b, 0x04, 0x17, 0xc3 } }, /* mov (%rdi,%r10), %rax */
		{ "it is an address", false, 4, { 0x41, 0x8b, 0x02, 0xc3 } },     /* mov (%r10), %eax */
		{ "it is called", false, 4, { 0x41, 0xff, 0xd2, 0xc3 } },         /* call *%r10 */
		{ "behind a branch", false, 6, { 0x74, 0x01, 0xc3, 0x4c, 0x89, 0xd0 } },
		{ "another call of the kernel's", false, 3, { 0x0f, 0x05, 0xc3 } },
		{ "a loop", false, 2, { 0xeb, 0xfe } },
		{ "an end that is not there", false, 2, { 0x31, 0xc0 } },
		{ "a jump to nowhere", false, 5, { 0xe9, 0x00, 0x00, 0x00, 0x80 } },
		{ "an unknown instruction", false, 4, { 0xc5, 0xf8, 0x77, 0xc3 } }, /* vzeroupper */
		{ "half an instruction", false, 2, { 0x48, 0x81 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		eq_int(ckpt_code_forgets_r10(cases[i].code, cases[i].len), cases[i].forgets, "%s", cases[i].what);
}
