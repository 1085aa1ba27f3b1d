/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Terminals: pairs with kept numbers, modes, sizes, locks and packets, what is queued on the way to either
 * end, lines that are not complete, ends that were closed; sessions with a terminal and a group in its
 * foreground, on a pair, on the console and on that of `vps exec -t`; who let go of its terminal. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

struct shared {
	volatile int go, ready, failed, done, hit;
};
static struct shared *sh;

static int pair(int *slave)
{
	int off = 0, m = open("/dev/ptmx", O_RDWR | O_NOCTTY);

	CHECK(m >= 0 && ioctl(m, TIOCSPTLCK, &off) == 0);
	if (slave) {
		*slave = ioctl(m, TIOCGPTPEER, O_RDWR | O_NOCTTY);
		CHECK(*slave >= 0);
	}
	return m;
}

static int number(int master)
{
	int n = -1;

	CHECK(ioctl(master, TIOCGPTN, &n) == 0);
	return n;
}

static void hold(void)
{
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
}

static _Noreturn void finish(void)
{
	if (guest_failed)
		sh->failed = 1;
	__sync_fetch_and_add(&sh->done, 1);
	_exit(0);
}

static void on_int(int sig)
{
	(void)sig;
	sh->hit = 1;
}

/* A shell with a job in the foreground, and one that has let go of the terminal. */
static _Noreturn void shell(int slave)
{
	pid_t job, other;
	int fd;

	CHECK(setsid() == getpid() && ioctl(slave, TIOCSCTTY, 0) == 0);
	signal(SIGTTOU, SIG_IGN);
	job = fork();
	if (job == 0) {
		signal(SIGINT, on_int);
		setpgid(0, 0);
		fd = open("/dev/tty", O_RDWR);
		CHECK(fd >= 0 && tcsetpgrp(fd, getpid()) == 0);
		close(slave);
		hold();
		CHECK(tcgetpgrp(fd) == getpid());
		while (!sh->hit)
			usleep(1000);
		finish();
	}
	other = fork();
	if (other == 0) {
		CHECK(ioctl(slave, TIOCNOTTY) == 0);
		hold();
		CHECK(open("/dev/tty", O_RDWR) < 0 && errno == ENXIO);
		finish();
	}
	hold();
	CHECK(tcgetpgrp(slave) == job && tcgetsid(slave) == getpid());
	fd = open("/dev/tty", O_RDWR);
	CHECK(fd >= 0);
	CHECK(waitpid(job, NULL, 0) == job && waitpid(other, NULL, 0) == other);
	finish();
}

/* On the console, like a login shell. */
static _Noreturn void login(void)
{
	struct winsize ws = { 51, 203, 0, 0 }, now;
	int fd;

	CHECK(setsid() == getpid() && ioctl(0, TIOCSCTTY, 0) == 0 &&
	      ioctl(0, TIOCSWINSZ, &ws) == 0);
	hold();
	fd = open("/dev/tty", O_RDWR);
	CHECK(fd >= 0 && tcgetpgrp(fd) == getpgrp());
	CHECK(ioctl(fd, TIOCGWINSZ, &now) == 0 && now.ws_row == 51 && now.ws_col == 203);
	finish();
}

/* What `vps exec -t` started: nobody inside has its master. */
static _Noreturn void command(void)
{
	struct winsize ws;
	struct termios t;
	int n;

	CHECK(tcgetattr(0, &t) == 0);
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	t.c_cc[VMIN] = 3;
	CHECK(tcsetattr(0, TCSANOW, &t) == 0);
	hold();
	CHECK(ioctl(0, TIOCGWINSZ, &ws) == 0 && ws.ws_row == 33 && ws.ws_col == 111);
	CHECK(tcgetattr(0, &t) == 0 && !(t.c_lflag & ICANON) && t.c_cc[VMIN] == 3);
	CHECK(tcgetpgrp(0) == getpgrp() && isatty(2));
	CHECK(write(1, "still here\n", 11) == 11);
	CHECK(ioctl(1, TIOCOUTQ, &n) == 0);
	finish();
}

static struct shared *share(int create)
{
	int fd;

