/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Runs while vps is built, and writes the seccomp filters as C arrays: compiling them when a VPS
 * starts would cost more than all its namespaces. There is one array for what no tenant may do, and
 * one for each feature that a VPS can have; runtime/seccomp.c strings together those that apply.
 *
 * The base is "allow": a distribution's init, nested containers, sandboxes of browsers and of
 * systemd units need nearly all of the kernel's interface (mount, unshare, setns, ptrace, fanotify,
 * seccomp itself), and a user namespace confines them. Refused is what reaches past it, what is
 * only attack surface, and what could not be saved when the VPS is moved.
 */

#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct bpf {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

struct rule {
	const char *name;
	int errnum;
};

/* clang-format off */
static const struct rule base[] = {
	/* The machine's own: a capability over the host is asked for anyway. */
	{ "kexec_load", EPERM }, { "kexec_file_load", EPERM },
	{ "init_module", EPERM }, { "finit_module", EPERM }, { "delete_module", EPERM },
	{ "swapon", EPERM }, { "swapoff", EPERM },
	{ "iopl", EPERM }, { "ioperm", EPERM },
	{ "acct", EPERM },
	{ "quotactl", EPERM }, { "quotactl_fd", EPERM },
	{ "clock_settime", EPERM }, { "clock_settime64", EPERM },
	{ "settimeofday", EPERM }, { "stime", EPERM },
	/* Large, and a frequent source of holes. EPERM is what an unprivileged process gets from
	 * them, so programs know it; systemd 252 runs on without its BPF. */
	{ "bpf", EPERM }, { "perf_event_open", EPERM },
	/* Opens files past every directory's permissions and past the root directory. */
	{ "open_by_handle_at", EPERM },
	/* The host's kernel log, where dmesg_restrict is off. */
	{ "syslog", EPERM },
	/* Keys are the host's, are counted by user, and cannot be saved. systemd and container
	 * runtimes take ENOSYS for a kernel without keys; EPERM would stop them. */
	{ "add_key", ENOSYS }, { "request_key", ENOSYS }, { "keyctl", ENOSYS },
	/* Memory that neither ptrace nor anything else can read. */
	{ "memfd_secret", ENOSYS },
	/* Nobody has called these for decades; newer kernels lack them. */
	{ "uselib", ENOSYS }, { "ustat", ENOSYS }, { "sysfs", ENOSYS }, { "lookup_dcookie", ENOSYS },
	{ "vm86", ENOSYS }, { "vm86old", ENOSYS },
	{ NULL },
};

/* Refused unless the VPS has the feature of that name; ENOSYS makes programs fall back. */
static const struct rule io_uring[] = {
	{ "io_uring_setup", ENOSYS }, { "io_uring_enter", ENOSYS }, { "io_uring_register", ENOSYS },
	{ NULL },
};
static const struct rule userfaultfd[] = { { "userfaultfd", ENOSYS }, { NULL } };
/* The kernel does not tell which rules bind a process: restored, it would run without them. */
static const struct rule landlock[] = {
	{ "landlock_create_ruleset", ENOSYS }, { "landlock_add_rule", ENOSYS },
	{ "landlock_restrict_self", ENOSYS },
	{ NULL },
};
/* clang-format on */

static void die(const char *what, int r)
{
	fprintf(stderr, "generate: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void add_rules(scmp_filter_ctx ctx, const struct rule *rules)
{
	for (; rules->name; rules++) {
		int nr = seccomp_syscall_resolve_name(rules->name);
		int r;

		if (nr == __NR_SCMP_ERROR)
			die(rules->name, -ENOSYS);
		/* Not the exact form: some exist on one of the architectures only. */
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO((uint16_t)rules->errnum), nr, 0);
		if (r < 0)
			die(rules->name, r);
	}
}

/* Putting words into another terminal's input, and the console's selection. The kernel looks at 32
 * bits of the command; so must we. */
static void add_ioctls(scmp_filter_ctx ctx)
{
	static const uint32_t cmds[] = { 0x5412 /* TIOCSTI */, 0x541c /* TIOCLINUX */ };

	for (size_t i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
		int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
					 SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffU, cmds[i]));

		if (r < 0)
			die("ioctl", r);
	}
}

/*
 * AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6, AF_NETLINK and AF_PACKET are confined by the network
 * namespace or need not be. Of the others some are not (AF_VSOCK reaches the hypervisor that the
 * host runs on), and all are modules that a tenant could make the host load.
 */
