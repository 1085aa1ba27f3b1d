/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * POSIX message queues: messages of several priorities, empty ones and full queues; open in two ways, by
 * nobody, after their name is gone; owners and limits; one that waits for a message; another namespace.
 */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static mqd_t make(const char *name, int flags, long max, long size)
{
	struct mq_attr a = { .mq_maxmsg = max, .mq_msgsize = size };

	return mq_open(name, flags | O_CREAT, 0640, &a);
}

static bool takes(mqd_t q, const char *text, unsigned prio)
{
	char got[8192];
	unsigned p;
	ssize_t n = mq_receive(q, got, sizeof(got), &p);

	return n == (ssize_t)strlen(text) && memcmp(got, text, (size_t)n) == 0 && p == prio;
}

static mqd_t notifying, silent;

static mqd_t be_notified(const char *name, int how, int signal, int value)
{
	struct sigevent ev = { .sigev_notify = how, .sigev_signo = signal, .sigev_value.sival_int = value };
	mqd_t q = make(name, O_RDWR | O_NONBLOCK, 4, 64);

	CHECK(q >= 0 && mq_notify(q, &ev) == 0);
	return q;
}

static int told(int signal)
{
	siginfo_t si;

	return take_signal(signal, &si) && si.si_code == SI_MESGQ ? si.si_value.sival_int : -1;
}

static void check_notified(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_NONE };

	CHECK(told(SIGRTMIN) == -1 && mq_notify(notifying, &ev) < 0 && errno == EBUSY);
	CHECK(mq_send(notifying, "one", 3, 0) == 0 && told(SIGRTMIN) == 4711);
	CHECK(takes(notifying, "one", 0) && mq_send(notifying, "two", 3, 0) == 0 && told(SIGRTMIN) == -1);
	CHECK(mq_notify(silent, &ev) < 0 && errno == EBUSY && mq_notify(silent, NULL) == 0 &&
	      mq_notify(silent, &ev) == 0);
}

static void elsewhere(int said, int go)
{
	mqd_t q;
	char c;

	CHECK(unshare(CLONE_NEWIPC) == 0);
	q = make("/queue", O_RDWR, 3, 100);
	CHECK(mq_send(q, "far", 3, 9) == 0 && mq_close(q) == 0 && write(said, "x", 1) == 1);
	CHECK(read(go, &c, 1) == 1);
	q = mq_open("/queue", O_RDONLY);
	CHECK(takes(q, "far", 9));
	_exit(guest_failed);
}

int main(void)
{
	mqd_t q, reader, gone, left, full, idle;
	struct mq_attr a;
	int go[2], said[2], status;
	pid_t waiter, far;
	struct pollfd p;
	struct stat st;
	sigset_t set;
	char c;

	CHECK(pipe(go) == 0 && pipe(said) == 0);
	q = make("/queue", O_RDWR | O_NONBLOCK, 8, 8192);
	CHECK(q >= 0 && mq_send(q, "low", 3, 1) == 0 && mq_send(q, "high", 4, 31000) == 0);
	CHECK(mq_send(q, "low again", 9, 1) == 0 && mq_send(q, "", 0, 0) == 0);
	CHECK(fchown(q, 11, 12) == 0);
	reader = mq_open("/queue", O_RDONLY);
	full = make("/full", O_WRONLY, 2, 16);
	CHECK(mq_send(full, "1", 1, 5) == 0 && mq_send(full, "2", 1, 5) == 0 && mq_close(full) == 0);
	gone = make("/gone", O_RDWR, 4, 64);
	CHECK(mq_unlink("/gone") == 0);
	left = make("/left", O_RDONLY, 4, 64);
	q = mq_open("/left", O_WRONLY);
	CHECK(mq_send(q, "first", 5, 9) == 0 && mq_send(q, "last", 4, 0) == 0 && mq_close(q) == 0 && mq_unlink("/left") == 0);
	q = mq_open("/queue", O_RDWR | O_NONBLOCK);
	idle = make("/idle", O_RDWR, 1, 8);
	waiter = fork();
	if (waiter == 0)
		_exit(takes(gone, "to him", 3) ? 0 : 1);
	far = fork();
	if (far == 0)
		elsewhere(said[1], go[0]);
	CHECK(read(said[0], &c, 1) == 1);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	notifying = be_notified("/notifying", SIGEV_SIGNAL, SIGRTMIN, 4711);
	silent = be_notified("/silent", SIGEV_NONE, 0, 0);
	wait_for_restore();
	check_notified();
	CHECK(mq_getattr(q, &a) == 0 && a.mq_flags == O_NONBLOCK && a.mq_maxmsg == 8 && a.mq_msgsize == 8192 &&
	      a.mq_curmsgs == 4);
	CHECK(fstat(q, &st) == 0 && st.st_uid == 11 && st.st_gid == 12 && (st.st_mode & 07777) == 0640);
	CHECK(mq_getattr(reader, &a) == 0 && a.mq_flags == 0 && mq_send(reader, "x", 1, 0) < 0 && errno == EBADF);
	p = (struct pollfd){ reader, POLLIN, 0 };
	CHECK(poll(&p, 1, 0) == 1);
	CHECK(takes(reader, "high", 31000) && takes(q, "low", 1) && takes(q, "low again", 1) && takes(q, "", 0));
	CHECK(mq_receive(q, (char[8192]){ 0 }, 8192, NULL) < 0 && errno == EAGAIN);
	full = mq_open("/full", O_RDWR | O_NONBLOCK);
	CHECK(mq_send(full, "3", 1, 5) < 0 && errno == EAGAIN);
	CHECK(takes(full, "1", 5) && takes(full, "2", 5));
	CHECK(takes(left, "first", 9) && takes(left, "last", 0) && mq_open("/left", O_RDONLY) < 0);
	CHECK(mq_open("/gone", O_RDWR) < 0 && errno == ENOENT && waitpid(waiter, &status, WNOHANG) == 0);
	CHECK(mq_send(gone, "to him", 6, 3) == 0 && waitpid(waiter, &status, 0) == waiter && status == 0);
	CHECK(mq_send(idle, "8 bytes!", 8, 0) == 0 && takes(idle, "8 bytes!", 0));
	CHECK(write(go[1], "x", 1) == 1 && waitpid(far, &status, 0) == far && status == 0);
	return done();
}
