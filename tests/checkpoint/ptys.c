/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Terminals of other devpts than the VPS's own: of containers with pid namespaces, their masters outside, with the same
 * numbers everywhere; of one in a nested user namespace; of one that is mounted beside the VPS's; of one that has been
 * unmounted. Each with a session, a foreground, modes, what is queued, an owner, and the path that ttyname(3) tells.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>

static struct shared {
	volatile int ready, go, done, failed, hit;
} *sh;

static void hold(void)
{
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
}

static _Noreturn void finish(void)
{
	sh->failed |= guest_failed;
	__sync_fetch_and_add(&sh->done, 1);
	for (;;)
		pause();
}

static int number(int master)
{
	int n = -1;

	return ioctl(master, TIOCGPTN, &n) == 0 ? n : -1;
}

/* As runc and its like have it: opened inside, held outside. */
static void send_fd(int sock, int fd)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { .room = { 0 } };
	struct iovec v = { (char[]){ 'x' }, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };

	u.align = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&u.align), &fd, sizeof(fd));
	CHECK(sendmsg(sock, &m, 0) == 1);
}

static int take_fd(int sock)
{
	union {
		char room[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = { .room = { 0 } };
	char c;
	int fd = -1;
	struct iovec v = { &c, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.room, .msg_controllen = sizeof(u.room) };

	CHECK(recvmsg(sock, &m, MSG_CMSG_CLOEXEC) == 1);
	memcpy(&fd, CMSG_DATA(&u.align), sizeof(fd));
	return fd;
}

/* A pair of the instance at `dir`, its other end opened by its path. */
static int make_pair(const char *dir, int *slave)
{
	char path[64];
	int fd, off = 0;

	snprintf(path, sizeof(path), "%s/ptmx", dir);
	fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(fd >= 0 && ioctl(fd, TIOCSPTLCK, &off) == 0);
	snprintf(path, sizeof(path), "%s/%d", dir, number(fd));
	*slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	CHECK(*slave >= 0);
	return fd;
}

static bool leads_to(int fd, const char *path)
{
	char proc[64], link[256] = "";
	struct stat a, b;

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	if (readlink(proc, link, sizeof(link) - 1) < 0 || strcmp(link, path) != 0)
		dprintf(1, "# %d is %s, not %s\n", fd, link, path);
	return strcmp(link, path) == 0 && stat(path, &a) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev && S_ISCHR(a.st_mode);
}

/* What was said comes in pieces. */
static bool says(int fd, const char *what)
{
	struct pollfd p = { fd, POLLIN, 0 };
	char text[64] = "";
	size_t len = 0;

	while (len < strlen(what) && poll(&p, 1, 5000) == 1) {
		ssize_t n = read(fd, text + len, sizeof(text) - 1 - len);

		if (n <= 0)
			break;
		len += (size_t)n;
	}
	if (strcmp(text, what) != 0)
		dprintf(1, "# said \"%s\"\n", text);
	return strcmp(text, what) == 0;
}

static void on_int(int sig)
{
	(void)sig;
	__sync_fetch_and_add(&sh->hit, 1);
}

/* In the foreground of the terminal, which it has by /dev/tty alone. */
static _Noreturn void job(int slave)
{
	int tty;
	char c;

	signal(SIGINT, on_int);
	signal(SIGTTOU, SIG_IGN);
	setpgid(0, 0);
	tty = open("/dev/tty", O_RDWR);
	CHECK(tty >= 0 && tcsetpgrp(tty, getpid()) == 0);
	close(slave);
	hold();
	CHECK(tcgetpgrp(tty) == getpid() && tcgetsid(tty) == getsid(0));
	CHECK(says(tty, "a line\n"));
	CHECK(fcntl(tty, F_SETFL, O_NONBLOCK) == 0 && read(tty, &c, 1) < 0 && errno == EAGAIN);
	CHECK(write(tty, "job\n", 4) == 4);
	finish();
}

/* The leader of a session, with `slave`, number 0, as its terminal; `dir` is where it is mounted. */
static void lead(int slave, const char *dir, gid_t gid)
{
	struct winsize ws = { 31, 127, 0, 0 };
	struct termios t;
	char path[64];
	struct stat st;
	pid_t pid;
	int fd, master, other;

	snprintf(path, sizeof(path), "%s/0", dir);
	CHECK(leads_to(slave, path));
	CHECK(setsid() == getpid() && ioctl(slave, TIOCSCTTY, 0) == 0);
	CHECK(ioctl(slave, TIOCSWINSZ, &ws) == 0 && fchmod(slave, 0622) == 0 && fchown(slave, 0, gid) == 0);
	CHECK(tcgetattr(slave, &t) == 0);
	t.c_lflag &= ~(tcflag_t)ECHO;
	t.c_cc[VERASE] = 8;
	CHECK(tcsetattr(slave, TCSANOW, &t) == 0);
	CHECK(write(slave, "before\n", 7) == 7);
	pid = fork();
	if (pid == 0)
		job(slave);
	hold();
	CHECK(tcgetpgrp(slave) == pid && tcgetsid(slave) == getpid());
	CHECK(leads_to(slave, path));
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0622 && st.st_uid == 0 && st.st_gid == gid);
	CHECK(ioctl(slave, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 31 && ws.ws_col == 127);
	CHECK(tcgetattr(slave, &t) == 0 && !(t.c_lflag & ECHO) && t.c_cc[VERASE] == 8 && t.c_lflag & ICANON);
	fd = open("/dev/tty", O_RDWR);
	CHECK(fd >= 0 && tcgetpgrp(fd) == pid);
	/* It makes more. */
	master = make_pair(dir, &other);
	CHECK(number(master) > 0);
}

/* What the other end of it sees. */
static void check_outside(int master)
{
	int hits = sh->hit;

	CHECK(number(master) == 0);
	CHECK(says(master, "before\r\njob\r\n"));
	CHECK(write(master, "\3", 1) == 1); /* for the foreground */
	for (int i = 0; sh->hit == hits && i < 10000; i++)
		usleep(1000);
	CHECK(sh->hit == hits + 1);
}

static void mount_devpts(const char *at, const char *options)
{
	CHECK(mount("devpts", at, "devpts", MS_NOSUID | MS_NOEXEC, options) == 0);
}

static void private_mounts(void)
{
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
}

/* Process 1 of a container: a devpts in the place of the VPS's, and one of its terminals as the console. */
static void container(int sock)
{
	int master, slave, console;

	CHECK(getpid() == 1);
	private_mounts();
	CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
	mount_devpts("/dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5");
	master = make_pair("/dev/pts", &slave);
	CHECK(mount("/dev/pts/0", "/dev/console", NULL, MS_BIND, NULL) == 0);
	console = open("/dev/console", O_RDWR | O_NOCTTY);
	send_fd(sock, master);
	close(master);
	lead(slave, "/dev/pts", 5);
	CHECK(leads_to(console, "/dev/console"));
	finish();
}

/* Likewise where nothing but its own ids is known. */
static void rootless(int sock)
{
	int master, slave;

	CHECK(getpid() == 1);
	private_mounts();
	CHECK(mount("proc", "/proc", "proc", 0, NULL) == 0);
	mount_devpts("/dev/pts", "newinstance,ptmxmode=0666,mode=0620");
	master = make_pair("/dev/pts", &slave);
	send_fd(sock, master);
	lead(slave, "/dev/pts", 0);
	CHECK(leads_to(master, "/dev/pts/ptmx"));
	finish();
}

/* Whose process 1 is the child. */
static void begins_rootless(int sock)
{
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
	put_text("/proc/self/setgroups", "deny");
	put_text("/proc/self/gid_map", "0 0 1\n");
	put_text("/proc/self/uid_map", "0 0 1\n");
	if (fork() == 0)
		rootless(sock);
	finish();
}

/* A session in the VPS's own pid namespace, in a mount namespace of its own. */
static void beside(int sock)
{
	int master, slave;

	CHECK(unshare(CLONE_NEWNS) == 0);
	private_mounts();
	mkdir("/var/pts", 0755);
	mount_devpts("/var/pts", "newinstance,ptmxmode=0600,mode=0600");
	master = make_pair("/var/pts", &slave);
	send_fd(sock, master);
	lead(slave, "/var/pts", 7);
	CHECK(leads_to(master, "/var/pts/ptmx"));
	finish();
}

static int start(void (*run)(int sock), unsigned long flags)
{
	int pair[2], fd;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	if (syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0) == 0) {
		run(pair[1]);
		_exit(1);
	}
	fd = take_fd(pair[0]);
	close(pair[0]);
	close(pair[1]);
	return fd;
}

int main(void)
{
	int master[5], unmounted, unmounted_slave, gap[3], spare;
	struct winsize ws = { 7, 9, 0, 0 };

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unmask_proc();
	mkdir("/var/gone", 0755);
	mount_devpts("/var/gone", "newinstance");
	for (int i = 0; i < 3; i++)
		gap[i] = make_pair("/var/gone", &spare);
	unmounted = make_pair("/var/gone", &unmounted_slave);
	for (int i = 0; i < 3; i++)
		close(gap[i]);
	CHECK(umount2("/var/gone", MNT_DETACH) == 0);
	CHECK(write(unmounted, "kept\n", 5) == 5 && ioctl(unmounted, TIOCSWINSZ, &ws) == 0);
	master[0] = start(container, CLONE_NEWPID | CLONE_NEWNS);
	master[1] = start(container, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS);
	master[2] = start(begins_rootless, 0);
	master[3] = start(beside, 0);
	while (sh->ready < 8) /* nothing is echoed any more */
		usleep(1000);
	for (int i = 0; i < 4; i++)
		CHECK(write(master[i], "a line\n", 7) == 7);
	wait_for_restore();
	sh->go = 1;
	while (sh->done < 9)
		usleep(1000);
	for (int i = 0; i < 4; i++)
		check_outside(master[i]);
	CHECK(number(unmounted) == 3 && ioctl(unmounted_slave, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 7);
	CHECK(says(unmounted_slave, "kept\n"));
	CHECK(write(unmounted_slave, "x", 1) == 1);
	CHECK(!sh->failed);
	return done();
}
