/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The filters twice: run by an interpreter, which shows every architecture and needs no kernel, and
 * by the kernel, which shows that it takes them and what a process then gets.
 */
#include "runtime/seccomp.h"

#include "base/macro.h"
#include "runtime/value.h"
#include "tests/unit/tap.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* The instructions that seccomp filters are made of (seccomp_check_filter() in the kernel). */
static uint32_t interpret(const struct sock_filter *f, size_t n, const struct seccomp_data *d)
{
	uint32_t a = 0;

	for (size_t pc = 0; pc < n; pc++) {
		const struct sock_filter *i = &f[pc];
		bool yes;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (i->k > sizeof(*d) - 4 || i->k % 4)
				return 0xdead0001;
			memcpy(&a, (const char *)d + i->k, 4);
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= i->k;
			break;
		case BPF_JMP | BPF_JSET | BPF_K:
			yes = a & i->k;
			break;
		default:
			return 0xdead0002;
		}
		pc += yes ? i->jt : i->jf;
	}
	return 0xdead0003; /* ran off the end */
}

#define ALLOW 0

/* The errno that a call gets from the filter, ALLOW, or -1 for anything else. */
static int verdict(unsigned features, uint32_t arch, int nr, uint64_t a0, uint64_t a1)
{
	struct sock_filter f[RT_SECCOMP_MAX];
	size_t n = rt_seccomp_program(features, f);
	struct seccomp_data d = { .arch = arch, .nr = nr, .args = { a0, a1 } };
	uint32_t r = interpret(f, n, &d);

	if (r == SECCOMP_RET_ALLOW)
		return ALLOW;
	if ((r & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO)
		return -1;
	return (int)(r & SECCOMP_RET_DATA);
}

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE AUDIT_ARCH_AARCH64
#endif

static int native(unsigned features, const char *name, uint64_t a0, uint64_t a1)
{
	int nr = seccomp_syscall_resolve_name(name);

	return nr < 0 ? -2 : verdict(features, NATIVE, nr, a0, a1);
}

static int i386(unsigned features, const char *name, uint64_t a0, uint64_t a1)
{
	int nr = seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, name);

	return nr < 0 ? -2 : verdict(features, AUDIT_ARCH_I386, nr, a0, a1);
}

static const struct {
	const char *name;
	int errnum;
} denied[] = {
	{ "kexec_load", EPERM },     { "kexec_file_load", EPERM },   { "init_module", EPERM },
	{ "finit_module", EPERM },   { "delete_module", EPERM },     { "bpf", EPERM },
	{ "perf_event_open", EPERM },{ "open_by_handle_at", EPERM }, { "clock_settime", EPERM },
	{ "settimeofday", EPERM },   { "swapon", EPERM },            { "swapoff", EPERM },
	{ "iopl", EPERM },           { "ioperm", EPERM },            { "quotactl", EPERM },
	{ "quotactl_fd", EPERM },    { "acct", EPERM },              { "syslog", EPERM },
	{ "keyctl", ENOSYS },        { "add_key", ENOSYS },          { "request_key", ENOSYS },
	{ "memfd_secret", ENOSYS },  { "userfaultfd", ENOSYS },      { "io_uring_setup", ENOSYS },
	{ "io_uring_enter", ENOSYS },{ "io_uring_register", ENOSYS },{ "uselib", ENOSYS },
	{ "landlock_create_ruleset", ENOSYS }, { "landlock_restrict_self", ENOSYS },
	{ "ustat", ENOSYS },         { "sysfs", ENOSYS },            { "stime", EPERM },
	{ "clock_settime64", EPERM },{ "vm86", ENOSYS },             { "vm86old", ENOSYS },
};

