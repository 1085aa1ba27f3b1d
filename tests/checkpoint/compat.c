/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A 32-bit program, without a C library, so that none need be there: threads with thread-local storage that sleep in all
 * sorts of calls, run, or run 64-bit code; signal handlers of both kinds; registers; timers; locks; a child. See guest.h. With an argument
 * it says only that such programs run here.
 */
#include "compat.h"

enum { FORK = 2, OPEN = 5, GETPID = 20, KILL = 37, PIPE = 42, BRK = 45, SETITIMER = 104, GETITIMER = 105, WAIT4 = 114, IPC = 117, CLONE = 120,
       NANOSLEEP = 162, POLL = 168, PRCTL = 172, SIGACTION = 174, SIGALTSTACK = 186, MMAP = 192, FCNTL64 = 221, GETTID = 224, FUTEX = 240,
       SET_THREAD_AREA = 243, EPOLL_CREATE = 254, EPOLL_WAIT = 256, TIMER_CREATE = 259, TIMER_SETTIME = 260, TIMER_GETTIME = 261, TGKILL = 270, SET_ROBUST_LIST = 311,
       GET_ROBUST_LIST = 312 };
enum { EINTR = -4, USR1 = 10, USR2 = 12, SEMOP = 1, SEMGET = 2, SEMCTL = 3, SETVAL = 16, SI_TIMER = -2 };
enum { SA_SIGINFO = 4, SA_ONSTACK = 0x08000000, SA_RESTART = 0x10000000 };
#define THREAD_FLAGS 0x80f00u /* VM, FS, FILES, SIGHAND, THREAD... and SETTLS */
#define THREADS 10
#define STACK 16384

struct desc {
	uint32_t number, base, limit, flags;
};

/* Each thread's storage begins with its number, which its own segment leads to. */
static uint32_t storage[THREADS][4];
static uint8_t stacks[THREADS][STACK] __attribute__((aligned(16)));
static int results[THREADS];
static int numbers[THREADS]; /* of the kernel's */
static volatile int begun[THREADS], ended[THREADS], go, interrupted;
static uint32_t word = 1;
static int ends[2];
static int epoll, semaphores;
static uint32_t vsyscall;
static const uint32_t hours[2] = { 7200, 5 };

static uint32_t own(void)
{
	uint32_t v;

	__asm__ volatile("mov %%gs:0, %0" : "=r"(v));
	return v;
}

static int sleeps(void) { return sys(NANOSLEEP, P(hours), 0, 0, 0, 0); }
static int waits(void) { return sys(FUTEX, P(&word), 0, 1, 0, 0); }
/* Whose number is not in the code. */
static volatile int futex = FUTEX;
static int waits_with_time(void) { return sys(futex, P(&word), 0, 1, P(hours), 0); }
static int waits_for_events(void)
{
	uint32_t event[3];

	return sys(EPOLL_WAIT, (uint32_t)epoll, P(event), 1, 3600000, 0);
}

static int reads(void)
{
	char c = 0;

	return sys(READ, (uint32_t)ends[0], P(&c), 1, 0, 0) == 1 ? c : -1;
}

/* The kernel returns from this into the vdso. */
static int reads_by_vdso(void)
{
	char c = 0;
	int r;

	__asm__ volatile("call *%5" : "=a"(r) : "0"(READ), "b"(ends[0]), "c"(&c), "d"(1), "m"(vsyscall) : "memory");
	return r == 1 ? c : -1;
}

static int takes(void)
{
	uint16_t op[3] = { 0, (uint16_t)-1, 0 };

	return sys(IPC, SEMOP, (uint32_t)semaphores, 1, 0, P(op));
}

static int polls(void)
{
	struct { int fd; short events, revents; } p = { ends[0], 0, 0 };

	return sys(POLL, P(&p), 1, 7200000, 0, 0);
}

/* Registers of its own, without a call. */
static int runs(void)
{
	uint32_t a = 0x11111111, b = 0x22222222, c = 0x33333333;

	__asm__ volatile("fld1; fldpi; movd %0, %%xmm5\n"
			 "1: mov %3, %%eax; test %%eax, %%eax; jz 1b\n"
			 "fsubp; fistpl (%%esp, %%ecx)\n" : "+r"(a), "+S"(b), "+D"(c) : "m"(go), "c"(-64) : "eax", "memory");
	__asm__ volatile("movd %%xmm5, %0" : "=r"(a));
	return a == 0x11111111 && b == 0x22222222 && c == 0x33333333;
}

