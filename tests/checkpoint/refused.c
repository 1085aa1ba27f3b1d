/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Built once an obstacle (WHAT): it is refused by name, and what has it runs on. */
#include "tests/checkpoint/guest.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/netlink.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SOCKET = 1, BREAKING, NAMESPACE, FANOTIFY, MOUNT, DISCIPLINE, AIO, DEEP, TOGETHER, HALF, PROGRAM, APART, URING, PLACED, HELD, ASLEEP, LAYERS, ROOT, MEMBER, CROWD, CROWDED, DEAF, HEADLESS,
       DETACHED, URGENT, URGENT_TCP };

static int ready[2];

/* Waits for a child that does not end, and hears of nothing meanwhile. */
static _Noreturn void wait_for_child(long flags)
{
	if (syscall(SYS_clone, flags, 0, 0, 0, 0) == 0) {
		CHECK(write(ready[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	_exit(1);
}

static void *wait_in_thread(void *arg)
{
	(void)arg;
	wait_for_child(CLONE_VM | CLONE_VFORK | SIGCHLD);
}

/* The same of a process whose first thread has ended. */
static _Noreturn void wait_beside_the_first(void)
{
	pthread_t t;

	CHECK(pthread_create(&t, NULL, wait_in_thread, NULL) == 0);
	syscall(SYS_exit, 0);
	__builtin_unreachable();
}

/* A poll by io_uring, of what nobody writes, that another request waits for: it is still there afterwards. */
static void poll_by_ring(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 2, &p);
	uint8_t *ring = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	struct io_uring_cqe *c = (void *)(ring + p.cq_off.cqes);

	s[0] = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = ready[0], .poll32_events = POLLIN,
				      .flags = IOSQE_IO_LINK, .user_data = 5 };
	s[1] = (struct io_uring_sqe){ .opcode = IORING_OP_NOP };
	((unsigned *)(void *)(ring + p.sq_off.array))[1] = 1;
	*(unsigned *)(void *)(ring + p.sq_off.tail) = 2;
	CHECK(syscall(SYS_io_uring_enter, fd, 2, 0, 0, NULL, 0) == 2);
	wait_for_restore();
	CHECK(*(unsigned *)(void *)(ring + p.cq_off.tail) == 0 && write(ready[1], "x", 1) == 1);
	CHECK(syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	CHECK(*(unsigned *)(void *)(ring + p.cq_off.tail) > 0 && c->user_data == 5 && c->res == POLLIN);
}

/* More polls by io_uring than are saved. */
static void poll_by_many(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4096 + 1, &p);
	uint8_t *ring = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			     IORING_OFF_SQ_RING);
	struct io_uring_sqe *s = mmap(NULL, p.sq_entries * sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				      IORING_OFF_SQES);

	for (unsigned i = 0; i < p.sq_entries; i++) {
		s[i] = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = ready[0], .poll32_events = POLLIN };
		((unsigned *)(void *)(ring + p.sq_off.array))[i] = i;
	}
	*(unsigned *)(void *)(ring + p.sq_off.tail) = p.sq_entries;
	CHECK(syscall(SYS_io_uring_enter, fd, p.sq_entries, 0, 0, NULL, 0) == (long)p.sq_entries);
	wait_for_restore();
	CHECK(*(unsigned *)(void *)(ring + p.cq_off.tail) == 0 && write(ready[1], "x", 1) == 1);
	CHECK(syscall(SYS_io_uring_enter, fd, 0, p.sq_entries, IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	CHECK(*(unsigned *)(void *)(ring + p.cq_off.tail) == p.sq_entries);
}

/* An io_uring that its thread alone has, in a place of its own, and no table of open files; also one that is not enabled,
 * in the first place. */
static void place_ring(unsigned place, unsigned flags)
{
	struct io_uring_params p = { .flags = flags };
	int fd = (int)syscall(SYS_io_uring_setup, 1, &p);
	struct io_uring_rsrc_update at = { .offset = place, .data = (unsigned)fd };

	CHECK(syscall(SYS_io_uring_register, fd, IORING_REGISTER_RING_FDS, &at, 1) == 1 && close(fd) == 0);
	wait_for_restore();
	CHECK(syscall(SYS_io_uring_enter, place, 0, 0, IORING_ENTER_REGISTERED_RING, NULL, 0) == (flags ? -1 : 0));
}

/* A pipe that an io_uring alone has. */
static void hold_by_ring(void)
{
	struct io_uring_params p = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 1, &p), alone[2];

	CHECK(pipe(alone) == 0 && syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES, alone, 1) == 0 &&
	      close(alone[0]) == 0);
	wait_for_restore();
	CHECK(write(alone[1], "x", 1) == 1);
}