/* What systemd, container engines, databases, sshd and browsers' sandboxes live on. */
static const char *const allowed[] = {
	"read", "execve", "clone", "clone3", "unshare", "setns", "mount", "umount2", "pivot_root",
	"open_tree", "move_mount", "fsopen", "fsmount", "fsconfig", "mount_setattr", "chroot",
	"ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd",
	"pidfd_send_signal", "kcmp", "fanotify_init", "fanotify_mark", "inotify_init1",
	"name_to_handle_at", "seccomp", "prctl", "capset", "setuid", "setgroups", "reboot",
	"sethostname", "mknodat", "memfd_create", "epoll_create1", "io_setup", "io_submit",
	"shmget", "semget", "msgget", "mq_open", "personality", "sched_setscheduler", "mbind",
	"set_mempolicy", "get_mempolicy", "move_pages", "mlockall", "setrlimit", "prlimit64",
	"timer_create", "adjtimex", "clock_adjtime", "clock_gettime", "getrandom",
	"copy_file_range",
	"statx", "openat2", "close_range", "rseq", "membarrier", "ioprio_set", "vhangup",
	"sendmsg", "recvmmsg", "accept4", "setsockopt", "splice", "tee", "vmsplice", "futex",
	"set_robust_list", "arch_prctl", "modify_ldt", "sync", "fallocate", "flock",
};