/* What is wider than 32 bits stays. */
static int runs_wide(void)
{
	uint32_t good;

	__asm__ volatile("ljmp $0x33, $1f\n"
			 ".code64\n"
			 "1: movabs $0x123456789abcdef0, %%rdx; mov %%rdx, %%r8; mov %%rdx, %%r15; mov $go, %%ecx\n"
			 "2: mov (%%rcx), %%eax; test %%eax, %%eax; jz 2b\n"
			 "xor %%eax, %%eax; cmp %%rdx, %%r8; jne 3f; cmp %%rdx, %%r15; jne 3f; inc %%eax\n"
			 "3: ljmp *4f(%%rip)\n"
			 "4: .long 5f; .word 0x23\n"
			 ".code32\n"
			 "5:\n" : "=a"(good) : : "ecx", "edx", "memory");
	return (int)good;
}

static int (*const lives[THREADS])(void) = { sleeps, waits, waits_with_time, waits_for_events, reads, reads_by_vdso,
					     takes, polls, runs, runs_wide };

__attribute__((used)) static void live(uint32_t i)
{
	numbers[i] = sys(GETTID, 0, 0, 0, 0, 0);
	begun[i] = own() == 100 + i;
	while ((results[i] = lives[i]()) == EINTR && !go)
		interrupted++;
	ended[i] = own() == 100 + i ? 1 : -1;
	sys(EXIT, 0, 0, 0, 0, 0);
}

/* On a new stack, where the number is the first word. */
static void begin(uint32_t i, uint32_t entry)
{
	uint32_t *top = (uint32_t *)(void *)(stacks[i] + STACK - 64);
	struct desc d = { entry, P(storage[i]), 0xfffff, 0x51 };
	int r;

	storage[i][0] = 100 + i;
	top[0] = i;
	__asm__ volatile("int $0x80; test %%eax, %%eax; jnz 1f; call live; 1:"
			 : "=a"(r) : "0"(CLONE), "b"(THREAD_FLAGS | 0x10000u), "c"(top), "d"(0), "S"(&d), "D"(0) : "memory");
	CHECK(r > 0);
}

static volatile int plain, told, on_stack, rung;
static uint8_t signal_stack[STACK];

__asm__(".globl back, back_rt\n"
	"back: pop %eax; mov $119, %eax; int $0x80\n"
	"back_rt: mov $173, %eax; int $0x80\n");
void back(void);
void back_rt(void);

static void on_plain(int sig)
{
	plain = sig;
}

static void on_told(int sig, const uint32_t *info, const void *context)
{
	uint8_t here;

	told = sig == USR2 && info[0] == USR2 && context != 0;
	if ((int)info[2] == SI_TIMER)
		rung = (int)info[5];
	on_stack = &here >= signal_stack && &here < signal_stack + STACK;
}

static void set_handlers(void)
{
	const uint32_t a[5] = { P(on_plain), 0x04000000u, P(back), 0, 0 };
	const uint32_t b[5] = { P(on_told), 0x04000000u | SA_SIGINFO | SA_ONSTACK | SA_RESTART, P(back_rt), 0, 0 };
	const uint32_t stack[3] = { P(signal_stack), 0, STACK };

	CHECK(sys(SIGACTION, USR1, P(a), 0, 8, 0) == 0);
	CHECK(sys(SIGACTION, USR2, P(b), 0, 8, 0) == 0);
	CHECK(sys(SIGALTSTACK, P(stack), 0, 0, 0, 0) == 0);
}

static void try_handlers(void)
{
	int pid = sys(GETPID, 0, 0, 0, 0, 0);

	/* One for the process might be taken by another thread, on its way out of the stop. */
	plain = told = on_stack = 0;
	CHECK(sys(TGKILL, (uint32_t)pid, (uint32_t)pid, USR1, 0, 0) == 0);
	CHECK(plain == USR1);
	CHECK(sys(TGKILL, (uint32_t)pid, (uint32_t)pid, USR2, 0, 0) == 0);
	CHECK(told);
	CHECK(on_stack);
}

static void set_own(void)
{
	static uint32_t first[4] = { 99 };
	struct desc d = { (uint32_t)-1, P(first), 0xfffff, 0x51 };

	CHECK(sys(SET_THREAD_AREA, P(&d), 0, 0, 0, 0) == 0);
	__asm__ volatile("mov %w0, %%gs" : : "r"(d.number * 8 + 3));
	CHECK(own() == 99);
	for (uint32_t i = 0; i < THREADS; i++)
		begin(i, d.number);
}