static _Noreturn void stay(void)
{
	if (write(ready[1], "x", 1) == 1)
		for (;;)
			pause();
	_exit(1);
}

/* Its root is an overlay whose layers nobody has mounted any more. */
static _Noreturn void live_in_overlay(void)
{
	CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/run", "tmpfs", 0, NULL) == 0);
	CHECK(mkdir("/run/a", 0755) == 0 && mkdir("/run/b", 0755) == 0);
	CHECK(mount("over", "/run/a", "overlay", 0, "lowerdir=/run/a:/run/b") == 0);
	CHECK(chdir("/run/a") == 0 && syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0);
	stay();
}

/* Of netlink; true: the kernel has done it. */
static bool ask_for(int fd, const void *m, size_t len)
{
	struct {
		struct nlmsghdr h;
		int error;
		char more[512];
	} answer = { .error = -1 };

	return send(fd, m, len, 0) >= 0 && recv(fd, &answer, sizeof(answer), 0) >= 0 && answer.error == 0;
}

#define CHANGE NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK

/* A filter that is a program, in a network namespace of its own. */
static bool add_filter(void)
{
	struct {
		struct nlmsghdr h;
		struct tcmsg tc;
		struct nlattr kind;
		char name[8];
	} where = { { sizeof(where), RTM_NEWQDISC, CHANGE, 1, 0 },
		    { .tcm_ifindex = 1, .tcm_parent = TC_H_CLSACT, .tcm_handle = 0xffff0000 },
		    { 4 + 7, TCA_KIND },
		    "clsact" };
	struct {
		struct nlmsghdr h;
		struct tcmsg tc;
		struct nlattr kind;
		char name[4];
		struct nlattr options, length;
		uint16_t count, pad;
		struct nlattr ops;
		struct sock_filter all;
	} what = { { sizeof(what), RTM_NEWTFILTER, CHANGE, 2, 0 },
		   { .tcm_ifindex = 1,
		     .tcm_parent = TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS),
		     .tcm_info = TC_H_MAKE(1 << 16, htons(ETH_P_ALL)) },
		   { 4 + 4, TCA_KIND },
		   "bpf",
		   { 4 + 8 + 12, TCA_OPTIONS },
		   { 4 + 2, TCA_BPF_OPS_LEN },
		   1,
		   0,
		   { 4 + 8, TCA_BPF_OPS },
		   { BPF_RET | BPF_K, 0, 0, 0 } };
	int fd, r = unshare(CLONE_NEWNET);
	bool done;

	fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	done = r == 0 && ask_for(fd, &where, sizeof(where)) && ask_for(fd, &what, sizeof(what));
	close(fd);
	return done;
}

/* Half a connection is enough: nobody accepts it. */
static void connect_multipath(void)
{
	int from = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), to = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { AF_INET, htons(7200), { htonl(INADDR_LOOPBACK) }, { 0 } };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	ioctl(to, SIOCSIFFLAGS, &lo);
	CHECK(bind(to, (void *)&a, sizeof(a)) == 0 && listen(to, 1) == 0);
	CHECK(connect(from, (void *)&a, sizeof(a)) == 0);
	CHECK(accept(to, NULL, NULL) >= 0);
}