TEST(native_calls)
{
#ifndef NATIVE
	skip("no table for this architecture");
#else
	for (size_t i = 0; i < ARRAY_SIZE(denied); i++) {
		int r = native(0, denied[i].name, 0, 0);

		if (r == -2)
			ok(i386(0, denied[i].name, 0, 0) == denied[i].errnum,
			   "%s is of i386 alone, and refused", denied[i].name);
		else
			eq_int(r, denied[i].errnum, "%s is refused", denied[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		eq_int(native(0, allowed[i], 0, 0), ALLOW, "%s is allowed", allowed[i]);
	eq_int(verdict(0, NATIVE, 460, 0, 0), ALLOW, "a new call is allowed");
	eq_int(verdict(0, NATIVE, -1, 0, 0), ALLOW, "a call that a tracer skips is allowed");
#endif
}

#if defined(__x86_64__)
TEST(i386_calls)
{
	for (size_t i = 0; i < ARRAY_SIZE(denied); i++) {
		int r = i386(0, denied[i].name, 0, 0);

		if (r != -2)
			eq_int(r, denied[i].errnum, "%s is refused", denied[i].name);
	}
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
		int r = i386(0, allowed[i], 0, 0);

		if (r != -2)
			eq_int(r, ALLOW, "%s is allowed", allowed[i]);
	}
	eq_int(i386(0, "socketcall", 2, 0), ALLOW, "bind by socketcall");
	eq_int(i386(0, "ipc", 1, 0), ALLOW, "ipc");
}

TEST(other_architectures)
{
	eq_int(verdict(0, NATIVE, 0x40000000, 0, 0), ENOSYS, "read of x32");
	eq_int(verdict(0, NATIVE, 0x40000000 | SYS_bpf, 0, 0), ENOSYS, "bpf of x32");
	eq_int(verdict(~0U, NATIVE, 0x40000000 | SYS_bpf, 0, 0), ENOSYS, "with all features too");
	eq_int(verdict(0, AUDIT_ARCH_AARCH64, 63, 0, 0), ENOSYS, "another machine");
}
#endif

TEST(features_open_their_calls)
{
	static const struct {
		unsigned bit;
		const char *name;
	} rows[] = {
		{ RT_FEATURE_IO_URING, "io_uring_setup" },
		{ RT_FEATURE_IO_URING, "io_uring_enter" },
		{ RT_FEATURE_IO_URING, "io_uring_register" },
		{ RT_FEATURE_USERFAULTFD, "userfaultfd" },
		{ RT_FEATURE_LANDLOCK, "landlock_create_ruleset" },
		{ RT_FEATURE_LANDLOCK, "landlock_add_rule" },
		{ RT_FEATURE_LANDLOCK, "landlock_restrict_self" },
	};

#ifndef NATIVE
	skip("no table for this architecture");
#else
	/* Every combination: a part that is left out must not move the others. */
	for (unsigned f = 0; f < 32; f++) {
		bool good = true;

		for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
			good = good && native(f, rows[i].name, 0, 0) ==
					       (f & rows[i].bit ? ALLOW : ENOSYS);
		for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
			good = good && native(f, allowed[i], 0, 0) == ALLOW;
		good = good && native(f, "bpf", 0, 0) == EPERM &&
		       native(f, "socket", AF_VSOCK, 0) == EAFNOSUPPORT &&
		       native(f, "socket", AF_UNIX, 0) == ALLOW;
		ok(good, "features %u", f);
	}
#endif
}

TEST(sockets)
{
	static const int good[] = { AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET };

#ifndef NATIVE
	skip("no table for this architecture");
#else
	for (uint64_t family = 0; family < 64; family++) {
		int want = EAFNOSUPPORT;

		for (size_t i = 0; i < ARRAY_SIZE(good); i++)
			if ((uint64_t)good[i] == family)
				want = ALLOW;
		ok(native(0, "socket", family, SOCK_STREAM) == want &&
		   native(0, "socketpair", family, SOCK_STREAM) == want,
		   "family %d is %s", (int)family, want ? "refused" : "allowed");
	}
	/* The kernel takes an int: bits above must not be a way round. */
	eq_int(native(0, "socket", 0x100000000 | AF_VSOCK, 0), EAFNOSUPPORT, "upper bits");
	eq_int(native(0, "socket", 0xffffffff00000000 | AF_ALG, 0), EAFNOSUPPORT, "upper bits");
	eq_int(native(0, "socket", 0xffffffff, 0), EAFNOSUPPORT, "-1");
#endif
}

#if defined(__x86_64__)
TEST(sockets_of_i386)
{
	const unsigned with = RT_FEATURE_SOCKETCALL;

	/* 359: libseccomp knows the direct call by a number of its own. */
	eq_int(verdict(0, AUDIT_ARCH_I386, 359, AF_INET, 0), ALLOW, "the direct call");
	eq_int(verdict(0, AUDIT_ARCH_I386, 359, AF_VSOCK, 0), EAFNOSUPPORT, "its families");
	eq_int(i386(0, "socketcall", 1, 0), EAFNOSUPPORT, "socketcall hides the family");
	eq_int(i386(0, "socketcall", 8, 0), EAFNOSUPPORT, "of pairs as well");
	eq_int(i386(0, "socketcall", 3, 0), ALLOW, "connect");
	eq_int(i386(with, "socketcall", 1, 0), ALLOW, "the feature lets it");
	eq_int(i386(with, "bpf", 1, 0), EPERM, "but nothing else");
	eq_int(native(with, "socket", AF_VSOCK, 0), EAFNOSUPPORT, "64-bit calls stay as they are");
}
#endif

TEST(ioctls)
{
#ifndef NATIVE
	skip("no table for this architecture");
#else
	eq_int(native(0, "ioctl", 0, 0x5412), EPERM, "TIOCSTI");
	eq_int(native(0, "ioctl", 0, 0x100005412), EPERM, "with upper bits that the kernel drops");
	eq_int(native(0, "ioctl", 0, 0x541c), EPERM, "TIOCLINUX");
	eq_int(native(0, "ioctl", 0, 0x5413), ALLOW, "TIOCGWINSZ");
	eq_int(native(0, "ioctl", 0, 0x540e), ALLOW, "TIOCSCTTY");
#endif
}

TEST(size)
{
	struct sock_filter f[RT_SECCOMP_MAX];
	size_t n = rt_seccomp_program(0, f);

	ok(n > 20 && n < 400, "%zu instructions", n);
}

/* Runs in a child under the filter; its return value is the exit status. */
static int under_filter(unsigned features, int (*body)(void))
{
	pid_t pid = fork();
	int status;
	struct err e;

	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		    rt_seccomp_apply(features, &e) < 0)
			_exit(99);
		_exit(body());
	}
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define GETS(call, err) (errno = 0, (call) < 0 && errno == (err))

static int refused_body(void)
{
	if (!GETS(syscall(SYS_bpf, 0, NULL, 0), EPERM))
		return 1;
	if (!GETS(syscall(SYS_keyctl, 0, -3, 0), ENOSYS))
		return 2;
	if (!GETS(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS))
		return 3;
	if (!GETS(syscall(SYS_userfaultfd, 0), ENOSYS))
		return 4;
	if (!GETS(syscall(SYS_settimeofday, NULL, NULL), EPERM)) /* otherwise nothing, and 0 */
		return 5;
	if (!GETS(socket(AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT))
		return 6;
	if (!GETS(syscall(SYS_open_by_handle_at, -1, NULL, 0), EPERM))
		return 7;
	if (!GETS(syscall(SYS_syslog, 10, NULL, 0), EPERM))
		return 8;
	return 0;
}

static int allowed_body(void)
{
	int pair[2], status;
	struct err e;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return 1;
	pid = fork();
	if (pid == 0) {
		/* A sandbox inside: user namespace, mounts, another filter. */
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET) < 0)
			_exit(errno == EPERM || errno == ENOSPC ? 0 : 1);
		_exit(rt_seccomp_apply(0, &e) < 0 ? 2 : 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status))
		return 2;
	if (syscall(SYS_pidfd_open, getpid(), 0) < 0)
		return 3;
	return 0;
}