static void add_sockets(scmp_filter_ctx ctx)
{
	static const char *const calls[] = { "socket", "socketpair" };
	static const struct scmp_arg_cmp refused[] = {
		{ 0, SCMP_CMP_EQ, 3, 0 },  { 0, SCMP_CMP_EQ, 4, 0 },  { 0, SCMP_CMP_EQ, 5, 0 },
		{ 0, SCMP_CMP_EQ, 6, 0 },  { 0, SCMP_CMP_EQ, 7, 0 },  { 0, SCMP_CMP_EQ, 8, 0 },
		{ 0, SCMP_CMP_EQ, 9, 0 },  { 0, SCMP_CMP_EQ, 11, 0 }, { 0, SCMP_CMP_EQ, 12, 0 },
		{ 0, SCMP_CMP_EQ, 13, 0 }, { 0, SCMP_CMP_EQ, 14, 0 }, { 0, SCMP_CMP_EQ, 15, 0 },
		/* Also every number with any of the upper 32 bits set, which the kernel drops. */
		{ 0, SCMP_CMP_GE, 18, 0 },
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused) * 2; i++) {
		int nr = seccomp_syscall_resolve_name(calls[i % 2]);
		int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), nr, 1, refused[i / 2]);

		if (r < 0)
			die("socket", r);
	}
}

/*
 * socketcall(2) of 32-bit x86 has the family in memory, where no filter can look, and libseccomp
 * rightly refuses all sockets through it. That is how glibc makes them there, so a 32-bit
 * distribution has the feature `socketcall`: then these rules are for 64-bit calls alone, because
 * who may use socketcall needs no other way.
 */
static void allow_socketcall(scmp_filter_ctx ctx)
{
	int r = seccomp_arch_remove(ctx, SCMP_ARCH_X86);

	if (r < 0 && r != -EEXIST)
		die("socketcall", r);
	/* 32-bit calls are still up to the other filters, and so is x32. */
	r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (r < 0)
		die("socketcall", r);
}

static scmp_filter_ctx new_filter(const char *cpu)
{
	static const struct {
		const char *cpu;
		uint32_t arch[2];
	} table[] = {
		{ "x86_64", { SCMP_ARCH_X86_64, SCMP_ARCH_X86 } },
		{ "x86", { SCMP_ARCH_X86 } },
		{ "aarch64", { SCMP_ARCH_AARCH64, SCMP_ARCH_ARM } },
		{ "riscv64", { SCMP_ARCH_RISCV64 } },
	};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	size_t i = 0;

	if (!ctx)
		die("seccomp_init", -ENOMEM);
	while (i < sizeof(table) / sizeof(*table) && strcmp(table[i].cpu, cpu) != 0)
		i++;
	if (i < sizeof(table) / sizeof(*table)) {
		for (int k = 0; k < 2 && table[i].arch[k]; k++) {
			int r = seccomp_arch_add(ctx, table[i].arch[k]);

			if (r < 0 && r != -EEXIST)
				die(cpu, r);
		}
		if (seccomp_arch_native() != table[i].arch[0] &&
		    seccomp_arch_native() != table[i].arch[1])
			seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE);
	}
	/* Such as x32, whose system calls nobody tests: what a kernel without it says. */
	seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
	/* A binary tree, so that the last call is not found after all others. */
	if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) < 0)
		die("optimize", -EINVAL);
	return ctx;
}

static void print_filter(const char *name, scmp_filter_ctx ctx)
{
	int fd = memfd_create("filter", MFD_CLOEXEC), r;
	struct bpf insn;
	off_t at = 0;

	r = fd < 0 ? -errno : seccomp_export_bpf(ctx, fd);
	if (r < 0)
		die(name, r);
	printf("static const struct sock_filter filter_%s[] = {\n", name);
	for (; pread(fd, &insn, sizeof(insn), at) == sizeof(insn); at += (off_t)sizeof(insn))
		printf("\t{ 0x%02x, %u, %u, 0x%08x },\n", (unsigned)insn.code, (unsigned)insn.jt,
		       (unsigned)insn.jf, (unsigned)insn.k);
	printf("};\n");
	close(fd);
	seccomp_release(ctx);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		const struct rule *rules;
	} features[] = {
		{ "io_uring", io_uring },
		{ "userfaultfd", userfaultfd },
		{ "landlock", landlock },
	};
	scmp_filter_ctx ctx;

	if (argc != 2) {
		fprintf(stderr, "usage: generate CPU\n");
		return 2;
	}
	printf("/* Written by runtime/seccomp/generate.c for %s. */\n", argv[1]);
	ctx = new_filter(argv[1]);
	add_rules(ctx, base);
	add_ioctls(ctx);
	print_filter("base", ctx);
	for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++) {
		ctx = new_filter(argv[1]);
		add_rules(ctx, features[i].rules);
		print_filter(features[i].name, ctx);
	}
	ctx = new_filter(argv[1]);
	add_sockets(ctx);
	print_filter("sockets", ctx);
	ctx = new_filter(argv[1]);
	if (strcmp(argv[1], "x86") != 0) { /* there nothing would be left */
		allow_socketcall(ctx);
		add_sockets(ctx);
	}
	print_filter("sockets_native", ctx);
	return 0;
}