/* Urgent data that is read in line with all other: it is not received apart, but its mark is there. */
static void send_urgent(int fd, int to)
{
	struct pollfd p = { to, POLLPRI, 0 };
	int one = 1;

	CHECK(setsockopt(to, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) == 0);
	CHECK(send(fd, "a", 1, 0) == 1 && send(fd, "!", 1, MSG_OOB) == 1 && poll(&p, 1, 20000) == 1);
}

static void send_urgent_by_tcp(void)
{
	int from = socket(AF_INET, SOCK_STREAM, 0), to = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { AF_INET, htons(7201), { htonl(INADDR_LOOPBACK) }, { 0 } };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	ioctl(to, SIOCSIFFLAGS, &lo);
	CHECK(bind(to, (void *)&a, sizeof(a)) == 0 && listen(to, 1) == 0 && connect(from, (void *)&a, sizeof(a)) == 0);
	send_urgent(from, accept(to, NULL, NULL));
}

static void send_urgent_by_pair(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	send_urgent(pair[0], pair[1]);
}

static void *wait_on(void *arg)
{
	while (pause() < 0)
		;
	return arg;
}

/* Two threads with a directory that the first one does not have. */
static void *leave_with(void *arg)
{
	pthread_t other;

	CHECK(unshare(CLONE_FS) == 0 && pthread_create(&other, NULL, wait_on, NULL) == 0);
	close(*(int *)arg);
	return wait_on(NULL);
}

static void walk_together(void)
{
	int ends[2];
	pthread_t t;
	char c;

	CHECK(pipe(ends) == 0 && pthread_create(&t, NULL, leave_with, &ends[1]) == 0);
	CHECK(read(ends[0], &c, 1) == 0);
	close(ends[0]);
}

/* A ring of which only a part is mapped any more. */
static void map_half(void)
{
	struct tpacket_req q = { 4096, 2, 2048, 4 };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	uint8_t *map;

	CHECK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &q, sizeof(q)) == 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(map != MAP_FAILED && munmap(map + 4096, 4096) == 0);
}

/* A file whose path is longer than a path may be. */
static void descend(void)
{
	char name[256];
	int back = open("/", O_PATH | O_DIRECTORY);

	memset(name, 'd', 255);
	name[255] = '\0';
	CHECK(chdir("/tmp") == 0);
	for (int i = 0; i < 20; i++)
		CHECK((mkdir(name, 0755) == 0 || errno == EEXIST) && chdir(name) == 0);
	CHECK(open("deep", O_RDWR | O_CREAT, 0600) >= 0 && fchdir(back) == 0);
}

/* The vdso has lost the data that it reads. */
static void lose_data(void)
{
	char line[256];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long start, end;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "[vvar]") && sscanf(line, "%lx-%lx", &start, &end) == 2)
			CHECK(munmap((void *)start, end - start) == 0);
	fclose(f);
}

/* More than are saved; /proc/PID/status, which tells of them, is longer than usual or too long to be read. */
static void join_groups(size_t n)
{
	gid_t list[3000];

	for (size_t i = 0; i < n; i++)
		list[i] = 1000 + (gid_t)i;
	CHECK(setgroups(n, list) == 0);
}

static void child(void)
{
	if (WHAT == CROWD) {
		join_groups(3000);
		stay();
	}
	if (WHAT == DISCIPLINE && add_filter())
		stay();
	if (WHAT == NAMESPACE && unshare(0x80 /* CLONE_NEWTIME */) == 0 &&
	    open("/proc/self/ns/time_for_children", O_RDONLY) >= 0)
		stay();
	_exit(0);
}