/* Seconds and fractions, of what is again and again and of what is left. */
static const uint32_t long_time[4] = { 7, 3000, 900, 0 };
static uint32_t timer;

static void set_timers(void)
{
	const uint32_t event[16] = { 4711, USR2, 0 /* SIGEV_SIGNAL */ };

	CHECK(sys(TIMER_CREATE, 1 /* CLOCK_MONOTONIC */, P(event), P(&timer), 0, 0) == 0);
	CHECK(sys(TIMER_SETTIME, timer, 0, P(long_time), 0, 0) == 0);
	CHECK(sys(SETITIMER, 0 /* ITIMER_REAL */, P(long_time), 0, 0, 0) == 0);
}

static bool goes_on(const uint32_t t[4])
{
	return t[0] == 7 && t[1] == 3000 && t[2] > 700 && t[2] <= 900;
}

static void see_timers(void)
{
	static const uint32_t soon[4] = { 0, 0, 0, 1 }, little[2] = { 0, 1000000 };
	uint32_t left[4];

	CHECK(sys(TIMER_GETTIME, timer, P(left), 0, 0, 0) == 0 && goes_on(left));
	CHECK(sys(GETITIMER, 0, P(left), 0, 0, 0) == 0 && goes_on(left));
	CHECK(sys(TIMER_SETTIME, timer, 0, P(soon), 0, 0) == 0);
	while (!rung)
		sys(NANOSLEEP, P(little), 0, 0, 0, 0);
	CHECK(rung == 4711);
}

/* As 32-bit programs have it. */
struct lock {
	int16_t type, whence;
	uint64_t start, length;
	int32_t pid;
} __attribute__((packed));

enum { GETLK64 = 12, SETLK64 = 13, WRLCK = 1 };

static int ask_lock(uint32_t how, struct lock *l)
{
	int fd = sys(OPEN, P("/root/lock"), 0102 /* O_RDWR | O_CREAT */, 0600, 0, 0);

	return sys(FCNTL64, (uint32_t)fd, how, P(l), 0, 0);
}

static void set_lock(void)
{
	struct lock l = { WRLCK, 0, 1ull << 33, 10, 0 };

	CHECK(ask_lock(SETLK64, &l) == 0);
}

/* Its parent has it. */
static bool has_lock(void)
{
	struct lock l = { WRLCK, 0, 0, 0, 0 };

	return ask_lock(GETLK64, &l) == 0 && l.type == WRLCK && l.start == 1ull << 33 && l.length == 10 && l.pid == 1;
}

/* All are where they will be for long. */
static void see_begun(void)
{
	static const uint32_t little[2] = { 0, 50000000 };

	for (uint32_t i = 0; i < THREADS; i++)
		while (!begun[i])
			sys(NANOSLEEP, P(little), 0, 0, 0, 0);
	sys(NANOSLEEP, P(little), 0, 0, 0, 0);
}

static int child(void)
{
	int pid = sys(FORK, 0, 0, 0, 0, 0), at_end = 0;
	char c;

	if (pid)
		return pid;
	CHECK(sys(PRCTL, 1 /* PR_SET_PDEATHSIG */, USR2, 0, 0, 0) == 0);
	/* Until it is told to by its parent's signal. */
	while (!plain)
		sys(POLL, 0, 0, 100, 0, 0);
	CHECK(sys(PRCTL, 2 /* PR_GET_PDEATHSIG */, P(&at_end), 0, 0, 0) == 0);
	c = own() == 99 && has_lock() && at_end == USR2 ? 7 : 8;
	sys(EXIT, (uint32_t)c, 0, 0, 0, 0);
	return 0;
}

