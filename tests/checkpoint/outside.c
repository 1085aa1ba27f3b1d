/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What `vps exec` started: a process whose parent is not in the VPS, with children, an orphan of its session
 * that process 1 has, and open files that it shares with others. */
#include "tests/checkpoint/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct facts {
	pid_t pid, ppid, pgid, sid;
};
struct shared {
	volatile int go, ready, failed, done;
	struct facts facts[3];
};
static struct shared *sh;

static void hold(int me)
{
	struct facts now;

	sh->facts[me] = (struct facts){ getpid(), getppid(), getpgrp(), getsid(0) };
	__sync_fetch_and_add(&sh->ready, 1);
	while (!sh->go)
		usleep(1000);
	now = (struct facts){ getpid(), getppid(), getpgrp(), getsid(0) };
	CHECK(memcmp(&now, &sh->facts[me], sizeof(now)) == 0);
}

static _Noreturn void finish(void)
{
	if (guest_failed)
		sh->failed = 1;
	__sync_fetch_and_add(&sh->done, 1);
	_exit(guest_failed);
}

static void orphan(void)
{
	pid_t me = getpid();

	if (fork() == 0) {
		while (getppid() == me)
			usleep(1000);
		hold(1);
		CHECK(getppid() == 1);
		finish();
	}
	_exit(0);
}

static int run(void)
{
	char text[6] = "";
	int fd = open("/run/words", O_RDWR), status;
	pid_t pid;

	CHECK(getppid() == 0 && getsid(0) == getpid());
	CHECK(pread(fd, text, 5, 0) == 5 && lseek(fd, 3, SEEK_SET) == 3);
	pid = fork();
	if (pid == 0)
		orphan();
	CHECK(waitpid(pid, &status, 0) == pid);
	pid = fork();
	if (pid == 0) {
		hold(2);
		CHECK(read(fd, text, 1) == 1 && text[0] == 'l');
		finish();
	}
	prctl(PR_SET_DUMPABLE, 0);
	hold(0);
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(read(fd, text, 1) == 1 && text[0] == 'o');
	finish();
}

int main(int argc, char **argv)
{
	char path[64];
	int fd, status;

	(void)argv;
	if (argc > 1) {
		while ((fd = open("/run/shared", O_RDWR)) < 0)
			usleep(1000);
		sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		return run();
	}
	fd = open("/run/words", O_RDWR | O_CREAT, 0600);
	CHECK(write(fd, "hello", 5) == 5);
	close(fd);
	fd = open("/run/new", O_RDWR | O_CREAT, 0600);
	CHECK(ftruncate(fd, sizeof(*sh)) == 0 && rename("/run/new", "/run/shared") == 0);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	while (sh->ready < 3)
		usleep(1000);
	wait_for_restore();
	/* Its memory belongs to the VPS. */
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)sh->facts[0].pid);
	fd = open(path, O_RDONLY);
	CHECK(fd >= 0 && read(fd, path, 1) == 1);
	close(fd);
	sh->go = 1;
	CHECK(wait(&status) == sh->facts[1].pid && status == 0);
	while (sh->done < 3)
		usleep(1000);
	CHECK(!sh->failed);
	return done();
}