int main(void)
{
	unsigned long aio = 0;
	size_t maps;
	int fd;

	CHECK(pipe(ready) == 0);
	if (WHAT == BREAKING) {
		/* A lease that somebody wants to have ended. */
		close(open("/run/file", O_RDWR | O_CREAT, 0600));
		fd = open("/run/file", O_RDONLY);
		signal(SIGIO, SIG_IGN);
		CHECK(fcntl(fd, F_SETLEASE, F_RDLCK) == 0 && open("/run/file", O_WRONLY | O_NONBLOCK) < 0);
	}
	if (WHAT == SOCKET)
		connect_multipath();
	if (WHAT == URGENT)
		send_urgent_by_pair();
	if (WHAT == URGENT_TCP)
		send_urgent_by_tcp();
	if (WHAT == MEMBER)
		join_groups(1025);
	if (WHAT == DEEP)
		descend();
	if (WHAT == TOGETHER)
		walk_together();
	if (WHAT == HALF)
		map_half();
	if (WHAT == DETACHED) { /* a mount that is attached nowhere yet */
		CHECK(mount("none", "/run", "tmpfs", 0, NULL) == 0);
		put_text("/run/file", "there");
		fd = open_tree(AT_FDCWD, "/run", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		CHECK(fd >= 0 && openat(fd, "file", O_RDONLY) >= 0);
		wait_for_restore();
		CHECK(move_mount(fd, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH) == 0 && has_text("/tmp/file", "there"));
		return done();
	}
	if (WHAT == PROGRAM)
		CHECK(chmod("/test", 0600) == 0);
	if (WHAT == APART)
		lose_data();
	if (WHAT == DEAF && fork() == 0) /* with memory of its own */
		wait_for_child(CLONE_VFORK | SIGCHLD);
	if (WHAT == HEADLESS && fork() == 0)
		wait_beside_the_first();
	if ((WHAT == NAMESPACE || WHAT == CROWD) && fork() == 0)
		child();
	if (WHAT == MOUNT) { /* of what is known of a process that is no more */
		char path[32];
		pid_t pid = fork();

		if (pid == 0)
			stay();
		snprintf(path, sizeof(path), "/proc/%d", (int)pid);
		CHECK(mount(path, "/tmp", NULL, MS_BIND, NULL) == 0);
		CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid && access(path, F_OK) < 0);
	}
	if (WHAT == DISCIPLINE && fork() == 0)
		child();
	if (WHAT == AIO) { /* that waits for what nobody writes */
		struct iocb cb = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = (unsigned)ready[0], .aio_buf = POLLIN };
		struct iocb *list = &cb;

		CHECK(syscall(SYS_io_setup, 8, &aio) == 0 && syscall(SYS_io_submit, aio, 1, &list) == 1);
		wait_for_restore();
		return done();
	}
	if (WHAT == URING) {
		poll_by_ring();
		return done();
	}
	if (WHAT == CROWDED) {
		poll_by_many();
		return done();
	}
	if (WHAT == PLACED) {
		place_ring(4, 0);
		return done();
	}
	if (WHAT == ASLEEP) {
		place_ring(0, IORING_SETUP_R_DISABLED);
		return done();
	}
	if (WHAT == LAYERS) /* of an overlay, from a directory that the kernel does not tell */
		CHECK(mkdir("/run/a", 0755) == 0 && mkdir("/run/b", 0755) == 0 && chdir("/run") == 0 &&
		      mount("over", "/run/a", "overlay", 0, "lowerdir=a:b") == 0 && chdir("/") == 0);
	if (WHAT == HELD) {
		hold_by_ring();
		return done();
	}
	if (WHAT == FANOTIFY) { /* whose events nobody reads */
		fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY);
		CHECK(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/test") == 0);
		close(open("/test", O_RDONLY));
	}
	if (WHAT == ROOT && fork() == 0)
		live_in_overlay();
	if (WHAT == NAMESPACE || WHAT == DISCIPLINE || WHAT == ROOT || WHAT == CROWD || WHAT == DEAF ||
	    WHAT == HEADLESS) {
		char c;

		CHECK(read(ready[0], &c, 1) == 1);
	}
	close(ready[0]);
	close(ready[1]);
	maps = count_maps();
	wait_for_restore();
	CHECK(count_maps() == maps); /* nothing of what was begun is left */
	return done();
}