	while ((fd = open("/run/shared", O_RDWR)) < 0 && !create)
		usleep(1000);
	if (fd < 0) {
		fd = open("/run/new", O_RDWR | O_CREAT, 0600);
		CHECK(ftruncate(fd, sizeof(*sh)) == 0 && rename("/run/new", "/run/shared") == 0);
	}
	return mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static int says(int fd, const char *what)
{
	char text[64] = "";
	ssize_t n = read(fd, text, sizeof(text) - 1);

	return n == (ssize_t)strlen(what) && memcmp(text, what, (size_t)n) == 0;
}

int main(int argc, char **argv)
{
	int gap, cooked, cooked_slave, raw, raw_slave, packet, locked, gone, gone_slave, left,
		left_slave, job, job_slave;
	int n[6], got, on = 1;
	struct winsize ws = { 40, 123, 7, 8 }, now;
	struct pollfd p = { .events = POLLIN };
	struct termios t, was;
	struct stat st;
	char path[64], c;

	(void)argv;
	sh = share(argc == 1);
	if (argc > 1)
		command();
	gap = pair(NULL);
	cooked = pair(&cooked_slave);
	raw = pair(&raw_slave);
	packet = pair(NULL);
	locked = pair(NULL);
	gone = pair(&gone_slave);
	left = pair(&left_slave);
	job = pair(&job_slave);
	n[0] = number(cooked), n[1] = number(raw), n[2] = number(packet), n[3] = number(locked),
	n[4] = number(job);
	close(gap);
	/* A line, and the beginning of one; and something said. */
	CHECK(tcgetattr(cooked_slave, &t) == 0);
	t.c_cc[VINTR] = 7;
	t.c_lflag &= ~(tcflag_t)ECHO;
	CHECK(tcsetattr(cooked_slave, TCSANOW, &t) == 0);
	was = t;
	CHECK(write(cooked, "line\npart", 9) == 9 && write(cooked_slave, "said\n", 5) == 5);
	snprintf(path, sizeof(path), "/dev/pts/%d", n[0]);
	CHECK(chmod(path, 0604) == 0 && chown(path, 1000, 5) == 0);
	cfmakeraw(&t);
	CHECK(tcsetattr(raw_slave, TCSANOW, &t) == 0 && ioctl(raw, TIOCSWINSZ, &ws) == 0);
	CHECK(write(raw, "\3\0\n\4x", 5) == 5 && write(raw_slave, "a\nb", 3) == 3);
	CHECK(ioctl(packet, TIOCPKT, &on) == 0 && ioctl(locked, TIOCSPTLCK, &on) == 0);
	close(gone);
	close(left_slave);
	if (fork() == 0)
		shell(job_slave);
	if (fork() == 0)
		login();
	close(job_slave);
	while (sh->ready < 5)
		usleep(1000);
	wait_for_restore();
	CHECK(strcmp(guest_line, "typed go") == 0);
	CHECK(number(cooked) == n[0] && number(raw) == n[1] && number(packet) == n[2] &&
	      number(locked) == n[3] && number(job) == n[4]);
	CHECK(tcgetattr(cooked_slave, &t) == 0 && memcmp(&t, &was, sizeof(t)) == 0);
	CHECK(says(cooked, "said\r\n") && says(cooked_slave, "line\n"));
	CHECK(fcntl(cooked_slave, F_SETFL, O_NONBLOCK) == 0 && read(cooked_slave, &c, 1) < 0 &&
	      errno == EAGAIN);
	CHECK(write(cooked, "ly\n", 3) == 3 && says(cooked_slave, "partly\n"));
	CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0604 && st.st_uid == 1000 &&
	      st.st_gid == 5);
	CHECK(ioctl(raw_slave, TIOCGWINSZ, &now) == 0 && memcmp(&ws, &now, sizeof(ws)) == 0);
	CHECK(says(raw, "a\nb"));
	{
		char text[16];

		CHECK(read(raw_slave, text, 16) == 5 && memcmp(text, "\3\0\n\4x", 5) == 0);
	}
	CHECK(ioctl(packet, 0x80045438, &got) == 0 && got == 1 &&
	      ioctl(locked, 0x80045439, &got) == 0 && got == 1);
	CHECK(read(gone_slave, &c, 1) == 0 && write(gone_slave, "x", 1) < 0 && errno == EIO);
	CHECK(read(left, &c, 1) < 0 && errno == EIO);
	p.fd = packet;
	CHECK(poll(&p, 1, 0) == 0);
	gap = pair(NULL);
	CHECK(number(gap) != n[0]);
	sh->go = 1;
	CHECK(write(job, "\3", 1) == 1); /* for the foreground */
	while (sh->done < 5)
		usleep(1000);
	CHECK(!sh->failed);
	return done();
}