static int io_uring_body(void)
{
	/* EFAULT when it is asked for, EPERM when sysctl has it off, but not ENOSYS. */
	return GETS(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS) ? 1 : 0;
}

TEST(kernel)
{
	eq_int(under_filter(0, refused_body), 0, "what is refused");
	eq_int(under_filter(0, allowed_body), 0, "what is allowed");
	eq_int(under_filter(31, allowed_body), 0, "also with all features");
	if (GETS(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS))
		skip("this kernel has no io_uring");
	eq_int(under_filter(RT_FEATURE_IO_URING, io_uring_body), 0, "the feature lets io_uring");
}

#if defined(__x86_64__)
static long int80(long nr, long a, long b, long c)
{
	long ret;

	/* The kernel's entry clobbers r8 to r11 (entry_64_compat.S). */
	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c)
			 : "r8", "r9", "r10", "r11", "memory");
	return ret;
}

static int int80_probe(void)
{
	return int80(20, 0, 0, 0) == getpid() ? 0 : 1;
}

static int int80_body(void)
{
	uint32_t *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long fd;

	if (args == MAP_FAILED)
		return 1;
	if (int80(288, 0, -3, 0) != -ENOSYS) /* keyctl */
		return 2;
	if (int80(357, 0, 0, 0) != -EPERM) /* bpf */
		return 3;
	if (int80(359, AF_VSOCK, SOCK_STREAM, 0) != -EAFNOSUPPORT) /* socket */
		return 4;
	fd = int80(359, AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return 5;
	args[0] = AF_UNIX;
	args[1] = SOCK_STREAM;
	args[2] = 0;
	if (int80(102, 1, (long)args, 0) != -EAFNOSUPPORT) /* socketcall */
		return 6;
	return 0;
}

static int int80_socketcall_body(void)
{
	uint32_t *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (args == MAP_FAILED)
		return 1;
	args[0] = AF_UNIX;
	args[1] = SOCK_STREAM;
	return int80(102, 1, (long)args, 0) < 0 ? 2 : 0;
}

TEST(kernel_i386)
{
	if (under_filter(0, int80_probe) != 0)
		skip("this kernel runs no 32-bit calls");
	eq_int(under_filter(0, int80_body), 0, "what is refused and allowed");
	eq_int(under_filter(RT_FEATURE_SOCKETCALL, int80_socketcall_body), 0,
	       "socketcall with the feature");
}
#endif

TEST(needs_privilege)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct err e;

		if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
			_exit(9);
		_exit(rt_seccomp_apply(0, &e) < 0 && strstr(e.msg, "system call filter") ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
	   "without a capability it fails, and says so");
}