static void end_threads(void)
{
	static const uint32_t little[2] = { 0, 10000000 };
	struct { uint32_t cmd; } one = { 1 };
	int pid = sys(GETPID, 0, 0, 0, 0, 0);

	for (uint32_t i = 0; i < THREADS; i++)
		CHECK(!ended[i]);
	go = 1;
	/* After a stop they may not sleep yet. */
	while (!ended[1] || !ended[2]) {
		sys(FUTEX, P(&word), 1, 2, 0, 0);
		sys(NANOSLEEP, P(little), 0, 0, 0, 0);
	}
	while (!ended[0] || !ended[3] || !ended[7]) {
		for (uint32_t i = 0; i < 8; i++)
			if ((i == 0 || i == 3 || i == 7) && !ended[i])
				sys(TGKILL, (uint32_t)pid, (uint32_t)numbers[i], USR1, 0, 0);
		sys(NANOSLEEP, P(little), 0, 0, 0, 0);
	}
	sys(WRITE, (uint32_t)ends[1], P("ab"), 2, 0, 0);
	sys(IPC, SEMCTL, (uint32_t)semaphores, 0, SETVAL, P(&one));
	for (uint32_t i = 0; i < THREADS; i++)
		while (!ended[i])
			sys(NANOSLEEP, P(little), 0, 0, 0, 0);
	for (uint32_t i = 0; i < THREADS; i++)
		CHECK(ended[i] == 1);
	CHECK(results[0] == EINTR);
	CHECK(results[1] == 0);
	CHECK(results[2] == 0);
	CHECK(results[3] == EINTR);
	CHECK(results[4] + results[5] == 'a' + 'b');
	CHECK(results[6] == 0);
	CHECK(results[7] == EINTR);
	CHECK(results[8] == 1);
	CHECK(results[9] == 1);
}

static void see_memory(void)
{
	uint32_t brk = (uint32_t)sys(BRK, 0, 0, 0, 0, 0);
	uint32_t at = (uint32_t)sys(MMAP, 0, 1 << 20, 3, 0x22, (uint32_t)-1);

	CHECK(at < 0xfffff000u);
	*(volatile uint32_t *)at = 1;
	CHECK((uint32_t)sys(BRK, brk + 65536, 0, 0, 0, 0) == brk + 65536);
	*(volatile uint32_t *)brk = 1;
}

static void set_up(void)
{
	CHECK(sys(PIPE, P(ends), 0, 0, 0, 0) == 0);
	epoll = sys(EPOLL_CREATE, 1, 0, 0, 0, 0);
	semaphores = sys(IPC, SEMGET, 0, 1, 0600, 0);
	CHECK(epoll >= 0);
	CHECK(semaphores >= 0);
	set_handlers();
	set_timers();
	set_lock();
	set_own();
}

/* What is in registers while it waits for a line. True: "on", for which the engine was killed. */
static bool wait_for_line(void)
{
	uint32_t in = 0x5a5a1234, out = 0;
	bool killed = false;
	char c = 0;

	say("ready\n");
	__asm__ volatile("movd %0, %%xmm6" : : "r"(in));
	while (c != '\n') {
		CHECK(sys(READ, 0, P(&c), 1, 0, 0) == 1);
		killed |= c == 'o' && out == 0;
		out = 1;
	}
	__asm__ volatile("movd %%xmm6, %0" : "=r"(out));
	CHECK(out == in);
	return killed;
}

static uint32_t find_vsyscall(const uint32_t *args)
{
	const uint32_t *p = args + 1 + args[0] + 1;

	while (*p)
		p++;
	for (p++; p[0]; p += 2)
		if (p[0] == 32) /* AT_SYSINFO */
			return p[1];
	return 0;
}

__attribute__((used)) static void run(const uint32_t *args)
{
	static uint32_t robust[3];
	uint32_t head = 0, len = 0;
	int pid, status = 0;
	bool killed;

	if (args[0] > 1)
		sys(EXIT, 0, 0, 0, 0, 0);
	vsyscall = find_vsyscall(args);
	robust[0] = P(robust);
	CHECK(vsyscall);
	CHECK(sys(SET_ROBUST_LIST, P(robust), 12, 0, 0, 0) == 0);
	set_up();
	see_begun();
	try_handlers();
	plain = 0;
	pid = child();
	killed = wait_for_line();
	/* Calls that any stop ends are begun again by the engine, if it lives that long. */
	CHECK(killed || !interrupted);
	CHECK(sys(GET_ROBUST_LIST, 0, P(&head), P(&len), 0, 0) == 0);
	CHECK(head == P(robust));
	CHECK(own() == 99);
	try_handlers();
	CHECK(sys(KILL, (uint32_t)pid, USR1, 0, 0, 0) == 0);
	CHECK(sys(WAIT4, (uint32_t)pid, P(&status), 0, 0, 0) == pid);
	CHECK(status == 7 << 8);
	see_memory();
	see_timers();
	end_threads();
	say(failed ? "bad\n" : "good\n");
	sys(EXIT, (uint32_t)failed, 0, 0, 0, 0);
}
